package wsgi_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"context"

	"github.com/isbjorn/isbjorn/server"
	"github.com/isbjorn/isbjorn/wsgi"
)

// needs skips a test whose Python package is missing.
func needs(t *testing.T, module, debian string) {
	t.Helper()
	if err := exec.Command(pythons(t)[0], "-c", "import "+module).Run(); err != nil {
		t.Skipf("needs %s for %s: apt-get install %s", module, pythons(t)[0], debian)
	}
}

// browser is a client that keeps cookies.
func (s *site) browser() *http.Client {
	jar, _ := cookiejar.New(nil)
	transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		return net.Dial(s.network, s.address)
	}}
	s.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Jar: jar, Transport: transport, Timeout: patience}
}

// fetch is what a request gets.
func (s *site) fetch(c *http.Client, method, path, kind string, content io.Reader, more ...string) (status int, header http.Header, body string) {
	s.Helper()
	req, err := http.NewRequest(method, "http://shop.example"+path, content)
	if err != nil {
		s.Fatal(err)
	}
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	for i := 0; i+1 < len(more); i += 2 {
		req.Header.Set(more[i], more[i+1])
	}
	resp, err := c.Do(req)
	if err != nil {
		s.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		s.Errorf("%s %s: %v", method, path, err)
	}
	return resp.StatusCode, resp.Header, string(b)
}

// form is a form with a file.
func form(fields map[string]string, file []byte) (kind string, content io.Reader) {
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for k, v := range fields {
		_ = w.WriteField(k, v)
	}
	part, _ := w.CreateFormFile("file", "data.bin")
	_, _ = part.Write(file)
	_ = w.Close()
	return w.FormDataContentType(), &b
}

const formKind = "application/x-www-form-urlencoded"

// chunked hides the length of content, so that a client sends chunks.
type chunked struct{ io.Reader }

// strictly runs a test as it is, and with wsgiref.validate around the application.
func strictly(t *testing.T, source string, o setup, test func(t *testing.T, s *site)) {
	for _, strict := range []bool{false, true} {
		t.Run(fmt.Sprintf("strict=%v", strict), func(t *testing.T) {
			o := o
			o.Strict = strict
			eachSite(t, source, o, test)
		})
	}
}

// Applications of Flask that a function makes: found alone, called with literals, and by Options.Factory.
func TestFlaskFactory(t *testing.T) {
	t.Parallel()
	needs(t, "flask", "python3-flask")
	source := `
from flask import Flask
def create_app(name='default'):
    app = Flask(__name__)
    @app.route('/')
    def index(): return name
    return app
`
	for _, o := range []struct {
		want    string
		options wsgi.Options
	}{
		{"default", wsgi.Options{App: "app"}},
		{"default", wsgi.Options{App: "app:create_app()"}},
		{"other", wsgi.Options{App: "app:create_app('other')"}},
		{"default", wsgi.Options{App: "app:create_app", Factory: true}},
	} {
		t.Run(o.options.App, func(t *testing.T) {
			t.Parallel()
			tcp, unix := startSite(t, source, setup{Options: o.options})
			tcp.want("GET /", 200, o.want)
			unix.want("GET /", 200, o.want)
		})
	}
}

