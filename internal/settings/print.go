package settings

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Print writes the configuration as TOML, each value with its source. What it writes can be read by Load, and gives
// the same values.
func (c *Config) Print(w io.Writer) error {
	_, err := io.WriteString(w, c.print(true))
	return err
}

// PrintGiven writes those of the values as TOML that are not defaults.
func (c *Config) PrintGiven(w io.Writer) error {
	_, err := io.WriteString(w, c.print(false))
	return err
}

func (c *Config) print(all bool) string {
	var b strings.Builder
	list := Of(c.Command)
	for _, section := range sections(list) {
		header := section != ""
		for _, s := range list {
			in, name := s.split()
			v := c.value(s.Key)
			if in != section || !all && v.Source.Origin == Default {
				continue
			}
			if header {
				fmt.Fprintf(&b, "\n[%s]\n", section)
				header = false
			}
			fmt.Fprintf(&b, "%s = %s", name, s.literal(v.Texts))
			if all {
				fmt.Fprintf(&b, " # %s", v.Source)
			}
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// sections are those of the settings, "" first.
func sections(list []*Setting) []string {
	names := []string{""}
	seen := map[string]bool{"": true}
	for _, s := range list {
		if section, _ := s.split(); !seen[section] {
			seen[section] = true
			names = append(names, section)
		}
	}
	return names
}

// literal is a value in TOML.
func (s *Setting) literal(texts []string) string {
	if !s.List {
		text := ""
		if len(texts) > 0 {
			text = texts[0]
		}
		return s.literalOne(text)
	}
	parts := make([]string, len(texts))
	for i, text := range texts {
		parts[i] = s.literalOne(text)
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

func (s *Setting) literalOne(text string) string {
	switch {
	case s.Kind == Bool && text != "", s.Kind == Int && text != "none" && text != "auto" && text != "":
		return text
	}
	return quote(text)
}

// quote is a text as a basic string of TOML. What is no UTF-8 becomes U+FFFD, since TOML has no other text.
func quote(text string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range strings.ToValidUTF8(text, string(utf8.RuneError)) {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
