package settings

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// A Given is a setting as a source has it: not yet looked up in the table.
type Given struct {
	Key    string
	Texts  []Part // its value, or the values of a list
	Source Source
	Length int // of the key in the source, in bytes, for the mark under it
}

// A Part is a text at a place of its own: Line 0 is the place of the Given.
type Part struct {
	Text         string
	Line, Column int
	Length       int
}

// A Document is what a configuration file gives, and what is wrong with it.
type Document struct {
	Name     string
	Lines    []string // for the excerpts
	Given    []Given
	Mistakes Mistakes
}

// mistake adds a mistake at a place of the document.
func (d *Document) mistake(m *Mistake) {
	d.excerpt(m)
	d.Mistakes = append(d.Mistakes, m)
}

// excerpt gives a mistake the line of its place, if it has a column.
func (d *Document) excerpt(m *Mistake) {
	if i := m.Source.Line - 1; m.Source.Column > 0 && i >= 0 && i < len(d.Lines) && m.Excerpt == "" {
		m.Excerpt = strings.TrimRight(d.Lines[i], " \t\r")
	}
}

// injected is what Kubernetes adds to the environment of every container for a Service of the name of the prefix
// (ISBJORN_PORT=tcp://10.0.0.1:80): no setting may have such a name.
var injected = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$`)
})

// Variables that are read and are no settings, without the prefix.
var otherVariables = []string{"CONFIG"}

// environment returns what an environment gives to a command. A variable with the first of the prefixes has more
// weight than one with the next. A name with the last prefix, ISBJORN_, that is no setting is a warning; a prefix
// that is the name of a program has variables of the program itself.
func environment(environ []string, prefixes []string, c Command) (given []Given, mistakes Mistakes) {
	byVariable := map[string]*Setting{}
	var names []string
	for _, s := range Of(c) {
		byVariable[s.Variable()] = s
		names = append(names, s.Variable())
	}
	for _, s := range All() { // of another command: not wrong, and not used
		if _, ok := byVariable[s.Variable()]; !ok {
			byVariable[s.Variable()] = nil
		}
	}
	for i, prefix := range slices.Backward(prefixes) {
		for _, pair := range environ {
			variable, value, _ := strings.Cut(pair, "=")
			name, ok := strings.CutPrefix(variable, prefix)
			if !ok || value == "" || injected().MatchString(name) || slices.Contains(otherVariables, name) {
				continue
			}
			at := Source{Origin: Environment, Name: variable}
			s, known := byVariable[name]
			switch {
			case s != nil:
				given = append(given, Given{Key: s.Key, Texts: parts(s, value), Source: at})
			case !known && i == len(prefixes)-1:
				mistakes = append(mistakes, &Mistake{Severity: Warning, Source: at, Message: "unknown",
					Mend: DidYouMean(name, append(names, otherVariables...), prefix)})
			}
		}
	}
	return given, mistakes
}

// parts are the values in a text of the environment: those of a list are separated by commas.
func parts(s *Setting, text string) (list []Part) {
	if !s.List {
		return []Part{{Text: text}}
	}
	for _, one := range strings.Split(text, ",") {
		if one = strings.TrimSpace(one); one != "" {
			list = append(list, Part{Text: one})
		}
	}
	return list
}

// platform returns what the variables give that platforms set for any program: PORT, WEB_CONCURRENCY and
// FORWARDED_ALLOW_IPS.
func platform(getenv func(string) string, c Command) (given []Given) {
	at := func(name string) Source { return Source{Origin: Platform, Name: name} }
	if port := getenv("PORT"); port != "" {
		given = append(given, Given{Key: "bind", Texts: []Part{{Text: "0.0.0.0:" + port}}, Source: at("PORT")})
	}
	if n := getenv("WEB_CONCURRENCY"); n != "" && c == Run {
		given = append(given, Given{Key: "workers", Texts: []Part{{Text: n}}, Source: at("WEB_CONCURRENCY")})
	}
	if s := Find("trusted_proxies", c); s != nil && s.For&c != 0 {
		if prefixes := getenv("FORWARDED_ALLOW_IPS"); prefixes != "" {
			given = append(given, Given{Key: s.Key, Texts: parts(s, prefixes), Source: at("FORWARDED_ALLOW_IPS")})
		}
	}
	return given
}

// Variable is the value of a variable in an environment as os.Environ returns it; "" if there is none.
func Variable(environ []string, name string) string { return getenv(environ)(name) }

// getenv is os.Getenv for an environment as os.Environ returns it: the last of a name counts, as with execve(2)
// and os.Environ, which has each name once.
func getenv(environ []string) func(string) string {
	return func(name string) (value string) {
		for _, pair := range environ {
			if v, ok := strings.CutPrefix(pair, name+"="); ok {
				value = v
			}
		}
		return value
	}
}

// ReadFile reads a configuration file with the reader for its extension, which gets the whole name: shop.ini:prod is
// a section of shop.ini. A file that cannot be read is a mistake of the document.
func ReadFile(name string, readers map[string]Reader) *Document {
	d := &Document{Name: name}
	at := Source{Origin: File, Name: name}
	file := name
	for extension := range readers {
		if before, _, ok := strings.Cut(name, extension+":"); ok {
			file = before + extension
		}
	}
	data, err := readRegular(file)
	if err != nil {
		message := err.Error()
		if wrong := (*fs.PathError)(nil); errors.As(err, &wrong) {
			message = wrong.Err.Error() // the name stands before it
		}
		if errors.Is(err, fs.ErrNotExist) {
			message = "no such file"
		}
		d.mistake(&Mistake{Source: at, Message: message})
		return d
	}
	for extension, read := range readers {
		if strings.HasSuffix(file, extension) {
			return read(name, data)
		}
	}
	var known []string
	for extension := range readers {
		known = append(known, extension)
	}
	slices.Sort(known)
	d.mistake(&Mistake{Source: at, Message: "no kind of configuration file", Mend: "its name must end with " + strings.Join(known, " or ")})
	return d
}

// fileBytes is the most that a configuration file may have.
const fileBytes = 1 << 20

// readRegular reads a regular file of at most fileBytes. A pipe or a device could keep a program from its start for
// ever.
func readRegular(name string) ([]byte, error) {
	info, err := os.Stat(name)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, errors.New("not a regular file; give the name of a file with settings")
	case info.Size() > fileBytes:
		return nil, fmt.Errorf("%d bytes; a file with settings has at most %d", info.Size(), fileBytes)
	}
	return os.ReadFile(name)
}

// A Reader reads a configuration file.
type Reader func(name string, data []byte) *Document
