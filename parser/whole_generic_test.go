//go:build !amd64 || purego

package parser

func eachWay(f func()) { f() }
