package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// root is the repository.
const root = "../.."

// A tree is what the repository declares, by go/parser: syntax alone, so all build tags and all modules are in it.
type tree struct {
	files    map[string]bool            // every path, of directories too, relative to root
	bases    map[string]bool            // their last elements
	sources  map[string]*ast.File       // each Go file by its path
	packages map[string]map[string]bool // by package name: what is declared at the top
	types    map[string]map[string]bool // by type name: its fields and methods, of all types of that name
	embeds   map[string]map[string]bool // by type name: the types that it embeds
	foreign  map[string]bool            // names of packages that are imported from elsewhere
	uses     map[string]map[string]bool // of those: what is used of them
	names    map[string]bool            // everything declared anywhere but inside functions
	fsets    map[string]*token.FileSet  // positions of each Go file
}

const module = "github.com/isbjorn/isbjorn"

// readTree returns the tree, which all tests share and none changes.
func readTree(t *testing.T) *tree {
	t.Helper()
	tr, err := parseTree()
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// parseTree parses all Go files, once.
var parseTree = sync.OnceValues(func() (*tree, error) {
	tr := &tree{
		files: map[string]bool{}, bases: map[string]bool{}, sources: map[string]*ast.File{},
		packages: map[string]map[string]bool{}, types: map[string]map[string]bool{}, embeds: map[string]map[string]bool{},
		foreign: map[string]bool{}, uses: map[string]map[string]bool{}, names: map[string]bool{},
		fsets: map[string]*token.FileSet{},
	}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if d.IsDir() && (rel == ".git" || rel == "bin") {
			return filepath.SkipDir
		}
		tr.files[rel], tr.bases[d.Name()] = true, true
		if d.IsDir() || !strings.HasSuffix(rel, ".go") || strings.Contains(rel, "testdata/") {
			return nil
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, path, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		tr.sources[rel], tr.fsets[rel] = f, fset
		tr.declare(f)
		return nil
	})
	return tr, err
})

func add(sets map[string]map[string]bool, key, name string) {
	if sets[key] == nil {
		sets[key] = map[string]bool{}
	}
	sets[key][name] = true
}

// declare adds what f declares and imports.
func (tr *tree) declare(f *ast.File) {
	pkg := strings.TrimSuffix(f.Name.Name, "_test")
	imported := map[string]bool{}
	for _, i := range f.Imports {
		path := strings.Trim(i.Path.Value, `"`)
		name := path[strings.LastIndex(path, "/")+1:]
		if i.Name != nil {
			name = i.Name.Name
		}
		if !strings.HasPrefix(path, module) {
			tr.foreign[name], imported[name] = true, true
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := sel.X.(*ast.Ident); ok && imported[x.Name] {
				add(tr.uses, x.Name, sel.Sel.Name)
			}
		}
		return true
	})
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			tr.names[d.Name.Name] = true
			if d.Recv == nil {
				add(tr.packages, pkg, d.Name.Name)
				continue
			}
			if name := typeName(d.Recv.List[0].Type); name != "" {
				add(tr.types, name, d.Name.Name)
			}
		case *ast.GenDecl:
			for _, s := range d.Specs {
				switch s := s.(type) {
				case *ast.ValueSpec:
					for _, n := range s.Names {
						tr.names[n.Name] = true
						add(tr.packages, pkg, n.Name)
					}
				case *ast.TypeSpec:
					tr.names[s.Name.Name] = true
					add(tr.packages, pkg, s.Name.Name)
					tr.members(s.Name.Name, s.Type)
				}
			}
		}
	}
}

// members adds the fields and methods of a type, those of structs inside it too.
func (tr *tree) members(name string, typ ast.Expr) {
	add(tr.types, name, "")
	if id := typeName(typ); id != "" { // type a b: the fields of b
		add(tr.embeds, name, id)
	}
	ast.Inspect(typ, func(n ast.Node) bool {
		field, ok := n.(*ast.Field)
		if !ok {
			return true
		}
		for _, n := range field.Names {
			tr.names[n.Name] = true
			add(tr.types, name, n.Name)
		}
		if len(field.Names) == 0 {
			if id := typeName(field.Type); id != "" {
				add(tr.types, name, id)
				add(tr.embeds, name, id)
			}
		}
		return true
	})
}

// typeName is the last name of a type expression; "" if it has none.
func typeName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.StarExpr:
		return typeName(e.X)
	case *ast.SelectorExpr:
		return e.Sel.Name
	case *ast.IndexExpr:
		return typeName(e.X)
	case *ast.IndexListExpr:
		return typeName(e.X)
	case *ast.ParenExpr:
		return typeName(e.X)
	}
	return ""
}

// has reports whether a type has a member, its own or that of a type it embeds.
func (tr *tree) has(typ, member string) bool { return tr.hasWithin(typ, member, 5) }

func (tr *tree) hasWithin(typ, member string, depth int) bool {
	if tr.types[typ][member] {
		return true
	}
	for e := range tr.embeds[typ] {
		if depth > 0 && tr.hasWithin(e, member, depth-1) {
			return true
		}
	}
	return false
}

// pages are the Markdown files that a reader is led through: not the changelog, which speaks of what was, and not the
// report, which is written by a program.
func (tr *tree) pages(t *testing.T) map[string]string {
	t.Helper()
	pages := map[string]string{}
	for path := range tr.files {
		if !strings.HasSuffix(path, ".md") || path == "CHANGELOG.md" || path == "bench/report/README.md" {
			continue
		}
		pages[path] = tr.read(t, path)
	}
	return pages
}

func (tr *tree) read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
