package server

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"syscall"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/parser"
	"github.com/isbjorn/isbjorn/server/internal/spool"
)

// checkContent refuses options for content that cannot work. TempDir is tried here if it was set and a
// temporary file may be needed. The default directory is tried in New, with a warning if it does not work:
// that server may never receive so much content.
func (c *config) checkContent() error {
	o, bodyBytes := &c.content, c.limits.BodyBytes
	if o.MemoryBytes < 0 || o.MemoryBytes > memoryBytesMax {
		return fmt.Errorf("server: option BodyMemory is %d; use a number of bytes up to %d, or -1 to keep content in files only", o.MemoryBytes, memoryBytesMax)
	}
	needed := bodyBytes < 0 || bodyBytes > int64(o.MemoryBytes) // a temporary file may be
	if most := o.Space.Max; most != -1 && (most < 1 || needed && most < bodyBytes) {
		return fmt.Errorf("server: option TempBytes is %d; use at least BodyBytes (%d), so that any accepted content fits, or -1 for no bound", most, bodyBytes)
	}
	if o.Dir == "" {
		o.Dir, c.tempDirUntried = os.TempDir(), needed
		return nil
	}
	if !needed {
		return nil
	}
	if err := o.Try(); err != nil {
		return fmt.Errorf("server: option TempDir is %q, where no temporary file can be made: %w; "+
			"use a directory that the server may write to, or BodyMemory of at least BodyBytes (%d) to keep all content in memory", o.Dir, err, bodyBytes)
	}
	return nil
}

// contentError logs why content could not be kept, and returns the refusal. The log has the cause and the
// directory; the client gets only a status, 5xx.
func (x *exchange) contentError(err error) error {
	sh := x.sh
	bytes, remote := slog.Int64("bytes", x.in.content.Size()), slog.Any("remote", x.sock.RemoteAddr())
	if err == spool.ErrSpace {
		sh.tempSpaceLog.warn(sh, "the temporary files are full, and an upload is refused: raise the option TempBytes, or lower BodyBytes or BodyTimeout",
			slog.Int64("TempBytes", sh.cfg.content.Space.Max), bytes, remote)
		return errTempBytes
	}
	sh.tempDirLog.log(sh, slog.LevelError, "the content of a request cannot be kept in the directory of the option TempDir",
		slog.String("TempDir", sh.cfg.content.Dir), slog.Any("error", err), bytes, remote)
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return errNoSpace
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return errNoFile
	}
	return errNotKept
}

// Refusals of content that cannot be kept. 507 is RFC 4918 section 11.5.
var (
	errTempBytes = &parser.Error{Status: 503, Why: "uploads have filled the option TempBytes"}

	errNoSpace = &parser.Error{Status: 507, Why: "there is no room for the content"}
	errNoFile  = &parser.Error{Status: 503, Why: "the server is out of descriptors"}
	errNotKept = &parser.Error{Status: 500, Why: "the content could not be kept"}
)

// openTempFile makes a temporary file for an application, in dir or in the option TempDir if dir is empty.
func (c *config) openTempFile(dir string) (gateway.TempFile, error) {
	f, err := c.content.OpenForApp(dir, gateway.ErrTempSpace)
	if err != nil {
		return nil, err
	}
	return f, nil
}
