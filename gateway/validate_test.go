package gateway_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/parser"
)

// violations collects the reports.
type violations []*gateway.Violation

func (b *violations) add(one *gateway.Violation) { *b = append(*b, one) }

// serveWell does what a server does, and returns the first error.
func serveWell(app gateway.App, e *gateway.ServerEnviron) (err error) {
	defer e.End()
	sent := false
	body, err := app.Serve(&e.Environ, func(_ string, _ []gateway.Header, exc error) (io.Writer, error) {
		if sent && exc != nil {
			return nil, exc
		}
		return io.Discard, nil
	})
	if body == nil {
		return err
	}
	for err == nil {
		var b []byte
		if b, err = body.Next(); err == gateway.ErrWait {
			err = nil
		}
		sent = sent || len(b) > 0
	}
	closed := body.Close()
	if err == io.EOF {
		err = closed
	}
	return err
}

// app is an application of a status, fields and chunks.
func app(status string, body func() gateway.Body, fields ...string) gateway.AppFunc {
	return func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		var headers []gateway.Header
		for i := 0; i < len(fields); i += 2 {
			headers = append(headers, gateway.Header{Name: fields[i], Value: fields[i+1]})
		}
		_, _ = start(status, headers, nil) // the error sticks
		return body(), nil
	}
}

func of(chunks ...string) func() gateway.Body {
	return func() gateway.Body { return chunksOf(chunks...) }
}

func none() gateway.Body { return nil }

// long is a Body with a given Len.
type long struct {
	gateway.Body
	n int64
}

func (l long) Len() int64 { return l.n }

// nextFunc is a Body whose Next is a function.
type nextFunc func() ([]byte, error)

func (f nextFunc) Next() ([]byte, error) { return f() }
func (nextFunc) Close() error            { return nil }

// lateApp has a Body with the length before until its first Next, which replaces the response by start, with the
// length after and the content.
func lateApp(before, after int64, content string) gateway.AppFunc {
	return func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		_, err := start("200 OK", nil, nil)
		l := &long{n: before}
		l.Body = nextFunc(func() ([]byte, error) {
			l.n = after
			_, err := start("500 Internal Server Error", nil, errTest)
			if err == nil {
				err = io.EOF
			}
			return []byte(content), err
		})
		return l, err
	}
}

// motd is a small file.
func motd() gateway.Body {
	f, err := os.Open("testdata/motd.txt")
	if err != nil {
		panic(err)
	}
	return gateway.File(f)
}

// waitsOnce is a Body that returns ErrWait once, and then ends.
func waitsOnce() gateway.Body {
	return gateway.Stream(func(yield func([]byte, error) bool) { yield(nil, gateway.ErrWait) })
}

type ready struct{ gateway.Body }

func (ready) Ready() {}

// upper changes the chunks, so it must not have Unwrap.
type upper struct{ wrapper }

func (u *upper) Next() ([]byte, error) {
	b, err := u.wrapper.Next()
	return append(b, '!'), err
}

// The Bodies of Validate and Debug are Sized and Ready, and wait, as those of the application.
func TestValidateIsLike(t *testing.T) {
	for name, wrap := range map[string]gateway.Middleware{"Debug": gateway.Debug, "Validate": gateway.Validate, "both": func(app gateway.App) gateway.App {
		return gateway.Validate(gateway.Debug(gateway.Validate(app)))
	}} {
		for _, want := range []struct {
			body         gateway.Body
			sized, ready bool
		}{
			{chunksOf("a"), false, false}, {ready{chunksOf("a")}, false, true}, {long{chunksOf("a"), 1}, true, false}, {gateway.Text("a"), true, true},
			{gateway.Chunks([]byte("a")), true, true}, {motd(), true, true}, {wrapper{gateway.Text("a")}, false, false},
		} {
			r := parse(t, smallGet)
			conn := &wakingConn{fakeConn: r.conn}
			var e gateway.ServerEnviron
			e.Begin(&r.req, r.memory[:r.head], nil, r.host, conn)
			body, err := wrap(gateway.AppFunc(func(e *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
				_, err := start("200 OK", nil, nil)
				e.Waker()()
				return want.body, err
			})).Serve(&e.Environ, startNothing)
			_, sized := body.(gateway.Sized)
			_, ready := body.(gateway.Ready)
			if err != nil || sized != want.sized || ready != want.ready || conn.woken != 1 {
				t.Errorf("%s of a %T: Sized %v, Ready %v, woken %d, %v", name, want.body, sized, ready, conn.woken, err)
			}
			_ = body.Close()
			e.End()
		}
	}
}

