package docs

import (
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The table of packages in docs/design.md has each package of this module, with what it imports of ours.
func TestPackages(t *testing.T) {
	tr := readTree(t)
	imports := map[string][]string{}
	for file, f := range tr.sources {
		dir := path.Dir(file)
		switch top, _, _ := strings.Cut(dir, "/"); top {
		case "apps", "bench", "chaos", "examples":
			continue
		}
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		imports[dir] = append(imports[dir], []string{}...)
		for _, i := range f.Imports {
			ours, ok := strings.CutPrefix(strings.Trim(i.Path.Value, `"`), module+"/")
			if ok && !slices.Contains(imports[dir], ours) {
				imports[dir] = append(imports[dir], ours)
			}
		}
	}
	row := regexp.MustCompile("(?m)^\\| `([a-z/]+)` \\| .* \\| (.*) \\|$")
	name := regexp.MustCompile("`([a-z/]+)`")
	listed := map[string]bool{}
	for _, m := range row.FindAllStringSubmatch(tr.read(t, "docs/design.md"), -1) {
		listed[m[1]] = true
		var want []string
		for _, n := range name.FindAllStringSubmatch(m[2], -1) {
			want = append(want, n[1])
		}
		got := slices.Sorted(slices.Values(imports[m[1]]))
		if slices.Sort(want); !slices.Equal(got, want) {
			t.Errorf("docs/design.md: %s imports %v; the table has %v", m[1], got, want)
		}
	}
	for dir := range imports {
		if !listed[dir] {
			t.Errorf("docs/design.md: the table of packages lacks %s", dir)
		}
	}
}
