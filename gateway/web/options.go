package web

import (
	"fmt"
	"os"

	"github.com/isbjorn/isbjorn/gateway/forwarded"
)

// Options limit what a Request may cost, and say how it parses. They are only read: one value may be
// that of every request.
type Options struct {
	// Fields is the most name=value pairs of a query, and of a urlencoded form. Default 1000: more than
	// forms have, and few enough that the maps of all requests stay small. At most 10,000, which is the
	// limit of net/url. More: 400 for a query, 413 for a form.
	Fields int

	// FormBytes is the most content of a form, with its files, in bytes. Default 32 MiB. It applies
	// where the option BodyBytes of the server, 1 MiB by default, allows more. More: 413.
	FormBytes int64

	// FormParts is the most parts of a multipart form. Default 1000, as Fields. More: 413.
	FormParts int

	// FormValueBytes is the most memory for the values of one form, in bytes, with the heads of its
	// parts and 400 bytes for each part. Default 1 MiB, as BodyBytes of the server. More: 413.
	FormValueBytes int

	// FormMemoryBytes is the most memory for the files of one form, in bytes. Default 1 MiB, enough for
	// the attachments of most forms. A file that does not fit goes to a temporary file, which counts in
	// the option TempBytes of the server until the request ends. If that is used up: 503; if the disk is
	// full: 507.
	FormMemoryBytes int

	// TempDir is the directory of temporary files. Default: "", that of the option TempDir of the
	// server. The files have no name: the kernel frees them however the program ends.
	TempDir string

	// JSONBytes is the most JSON content, in bytes. Default 1 MiB. Decoded it may take ten times as much
	// memory. More: 413.
	JSONBytes int64

	// JSONKnownFields answers 400 to objects with fields that the destination lacks, so that the author
	// of a client notices a misspelled name. Default false: they are ignored, so that a new client can
	// use an old server.
	JSONKnownFields bool

	// Proxies are the proxies whose fields describe the client. Default: none.
	Proxies forwarded.Proxies
}

// DefaultOptions returns the options described at the fields of Options.
func DefaultOptions() Options {
	return Options{
		Fields:          1000,
		FormBytes:       32 << 20,
		FormParts:       1000,
		FormValueBytes:  1 << 20,
		FormMemoryBytes: 1 << 20,
		JSONBytes:       1 << 20,
	}
}

// fieldsMax is the limit of url.ParseQuery.
const fieldsMax = 10_000

var defaults = DefaultOptions()

// Check returns an error for the first invalid option, or nil.
func (o *Options) Check() error {
	for _, limit := range []struct {
		name string
		n    int64
	}{
		{"Fields", int64(o.Fields)}, {"FormBytes", o.FormBytes}, {"FormParts", int64(o.FormParts)},
		{"FormValueBytes", int64(o.FormValueBytes)}, {"FormMemoryBytes", int64(o.FormMemoryBytes)},
		{"JSONBytes", o.JSONBytes},
	} {
		if limit.n <= 0 {
			return fmt.Errorf("web: option %s is %d; use a positive number: "+
				"begin with DefaultOptions and change what you need", limit.name, limit.n)
		}
	}
	if o.Fields > fieldsMax {
		return fmt.Errorf("web: option Fields is %d; use %d or less", o.Fields, fieldsMax)
	}
	if o.TempDir != "" { // "" is that of the server, which has checked it
		f, err := os.CreateTemp(o.TempDir, "isbjorn-")
		if err != nil {
			return fmt.Errorf("web: option TempDir: %w; use a directory that can be written to, "+
				"or \"\" for the server's", err)
		}
		_, _ = f.Close(), os.Remove(f.Name()) // nothing was written
	}
	if err := o.Proxies.Check(); err != nil {
		return fmt.Errorf("web: option Proxies: %w", err)
	}
	return nil
}
