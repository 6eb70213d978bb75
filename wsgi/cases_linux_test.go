package wsgi_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/gateway/forwarded"
	"github.com/isbjorn/isbjorn/gateway/middleware"
	"github.com/isbjorn/isbjorn/internal/testrun"
	"github.com/isbjorn/isbjorn/server"
	"github.com/isbjorn/isbjorn/wsgi"
)

func TestHello(t *testing.T) {
	t.Parallel()
	eachSite(t, `
def app(env, sr):
    sr('200 OK', P)
    return [b'hello']
`, setup{}, func(t *testing.T, s *site) {
		c := s.dial()
		for range 2 {
			c.send("GET /")
			a := c.read("GET")
			if a.status != 200 || a.body != "hello" || a.header.Get("Content-Length") != "5" ||
				len(a.header["Date"]) != 1 || len(a.header["Server"]) != 1 || a.header.Get("Connection") != "" {
				t.Errorf("%+v", a)
			}
		}
		c = s.dial().send("GET / HTTP/1.0||")
		if a := c.read("GET"); a.status != 200 || a.body != "hello" {
			t.Errorf("as HTTP/1.0 %+v", a)
		}
		c.closed()
	})
}

// A generator may call start_response late, and nothing is sent before there is content.
func TestGenerators(t *testing.T) {
	t.Parallel()
	eachSite(t, `
def app(env, sr):
    if env['PATH_INFO'] == '/lazy':
        sr('201 Created', P + [('X-Late', 'yes')])
        yield b'lazy'
        return
    sr('200 OK', P)
    yield b''
    time.sleep(.5)
    yield b''
    yield b'data'
    yield b''
`, setup{}, func(t *testing.T, s *site) {
		c := s.dial().send("GET /lazy")
		b := make([]byte, 1)
		if a := c.read("GET"); a.status != 201 || a.header.Get("X-Late") != "yes" || a.cut || a.body != "lazy" {
			t.Errorf("%+v", a)
		}
		c.send("GET /wait")
		_ = c.SetReadDeadline(time.Now().Add(400 * time.Millisecond))
		if n, err := c.Read(b); n != 0 || err == nil {
			t.Errorf("%q came before there was content", b[:n])
		}
		_ = c.SetReadDeadline(time.Now().Add(patience))
		if a := c.read("GET"); a.status != 200 || a.body != "data" || a.cut {
			t.Errorf("%+v", a)
		}
	})
}

func TestWrite(t *testing.T) {
	t.Parallel()
	eachSite(t, `
def app(env, sr):
    q = env['QUERY_STRING']
    w = sr('200 OK', P + ([('Content-Length', '2')] if q == 'cl' else []))
    w('1' if q == 'str' else b'1'); time.sleep(.3); w(b'2')
    return [b'3']
`, setup{}, func(t *testing.T, s *site) {
		c := s.dial().send("GET /")
		if d := c.arrives("\r\n1\r\n"); d > 200*time.Millisecond {
			t.Logf("the first came after %v", d) // on a busy machine
		}
		c.arrives("2")
		c.arrives("3")
		s.fails("GET /?str", "write needs bytes, got str")
		s.log.Reset()
		c = s.dial().send("GET /?cl")
		if a := c.read("GET"); a.status != 200 || a.body != "12" || a.cut {
			t.Errorf("with a length %+v", a)
		}
	})
}

func TestExcInfo(t *testing.T) {
	t.Parallel()
	eachSite(t, `
def before(env, sr):
    sr('200 OK', P + [('X-Old', '1'), ('Content-Length', '3')])
    try: 1/0
    except Exception: sr('503 Sorry', [('X-New', '1')], sys.exc_info())
    return [b'custom']
def after(env, sr):
    sr('200 OK', P)
    yield b'first'
    try: {}['k']
    except KeyError: sr('500 Late', P, sys.exc_info())
    yield b'second'
def app(env, sr):
    return before(env, sr) if env['PATH_INFO'] == '/before' else after(env, sr)
`, setup{}, func(t *testing.T, s *site) {
		c := s.dial()
		for range 2 {
			a := c.send("GET /before").read("GET")
			if a.status != 503 || a.reason != "Sorry" || a.header.Get("X-New") != "1" || a.header.Get("X-Old") != "" ||
				a.header.Get("Content-Type") != "" || a.body != "custom" || a.header.Get("Connection") != "" {
				t.Errorf("%+v", a)
			}
		}
		s.log.Reset()
		c.send("GET /after")
		if a := c.read("GET"); a.status != 200 || a.body != "first" || !a.cut {
			t.Errorf("%+v", a)
		}
		s.logs("KeyError: 'k'", "try: {}['k']")
		if strings.Contains(s.log.String(), "headers already sent") {
			t.Error(s.log.String())
		}
	})
}

func TestKindsOfBody(t *testing.T) {
	t.Parallel()
	eachSite(t, `
B = {'/l': ['text'], '/s': 'text', '/n': None, '/i': 5, '/il': [5], '/b': b'bytes', '/ba': [bytearray(b'x')],
     '/t': (b'a', b'b'), '/e': [], '/mid': [b'ok', 'text'], '/midg': lambda: iter([b'ok', 'text'])}
def app(env, sr):
    sr('200 OK', P)
    b = B[env['PATH_INFO']]
    return b() if callable(b) else b
`, setup{}, func(t *testing.T, s *site) {
		for _, path := range []string{"/l", "/s", "/n", "/i", "/il", "/mid"} {
			s.fails("GET " + path)
		}
		for path, body := range map[string]string{"/b": "bytes", "/ba": "x", "/t": "ab", "/e": ""} {
			if a := s.want("GET "+path, 200, body); a.header.Get("Content-Length") != strconv.Itoa(len(body)) {
				t.Errorf("%s: %v", path, a.header)
			}
		}
		if a := s.do("GET /midg"); a.status != 200 || a.body != "ok" || !a.cut {
			t.Errorf("/midg: %+v", a)
		}
	})
}

