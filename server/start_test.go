package server

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/server/internal/respond"
)

// startApp is an application made of what it does with start.
func startApp(f func(start gateway.StartResponse) (gateway.Body, error)) gateway.App {
	return appFunc(func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) { return f(start) })
}

var errExc = errors.New("why it is replaced")

// A call of start that is refused is answered by 500, and no part of it reaches the client: in each call in which the
// application makes it, and with anything that the application does afterwards.
func TestStartRefuses(t *testing.T) {
	bad := map[string]func(start gateway.StartResponse) error{}
	try := func(name, status string, headers ...gateway.Header) {
		bad[name] = func(start gateway.StartResponse) error { _, err := start(status, headers, nil); return err }
		bad[name+", in place of another"] = func(start gateway.StartResponse) error {
			_, _ = start("200 OK", nil, nil)
			_, err := start(status, headers, errExc)
			return err
		}
	}
	for _, name := range []string{
		"Keep-Alive", "proxy-connection", "Proxy-Authenticate", "Proxy-Authorization", "TE",
		"TRANSFER-ENCODING", "Upgrade", "Status",
	} {
		try(name, "200 OK", gateway.Header{Name: name, Value: "evil"})
	}
	try("Connection", "200 OK", gateway.Header{Name: "Connection", Value: "keep-alive"})
	try("Connection with more", "200 OK", gateway.Header{Name: "Connection", Value: "close, evil"})
	try("Date twice", "200 OK", gateway.Header{Name: "Date", Value: "evil"}, gateway.Header{Name: "date", Value: "evil"})
	try("Server twice", "200 OK", gateway.Header{Name: "Server", Value: "evil"}, gateway.Header{Name: "SERVER", Value: "evil"})
	try("no name", "200 OK", gateway.Header{Value: "evil"})
	for _, c := range []string{"\r", "\n", "\r\n", "\x00", "\x01", "\x7f"} {
		try("status "+c, "200 OK"+c+"evil")
		try("name "+c, "200 OK", gateway.Header{Name: "X" + c + "evil", Value: "x"})
		try("value "+c, "200 OK", gateway.Header{Name: "X", Value: "x" + c + "evil"})
		if _, err := New(appFunc(hello), Options{ServerHeader: "x" + c + "evil"}); err == nil || !strings.Contains(err.Error(), "option ServerHeader") {
			t.Errorf("option ServerHeader with %q: %v", c, err)
		}
	}
	for _, status := range []string{"", "200", "200  evil\n", "20 OK", "099 evil", "600 evil", "abc evil", "2000 evil", "100 Continue", "101 evil", " 200 OK"} {
		try("status "+status, status)
	}
	for name, f := range bad {
		s, err := New(startApp(func(start gateway.StartResponse) (gateway.Body, error) {
			first := f(start)
			if first == nil {
				t.Errorf("%q: no error", name)
			}
			w, err := start("200 evil", nil, nil) // continues as if there were no error
			if w != nil || err != first {
				t.Errorf("%q: then start gives a writer: %v, %v; want the same error", name, w != nil, err)
			}
			if _, err := start("200 evil", nil, errExc); err != first {
				t.Errorf("%q: then start with exc gives %v; want the same error", name, err)
			}
			return gateway.Text("evil"), nil
		}), Options{Loops: 1, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		m := s.openMemory()
		m.Feed([]byte(get + get))
		if n := strings.Count(string(m.Out), "HTTP/1.1 500 Internal Server Error\r\n"); n != 2 || strings.Contains(string(m.Out), "evil") {
			t.Errorf("%q: %q", name, m.Out)
		}
		s.Close()
	}
}

// exc replaces what was declared, any number of times, while nothing was sent. Afterwards it is returned, and the
// response is cut.
func TestStartAgain(t *testing.T) {
	results := make(chan error, 1)
	s := start(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		w, err := start("200 First", []gateway.Header{{Name: "Date", Value: "then"}, {Name: "Connection", Value: "close"}, {Name: "X", Value: "first"}}, nil)
		if err != nil {
			return nil, err
		}
		if env.Path() == "/sent" {
			_, _ = w.Write([]byte("sent"))
			_, err := start("500 Second", nil, errExc)
			results <- err
			return gateway.Text("never"), nil // the error is the server's to see
		}
		_, _ = w.Write(nil) // nothing
		for _, status := range []string{"201 Second", "202 Third"} {
			if _, err := start(status, []gateway.Header{{Name: "X", Value: status}}, errExc); err != nil {
				t.Errorf("start with exc: %v", err)
			}
		}
		_, err = w.Write([]byte("written, "))
		return gateway.Text("returned"), err
	}), Options{})
	c := s.dial()
	for range 2 { // nothing of the first is left, also not its close
		c.send(get)
		resp := c.want("GET", 202, "written, returned")
		if resp.Close || resp.Header.Get("Date") == "then" || len(resp.Header["X"]) != 1 || resp.Header.Get("X") != "202 Third" {
			t.Errorf("header %v", resp.Header)
		}
	}
	c.send("GET /sent HTTP/1.1\r\nHost: h\r\n\r\n")
	if resp, got, err := c.tryRead("GET"); err == nil || got != "sent" || resp.Status != "200 First" {
		t.Errorf("%s, %q, %v; want a part and an error", resp.Status, got, err)
	}
	if err := <-results; err != errExc {
		t.Errorf("start with exc after a part was sent: %v, want exc itself", err)
	}
}

