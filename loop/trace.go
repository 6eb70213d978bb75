package loop

import (
	"bytes"
	"runtime"
	"sync/atomic"
)

// Tracer returns a function that returns the stack of the goroutine that the loop has now,
// also if a handoff has given the loop to another one by then. The stack is as in the trace of
// a panic; nil if that goroutine has ended, or is not found among some thousand others. From
// any goroutine.
//
// trace takes no lock of the loop: runtime.Stack stops all goroutines, so the text is that of
// one moment, and a lock that the blocked callback holds could block the caller as well.
func (l *Loop) Tracer() (trace func() []byte) {
	header := l.goroutineHeader.Load()
	return func() []byte {
		if header == nil {
			return nil // Start was not called
		}
		return stackOf(func(stack []byte) bool { return bytes.HasPrefix(stack, *header) })
	}
}

// stackBytes is the size of the first buffer: twice what the last search has needed. A
// buffer that is too small costs as much time as a large one, and has to be filled again.
var stackBytes atomic.Int64

const (
	stackBytesMin = 64 << 10

	// stackBytesMax is the most text that is searched: the stacks of some thousand
	// goroutines. All of them are stopped while it is written.
	stackBytesMax = 4 << 20
)

// StackWith returns the stack of a goroutine whose trace contains text, as in the trace of a
// panic; nil if there is none, or not among some thousand goroutines. It stops all goroutines
// meanwhile.
func StackWith(text string) []byte {
	return stackOf(func(stack []byte) bool { return bytes.Contains(stack, []byte(text)) })
}

// stackOf returns the first stack that wanted accepts, of all goroutines; nil if there is none.
func stackOf(wanted func(stack []byte) bool) []byte {
	separator := []byte("\n\n")
	for size := max(int(stackBytes.Load()), stackBytesMin); size <= stackBytesMax; size *= 4 {
		b := make([]byte, size)
		n := runtime.Stack(b, true)
		if b = b[:n]; n == size { // the buffer is full, and the last stack may be cut
			b = b[:max(bytes.LastIndex(b, separator), 0)]
		}
		searched := 0
		for stack := range bytes.SplitSeq(b, separator) {
			searched += len(stack) + len(separator)
			if wanted(stack) {
				stackBytes.Store(int64(min(2*searched, stackBytesMax)))
				return bytes.Clone(stack)
			}
		}
		if n < size { // these were all goroutines
			break
		}
	}
	return nil
}

// ownGoroutineHeader returns how the trace of the calling goroutine begins: "goroutine 7 [".
func ownGoroutineHeader() *[]byte {
	b := make([]byte, 64)
	b = b[:runtime.Stack(b, false)]
	b = b[:bytes.IndexByte(b, '[')+1]
	return &b
}
