package main

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/perf/benchfmt"
)

const (
	// conns are the connections of the load, and the requests (or batches of
	// them) that a server finds when it is woken.
	conns = 64

	ratio = "x-beside" // CPU time by that of -beside in the same pair
)

var depths = []int{1, 16} // requests written at once

// loopback makes a subject for each depth: the CPU time of -program per request.
func (g *gate) loopback(ctx context.Context) (subjects []*subject) {
	for _, depth := range depths {
		name := fmt.Sprintf("Loopback/head=hello/depth=%d", depth)
		subjects = append(subjects, &subject{name: name, pair: func(first, second *build) (a, b *benchfmt.Result, err error) {
			err = pinned(g.cpu, func() error {
				a, b, err = loopbackPair(ctx, name, depth, first.program, g.besides, second.program)
				return err
			})
			return a, b, err
		}})
	}
	return subjects
}

// loopbackPair measures first, what is beside them if there is such, and second, then in
// the opposite order, and all of that again. The servers are new each time: how the memory of
// a process happens to lie is a matter of percents.
func loopbackPair(
	ctx context.Context, name string, depth int, first, beside, second string,
) (a, b *benchfmt.Result, err error) {
	paths := []string{first, second, beside}
	if beside == "" {
		paths = paths[:2]
	}
	var loads []*load
	for _, path := range paths {
		l, err := newLoad(ctx, path, depth)
		if err != nil {
			return nil, nil, err
		}
		defer l.stop()
		loads = append(loads, l)
	}
	order := []int{0, 2, 1, 1, 2, 0}
	for _, l := range append(order, order...) {
		if l == len(loads) {
			continue
		}
		if err := loads[l].slice(); err != nil {
			return nil, nil, err
		}
	}
	result := func(l *load) *benchfmt.Result {
		r := &benchfmt.Result{
			Name: benchfmt.Name(name), Iters: l.requests,
			Values: []benchfmt.Value{{Value: l.perRequest(), Unit: cpuUsed}},
		}
		if beside != "" {
			r.Values = append(r.Values, benchfmt.Value{Value: l.perRequest() / loads[2].perRequest(), Unit: ratio})
		}
		return r
	}
	return result(loads[0]), result(loads[1]), nil
}

// load is a server under load, and what it has used for how many requests.
type load struct {
	server   *server
	client   *client
	requests int
	used     time.Duration
}

func newLoad(ctx context.Context, path string, depth int) (*load, error) {
	s, err := serve(ctx, path)
	if err != nil {
		return nil, err
	}
	c, err := dial(s.addr, conns, depth)
	if err != nil {
		s.kill()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	l := &load{server: s, client: c}
	for range 4 { // connections that are accepted, pools that are filled
		if err := c.round(); err != nil {
			l.stop()
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	return l, nil
}

func (l *load) stop() {
	l.client.close()
	l.server.kill()
}

// slice has the server work for about that time.
func (l *load) slice() error {
	pid := l.server.cmd.Process.Pid
	before, err := cpuTime(pid)
	if err != nil {
		return err
	}
	used := time.Duration(0)
	for used < slice {
		if err := l.client.round(); err != nil {
			return fmt.Errorf("%s: %w", l.server.cmd, err)
		}
		now, err := cpuTime(pid)
		if err != nil {
			return err
		}
		used = now - before
		l.requests += conns * l.client.depth
	}
	l.used += used
	return nil
}

// perRequest is CPU time in microseconds.
func (l *load) perRequest() float64 {
	return float64(l.used.Nanoseconds()) / 1e3 / float64(l.requests)
}
