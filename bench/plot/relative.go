package main

import (
	"maps"
	"slices"
	"strings"

	"github.com/isbjorn/isbjorn/bench/internal/sample"
)

// relative makes a panel for each value, with a line for each X and server: its ratio to the
// one that all are compared with. Without that one there is nothing to show.
func (f *figure) relative(r results) (panels []panel, common string) {
	var others []string
	for _, server := range slices.Sorted(maps.Keys(r)) {
		if server != f.to {
			others = append(others, server)
		}
	}
	xs := r.xs()
	isCommon := inAll(xs)
	for _, v := range f.values {
		p := panel{value: v, relative: true}
		p.about, p.per, p.log = v.plainTitle(), 0, true
		p.title = "ratio to " + displayName(f.to) + " (log scale), less is better"
		if v.more {
			p.title = strings.Replace(p.title, "less", "more", 1)
		}
		for _, x := range xs {
			words := describe(x)
			common = strings.Join(slices.DeleteFunc(slices.Clone(words), func(w string) bool { return !isCommon(w) }), ", ")
			label := strings.TrimPrefix(strings.Join(slices.DeleteFunc(words, isCommon), ", "), "handler: ")
			for _, server := range others {
				c, ok := r[server][x].cell(v.unit, x.Rate, r[f.to][x])
				if !ok || c.ratio == 0 {
					continue
				}
				s := series{server: server, label: label, absolute: v.shown(c.median)}
				if len(others) > 1 {
					s.label += ", " + displayName(server)
				}
				c.median, c.min, c.max = c.ratio, c.ratioMin, c.ratioMax
				s.points = []point{{0, c}}
				p.series = append(p.series, s)
			}
		}
		if len(p.series) > 0 {
			panels = append(panels, p)
		}
	}
	if len(others) == 1 {
		common = joined(displayName(others[0]), common)
	}
	return panels, common
}

// relativeTable has a line for each X and server, and a column for each value.
func (p *picture) relativeTable(r results) table {
	xs := r.xs()
	isCommon := inAll(xs)
	head := []string{"ratio to " + displayName(p.to)}
	for _, v := range p.values {
		head = append(head, v.plainTitle())
	}
	t := table{Rows: [][]string{head}}
	for _, x := range xs {
		for _, server := range slices.Sorted(maps.Keys(r)) {
			row := []string{strings.Join(append(slices.DeleteFunc(describe(x), isCommon), p.looks[server].markdown()), ", ")}
			for _, v := range p.values {
				c, ok := r[server][x].cell(v.unit, x.Rate, r[p.to][x])
				row = append(row, p.field(v, server, c, ok))
			}
			t.Rows = append(t.Rows, row)
		}
	}
	return t
}

// inAll says which words describe all of xs.
func inAll(xs []sample.X) func(word string) bool {
	count := map[string]int{}
	for _, x := range xs {
		for _, word := range describe(x) {
			count[word]++
		}
	}
	return func(word string) bool { return count[word] == len(xs) }
}
