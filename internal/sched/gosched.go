//go:build go1.27

package sched

import "runtime"

// Yield is [runtime.Gosched]: this release of Go was not tried yet.
func Yield() { runtime.Gosched() }
