package respond

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
)

var second = time.Unix(1_000_000_000, 0)

// date is that of a server named s at second.
func date() *Date {
	d := NewDate("s")
	d.Update(second)
	return &d
}

// The framing of each kind of response to each kind of request.
func TestCommit(t *testing.T) {
	const (
		length  = "Content-Length"
		chunked = "Transfer-Encoding: chunked"
		closes  = "Connection: close"
		goesOn  = "Connection: keep-alive"
	)
	get, head, old, oldKept := Request{KeepAlive: true}, Request{HEAD: true, KeepAlive: true}, Request{HTTP10: true}, Request{HTTP10: true, KeepAlive: true}
	fields := func(name, value string) []gateway.Header { return []gateway.Header{{Name: name, Value: value}} }
	for _, tt := range []struct {
		status  string
		fields  []gateway.Header
		known   int64
		request Request
		framing Framing
		left    int64
		keep    bool
		has     string // of length, chunked, closes, goesOn
	}{
		{"200 OK", nil, 5, get, ByLength, 5, true, length},
		{"200 OK", nil, 0, get, ByLength, 0, true, length},
		{"200 OK", nil, -1, get, Chunked, 0, true, chunked},
		{"200 OK", nil, 5, old, ByLength, 5, false, length + closes},
		{"200 OK", nil, 5, oldKept, ByLength, 5, true, length + goesOn},
		{"200 OK", nil, -1, old, ByClose, 0, false, closes},
		{"200 OK", nil, -1, oldKept, ByClose, 0, false, closes},
		{"200 OK", nil, 5, Request{}, ByLength, 5, false, length + closes},
		{"200 OK", fields("Content-Length", "7"), -1, get, ByLength, 7, true, length},
		{"200 OK", fields("Content-Length", "7"), 5, get, ByLength, 7, true, length},
		{"200 OK", fields("Connection", "close"), 5, get, ByLength, 5, false, length + closes},
		{"200 OK", fields("Trailer", "X"), 5, get, Chunked, 0, true, chunked},
		{"200 OK", fields("Trailer", "X"), 5, oldKept, ByLength, 5, true, length + goesOn},
		{"200 OK", nil, 5, head, NoContent, 5, true, length},
		{"200 OK", nil, -1, head, NoContent, 0, true, chunked},
		{"204 No Content", nil, 0, get, NoContent, 0, true, ""},
		{"204 No Content", fields("Content-Length", "7"), 0, get, NoContent, 0, true, ""},
		{"304 Not Modified", nil, 0, get, NoContent, 0, true, ""},
		{"304 Not Modified", fields("Content-Length", "7"), 0, get, NoContent, 7, true, length},
		{"304 Not Modified", nil, -1, old, NoContent, 0, false, closes},
	} {
		var r Response
		if err := r.Declare(tt.status, tt.fields, nil); err != nil {
			t.Fatal(err)
		}
		out, keep := r.Commit(nil, tt.known, tt.request, date())
		var has string
		for _, text := range []string{length, chunked, closes, goesOn} {
			if strings.Contains(string(out), text) {
				has += text
			}
		}
		if r.Framing != tt.framing || r.Left != tt.left || keep != tt.keep || has != tt.has {
			t.Errorf("%s %v, %d known, to %+v: framing %d, %d left, keep-alive %v, %q; want %d, %d, %v, %q",
				tt.status, tt.fields, tt.known, tt.request, r.Framing, r.Left, keep, has, tt.framing, tt.left, tt.keep, tt.has)
		}
	}
}

