package gateway_test

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/isbjorn/isbjorn/gateway"
)

// startNothing is a start that accepts everything and sends nothing.
func startNothing(string, []gateway.Header, error) (io.Writer, error) { return io.Discard, nil }

// violationOf calls f and returns the violation that it panicked with.
func violationOf(f func()) (v *gateway.Violation) {
	defer func() { v, _ = recover().(*gateway.Violation) }()
	f()
	return nil
}

// uses is every way to use an Environ.
var uses = map[string]func(e *gateway.Environ){
	"Method": func(e *gateway.Environ) { e.Method() }, "Target": func(e *gateway.Environ) { e.Target() },
	"Path": func(e *gateway.Environ) { e.Path() }, "ScriptName": func(e *gateway.Environ) { e.ScriptName() },
	"Query": func(e *gateway.Environ) { e.Query() }, "Protocol": func(e *gateway.Environ) { e.Protocol() },
	"Scheme": func(e *gateway.Environ) { e.Scheme() }, "Host": func(e *gateway.Environ) { e.Host() },
	"Header": func(e *gateway.Environ) { e.Header("host") }, "RemoteAddr": func(e *gateway.Environ) { e.RemoteAddr() },
	"Headers": func(e *gateway.Environ) {
		for range e.Headers() {
		}
	},
	"All": func(e *gateway.Environ) {
		for range e.All() {
		}
	},
	"Get": func(e *gateway.Environ) { e.Get("wsgi.version") }, "Set": func(e *gateway.Environ) { e.Set("a", 1) },
	"Delete": func(e *gateway.Environ) { e.Delete("a") }, "Context": func(e *gateway.Environ) { e.Context() },
	"Clone": func(e *gateway.Environ) { e.Clone() }, "Text": func(e *gateway.Environ) { e.Text("x") },
	"Bytes":  func(e *gateway.Environ) { e.Bytes(nil) },
	"Waker":  func(e *gateway.Environ) { e.Waker() },
	"Errors": func(e *gateway.Environ) { _, _ = e.Errors().Write(nil) },
	"Input":  func(e *gateway.Environ) { _, _ = e.Input().Read(make([]byte, 1)) },
}

// inputUses is every way to use an Input.
var inputUses = map[string]func(in *gateway.Input){
	"Read":      func(in *gateway.Input) { _, _ = in.Read(make([]byte, 1)) },
	"ReadAll":   func(in *gateway.Input) { _, _ = in.ReadAll() },
	"ReadLine":  func(in *gateway.Input) { _, _ = in.ReadLine(0) },
	"ReadLines": func(in *gateway.Input) { _, _ = in.ReadLines(0) },
	"Lines": func(in *gateway.Input) {
		for range in.Lines() {
		}
	},
	"WriteTo": func(in *gateway.Input) { _, _ = in.WriteTo(io.Discard) },
	"Body":    func(in *gateway.Input) { _ = in.Body() },
	"Len":     func(in *gateway.Input) { _ = in.Len() },
}

// ends is every way in which a response ends, with the way to find out.
var ends = map[string]func(app gateway.App, e *gateway.Environ){
	"Close": func(app gateway.App, e *gateway.Environ) {
		body, _ := app.Serve(e, startNothing)
		_, _ = body.Next()
		_ = body.Close()
	},
	"error": func(app gateway.App, e *gateway.Environ) {
		e.Set("test.end", "error")
		_, _ = app.Serve(e, startNothing)
	},
	"panic": func(app gateway.App, e *gateway.Environ) {
		defer func() { _ = recover() }()
		e.Set("test.end", "panic")
		_, _ = app.Serve(e, startNothing)
	},
}

// endAsTold returns a Body or an error, or panics, as the key test.end says.
func endAsTold(env *gateway.Environ) (gateway.Body, error) {
	switch env.Get("test.end") {
	case "error":
		return nil, errTest
	case "panic":
		panic(errTest)
	}
	return gateway.Text("x"), nil
}

// A use after the response panics with a Violation that names the request.
func TestDebugKept(t *testing.T) {
	for name, wrap := range map[string]gateway.Middleware{
		"Debug":    gateway.Debug,
		"Validate": func(app gateway.App) gateway.App { return gateway.ValidateWith(app, func(*gateway.Violation) {}) },
	} {
		for end, serve := range ends {
			var env *gateway.Environ
			var in *gateway.Input
			var start gateway.StartResponse
			var w io.Writer
			app := wrap(gateway.AppFunc(func(e *gateway.Environ, s gateway.StartResponse) (gateway.Body, error) {
				for use, f := range uses {
					if v := violationOf(func() { f(e) }); v != nil {
						t.Errorf("%s: %s of a running request: %v", name, use, v)
					}
				}
				env, in, start = e, e.Input(), s
				w, _ = s("200 OK", []gateway.Header{{Name: "Content-Length", Value: "1"}}, nil)
				return endAsTold(e)
			}))
			serve(app, environ(t, "POST /kept?q HTTP/1.1\r\nHost: h\r\n\r\ncontent"))
			wants := func(what string, v *gateway.Violation) {
				if v == nil || v.Request != "POST /kept?q" || v.Party != "application" || !strings.Contains(v.Error(), "Clone") && !strings.Contains(what, "start") {
					t.Errorf("%s, %s: %s: %v", name, end, what, v)
				}
			}
			for use, f := range uses {
				wants(use, violationOf(func() { f(env) }))
			}
			for use, f := range inputUses {
				wants("Input."+use, violationOf(func() { f(in) }))
			}
			var v *gateway.Violation
			_, err := start("200 OK", nil, nil)
			errors.As(err, &v)
			wants("start", v)
			_, err = w.Write([]byte("x"))
			v = nil
			errors.As(err, &v)
			wants("writer of start", v)
		}
	}
}

