// Package foreign has what the readers of other servers' configuration share: the document that they make of it, and
// the verdict on each setting of the other server.
package foreign

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/isbjorn/isbjorn/internal/settings"
)

// Needless begins the message of a hint about a setting that was needed in the other server and is not here.
const Needless = "was needed there: "

// shownMax is how much of a value a mistake has, in bytes.
const shownMax = 200

// A Place is where a setting of the other server was given.
type Place struct {
	settings.Source
	Length      int    // of the name, in bytes
	Text        string // the line of the file, for the excerpt; "" for none
	ValueColumn int    // of the value in the line, in bytes from 1; 0 if it is not known
	ValueLength int
}

// A Document collects what a configuration of another server gives. Each of our settings is given once: a further
// value of a list is added, and any other replaces the one before.
type Document struct {
	settings.Document
	index map[string]int // of Given, by key
}

// New returns an empty document. The name is that of the file, which stands for what is true of all of it.
func New(name string) *Document {
	return &Document{Document: settings.Document{Name: name}, index: map[string]int{}}
}

// Give sets one of our settings, or adds to one that is a list. The texts are in a form that the setting takes.
func (d *Document) Give(key string, at Place, texts ...string) {
	var parts []settings.Part
	for _, text := range texts {
		parts = append(parts, settings.Part{Text: text})
	}
	given := settings.Given{Key: key, Texts: parts, Source: at.Source, Length: at.Length}
	i, again := d.index[key]
	switch {
	case !again:
		d.index[key] = len(d.Given)
		d.Given = append(d.Given, given)
	case settings.Find(key, settings.Run).List:
		d.Given[i].Texts = append(d.Given[i].Texts, parts...)
	default:
		d.Twice(at, d.Given[i].Source)
		d.Given[i] = given
	}
}

// Twice says that what a place gives was given before.
func (d *Document) Twice(at Place, before settings.Source) {
	d.Say(settings.Hint, at, "", "", "this replaces what "+before.String()+" gives", "")
}

// GiveDefault sets one of our settings to the default of the other server, unless it was given.
func (d *Document) GiveDefault(key string, texts ...string) {
	if !d.Has(key) {
		d.Give(key, Place{Source: settings.Source{Origin: settings.File, Name: d.Name}}, texts...)
	}
}

// Has reports whether one of our settings was given.
func (d *Document) Has(key string) bool { _, ok := d.index[key]; return ok }

// Texts are the values of one of our settings; nil if it was not given.
func (d *Document) Texts(key string) (texts []string) {
	if i, ok := d.index[key]; ok {
		for _, p := range d.Given[i].Texts {
			texts = append(texts, p.Text)
		}
	}
	return texts
}

// Change sets the values of one of our settings that was given, and leaves its place.
func (d *Document) Change(key string, texts []string) {
	g := &d.Given[d.index[key]]
	g.Texts = g.Texts[:0]
	for _, text := range texts {
		g.Texts = append(g.Texts, settings.Part{Text: text})
	}
}

// Say adds a mistake about a setting of the other server. The mark is under the value if there is one, and else under
// the name.
func (d *Document) Say(severity settings.Severity, at Place, name, value, message, mend string) {
	if len(value) > shownMax {
		value = value[:shownMax] + "..."
	}
	m := &settings.Mistake{Severity: severity, Source: at.Source, Key: name, Message: message, Mend: mend}
	if value != "" {
		m.Value = &value
	}
	if severity != settings.Hint && at.Text != "" {
		m.Excerpt, m.Length = strings.TrimRight(at.Text, " \t\r"), at.Length
		if value != "" && at.ValueColumn > 0 {
			m.Source.Column, m.Length = at.ValueColumn, at.ValueLength
		}
	} else {
		m.Source.Column = 0
	}
	d.Mistakes = append(d.Mistakes, m)
}

// Done returns the document, its mistakes in the order of the lines.
func (d *Document) Done() *settings.Document {
	slices.SortStableFunc(d.Mistakes, func(a, b *settings.Mistake) int {
		if a.Source.Origin != b.Source.Origin || a.Source.Name != b.Source.Name {
			return 0
		}
		return a.Source.Line - b.Source.Line
	})
	return &d.Document
}

// CheckDirectory says that the directory of a file to be written is missing.
func (d *Document) CheckDirectory(at Place, name, file string) {
	dir := filepath.Dir(file)
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		d.Say(settings.Error, at, name, file, "the directory "+dir+" is not there", "mkdir -p "+Quote(dir))
	}
}

// Quote is a path as a word of a shell, for a mend that is a command.
func Quote(path string) string {
	if strings.Trim(path, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_./+-@:,=") == "" && path != "" {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}

// A Kind is what becomes of a setting of another server.
type Kind uint8

// The kinds.
const (
	Mapped  Kind = iota // it sets one of ours
	Taken               // it is taken, and there is nothing to do
	Refused             // it is an error that says what to do
)

// A Verdict is what becomes of a setting of another server.
type Verdict struct {
	Name string // a * at its end stands for all names that begin so
	Kind Kind
	Text string // our keys, why there is nothing to do, or what does it instead
}