func TestStartResponse(t *testing.T) {
	t.Parallel()
	eachSite(t, `
KEEP = []
CASES = [('200', P, 200), (b'200 OK', P, 500), ('OK', P, 500), (200, P, 500), ('100 Continue', P, 500), ('200 OK\r\nX-I: 1', P, 500),
 ('200 OK', [('A', b'x')], 500), ('200 OK', [('A', 5)], 500), ('200 OK', [('A', 'a\r\nX-I: 1')], 500), ('200 OK', [('A', 'a\n')], 500),
 ('200 OK', [('A:', 'x')], 500), ('200 OK', [('', 'x')], 500), ('200 OK', [('A', '\u2713')], 500), ('200 OK', [('Content-Length', 'abc')], 500),
 ('200 OK', [('Content-Length', '-1')], 500), ('200 OK', [('Content-Length', '3'), ('Content-Length', '4')], 500),
 ('200 OK', [('Content-Length', '3'), ('content-length', '3')], 200), ('200 OK', (('A', 'x'),), 200), ('200 OK', [['A', 'x']], 200),
 ('200 OK', {'A': 'x'}.items(), 200), ('200 OK', None, 500), ('200 OK', [('A', 'x', 'y')], 500)]
def app(env, sr):
    p = env['PATH_INFO']
    if p == '/count': sr('200 OK', P); return [b' '.join(b'%d' % c[2] for c in CASES)]
    if p == '/never': return [b'x']
    if p == '/twice': sr('200 OK', P); sr('404 No', P)
    if p == '/swallow':
        try: sr('200 OK', [('X A', '1')])
        except Exception: pass
        return [b'x']
    if p == '/keep': KEEP.append(sr)
    if p == '/old': KEEP[0]('500 Old', P)
    if p[1:].isdigit():
        c = CASES[int(p[1:])]
        sr(c[0], c[1]); return [b'abc']
    sr('200 OK', P); return [b'fine']
`, setup{}, func(t *testing.T, s *site) {
		s.fails("GET /never", "without a call of start_response", "RuntimeError")
		s.fails("GET /twice", "a second time")
		s.fails("GET /swallow", "X A")
		c := s.dial()
		if a := c.send("GET /keep").read("GET"); a.body != "fine" {
			t.Errorf("%+v", a)
		}
		s.fails("GET /old", "RuntimeError: start_response was called") // its request has ended, or is ending
		if a := c.send("GET /fine").read("GET"); a.status != 200 || a.body != "fine" {
			t.Errorf("the client of the kept start_response sees %+v", a)
		}
		for i, status := range strings.Fields(s.do("GET /count").body) {
			request := fmt.Sprintf("GET /%d", i)
			if status == "500" {
				s.fails(request, "sr(c[0], c[1])") // raised at the caller's line
				continue
			}
			if a := s.want(request, 200, "abc"); a.header.Get("X-I") != "" {
				t.Errorf("%s: injected: %v", request, a.header)
			}
		}
	})
}

func TestFailsAmidContent(t *testing.T) {
	t.Parallel()
	eachSite(t, `
def app(env, sr):
    sr('200 OK', P + ([('Content-Length', '100')] if env['QUERY_STRING'] else []))
    yield b'part'
    raise ValueError('mid')
`, setup{}, func(t *testing.T, s *site) {
		for _, request := range []string{"GET /", "GET /?cl", "GET / HTTP/1.0||"} {
			s.log.Reset()
			noReset := s.network == "unix" && strings.Contains(request, "1.0") // and nothing else would show it
			if a := s.do(request); a.status != 200 || a.body != "part" || !a.cut && !noReset {
				t.Errorf("%q: %+v", request, a)
			}
			s.logs("ValueError: mid")
			if n := strings.Count(s.log.String(), "ValueError: mid"); n != 1 {
				t.Errorf("the error is in the log %d times", n)
			}
		}
	})
}

// Content of another length than Content-Length never becomes a part of another answer.
func TestContentLength(t *testing.T) {
	t.Parallel()
	eachSite(t, `
PULLED = []
class Closing:
    def __init__(self, it): self.it = it
    def __iter__(self): return self.it
    def close(self): log('closed it')
def app(env, sr):
    p = env['PATH_INFO']
    if p == '/secret': sr('200 OK', P); return [b'secret of another']
    if p == '/pulled': sr('200 OK', P); return [repr(PULLED).encode()]
    if p == '/much':
        sr('200 OK', P + [('Content-Length', '3')])
        del PULLED[:]
        def chunks():
            for c in (b'abcdef', b'ghi', b'jkl'):
                PULLED.append(c); yield c
        return Closing(chunks())
    sr('200 OK', P + [('Content-Length', '10')])
    return iter([b'abc'])
`, setup{}, func(t *testing.T, s *site) {
		s.log.Reset()
		c := s.dial().send("GET /much")
		if a := c.read("GET"); a.status != 200 || a.body != "abc" || a.cut {
			t.Errorf("too much: %+v", a)
		}
		c.closed()
		s.logs("Content-Length is 3, the application gave at least 6 bytes", "closed it")
		s.want("GET /pulled", 200, "[b'abcdef']")

		s.log.Reset()
		for _, pause := range []bool{false, true} {
			c := s.dial()
			if pause {
				c.send("GET /little")
				a := c.read("GET")
				_, _ = c.Write(bytesOf("GET /secret"))
				if a.body != "abc" || !a.cut {
					t.Errorf("too little: %+v", a)
				}
			} else {
				c.send("GET /little HTTP/1.1|Host: t||GET /secret HTTP/1.1|Host: t||")
			}
			rest, _ := io.ReadAll(c.r)
			if bytes.Contains(rest, []byte("secret")) || bytes.Count(rest, []byte("HTTP/1.1")) > 1 {
				t.Errorf("after too little %q", rest)
			}
		}
		s.logs("Content-Length is 10, the application gave 3 bytes")
	})
}

func TestHopByHop(t *testing.T) {
	t.Parallel()
	source := `
def app(env, sr):
    sr('200 OK', [('Transfer-Encoding', 'chunked'), ('Keep-Alive', 'timeout=5'), ('Upgrade', 'x'), ('Connection', env['QUERY_STRING'] or 'keep-alive'), ('Status', '1')])
    return [b'abc']
`
	eachSite(t, source, setup{}, func(t *testing.T, s *site) {
		c := s.dial()
		for range 3 {
			a := c.send("GET /").read("GET")
			if a.body != "abc" || a.header.Get("Content-Length") != "3" || a.chunked {
				t.Errorf("%+v", a)
			}
			for _, name := range []string{"Keep-Alive", "Upgrade", "Connection", "Status"} {
				if v := a.header.Get(name); v != "" {
					t.Errorf("%s: %s", name, v)
				}
			}
		}
		if a := c.send("GET /?close").read("GET"); !a.closes || a.body != "abc" {
			t.Errorf("%+v", a)
		}
		c.closed()
		s.logs("header Keep-Alive is dropped", "header Status is dropped") // the log may come after the answer
		if n := strings.Count(s.log.String(), "header Keep-Alive is dropped"); n != 1 {
			t.Errorf("the log says %d times that it drops a field", n)
		}
	})
	eachSite(t, source, setup{Options: wsgi.Options{Strict: true}}, func(t *testing.T, s *site) {
		s.fails("GET /")
	})
}

