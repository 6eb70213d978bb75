package web_test

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/netip"
	"strings"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/gateway/gatewaytest"
	"github.com/isbjorn/isbjorn/gateway/web"
)

// A handler takes JSON and responds with JSON. A mistake in the content is a response with the right status.
func ExampleHandlerFunc() {
	app := web.HandlerFunc(func(r *web.Request) (*web.Response, error) {
		if r.Method() != "POST" {
			return web.Error(405, "").Set("Allow", "POST"), nil
		}
		var sum struct {
			A int `json:"a"`
			B int `json:"b"`
		}
		if err := r.JSON(&sum); err != nil {
			return nil, err
		}
		return web.JSON(sum.A + sum.B), nil
	})

	for _, content := range []string{`{"a": 1, "b": 2}`, `{"a": "one"}`, `{"a": 1`} {
		got := gatewaytest.Call(app, gatewaytest.Request{
			Method: "POST", Body: content, Header: []gateway.Header{{Name: "Content-Type", Value: "application/json"}},
		})
		fmt.Println(got.Status, "-", strings.TrimSpace(got.Text()))
	}
	got := gatewaytest.Get(app, "/")
	fmt.Println(got.Status, "-", got.Get("Allow"))
	// Output:
	// 200 OK - 3
	// 400 Bad Request - JSON: a string is not what the field "a" takes
	// 400 Bad Request - the JSON value is cut short
	// 405 Method Not Allowed - POST
}

// A Response is an App: it can be all of a site, or be served by another App.
func ExampleResponse() {
	var closed gateway.App = web.HTML("<h1>Closed for the night</h1>\n").Status(503).Set("Retry-After", "3600")

	got := gatewaytest.Get(closed, "/any/path")
	fmt.Println(got.Status)
	for _, h := range got.Header {
		fmt.Printf("%s: %s\n", h.Name, h.Value)
	}
	fmt.Print(got.Text())
	// Output:
	// 503 Service Unavailable
	// Content-Type: text/html; charset=utf-8
	// Retry-After: 3600
	// <h1>Closed for the night</h1>
}

// An invalid cookie makes the Response an error; it never becomes a second header.
func ExampleResponse_Cookie() {
	r := web.Redirect(303, "/welcome").Cookie(&http.Cookie{Name: "session", Value: "4711", Path: "/", HttpOnly: true, Secure: true})
	fmt.Println(r.Code(), r.Get("Location"), r.Get("Set-Cookie"))

	r = web.Text("hello").Cookie(&http.Cookie{Name: "session", Value: "x\r\nSet-Cookie: admin=1"})
	fmt.Println(r.Err())
	// Output:
	// 303 /welcome session=4711; Path=/; HttpOnly; Secure
	// web: Cookie: http: invalid byte '\r' in Cookie.Value
}

// A malformed query is an error of the client; an application may ignore it.
func ExampleRequest_Query() {
	app := web.HandlerFunc(func(r *web.Request) (*web.Response, error) {
		query, err := r.Query()
		if err != nil {
			return nil, err
		}
		return web.Text("hello " + query.Get("name")), nil
	})
	fmt.Println(gatewaytest.Get(app, "/?name=J%C3%B6rg").Text())
	fmt.Println(gatewaytest.Get(app, "/?name=%J").Status)
	// Output:
	// hello Jörg
	// 400 Bad Request
}

// upload is a form with a file, as a browser sends it.
var upload = gatewaytest.Request{
	Method: "POST",
	Header: []gateway.Header{{Name: "Content-Type", Value: "multipart/form-data; boundary=xx"}},
	Body: "--xx\r\nContent-Disposition: form-data; name=\"title\"\r\n\r\nNotes\r\n" +
		"--xx\r\nContent-Disposition: form-data; name=\"file\"; filename=\"notes.txt\"\r\nContent-Type: text/plain\r\n\r\nfirst line\r\n--xx--\r\n",
}

// A form has values and files. Nothing has to be closed.
func ExampleRequest_Form() {
	app := web.HandlerFunc(func(r *web.Request) (*web.Response, error) {
		form, err := r.Form()
		if err != nil {
			return nil, err
		}
		answer := form.Values.Get("title") + ":"
		for _, file := range form.Files["file"] {
			b, err := io.ReadAll(file.Open())
			if err != nil {
				return nil, err
			}
			answer += fmt.Sprintf(" %s (%d bytes) %q", file.Name, file.Size, b)
		}
		return web.Text(answer), nil
	})
	fmt.Println(gatewaytest.Call(app, upload).Text())
	// Output: Notes: notes.txt (10 bytes) "first line"
}

