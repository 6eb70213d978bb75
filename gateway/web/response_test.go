package web_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/gateway/gatewaytest"
	"github.com/isbjorn/isbjorn/gateway/web"
)

func TestResponses(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "page.html")
	if err := os.WriteFile(file, []byte("<p>file</p>"), 0o600); err != nil {
		t.Fatal(err)
	}
	when := time.Date(2024, 2, 29, 12, 0, 0, 0, time.FixedZone("", 3600))
	if err := os.Chtimes(file, when, when); err != nil {
		t.Fatal(err)
	}
	unknown := filepath.Join(dir, "noextension")
	if err := os.WriteFile(unknown, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	open := func(name string) *web.Response {
		r, err := web.File(name)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	for _, tt := range []struct {
		name   string
		r      *web.Response
		status string
		header []gateway.Header
		text   string
	}{
		{"text", web.Text("hej å"), "200 OK", []gateway.Header{{Name: "Content-Type", Value: "text/plain; charset=utf-8"}}, "hej å"},
		{"html", web.HTML("<p>"), "200 OK", []gateway.Header{{Name: "Content-Type", Value: "text/html; charset=utf-8"}}, "<p>"},
		{"json", web.JSON(map[string]any{"a": []int{1}}).Status(201), "201 Created", []gateway.Header{{Name: "Content-Type", Value: "application/json"}}, `{"a":[1]}`},
		{"bytes", web.Bytes("image/png", []byte{0, 1}), "200 OK", []gateway.Header{{Name: "Content-Type", Value: "image/png"}}, "\x00\x01"},
		{"no type", web.Bytes("", nil).Status(204), "204 No Content", nil, ""},
		{"error", web.Error(404, ""), "404 Not Found", []gateway.Header{{Name: "Content-Type", Value: "text/plain; charset=utf-8"}, {Name: "X-Content-Type-Options", Value: "nosniff"}}, "Not Found\n"},
		{"a status without a name", web.Text("x").Status(599), "599 ", []gateway.Header{{Name: "Content-Type", Value: "text/plain; charset=utf-8"}}, "x"},
		{"file", open(file), "200 OK", []gateway.Header{{Name: "Content-Type", Value: "text/html; charset=utf-8"}, {Name: "Last-Modified", Value: "Thu, 29 Feb 2024 11:00:00 GMT"}}, "<p>file</p>"},
		{"file of no known type", open(unknown).Del("last-modified"), "200 OK", []gateway.Header{{Name: "Content-Type", Value: "application/octet-stream"}}, ""},
		{"stream", web.Stream("text/csv", gateway.Reader(io.MultiReader(strings.NewReader("a,"), strings.NewReader("b")))), "200 OK", []gateway.Header{{Name: "Content-Type", Value: "text/csv"}}, "a,b"},
		{"redirect", web.Redirect(303, "/å b?q=ä#f%20%zz"), "303 See Other", []gateway.Header{{Name: "Location", Value: "/%C3%A5%20b?q=%C3%A4#f%20%25zz"}}, ""},
		{"redirect, elsewhere", web.Redirect(308, "https://example.com:8443/a?b=c&d=%C3%A5"), "308 Permanent Redirect", []gateway.Header{{Name: "Location", Value: "https://example.com:8443/a?b=c&d=%C3%A5"}}, ""},
		{"redirect, not elsewhere", web.Redirect(302, "/\\example.com"), "302 Found", []gateway.Header{{Name: "Location", Value: "/%5Cexample.com"}}, ""},
		{"headers", web.Bytes("", nil).Add("A", "1").Add("B", "2").Add("a", "3").Set("b", "4").Del("X"), "200 OK", []gateway.Header{{Name: "A", Value: "1"}, {Name: "a", Value: "3"}, {Name: "b", Value: "4"}}, ""},
		{"cookies", web.Bytes("", nil).Cookie(&http.Cookie{Name: "a", Value: "b c", Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode}).Cookie(&http.Cookie{Name: "gone", MaxAge: -1}), "200 OK", []gateway.Header{{Name: "Set-Cookie", Value: `a="b c"; Path=/; HttpOnly; SameSite=Lax`}, {Name: "Set-Cookie", Value: "gone=; Max-Age=0"}}, ""},
	} {
		got := gatewaytest.Get(tt.r, "/")
		if got.Err != nil || got.Status != tt.status || got.Text() != tt.text || got.Closed != 1 {
			t.Errorf("%s: %+v", tt.name, got)
		}
		if len(got.Header) != len(tt.header) {
			t.Errorf("%s: headers %q, want %q", tt.name, got.Header, tt.header)
			continue
		}
		for i := range tt.header {
			if got.Header[i] != tt.header[i] {
				t.Errorf("%s: header %q, want %q", tt.name, got.Header[i], tt.header[i])
			}
		}
	}
}

// A Response with all of its content may be sent again, one with a Body not.
func TestServedAgain(t *testing.T) {
	text := web.Text("x")
	for range 2 {
		if got := gatewaytest.Get(text, "/"); got.Err != nil || got.Text() != "x" {
			t.Errorf("%+v", got)
		}
	}
	stream := web.Stream("", gateway.Text("x"))
	if got := gatewaytest.Get(stream, "/"); got.Err != nil || got.Text() != "x" {
		t.Errorf("%+v", got)
	}
	if got := gatewaytest.Get(stream, "/"); got.Err == nil || !strings.Contains(got.Err.Error(), "twice") || got.Closed != 0 {
		t.Errorf("%+v", got)
	}
}

func TestMistakesStick(t *testing.T) {
	for name, r := range map[string]*web.Response{
		"status 99":        web.Text("x").Status(99),
		"status 100":       web.Text("x").Status(100),
		"status 600":       web.Text("x").Status(600),
		"status -1":        web.Text("x").Status(-1).Status(200),
		"redirect 200":     web.Redirect(200, "/"),
		"redirect 304":     web.Redirect(304, "/"),
		"redirect nowhere": web.Redirect(302, ""),
		"redirect bad":     web.Redirect(302, "http://[::1"),
		"no name":          web.Text("x").Set("", "x"),
		"hop by hop":       web.Text("x").Set("Transfer-Encoding", "chunked"),
		"JSON":             web.JSON(func() {}),
		"cookie name":      web.Text("x").Cookie(&http.Cookie{Name: "a b"}),
		"cookie value":     web.Text("x").Cookie(&http.Cookie{Name: "a", Value: "b;c"}),
		"cookie path":      web.Text("x").Cookie(&http.Cookie{Name: "a", Path: "/;Secure"}),
		"cookie domain":    web.Text("x").Cookie(&http.Cookie{Name: "a", Domain: "a\r\nb"}),
		"no cookie":        web.Text("x").Cookie(nil),
	} {
		if r.Err() == nil {
			t.Errorf("%s: no error", name)
		}
		if got := gatewaytest.Get(r, "/"); !errors.Is(got.Err, r.Err()) || got.Code != 0 {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// watched is a Body that counts how often it was closed.
type watched struct {
	gateway.Body
	closed int
}

func (w *watched) Close() error { w.closed++; return w.Body.Close() }

func TestBodiesAreClosed(t *testing.T) {
	errTest := errors.New("of the test")
	for name, app := range map[string]func(*watched) gateway.App{
		"served": func(b *watched) gateway.App { return web.Stream("", b) },
		"wrong":  func(b *watched) gateway.App { return web.Stream("", b).Set("A", "\n") },
		"not started": func(b *watched) gateway.App {
			return gateway.AppFunc(func(env *gateway.Environ, _ gateway.StartResponse) (gateway.Body, error) {
				return web.Stream("", b).Serve(env, func(string, []gateway.Header, error) (io.Writer, error) { return nil, errTest })
			})
		},
		"with an error": func(b *watched) gateway.App {
			return web.HandlerFunc(func(*web.Request) (*web.Response, error) { return web.Stream("", b), errTest })
		},
		"with a status": func(b *watched) gateway.App {
			return web.HandlerFunc(func(*web.Request) (*web.Response, error) {
				return web.Stream("", b), &web.StatusError{Status: 400}
			})
		},
	} {
		body := &watched{Body: gateway.Text("x")}
		gatewaytest.Get(app(body), "/")
		if body.closed != 1 {
			t.Errorf("%s: closed %d times, want 1", name, body.closed)
		}
	}
}

func TestFileErrors(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{dir, filepath.Join(dir, "none"), filepath.Join(dir, "none", "none"), "/dev/null"} {
		r, err := web.File(name)
		var status *web.StatusError
		if r != nil || !errors.As(err, &status) || status.Status != 404 || strings.Contains(status.Text, dir) {
			t.Errorf("File(%q) = %v, %v", name, r, err)
		}
	}
	if _, err := web.File("a\x00b"); err == nil || errors.As(err, new(*web.StatusError)) {
		t.Errorf("File of a name with NUL: %v", err)
	}
}

// ways are all methods that put text of a caller into a head.
var ways = map[string]func(s string) *web.Response{
	"Bytes":         func(s string) *web.Response { return web.Bytes(s, nil) },
	"Stream":        func(s string) *web.Response { return web.Stream(s, gateway.Text(s)) },
	"Redirect":      func(s string) *web.Response { return web.Redirect(302, s) },
	"Redirect path": func(s string) *web.Response { return web.Redirect(302, "/"+s) },
	"Redirect host": func(s string) *web.Response { return web.Redirect(302, "http://"+s) },
	"Error":         func(s string) *web.Response { return web.Error(400, s) },
	"Text":          web.Text,
	"HTML":          web.HTML,
	"JSON":          func(s string) *web.Response { return web.JSON(s) },
	"Set name":      func(s string) *web.Response { return web.Text("").Set(s, "x") },
	"Set value":     func(s string) *web.Response { return web.Text("").Set("X", s) },
	"Add name":      func(s string) *web.Response { return web.Text("").Add(s, "x") },
	"Add value":     func(s string) *web.Response { return web.Text("").Add("X", s) },
	"Add both":      func(s string) *web.Response { return web.Text("").Add(s, s) },
	"cookie name":   func(s string) *web.Response { return web.Text("").Cookie(&http.Cookie{Name: s, Value: "x"}) },
	"cookie value":  func(s string) *web.Response { return web.Text("").Cookie(&http.Cookie{Name: "x", Value: s}) },
	"cookie quoted": func(s string) *web.Response {
		return web.Text("").Cookie(&http.Cookie{Name: "x", Value: s, Quoted: true})
	},
	"cookie path":   func(s string) *web.Response { return web.Text("").Cookie(&http.Cookie{Name: "x", Path: s}) },
	"cookie domain": func(s string) *web.Response { return web.Text("").Cookie(&http.Cookie{Name: "x", Domain: s}) },
	"cookie rest": func(s string) *web.Response {
		return web.Text("").Cookie(&http.Cookie{Name: "x", Raw: s, RawExpires: s, Unparsed: []string{s}})
	},
}

// declared is the head that app declares to a server that checks nothing.
func declared(t *testing.T, app gateway.App) (head []string) {
	start := func(status string, headers []gateway.Header, exc error) (io.Writer, error) {
		head = append(head, status)
		for _, h := range headers {
			head = append(head, h.Name, h.Value)
		}
		return io.Discard, nil
	}
	unchecked := gateway.AppFunc(func(env *gateway.Environ, real gateway.StartResponse) (gateway.Body, error) {
		body, err := app.Serve(env, start)
		if _, err := real("200 OK", nil, nil); err != nil {
			t.Error(err)
		}
		return body, err
	})
	gatewaytest.Get(unchecked, "/")
	return head
}

// checkHead asserts that no text of a head ends its line.
func checkHead(t *testing.T, way, s string, head []string) {
	t.Helper()
	for _, text := range head {
		if strings.ContainsAny(text, "\r\n\x00") {
			t.Errorf("%s of %q declares %q", way, s, text)
		}
	}
}

func TestNoSplitting(t *testing.T) {
	for _, s := range []string{
		"\r\nX-Evil: 1", "a\nb", "a\rb", "a\x00b", "\r\n\r\n<html>", "%0d%0aX: 1", "å\u560d\u560a", "\xe5\x98\x8a\xe5\x98\x8d", "\x85", "\u2028", "\v", "\f", "a: b\r\n c", "\x7f",
	} {
		for way, make := range ways {
			r := make(s)
			checkHead(t, way, s, declared(t, r))
			via := web.HandlerFunc(func(*web.Request) (*web.Response, error) { return make(s), nil })
			checkHead(t, way, s, declared(t, via))
			failing := web.HandlerFunc(func(*web.Request) (*web.Response, error) {
				return nil, &web.StatusError{Status: 400, Text: s, Err: errors.New(s)}
			})
			checkHead(t, "StatusError", s, declared(t, failing))
		}
	}
}

// Invariant: no text given to any method of a Response, or constructor, puts CR, LF
// or NUL into what it declares; a Location is what net/url reads as the same again.
func FuzzResponse(f *testing.F) {
	for _, s := range []string{"", "/a?b#c", "\r\nA: b", "text/html\x00", "http://[::1]:80/", "%", "%4", "//h", "a\tb", "\xff", "a=b; Path=/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for way, make := range ways {
			checkHead(t, way, s, declared(t, make(s)))
		}
		if r := web.Redirect(302, s); r.Err() == nil {
			location := r.Get("Location")
			if u, err := url.Parse(location); err != nil {
				t.Errorf("Redirect to %q: Location %q: %v", s, location, err)
			} else if again := web.Redirect(302, location).Get("Location"); again != location {
				t.Errorf("Location %q of %v becomes %q", location, u, again)
			}
		}
	})
}

func TestJSONIsNoPage(t *testing.T) {
	if got := gatewaytest.Get(web.JSON("</script>"), "/"); bytes.ContainsAny([]byte(got.Text()), "<>") {
		t.Errorf("%s", got.Text())
	}
}
