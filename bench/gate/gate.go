package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"golang.org/x/perf/benchfmt"
)

// gate is two builds, and what is measured of them.
type gate struct {
	base, tree *build
	besides    string // the built -beside of the base; "" for none
	cpu        int    // where all is measured

	pkg, program, beside string // as of the flags

	bench              string // which benchmarks in memory; "" for none
	overSockets, calls bool
	time               time.Duration // for the measurements, without repetitions
	progress           io.Writer
}

// subject is what is measured of both builds at once.
type subject struct {
	name    string
	counted bool // every pair says the same: pairsMin are enough
	pair    func(first, second *build) (a, b *benchfmt.Result, err error)
	done    []results
}

// results are a pair.
type results struct {
	base, tree *benchfmt.Result
	treeFirst  bool
}

const allocs = "allocs/op"

// subjects are all that is to be measured. alone are the benchmarks that cannot be
// compared.
func (g *gate) subjects(ctx context.Context) (all []*subject, alone []string, err error) {
	if g.bench != "" {
		if all, alone, err = g.inMemory(ctx); err != nil {
			return nil, nil, err
		}
	}
	if g.overSockets {
		all = append(all, g.loopback(ctx)...)
	}
	if g.calls {
		counts, err := g.systemCalls(ctx)
		if err != nil {
			return nil, nil, err
		}
		all = append(all, counts...)
	}
	return all, alone, nil
}

// run measures and judges, and does both again with what is observed: to add as many
// pairs more.
func (g *gate) run(ctx context.Context, subjects []*subject) ([]*verdict, error) {
	pairs, err := g.measureAll(ctx, "", subjects, func(_ int, took time.Duration) bool { return took >= g.time })
	if err != nil {
		return nil, err
	}
	verdicts := judge(allSeries(subjects))
	var again []*subject
	for _, v := range verdicts {
		if v.suspect && !slices.Contains(again, v.subject) {
			again = append(again, v.subject)
		}
	}
	if len(again) == 0 {
		return verdicts, nil
	}
	if _, err := g.measureAll(ctx, "again, ", again, func(n int, _ time.Duration) bool { return n >= pairs }); err != nil {
		return nil, err
	}
	return judge(allSeries(subjects)), nil
}

// measureAll measures what is counted, then what is timed until it is enough. It returns
// how many pairs that took.
func (g *gate) measureAll(
	ctx context.Context, what string, subjects []*subject, enough func(pairs int, took time.Duration) bool,
) (int, error) {
	var counts, times []*subject
	for _, s := range subjects {
		if s.counted {
			counts = append(counts, s)
		} else {
			times = append(times, s)
		}
	}
	if _, err := g.measure(ctx, what, counts, func(int, time.Duration) bool { return true }); err != nil {
		return 0, err
	}
	return g.measure(ctx, what, times, enough)
}

// measure takes pairs of all subjects in turn, so that each is spread over the whole time,
// until it is enough, and pairsMin at least. It returns how many.
func (g *gate) measure(
	ctx context.Context, what string, subjects []*subject, enough func(pairs int, took time.Duration) bool,
) (n int, err error) {
	began := time.Now()
	for len(subjects) > 0 && (n < pairsMin || !enough(n, time.Since(began))) {
		n++
		for _, s := range subjects {
			fmt.Fprintf(g.progress, "%spair %d, %.0f s: %s", what, n, time.Since(began).Seconds(), s.name)
			if err := s.measure(g.base, g.tree); err != nil {
				return 0, err
			}
			if err := ctx.Err(); err != nil {
				return 0, err
			}
		}
	}
	return n, nil
}

// measure takes a pair, in the opposite order of the last: ABBA.
func (s *subject) measure(base, tree *build) error {
	r := results{treeFirst: len(s.done)%2 == 1}
	var err error
	if r.treeFirst {
		r.tree, r.base, err = s.pair(tree, base)
	} else {
		r.base, r.tree, err = s.pair(base, tree)
	}
	s.done = append(s.done, r)
	return err
}

// allSeries is what is judged: CPU time, by the clock of the process if both revisions
// say so; its ratio to net/http; and what is counted.
func allSeries(subjects []*subject) (all []*series) {
	for _, s := range subjects {
		units := []string{cpuUsed, ratio, allocs, calls}
		if s.series(cpuUsed) == nil {
			units[0] = timed
		}
		for _, unit := range units {
			if pairs := s.series(unit); pairs != nil {
				all = append(all, &series{s, unit, pairs})
			}
		}
	}
	return all
}

// series is what was measured in a unit; nil if not all results have it.
func (s *subject) series(unit string) (pairs []pair) {
	for _, r := range s.done {
		base, ok1 := value(r.base, unit)
		tree, ok2 := value(r.tree, unit)
		if !ok1 || !ok2 {
			return nil
		}
		pairs = append(pairs, pair{base, tree, r.treeFirst})
	}
	return pairs
}
