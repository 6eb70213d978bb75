package benchmark

import (
	"slices"
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	const frame = units + "goos: linux\ncpu: AMD EPYC\n%\nPASS\n"
	for _, tt := range []struct {
		line string
		name string // "" if it is refused
	}{
		{"BenchmarkA/b=c/d=e-2 \t 1 \t 12.5 ns/op\t 3 req/s", "BenchmarkA/b=c/d=e"},
		{"BenchmarkA/b=c 1 12.5 ns/op 3 req/s", "BenchmarkA/b=c"},
		{"BenchmarkA/b=c-d-16 1 12.5 ns/op 3 req/s", "BenchmarkA/b=c-d"},
		{"BenchmarkA-2 1 12.5 ns/op 3 req/s", "BenchmarkA"},
		{"BenchmarkA/b=c 1 12.5 ns/op", ""},
		{"BenchmarkA/b=c 1 3 req/s", ""},
		{"BenchmarkA/b=c 1 12.5 ns/op 3 req/s 4", ""},
		{"BenchmarkA/b=c 1 12.5 ns/op x req/s", ""},
		{"BenchmarkA/b=c x 12.5 ns/op 3 req/s", ""},
		{"BenchmarkA/b 1 12.5 ns/op 3 req/s", ""},
		{"BenchmarkA/b=c=d 1 12.5 ns/op 3 req/s", ""},
		{"BenchmarkA/b=c/d 1 12.5 ns/op 3 req/s", ""},
		{"BenchmarkA/b= 1 12.5 ns/op 3 req/s", ""},
		{"Benchmarka/b=c 1 12.5 ns/op 3 req/s", ""},
		{"A 1 12.5 ns/op 3 req/s", ""},
		{"a line of some log", ""},
		{"", ""},
		{"BenchmarkA/b=c 1 12.5 ns/op 3 req/s\nBenchmarkA/b=c 1 12.5 ns/op 3 req/s", ""},
	} {
		names, err := check(strings.Replace(frame, "%", tt.line, 1), []string{"ns/op", "req/s"})
		if tt.name == "" && err == nil || tt.name != "" && !slices.Equal(names, []string{tt.name}) {
			t.Errorf("%q: %q, %v", tt.line, names, err)
		}
	}
	if _, err := check("BenchmarkA 1 12.5 ns/op\n", []string{"ns/op"}); err == nil {
		t.Error("it is good without units")
	}
}
