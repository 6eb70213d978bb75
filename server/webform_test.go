package server

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"strings"
	"syscall"
	"testing"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/gateway/web"
	"github.com/isbjorn/isbjorn/internal/testrun"
)

// formOf is a POST of a multipart form with a file of n bytes.
func formOf(t testing.TB, n int) string {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	to, err := w.CreateFormFile("f", "name")
	if err == nil {
		_, err = io.WriteString(to, pattern(n))
	}
	if err != nil || w.Close() != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("POST / HTTP/1.1\r\nHost: h\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", w.FormDataContentType(), b.Len(), b.String())
}

// formApp answers with the file of a form. It says when that is read, and answers when goOn
// lets it.
func formApp(t testing.TB, read chan<- struct{}, goOn <-chan struct{}) gateway.App {
	t.Helper()
	app, err := web.NewApp(func(r *web.Request) (*web.Response, error) {
		form, err := r.Form()
		if err != nil {
			return nil, err
		}
		b, err := io.ReadAll(form.Files["f"][0].Open())
		read <- struct{}{}
		<-goOn
		return web.Bytes("", b), err
	}, web.DefaultOptions())
	if err != nil {
		t.Fatal(err)
	}
	return app
}

// The files of forms count in TempBytes, with the content itself where that is in a file:
// what does not fit is 503, and when a request has ended its room is there again.
func TestFormsCountInTempBytes(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "writes megabytes")
	const most, size = 4 << 20, 1_500_000
	inEachDispatch(t, "form", func(t *testing.T, where DispatchMode) {
		read, goOn := make(chan struct{}, 10), make(chan struct{})
		s := startOn(where, t, formApp(t, read, goOn), Options{TempDir: t.TempDir(), TempBytes: most, BodyBytes: most})
		used := s.config.content.Space.Used
		var held []*client
		fit := 1 // on the loop content is in a file before its form is in another
		if s.config.dispatch == Pool {
			fit = 2 // content that streams is in none
		}
		for len(held) < fit {
			c := s.dial()
			c.send(formOf(t, size))
			<-read
			held = append(held, c)
		}
		if n := used(); n < 2*size || n > most {
			t.Errorf("%d bytes are used, of %d", n, most)
		}
		if s.config.dispatch != Inline { // there a loop waits
			c := s.dial()
			go func() { _, _ = io.WriteString(c, formOf(t, size)) }()
			if resp, text := c.read("POST"); resp.StatusCode != 503 {
				t.Errorf("one too many: %d %q, want 503", resp.StatusCode, text)
			}
		}
		close(goOn)
		for _, c := range held {
			c.want("POST", 200, pattern(size))
		}
		eventually(t, "the room is there again", func() bool { return used() == 0 })
		last := s.dial()
		last.send(formOf(t, size))
		last.want("POST", 200, pattern(size))
		eventually(t, "and again", func() bool { return used() == 0 })
	})
}

// A file of a form that cannot be kept is answered as content that cannot be kept.
func TestFormCannotBeKept(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "waits for timers")
	read, goOn := make(chan struct{}, 100), make(chan struct{})
	close(goOn)
	for _, tt := range []struct {
		name   string
		files  *files
		status int
	}{
		{"disk full", &files{writeErr: syscall.ENOSPC, failAt: 1_200_000}, 507},
		{"quota", &files{writeErr: syscall.EDQUOT}, 507},
		{"disk broken", &files{writeErr: syscall.EIO}, 500},
		{"no room for a file", &files{openErr: syscall.ENOSPC}, 507},
		{"no descriptor", &files{openErr: syscall.EMFILE}, 503},
		{"directory gone", &files{openErr: syscall.ENOENT}, 500},
	} {
		inEachDispatch(t, tt.name, func(t *testing.T, where DispatchMode) {
			f := &files{openErr: tt.files.openErr, writeErr: tt.files.writeErr, failAt: tt.files.failAt}
			s := startFiles(t, f, formApp(t, read, goOn), Options{BodyBytes: 4 << 20, BodyMemory: 4 << 20, tune: func(c *config) { c.dispatch, c.content.Open = where, f.open }})
			c := s.dial()
			go func() { _, _ = io.WriteString(c, formOf(t, 1_500_000)) }()
			resp, text := c.read("POST")
			if resp.StatusCode != tt.status || strings.Contains(text, "TempDir") {
				t.Errorf("answered %d %q, want %d", resp.StatusCode, text, tt.status)
			}
			cause := errors.Join(f.openErr, f.writeErr)
			eventually(t, "the log says why", func() bool {
				return strings.Contains(s.log.String(), cause.Error()) && strings.Contains(s.log.String(), "TempDir")
			})
			eventually(t, "the room is there again", func() bool { return s.config.content.Space.Used() == 0 })
		})
	}
}
