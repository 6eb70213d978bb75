package settings

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// An Input is all that an operator, and the program itself, have given.
type Input struct {
	Command  Command
	Code     []Given           // of the program's options: see FromOptions
	Fixed    []string          // keys that only the program may set
	Environ  []string          // as os.Environ returns it
	Prefixes []string          // of variables, by weight, the last is ISBJORN_
	File     string            // of the configuration; "" for none
	Readers  map[string]Reader // by extension; nil for TOML alone
	Flags    []Given           // of the command line, in its order

	// Check has functions, by key, that refuse a value of an operator which has the right form, such as a file that
	// is not there.
	Check map[string]func(text string) error
}

// A Value is that of a setting, in normal form.
type Value struct {
	Texts  []string // one, or those of a list; none for a text or list that is not set
	Source Source
}

// A Config has a value for every setting of a command.
type Config struct {
	Command Command
	File    string // that was read
	values  map[string]Value
}

// Load merges what was given. The Config is complete, with the default for each value that is wrong, so that more
// can be checked; whether to use it says Mistakes.Failed.
func Load(in Input) (*Config, Mistakes) {
	l := loader{Config: &Config{Command: in.Command, File: in.File, values: map[string]Value{}}, in: in}
	for _, s := range Of(in.Command) {
		l.values[s.Key] = Value{Texts: s.defaults()}
	}
	var code, none Document
	l.apply(in.Code, &code)
	fromPlatform := platform(getenv(in.Environ), in.Command)
	file := &Document{}
	if in.File != "" {
		readers := in.Readers
		if readers == nil {
			readers = map[string]Reader{".toml": ReadTOML}
		}
		file = ReadFile(in.File, readers)
	}
	given, warnings := environment(in.Environ, in.Prefixes, in.Command)
	overridden := func(g Given) *Given { // what has more weight than the platform
		for _, list := range [][]Given{in.Flags, given, file.Given} {
			if i := slices.IndexFunc(list, func(o Given) bool { return o.Key == g.Key }); i >= 0 {
				return &list[i]
			}
		}
		return nil
	}
	for _, g := range fromPlatform {
		if by := overridden(g); by != nil {
			value := getenv(in.Environ)(g.Source.Name)
			l.mistakes = append(l.mistakes, &Mistake{Severity: Hint, Source: g.Source,
				Message: fmt.Sprintf("%s=%s is not used: %s is set by %s", g.Source.Name, value, g.Key, by.Source)})
		} else {
			l.apply([]Given{g}, &none)
		}
	}
	l.apply(file.Given, file)
	l.mistakes = append(l.mistakes, file.Mistakes...)
	l.mistakes = append(l.mistakes, warnings...)
	l.apply(given, &none)
	l.apply(in.Flags, &none)
	l.mistakes = append(l.mistakes, none.Mistakes...)
	slices.SortStableFunc(l.mistakes, func(a, b *Mistake) int { // a file from its top; the rest as it was found
		if a.Source.Origin == File && b.Source.Origin == File {
			return a.Source.Line - b.Source.Line
		}
		return 0
	})
	if !l.mistakes.Failed() {
		l.mistakes = append(l.mistakes, l.conflicts()...)
	}
	return l.Config, l.mistakes
}

func (s *Setting) defaults() []string {
	switch {
	case s.Default == "":
		return nil
	case s.List:
		return strings.Split(s.Default, ",")
	}
	return []string{s.Default}
}

type loader struct {
	*Config
	in       Input
	mistakes Mistakes
}

// apply sets the values that one source gives; d has the mistakes. The first of a list replaces that of a source with
// less weight, and further ones in the same source are added.
func (l *loader) apply(given []Given, d *Document) {
	seen := map[string]Source{} // of this source
	for i := range given {
		g := &given[i]
		s := Find(g.Key, l.Command)
		if s == nil {
			d.mistake(l.unknown(g))
			continue
		}
		if s.For&l.Command == 0 {
			if g.Source.Origin == File {
				at := g.Source
				at.Column = 0 // without an excerpt
				d.mistake(&Mistake{Severity: Hint, Source: at, Key: g.Key, Message: "not used by " + l.Command.title()})
			}
			continue
		}
		if slices.Contains(l.in.Fixed, g.Key) && g.Source.Origin > Code {
			if g.Source.Origin > Platform {
				d.mistake(&Mistake{Source: g.Source, Length: g.Length, Key: g.Key,
					Message: "the program does not allow this setting to be changed", Mend: "leave it out"})
			}
			continue
		}
		before, again := seen[g.Key]
		twice := again && before.Name == g.Source.Name // two variables of different prefixes are not
		if twice && g.Source.Origin == File && s.Kind != Pair {
			d.mistake(&Mistake{Source: g.Source, Length: g.Length, Key: g.Key,
				Message: fmt.Sprintf("given twice; the first is in line %d", before.Line), Mend: "leave one out"})
			continue
		}
		seen[g.Key] = g.Source
		texts, ok := s.texts(g, d, l.in.Check[s.Key])
		if !ok {
			continue
		}
		if again && s.List && g.Source.Origin != Environment {
			texts = append(slices.Clone(l.values[s.Key].Texts), texts...)
		}
		l.values[s.Key] = Value{Texts: texts, Source: g.Source}
	}
}

