package settings

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// field is the field of an options struct that a setting fills; invalid if it fills none.
func (s *Setting) field(options reflect.Value) reflect.Value {
	v := options
	for name := range strings.SplitSeq(s.Option, ".") {
		if v = v.FieldByName(name); !v.IsValid() {
			return v
		}
	}
	return v
}

// Fill sets the fields of the struct that options points to, for each setting with an Option whose value an operator
// has given. The fields of others stay as they are. A value "none" is -1, or "-" in a text, and "auto" the zero value.
func (c *Config) Fill(options any) {
	v := reflect.ValueOf(options).Elem()
	for _, s := range Of(c.Command) {
		if field := s.field(v); field.IsValid() && c.Source(s.Key).Origin > Code {
			s.set(field, c.List(s.Key))
		}
	}
}

// textNone is what a field of text has for "none": server.NoServerHeader.
const textNone = "-"

func (s *Setting) set(field reflect.Value, texts []string) {
	text := ""
	if len(texts) > 0 {
		text = texts[0]
	}
	if setter, ok := field.Addr().Interface().(interface{ Set(string) error }); ok {
		if err := setter.Set(text); err != nil {
			panic(fmt.Sprintf("settings: %s: %v", s.Key, err)) // Values of the table are those of the type
		}
		return
	}
	switch field.Kind() {
	case reflect.Slice:
		field.Set(reflect.ValueOf(append([]string(nil), texts...)))
	case reflect.String:
		switch {
		case s.None && text == "none":
			text = textNone
		case s.Auto && text == "auto":
			text = ""
		}
		field.SetString(text)
	case reflect.Bool:
		field.SetBool(text == "true")
	default:
		field.SetInt(s.number(text))
	}
}

// FromOptions returns what a program has set in the options struct that options points to: the fields that are not
// zero, and no empty list. The values are not checked.
func FromOptions(options any, c Command) (given []Given) {
	v := reflect.ValueOf(options).Elem()
	for _, s := range Of(c) {
		field := s.field(v)
		if !field.IsValid() || field.IsZero() || field.Kind() == reflect.Slice && field.Len() == 0 {
			continue
		}
		g := Given{Key: s.Key, Source: Source{Origin: Code}}
		for _, text := range s.get(field) {
			g.Texts = append(g.Texts, Part{Text: text})
		}
		given = append(given, g)
	}
	return given
}

// KeysOf returns the keys of options, by the names of their fields. It leaves out what no setting fills.
func KeysOf(options []string) (keys []string) {
	for _, s := range All() {
		if s.Option != "" && slices.Contains(options, s.Option) && !slices.Contains(keys, s.Key) {
			keys = append(keys, s.Key)
		}
	}
	return keys
}

// get returns the texts of a field, in normal form.
func (s *Setting) get(field reflect.Value) []string {
	if text, ok := field.Addr().Interface().(fmt.Stringer); ok && s.Kind != Duration {
		return []string{text.String()}
	}
	switch field.Kind() {
	case reflect.Slice:
		return field.Interface().([]string)
	case reflect.String:
		if s.None && field.String() == textNone {
			return []string{"none"}
		}
		return []string{field.String()}
	case reflect.Bool:
		return []string{strconv.FormatBool(field.Bool())}
	}
	n := field.Int()
	switch {
	case s.None && n == -1:
		return []string{"none"}
	case s.Kind == Duration:
		return []string{formatDuration(time.Duration(n))}
	case s.Kind == Bytes:
		return []string{formatBytes(n)}
	}
	return []string{strconv.FormatInt(n, 10)}
}
