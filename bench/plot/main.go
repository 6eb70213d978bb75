// Plot makes a report of what the load runner has measured: pictures, tables and a page
// that shows them.
//
//	cd bench/plot && go run . DIR
//	cd bench/plot && go run . -readme ../../README.md DIR
//
// It reads samples.jsonl and run.json in DIR and writes there README.md, and for each plot
// that was measured a picture NAME.svg and its data NAME.csv. The same input gives the same
// bytes. With -readme it also renews the summary in that file, between the lines
// "<!-- bench:begin -->" and "<!-- bench:end -->".
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	readme := flag.String("readme", "", "file in which to renew the summary")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: plot [-readme FILE] DIR")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2)
	}
	if err := report(flag.Arg(0), *readme); err != nil {
		fmt.Fprintln(os.Stderr, "plot:", err)
		os.Exit(1)
	}
}

// report writes the report of the run in dir. It writes nothing if what it reads is bad.
func report(dir, readme string) error {
	run, samples, err := read(dir)
	if err != nil {
		return err
	}
	p := newPage(run, samples)
	files, err := p.files()
	if err != nil {
		return err
	}
	if readme != "" {
		to, err := below(filepath.Dir(readme), dir)
		if err != nil {
			return err
		}
		text, err := os.ReadFile(readme)
		if err != nil {
			return err
		}
		if text, err = renew(text, p.summary(to)); err != nil {
			return fmt.Errorf("%s: %w", readme, err)
		}
		if err := os.WriteFile(readme, text, 0o644); err != nil {
			return err
		}
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// below is the way from a directory to one inside of it, with slashes.
func below(base, dir string) (string, error) {
	base, err := filepath.Abs(base)
	if err != nil {
		return "", err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return "", err
	}
	way, err := filepath.Rel(base, dir)
	if err != nil || !filepath.IsLocal(way) {
		return "", fmt.Errorf("-readme: %s is not below %s, so nothing there can be linked: write the report of a run that is kept beside the file", dir, base)
	}
	return filepath.ToSlash(way), nil
}
