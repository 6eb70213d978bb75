package settings

import (
	"slices"
	"strings"
)

// A Command is a kind of program that reads settings.
type Command uint8

// The programs. A set of them is their sum.
const (
	Program Command = 1 << iota // a Go program that calls server.Main
	Static                      // isbjorn static
	Proxy                       // isbjorn proxy
	Run                         // isbjorn run

	everywhere = Program | Static | Proxy | Run
)

var commandNames = map[Command]string{Program: "program", Static: "static", Proxy: "proxy", Run: "run"}

// String returns the name of the command as on a command line.
func (c Command) String() string { return commandNames[c] }

// A Kind is what the text of a value looks like.
type Kind uint8

// The kinds.
const (
	Text     Kind = iota
	Bool          // true, false
	Int           // a number
	Duration      // 250ms, 5s, 2m; a number alone is seconds
	Bytes         // 64KiB, 1m (1024-based); a number alone is bytes
	Mode          // of a file, in octal
	Enum          // one of Setting.Values
	Pair          // name=value
)

// A Change says when a new value of a setting has an effect.
type Change uint8

// The changes.
const (
	OnReload   Change = iota // at a reload, without new workers
	NewWorkers               // at a reload, with new workers
	OnRestart                // when the program is started again
)

// A Setting is a row of the table.
type Setting struct {
	Key     string   // head_timeout, or log.access in a section
	Kind    Kind     // of the value, or of each of a list
	List    bool     // any number of values
	Default string   // normal form; values of a list are separated by commas
	Values  []string // of an Enum
	None    bool     // "none" is a value: none, or no limit
	Auto    bool     // "auto" is a value: the program chooses
	Min     int64    // least value: a number, bytes, or nanoseconds
	Max     int64    // largest value, 0 for no bound
	For     Command  // the programs that use it
	Common  Command  // the programs whose --help has it; the others have it in --help-all
	Group   string   // heading in the help
	Help    string   // one line, without the default
	Short   string   // letter of its flag
	Alias   string   // second name of its flag
	Option  string   // field of server.Options that it fills, "TLS.Cert" for one in a struct
	Change  Change
	Arg     string // what the help calls a value: ADDRESS, FILE

	Gunicorn []string // names of it in gunicorn's configuration
	UWSGI    []string // names of it in uWSGI's
}

// split returns section and name of the key, "log" and "access"; "" and the key for one without a section.
func (s *Setting) split() (section, name string) {
	if section, name, ok := strings.Cut(s.Key, "."); ok {
		return section, name
	}
	return "", s.Key
}

// Flag is the name of the flag for a command, without dashes. In the command that has the name of the section
// the section is left out: static.index is --index of isbjorn static.
func (s *Setting) Flag(c Command) string {
	section, name := s.split()
	if section != "" && section != c.String() {
		name = section + "_" + name
	}
	return strings.ReplaceAll(name, "_", "-")
}

// Variable is the name of the environment variable, without the prefix of the program.
func (s *Setting) Variable() string {
	return strings.ToUpper(strings.ReplaceAll(s.Key, ".", "_"))
}

// keyOf is the key of an option: TLS.ClientCA is tls.client_ca.
func keyOf(option string) string {
	var key []byte
	for i := range len(option) {
		if i > 0 && 'A' <= option[i] && option[i] <= 'Z' && 'a' <= option[i-1] && option[i-1] <= 'z' {
			key = append(key, '_')
		}
		key = append(key, option[i])
	}
	return strings.ToLower(string(key))
}

// Of returns the settings of a command, in the order of the table.
func Of(c Command) []*Setting {
	return slices.DeleteFunc(All(), func(s *Setting) bool { return s.For&c == 0 })
}

// All returns all settings, in the order of the table. A key may have two rows, for different commands.
func All() (list []*Setting) {
	for i := range table {
		list = append(list, &table[i])
	}
	return list
}

// Find returns the setting with a key for a command, or for any if it has none for that one; nil if there is none.
func Find(key string, c Command) *Setting {
	var found *Setting
	for i := range table {
		if s := &table[i]; s.Key == key && (found == nil || s.For&c != 0) {
			found = s
		}
	}
	return found
}