func TestLatin1(t *testing.T) {
	t.Parallel()
	eachSite(t, `
def app(env, sr):
    sr('200 OK', [('X-Out', '\xe9'), ('X-Path', env['PATH_INFO']), ('X-In', env['HTTP_X_IN'])])
    return [env['PATH_INFO'].encode('latin-1')]
`, setup{}, func(t *testing.T, s *site) {
		a := s.want("GET /%C3%A9%2Fa%20b HTTP/1.1|Host: t|X-In: \xff\xe9||", 200, "/é/a b")
		if a.header.Get("X-Out") != "\xe9" || a.header.Get("X-In") != "\xff\xe9" || a.header.Get("X-Path") != "/é/a b" {
			t.Errorf("%q", a.header)
		}
	})
}

func TestNoContent(t *testing.T) {
	t.Parallel()
	eachSite(t, `
def app(env, sr):
    if env['PATH_INFO'] == '/ok': sr('200 OK', P); return [b'ok']
    sr(env['QUERY_STRING'].replace('+', ' ') or '200 OK', P + [('Content-Length', '3')] if env['PATH_INFO'] == '/cl' else P)
    return iter([b'abc'])
`, setup{}, func(t *testing.T, s *site) {
		for _, tt := range []struct {
			request, length string
			status          int
		}{
			{"HEAD /", "", 200}, {"HEAD /cl", "3", 200}, {"GET /?204+No+Content", "", 204}, {"GET /?304+Not+Modified", "", 304},
		} {
			c := s.dial()
			method, _, _ := strings.Cut(tt.request, " ")
			a := c.send(tt.request + " HTTP/1.1|Host: t||GET /ok HTTP/1.1|Host: t||").read(method)
			if a.status != tt.status || a.body != "" || a.header.Get("Content-Length") != tt.length {
				t.Errorf("%s: %+v", tt.request, a)
			}
			if a := c.read("GET"); a.status != 200 || a.body != "ok" {
				t.Errorf("after %s: %+v", tt.request, a)
			}
		}
	})
}

func TestCloseOnce(t *testing.T) {
	t.Parallel()
	eachSite(t, `
class Body:
    def __init__(s, path, it): s.path = path; s.it = iter(it); s.n = 0
    def __iter__(s): return s
    def __next__(s): return next(s.it)
    def close(s):
        s.n += 1; log('closed %d %s' % (s.n, s.path))
        if 'boom' in s.path: raise ValueError('boom')
def bad():
    yield b'a'
    raise KeyError('next')
def many():
    for i in range(1000):
        time.sleep(.005); yield b'x' * 1000
def app(env, sr):
    p = env['PATH_INFO']
    sr('304 Not Modified' if p == '/304' else '200 OK', [('Content-Length', '1')] if p == '/much' else [])
    return Body(p, {'/next': bad, '/many': many, '/str': lambda: [b'a', 'b']}.get(p, lambda: [b'a', b'b'])())
`, setup{}, func(t *testing.T, s *site) {
		for _, request := range []string{"GET /normal", "HEAD /head", "GET /304", "GET /next", "GET /much", "GET /str"} {
			s.log.Reset()
			s.do(request)
			s.logs("closed 1 " + strings.Fields(request)[1])
		}
		s.log.Reset()
		c := s.dial()
		if a := c.send("GET /boom").read("GET"); a.status != 200 || a.body != "ab" || a.cut {
			t.Errorf("where close raises %+v", a)
		}
		if a := c.send("GET /normal").read("GET"); a.body != "ab" {
			t.Errorf("after that %+v", a)
		}
		s.logs("ValueError: boom")
		s.log.Reset()
		c = s.dial().send("GET /many")
		c.arrives("x")
		_ = c.Close()
		s.logs("closed 1 /many")
		if strings.Contains(s.log.String(), "Traceback") {
			t.Errorf("a client that leaves is an error: %s", s.log.String())
		}
	})
}

func TestBaseExceptions(t *testing.T) {
	t.Parallel()
	eachSite(t, `
X = {'/exit': SystemExit(3), '/exit4': SystemExit(4), '/kbd': KeyboardInterrupt(), '/gen': GeneratorExit(), '/mem': MemoryError()}
def app(env, sr):
    if env['PATH_INFO'] == '/rec': return app(env, sr)
    if env['PATH_INFO'] in X: raise X[env['PATH_INFO']]
    sr('200 OK', P); return [str(os.getpid()).encode()]
`, setup{}, func(t *testing.T, s *site) {
		pid := s.do("GET /pid").body
		for _, path := range []string{"/exit", "/exit4", "/kbd", "/gen", "/mem", "/rec"} {
			s.fails("GET " + path)
		}
		s.want("GET /pid", 200, pid)
	})
}

// What the application is told passes the checks of wsgiref.
func TestEnviron(t *testing.T) {
	t.Parallel()
	eachSite(t, `
from wsgiref.validate import validator
@validator
def app(env, sr):
    assert type(env) is dict and env['REMOTE_ADDR'] is not None
    assert all(type(v) is str for k, v in env.items() if k.isupper())
    if env['REQUEST_METHOD'] == 'POST': env['wsgi.input'].read(5)
    sr('200 OK', P); return [repr(sorted(env.items(), key=str)).encode('ascii', 'backslashreplace')]
`, setup{Options: wsgi.Options{Env: []string{"SECRET=1"}}}, func(t *testing.T, s *site) {
		for request, texts := range map[string][]string{
			"GET /a?b=c": {"'PATH_INFO', '/a'", "'QUERY_STRING', 'b=c'", "'REQUEST_URI', '/a?b=c'", "'RAW_URI', '/a?b=c'", "'SERVER_PROTOCOL', 'HTTP/1.1'", "'SERVER_NAME', 't'", "'SERVER_PORT', '80'", "'wsgi.version', (1, 0)", "'wsgi.url_scheme', 'http'", "'wsgi.run_once', False", "'wsgi.input_terminated', True", "'wsgi.multithread', " + map[bool]string{true: "True", false: "False"}[s.threads > 1], "'SERVER_SOFTWARE', 'isbjorn'", "'SCRIPT_NAME', ''"},
			"HEAD /":     nil,
			"POST / HTTP/1.1|Host: t|Content-Length: 5||12345": {"'CONTENT_LENGTH', '5'"},
			"GET / HTTP/1.0||":                    {"'SERVER_PROTOCOL', 'HTTP/1.0'"},
			"GET http://t/x?y HTTP/1.1|Host: t||": {"'PATH_INFO', '/x'", "'HTTP_HOST', 't'"},
		} {
			a := s.do(request)
			if a.status != 200 || a.cut {
				t.Errorf("%q: %+v", request, a)
			}
			addr := "'REMOTE_ADDR', ''"
			if s.network == "tcp" {
				addr = "'REMOTE_ADDR', '127.0.0.1'"
			}
			if !strings.HasPrefix(request, "HEAD") {
				texts = append(texts, addr, "'REMOTE_PORT', '")
			}
			for _, text := range texts {
				if !strings.Contains(a.body, text) {
					t.Errorf("%q: no %s in %s", request, text, a.body)
				}
			}
			if strings.Contains(a.body, "SECRET") {
				t.Errorf("%q: the environment of the process is in the environ", request)
			}
		}
	})
}

