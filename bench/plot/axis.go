package main

import (
	"fmt"
	"math"
	"slices"

	"gonum.org/v1/plot"
)

// kind is how values along an axis are placed. Positions are even: a plot knows nothing of
// logarithms.
type kind int

const (
	numbers kind = iota // on a linear scale
	ratios              // on a log scale
	steps               // on a log scale, with ticks where something was measured; 0 is left of all
	tail                // quantiles on a log scale of what is beyond them
)

// scale places the values of one axis.
type scale struct {
	kind
	values []float64 // all that are drawn, in order
}

func newScale(k kind, values []float64) scale {
	values = slices.Clone(values)
	slices.Sort(values)
	return scale{k, slices.Compact(values)}
}

// at is where v is. It is infinite or not a number for what has no place.
func (s scale) at(v float64) float64 {
	switch s.kind {
	case ratios:
		return math.Log10(v)
	case steps:
		if v == 0 { // a step before the first
			i, _ := slices.BinarySearch(s.values, math.SmallestNonzeroFloat64)
			if i >= len(s.values) {
				return 0
			}
			if i+1 < len(s.values) {
				return 2*math.Log10(s.values[i]) - math.Log10(s.values[i+1])
			}
			return math.Log10(s.values[i]) - 1
		}
		return math.Log10(v)
	case tail:
		if v == 1 { // half a step behind the last
			i, _ := slices.BinarySearch(s.values, 1)
			if i == 0 {
				return 0
			}
			return -math.Log10(1-s.values[i-1]) + 0.5
		}
		return -math.Log10(1 - v)
	}
	return v
}

// leastSpan keeps noise from looking like a difference: a log scale goes at least from one
// value to its double.
const leastSpan = 0.301

// span is what an axis shows of values from lo to hi, and its ticks.
func (s scale) span() (from, to float64, ticks []plot.Tick) {
	if len(s.values) == 0 {
		return 0, 1, nil
	}
	lo, hi := s.values[0], s.values[len(s.values)-1]
	switch s.kind {
	case ratios:
		from, to = math.Log10(lo), math.Log10(hi)
		pad := max((to-from)*0.06, (leastSpan-(to-from))/2)
		from, to = from-pad, to+pad
		return from, to, logTicks(from, to)
	case numbers:
		to = hi * 1.05
		if to <= 0 {
			to = 1
		}
		return 0, to, linearTicks(to, to)
	}
	// Where something was measured. Labels that would touch are left out.
	from, to = s.at(lo), s.at(hi)
	last := math.Inf(-1)
	for _, v := range s.values {
		t := plot.Tick{Value: s.at(v), Label: short(v)}
		if s.kind == tail {
			t.Label = percent(v)
			if nines := -math.Log10(1 - v); v != 0.5 && v != 1 && math.Abs(nines-math.Round(nines)) > 1e-6 {
				continue
			}
		}
		if t.Value-last < (to-from)*0.06 {
			t.Label = ""
		} else {
			last = t.Value
		}
		ticks = append(ticks, t)
	}
	pad := max((to-from)*0.03, 0.02)
	return from - pad, to + pad, ticks
}

func percent(q float64) string {
	if q == 1 {
		return "max"
	}
	return fmt.Sprintf("%.6g%%", q*100)
}

// logTicks are labelled at powers of ten, and between them as far as there is room.
func logTicks(from, to float64) (ticks []plot.Tick) {
	labelled := []float64{1}
	switch decades := to - from; {
	case decades < 0.5:
		lo, hi := math.Pow(10, from), math.Pow(10, to)
		for _, t := range linearTicks(hi-lo, hi) {
			if t.Value >= lo {
				ticks = append(ticks, plot.Tick{Value: math.Log10(t.Value), Label: t.Label})
			}
		}
		return ticks
	case decades < 0.9:
		labelled = []float64{1, 1.5, 2, 3, 4, 5, 7}
	case decades < 2:
		labelled = []float64{1, 2, 5}
	}
	for d := math.Floor(from); d <= to; d++ {
		for _, m := range []float64{1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9} {
			t := plot.Tick{Value: d + math.Log10(m)}
			if slices.Contains(labelled, m) {
				t.Label = short(m * math.Pow(10, d))
			} else if m == 1.5 {
				continue
			}
			if t.Value >= from && t.Value <= to {
				ticks = append(ticks, t)
			}
		}
	}
	return ticks
}

// linearTicks are from 0 to the end, six at most in a stretch of the given length.
func linearTicks(length, end float64) (ticks []plot.Tick) {
	unit := math.Pow(10, math.Floor(math.Log10(length)))
	for _, m := range []float64{0.2, 0.5, 1, 2} {
		if step := m * unit; length/step <= 6 {
			for i := 0.0; i*step <= end; i++ {
				ticks = append(ticks, plot.Tick{Value: i * step, Label: short(i * step)})
			}
			return ticks
		}
	}
	return nil
}
