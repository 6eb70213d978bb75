//go:build linux

package main

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// generated is what a closed loop tells.
type generated struct {
	requests, errors int
	rate             float64 // requests a second
	p50, p99         float64 // microseconds; of wrk alone
}

// tool is a load generator that is installed.
type tool struct {
	name, pkg, version string
	run                func(ctx context.Context, b *bench, url, request string, answer, conns int) (generated, error)
}

var toolbox = []tool{
	{"wrk", "wrk", "-v", wrk},
	{"hey", "hey", "", hey},
	{"h2load", "nghttp2-client", "--version", h2load},
	{"strace", "strace", "-V", nil},
}

//go:embed wrk.lua
var wrkScript []byte

var wrkLine = regexp.MustCompile(`(?m)^load: (\d+) (\d+) (\d+) (\d+) (\d+) (\d+)$`)

// wrk writes request, which may be several, on conns connections, and expects answers of
// answer bytes each.
func wrk(ctx context.Context, b *bench, url, request string, answer, conns int) (g generated, err error) {
	script, bytes := filepath.Join(b.dir, "wrk.lua"), filepath.Join(b.dir, "request")
	if err := os.WriteFile(script, wrkScript, 0o600); err != nil {
		return g, err
	}
	if err := os.WriteFile(bytes, []byte(request), 0o600); err != nil {
		return g, err
	}
	out, err := run(ctx, "wrk", fmt.Sprintf("-t%d", min(b.load.Count(), conns)), fmt.Sprintf("-c%d", conns),
		fmt.Sprintf("-d%ds", b.seconds), "-s", script, url, "--", bytes)
	m := wrkLine.FindStringSubmatch(out)
	if err != nil || m == nil {
		return g, fmt.Errorf("wrk: %v: %s", err, lastLine(out))
	}
	var n [7]float64
	for i := range n[1:] {
		n[i+1], _ = strconv.ParseFloat(m[i+1], 64)
	}
	g = generated{requests: int(n[1]), errors: int(n[4]), rate: n[1] / n[3] * 1e6, p50: n[5], p99: n[6]}
	// Answers that are shorter or longer than the one that was checked are others.
	if each := n[2] / max(1, n[1]); g.requests > 0 && (each < 0.98*float64(answer) || each > 1.02*float64(answer)) {
		g.errors += g.requests
	}
	return g, nil
}

var heyStatus = regexp.MustCompile(`(?m)^\s+\[(\d+)\]\s+(\d+) responses$`)
var heyError = regexp.MustCompile(`(?m)^\s+\[(\d+)\]\s+\D`)
var heyRate = regexp.MustCompile(`Requests/sec:\s+([\d.]+)`)

func hey(ctx context.Context, b *bench, url, _ string, _, conns int) (g generated, err error) {
	out, err := run(ctx, "hey", "-z", fmt.Sprintf("%ds", b.seconds), "-c", strconv.Itoa(conns), "-cpus", strconv.Itoa(b.load.Count()), url)
	if err != nil {
		return g, fmt.Errorf("hey: %v: %s", err, lastLine(out))
	}
	for _, m := range heyStatus.FindAllStringSubmatch(out, -1) {
		n, _ := strconv.Atoi(m[2])
		if m[1] == "200" {
			g.requests += n
		} else {
			g.errors += n
		}
	}
	if _, distribution, ok := strings.Cut(out, "Error distribution:"); ok {
		for _, m := range heyError.FindAllStringSubmatch(distribution, -1) {
			n, _ := strconv.Atoi(m[1])
			g.errors += n
		}
	}
	if m := heyRate.FindStringSubmatch(out); m != nil {
		g.rate, _ = strconv.ParseFloat(m[1], 64)
	}
	return g, nil
}

var h2loadRequests = regexp.MustCompile(`requests: \d+ total, \d+ started, \d+ done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout`)
var h2loadRate = regexp.MustCompile(`finished in [\d.]+\w+, ([\d.]+) req/s`)

func h2load(ctx context.Context, b *bench, url, _ string, _, conns int) (g generated, err error) {
	threads := min(b.load.Count(), conns)
	out, err := run(ctx, "h2load", "--h1", "-D", strconv.Itoa(b.seconds), "-c", strconv.Itoa(conns),
		"-t", strconv.Itoa(threads), url)
	m, rate := h2loadRequests.FindStringSubmatch(out), h2loadRate.FindStringSubmatch(out)
	if err != nil || m == nil || rate == nil {
		return g, fmt.Errorf("h2load: %v: %s", err, lastLine(out))
	}
	g.requests, _ = strconv.Atoi(m[1])
	for _, failed := range m[3:] { // failed is the sum of errored and others
		n, _ := strconv.Atoi(failed)
		g.errors += n
	}
	g.rate, _ = strconv.ParseFloat(rate[1], 64)
	return g, nil
}
