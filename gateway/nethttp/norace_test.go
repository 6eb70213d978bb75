//go:build !race

package nethttp_test

const race = false
