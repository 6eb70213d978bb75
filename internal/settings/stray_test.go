package settings

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// elsewhere has what reads a flag or a variable outside of the table, with the reason.
var elsewhere = map[string]string{
	"server/main.go StringVar":     "-config names the file that settings are in",
	"server/main.go Environ":       "given to Load",
	"server/upgrade.go Getenv":     "by which tableflip tells a new process that there is an old one",
	"cmd/isbjorn/serve.go Environ": "given to Load",

	"cmd/isbjorn/internal/gunicorn/commandline.go Getenv": "GUNICORN_CMD_ARGS",
	"cmd/isbjorn/internal/gunicorn/python.go Getenv":      "VIRTUAL_ENV has the Python to ask",
	"cmd/isbjorn/internal/gunicorn/translate.go Getenv":   "PORT, WEB_CONCURRENCY and FORWARDED_ALLOW_IPS replace defaults of gunicorn",

	"wsgi/internal/process/find.go Getenv":    "VIRTUAL_ENV has the Python to run",
	"wsgi/internal/process/worker.go Environ": "given to the workers",

	"cmd/isbjorn/internal/uwsgi/ini.go Environ":       "UWSGI_NAME is an option of uWSGI",
	"cmd/isbjorn/internal/uwsgi/replace.go LookupEnv": "$(NAME) in a file of uWSGI",
}

// Every flag and every variable of the environment is in the table: one beside it would have no source, no file, and
// no place in the help. What libraries read (NOTIFY_SOCKET, LISTEN_FDS, TMPDIR, GOMAXPROCS) is not seen here.
func TestNothingBesideTheTable(t *testing.T) {
	functions := map[string][]string{
		"os":   {"Getenv", "LookupEnv", "Environ", "ExpandEnv"},
		"flag": {"Bool", "BoolVar", "Duration", "DurationVar", "Int", "IntVar", "Int64", "Int64Var", "String", "StringVar", "Uint", "UintVar", "Var", "Func", "TextVar"},
	}
	used := map[string]bool{}
	const root = "../.."
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(root, path)
		if d.IsDir() && slices.Contains([]string{"apps", "bench", "chaos", "examples", "bin", ".git"}, name) {
			return fs.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") || strings.HasPrefix(name, "internal/settings/") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			s, ok := call.Fun.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			x, ok := s.X.(*ast.Ident)
			if !ok || !slices.Contains(functions[x.Name], s.Sel.Name) && !(x.Name == "flags" && s.Sel.Name == "StringVar") {
				return true
			}
			use := name + " " + s.Sel.Name
			if used[use] = true; elsewhere[use] == "" {
				t.Errorf("%s calls %s.%s; make it a row of the table", name, x.Name, s.Sel.Name)
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for use := range elsewhere {
		if !used[use] {
			t.Errorf("the test allows %s, which is not there", use)
		}
	}
}
