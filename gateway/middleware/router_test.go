package middleware

import (
	"strings"
	"testing"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/gateway/gatewaytest"
)

// named responds with its name, some parameters, and the two parts of the path.
func named(name string, params ...string) gateway.App {
	return gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		out := name
		for _, p := range params {
			out += " " + p + "=" + Param(env, p)
		}
		out += " " + env.ScriptName() + "|" + env.Path()
		var headers []gateway.Header
		if env.Method() == "HEAD" {
			headers = fields("X-Answer", out)
		}
		_, err := start("200 OK", headers, nil)
		return env.Text(out), err
	})
}

func router(t testing.TB, routes ...Route) gateway.App {
	t.Helper()
	app, err := Router(routes...)
	if err != nil {
		t.Fatal(err)
	}
	return app
}

func TestRouter(t *testing.T) {
	app := router(t,
		Route{Method: "GET", Path: "/", App: named("root")},
		Route{Method: "GET", Path: "/users", App: named("users")},
		Route{Method: "POST", Path: "/users", App: named("new")},
		Route{Method: "GET", Path: "/users/", App: named("slash")},
		Route{Method: "GET", Path: "/users/me", App: named("me")},
		Route{Method: "GET", Path: "/users/me/x", App: named("mex")},
		Route{Method: "GET", Path: "/users/{id}", App: named("user", "id")},
		Route{Method: "DELETE", Path: "/users/{id}", App: named("delete", "id")},
		Route{Method: "GET", Path: "/users/{id}/posts/{post}", App: named("post", "id", "post")},
		Route{Method: "GET", Path: "/files/{path...}", App: named("file", "path")},
		Route{Method: "GET", Path: "/files/{dir}/info", App: named("info", "dir", "path")},
		Route{Path: "/any", App: named("any")},
		Route{Method: "GET", Path: "/any", App: named("get any")},
		Route{Method: "HEAD", Path: "/head", App: named("head")},
		Route{Method: "GET", Path: "/head", App: named("get head")},
		Route{Method: "GET", Path: "/a b/\u00e5", App: named("text")},
		Mount("/sub", router(t,
			Route{Method: "GET", Path: "/", App: named("sub root")},
			Route{Method: "GET", Path: "/{id}", App: named("sub", "id")},
			Mount("/in/", router(t, Route{Method: "GET", Path: "/{id}/{rest...}", App: named("in", "id", "rest")})),
		)),
		Mount("/plain", named("plain")),
	)
	for _, tt := range []struct{ method, target, want string }{
		{"GET", "/", "root |/"},
		{"GET", "/?q=/users", "root |/"},
		{"GET", "/users", "users |/users"},
		{"POST", "/users", "new |/users"},
		{"GET", "/users/", "slash |/users/"},
		{"GET", "/users/me", "me |/users/me"},
		{"GET", "/users/m%65", "me |/users/me"},
		{"GET", "/users/7", "user id=7 |/users/7"},
		{"GET", "/users/a%2Fb", "user id=a/b |/users/a/b"},
		{"GET", "/users/a%252Fb", "user id=a%2Fb |/users/a%2Fb"},
		{"GET", "/users/a+b%20c", "user id=a+b c |/users/a+b c"},
		{"GET", "/users/%FF", "user id=\xff |/users/\xff"},
		{"DELETE", "/users/7", "delete id=7 |/users/7"},
		{"GET", "/users/7/posts/8?x", "post id=7 post=8 |/users/7/posts/8"},
		{"GET", "/users/me/posts/8", "post id=me post=8 |/users/me/posts/8"}, // another way, when text has led nowhere
		{"GET", "/users/me/posts/", "404"},
		{"GET", "/users//posts/8", "404"},
		{"GET", "//users", "404"},
		{"GET", "/nothing", "404"},
		{"GET", "/users/7/", "404"},
		{"GET", "/users/..", "404"},
		{"GET", "/users/%2e%2E", "404"},
		{"GET", "/users/.", "404"},
		{"GET", "/files/a/../b", "404"},
		{"GET", "/users/%zz", "400"},
		{"GET", "/users/%", "400"},
		{"GET", "/files", "file path= |/files"},
		{"GET", "/files/", "file path= |/files/"},
		{"GET", "/files/a/b%20c//d", "file path=a/b c//d |/files/a/b c//d"},
		{"GET", "/files/a/info", "info dir=a path= |/files/a/info"},
		{"GET", "/files/a/b/info", "file path=a/b/info |/files/a/b/info"},
		{"GET", "/any", "get any |/any"},
		{"BREW", "/any", "any |/any"},
		{"OPTIONS", "/any", "any |/any"},
		{"HEAD", "/any", "get any |/any"},
		{"HEAD", "/head", "head |/head"},
		{"HEAD", "/users/7", "user id=7 |/users/7"},
		{"GET", "/a%20b/%C3%A5", "text |/a b/\u00e5"},
		{"PUT", "/users", "405 GET, HEAD, OPTIONS, POST"},
		{"DELETE", "/users/me", "405 GET, HEAD, OPTIONS"},
		{"get", "/users", "405 GET, HEAD, OPTIONS, POST"},
		{"OPTIONS", "/users/7", "204 DELETE, GET, HEAD, OPTIONS"},
		{"OPTIONS", "*", "204 GET, HEAD, OPTIONS"},
		{"GET", "http://example.com/users/a%2Fb?x", "user id=a/b |/users/a/b"},
		{"GET", "http://example.com", "root |/"},
		{"GET", "http://example.com?x=/users", "root |/"},
		{"GET", "/sub", "sub root /sub|"},
		{"GET", "/sub/", "sub root /sub|/"},
		{"GET", "/sub/a%2Fb", "sub id=a/b /sub|/a/b"},
		{"GET", "/s%75b/x", "sub id=x /sub|/x"},
		{"GET", "/sub/in/a%2Fb/c%2Fd/e", "in id=a/b rest=c/d/e /sub/in|/a/b/c/d/e"},
		{"GET", "/sub/in", "404"},
		{"GET", "/sub/../users", "404"},
		{"GET", "/subs", "404"},
		{"POST", "/sub/x", "405 GET, HEAD, OPTIONS"},
		{"PATCH", "/plain", "plain /plain|"},
		{"GET", "/plain/", "plain /plain|/"},
		{"GET", "/plain//x%2F", "plain /plain|//x/"},
	} {
		got := call(app, tt.method, tt.target)
		text := got.Text()
		if tt.method == "HEAD" {
			text = got.Get("X-Answer")
		}
		if got.Code != 200 {
			text = strings.TrimSpace(got.Status[:3] + " " + got.Get("Allow"))
		}
		if text != tt.want || got.Err != nil {
			t.Errorf("%s %s: %q, %v; want %q", tt.method, tt.target, text, got.Err, tt.want)
		}
	}
}