func TestFlask(t *testing.T) {
	t.Parallel()
	needs(t, "flask", "python3-flask")
	large := bytes.Repeat([]byte("0123456789abcdef"), 200_000)
	strictly(t, `
from flask import Flask, request, session, jsonify, send_file, abort, Response
app = Flask(__name__)
app.secret_key = 'x'
@app.route('/')
def index(): return 'index'
@app.route('/hello/<name>')
def hello(name): return 'hello ' + name
@app.route('/login', methods=['POST'])
def login(): session['user'] = request.form['user']; return 'ok'
@app.route('/who')
def who(): return session.get('user', 'unknown')
@app.route('/json', methods=['POST'])
def json(): return jsonify(got=request.get_json())
@app.route('/upload', methods=['POST'])
def upload():
    f = request.files['file']
    return '%s %s %s' % (request.form['note'], f.filename, hashlib.sha256(f.read()).hexdigest())
@app.route('/stream')
def stream(): return Response(('line %d\n' % n for n in range(100)), mimetype='text/plain')
@app.route('/file')
def file(): return send_file(os.path.abspath('data.bin'), mimetype='application/octet-stream', conditional=True)
@app.route('/raise')
def fails(): raise ValueError('of the view')
@app.route('/teapot')
def teapot(): abort(418)
@app.errorhandler(404)
def missing(e): return 'not here', 404
@app.before_request
def before():
    if request.path == '/closed': return 'closed for a while', 503
@app.after_request
def after(r): r.headers['X-After'] = 'yes'; return r
`, setup{files: map[string]string{"data.bin": string(large)}, server: server.Options{BodyBytes: 8 << 20}}, func(t *testing.T, s *site) {
		c := s.browser()
		get := func(path string, more ...string) (int, http.Header, string) {
			return s.fetch(c, "GET", path, "", nil, more...)
		}
		for path, want := range map[string]string{"/": "index", "/hello/Zo%C3%AB": "hello Zoë", "/who": "unknown"} {
			if status, header, body := get(path); status != 200 || body != want || header.Get("X-After") != "yes" {
				t.Errorf("%s: %d %q", path, status, body)
			}
		}
		if status, header, body := get("/closed"); status != 503 || body != "closed for a while" || header.Get("X-After") != "yes" {
			t.Errorf("what before_request answers: %d %q", status, body)
		}
		s.fetch(c, "POST", "/login", formKind, strings.NewReader("user=ann"))
		if _, _, body := get("/who"); body != "ann" {
			t.Errorf("the session has %q", body)
		}
		s.fetch(c, "POST", "/login", formKind, chunked{strings.NewReader("user=bob")})
		if _, _, body := get("/who"); body != "bob" {
			t.Errorf("a form that came in chunks: %q", body)
		}
		// wsgiref.validate refuses a read() without a size, which Werkzeug makes where the input is known to end.
		if _, _, body := s.fetch(c, "POST", "/json", "application/json", strings.NewReader(`{"a": [1]}`)); !s.strict && strings.TrimSpace(body) != `{"got":{"a":[1]}}` {
			t.Errorf("json: %q", body)
		}
		for _, file := range [][]byte{[]byte("small"), large} {
			kind, content := form(map[string]string{"note": "n"}, file)
			if status, _, body := s.fetch(c, "POST", "/upload", kind, content); body != fmt.Sprintf("n data.bin %x", sha256.Sum256(file)) {
				t.Errorf("an upload of %d bytes: %d %.200q", len(file), status, body)
			}
		}
		if _, _, body := get("/stream"); strings.Count(body, "\n") != 100 {
			t.Errorf("the stream has %d lines", strings.Count(body, "\n"))
		}
		status, header, body := get("/file")
		if status != 200 || body != string(large) || header.Get("Content-Length") != fmt.Sprint(len(large)) {
			t.Errorf("the file: %d, %d bytes", status, len(body))
		}
		if status, _, body := get("/file", "Range", "bytes=10-19"); status != 206 || body != string(large[10:20]) {
			t.Errorf("a range: %d %.100q", status, body)
		}
		if status, _, body := get("/file", "If-None-Match", header.Get("Etag")); status != 304 || body != "" {
			t.Errorf("conditional: %d %.100q", status, body)
		}
		if status, _, body := s.fetch(c, "HEAD", "/file", "", nil); status != 200 || body != "" {
			t.Errorf("HEAD: %d", status)
		}
		for path, want := range map[string]int{"/raise": 500, "/teapot": 418, "/nope": 404} {
			if status, _, _ := get(path); status != want {
				t.Errorf("%s: %d", path, status)
			}
		}
		s.logs("ValueError: of the view")
	})
}

const djangoApp = `
import django
from django.conf import settings
from django.http import HttpResponse, StreamingHttpResponse, FileResponse, JsonResponse
from django.urls import path
from django.middleware.csrf import get_token
settings.configure(DEBUG=False, SECRET_KEY='x' * 50, ROOT_URLCONF=__name__, ALLOWED_HOSTS=['shop.example'],
    SESSION_ENGINE='django.contrib.sessions.backends.signed_cookies', FILE_UPLOAD_MAX_MEMORY_SIZE=65536,
    DATA_UPLOAD_MAX_MEMORY_SIZE=None,
    MIDDLEWARE=['django.middleware.security.SecurityMiddleware', 'django.contrib.sessions.middleware.SessionMiddleware',
                'django.middleware.common.CommonMiddleware', 'django.middleware.csrf.CsrfViewMiddleware'])
django.setup()
def index(request): return HttpResponse('index %s' % request.get_host())
def login(request):
    if request.method == 'POST': request.session['user'] = request.POST['user']; return HttpResponse('ok')
    return HttpResponse(get_token(request))
def who(request): return HttpResponse(request.session.get('user', 'unknown'))
def upload(request):
    f = request.FILES['file']
    return HttpResponse('%s %s %s' % (request.POST['note'], f.name, hashlib.sha256(f.read()).hexdigest()))
def stream(request): return StreamingHttpResponse('line %d\n' % n for n in range(100))
def file(request): return FileResponse(open('data.bin', 'rb'), as_attachment=True)
def json(request): return JsonResponse({'a': 1})
def fails(request): raise ValueError('of the view')
urlpatterns = [path('', index), path('login', login), path('who', who), path('upload', upload), path('stream', stream),
               path('file', file), path('json', json), path('raise', fails)]
from django.core.wsgi import get_wsgi_application
app = get_wsgi_application()
`

