//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isbjorn/isbjorn/bench/internal/sample"
	"github.com/isbjorn/isbjorn/bench/load/openloop"
)

// bench is what holds for the whole run.
type bench struct {
	ctx          context.Context
	dir          string // for files
	seconds      int    // of one measurement
	server, load unix.CPUSet
	missing      map[string]string
	progress     io.Writer
}

// subject is a server that runs and whose answers were checked.
type subject struct {
	*bench
	*process
	answer map[string]int // length by head
}

// warmUp is the number of requests on each connection before a server is measured.
const warmUp = 200

// subject starts a server, checks it, and warms it up.
func (b *bench) subject(of built, cost string, as use) (*subject, error) {
	p, err := start(b.ctx, of, b.dir, cost, b.server)
	if err != nil {
		return nil, err
	}
	s := &subject{b, p, map[string]int{}}
	for _, head := range []string{"hello", "browser"} {
		if s.answer[head], err = check(s.addr, head); err != nil {
			s.stop()
			return nil, err
		}
	}
	times := warmUp
	if cost != "" {
		times = warmUp / conns
	}
	if as != cold {
		list, err := dial(s.addr, conns)
		if err == nil {
			err = list.exchange(requests["hello"], s.answer["hello"], times)
			list.close()
		}
		if err != nil {
			s.stop()
			return nil, err
		}
	}
	return s, nil
}

// errSaturated comes with the last measurement that makes sense.
var errSaturated = errors.New("saturated")

func one(x sample.X, values map[string]float64) []sample.Sample {
	return []sample.Sample{{X: x, Values: values}}
}

// loaded is what a closed loop and the server's clock tell, with the CPU time and the
// rate under the names cpu and rate.
func (s *subject) loaded(cpu, rate string, generate func() (generated, error)) (generated, map[string]float64, error) {
	before := s.cpu()
	g, err := generate()
	if err != nil {
		return g, nil, err
	}
	if g.requests == 0 {
		return g, nil, fmt.Errorf("no answer; %d failures", g.errors)
	}
	return g, map[string]float64{
		"requests": float64(g.requests), "errors": float64(g.errors), rate: g.rate,
		cpu: (s.cpu() - before).Seconds() * 1e6 / float64(g.requests),
	}, s.alive()
}

func (s *subject) url() string { return "http://" + s.addr + "/" }

func (s *subject) wrk(x sample.X, answer int) (generated, error) {
	x = whole(x)
	return wrk(s.ctx, s.bench, s.url(), strings.Repeat(requests[x.Head], x.Depth), answer, x.Conns)
}

func closedLoop(s *subject, x sample.X) ([]sample.Sample, error) {
	g, values, err := s.loaded("cpu-us/req", "req/s", func() (generated, error) { return s.wrk(x, s.answer[whole(x).Head]) })
	if err == nil && x.Cost != "" {
		values["p50-us"], values["p99-us"] = g.p50, g.p99
	}
	return one(x, values), err
}

func byTool(s *subject, x sample.X) ([]sample.Sample, error) {
	for _, t := range toolbox {
		if t.name == x.Tool {
			asked := whole(x)
			_, values, err := s.loaded("cpu-us/req", "req/s", func() (generated, error) {
				return t.run(s.ctx, s.bench, s.url(), requests[asked.Head], s.answer[asked.Head], asked.Conns)
			})
			return one(x, values), err
		}
	}
	return nil, fmt.Errorf("no tool %q", x.Tool)
}

func shortLived(s *subject, x sample.X) ([]sample.Sample, error) {
	answer, err := check(s.addr, "close")
	if err != nil {
		return nil, err
	}
	asked := x
	asked.Head = "close"
	_, values, err := s.loaded("cpu-us/conn", "conn/s", func() (generated, error) { return s.wrk(asked, answer) })
	return one(x, values), err
}

func (s *subject) open(x sample.X, seconds int) (*openloop.Result, error) {
	x = whole(x)
	return undisturbed(x.Rate, func() (*openloop.Result, error) {
		return openloop.Run(s.ctx, openloop.Load{Addr: s.addr, Request: requests[x.Head], Answer: s.answer[x.Head],
			Conns: x.Conns, Rate: x.Rate, Duration: time.Duration(seconds) * time.Second})
	})
}

