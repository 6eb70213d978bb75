package server

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync/atomic"
	"syscall"

	"github.com/valyala/bytebufferpool"

	"github.com/isbjorn/isbjorn/parser"
)

// content is what has come of a request's content: in memory up to the option
// BodyMemory, then all of it in a temporary file.
//
//	add ... add  settle    the runs of one read
//	add ... add  settle    of the next
//	bytes, or file         when it is complete
//	close                  when the response is finished, or there will be none
//
// Memory grows with the bytes that have come, whatever length was announced. The
// file is written on the loop: that fills the kernel's page cache, and blocks
// only when the kernel makes writers wait for a disk.
type receivedContent struct {
	memory *bytebufferpool.ByteBuffer // not in the file yet; nil if nothing is
	file   tempFile                   // nil while all fits in memory
	size   int64                      // of all that has come
	stored int64                      // of it in the file
	space  *tempSpace                 // that the file takes it from
}

// contentOptions is the part of config that content needs.
type contentOptions struct {
	memoryBytes int
	dir         string
	untried     bool // dir is the default, and may be needed
	space       *tempSpace
	open        func(dir string) (tempFile, error) // openTemp, but in tests
}

// tempSpace is the room that the temporary files of a server may take together.
type tempSpace struct {
	max  int64        // bytes; -1 for no bound
	used atomic.Int64 // bytes, taken before they are written
}

// take reports whether there is room for n bytes more, which are taken then.
func (t *tempSpace) reserve(n int) bool {
	if used := t.used.Add(int64(n)); t.max >= 0 && used > t.max {
		t.unreserve(int64(n))
		return false
	}
	return true
}

func (t *tempSpace) unreserve(n int64) { t.used.Add(-n) }

// tempFile is an *os.File without a name.
type tempFile interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
}

const (
	// gatherBytesMax is how much of one read is gathered for one write to the
	// file, and gatherRunBytesMax the longest run that is copied for it: the runs
	// of small chunks would be a call each.
	gatherBytesMax    = 64 << 10
	gatherRunBytesMax = 8 << 10

	// closeBytesMax is the largest file that is closed on the loop. The kernel
	// frees the pages of an unlinked file then: 16 MiB take it a millisecond or
	// two, 1 GiB would hold the other connections for a tenth of a second.
	closeBytesMax = 16 << 20
)

// check refuses what cannot work. A server that will never need a temporary file
// needs no directory for it, and one that has not chosen a directory may never need it.
func (o *contentOptions) check(bodyBytes int64) error {
	if o.memoryBytes < 0 || o.memoryBytes > memoryBytesMax {
		return fmt.Errorf("server: option BodyMemory is %d; use a number of bytes up to %d, or 0 to keep content in files only", o.memoryBytes, memoryBytesMax)
	}
	needed := bodyBytes < 0 || bodyBytes > int64(o.memoryBytes)
	if most := o.space.max; most != -1 && (most < 1 || needed && most < bodyBytes) {
		return fmt.Errorf("server: option TempBytes is %d; use at least BodyBytes (%d), so that every content that is taken fits, or -1 for no bound", most, bodyBytes)
	}
	if o.dir == "" {
		o.dir, o.untried = os.TempDir(), needed
		return nil
	}
	if !needed {
		return nil
	}
	if err := o.try(); err != nil {
		return fmt.Errorf("server: option TempDir is %q, where no temporary file can be made: %w; "+
			"use a directory that the server may write to, or BodyMemory of at least BodyBytes (%d) to keep all content in memory", o.dir, err, bodyBytes)
	}
	return nil
}

// try makes a temporary file.
func (o *contentOptions) try() error {
	file, err := o.open(o.dir)
	if err != nil {
		return err
	}
	return file.Close()
}