func TestDjango(t *testing.T) {
	t.Parallel()
	needs(t, "django", "python3-django")
	large := bytes.Repeat([]byte("0123456789abcdef"), 200_000)
	strictly(t, djangoApp, setup{files: map[string]string{"data.bin": string(large)}, server: server.Options{BodyBytes: 8 << 20}},
		func(t *testing.T, s *site) {
			c := s.browser()
			get := func(path string) (int, http.Header, string) { return s.fetch(c, "GET", path, "", nil) }
			if status, _, body := get("/"); status != 200 || body != "index shop.example" {
				t.Errorf("%d %q", status, body)
			}
			_, _, token := get("/login")
			if status, _, _ := s.fetch(s.browser(), "POST", "/login", formKind, strings.NewReader("user=eve")); status != 403 {
				t.Errorf("without a token: %d", status)
			}
			post := "user=ann&csrfmiddlewaretoken=" + url.QueryEscape(token)
			for _, content := range []io.Reader{strings.NewReader(post), chunked{strings.NewReader(post)}} {
				if status, _, body := s.fetch(c, "POST", "/login", formKind, content); status != 200 || body != "ok" {
					t.Errorf("the form: %d %.300q", status, body)
				}
			}
			if _, _, body := get("/who"); body != "ann" {
				t.Errorf("the session has %q", body)
			}
			for _, file := range [][]byte{bytes.Repeat([]byte("s"), 100), large} {
				kind, content := form(map[string]string{"note": "n", "csrfmiddlewaretoken": token}, file)
				if status, _, body := s.fetch(c, "POST", "/upload", kind, content); body != fmt.Sprintf("n data.bin %x", sha256.Sum256(file)) {
					t.Errorf("an upload of %d bytes: %d %.200q", len(file), status, body)
				}
			}
			if _, _, body := get("/stream"); strings.Count(body, "\n") != 100 {
				t.Errorf("the stream has %d lines", strings.Count(body, "\n"))
			}
			status, header, body := get("/file")
			if status != 200 || body != string(large) || !strings.Contains(header.Get("Content-Disposition"), "data.bin") {
				t.Errorf("the file: %d, %d bytes, %v", status, len(body), header)
			}
			if _, header, body := get("/json"); body != `{"a": 1}` || header.Get("Content-Type") != "application/json" {
				t.Errorf("json: %q", body)
			}
			for path, want := range map[string]int{"/raise": 500, "/nope": 404} {
				if status, _, _ := get(path); status != want {
					t.Errorf("%s: %d", path, status)
				}
			}
		})
}

