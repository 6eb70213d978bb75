package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Every test that a page names exists, and every piece of Go on it is a part of a
// file that is compiled, most of them of an Example that is run.
func TestPages(t *testing.T) {
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Example|Benchmark)\w+)\(`)
	named := regexp.MustCompile(`\b(?:Test|Fuzz|Example|Benchmark)[A-Z]\w*`)
	fenced := regexp.MustCompile("(?ms)^```go\n(.*?)^```")
	have := map[string]bool{}
	var pages, sources []string
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case strings.HasSuffix(path, ".md"):
			pages = append(pages, path)
		case strings.HasSuffix(path, ".go"):
			source, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			sources = append(sources, unindented(string(source)))
			for _, m := range declared.FindAllSubmatch(source, -1) {
				have[string(m[1])] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	proofs := map[string]int{}
	for _, path := range pages {
		page, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range named.FindAllString(string(page), -1) {
			proofs[path]++
			if !have[name] {
				t.Errorf("%s names %s, which does not exist", path, name)
			}
		}
	blocks:
		for _, m := range fenced.FindAllStringSubmatch(string(page), -1) {
			proofs[path]++
			for _, source := range sources {
				if strings.Contains(source, unindented(m[1])) {
					continue blocks
				}
			}
			t.Errorf("%s has Go that is in no file; put it into an Example:\n%s", path, m[1])
		}
	}
	for _, path := range []string{"README.md", "docs/benchmarks.md", "docs/gateway.md", "docs/nethttp.md", "docs/reliability.md"} {
		if proofs[filepath.Join(root, path)] == 0 {
			t.Errorf("%s has neither tests nor Go, or is not there", path)
		}
	}
}

// unindented is text without the white space at the ends of its lines.
func unindented(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(strings.TrimSpace(line) + "\n")
	}
	return b.String()
}
