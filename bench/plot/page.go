package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"text/template"
	"time"

	"github.com/isbjorn/isbjorn/bench/internal/sample"
)

//go:embed page.md.tmpl
var pageText string

var pageTemplate = template.Must(template.New("page").Parse(pageText))

// page is the report as a whole.
type page struct {
	Run    sample.Run
	Shown  []*picture
	Absent []string // titles of figures without a measurement
	looks  map[string]look
}

func newPage(run sample.Run, samples []sample.Sample) *page {
	p := &page{Run: run}
	servers := map[string]bool{}
	for _, s := range samples {
		servers[s.Server] = true
	}
	p.looks = looks(slices.Collect(maps.Keys(servers)))
	for i := range figures {
		f := &figures[i]
		r := resultsOf(f.plot, samples)
		panels, common, lines := f.panels(r)
		if len(panels) == 0 {
			p.Absent = append(p.Absent, f.title)
			continue
		}
		p.Shown = append(p.Shown, &picture{figure: f, panels: panels, common: common, looks: p.looks,
			lines: lines, results: r, footer: p.footer(f.plot, r), Without: p.without(f.plot, r)})
	}
	return p
}

// Reading says how to read all pictures.
func (p *page) Reading() string {
	return "Points are medians over the rounds, whiskers go from the least to the most. Ratios are medians of the ratios round by round, as the machine is not as fast in each. " +
		"A server has the same colour and mark everywhere. A hollow mark, or † in a table, says that requests failed or that less was answered than offered: do not take such a figure for a good one. A dash, or a gap in a line: not measured."
}

var version = regexp.MustCompile(`\d+\.\d[\w.]*`)

// footer is what a picture says when it has left its page.
func (p *page) footer(plot string, r results) []string {
	var versions []string
	for _, server := range slices.Sorted(maps.Keys(r)) {
		if v := p.Run.Versions[server]; v != "" && server != sample.Floor {
			if number := version.FindString(v); len(v) > 16 && number != "" {
				v = number // of what a program says of itself
			}
			versions = append(versions, p.looks[server].name+" "+v)
		}
	}
	without := strings.Join(p.without(plot, r), ", ")
	if without != "" {
		without = "not measured, or not all: " + without
	}
	return []string{
		joined(p.Machine(), p.Date()),
		strings.Join(versions, ", "),
		without,
		p.Run.Command,
	}
}

func (p *page) Machine() string {
	m := p.Run.Machine
	return fmt.Sprintf("%d × %s, %s GiB, %s", m.Cores, m.CPU, number(float64(m.Memory>>20)/1024), m.Kernel)
}

func (p *page) Date() string { return p.Run.Began.UTC().Format("2 January 2006") }

// Facts are where and how it was.
func (p *page) Facts() table {
	when := p.Date()
	if p.Run.Took > 0 {
		when += ", " + time.Duration(p.Run.Took*float64(time.Second)).Round(time.Second).String()
	}
	t := table{Words: true, Rows: [][]string{
		{"", ""}, {"machine", p.Machine()}, {"date", when},
		{"rounds", fmt.Sprint(p.Run.Rounds)}, {"command", "`" + p.Run.Command + "`"},
	}}
	for _, role := range slices.Sorted(maps.Keys(p.Run.Pins)) {
		t.Rows = append(t.Rows, []string{role + " on processors", p.Run.Pins[role]})
	}
	for _, name := range slices.Sorted(maps.Keys(p.Run.Versions)) {
		t.Rows = append(t.Rows, []string{displayName(name), p.Run.Versions[name]})
	}
	return t
}

// Missing is what was not measured, and why.
func (p *page) Missing() (all []string) {
	for _, title := range p.Absent {
		all = append(all, title+": not measured")
	}
	for _, name := range slices.Sorted(maps.Keys(p.Run.Missing)) {
		what, plot, _ := strings.Cut(name, ", ")
		what = displayName(what)
		if plot != "" {
			what += ", " + plot
		}
		all = append(all, what+": not measured, "+p.Run.Missing[name])
	}
	return all
}

// without are the servers of which a plot has nothing, or not what it has of others.
func (p *page) without(plot string, r results) (names []string) {
	for name := range p.Run.Missing {
		if server, ok := strings.CutSuffix(name, ", "+plot); ok {
			names = append(names, displayName(server))
		}
	}
	for server, byX := range r {
		if len(byX) < len(r.xs()) {
			names = append(names, displayName(server))
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Title is for the template.
func (p *picture) Title() string   { return p.title }
func (p *picture) Plot() string    { return p.plot }
func (p *picture) Shows() string   { return p.shows }
func (p *picture) Reads() string   { return p.reads }
func (p *picture) Tables() []table { return p.tables() }

// files are the report, by name.
func (p *page) files() (map[string][]byte, error) {
	files := map[string][]byte{}
	var err error
	for _, shown := range p.Shown {
		if files[shown.plot+".svg"], err = shown.draw(); err != nil {
			return nil, err
		}
		if files[shown.plot+".csv"], err = shown.csv(); err != nil {
			return nil, err
		}
	}
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, p); err != nil {
		return nil, err
	}
	files["README.md"] = b.Bytes()
	return files, nil
}

// summary is the part of the report for a page of which it is at dir.
func (p *page) summary(dir string) string {
	for _, shown := range p.Shown {
		if shown.plot != sample.CPU {
			continue
		}
		return fmt.Sprintf("![%s](%s/%s.svg)\n\nCPU time per request in µs, and its ratio to the floor; the machine was %s, on %s:\n\n%s\nAll pictures, data and how to repeat it: [%s](%s/README.md)\n",
			shown.title, dir, shown.plot, p.Machine(), p.Date(), shown.dotsTable(), dir, dir)
	}
	return "CPU time per request was not measured.\n"
}
