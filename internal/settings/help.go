package settings

import (
	"fmt"
	"slices"
	"strings"
)

// helpWidth is the columns of a help text.
const helpWidth = 80

// Usage is the settings of a command for its --help: the common ones, or all, by group. It has a line for each.
func Usage(c Command, everything bool) string {
	var b strings.Builder
	for _, group := range groups {
		heading := true
		for _, s := range Of(c) {
			if s.Group != group || !everything && s.Common&c == 0 {
				continue
			}
			if heading && everything {
				fmt.Fprintf(&b, "\n%s:\n", group)
			}
			heading = false
			b.WriteString(s.usageLine(c))
		}
	}
	return b.String()
}

func (s *Setting) usageLine(c Command) string {
	left := "      --" + s.Flag(c)
	if s.Short != "" {
		left = "  -" + s.Short + ", --" + s.Flag(c)
	}
	if s.Kind != Bool {
		left += " " + s.argument()
	}
	line := fmt.Sprintf("%-32s %s", left, s.Help)
	if d := s.shownDefault(); d != "" && len(line)+len(d)+3 <= helpWidth {
		line += " (" + d + ")"
	}
	return line + "\n"
}

func (s *Setting) shownDefault() string {
	if s.Kind == Bool && s.Default == "false" || s.Default == "none" || strings.Contains(s.Help, "auto:") {
		return ""
	}
	return s.Default
}

var kindArguments = map[Kind]string{
	Text: "TEXT", Int: "N", Duration: "TIME", Bytes: "SIZE", Mode: "MODE", Enum: "WORD", Pair: "NAME=VALUE",
}

var changes = []string{
	OnReload: "at a reload", NewWorkers: "at a reload, with new processes", OnRestart: "when the program is started again",
}

// argument is what the help calls a value.
func (s *Setting) argument() string {
	switch {
	case s.Arg != "":
		return s.Arg
	case s.Kind == Enum && len(strings.Join(s.Values, "|")) <= 16:
		return strings.Join(s.Values, "|")
	}
	return kindArguments[s.Kind]
}

// Explain is the help for one key: what it is, its unit, default and range, how to give it, and what it is elsewhere.
// A key may be given as an option of Go, a flag, a variable, or by the name that gunicorn or uWSGI has. If there is
// none the error says which key is like it.
func Explain(name string) (string, error) {
	rows := lookup(name)
	if len(rows) == 0 {
		key := strings.ToLower(strings.ReplaceAll(strings.TrimLeft(name, "-"), "-", "_"))
		if mend := didYouMeanKey(key, everywhere); mend != "" {
			return "", fmt.Errorf("%s: no such setting; %s", name, mend)
		}
		return "", fmt.Errorf("%s: no such setting; isbjorn static --help-all has a list", name)
	}
	var b strings.Builder
	for i, s := range rows {
		if i > 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(&b, "%s: %s\n\n", s.Key, s.Help)
		row := func(name, text string) {
			if text != "" {
				fmt.Fprintf(&b, "  %-13s %s\n", name, text)
			}
		}
		value := strings.TrimPrefix(strings.TrimPrefix(s.want(), "a "), "one of ")
		if s.List {
			value += "; any number of them"
		}
		row("value", value)
		row("default", s.literal(s.defaults()))
		row("file", fmt.Sprintf("%s = %s", s.Key, s.literal(s.example())))
		row("flag", s.flags())
		row("environment", "ISBJORN_"+s.Variable())
		if s.Option != "" {
			row("Go", "server.Options."+s.Option)
		}
		row("gunicorn", strings.Join(s.Gunicorn, ", "))
		row("uWSGI", strings.Join(s.UWSGI, ", "))
		row("used by", s.users())
		if s.For&Run != 0 {
			row("takes effect", changes[s.Change])
		} else {
			row("takes effect", "when the program is started again (SIGUSR2 loses no request)")
		}
	}
	return b.String(), nil
}

// lookup finds the rows with a name of any kind.
func lookup(name string) (rows []*Setting) {
	bare := strings.TrimLeft(name, "-")
	for _, s := range All() {
		names := []string{s.Key, s.Alias, s.Option, s.Variable(), "ISBJORN_" + s.Variable()}
		names = slices.Concat(names, s.Gunicorn, s.UWSGI)
		for c := Program; c <= Run; c <<= 1 {
			names = append(names, s.Flag(c))
		}
		if bare != "" && slices.Contains(names, bare) {
			rows = append(rows, s)
		}
	}
	exact := slices.ContainsFunc(rows, func(s *Setting) bool { return s.Key == bare })
	found := rows
	rows = nil
	for _, s := range All() { // both rows of a key that has two
		if slices.ContainsFunc(found, func(f *Setting) bool { return f.Key == s.Key }) && (!exact || s.Key == bare) {
			rows = append(rows, s)
		}
	}
	return rows
}

func (s *Setting) example() []string {
	if d := s.defaults(); len(d) > 0 {
		return d
	}
	return []string{map[bool]string{true: "...", false: s.argument()}[s.Arg == ""]}
}

func (s *Setting) flags() string {
	var list []string
	if s.Short != "" {
		list = append(list, "-"+s.Short)
	}
	for c := Program; c <= Run; c <<= 1 {
		if flag := "--" + s.Flag(c); s.For&c != 0 && !slices.Contains(list, flag) {
			list = append(list, flag)
		}
	}
	if s.Alias != "" {
		list = append(list, "--"+s.Alias)
	}
	return strings.Join(list, ", ")
}

func (s *Setting) users() string {
	var list []string
	for c := Program; c <= Run; c <<= 1 {
		if s.For&c != 0 {
			list = append(list, map[Command]string{Program: "Go programs"}[c]+map[bool]string{true: c.title()}[c != Program])
		}
	}
	return strings.Join(list, ", ")
}