type wakingConn struct {
	*fakeConn
	woken int
}

func (c *wakingConn) Waker() func() { return func() { c.woken++ } }

// Each application breaks one rule: the violation names it, fails the response, and is the only one.
func TestValidateApplication(t *testing.T) {
	for _, tt := range []struct {
		name, rule string
		app        gateway.AppFunc
	}{
		{"no start", "start is called before", func(*gateway.Environ, gateway.StartResponse) (gateway.Body, error) { return nil, nil }},
		{"no start, content", "start is called before", func(*gateway.Environ, gateway.StartResponse) (gateway.Body, error) { return chunksOf("x"), nil }},
		{"no start, no chunk", "start is called before", func(*gateway.Environ, gateway.StartResponse) (gateway.Body, error) { return chunksOf(), nil }},
		{"no start, content, an error", "start is called before", func(*gateway.Environ, gateway.StartResponse) (gateway.Body, error) {
			return nextFunc(func() ([]byte, error) { return []byte("x"), errTest }), nil
		}},
		{"start twice", "start is called once", func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			_, _ = start("200 OK", nil, nil)
			_, _ = start("200 OK", nil, nil)
			return nil, nil
		}},
		{"status", "status is a final one", app("200", of("x"))},
		{"status 1xx", "status is a final one", app("100 Continue", of("x"))},
		{"line end in the status", "status is a final one", app("200 OK\r\nA: b", of("x"))},
		{"header name", "headers are tokens", app("200 OK", of("x"), "A b", "c")},
		{"header value", "headers are tokens", app("200 OK", of("x"), "A", "b\r\nC: d")},
		{"hop-by-hop", "headers are tokens", app("200 OK", of("x"), "Transfer-Encoding", "chunked")},
		{"Connection", "headers are tokens", app("200 OK", of("x"), "Connection", "upgrade")},
		{"Content-Length is no number", "Content-Length is one", app("200 OK", of("x"), "Content-Length", "one")},
		{"two Content-Length", "Content-Length is one", app("200 OK", of("x"), "Content-Length", "1", "Content-Length", "1")},
		{"204 with Content-Length", "Content-Length is one", app("204 No Content", none, "Content-Length", "0")},
		{"too much", "the content has as many", app("200 OK", of("ab", "cd"), "Content-Length", "3")},
		{"too much, an error", "the content has as many", app("200 OK", func() gateway.Body {
			return nextFunc(func() ([]byte, error) { return []byte("abcd"), errTest })
		}, "Content-Length", "3")},
		{"too little", "the content has as many", app("200 OK", of("ab"), "Content-Length", "3")},
		{"nothing", "the content has as many", app("200 OK", none, "Content-Length", "3")},
		{"too much by write()", "the content has as many", func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			w, _ := start("200 OK", []gateway.Header{{Name: "Content-Length", Value: "1"}}, nil)
			_, _ = w.Write([]byte("ab"))
			return nil, nil
		}},
		{"another Len", "the content has as many", app("200 OK", func() gateway.Body { return gateway.Text("ab") }, "Content-Length", "3")},
		{"Len is wrong", "the content has as many", app("200 OK", func() gateway.Body { return long{chunksOf("ab"), 3} })},
		{"Len is negative", "the content has as many", app("200 OK", func() gateway.Body { return long{chunksOf("ab"), -1} })},
		{"replaced in Next, another Len", "the content has as many", lateApp(3, 5, "late")},
		{"ErrWait without Waker", "Environ.Waker is called before", app("200 OK", func() gateway.Body {
			return waitsOnce()
		})},
		{"ErrWait of a Ready", "a Body that is Ready", func(e *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			_ = e.Waker()
			_, err := start("200 OK", nil, nil)
			return ready{waitsOnce()}, err
		}},
		{"a Wrapper with other chunks", "a Wrapper passes on", app("200 OK", func() gateway.Body {
			return &upper{wrapper{motd()}}
		})},
		{"204 with content", "a response with 204 or 304", app("204 No Content", of("x"))},
		{"304 with content", "a response with 204 or 304", app("304 Not Modified", of("x"))},
	} {
		var found violations
		err := serveWell(gateway.ValidateWith(tt.app, found.add), serverEnviron(t, "GET /x HTTP/1.1\r\nHost: h\r\n\r\n"))
		var v *gateway.Violation
		if !errors.As(err, &v) || len(found) != 1 || found[0] != v {
			t.Errorf("%s: the response ends with %v; reported %v", tt.name, err, found)
			continue
		}
		if !strings.HasPrefix(v.Rule, tt.rule) || v.Party != "application" || v.Fix == "" || v.Request != "GET /x" {
			t.Errorf("%s: %v", tt.name, v)
		}
		var log bytes.Buffer
		r := parse(t, smallGet)
		r.host = logTo(&log)
		var e gateway.ServerEnviron
		r.begin(&e)
		if err := serveWell(gateway.Validate(tt.app), &e); !errors.As(err, &v) || strings.Count(log.String(), tt.rule) != 1 {
			t.Errorf("%s: Validate: %v, log %q", tt.name, err, log.String())
		}
	}
}

