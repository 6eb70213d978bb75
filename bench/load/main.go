//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/isbjorn/isbjorn/bench/internal/sample"
)

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if err := load(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

// options are the flags.
type options struct {
	servers []*server
	plan    []plot
	rounds  int
	seconds int
	out     string
}

func parse(args []string, stderr io.Writer) (o options, err error) {
	flags := flag.NewFlagSet("load", flag.ContinueOnError)
	flags.SetOutput(stderr)
	serverNames := flags.String("servers", "", "which servers, as in isbjorn,nethttp; all if empty")
	plotNames := flags.String("plots", "", "which plots, as in cpu,depth; all if empty")
	quick := flags.Bool("quick", false, "about 3 minutes: one round, fewer points, and if -servers is not given fewer servers")
	flags.IntVar(&o.rounds, "rounds", 0, "rounds in which all servers have their turn; 0 for 3, or 1 with -quick")
	flags.IntVar(&o.seconds, "seconds", 1, "length of one measurement")
	flags.StringVar(&o.out, "out", "", "directory for samples.jsonl and run.json; none if empty")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 || o.rounds < 0 || o.seconds < 1 {
		return o, fmt.Errorf("unexpected %q, or -rounds or -seconds too small; see -help", flags.Args())
	}
	if o.rounds == 0 {
		o.rounds = 3
		if *quick {
			o.rounds = 1
		}
	}
	if *quick && *serverNames == "" {
		*serverNames = strings.Join(strings.Fields(quickServers), ",")
	}
	chosen, err := choose("-servers", *serverNames, names(servers, func(s server) string { return s.name }))
	if err != nil {
		return o, err
	}
	for i := range servers {
		if slices.Contains(chosen, servers[i].name) {
			o.servers = append(o.servers, &servers[i])
		}
	}
	if chosen, err = choose("-plots", *plotNames, names(plan, func(p plot) string { return p.name })); err != nil {
		return o, err
	}
	for _, p := range plan {
		if *quick && p.quick != nil {
			p.points = p.quick
		}
		if slices.Contains(chosen, p.name) {
			o.plan = append(o.plan, p)
		}
	}
	return o, nil
}

func names[T any](list []T, name func(T) string) (all []string) {
	for _, t := range list {
		all = append(all, name(t))
	}
	return all
}

// choose is the names of list, which all must know.
func choose(option, list string, all []string) ([]string, error) {
	if list == "" {
		return all, nil
	}
	chosen := strings.Split(list, ",")
	for _, name := range chosen {
		if !slices.Contains(all, name) {
			return nil, fmt.Errorf("%s: there is no %q; there are %s", option, name, strings.Join(all, ","))
		}
	}
	return chosen, nil
}

func load(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	r := sample.Run{Began: time.Now(), Command: strings.Join(append([]string{"go run ./bench/load"}, args...), " "), Rounds: o.rounds,
		Machine: machine(), Versions: map[string]string{}, Missing: map[string]string{}}
	equip(ctx, r.Versions, r.Missing)
	if why, ok := r.Missing["wrk"]; ok {
		return errors.New(why)
	}
	if err := allowDescriptors(); err != nil {
		return err
	}
	root, err := run(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/isbjorn/isbjorn")
	if err != nil {
		return fmt.Errorf("run it inside the module github.com/isbjorn/isbjorn: go list: %s", lastLine(root))
	}
	dir, err := os.MkdirTemp("", "load")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	fmt.Fprintln(stderr, "building the servers")
	list, err := build(ctx, strings.TrimSpace(root), dir, o.servers, r.Versions, r.Missing)
	if err != nil {
		return err
	}
	for _, what := range slices.Sorted(maps.Keys(r.Missing)) {
		fmt.Fprintf(stderr, "without %s: %s\n", what, r.Missing[what])
	}

	all, err := processors()
	if err != nil {
		return err
	}
	b := &bench{ctx: ctx, dir: dir, seconds: o.seconds, missing: r.Missing, progress: stderr}
	b.server, b.load, r.Pins = pins(all)
	if err := pinSelf(b.load); err != nil {
		return err
	}
	raw, err := newRecord(o.out, stdout, &r)
	if err != nil {
		return err
	}
	err = b.run(steps(o.plan, list, o.rounds, o.seconds), raw.add)
	r.Took = time.Since(r.Began).Seconds()
	if err := errors.Join(err, raw.end()); err != nil {
		return err
	}
	return tables(stdout, o.plan, raw.samples, r.Missing)
}

// allowDescriptors raises the limit of open files, for the servers too.
func allowDescriptors() error {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return err
	}
	l.Cur = l.Max
	return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l)
}

