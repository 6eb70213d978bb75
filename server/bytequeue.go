package server

// byteQueue is bytes on their way between a loop and a worker, in the order they came.
type byteQueue struct {
	b    []byte
	from int // b[from:] are left
}

func (q *byteQueue) len() int { return len(q.b) - q.from }

// bytes are those that are left, as a view that is good until the next add or reset.
func (q *byteQueue) bytes() []byte { return q.b[q.from:] }

// add appends a copy of p. The memory doubles as it grows, but not beyond most bytes,
// which is how much the caller lets wait.
func (q *byteQueue) add(p []byte, most int) {
	if len(q.b)+len(p) > cap(q.b) && q.from > 0 {
		q.b = q.b[:copy(q.b, q.b[q.from:])] // what was read gives its room
		q.from = 0
	}
	q.b = append(withRoom(q.b, len(p), most), p...)
}

// read moves bytes to p.
func (q *byteQueue) read(p []byte) int {
	n := copy(p, q.b[q.from:])
	if q.from += n; q.from == len(q.b) {
		q.reset()
	}
	return n
}

// reset drops what is left, and keeps the memory.
func (q *byteQueue) reset() { q.b, q.from = q.b[:0], 0 }

// withRoom is b with room for n bytes more. It doubles, as append does, but beyond most
// it grows only to what is needed.
func withRoom(b []byte, n, most int) []byte {
	need := len(b) + n
	if need <= cap(b) {
		return b
	}
	return append(make([]byte, 0, max(need, min(2*cap(b), most))), b...)
}
