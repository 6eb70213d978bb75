package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"text/tabwriter"

	"golang.org/x/perf/benchfmt"
)

// table prints a line for each verdict.
func table(w io.Writer, verdicts []*verdict) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "name\tunit\tbase\t\tthis tree\tdelta\tp\tpairs\t")
	for _, v := range verdicts {
		p := "-"
		if !math.IsNaN(v.p) {
			p = fmt.Sprintf("%.3f", v.p)
		}
		delta := fmt.Sprintf("%+.1f%%", 100*v.delta)
		if v.base == v.tree {
			delta = "="
		}
		fmt.Fprintf(t, "%s\t%s\t%.4g\t± %.0f%%\t%.4g\t%s\t%s\t%d\t\n", v.subject.name, v.unit, v.base, 100*v.spread, v.tree, delta, p, len(v.pairs))
	}
	return t.Flush()
}

// units tell benchstat what is better.
const units = `Unit cpu-us/req better=lower
Unit x-beside better=lower
Unit syscalls/batch better=lower
Unit req/s better=higher
Unit allocs/op assume=exact
`

// writeRaw writes every result in the format of go test -bench, into base.txt and tree.txt
// in dir.
func writeRaw(dir string, subjects []*subject) error {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	return errors.Join(
		writeResults(filepath.Join(dir, "base.txt"), subjects, func(r results) *benchfmt.Result { return r.base }),
		writeResults(filepath.Join(dir, "tree.txt"), subjects, func(r results) *benchfmt.Result { return r.tree }))
}

func writeResults(path string, subjects []*subject, of func(results) *benchfmt.Result) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	b := bufio.NewWriter(f)
	_, _ = b.WriteString(units)
	w := benchfmt.NewWriter(b)
	for _, s := range subjects {
		for _, r := range s.done {
			if err := w.Write(of(r)); err != nil {
				return err
			}
		}
	}
	return b.Flush()
}

// progress shows one line on a terminal, over and over. Elsewhere it is silent but for
// the first of a hundred.
type progress struct {
	f        *os.File
	terminal bool
	lines    int
}

func newProgress(f *os.File) *progress {
	info, err := f.Stat()
	return &progress{f: f, terminal: err == nil && info.Mode()&os.ModeCharDevice != 0}
}

func (p *progress) Write(line []byte) (int, error) {
	p.lines++
	switch {
	case p.terminal:
		fmt.Fprintf(p.f, "\r\x1b[K%s", line)
	case p.lines%100 == 1:
		fmt.Fprintf(p.f, "%s\n", line)
	}
	return len(line), nil
}

// end leaves the line.
func (p *progress) end() {
	if p.terminal {
		fmt.Fprint(p.f, "\r\x1b[K")
	}
}
