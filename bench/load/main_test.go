//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"go.uber.org/goleak"

	"github.com/isbjorn/isbjorn/bench/internal/sample"
	"github.com/isbjorn/isbjorn/bench/load/openloop"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func needWrk(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("wrk"); err != nil {
		t.Skip("wrk is not installed: apt-get install wrk")
	}
	if testing.Short() {
		t.Skip("it measures for seconds")
	}
}

// Every plot measures something. The figures of so short a run mean nothing.
func TestEveryPlot(t *testing.T) {
	needWrk(t)
	t.Parallel()
	all, err := processors()
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{ctx: t.Context(), dir: t.TempDir(), seconds: 1, missing: map[string]string{}, progress: io.Discard}
	b.server, b.load, _ = pins(all)
	versions := map[string]string{}
	equip(b.ctx, versions, b.missing)
	list, err := build(b.ctx, "../..", b.dir, []*server{&servers[0], &servers[1]}, versions, b.missing)
	if err != nil || len(list) != 2 {
		t.Fatal(err, list, b.missing)
	}
	few := map[string][]sample.X{
		sample.Tools:   tools("wrk", "hey", "h2load"),
		sample.Rate:    rates(2000, 1e6, 2e6), // the last is not asked: it is saturated before
		sample.Idle:    connections(0, 100),
		sample.Stalled: connections(4),
		sample.Handler: costs("work 10us"),
	}
	var tiny []plot
	measuring := map[string]string{}
	for _, p := range plan {
		measuring[p.name], _, _ = strings.Cut(p.servers, " ")
		p.servers = measuring[p.name]
		if p.points = p.points[:1]; few[p.name] != nil {
			p.points = few[p.name]
		}
		tiny = append(tiny, p)
	}
	samples := map[string][]sample.Sample{}
	var lines, tabled bytes.Buffer
	var flat []sample.Sample
	if err := b.run(steps(tiny, list, 1, 1), func(s sample.Sample) error {
		samples[s.Plot] = append(samples[s.Plot], s)
		flat = append(flat, s)
		return benchLine(&lines, s)
	}); err != nil {
		t.Fatal(err)
	}
	for _, p := range tiny {
		if why := b.missing[measuring[p.name]+", "+p.name]; strings.Contains(why, "strace") || strings.Contains(why, "could not keep up") {
			t.Logf("%s: %s", p.name, why)
			continue
		} else if why != "" {
			t.Errorf("%s: %s", p.name, why)
		}
		want := len(p.points)
		switch p.name {
		case sample.Rate:
			want--
		case sample.Percentile:
			want = len(quantiles)
		case sample.Tools:
			want = 1 + len(slices.DeleteFunc([]string{"hey", "h2load"}, func(tool string) bool { return b.missing[tool] != "" }))
		}
		if n := len(samples[p.name]); n != want {
			t.Errorf("%s: %d samples, want %d", p.name, n, want)
		}
		for _, s := range samples[p.name] {
			if _, ok := s.Values[p.shown]; !ok && p.name != sample.Rate && !(p.name == sample.Idle && s.X.Conns == 0) {
				t.Errorf("%+v: no %s", s, p.shown)
			}
			for unit, v := range s.Values {
				if unit == "errors" && v != 0 || unit != "errors" && unit != "B/conn" && !(v > 0) {
					t.Errorf("%+v: %s is %g", s, unit, v)
				}
			}
		}
	}
	if n := strings.Count(lines.String(), "\n"); n != len(flat) || n != strings.Count(lines.String(), "BenchmarkLoad/plot=") {
		t.Errorf("%d samples:\n%s", len(flat), lines.String())
	}
	if err := tables(&tabled, tiny, flat, b.missing); err != nil || !strings.Contains(tabled.String(), "syscalls/req") && b.missing["strace"] == "" && b.missing["isbjorn, syscalls"] == "" {
		t.Errorf("%v\n%s", err, tabled.String())
	}
}

// What is not the answer that was checked is a failure: by its status, or by its length.
func TestWrkCountsFailures(t *testing.T) {
	needWrk(t)
	t.Parallel()
	b := &bench{dir: t.TempDir(), seconds: 1}
	b.load.Set(0)
	for name, tt := range map[string]struct{ status, more int }{"good": {200, 0}, "status": {500, 0}, "length": {200, 20}} {
		out := fmt.Sprintf("HTTP/1.1 %d OK\r\nContent-Length: 13\r\n\r\nHello, World!", tt.status)
		g, err := wrk(t.Context(), b, "http://"+answering(t, func(int) string { return out })+"/", requests["hello"], len(out)+tt.more, 1)
		if err != nil || g.requests == 0 || (g.errors > 0) != (name != "good") {
			t.Errorf("%s: %+v, %v", name, g, err)
		}
	}
}

