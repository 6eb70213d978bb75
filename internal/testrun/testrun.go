// Package testrun sets how the tests of a package are run.
package testrun

import (
	"flag"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Together lets n of the tests that call Parallel run at once, on any number of processors, unless the flag -parallel
// is set. It is for tests that wait most of the time. TestMain calls it; it parses the flags.
func Together(n int) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		_ = flag.Set("test.parallel", strconv.Itoa(n))
	}
}

// Slow skips a test with -short, which is for every save. Why is what the test takes, such as "starts processes". The
// tests named in but are run all the same.
func Slow(t testing.TB, why string, but ...string) {
	t.Helper()
	name, _, _ := strings.Cut(t.Name(), "/")
	if testing.Short() && !slices.Contains(but, name) {
		t.Skip("-short: " + why)
	}
}

// Rounds is how often a test does something: all times, or with -short a few.
func Rounds(all, few int) int {
	if testing.Short() {
		return few
	}
	return all
}
