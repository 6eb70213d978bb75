package settings

import (
	"fmt"
	"strconv"
	"strings"
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

// Sources says where the options that a text names were given, for an error about how they go together: "" if all of
// them are the program's own.
func (c *Config) Sources(text string) string {
	var list []string
	for _, s := range Of(c.Command) {
		if v := c.value(s.Key); s.Option != "" && strings.Contains(text, s.Option) && v.Source.Origin > Code {
			list = append(list, fmt.Sprintf("%s = %s by %s", s.Key, s.literal(v.Texts), v.Source))
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