// Empty chunks send nothing: the response can still be replaced.
func TestEmptyChunksSendNothing(t *testing.T) {
	for name, dispatch := range map[string]DispatchMode{"Auto": Auto, "Inline": Inline, "Pool": Pool} {
		s := startOn(dispatch, t, startApp(func(start gateway.StartResponse) (gateway.Body, error) {
			_, err := start("200 First", []gateway.Header{{Name: "Content-Length", Value: "100"}}, nil)
			n := 0
			return next(func() ([]byte, error) {
				if n++; n <= 3 {
					return []byte{}, nil
				}
				_, err := start("503 Second", nil, errExc)
				if err == nil {
					err = io.EOF
				}
				return []byte("second"), err
			}), err
		}), Options{})
		c := s.dial()
		c.send(get)
		if resp := c.want("GET", 503, "second"); resp.Status != "503 Second" {
			t.Errorf("%s: %s", name, resp.Status)
		}
	}
}

// Nothing is sent by start, nor by an empty write; each other write is passed on at
// once, and before the bytes of the Body.
func TestEachWriteIsPassedOn(t *testing.T) {
	read := make(chan bool)
	s := start(t, startApp(func(start gateway.StartResponse) (gateway.Body, error) {
		w, err := start("200 OK", nil, nil)
		if err != nil {
			return nil, err
		}
		_, _ = w.Write([]byte{})
		for _, part := range []string{"one", "two", "three"} {
			if n, err := io.WriteString(w, part); n != len(part) || err != nil {
				t.Errorf("Write = %d, %v", n, err)
			}
			<-read
		}
		return gateway.Text("body"), nil
	}), Options{StallWarning: None})
	c := s.dial()
	c.send(get)
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"one", "two", "three"} {
		b := make([]byte, 100)
		if n, err := resp.Body.Read(b); string(b[:n]) != want {
			t.Errorf("read %q, %v; want %q", b[:n], err, want)
		}
		read <- true
	}
	if b, err := io.ReadAll(resp.Body); string(b) != "body" || err != nil {
		t.Errorf("then %q, %v; want body", b, err)
	}
}

// Date and Server are there once in every answer, whether the application sets them or not.
func TestDateAndServerOnce(t *testing.T) {
	for _, headers := range [][]gateway.Header{
		nil,
		{{Name: "Date", Value: "Sat, 01 Jan 2000 00:00:00 GMT"}},
		{{Name: "server", Value: "mine"}},
		{{Name: "SERVER", Value: "mine"}, {Name: "date", Value: "Sat, 01 Jan 2000 00:00:00 GMT"}},
	} {
		for _, status := range []string{"200 OK", "204 No Content", "304 Not Modified", "404 Not Found", "bad"} {
			s := start(t, startApp(func(start gateway.StartResponse) (gateway.Body, error) {
				_, _ = start(status, headers, nil)
				return nil, nil
			}), Options{Loops: 1})
			c := s.dial()
			for _, method := range []string{"GET", "HEAD", "GET"} {
				c.send(method + " / HTTP/1.1\r\nHost: h\r\n\r\n")
				resp, _ := c.read(method)
				if len(resp.Header["Date"]) != 1 || len(resp.Header["Server"]) != 1 {
					t.Errorf("%s %s with %v: Date %q, Server %q", method, status, headers, resp.Header["Date"], resp.Header["Server"])
				}
			}
		}
	}
}

// A declared length of 0 is a whole response, with a Body or without, and what is
// written to it is refused.
func TestLengthZero(t *testing.T) {
	zero := []gateway.Header{{Name: "Content-Length", Value: "0"}}
	for name, body := range map[string]func() gateway.Body{
		"nil": func() gateway.Body { return nil }, "empty": func() gateway.Body { return gateway.Text("") },
		"more": func() gateway.Body { return gateway.Text("more") }, "chunks": func() gateway.Body { return chunks("", "more") },
	} {
		s := start(t, startApp(func(start gateway.StartResponse) (gateway.Body, error) {
			w, err := start("200 OK", zero, nil)
			if n, err := w.Write([]byte("x")); n != 0 || err != respond.ErrTooLong {
				t.Errorf("%s: Write = %d, %v; want 0, %v", name, n, err, respond.ErrTooLong)
			}
			return body(), err
		}), Options{})
		c := s.dial()
		c.send(get + get)
		for range 2 {
			if resp := c.want("GET", 200, ""); resp.ContentLength != 0 {
				t.Errorf("%s: Content-Length %d", name, resp.ContentLength)
			}
		}
	}
}