// A mistake that shows before content is sent is reported before.
func TestValidateEarly(t *testing.T) {
	var found violations
	wrong := app("200 OK", func() gateway.Body { return gateway.Text("ab") }, "Content-Length", "3")
	body, err := gateway.ValidateWith(wrong, found.add).Serve(environ(t, smallGet), startNothing)
	if len(found) != 1 || err != error(found[0]) {
		t.Errorf("Serve = %v, reported %v", err, found)
	}
	_ = body.Close()
}

// Applications that break no rule.
func TestValidateGood(t *testing.T) {
	for name, good := range map[string]gateway.AppFunc{
		"text": app("200 OK", func() gateway.Body { return gateway.Text("text") }, "Content-Type", "text/plain"),
		"of the Environ": func(e *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			_, err := start("200 OK", nil, nil)
			return e.Text("text"), err
		},
		"replaced in Next": lateApp(3, 4, "late"),
		"waits": func(e *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			_, err := start("200 OK", []gateway.Header{{Name: "Content-Length", Value: "6"}}, nil)
			wake := e.Waker()
			return gateway.Stream(func(yield func([]byte, error) bool) {
				wake()
				_ = yield([]byte("one"), gateway.ErrWait) && yield(nil, gateway.ErrWait) && yield([]byte("two"), nil)
			}), err
		},
		"file":         app("200 OK", func() gateway.Body { return motd() }),
		"wrapped file": app("200 OK", func() gateway.Body { return wrapper{wrapper{motd()}} }),
		"chunks":       app("200 OK", of("a", "", "b")),
		"length":       app("200 OK", of("a", "b"), "Content-Length", "2", "Connection", "close"),
		"204":          app("204 No Content", none),
		"304":          app("304 Not Modified", none, "Content-Length", "100"),
		"no content":   app("200 OK", none, "Content-Length", "0"),
		"empty chunk":  app("204 No Content", of("")),
		"echo": func(e *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			_, err := start("200 OK", nil, nil)
			return e.Input().Body(), err
		},
		"write": func(e *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			w, err := start("200 OK", []gateway.Header{{Name: "Content-Length", Value: "4"}}, nil)
			_, _ = w.Write([]byte("ab"))
			return gateway.Text("cd"), err
		},
		"write only": func(e *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			w, err := start("200 OK", []gateway.Header{{Name: "Content-Length", Value: "2"}}, nil)
			_, _ = w.Write([]byte("ab"))
			return nil, err
		},
		"replaced": func(e *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			_, _ = start("200 OK", []gateway.Header{{Name: "Content-Length", Value: "4"}}, nil)
			_, err := start("500 Internal Server Error", nil, errTest)
			return gateway.Text("x"), err
		},
		"start in Next": func(e *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			return nextFunc(func() ([]byte, error) {
				_, _ = start("200 OK", nil, nil)
				return []byte("x"), io.EOF
			}), nil
		},
		"one buffer for all": app("200 OK", func() gateway.Body {
			b := []byte{'0'}
			return nextFunc(func() ([]byte, error) {
				if b[0]++; b[0] == '5' {
					return nil, io.EOF
				}
				return b, nil
			})
		}),
		"Set": func(e *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			e.Set("my.key", 1)
			_, err := start("200 OK", nil, nil)
			return nil, err
		},
	} {
		for _, in := range []string{
			smallGet, richPost, "GET / HTTP/1.0\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", "GET http://h HTTP/1.1\r\nHost: h\r\n\r\n",
			"GET /%00%0d HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n",
		} {
			for _, conn := range []*fakeConn{tcp4(), tcp6(), unixSocket()} {
				fail := func(v *gateway.Violation) { t.Errorf("%s: %.20q: %v", name, in, v) }
				r := parse(t, in)
				r.conn = conn
				var e gateway.ServerEnviron
				r.begin(&e)
				twice := gateway.ValidateWith(gateway.ValidateWith(gateway.Debug(good), fail), fail)
				pass := func(app gateway.App) gateway.App { return app }
				if err := serveWell(gateway.ValidateMiddleware(pass, fail)(twice), &e); err != nil {
					t.Errorf("%s: %.20q: %v", name, in, err)
				}
			}
		}
	}
	// An application may fail, and HEAD has the headers of GET.
	fail := func(v *gateway.Violation) { t.Error(v) }
	failing := gateway.AppFunc(func(*gateway.Environ, gateway.StartResponse) (gateway.Body, error) { return chunksOf("x"), errTest })
	if err := serveWell(gateway.ValidateWith(failing, fail), serverEnviron(t, smallGet)); err != errTest {
		t.Errorf("its own error became %v", err)
	}
	head := serverEnviron(t, "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n")
	if err := serveWell(gateway.ValidateWith(app("200 OK", none, "Content-Length", "3"), fail), head); err != nil {
		t.Error(err)
	}
}

