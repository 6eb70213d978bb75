package main

import (
	"fmt"
	"math"
	"slices"

	"golang.org/x/perf/benchmath"
)

const (
	// lossMax is the loss of time that is borne, as a part of the base: the layout of
	// the code alone, which any change moves, is good for some percent.
	lossMax = 0.05

	// suspicious is the loss above which a measurement is repeated before it is
	// judged. It is so far below lossMax that a true 10 % is not missed by the first
	// look.
	suspicious = 0.025

	// alpha is how probable it may be that a run takes chance for a difference in any of
	// its times, however small it is. Each comparison gets its part (Bonferroni). That
	// such a difference is above lossMax too is far less probable: TestJudgeTimes.
	alpha = 0.01

	// callStep is what counts as one more system call for a batch. What hangs on
	// requests comes once for each, or for each batch; timers make a few calls for
	// a hundred.
	callStep = 0.5

	// pairsMin: with fewer no comparison can be significant.
	pairsMin = 10
)

// pair is a measurement of both revisions, one right after the other.
type pair struct {
	base, tree float64
	treeFirst  bool
}

// series is what was measured of one subject in one unit. Less is better in all units.
type series struct {
	subject *subject
	unit    string
	pairs   []pair
}

// verdict is what a series says.
type verdict struct {
	*series
	base, tree float64 // medians
	spread     float64 // of the base: half of its middle half, by the median
	delta      float64 // median of tree by base in a pair, less 1
	p          float64 // of the null hypothesis that there is no difference; NaN for a count
	suspect    bool    // to be repeated
	loss       bool
}

// name says what was measured.
func (v *verdict) name() string { return v.subject.name + " " + v.unit }

// isCount says that a unit is counted, not timed.
func isCount(unit string) bool { return unit == allocs || unit == calls }

// judge judges all series of a run.
func judge(all []*series) []*verdict {
	times := 0
	for _, s := range all {
		if !isCount(s.unit) {
			times++
		}
	}
	verdicts := make([]*verdict, len(all))
	for i, s := range all {
		if isCount(s.unit) {
			verdicts[i] = s.count()
		} else {
			verdicts[i] = s.time(alpha / float64(times))
		}
	}
	return verdicts
}

// count judges what is counted: any increase is a loss.
func (s *series) count() *verdict {
	v := s.verdict()
	v.p = math.NaN()
	step := 0.0
	if s.unit == calls {
		step = callStep
	}
	v.loss = v.tree-v.base > step
	v.suspect = v.loss
	return v
}

// time judges CPU time. The speed of a machine changes by far more than what is looked
// for, but little within a pair. So the pairs' ratios are judged, second by first. Under
// the null hypothesis those that began with the base and those that began with the tree
// are of one distribution, whatever coming second means; a loss lifts the ones and
// lowers the others. Mann and Whitney's test of these two, which are independent samples, as
// benchstat has it, is an exact test of the pairs. It says whether there is a
// difference at all, and the median of tree by base how much.
func (s *series) time(alpha float64) *verdict {
	v := s.verdict()
	var ratios, baseFirst, treeFirst []float64
	for _, p := range s.pairs {
		r := p.tree / p.base
		ratios = append(ratios, r)
		if p.treeFirst {
			treeFirst = append(treeFirst, 1/r)
		} else {
			baseFirst = append(baseFirst, r)
		}
	}
	v.delta = median(ratios) - 1
	v.p = benchmath.AssumeNothing.Compare(sample(baseFirst), sample(treeFirst)).P
	v.suspect = v.delta > suspicious
	v.loss = v.delta > lossMax && v.p < alpha
	return v
}

func (s *series) verdict() *verdict {
	var base, tree []float64
	for _, p := range s.pairs {
		base, tree = append(base, p.base), append(tree, p.tree)
	}
	v := &verdict{series: s, base: median(base), tree: median(tree)}
	v.delta = v.tree/v.base - 1
	slices.Sort(base)
	if n := len(base); v.base > 0 {
		v.spread = (base[3*n/4] - base[n/4]) / 2 / v.base
	}
	return v
}

func sample(values []float64) *benchmath.Sample {
	return benchmath.NewSample(values, &benchmath.DefaultThresholds)
}

func median(values []float64) float64 {
	return benchmath.AssumeNothing.Summary(sample(slices.Clone(values)), 0.95).Center
}

// String says what is wrong, or that nothing is.
func (v *verdict) String() string {
	switch n := len(v.pairs); {
	case v.loss && isCount(v.unit):
		return fmt.Sprintf("FAIL %s: %.4g, was %.4g (%d pairs); any increase fails", v.name(), v.tree, v.base, n)
	case v.loss:
		return fmt.Sprintf("FAIL %s: %+.1f %% (p=%.3g, %d pairs); more than %.0f %% fails", v.name(), 100*v.delta, v.p, n, 100*lossMax)
	case v.delta > lossMax && !isCount(v.unit):
		return fmt.Sprintf("pass %s: %+.1f %%, but the machine is too noisy to say so (p=%.3g, %d pairs); repeat it with a longer -time", v.name(), 100*v.delta, v.p, n)
	default:
		return fmt.Sprintf("pass %s", v.name())
	}
}
