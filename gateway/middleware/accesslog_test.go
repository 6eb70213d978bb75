package middleware

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/gateway/gatewaytest"
)

// combined matches a line of CombinedLog as log analyzers parse the format.
var combined = regexp.MustCompile(`^(\S+) - (\S+) \[\d\d/[A-Z][a-z][a-z]/\d{4}:\d\d:\d\d:\d\d [-+]\d{4}\] "((?:[^"\\]|\\.)*)" (\d{3}) (\d+) "((?:[^"\\]|\\.)*)" "((?:[^"\\]|\\.)*)" (\d+) ([X+])\n$`)

func TestAccessLog(t *testing.T) {
	user := func(app gateway.App) gateway.App {
		return gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			env.Set("REMOTE_USER", `Ada "L"`)
			return app.Serve(env, start)
		})
	}
	for _, tt := range []struct {
		name    string
		app     gateway.App
		method  string
		status  string
		bytes   float64
		aborted bool
	}{
		{"whole", &answer{chunks: []string{"one", "two"}}, "GET", "200", 6, false},
		{"sized", &answer{chunks: []string{"one", "two"}, sized: true}, "GET", "200", 6, false},
		{"none", &answer{status: "201 Created"}, "POST", "201", 0, false},
		{"written", &answer{written: "1234", chunks: []string{"one"}}, "GET", "200", 7, false},
		{"Serve fails", &answer{failServe: errBroken}, "GET", "500", 0, true},
		{"Serve fails with a body", &answer{failServe: errBroken, chunks: []string{"x"}}, "GET", "500", 0, true},
		{"Next fails", &answer{failNext: errBroken, chunks: []string{"one"}}, "GET", "200", 3, true},
		{"Next fails at once", &answer{failNext: errBroken, chunks: []string{}}, "GET", "500", 0, true},
		{"start fails", &answer{status: "nonsense", chunks: []string{"x"}}, "GET", "500", 0, true},
		{"too short", &answer{headers: fields("Content-Length", "9"), chunks: []string{"one"}}, "GET", "200", 3, true},
		{"HEAD", &answer{chunks: []string{"one"}, sized: true}, "HEAD", "200", 0, false},
		{"304", &answer{status: "304 Not Modified", chunks: []string{"one"}}, "GET", "304", 0, false},
		{"Serve panics", &answer{failServe: errBroken, panics: true}, "GET", "500", 0, true},
		{"Next panics", &answer{failNext: errBroken, panics: true, chunks: []string{"one"}}, "GET", "200", 3, true},
		{"Next panics at once", &answer{failNext: errBroken, panics: true, chunks: []string{}}, "GET", "500", 0, true},
		{"Close panics", &answer{failClose: errBroken, panics: true, chunks: []string{"one"}}, "GET", "200", 3, false},
	} {
		var line, record bytes.Buffer
		app, err := Stack(tt.app, AccessLog(slog.New(slog.NewJSONHandler(&record, nil))), CombinedLog(&line), user, RequestID(true))
		if err != nil {
			t.Fatal(err)
		}
		_ = exchange(t, app, tt.method+" /path?q HTTP/1.1\r\nHost: h\r\nReferer: http://from/\r\nUser-Agent: a \"test\"\r\nX-Request-Id: id-1\r\n\r\n")
		m := combined.FindStringSubmatch(line.String())
		if m == nil {
			t.Errorf("%s: %q is no line of the combined format", tt.name, line.String())
			continue
		}
		var r map[string]any
		if err := json.Unmarshal(record.Bytes(), &r); err != nil {
			t.Errorf("%s: %q: %v", tt.name, record.String(), err)
			continue
		}
		if m[2] != `Ada+\"L\"` || m[3] != tt.method+" /path?q HTTP/1.1" || m[6] != "http://from/" || m[7] != `a \"test\"` {
			t.Errorf("%s: %s", tt.name, line.String())
		}
		aborted, _ := r["aborted"].(bool)
		if r["method"] != tt.method || r["target"] != "/path?q" || r["protocol"] != "HTTP/1.1" || r["request_id"] != "id-1" ||
			r["user_agent"] != `a "test"` || r["referer"] != "http://from/" || r["user"] != `Ada "L"` || r["msg"] != "request" {
			t.Errorf("%s: %v", tt.name, r)
		}
		if m[4] != tt.status || m[9] != map[bool]string{false: "+", true: "X"}[tt.aborted] || r["bytes"] != tt.bytes || aborted != tt.aborted {
			t.Errorf("%s: %s%v; want %s, %v bytes, aborted %v", tt.name, line.String(), r, tt.status, tt.bytes, tt.aborted)
		}
	}
}

