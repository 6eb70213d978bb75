package server

import (
	"bytes"
	"unsafe"
)

// The trailer fields of a request. Their lines are kept as they have
// come, checked by the parser: in memory of their own, since few requests have any.

// ReadTrailer implements gateway.Conn on the loop, where all content has come.
func (x *exchange) ReadTrailer(yield func(name, value string) bool) {
	was, j := x.enter()
	if j != nil {
		j.ReadTrailer(yield)
		return
	}
	lines := x.in.trailer
	x.leave(was)
	yieldFields(lines, yield)
}

// ReadTrailer implements gateway.Conn on a worker. Until the content has come it has none.
func (j *job) ReadTrailer(yield func(name, value string) bool) {
	j.mu.Lock()
	lines := j.in.trailer
	j.mu.Unlock()
	yieldFields(lines, yield)
}

// takeTrailer brings the lines, when the content has come. On the loop.
func (j *job) setTrailer() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.in.trailer = j.x.in.trailer
}

// yieldFields yields the fields of lines, as views of them.
func yieldFields(lines []byte, yield func(name, value string) bool) {
	for line := range bytes.Lines(lines) {
		name, value, _ := bytes.Cut(bytes.TrimSuffix(line, []byte("\r\n")), []byte(":"))
		if !yield(view(name), view(bytes.Trim(value, " \t"))) {
			return
		}
	}
}

func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
