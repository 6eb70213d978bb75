//go:build race

package server

// raceEnabled: under the race detector a sync.Pool drops what it is given, at
// random, so pooled buffers allocate.
const raceEnabled = true
