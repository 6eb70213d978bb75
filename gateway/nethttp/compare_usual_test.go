package nethttp_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/isbjorn/isbjorn/server"
)

// What ordinary handlers do with package net/http.
func TestSameForUsualHandlers(t *testing.T) {
	t.Parallel()
	dir := files(t)
	fileServer := http.FileServer(http.Dir(dir))
	request := func(line, fields, content string) string {
		return line + "\r\nHost: example.com\r\n" + fields + "\r\n" + content
	}
	of := func(target, fields string) string { return request("GET "+target+" HTTP/1.1", fields, "") }
	form := func(target, content string) string {
		return request("POST "+target+" HTTP/1.1", fmt.Sprintf("Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n", len(content)), content)
	}
	f := func(h http.HandlerFunc) http.Handler { return h }
	describe := f(describe)

	mux := http.NewServeMux()
	tells := func(names ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "%q", r.Pattern)
			for _, name := range names {
				fmt.Fprintf(w, " %q", r.PathValue(name))
			}
		}
	}
	mux.HandleFunc("GET /a/{x}/b/{y}", tells("x", "y", "z"))
	mux.HandleFunc("POST /a/{x}/b/{y}", tells("x", "y"))
	mux.HandleFunc("/rest/{rest...}", tells("rest"))
	mux.HandleFunc("/end/{$}", tells())
	mux.HandleFunc("GET api.example/{x}", tells("x"))
	mux.HandleFunc("HEAD /own-head", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X-Head", "1") })
	mux.HandleFunc("GET /own-head", tells())
	mux.Handle("/sub/", http.StripPrefix("/sub", describe))

	changed := time.Date(2024, 5, 17, 9, 30, 0, 0, time.UTC)
	content := f(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Etag", `"e1"`)
		http.ServeContent(w, r, "large.txt", changed, strings.NewReader(large[:20_000]))
	})
	forms := f(func(w http.ResponseWriter, r *http.Request) {
		err := r.ParseForm()
		fmt.Fprintf(w, "%v %q %q %v", err, r.Form, r.PostForm, r.MultipartForm == nil)
	})
	parts := f(func(w http.ResponseWriter, r *http.Request) {
		err := r.ParseMultipartForm(1000)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		defer r.MultipartForm.RemoveAll()
		fmt.Fprintf(w, "%q", r.MultipartForm.Value)
		for name, headers := range r.MultipartForm.File {
			for _, h := range headers {
				fmt.Fprintf(w, " %s %s %d %v", name, h.Filename, h.Size, h.Header)
			}
		}
	})
	streamed := f(func(w http.ResponseWriter, r *http.Request) {
		reader, err := r.MultipartReader()
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		for {
			part, err := reader.NextPart()
			if err != nil {
				fmt.Fprint(w, err)
				return
			}
			n, err := io.Copy(io.Discard, part)
			fmt.Fprintln(w, part.FormName(), part.FileName(), n, err)
		}
	})
	counts := f(func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n, err)
	})
	limited := http.MaxBytesHandler(f(func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
			return
		}
		fmt.Fprint(w, n, err)
	}), 100)
	upload := func(n int) string {
		return request("PUT /u HTTP/1.1", fmt.Sprintf("Content-Length: %d\r\n", n), strings.Repeat("u", n))
	}
	chunks := func(n, size int) string {
		return request("PUT /u HTTP/1.1", "Transfer-Encoding: chunked\r\n", strings.Repeat(fmt.Sprintf("%x\r\n%s\r\n", size, strings.Repeat("c", size)), n)+"0\r\n\r\n")
	}
	var fields strings.Builder
	for i := range 40 {
		fmt.Fprintf(&fields, "X-Field-%d: %d\r\nx-twice: %d\r\n", i, i, i)
	}

	compareCases(t, []compareCase{
		// Routes.
		{"wildcards", mux, of("/a/1/b/2", ""), ""},
		{"wildcards of another method", mux, request("POST /a/1/b/2 HTTP/1.1", "Content-Length: 0\r\n", ""), ""},
		{"wildcard that is escaped", mux, of("/a/%2F%20/b/%C3%A4", ""), ""},
		{"wildcard of no bytes", mux, of("/a//b/2", ""), ""},
		{"method that is not allowed", mux, request("PATCH /a/1/b/2 HTTP/1.1", "Content-Length: 0\r\n", ""), ""},
		{"OPTIONS of a route", mux, request("OPTIONS /a/1/b/2 HTTP/1.1", "", ""), ""},
		{"rest", mux, of("/rest/a/b/c?d", ""), ""},
		{"no rest", mux, of("/rest/", ""), ""},
		{"rest without a slash", mux, of("/rest?q=1", ""), ""},
		{"end", mux, of("/end/", ""), ""},
		{"beyond the end", mux, of("/end/x", ""), ""},
		{"host", mux, "GET /x HTTP/1.1\r\nHost: api.example\r\n\r\n", ""},
		{"host with a port", mux, "GET /x HTTP/1.1\r\nHost: api.example:8080\r\n\r\n", ""},
		{"host in upper case", mux, "GET /x HTTP/1.1\r\nHost: API.example\r\n\r\n", ""},
		{"host of the target", mux, of("http://api.example/x", ""), ""},
		{"another host", mux, of("/x", ""), ""},
		{"HEAD of its own", mux, of("/own-head", ""), ""},
		{"StripPrefix below a route", mux, of("/sub/a%2Fb?c", ""), ""},
		{"StripPrefix that is not there", http.StripPrefix("/x", describe), of("/y", ""), ""},
		{"dots", mux, of("/a/./1/../1/b/2", ""), ""},
		{"dots at the top", mux, of("/../../end/", ""), ""},
		{"two slashes at the top", mux, of("//end/", ""), ""},

		// Targets.
		{"empty query", describe, of("/a?", ""), ""},
		{"query of question marks", describe, of("/a??b?", ""), ""},
		{"semicolons", forms, of("/a;b?c=1;d=2&e=3", ""), ""},
		{"AllowQuerySemicolons", http.AllowQuerySemicolons(forms), of("/?a=1;b=2&c=3", ""), ""},
		{"plus and percent", forms, of("/?a=%20+b&c=%zz&%C3%A4=1", ""), ""},
		{"path of other bytes", describe, of("/a!$&'()*+,;=:@-._~b", ""), ""},
		{"percent of small letters", describe, of("/%e4%2f%41", ""), ""},
		{"percent at the end", describe, of("/a%", ""), "Content-Length"},
		{"absolute-form with a query alone", describe, of("http://other.example?a=b", ""), ""},
		{"absolute-form of https", describe, of("https://other.example/a%20b", ""), ""},
		{"absolute-form in upper case", describe, of("HTTP://Other.Example/A", ""), ""},
		{"OPTIONS * with content", describe, request("OPTIONS * HTTP/1.1", "Content-Length: 3\r\n", "abc"), ""},
		{"long target", describe, of("/"+strings.Repeat("long/", 500)+"?"+strings.Repeat("q=1&", 200), ""), ""},

		// Fields.
		{"many fields, some twice", describe, of("/", fields.String()), ""},
		{"thirteen fields", describe, of("/", fields.String()[:strings.Index(fields.String(), "X-Field-6")]+"Last: 1\r\n"), ""},
		{"lower case", describe, of("/", "accept: a\r\nx-own: b\r\nsec-fetch-mode: c\r\nx-forwarded-for: d\r\nwww-x: e\r\n"), ""},
		{"upper case", describe, of("/", "ACCEPT: a\r\nX-OWN: b\r\nSEC-FETCH-MODE: c\r\nTE: trailers\r\nDNT: 1\r\n"), ""},
		{"odd names", describe, of("/", "a.b: 1\r\n-x-: 2\r\nx--y: 3\r\n!#$%&'*+.^`|~: 4\r\n1a: 5\r\n"), ""},
		{"long value", describe, of("/", "X-Long: "+strings.Repeat("value ", 1000)+"end\r\n"), ""},
		{"bytes beyond ASCII", describe, of("/", "X-Text: \xc3\xa4\xff\r\n"), ""},
		{"tabs and spaces", describe, of("/", "X-Text:\t a\tb  c \t\r\n"), ""},
		{"lists on several lines", describe, of("/", "Accept-Encoding: gzip\r\nAccept-Encoding: br\r\nVia: 1.1 a\r\nVia: 1.1 b\r\n"), ""},
		{"fields added by a middleware", f(func(w http.ResponseWriter, r *http.Request) {
			for _, name := range []string{"A", "B", "C", "D"} {
				r.Header.Add(name, "added")
			}
			describe.ServeHTTP(w, r)
		}), of("/", "A: 1\r\nB: 2\r\nC: 3\r\n"), ""},
		{"cookies", f(func(w http.ResponseWriter, r *http.Request) {
			c, err := r.Cookie("b")
			fmt.Fprint(w, r.Cookies(), c, err, len(r.CookiesNamed("a")))
			http.SetCookie(w, &http.Cookie{Name: "late", Value: "x"})
		}), of("/", "Cookie: a=1; b=\"2\"; a=3; bad name=4; c\r\nCookie: d=5\r\n"), ""},
		{"cookies set", f(func(w http.ResponseWriter, _ *http.Request) {
			http.SetCookie(w, &http.Cookie{Name: "a", Value: "1 2", Path: "/", MaxAge: 10, HttpOnly: true, SameSite: http.SameSiteLaxMode})
			http.SetCookie(w, &http.Cookie{Name: "b", Value: "2", Secure: true})
		}), get, ""},
		{"basic auth", f(func(w http.ResponseWriter, r *http.Request) {
			user, password, ok := r.BasicAuth()
			if w.Header().Set("Www-Authenticate", `Basic realm="x"`); !ok {
				http.Error(w, "who?", http.StatusUnauthorized)
				return
			}
			fmt.Fprint(w, user, password)
		}), of("/", "Authorization: Basic dXNlcjpwYXNz\r\n"), ""},
		{"no basic auth", f(func(w http.ResponseWriter, r *http.Request) {
			_, _, ok := r.BasicAuth()
			http.Error(w, fmt.Sprint(ok), http.StatusUnauthorized)
		}), of("/", "Authorization: Bearer x\r\n"), ""},

		// Answers.
		{"fields alone", writes(0, "X-A: 1|Content-Type: a/b"), get, ""},
		{"fields and a status", writes(201, "Location: /new|Etag: \"x\""), get, ""},
		{"empty write", writes(0, "", ""), get, ""},
		{"empty write, then text", writes(0, "", "", "text"), get, ""},
		{"WriteHeader twice", f(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(201)
			w.WriteHeader(500)
			_, _ = io.WriteString(w, "created")
			w.WriteHeader(404)
		}), get, ""},
		{"Redirect", f(func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "../b?c=d", http.StatusFound) }), of("/x/y/z", ""), ""},
		{"Redirect of POST", f(func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/b", http.StatusSeeOther) }), form("/", "a=b"), ""},
		{"RedirectHandler", http.RedirectHandler("https://other.example/", http.StatusPermanentRedirect), get, ""},
		{"NotFound", http.NotFoundHandler(), get, ""},
		{"Error over fields", f(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "5")
			w.Header().Set("Content-Encoding", "gzip")
			w.Header().Set("Etag", "x")
			http.Error(w, "no", http.StatusTeapot)
		}), get, ""},
		{"204 with a write", f(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusNoContent)
			_, err := io.WriteString(w, "no")
			w.Header().Set("X-Late", fmt.Sprint(err))
		}), get, ""},
		{"205", writes(205, ""), get, ""},
		{"304 of itself", writes(304, "Cache-Control: max-age=1"), get, ""},
		{"Content-Length of nothing", writes(0, "Content-Length: 0"), get, ""},
		{"Content-Length of what follows", writes(0, "Content-Length: 4", "te", "xt"), get, ""},
		{"Content-Length, nothing written", writes(0, "Content-Length: 4"), get, ""},
		{"one byte too many", writes(0, "Content-Length: 4", "texts"), get, ""},
		{"error of a write that is too long", f(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "40")
			_, _ = io.WriteString(w, strings.Repeat("x", 14))
			_, err := io.WriteString(w, strings.Repeat("y", 100))
			fmt.Fprintf(w, "%26v", err)
		}), get, ""},
		{"panic after text", f(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "text")
			panic("broken")
		}), get, unsentPanic},
		{"panic(nil)", f(func(http.ResponseWriter, *http.Request) { panic(nil) }), get, unsentPanic},
		{"header changed after text", f(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("A", "1")
			_, _ = io.WriteString(w, "text")
			w.Header().Set("A", "2")
			w.Header().Set("Content-Type", "a/b")
		}), get, ""},
		{"header of values of no bytes", f(func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["X-Empty"] = []string{""}
			w.Header()["X-None"] = []string{}
			w.Header()["x-lower"] = []string{"a"}
		}), get, ""},
		{"ResponseController", f(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "a")
			fmt.Fprint(w, http.NewResponseController(w).Flush())
		}), get, ""},
		{"ReadFrom", f(func(w http.ResponseWriter, _ *http.Request) {
			n, err := w.(io.ReaderFrom).ReadFrom(strings.NewReader(large[:20_000]))
			fmt.Fprint(w, n, err)
		}), get, ""},

		// Content of requests.
		{"form", forms, form("/?a=0&b=2", "a=1&c=%20x+y"), ""},
		{"form that is broken", forms, form("/", "a=%zz&b=1"), ""},
		{"form of PUT", forms, strings.Replace(form("/", "a=1"), "POST", "PUT", 1), ""},
		{"form of GET", forms, strings.Replace(form("/?b=2", "a=1"), "POST", "GET", 1), ""},
		{"no form", forms, request("POST / HTTP/1.1", "Content-Type: text/plain\r\nContent-Length: 3\r\n", "a=1"), ""},
		{"form without a type", forms, request("POST / HTTP/1.1", "Content-Length: 3\r\n", "a=1"), ""},
		{"multipart", parts, multipart("small"), ""},
		{"multipart on the disk", parts, multipart(large), ""},
		{"multipart, streamed", streamed, multipart(large), ""},
		{"multipart that is cut", parts, strings.Replace(multipart("small"), "--b--", "--b__", 1), ""},
		{"no multipart", streamed, form("/", "a=1"), ""},
		{"GET with content", counts, request("GET / HTTP/1.1", "Content-Length: 3\r\n", "abc"), ""},
		{"upload", counts, upload(100_000), ""},
		{"chunks", counts, chunks(1000, 100), ""},
		{"large chunks", counts, chunks(3, 200_000), ""},
		{"no chunk", counts, chunks(0, 1), ""},
		{"MaxBytesHandler", limited, upload(100), ""},
		{"MaxBytesHandler, too long", limited, upload(101), ""},
		{"MaxBytesHandler, chunks", limited, chunks(10, 10), ""},
		{"MaxBytesHandler, chunks too long", limited, chunks(11, 10), ""},
		{"content read in part", f(func(w http.ResponseWriter, r *http.Request) {
			b := make([]byte, 10)
			n, err := io.ReadFull(r.Body, b)
			fmt.Fprint(w, n, err, r.Body.Close())
		}), upload(1000), ""},
		{"content after the answer", f(func(w http.ResponseWriter, r *http.Request) {
			_ = http.NewResponseController(w).EnableFullDuplex()
			_, _ = io.WriteString(w, "first ")
			_ = http.NewResponseController(w).Flush()
			n, err := io.Copy(io.Discard, r.Body)
			fmt.Fprint(w, n, err)
		}), upload(1000), ""},
		{"Expect that is not met", counts, request("PUT / HTTP/1.1", "Expect: something\r\nContent-Length: 2\r\n", "ok"), "body Content-Type Content-Length"},
		{"Expect without content", describe, of("/", "Expect: 100-continue\r\n"), ""},
		{"HTTP/1.0 with content", counts, request("POST / HTTP/1.0", "Content-Length: 4\r\n", "text"), ""},

		// Files.
		{"If-None-Match", content, of("/", "If-None-Match: \"e1\"\r\n"), ""},
		{"If-None-Match of another", content, of("/", "If-None-Match: \"e2\", W/\"e3\"\r\n"), ""},
		{"If-Match of another", content, of("/", "If-Match: \"e2\"\r\n"), ""},
		{"If-Unmodified-Since", content, of("/", "If-Unmodified-Since: Fri, 17 May 2020 09:30:00 GMT\r\n"), ""},
		{"If-Modified-Since of before", content, of("/", "If-Modified-Since: Fri, 17 May 2020 09:30:00 GMT\r\n"), ""},
		{"If-Modified-Since that is none", content, of("/", "If-Modified-Since: soon\r\n"), ""},
		{"If-Range", content, of("/", "Range: bytes=5-9\r\nIf-Range: \"e1\"\r\n"), ""},
		{"If-Range of another", content, of("/", "Range: bytes=5-9\r\nIf-Range: \"e2\"\r\n"), ""},
		{"If-Range of a time", content, of("/", "Range: bytes=5-9\r\nIf-Range: Fri, 17 May 2024 09:30:00 GMT\r\n"), ""},
		{"ranges of content", content, of("/", "Range: bytes=0-0,100-5000,-1\r\n"), ""},
		{"range from the middle", content, of("/", "Range: bytes=1000-\r\n"), ""},
		{"range to the end", fileServer, of("/large.txt", "Range: bytes=100000-\r\n"), ""},
		{"range that is none", fileServer, of("/large.txt", "Range: lines=1-2\r\n"), ""},
		{"range that is backwards", fileServer, of("/large.txt", "Range: bytes=9-5\r\n"), ""},
		{"file by POST", fileServer, form("/small.txt", "a=1"), ""},
		{"index.html by name", fileServer, of("/sub/index.html", ""), ""},
		{"file with a slash", fileServer, of("/small.txt/", ""), ""},
		{"file outside", fileServer, of("/../../etc/passwd", ""), ""},
		{"file with a zero byte", fileServer, of("/small.txt%00", ""), ""},
		{"ServeFile", f(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "x/y")
			http.ServeFile(w, r, dir+"/large.txt")
		}), get, ""},

		// Wrappers.
		{"TimeoutHandler, a large answer", http.TimeoutHandler(writes(0, "X-A: 1", large[:20_000]), time.Minute, ""), get, ""},
		{"TimeoutHandler that reads", http.TimeoutHandler(counts, time.Minute, ""), upload(50_000), ""},
		{"middleware that changes the request", f(func(w http.ResponseWriter, r *http.Request) {
			r2 := r.Clone(r.Context())
			r2.Header.Set("X-Added", "1")
			r2.URL.Path = "/other"
			describe.ServeHTTP(w, r2)
		}), of("/a", "X-One: 1\r\n"), ""},
		{"middleware that wraps the writer", f(func(w http.ResponseWriter, r *http.Request) {
			fileServer.ServeHTTP(struct{ http.ResponseWriter }{w}, r)
		}), of("/large.txt", ""), ""},
	})
}

