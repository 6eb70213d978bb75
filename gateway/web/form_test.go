package web_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/gateway/gatewaytest"
	"github.com/isbjorn/isbjorn/gateway/web"
	"github.com/isbjorn/isbjorn/parser"
)

// begin binds env to raw; overwrite does what a server does when the response is finished.
func begin(t *testing.T, env *gateway.ServerEnviron, raw string) (overwrite func()) {
	t.Helper()
	b, req, limits := []byte(raw), new(parser.Request), parser.DefaultLimits()
	n, err := req.Parse(b, &limits)
	if err != nil || n == 0 {
		t.Fatal(n, err)
	}
	env.Begin(req, b[:n], b[n:], &gateway.ServerInfo{Scheme: "http"}, gateway.NoConn{})
	return func() {
		env.End()
		copy(b, bytes.Repeat([]byte("#"), len(b)))
	}
}

// part is one of a form: a value, or a file if it has a name.
type part struct{ field, name, content string }

// form is a request with parts.
func form(t testing.TB, parts ...part) gatewaytest.Request {
	t.Helper()
	var b strings.Builder
	w := multipart.NewWriter(&b)
	for _, p := range parts {
		create := func() (io.Writer, error) { return w.CreateFormField(p.field) }
		if p.name != "" {
			create = func() (io.Writer, error) { return w.CreateFormFile(p.field, p.name) }
		}
		to, err := create()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(to, p.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return gatewaytest.Request{Method: "POST", Header: header("Content-Type", w.FormDataContentType()), Body: b.String()}
}

func pairs(content string) gatewaytest.Request {
	return gatewaytest.Request{Method: "POST", Header: header("Content-Type", "application/x-www-form-urlencoded"), Body: content}
}

func TestPairs(t *testing.T) {
	o := web.DefaultOptions()
	o.Fields, o.FormBytes, o.FormValueBytes = 3, 20, 10
	for _, tt := range []struct {
		req    gatewaytest.Request
		status int
		want   map[string][]string
	}{
		{pairs("a=%20&b&a"), 0, map[string][]string{"a": {" ", ""}, "b": {""}}},
		{pairs(""), 0, map[string][]string{}},
		{pairs("a&b&c&d"), 413, nil},
		{pairs("a=" + strings.Repeat("x", 8)), 0, map[string][]string{"a": {"xxxxxxxx"}}},
		{pairs("a=" + strings.Repeat("x", 9)), 413, nil},
		{pairs("a=" + strings.Repeat("x", 19)), 413, nil},
		{pairs("a=%zz"), 400, nil},
		{gatewaytest.Request{Body: "a=b"}, 415, nil},
		{gatewaytest.Request{Body: "a=b", Header: header("Content-Type", "text/plain")}, 415, nil},
		{gatewaytest.Request{Body: "a=b", Header: header("Content-Type", "multipart/mixed; boundary=b")}, 415, nil},
	} {
		with(t, &o, tt.req, func(r *web.Request) {
			form, err := r.Form()
			if status(err) != tt.status || (form == nil) != (err != nil) || form != nil && !reflect.DeepEqual(map[string][]string(form.Values), tt.want) {
				t.Errorf("%+v: %v, %v", tt.req, form, err)
			}
			if again, err2 := r.Form(); again != form || err2 != err {
				t.Errorf("%+v: again %v, %v", tt.req, again, err2)
			}
		})
	}
}

// text reads an upload.
func text(t testing.TB, u *web.Upload) string {
	t.Helper()
	b, err := io.ReadAll(u.Open())
	if err != nil || int64(len(b)) != u.Size {
		t.Errorf("%s: %d bytes of %d, %v", u.Name, len(b), u.Size, err)
	}
	return string(b)
}

// Files in memory, in the temporary file, and partly in both, read the same.
func TestParts(t *testing.T) {
	large, huge := strings.Repeat("0123456789", 100), strings.Repeat("abcdefghij", 10_000)
	for _, memory := range []int{1 << 20, 2000, 1004, 1} {
		dir := t.TempDir()
		o := web.DefaultOptions()
		o.FormMemoryBytes, o.TempDir = memory, dir
		with(t, &o, form(t,
			part{"v", "", "value"}, part{"f", "a.txt", "small"}, part{"f", `..\dir/../b.txt`, large}, part{"v", "", ""},
			part{"g", "../../c", huge}, part{"empty", "empty", ""},
		), func(r *web.Request) {
			form, err := r.Form()
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(map[string][]string(form.Values), map[string][]string{"v": {"value", ""}}) || len(form.Files) != 3 {
				t.Errorf("%v", form)
			}
			for range 2 {
				for _, f := range []struct {
					u             *web.Upload
					name, content string
				}{
					{form.Files["f"][0], "a.txt", "small"}, {form.Files["f"][1], "b.txt", large}, {form.Files["g"][0], "c", huge}, {form.Files["empty"][0], "empty", ""},
				} {
					if f.u.Name != f.name || f.u.Type != "application/octet-stream" || text(t, f.u) != f.content {
						t.Errorf("memory of %d bytes: %+v, want %q, %.100q", memory, f.u, f.name, f.content)
					}
				}
			}
			if names, err := os.ReadDir(dir); err != nil || len(names) != 0 {
				t.Errorf("left in TempDir: %v, %v", names, err)
			}
			if got, want := files(), 0; memory > 1<<19 && got != want {
				t.Errorf("%d temporary files for a form that fits into memory", got)
			}
		})
	}
}

// files is how many temporary files of forms this process has open, where the
// system tells; else 0.
func files() (n int) {
	list, _ := os.ReadDir("/proc/self/fd")
	for _, fd := range list {
		if to, _ := os.Readlink("/proc/self/fd/" + fd.Name()); strings.Contains(to, "/isbjorn-") {
			n++
		}
	}
	return n
}

func TestFormLimits(t *testing.T) {
	o := web.DefaultOptions()
	o.FormParts, o.FormBytes, o.FormValueBytes, o.FormMemoryBytes = 3, 10_000, 2000, 2000
	o.TempDir = t.TempDir()
	long := strings.Repeat("x", 3000)
	raw := func(boundary, content string) gatewaytest.Request {
		return gatewaytest.Request{Method: "POST", Header: header("Content-Type", "multipart/form-data; boundary="+boundary), Body: content}
	}
	const named = "--b\r\nContent-Disposition: form-data; name=a\r\n\r\n"
	for name, tt := range map[string]struct {
		req    gatewaytest.Request
		status int
	}{
		"as many parts":       {form(t, part{"a", "", ""}, part{"a", "", ""}, part{"a", "", ""}), 0},
		"one part more":       {form(t, part{"a", "", ""}, part{"a", "", ""}, part{"a", "", ""}, part{"a", "", ""}), 413},
		"content":             {form(t, part{"a", "n", strings.Repeat(long, 4)}), 413},
		"a large file":        {form(t, part{"a", "n", long}), 0},
		"a large value":       {form(t, part{"a", "", long}), 413},
		"values":              {form(t, part{"a", "", long[:1000]}, part{"a", "", long[:1000]}), 413},
		"a long field":        {form(t, part{long, "", ""}), 413},
		"a long name":         {form(t, part{"f", long, ""}), 413},
		"no name":             {raw("b", "--b\r\n\r\nx\r\n--b--\r\n"), 400},
		"name of nothing":     {form(t, part{"", "", "x"}), 400},
		"no boundary":         {gatewaytest.Request{Header: header("Content-Type", "multipart/form-data"), Body: "x"}, 400},
		"longest boundary":    {raw(strings.Repeat("b", 70), "--"+strings.Repeat("b", 70)+"--"), 0},
		"a longer boundary":   {raw(strings.Repeat("b", 71), "--"+strings.Repeat("b", 71)+"--"), 400},
		"nothing":             {raw("b", ""), 400},
		"garbage":             {raw("b", "x"), 400},
		"no parts":            {raw("b", "--b--\r\n"), 0},
		"cut in a head":       {raw("b", named[:20]), 400},
		"cut in a value":      {raw("b", named+"x"), 400},
		"cut in a large file": {raw("b", "--b\r\nContent-Disposition: form-data; name=a; filename=f\r\n\r\n"+long), 400},
		"a bad head":          {raw("b", "--b\r\n: x\r\n\r\n\r\n--b--\r\n"), 400},
	} {
		with(t, &o, tt.req, func(r *web.Request) {
			if form, err := r.Form(); status(err) != tt.status || (form == nil) != (err != nil) {
				t.Errorf("%s: %v, %v", name, form, err)
			}
		})
		if strings.HasPrefix(tt.req.Header[0].Value, "multipart/form-data") && tt.status == 400 {
			with(t, &o, tt.req, func(r *web.Request) {
				if _, err := walk(r); status(err) != 400 {
					t.Errorf("%s: Parts: %v", name, err)
				}
			})
		}
	}
}

// walk reads a form part by part.
func walk(r *web.Request) (got string, err error) {
	for part, err := range r.Parts() {
		if err != nil {
			return got, err
		}
		b, err := io.ReadAll(part)
		if err != nil {
			return got, err
		}
		got += fmt.Sprintf("%s %s %s;", part.Field, part.Name, b)
	}
	return got, nil
}

func TestPartsOneByOne(t *testing.T) {
	req := form(t, part{"a", "", "value"}, part{"b", "../c", "file"})
	with(t, nil, req, func(r *web.Request) {
		if got, err := walk(r); err != nil || got != "a  value;b c file;" {
			t.Errorf("%q, %v", got, err)
		}
	})
	with(t, nil, req, func(r *web.Request) {
		for part := range r.Parts() {
			if part.Field != "a" {
				t.Errorf("%+v after a break", part)
			}
			break
		}
	})
	with(t, nil, pairs("a=b"), func(r *web.Request) {
		if _, err := walk(r); status(err) != 415 {
			t.Errorf("pairs: %v", err)
		}
	})
	few := web.DefaultOptions()
	few.FormParts = 1
	with(t, &few, req, func(r *web.Request) {
		if got, err := walk(r); status(err) != 413 || got != "a  value;" {
			t.Errorf("%q, %v", got, err)
		}
	})
}

// The temporary file is closed at the end of the request, whatever the application does, or by Close.
func TestFilesEndWithTheRequest(t *testing.T) {
	o := web.DefaultOptions()
	o.FormMemoryBytes, o.TempDir = 1000, t.TempDir()
	req := form(t, part{"f", "name", strings.Repeat("x", 2000)})
	read := func(r *web.Request) *web.Upload {
		form, err := r.Form()
		if err != nil {
			t.Fatal(err)
		}
		if text(t, form.Files["f"][0]) != strings.Repeat("x", 2000) {
			t.Error("another content")
		}
		return form.Files["f"][0]
	}
	for name, f := range map[string]func(*web.Request) (*web.Response, error){
		"return": func(*web.Request) (*web.Response, error) { return web.Text(""), nil },
		"error":  func(*web.Request) (*web.Response, error) { return nil, io.ErrNoProgress },
		"panic":  func(*web.Request) (*web.Response, error) { panic("of the test") },
		"close":  func(r *web.Request) (*web.Response, error) { return web.Text(""), errors.Join(r.Close(), r.Close()) },
	} {
		var upload *web.Upload
		app, err := web.NewApp(func(r *web.Request) (*web.Response, error) {
			upload = read(r)
			return f(r)
		}, o)
		if err != nil {
			t.Fatal(err)
		}
		func() {
			defer func() { _ = recover() }()
			gatewaytest.Call(app, req)
		}()
		closed := func() bool { _, err := upload.Open().Read(make([]byte, 1)); return errors.Is(err, os.ErrClosed) }
		for deadline := time.Now().Add(10 * time.Second); !closed() && time.Now().Before(deadline); {
			time.Sleep(time.Millisecond)
		}
		if !closed() {
			t.Errorf("%s: the file is still open", name)
		}
	}

	var kept *web.Request
	with(t, &o, req, func(r *web.Request) {
		upload := read(r)
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if _, err := upload.Open().Read(make([]byte, 1)); !errors.Is(err, os.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
		kept = r
	})
	if err := kept.Close(); err != nil {
		t.Errorf("Close after the end: %v", err)
	}
}

// A file exists until the response is finished.
func TestUploadAsResponse(t *testing.T) {
	o := web.DefaultOptions()
	o.FormMemoryBytes, o.TempDir = 1000, t.TempDir()
	content := strings.Repeat("0123456789", 30_000)
	app, err := web.NewApp(func(r *web.Request) (*web.Response, error) {
		form, err := r.Form()
		if err != nil {
			return nil, err
		}
		return web.Stream("", gateway.Reader(form.Files["f"][0].Open())), nil
	}, o)
	if err != nil {
		t.Fatal(err)
	}
	if got := gatewaytest.Call(app, form(t, part{"f", "name", content})); got.Err != nil || got.Text() != content {
		t.Errorf("%v, %d bytes", got.Err, len(got.Text()))
	}
}

func TestNoTempDir(t *testing.T) {
	o := web.DefaultOptions()
	o.FormMemoryBytes, o.TempDir = 1000, t.TempDir()+"/none"
	with(t, &o, form(t, part{"f", "name", strings.Repeat("x", 2000)}), func(r *web.Request) {
		if _, err := r.Form(); status(err) != -1 || !strings.Contains(err.Error(), "TempDir") {
			t.Errorf("%v", err)
		}
	})
}

// Invariant: a form is read completely or is an error of 400 or 413; Form has what Parts yields, and no more than was
// sent.
func FuzzForm(f *testing.F) {
	for _, s := range []string{
		"", "--b--", "--b\r\n\r\n\r\n--b--", "--b\r\nContent-Disposition: form-data; name=a\r\n\r\nx\r\n--b--",
		"--b\r\nContent-Disposition: form-data; name=a; filename=\"../..\"\r\nContent-Type: a/b\r\n\r\n" + strings.Repeat("x", 2000) + "\r\n--b--",
		"--b\nContent-Disposition: form-data; name=\"\\\"\"\n\nx\n--b--",
	} {
		f.Add(s)
	}
	o := web.DefaultOptions()
	o.FormValueBytes, o.FormMemoryBytes, o.FormParts, o.TempDir = 5000, 1500, 10, f.TempDir()
	f.Fuzz(func(t *testing.T, content string) {
		req := gatewaytest.Request{Method: "POST", Header: header("Content-Type", "multipart/form-data; boundary=b"), Body: content}
		with(t, &o, req, func(r *web.Request) {
			form, err := r.Form()
			if s := status(err); s != 0 && s != 400 && s != 413 {
				t.Fatalf("%q: %v", content, err)
			}
			if err != nil {
				return
			}
			defer r.Close()
			count, size := 0, 0
			for _, values := range form.Values {
				for _, v := range values {
					count, size = count+1, size+len(v)
				}
			}
			for _, uploads := range form.Files {
				for _, u := range uploads {
					count, size = count+1, size+len(text(t, u))
				}
			}
			if count > o.FormParts || size > len(content) {
				t.Errorf("%q: %d parts of %d bytes", content, count, size)
			}
			with(t, &o, req, func(r *web.Request) {
				for part, err := range r.Parts() {
					b, err2 := io.ReadAll(part)
					if err != nil || err2 != nil {
						t.Fatalf("%q: Parts: %v, %v", content, err, err2)
					}
					count, size = count-1, size-len(b)
				}
				if count != 0 || size != 0 {
					t.Errorf("%q: Form has %d parts and %d bytes more than Parts", content, count, size)
				}
			})
		})
	})
}
