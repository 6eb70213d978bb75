package settings

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// file writes a configuration file, and goes to its directory, so that messages have its name alone.
func file(t testing.TB, name, text string) string {
	t.Helper()
	t.Chdir(t.TempDir())
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func flagOf(c Command, key, text string) Given {
	var given []Given
	_ = NewFlag(Find(key, c), c, &given).Set(text)
	return given[0]
}

// The last of default, code, platform, file, environment and flags that gives a value has it.
func TestPrecedence(t *testing.T) {
	in := Input{Command: Run, Prefixes: []string{"SHOP_", "ISBJORN_"}}
	check := func(key, want, source string) {
		t.Helper()
		c, mistakes := Load(in)
		if mistakes.Failed() {
			t.Fatal(mistakes)
		}
		if got := strings.Join(c.List(key), " "); got != want || c.Source(key).String() != source {
			t.Errorf("%s is %q by %v, want %q by %s", key, got, c.Source(key), want, source)
		}
	}
	check("workers", "auto", "default")
	in.Code = []Given{{Key: "workers", Texts: []Part{{Text: "1"}}, Source: Source{Origin: Code}}}
	check("workers", "1", "code")
	in.Environ = []string{"WEB_CONCURRENCY=2", "PORT=5000"}
	check("workers", "2", "env WEB_CONCURRENCY")
	check("bind", "0.0.0.0:5000", "env PORT")
	in.File = file(t, "isbjorn.toml", "\nworkers = 3\nbind = ['127.0.0.1:1', \"unix:/s\"]\n")
	check("workers", "3", "isbjorn.toml:2")
	check("bind", "127.0.0.1:1 unix:/s", "isbjorn.toml:3")
	in.Environ = append(in.Environ, "ISBJORN_WORKERS=4", "ISBJORN_BIND=:2, :3", "ISBJORN_THREADS=")
	check("workers", "4", "env ISBJORN_WORKERS")
	check("bind", ":2 :3", "env ISBJORN_BIND")
	check("threads", "1", "default") // an empty variable gives nothing
	in.Environ = append(in.Environ, "SHOP_WORKERS=5", "SHOP_NAME_OF_ITS_OWN=x")
	check("workers", "5", "env SHOP_WORKERS")
	in.Flags = []Given{flagOf(Run, "workers", "6"), flagOf(Run, "bind", ":4"), flagOf(Run, "bind", ":5"), flagOf(Run, "workers", "7")}
	check("workers", "7", "flag --workers")
	check("bind", ":4 :5", "flag --bind")
}

// PORT that loses is said, and one that is no port is refused.
func TestPort(t *testing.T) {
	in := Input{Command: Static, Environ: []string{"PORT=5000", "WEB_CONCURRENCY=x"}, File: file(t, "isbjorn.toml", "bind = ':1'")}
	c, mistakes := Load(in)
	if mistakes.Failed() || len(mistakes) != 1 || mistakes[0].String() != "env PORT: hint: PORT=5000 is not used: bind is set by isbjorn.toml:1" || c.Text("bind") != ":1" {
		t.Errorf("%v, %v", c.List("bind"), mistakes)
	}
	for _, port := range []string{"0", "65536", "-1", "http", " 80", "+80", "tcp://10.0.0.1:80", "127.0.0.1:80"} {
		_, mistakes := Load(Input{Command: Static, Environ: []string{"PORT=" + port}})
		if !mistakes.Failed() || !strings.Contains(mistakes.Error(), `env PORT: PORT="`+port+`": must be a number from 1 to 65535; or give an address by -b`) {
			t.Errorf("PORT=%s: %v", port, mistakes)
		}
	}
	for _, port := range []string{"1", "65535"} {
		if c, mistakes := Load(Input{Command: Program, Environ: []string{"PORT=" + port}}); mistakes.Failed() || c.Text("bind") != "0.0.0.0:"+port {
			t.Errorf("PORT=%s: %v, %v", port, c.List("bind"), mistakes)
		}
	}
}

// All mistakes are said at once, each with its place and the mend.
func TestMistakes(t *testing.T) {
	long := strings.Repeat("x", 3)
	for name, tt := range map[string]struct {
		in   Input
		text string
		want string // all but the last line
	}{
		"three": {Input{Command: Run}, "worker = 8\nbind = ':1'\nworkers = \"eight\"\n[log]\nacces = \"-\"\n", `isbjorn.toml:1:1: worker: unknown key; did you mean workers?
    1 | worker = 8
      | ^^^^^^
isbjorn.toml:3:11: workers = "eight": must be a number from 1 to 512, or "auto"
    3 | workers = "eight"
      |           ^^^^^^^
isbjorn.toml:5:1: log.acces: unknown key; did you mean log.access?
    5 | acces = "-"
      | ^^^^^
`},
		"by other names": {Input{Command: Run}, "processes = 8\ntimeout = 3\nharakiri=1\n", `isbjorn.toml:1:1: processes: unknown key; here it is workers
    1 | processes = 8
      | ^^^^^^^^^
isbjorn.toml:2:1: timeout: unknown key; here it is request_timeout
    2 | timeout = 3
      | ^^^^^^^
isbjorn.toml:3:1: harakiri: unknown key; here it is request_timeout
    3 | harakiri=1
      | ^^^^^^^^
`},
		"in a section": {Input{Command: Run}, "access = '-'\n", `isbjorn.toml:1:1: access: unknown key; did you mean log.access?
    1 | access = '-'
      | ^^^^^^
`},
		"a list": {Input{Command: Run}, "workers = [1, 2]\n", `isbjorn.toml:1:1: workers: must be one value, not a list
    1 | workers = [1, 2]
      | ^^^^^^^
`},
		"in a list": {Input{Command: Static}, "[static]\n\tprecompressed = ['gz',\n  'gzip', 1979-05-27]\n", `isbjorn.toml:3:11: static.precompressed: must be a text, a number, true or false, or a list of these
    3 |   'gzip', 1979-05-27]
      |           ^^^^^^^^^^
`},
		"a value in a list": {Input{Command: Static}, "static = { precompressed = ['gz', 'gzip'] }\n", `isbjorn.toml:1:35: static.precompressed = "gzip": must be one of zst, br, gz
    1 | static = { precompressed = ['gz', 'gzip'] }
      |                                   ^^^^^^
`},
		"twice": {Input{Command: Static}, "idle_timeout = 1\nidle_timeout = 2\n", `isbjorn.toml:2:1: idle_timeout: given twice; the first is in line 1; leave one out
    2 | idle_timeout = 2
      | ^^^^^^^^^^^^
`},
		"syntax": {Input{Command: Static}, "idle_timeout = 1\nbody_bytes = 64KiB\n", `isbjorn.toml:2:16: strings must be quoted
    2 | body_bytes = 64KiB
      |                ^
`},
		"tables": {Input{Command: Static}, "[[static]]\nlisting = true\n", `isbjorn.toml:1:3: static: no setting is a list of tables; write [static]
    1 | [[static]]
      |   ^
`},
		"units": {Input{Command: Static}, "body_bytes = '64KB'\nhead_bytes = 1\n", `isbjorn.toml:1:14: body_bytes = "64KB": 64KB may be 1000 or 1024 to the unit; write 64KiB or 64000
    1 | body_bytes = '64KB'
      |              ^^^^^^
isbjorn.toml:2:14: head_bytes = "1": must be a size from 64 to 65533, such as 1024 or 4KiB
    2 | head_bytes = 1
      |              ^
`},
		"flags and variables": {Input{Command: Static, Environ: []string{"ISBJORN_IDLE_TIMEOUT=long", "ISBJORN_IDLE_TIMOUT=1"}, Prefixes: []string{"ISBJORN_"},
			Flags: []Given{flagOf(Static, "body_bytes", "x"), flagOf(Static, "static.listing", "perhaps")}}, "", `env ISBJORN_IDLE_TIMOUT: warning: unknown; did you mean ISBJORN_IDLE_TIMEOUT?
env ISBJORN_IDLE_TIMEOUT: idle_timeout = "long": must be a duration over 0, such as 250ms, 30s or 5m
flag --body-bytes: body_bytes = "x": must be a size of at least 1, such as 4KiB, 64KiB or 1MiB, or "none"
flag --listing: static.listing = "perhaps": must be true or false
`},
		"fixed":      {Input{Command: Program, Fixed: []string{"body_bytes"}, Flags: []Given{flagOf(Program, "body_bytes", "1")}}, "", "flag --body-bytes: body_bytes: the program does not allow this setting to be changed; leave it out\n"},
		"TLS":        {Input{Command: Program, Flags: []Given{flagOf(Program, "tls.cert", "c.pem")}}, "", "flag --tls-cert: tls.cert: there are 1 certificates and 0 keys; give tls.key for each, in this order\n"},
		"https":      {Input{Command: Program, Flags: []Given{flagOf(Program, "bind", "https://:443")}}, "", "flag --bind: bind: https://:443 needs a certificate; give tls.cert and tls.key\n"},
		"no address": {Input{Command: Program}, "bind = []", "isbjorn.toml:1: bind: must be an address, or several; leave the setting out for its default\n"},
		"no values":  {Input{Command: Program}, "body_bytes = []", "isbjorn.toml:1:1: body_bytes: must be one value, not a list\n    1 | body_bytes = []\n      | ^^^^^^^^^^\n"},
		"address twice": {Input{Command: Program, Flags: []Given{flagOf(Program, "bind", ":1"), flagOf(Program, "bind", ":1"), flagOf(Program, "bind", ":1")}}, "",
			"flag --bind: bind: address \":1\" is there twice; leave one out\n"},
		"inline": {Input{Command: Program, Flags: []Given{flagOf(Program, "dispatch", "inline"), flagOf(Program, "request_timeout", "5")}}, "",
			"flag --request-timeout: request_timeout: with dispatch = inline nothing can end a request that takes too long; leave dispatch at auto\n"},
		"an excerpt with tabs": {Input{Command: Static}, "\tx" + long + " = 1 \r\n", "isbjorn.toml:1:2: xxxx: unknown key\n    1 | \txxxx = 1\n      | \t^^^^\n"},
	} {
		t.Run(name, func(t *testing.T) {
			tt.in.File = file(t, "isbjorn.toml", tt.text)
			_, mistakes := Load(tt.in)
			text := mistakes.Error()
			i := strings.LastIndexByte(text, '\n') + 1
			if text[:i] != tt.want {
				t.Errorf("got\n%s\nwant\n%s", text[:i], tt.want)
			}
			if !mistakes.Failed() || !strings.HasSuffix(text[i:], "; nothing was started.") {
				t.Errorf("ends with %q", text[i:])
			}
		})
	}
}

// The program's own options are not judged here: package server does that, by their names in Go.
func TestCodeIsNotJudged(t *testing.T) {
	code := []Given{{Key: "workers", Texts: []Part{{Text: "-5"}}, Source: Source{Origin: Code}}}
	if c, mistakes := Load(Input{Command: Program, Code: code}); len(mistakes) > 0 || c.Text("workers") != "4096" {
		t.Errorf("%v, workers is %s", mistakes, c.Text("workers"))
	}
}

// Errors about options become those of an operator.
func TestInKeys(t *testing.T) {
	c, _ := Load(Input{Command: Proxy, Flags: []Given{flagOf(Proxy, "temp_bytes", "1"), flagOf(Proxy, "proxy.to", "http://To"), flagOf(Proxy, "body_bytes", "2")}})
	for text, want := range map[string]string{
		"option TempBytes is 1; use at least BodyBytes (2), or -1 for no bound": `temp_bytes is 1; use at least body_bytes (2), or "none" for no bound`,
		`option To has "http://To" twice`:                                       `proxy.to has "http://To" twice`,
		"options TLS.Cert and TLS.Key: no such file":                            "tls.cert and tls.key: no such file",
		"leave the option Dispatch out, EOF, UTF-8":                             "leave the option Dispatch out, EOF, UTF-8", // not of this command
		`option ServerHeader is "a \"Fields\" b"; x, or "-" for none`:           `server_header is "a \"Fields\" b"; x, or "none" for none`,
	} {
		if got := c.InKeys(text); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	if got := c.Sources("option TempBytes, the option TempBytes and BodyBytes, and Workers"); got != ` (temp_bytes = "1" by flag --temp-bytes, body_bytes = "2" by flag --body-bytes)` {
		t.Error(got)
	}
}

// What Kubernetes and others add to an environment is neither a setting nor a warning.
func TestInjectedVariables(t *testing.T) {
	in := Input{Command: Static, Prefixes: []string{"ISBJORN_"}, Environ: []string{
		"ISBJORN_PORT=tcp://10.0.0.1:80", "ISBJORN_SERVICE_HOST=10.0.0.1", "ISBJORN_SERVICE_PORT=80", "ISBJORN_SERVICE_PORT_HTTP=80",
		"ISBJORN_PORT_80_TCP=tcp://10.0.0.1:80", "ISBJORN_PORT_80_TCP_ADDR=10.0.0.1", "ISBJORN_PORT_80_TCP_PORT=80", "ISBJORN_PORT_80_TCP_PROTO=tcp",
		"ISBJORN_CONFIG=x", "ISBJORN_APP=a:b", "OTHER=1", "ISBJORN=1",
	}}
	c, mistakes := Load(in)
	if len(mistakes) > 0 || c.Source("bind").Origin != Default {
		t.Errorf("%v, bind is %v", mistakes, c.List("bind"))
	}
}

// A file that is not there, or that no reader knows, is an error of its name.
func TestFiles(t *testing.T) {
	file(t, "isbjorn.yaml", "")
	for name, want := range map[string]string{
		"missing.toml": "missing.toml: no such file", "isbjorn.yaml": "its name must end with .toml", ".": "not a regular file",
	} {
		if _, mistakes := Load(Input{Command: Static, File: name}); !mistakes.Failed() || !strings.Contains(mistakes.Error(), want) {
			t.Errorf("%s: %v", name, mistakes)
		}
	}
	var all Mistakes
	if _, m := Load(Input{Command: Static, File: "missing.toml"}); !errors.As(error(m), &all) {
		t.Error("Mistakes are no error")
	}
}

// A file may have settings of other commands: they are not used, and a hint says so.
func TestOtherCommands(t *testing.T) {
	in := Input{Command: Static, File: file(t, "isbjorn.toml", "threads = 4\n[proxy]\nretries = 1\n[static.map]\n'/a' = 'b'\n")}
	_, mistakes := Load(in)
	if mistakes.Failed() || len(mistakes) != 3 || mistakes[0].String() != "isbjorn.toml:1: hint: threads: not used by isbjorn static" {
		t.Errorf("%v", mistakes)
	}
	in.Command = Run
	c, mistakes := Load(in)
	if mistakes.Failed() || !slices.Equal(c.List("static.map"), []string{"/a=b"}) {
		t.Errorf("%v, %v", c.List("static.map"), mistakes)
	}
}

// What is printed can be read, and is printed the same but for the sources.
func FuzzPrint(f *testing.F) {
	f.Add("9s", "a b", uint8(0))
	f.Add("none", "\"\\\x7f\u00e9\x01", uint8(40))
	f.Add("1m", "\xff", uint8(3))
	f.Add("auto", "=", uint8(200))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text, other string, which uint8) {
		// Whatever values a configuration has, Print is a fixed point of Load.
		for c := Program; c <= Run; c <<= 1 {
			rows := Of(c)
			in := Input{Command: c}
			for i, s := range []*Setting{rows[int(which)%len(rows)], rows[int(which+7)%len(rows)], rows[int(which)/2%len(rows)]} {
				for range map[bool]int{true: 2, false: 1}[s.List] {
					in.Flags = append(in.Flags, flagOf(c, s.Key, []string{text, other, text + other}[i]))
				}
			}
			config, mistakes := Load(in)
			if mistakes.Failed() {
				continue
			}
			printed := config.print(true)
			name := filepath.Join(dir, "printed.toml")
			if err := os.WriteFile(name, []byte(printed), 0o600); err != nil {
				t.Fatal(err)
			}
			again, mistakes := Load(Input{Command: c, File: name})
			if mistakes.Failed() {
				t.Fatalf("%s\n%v", printed, mistakes)
			}
			if a, b := withoutSources(printed), withoutSources(again.print(true)); a != b {
				t.Fatalf("printed\n%s\nread and printed\n%s", a, b)
			}
			if given := again.print(false); withoutSources(given) != withoutSources(printed) {
				t.Fatalf("what is given is\n%s", given)
			}
		}
	})
}

// withoutSources cuts the comments at the ends of lines.
func withoutSources(printed string) string {
	var b strings.Builder
	for line := range strings.Lines(printed) {
		if i := strings.LastIndex(line, " # "); i >= 0 {
			line = line[:i] + "\n"
		}
		b.WriteString(line)
	}
	return b.String()
}

// A configuration file is read, or refused with a place, whatever it contains.
func FuzzTOML(f *testing.F) {
	f.Add([]byte("[log]\naccess = '-'\n[static.map]\n'/a'='b'"))
	f.Add([]byte("a.b.c = [1, {x=2}, [3]]\n[[t]]\nx=1979-05-27\n\"q\" = \"\"\"\nx\n\"\"\"\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		// Every mistake has a line of the file, and an excerpt whose mark is inside of it.
		d := ReadTOML("f.toml", data)
		for _, m := range d.Mistakes {
			if m.Excerpt != "" && (m.Source.Column < 1 || m.Source.Column-1 > len(d.Lines[m.Source.Line-1])) {
				t.Errorf("%+v", m)
			}
			_ = m.String()
		}
		for _, g := range d.Given {
			if g.Source.Line < 1 || g.Source.Line > len(d.Lines) {
				t.Errorf("%+v", g)
			}
		}
	})
}
