// Upload stores the files of a form in a directory, and logs how far it has got.
//
//	go run ./examples/upload -dir /tmp/uploads
//	curl -F file=@README.md http://127.0.0.1:8080/
//
// A browser finds the form at the same address.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log"
	"log/slog"
	"os"
	"strings"
	"unicode"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/gateway/web"
	"github.com/isbjorn/isbjorn/server"
)

func main() {
	dir := flag.String("dir", "uploads", "directory that the files go to; made if it is not there")
	requestBytes := flag.Int64("bytes", 64<<20, "most bytes of one request, all of its files")
	parts := flag.Int("parts", 20, "most files and fields of one request")
	server.Flags()
	flag.Parse()
	app, err := newApp(*dir, *requestBytes, *parts)
	if err != nil {
		log.Fatal(err)
	}
	server.Main(app, server.Options{BodyBytes: *requestBytes, Dispatch: server.Pool}) // it waits for a disk
}

func newApp(dir string, requestBytes int64, parts int) (gateway.App, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("-dir: %w", err)
	}
	root, err := os.OpenRoot(dir) // nothing outside of it can be reached, by whatever name
	if err != nil {
		return nil, fmt.Errorf("-dir: %w", err)
	}
	o := web.DefaultOptions()
	o.FormBytes, o.FormParts = requestBytes, parts
	u := &uploads{root, slog.New(slog.NewTextHandler(os.Stdout, nil))}
	app, err := web.NewApp(u.serve, o)
	if err != nil {
		return nil, fmt.Errorf("-bytes or -parts: %w", err)
	}
	return app, nil
}

// uploads is the application.
type uploads struct {
	root *os.Root
	log  *slog.Logger
}

const page = `<!DOCTYPE html>
<title>Upload</title>
<form method="post" enctype="multipart/form-data">
<input type="file" name="file" multiple required> <button>Upload</button>
</form>
`

func (u *uploads) serve(r *web.Request) (*web.Response, error) {
	switch r.Method() {
	case "GET", "HEAD":
		return web.HTML(page), nil
	case "POST":
		return u.store(r)
	}
	return web.Error(405, "").Set("Allow", "GET, HEAD, POST"), nil
}

// stored is what the client is told of a file.
type stored struct {
	Name  string `json:"name"`
	Bytes int64  `json:"bytes"`
}

var errNoFile = &web.StatusError{Status: 400, Text: "the form has no file"}

// store keeps the files of a form; or none of them, if one cannot be kept.
func (u *uploads) store(r *web.Request) (_ *web.Response, err error) {
	var all []stored
	defer func() {
		if err != nil {
			for _, s := range all {
				err = errors.Join(err, u.root.Remove(s.Name))
			}
		}
	}()
	for part, err := range r.Parts() {
		if err != nil {
			return nil, err
		}
		if part.Name == "" {
			continue // no file
		}
		s, err := u.keep(part)
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	if len(all) == 0 {
		return nil, errNoFile
	}
	return web.JSON(all).Status(201), nil
}

// keep stores one file under a name that is free.
func (u *uploads) keep(part *web.Part) (stored, error) {
	name := safeName(part.Name)
	if name == "" {
		return stored{}, &web.StatusError{Status: 400, Text: "a file needs a name with letters or digits, of at most 200 bytes"}
	}
	f, err := u.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	switch {
	case errors.Is(err, fs.ErrExist):
		return stored{}, &web.StatusError{Status: 409, Text: "there is a file " + name}
	case err != nil:
		return stored{}, err
	}
	log := u.log.With("name", name)
	n, err := io.Copy(io.MultiWriter(f, &progress{log: log}), part)
	if err = errors.Join(err, f.Close()); err != nil {
		return stored{}, errors.Join(err, u.root.Remove(name))
	}
	log.Info("stored", "bytes", n)
	return stored{name, n}, nil
}

// progressBytes is how much is stored between two lines of the log.
const progressBytes = 1 << 20

// progress logs how many bytes were written to it.
type progress struct {
	log         *slog.Logger
	bytes, said int64
}

func (p *progress) Write(b []byte) (int, error) {
	if p.bytes += int64(len(b)); p.bytes-p.said >= progressBytes {
		p.said += progressBytes
		p.log.Info("storing", "bytes", p.bytes)
	}
	return len(b), nil
}

// nameBytesMax leaves room for suffixes: most file systems take 255 bytes.
const nameBytesMax = 200

// safeName is a name that is a plain file everywhere: letters, digits and "._-", not
// hidden and not like an option of a program. It is "" if there is none.
func safeName(name string) string {
	name = strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("._-", r) {
			return r
		}
		return '_'
	}, name)
	name = strings.Trim(name, "._-")
	if len(name) > nameBytesMax {
		return ""
	}
	return name
}
