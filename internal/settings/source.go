package settings

import (
	"fmt"
	"strings"
)

// An Origin is a kind of place where a value was given.
type Origin uint8

// The origins, from the least to the greatest weight.
const (
	Default     Origin = iota // the table
	Code                      // the options of the program
	Platform                  // PORT and WEB_CONCURRENCY
	File                      // a configuration file
	Environment               // ISBJORN_*
	Flags                     // the command line
)

// A Source is the place where a value was given.
type Source struct {
	Origin Origin
	Name   string // of the file, the variable, or the flag with its dashes
	Line   int    // in a file; 0 if it is the whole file
	Column int    // in bytes from 1; 0 if it is the whole line
}

// String returns default, code, isbjorn.toml:3, env PORT or flag --bind.
func (s Source) String() string {
	switch s.Origin {
	case Default:
		return "default"
	case Code:
		return "code"
	case Environment, Platform:
		return "env " + s.Name
	case Flags:
		if !strings.HasPrefix(s.Name, "-") {
			return "argument " + s.Name
		}
		return "flag " + s.Name
	}
	if s.Line == 0 {
		return s.Name
	}
	return fmt.Sprintf("%s:%d", s.Name, s.Line)
}

// A Severity is how bad a mistake is.
type Severity uint8

// The severities. A hint and a warning do not keep a program from starting.
const (
	Error Severity = iota
	Warning
	Hint
)

// String returns error, warning or hint.
func (s Severity) String() string { return []string{"error", "warning", "hint"}[s] }

// A Mistake is something that was given and is wrong, or worth a word.
type Mistake struct {
	Severity Severity
	Source   Source
	Key      string  // as it was given; may be ""
	Value    *string // as it was given; nil if the value is not what is wrong
	Message  string  // what is wrong
	Mend     string  // what to write; may be ""
	Excerpt  string  // the line of the file; "" for none
	Length   int     // of the part of Excerpt at Source.Column, in bytes
}

// String is the mistake in a line, and under it the line of the file with a mark. What no operator has given has no
// place: a default, and what is missing.
func (m *Mistake) String() string {
	var b strings.Builder
	if m.Source.Origin > Code {
		b.WriteString(m.Source.String())
		if m.Source.Origin == File && m.Source.Column > 0 {
			fmt.Fprintf(&b, ":%d", m.Source.Column)
		}
		b.WriteString(": ")
	}
	if m.Severity != Error {
		b.WriteString(m.Severity.String() + ": ")
	}
	if m.Key != "" {
		b.WriteString(m.Key)
		if m.Value != nil {
			fmt.Fprintf(&b, " = %q", *m.Value)
		}
		b.WriteString(": ")
	}
	b.WriteString(m.Message)
	if m.Mend != "" {
		b.WriteString("; " + m.Mend)
	}
	if m.Excerpt != "" {
		number := fmt.Sprintf("%5d | ", m.Source.Line)
		// A tab stays a tab under a tab, so that the mark is under its column.
		indent := strings.Map(func(r rune) rune {
			if r == '\t' {
				return r
			}
			return ' '
		}, m.Excerpt[:min(max(m.Source.Column-1, 0), len(m.Excerpt))])
		mark := strings.Repeat("^", max(m.Length, 1))
		fmt.Fprintf(&b, "\n%s%s\n%*s| %s%s", number, m.Excerpt, len(number)-2, "", indent, mark)
	}
	return b.String()
}

// Mistakes are those of one reading. As an error they are all of them, each with its place.
type Mistakes []*Mistake

// Error is each mistake, and how many errors there are.
func (m Mistakes) Error() string {
	var b strings.Builder
	n := 0
	for _, one := range m {
		b.WriteString(one.String() + "\n")
		if one.Severity == Error {
			n++
		}
	}
	if n == 1 {
		b.WriteString("1 mistake; nothing was started.")
	} else {
		fmt.Fprintf(&b, "%d mistakes; nothing was started.", n)
	}
	return b.String()
}

// Failed reports whether one of them is an error.
func (m Mistakes) Failed() bool {
	for _, one := range m {
		if one.Severity == Error {
			return true
		}
	}
	return false
}
