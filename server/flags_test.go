package server

import (
	"flag"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/isbjorn/isbjorn/internal/settings"
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
		"none":       {nil, "", `["127.0.0.1:8080"]`, ""},
		"one":        {nil, "-addr :1", `[":1"]`, ""},
		"several":    {nil, "-addr :1 --addr=unix:/s -addr :2", `[":1" "unix:/s" ":2"]`, ""},
		"more":       {nil, "-addr :1 :2", "", `unexpected argument ":2"; an address is given by -addr`},
		"unknown":    {nil, "-n 1", "", "-n"},
		"not parsed": {func(f *flag.FlagSet) { f.Int("n", 0, ""); f.Int("m", 0, "") }, "-n 1", "", "-m, -n were not parsed before Main; call server.Flags and flag.Parse"},
		"defined, not parsed": {func(f *flag.FlagSet) { f.Int("n", 0, ""); defineFlags(f) }, "-n 1", "",
			"-n were not parsed before Main; call server.Flags and flag.Parse"},
		"parsed":             {func(f *flag.FlagSet) { f.Int("n", 0, ""); defineFlags(f); parse(f, "-n 1 -addr :1") }, "never seen", `[":1"]`, ""},
		"parsed too early":   {func(f *flag.FlagSet) { f.Int("n", 0, ""); parse(f, "-n 1") }, "", "", "call server.Flags before flag.Parse"},
		"parsed with more":   {func(f *flag.FlagSet) { defineFlags(f); parse(f, "-addr :1 :2") }, "", "", `unexpected argument ":2"`},
		"defined by itself":  {func(f *flag.FlagSet) { f.String("addr", "", "") }, "-addr :1", "", "-addr is the program's own"},
		"its own, and parse": {func(f *flag.FlagSet) { f.String("addr", "", ""); parse(f, "-addr :1") }, "", "", "-addr is the program's own"},
	} {
		t.Run(name, func(t *testing.T) {
			flags := flag.NewFlagSet("program", flag.ContinueOnError)
			flags.SetOutput(io.Discard)
			if tt.own != nil {
				tt.own(flags)
			}
			m, err := parseFlags(flags, strings.Fields(tt.args))
			if (err != nil) != (tt.refused != "") || err != nil && !strings.Contains(err.Error(), tt.refused) {
				t.Fatalf("%v, want an error with %q", err, tt.refused)
			}
			if err != nil {
				return
			}
			config, mistakes := m.load(&Options{Bind: []string{"127.0.0.1:8080"}}, "/bin/program", nil)
			if is := fmt.Sprintf("%q", config.List("bind")); is != tt.want || mistakes.Failed() {
				t.Errorf("%s, want %s; %v", is, tt.want, mistakes)
			}
		})
	}
}

func parse(f *flag.FlagSet, args string) { _ = f.Parse(strings.Fields(args)) }

// What an operator gives has more weight than the options of the program, and fills them; the rest stays.
func TestSettings(t *testing.T) {
	t.Chdir(t.TempDir())
	file := "[tls]\nmin_version = '1.3'\n" // at the end, so that the rest is without a section
	file = "bind = 'unix:/s'\nhead_timeout = '5s'\nbody_timeout = 6\nserver_header = 'none'\n" + file
	if err := os.WriteFile("shop.toml", []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	flags := flag.NewFlagSet("shop", flag.ContinueOnError)
	m, err := parseFlags(flags, strings.Fields("-body-timeout 7s"))
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Bind: []string{":1"}, HeadTimeout: time.Second, IdleTimeout: 2 * time.Second, Fixed: []string{"BodyBytes"}}
	environ := []string{"SHOP_CONFIG=shop.toml", "SHOP_BODY_TIMEOUT=8", "ISBJORN_DISPATCH=pool", "SHOP_COLOUR=red", "PORT=5000"}
	config, mistakes := m.load(&o, "/usr/bin/shop", environ)
	if mistakes.Failed() {
		t.Fatal(mistakes)
	}
	want := Options{Bind: []string{"unix:/s"}, HeadTimeout: 5 * time.Second, BodyTimeout: 7 * time.Second, IdleTimeout: 2 * time.Second,
		ServerHeader: NoServerHeader, Dispatch: Pool, Fixed: []string{"BodyBytes"}, TLS: TLSOptions{MinVersion: TLS13}}
	if !reflect.DeepEqual(o, want) {
		t.Errorf("%+v\nwant %+v", o, want)
	}
	if s := config.Source("idle_timeout").String(); s != "code" {
		t.Errorf("idle_timeout is by %s", s)
	}
	m.given = append(m.given, settings.Given{Key: "body_bytes", Texts: []settings.Part{{Text: "1"}}, Source: settings.Source{Origin: settings.Flags, Name: "--body-bytes"}})
	if _, mistakes := m.load(&o, "shop", nil); !mistakes.Failed() || !strings.Contains(mistakes.Error(), "does not allow") {
		t.Errorf("BodyBytes is fixed, and is changed: %v", mistakes)
	}
	if err := checkFixed([]string{"BodyByte"}); err == nil || !strings.Contains(err.Error(), `"BodyByte"`) {
		t.Errorf("Fixed with a name that no option has: %v", err)
	}
}