// Keys of fields, and each request with a dict of its own.
func TestFields(t *testing.T) {
	t.Parallel()
	eachSite(t, `
def app(env, sr):
    out = sorted((k, env[k]) for k in env if k.startswith('HTTP_')) + [env.get('mine'), env.get('PATH_INFO')]
    env['mine'] = 'kept'; env['HTTP_X'] = 'changed'; env.clear()
    sr('200 OK', P); return [repr(out).encode()]
`, setup{}, func(t *testing.T, s *site) {
		for range 2 {
			s.want("GET / HTTP/1.1|Host: t|X: 1|X: 2|Cookie: a=1|Cookie: b=2|X_Y: no|Proxy: no|Content-Type: a/b||", 200,
				"[('HTTP_COOKIE', 'a=1; b=2'), ('HTTP_HOST', 't'), ('HTTP_X', '1, 2'), None, '/']")
		}
	})
}

func TestPrefix(t *testing.T) {
	t.Parallel()
	eachSite(t, `
def app(env, sr):
    sr('200 OK', P); return [repr((env['SCRIPT_NAME'], env['PATH_INFO'])).encode()]
`, setup{wrap: func(app gateway.App) gateway.App {
		router, err := middleware.Router(middleware.Mount("/app", app))
		if err != nil {
			panic(err)
		}
		return router
	}}, func(t *testing.T, s *site) {
		s.want("GET /app", 200, "('/app', '')")
		s.want("GET /app/x%2Fy", 200, "('/app', '/x/y')")
		for _, path := range []string{"/apple", "/"} {
			if a := s.do("GET " + path); a.status != 404 {
				t.Errorf("%s: %+v", path, a)
			}
		}
	})
}

func TestTrustedProxies(t *testing.T) {
	t.Parallel()
	const source = `
def app(env, sr):
    sr('200 OK', P); return [repr((env['REMOTE_ADDR'], env['wsgi.url_scheme'], env['HTTP_HOST'], env.get('HTTPS'))).encode()]
`
	const request = "GET / HTTP/1.1|Host: t|X-Forwarded-For: 1.2.3.4, 10.0.0.9|X-Forwarded-Proto: https|X-Forwarded-Host: evil||"
	for _, tt := range []struct {
		name      string
		proxies   forwarded.Proxies
		tcp, unix string
	}{
		{"others", forwarded.Proxies{Prefixes: prefixes("10.9.9.9/32")}, "('127.0.0.1', 'http', 't', None)", "('', 'http', 't', None)"},
		{"these", forwarded.Proxies{Prefixes: prefixes("127.0.0.1/32", "10.0.0.9/32"), Unix: true,
			Fields: []string{"X-Forwarded-For", "X-Forwarded-Proto"}},
			"('1.2.3.4', 'https', 't', 'on')", "('1.2.3.4', 'https', 't', 'on')"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			trusted, err := middleware.TrustedProxies(tt.proxies)
			if err != nil {
				t.Fatal(err)
			}
			eachSite(t, source, setup{wrap: trusted}, func(t *testing.T, s *site) {
				s.want(request, 200, map[string]string{"tcp": tt.tcp, "unix": tt.unix}[s.network])
			})
		})
	}
}

func prefixes(texts ...string) (list []netip.Prefix) {
	for _, text := range texts {
		list = append(list, netip.MustParsePrefix(text))
	}
	return list
}

// Reads of wsgi.input are those of io.BytesIO, however the content comes.
func TestInput(t *testing.T) {
	t.Parallel()
	eachSite(t, `
def reads(i):
    return [i.readline(3), i.readline(), i.read(2), i.read(0), i.readlines(5), list(i), i.read(), i.read(None), i.read(-1), i.readline(), i.readlines()]
def app(env, sr):
    got = reads(env['wsgi.input'])
    size = int(env['CONTENT_LENGTH'])
    want = reads(io.BytesIO((b'ab\ncdefgh\nXYline3\nline4\nrest!!\n' * (size // 31 + 1))[:size]))
    sr('200 OK', P); return [b'%d same' % size if got == want else repr((got, want))[:2000].encode()]
`, setup{}, func(t *testing.T, s *site) {
		line := "ab\ncdefgh\nXYline3\nline4\nrest!!\n"
		for _, size := range []int{1, 30, 31, 5000, 100 << 10} {
			content := strings.Repeat(line, size/len(line)+1)[:size]
			want := fmt.Sprintf("%d same", size)
			c := s.dial()
			c.send(fmt.Sprintf("POST / HTTP/1.1|Host: t|Content-Length: %d||%sPOST / HTTP/1.1|Host: t|Content-Length: 3||ab\n", size, content))
			if a := c.read("POST"); a.body != want {
				t.Errorf("%d bytes: %+v", size, a)
			}
			if a := c.read("POST"); a.body != "3 same" {
				t.Errorf("the next: %+v", a)
			}
			for _, chunk := range []int{1, 7} {
				if size > 5000 && testing.Short() {
					continue
				}
				var b strings.Builder
				b.WriteString("POST / HTTP/1.1|Host: t|Transfer-Encoding: chunked||")
				for at := 0; at < size; at += chunk {
					part := content[at:min(at+chunk, size)]
					fmt.Fprintf(&b, "%x|%s|", len(part), part)
				}
				b.WriteString("0||")
				if a := s.do(b.String()); a.body != want {
					t.Errorf("%d bytes in chunks of %d: %+v", size, chunk, a)
				}
			}
		}
	})
}

func TestChunkedRequest(t *testing.T) {
	t.Parallel()
	eachSite(t, `
def app(env, sr):
    sr('200 OK', P)
    return [repr((env.get('CONTENT_LENGTH'), 'HTTP_TRANSFER_ENCODING' in env, env['wsgi.input_terminated'], env['wsgi.input'].read())).encode()]
`, setup{}, func(t *testing.T, s *site) {
		s.want("POST / HTTP/1.1|Host: t|Content-Type: application/x-www-form-urlencoded|Transfer-Encoding: chunked||3|a=1|4|&b=2|0||",
			200, "('7', False, True, b'a=1&b=2')")
	})
}