// A project of Django is found by its manage.py.
func TestDjangoProject(t *testing.T) {
	t.Parallel()
	needs(t, "django", "python3-django")
	dir := t.TempDir()
	if out, err := exec.Command(pythons(t)[0], "-m", "django", "startproject", "shop", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	settings := filepath.Join(dir, "shop", "settings.py")
	b, err := os.ReadFile(settings)
	if err != nil {
		t.Fatal(err)
	}
	b = bytes.Replace(b, []byte("ALLOWED_HOSTS = []"), []byte("ALLOWED_HOSTS = ['*']"), 1)
	if err := os.WriteFile(settings, b, 0o600); err != nil {
		t.Fatal(err)
	}
	tcp, _ := startSite(t, "", setup{Options: wsgi.Options{Dir: dir}, find: true})
	if a := tcp.do("GET /"); a.status != 200 || !strings.Contains(a.body, "The install worked successfully") {
		t.Errorf("%d %.300q", a.status, a.body)
	}
	tcp.logs("app_by", "manage.py")
}

func TestSmallFrameworks(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, module, debian, source, app string
	}{
		{"bottle", "bottle", "python3-bottle", `
from bottle import Bottle, request, static_file
app = Bottle()
@app.get('/')
def index(): return 'index'
@app.post('/body')
def body(): return request.body.read()
@app.post('/form')
def form(): return request.forms.get('a') + request.forms.get('b')
@app.get('/file')
def file(): return static_file('data.bin', root=os.getcwd())
`, ""},
		{"bottle's default", "bottle", "python3-bottle", `
from bottle import route, post, request, static_file
@route('/')
def index(): return 'index'
@post('/body')
def body(): return request.body.read()
@post('/form')
def form(): return request.forms.get('a') + request.forms.get('b')
@route('/file')
def file(): return static_file('data.bin', root=os.getcwd())
`, "app"},
		{"webob", "webob", "python3-webob", `
from webob.dec import wsgify
from webob import Response
from webob.static import FileApp
@wsgify
def app(request):
    if request.path == '/body': return Response(body=request.body)
    if request.path == '/form': return request.POST['a'] + request.POST['b']
    if request.path == '/file': return FileApp('data.bin')
    return 'index'
`, ""},
		{"werkzeug", "werkzeug", "python3-werkzeug", `
from werkzeug.wrappers import Request, Response
from werkzeug.wsgi import wrap_file
@Request.application
def app(request):
    if request.path == '/body': return Response(request.get_data())
    if request.path == '/form': return Response(request.form['a'] + request.form['b'])
    if request.path == '/file': return Response(wrap_file(request.environ, open('data.bin', 'rb')), direct_passthrough=True)
    return Response('index')
`, ""},
		{"cherrypy", "cherrypy", "python3-cherrypy3", `
import cherrypy
from cherrypy.lib.static import serve_file
cherrypy.config.update({'environment': 'embedded'})
class Root:
    @cherrypy.expose
    def index(self): return 'index'
    @cherrypy.expose
    def body(self): return cherrypy.request.body.read()
    @cherrypy.expose
    def form(self, a, b): return a + b
    @cherrypy.expose
    def file(self): return serve_file(os.path.abspath('data.bin'), content_type='application/octet-stream')
app = cherrypy.tree.mount(Root(), '/')
`, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			needs(t, tt.module, tt.debian)
			data := strings.Repeat("0123456789", 20_000)
			strictly(t, tt.source, setup{Options: wsgi.Options{App: tt.app}, files: map[string]string{"data.bin": data}}, func(t *testing.T, s *site) {
				c := s.browser()
				if status, _, body := s.fetch(c, "GET", "/", "", nil); status != 200 || body != "index" {
					t.Errorf("%d %.300q", status, body)
				}
				for _, content := range []io.Reader{strings.NewReader("content"), chunked{strings.NewReader("content")}} {
					if status, _, body := s.fetch(c, "POST", "/body", "text/plain", content); (status != 200 || body != "content") && !(s.strict && tt.name == "werkzeug") { // see TestFlask
						t.Errorf("content: %d %.300q", status, body)
					}
				}
				for _, content := range []io.Reader{strings.NewReader("a=1&b=2"), chunked{strings.NewReader("a=1&b=2")}} {
					if status, _, body := s.fetch(c, "POST", "/form", formKind, content); status != 200 || body != "12" {
						t.Errorf("a form: %d %.300q", status, body)
					}
				}
				if status, _, body := s.fetch(c, "GET", "/file", "", nil); status != 200 || body != data {
					t.Errorf("a file: %d, %d bytes", status, len(body))
				}
			})
		})
	}
}

// PasteDeploy's files name applications too.
func TestPaste(t *testing.T) {
	t.Parallel()
	needs(t, "paste.deploy", "python3-pastedeploy")
	tcp, _ := startSite(t, `
def make(global_conf, text): 
    def app(env, sr):
        sr('200 OK', P); return [text.encode()]
    return app
`, setup{Options: wsgi.Options{App: "paste:production.ini"}, files: map[string]string{
		"production.ini": "[app:main]\npaste.app_factory = app:make\ntext = by paste\n"}})
	tcp.want("GET /", 200, "by paste")
}

// Headless Chromium logs into an application and uploads a file to it.
func TestChromium(t *testing.T) {
	t.Parallel()
	needs(t, "flask", "python3-flask")
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("needs chromium: apt-get install chromium")
	}
	if testing.Short() {
		t.Skip("a browser takes seconds to start")
	}
	tcp, _ := startSite(t, `
from flask import Flask, request, session, redirect
app = Flask(__name__)
app.secret_key = 'x'
@app.route('/')
def index():
    return '''<form method=post action=/login><input name=user value=ann></form>
<script>document.forms[0].submit()</script>'''
@app.route('/login', methods=['POST'])
def login(): session['user'] = request.form['user']; return redirect('/page')
@app.route('/page')
def page():
    return '''<form method=post action=/upload enctype=multipart/form-data><input type=file name=file></form><script>
const t = new DataTransfer(); t.items.add(new File(['x'.repeat(300000)], 'data.txt'));
const f = document.forms[0]; f.elements.file.files = t.files; f.submit()</script>'''
@app.route('/upload', methods=['POST'])
def upload(): return '<p id=end>%s: %s</p>' % (session['user'], hashlib.sha256(request.files['file'].read()).hexdigest())
`, setup{})
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, chromium, "--headless", "--no-sandbox", "--disable-gpu", "--user-data-dir="+t.TempDir(),
		"--virtual-time-budget=5000", "--dump-dom", "http://"+tcp.address+"/")
	var trouble bytes.Buffer
	cmd.Stderr = &trouble
	out, err := cmd.Output()
	want := fmt.Sprintf("ann: %x", sha256.Sum256(bytes.Repeat([]byte("x"), 300000)))
	if !regexp.MustCompile(want).Match(out) {
		t.Errorf("the page is %s, %v; want %s\n%.2000s", out, err, want, trouble.String())
	}
}
