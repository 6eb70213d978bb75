package main

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/isbjorn/isbjorn/bench/internal/sample"
)

// synthetic makes a run that looks like one: the same for the same servers. What a server
// costs is a factor, and how many system calls each pipelined request takes.
func synthetic() (sample.Run, []sample.Sample) {
	const rounds = 5
	random := rand.New(rand.NewPCG(1, 2))
	servers := []struct {
		name     string
		cost     float64 // of its own, us for a request
		batches  bool
		idle     float64 // B/conn
		parallel bool    // does not hold others up where a handler sleeps
	}{
		{"floor", 0.1, true, 40, false},
		{"isbjorn", 0.35, true, 480, true},
		{"isbjorn-nethttp", 2.1, true, 700, true},
		{"nethttp", 5.5, false, 20_000, true},
		{"fasthttp", 1.2, true, 6_100, true},
		{"celeris", 0.7, true, 2_900, false},
		{"hertz", 1.6, false, 4_200, true},
		{"gnet", 0.4, true, 900, false},
		{"nbio", 6.8, false, 1_500, true},
		{"nginx", 1.1, false, 560, false},
		{"h2o", 2.4, false, 800, false},
	}
	run := sample.Run{
		Began: time.Date(2026, 11, 20, 21, 0, 0, 0, time.UTC), Took: 3725, Command: "go run ./bench/load -rounds 5", Rounds: rounds,
		Machine:  sample.Machine{CPU: "AMD EPYC", Cores: 2, Memory: 8 << 30, Kernel: "Linux 6.18"},
		Pins:     map[string]string{"server": "0", "load": "1"},
		Versions: map[string]string{"wrk": "4.1.0"},
		Missing:  map[string]string{"bjoern": "there is no python3-dev"},
	}
	var all []sample.Sample
	for round := 1; round <= rounds; round++ {
		weather := 1 + 0.1*random.Float64()
		for _, s := range servers {
			run.Versions[s.name] = "1.2.3"
			noise := func(v float64) float64 {
				return math.Round(v*weather*(1+0.04*random.NormFloat64())*1000) / 1000
			}
			add := func(plot string, x sample.X, values map[string]float64) {
				all = append(all, sample.Sample{Plot: plot, Server: s.name, Round: round, X: x, Values: values})
			}
			cpu := func(head string, depth float64) float64 {
				system, parse := 5.5, 1.0
				if s.batches {
					system /= depth
				}
				if head == "browser" {
					parse = 1.8
				}
				return noise(system + 0.06 + 0.4*s.cost*parse + 0.6*s.cost*parse/math.Sqrt(depth))
			}
			perSecond := func(us float64) float64 { return math.Round(min(1e6/us, 1e6/(us/4+4.5))) }
			errors := 0.0
			if s.name == "h2o" {
				errors = 12
			}
			for _, head := range []string{"hello", "browser"} {
				for _, depth := range []int{1, 16} {
					us := cpu(head, float64(depth))
					add(sample.CPU, sample.X{Head: head, Depth: depth, Conns: 64}, map[string]float64{"cpu-us/req": us, "req/s": perSecond(us), "requests": 400_000, "errors": errors})
					calls := 2.01 + 0.3*s.cost
					if s.batches {
						calls /= float64(depth)
					}
					add(sample.Syscalls, sample.X{Head: head, Depth: depth}, map[string]float64{"syscalls/req": noise(calls)})
				}
			}
			for _, tool := range []string{"wrk", "hey", "ab", "h2load"} {
				if s.name == "isbjorn" || s.name == "nethttp" || s.name == "fasthttp" || s.name == "floor" {
					us := cpu("hello", 1) * (1 + float64(len(tool))/20)
					add(sample.Tools, sample.X{Tool: tool, Head: "hello", Conns: 64}, map[string]float64{"cpu-us/req": us, "req/s": perSecond(us), "requests": 400_000, "errors": 0})
				}
			}
			for depth := 1; depth <= 64; depth *= 2 {
				us := cpu("hello", float64(depth))
				add(sample.Depth, sample.X{Depth: depth}, map[string]float64{"cpu-us/req": us, "req/s": math.Round(1e6 / us), "requests": 1e6, "errors": errors})
			}
			for conns := 1; conns <= 4096; conns *= 4 {
				if s.name == "h2o" && conns > 1024 {
					continue
				}
				c := float64(conns)
				us := cpu("hello", 1) * (1 + 0.04*math.Log2(1+c/64))
				add(sample.Conns, sample.X{Conns: conns}, map[string]float64{"cpu-us/req": us, "req/s": math.Round(1e6 / (us + 22/c)), "requests": 1e5, "errors": errors})
			}
			if s.name != "floor" {
				capacity := 1e6 / cpu("hello", 1)
				for _, rate := range []float64{10_000, 20_000, 40_000, 60_000, 80_000, 100_000, 120_000} {
					load := rate / capacity
					wait := 1 / max(1-load, 0.02)
					p50 := 45 + 12*wait + s.cost
					if load > 1 {
						p50 = 2e5 * load
					}
					add(sample.Rate, sample.X{Rate: rate, Conns: 64}, map[string]float64{"req/s": min(rate*0.9995, noise(capacity)), "p50-us": noise(p50), "p90-us": noise(p50 * 1.6),
						"p99-us": noise(p50 * (2.5 + s.cost)), "p99.9-us": noise(p50 * (6 + 3*s.cost)), "max-us": noise(p50 * 20), "requests": rate * 3, "errors": 0})
				}
				for i, q := range []float64{0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999, 1} {
					add(sample.Percentile, sample.X{Rate: 40_000, Conns: 64, Quantile: q}, map[string]float64{"latency-us": noise(60 + 3*s.cost + 40*math.Pow(1.9+s.cost/10, float64(i)))})
				}
				costs := []struct {
					name  string
					us    float64
					sleep bool
				}{{"none", 0, false}, {"work 10us", 10, false}, {"work 1ms", 1000, false}, {"sleep 5ms", 5000, true}}
				for _, c := range costs {
					if s.name != "isbjorn-nethttp" && s.name != "nethttp" {
						continue
					}
					us := cpu("hello", 1)
					rate := 1e6 / (us + c.us)
					if c.sleep && s.parallel {
						rate = min(64e6/c.us, 1e6/us) * 0.97
					}
					add(sample.Handler, sample.X{Cost: c.name, Conns: 64}, map[string]float64{"req/s": noise(rate), "cpu-us/req": us + c.us, "p50-us": noise(64e6 / rate), "p99-us": noise(130e6 / rate), "requests": rate * 3, "errors": 0})
				}
				us := 30 + 4*cpu("hello", 1)
				add(sample.Short, sample.X{Conns: 64}, map[string]float64{"cpu-us/conn": noise(us), "conn/s": math.Round(1e6 / us), "requests": 50_000, "errors": 0})
			}
			for _, conns := range []int{0, 1000, 10_000} {
				v := map[string]float64{"rss-B": noise(8e6 + s.cost*1e6 + s.idle*float64(conns))}
				if conns > 0 {
					v["B/conn"] = noise(s.idle)
				}
				add(sample.Idle, sample.X{Conns: conns}, v)
			}
			for _, conns := range []int{0, 64} {
				add(sample.Stalled, sample.X{Conns: conns}, map[string]float64{"rss-B": noise(9e6 + float64(conns)*(3e4+2e4*s.cost))})
			}
		}
	}
	return run, all
}

// write puts a run in a new directory.
func write(t *testing.T, run sample.Run, samples []sample.Sample) (dir string) {
	t.Helper()
	dir = t.TempDir()
	writeTo(t, dir, run, samples)
	return dir
}

func writeTo(t *testing.T, dir string, run sample.Run, samples []sample.Sample) {
	t.Helper()
	text, err := json.Marshal(run)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "run.json"), text, 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(dir, "samples.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	if err := sample.Write(f, slices.Clone(samples)...); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}
