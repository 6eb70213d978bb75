//go:build !linux

package spool

// Open makes a temporary file.
func Open(dir string) (File, error) { return Create(dir) }