func TestExpect(t *testing.T) {
	t.Parallel()
	eachSite(t, `
def app(env, sr):
    log('called')
    sr('200 OK', P); return [b'%d' % len(env['wsgi.input'].read())]
`, setup{}, func(t *testing.T, s *site) {
		c := s.dial().send("POST / HTTP/1.1|Host: t|Expect: 100-continue|Content-Length: 5||")
		c.arrives("HTTP/1.1 100 Continue\r\n\r\n")
		if a := c.send("12345").read("POST"); a.body != "5" {
			t.Errorf("%+v", a)
		}
		c = s.dial().send("POST / HTTP/1.0|Expect: 100-continue|Content-Length: 5||12345")
		if line, _ := c.r.Peek(12); string(line) != "HTTP/1.1 200" {
			t.Errorf("HTTP/1.0 gets %q first", line)
		}
		s.until("the call", func() bool { return strings.Count(s.log.String(), "called") >= 2 })
		s.log.Reset()
		c = s.dial().send("POST / HTTP/1.1|Host: t|Expect: 100-continue|Content-Length: 99999999||")
		if line, _ := c.r.Peek(12); string(line) != "HTTP/1.1 413" {
			t.Errorf("too much content gets %q", line)
		}
		if strings.Contains(s.log.String(), "called") {
			t.Error("the application was called")
		}
	})
}

// Content that is large and slow occupies no worker, and reaches it as a file.
func TestLargeContent(t *testing.T) {
	t.Parallel()
	const size = 20 << 20
	eachSite(t, `
def app(env, sr):
    if env['PATH_INFO'] == '/ok': sr('200 OK', P); return [b'ok']
    log('called')
    i = env['wsgi.input']; a = hashlib.sha256(i.read()).hexdigest(); i.seek(0); b = bytearray(10); n = i.readinto(b)
    sr('200 OK', P); return [('%s %d %d' % (a, n, i.tell())).encode()]
`, setup{server: server.Options{BodyBytes: 64 << 20}}, func(t *testing.T, s *site) {
		c := s.dial()
		content := bytes.Repeat([]byte("0123456789abcdef"), size/16)
		c.send(fmt.Sprintf("POST / HTTP/1.1|Host: t|Content-Length: %d||", size))
		for at := 0; at < size; at += size / 20 {
			_, _ = c.Write(content[at : at+size/20])
			for range 5 {
				s.want("GET /ok", 200, "ok")
			}
		}
		if a := c.read("POST"); a.body != "f9eb2ad4a18f0ae0e9dfde33c1ac64bbbb6c7ff2b9cc1d2d23c3ff2ca8e0ee0e 10 10" && !strings.HasSuffix(a.body, " 10 10") {
			t.Errorf("%+v", a)
		}
		s.logs("called")
		s.log.Reset()
		c = s.dial().send(fmt.Sprintf("POST / HTTP/1.1|Host: t|Content-Length: %d||%s", size, content[:size/2]))
		_ = c.Close()
		s.want("GET /ok", 200, "ok")
		if strings.Contains(s.log.String(), "called") {
			t.Error("the application was called with a part of the content")
		}
	})
}

func TestUnreadContent(t *testing.T) {
	t.Parallel()
	eachSite(t, `
def app(env, sr):
    sr('200 OK', P)
    return [b'hello']
`, setup{server: server.Options{BodyBytes: 8 << 20}}, func(t *testing.T, s *site) {
		content := strings.Repeat("x", 5<<20)
		rounds := 50
		if testing.Short() {
			rounds = 10
		}
		for range rounds {
			c := s.dial()
			c.send(fmt.Sprintf("POST / HTTP/1.1|Host: t|Content-Length: %d||%s", len(content), content))
			if a := c.read("POST"); a.status != 200 || a.body != "hello" {
				t.Fatalf("%+v", a)
			}
			if a := c.send("GET /").read("GET"); a.body != "hello" {
				t.Fatalf("the next: %+v", a)
			}
			_ = c.Close()
		}
	})
}

func TestFileWrapper(t *testing.T) {
	t.Parallel()
	var data strings.Builder
	for i := range 200_000 {
		data.WriteByte(byte('0' + i%10))
	}
	whole := data.String()
	eachSite(t, `
FILES = []
class Closes:
    def __init__(self, f): self.f = f; self.n = 0
    def read(self, n): self.n += 1; return self.f.read(n) if self.n < 3 or 'raise' not in self.name else 1/0
    def close(self): log('closed ' + self.name)
class Reads:
    def __init__(self, f): self.read = f.read
def app(env, sr):
    p = env['PATH_INFO']; w = env['wsgi.file_wrapper']
    if p == '/ok': sr('200 OK', P); return [b'ok']
    if p == '/fds': sr('200 OK', P); return [b'%d' % len(os.listdir('/proc/self/fd'))]
    if p == '/closed': sr('200 OK', P); return [repr(all(f.closed for f in FILES)).encode()]
    sr('200 OK', P + ([('Content-Length', env['QUERY_STRING'])] if env['QUERY_STRING'] else []))
    if p == '/bytesio': return w(io.BytesIO(b'x' * 100000))
    f = open('data.bin', 'rb')
    FILES.append(f); del FILES[:-5]
    if p == '/off': f.read(10)
    if p == '/reads': return w(Reads(f), 1000)
    if p in ('/closes', '/raise'): c = Closes(f); c.name = p; return w(c, 1000)
    if p == '/gen': return (c for c in w(f, 4096))
    if p == '/pipe':
        r, wr = os.pipe(); os.write(wr, b'through a pipe'); os.close(wr); return w(os.fdopen(r, 'rb'))
    return w(f, 4096)
`, setup{files: map[string]string{"data.bin": whole}}, func(t *testing.T, s *site) {
		if a := s.want("GET /", 200, whole); a.header.Get("Content-Length") != "200000" {
			t.Errorf("%v", a.header)
		}
		if a := s.want("GET /off", 200, whole[10:]); a.header.Get("Content-Length") != "199990" {
			t.Errorf("%v", a.header)
		}
		s.want("GET /?7", 200, whole[:7])
		s.log.Reset()
		if a := s.do("GET /?999999"); a.status != 200 || a.body != whole || !a.cut {
			t.Errorf("a length beyond the file: %d, %d bytes, cut %v", a.status, len(a.body), a.cut)
		}
		s.logs("Content-Length is 999999")
		if a := s.do("HEAD /"); a.status != 200 || a.body != "" {
			t.Errorf("HEAD: %+v", a)
		}
		slow := s.dial().send("GET /")
		slow.arrives("0123")
		s.want("GET /ok", 200, "ok")
		// An answer may be there before close() was called.
		s.until("the files to be closed", func() bool { return s.do("GET /closed").body == "True" })
		_ = slow.Close()

		s.want("GET /bytesio", 200, strings.Repeat("x", 100000))
		s.want("GET /reads", 200, whole)
		s.want("GET /gen", 200, whole)
		s.want("GET /pipe", 200, "through a pipe")
		s.log.Reset()
		s.want("GET /closes", 200, whole[:2000]+whole[2000:])
		s.logs("closed /closes")
		if a := s.do("GET /raise"); a.body != whole[:2000] || !a.cut {
			t.Errorf("read that raises: %d bytes, cut %v", len(a.body), a.cut)
		}
		s.logs("closed /raise")

		count := func() (theirs string, ours int) {
			entries, _ := os.ReadDir("/proc/self/fd")
			return s.do("GET /fds").body, len(entries)
		}
		theirs, _ := count()
		c := s.dial()
		for range 300 {
			if a := c.send("GET /").read("GET"); len(a.body) != len(whole) {
				t.Fatalf("%d bytes", len(a.body))
			}
		}
		now, _ := count()
		before, _ := strconv.Atoi(theirs)
		if after, _ := strconv.Atoi(now); after > before+10 {
			t.Errorf("the worker has %d descriptors, %d before", after, before)
		}
	})
}

