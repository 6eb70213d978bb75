package web_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/gateway/gatewaytest"
	"github.com/isbjorn/isbjorn/gateway/web"
)

// with calls f with a Request of req.
func with(t testing.TB, o *web.Options, req gatewaytest.Request, f func(*web.Request)) {
	t.Helper()
	got := gatewaytest.Call(gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		f(web.NewRequest(env, o))
		_, err := start("204 No Content", nil, nil)
		return nil, err
	}), req)
	if got.Err != nil {
		t.Fatal(got.Err)
	}
}

// status is the status of a StatusError; 0 for nil, -1 for others.
func status(err error) int {
	var known *web.StatusError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &known):
		return known.Status
	}
	return -1
}

func TestQuery(t *testing.T) {
	for _, tt := range []struct {
		query  string
		status int
		want   map[string][]string
	}{
		{"", 0, map[string][]string{}},
		{"a=1&b=%20+&a=2&c", 0, map[string][]string{"a": {"1", "2"}, "b": {"  "}, "c": {""}}},
		{"a=1&b=%zz&c=3", 400, map[string][]string{"a": {"1"}, "c": {"3"}}},
		{"a=1;b=2&c=3", 400, map[string][]string{"c": {"3"}}},
		{strings.Repeat("&", 999), 0, map[string][]string{}},
		{strings.Repeat("&", 1000), 400, map[string][]string{}},
	} {
		with(t, nil, gatewaytest.Request{Target: "/?" + tt.query}, func(r *web.Request) {
			for range 2 {
				got, err := r.Query()
				if status(err) != tt.status || !reflect.DeepEqual(map[string][]string(got), tt.want) {
					t.Errorf("%.100q: %v, %v", tt.query, got, err)
				}
			}
		})
	}
}

func TestCookies(t *testing.T) {
	for _, tt := range []struct {
		cookie string
		status int
		want   string
	}{
		{"", 0, ""},
		{`a=1; b="x y"; a=2`, 0, "a=1 b=x y a=2 "},
		{"a=1; \x80=2; c; d=\\; e=5;", 400, "a=1 e=5 "},
		{";;", 0, ""},
	} {
		with(t, nil, gatewaytest.Request{Header: header("Cookie", tt.cookie)}, func(r *web.Request) {
			for range 2 {
				cookies, err := r.Cookies()
				got := ""
				for _, c := range cookies {
					got += c.Name + "=" + c.Value + " "
				}
				if status(err) != tt.status || got != tt.want {
					t.Errorf("%q: %q, %v", tt.cookie, got, err)
				}
			}
			if c := r.Cookie("none"); c != nil {
				t.Errorf("%q: %v", tt.cookie, c)
			}
			if c := r.Cookie("a"); tt.want != "" && (c == nil || c.Value != "1") {
				t.Errorf("%q: %v", tt.cookie, c)
			}
		})
	}
}

// Parsed values do not change when the memory of the request has another one.
func TestParsedIsCopied(t *testing.T) {
	var env gateway.ServerEnviron
	overwrite := begin(t, &env, "GET /?q=query HTTP/1.1\r\nHost: h\r\nCookie: c=cookie\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 6\r\n\r\nf=form")
	r := web.NewRequest(&env.Environ, nil)
	query, _ := r.Query()
	cookie := r.Cookie("c")
	form, err := r.Form()
	if err != nil {
		t.Fatal(err)
	}
	overwrite()
	if query.Get("q") != "query" || cookie.Value != "cookie" || form.Values.Get("f") != "form" {
		t.Errorf("%v, %v, %v", query, cookie, form.Values)
	}
}

// picky is a type whose UnmarshalJSON accepts some values only.
type picky struct{}

func (*picky) UnmarshalJSON([]byte) error { return errors.New("of the program: secret") }

func TestJSON(t *testing.T) {
	type value struct {
		A int
		B struct{ C string }
		P picky
	}
	strict := web.DefaultOptions()
	strict.JSONKnownFields = true
	short := web.DefaultOptions()
	short.JSONBytes = 8
	for _, tt := range []struct {
		o       *web.Options
		kind    string
		content string
		status  int
		text    string
	}{
		{nil, "application/json", `{"A":1,"B":{"C":"c"}}`, 0, ""},
		{nil, "application/json; charset=utf-8", " {\"A\":1}\r\n ", 0, ""},
		{nil, "Application/Problem+JSON", `{"A":1}`, 0, ""},
		{nil, "application/json", `{"A":1,"D":2}`, 0, ""},
		{&strict, "application/json", `{"A":1,"D":2}`, 400, `unknown field "D"`},
		{&short, "application/json", `{"A": 1}`, 0, ""},
		{&short, "application/json", `{"A":  1}`, 413, "JSONBytes"},
		{nil, "", `{"A":1}`, 415, "application/json"},
		{nil, "text/plain", `{"A":1}`, 415, ""},
		{nil, "application/x-www-form-urlencoded", `{"A":1}`, 415, ""},
		{nil, "json", `{"A":1}`, 415, ""},
		{nil, "application/json", ``, 400, "no content"},
		{nil, "application/json", ` `, 400, "no content"},
		{nil, "application/json", `{"A":1`, 400, "cut short"},
		{nil, "application/json", `{"A":1}{`, 400, "follows"},
		{nil, "application/json", `{"A":1} {"A":2}`, 400, "follows"},
		{nil, "application/json", `{"A":1}]`, 400, "follows"},
		{nil, "application/json", `{"A":1}x`, 400, "follows"},
		{nil, "application/json", `{"A":x}`, 400, "byte 6"},
		{nil, "application/json", `{"A":"1"}`, 400, `"A"`},
		{nil, "application/json", `{"B":{"C":1}}`, 400, `"B.C"`},
		{nil, "application/json", `[]`, 400, "array"},
		{nil, "application/json", `{"P":1}`, 400, "not accepted"},
		{nil, "application/json", strings.Repeat("[", 20_000), 400, ""},
		{nil, "application/json", `{"A":` + strings.Repeat("9", 20_000) + `}`, 400, "number 999"},
		{nil, "application/json", strings.Repeat("9", 20_000), 400, "a number"},
		{&strict, "application/json", `{"` + strings.Repeat("x", 20_000) + `":1}`, 400, "unknown field"},
	} {
		with(t, tt.o, gatewaytest.Request{Method: "POST", Header: header("Content-Type", tt.kind), Body: tt.content}, func(r *web.Request) {
			var v value
			err := r.JSON(&v)
			if status(err) != tt.status || tt.status == 0 && v.A != 1 {
				t.Errorf("%q, %.100q: %v, %v", tt.kind, tt.content, v, err)
			}
			var known *web.StatusError
			if errors.As(err, &known) && (!strings.Contains(known.Text, tt.text) || strings.Contains(known.Text, "secret") || strings.Contains(known.Text, "value.") || len(known.Text) > 300) {
				t.Errorf("%q, %.100q: text %q", tt.kind, tt.content, known.Text)
			}
		})
	}
	with(t, nil, gatewaytest.Request{Header: header("Content-Type", "application/json"), Body: "{}"}, func(r *web.Request) {
		var programmer *json.InvalidUnmarshalError
		if err := r.JSON(value{}); status(err) != -1 || !errors.As(err, &programmer) {
			t.Errorf("no pointer: %v", err)
		}
	})
}

