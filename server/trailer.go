package server

import (
	"bytes"
	"unsafe"
)

// The trailer fields of a request (RFC 9110 section 6.5). Their lines are kept unchanged, as the parser has
// checked them, in memory that is allocated for each request: few have any.

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

// ReadTrailer implements gateway.Conn on a worker. There are no fields until all content has come.
func (j *job) ReadTrailer(yield func(name, value string) bool) {
	j.mu.Lock()
	lines := j.in.trailer
	j.mu.Unlock()
	yieldFields(lines, yield)
}

// setTrailer gives the lines to the worker when all content has come. On the loop.
func (j *job) setTrailer() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.in.trailer = j.x.in.trailer
}

// yieldFields yields the fields of lines, as views of lines.
func yieldFields(lines []byte, yield func(name, value string) bool) {
	for line := range bytes.Lines(lines) {
		name, value, _ := bytes.Cut(bytes.TrimSuffix(line, []byte("\r\n")), []byte(":"))
		if !yield(view(name), view(bytes.Trim(value, " \t"))) {
			return
		}
	}
}

// view returns b as a string, without a copy: b must not change.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
