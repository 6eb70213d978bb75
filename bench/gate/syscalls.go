package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/perf/benchfmt"
)

const (
	// Batches of a short sequence and of a long one. Only the difference counts, so
	// the start and the end of a server do not.
	shortRun = 20
	longRun  = 120

	// rest is before each batch, so that the server has gone to sleep, and goes to
	// sleep once for each: when the next batch is there already it does not.
	rest = 200 * time.Microsecond

	calls = "syscalls/batch"

	// ofRuntime are calls that the Go runtime makes as time goes by, for its monitor,
	// its own poller and its preemption: four for a batch, or none, as it happens.
	// What a change does to them shows in the CPU time over loopback.
	ofRuntime = "futex,nanosleep,sched_yield,epoll_pwait,getpid,tgkill,rt_sigreturn,rt_sigprocmask,madvise"
)

// systemCalls makes a subject for each depth: the system calls of -program for each batch
// of requests on one connection.
func (g *gate) systemCalls(ctx context.Context) (subjects []*subject, err error) {
	if out, err := exec.CommandContext(ctx, "strace", "-o", os.DevNull, "true").CombinedOutput(); errors.Is(err, exec.ErrNotFound) {
		return nil, misuse("strace is not there: apt-get install strace, or -syscalls=false to leave system calls out")
	} else if err != nil {
		return nil, misuse(fmt.Sprintf("strace may not trace here, -syscalls=false leaves system calls out: %v: %s", err, out))
	}
	for _, depth := range depths {
		name := fmt.Sprintf("Syscalls/head=hello/depth=%d", depth)
		pair := func(first, second *build) (a, b *benchfmt.Result, err error) {
			if a, err = g.countCalls(ctx, name, depth, first); err != nil {
				return nil, nil, err
			}
			b, err = g.countCalls(ctx, name, depth, second)
			return a, b, err
		}
		subjects = append(subjects, &subject{name: name, counted: true, pair: pair})
	}
	return subjects, nil
}

// countCalls says how many calls of each name a batch takes.
func (g *gate) countCalls(ctx context.Context, name string, depth int, b *build) (*benchfmt.Result, error) {
	var short, long map[string]int
	err := pinned(g.cpu, func() (err error) {
		if short, err = trace(ctx, b.program, depth, shortRun); err == nil {
			long, err = trace(ctx, b.program, depth, longRun)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	r := &benchfmt.Result{Name: benchfmt.Name(name), Iters: longRun - shortRun}
	total := 0
	for _, call := range slices.Sorted(maps.Keys(long)) {
		n := long[call] - short[call]
		total += n
		if perBatch := float64(n) / (longRun - shortRun); perBatch >= callStep { // not now and then
			r.Values = append(r.Values, benchfmt.Value{Value: perBatch, Unit: call + "/batch"})
		}
	}
	r.Values = append([]benchfmt.Value{{Value: float64(total) / (longRun - shortRun), Unit: calls}}, r.Values...)
	return r, nil
}

// trace runs a server under strace for some batches, and returns how many calls it made,
// by their names.
func trace(ctx context.Context, path string, depth, batches int) (map[string]int, error) {
	dir, err := os.MkdirTemp("", "gate-strace")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	summary := filepath.Join(dir, "summary")
	s, err := serve(ctx, "strace", "-f", "-c", "-e", "trace=!"+ofRuntime, "-o", summary, path)
	if err != nil {
		return nil, err
	}
	defer s.kill()
	if err := ask(s.addr, depth, batches); err != nil {
		return nil, fmt.Errorf("%s: %w", s.cmd, err)
	}
	if err := stopTraced(s); err != nil {
		return nil, fmt.Errorf("%s: %w", s.cmd, err)
	}
	text, err := os.ReadFile(summary)
	if err != nil {
		return nil, err
	}
	return parseSummary(string(text))
}

// ask sends batches on one connection, each when the server has gone to sleep.
func ask(addr string, depth, batches int) error {
	c, err := dial(addr, 1, depth)
	if err != nil {
		return err
	}
	defer c.close()
	for range batches {
		time.Sleep(rest)
		if err := c.round(); err != nil {
			return err
		}
	}
	return nil
}

// stopTraced ends a server under strace in order: then strace writes its summary.
func stopTraced(s *server) error {
	pid := s.cmd.Process.Pid
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return err
	}
	child, err := strconv.Atoi(strings.TrimSpace(string(children)))
	if err != nil {
		return fmt.Errorf("children %q", children)
	}
	if err := syscall.Kill(child, syscall.SIGTERM); err != nil {
		return err
	}
	late := time.AfterFunc(patience, func() { _ = syscall.Kill(child, syscall.SIGKILL) })
	defer late.Stop()
	return s.cmd.Wait()
}

// parseSummary reads the table of strace -c: calls in the fourth column, the name in the
// last.
func parseSummary(text string) (map[string]int, error) {
	counts := map[string]int{}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 5 || f[len(f)-1] == "total" {
			continue
		}
		if n, err := strconv.Atoi(f[3]); err == nil { // not the heading, not a rule
			counts[f[len(f)-1]] += n
		}
	}
	if len(counts) == 0 {
		return nil, fmt.Errorf("the summary of strace has no calls: %q: %w", text, io.ErrUnexpectedEOF)
	}
	return counts, nil
}
