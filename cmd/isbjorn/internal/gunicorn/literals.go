package gunicorn

import (
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A statement is a logical line of Python: strings, brackets and \ may have it go on in further lines.
type statement struct {
	text   string
	line   int // of its beginning, from 1
	indent int
}

// statements splits a program; comments are left out. It is lenient: a program that Python refuses has some too.
func statements(source string) (list []statement) {
	var text strings.Builder
	line, begin, depth := 1, 1, 0
	indent := -1 // of the statement, once it has begun
	flush := func() {
		if s := strings.Trim(text.String(), " \t\r\n\f"); s != "" {
			list = append(list, statement{s, begin, max(indent, 0)})
		}
		text.Reset()
	}
	column := 0
	for i := 0; i < len(source); i++ {
		c := source[i]
		if indent < 0 {
			switch c {
			case ' ', '\t', '\f', '\r':
				column++
				continue
			case '\n', '#', '\\':
			default:
				indent, begin = column, line
			}
		}
		switch {
		case c == '#':
			for i+1 < len(source) && source[i+1] != '\n' {
				i++
			}
		case c == '\n':
			line++
			if depth > 0 {
				text.WriteByte(' ')
				break
			}
			flush()
			indent, column = -1, 0
		case c == '\\' && i+1 < len(source) && source[i+1] == '\n':
			i++
			line++
			text.WriteByte(' ')
		case c == '\'' || c == '"':
			end, _ := stringEnd(source, i)
			line += strings.Count(source[i:end], "\n")
			text.WriteString(source[i:end])
			i = end - 1
		case c == ';' && depth == 0:
			flush()
			begin = line
		default:
			if strings.IndexByte("([{", c) >= 0 {
				depth++
			} else if strings.IndexByte(")]}", c) >= 0 {
				depth = max(depth-1, 0)
			}
			text.WriteByte(c)
		}
	}
	flush()
	return list
}

// stringEnd is the place behind a string that begins with the quote at i; closed says that its last quote is there.
func stringEnd(source string, i int) (end int, closed bool) {
	quote := source[i : i+1]
	if strings.HasPrefix(source[i:], strings.Repeat(quote, 3)) {
		quote = strings.Repeat(quote, 3)
	}
	for i += len(quote); i < len(source); i++ {
		switch {
		case source[i] == '\\':
			i++
		case strings.HasPrefix(source[i:], quote):
			return i + len(quote), true
		case source[i] == '\n' && len(quote) == 1:
			return i, false
		}
	}
	return len(source), false
}

var (
	assignment = regexp.MustCompile(`(?s)^([A-Za-z_]\w*)\s*(:[^=]*)?=\s*([^=].*|)$`)
	binding    = regexp.MustCompile(`^([A-Za-z_][\w\s,]*?)\s*(:[^=]*)?([-+*/%&|^@]|//|\*\*|<<|>>)?=($|[^=])`)
	definition = regexp.MustCompile(`^(?:async\s+)?(def|class)\s+(\w+)`)
	imported   = regexp.MustCompile(`(?s)^from\s.*\simport\s+(.*)$`)
	word       = regexp.MustCompile(`[A-Za-z_]\w*`)
)

// literals are the names of a program whose values can be read without running it, in the order of their lines, and
// others with the kind "needs Python". Of names that are not settings only those of the first kind are there.
func literals(source string, isSetting func(string) bool) (values []*value) {
	set := func(name string, line int, kind kind, data any) {
		values = slices.DeleteFunc(values, func(v *value) bool { return v.name == name })
		v := &value{name: name, kind: kind, data: data}
		v.at.Line = line
		values = append(values, v)
	}
	body := -1 // the indent of a function or class whose body is read
	for _, s := range statements(source) {
		if body >= 0 && s.indent > body {
			continue
		}
		body = -1
		text := strings.TrimPrefix(s.text, "\ufeff")
		if m := assignment.FindStringSubmatch(text); m != nil && s.indent == 0 {
			if data, ok := parseLiteral(m[3]); ok {
				set(m[1], s.line, kindLiteral, data)
				continue
			}
		}
		if m := definition.FindStringSubmatch(text); m != nil {
			body = s.indent
			if m[1] == "def" {
				set(m[2], s.line, kindHook, nil)
			}
			continue
		}
		if i := strings.IndexByte(text, ':'); i >= 0 && oneLineBlock.MatchString(text) {
			text = strings.TrimSpace(text[i+1:]) // if x: workers = 3
		}
		names := ""
		if m := imported.FindStringSubmatch(text); m != nil {
			names = m[1]
			if strings.TrimSpace(names) == "*" {
				set("*", s.line, kindNeedsPython, nil)
			}
		} else if m := binding.FindStringSubmatch(text); m != nil {
			names = m[1]
		}
		for _, name := range word.FindAllString(names, -1) {
			if isSetting(name) {
				set(name, s.line, kindNeedsPython, nil)
			}
		}
	}
	return values
}

var oneLineBlock = regexp.MustCompile(`^(if|elif|else|for|while|try|except|finally|with)\b.*:\s*\S`)

// parseLiteral reads a literal of Python: None, True, False, numbers, strings, and lists, tuples, sets and dicts of
// these.
func parseLiteral(text string) (data any, ok bool) {
	p := &literalParser{text: text}
	data, ok = p.value()
	if p.space(); p.peek() == ',' { // a tuple without parentheses
		list := []any{data}
		for ok && p.peek() == ',' {
			p.i++
			if p.space(); p.i == len(p.text) {
				break
			}
			var next any
			next, ok = p.value()
			list = append(list, next)
			p.space()
		}
		data = list
	}
	return data, ok && p.i == len(p.text)
}

// nestingMax is how deep literals may be in one another.
const nestingMax = 50

type literalParser struct {
	text  string
	i     int
	depth int
}

func (p *literalParser) space() {
	for p.i < len(p.text) && strings.IndexByte(" \t\r\n\f", p.text[p.i]) >= 0 {
		p.i++
	}
}

func (p *literalParser) peek() byte {
	if p.i < len(p.text) {
		return p.text[p.i]
	}
	return 0
}

func (p *literalParser) value() (any, bool) {
	if p.depth++; p.depth > nestingMax {
		return nil, false
	}
	defer func() { p.depth-- }()
	p.space()
	switch c := p.peek(); {
	case c == '(' || c == '[':
		return p.list(map[byte]byte{'(': ')', '[': ']'}[c])
	case c == '{':
		return p.dict()
	case c == '-' || c >= '0' && c <= '9' || c == '.':
		return p.number()
	case c == '\'' || c == '"':
		return p.strings()
	}
	name := word.FindString(p.text[p.i:])
	if !strings.HasPrefix(p.text[p.i:], name) || name == "" {
		return nil, false
	}
	if quote := p.i + len(name); quote < len(p.text) && (p.text[quote] == '\'' || p.text[quote] == '"') {
		return p.strings()
	}
	p.i += len(name)
	switch name {
	case "None":
		return nil, true
	case "True":
		return true, true
	case "False":
		return false, true
	}
	return nil, false
}

// list reads a list, or a tuple; a value in parentheses is that value.
func (p *literalParser) list(end byte) (any, bool) {
	p.i++
	list := []any{}
	comma := false
	for {
		p.space()
		if p.peek() == end {
			p.i++
			if end == ')' && len(list) == 1 && !comma {
				return list[0], true
			}
			return list, true
		}
		if len(list) > 0 && !comma {
			return nil, false
		}
		v, ok := p.value()
		if !ok {
			return nil, false
		}
		list = append(list, v)
		p.space()
		if comma = p.peek() == ','; comma {
			p.i++
		}
	}
}

// dict reads a dict, or a set.
func (p *literalParser) dict() (any, bool) {
	p.i++
	pairs, list := map[string]any{}, []any{}
	comma := true
	for {
		p.space()
		if p.peek() == '}' {
			p.i++
			if len(list) > 0 {
				return list, len(pairs) == 0
			}
			return pairs, true
		}
		if !comma {
			return nil, false
		}
		key, ok := p.value()
		if !ok {
			return nil, false
		}
		if p.space(); p.peek() == ':' {
			p.i++
			v, ok := p.value()
			name, isText := key.(string)
			if !ok || !isText {
				return nil, false
			}
			pairs[name] = v
		} else {
			list = append(list, key)
		}
		p.space()
		if comma = p.peek() == ','; comma {
			p.i++
		}
	}
}

var (
	intLiteral   = regexp.MustCompile(`^-?(0[xX](_?[0-9a-fA-F])+|0[oO](_?[0-7])+|0[bB](_?[01])+|[1-9](_?[0-9])*|0(_?0)*)`)
	floatLiteral = regexp.MustCompile(`^-?([0-9](_?[0-9])*)?\.?([0-9](_?[0-9])*)?([eE][-+]?[0-9]+)?`)
)

func (p *literalParser) number() (any, bool) {
	rest := p.text[p.i:]
	whole, float := intLiteral.FindString(rest), floatLiteral.FindString(rest)
	text := whole
	if len(float) > len(whole) {
		text = float
	}
	p.i += len(text)
	if c := p.peek(); text == "" || c == '_' || c == '.' || c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' {
		return nil, false
	}
	text = strings.ReplaceAll(text, "_", "")
	if len(float) > len(whole) {
		f, err := strconv.ParseFloat(text, 64)
		return json.Number(strconv.FormatFloat(f, 'g', -1, 64)), err == nil && strings.ContainsAny(text, ".eE")
	}
	n, err := strconv.ParseInt(text, 0, 64)
	if strings.Trim(text, "-0") == "" {
		n, err = 0, nil
	}
	return json.Number(strconv.FormatInt(n, 10)), err == nil
}