// The table of settings has a row for each option that a text can set, under the name of the option, and with its
// default; and its bounds are those of New.
func TestOptionsHaveRows(t *testing.T) {
	rows := map[string]*settings.Setting{}
	for _, s := range settings.Of(settings.Program) {
		if s.Option != "" {
			rows[s.Option] = s
		}
	}
	defaults, err := newConfig(Options{})
	if err != nil {
		t.Fatal(err)
	}
	given := func(s *settings.Setting, text string) (Options, settings.Mistakes) {
		var list []settings.Given
		_ = settings.NewFlag(s, settings.Program, &list).Set(text)
		config, mistakes := settings.Load(settings.Input{Command: settings.Program, Flags: list})
		var o Options
		config.Fill(&o)
		return o, mistakes
	}
	together := map[string]Options{ // what a value at a bound needs of others
		"TempBytes": {BodyBytes: 1}, "HeadBytes": {TargetBytes: 1}, "TargetBytes": {HeadBytes: 65533, MethodBytes: 7},
		"MethodBytes": {HeadBytes: 65533, TargetBytes: 1},
	}
	for option, ok := range plainOptions(t) {
		if !ok {
			continue
		}
		s := rows[option]
		if s == nil {
			t.Errorf("no setting fills the option %s", option)
			continue
		}
		delete(rows, option)
		if s.Default == "" || s.List || strings.HasPrefix(option, "TLS.") {
			continue
		}
		o, mistakes := given(s, s.Default)
		if mistakes.Failed() {
			t.Error(mistakes)
		}
		c, err := newConfig(o)
		if err != nil {
			t.Errorf("%s: the default of the table is refused: %v", option, err)
			continue
		}
		// What is made new by each call, or holds functions.
		if got, want := c.content.Space.Max, defaults.content.Space.Max; got != want {
			t.Errorf("TempBytes is %d by the table, and %d by default", got, want)
		}
		d := *defaults
		c.content.Space, c.content.Open = nil, nil
		d.content.Space, d.content.Open = nil, nil
		for _, c := range []*config{c, &d} {
			c.log, c.appLog, c.logs, c.loop.Log = nil, nil, nil, nil
		}
		if got, want := fmt.Sprintf("%+v", c), fmt.Sprintf("%+v", &d); got != want {
			t.Errorf("%s with the default of the table:\n%s\nwithout:\n%s", option, got, want)
		}
		// Bounds: what the table takes New takes too.
		for _, n := range []int64{s.Min, s.Max} {
			if n == 0 || s.Kind == settings.Enum {
				continue
			}
			text := strconv.FormatInt(n, 10)
			if s.Kind == settings.Duration {
				text = time.Duration(n).String()
			}
			o, mistakes := given(s, text)
			if mistakes.Failed() {
				t.Error(mistakes)
			}
			base := reflect.ValueOf(together[option])
			for i := range base.NumField() {
				if field := base.Field(i); base.Type().Field(i).IsExported() && !field.IsZero() {
					reflect.ValueOf(&o).Elem().Field(i).Set(field)
				}
			}
			if err := o.Check(); err != nil {
				t.Errorf("%s = %s: the table takes it, and New does not: %v", option, text, err)
			}
		}
	}
	for option := range rows {
		if !strings.HasPrefix(option, "TLS.") {
			t.Errorf("the table has a setting for %s, which is no option", option)
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

// Every option but the functions, the map, the logger and the names in Fixed can be given as text: they are of a
// plain kind, or have Set. The zero Options are the defaults.
func TestOptionsArePlain(t *testing.T) {
	for name, ok := range plainOptions(t) {
		if !ok {
			t.Errorf("no text can set %s", name)
		}
	}
}

// plainOptions has the options that are for an operator, with those of the structs among them, and whether a text can
// set each.
func plainOptions(t *testing.T) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	var walk func(prefix string, options reflect.Type)
	walk = func(prefix string, options reflect.Type) {
		for field := range options.Fields() {
			name := prefix + field.Name
			if !field.IsExported() || slices.Contains([]string{"DispatchBy", "OnStart", "OnReload", "Environ", "Logger", "Fixed", "TLS.Config"}, name) {
				continue
			}
			_, sets := reflect.New(field.Type).Interface().(flag.Value)
			switch reflect.Zero(field.Type).Interface().(type) {
			case int, int64, time.Duration, bool, string, []string:
				sets = true
			}
			if !sets && field.Type.Kind() == reflect.Struct {
				walk(name+".", field.Type)
				continue
			}
			all[name] = sets
		}
	}
	walk("", reflect.TypeFor[Options]())
	return all
}
