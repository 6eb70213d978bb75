package main

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/isbjorn/isbjorn/bench/internal/sample"
)

// rounds are the values of one server at one X, by round.
type rounds map[int]map[string]float64

// results are the samples of one plot, by server and X.
type results map[string]map[sample.X]rounds

func resultsOf(plot string, samples []sample.Sample) results {
	all := results{}
	for _, s := range samples {
		if s.Plot != plot {
			continue
		}
		if all[s.Server] == nil {
			all[s.Server] = map[sample.X]rounds{}
		}
		if all[s.Server][s.X] == nil {
			all[s.Server][s.X] = rounds{}
		}
		all[s.Server][s.X][s.Round] = s.Values
	}
	return all
}

// xs are all X of all servers, in order.
func (r results) xs() []sample.X {
	all := map[sample.X]bool{}
	for _, byX := range r {
		for x := range byX {
			all[x] = true
		}
	}
	return slices.SortedFunc(maps.Keys(all), compareX)
}

// cell is one value over the rounds.
type cell struct {
	median, min, max float64
	rounds           int
	ratio            float64 // median of the ratios to another server round by round; 0: none
	ratioMin         float64
	ratioMax         float64
	errors           float64 // requests that failed, in all rounds
	behind           bool    // answered less than was offered
}

// keptUp is the share of the offered rate that a server must answer, or its latency is that
// of a growing queue.
const keptUp = 0.99

// doubtful is what must not be taken for a good result.
func (c cell) doubtful() bool { return c.errors > 0 || c.behind }

func (r rounds) cell(unit string, offered float64, to rounds) (c cell, ok bool) {
	var values, ratios, answered []float64
	for round, v := range r {
		c.errors += v["errors"]
		value, ok := v[unit]
		if !ok {
			continue
		}
		values = append(values, value)
		if t := to[round][unit]; t > 0 {
			ratios = append(ratios, value/t)
		}
		if a, ok := v["req/s"]; ok {
			answered = append(answered, a)
		}
	}
	if len(values) == 0 {
		return c, false
	}
	c.median, c.min, c.max, c.rounds = median(values), slices.Min(values), slices.Max(values), len(values)
	if len(ratios) > 0 {
		c.ratio, c.ratioMin, c.ratioMax = median(ratios), slices.Min(ratios), slices.Max(ratios)
	}
	c.behind = len(answered) > 0 && median(answered) < keptUp*offered
	return c, true
}

// median is 0 of nothing.
func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	slices.Sort(v)
	h := len(v) / 2
	if len(v)%2 == 1 {
		return v[h]
	}
	return (v[h-1] + v[h]) / 2
}

func compareX(a, b sample.X) int {
	return cmp.Or(
		cmp.Compare(a.Tool, b.Tool),
		cmp.Compare(b.Head, a.Head), // hello, then browser
		cmp.Compare(a.Depth, b.Depth),
		cmp.Compare(a.Conns, b.Conns),
		cmp.Compare(a.Rate, b.Rate),
		cmp.Compare(a.Quantile, b.Quantile),
		compareCost(a.Cost, b.Cost),
	)
}

var duration = regexp.MustCompile(`[\d.]+ ?(ns|us|µs|ms|s)\b`)

// compareCost puts what computes before what sleeps, and each by how long it takes.
func compareCost(a, b string) int {
	takes := func(s string) time.Duration {
		d, _ := time.ParseDuration(strings.ReplaceAll(duration.FindString(s), " ", ""))
		if strings.Contains(s, "sleep") {
			d += time.Hour
		}
		return d
	}
	return cmp.Or(cmp.Compare(takes(a), takes(b)), cmp.Compare(a, b))
}

// describe says what X is in words, one for each field.
func describe(x sample.X) (words []string) {
	add := func(said bool, format string, args ...any) {
		if said {
			words = append(words, fmt.Sprintf(format, args...))
		}
	}
	add(x.Tool != "", "%s", x.Tool)
	add(x.Head != "", "%s", x.Head)
	add(x.Depth == 1, "one at a time")
	add(x.Depth > 1, "%d deep", x.Depth)
	add(x.Cost != "", "handler: %s", x.Cost)
	add(x.Conns == 1, "1 connection")
	add(x.Conns > 1, "%s connections", number(float64(x.Conns)))
	add(x.Rate > 0, "%s requests/s offered", number(x.Rate))
	add(x.Quantile > 0, "quantile %v", x.Quantile)
	return words
}

// number is v with three digits, or all that stand before the point, in groups.
func number(v float64) string {
	digits := 0
	if a := math.Abs(v); a > 0 && a < 99.95 {
		digits = min(2-int(math.Floor(math.Log10(a)+1e-9)), 4)
	}
	if v == math.Trunc(v) {
		digits = 0
	}
	s := fmt.Sprintf("%.*f", digits, v)
	whole, rest, _ := strings.Cut(s, ".")
	for i := len(whole) - 3; i > 0 && whole[i-1] != '-'; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if rest != "" {
		whole += "." + rest
	}
	return whole
}

// times is a ratio.
func times(v float64) string {
	switch {
	case v >= 9.995:
		return fmt.Sprintf("%.1f", v)
	case v >= 0.0995:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.2g", v)
}

// short is v as it fits at an axis: 1,024, 250k, 1.5M.
func short(v float64) string {
	switch a := math.Abs(v); {
	case a >= 1e6:
		return fmt.Sprintf("%.4gM", v/1e6)
	case a >= 1e4:
		return fmt.Sprintf("%.4gk", v/1e3)
	case a >= 1e3:
		return number(v)
	}
	return fmt.Sprintf("%.4g", v)
}
