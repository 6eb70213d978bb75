package docs

import (
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/isbjorn/isbjorn/internal/settings"
)

// Every name in backticks that looks like code of ours is in the tree. What looks so:
//
//   - a path, `server/phase.go` or `phase.go`: a file or directory of the repository, from its root, from the page, or
//     by its last element alone;
//   - `pkg.Name` and `pkg.Type.Member` for a package of ours; `Type.Member` for a type of ours, embedded ones too;
//     `env.Member` for gateway.Environ; with arguments or without;
//   - a key of the table of settings, `log.access`, and the names of the setting in gunicorn and uWSGI;
//   - a name with a capital inside, `stopIdleTime` or `HeadBytes`, a word in small letters, and a call, `commit()`:
//     declared somewhere.
//
// What is not code of ours is in elsewhere, by the reason.
func TestNames(t *testing.T) {
	tr := readTree(t)
	used := map[string]bool{}
	for page, text := range tr.pages(t) {
		if page == "docs/settings.md" {
			continue // made from the table of settings, by a test
		}
		for _, s := range spans(text) {
			if why := tr.wrong(page, s.text, used); why != "" {
				t.Errorf("%s:%d: `%s`: %s", page, s.line, s.text, why)
			}
		}
	}
	for _, names := range elsewhere {
		for _, name := range names {
			if !used[name] {
				t.Errorf("elsewhere has %s, which no page names", name)
			}
		}
	}
}

// elsewhere has names that pages speak of and that are not ours, by where they are from.
var elsewhere = map[string][]string{
	"net/http, and programs on it": {
		"BaseContext", "ConnContext", "ConnState", "ErrorLog", "IdleConnTimeout", "RegisterOnShutdown", "Request.TLS",
		"SetKeepAlivesEnabled(false)", "next.ServeHTTP(w, r.WithContext(...))",
	},
	"PEP 3333, and keys of an environ": {
		"isbjorn.context", "isbjorn.param.NAME", "isbjorn.raw_path", "isbjorn.request_id", "isbjorn.tls", "len(iterable) == 1",
		"start_response(status, headers, exc_info)", "wsgi.errors", "wsgi.file_wrapper", "wsgi.input",
		"wsgiref.handlers", "wsgiref.headers", "wsgiref.simple_server", "wsgiref.util", "wsgiref.validate",
	},
	"settings of systemd and of proxies": {
		"LimitNOFILE", "MinRate", "TimeoutStopSec", "idleConnTimeout", "keepalive", "serversTransport", "ttl", "upstream",
	},
	"files of users, and those that programs write": {
		"app.service", "app.socket", "base.txt", "default.pgo", "manage.py", "samples.jsonl", "shop.wsgi", "tree.txt",
	},
	"Go and gnet":                 {"handoffp", "netpoll", "sysmon", "testing", "util"},
	"names of measurements":       {"browser", "json", "percentile", "tfb"},
	"commands, and what they say": {"mv", "nohup", "restarting", "st"},
}

// A span is what is between two backticks in a line outside of blocks.
type span struct {
	line int
	text string
}

func spans(page string) (list []span) {
	fenced := false
	line := 0
	for text := range strings.Lines(page) {
		line++
		if strings.HasPrefix(strings.TrimSpace(text), "```") {
			fenced = !fenced
			continue
		}
		if fenced || strings.HasPrefix(text, "    ") {
			continue
		}
		for _, m := range regexp.MustCompile("`` .*? ``|`([^`]+)`").FindAllStringSubmatch(text, -1) {
			if m[1] != "" {
				list = append(list, span{line, m[1]})
			}
		}
	}
	return list
}

var (
	pathLike  = regexp.MustCompile(`^\.{0,2}/?[\w.-]+(/[\w.-]+)+/?$`)
	fileLike  = regexp.MustCompile(`^[\w-]+\.(go|py|c|lua|sh|s|md|pgo|tmpl|mod)$`)
	dotted    = regexp.MustCompile(`^\*?([A-Za-z]\w*(?:\.[A-Za-z]\w*)+)(\(.*)?$`)
	call      = regexp.MustCompile(`^([A-Za-z]\w*)\(.*$`)
	lower     = regexp.MustCompile(`^[a-z]+$`)
	innerCaps = regexp.MustCompile(`^[A-Za-z]*[a-z][A-Za-z0-9]*[A-Z]\w*$`)
)

// wrong says what is wrong with a span; "" if nothing is.
func (tr *tree) wrong(page, text string, used map[string]bool) string {
	for _, names := range elsewhere {
		if slices.Contains(names, text) {
			used[text] = true
			return ""
		}
	}
	for _, s := range settings.All() {
		if s.Key == text || slices.Contains(s.Gunicorn, text) || slices.Contains(s.UWSGI, text) {
			return ""
		}
	}
	switch {
	case fileLike.MatchString(text):
		if !tr.bases[text] {
			return "no such file"
		}
	case pathLike.MatchString(text):
		first, _, _ := strings.Cut(strings.TrimPrefix(text, "./"), "/")
		if tr.files[first] && !tr.files[path.Clean(text)] && !tr.files[path.Join(path.Dir(page), text)] {
			return "no such file or directory"
		}
	case dotted.MatchString(text):
		return tr.wrongDotted(strings.Split(dotted.FindStringSubmatch(text)[1], "."))
	case call.MatchString(text):
		if name := call.FindStringSubmatch(text)[1]; !tr.names[name] {
			return "no function of ours"
		}
	case innerCaps.MatchString(text), lower.MatchString(text):
		if !tr.names[text] && tr.packages[text] == nil {
			return "declared nowhere"
		}
	}
	return ""
}

func (tr *tree) wrongDotted(parts []string) string {
	first, rest := parts[0], parts[1:]
	if first == "env" {
		first = "Environ"
	}
	switch {
	case tr.packages[first] != nil && first != "main":
		if !tr.packages[first][rest[0]] {
			return "not in package " + first
		}
		if len(rest) > 1 && !tr.has(rest[0], rest[1]) {
			return rest[0] + " has no " + rest[1]
		}
	case tr.types[first] != nil:
		if !tr.has(first, rest[0]) {
			return first + " has no " + rest[0]
		}
	case tr.foreign[first]:
	default:
		return "neither a package nor a type of ours"
	}
	return ""
}

// Every file of ours that a comment or a page names, in a diagram too, is there.
func TestFiles(t *testing.T) {
	tr := readTree(t)
	named := regexp.MustCompile(`[\w/]*\w\.go\b`)
	check := func(text, dir string, where any) {
		for _, name := range named.FindAllString(text, -1) {
			name = strings.TrimPrefix(name, "/") // of a link: ../server/phase.go
			if !tr.files[name] && !tr.files[path.Join(dir, name)] && (strings.Contains(name, "/") || !tr.bases[name]) {
				t.Errorf("%v names %s, which does not exist", where, name)
			}
		}
	}
	for page, text := range tr.pages(t) {
		check(text, path.Dir(page), page)
	}
	for file, f := range tr.sources {
		for _, group := range f.Comments {
			for _, c := range group.List {
				check(c.Text, path.Dir(file), tr.fsets[file].Position(c.Pos()))
			}
		}
	}
}