// texts returns the values of g in normal form.
func (s *Setting) texts(g *Given, d *Document, check func(string) error) (texts []string, ok bool) {
	ok = true
	wrong := func(p Part, message string) {
		m := &Mistake{Source: g.Source, Key: g.Key, Value: p.Text, Message: message, Length: p.Length}
		if p.Line > 0 {
			m.Source.Line, m.Source.Column = p.Line, p.Column
		}
		if g.Source.Name == "PORT" {
			m.Key, m.Value = "", ""
			m.Message = fmt.Sprintf("PORT=%q: a number from 1 to 65535", strings.TrimPrefix(p.Text, "0.0.0.0:"))
			m.Mend = "or give an address by -b"
		}
		d.mistake(m)
		ok = false
	}
	if !s.List && len(g.Texts) != 1 {
		wrong(Part{Length: g.Length}, "one value, not a list")
		return nil, false
	}
	for _, p := range g.Texts {
		if p.Text == "" && s.optional() {
			continue
		}
		text, err := s.Normal(p.Text)
		if err == nil && g.Source.Name == "PORT" {
			err = checkPort(p.Text)
		}
		if err == nil && check != nil && g.Source.Origin > Code {
			err = check(text)
		}
		if err != nil {
			wrong(p, err.Error())
			continue
		}
		texts = append(texts, text)
	}
	return texts, ok
}

// optional reports whether an empty text is a value: not set.
func (s *Setting) optional() bool { return s.Default == "" && !s.List }

func checkPort(address string) error {
	port := &Setting{Kind: Int, Min: 1, Max: 65535}
	text := strings.TrimPrefix(address, "0.0.0.0:")
	if strings.Trim(text, "0123456789") != "" {
		return port.want()
	}
	_, err := port.Normal(text)
	return err
}

// unknown is the mistake of a key that no setting has.
func (l *loader) unknown(g *Given) *Mistake {
	m := &Mistake{Source: g.Source, Length: g.Length, Key: g.Key, Message: "unknown key"}
	_, last, _ := strings.Cut(g.Key, ".")
	for _, s := range All() {
		names := slices.Concat(s.Gunicorn, s.UWSGI)
		if slices.Contains(names, g.Key) || last != "" && slices.Contains(names, last) {
			m.Mend = "here it is " + s.Key
			return m
		}
	}
	if near := keyNearest(g.Key, l.Command); near != "" {
		m.Mend = "did you mean " + near + "?"
	}
	return m
}

// title is the command as messages call it.
func (c Command) title() string {
	if c == Program {
		return "this program"
	}
	return "isbjorn " + c.String()
}

// conflicts are the mistakes of values that do not go together.
func (l *loader) conflicts() (mistakes Mistakes) {
	at := func(key, message, mend string) {
		mistakes = append(mistakes, &Mistake{Source: l.Source(key), Key: key, Message: message, Mend: mend})
	}
	certs, keys := len(l.List("tls.cert")), len(l.List("tls.key"))
	switch {
	case certs > keys:
		at("tls.cert", fmt.Sprintf("there are %d certificates and %d keys", certs, keys), "give tls.key for each, in this order")
	case keys > certs:
		at("tls.key", fmt.Sprintf("there are %d keys and %d certificates", keys, certs), "give tls.cert for each, in this order")
	case certs == 0 && l.Text("tls.client_ca") != "":
		at("tls.client_ca", "there is no certificate of the server", "give tls.cert and tls.key")
	}
	for i, addr := range l.List("bind") {
		switch {
		case slices.Contains(l.List("bind")[:i], addr):
			at("bind", fmt.Sprintf("address %q is there twice", addr), "leave one out")
		case strings.HasPrefix(addr, "https://") && certs == 0 && l.Source("bind").Origin > Code:
			at("bind", fmt.Sprintf("%s needs a certificate", addr), "give tls.cert and tls.key")
		}
	}
	sockets := Variable(l.in.Environ, "LISTEN_FDS") != "" && Variable(l.in.Environ, "LISTEN_PID") == strconv.Itoa(os.Getpid())
	if sockets && l.Source("bind").Origin > Platform {
		at("bind", "there are sockets of systemd too (LISTEN_FDS)", "leave bind out, or the socket unit")
	}
	if l.has("dispatch") && l.Text("dispatch") == "inline" && l.Text("request_timeout") != "none" {
		at("request_timeout", "with dispatch = inline nothing can end a request that takes too long",
			"leave dispatch at auto")
	}
	return mistakes
}

func (c *Config) has(key string) bool { _, ok := c.values[key]; return ok }
