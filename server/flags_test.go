package server

import (
	"flag"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// The addresses of Main are those of the command line, whether Main or the program parses it. A flag whose value
// is read before it was parsed is an error: the value is the default, not that of the command line.
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

// What a file or a flag says of an option is what the option prints, in either case.
func TestOptionTexts(t *testing.T) {
	var d DispatchMode
	var u UnderscorePolicy
	var m FileMode
	for _, tt := range []struct {
		value      flag.Value
		text, want string
	}{
		{&d, "inline", "inline"}, {&d, "Pool", "pool"}, {&d, "auto", "auto"},
		{&u, "refuse", "refuse"}, {&u, "Keep", "keep"}, {&u, "drop", "drop"},
		{&m, "0660", "0660"}, {&m, "600", "0600"},
	} {
		if err := tt.value.Set(tt.text); err != nil || tt.value.String() != tt.want {
			t.Errorf("%q: %v, %v; want %s", tt.text, tt.value, err, tt.want)
		}
	}
	for _, value := range []flag.Value{&d, &u, &m} {
		before := value.String()
		if err := value.Set("none"); err == nil || !strings.Contains(err.Error(), `"none"`) || value.String() != before {
			t.Errorf("%T took \"none\": %v, %v", value, value, err)
		}
	}
	if s := fmt.Sprint(DispatchMode(7), UnderscorePolicy(9)); s != "7 9" {
		t.Errorf("unknown values are %s", s)
	}
}

// Every option but the functions, the map and the logger can be given as text: they are of a
// plain kind, or have Set. The zero Options are the defaults.
func TestOptionsArePlain(t *testing.T) {
	for field := range reflect.TypeFor[Options]().Fields() {
		if !field.IsExported() || slices.Contains([]string{"DispatchBy", "OnStart", "Environ", "Logger"}, field.Name) {
			continue
		}
		_, sets := reflect.New(field.Type).Interface().(flag.Value)
		switch reflect.Zero(field.Type).Interface().(type) {
		case int, int64, time.Duration, bool, string, []string:
		default:
			if !sets {
				t.Errorf("%s is a %v, which no text can set", field.Name, field.Type)
			}
		}
	}
}
