package middleware

import (
	"cmp"
	"encoding/json"
	"errors"
	"html"
	"io"
	"io/fs"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/isbjorn/isbjorn/gateway"
)

const (
	listMax      = 2000   // entries of a listing
	listNamesMax = 10_000 // names that are read for them: some may not be served
	listBatch    = 250    // names at a time
)

// listing is what a directory has; its fields are those of the JSON.
type listing struct {
	Path      string       `json:"path"`
	Entries   []listedFile `json:"entries"`
	Truncated bool         `json:"truncated"` // there may be more
}

type listedFile struct {
	Name     string    `json:"name"`
	Type     string    `json:"type"` // "directory" or "file"
	Size     int64     `json:"size"` // bytes; 0 for a directory
	Modified time.Time `json:"modified"`
}

// list answers with the files of a directory.
func (s *static) list(env *gateway.Environ, start gateway.StartResponse, dir string) (gateway.Body, error) {
	l, err := s.readDir(dir)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return s.refuse(env, start, "403 Forbidden")
	case err == errNotHere:
		return s.missing(env, start, false)
	case err != nil:
		return nil, err
	}
	l.Path = env.ScriptName() + env.Path()
	headers := []gateway.Header{
		{Name: "Content-Type", Value: "text/html; charset=utf-8"},
		{Name: "Cache-Control", Value: "no-cache"},
		{Name: "Vary", Value: "Accept"},
		{Name: "X-Content-Type-Options", Value: "nosniff"},
	}
	var content []byte
	if accept := env.Header("Accept"); !prefers(accept, "text/html", "application/json") &&
		prefers(accept, "application/json", "text/html") {
		headers[0].Value = "application/json"
		if content, err = json.Marshal(l); err != nil {
			return nil, err
		}
	} else {
		headers = append(headers, gateway.Header{Name: "Content-Security-Policy",
			Value: "default-src 'none'; style-src 'unsafe-inline'"})
		content = l.page(env.Path() != "/")
	}
	if _, err := start("200 OK", headers, nil); err != nil {
		return nil, err
	}
	return env.Bytes(content), nil
}

// readDir reads at most listMax entries of a directory, and sorts them, directories first.
func (s *static) readDir(dir string) (*listing, error) {
	file, info, err := s.openName(dir)
	if err != nil {
		return nil, err
	}
	defer closeFile(file)
	if !info.IsDir() {
		return nil, errNotHere
	}
	l := &listing{Entries: []listedFile{}}
	for read := 0; !l.Truncated; {
		names, err := file.Readdirnames(listBatch)
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, openError(err)
		}
		read += len(names)
		for _, name := range names {
			listed, ok := s.listed(dir, name)
			if l.Truncated = read > listNamesMax || ok && len(l.Entries) == listMax; l.Truncated {
				break
			}
			if ok {
				l.Entries = append(l.Entries, listed)
			}
		}
	}
	slices.SortFunc(l.Entries, func(a, b listedFile) int {
		return cmp.Or(strings.Compare(a.Type, b.Type), strings.Compare(a.Name, b.Name))
	})
	return l, nil
}

// listed is the line for a name in dir; ok is false if it is not served.
func (s *static) listed(dir, name string) (l listedFile, ok bool) {
	if name[0] == '.' || !isFileName(name) {
		return l, false
	}
	if dir != "." {
		name = dir + "/" + name
	}
	_, info, err := s.statName(name)
	if err != nil {
		return l, false
	}
	l = listedFile{Name: name[strings.LastIndexByte(name, '/')+1:], Modified: info.ModTime().UTC().Truncate(time.Second)}
	switch {
	case info.IsDir():
		l.Type = "directory"
	case info.Mode().IsRegular():
		l.Type, l.Size = "file", info.Size()
	default:
		return l, false
	}
	return l, true
}

const listHead = `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="robots" content="noindex">
<style>
:root { color-scheme: light dark; }
body { font: 1rem/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 60rem; padding: 1rem; }
h1 { font-size: 1.25rem; overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; }
th, td { border-bottom: 1px solid #8886; padding: .4rem .75rem .4rem 0; text-align: left; vertical-align: top; }
td:first-child { overflow-wrap: anywhere; }
th + th, td + td { font-variant-numeric: tabular-nums; text-align: right; white-space: nowrap; }
th:last-child, td:last-child { padding-right: 0; }
@media (max-width: 30rem) { th + th, td + td { font-size: .875rem; } td.time { white-space: normal; } }
</style>
`

// page is the listing in HTML. parent is set if there is a directory above that is served.
func (l *listing) page(parent bool) []byte {
	title := showName(l.Path)
	b := append([]byte(listHead), "<title>"...)
	b = append(b, title...)
	b = append(b, "</title>\n</head>\n<body>\n<h1><bdi>"...)
	b = append(b, title...)
	b = append(b, "</bdi></h1>\n<table>\n<thead><tr><th scope=\"col\">Name</th><th scope=\"col\">Size</th>"+
		"<th scope=\"col\" class=\"time\">Changed (UTC)</th></tr></thead>\n<tbody>\n"...)
	if parent {
		b = append(b, "<tr><td><a href=\"../\">../</a></td><td></td><td class=\"time\"></td></tr>\n"...)
	}
	for i := range l.Entries {
		b = l.Entries[i].appendRow(b)
	}
	b = append(b, "</tbody>\n</table>\n"...)
	if l.Truncated {
		b = append(b, "<p>The directory has more entries; these are "...)
		b = strconv.AppendInt(b, int64(len(l.Entries)), 10)
		b = append(b, " of them.</p>\n"...)
	}
	return append(b, "</body>\n</html>\n"...)
}

func (l *listedFile) appendRow(b []byte) []byte {
	slash := ""
	if l.Type == "directory" {
		slash = "/"
	}
	b = append(b, "<tr><td><a href=\"./"...) // "./": a name may look like a scheme
	b = append(b, html.EscapeString(url.PathEscape(l.Name))...)
	b = append(b, slash+"\"><bdi>"...)
	b = append(b, showName(l.Name)...)
	b = append(b, "</bdi>"+slash+"</a></td><td>"...)
	if slash == "" {
		b = appendSize(b, l.Size)
	}
	b = append(b, "</td><td class=\"time\">"...)
	b = l.Modified.AppendFormat(b, "2006-01-02 15:04")
	return append(b, "</td></tr>\n"...)
}

// showName is a name as the text of HTML. What is not printed, or changes the direction of the text, is
// replaced.
func showName(name string) string {
	return html.EscapeString(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, name))
}

// appendSize appends a number of bytes with at most four digits.
func appendSize(b []byte, n int64) []byte {
	if n < 1000 {
		return append(strconv.AppendInt(b, n, 10), " B"...)
	}
	size, unit := float64(n), 0
	for size >= 999.5 && unit < len(sizeUnits) {
		size /= 1000
		unit++
	}
	precision := 0
	if size < 9.95 {
		precision = 1
	}
	b = strconv.AppendFloat(b, size, 'f', precision, 64)
	return append(append(b, ' ', sizeUnits[unit-1]), 'B')
}

const sizeUnits = "kMGTPE"