// Whether a connection is kept: the responses to a request and to the next one.
func TestSameConnections(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/close":
			w.Header().Set("Connection", "close")
		case "/large":
			_, _ = io.WriteString(w, large)
		case "/short":
			w.Header().Set("Content-Length", "100")
			return
		case "/204":
			w.WriteHeader(http.StatusNoContent)
		case "/304":
			w.WriteHeader(http.StatusNotModified)
		case "/read":
			_, _ = io.Copy(io.Discard, r.Body)
		case "/flush":
			_, _ = io.WriteString(w, "flushed ")
			_ = http.NewResponseController(w).Flush()
		case "/abort":
			_, _ = io.WriteString(w, "flushed ")
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		case "/abort/head":
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		case "/abort/unsent":
			_, _ = io.WriteString(w, "not sent")
			panic(http.ErrAbortHandler)
		case "/flush/head":
			_ = http.NewResponseController(w).Flush()
		case "/flush/204":
			w.WriteHeader(http.StatusNoContent)
			_ = http.NewResponseController(w).Flush()
			return
		case "/trailer":
			w.Header().Set("Trailer", "X-Sum")
			w.Header().Set("X-Sum", "1")
		case "/hints":
			w.WriteHeader(http.StatusEarlyHints)
		}
		fmt.Fprint(w, r.URL.Path)
	})
	theirs := serveNetHTTP(t, handler)
	ours := map[string]testServer{}
	for name, d := range map[string]server.DispatchMode{"Inline": server.Inline, "Auto": server.Auto, "Pool": server.Pool} {
		ours[name] = serveIsbjorn(t, handler, server.Options{Dispatch: d})
	}
	for _, tt := range []struct{ line, fields, content string }{
		{"GET /a HTTP/1.1", "", ""},
		{"GET /a HTTP/1.1", "Connection: close\r\n", ""},
		{"GET /a HTTP/1.1", "Connection: keep-alive, CLOSE\r\n", ""},
		{"GET /a HTTP/1.1", "Connection: x\r\nConnection: close\r\n", ""},
		{"GET /a HTTP/1.1", "Connection: keep-alive\r\n", ""},
		{"GET /close HTTP/1.1", "", ""},
		{"HEAD /close HTTP/1.1", "", ""},
		{"GET /large HTTP/1.1", "", ""},
		{"HEAD /large HTTP/1.1", "", ""},
		{"HEAD /a HTTP/1.1", "", ""},
		{"GET /flush HTTP/1.1", "", ""},
		{"GET /short HTTP/1.1", "", ""},
		{"GET /204 HTTP/1.1", "", ""},
		{"GET /304 HTTP/1.1", "", ""},
		{"GET /abort HTTP/1.1", "", ""},
		{"GET /abort/head HTTP/1.1", "", ""},
		// Without HEAD /abort/head: the response to HEAD is complete with its head, and either the next request or the
		// panic of the worker may come first then.
		{"GET /abort/unsent HTTP/1.1", "", ""},
		{"GET /flush/head HTTP/1.1", "", ""},
		{"HEAD /flush/head HTTP/1.1", "", ""},
		{"GET /flush/head HTTP/1.0", "Connection: keep-alive\r\n", ""},
		{"GET /flush/204 HTTP/1.1", "", ""},
		{"GET /trailer HTTP/1.1", "", ""},
		{"HEAD /trailer HTTP/1.1", "", ""},
		{"GET /trailer HTTP/1.0", "", ""},
		{"GET /hints HTTP/1.1", "", ""},
		{"HEAD /hints HTTP/1.1", "", ""},
		{"GET /% HTTP/1.1", "", ""},
		{"OPTIONS * HTTP/1.1", "", ""},
		{"GET /a HTTP/1.0", "", ""},
		{"GET /a HTTP/1.0", "Connection: keep-alive\r\n", ""},
		{"GET /large HTTP/1.0", "", ""},
		{"GET /large HTTP/1.0", "Connection: keep-alive\r\n", ""},
		{"GET /204 HTTP/1.0", "Connection: keep-alive\r\n", ""},
		{"HEAD /a HTTP/1.0", "Connection: keep-alive\r\n", ""},
		{"POST /read HTTP/1.1", "Content-Length: 4\r\n", "text"},
		{"POST /a HTTP/1.1", "Content-Length: 4\r\n", "text"},
		{"POST /large HTTP/1.1", "Content-Length: 40\r\n", strings.Repeat("text", 10)},
		{"POST /a HTTP/1.1", "Transfer-Encoding: chunked\r\n", "4\r\ntext\r\n0\r\n\r\n"},
		{"POST /read HTTP/1.1", "Transfer-Encoding: chunked\r\n", "4\r\ntext\r\n0\r\n\r\n"},
		{"POST /read HTTP/1.0", "Connection: keep-alive\r\nContent-Length: 4\r\n", "text"},
		{"POST /a HTTP/1.1", "Expect: 100-continue\r\nContent-Length: 4\r\n", ""},
	} {
		request := tt.line + "\r\nHost: h\r\n" + tt.fields + "\r\n" + tt.content
		want := theirs.sendTwo(t, request)
		for name, p := range ours {
			if name == "Inline" && strings.Contains(tt.fields, "Expect") {
				continue // the content is collected, and so asked for, whatever the handler does
			}
			if got := p.sendTwo(t, request); got != want {
				t.Errorf("%s: %q:\n%s\nnet/http:\n%s", name, request, got, want)
			}
		}
	}
}

// sendTwo sends request, and another one on the same connection, and returns the responses as text.
func (p testServer) sendTwo(t *testing.T, request string) string {
	c := p.dial(t)
	var b strings.Builder
	for _, request := range []string{request, "GET /last HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"} {
		_, _ = io.WriteString(c, request) // the connection may have ended
		method, _, _ := strings.Cut(request, " ")
		resp, err := http.ReadResponse(c.r, &http.Request{Method: method})
		for err == nil && resp.StatusCode == http.StatusEarlyHints {
			resp, err = http.ReadResponse(c.r, &http.Request{Method: method})
		}
		if err != nil {
			b.WriteString("no answer\n")
			break
		}
		body, err := io.ReadAll(resp.Body)
		fmt.Fprintf(&b, "%s %q, %d bytes, whole: %t\n", resp.Status, resp.Header["Connection"], len(body), err == nil)
	}
	return b.String()
}