// Each chunk leaves when it is there, and a client that leaves ends the generator.
func TestStream(t *testing.T) {
	t.Parallel()
	eachSite(t, `
def app(env, sr):
    sr('200 OK', P)
    def g():
        n = 0
        try:
            for n in range(100): yield b'line %d\n' % n; time.sleep(.1)
        finally: log('gone %s after %d' % (env['isbjorn.disconnected'](), n))
    return g()
`, setup{}, func(t *testing.T, s *site) {
		s.log.Reset()
		c := s.dial().send("GET /")
		for i := range 3 {
			c.arrives(fmt.Sprintf("line %d", i))
		}
		_ = c.Close()
		s.logs("gone True")
		if strings.Contains(s.log.String(), "Traceback") || strings.Contains(s.log.String(), "after 99") {
			t.Error(s.log.String())
		}
	})
}

func TestEarlyHints(t *testing.T) {
	t.Parallel()
	eachSite(t, `
def app(env, sr):
    if env['PATH_INFO'] == '/bad': env['wsgi.early_hints']([('A', 'b\r\nX-I: 1')])
    env['wsgi.early_hints']([('Link', '</a.css>; rel=preload')]); time.sleep(.2)
    sr('200 OK', P); return [b'x']
`, setup{}, func(t *testing.T, s *site) {
		c := s.dial().send("GET /")
		c.arrives("HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n")
		if a := c.read("GET"); a.status != 200 || a.body != "x" {
			t.Errorf("%+v", a)
		}
		c = s.dial().send("GET / HTTP/1.0||")
		if line, _ := c.r.Peek(12); string(line) != "HTTP/1.1 200" {
			t.Errorf("HTTP/1.0 gets %q", line)
		}
		s.fails("GET /bad", "ValueError")
	})
}

func TestErrorsAndPrint(t *testing.T) {
	t.Parallel()
	eachSite(t, `
def app(env, sr):
    print('to stdout'); print('to stderr', file=sys.stderr)
    env['wsgi.errors'].write('half '); env['wsgi.errors'].writelines(['line\n', 'two\n'])
    sr('200 OK', P); return [b'x']
`, setup{}, func(t *testing.T, s *site) {
		s.log.Reset()
		s.want("GET /", 200, "x")
		s.logs("to stdout", "to stderr", `msg="half line" worker=1 request=`, "msg=two worker=1 request=")
	})
	// Tracebacks of several workers are not mixed.
	source := `
def app(env, sr):
    for n in range(20):
        me = os.getpid()
        sys.stderr.write('begin %d\n' % me)
        for i in range(30): sys.stderr.write('frame %d\n' % me)
        sys.stderr.write('end %d\n' % me)
        time.sleep(.02)
    sr('200 OK', P); return [b'x']
`
	tcp, _ := startSite(t, source, setup{Options: wsgi.Options{Workers: 4}})
	tcp.until("four workers", func() bool { return strings.Count(tcp.log.String(), "worker serves") == 4 })
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() { tcp.do("GET /") })
	}
	clients.Wait()
	tcp.until("all lines", func() bool { return strings.Count(tcp.log.String(), "end ") >= 80 })
	for line := range strings.Lines(tcp.log.String()) {
		if strings.Contains(line, "frame ") {
			pids := map[string]bool{}
			for _, field := range strings.Fields(strings.ReplaceAll(line, `\n`, " ")) {
				if n, err := strconv.Atoi(strings.Trim(field, `"`)); err == nil && n > 100 {
					pids[strconv.Itoa(n)] = true
				}
			}
			if len(pids) != 1 {
				t.Errorf("a record of several workers: %.300s", line)
			}
		}
	}
}

func TestThreads(t *testing.T) {
	t.Parallel()
	eachSite(t, `
LOCK = threading.Lock(); NOW = 0; MOST = 0
def app(env, sr):
    global NOW, MOST
    if env['PATH_INFO'] == '/most': sr('200 OK', P); return [b'%d' % MOST]
    with LOCK: NOW += 1; MOST = max(NOW, MOST)
    time.sleep(.5); sr('200 OK', P)
    with LOCK: NOW -= 1
    main = threading.current_thread() is threading.main_thread()
    return [b'%s %s' % (str(env['wsgi.multithread']).encode(), str(main).encode())]
`, setup{}, func(t *testing.T, s *site) {
		begin := time.Now()
		want := "False True"
		if s.threads > 1 {
			want = "True False"
		}
		var clients sync.WaitGroup
		for range 4 {
			clients.Go(func() { s.want("GET /", 200, want) })
		}
		clients.Wait()
		took := time.Since(begin)
		if s.threads == 1 && took < 1900*time.Millisecond {
			t.Errorf("4 requests of 0.5 s at once with one thread took %v", took)
		}
		if most := s.do("GET /most").body; (most == "1") != (s.threads == 1) {
			t.Errorf("with %d threads %s requests ran at once", s.threads, most)
		}
	})
}

// No request waits behind a busy worker while another one is free.
func TestBusyWorker(t *testing.T) {
	t.Parallel()
	tcp, _ := startSite(t, `
def app(env, sr):
    if env['PATH_INFO'] == '/slow': time.sleep(3)
    sr('200 OK', P); return [b'ok']
`, setup{Options: wsgi.Options{Workers: 2}})
	tcp.until("two workers", func() bool { return strings.Count(tcp.log.String(), "worker serves") == 2 })
	for _, before := range []int{0, 2000} {
		if testing.Short() && before == 0 {
			continue
		}
		c := tcp.dial()
		for range before {
			if a := c.send("GET /fast").read("GET"); a.body != "ok" {
				t.Fatalf("%+v", a)
			}
		}
		slow := tcp.dial().send("GET /slow")
		var clients sync.WaitGroup
		var worst sync.Map
		for i := range 20 {
			clients.Go(func() {
				c := tcp.dial()
				for range 25 {
					begin := time.Now()
					c.send("GET /fast").read("GET")
					if d := time.Since(begin); d > 2500*time.Millisecond {
						worst.Store(i, d)
					}
				}
			})
		}
		clients.Wait()
		worst.Range(func(_, d any) bool { t.Errorf("a request waited %v", d); return true })
		if a := slow.read("GET"); a.body != "ok" {
			t.Errorf("the slow one: %+v", a)
		}
	}
}

