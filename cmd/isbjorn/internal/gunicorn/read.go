package gunicorn

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/isbjorn/isbjorn/cmd/isbjorn/internal/foreign"
	"github.com/isbjorn/isbjorn/internal/settings"
)

// DefaultFile is the configuration file that gunicorn reads if none is named.
const DefaultFile = "gunicorn.conf.py"

// A kind is how the value of a name comes about.
type kind string

// The kinds; the first five are the shim's words.
const (
	kindLiteral     kind = "literal"
	kindComputed    kind = "computed"
	kindHook        kind = "hook"
	kindClass       kind = "class"
	kindOther       kind = "other"
	kindNeedsPython kind = "needs Python"
)

// A value is what a source gives for a name.
type value struct {
	name     string
	kind     kind
	data     any    // nil, bool, json.Number, string, []any or map[string]any
	text     string // of a class, or another thing that is no data
	at       foreign.Place
	used     bool // by the file itself
	imported bool
}

// A reader merges the values of a file, of GUNICORN_CMD_ARGS and of a command line.
type reader struct {
	*foreign.Document
	order    []string
	values   map[string]*value
	noPython bool
	changes  []change
}

// A change is what a configuration file has changed in its process, and so in the workers that gunicorn forks from it:
// texts for the setting of ours that does the same. With key "" a variable is gone, which no setting does.
type change struct {
	key, text string
	at        foreign.Place
}

func newReader(name string) *reader {
	return &reader{Document: foreign.New(name), values: map[string]*value{}}
}

// Read is the settings.Reader for a configuration file of gunicorn. It asks Python, for 10 seconds at most; where
// there is none it is as ReadLiterals. Python reads the file itself: data is for the excerpts.
func Read(name string, data []byte) *settings.Document {
	r := newReader(name)
	r.file(name, data)
	return r.finish()
}

// ReadLiterals is the settings.Reader for a configuration file of gunicorn, without Python: it reads values that
// stand in the file as they are. A setting whose value is computed is an error.
func ReadLiterals(name string, data []byte) *settings.Document {
	r := newReader(name)
	r.noPython = true
	r.file(name, data)
	return r.finish()
}

func (r *reader) finish() *settings.Document {
	r.translate()
	return r.Done()
}

// set has a value replace the one that a source with less weight gave.
func (r *reader) set(v *value) {
	if _, again := r.values[v.name]; again {
		r.order = slices.DeleteFunc(r.order, func(name string) bool { return name == v.name })
	}
	r.order = append(r.order, v.name)
	r.values[v.name] = v
}

// place is that of a line of a file.
func place(file string, lines []string, line int, name string) foreign.Place {
	at := foreign.Place{Source: settings.Source{Origin: settings.File, Name: file, Line: line}}
	if line < 1 || line > len(lines) {
		return at
	}
	at.Text = lines[line-1]
	if i := strings.Index(at.Text, name); i >= 0 {
		at.Column, at.Length = i+1, len(name)
		if _, text, ok := strings.Cut(at.Text[i:], "="); ok {
			text = strings.TrimSpace(text)
			if comment := strings.Index(text, " #"); comment >= 0 {
				text = strings.TrimSpace(text[:comment])
			}
			if j := strings.LastIndex(at.Text, text); text != "" && j > i {
				at.ValueColumn, at.ValueLength = j+1, len(text)
			}
		}
	}
	return at
}

// mention is the place of the first line of a file that has a text; that of the file if there is none, since a module
// that it imports may have done it.
func mention(file string, lines []string, text string) foreign.Place {
	line := slices.IndexFunc(lines, func(line string) bool { return strings.Contains(line, text) })
	return place(file, lines, line+1, text)
}

// file reads a configuration file.
func (r *reader) file(name string, data []byte) {
	lines := strings.Split(string(data), "\n")
	if !r.noPython {
		got, err := ask(name, pythonTimeout)
		switch {
		case errors.Is(err, errNoPython):
			r.noPython = true
		case err != nil:
			r.Say(settings.Error, place(name, nil, 0, ""), "", "", err.Error(), "--no-python reads the lines that need none")
			return
		case got.Error != "":
			at := place(name, lines, got.Line, "")
			at.Column, at.Length = max(1, len(at.Text)-len(strings.TrimLeft(at.Text, " \t"))+1), len(strings.TrimSpace(at.Text))
			r.Say(settings.Error, at, "", "", got.Error, "")
			return
		default:
			for _, v := range got.Values {
				r.set(&value{v.Name, kind(v.Kind), v.Value, v.Text, place(name, lines, v.Line, v.Name), v.Used, v.Imported})
			}
			for _, variable := range slices.Sorted(maps.Keys(got.Env)) {
				r.changes = append(r.changes, change{"env", variable + "=" + got.Env[variable], mention(name, lines, variable)})
			}
			for _, variable := range got.Unset {
				r.changes = append(r.changes, change{"", variable, mention(name, lines, variable)})
			}
			for _, dir := range got.Path {
				r.changes = append(r.changes, change{"python.path", dir, mention(name, lines, "sys.path")})
			}
			return
		}
	}
	text := string(data)
	for _, v := range literals(text, func(name string) bool { _, ok := lookup(name); return ok }) {
		v.at = place(name, lines, v.at.Line, v.name)
		v.used = strings.Count(text, v.name) > 1
		r.set(v)
	}
}

// open reads the configuration file that -c names: FILE, file:FILE; python:MODULE is refused.
func (r *reader) open(name string, at foreign.Place) {
	name = strings.TrimPrefix(name, "file:")
	if module, ok := strings.CutPrefix(name, "python:"); ok {
		r.Say(settings.Error, at, "config", name, "a module is not read", "give its file: -c "+strings.ReplaceAll(module, ".", "/")+".py")
		return
	}
	data, err := os.ReadFile(name)
	if err != nil {
		message := err.Error()
		if os.IsNotExist(err) {
			message = "no such file"
		}
		r.Say(settings.Error, at, "config", name, message, "")
		return
	}
	r.Name = name
	r.file(name, data)
}

// words are a value that is a list of texts, or one text. The error says what a value looks like.
func (v *value) words() ([]string, error) {
	list, ok := v.data.([]any)
	if !ok {
		list = []any{v.data}
	}
	var words []string
	for _, one := range list {
		text, ok := one.(string)
		if !ok {
			return nil, errors.New("must be a text, or a list of texts")
		}
		words = append(words, text)
	}
	return words, nil
}

// shown is the value for messages.
func (v *value) shown() string {
	switch data := v.data.(type) {
	case string:
		return data
	case nil:
		return v.text
	case bool:
		return map[bool]string{true: "True", false: "False"}[data]
	case []any:
		if words, err := v.words(); err == nil {
			return strings.Join(words, ", ")
		}
	}
	return fmt.Sprint(v.data)
}

func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}
