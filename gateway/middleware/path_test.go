package middleware

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/gateway/nethttp"
	"github.com/isbjorn/isbjorn/server"
)

// A mounted http.Handler sees the path as behind http.StripPrefix: a mux finds "a/b" in a segment that was sent as
// a%2Fb.
func TestMountIsStripPrefix(t *testing.T) {
	mux := http.NewServeMux()
	show := func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%q name %q raw %q as %q of %s", r.URL.Path, r.PathValue("name"), r.URL.RawPath, r.URL.EscapedPath(), r.RequestURI)
	}
	mux.HandleFunc("GET /files/{name}", show)
	mux.HandleFunc("GET /rest/{name...}", show)
	mux.HandleFunc("GET /{$}", show)
	peer := http.NewServeMux()
	peer.Handle("/app/", http.StripPrefix("/app", mux))
	peer.Handle("/app/in/", http.StripPrefix("/app/in", mux))
	theirs := httptest.NewServer(peer)
	defer theirs.Close()
	c, err := net.Dial("tcp", theirs.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	them := wireOn(t, c)

	app := nethttp.App(mux)
	for where, dispatch := range dispatches {
		us := dial(t, router(t, Mount("/app", router(t, Mount("/", app), Mount("/in", app)))), "tcp", server.Options{Dispatch: dispatch})
		for _, target := range []string{
			"/app/files/a", "/app/files/a%2Fb", "/app/files/a%2fb", "/app/files/%61", "/app/files/a%20b", "/app/files/a+b", "/app/files/a%252Fb", "/app/files/a%5Cb", "/app/files/%C3%A5", "/app/files/a;b,c",
			"/app/files/a%2F", "/app/files/%2Fa", "/app/rest/a%2Fb/c", "/app/rest/a/%2e%2e", "/app/%66iles/a", "/app/", "/app/?q=%2F", "/app/files/a%2Fb?q", "/app/nothing", "/app/files/a/b",
			"/app/in/files/a%2Fb", "/app/in/rest/a%2Fb/%63", "/app/in/",
		} {
			got, want := us.text("GET", target), them.text("GET", target)
			if strings.Contains(target, "%2e%2e") {
				want = "404 Not Found\n" // the Router's own rule: ".." matches nothing
			}
			if got != want {
				t.Errorf("%s: %s: %s, want %s", where, target, got, want)
			}
		}
		if got, want := us.text("GET", "/app/files/a%2Fb"), `200 "/files/a/b" name "a/b" raw "/files/a%2Fb" as "/files/a%2Fb" of /app/files/a%2Fb`; got != want {
			t.Errorf("%s: %s, want %s", where, got, want)
		}
	}
}

// No spelling of a path leads around a Route that protects a path: not with Static, with a handler that decodes and cleans
// paths, or with a parameter.
func TestRouteIsNoDetour(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"open.txt", "private/secret.txt", "files/private/secret.txt", "in/private/secret.txt", "files/in/private/secret.txt"} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(filepath.Base(name)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	static, err := Static(dir, StaticOptions{})
	if err != nil {
		t.Fatal(err)
	}
	byParam := gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		b, err := os.ReadFile(filepath.Join(dir, filepath.Clean("/"+Param(env, "path"))))
		if err != nil {
			return refuse(env, start, "404 Not Found")
		}
		_, err = start("200 OK", nil, nil)
		return gateway.Bytes(b), err
	})
	guard := Route{Path: "/files/private/{path...}", App: gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		return refuse(env, start, "403 Forbidden")
	})}
	inner := guard
	inner.Path = "/private/{path...}"
	files := nethttp.App(http.FileServer(http.Dir(dir)))
	stripped := nethttp.App(http.StripPrefix("/files", nethttp.Handler(static)))
	for name, app := range map[string]gateway.App{
		"Static":              router(t, guard, Mount("/files", static)),
		"Static, not mounted": router(t, guard, Route{Path: "/files/{path...}", App: static}),
		"Static, in a Mount":  router(t, Mount("/files", router(t, inner, Mount("/", static)))),
		"FileServer":          router(t, guard, Mount("/files", files)),
		"FileServer, nested":  router(t, Mount("/files", router(t, inner, Mount("/", files)))),
		"a parameter":         router(t, guard, Route{Path: "/files/{path...}", App: byParam}),
		"by both bridges":     router(t, guard, Route{Path: "/files/{path...}", App: stripped}),
	} {
		for where, dispatch := range dispatches {
			c := dial(t, app, "tcp", server.Options{Dispatch: dispatch})
			for _, path := range []string{
				"private%2Fsecret.txt", "private%2fsecret.txt", "/private/secret.txt", "//private/secret.txt", "%2Fprivate/secret.txt", "%2F%2Fprivate%2Fsecret.txt", "private//secret.txt", "private/secret.txt",
				"./private/secret.txt", "%2e/private/secret.txt", "%2E%2Fprivate/secret.txt", "x/../private/secret.txt", "x%2F..%2Fprivate%2Fsecret.txt", "x%2F%2e%2e/private/secret.txt",
				"..%2Fprivate%2Fsecret.txt", "..%2Ffiles%2Fprivate%2Fsecret.txt", "p%72ivate/secret.txt", "p%72ivate%2Fsecret.txt", "private/.%2Fsecret.txt", "private%2F%2Fsecret.txt", "private/%2Fsecret.txt",
				"private%5Csecret.txt", "private%252Fsecret.txt", "private%2Fsecret.txt%2F", "private/secret.txt/", "./%2Fprivate/secret.txt", "private%00/secret.txt",
			} {
				if got := c.text("GET", "/files/"+path); strings.Contains(got, "secret") && !strings.Contains(got, "Moved") {
					t.Errorf("%s, %s: %s: %s", name, where, path, got)
				}
			}
			if got := c.text("GET", "/files/open.txt"); got != "200 open.txt" && name != "Static, not mounted" {
				t.Errorf("%s, %s: what is open: %s", name, where, got)
			}
			if got := c.text("GET", "/files/private%2Fsecret.txt"); got[:3] != "404" {
				t.Errorf("%s, %s: %s, want 404", name, where, got)
			}
		}
	}
}

// Static below a mux of net/http finds no file for a path with "%2F", which leads around the routes of that mux.
func TestStaticBelowAMux(t *testing.T) {
	static := staticOf(t, StaticOptions{})
	mux := http.NewServeMux()
	mux.Handle("/files/", http.StripPrefix("/files", nethttp.Handler(static)))
	mux.HandleFunc("/files/sub/", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "guarded", http.StatusForbidden) })
	theirs := httptest.NewServer(mux)
	defer theirs.Close()
	c, err := net.Dial("tcp", theirs.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	them := wireOn(t, c)
	for target, want := range map[string]string{
		"/files/a.txt": "200 0123456789", "/files/%61.txt": "200 0123456789", "/files/sub/index.html": "403 guarded\n", "/files/sub%2Findex.html": "404 Not Found\n",
	} {
		if got := them.text("GET", target); got != want {
			t.Errorf("%s: %q, want %q", target, got, want)
		}
	}
}
