package server

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"

	"github.com/isbjorn/isbjorn/server/internal/logqueue"

	"github.com/isbjorn/isbjorn/gateway"
)

// Main is a whole program around app: the flag -addr, and [Run]. The flag may be given several times, and
// each address is served, in place of those of [Options.Bind]. Without either the address is 0.0.0.0:PORT if
// the environment has PORT, as on platforms that choose a port for a program, and else 127.0.0.1:8080.
//
// Errors are printed on standard error. The exit status is 2 for wrong flags, and 1 for other errors, such as
// an option that cannot work, or -addr together with sockets of systemd. After a stop in order it is 0; if
// connections were cut, because [Options.StopTime] was over, an application blocked its loop or a second
// signal came, it is 1.
//
// A program with flags of its own calls [Flags] and flag.Parse before it uses their values, and so before
// Main: the options are computed when Main is called. If flags were not parsed then, Main ends with status 2.
func Main(app gateway.App, options Options) {
	addrs, err := addressFlag(flag.CommandLine, os.Args[1:])
	if err != nil {
		exit(2, err)
	}
	given := len(addrs) > 0
	if given {
		options.Bind = addrs
	}
	if err := run(app, nil, given, options); err != nil {
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

// Flags defines the flag -addr of [Main] in package flag, for a program that has flags
// of its own:
//
//	size := flag.Int64("size", 1<<20, "most bytes of an upload")
//	server.Flags()
//	flag.Parse()
//	server.Main(app, server.Options{BodyBytes: *size})
func Flags() { defineAddr(flag.CommandLine) }

func defineAddr(flags *flag.FlagSet) {
	flags.Var(new(addrs), "addr", "`address` to listen on: host:port, :port or unix:/path; may be given several times\n"+
		"(default: those that the program has chosen, else 127.0.0.1:8080, or 0.0.0.0:$PORT)")
}

// addrs is the value of the flag -addr.
type addrs []string

func (a *addrs) String() string     { return strings.Join(*a, " ") }
func (a *addrs) Set(s string) error { *a = append(*a, s); return nil }

// addressFlag returns the addresses of the flag -addr. It parses the command line if the program has not.
func addressFlag(flags *flag.FlagSet, args []string) ([]string, error) {
	var others []string
	flags.VisitAll(func(f *flag.Flag) {
		if f.Name != "addr" {
			others = append(others, "-"+f.Name)
		}
	})
	f := flags.Lookup("addr")
	switch {
	case f == nil && flags.Parsed():
		return nil, errors.New("server: flag.Parse was called before Main, and -addr is not defined; call server.Flags before flag.Parse")
	case !flags.Parsed() && len(others) > 0:
		// Too late to parse them here: Options{BodyBytes: *size} was computed
		// before Main was called, so from the default of -size, whatever the command line says.
		return nil, fmt.Errorf("server: the flags %s were not parsed before Main; call server.Flags and flag.Parse before their values are used", strings.Join(others, ", "))
	case f == nil:
		defineAddr(flags)
		f = flags.Lookup("addr")
	}
	given, ok := f.Value.(*addrs)
	if !ok {
		return nil, errors.New("server: the flag -addr is the program's own; define it by server.Flags, or call server.Run with its value in place of Main")
	}
	if !flags.Parsed() {
		if err := flags.Parse(args); err != nil {
			return nil, err // not for flag.CommandLine, which exits
		}
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("server: unexpected argument %q; the address is given by -addr", flags.Arg(0))
	}
	return *given, nil
}
