package middleware

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/gateway/gatewaytest"
	"github.com/isbjorn/isbjorn/gateway/nethttp"
	"github.com/isbjorn/isbjorn/server"
)

const (
	before   = "Wed, 01 Jan 2020 00:00:00 GMT"
	modified = "Thu, 02 Jan 2020 00:00:00 GMT"
	after    = "Fri, 03 Jan 2020 00:00:00 GMT"
)

func conditionalOf(t *testing.T, o ConditionalOptions) gateway.Middleware {
	t.Helper()
	m, err := Conditional(o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// The table of RFC 9110 section 13, for a response with validators and one without.
func TestPreconditions(t *testing.T) {
	m := conditionalOf(t, ConditionalOptions{})
	const none, match, since, unmodified = "If-None-Match", "If-Match", "If-Modified-Since", "If-Unmodified-Since"
	for _, tt := range []struct {
		header     []string
		etag       string
		with, bare int // status with and without Last-Modified
	}{
		{[]string{}, `"a"`, 200, 200},
		{[]string{none, `"a"`}, `"a"`, 304, 304},
		{[]string{none, `W/"a"`}, `"a"`, 304, 304},
		{[]string{none, `"a"`}, `W/"a"`, 304, 304},
		{[]string{none, `"b"`}, `"a"`, 200, 200},
		{[]string{none, `"b" , W/"c",, "a"`}, `"a"`, 304, 304},
		{[]string{none, `"b"`, none, `"a"`}, `"a"`, 304, 304},
		{[]string{none, `"x,", "a"`}, `"a"`, 304, 304},
		{[]string{none, `"b, "a"`}, `"a"`, 200, 200},
		{[]string{none, `a`}, `"a"`, 200, 200},
		{[]string{none, `"a`}, `"a"`, 200, 200},
		{[]string{none, `*`}, `"a"`, 304, 304},
		{[]string{none, `*`}, ``, 304, 304},
		{[]string{none, `""`}, ``, 200, 200},
		{[]string{none, `""`}, `""`, 304, 304},
		{[]string{none, `"b"`, since, after}, `"a"`, 200, 200}, // If-None-Match counts alone
		{[]string{none, `"a"`, since, before}, `"a"`, 304, 304},
		{[]string{since, after}, `"a"`, 304, 200},
		{[]string{since, modified}, ``, 304, 200},
		{[]string{since, before}, ``, 200, 200},
		{[]string{since, "yesterday"}, ``, 200, 200},
		{[]string{match, `"a"`}, `"a"`, 200, 200},
		{[]string{match, `"b"`}, `"a"`, 412, 412},
		{[]string{match, `W/"a"`}, `"a"`, 412, 412},
		{[]string{match, `"a"`}, `W/"a"`, 412, 412},
		{[]string{match, `"a"`}, ``, 412, 412},
		{[]string{match, `*`}, ``, 200, 200},
		{[]string{match, `"b", "a"`, none, `"a"`}, `"a"`, 304, 304},
		{[]string{match, `"b"`, none, `"a"`}, `"a"`, 412, 412},
		{[]string{match, `"a"`, unmodified, before}, `"a"`, 200, 200}, // If-Match counts alone
		{[]string{unmodified, before}, `"a"`, 412, 200},
		{[]string{unmodified, modified}, `"a"`, 200, 200},
		{[]string{unmodified, after, since, after}, ``, 304, 200},
		{[]string{unmodified, "tomorrow"}, ``, 200, 200},
	} {
		for _, method := range []string{"GET", "HEAD"} {
			for _, late := range []bool{false, true} {
				for _, hasDate := range []bool{false, true} {
					a := &answer{chunks: []string{"content"}, late: late, sized: hasDate, headers: fields("Content-Type", "text/x", "Content-Length", "7", "Cache-Control", "max-age=9", "Vary", "X")}
					want := tt.bare
					if tt.etag != "" {
						a.headers = append(a.headers, fields("ETag", tt.etag)...)
					}
					if hasDate {
						a.headers, want = append(a.headers, fields("Last-Modified", modified)...), tt.with
					}
					got := call(m(a), method, "/", tt.header...)
					if got.Code != want || got.Err != nil || a.closed != 1 || got.Closed != 1 {
						t.Errorf("%s %q, ETag %s, date %v, late %v: %s, want %d", method, tt.header, tt.etag, hasDate, late, show(got), want)
						continue
					}
					text := map[int]string{200: "content", 304: "", 412: "Precondition Failed\n"}[want]
					if method == "HEAD" {
						text = ""
					}
					if got.Text() != text {
						t.Errorf("%s %q: content %q, want %q", method, tt.header, got.Text(), text)
					}
					if want == 304 && (got.Get("ETag") != tt.etag || got.Get("Cache-Control") != "max-age=9" || got.Get("Vary") != "X" ||
						got.Get("Content-Type") != "" || got.Get("Content-Length") != "" || got.Get("Last-Modified") != "" && tt.etag != "") {
						t.Errorf("%s %q: 304 with %v", method, tt.header, got.Header)
					}
				}
			}
		}
	}
}

// Responses other than a 200 to GET or HEAD do not change.
func TestPreconditionsElsewhere(t *testing.T) {
	m := conditionalOf(t, ConditionalOptions{ETagBytes: 1000})
	for _, tt := range []struct{ method, status string }{{"POST", "200 OK"}, {"PUT", "200 OK"}, {"GET", "206 Partial Content"}, {"GET", "404 Not Found"}, {"GET", "201 Created"}} {
		a := &answer{status: tt.status, chunks: []string{"content"}, sized: true, headers: fields("ETag", `"a"`)}
		if got := call(m(a), tt.method, "/", "If-None-Match", `"a"`, "If-Match", `"b"`); got.Status != tt.status || got.Text() != "content" {
			t.Errorf("%v: %s", tt, show(got))
		}
	}
}

func TestMadeETag(t *testing.T) {
	m := conditionalOf(t, ConditionalOptions{ETagBytes: 10})
	get := func(a *answer, header ...string) *gatewaytest.Response {
		t.Helper()
		got := call(m(a), "GET", "/", header...)
		if a.chunks != nil && a.closed != 1 {
			t.Errorf("%+v: closed %d times", a, a.closed)
		}
		return got
	}
	first := get(&answer{chunks: []string{"content"}, sized: true, headers: fields("X-A", "1")})
	etag := first.Get("ETag")
	if first.Text() != "content" || !strings.HasPrefix(etag, `"`) || first.Get("X-A") != "1" {
		t.Fatalf("%s %v", show(first), first.Header)
	}
	if got := get(&answer{chunks: []string{"content"}, sized: true}, "If-None-Match", etag); got.Code != 304 || got.Text() != "" || got.Get("ETag") != etag {
		t.Errorf("the same again: %s", show(got))
	}
	if got := get(&answer{chunks: []string{"another"}, sized: true}, "If-None-Match", etag); got.Code != 200 || got.Text() != "another" || got.Get("ETag") == etag {
		t.Errorf("other content: %s", show(got))
	}
	for _, a := range []answer{ // that get none
		{chunks: []string{"content"}},
		{chunks: []string{"con", "tent"}, sized: true},
		{chunks: []string{"more than ten"}, sized: true},
		{chunks: []string{"content"}, sized: true, written: "w"},
		{chunks: []string{"content"}, sized: true, headers: fields("ETag", `"own"`)},
		{chunks: []string{"content"}, sized: true, status: "404 Not Found"},
		{chunks: []string{"content"}, sized: true, failNext: errBroken},
		{},
	} {
		wrapped, plain := a, a
		got, want := get(&wrapped), gatewaytest.Get(&plain, "/")
		tag := want.Get("ETag")
		if a.failNext != nil {
			tag = got.Get("ETag") // it was a whole chunk, as far as one knew
		}
		if show(got) != show(want) || got.Get("ETag") != tag {
			t.Errorf("%+v: %s with ETag %s, want %s", a, show(got), got.Get("ETag"), show(want))
		}
	}
	weak := conditionalOf(t, ConditionalOptions{ETagBytes: 10, Weak: true})
	if got := gatewaytest.Get(weak(&answer{chunks: []string{"content"}, sized: true}), "/"); got.Get("ETag") != "W/"+etag {
		t.Errorf("weak: %q", got.Get("ETag"))
	}
	// HEAD has what GET has, and the length.
	out := exchange(t, m(&answer{chunks: []string{"content"}, sized: true}), "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n")
	if !strings.Contains(out, "ETag: "+etag) || !strings.Contains(out, "Content-Length: 7\r\n") || strings.Contains(out, "content") {
		t.Errorf("HEAD: %q", out)
	}
}

// A panic in the Next that is called in Serve closes the Body.
func TestMadeETagPanic(t *testing.T) {
	a := &answer{chunks: []string{}, sized: true, failNext: errBroken, panics: true}
	got := gatewaytest.Call(Recover(conditionalOf(t, ConditionalOptions{ETagBytes: 10})(a)), gatewaytest.Request{})
	if got.Code != 500 || a.closed != 1 {
		t.Errorf("%s, closed %d times", show(got), a.closed)
	}
}

func TestConditionalRefused(t *testing.T) {
	for _, n := range []int64{-1, 1<<20 + 1} {
		if _, err := Conditional(ConditionalOptions{ETagBytes: n}); err == nil || !strings.Contains(err.Error(), "ETagBytes") {
			t.Errorf("%d: %v", n, err)
		}
	}
}

// The content of an http.Handler, of chunks and of write() is dropped for a 304 and a 412, which are complete, and the
// connection is kept.
func TestConditionalHandlers(t *testing.T) {
	handler := nethttp.App(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := strconv.Atoi(r.URL.RawQuery)
		w.Header().Set("ETag", `"e"`)
		_, _ = io.WriteString(w, prose(n))
	}))
	for _, o := range []ConditionalOptions{{}, {ETagBytes: 10_000}} {
		for where, dispatch := range dispatches {
			c := dial(t, gateway.Validate(conditionalOf(t, o)(handler)), "tcp", server.Options{Dispatch: dispatch})
			for _, n := range []int{0, 100, 5000} {
				target := "/?" + strconv.Itoa(n)
				for line, want := range map[string]string{
					`If-Match: "x"`: "412 Precondition Failed\n", `If-None-Match: "e"`: "304 ", `If-Match: "e"`: "200 " + prose(n),
				} {
					if got := c.text("GET", target, line); got != want {
						t.Errorf("%s, %d bytes, %s: %.40q, want %.40q", where, n, line, got, want)
					}
				}
			}
		}
	}
}

// A precondition is evaluated with the ETag that Conditional makes.
func TestMadeETagDecides(t *testing.T) {
	m := conditionalOf(t, ConditionalOptions{ETagBytes: 100})
	app := func() gateway.App { return m(&answer{chunks: []string{"content"}, sized: true}) }
	etag := call(app(), "GET", "/").Get("ETag")
	for value, want := range map[string]int{etag: 200, `"other"`: 412, "*": 200} {
		if got := call(app(), "GET", "/", "If-Match", value); got.Code != want || etag == "" {
			t.Errorf("If-Match: %s: %s, want %d", value, show(got), want)
		}
	}
}