// Views that are kept read as the poison text, whatever memory they are of; the memory of the server and clones
// are unchanged.
func TestDebugPoison(t *testing.T) {
	text := lines(150_000)
	for name, end := range ends {
		kept := map[string]string{}
		var clone *gateway.Environ
		want, left := "", ""
		app := gateway.Debug(gateway.AppFunc(func(e *gateway.Environ, s gateway.StartResponse) (gateway.Body, error) {
			_, _ = s("200 OK", nil, nil)
			kept["Method"], kept["Path"], kept["Query"], kept["Header"] = e.Method(), e.Path(), e.Query(), e.Header("X-One")
			kept["joined"] = e.Header("Cookie")
			for range 100 {
				_ = e.Header("Cookie") // the memory for joined values moves
			}
			kept["joined last"] = e.Header("Cookie")
			line, err := e.Input().ReadLine(0)
			kept["line"] = unsafeText(line)
			clone = e.Clone()
			want = view(clone)
			rest, err2 := e.Input().ReadAll()
			kept["rest"] = unsafeText(rest)
			left = string(rest)
			if err != nil || err2 != nil || len(line)+len(rest) != len(text) {
				t.Errorf("%s: content: %v, %v, %d bytes", name, err, err2, len(line)+len(rest))
			}
			return endAsTold(e)
		}))
		r := parse(t, "POST /a%20b?x HTTP/1.1\r\nHost: h\r\nX-One: 1\r\nCookie: a\r\nCookie: b\r\n\r\n"+text[:1000])
		var e gateway.ServerEnviron
		r.begin(&e)
		e.ContentStream(strings.NewReader(text[1000:]), -1)
		memory := string(r.memory)
		end(app, &e.Environ)
		for what, s := range kept {
			n := min(len(s), 3)
			if !strings.Contains("<kept beyond its response><kept", s[:n]) && !strings.Contains("<kept beyond its response><kept", s[len(s)-n:]) {
				t.Errorf("%s: %s that was kept shows %.40q", name, what, s)
			}
		}
		if string(r.memory) != memory {
			t.Errorf("%s: the server's memory changed", name)
		}
		if got := view(clone); got != want {
			t.Errorf("%s: the clone changed: %s", name, diff(got, want))
		}
		if b, err := clone.Input().ReadAll(); string(b) != left || err != nil {
			t.Errorf("%s: the content of the clone changed: %.40q, %v", name, b, err)
		}
		e.End()
	}
}

// Under Debug an application sees the same request and sends the same response.
func TestDebugIsTransparent(t *testing.T) {
	for _, in := range []string{smallGet, richPost} {
		plain := environ(t, in)
		want := view(plain)
		e := environ(t, in)
		e.Set("before", 1)
		app := gateway.Debug(gateway.AppFunc(func(e *gateway.Environ, s gateway.StartResponse) (gateway.Body, error) {
			if e.Get("before") != 1 {
				t.Error("what was Set before does not show")
			}
			e.Delete("before")
			if got := strings.ReplaceAll(view(e), "WithCancel.WithCancel", "WithCancel"); got != want {
				t.Error(diff(got, want))
			}
			e.Set("after", 2)
			return gateway.Text("body"), nil
		}))
		body, err := app.Serve(e, startNothing)
		if err != nil || e.Get("after") != 2 {
			t.Errorf("%v; what was Set is %v", err, e.Get("after"))
		}
		if n := body.(gateway.Sized).Len(); n != 4 || content(t, body) != "body" {
			t.Errorf("Len %d", n)
		}
		_ = body.Close()
	}
}

// The server's Cancel reaches the application's context.
func TestDebugCancel(t *testing.T) {
	e := serverEnviron(t, smallGet)
	body, _ := gateway.Debug(gateway.AppFunc(func(inner *gateway.Environ, s gateway.StartResponse) (gateway.Body, error) {
		ctx := inner.Context()
		e.Cancel(gateway.ErrClientGone)
		if ctx.Err() == nil {
			t.Error("not cancelled")
		}
		return nil, nil
	})).Serve(&e.Environ, startNothing)
	if body != nil {
		t.Errorf("a Body %v where there was none", body)
	}
}
