// Package benchmark is shared by the benchmarks of all packages: the units of the values that
// they report, a meter of CPU time, and a test that every benchmark works.
package benchmark

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// units tell benchstat which direction is better, and what must be equal in all runs.
const units = `Unit req/s better=higher
Unit cpu-us/req better=lower
Unit B/conn better=lower
Unit GOMAXPROCS assume=exact
Unit allocs/op assume=exact
`

// Units prints the units if benchmarks will run. For TestMain.
func Units() {
	flag.Parse()
	if flag.Lookup("test.bench").Value.String() != "" {
		fmt.Print(units)
	}
}

// Batches is b.Loop for operations that are done n at a time: it yields once for every n of
// them. The last batch may exceed b.N.
func Batches(b *testing.B, n int) func(yield func() bool) {
	return func(yield func() bool) {
		for left := 0; b.Loop(); left-- {
			if left == 0 {
				if !yield() {
					return
				}
				left = n
			}
		}
	}
}

// Verify runs every benchmark of t's package once, in another process. t fails if a benchmark
// fails, if benchstat would ignore a line of the output, or if a benchmark does not report
// the units in reported, besides time and allocations. It returns the names, without the
// number of processors.
func Verify(t *testing.T, reported ...string) (names []string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"-test.run=^$", "-test.bench=.", "-test.benchtime=1x", "-test.timeout=1m"}
	out, err := exec.Command(self, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	names, err = check(string(out), append(reported, "ns/op", "B/op", "allocs/op"))
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	return names
}

var (
	// fullName matches Benchmark<Name>/key=value/key=value, with the number of processors
	// if that is not 1.
	fullName = regexp.MustCompile(`^(Benchmark[A-Z]\w*(?:/[a-z]\w*=[^/=]+?)*)(?:-\d+)?$`)

	// others matches the lines that are not results: units, configuration, and the end of
	// go test's output.
	others = regexp.MustCompile(`^(Unit \S+( \w+=\w+)+|[a-z]\w*: .*|PASS)?$`)
)

// check parses the output of benchmarks, in the format of
// golang.org/design/14313-benchmark-format, and returns their names.
func check(out string, reported []string) (names []string, err error) {
	if !strings.HasPrefix(out, units) {
		return nil, fmt.Errorf("it does not begin with the units:\n%s", units)
	}
	for line := range strings.Lines(out) {
		line = strings.TrimSuffix(line, "\n")
		if others.MatchString(line) {
			continue
		}
		name, err := result(line, reported)
		if err != nil {
			return nil, fmt.Errorf("%w: %q", err, line)
		}
		if slices.Contains(names, name) {
			return nil, fmt.Errorf("there are two of %s", name)
		}
		names = append(names, name)
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("there is no benchmark")
	}
	return names, nil
}

// result parses the line of one result and returns its name. It must have the units reported.
func result(line string, reported []string) (name string, err error) {
	f := strings.Fields(line)
	if len(f) < 4 || len(f)%2 != 0 {
		return "", fmt.Errorf("not a name, a count, and values with their units")
	}
	m := fullName.FindStringSubmatch(f[0])
	if m == nil {
		return "", fmt.Errorf("the name is not Benchmark<Name>/key=value/key=value")
	}
	if _, err := strconv.Atoi(f[1]); err != nil {
		return "", err
	}
	var has []string
	for i := 2; i < len(f); i += 2 {
		if _, err := strconv.ParseFloat(f[i], 64); err != nil {
			return "", err
		}
		has = append(has, f[i+1])
	}
	for _, unit := range reported {
		if !slices.Contains(has, unit) {
			return "", fmt.Errorf("%s is not reported", unit)
		}
	}
	return m[1], nil
}