// Whatever ends the runner, no program of its own is left.
func TestNothingIsLeft(t *testing.T) {
	needWrk(t)
	t.Parallel()
	path := filepath.Join(t.TempDir(), "load")
	if out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGKILL} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel()
			dir, out := t.TempDir(), t.TempDir()
			runner := exec.Command(path, "-servers", "isbjorn", "-plots", "depth", "-out", out)
			runner.Env = append(os.Environ(), "TMPDIR="+dir)
			runner.Stderr = os.Stderr
			stdout, err := runner.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := runner.Start(); err != nil {
				t.Fatal(err)
			}
			late := time.AfterFunc(2*time.Minute, func() { _ = runner.Process.Kill() })
			defer late.Stop()
			begin := []byte("BenchmarkLoad/") // the first measurement is over, the second begins
			seen, b := []byte{}, make([]byte, 1000)
			for !bytes.Contains(seen, begin) {
				n, err := stdout.Read(b)
				if err != nil {
					t.Fatalf("%v: %s", err, seen)
				}
				seen = append(seen, b[:n]...)
			}
			if n := len(below(dir)); n == 0 {
				t.Error("no server runs")
			}
			if err := runner.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, stdout)
			if err := runner.Wait(); err == nil {
				t.Error("status 0")
			}
			for deadline := time.Now().Add(30 * time.Second); len(below(dir)) > 0; time.Sleep(10 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("left are %v", below(dir))
				}
			}
			if sig == syscall.SIGKILL {
				return
			}
			if files, _ := os.ReadDir(dir); len(files) > 0 {
				t.Errorf("%s is left", files[0].Name())
			}
			var r sample.Run
			if b, err := os.ReadFile(filepath.Join(out, "run.json")); err != nil || json.Unmarshal(b, &r) != nil || r.Versions["wrk"] == "" || r.Took <= 0 {
				t.Errorf("%v, %s", err, b)
			}
			if b, err := os.ReadFile(filepath.Join(out, "samples.jsonl")); err != nil {
				t.Error(err)
			} else if list, err := sample.Read(bytes.NewReader(b)); err != nil || len(list) == 0 {
				t.Errorf("%v, %v", list, err)
			}
		})
	}
}

// below are the processes whose program is in dir, or was.
func below(dir string) (pids []string) {
	files, _ := filepath.Glob("/proc/[0-9]*/exe")
	for _, file := range files {
		if target, err := os.Readlink(file); err == nil && strings.HasPrefix(target, dir+"/") {
			pids = append(pids, strings.Split(file, "/")[2])
		}
	}
	return pids
}

func TestParse(t *testing.T) {
	for args, want := range map[string]string{
		"-servers isbjorn,apache":    `there is no "apache"; there are isbjorn,`,
		"-plots cpu,nothing":         `there is no "nothing"; there are cpu,`,
		"-rounds -1":                 "-rounds",
		"-seconds 0":                 "-seconds",
		"more":                       "more",
		"-servers isbjorn, -quick=x": "invalid",
	} {
		if _, err := parse(strings.Fields(args), io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", args, err, want)
		}
	}
	o, err := parse(strings.Fields("-servers floor,isbjorn -plots conns -quick"), io.Discard)
	if err != nil || len(o.servers) != 2 || len(o.plan) != 1 || len(o.plan[0].points) != 3 || o.rounds != 1 {
		t.Errorf("%+v, %v", o, err)
	}
}

