//go:build !go1.27

package sched

import _ "unsafe" // for go:linkname

// Yield runs the goroutines that are ready on the caller's processor before it returns. Those of the scheduler's global
// queue, which have ended a system call or were preempted, it need not run: where no other processor is free for them
// use [runtime.Gosched].
//
// It is the function of the runtime that a mutex yields by, which the runtime keeps for other modules
// (go.dev/issue/67401). Each release of Go is tried before the build constraint lets it in: until then it is Gosched.
//
//go:linkname Yield runtime.goyield
func Yield()
