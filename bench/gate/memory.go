package main

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"golang.org/x/perf/benchfmt"
)

const (
	// slice is how long one benchmark runs, or one server answers, before the other
	// has its turn. The speed of a machine with neighbours changes every 50 ms or so;
	// what is shorter than 10 ms drowns in the start of the process.
	slice = 10 * time.Millisecond

	timed   = "ns/op"
	cpuUsed = "cpu-us/req"
)

// inMemory finds the benchmarks that both have, and makes a subject of each. alone
// are the names that only one has.
func (g *gate) inMemory(ctx context.Context) (subjects []*subject, alone []string, err error) {
	base, err := g.benchmark(ctx, g.base, g.bench, slice.String())
	if err != nil {
		return nil, nil, err
	}
	tree, err := g.benchmark(ctx, g.tree, g.bench, slice.String())
	if err != nil {
		return nil, nil, err
	}
	has := map[string]bool{}
	for _, r := range tree {
		has[r.Name.String()] = true
	}
	for _, r := range base {
		name := r.Name.String()
		if !has[name] {
			alone = append(alone, name+" (base only)")
			continue
		}
		delete(has, name)
		ns, ok := value(r, timed)
		if !ok {
			return nil, nil, fmt.Errorf("%s of the base does not say %s", name, timed)
		}
		times := strconv.Itoa(max(1, int(math.Round(float64(slice)/ns)))) + "x" // the same work for both
		subjects = append(subjects, &subject{name: name, pair: func(first, second *build) (a, b *benchfmt.Result, err error) {
			if a, err = g.benchmarkOnce(ctx, first, name, times); err != nil {
				return nil, nil, err
			}
			b, err = g.benchmarkOnce(ctx, second, name, times)
			return a, b, err
		}})
	}
	for _, r := range tree {
		if name := r.Name.String(); has[name] {
			alone = append(alone, name+" (this tree only)")
		}
	}
	if len(subjects) == 0 {
		return nil, nil, misuse(fmt.Sprintf("no benchmark of -package %s matches -bench %q in both revisions (%s): give another -bench, a base that has them (-base), or -bench '' to leave them out",
			g.pkg, g.bench, strings.Join(alone, ", ")))
	}
	return subjects, alone, nil
}

// benchmarkOnce runs one benchmark.
func (g *gate) benchmarkOnce(ctx context.Context, b *build, name, times string) (*benchfmt.Result, error) {
	parts := strings.Split("Benchmark"+name, "/")
	for i := range parts {
		parts[i] = "^" + regexp.QuoteMeta(parts[i]) + "$"
	}
	results, err := g.benchmark(ctx, b, strings.Join(parts, "/"), times)
	if err == nil && len(results) != 1 {
		err = fmt.Errorf("%s of the %s gives %d results, want 1", name, b.label, len(results))
	}
	if err != nil {
		return nil, err
	}
	return results[0], nil
}

// benchmark runs benchmarks of -package in a process of their own.
func (g *gate) benchmark(ctx context.Context, b *build, pattern, times string) ([]*benchfmt.Result, error) {
	cmd := command(ctx, b.bench, "-test.run=^$", "-test.bench="+pattern, "-test.benchtime="+times, "-test.benchmem")
	cmd.Dir = filepath.Join(b.dir, g.pkg) // as go test does
	var out []byte
	err := pinned(g.cpu, func() (err error) {
		out, err = cmd.Output()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%s of the %s: %w\n%s", cmd, b.label, err, out)
	}
	var results []*benchfmt.Result
	for r := benchfmt.NewReader(bytes.NewReader(out), b.label); r.Scan(); {
		switch r := r.Result().(type) {
		case *benchfmt.Result:
			results = append(results, r.Clone())
		case *benchfmt.SyntaxError:
			return nil, r
		}
	}
	return results, nil
}

// value is what a result says in a unit.
func value(r *benchfmt.Result, unit string) (float64, bool) {
	for _, v := range r.Values {
		if v.Unit == unit {
			return v.Value, true
		}
		if v.OrigUnit == unit {
			return v.OrigValue, true
		}
	}
	return 0, false
}
