// Package modtime tells times of change of files that depend on their content from those that do not.
package modtime

import (
	"os"
	"time"
)

// Of is when a file was changed; ok is false for a time before 1980-01-02, which does not change with the
// content. Reproducible builds give all files one time: Nix 1 s after 1970, Bazel 0, zip archives 1980-01-01
// in some time zone, the first day that zip can express; embedded files have none. A Last-Modified or an
// ETag of such a time would match for ever, also when the content has changed.
func Of(info os.FileInfo) (t time.Time, ok bool) {
	t = info.ModTime()
	return t, !t.Before(earliest)
}

var earliest = time.Date(1980, 1, 2, 0, 0, 0, 0, time.UTC)
