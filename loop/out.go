package loop

import (
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/valyala/bytebufferpool"
	"golang.org/x/sys/unix"
)

const (
	// pieceBytesMax bounds a buffer of copied output, so that a long queue is
	// freed as it is sent and not only at its end.
	pieceBytesMax = 64 << 10

	// keepBytesMax is the largest buffer that goes back to the pool: one large
	// answer must not pin its memory for ever.
	keepBytesMax = 64 << 10

	// flushBytesMax is what one connection may send in a turn before the
	// others are served: a fast reader of a large file would own the loop.
	flushBytesMax = 1 << 20
)

// piece is a part of the output: bytes, or a range of a file.
type piece struct {
	b    []byte                     // what is left to send
	own  *bytebufferpool.ByteBuffer // holds b if it was copied
	file *os.File                   // else the range [off, off+n) of this
	off  int64
	n    int64
}

// outQueue is the output that a socket did not take at once, in order. A
// connection has one only while it has such output.
type outQueue struct {
	pieces []piece // pieces[first:] are left
	first  int
	bytes  int   // in memory
	files  int64 // bytes of file ranges
}

func (q *outQueue) empty() bool { return q == nil || q.first == len(q.pieces) }

// copyBytes appends a copy of b, to the last piece where there is room.
func (q *outQueue) copyBytes(b []byte) {
	q.bytes += len(b)
	if n := len(q.pieces); n > q.first {
		last := &q.pieces[n-1]
		if last.own != nil && len(last.own.B)+len(b) <= pieceBytesMax {
			sent := len(last.own.B) - len(last.b)
			last.own.B = append(last.own.B, b...)
			last.b = last.own.B[sent:]
			return
		}
	}
	for len(b) > 0 {
		n := min(len(b), pieceBytesMax)
		own := bytebufferpool.Get()
		own.B = append(own.B[:0], b[:n]...)
		q.pieces = append(q.pieces, piece{b: own.B, own: own})
		b = b[n:]
	}
}

func (q *outQueue) borrow(b []byte) {
	q.bytes += len(b)
	q.pieces = append(q.pieces, piece{b: b})
}

func (q *outQueue) fileRange(f *os.File, off, n int64) {
	q.files += n
	q.pieces = append(q.pieces, piece{file: f, off: off, n: n})
}

// flush sends what the socket takes, within a turn's share. It returns the
// bytes sent and the reason to stop: nil (empty, or the share is used up),
// errAgain, or the error that ends the connection.
func (q *outQueue) flush(fd int, vec *vector) (sent int64, err error) {
	for !q.empty() && sent < flushBytesMax {
		var n int
		p := &q.pieces[q.first]
		if p.file != nil {
			n, err = sendFile(fd, p, int(flushBytesMax-sent))
		} else {
			n, err = vec.writePieces(fd, q.pieces[q.first:])
		}
		if err != nil {
			return sent, err
		}
		sent += int64(n)
		q.advance(n)
	}
	return sent, nil
}

// sendFile sends up to most bytes of the range of p.
func sendFile(fd int, p *piece, most int) (int, error) {
	for {
		off := p.off
		n, err := unix.Sendfile(fd, int(p.file.Fd()), &off, int(min(p.n, int64(most))))
		switch {
		case n > 0 && (err == nil || err == errAgain || err == unix.EINTR): // BSD says that it was a part, and how much
			return n, nil
		case err == errAgain:
			return 0, err
		case err != unix.EINTR:
			return copyFile(fd, p, most)
		}
	}
}

// copyFile does by read and write what sendfile(2) could not: it cannot send every
// file, and does not say whether the file or the socket has failed. A file that
// ends before its range is an error: the peer was promised more.
func copyFile(fd int, p *piece, most int) (int, error) {
	buf := takeBuffer()
	defer giveBuffer(buf)
	buf.B = slices.Grow(buf.B[:0], pieceBytesMax)[:min(p.n, int64(most), pieceBytesMax)]
	n, err := p.file.ReadAt(buf.B, p.off)
	if n > 0 {
		return write(fd, buf.B[:n])
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return 0, fmt.Errorf("%w: %w", ErrFile, err)
}

// advance drops n sent bytes from the front.
func (q *outQueue) advance(n int) {
	for n > 0 {
		p := &q.pieces[q.first]
		if p.file != nil {
			p.off += int64(n)
			p.n -= int64(n)
			q.files -= int64(n)
			if p.n > 0 {
				return
			}
			n = 0
		} else {
			k := min(n, len(p.b))
			p.b = p.b[k:]
			q.bytes -= k
			n -= k
			if len(p.b) > 0 {
				return
			}
		}
		q.drop()
	}
}

// drop releases the first piece.
func (q *outQueue) drop() {
	p := &q.pieces[q.first]
	own := p.own
	*p = piece{}
	q.first++
	if q.empty() {
		q.pieces, q.first = q.pieces[:0], 0
	} else if q.first > 32 && q.first > len(q.pieces)/2 {
		n := copy(q.pieces, q.pieces[q.first:])
		clear(q.pieces[n:])
		q.pieces, q.first = q.pieces[:n], 0
	}
	giveBuffer(own)
}

// discard releases everything unsent. bytes and files still say how much it was.
func (q *outQueue) discard() {
	for !q.empty() {
		q.drop()
	}
}

// acquireBuffer returns an empty buffer from the pool.
func takeBuffer() *bytebufferpool.ByteBuffer { return bytebufferpool.Get() }

// releaseBuffer returns b to the pool unless it is large. Nobody may hold a slice
// of it.
func giveBuffer(b *bytebufferpool.ByteBuffer) {
	if b != nil && cap(b.B) <= keepBytesMax {
		bytebufferpool.Put(b)
	}
}