// undisturbed measures once more if another process took the generator's processor.
func undisturbed(rate float64, load func() (*openloop.Result, error)) (*openloop.Result, error) {
	r, err := load()
	if err != nil || r.KeptUp() || saturated(r, rate) {
		return r, err
	}
	return load()
}

// saturated says that a server cannot answer so much.
func saturated(r *openloop.Result, rate float64) bool { return r.Answered < 0.95*rate }

func microseconds(ns int64) float64 { return float64(ns) / 1e3 }

// offered has no latency where the generator was late itself.
func offered(s *subject, x sample.X) ([]sample.Sample, error) {
	r, err := s.open(x, s.seconds)
	if err != nil {
		return nil, err
	}
	values := map[string]float64{
		"requests": float64(r.Requests), "errors": float64(r.Errors), "req/s": r.Answered,
		"late-p99-us": microseconds(r.Late.ValueAtQuantile(99)), "busy": r.Busy,
	}
	if r.KeptUp() {
		for _, q := range []float64{50, 90, 99, 99.9} {
			values[fmt.Sprintf("p%g-us", q)] = microseconds(r.Latency.ValueAtQuantile(q))
		}
		values["max-us"] = microseconds(r.Latency.Max())
	}
	if saturated(r, x.Rate) {
		err = errSaturated
	}
	return one(x, values), err
}

var quantiles = []float64{0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 0.9995, 0.9999, 1}

func curve(s *subject, x sample.X) (list []sample.Sample, err error) {
	r, err := s.open(x, 2*s.seconds)
	switch {
	case err != nil:
		return nil, err
	case !r.KeptUp():
		return nil, fmt.Errorf("the load generator could not keep up with %g requests a second: late by %v, busy %.2f",
			x.Rate, time.Duration(r.Late.ValueAtQuantile(99)), r.Busy)
	}
	for _, q := range quantiles {
		x.Quantile = q
		list = append(list, one(x, map[string]float64{
			"latency-us": microseconds(r.Latency.ValueAtQuantile(100 * q)),
			"requests":   float64(r.Requests), "errors": float64(r.Errors + r.Unanswered)})...)
	}
	return list, nil
}

// settleTime is how long a server has to give back what opening connections took.
const settleTime = time.Second

func idle(s *subject, x sample.X) ([]sample.Sample, error) {
	before := s.rss()
	list, err := dial(s.addr, x.Conns)
	if err != nil {
		return nil, err
	}
	defer list.close()
	for _, c := range list { // one by one: nothing else is under way
		if err := exchange(c, requests["hello"], s.answer["hello"], 1); err != nil {
			return nil, err
		}
	}
	if err := s.sleep(settleTime); err != nil {
		return nil, err
	}
	values := map[string]float64{"rss-B": s.rss()}
	if x.Conns > 0 {
		values["B/conn"] = (values["rss-B"] - before) / float64(x.Conns)
	}
	return one(x, values), s.alive()
}

func stalled(s *subject, x sample.X) ([]sample.Sample, error) {
	list, err := stall(s.ctx, s.addr, x.Conns)
	if err != nil {
		return nil, err
	}
	defer list.close()
	return one(x, map[string]float64{"rss-B": s.rss()}), s.alive()
}

// tracedRequests are sent on each connection, so many that what a server does anyway is
// little beside it. strace makes every call a hundred times slower.
const tracedRequests = 96

// systemCalls counts those of a server with conns connections, which ask in lockstep, so
// that as under load it finds several that are ready.
func systemCalls(s *subject, x sample.X) ([]sample.Sample, error) {
	if why := s.missing["strace"]; why != "" {
		return nil, errors.New(why)
	}
	asked := whole(x)
	list, err := dial(s.addr, asked.Conns)
	if err != nil {
		return nil, err
	}
	defer list.close()
	ask := func(times int) error {
		return list.exchange(strings.Repeat(requests[asked.Head], asked.Depth), s.answer[asked.Head]*asked.Depth, times)
	}
	if err := ask(1); err != nil { // accepted
		return nil, err
	}
	times := tracedRequests / asked.Depth
	calls, err := straceCalls(s.dir, s.load, s.tree(), func() error { return ask(times) })
	if err != nil {
		return nil, err
	}
	n := float64(asked.Conns * asked.Depth * times)
	return one(x, map[string]float64{"syscalls/req": float64(calls) / n, "requests": n}), s.alive()
}

func (b *bench) sleep(d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-b.ctx.Done():
		return b.ctx.Err()
	}
}
