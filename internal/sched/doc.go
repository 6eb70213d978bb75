// Package sched has the two ways in which a goroutine lets others run before it goes on.
//
// [runtime.Gosched] puts the caller into the scheduler's global queue and wakes an idle processor (P), if there is one:
// its thread takes the caller from there, and that of the caller sleeps. So where a processor is idle each call moves
// the caller to another thread, at the price of two futex calls and cold caches. Yield stays where it is.
package sched