// A request that hangs gets 504, its stack is in the log, its worker is replaced, and its neighbours are served.
func TestTimeout(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("waits 7 s for a request that does not end; package dispatch has the same without Python")
	}
	tcp, _ := startSite(t, `
def deep(): time.sleep(60)
def app(env, sr):
    if env['PATH_INFO'] == '/hang': deep()
    if env['PATH_INFO'] == '/stream':
        sr('200 OK', P)
        def g():
            for i in range(6): time.sleep(.5); yield b'x'
        return g()
    sr('200 OK', P); return [b'ok %d' % os.getpid()]
`, setup{Options: wsgi.Options{Threads: 4, RequestTimeout: time.Second, GracefulTimeout: time.Second}, dies: true})
	pid := tcp.do("GET /ok").body
	stream := tcp.dial().send("GET /stream")
	begin := time.Now()
	a := tcp.do("GET /hang")
	if took := time.Since(begin); a.status != 504 || took < time.Second || took > 40*time.Second {
		t.Errorf("%+v after %v", a, took)
	}
	tcp.want("GET /ok", 200, pid)
	if a := stream.read("GET"); a.body != "xxxxxx" || a.cut {
		t.Errorf("the stream: %+v", a)
	}
	tcp.logs("GET /hang has run for", "in deep", "worker is replaced", "worker died", "killed by isbjorn")
	for range 50 {
		if a := tcp.do("GET /ok"); a.status != 200 {
			t.Fatalf("%+v", a)
		}
	}
	if now := tcp.do("GET /ok").body; now == pid {
		t.Errorf("the same worker serves: %s", now)
	}
	if strings.Contains(tcp.log.String(), "memory") {
		t.Errorf("the log has %s", tcp.log.String())
	}
}

// Requests that kill their worker get 502; all others are answered, and none runs twice.
func TestCrash(t *testing.T) {
	t.Parallel()
	for path, end := range map[string]string{"/segv": "SIGSEGV", "/exit": "status 3"} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			tcp, _ := startSite(t, `
def app(env, sr):
    with open('count', 'a') as f: f.write(env['PATH_INFO'] + '\n')
    if env['PATH_INFO'] == '/segv': os.kill(os.getpid(), signal.SIGSEGV)
    if env['PATH_INFO'] == '/exit': os._exit(3)
    if env['PATH_INFO'] == '/part':
        w = sr('200 OK', P); w(b'part'); os._exit(3)
    time.sleep(.02); sr('200 OK', P); return [b'ok']
`, setup{dies: true})
			var clients sync.WaitGroup
			send := func(n int) {
				for range n {
					clients.Go(func() { tcp.want("GET /", 200, "ok") })
				}
			}
			send(10)
			clients.Go(func() {
				if a := tcp.do("GET " + path); a.status != 502 {
					t.Errorf("%+v", a)
				}
			})
			send(10)
			clients.Wait()
			tcp.logs("worker died", end, "GET "+path)
			b, _ := os.ReadFile(filepath.Join(tcp.dir, "count"))
			if got := strings.Count(string(b), "\n"); got != 21 {
				t.Errorf("%d calls for 21 requests", got)
			}
			if path == "/segv" {
				tcp.logs("Fatal Python error: Segmentation fault")
			}
			if a := tcp.do("GET /part"); a.status != 200 || a.body != "part" || !a.cut {
				t.Errorf("after a part: %+v", a)
			}
		})
	}
}

// A worker that is killed is replaced; one that gets SIGTERM ends in order.
func TestSignalsToWorkers(t *testing.T) {
	t.Parallel()
	tcp, _ := startSite(t, `
def app(env, sr):
    sr('200 OK', P); return [b'%d' % os.getpid()]
`, setup{dies: true})
	pid, err := strconv.Atoi(tcp.do("GET /").body)
	if err != nil {
		t.Fatal(err)
	}
	_ = syscall.Kill(pid, syscall.SIGTERM)
	tcp.logs("it got SIGTERM", "worker ended")
	tcp.until("another one", func() bool { return tcp.do("GET /").body != strconv.Itoa(pid) })
	if strings.Contains(tcp.log.String(), "worker died") {
		t.Error(tcp.log.String())
	}
	pid, _ = strconv.Atoi(tcp.do("GET /").body)
	_ = syscall.Kill(pid, syscall.SIGKILL)
	tcp.logs("worker died", "SIGKILL")
	tcp.until("another one", func() bool {
		body := tcp.do("GET /").body
		return body != strconv.Itoa(pid) && !strings.Contains(body, "Bad")
	})
}

// With StreamInput the application reads content while it comes.
func TestStreamInput(t *testing.T) {
	t.Parallel()
	eachSite(t, `
def app(env, sr):
    i = env['wsgi.input']
    if env['PATH_INFO'] == '/none': sr('200 OK', P); return [b'unread']
    n = 0
    try:
        while True:
            b = i.read1(65536) if hasattr(i, 'read1') else i.read(65536)
            if not b: break
            n += len(b); log('has %d' % n)
    except ConnectionError as e:
        log('client gone: %r' % e)
        raise
    sr('200 OK', P); return [b'%s %d' % (str(env.get('CONTENT_LENGTH')).encode(), n)]
`, setup{Options: wsgi.Options{StreamInput: []string{"/up", "/none"}}, server: server.Options{BodyBytes: 8 << 20}},
		func(t *testing.T, s *site) {
			s.log.Reset()
			c := s.dial().send("POST /up HTTP/1.1|Host: t|Content-Length: 10||12345")
			s.logs("has 5")
			if a := c.send("67890").read("POST"); a.body != "10 10" {
				t.Errorf("%+v", a)
			}
			c.send("POST /up/x HTTP/1.1|Host: t|Transfer-Encoding: chunked|Expect: 100-continue||")
			c.arrives("HTTP/1.1 100 Continue\r\n\r\n")
			c.send("3|abc|")
			s.logs("has 3")
			if a := c.send("2|de|0||").read("POST"); a.body != "None 5" {
				t.Errorf("%+v", a)
			}
			large := strings.Repeat("x", 5<<20)
			c.send(fmt.Sprintf("POST /up HTTP/1.1|Host: t|Content-Length: %d||%s", len(large), large))
			if a := c.read("POST"); a.body != fmt.Sprintf("%d %[1]d", len(large)) {
				t.Errorf("%+v", a)
			}
			if a := c.send("POST /other HTTP/1.1|Host: t|Content-Length: 3||abc").read("POST"); a.body != "3 3" {
				t.Errorf("%+v", a)
			}
			c = s.dial().send("POST /none HTTP/1.1|Host: t|Content-Length: 100000||abc")
			if a := c.read("POST"); a.body != "unread" {
				t.Errorf("%+v", a)
			}
			s.log.Reset()
			c = s.dial().send("POST /up HTTP/1.1|Host: t|Content-Length: 10||123")
			s.logs("has 3")
			_ = c.Close()
			s.logs("client gone")
			s.want("POST /up HTTP/1.1|Host: t|Content-Length: 2||ab", 200, "2 2")
		})
}