// A write to a chunk is found, by either side.
func TestValidateChunk(t *testing.T) {
	for _, party := range []string{"application", "server"} {
		for _, last := range []bool{false, true} {
			var found violations
			b := []byte("chunk")
			body, err := gateway.ValidateWith(app("200 OK", func() gateway.Body {
				return nextFunc(func() ([]byte, error) { return b, nil })
			}), found.add).Serve(environ(t, smallGet), startNothing)
			if err != nil {
				t.Fatal(err)
			}
			got, _ := body.Next()
			if party == "server" {
				got[0] = '#'
			} else {
				b[0] = '#'
			}
			if last {
				err = body.Close()
			} else {
				_, err = body.Next()
			}
			if len(found) != 1 || found[0].Party != party || !strings.HasPrefix(found[0].Rule, "a chunk") || err != error(found[0]) {
				t.Errorf("%s: %v, %v", party, found, err)
			}
		}
	}
}

// A chunk that a server keeps is overwritten.
func TestValidateChunkKept(t *testing.T) {
	body, err := gateway.Validate(app("200 OK", of("first", "last"))).Serve(environ(t, smallGet), startNothing)
	if err != nil {
		t.Fatal(err)
	}
	first, _ := body.Next()
	last, _ := body.Next()
	if string(first) != "<kept" || string(last) != "last" {
		t.Errorf("after the next one %q, %q", first, last)
	}
	if err := body.Close(); err != nil || string(last) != "<kep" {
		t.Errorf("after Close %q, %v", last, err)
	}
}

