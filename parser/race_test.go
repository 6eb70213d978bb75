//go:build race

package parser

// Cuts at every place for inputs up to this many bytes. The race detector makes
// each cut ten times slower, and in code without goroutines it sees nothing new.
const splitBytesMax = 60