// Slow readers of a large answer hold no worker.
func TestSlowReaders(t *testing.T) {
	t.Parallel()
	tcp, _ := startSite(t, `
def app(env, sr):
    if env['PATH_INFO'] == '/ok': sr('200 OK', P); return [b'ok']
    sr('200 OK', P); return [b'x' * (1 << 20)]
`, setup{})
	clients := 1000
	if testing.Short() {
		clients = 100
	}
	var conns []*conn
	for range clients {
		conns = append(conns, tcp.dial().send("GET /large"))
		if len(conns)%50 == 0 {
			tcp.want("GET /ok", 200, "ok")
		}
	}
	tcp.want("GET /ok", 200, "ok")
	for _, i := range []int{0, len(conns) / 2, len(conns) - 1} {
		if a := conns[i].read("GET"); len(a.body) != 1<<20 || a.cut {
			t.Errorf("slow reader %d: %d bytes, cut %v", i, len(a.body), a.cut)
		}
	}
}

// With gevent a worker runs many requests at once, and the application's own imports are patched.
func TestGevent(t *testing.T) {
	t.Parallel()
	if err := exec.Command(pythons(t)[0], "-c", "import gevent").Run(); err != nil {
		t.Skip("needs gevent: apt-get install python3-gevent")
	}
	tcp, _ := startSite(t, `
import ssl, socket
def app(env, sr):
    if env['PATH_INFO'] == '/sleep': time.sleep(.5)
    if env['PATH_INFO'] == '/post': sr('200 OK', P); return [env['wsgi.input'].read()]
    sr('200 OK', P); return [str(env['wsgi.multithread']).encode()]
`, setup{Options: wsgi.Options{Gevent: 100}})
	tcp.want("GET /", 200, "True")
	begin := time.Now()
	var clients sync.WaitGroup
	for range 100 {
		clients.Go(func() { tcp.want("GET /sleep", 200, "True") })
	}
	clients.Wait()
	if took := time.Since(begin); took > 40*time.Second { // one by one they would take 50 s
		t.Errorf("100 requests of 0.5 s at once took %v", took)
	}
	large := strings.Repeat("y", 300<<10)
	tcp.want(fmt.Sprintf("POST /post HTTP/1.1|Host: t|Content-Length: %d||%s", len(large), large), 200, large)
	if strings.Contains(tcp.log.String(), "MonkeyPatchWarning") {
		t.Error(tcp.log.String())
	}
}

// Workers are killed at random while they run requests: each answer is that of its own request, what was answered has
// run, nothing runs twice, and in the end all is as before.
func TestChaos(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "kills workers for 4 s")
	tcp, unix := startSite(t, `
OUT = os.open('ran', os.O_WRONLY | os.O_APPEND | os.O_CREAT)
def app(env, sr):
    token = env['wsgi.input'].read() if env['REQUEST_METHOD'] == 'POST' else env['QUERY_STRING'].encode()
    os.write(OUT, token + b'\n')
    time.sleep(int(token[-1:]) / 1000)
    sr('200 OK', P)
    if token[-1:] in b'37': return halves(token)
    return [token]
def halves(token):
    yield token[:2]
    time.sleep(.002)
    yield token[2:]
`, setup{Options: wsgi.AtOnce(wsgi.Options{Workers: 3, Threads: 2}), dies: true})
	serves := regexp.MustCompile(`worker serves" worker=\d+ pid=(\d+)`)
	pids := func() []string {
		var list []string
		for _, found := range serves.FindAllStringSubmatch(tcp.log.String(), -1) {
			list = append(list, found[1])
		}
		return list
	}
	tcp.until("three workers", func() bool { return len(pids()) == 3 })
	stop := make(chan struct{})
	var clients sync.WaitGroup
	var mu sync.Mutex
	counts, answered := map[string]int{}, map[string]bool{}
	for i := range 16 {
		clients.Go(func() {
			s := []*site{tcp, unix}[i%2]
			c := s.dial()
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				token := fmt.Sprintf("%d-%d-%s", i, n, strings.Repeat("x", n%50*20)) + strconv.Itoa(n%10)
				request, method := "GET /?"+token, "GET"
				if n%3 == 0 {
					request, method = fmt.Sprintf("POST / HTTP/1.1|Host: t|Content-Length: %d||%s", len(token), token), "POST"
				}
				a := c.send(request).read(method)
				outcome := strconv.Itoa(a.status)
				switch {
				case a.cut && (a.status == 0 || strings.HasPrefix(token, a.body)):
					outcome = "cut"
				case a.status == 200 && a.body == token && !a.cut, a.status == 502:
				default:
					t.Errorf("%.60s: %d %.200q, cut %v", request, a.status, a.body, a.cut)
				}
				if a.closes || a.cut {
					_ = c.Close()
					c = s.dial()
				}
				mu.Lock()
				counts[outcome]++
				answered[token] = answered[token] || outcome == "200"
				mu.Unlock()
			}
		})
	}
	const kills = 25
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0))
	for n := range kills {
		// One that serves since the last kill is there, so the workers do not run out.
		tcp.until("another worker", func() bool { return len(pids()) >= 3+max(0, n-1) })
		list := pids()
		for i := range random.IntN(3) { // of those that live, not always the newest
			list = slices.Delete(list, len(list)-1-i, len(list)-i)
		}
		for {
			pid, _ := strconv.Atoi(list[len(list)-1])
			if list = list[:len(list)-1]; syscall.Kill(pid, syscall.SIGKILL) == nil || len(list) == 0 {
				break
			}
		}
		time.Sleep(time.Duration(random.IntN(60)) * time.Millisecond) // load, not synchronisation
	}
	close(stop)
	clients.Wait()
	t.Logf("seed %d, %d kills, answers: %v", seed, kills, counts)
	if lost := counts["502"] + counts["cut"]; counts["200"] < kills || lost < kills/2 {
		t.Errorf("%d kills met %d requests, and %d were answered: too few", kills, lost, counts["200"])
	}
	b, err := os.ReadFile(filepath.Join(tcp.dir, "ran"))
	if err != nil {
		t.Fatal(err)
	}
	ran := map[string]bool{}
	for token := range strings.Lines(string(b)) {
		token = strings.TrimSuffix(token, "\n")
		if ran[token] {
			t.Errorf("%.60s ran twice", token)
		}
		ran[token] = true
	}
	for token, ok := range answered {
		if ok && !ran[token] {
			t.Errorf("%.60s was answered and has not run", token)
		}
	}
	tcp.want("GET /?end-0", 200, "end-0")
	unix.want("GET /?end-1", 200, "end-1")
}