// A failure to read content is no StatusError.
func TestBrokenContent(t *testing.T) {
	for kind, read := range map[string]func(*web.Request) error{
		"application/json":                  func(r *web.Request) error { return r.JSON(new(any)) },
		"application/x-www-form-urlencoded": func(r *web.Request) error { _, err := r.Form(); return err },
		"multipart/form-data; boundary=b":   func(r *web.Request) error { _, err := r.Form(); return err },
	} {
		with(t, nil, gatewaytest.Request{Header: header("Content-Type", kind), Stream: iotest.ErrReader(io.ErrNoProgress)}, func(r *web.Request) {
			if err := read(r); !errors.Is(err, io.ErrNoProgress) || status(err) != -1 {
				t.Errorf("%s: %v", kind, err)
			}
		})
	}
}

// header is a list of headers from names and values.
func header(pairs ...string) (list []gateway.Header) {
	for i := 0; i+1 < len(pairs); i += 2 {
		list = append(list, gateway.Header{Name: pairs[i], Value: pairs[i+1]})
	}
	return list
}

// Client uses the proxies of the options.
func TestClient(t *testing.T) {
	o := web.DefaultOptions()
	o.Proxies.Prefixes = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	o.Proxies.Fields = []string{"X-Forwarded-For", "X-Forwarded-Proto"}
	for remote, want := range map[string]string{"10.0.0.1:1": "1.2.3.4:0 https", "192.0.2.9:1": "192.0.2.9:1 http"} {
		app, err := web.NewApp(func(r *web.Request) (*web.Response, error) {
			c := r.Client()
			return web.Text(c.Remote.String() + " " + c.Scheme), nil
		}, o)
		if err != nil {
			t.Fatal(err)
		}
		got := gatewaytest.Call(app, gatewaytest.Request{Remote: netip.MustParseAddrPort(remote), Header: header("X-Forwarded-For", "6.6.6.6, 1.2.3.4", "X-Forwarded-Proto", "https")})
		if got.Text() != want || got.Err != nil {
			t.Errorf("from %s: %q, %v; want %q", remote, got.Text(), got.Err, want)
		}
	}
}

// The limits apply to content of unknown length, too.
func TestLimitsOfStreams(t *testing.T) {
	o := web.DefaultOptions()
	o.JSONBytes, o.FormBytes, o.FormValueBytes = 100, 3000, 2000
	multi := func(n int) string {
		return "--b\r\nContent-Disposition: form-data; name=f; filename=g\r\n\r\n" + strings.Repeat("x", n) + "\r\n--b--\r\n"
	}
	for _, tt := range []struct {
		kind, content string
		code          int
	}{
		{"application/json", `"` + strings.Repeat("x", 98) + `"`, 200},
		{"application/json", `"` + strings.Repeat("x", 99) + `"`, 413},
		{"application/json", `"x"` + strings.Repeat(" ", 98), 413},
		{"application/json", "", 400},
		{"application/x-www-form-urlencoded", "a=" + strings.Repeat("x", 1998), 200},
		{"application/x-www-form-urlencoded", "a=" + strings.Repeat("x", 1999), 413},
		{"multipart/form-data; boundary=b", multi(3000 - len(multi(0))), 200},
		{"multipart/form-data; boundary=b", multi(3001 - len(multi(0))), 413},
	} {
		app, err := web.NewApp(func(r *web.Request) (*web.Response, error) {
			var v any
			if tt.kind == "application/json" {
				return web.Text("fine"), r.JSON(&v)
			}
			_, err := r.Form()
			return web.Text("fine"), err
		}, o)
		if err != nil {
			t.Fatal(err)
		}
		req := gatewaytest.Request{Method: "POST", Header: header("Content-Type", tt.kind), Stream: strings.NewReader(tt.content)}
		if got := gatewaytest.Call(app, req); got.Code != tt.code || got.Err != nil {
			t.Errorf("%s, %d bytes: %d, %v; want %d", tt.kind, len(tt.content), got.Code, got.Err, tt.code)
		}
	}
}
