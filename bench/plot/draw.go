package main

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// Sizes of a picture, in px.
const (
	width   = 880
	margin  = 18
	line    = 15 // of small text
	header  = 62 // title and what all panels have in common
	caption = 26 // what a panel is about, above it
)

// picture is one figure with its data.
type picture struct {
	*figure
	panels  []panel
	common  string
	looks   map[string]look
	lines   bool // along an axis; else the servers are below each other
	results results
	footer  []string // paragraphs
	Without []string // servers of which something is missing
}

// level are the panels that have the same range of values as one of them.
func (p *picture) level(of *panel) (all []panel) {
	for _, other := range p.panels {
		if p.figure.level && other.per == of.per || other.unit == of.unit && p.lines {
			all = append(all, other)
		}
	}
	if all == nil {
		all = []panel{*of}
	}
	return all
}

// points says what the points are.
func (p *picture) points() string {
	s := "one round, so no spread"
	rounds := 0
	for _, panel := range p.panels {
		for _, series := range panel.series {
			for _, point := range series.points {
				rounds = max(rounds, point.rounds)
			}
		}
	}
	if rounds > 1 {
		s = fmt.Sprintf("medians of %d rounds, whiskers from the least to the most", rounds)
	}
	for _, panel := range p.panels {
		for _, series := range panel.series {
			if slices.ContainsFunc(series.points, func(p point) bool { return p.doubtful() }) {
				return joined(s, "hollow, †: with errors, or behind the offered rate")
			}
		}
	}
	return s
}

// draw draws a picture as SVG.
func (p *picture) draw() ([]byte, error) {
	small := style(10.5, muted, false)
	var footer []string
	for _, paragraph := range p.footer {
		footer = append(footer, wrap(small, paragraph, width-2*margin)...)
	}
	columns := min(len(p.panels), 3)
	height := vg.Length(330)
	if !p.lines {
		columns = min(len(p.panels), 2)
		height = 0
		for _, panel := range p.panels {
			height = max(height, p.rowsHeight(panel))
		}
	}
	rows := (len(p.panels) + columns - 1) / columns
	above := vg.Length(6)
	if slices.ContainsFunc(p.panels, func(p panel) bool { return p.about != "" }) {
		above = caption
	}
	height += above
	total := header + height*vg.Length(rows) + vg.Length(len(footer))*line + 2*margin

	svg := vgsvg.New(width, total)
	c := draw.New(svg)
	c.SetColor(ground)
	c.Fill(c.Rectangle.Path())

	y := c.Max.Y - margin - 8
	c.FillText(style(18, text, true), vg.Point{X: margin, Y: y}, p.title)
	c.FillText(style(12, muted, false), vg.Point{X: margin, Y: y - 22}, joined(p.common, p.points()))
	for i, s := range footer {
		c.FillText(small, vg.Point{X: margin, Y: margin + vg.Length(len(footer)-1-i)*line}, s)
	}

	body := draw.Crop(c, margin, -margin, vg.Length(len(footer))*line+margin+4, -header)
	if p.lines {
		body.Max.X -= p.labelWidth()
	}
	plots := make([][]*plot.Plot, rows)
	for r := range plots {
		plots[r] = make([]*plot.Plot, columns)
		for col := range plots[r] {
			if i := r*columns + col; i < len(p.panels) {
				plots[r][col] = p.axes(i, col == columns-1)
			}
		}
	}
	tiles := draw.Tiles{Rows: rows, Cols: columns, PadX: 22, PadY: above, PadTop: above}
	for r, canvases := range plot.Align(plots, tiles, body) {
		for col, at := range canvases {
			if plots[r][col] != nil {
				plots[r][col].Draw(at)
			}
		}
	}
	return paint(svg, p.title)
}

// axes makes the plot of a panel.
func (p *picture) axes(i int, last bool) *plot.Plot {
	q := plot.New()
	q.BackgroundColor = nil
	for _, a := range []*plot.Axis{&q.X, &q.Y} {
		a.Tick.Label = style(11, muted, false)
		a.Label.TextStyle = style(11.5, text, false)
		a.Label.TextStyle.XAlign, a.Label.TextStyle.YAlign = draw.XCenter, draw.YBottom
		a.Label.Padding = 6
		a.Padding = 0
		a.LineStyle = draw.LineStyle{Color: muted, Width: 0.8}
		a.Tick.LineStyle = a.LineStyle
		a.Tick.Length = 4
	}
	q.X.Tick.Label.XAlign, q.X.Tick.Label.YAlign = draw.XCenter, draw.YTop
	q.Y.Tick.Label.XAlign, q.Y.Tick.Label.YAlign = draw.XRight, -0.58 // gonum adds the descent
	if !p.lines {
		q.Add(newDots(p, &p.panels[i], q))
	} else {
		q.Add(newLines(p, &p.panels[i], q, last))
	}
	return q
}

// rules draws the lines of a grid, one for each tick with a label.
func rules(c *draw.Canvas, q *plot.Plot, x, y []plot.Tick) {
	trX, trY := q.Transforms(c)
	l := draw.LineStyle{Color: grid, Width: 0.8}
	for _, t := range x {
		if !t.IsMinor() {
			c.StrokeLine2(l, trX(t.Value), c.Min.Y, trX(t.Value), c.Max.Y)
		}
	}
	for _, t := range y {
		if !t.IsMinor() {
			c.StrokeLine2(l, c.Min.X, trY(t.Value), c.Max.X, trY(t.Value))
		}
	}
}

// finite says whether all of v have a place.
func finite(v ...float64) bool {
	for _, f := range v {
		if math.IsNaN(f) || math.IsInf(f, 0) {
			return false
		}
	}
	return true
}

// wrap breaks s into lines.
func wrap(sty draw.TextStyle, s string, width vg.Length) (lines []string) {
	for _, word := range strings.Fields(s) {
		if n := len(lines) - 1; n >= 0 && sty.Width(lines[n]+" "+word) <= width*0.96 { // other fonts are wider
			lines[n] += " " + word
		} else {
			lines = append(lines, word)
		}
	}
	return lines
}

func joined(parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), " · ")
}
