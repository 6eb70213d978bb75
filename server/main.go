package server

import (
	"flag"
	"fmt"
	"os"

	"github.com/isbjorn/isbjorn/gateway"
)

// Main is a whole program around app: the flag -addr (default 127.0.0.1:8080),
// and [Run]. What cannot work is reported on standard error and ends the program
// with status 1, so is -addr together with sockets of systemd, and flags with status
// 2; after an orderly end the status is 0.
//
// A program with flags of its own defines them in package flag before Main, and
// does not call flag.Parse.
func Main(app gateway.App, options ...Option) {
	addr := flag.String("addr", "127.0.0.1:8080", "address to listen on: host:port, :port or unix:/path")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(flag.CommandLine.Output(), "unexpected argument %q; the address is given by -addr\n", flag.Arg(0))
		flag.Usage()
		os.Exit(2)
	}
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "addr" })
	if err := run(app, *addr, given, options); err != nil {
		o := newOutlet()
		o.do(func() { fmt.Fprintln(os.Stderr, err) })
		o.flush() // the reader of stderr may hang
		os.Exit(1)
	}
}
