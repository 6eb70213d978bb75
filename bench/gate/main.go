// Gate compares this tree with a base revision and fails on a regression. Linux only.
//
//	make bench-gate                        # from the root, with HEAD or the revision before
//	make bench-gate BASE=v1.2 TIME=20s
//
// The base is checked out beside this tree, both are built once, and what is built runs
// in turn on one processor: base, tree, tree, base, and so on. Measured are
//
//   - the benchmarks of -package (./bench) that both have: CPU time and allocations;
//   - -program (./examples/hello) over loopback, GET / and no other request, 1 and 16 at
//     once: CPU time per request, by the clock of the process, and its ratio to -beside
//     (./bench/nethttp, of the base) in the same pair. For a pair that is one figure, so a
//     loss in the one is a loss in the other;
//   - the system calls of the program per batch of requests, by strace: what 120 batches take
//     more than 20. The calls of the Go runtime that come as time goes by are left out.
//
// In the repository of an application of one's own, from the directory of its module:
//
//	go run github.com/isbjorn/isbjorn/bench/gate@latest -package . -bench . -program ./cmd/app -beside ''
//
// A program takes -addr, says "listening on http://HOST:PORT" first on standard output,
// as all that call server.Main do, answers GET / by 200 with the same content each time,
// and keeps its connections. It is built without cgo unless CGO_ENABLED=1 is set.
//
// What fails:
//
//   - more allocs/op, by the median: any. testing rounds them down, so that one
//     allocation for many requests is not seen at depth 16, but at depth 1;
//   - more system calls for a batch: any, by the median, as in syscalls/batch, where half
//     a call is the least that counts;
//   - more CPU time: above 5 %, by the median of the pairs' ratios, if it is significant.
//
// Significant is benchstat's test, Mann and Whitney's, of the pairs that began with the
// base against those that began with the tree (series.time says why), with p below 1 % divided by
// the number of times that are compared. What looks like a loss is measured again, with
// as many pairs more, before it is judged; so a second in which the machine did something
// else fails nothing.
//
// How sure is that? On a machine whose measurements scatter by 3 % (standard deviation),
// 10 pairs and one repetition let 10 % more pass in none of 10,000 trials, and fail
// nothing in none of 10,000; by 10 %, three in 10,000. Noisier machines take more pairs, which is
// what -time is for: the spread of the base is in the table. TestJudgeTimes has these
// figures. 3 % more is found in 3 of 100.
//
// Client and server share the processor, and do not preempt each other: on two, a server
// goes to sleep and is woken between requests as it happens, and its CPU time for the same
// requests is twice as much from one millisecond to the next.
//
// Exit status: 0 passed, 1 a regression (or the gate itself has failed, or was interrupted), 2 misuse.
// That of go run is 1 for both.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// Exit statuses, as those of a linter.
const (
	passed    = 0
	regressed = 1 // or the gate itself has failed
	misused   = 2
)

// misuse is an error that the caller can mend.
type misuse string

func (m misuse) Error() string { return string(m) }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// options are what the flags say.
type options struct {
	base, out string
	gate      gate
}