// step is a server in a round of a plot.
type step struct {
	round  int
	plot   plot
	server built
	takes  time.Duration // about
}

// steps puts the plan in order: round by round, plot by plot, all servers in turn.
func steps(plan []plot, servers []built, rounds, seconds int) (list []step) {
	for round := 1; round <= rounds; round++ {
		for _, p := range plan {
			if p.rounds > 0 && round > p.rounds {
				continue
			}
			for _, name := range strings.Fields(p.servers) {
				i := slices.IndexFunc(servers, func(s built) bool { return s.name == name })
				if i < 0 {
					continue
				}
				takes := startTime
				if p.process != warm {
					takes *= time.Duration(len(p.points))
				}
				list = append(list, step{round, p, servers[i], takes + p.takes(seconds)*time.Duration(len(p.points))})
			}
		}
	}
	return list
}

// run takes the steps. A server that fails at one of them is missing there.
func (b *bench) run(list []step, add func(sample.Sample) error) error {
	var planned, behind time.Duration
	for _, s := range list {
		planned += s.takes
	}
	fmt.Fprintf(b.progress, "%d steps, about %v\n", len(list), planned.Round(time.Second))
	began := time.Now()
	for i, s := range list {
		left := planned - behind
		if i > 0 {
			left = time.Duration(float64(left) * float64(time.Since(began)) / float64(behind))
		}
		fmt.Fprintf(b.progress, "[%d/%d, %v left] round %d, %s: %s\n", i+1, len(list), left.Round(time.Second), s.round, s.plot.name, s.server.name)
		behind += s.takes
		err := b.step(s, add)
		if b.ctx.Err() != nil {
			return b.ctx.Err()
		}
		if err != nil {
			b.missing[s.server.name+", "+s.plot.name] = err.Error()
			fmt.Fprintf(b.progress, "%s, %s: %v\n", s.server.name, s.plot.name, err)
		}
	}
	return nil
}

// step measures a server at the points of a plot, by one process or by one for each.
func (b *bench) step(s step, add func(sample.Sample) error) error {
	each := 1
	if s.plot.process == warm {
		each = len(s.plot.points)
	}
	for points := range slices.Chunk(s.plot.points, each) {
		if err := b.measure(s, points, add); err != nil {
			return err
		}
	}
	return nil
}

// measure measures a server at points by one process.
func (b *bench) measure(s step, points []sample.X, add func(sample.Sample) error) error {
	subject, err := b.subject(s.server, points[0].Cost, s.plot.process)
	if err != nil {
		return err
	}
	defer subject.stop()
	for _, x := range points {
		if b.missing[x.Tool] != "" {
			continue
		}
		samples, err := s.plot.measure(subject, x)
		if err != nil && err != errSaturated {
			return err
		}
		for _, one := range samples {
			one.Plot, one.Server, one.Round = s.plot.name, s.server.name, s.round
			if err := add(one); err != nil {
				return err
			}
		}
		if err == errSaturated {
			break
		}
	}
	return nil
}

// record is where samples go.
type record struct {
	samples []sample.Sample
	run     *sample.Run
	dir     string
	file    *os.File // nil without dir
	stdout  io.Writer
}

func newRecord(dir string, stdout io.Writer, run *sample.Run) (r *record, err error) {
	r = &record{run: run, dir: dir, stdout: stdout}
	if dir != "" {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
		if r.file, err = os.Create(filepath.Join(dir, "samples.jsonl")); err != nil {
			return nil, err
		}
	}
	return r, benchHeader(stdout, run.Machine)
}

func (r *record) add(s sample.Sample) error {
	r.samples = append(r.samples, s)
	if err := benchLine(r.stdout, s); err != nil || r.file == nil {
		return err
	}
	return sample.Write(r.file, s)
}

// end writes what is about the run as a whole, which may be an unfinished one.
func (r *record) end() error {
	if r.file == nil {
		return nil
	}
	b, err := json.MarshalIndent(r.run, "", "\t")
	return errors.Join(err, r.file.Close(), os.WriteFile(filepath.Join(r.dir, "run.json"), append(b, '\n'), 0o644))
}
