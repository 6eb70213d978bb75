package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/isbjorn/isbjorn/bench/internal/sample"
)

// read reads the run in dir. An error names the file and the line.
func read(dir string) (run sample.Run, samples []sample.Sample, err error) {
	name := filepath.Join(dir, "run.json")
	text, err := os.ReadFile(name)
	if err != nil {
		return run, nil, err
	}
	if err := json.Unmarshal(text, &run); err != nil {
		return run, nil, fmt.Errorf("%s: %w", name, err)
	}
	name = filepath.Join(dir, "samples.jsonl")
	f, err := os.Open(name)
	if err != nil {
		return run, nil, err
	}
	defer f.Close()
	if samples, err = sample.Read(f); err != nil {
		return run, nil, fmt.Errorf("%s: %w", name, err)
	}
	type place struct {
		plot, server string
		round        int
		x            sample.X
	}
	line := map[place]int{}
	for i, s := range samples { // one on each line
		err := check(s)
		at := place{s.Plot, s.Server, s.Round, s.X}
		if before := line[at]; err == nil && before > 0 {
			err = fmt.Errorf("measures what line %d does, in the same round", before)
		}
		if err != nil {
			return run, nil, fmt.Errorf("%s: line %d: %w", name, i+1, err)
		}
		line[at] = i + 1
	}
	return run, samples, nil
}

func check(s sample.Sample) error {
	if !slices.ContainsFunc(figures, func(f figure) bool { return f.plot == s.Plot }) {
		return fmt.Errorf("plot %q is not one of package sample", s.Plot)
	}
	if s.Server == "" {
		return errors.New("no server")
	}
	if s.Round < 1 {
		return fmt.Errorf("round %d, want 1 or more", s.Round)
	}
	if q := s.X.Quantile; q < 0 || q > 1 {
		return fmt.Errorf("quantile %v, want 0 to 1", q)
	}
	if len(s.Values) == 0 {
		return errors.New("no values")
	}
	return nil
}
