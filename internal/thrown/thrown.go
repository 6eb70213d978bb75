// Package thrown distinguishes panic(nil) from a return and from runtime.Goexit. recover
// returns nil for all three with GODEBUG=panicnil=1, which is the default in main packages
// of modules with go 1.20 or less.
package thrown

import (
	"errors"
	"runtime"
)

// Value returns why a call has not returned: p, the result of recover, if that is not nil;
// a *runtime.PanicNilError for panic(nil); nil for runtime.Goexit. The deferred function that
// recovers must call it, and only if the call has not returned (a flag set after the call).
func Value(p any) any {
	if p == nil && !exits() {
		return new(runtime.PanicNilError)
	}
	return p
}

// exits reports whether runtime.Goexit runs the deferred functions: it is on the stack, and
// no panic is nearer.
func exits() bool {
	var calls [64]uintptr // enough for the deferred function and the few calls below it
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

// Is is errors.Is for a value that a call has panicked with or returned. It is false if p is
// not an error, or is one whose methods panic, as those of a nil *url.Error.
func Is(p any, target error) (is bool) {
	err, ok := p.(error)
	if !ok {
		return false
	}
	defer func() { _ = recover() }()
	return errors.Is(err, target)
}
