package main

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/isbjorn/isbjorn/bench/internal/sample"
)

// nethttp is the server that everybody knows.
const nethttp = "nethttp"

// figure is what the report shows of one plot.
type figure struct {
	plot   string
	title  string
	shows  string  // one sentence
	reads  string  // how to read it
	values []value // each has a panel
	along  *along  // nil: the servers beside each other
	level  bool    // panels in the same unit have the same range
	to     string  // the server that the ratios are to
	ratios bool    // and nothing but these is drawn
}

// value is one of the values of a sample.
type value struct {
	unit  string // as in sample.Sample
	title string // of its axis, with the unit in which it is shown
	per   float64
	log   bool
	more  bool // is better
}

// along is a field of X that has an axis.
type along struct {
	title string
	take  func(*sample.X) float64 // and leaves X without it
	kind  kind
}

var (
	byConns = func(x *sample.X) float64 { v := x.Conns; x.Conns = 0; return float64(v) }
	byDepth = func(x *sample.X) float64 { v := x.Depth; x.Depth = 0; return float64(v) }
	byRate  = func(x *sample.X) float64 { v := x.Rate; x.Rate = 0; return v }
	byTail  = func(x *sample.X) float64 { v := x.Quantile; x.Quantile = 0; return v }

	cpuPerRequest = value{unit: "cpu-us/req", title: "CPU time per request (µs, log scale)", log: true}
	requests      = value{unit: "req/s", title: "requests per second", more: true}
)

// figures are all plots, in the order of the report.
var figures = []figure{{
	plot: sample.CPU, title: "CPU time per request", to: sample.Floor,
	shows:  "What one request costs the server: user and system time of the whole process, the kernel's work for it included.",
	reads:  "The vertical line is the floor, a loop in C that knows no HTTP; the distance of a dot from it, on a scale of ratios, is what a server adds. Left is better.",
	values: []value{cpuPerRequest},
}, {
	plot: sample.Conns, title: "Requests per second over connections",
	shows:  "How the rate holds from one client to thousands, each asking again as soon as it is answered.",
	reads:  "Up is better. Where lines meet at the top, the load generator is the limit and not the server: compare CPU time there.",
	values: []value{requests}, along: &along{"connections (log scale)", byConns, steps},
}, {
	plot: sample.Rate, title: "Latency over offered rate",
	shows: "How long answers take at a rate that does not wait for them, so that a slow answer does not hide those behind it.",
	reads: "Down is better, and to the right. Each line rises where its server has no more to give; a hollow mark says that it answered less than was offered.",
	values: []value{
		{unit: "p50-us", title: "median (ms, log scale)", per: 1000, log: true},
		{unit: "p99-us", title: "99th percentile (ms, log scale)", per: 1000, log: true},
		{unit: "p99.9-us", title: "99.9th percentile (ms, log scale)", per: 1000, log: true},
	},
	along: &along{"offered requests per second", byRate, numbers}, level: true,
}, {
	plot: sample.Percentile, title: "Latency by percentile at a fixed rate",
	shows:  "The same requests at one rate for all, from the usual answer to the slowest ones.",
	reads:  "Each step to the right is a tenth of the answers before it. Down is better; a flat line has no bad surprises.",
	values: []value{{unit: "latency-us", title: "latency (ms, log scale)", per: 1000, log: true}},
	along:  &along{"percentile of the answers (log scale of the rest)", byTail, tail},
}, {
	plot: sample.Depth, title: "Pipelining",
	shows: "What requests cost that a client writes at once, without waiting for answers.",
	reads: "What one read and one write cost is shared by all that are in them, so a server that takes them together falls with the depth.",
	values: []value{
		cpuPerRequest,
		{unit: "req/s", title: "requests per second (log scale)", log: true, more: true},
	},
	along: &along{"requests written at once (log scale)", byDepth, steps},
}, {
	plot: sample.Short, title: "Short-lived connections", to: nethttp,
	shows: "A connection for each request: accept, answer, close.",
	reads: "The line is net/http. Less CPU time and more connections are better.",
	values: []value{
		{unit: "cpu-us/conn", title: "CPU time per connection (µs)"},
		{unit: "conn/s", title: "connections per second", more: true},
	},
}, {
	plot: sample.Idle, title: "Memory of idle connections",
	shows: "Connections that were answered once and stay open. The kernel's share is not in it.",
	reads: "Down is better. The left side has all that is resident, the right side what each connection adds.",
	values: []value{
		{unit: "rss-B", title: "resident memory (MiB, log scale)", per: 1 << 20, log: true},
		{unit: "B/conn", title: "bytes per connection (log scale)", log: true},
	},
	along: &along{"idle connections (log scale)", byConns, steps}, level: true,
}, {
	plot: sample.Stalled, title: "Memory with stalled readers",
	shows:  "Clients that ask for much and read nothing.",
	reads:  "Down is better. What a server keeps for clients that do not take it is what they can make it keep.",
	values: []value{{unit: "rss-B", title: "resident memory (MiB, log scale)", per: 1 << 20, log: true}},
	along:  &along{"clients that do not read (log scale)", byConns, steps}, level: true,
}, {
	plot: sample.Handler, title: "By what the handler costs", to: nethttp, ratios: true,
	shows:  "The same handler by each server, from one that does nothing to one that computes or sleeps.",
	reads:  "The line is net/http. The first panel is better to the right of it, the others to the left. A server that runs handlers on its loop loses where they take time.",
	values: []value{requests, cpuPerRequest, {unit: "p50-us", title: "median of the latency (ms)", per: 1000}, {unit: "p99-us", title: "99th percentile of the latency (ms)", per: 1000}},
}, {
	plot: sample.Syscalls, title: "System calls per request", to: sample.Floor,
	shows:  "All system calls of the server under load, over the requests that it answered.",
	reads:  "One read and one write make 2, and the line is the floor. Pipelined requests share theirs. Left is better.",
	values: []value{{unit: "syscalls/req", title: "system calls per request"}},
}, {
	plot: sample.Tools, title: "The same by other load generators", to: nethttp,
	shows:  "A check of the measurement itself: what a server costs must not hang on who asks.",
	reads:  "The line is net/http. Times may differ from panel to panel, as generators write and read in their own ways; order and ratios should hold.",
	values: []value{cpuPerRequest},
}}

