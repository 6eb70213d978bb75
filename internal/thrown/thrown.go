// Package thrown tells a call that has panicked with nil from one that has returned or
// has ended its goroutine: recover returns nil for all three where GODEBUG has panicnil=1,
// as it does for main packages of modules that say go 1.20 or less.
package thrown

import (
	"errors"
	"runtime"
)

// Value is what a call that has not returned has ended by: p, which a deferred function
// has recovered, a *runtime.PanicNilError for panic(nil), or nil for runtime.Goexit. The
// deferred function calls it, and knows by a flag behind the call that it has not returned.
func Value(p any) any {
	if p == nil && !exits() {
		return new(runtime.PanicNilError)
	}
	return p
}

// exits reports whether runtime.Goexit runs the deferred functions: it is in the stack,
// and no panic is above it.
func exits() bool {
	var calls [64]uintptr // the deferred function and what it has called: a few of them
	frames := runtime.CallersFrames(calls[:runtime.Callers(1, calls[:])])
	for {
		frame, more := frames.Next()
		switch frame.Function {
		case "runtime.Goexit":
			return true
		case "runtime.gopanic":
			return false
		}
		if !more {
			return false
		}
	}
}

// Is is errors.Is for what a call has panicked with or returned, p, which may be no error, or
// one whose methods panic, as those of a nil *url.Error do: that one is no other error.
func Is(p any, target error) (is bool) {
	err, ok := p.(error)
	if !ok {
		return false
	}
	defer func() { _ = recover() }()
	return errors.Is(err, target)
}
