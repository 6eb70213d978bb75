package main

import (
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

const row = 21 // height of a server, px

// dots draws the servers of a panel one below the other: a dot for the median, with a bar
// to it, a whisker from the least to the most, and the figures. The reference is a line
// across all.
type dots struct {
	*picture
	*panel
	rows  []series
	ref   *point // nil: none was measured
	scale scale
	ticks []plot.Tick
	names vg.Length // width
	ours  bool      // all are
}

func newDots(p *picture, of *panel, q *plot.Plot) *dots {
	d := &dots{picture: p, panel: of}
	d.rows, d.ref = p.split(*of)
	if of.relative {
		d.ref = &point{cell: cell{median: 1}}
	}
	k, title := numbers, plain(of.title) // a bar is from 0
	if of.log && d.ref != nil {          // or from the reference
		k, title = ratios, of.title
	}
	var values []float64
	for _, other := range p.level(of) {
		for _, s := range other.series {
			for _, v := range []float64{s.points[0].min, s.points[0].median, s.points[0].max} {
				if v = of.shown(v); v > 0 {
					values = append(values, v)
				}
			}
		}
	}
	for _, s := range of.series {
		d.names = max(d.names, style(12, text, true).Width(p.label(s)))
	}
	if of.relative {
		values = append(values, 1)
	}
	d.ours = !slices.ContainsFunc(d.rows, func(s series) bool { return !p.looks[s.server].bold })
	d.scale = newScale(k, values)
	q.HideY()
	q.Y.Padding = d.names + 14
	q.Y.Min, q.Y.Max = 0, float64(len(d.rows)+1)
	q.X.Min, q.X.Max, d.ticks = d.scale.span()
	q.X.Tick.Marker = plot.ConstantTicks(d.ticks)
	q.X.Label.Text = title
	return d
}

func (p *picture) label(s series) string {
	if s.label != "" {
		return s.label
	}
	return p.looks[s.server].name
}

// split parts the reference from the servers that are compared with it.
func (p *picture) split(of panel) (rows []series, ref *point) {
	i := slices.IndexFunc(of.series, func(s series) bool { return s.server == p.to })
	if i < 0 {
		return of.series, nil
	}
	return slices.Delete(slices.Clone(of.series), i, i+1), &of.series[i].points[0]
}

func (p *picture) rowsHeight(of panel) vg.Length {
	rows, _ := p.split(of)
	return vg.Length(len(rows)+1)*row + 42 // of the axis
}

// figures are the widths of the columns of figures at the right: the value and the ratio.
func (d *dots) figures() (value, ratio vg.Length) {
	if d.ref != nil {
		ratio = 48
	}
	return 54, ratio
}

// GlyphBoxes keeps the right free for the figures.
func (d *dots) GlyphBoxes(*plot.Plot) []plot.GlyphBox {
	value, ratio := d.figures()
	return []plot.GlyphBox{{X: 1, Y: 0, Rectangle: vg.Rectangle{Max: vg.Point{X: value + ratio}}}}
}

func (d *dots) Plot(c draw.Canvas, q *plot.Plot) {
	trX, trY := q.Transforms(&c)
	valueWidth, ratioWidth := d.figures()
	left, right := c.Min.X-d.names-14, c.Max.X+valueWidth+ratioWidth
	c.FillText(style(13, text, true), vg.Point{X: left, Y: c.Max.Y + 12}, d.about)
	middle := func(i int) float64 { return float64(len(d.rows)-i) - 0.5 }
	for i, s := range d.rows {
		if d.looks[s.server].bold && !d.ours {
			lo, hi := trY(middle(i)-0.5), trY(middle(i)+0.5)
			from, to := left-4, right+4
			c.FillPolygon(band, []vg.Point{{X: from, Y: lo}, {X: to, Y: lo}, {X: to, Y: hi}, {X: from, Y: hi}})
		}
	}
	rules(&c, q, d.ticks, nil)

	head := style(10.5, muted, false)
	top := trY(float64(len(d.rows)) + 0.5)
	from := c.Min.X
	if d.ref != nil {
		l := d.looks[d.to]
		head.XAlign = draw.XRight
		c.FillText(head, vg.Point{X: right, Y: top}, "to "+l.name)
		head.XAlign = draw.XLeft
		if at := d.scale.at(d.shown(d.ref.median)); finite(at) {
			if d.scale.kind == ratios {
				from = trX(at)
			}
			dashes := draw.LineStyle{Color: l.ink, Width: 1.4, Dashes: []vg.Length{4, 3}}
			c.StrokeLine2(dashes, trX(at), c.Min.Y, trX(at), trY(float64(len(d.rows))))
			name := l.name
			if !d.relative {
				name += " " + number(d.shown(d.ref.median)) + dagger(d.ref.cell)
			}
			half := head.Width(name) / 2
			head.XAlign, head.Color = draw.XCenter, text
			c.FillText(head, vg.Point{X: min(max(trX(at), c.Min.X+half), c.Max.X-half), Y: top}, name)
		}
	}
	for i, s := range d.rows {
		l, y, v := d.looks[s.server], trY(middle(i)), s.points[0].cell
		name := style(12, text, l.bold && !d.ours)
		name.XAlign = draw.XRight
		c.FillText(name, vg.Point{X: c.Min.X - 10, Y: y}, d.label(s))
		figure := name
		c.FillText(figure, vg.Point{X: c.Max.X + valueWidth, Y: y}, brief(s.absolute)+dagger(v))
		if v.ratio > 0 {
			c.FillText(figure, vg.Point{X: right, Y: y}, times(v.ratio)+"×")
		}
		at := d.scale.at(d.shown(v.median))
		if !finite(at) {
			continue
		}
		c.StrokeLine2(draw.LineStyle{Color: l.ink, Width: l.width}, from, y, trX(at), y)
		if lo, hi := d.scale.at(d.shown(v.min)), d.scale.at(d.shown(v.max)); finite(lo, hi) {
			whisker := draw.LineStyle{Color: text, Width: 0.8}
			c.StrokeLine2(whisker, trX(lo), y, trX(hi), y)
			c.StrokeLine2(whisker, trX(lo), y-3, trX(lo), y+3)
			c.StrokeLine2(whisker, trX(hi), y-3, trX(hi), y+3)
		}
		l.mark(&c, vg.Point{X: trX(at), Y: y}, v.doubtful())
	}
}

// brief is a number for a picture.
func brief(v float64) string {
	if v < 10_000 {
		return number(v)
	}
	return number(v/1000) + "k"
}

// dagger marks what is doubtful.
func dagger(c cell) string {
	if c.doubtful() {
		return "†"
	}
	return ""
}