// panel is one pair of axes.
type panel struct {
	value
	relative bool   // its values are ratios
	about    string // what it has that the other panels have not
	series   []series
}

type series struct {
	server   string
	label    string // "": the server's name
	points   []point
	absolute float64 // the last one, as it is shown
}

type point struct {
	x float64
	cell
}

// fewest is how many points a line needs. Fewer are shown beside each other.
const fewest = 3

// panels makes the panels of a figure, and says what all of them have in common. Servers
// that do well come first. lines says whether they are along an axis.
func (f *figure) panels(r results) (panels []panel, common string, lines bool) {
	if f.ratios {
		panels, common = f.relative(r)
		return panels, common, false
	}
	points := map[float64]bool{}
	for _, x := range r.xs() {
		if f.along != nil {
			points[f.along.take(&x)] = true
		}
	}
	lines = len(points) >= fewest
	rest := map[sample.X][]sample.X{} // the X of a panel
	for _, x := range r.xs() {
		about := x
		if lines {
			f.along.take(&about)
		}
		rest[about] = append(rest[about], x)
	}
	abouts := slices.SortedFunc(maps.Keys(rest), compareX)
	isCommon := inAll(abouts)
	for _, about := range abouts {
		words := describe(about)
		if f.along != nil && !lines {
			short := about
			at := f.along.take(&short)
			words = append(describe(short), number(at)+" "+plain(f.along.title))
		}
		common = strings.Join(slices.DeleteFunc(slices.Clone(words), func(w string) bool { return !isCommon(w) }), ", ")
		for _, v := range f.values {
			p := panel{value: v, about: strings.Join(slices.DeleteFunc(slices.Clone(words), isCommon), ", ")}
			for server, byX := range r {
				s := series{server: server}
				for _, x := range rest[about] {
					if c, ok := byX[x].cell(v.unit, x.Rate, r[f.to][x]); ok {
						at := 0.0
						if lines {
							at = f.along.take(&x)
						}
						s.points = append(s.points, point{at, c})
						s.absolute = v.shown(c.median)
					}
				}
				if len(s.points) > 0 {
					p.series = append(p.series, s)
				}
			}
			if len(p.series) > 0 {
				slices.SortFunc(p.series, p.better)
				panels = append(panels, p)
			}
		}
	}
	return panels, common, lines
}

// better compares two series by their last points. What is doubtful is never best.
func (p *panel) better(a, b series) int {
	last := func(s series) point { return s.points[len(s.points)-1] }
	doubt := func(s series) int {
		if slices.ContainsFunc(s.points, func(p point) bool { return p.errors > 0 }) {
			return 1
		}
		return 0
	}
	byValue := cmp.Compare(last(a).median, last(b).median)
	if p.more {
		byValue = -byValue
	}
	return cmp.Or(cmp.Compare(doubt(a), doubt(b)), byValue, cmp.Compare(a.server, b.server))
}

// shown is v in the unit of the panel.
func (v value) shown(x float64) float64 {
	if v.per != 0 {
		return x / v.per
	}
	return x
}