// Invariant: what an application declares is refused, or a client reads exactly that status, those
// fields and that content, also where the head is that of the response before. What was not sent whole
// does not look whole.
func FuzzResponse(f *testing.F) {
	f.Add(200, "OK", "X-A", "b", "Content-Type", "text/plain", []byte("hello"), int16(5), int16(2), false, false)
	f.Add(200, "OK", "Content-Length", "5", "Date", "", []byte("hello, more"), int16(-1), int16(3), false, true)
	f.Add(304, "Not Modified", "Etag", "\"x\"", "Server", "app", []byte(nil), int16(-1), int16(0), true, false)
	f.Add(404, "", "A\r\nB", "c", "A", "b\r\nC: d", []byte("x"), int16(0), int16(1), false, false)
	f.Add(299, "x", "Trailer", "X", "Connection", "close", []byte("chunks"), int16(-1), int16(1), false, false)
	var used Response
	f.Fuzz(func(t *testing.T, code int, reason, name1, value1, name2, value2 string, content []byte, known, step int16, isHEAD, http10 bool) {
		status := strconv.Itoa(code) + " " + reason
		headers := []gateway.Header{{Name: name1, Value: value1}, {Name: name2, Value: value2}}
		if known >= 0 {
			known = int16(min(len(content), 1<<14)) // what a body that knows its length says is true
		}
		q := Request{HEAD: isHEAD, HTTP10: http10, KeepAlive: true}
		respond := func(r *Response) (out []byte, complete bool, err error) {
			r.Reset()
			if err := r.Declare(status, headers, nil); err != nil {
				return nil, false, err
			}
			out, _ = r.Commit(nil, int64(known), q, date())
			for rest := content[:min(len(content), 1<<14)]; len(rest) > 0; {
				piece := rest[:min(len(rest), max(int(step), 1))]
				rest = rest[len(piece):]
				dst, n, err := r.Frame(out, int64(len(piece)))
				out = r.EndFrame(append(dst, piece[:n]...), n)
				if err != nil {
					break
				}
			}
			return r.End(out), !r.Short(), nil
		}
		out, complete, err := respond(&used)
		fresh, _, freshErr := respond(&Response{})
		if (err == nil) != (freshErr == nil) || !bytes.Equal(out, fresh) {
			t.Fatalf("%v %q; a fresh one %v %q", err, out, freshErr, fresh)
		}
		if err != nil {
			return
		}
		method := "GET"
		if isHEAD {
			method = "HEAD"
		}
		in := bufio.NewReader(bytes.NewReader(out))
		resp, err := http.ReadResponse(in, &http.Request{Method: method})
		if err != nil {
			t.Fatalf("%v: %q", err, out)
		}
		got, err := io.ReadAll(resp.Body)
		switch {
		case !complete:
			if err == nil && !isHEAD {
				t.Fatalf("%q looks whole", out)
			}
			return
		case err != nil:
			t.Fatalf("%v: %q", err, out)
		}
		if rest, _ := io.ReadAll(in); len(rest) > 0 {
			t.Fatalf("%q is left behind the response %q", rest, out)
		}
		want := content[:min(len(content), 1<<14)]
		switch {
		case Contentless(code, isHEAD):
			want = nil
		case used.hasLength:
			want = want[:min(int64(len(want)), used.declared)]
		}
		if resp.StatusCode != code || !bytes.Equal(got, want) {
			t.Fatalf("a client reads %d %q of %q, want %d %q", resp.StatusCode, got, out, code, want)
		}
		for _, h := range headers {
			name := http.CanonicalHeaderKey(h.Name)
			switch name {
			case "Content-Length", "Connection", "Trailer", "Date", "Server":
				continue
			}
			if !slices.ContainsFunc(resp.Header[name], func(v string) bool { return strings.Trim(h.Value, " \t") == v }) {
				t.Fatalf("a client does not read the field %q: %q of %q", h.Name, h.Value, out)
			}
		}
		allowed := map[string]bool{"Date": true, "Server": true, "Connection": true, "Content-Length": true}
		for _, h := range headers {
			allowed[http.CanonicalHeaderKey(h.Name)] = true
		}
		for name := range resp.Header {
			if !allowed[name] {
				t.Fatalf("a client reads a field %q that was not declared, of %q", name, out)
			}
		}
	})
}

// Date changes each second, and a head that is used again has that of its own second.
func TestDate(t *testing.T) {
	d := NewDate("")
	var r Response
	for i := range 3 {
		now := second.Add(time.Duration(i) * time.Second)
		d.Update(now)
		r.Reset()
		if err := r.Declare("200 OK", nil, nil); err != nil {
			t.Fatal(err)
		}
		out, _ := r.Commit(nil, 0, Request{KeepAlive: true}, &d)
		if want := "Date: " + now.UTC().Format(http.TimeFormat) + "\r\n"; !strings.Contains(string(out), want) || strings.Contains(string(out), "Server:") {
			t.Errorf("%q, want %q", out, want)
		}
	}
}

