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

	// pooledBytesMax is the largest buffer that goes back to the pool: one large
	// answer must not keep its memory in the pool.
	pooledBytesMax = 64 << 10

	// flushBytesMax is what one connection may send in a turn. Without it a peer
	// that reads a large file as fast as we send would keep the loop to itself.
	flushBytesMax = 1 << 20
)

// piece is a part of the output: bytes, or a range of a file.
type piece struct {
	b    []byte                     // unsent bytes
	buf  *bytebufferpool.ByteBuffer // holds b if it was copied
	file *os.File                   // else the range [off, off+n) of this
	off  int64
	n    int64
}

// outQueue is the output that the socket did not take at once, in order. A connection has
// one only while it has such output.
type outQueue struct {
	pieces []piece // pieces[first:] are unsent
	first  int
	bytes  int   // unsent bytes in memory
	files  int64 // unsent bytes of file ranges
}

func (q *outQueue) empty() bool { return q == nil || q.first == len(q.pieces) }

// copyBytes appends a copy of b; to the last piece if that is a copy with room for it.
func (q *outQueue) copyBytes(b []byte) {
	q.bytes += len(b)
	if n := len(q.pieces); n > q.first {
		last := &q.pieces[n-1]
		if last.buf != nil && len(last.buf.B)+len(b) <= pieceBytesMax {
			sent := len(last.buf.B) - len(last.b)
			last.buf.B = append(last.buf.B, b...)
			last.b = last.buf.B[sent:]
			return
		}
	}
	for len(b) > 0 {
		n := min(len(b), pieceBytesMax)
		own := bytebufferpool.Get()
		own.B = append(own.B[:0], b[:n]...)
		q.pieces = append(q.pieces, piece{b: own.B, buf: own})
		b = b[n:]
	}
}

// borrow appends b itself.
func (q *outQueue) borrow(b []byte) {
	q.bytes += len(b)
	q.pieces = append(q.pieces, piece{b: b})
}

// fileRange appends n bytes of f from offset off.
func (q *outQueue) fileRange(f *os.File, off, n int64) {
	q.files += n
	q.pieces = append(q.pieces, piece{file: f, off: off, n: n})
}

// flush sends what the socket takes, about flushBytesMax at most. It returns the bytes sent
// and why it stopped: nil (empty, or flushBytesMax reached), errAgain, or an error that ends
// the connection.
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
		q.removeSent(n)
	}
	return sent, nil
}

// sendFile sends up to limit bytes of the range of p.
func sendFile(fd int, p *piece, limit int) (int, error) {
	for {
		off := p.off
		n, err := unix.Sendfile(fd, int(p.file.Fd()), &off, int(min(p.n, int64(limit))))
		switch {
		case n > 0 && (err == nil || err == errAgain || err == unix.EINTR): // BSD returns both after a part
			return n, nil
		case err == errAgain:
			return 0, err
		case err != unix.EINTR: // also n == 0, err == nil: the file has ended before its range
			return copyFile(fd, p, limit)
		}
	}
}

// copyFile reads and writes what sendfile(2) did not send. It cannot send every file (some of
// /proc), and its error does not say whether the file or the socket has failed. A file that
// ends before its range is an error: the answer's head has promised more.
func copyFile(fd int, p *piece, limit int) (int, error) {
	buf := acquireBuffer()
	defer releaseBuffer(buf)
	buf.B = slices.Grow(buf.B[:0], pieceBytesMax)[:min(p.n, int64(limit), pieceBytesMax)]
	n, err := p.file.ReadAt(buf.B, p.off)
	if n > 0 {
		return write(fd, buf.B[:n])
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return 0, fmt.Errorf("%w: %w", ErrFile, err)
}

// removeSent removes n bytes, which were sent, from the front.
func (q *outQueue) removeSent(n int) {
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
		q.removeFirst()
	}
}

// removeFirst removes the first piece and releases its buffer.
func (q *outQueue) removeFirst() {
	p := &q.pieces[q.first]
	own := p.buf
	*p = piece{}
	q.first++
	if q.empty() {
		q.pieces, q.first = q.pieces[:0], 0
	} else if q.first > 32 && q.first > len(q.pieces)/2 { // a long queue must not keep its sent part
		n := copy(q.pieces, q.pieces[q.first:])
		clear(q.pieces[n:])
		q.pieces, q.first = q.pieces[:n], 0
	}
	releaseBuffer(own)
}

// releaseAll releases all pieces. bytes and files still count what was unsent.
func (q *outQueue) releaseAll() {
	for !q.empty() {
		q.removeFirst()
	}
}

// acquireBuffer returns an empty buffer from the pool.
func acquireBuffer() *bytebufferpool.ByteBuffer { return bytebufferpool.Get() }

// releaseBuffer returns b to the pool unless it is large. The caller keeps no slice of it.
func releaseBuffer(b *bytebufferpool.ByteBuffer) {
	if b != nil && cap(b.B) <= pooledBytesMax {
		bytebufferpool.Put(b)
	}
}