func run(ctx context.Context, args []string, stdout io.Writer, stderr *os.File) int {
	var o options
	f := flag.NewFlagSet("gate", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&o.base, "base", "", "revision to compare with (default HEAD if this tree differs from it, else HEAD^)")
	f.StringVar(&o.out, "out", "", "directory for base.txt and tree.txt, all results for benchstat (default none)")
	f.StringVar(&o.gate.bench, "bench", "^BenchmarkExchange$", "benchmarks of -package to compare, as of go test -bench; '' for none")
	f.StringVar(&o.gate.pkg, "package", "./bench", "directory of the benchmarks")
	f.StringVar(&o.gate.program, "program", "./examples/hello", "directory of a main package to run: it takes -addr, says where it listens as server.Main does, and answers GET /")
	f.StringVar(&o.gate.beside, "beside", "./bench/nethttp", "directory of another, of the base, to which ratios are taken; '' for none")
	f.BoolVar(&o.gate.overSockets, "loopback", true, "compare CPU time per request over loopback")
	f.BoolVar(&o.gate.calls, "syscalls", true, "compare system calls per request, with strace")
	f.DurationVar(&o.gate.time, "time", 100*time.Second, fmt.Sprintf("how long to measure times, and as long again at most for what is suspect; %d pairs in any case. Building and counting come on top, half a minute", pairsMin))
	if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
		return passed
	} else if err != nil {
		return misused
	}
	if f.NArg() > 0 {
		fmt.Fprintf(stderr, "unexpected argument %q; the revision is given by -base\n", f.Arg(0))
		return misused
	}
	if o.gate.bench == "" && !o.gate.overSockets && !o.gate.calls {
		fmt.Fprintln(stderr, "nothing to measure: leave out one of -bench '', -loopback=false, -syscalls=false")
		return misused
	}
	p := newProgress(stderr)
	o.gate.progress = p
	ok, err := o.compare(ctx, stdout)
	p.end()
	var m misuse
	switch {
	case errors.As(err, &m):
		fmt.Fprintln(stderr, err)
		return misused
	case ctx.Err() != nil:
		fmt.Fprintln(stderr, "interrupted")
		return regressed
	case err != nil:
		fmt.Fprintln(stderr, err)
		return regressed
	case !ok:
		return regressed
	}
	return passed
}

// compare builds, measures, judges and reports. ok says that nothing is lost.
func (o *options) compare(ctx context.Context, stdout io.Writer) (ok bool, err error) {
	root, err := git(ctx, ".", "rev-parse", "--show-toplevel")
	if err != nil {
		return false, err
	}
	within, err := git(ctx, ".", "rev-parse", "--show-prefix") // the flags are of the current directory
	if err != nil {
		return false, err
	}
	tree := filepath.Join(root, within)
	if err := o.gate.check(ctx, "tree", tree); err != nil {
		return false, err
	}
	commit, why, err := chooseBase(ctx, root, o.base)
	if err != nil {
		return false, err
	}
	fmt.Fprintf(stdout, "base: %.12s (%s)\n", commit, why)
	temp, err := os.MkdirTemp("", "gate")
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temp)) }()
	source := filepath.Join(temp, "source")
	remove, err := checkOut(ctx, root, commit, source)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, remove()) }()

	g, base := &o.gate, filepath.Join(source, within)
	if err := g.check(ctx, "base", base); err != nil {
		return false, err
	}
	if err := g.build(ctx, base, tree, temp); err != nil {
		return false, err
	}
	if equal, err := same(g.base, g.tree); err != nil {
		return false, err
	} else if equal {
		fmt.Fprintln(stdout, "the programs of both are the same, byte for byte")
	}
	subjects, alone, err := g.subjects(ctx)
	if err != nil {
		return false, err
	}
	verdicts, err := g.run(ctx, subjects)
	if err != nil {
		return false, err
	}
	if o.out != "" {
		if err := writeRaw(o.out, subjects); err != nil {
			return false, err
		}
	}
	return report(stdout, verdicts, alone)
}

// build builds both revisions, and finds the processor to run them on.
func (g *gate) build(ctx context.Context, base, tree, into string, extra ...string) (err error) {
	if g.cpu, err = core(); err != nil {
		return err
	}
	if g.base, err = g.compile(ctx, "base", base, into); err != nil {
		return err
	}
	if g.tree, err = g.compile(ctx, "tree", tree, into, extra...); err != nil {
		return err
	}
	if !g.overSockets || g.beside == "" {
		return nil
	}
	g.besides = filepath.Join(into, "beside")
	return goBuild(ctx, base, "build", []string{"-o", g.besides}, g.beside)
}

// report prints the table and the verdicts.
func report(w io.Writer, verdicts []*verdict, alone []string) (ok bool, err error) {
	if err := table(w, verdicts); err != nil {
		return false, err
	}
	for _, name := range alone {
		fmt.Fprintf(w, "not compared: %s\n", name)
	}
	ok = true
	for _, v := range verdicts {
		fmt.Fprintln(w, v)
		ok = ok && !v.loss
	}
	return ok, nil
}
