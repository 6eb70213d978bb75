package main

import (
	"cmp"
	"maps"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// lines draws the servers of a panel along an axis: a line through the medians, whiskers
// from the least to the most. The last panel has their names at its right.
type lines struct {
	*picture
	*panel
	x, y   scale
	xTicks []plot.Tick
	yTicks []plot.Tick
	last   bool
}

func newLines(p *picture, of *panel, q *plot.Plot, last bool) *lines {
	l := &lines{picture: p, panel: of, last: last}
	var xs, ys []float64
	for _, other := range p.level(of) {
		for _, s := range other.series {
			for _, pt := range s.points {
				xs = append(xs, pt.x)
				for _, v := range []float64{pt.min, pt.median, pt.max} {
					if v = of.shown(v); v > 0 || !of.log {
						ys = append(ys, v)
					}
				}
			}
		}
	}
	k := numbers
	if of.log {
		k = ratios
	}
	l.x, l.y = newScale(p.along.kind, xs), newScale(k, ys)
	q.X.Min, q.X.Max, l.xTicks = l.x.span()
	q.Y.Min, q.Y.Max, l.yTicks = l.y.span()
	q.X.Tick.Marker, q.Y.Tick.Marker = plot.ConstantTicks(l.xTicks), plot.ConstantTicks(l.yTicks)
	q.X.Label.Text, q.Y.Label.Text = p.along.title, of.title
	return l
}

// drawn is the servers of a panel in the order in which they are drawn: ours on top.
func (l *lines) drawn() []series {
	all := slices.Clone(l.series)
	slices.SortStableFunc(all, func(a, b series) int {
		return cmp.Or(cmp.Compare(l.looks[a.server].width, l.looks[b.server].width), cmp.Compare(a.server, b.server))
	})
	return all
}

func (l *lines) Plot(c draw.Canvas, q *plot.Plot) {
	trX, trY := q.Transforms(&c)
	c.FillText(style(13, text, true), vg.Point{X: c.Min.X, Y: c.Max.Y + 14}, l.about)
	rules(&c, q, l.xTicks, l.yTicks)
	ends := map[string]vg.Point{}
	for _, s := range l.drawn() {
		k := l.looks[s.server]
		var at []vg.Point
		var hollow []bool
		stroke := draw.LineStyle{Color: k.ink, Width: k.width, Dashes: k.dash}
		from, before := 0, 0 // the points since a gap; the last one among all
		for _, p := range s.points {
			x, y := l.x.at(p.x), l.y.at(l.shown(p.median))
			if !finite(x, y) {
				continue
			}
			i, _ := slices.BinarySearch(l.x.values, p.x)
			if len(at) > from && i > before+1 { // others were measured between the two
				c.StrokeLines(stroke, at[from:])
				from = len(at)
			}
			before = i
			at = append(at, vg.Point{X: trX(x), Y: trY(y)})
			hollow = append(hollow, p.doubtful())
			if lo, hi := l.y.at(l.shown(p.min)), l.y.at(l.shown(p.max)); finite(lo, hi) {
				whisker := draw.LineStyle{Color: k.ink, Width: 1}
				c.StrokeLine2(whisker, trX(x), trY(lo), trX(x), trY(hi))
				c.StrokeLine2(whisker, trX(x)-3, trY(lo), trX(x)+3, trY(lo))
				c.StrokeLine2(whisker, trX(x)-3, trY(hi), trX(x)+3, trY(hi))
			}
		}
		if len(at) == 0 {
			continue
		}
		c.StrokeLines(stroke, at[from:])
		for i := range at {
			k.mark(&c, at[i], hollow[i])
		}
		ends[s.server] = at[len(at)-1]
	}
	if l.last {
		l.names(c, ends)
	}
}

// Sizes of the names beside the last panel, px.
const (
	nameGap = 26 // from the panel to the mark
	nameRow = 16
)

func (p *picture) labelWidth() (w vg.Length) {
	for _, panel := range p.panels {
		for _, s := range panel.series {
			w = max(w, style(12, text, true).Width(p.looks[s.server].name))
		}
	}
	return w*1.06 + nameGap + 12
}

// names writes the name of each server as near as it can to the end of its line. One that
// has no line in this panel has its name at the bottom.
func (l *lines) names(c draw.Canvas, ends map[string]vg.Point) {
	at := map[string]vg.Length{}
	for _, panel := range l.panels {
		for _, s := range panel.series {
			at[s.server] = c.Min.Y
		}
	}
	for server, end := range ends {
		at[server] = end.Y
	}
	order := slices.SortedFunc(maps.Keys(at), func(a, b string) int {
		return cmp.Or(cmp.Compare(at[a], at[b]), cmp.Compare(a, b))
	})
	for i, server := range order { // from below: none touches the one before
		if i > 0 {
			at[server] = max(at[server], at[order[i-1]]+nameRow)
		}
	}
	for i, most := len(order)-1, c.Max.Y; i >= 0; i, most = i-1, at[order[i]]-nameRow { // back into the panel
		at[order[i]] = min(at[order[i]], most)
	}
	for _, server := range order {
		k, y := l.looks[server], at[server]
		mark := vg.Point{X: c.Max.X + nameGap - 8, Y: y}
		if end, ok := ends[server]; ok {
			dots := draw.LineStyle{Color: k.ink, Width: 0.7, Dashes: []vg.Length{1, 2}}
			c.StrokeLines(dots, []vg.Point{end, {X: c.Max.X + 2, Y: end.Y}, mark})
		}
		k.mark(&c, mark, false)
		c.FillText(style(12, text, k.bold), vg.Point{X: mark.X + 9, Y: y}, k.name)
	}
}