// By its estimates, of which a run shows how good they are, all of it ends in time.
func TestPlanIsShort(t *testing.T) {
	for args, most := range map[string]time.Duration{"": 19 * time.Minute, "-quick": 210 * time.Second} {
		o, err := parse(strings.Fields(args), io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		var list []built
		for _, s := range o.servers {
			list = append(list, built{server: s})
		}
		var planned time.Duration
		plots := map[string]bool{}
		for _, s := range steps(o.plan, list, o.rounds, o.seconds) {
			planned += s.takes
			plots[s.plot.name] = true
		}
		if planned > most || len(plots) != len(plan) {
			t.Errorf("%q: %d plots in %v, want %d in %v", args, len(plots), planned, len(plan), most)
		}
		t.Logf("%q: %v", args, planned)
	}
	for _, p := range plan {
		for name := range strings.FieldsSeq(p.servers) {
			if !slices.ContainsFunc(servers, func(s server) bool { return s.name == name }) {
				t.Errorf("%s has an unknown server %q", p.name, name)
			}
		}
	}
}

// In a round all servers have their turn, in every round the same plots but the counted.
func TestSteps(t *testing.T) {
	list := []built{{server: &servers[0]}, {server: &servers[2]}}
	two := []plot{{name: "x", servers: "nethttp floor isbjorn"}, {name: "y", servers: "isbjorn", rounds: 1}}
	var got []string
	for _, s := range steps(two, list, 2, 1) {
		got = append(got, fmt.Sprint(s.round, s.plot.name, s.server.name))
	}
	if want := []string{"1xnethttp", "1xisbjorn", "1yisbjorn", "2xnethttp", "2xisbjorn"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// answering listens and answers each head with what say makes of their number so far on
// the connection.
func answering(t *testing.T, say func(n int) string) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { answer(c, say) })
		}
	})
	t.Cleanup(func() { _ = l.Close(); running.Wait() })
	return l.Addr().String()
}

func answer(c net.Conn, say func(n int) string) {
	defer c.Close()
	for b, n := make([]byte, 64<<10), 0; ; {
		k, err := c.Read(b)
		if err != nil {
			return
		}
		for range bytes.Count(b[:k], []byte("\r\n\r\n")) {
			n++
			if _, err := io.WriteString(c, say(n)); err != nil {
				return
			}
		}
		if bytes.Contains(b[:k], []byte("close")) {
			return
		}
	}
}

func TestCheck(t *testing.T) {
	const good = "HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nHello, World!"
	always := func(s string) func(int) string { return func(int) string { return s } }
	if size, err := check(answering(t, always(good)), "browser"); err != nil || size != len(good) {
		t.Errorf("good: %d, %v", size, err)
	}
	if size, err := check(answering(t, always(good)), "close"); err != nil || size != len(good) {
		t.Errorf("close: %d, %v", size, err)
	}
	for name, tt := range map[string]struct {
		say  func(int) string
		want string
	}{
		"status":  {always(strings.Replace(good, "200", "500", 1)), "status 500"},
		"content": {always(strings.Replace(good, "World", "Wurld", 1)), "Wurld"},
		"chunked": {always("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nd\r\nHello, World!\r\n0\r\n\r\n"), "Content-Length -1"},
		"twice":   {always(good + "HTTP/1.1 100 Continue\r\n\r\n"), "answer"},
		"later": {func(n int) string {
			return strings.Replace(good, "World", map[bool]string{true: "Wurld", false: "World"}[n == 16], 1)
		}, "answer 15 of 16"},
		"length": {func(n int) string { return strings.Replace(good, "OK", strings.Repeat("O", 1+n/9), 1) }, "bytes"},
	} {
		if _, err := check(answering(t, tt.say), "hello"); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}

// A server that cannot be started says why.
func TestStartFails(t *testing.T) {
	all, err := processors()
	if err != nil {
		t.Fatal(err)
	}
	set, _, _ := pins(all)
	b := built{&server{command: func(string, string, string, int) ([]string, error) {
		return []string{"sh", "-c", "echo no luck >&2; exit 3"}, nil
	}}, ""}
	if _, err := start(t.Context(), b, t.TempDir(), "", set); err == nil || !strings.Contains(err.Error(), "no luck") || !strings.Contains(err.Error(), "status 3") {
		t.Errorf("%v", err)
	}
	b.command = func(string, string, string, int) ([]string, error) { return nil, errors.New("none") }
	if _, err := start(t.Context(), b, t.TempDir(), "", set); err == nil {
		t.Error("started")
	}
}

// The time of another process is that as a user and in the kernel, as wait4 tells it.
func TestCPU(t *testing.T) {
	p := busy(t, "dd", "if=/dev/zero", "of=/dev/null", "bs=1")
	told := p.cpu()
	p.stop()
	if used := p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime(); told < used*8/10 || told > used+10*time.Millisecond {
		t.Errorf("%v, and %v at the end: %v in the kernel", told, used, p.cmd.ProcessState.SystemTime())
	}
}

// Children count.
func TestTree(t *testing.T) {
	p := busy(t, "sh", "-c", "while :; do :; done & wait")
	defer p.stop()
	if n := len(p.tree()); n != 2 {
		t.Errorf("%d processes, want 2", n)
	}
	if got := p.rss(); got < 100<<10 || got > 100<<20 {
		t.Errorf("%g bytes", got)
	}
}

// busy is a command that has used some time.
func busy(t *testing.T, command ...string) *process {
	t.Helper()
	all, err := processors()
	if err != nil {
		t.Fatal(err)
	}
	set, _, _ := pins(all)
	p, err := launch(command, set)
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); p.cpu() < 200*time.Millisecond; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			p.stop()
			t.Fatalf("%v after a minute", p.cpu())
		}
	}
	return p
}

