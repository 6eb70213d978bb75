package uwsgi

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/isbjorn/isbjorn/cmd/isbjorn/internal/foreign"
	"github.com/isbjorn/isbjorn/internal/settings"
)

// includesMax is how many files and sections may be included, one in another or in turn: more are a circle.
const includesMax = 32

// Read is the settings.Reader for uWSGI's ini files. The name may have a section, file.ini:prod, which is not part of
// the name of the file that data is from. The environment is read for $(VARIABLE) and UWSGI_*.
func Read(name string, data []byte) *settings.Document {
	file, section := splitSection(name)
	r := newReader(file)
	r.environment()
	r.magic.set(name, true)
	r.file(file, section, string(data), foreign.Place{Source: settings.Source{Origin: settings.File, Name: file}})
	return r.finish()
}

// splitSection splits file.ini:prod.
func splitSection(name string) (file, section string) {
	if i := strings.LastIndexByte(name, ':'); i >= 0 && !strings.Contains(name[i:], "/") {
		if name[i+1:] != "" {
			return name[:i], name[i+1:]
		}
		return name[:i], "uwsgi"
	}
	return name, "uwsgi"
}

// An entry is an option as it was given: a line, a flag or a variable.
type entry struct {
	name  string
	value string // text behind the =, with all that is replaced in it
	raw   string // text behind the = as it is in the file
	at    foreign.Place
	wrong bool // a mistake of what is replaced in it was said
}

// newEntry has a value in which nothing is replaced yet.
func newEntry(name, value string, at foreign.Place) *entry {
	return &entry{name: name, value: value, raw: value, at: at}
}

type reader struct {
	*foreign.Document
	entries  []*entry
	magic    magic
	includes int
	hostname bool // the hint about $(HOSTNAME) was said
	app      application
	lazy     *entry
	noLog    bool // disable-logging
	protocol string
}

func newReader(name string) *reader {
	return &reader{Document: foreign.New(name), magic: newMagic()}
}

// finish replaces and translates what was read.
func (r *reader) finish() *settings.Document {
	r.replaceAll()
	r.translate()
	return r.Done()
}

// environment adds the options that variables give: UWSGI_PROCESSES is processes.
func (r *reader) environment() {
	for _, pair := range os.Environ() {
		variable, value, _ := strings.Cut(pair, "=")
		name, ok := strings.CutPrefix(variable, "UWSGI_")
		name = strings.ReplaceAll(strings.ToLower(name), "_", "-")
		if ok && known(name) {
			at := foreign.Place{Source: settings.Source{Origin: settings.Environment, Name: variable}}
			r.entries = append(r.entries, newEntry(name, value, at))
		}
	}
}

// file adds the lines of one section of a file; at is where it was asked for.
func (r *reader) file(file, section, text string, at foreign.Place) {
	var sections []string
	in, block := "", ""
	for i, line := range strings.Split(strings.TrimPrefix(text, "\ufeff"), "\n") {
		key := strings.Trim(line, " \t\r")
		if key == "" || key[0] == ';' || key[0] == '#' {
			continue
		}
		source := settings.Source{Origin: settings.File, Name: file, Line: i + 1, Column: strings.Index(line, key) + 1}
		here := foreign.Place{Source: source, Length: len(key), Text: line}
		if key[0] == '[' {
			in = strings.TrimSuffix(key[1:], "]")
			if !strings.HasSuffix(key, "]") {
				r.Say(settings.Error, here, "", "", "a line with a section ends with ]", "put what is behind it into a line of its own")
			}
			sections = append(sections, in)
			continue
		}
		if in != section {
			continue
		}
		key, wrong := r.magic.replace(key)
		name, value, _ := strings.Cut(key, "=")
		name, value = strings.TrimRight(name, " \t\r"), strings.Trim(value, " \t\r")
		here.Length = max(1, min(len(name), here.Length))
		if raw := strings.Trim(afterEqual(line), " \t\r"); raw != "" {
			here.ValueColumn, here.ValueLength = strings.LastIndex(line, raw)+1, len(raw)
		}
		e := newEntry(name, value, here)
		r.dropped(e, wrong)
		switch {
		case name == "":
			r.Say(settings.Error, here, "", "", "no name stands before the =", "write NAME = VALUE, or leave it out")
		case block != "":
			if name == "end" || name == "endfor" || name == "endif" || name == "end-for" || name == "end-if" {
				block = ""
			}
		case isBlock(name):
			block = name
			r.Say(settings.Error, here, name, value, "blocks are not read: what holds depends on the machine",
				"write out the lines that hold here")
		default:
			r.add(e)
		}
	}
	if !slices.Contains(sections, section) {
		mend := "its first line is [" + section + "]"
		if len(sections) > 0 {
			mend = "it has [" + strings.Join(sections, "], [") + "]"
		}
		r.Say(settings.Error, at, "", "", fmt.Sprintf("there is no section [%s] in %s", section, file), mend)
	}
}

// dropped says that a % and a letter of an entry stand for nothing.
func (r *reader) dropped(e *entry, text string) {
	if text != "" {
		e.wrong = true
		r.Say(settings.Error, e.at, e.name, e.value, "uWSGI drops "+text+", which stands for nothing", "write %"+text)
	}
}

// afterEqual is the text behind the first = of a line.
func afterEqual(line string) string { _, text, _ := strings.Cut(line, "="); return text }

// isBlock reports whether an option begins a block: for, for-glob, if-env.
func isBlock(name string) bool {
	return name == "for" || name == "else" || strings.HasPrefix(name, "for-") || strings.HasPrefix(name, "if-") ||
		slices.Contains([]string{"ifenv", "ifexists", "ifplugin", "ifdir"}, name)
}

// add appends an option, or those of the file that it names.
func (r *reader) add(e *entry) {
	switch e.name {
	case "ini", "include", "inherit":
		r.include(e)
	case "set", "set-placeholder", "set-ph":
		name, value, ok := strings.Cut(e.value, "=")
		if !ok {
			r.Say(settings.Error, e.at, e.name, e.value, "a placeholder is NAME=VALUE", "")
			return
		}
		r.entries = append(r.entries, newEntry(name, value, e.at))
	default:
		r.entries = append(r.entries, e)
	}
}

// include adds the options of ini = FILE, FILE:SECTION or :SECTION.
func (r *reader) include(e *entry) {
	if r.includes++; r.includes > includesMax {
		if r.includes == includesMax+1 {
			r.Say(settings.Error, e.at, e.name, e.value, "the files include one another in a circle", "leave this line out")
		}
		return
	}
	file, section := splitSection(e.value)
	if file == "" {
		file = e.at.Name
		if e.at.Origin != settings.File {
			file = r.Name
		}
	}
	if !strings.HasSuffix(file, ".ini") {
		r.Say(settings.Error, e.at, e.name, e.value, "only ini files can be included", "write its options into an ini file")
		return
	}
	data, err := os.ReadFile(file)
	if err != nil {
		r.Say(settings.Error, e.at, e.name, e.value, reason(err), "")
		return
	}
	before := r.magic
	name := e.value
	if strings.HasPrefix(name, ":") {
		name = file + name
	}
	r.magic.set(name, false)
	r.file(file, section, string(data), e.at)
	r.magic = before
}

// reason is an error of a file without its name, which is said already.
func reason(err error) string {
	if os.IsNotExist(err) {
		return "no such file"
	}
	if wrapped, ok := err.(*os.PathError); ok {
		return wrapped.Err.Error()
	}
	return err.Error()
}