// What start may be called with after the first call: PEP 3333, "The start_response() Callable".
func TestDeclareAgain(t *testing.T) {
	exc := errors.New("exc")
	var r Response
	first := []gateway.Header{{Name: "X-First", Value: "1"}, {Name: "Content-Length", Value: "9"}}
	if err := r.Declare("200 OK", first, nil); err != nil {
		t.Fatal(err)
	}
	if err := r.Declare("200 OK", nil, nil); err != ErrStartTwice {
		t.Errorf("a second call: %v", err)
	}
	if err := r.Declare("500 Internal Server Error", nil, exc); err != nil || r.Code() != 500 || r.Room() != -1 {
		t.Errorf("a second call with exc: %v, code %d, room for %d", err, r.Code(), r.Room())
	}
	out, _ := r.Commit(nil, 0, Request{KeepAlive: true}, date())
	if strings.Contains(string(out), "X-First") {
		t.Errorf("%q has fields of the first call", out)
	}
	if err := r.Declare("500 Internal Server Error", nil, exc); err != exc {
		t.Errorf("behind the head: %v, want exc", err)
	}
}

// An error response is complete, and a client that has sent HEAD reads no content.
func TestAppendError(t *testing.T) {
	for _, isHEAD := range []bool{false, true} {
		out := AppendError(nil, 503, "why", isHEAD, date())
		method, want := "GET", ErrorText(503, "why")
		if isHEAD {
			method, want = "HEAD", ""
		}
		resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(out)), &http.Request{Method: method})
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		if err != nil || string(text) != want || resp.StatusCode != 503 || !resp.Close || resp.Header.Get("Retry-After") != "1" || resp.Header.Get("Date") == "" {
			t.Errorf("%s: %v, %q of %q", method, err, text, out)
		}
	}
}

// A head is used again only where each text is the one that it was rendered from, however
// much the bytes of both look alike; and what cannot be is refused after any other.
func TestHeadAgain(t *testing.T) {
	type fields = []gateway.Header
	heads := []struct {
		status string
		fields fields
		bad    bool
	}{
		{status: "200 OK"},
		{status: "200 OK", fields: fields{}},
		{status: "200 OK\r\nA: b", bad: true},
		{status: "200 OK", fields: fields{{Name: "A", Value: "b"}}},
		{status: "200 OK", fields: fields{{Name: "A", Value: "c"}}},
		{status: "200 OK", fields: fields{{Name: "a", Value: "b"}}},
		{status: "200 OK", fields: fields{{Name: "A", Value: ""}}},
		{status: "200 OK", fields: fields{{Name: "A", Value: "b: c"}}},
		{status: "200 OK", fields: fields{{Name: "A: b", Value: "c"}}, bad: true},
		{status: "200 OK", fields: fields{{Name: "A", Value: "b"}, {Name: "C", Value: "d"}}},
		{status: "200 OK", fields: fields{{Name: "A", Value: "b\r\nC: d"}}, bad: true},
		{status: "200 OK", fields: fields{{Name: "A", Value: "b"}, {Name: "C", Value: "d"}, {Name: "E", Value: "f"}}},
		{status: "200 OK", fields: fields{{Name: "A", Value: "b\r\nC: d"}, {Name: "E", Value: "f"}}, bad: true},
		{status: "200 Ok", fields: fields{{Name: "A", Value: "b"}}},
		{status: "404 Not Found", fields: fields{{Name: "A", Value: "b"}}},
		{status: "200 OK", fields: fields{{Name: "Date", Value: "b"}}},
		{status: "200 OK", fields: fields{{Name: "Content-Length", Value: "1"}}},
		{status: "200 OK", fields: fields{{Name: "Content-Length", Value: "x"}}, bad: true},
	}
	var used Response
	for _, first := range heads {
		for _, second := range heads {
			for _, head := range []int{0, 1, 1} {
				h := first
				if head == 1 {
					h = second
				}
				var fresh Response
				used.Reset()
				want, got := fresh.Declare(h.status, h.fields, nil), used.Declare(h.status, h.fields, nil)
				if (want != nil) != h.bad || (got != nil) != h.bad {
					t.Fatalf("%q %q after %q %q: %v, a fresh one %v", h.status, h.fields, first.status, first.fields, got, want)
				}
				if !h.bad && (!bytes.Equal(used.bytes, fresh.bytes) || used.code != fresh.code || used.ownFields != fresh.ownFields || used.declared != fresh.declared || used.Started != fresh.Started) {
					t.Fatalf("%q %q after %q %q: %q, a fresh one %q", h.status, h.fields, first.status, first.fields, used.bytes, fresh.bytes)
				}
			}
		}
	}
}
