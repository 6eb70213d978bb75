// Package buffers has the byte buffers of a server: a pool of them, and a queue of bytes between a
// loop and a worker.
package buffers

import "github.com/valyala/bytebufferpool"

// KeptMax is the largest buffer that is kept for another use, in bytes: one large upload must not pin
// its memory.
const KeptMax = 64 << 10

// Get returns a pooled buffer that holds a copy of b.
func Get(b []byte) *bytebufferpool.ByteBuffer {
	buf := bytebufferpool.Get()
	buf.B = append(buf.B[:0], b...)
	return buf
}

// Put gives a buffer back to the pool, where it is not too large; nil is allowed.
func Put(b *bytebufferpool.ByteBuffer) {
	if b != nil && cap(b.B) <= KeptMax {
		bytebufferpool.Put(b)
	}
}

// Grow returns b with room for n bytes more. It doubles the capacity, as append does, but above limit
// it grows only to what is needed.
func Grow(b []byte, n, limit int) []byte {
	need := len(b) + n
	if need <= cap(b) {
		return b
	}
	return append(make([]byte, 0, max(need, min(2*cap(b), limit))), b...)
}

// Queue is a first-in first-out queue of bytes. The zero value is empty. It is not safe for concurrent
// use.
type Queue struct {
	b    []byte
	from int // b[from:] are left
}

// Len is the number of bytes that are left.
func (q *Queue) Len() int { return len(q.b) - q.from }

// Bytes are those that are left, as a view that is valid until the next Add or Reset.
func (q *Queue) Bytes() []byte { return q.b[q.from:] }

// Add appends a copy of p. limit is how many bytes the caller lets wait: the memory doubles as it
// grows, but not beyond that.
func (q *Queue) Add(p []byte, limit int) {
	if len(q.b)+len(p) > cap(q.b) && q.from > 0 {
		q.b = q.b[:copy(q.b, q.b[q.from:])] // the room of what was read
		q.from = 0
	}
	q.b = append(Grow(q.b, len(p), limit), p...)
}

// Read moves bytes to p, and returns how many.
func (q *Queue) Read(p []byte) int {
	n := copy(p, q.b[q.from:])
	q.Skip(n)
	return n
}

// Skip drops the first n bytes.
func (q *Queue) Skip(n int) {
	if q.from += n; q.from == len(q.b) {
		q.Reset()
	}
}

// Reset drops what is left and keeps the memory.
func (q *Queue) Reset() { q.b, q.from = q.b[:0], 0 }

// Cap is the memory that the queue holds, in bytes.
func (q *Queue) Cap() int { return cap(q.b) }

// Release is Reset, and lets memory above KeptMax go.
func (q *Queue) Release() {
	if q.Reset(); cap(q.b) > KeptMax {
		*q = Queue{}
	}
}
