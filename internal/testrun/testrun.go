// Package testrun sets how the tests of a package are run.
package testrun

import (
	"flag"
	"strconv"
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