// strings reads strings that stand side by side.
func (p *literalParser) strings() (any, bool) {
	var b strings.Builder
	for {
		start := p.i
		for p.i < len(p.text) && strings.IndexByte("rRuU", p.text[p.i]) >= 0 {
			p.i++
		}
		prefix := strings.ToLower(p.text[start:p.i])
		if c := p.peek(); c != '\'' && c != '"' || len(prefix) > 1 {
			return nil, false // f, b, or a name
		}
		end, closed := stringEnd(p.text, p.i)
		quotes := 1
		if strings.HasPrefix(p.text[p.i:], strings.Repeat(p.text[p.i:p.i+1], 3)) {
			quotes = 3
		}
		body := p.text[p.i:end]
		if !closed {
			return nil, false
		}
		body = body[quotes : len(body)-quotes]
		if prefix != "r" {
			var ok bool
			if body, ok = unescape(body); !ok {
				return nil, false
			}
		}
		b.WriteString(body)
		p.i = end
		p.space()
		if c := p.peek(); c == 0 || strings.IndexByte("'\"rRuU", c) < 0 {
			return b.String(), true
		}
	}
}

// unescape replaces the escapes of a string of Python. One that Python does not know stays as it is.
func unescape(text string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' || i+1 == len(text) {
			b.WriteByte(text[i])
			continue
		}
		i++
		if j := strings.IndexByte(`\'"abfnrtv`, text[i]); j >= 0 {
			b.WriteByte("\\'\"\a\b\f\n\r\t\v"[j])
			continue
		}
		digits, base := 0, 16
		switch c := text[i]; {
		case c == '\n':
			continue
		case c == 'x':
			digits = 2
		case c == 'u':
			digits = 4
		case c == 'U':
			digits = 8
		case c == 'N':
			return "", false
		case c >= '0' && c <= '7':
			for base = 8; digits < 3 && i+digits < len(text) && text[i+digits] >= '0' && text[i+digits] <= '7'; {
				digits++
			}
			i--
		default:
			b.WriteByte('\\')
			b.WriteByte(c)
			continue
		}
		if i+digits >= len(text) {
			return "", false
		}
		n, err := strconv.ParseUint(text[i+1:i+1+digits], base, 32)
		if err != nil || !utf8.ValidRune(rune(n)) || strings.ContainsAny(text[i+1:i+1+digits], "_+-") {
			return "", false
		}
		b.WriteRune(rune(n))
		i += digits
	}
	return b.String(), true
}