// An application that stores files elsewhere reads them part by part.
func ExampleRequest_Parts() {
	app := web.HandlerFunc(func(r *web.Request) (*web.Response, error) {
		var stored int64
		for part, err := range r.Parts() {
			if err != nil {
				return nil, err
			}
			if part.Name == "" {
				continue // a value
			}
			n, err := io.Copy(io.Discard, part) // to where it is kept
			if err != nil {
				return nil, err
			}
			stored += n
		}
		return web.Text(fmt.Sprint(stored, " bytes")).Status(201), nil
	})
	fmt.Println(gatewaytest.Call(app, upload).Text())
	// Output: 10 bytes
}

// The client sees the status and the text of a StatusError, and not its cause.
func ExampleStatusError() {
	errLocked := errors.New("row 17 is locked by job 4")
	app := web.HandlerFunc(func(r *web.Request) (*web.Response, error) {
		return nil, &web.StatusError{Status: 409, Text: "try again", Err: errLocked}
	})
	got := gatewaytest.Get(app, "/")
	fmt.Print(got.Status, ": ", got.Text())
	// Output: 409 Conflict: try again
}

// Limits and proxies are checked when the program starts.
func ExampleNewApp() {
	o := web.DefaultOptions()
	o.FormBytes = 100 << 20 // and BodyBytes of server.Options as much
	o.Proxies.Prefixes = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	o.Proxies.Fields = []string{"X-Forwarded-For", "X-Forwarded-Proto"} // what they write in every request
	app, err := web.NewApp(func(r *web.Request) (*web.Response, error) {
		c := r.Client()
		return web.Text(fmt.Sprintf("%v asked for %s://%s%s", c.Remote.Addr(), c.Scheme, c.Host, r.Path())), nil
	}, o)
	if err != nil {
		log.Fatal(err)
	}
	forwarded := []gateway.Header{
		{Name: "X-Forwarded-For", Value: "198.51.100.1, 203.0.113.7"}, // the first is what the client claims
		{Name: "X-Forwarded-Proto", Value: "https"},
	}
	proxy, stranger := netip.MustParseAddrPort("10.1.2.3:4567"), netip.MustParseAddrPort("192.0.2.66:4567")
	fmt.Println(gatewaytest.Call(app, gatewaytest.Request{Target: "/a", Remote: proxy, Header: forwarded}).Text())
	fmt.Println(gatewaytest.Call(app, gatewaytest.Request{Target: "/a", Remote: stranger, Header: forwarded}).Text())
	// Output:
	// 203.0.113.7 asked for https://example.com/a
	// 192.0.2.66 asked for http://example.com/a
}

// One address, two representations.
func ExampleRequest_BestType() {
	app := web.HandlerFunc(func(r *web.Request) (*web.Response, error) {
		var answer *web.Response
		switch r.BestType("application/json", "text/html") {
		case "application/json":
			answer = web.JSON("hello")
		case "text/html":
			answer = web.HTML("<p>hello")
		default:
			answer = web.Error(406, "")
		}
		return answer.Set("Vary", "Accept"), nil
	})
	for _, accept := range []string{"text/html, */*;q=0.1", "application/json", "*/*", "image/png"} {
		got := gatewaytest.Call(app, gatewaytest.Request{Header: []gateway.Header{{Name: "Accept", Value: accept}}})
		fmt.Println(got.Code, got.Get("Content-Type"))
	}
	// Output:
	// 200 text/html; charset=utf-8
	// 200 application/json
	// 200 application/json
	// 406 text/plain; charset=utf-8
}

// A language is chosen by the field; if no offer is acceptable the default is used.
func ExampleBestLanguage() {
	for _, accept := range []string{"de-CH, en;q=0.5", "en-GB", "fr"} {
		language := web.BestLanguage(accept, "en", "de")
		if language == "" {
			language = "en"
		}
		fmt.Println(language)
	}
	// Output:
	// de
	// en
	// en
}

// A coding is chosen among those that the server has.
func ExampleBestEncoding() {
	fmt.Println(web.BestEncoding("gzip, deflate, br;q=0.9", "br", "gzip"))
	fmt.Println(web.BestEncoding("", "br", "gzip"))
	// Output:
	// gzip
	// identity
}
