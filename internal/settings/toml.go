package settings

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// ReadTOML is the Reader of our own files. It walks the syntax tree, since a decoder would lose the places, and
// would stop at the first mistake. It does not look keys up.
func ReadTOML(name string, data []byte) *Document {
	r := tomlReader{Document: &Document{Name: name, Lines: strings.Split(string(data), "\n")}}
	r.parser.Reset(data)
	var table []string // keys of the last header
	for r.parser.NextExpression() {
		e := r.parser.Expression()
		switch e.Kind {
		case unstable.Table:
			table = r.keys(e)
		case unstable.ArrayTable:
			table = r.keys(e)
			r.mistake(&Mistake{Source: r.at(e.Child()), Length: 1, Key: joinKey(table),
				Message: "no setting is a list of tables", Mend: "write [" + joinKey(table) + "]"})
		case unstable.KeyValue:
			r.keyValue(table, e)
		}
	}
	// The decoder finds what the parser does not: a key that is there twice, a table that is also a value.
	var values map[string]any
	err := r.parser.Error()
	if err == nil {
		err = toml.Unmarshal(data, &values)
	}
	if err == nil {
		return r.Document
	}
	m := &Mistake{Source: Source{Origin: File, Name: name}, Message: strings.TrimPrefix(err.Error(), "toml: ")}
	if wrong := (*unstable.ParserError)(nil); errors.As(err, &wrong) {
		m.Message = wrong.Message
		r.place(m, r.parser.Range(wrong.Highlight))
	} else if wrong := (*toml.DecodeError)(nil); errors.As(err, &wrong) {
		m.Source.Line, m.Source.Column = wrong.Position()
		if r.again(m.Source.Line) {
			return r.Document // Load says it for this and further ones, with the line of the first
		}
	}
	r.mistake(m)
	return r.Document
}

// again reports whether the key in a line was given above.
func (r *tomlReader) again(line int) bool {
	for i, g := range r.Given {
		if g.Source.Line == line {
			return slices.ContainsFunc(r.Given[:i], func(above Given) bool { return above.Key == g.Key })
		}
	}
	return false
}

type tomlReader struct {
	*Document
	parser unstable.Parser
}

// keys are the parts of a dotted key.
func (r *tomlReader) keys(e *unstable.Node) (keys []string) {
	for it := e.Key(); it.Next(); {
		keys = append(keys, string(it.Node().Data))
	}
	return keys
}

func (r *tomlReader) at(n *unstable.Node) Source {
	m := &Mistake{}
	r.place(m, n.Raw)
	return Source{Origin: File, Name: r.Name, Line: m.Source.Line, Column: m.Source.Column}
}

// place sets line, column and length of a mistake.
func (r *tomlReader) place(m *Mistake, raw unstable.Range) {
	start := r.parser.Shape(raw).Start
	m.Source.Line, m.Source.Column = start.Line, start.Column
	m.Length = int(raw.Length)
	if i := start.Line - 1; i < len(r.Lines) {
		m.Length = min(m.Length, len(r.Lines[i])-start.Column+1)
	}
}

// keyValue reads key = value, in the table of the last header or in an inline table.
func (r *tomlReader) keyValue(table []string, e *unstable.Node) {
	key := e.Key()
	key.Next()
	first := key.Node()
	path := append(table[:len(table):len(table)], r.keys(e)...)
	value := e.Value()
	if value.Kind == unstable.InlineTable {
		for it := value.Children(); it.Next(); {
			r.keyValue(path, it.Node())
		}
		return
	}
	m := &Mistake{}
	r.place(m, first.Raw)
	g := Given{Key: joinKey(path), Source: r.at(first), Length: m.Length}
	if name, pair := pairSetting(path); pair {
		g.Key = name
	}
	values := []*unstable.Node{value}
	if value.Kind == unstable.Array {
		values = values[:0]
		for it := value.Children(); it.Next(); {
			if it.Node().Kind != unstable.Comment {
				values = append(values, it.Node())
			}
		}
	}
	for _, v := range values {
		text, ok := r.text(v)
		m := &Mistake{Source: Source{Origin: File, Name: r.Name}, Key: g.Key}
		if v.Kind == unstable.Bool { // has no range
			m.Source.Line = g.Source.Line
		} else {
			r.place(m, v.Raw)
		}
		if !ok {
			m.Message = "must be a text, a number, true or false, or a list of these"
			r.mistake(m)
			return
		}
		if g.Key != joinKey(path) {
			text = path[len(path)-1] + "=" + text
		}
		g.Texts = append(g.Texts, Part{Text: text, Line: m.Source.Line, Column: m.Source.Column, Length: m.Length})
	}
	r.Given = append(r.Given, g)
}

func (r *tomlReader) text(v *unstable.Node) (string, bool) {
	switch v.Kind {
	case unstable.String, unstable.Bool, unstable.Float:
		return string(v.Data), true
	case unstable.Integer:
		text := strings.ReplaceAll(string(v.Data), "_", "")
		if strings.HasPrefix(text, "0o") { // a file mode
			return text, true
		}
		if n, err := strconv.ParseInt(text, 0, 64); err == nil {
			text = strconv.FormatInt(n, 10)
		}
		return text, true
	}
	return "", false
}

func joinKey(path []string) string { return strings.Join(path, ".") }

// pairSetting is the key of the setting of pairs whose table path is in: static.map for a key of [static.map].
func pairSetting(path []string) (key string, ok bool) {
	if len(path) < 2 {
		return "", false
	}
	key = joinKey(path[:len(path)-1])
	s := Find(key, everywhere)
	return key, s != nil && s.Kind == Pair
}
