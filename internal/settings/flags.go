package settings

import (
	"flag"
	"strings"
)

// A FlagValue is the value of the flag of a setting. It keeps what is given, for Input.Flags, and refuses what the
// setting does not take. Package flag and cobra's pflag can set it.
type FlagValue struct {
	setting *Setting
	command Command
	name    string // of the flag, without dashes
	given   *[]Given
}

// NewFlag returns the value of the flag of a setting, which appends what is given to the list.
func NewFlag(s *Setting, c Command, given *[]Given) *FlagValue {
	return &FlagValue{s, c, s.Flag(c), given}
}

// Set adds a value. It does not check it: all mistakes are said at once, by Load.
func (f *FlagValue) Set(text string) error {
	*f.given = append(*f.given, Given{Key: f.setting.Key, Texts: []Part{{Text: text}},
		Source: Source{Origin: Flags, Name: "--" + f.name}})
	return nil
}

// String is the default, for the help.
func (f *FlagValue) String() string {
	if f == nil || f.setting == nil { // package flag asks the zero value
		return ""
	}
	return f.setting.Default
}

// Type is what the help calls a value (pflag).
func (f *FlagValue) Type() string { return f.setting.argument() }

// IsBoolFlag reports whether the flag may stand without a value.
func (f *FlagValue) IsBoolFlag() bool { return f.setting.Kind == Bool }

// DefineFlags defines a flag for each setting of a command, for programs with package flag. A flag of the same name
// that is there already stays the program's own.
func DefineFlags(flags *flag.FlagSet, c Command, given *[]Given) {
	for _, s := range Of(c) {
		for _, name := range []string{s.Flag(c), s.Alias} {
			if name == "" || flags.Lookup(name) != nil {
				continue
			}
			usage := "`" + s.argument() + "` " + s.Help
			if s.Kind == Bool {
				usage = s.Help
			}
			if name == s.Alias {
				usage = "the same as -" + s.Flag(c)
			}
			if s.List {
				usage += "; may be given several times"
			}
			f := NewFlag(s, c, given)
			f.name = name
			flags.Var(f, name, usage)
		}
	}
}

// VariablePrefix is the prefix of the environment variables of a program, by its name: SHOP_ for shop.
func VariablePrefix(program string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z':
			return r - 'a' + 'A'
		case 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
			return r
		}
		return '_'
	}, program) + "_"
}