// Each server breaks one rule.
func TestValidateServer(t *testing.T) {
	good := app("200 OK", of("a", "b"))
	for _, tt := range []struct {
		name, rule string
		app        gateway.AppFunc
		serve      func(app gateway.App, e *gateway.ServerEnviron)
	}{
		{"no start", "Serve gets", good, func(app gateway.App, e *gateway.ServerEnviron) { _, _ = app.Serve(&e.Environ, nil) }},
		{"no Environ", "Serve gets", good, func(app gateway.App, _ *gateway.ServerEnviron) { _, _ = app.Serve(nil, startNothing) }},
		{"never closed", "a Body is closed exactly once", good, func(app gateway.App, e *gateway.ServerEnviron) {
			_, _ = app.Serve(&e.Environ, startNothing)
			e.End()
		}},
		{"closed twice", "a Body is closed exactly once", good, func(app gateway.App, e *gateway.ServerEnviron) {
			body, _ := app.Serve(&e.Environ, startNothing)
			_, _ = body.Close(), body.Close()
		}},
		{"Next after the end", "Next is called until", good, func(app gateway.App, e *gateway.ServerEnviron) {
			body, _ := app.Serve(&e.Environ, startNothing)
			_, _ = drain(body)
			_, _ = body.Next()
		}},
		{"Next after Close", "Next is called until", good, func(app gateway.App, e *gateway.ServerEnviron) {
			body, _ := app.Serve(&e.Environ, startNothing)
			_ = body.Close()
			_, _ = body.Next()
		}},
		{"Next after a failed Serve", "Next is called until", func(*gateway.Environ, gateway.StartResponse) (gateway.Body, error) { return chunksOf("x"), errTest },
			func(app gateway.App, e *gateway.ServerEnviron) {
				body, _ := app.Serve(&e.Environ, startNothing)
				_, _ = body.Next()
			}},
		{"no writer", "start returns a writer", good, func(app gateway.App, e *gateway.ServerEnviron) {
			_, _ = app.Serve(&e.Environ, func(string, []gateway.Header, error) (io.Writer, error) { return nil, nil })
		}},
		{"exc after content", "start returns a writer", func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			w, _ := start("200 OK", nil, nil)
			_, _ = w.Write([]byte("x"))
			_, err := start("500 Error", nil, errTest)
			return nil, err
		}, func(app gateway.App, e *gateway.ServerEnviron) { _, _ = app.Serve(&e.Environ, startNothing) }},
		{"too many bytes", "content comes as", func(e *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			_, _ = e.Input().ReadLine(0)
			return good(e, start)
		}, func(app gateway.App, e *gateway.ServerEnviron) {
			e.ContentStream(readerFunc(func(p []byte) (int, error) { return len(p) + 1, nil }), -1)
			_, _ = app.Serve(&e.Environ, startNothing)
		}},
		{"content behind the end", "the input ends", good, func(app gateway.App, _ *gateway.ServerEnviron) {
			_, _ = app.Serve(environ(t, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nab"), startNothing)
		}},
		{"no scheme", "every key of the environ", good, func(app gateway.App, _ *gateway.ServerEnviron) {
			r := parse(t, smallGet)
			r.host = &gateway.ServerInfo{}
			var e gateway.ServerEnviron
			r.begin(&e)
			_, _ = app.Serve(&e.Environ, startNothing)
		}},
		{"no method", "every key of the environ", good, func(app gateway.App, _ *gateway.ServerEnviron) {
			var e gateway.ServerEnviron
			e.Begin(new(parser.Request), nil, nil, quiet, tcp4())
			_, _ = app.Serve(&e.Environ, startNothing)
		}},
	} {
		var found violations
		tt.serve(gateway.ValidateWith(tt.app, found.add), serverEnviron(t, smallGet))
		if len(found) != 1 || found[0].Party != "server" || !strings.HasPrefix(found[0].Rule, tt.rule) {
			t.Errorf("%s: %v", tt.name, found)
		}
	}
}

// An invalid value that a middleware has Set is found, and the application is not called.
func TestValidateSet(t *testing.T) {
	for key, values := range map[string][]any{
		"REQUEST_METHOD": {"", 1}, "SCRIPT_NAME": {"/", "app"}, "PATH_INFO": {"", "path"}, "QUERY_STRING": {nil},
		"SERVER_NAME": {"", nil}, "SERVER_PORT": {"", "x", nil}, "SERVER_PROTOCOL": {"HTTP/2", nil}, "REMOTE_ADDR": {"x", 1}, "REMOTE_PORT": {"-1"},
		"CONTENT_LENGTH": {"x", "-1", 1}, "HTTP_CONTENT_TYPE": {"a"}, "HTTP_CONTENT_LENGTH": {"1"}, "HTTP_X": {"a\r\nb", 1},
		"wsgi.url_scheme": {"", 1, "ftp"}, "wsgi.version": {nil, "1.0", []int{1, 0}}, "wsgi.input": {nil, 1}, "wsgi.errors": {nil, io.Discard},
		"wsgi.multithread": {nil, 1}, "wsgi.multiprocess": {nil}, "wsgi.run_once": {"no"}, "wsgi.input_terminated": {nil, false}, "wsgi.file_wrapper": {nil, 1},
	} {
		for _, value := range values {
			var found violations
			e := serverEnviron(t, smallGet)
			if e.Set(key, value); value == nil {
				e.Delete(key)
			}
			called := false
			err := serveWell(gateway.ValidateWith(gateway.AppFunc(func(*gateway.Environ, gateway.StartResponse) (gateway.Body, error) {
				called = true
				return nil, nil
			}), found.add), e)
			var v *gateway.Violation
			if len(found) == 0 || !errors.As(err, &v) || v.Party != "middleware" || !strings.HasPrefix(v.Found, key+" ") || called {
				t.Errorf("%s = %#v: %v, called %v", key, value, found, called)
			}
		}
	}
}

// Each middleware breaks one rule of ValidateMiddleware.
func TestValidateMiddleware(t *testing.T) {
	gathered := func(app gateway.App) gateway.App {
		return gateway.AppFunc(func(e *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			body, err := app.Serve(e, start)
			if err != nil {
				return body, err
			}
			all := func() ([]byte, error) {
				chunks, err := drain(body)
				if err == nil {
					err = io.EOF
				}
				return []byte(strings.Join(chunks, "")), err
			}
			return &closing{nextFunc(all), body}, nil
		})
	}
	for _, tt := range []struct {
		name, rule string
		m          gateway.Middleware
	}{
		{"gathers", "a middleware yields", gathered},
		{"forgets Close", "a middleware passes Close", func(app gateway.App) gateway.App {
			return gateway.AppFunc(func(e *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
				body, err := app.Serve(e, start)
				return nextFunc(body.Next), err
			})
		}},
		{"drops the Body", "a middleware passes Close", func(app gateway.App) gateway.App {
			return gateway.AppFunc(func(e *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
				_, err := app.Serve(e, start)
				return nil, err
			})
		}},
		{"writes", "a middleware does not turn", func(app gateway.App) gateway.App {
			return gateway.AppFunc(func(e *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
				var w io.Writer
				body, err := app.Serve(e, func(status string, headers []gateway.Header, exc error) (_ io.Writer, err error) {
					w, err = start(status, headers, exc)
					return w, err
				})
				return &closing{nextFunc(func() ([]byte, error) {
					b, err := body.Next()
					_, _ = w.Write(b)
					return nil, err
				}), body}, err
			})
		}},
	} {
		var found violations
		err := serveWell(gateway.ValidateMiddleware(tt.m, found.add)(app("200 OK", of("a", "b"))), serverEnviron(t, smallGet))
		var v *gateway.Violation
		if len(found) != 1 || !errors.As(err, &v) || v != found[0] || v.Party != "middleware" || !strings.HasPrefix(v.Rule, tt.rule) {
			t.Errorf("%s: %v, reported %v", tt.name, err, found)
		}
	}
}

// A middleware that passes ErrWait on breaks no rule; one that returns an empty chunk instead does.
func TestValidateMiddlewareWaits(t *testing.T) {
	for _, swallows := range []bool{false, true} {
		m := func(app gateway.App) gateway.App {
			return gateway.AppFunc(func(e *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
				body, err := app.Serve(e, start)
				return &closing{nextFunc(func() ([]byte, error) {
					b, err := body.Next()
					if swallows && err == gateway.ErrWait {
						err = nil
					}
					return b, err
				}), body}, err
			})
		}
		var found violations
		err := serveWell(gateway.ValidateMiddleware(m, found.add)(app("200 OK", func() gateway.Body {
			return gateway.Stream(func(yield func([]byte, error) bool) {
				_ = yield([]byte("a"), gateway.ErrWait) && yield(nil, gateway.ErrWait) && yield([]byte("b"), nil)
			})
		})), serverEnviron(t, smallGet))
		if (err != nil) != swallows || swallows && (len(found) != 1 || err != error(found[0]) || !strings.HasPrefix(found[0].Rule, "a middleware passes ErrWait")) {
			t.Errorf("swallows: %v: %v, %v", swallows, err, found)
		}
	}
}

// closing is a Body that closes another.
type closing struct {
	gateway.Body
	inner gateway.Body
}

func (c *closing) Close() error { return c.inner.Close() }
