package web

import (
	"fmt"
	"os"

	"github.com/isbjorn/isbjorn/gateway/forwarded"
)

// Options bound what a Request may cost, and say how it reads. They are read only:
// one value may serve every request.
type Options struct {
	// Fields is the most name=value pairs of a query, and of a urlencoded form.
	// Default 1000: more than any form has, and few enough that the maps of all
	// requests stay small. At most 10,000, since net/url reads no more. More: 400
	// for a query, 413 for a form.
	Fields int

	// FormBytes is the most content of a form, files and all, in bytes. Default
	// 32 MiB. It counts where the server's option BodyBytes, 1 MiB by default,
	// lets more in. More: 413.
	FormBytes int64

	// FormParts is the most parts of a multipart form. Default 1000, as Fields.
	// More: 413.
	FormParts int

	// FormValueBytes is what the values of one form take in memory, in bytes, with
	// the heads of its parts and some 400 bytes for each part. Default 1 MiB, which
	// is what the server lets in by default. More: 413.
	FormValueBytes int

	// FormMemoryBytes is what the files of one form take in memory, in bytes.
	// Default 1 MiB, which holds the attachments of most forms. A file that does
	// not fit goes to a temporary file, which counts in the server's option TempBytes
	// until the request ends. If that is used up: 503; if the disk is full: 507.
	FormMemoryBytes int

	// TempDir is the directory of temporary files. Default: "", that of the server's
	// option TempDir. A file has no name there: it is gone when it is closed, however
	// the program ends.
	TempDir string

	// JSONBytes is the most JSON content, in bytes. Default 1 MiB. Decoded
	// it may take ten times that. More: 413.
	JSONBytes int64

	// JSONKnownFields refuses objects with fields that the destination lacks, by
	// 400: for clients that shall notice a misspelled name. Default false: they
	// are ignored, so that new clients can talk to old servers.
	JSONKnownFields bool

	// Proxies are whose word about the client is taken. Default: nobody's.
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

// Check reports the first option that cannot work.
func (o *Options) Check() error {
	for _, limit := range []struct {
		name string
		n    int64
	}{
		{"Fields", int64(o.Fields)}, {"FormBytes", o.FormBytes}, {"FormParts", int64(o.FormParts)},
		{"FormValueBytes", int64(o.FormValueBytes)}, {"FormMemoryBytes", int64(o.FormMemoryBytes)}, {"JSONBytes", o.JSONBytes},
	} {
		if limit.n <= 0 {
			return fmt.Errorf("web: option %s is %d; use a positive number: begin with DefaultOptions and change what you need", limit.name, limit.n)
		}
	}
	if o.Fields > fieldsMax {
		return fmt.Errorf("web: option Fields is %d; use %d or less", o.Fields, fieldsMax)
	}
	if o.TempDir != "" { // else the server has looked
		f, err := os.CreateTemp(o.TempDir, "isbjorn-")
		if err != nil {
			return fmt.Errorf("web: option TempDir: %w; use a directory that can be written to, or \"\" for the server's", err)
		}
		_, _ = f.Close(), os.Remove(f.Name()) // nothing was written
	}
	if err := o.Proxies.Check(); err != nil {
		return fmt.Errorf("web: option Proxies: %w", err)
	}
	return nil
}
