package docs

import (
	"path"
	"regexp"
	"strings"
	"testing"
)

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
	noSlug  = regexp.MustCompile(`[^\w\- ]`)
)

// Every link of a page to a file of the repository, or to a heading of a page, leads there.
func TestLinks(t *testing.T) {
	tr := readTree(t)
	pages := tr.pages(t)
	pages["CHANGELOG.md"] = tr.read(t, "CHANGELOG.md")
	for page, text := range pages {
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			file, anchor, _ := strings.Cut(m[1], "#")
			if file = path.Join(path.Dir(page), file); strings.HasPrefix(m[1], "#") {
				file = page
			}
			switch {
			case !tr.files[file]:
				t.Errorf("%s: %s leads to no file", page, m[1])
			case anchor != "" && !slugs(tr.read(t, file))[anchor]:
				t.Errorf("%s: %s leads to no heading", page, m[1])
			}
		}
	}
}

// slugs are the anchors that GitHub makes of the headings of a page.
func slugs(page string) map[string]bool {
	all := map[string]bool{}
	for _, m := range heading.FindAllStringSubmatch(page, -1) {
		all[strings.ReplaceAll(noSlug.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-")] = true
	}
	return all
}
