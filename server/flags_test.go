package server

import (
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
)

// The addresses of Main are those of the command line, whoever parses it. A flag whose
// value is read before that is refused, since it is the default, whatever was given.
func TestFlags(t *testing.T) {
	for name, tt := range map[string]struct {
		own     func(*flag.FlagSet) // what the program does with its flags before Main
		args    string
		want    string // the addresses
		refused string // a part of the error
	}{
		"none":       {nil, "", `[]`, ""},
		"one":        {nil, "-addr :1", `[":1"]`, ""},
		"several":    {nil, "-addr :1 --addr=unix:/s -addr :2", `[":1" "unix:/s" ":2"]`, ""},
		"empty":      {nil, "-addr=", `[""]`, ""},
		"more":       {nil, "-addr :1 :2", "", `unexpected argument ":2"; the address is given by -addr`},
		"unknown":    {nil, "-n 1", "", "-n"},
		"not parsed": {func(f *flag.FlagSet) { f.Int("n", 0, ""); f.Int("m", 0, "") }, "-n 1", "", "-m, -n were not parsed before Main; call server.Flags and flag.Parse"},
		"defined, not parsed": {func(f *flag.FlagSet) { f.Int("n", 0, ""); defineAddr(f) }, "-n 1", "",
			"-n were not parsed before Main; call server.Flags and flag.Parse"},
		"parsed":             {func(f *flag.FlagSet) { f.Int("n", 0, ""); defineAddr(f); parse(f, "-n 1 -addr :1") }, "never seen", `[":1"]`, ""},
		"parsed too early":   {func(f *flag.FlagSet) { f.Int("n", 0, ""); parse(f, "-n 1") }, "", "", "call server.Flags before flag.Parse"},
		"parsed with more":   {func(f *flag.FlagSet) { defineAddr(f); parse(f, "-addr :1 :2") }, "", "", `unexpected argument ":2"`},
		"defined by itself":  {func(f *flag.FlagSet) { f.String("addr", "", "") }, "-addr :1", "", "-addr is the program's own"},
		"its own, and parse": {func(f *flag.FlagSet) { f.String("addr", "", ""); parse(f, "-addr :1") }, "", "", "-addr is the program's own"},
	} {
		t.Run(name, func(t *testing.T) {
			flags := flag.NewFlagSet("program", flag.ContinueOnError)
			flags.SetOutput(io.Discard)
			if tt.own != nil {
				tt.own(flags)
			}
			got, err := addressFlag(flags, strings.Fields(tt.args))
			if (err != nil) != (tt.refused != "") || err != nil && !strings.Contains(err.Error(), tt.refused) {
				t.Fatalf("%v, want an error with %q", err, tt.refused)
			}
			if is := fmt.Sprintf("%q", got); is != tt.want && tt.refused == "" {
				t.Errorf("%s, want %s", is, tt.want)
			}
		})
	}
}

func parse(f *flag.FlagSet, args string) { _ = f.Parse(strings.Fields(args)) }

// PORT is that of a platform which chooses a port for a program.
func TestDefaultAddress(t *testing.T) {
	for port, want := range map[string]string{
		"": "127.0.0.1:8080", "5000": "0.0.0.0:5000", "1": "0.0.0.0:1", "65535": "0.0.0.0:65535",
		"0": "", "65536": "", "-1": "", "http": "", " 80": "", "+80": "", "tcp://10.0.0.1:80": "", "127.0.0.1:80": "",
	} {
		t.Setenv("PORT", port)
		got, err := defaultAddress()
		if want == "" {
			if err == nil || !strings.Contains(err.Error(), "PORT=") || !strings.Contains(err.Error(), port) || !strings.Contains(err.Error(), "-addr") {
				t.Errorf("PORT=%q: %q, %v; want an error that names it, and -addr", port, got, err)
			}
		} else if err != nil || !slices.Equal(got, []string{want}) {
			t.Errorf("PORT=%q: %q, %v; want %q", port, got, err, want)
		}
	}
}
