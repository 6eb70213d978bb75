package docs

import (
	"go/scanner"
	"go/token"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// columnsMax is the longest line of prose and code; a tab is one column.
const columnsMax = 120

// persons are words for persons; parts of a program have names. CONTRIBUTING.md, Prose.
var persons = regexp.MustCompile(`(?i)\b(nobody|somebody|he|his)\b`)

// Comments of Go that ships have no words for persons, and no line of it or of a page is longer than columnsMax. Not
// counted are tables, lines with a link or an address, commands, and what programs write in Markdown; the texts of
// strings in Go, and tests, whose tables have a row a line.
func TestProse(t *testing.T) {
	tr := readTree(t)
	pages := tr.pages(t)
	pages["CHANGELOG.md"] = tr.read(t, "CHANGELOG.md")
	for file, text := range pages {
		for n, line := range prose(text) {
			if utf8.RuneCountInString(line) > columnsMax && !strings.Contains(line, "](") && !strings.Contains(line, "://") {
				t.Errorf("%s:%d: %d columns", file, n, utf8.RuneCountInString(line))
			}
		}
	}
	for file, f := range tr.sources {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		for n, columns := range longLines(tr.read(t, file)) {
			t.Errorf("%s:%d: %d columns", file, n, columns)
		}
		for _, group := range f.Comments {
			for _, c := range group.List {
				if word := persons.FindString(c.Text); word != "" {
					t.Errorf("%s: %q in a comment", tr.fsets[file].Position(c.Pos()), word)
				}
			}
		}
	}
}

// prose are the lines of a page that are prose, by their number.
func prose(page string) map[int]string {
	lines := map[int]string{}
	fenced, written := false, false
	n := 0
	for line := range strings.Lines(page) {
		n++
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.HasPrefix(strings.TrimSpace(line), "```"):
			fenced = !fenced
		case strings.HasPrefix(line, "<!-- bench:"):
			written = strings.Contains(line, "begin")
		case fenced, written, strings.HasPrefix(line, "|"), strings.HasPrefix(line, "    "):
		default:
			lines[n] = line
		}
	}
	return lines
}

// longLines are the lines of Go that are too long without their strings, with their columns.
func longLines(source string) map[int]int {
	long := map[int]int{}
	lines := strings.Split(source, "\n")
	for i, line := range lines {
		if n := utf8.RuneCountInString(line); n > columnsMax && !strings.Contains(line, "://") {
			long[i+1] = n
		}
	}
	if len(long) == 0 {
		return nil
	}
	var s scanner.Scanner
	fset := token.NewFileSet()
	file := fset.AddFile("", fset.Base(), len(source))
	s.Init(file, []byte(source), nil, 0)
	for {
		pos, tok, lit := s.Scan()
		if tok == token.EOF {
			break
		}
		if tok == token.STRING {
			n := file.Line(pos)
			for text := range strings.SplitSeq(lit, "\n") {
				if long[n] -= utf8.RuneCountInString(text); long[n] <= columnsMax {
					delete(long, n)
				}
				n++
			}
		}
	}
	return long
}
