package loop

import (
	"bytes"
	"runtime"
	"sync/atomic"
	"time"
)

// watch is what the reactor's ticker knows of a loop.
type watch struct {
	since time.Time // when the tick was sent, or when the loop was seen to get on
	late  bool      // Late was called
	told  bool      // Held was called, and has reported
}

// checkHold tells the handler of a loop that has not taken its tick for StallWarning,
// on the ticker's goroutine. It looks twice, a tick apart. A process that stood
// still as a whole takes its ticks by then, and a loop that is merely busy gets on,
// which its handler knows: it has another StallWarning.
func (l *Loop) checkHold() {
	w := &l.watch
	held := time.Since(w.since)
	switch {
	case w.told || l.opt.StallWarning < 0 || held < l.opt.StallWarning:
	case !w.late:
		w.late = true
		l.handler.StallSuspected()
	case !l.ticking.Load(): // it has let go just now
	case l.handler.Stalled(held, l.Tracer()):
		w.told = true
	default:
		*w = watch{since: time.Now()}
	}
}

// Tracer returns a function that tells what the goroutine does that the loop has now,
// as in the trace of a panic; nil if it is gone, or cannot be found among too many
// others. All goroutines stand still meanwhile.
func (l *Loop) Tracer() (trace func() []byte) {
	heading := l.goroutineHeader.Load()
	return func() []byte {
		if heading == nil {
			return nil // not yet running
		}
		return stackOf(func(stack []byte) bool { return bytes.HasPrefix(stack, *heading) })
	}
}

// stackBytes is how much text to search first: twice what the last search has needed. Each
// text that is too short costs as much time as the whole.
var stackBytes atomic.Int64

const (
	stackBytesMin = 64 << 10

	// stackBytesMax is how much text is searched for a loop's stack: that of some
	// thousand goroutines. All of them stand still while it is written.
	stackBytesMax = 4 << 20
)

// StackWith returns the stack of a goroutine whose trace has text, as in the trace
// of a panic; nil if none has or there are too many. All goroutines stand still
// meanwhile.
func StackWith(text string) []byte {
	return stackOf(func(stack []byte) bool { return bytes.Contains(stack, []byte(text)) })
}

func stackOf(wanted func(stack []byte) bool) []byte {
	between := []byte("\n\n")
	for size := max(int(stackBytes.Load()), stackBytesMin); size <= stackBytesMax; size *= 4 {
		b := make([]byte, size)
		n := runtime.Stack(b, true)
		if b = b[:n]; n == size { // the last one may be cut
			b = b[:max(bytes.LastIndex(b, between), 0)]
		}
		at := 0
		for stack := range bytes.SplitSeq(b, between) {
			at += len(stack) + len(between)
			if wanted(stack) {
				stackBytes.Store(int64(min(2*at, stackBytesMax)))
				return bytes.Clone(stack)
			}
		}
		if n < size {
			break
		}
	}
	return nil
}

// ownHeading is how the stack of the calling goroutine begins: "goroutine 7 [".
func ownHeading() *[]byte {
	b := make([]byte, 64)
	b = b[:runtime.Stack(b, false)]
	b = b[:bytes.IndexByte(b, '[')+1]
	return &b
}
