// Package spool keeps the content of requests: in memory up to a limit, then all of it in a temporary
// file. The files of a server share one account of bytes.
package spool

import (
	"errors"
	"io"
	"os"
	"sync/atomic"

	"github.com/valyala/bytebufferpool"

	"github.com/isbjorn/isbjorn/server/internal/buffers"
)

// Options are those of a server.
type Options struct {
	MemoryBytes int    // content above it is in a file
	Dir         string // of the files
	Space       *Space // that the files take together
	Open        func(dir string) (File, error)
}

// Try makes a temporary file.
func (o *Options) Try() error {
	file, err := o.Open(o.Dir)
	if err != nil {
		return err
	}
	return file.Close()
}

// Space is the account of the temporary files of a server. Any goroutine may use it.
type Space struct {
	Max  int64 // bytes; -1 for no bound
	used atomic.Int64
}

// ErrSpace says that Space has no room.
var ErrSpace = errors.New("spool: the temporary files are full")

// Used is how many bytes are reserved.
func (s *Space) Used() int64 { return s.used.Load() }

// reserve takes n bytes, before they are written. It reports false if there is no room for them.
func (s *Space) reserve(n int) bool {
	if used := s.used.Add(int64(n)); s.Max >= 0 && used > s.Max {
		s.unreserve(int64(n))
		return false
	}
	return true
}

func (s *Space) unreserve(n int64) { s.used.Add(-n) }

// File is an *os.File without a name.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
}

const (
	// gatherBytesMax is how much of one read is gathered for one write to the file, and
	// gatherRunBytesMax the longest run that is copied for it: each of the runs of small chunks would
	// be a system call.
	gatherBytesMax    = 64 << 10
	gatherRunBytesMax = 8 << 10

	// closeBytesMax is the largest file that is closed on the loop. The kernel frees the pages of an
	// unlinked file then: 16 MiB take a millisecond or two, 1 GiB a tenth of a second.
	closeBytesMax = 16 << 20
)

// Content is what has come of a request's content. The zero value is empty.
//
//	Add ... Add  Flush    the runs of one read
//	Add ... Add  Flush    of the next
//	Bytes, or File        when it is complete
//	Release               when the response is finished, or there will be none
//
// Memory grows with the bytes that have come, whatever length was announced. The file is written on
// the loop: that fills the kernel's page cache, and blocks only where the kernel makes writers wait
// for a disk.
type Content struct {
	memory *bytebufferpool.ByteBuffer // not in the file yet; nil if nothing is
	file   File                       // nil while all fits in memory
	size   int64                      // of all that has come
	stored int64                      // of it in the file
	space  *Space                     // of the file
}

// Size is the number of bytes that have come.
func (c *Content) Size() int64 { return c.size }

// File is the file that has all content, or nil: then Bytes has it.
func (c *Content) File() File { return c.file }

// Bytes is the content where it is in memory, valid until Release.
func (c *Content) Bytes() []byte {
	if c.memory == nil {
		return nil
	}
	return c.memory.B
}

// Empty reports whether there is nothing to Release.
func (c *Content) Empty() bool { return c.memory == nil && c.file == nil }

// Add takes the next run. b is the caller's again when Add returns. The error is that of the file, or
// ErrSpace.
func (c *Content) Add(b []byte, o *Options) error {
	c.size += int64(len(b))
	if c.file == nil {
		if c.size <= int64(o.MemoryBytes) {
			c.buffer(b, o.MemoryBytes)
			return nil
		}
		file, err := o.Open(o.Dir)
		if err != nil {
			return err
		}
		c.file, c.space = file, o.Space
	}
	if len(b) <= gatherRunBytesMax {
		if c.memory != nil && len(c.memory.B)+len(b) > gatherBytesMax {
			if err := c.Flush(); err != nil {
				return err
			}
		}
		c.buffer(b, gatherBytesMax)
		return nil
	}
	if err := c.Flush(); err != nil {
		return err
	}
	return c.write(b)
}

// buffer appends b to what is in memory, which does not grow beyond limit.
func (c *Content) buffer(b []byte, limit int) {
	if len(b) == 0 {
		return
	}
	if c.memory == nil {
		c.memory = buffers.Get(nil)
	}
	c.memory.B = append(buffers.Grow(c.memory.B, len(b), limit), b...)
}

// Flush ends the runs of one read: content that has a file is in it now, and holds no memory until
// more comes.
func (c *Content) Flush() error {
	if c.file == nil || c.memory == nil {
		return nil
	}
	if err := c.write(c.memory.B); err != nil {
		return err
	}
	buffers.Put(c.memory)
	c.memory = nil
	return nil
}

func (c *Content) write(b []byte) error {
	if !c.space.reserve(len(b)) {
		return ErrSpace
	}
	_, err := c.file.WriteAt(b, c.stored)
	c.stored += int64(len(b))
	return err
}

// Release closes the file and gives memory and space back. No view of the content may be left.
func (c *Content) Release() {
	if c.memory != nil {
		buffers.Put(c.memory)
		c.memory = nil
	}
	if c.file != nil {
		if c.stored > closeBytesMax {
			go closeFile(c.file, c.space, c.stored)
		} else {
			closeFile(c.file, c.space, c.stored)
		}
		c.file = nil
	}
	c.size, c.stored = 0, 0
}

// closeFile closes a file with n bytes, and then gives them back.
func closeFile(file File, space *Space, n int64) {
	_ = file.Close()
	space.unreserve(n)
}

// Create makes a temporary file as every system can: it has a name for a moment.
func Create(dir string) (File, error) {
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
