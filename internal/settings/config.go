package settings

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// value is that of a key; a key that the command does not have is a mistake of the program.
func (c *Config) value(key string) Value {
	v, ok := c.values[key]
	if !ok {
		panic(fmt.Sprintf("settings: %v has no setting %s", c.Command, key))
	}
	return v
}

// Source is where the value of a setting was given.
func (c *Config) Source(key string) Source { return c.value(key).Source }

// List has the values of a setting; the caller must not change it.
func (c *Config) List(key string) []string { return c.value(key).Texts }

// Text is the value of a setting in normal form; "" if it is not set.
func (c *Config) Text(key string) string {
	if list := c.List(key); len(list) > 0 {
		return list[0]
	}
	return ""
}

// optionNames finds the names of options in the text of an error: HeadBytes, TLS.Cert, "the option To". It finds a
// text in quotes too, which is a value, so that a name in it is not found.
var optionNames = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`"(?:[^"\\]|\\.)*"|(?:\b(?:the )?options? )?\b[A-Z][A-Za-z]*(?:\.[A-Z][A-Za-z]*)?\b`)
})

// named is the setting that a match of optionNames is about: an option of package server, or one of the package that
// does the work of the command, whose key is in the command's section. It is nil if there is none.
func (c *Config) named(match string) *Setting {
	option := match[strings.LastIndexByte(match, ' ')+1:]
	for _, s := range Of(c.Command) {
		if s.Option == option || s.Key == c.Command.String()+"."+keyOf(option) {
			return s
		}
	}
	return nil
}

// InKeys is the text of an error about options of Go in the words of an operator: their keys, and "none" where an
// option has -1 or "-".
func (c *Config) InKeys(text string) string {
	text = optionNames().ReplaceAllStringFunc(text, func(match string) string {
		if s := c.named(match); s != nil {
			return s.Key
		}
		return match
	})
	return strings.NewReplacer(" or -1 ", ` or "none" `, ` or "`+textNone+`" `, ` or "none" `).Replace(text)
}

// Sources says where the options that a text names were given, for an error about how they go together: "" if all of
// them are the program's own.
func (c *Config) Sources(text string) string {
	var list []string
	for _, match := range optionNames().FindAllString(text, -1) {
		s := c.named(match)
		if s == nil || c.Source(s.Key).Origin <= Code {
			continue
		}
		v := c.value(s.Key)
		if one := fmt.Sprintf("%s = %s by %s", s.Key, s.literal(v.Texts), v.Source); !slices.Contains(list, one) {
			list = append(list, one)
		}
	}
	if list == nil {
		return ""
	}
	return " (" + strings.Join(list, ", ") + ")"
}

// Bool is the value of a setting of this kind.
func (c *Config) Bool(key string) bool { return c.Text(key) == "true" }

// Number is the value of a setting with a number: bytes, nanoseconds of a Duration. It is -1 for "none" and 0 for
// "auto".
func (c *Config) Number(key string) int64 { return Find(key, c.Command).number(c.Text(key)) }

// Duration is the value of a setting of this kind: -1 for "none".
func (c *Config) Duration(key string) time.Duration { return time.Duration(c.Number(key)) }

// number is that of a text in normal form.
func (s *Setting) number(text string) int64 {
	switch text {
	case "none":
		return -1
	case "auto", "":
		return 0
	}
	_, n, err := s.parse(text)
	if err != nil {
		panic(fmt.Sprintf("settings: %s = %s: %v", s.Key, strconv.Quote(text), err)) // it is in normal form
	}
	return n
}
