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
	config := &Config{Command: in.Command, File: in.File, values: map[string]Value{}}
	l := loader{Config: config, in: in, file: &Document{}}
	for _, s := range Of(in.Command) {
		l.values[s.Key] = Value{Texts: s.defaults()}
	}
	l.apply(in.Code)
	l.mistakes = nil // what is wrong with the program's own options package server says, by their names in Go
	fromPlatform := platform(getenv(in.Environ), in.Command)
	if in.File != "" {
		readers := in.Readers
		if readers == nil {
			readers = map[string]Reader{".toml": ReadTOML}
		}
		l.file = ReadFile(in.File, readers)
	}
	given, warnings := environment(in.Environ, in.Prefixes, in.Command)
	overridden := func(g Given) *Given { // what has more weight than the platform
		for _, list := range [][]Given{in.Flags, given, l.file.Given} {
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
			l.apply([]Given{g})
		}
	}
	l.mistakes = append(l.mistakes, l.file.Mistakes...)
	l.apply(l.file.Given)
	// The file from its top: its reader has found some mistakes, and apply others. Those of the platform have line 0.
	slices.SortStableFunc(l.mistakes, func(a, b *Mistake) int { return a.Source.Line - b.Source.Line })
	l.mistakes = append(l.mistakes, warnings...)
	l.apply(given)
	l.apply(in.Flags)
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
	file     *Document
	mistakes Mistakes
}

// mistake adds a mistake, with the line of the file if it is in one.
func (l *loader) mistake(m *Mistake) {
	if m.Source.Origin == File {
		l.file.excerpt(m)
	}
	l.mistakes = append(l.mistakes, m)
}

// apply sets the values that one source gives. The first of a list replaces that of a source with less weight, and
// further ones in the same source are added.
func (l *loader) apply(given []Given) {
	seen := map[string]Source{} // of this source
	for i := range given {
		g := &given[i]
		s := Find(g.Key, l.Command)
		if s == nil {
			l.mistake(l.unknown(g))
			continue
		}
		if s.For&l.Command == 0 {
			if g.Source.Origin == File {
				at := g.Source
				at.Column = 0 // without an excerpt
				l.mistake(&Mistake{Severity: Hint, Source: at, Key: g.Key, Message: "not used by " + l.Command.title()})
			}
			continue
		}
		if slices.Contains(l.in.Fixed, g.Key) && g.Source.Origin > Code {
			if g.Source.Origin > Platform {
				l.mistake(&Mistake{Source: g.Source, Length: g.Length, Key: g.Key,
					Message: "the program does not allow this setting to be changed", Mend: "leave it out"})
			}
			continue
		}
		before, again := seen[g.Key]
		twice := again && before.Name == g.Source.Name // two variables of different prefixes are not
		if twice && g.Source.Origin == File && s.Kind != Pair {
			l.mistake(&Mistake{Source: g.Source, Length: g.Length, Key: g.Key,
				Message: fmt.Sprintf("given twice; the first is in line %d", before.Line), Mend: "leave one out"})
			continue
		}
		seen[g.Key] = g.Source
		texts, ok := l.texts(s, g)
		if !ok {
			continue
		}
		if again && s.List && g.Source.Origin != Environment {
			texts = append(l.values[s.Key].Texts, texts...)
		}
		l.values[s.Key] = Value{Texts: texts, Source: g.Source}
	}
}

// texts returns the values that g has for s, in normal form.
func (l *loader) texts(s *Setting, g *Given) (texts []string, ok bool) {
	ok = true
	check := l.in.Check[s.Key]
	wrong := func(p Part, message string) {
		m := &Mistake{Source: g.Source, Key: g.Key, Value: &p.Text, Message: message, Length: p.Length}
		if p.Line > 0 {
			m.Source.Line, m.Source.Column = p.Line, p.Column
		}
		if g.Source.Name == "PORT" {
			m.Key, m.Value = "", nil
			m.Message = fmt.Sprintf("PORT=%q: must be a number from 1 to 65535", strings.TrimPrefix(p.Text, "0.0.0.0:"))
			m.Mend = "or give an address by -b"
		}
		l.mistake(m)
		ok = false
	}
	if !s.List && len(g.Texts) != 1 {
		l.mistake(&Mistake{Source: g.Source, Key: g.Key, Message: "must be one value, not a list", Length: g.Length})
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
		return port.wrong()
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
	m.Mend = didYouMeanKey(g.Key, l.Command)
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
		place := l.Source(key)
		place.Column = 0 // without an excerpt
		mistakes = append(mistakes, &Mistake{Source: place, Key: key, Message: message, Mend: mend})
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
	if l.Source("bind").Origin > Code && len(l.List("bind")) == 0 {
		at("bind", "must be an address, or several", "leave the setting out for its default")
	}
	seen := map[string]int{}
	for _, addr := range l.List("bind") {
		seen[addr]++
		switch {
		case seen[addr] > 2: // said
		case seen[addr] == 2:
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
