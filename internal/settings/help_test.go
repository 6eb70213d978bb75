package settings

import (
	"flag"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// The help of a command fits a terminal, and has a line for each setting.
func TestUsage(t *testing.T) {
	for c := Program; c <= Run; c <<= 1 {
		usage := Usage(c, true)
		for line := range strings.Lines(usage) {
			if len(line) > helpWidth+1 {
				t.Errorf("%v: %d columns: %s", c, len(line)-1, line)
			}
		}
		for _, s := range Of(c) {
			if !strings.Contains(usage, "--"+s.Flag(c)+" ") {
				t.Errorf("%v: no --%s", c, s.Flag(c))
			}
		}
		if n := strings.Count(Usage(c, false), "\n"); n > 15 || n < 5 {
			t.Errorf("%v: %d common settings", c, n)
		}
	}
}

// A key is explained by any of its names.
func TestExplain(t *testing.T) {
	for _, name := range []string{"request_timeout", "--request-timeout", "RequestTimeout", "ISBJORN_REQUEST_TIMEOUT", "harakiri", "timeout"} {
		text, err := Explain(name)
		if err != nil || !strings.Contains(text, "request_timeout") || !strings.Contains(text, "harakiri") || !strings.Contains(text, "ISBJORN_REQUEST_TIMEOUT") {
			t.Errorf("%s: %v\n%s", name, err, text)
		}
	}
	if _, err := Explain("request_timout"); err == nil || !strings.Contains(err.Error(), "did you mean request_timeout?") {
		t.Error(err)
	}
	if _, err := Explain(""); err == nil {
		t.Error("an empty key is explained")
	}
	for _, s := range All() {
		if text, err := Explain(s.Key); err != nil || strings.Count(text, s.Key+": ") == 0 {
			t.Errorf("%s: %v", s.Key, err)
		}
	}
}

// The flags of a Go program are those of the table; its own flags stay.
func TestDefineFlags(t *testing.T) {
	flags := flag.NewFlagSet("shop", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	own := flags.Duration("idle-timeout", time.Second, "")
	var given []Given
	DefineFlags(flags, Program, &given)
	if err := flags.Parse(strings.Fields("-idle-timeout 3s --addr :1 -bind=:2 -w 3 -body-bytes 1m")); err == nil {
		t.Error("-w is the short form for the command alone")
	}
	given = nil
	if err := flags.Parse(strings.Fields("-idle-timeout 3s --addr :1 -bind=:2 -body-bytes 1m -tls-strict-sni")); err != nil {
		t.Fatal(err)
	}
	c, mistakes := Load(Input{Command: Program, Flags: given})
	if mistakes.Failed() || *own != 3*time.Second || strings.Join(c.List("bind"), " ") != ":1 :2" || c.Text("body_bytes") != "1MiB" || !c.Bool("tls.strict_sni") {
		t.Errorf("%v %v %v", given, mistakes, c)
	}
	if c.Source("body_bytes").String() != "flag --body-bytes" {
		t.Error(c.Source("body_bytes"))
	}
}

type options struct {
	Bind         []string
	HeadTimeout  time.Duration
	BodyBytes    int64
	BodyRate     int
	Workers      int
	ServerHeader string
	TempDir      string
	Dispatch     word
	TLS          struct {
		Cert      []string
		StrictSNI bool
	}
}

type word string

func (w *word) Set(text string) error { *w = word("set " + text); return nil }
func (w *word) String() string        { return strings.TrimPrefix(string(*w), "set ") }

// A struct of options is filled with what an operator has given, and read for what the program has set.
func TestFill(t *testing.T) {
	rows := table
	defer func() { table = rows }()
	table = nil
	for _, row := range rows {
		if !slices.Contains(strings.Fields("Bind HeadTimeout BodyBytes BodyRate Workers ServerHeader TempDir Dispatch TLS.Cert TLS.StrictSNI"), row.Option) {
			row.Option = ""
		}
		table = append(table, row)
	}
	o := options{Bind: []string{":1"}, HeadTimeout: 90 * time.Second, BodyBytes: -1, Workers: 3, ServerHeader: "-", Dispatch: "set pool"}
	o.TLS.StrictSNI = true
	code := FromOptions(&o, Program)
	c, mistakes := Load(Input{Command: Program, Code: code})
	if mistakes.Failed() {
		t.Fatal(mistakes)
	}
	for key, want := range map[string]string{
		"bind": ":1", "head_timeout": "1m30s", "body_bytes": "none", "body_rate": "500", "workers": "3", "server_header": "none", "dispatch": "pool",
		"tls.strict_sni": "true",
	} {
		if c.Text(key) != want {
			t.Errorf("%s is %s, want %s", key, c.Text(key), want)
		}
	}
	same := options{}
	c.Fill(&same)
	if !reflect.DeepEqual(same, options{}) {
		t.Errorf("defaults and the program's own values fill %+v", same)
	}
	var given []Given
	for _, pair := range strings.Fields("bind=:2 bind=:3 head_timeout=7 body_bytes=64k body_rate=none workers=auto server_header=none temp_dir=/x dispatch=Inline " +
		"tls.cert=a.pem tls.strict_sni=false") {
		key, text, _ := strings.Cut(pair, "=")
		given = append(given, flagOf(Program, key, text))
	}
	c, _ = Load(Input{Command: Program, Code: code, Flags: given}) // a mistake: no key for the certificate
	c.Fill(&o)
	want := options{Bind: []string{":2", ":3"}, HeadTimeout: 7 * time.Second, BodyBytes: 65536, BodyRate: -1, ServerHeader: "-", TempDir: "/x", Dispatch: "set inline"}
	want.TLS.Cert = []string{"a.pem"}
	if !reflect.DeepEqual(o, want) {
		t.Errorf("%+v\nwant %+v", o, want)
	}
}
