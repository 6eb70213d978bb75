package server

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/isbjorn/isbjorn/internal/settings"
	"github.com/isbjorn/isbjorn/server/internal/logqueue"

	"github.com/isbjorn/isbjorn/gateway"
)

// Main is a whole program around app: settings of an operator, and [Run]. It serves the addresses of
// [Options.Bind].
//
// An operator may change each option that can be written as a text, unless it is in [Options.Fixed]. The last of
// these that gives a value counts: the default; options; PORT in the environment, which means 0.0.0.0:PORT; the file
// of the flag -config, or of the variable SHOP_CONFIG for a program called shop, or ISBJORN_CONFIG; a variable such as
// ISBJORN_HEAD_TIMEOUT, or SHOP_HEAD_TIMEOUT, which has more weight; a flag such as -head-timeout. The key in the file
// is head_timeout (TOML); that of a field of a struct is in its section, such as cert in [tls] for TLS.Cert. -help
// lists the flags; -print-config prints all values, each with its source. -addr is another name of -bind.
//
// Errors are printed on standard error. The exit status is 2 for a setting or an option that is wrong; all mistakes
// are printed, each with its place and what would do. It is 1 for other errors, such as an address that is in use.
// After a stop in order it is 0; if connections were cut, because [Options.StopTimeout] was over, an application
// blocked its loop or a second signal came, it is 1.
//
// A program with flags of its own calls [Flags] and flag.Parse before it uses their values, and so before
// Main: the options are computed when Main is called. If flags were not parsed then, Main ends with status 2.
func Main(app gateway.App, options Options) {
	receiveSIGPIPE()
	m, err := parseFlags(flag.CommandLine, os.Args[1:])
	if err != nil {
		exit(2, err)
	}
	config, mistakes := m.load(&options, os.Args[0], os.Environ())
	if mistakes.Failed() {
		exit(2, mistakes)
	}
	if err := errors.Join(checkFixed(options.Fixed), options.Check()); err != nil {
		exit(2, fmt.Errorf("%w%s", err, config.Sources(err.Error())))
	}
	var lines logqueue.Queue
	for _, hint := range mistakes {
		lines.Print(os.Stderr, hint.String())
	}
	lines.Flush(logqueue.FlushTime)
	if m.print {
		if err := config.Print(os.Stdout); err != nil {
			exit(1, err)
		}
		return
	}
	if err := run(app, nil, options); err != nil {
		exit(1, err)
	}
}

// exit prints err and ends the program. If the reader of standard error hangs, it waits logqueue.FlushTime.
func exit(status int, err error) {
	var lines logqueue.Queue
	lines.Print(os.Stderr, err.Error())
	lines.Flush(logqueue.FlushTime)
	os.Exit(status)
}

// Flags defines the flags of [Main] in package flag, for a program that has flags of its own:
//
//	size := flag.Int64("size", 1<<20, "most bytes of an upload")
//	server.Flags()
//	flag.Parse()
//	server.Main(app, server.Options{BodyBytes: *size})
//
// A flag that the program has defined before stays as it is; that setting can still be given by the environment, or
// in a file.
func Flags() { defineFlags(flag.CommandLine) }

// mainFlags is what the flags of Main give. It is the value of the flag -print-config.
type mainFlags struct {
	given []settings.Given
	file  string // -config
	print bool   // -print-config
}

func (m *mainFlags) String() string   { return "" }
func (m *mainFlags) IsBoolFlag() bool { return true }

// Set takes what package flag gives for -print-config.
func (m *mainFlags) Set(text string) error {
	m.print = text == "true"
	return nil
}

const printConfig = "print-config"

func defineFlags(flags *flag.FlagSet) *mainFlags {
	m := &mainFlags{}
	flags.Var(m, printConfig, "print all settings, each with its source, and end")
	if flags.Lookup("config") == nil {
		flags.StringVar(&m.file, "config", "", "`FILE` with settings (TOML)")
	}
	settings.DefineFlags(flags, settings.Program, &m.given)
	return m
}

// parseFlags returns what the flags give. It parses the command line if the program has not.
func parseFlags(flags *flag.FlagSet, args []string) (*mainFlags, error) {
	if f := flags.Lookup("addr"); f != nil {
		if _, ours := f.Value.(*settings.FlagValue); !ours {
			return nil, errors.New("server: the flag -addr is the program's own; define it by server.Flags, " +
				"or call server.Run with its value in place of Main")
		}
	}
	var m *mainFlags
	if f := flags.Lookup(printConfig); f != nil {
		m, _ = f.Value.(*mainFlags)
	}
	if m == nil {
		var others []string
		flags.VisitAll(func(f *flag.Flag) { others = append(others, "-"+f.Name) })
		switch {
		case flags.Parsed():
			return nil, errors.New("server: flag.Parse was called before Main, and its flags are not defined; " +
				"call server.Flags before flag.Parse")
		case len(others) > 0:
			return nil, notParsed(others)
		}
		m = defineFlags(flags)
	} else if !flags.Parsed() {
		var others []string
		flags.VisitAll(func(f *flag.Flag) {
			if _, ours := f.Value.(*settings.FlagValue); !ours && f.Name != printConfig && f.Name != "config" {
				others = append(others, "-"+f.Name)
			}
		})
		if len(others) > 0 {
			return nil, notParsed(others)
		}
	}
	if !flags.Parsed() {
		if err := flags.Parse(args); err != nil {
			return nil, err // not for flag.CommandLine, which exits
		}
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("server: unexpected argument %q; an address is given by -addr", flags.Arg(0))
	}
	return m, nil
}

// notParsed is the error for flags of the program that Main finds before they are parsed. It is too late to parse
// them there: Options{BodyBytes: *size} was computed before Main was called, so from the default of -size, whatever
// the command line says.
func notParsed(names []string) error {
	return fmt.Errorf("server: the flags %s were not parsed before Main; "+
		"call server.Flags and flag.Parse before their values are used", strings.Join(names, ", "))
}

// load adds what an operator has given to the options of a program.
func (m *mainFlags) load(o *Options, program string, environ []string) (*settings.Config, settings.Mistakes) {
	own := settings.VariablePrefix(strings.TrimSuffix(filepath.Base(program), ".exe"))
	prefixes := []string{own, "ISBJORN_"}
	config, mistakes := settings.Load(settings.Input{
		Command: settings.Program, Code: settings.FromOptions(o, settings.Program), Fixed: settings.KeysOf(o.Fixed),
		Environ: environ, Prefixes: prefixes, Flags: m.given,
		Check: map[string]func(string) error{"bind": checkAddress},
		File:  cmp.Or(m.file, settings.Variable(environ, own+"CONFIG"), settings.Variable(environ, "ISBJORN_CONFIG")),
	})
	if !mistakes.Failed() {
		config.Fill(o)
		o.Bind = config.List("bind")
	}
	return config, mistakes
}

// checkAddress is CheckAddress without the package in its error: the mistake says where the address was given.
func checkAddress(addr string) error {
	if err := CheckAddress(addr); err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), "server: "))
	}
	return nil
}

// checkFixed refuses a name in the option Fixed that no operator could set.
func checkFixed(names []string) error {
	for _, name := range names {
		if len(settings.KeysOf([]string{name})) == 0 {
			return fmt.Errorf("server: option Fixed has %q; use the name of an option that can be set by a flag", name)
		}
	}
	return nil
}
