// Package examples holds nothing: each of its directories is a program that
// shows one thing, and takes the flag -addr. The test beside this file builds
// and runs them all.
//
//	go run ./examples/hello
package examples
