//go:build !linux

package server

func openTemp(dir string) (tempFile, error) { return createTemp(dir) }
