//go:build !amd64 || purego

package parser

const marking = false

func markBytes(*marks, *byte, int) {}
