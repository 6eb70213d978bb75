//go:build !race

package parser

// Cuts at every place for inputs up to this many bytes.
const splitBytesMax = 600