// Bytes of a file that the server sends by sendfile are counted.
func TestAccessLogOfFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte("0123456789"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, sent := range []int64{0, 4, 7} {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		var line bytes.Buffer
		app := CombinedLog(&line)(gateway.AppFunc(func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			_, err := start("206 Partial Content", nil, nil)
			return gateway.FileRange(f, 3, 7), err
		}))
		// A server that sends the file by itself.
		_ = gatewaytest.Get(gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			body, err := app.Serve(env, start)
			gateway.FileOf(body).Advance(sent)
			_ = body.Close()
			return nil, err
		}), "/")
		m := combined.FindStringSubmatch(line.String())
		if m == nil || m[4] != "206" || m[5] != string(byte('0'+sent)) || (m[9] == "+") != (sent == 7) {
			t.Errorf("%d of 7 bytes: %q", sent, line.String())
		}
	}
}

// The address is that of TrustedProxies, also if that is inside.
func TestAccessLogRemote(t *testing.T) {
	var line bytes.Buffer
	app := CombinedLog(&line)(gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		env.Set("REMOTE_ADDR", "2001:db8::7")
		_, err := start("200 OK", nil, nil)
		return nil, err
	}))
	_ = gatewaytest.Get(app, "/")
	if !strings.HasPrefix(line.String(), "2001:db8::7 - - [") {
		t.Errorf("%q", line.String())
	}
}

// Records that a slog.Handler keeps do not change when the memory of the request is reused.
func TestAccessLogKeeps(t *testing.T) {
	kept := &keeper{}
	app, err := Stack(&answer{}, AccessLog(slog.New(kept)), RequestID(true))
	if err != nil {
		t.Fatal(err)
	}
	raw := []byte("GET /first HTTP/1.1\r\nHost: h\r\nReferer: r\r\nUser-Agent: u\r\nX-Request-Id: id\r\n\r\n")
	_ = exchangeBytes(t, app, raw)
	for i := range raw {
		raw[i] = '!'
	}
	for _, r := range kept.records {
		r.Attrs(func(a slog.Attr) bool {
			if strings.Contains(a.Value.String(), "!") {
				t.Errorf("%v is a view", a)
			}
			return true
		})
	}
	if len(kept.records) != 1 {
		t.Errorf("%d records", len(kept.records))
	}
}

// Invariant: any request is one line of the log, in its format.
func FuzzCombined(f *testing.F) {
	f.Add("/", "agent", "user")
	f.Add("/\x00\n\r\"\\", "\x1b[31m\"", " x\ty ")
	f.Add("\\", "\\\"", "\u202e")
	f.Fuzz(func(t *testing.T, target, agent, user string) {
		line := (&entry{method: target, target: target, protocol: agent, referer: agent, userAgent: target, user: user, remote: "192.0.2.1", status: 200}).appendCombined(nil)
		if !combined.Match(line) {
			t.Errorf("%q is no line of the combined format", line)
		}
		for _, c := range line[:len(line)-1] {
			if c < ' ' || c > '~' {
				t.Errorf("%q has the byte %#x", line, c)
			}
		}
	})
}
