package gateway

import (
	"bytes"
	"iter"
	"maps"
	"net/textproto"
	"slices"
	"strings"

	"github.com/isbjorn/isbjorn/internal/field"
)

// Header is the value of the field called name, in any case; empty if there is none. Repeated
// fields are joined by ", " (RFC 9110 section 5.3), Cookie by "; " (RFC 9113 section 8.2.3). That of
// Host is [Environ.Host]: the authority of a target replaces the field (RFC 9112 section 3.2.2).
func (e *Environ) Header(name string) string {
	v, _ := e.header(name)
	return v
}

func (e *Environ) header(name string) (value string, ok bool) {
	if e.overlay != nil {
		if v, ok := e.overlaidText(cgiName(name)); ok {
			return v, true
		}
	}
	if field.Is(name, "host") {
		return e.authority()
	}
	return e.join(func(field []byte) bool { return sameName(field, name) }, field.Is(name, "cookie"))
}

// join returns the values of the fields that match as one: a view if there is one field, joined in
// scratch if there are more.
func (e *Environ) join(match func(name []byte) bool, cookie bool) (value string, ok bool) {
	fields := e.req.Fields()
	first, n := 0, 0
	for i := range fields {
		if name := fields[i].Name.Of(e.head); match(name) && !e.hidden(name) {
			if n++; n == 1 {
				first = i
			}
		}
	}
	switch n {
	case 0:
		return "", false
	case 1:
		return e.text(fields[first].Value), true
	}
	separator := ", "
	if cookie {
		separator = "; "
	}
	return e.scratchText(func(dst []byte) []byte {
		dst = append(dst, fields[first].Value.Of(e.head)...)
		for _, f := range fields[first+1:] {
			if name := f.Name.Of(e.head); match(name) && !e.hidden(name) {
				dst = append(dst, separator...)
				dst = append(dst, f.Value.Of(e.head)...)
			}
		}
		return dst
	}), true
}

// sameName reports whether field is name, ignoring the case of both.
func sameName(field []byte, name string) bool {
	if len(field) != len(name) || len(field) == 0 || (field[0]^name[0])&^0x20 != 0 {
		return false
	}
	for i, c := range field {
		d := name[i]
		if c != d && (c|0x20 != d|0x20 || c|0x20 < 'a' || c|0x20 > 'z') {
			return false
		}
	}
	return true
}

// hidden reports whether an application does not see a field, see [Environ].
func (e *Environ) hidden(name []byte) bool {
	if bytes.IndexByte(name, '_') < 0 || e.info.Underscores {
		return sameName(name, "proxy")
	}
	if e.info.Hidden != nil {
		e.info.Hidden(textOf(name))
	}
	return true
}

// Headers yields the fields of the request as they came, repeated ones too. A field whose key was
// deleted is left out, one whose key was Set has the new value, and comes once; keys that were Set
// and have no field come at the end.
func (e *Environ) Headers() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		e.check()
		if e.overlay != nil {
			e.changedHeaders(yield)
			return
		}
		for _, f := range e.req.Fields() {
			name := f.Name.Of(e.head)
			if !e.hidden(name) && !yield(textOf(name), e.text(f.Value)) {
				return
			}
		}
	}
}

// changedHeaders is Headers of an Environ with an overlay. yield may change it.
func (e *Environ) changedHeaders(yield func(name, value string) bool) {
	seen := make(map[string]bool)
	for _, f := range e.req.Fields() {
		name := f.Name.Of(e.head)
		if e.hidden(name) {
			continue
		}
		key := cgiName(textOf(name))
		shown, value := textOf(name), e.text(f.Value)
		if v, ok := e.overlay[key]; ok {
			text, isText := v.(string)
			if !isText || seen[key] {
				continue
			}
			value = text
			// X_A and X-A have the same key: a value that was Set is that of X-A.
			shown = strings.ReplaceAll(shown, "_", "-")
		}
		seen[key] = true
		if !yield(shown, value) {
			return
		}
	}
	for _, key := range slices.Sorted(maps.Keys(e.overlay)) {
		name, isField := strings.CutPrefix(key, "HTTP_")
		value, isText := e.overlay[key].(string)
		if !isField || !isText || seen[key] || key == "HTTP_HOST" {
			continue
		}
		if !yield(textproto.CanonicalMIMEHeaderKey(strings.ReplaceAll(name, "_", "-")), value) {
			return
		}
	}
}