// add takes the next run. b is the caller's again when add returns. An error is
// that of the file.
func (c *receivedContent) add(b []byte, cfg *config) error {
	c.size += int64(len(b))
	if c.file == nil {
		if c.size <= int64(cfg.content.memoryBytes) {
			c.buffer(b, cfg.content.memoryBytes)
			return nil
		}
		file, err := cfg.content.open(cfg.content.dir)
		if err != nil {
			return err
		}
		c.file, c.space = file, cfg.content.space
	}
	if len(b) <= gatherRunBytesMax {
		if c.memory != nil && len(c.memory.B)+len(b) > gatherBytesMax {
			if err := c.flush(); err != nil {
				return err
			}
		}
		c.buffer(b, gatherBytesMax)
		return nil
	}
	if err := c.flush(); err != nil {
		return err
	}
	return c.write(b)
}

// keep appends b to what is in memory, which will not grow beyond most. The
// buffer doubles, as append does, but not beyond what the pool takes back.
func (c *receivedContent) buffer(b []byte, most int) {
	if len(b) == 0 {
		return
	}
	if c.memory == nil {
		c.memory = acquireBuffer(nil)
	}
	c.memory.B = append(withRoom(c.memory.B, len(b), most), b...)
}

// settle ends the runs of one read: content that has a file is in it now, and
// holds no memory until more comes.
func (c *receivedContent) flush() error {
	if c.file == nil || c.memory == nil {
		return nil
	}
	if err := c.write(c.memory.B); err != nil {
		return err
	}
	releaseBuffer(c.memory)
	c.memory = nil
	return nil
}

func (c *receivedContent) write(b []byte) error {
	if !c.space.reserve(len(b)) {
		return errTempBytes
	}
	_, err := c.file.WriteAt(b, c.stored)
	c.stored += int64(len(b))
	return err
}

// bytes is the content where it is in memory.
func (c *receivedContent) bytes() []byte {
	if c.memory == nil {
		return nil
	}
	return c.memory.B
}

// close takes the content back. Nobody may hold a view of it any more.
func (c *receivedContent) release() {
	if c.memory != nil {
		releaseBuffer(c.memory)
		c.memory = nil
	}
	if c.file != nil {
		if c.stored > closeBytesMax {
			go closeTemp(c.file, c.space, c.stored)
		} else {
			closeTemp(c.file, c.space, c.stored)
		}
		c.file = nil
	}
	c.size, c.stored = 0, 0
}

// release closes a file with n bytes, and gives them back when they are free.
func closeTemp(file tempFile, space *tempSpace, n int64) {
	_ = file.Close()
	space.unreserve(n)
}

// createTemp makes a temporary file as every system can: it has a name for a
// moment.
func createTemp(dir string) (tempFile, error) {
	file, err := os.CreateTemp(dir, "isbjorn-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(file.Name()); err != nil {
		_ = file.Close()
		return nil, err
	}
	return file, nil
}

// notKept logs why content could not be kept and returns the refusal. The cause
// is the operator's business; the client is told no more than that it was not
// its fault.
func (x *exchange) contentError(err error) error {
	h := x.sh
	bytes, remote := slog.Int64("bytes", x.received.size), slog.Any("remote", x.sock.RemoteAddr())
	if err == errTempBytes {
		h.tempSpaceLog.warn(h, "the temporary files are full, and an upload is refused: raise the option TempBytes, or lower BodyBytes or BodyTimeout",
			slog.Int64("TempBytes", h.cfg.content.space.max), bytes, remote)
		return err
	}
	h.tempDirLog.log(h, slog.LevelError, "the content of a request cannot be kept in the directory of the option TempDir",
		slog.String("TempDir", h.cfg.content.dir), slog.Any("error", err), bytes, remote)
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return errNoSpace
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return errNoFile
	}
	return errNotKept
}

// Content that cannot be kept. 507 is RFC 4918 section 11.5.
var (
	errTempBytes = &parser.Error{Status: 503, Why: "uploads have filled the option TempBytes"}

	errNoSpace = &parser.Error{Status: 507, Why: "there is no room for the content"}
	errNoFile  = &parser.Error{Status: 503, Why: "the server is out of descriptors"}
	errNotKept = &parser.Error{Status: 500, Why: "the content could not be kept"}
)
