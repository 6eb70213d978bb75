//go:build race

package server

// raceEnabled: under the race detector a sync.Pool drops what it is given, at
// random, so pooled buffers allocate.
const raceEnabled = true

// cutBytesMax: longer cases are not cut at every place; the race detector makes
// each cut ten times slower and sees nothing new in it.
const cutBytesMax = 40
