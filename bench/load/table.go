//go:build linux

package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/isbjorn/isbjorn/bench/internal/sample"
)

// higher says that more of a unit is better. Requests and errors are counts.
func higher(unit string) bool { return strings.HasSuffix(unit, "/s") }

// units are those of all plots, for benchstat.
var units = []string{"cpu-us/req", "cpu-us/conn", "req/s", "conn/s", "p50-us", "p90-us", "p99-us", "p99.9-us", "max-us",
	"latency-us", "rss-B", "B/conn", "syscalls/req", "errors"}

func benchHeader(w io.Writer, m sample.Machine) error {
	var b strings.Builder
	for _, unit := range units {
		better := "lower"
		if higher(unit) {
			better = "higher"
		}
		fmt.Fprintf(&b, "Unit %s better=%s\n", unit, better)
	}
	fmt.Fprintf(&b, "pkg: github.com/isbjorn/isbjorn/bench/load\ncpu: %s\n", m.CPU)
	_, err := io.WriteString(w, b.String())
	return err
}

// field is one of X.
type field struct{ name, value string }

// fields are those of x that were said.
func fields(x sample.X) (list []field) {
	for _, f := range []field{
		{"tool", x.Tool}, {"head", x.Head}, {"depth", strconv.Itoa(x.Depth)}, {"conns", strconv.Itoa(x.Conns)},
		{"rate", number(x.Rate)}, {"cost", strings.ReplaceAll(x.Cost, " ", "_")}, {"q", number(x.Quantile)},
	} {
		if f.value != "" && f.value != "0" {
			list = append(list, f)
		}
	}
	return list
}

func number(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

// benchLine writes s as a line of go test -bench.
func benchLine(w io.Writer, s sample.Sample) error {
	var b strings.Builder
	fmt.Fprintf(&b, "BenchmarkLoad/plot=%s/server=%s", s.Plot, s.Server)
	for _, f := range fields(s.X) {
		fmt.Fprintf(&b, "/%s=%s", f.name, f.value)
	}
	fmt.Fprintf(&b, " %.0f", max(1, s.Values["requests"]))
	for _, unit := range units {
		if v, ok := s.Values[unit]; ok {
			fmt.Fprintf(&b, " %s %s", strconv.FormatFloat(v, 'g', 6, 64), unit)
		}
	}
	b.WriteByte('\n')
	_, err := io.WriteString(w, b.String())
	return err
}

// cell is a server at a point: what each round has measured.
type cell map[int]float64

func median(list []float64) float64 {
	slices.Sort(list)
	n := len(list)
	if n == 0 {
		return math.NaN()
	}
	return (list[(n-1)/2] + list[n/2]) / 2
}

func (c cell) median() float64 { return median(slices.Collect(maps.Values(c))) }

// over is the median of the ratios to those of other in the same round.
func (c cell) over(other cell) float64 {
	var ratios []float64
	for round, v := range c {
		if o := other[round]; o > 0 {
			ratios = append(ratios, v/o)
		}
	}
	return median(ratios)
}

// row is a server in a table.
type row struct {
	server string
	cells  map[sample.X]cell
	errors float64
}

// tables prints a table for each plot, the best first by its first column, who has
// failed last, and then what is missing.
func tables(w io.Writer, plan []plot, samples []sample.Sample, missing map[string]string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, p := range plan {
		rows := map[string]*row{}
		var points []sample.X
		for _, s := range samples {
			v, ok := s.Values[p.shown]
			if s.Plot != p.name || !ok {
				continue
			}
			if !slices.Contains(points, s.X) {
				points = append(points, s.X)
			}
			r := rows[s.Server]
			if r == nil {
				r = &row{server: s.Server, cells: map[sample.X]cell{}}
				rows[s.Server] = r
			}
			if r.cells[s.X] == nil {
				r.cells[s.X] = cell{}
			}
			r.cells[s.X][s.Round] = v
			r.errors += s.Values["errors"]
		}
		// Who was saturated at a low rate has come without the higher ones.
		slices.SortStableFunc(points, func(a, b sample.X) int { return cmp.Compare(a.Rate, b.Rate) })
		if len(points) > 0 {
			p.table(t, points, rows)
		}
	}
	for _, what := range slices.Sorted(maps.Keys(missing)) {
		fmt.Fprintf(t, "\nmissing: %s: %s", what, missing[what])
	}
	fmt.Fprintln(t)
	return t.Flush()
}

func (p *plot) table(w io.Writer, points []sample.X, rows map[string]*row) {
	sorted := slices.SortedFunc(maps.Values(rows), func(a, b *row) int {
		x, y := a.cells[points[0]].median(), b.cells[points[0]].median()
		if higher(p.shown) {
			x, y = y, x
		}
		return cmp.Or(cmp.Compare(min(1, a.errors), min(1, b.errors)), cmp.Compare(x, y), cmp.Compare(a.server, b.server))
	})
	compared := !higher(p.shown) && strings.Contains(p.shown, "/")
	fmt.Fprintf(w, "\n%s: %s", p.name, p.shown)
	if compared {
		fmt.Fprintf(w, " (times that of %s, of nethttp)", sample.Floor)
	}
	fmt.Fprint(w, "\nserver")
	for _, x := range points {
		fmt.Fprintf(w, "\t%s", label(x, points))
	}
	fmt.Fprintln(w)
	for _, r := range sorted {
		fmt.Fprint(w, r.server)
		if r.errors > 0 {
			fmt.Fprintf(w, " !%.0f failures", r.errors)
		}
		for _, x := range points {
			c, ok := r.cells[x]
			if !ok {
				fmt.Fprint(w, "\t-")
				continue
			}
			fmt.Fprintf(w, "\t%s", figure(c.median()))
			if compared {
				fmt.Fprintf(w, " (%s %s)", ratio(c, rows[sample.Floor], x), ratio(c, rows["nethttp"], x))
			}
		}
		fmt.Fprintln(w)
	}
}

func ratio(c cell, to *row, x sample.X) string {
	if to == nil || to.cells[x] == nil {
		return "-"
	}
	return strconv.FormatFloat(c.over(to.cells[x]), 'f', 2, 64)
}

// figure has three digits that count.
func figure(v float64) string {
	switch {
	case v >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	default:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
}

// label is what sets x apart from the other points.
func label(x sample.X, points []sample.X) string {
	value := func(x sample.X, name string) string {
		for _, f := range fields(x) {
			if f.name == name {
				return f.value
			}
		}
		return "0"
	}
	var parts []string
	for _, other := range points {
		for _, f := range fields(other) {
			if part := f.name + "=" + value(x, f.name); !slices.Contains(parts, part) &&
				slices.ContainsFunc(points, func(p sample.X) bool { return value(p, f.name) != value(x, f.name) }) {
				parts = append(parts, part)
			}
		}
	}
	if parts == nil {
		return "all"
	}
	return strings.Join(parts, " ")
}
