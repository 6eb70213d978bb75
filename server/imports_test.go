package server

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// importTable says which packages of ours each package may import. Nothing
// points back, so cycles cannot creep in; what is not listed may import nothing.
var importTable = map[string][]string{
	"parser":  {},
	"loop":    {"internal/sched"},
	"gateway": {"parser", "internal/field"},

	"gateway/forwarded":   {"gateway"},
	"gateway/gatewaytest": {"gateway", "parser"},
	"gateway/proxy":       {"gateway", "gateway/forwarded"},
	"gateway/web":         {"gateway", "gateway/forwarded", "internal/modtime"},
	"gateway/middleware":  {"gateway", "gateway/forwarded", "internal/modtime", "internal/thrown"},
	"gateway/nethttp":     {"gateway", "internal/field", "internal/thrown", "parser"},

	"cmd/isbjorn": {"cmd/isbjorn/internal/convert", "gateway", "gateway/forwarded", "gateway/middleware", "gateway/proxy", "internal/logs", "internal/settings", "server", "wsgi"},

	"cmd/isbjorn/internal/foreign":  {"internal/settings"},
	"cmd/isbjorn/internal/uwsgi":    {"cmd/isbjorn/internal/foreign", "internal/settings"},
	"cmd/isbjorn/internal/gunicorn": {"cmd/isbjorn/internal/foreign", "internal/settings"},
	"cmd/isbjorn/internal/convert":  {"cmd/isbjorn/internal/foreign", "cmd/isbjorn/internal/gunicorn", "cmd/isbjorn/internal/uwsgi", "internal/settings"},

	"internal/benchmark": {},
	"internal/field":     {},
	"internal/head":      {},
	"internal/logs":      {},
	"internal/modtime":   {},
	"internal/settings":  {},
	"internal/sched":     {},
	"internal/testlog":   {},
	"internal/testrun":   {},
	"internal/thrown":    {},

	"server": {"loop", "parser", "gateway", "gateway/nethttp", "internal/sched", "internal/settings", "internal/thrown", "server/internal/buffers", "server/internal/callstate", "server/internal/certs", "server/internal/logqueue", "server/internal/respond", "server/internal/spool", "server/internal/testhook", "server/internal/workers"},

	"server/internal/buffers":   {},
	"server/internal/callstate": {},
	"server/internal/certs":     {},
	"server/internal/logqueue":  {},
	"server/internal/respond":   {"gateway", "internal/field"},
	"server/internal/spool":     {"server/internal/buffers"},
	"server/internal/testhook":  {"loop"},
	"server/internal/workers":   {},

	"wsgi":                   {"gateway", "loop", "wsgi/internal/dispatch", "wsgi/internal/process", "wsgi/internal/wire"},
	"wsgi/internal/dispatch": {"loop", "wsgi/internal/wire", "wsgi/internal/worker"},
	"wsgi/internal/process":  {"wsgi/internal/wire", "wsgi/internal/worker"},
	"wsgi/internal/wire":     {"gateway", "internal/field"},
	"wsgi/internal/worker":   {},

	"server/servertest": {"loop", "server", "server/internal/testhook"},
}

func TestImports(t *testing.T) {
	const module = "github.com/isbjorn/isbjorn/"
	seen := map[string]bool{}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		dir, _ := filepath.Rel("..", filepath.Dir(path))
		seen[dir] = true
		if top, _, _ := strings.Cut(dir, "/"); top == "examples" || top == "bench" || top == "chaos" {
			return nil // they may import anything
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, i := range f.Imports {
			name, _ := strconv.Unquote(i.Path.Value)
			if ours, ok := strings.CutPrefix(name, module); ok && !slices.Contains(importTable[dir], ours) {
				t.Errorf("%s imports %s; the table allows %s only %v", path, ours, dir, importTable[dir])
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for dir := range importTable {
		if !seen[dir] {
			t.Errorf("package %s of the table was not found", dir)
		}
	}
}
