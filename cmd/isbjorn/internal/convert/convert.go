// Package convert writes the configuration of gunicorn and of uWSGI as isbjorn.toml.
package convert

import (
	"cmp"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/isbjorn/isbjorn/cmd/isbjorn/internal/foreign"
	"github.com/isbjorn/isbjorn/cmd/isbjorn/internal/gunicorn"
	"github.com/isbjorn/isbjorn/cmd/isbjorn/internal/uwsgi"
	"github.com/isbjorn/isbjorn/internal/settings"
)

// Exit statuses of Run.
const (
	exitDone   = 0
	exitFailed = 1 // stdout does not take it
	exitUsage  = 2 // the arguments or the configuration are wrong
)

const usage = `usage: isbjorn convert [--no-python] FILE      a uWSGI ini (or FILE.ini:SECTION), or gunicorn.conf.py
       isbjorn convert [--no-python] -- gunicorn ARGUMENTS
       isbjorn convert -- uwsgi ARGUMENTS
`

// Readers are the readers of configuration files by their extension: ours, uWSGI's and gunicorn's. Without Python
// those of gunicorn are read by their literals alone.
func Readers(noPython bool) map[string]settings.Reader {
	readers := map[string]settings.Reader{".toml": settings.ReadTOML, ".ini": uwsgi.Read, ".py": gunicorn.Read}
	if noPython {
		readers[".py"] = gunicorn.ReadLiterals
	}
	return readers
}

// CommandLine reads a command line of gunicorn or of uWSGI, with the name of the program; nil if it is of neither.
func CommandLine(args []string, noPython bool) *settings.Document {
	if len(args) == 0 {
		return nil
	}
	switch filepath.Base(args[0]) {
	case "gunicorn":
		return gunicorn.CommandLine(args[1:], noPython)
	case "uwsgi":
		return uwsgi.CommandLine(args[1:])
	}
	return nil
}

// Load merges what a document gives with the defaults, and adds its mistakes to those of the values. The environment
// is not read: what is converted must hold elsewhere too.
func Load(d *settings.Document) (*settings.Config, settings.Mistakes) {
	config, mistakes := settings.Load(settings.Input{Command: settings.Run, Flags: d.Given})
	config.File = d.Name
	mistakes = slices.Concat(d.Mistakes, mistakes)
	for _, g := range d.Given {
		for _, p := range g.Texts {
			if !utf8.ValidString(p.Text) {
				mistakes = append(mistakes, &settings.Mistake{Source: g.Source, Key: g.Key, Value: &p.Text,
					Message: "TOML can have text in UTF-8 alone"})
			}
		}
	}
	return config, mistakes
}

// Run is isbjorn convert: it writes TOML to stdout, and mistakes to stderr. With an error among them it writes
// nothing to stdout, since half of a configuration would be taken for all of it. The result is the exit status.
func Run(args []string, stdout, stderr io.Writer) (exit int) {
	noPython, file, command := false, "", false
	for i, arg := range args {
		switch {
		case arg == "--":
			command = true
			args = args[i+1:]
		case arg == "--no-python":
			noPython = true
			continue
		case strings.HasPrefix(arg, "-") || file != "":
			fmt.Fprint(stderr, usage)
			return exitUsage
		default:
			file = arg
			continue
		}
		break
	}
	var d *settings.Document
	switch {
	case command && file == "":
		d = CommandLine(args, noPython)
	case !command && file != "":
		readers := Readers(noPython)
		delete(readers, ".toml")
		d = settings.ReadFile(file, readers)
	}
	if d == nil {
		fmt.Fprint(stderr, usage)
		return exitUsage
	}
	config, mistakes := Load(d)
	errors := 0
	for _, m := range mistakes {
		if m.Severity == settings.Error {
			errors++
		}
		if m.Severity != settings.Hint {
			fmt.Fprintln(stderr, m)
		}
	}
	if errors > 0 {
		fmt.Fprintf(stderr, "%d mistake%s; nothing was converted.\n", errors, map[bool]string{true: "s"}[errors != 1])
		return exitUsage
	}
	if err := Convert(stdout, config, mistakes); err != nil { // of stdout: the caller has it
		return exitFailed
	}
	return exitDone
}

// Convert writes a configuration as TOML: what was needed in the other server, the hints and the warnings as
// comments, and then the values that are given.
func Convert(w io.Writer, config *settings.Config, mistakes settings.Mistakes) error {
	var needless, rest []string
	for _, m := range mistakes {
		if why, ok := strings.CutPrefix(m.Message, foreign.Needless); ok {
			needless = append(needless, fmt.Sprintf("%s (%s): %s", m.Key, m.Source, why))
			continue
		}
		line, _, _ := strings.Cut(m.String(), "\n")
		rest = append(rest, line)
	}
	lines := []string{"From " + cmp.Or(config.File, "a command line") + ", by isbjorn convert."}
	if len(needless) > 0 {
		lines = slices.Concat(lines, []string{"", "Was needed there, and is not here:"}, needless)
	}
	if len(rest) > 0 {
		lines = slices.Concat(lines, []string{"", "To know:"}, rest)
	}
	for _, line := range lines {
		if _, err := fmt.Fprintln(w, strings.TrimSpace("# "+comment(line))); err != nil {
			return err
		}
	}
	if _, err := fmt.Fprintln(w); err != nil {
		return err
	}
	return config.PrintGiven(w)
}

// comment is a text as a comment of TOML can have it: without control characters, in UTF-8.
func comment(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
}
