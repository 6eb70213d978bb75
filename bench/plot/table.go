package main

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// table is one of the tables of a page.
type table struct {
	About string // "" where the page says it
	Words bool   // and not figures
	Rows  [][]string
}

// String is the table in Markdown.
func (t table) String() string {
	var b strings.Builder
	for i, r := range t.Rows {
		for _, field := range r {
			b.WriteString("| " + strings.ReplaceAll(strings.Join(strings.Fields(field), " "), "|", `\|`) + " ")
		}
		b.WriteString("|\n")
		if i == 0 {
			align := " ---: |"
			if t.Words {
				align = " --- |"
			}
			b.WriteString("| --- |" + strings.Repeat(align, len(r)-1) + "\n")
		}
	}
	return b.String()
}

// tables are the tables of a picture: one for all panels of dots, one for each panel of lines.
func (p *picture) tables() (all []table) {
	switch {
	case p.ratios:
		return []table{p.relativeTable(p.results)}
	case !p.lines:
		return []table{p.dotsTable()}
	}
	for _, panel := range p.panels {
		var xs []float64
		for _, s := range panel.series {
			for _, pt := range s.points {
				xs = append(xs, pt.x)
			}
		}
		xs = newScale(p.along.kind, xs).values
		head := []string{plain(p.along.title)}
		for _, x := range xs {
			if p.along.kind == tail {
				head = append(head, percent(x))
			} else {
				head = append(head, number(x))
			}
		}
		t := table{About: joined(panel.about, panel.plainTitle()), Rows: [][]string{head}}
		for _, s := range panel.series {
			r := []string{p.looks[s.server].markdown()}
			for _, x := range xs {
				field := "-"
				if i := slices.IndexFunc(s.points, func(pt point) bool { return pt.x == x }); i >= 0 {
					field = number(panel.shown(s.points[i].median)) + dagger(s.points[i].cell)
				}
				r = append(r, field)
			}
			t.Rows = append(t.Rows, r)
		}
		all = append(all, t)
	}
	return all
}

// field is a value with its ratio.
func (p *picture) field(v value, server string, c cell, ok bool) string {
	if !ok {
		return "-"
	}
	field := number(v.shown(c.median)) + dagger(c)
	if c.ratio > 0 && server != p.to {
		field += " (" + times(c.ratio) + ")"
	}
	return field
}

// dotsTable has a line for each server, in the order of the first panel, or of that with the
// most of what the figure is along, and a column for each panel.
func (p *picture) dotsTable() table {
	var t table
	var head, servers []string
	if len(p.values) == 1 {
		head = []string{p.values[0].plainTitle()}
	} else {
		head = []string{""}
	}
	for _, panel := range p.panels {
		title := panel.about
		if len(p.values) > 1 || title == "" {
			title = joined(title, panel.plainTitle())
		}
		head = append(head, title)
	}
	panels := slices.Clone(p.panels)
	if p.along != nil {
		slices.Reverse(panels)
	}
	for _, panel := range panels {
		for _, s := range panel.series {
			if !slices.Contains(servers, s.server) {
				servers = append(servers, s.server)
			}
		}
	}
	if p.to != "" && slices.Contains(servers, p.to) {
		head[0] = joined(head[0], "ratio to "+p.looks[p.to].name)
	}
	t.Rows = append(t.Rows, head)
	for _, server := range servers {
		r := []string{p.looks[server].markdown()}
		for _, panel := range p.panels {
			var c cell
			i := slices.IndexFunc(panel.series, func(s series) bool { return s.server == server })
			if i >= 0 {
				c = panel.series[i].points[0].cell
			}
			r = append(r, p.field(panel.value, server, c, i >= 0))
		}
		t.Rows = append(t.Rows, r)
	}
	return t
}

// plainTitle says nothing of the scale.
func (v value) plainTitle() string {
	return plain(v.title)
}

func plain(title string) string {
	return strings.NewReplacer(", log scale", "", " (log scale)", "").Replace(title)
}

func (l look) markdown() string {
	if l.bold {
		return "**" + l.name + "**"
	}
	return l.name
}

// csv is what a picture is drawn from, in the units of the samples.
func (p *picture) csv() ([]byte, error) {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	f := func(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
	said := func(v float64) string {
		if v == 0 {
			return ""
		}
		return f(v)
	}
	rows := [][]string{{"server", "tool", "head", "depth", "conns", "rate", "quantile", "cost",
		"unit", "median", "min", "max", "rounds", "ratio", "ratio_to", "errors"}}
	r := p.results
	for _, x := range r.xs() {
		for _, server := range slices.Sorted(maps.Keys(r)) {
			for _, v := range p.values {
				c, ok := r[server][x].cell(v.unit, x.Rate, r[p.to][x])
				if !ok {
					continue
				}
				to := p.to
				if c.ratio == 0 {
					to = ""
				}
				rows = append(rows, []string{
					server, x.Tool, x.Head, said(float64(x.Depth)), said(float64(x.Conns)), said(x.Rate), said(x.Quantile), x.Cost,
					v.unit, f(c.median), f(c.min), f(c.max), strconv.Itoa(c.rounds), said(c.ratio), to, f(c.errors),
				})
			}
		}
	}
	err := w.WriteAll(rows)
	return b.Bytes(), err
}

const (
	begin = "<!-- bench:begin -->"
	end   = "<!-- bench:end -->"
)

var errMarkers = errors.New("it has no place for the summary: add a line " + begin + " and below it a line " + end)

// renew puts summary between the markers of text.
func renew(text []byte, summary string) ([]byte, error) {
	before, rest, ok := bytes.Cut(text, []byte(begin))
	_, after, ok2 := bytes.Cut(rest, []byte(end))
	if !ok || !ok2 {
		return nil, errMarkers
	}
	return fmt.Appendf(nil, "%s%s\n%s\n%s%s", before, begin, strings.TrimSpace(summary), end, after), nil
}