// A PATH_INFO that a middleware has Set is matched as it is.
func TestRouterPathSet(t *testing.T) {
	inner := router(t, Route{Method: "GET", Path: "/users/{id}", App: named("user", "id")}, Mount("/m", named("m")))
	for path, want := range map[string]string{
		"/users/7":       "user id=7 |/users/7",
		"/users/%2F":     "user id=%2F |/users/%2F",
		"/m/x":           "m /m|/x",
		"/users/a/b":     "404",
		"/other/a%2Fb":   "404",
		"/users/a b\x00": "user id=a b\x00 |/users/a b\x00",
	} {
		got := gatewaytest.Get(gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			env.Set("PATH_INFO", path)
			return inner.Serve(env, start)
		}), "/what/was/sent")
		if text := got.Text(); text != want && !(want == "404" && got.Code == 404) {
			t.Errorf("%s: %s, want %s", path, show(got), want)
		}
	}
}

// A parameter may be kept in a Clone.
func TestParamClone(t *testing.T) {
	var kept *gateway.Environ
	app := router(t, Route{Method: "GET", Path: "/users/{id}", App: gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		kept = env.Clone()
		_, err := start("200 OK", nil, nil)
		return nil, err
	})})
	raw := []byte("GET /users/seven HTTP/1.1\r\nHost: h\r\n\r\n")
	_ = exchangeBytes(t, app, raw)
	clear(raw)
	if got := Param(kept, "id"); got != "seven" {
		t.Errorf("the parameter of a clone is %q", got)
	}
	if got := Param(kept, "other"); got != "" {
		t.Errorf("a parameter that is not there: %q", got)
	}
}

func TestRouterRefused(t *testing.T) {
	app := named("x")
	get := func(paths ...string) (routes []Route) {
		for _, p := range paths {
			routes = append(routes, Route{Method: "GET", Path: p, App: app})
		}
		return routes
	}
	for _, tt := range []struct {
		routes []Route
		want   string
	}{
		{get("/a", "/a"), "conflict"},
		{get("/{a}", "/{b}"), "conflict"},
		{get("/x/{a}/1", "/x/{b}/2"), "conflict"},
		{get("/{a...}", "/{b...}"), "conflict"},
		{[]Route{Mount("/m", app), Mount("/m/", app)}, "conflict"},
		{append(get("/m/{rest...}"), Mount("/m", app)), "conflict"},
		{get(""), "begin"},
		{get("a"), "begin"},
		{get("/{a"), "segment"},
		{get("/a}"), "segment"},
		{get("/x{a}"), "segment"},
		{get("/{a}x"), "segment"},
		{get("/{}"), "name"},
		{get("/{...}"), "name"},
		{get("/{{a}}"), "segment"},
		{get("/{a}/{a}"), "name"},
		{get("/{a...}/b"), "last"},
		{get("/a//b"), "matches nothing"},
		{get("/a/../b"), "matches nothing"},
		{[]Route{{Path: "/a"}}, "App"},
		{[]Route{Mount("/{a}", nil)}, "App"},
	} {
		if _, err := Router(tt.routes...); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v: %v, want %q", tt.routes, err, tt.want)
		}
	}
	if _, err := Router(get("/{a}/b", "/{a}/c", "/x/{b}", "/{a}")...); err != nil {
		t.Error(err)
	}
}

// Invariant: whatever the path, a parameter is what one segment decodes to, and the
// parts of a mounted path together are the path.
func FuzzRouter(f *testing.F) {
	for _, s := range []string{"", "a", "a/b", "%2F", "%2f/..", "m/%2F/x", "m", "m/", "%", "//"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		joined := gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			_, err := start("200 OK", nil, nil)
			return env.Text(env.ScriptName() + env.Path()), err
		})
		var whole string
		app := router(t, Mount("/m", joined), Route{Method: "GET", Path: "/{rest...}", App: joined}, Route{Method: "GET", Path: "/{one}", App: named("one", "one")})
		got := call(gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			whole = strings.Clone(env.Path())
			return app.Serve(env, start)
		}), "GET", "/"+path)
		if got.Code != 200 {
			return
		}
		if one, ok := strings.CutPrefix(got.Text(), "one one="); ok {
			if one != whole[1:]+" |"+whole || strings.Contains(path, "/") && !strings.Contains(path, "?") && !strings.Contains(path, "#") {
				t.Errorf("%q: %q", path, got.Text())
			}
		} else if got.Text() != whole {
			t.Errorf("%q: %q, want %q", path, got.Text(), whole)
		}
	})
}
