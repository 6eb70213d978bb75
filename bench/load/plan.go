//go:build linux

package main

import (
	"cmp"
	"time"

	"github.com/isbjorn/isbjorn/bench/internal/sample"
)

// plot is one line of the plan: every server at every point.
type plot struct {
	name    string
	servers string
	points  []sample.X
	quick   []sample.X // the points of a quick run
	rounds  int        // at most; 0 for no limit
	process use        // of a process
	measure func(*subject, sample.X) ([]sample.Sample, error)
	shown   string // the unit in the table at the end
}

// use is how a process of a server is used.
type use int

const (
	warm  use = iota // warmed, and measured at all points
	fresh            // the same, for one point
	cold             // for one point, before anything was asked but to check it
)

const (
	web          = "isbjorn isbjorn-nethttp nethttp fasthttp hertz nbio gnet nginx h2o"
	everybody    = web + " floor"
	quickServers = "isbjorn isbjorn-nethttp nethttp fasthttp nginx floor"
	conns        = 64 // where nothing else is said
)

// plan is what is measured. Memory and system calls hardly differ from round to round.
var plan = []plot{
	{sample.CPU, everybody + " isbjorn-pgo isbjorn-v3 isbjorn-pgo-v3",
		with(conns, cross(heads("hello", "browser"), depths(1, 16))), nil,
		0, warm, closedLoop, "cpu-us/req"},
	{sample.Depth, "isbjorn nethttp fasthttp hertz gnet nginx floor",
		depths(1, 2, 4, 8, 16, 32), depths(1, 4, 16),
		0, warm, closedLoop, "cpu-us/req"},
	{sample.Conns, "isbjorn nethttp fasthttp hertz gnet nbio nginx",
		connections(1, 4, 16, 64, 256, 1024, 4096), connections(1, 64, 1024),
		0, warm, closedLoop, "req/s"},
	{sample.Tools, "isbjorn nethttp fasthttp hertz nginx",
		with(conns, tools("wrk", "hey", "h2load")), nil,
		0, warm, byTool, "req/s"},
	{sample.Short, "isbjorn isbjorn-nethttp nethttp fasthttp hertz nbio nginx h2o",
		[]sample.X{{}}, nil,
		0, warm, shortLived, "cpu-us/conn"},
	{sample.Handler, "isbjorn-nethttp nethttp",
		with(conns, costs("none", "work 10us", "work 1ms", "sleep 5ms")), with(conns, costs("none", "work 1ms", "sleep 5ms")),
		0, fresh, closedLoop, "req/s"},
	{sample.Rate, "isbjorn isbjorn-nethttp nethttp fasthttp hertz nginx",
		with(conns, rates(5e3, 20e3, 40e3, 60e3, 80e3, 100e3, 120e3)), with(conns, rates(10e3, 40e3, 80e3)),
		0, warm, offered, "p99-us"},
	{sample.Percentile, "isbjorn isbjorn-nethttp nethttp fasthttp hertz nginx",
		with(conns, rates(20e3)), nil,
		0, warm, curve, "latency-us"},
	{sample.Idle, web,
		connections(0, 1000, 10_000), connections(0, 1000),
		1, cold, idle, "B/conn"},
	{sample.Stalled, web,
		connections(0, 64), connections(64),
		1, cold, stalled, "rss-B"},
	{sample.Syscalls, everybody,
		cross(heads("hello"), depths(1, 16)), nil,
		1, warm, systemCalls, "syscalls/req"},
}

// startTime is about what it takes to start a server, to check and to warm it.
const startTime = 900 * time.Millisecond

// takes is about how long p measures a server at a point.
func (p *plot) takes(seconds int) time.Duration {
	switch p.name {
	case sample.Idle:
		return 1300 * time.Millisecond
	case sample.Stalled:
		return 1500 * time.Millisecond
	case sample.Syscalls:
		return 1500 * time.Millisecond
	case sample.Percentile:
		seconds *= 2
	}
	return time.Duration(seconds)*time.Second + 150*time.Millisecond
}

// whole is x with what it does not say: hello, one at a time, on conns connections.
func whole(x sample.X) sample.X {
	x.Head = cmp.Or(x.Head, "hello")
	x.Depth = cmp.Or(x.Depth, 1)
	x.Conns = cmp.Or(x.Conns, conns)
	return x
}

// with says the number of connections.
func with(conns int, xs []sample.X) []sample.X {
	for i := range xs {
		xs[i].Conns = conns
	}
	return xs
}

func heads(names ...string) (xs []sample.X) {
	for _, name := range names {
		xs = append(xs, sample.X{Head: name})
	}
	return xs
}

func depths(depths ...int) (xs []sample.X) {
	for _, depth := range depths {
		xs = append(xs, sample.X{Depth: depth})
	}
	return xs
}

// cross is each of heads with the depth of each of depths.
func cross(heads, depths []sample.X) (xs []sample.X) {
	for _, h := range heads {
		for _, d := range depths {
			h.Depth = d.Depth
			xs = append(xs, h)
		}
	}
	return xs
}

func connections(numbers ...int) (xs []sample.X) {
	for _, n := range numbers {
		xs = append(xs, sample.X{Conns: n})
	}
	return xs
}

func tools(names ...string) (xs []sample.X) {
	for _, name := range names {
		xs = append(xs, sample.X{Tool: name, Head: "hello"})
	}
	return xs
}

func costs(costs ...string) (xs []sample.X) {
	for _, cost := range costs {
		xs = append(xs, sample.X{Cost: cost})
	}
	return xs
}

func rates(rates ...float64) (xs []sample.X) {
	for _, rate := range rates {
		xs = append(xs, sample.X{Rate: rate})
	}
	return xs
}
