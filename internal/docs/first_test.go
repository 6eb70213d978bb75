package docs

import (
	"go/ast"
	"strings"
	"testing"
)

// The doc comment of a function, a method or a type begins with its name (go.dev/doc/comment), so that a rename
// cannot leave the name of before. "enter and leave are ..." may stand at the first of several that belong together,
// and an article before the name of a type.
func TestFirstWord(t *testing.T) {
	tr := readTree(t)
	for file, f := range tr.sources {
		check := func(name string, doc *ast.CommentGroup) {
			if doc == nil || doc.Text() == "" || strings.HasSuffix(file, "_test.go") {
				return
			}
			words := strings.Fields(doc.Text())
			for _, word := range words[:min(2, len(words))] {
				if strings.Trim(word, ",:.'") == name || strings.TrimSuffix(word, "'s") == name {
					return
				}
			}
			t.Errorf("%v: the comment of %s begins with %.40q", tr.fsets[file].Position(doc.Pos()), name, doc.Text())
		}
		for _, d := range f.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				check(d.Name.Name, d.Doc)
			case *ast.GenDecl:
				for _, s := range d.Specs {
					if s, ok := s.(*ast.TypeSpec); ok {
						if doc := s.Doc; doc != nil {
							check(s.Name.Name, doc)
						} else if len(d.Specs) == 1 {
							check(s.Name.Name, d.Doc)
						}
					}
				}
			}
		}
	}
}