// A disturbed measurement is repeated, once. No other is.
func TestUndisturbed(t *testing.T) {
	late := hdrhistogram.New(1, 1e9, 3)
	_ = late.RecordValue(5e6)
	good := &openloop.Result{Late: hdrhistogram.New(1, 1e9, 3), Answered: 1000}
	disturbed := &openloop.Result{Late: late, Answered: 1000}
	slow := &openloop.Result{Late: late, Answered: 500}
	for name, tt := range map[string]struct{ first, second, want *openloop.Result }{
		"good":      {good, disturbed, good},
		"disturbed": {disturbed, good, good},
		"twice":     {disturbed, disturbed, disturbed},
		"saturated": {slow, good, slow},
	} {
		n := 0
		got, err := undisturbed(1000, func() (*openloop.Result, error) {
			n++
			return []*openloop.Result{tt.first, tt.second}[n-1], nil
		})
		if got != tt.want || err != nil {
			t.Errorf("%s: after %d: %+v, %v", name, n, got, err)
		}
	}
}

func TestStraceTotal(t *testing.T) {
	const table = `% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 60.00    0.060000           6       100           write
 40.00    0.040000           4        50        25 read
------ ----------- ----------- --------- --------- ----------------
100.00    0.100000           6       150        25 total
`
	if n, err := straceTotal(table); n != 150 || err != nil {
		t.Error(n, err)
	}
	if _, err := straceTotal("strace: not allowed"); err == nil {
		t.Error("a table without calls")
	}
}

// Ratios are taken round by round, and who fails is last, however fast.
func TestTables(t *testing.T) {
	x := sample.X{Head: "hello", Depth: 1, Conns: 64}
	var samples []sample.Sample
	for server, rounds := range map[string][]float64{"floor": {5, 50, 7}, "nethttp": {10, 100, 28}, "isbjorn": {6, 60, 8}, "liar": {1, 1, 1}} {
		for i, us := range rounds {
			s := sample.Sample{Plot: sample.CPU, Server: server, Round: i + 1, X: x, Values: map[string]float64{"cpu-us/req": us, "requests": 10, "errors": 0}}
			if server == "liar" && i == 1 {
				s.Values["errors"] = 3
			}
			samples = append(samples, s)
		}
	}
	var b bytes.Buffer
	if err := tables(&b, plan, samples, map[string]string{"h2o": "not there"}); err != nil {
		t.Fatal(err)
	}
	got := strings.Fields(b.String())
	want := strings.Fields(`cpu: cpu-us/req (times that of floor, of nethttp) server all
		floor 7.00 (1.00 0.50) isbjorn 8.00 (1.20 0.60) nethttp 28.0 (2.00 1.00) liar !3 failures 1.00 (0.14 0.04) missing: h2o: not there`)
	if !slices.Equal(got, want) {
		t.Errorf("%s", b.String())
	}
	b.Reset()
	if err := benchLine(&b, samples[0]); err != nil || !strings.HasPrefix(b.String(), "BenchmarkLoad/plot=cpu/server="+samples[0].Server+"/head=hello/depth=1/conns=64 10 ") || !strings.Contains(b.String(), " cpu-us/req") {
		t.Errorf("%v, %q", err, b.String())
	}
	if !math.IsNaN(median(nil)) || median([]float64{3, 1, 2}) != 2 || median([]float64{4, 1, 2, 3}) != 2.5 {
		t.Error("median")
	}
}
