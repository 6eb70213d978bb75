package main

import (
	"bytes"
	"fmt"
	"html"
	"image/color"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"

	xfont "golang.org/x/image/font"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// ink is a colour on light and on dark ground. It is drawn as the light one, and paint makes
// a class of it. No two inks have the same light one, and none is black, which vgsvg leaves out.
type ink struct{ light, dark uint32 }

func (i ink) RGBA() (r, g, b, a uint32) {
	return color.RGBA{uint8(i.light >> 16), uint8(i.light >> 8), uint8(i.light), 0xff}.RGBA()
}

var (
	ground = ink{0xFFFFFF, 0x0D1117}
	text   = ink{0x1F2328, 0xE6EDF3}
	muted  = ink{0x59636E, 0x9DA7B1}
	grid   = ink{0xDDE2E7, 0x2A313A}
	band   = ink{0xE8F2FB, 0x15263A} // behind the line of a server that is ours
)

// known are the colours of servers, from Okabe and Ito where they are easily seen on both
// grounds. Variants of a server, such as isbjorn-pool, have its colour.
var known = map[string]ink{
	"isbjorn":  {0x0072B2, 0x4FB3FF},
	nethttp:    {0xD55E00, 0xFF8A3D},
	"fasthttp": {0x009E73, 0x2FCB9E},
	"celeris":  {0xCC79A7, 0xEFA3CF},
	"hertz":    {0xC98A00, 0xF5B83D},
	"gnet":     {0x8F8400, 0xF0E442},
	"nbio":     {0x6A5ACD, 0xA79BFF},
	"nginx":    {0x5F6B77, 0xA9B4C0},
	"h2o":      {0x8C564B, 0xC98F80},
	"bjoern":   {0x17889B, 0x56D0E0},
	"floor":    {0x30363D, 0xC9D1D9},
}

// others are for servers that are not known, in the order of their names.
var others = []ink{{0xA01A58, 0xFF7EB6}, {0x3A7D0A, 0x9BD770}, {0x7A5195, 0xC79BE8}, {0x6E6E6E, 0xBDBDBD}}

// look is how a server is drawn, in all pictures the same.
type look struct {
	ink
	name  string
	shape int
	width vg.Length
	dash  []vg.Length
	bold  bool
}

// looks gives each server its look. It depends on which servers there are, and on nothing else.
func looks(servers []string) map[string]look {
	all := map[string]look{}
	families := slices.Sorted(maps.Keys(known))
	variants := map[string]int{}
	for _, server := range slices.Sorted(slices.Values(servers)) {
		family, _, _ := strings.Cut(server, "-")
		l, ok := known[family]
		if !ok {
			if !slices.Contains(families, family) {
				families = append(families, family)
			}
			l = others[(slices.Index(families, family)-len(known))%len(others)]
		}
		k := look{ink: l, name: displayName(server), shape: slices.Index(families, family), width: 1.6}
		k.shape += variants[family]
		if family == "isbjorn" {
			k.bold, k.width, k.shape = true, 3, variants[family]
		}
		if n := variants[family]; n > 0 {
			k.width, k.dash = 1.8, []vg.Length{7, vg.Length(1 + 2*n)}
		}
		if family == "floor" {
			k.dash = []vg.Length{2, 3}
		}
		variants[family]++
		all[server] = k
	}
	return all
}

// displayName is the name of a server as it is shown.
func displayName(server string) string {
	return strings.NewReplacer(nethttp, "net/http", "-", " ").Replace(server)
}

// style is that of a text, sizes in px.
func style(size float64, i ink, bold bool) draw.TextStyle {
	f := font.Font{Typeface: "Liberation", Variant: "Sans", Size: vg.Length(size)}
	if bold {
		f.Weight = xfont.WeightBold
	}
	const middle = -0.41 // of small letters
	return draw.TextStyle{Color: i, Font: f, Handler: plot.DefaultTextHandler, YAlign: middle}
}

// mark draws the point of a server, hollow where it is doubtful.
func (l look) mark(c *draw.Canvas, at vg.Point, hollow bool) {
	r, corners, turn := vg.Length(3.5), 0, 0.0
	switch l.shape % 5 {
	case 1:
		corners, turn = 4, math.Pi/4
	case 2:
		corners, turn = 3, math.Pi/2
	case 3:
		corners = 4
	case 4:
		corners, turn = 3, -math.Pi/2
	}
	if corners > 0 {
		r *= 1.25
	}
	if l.bold {
		r *= 1.3
	}
	var p vg.Path
	if corners == 0 {
		p.Move(vg.Point{X: at.X + r, Y: at.Y})
		p.Arc(at, r, 0, 2*math.Pi)
	}
	for i := range corners {
		sin, cos := math.Sincos(turn + 2*math.Pi*float64(i)/float64(corners))
		corner := vg.Point{X: at.X + r*vg.Length(cos), Y: at.Y + r*vg.Length(sin)}
		if i == 0 {
			p.Move(corner)
		} else {
			p.Line(corner)
		}
	}
	p.Close()
	c.SetColor(l.ink)
	if !hollow {
		c.Fill(p)
		return
	}
	c.SetColor(ground)
	c.Fill(p)
	c.SetLineStyle(draw.LineStyle{Color: l.ink, Width: 1.5})
	c.Stroke(p)
}

var (
	styles      = regexp.MustCompile(`\s*style="([^"]*)"`)
	declaration = regexp.MustCompile(`([a-z-]+):([^;]*)`)
)

// paint makes of what gonum has drawn a picture that goes with light and dark pages: each
// colour is a class, and the classes have both colours.
func paint(c *vgsvg.Canvas, title string) ([]byte, error) {
	var b bytes.Buffer
	if _, err := c.WriteTo(&b); err != nil {
		return nil, err
	}
	_, drawn, _ := strings.Cut(b.String(), "<g ")
	inks := map[string]ink{}
	for _, i := range slices.Concat([]ink{ground, text, muted, grid, band}, slices.Collect(maps.Values(known)), others) {
		inks[fmt.Sprintf("#%06X", i.light)] = i
	}
	used := map[string]ink{}
	class := func(prefix, value string) string {
		name := prefix + strings.ToLower(value[1:])
		used[name] = inks[value]
		return name
	}
	drawn = styles.ReplaceAllStringFunc(drawn, func(s string) string {
		var classes, attributes []string
		for _, d := range declaration.FindAllStringSubmatch(styles.FindStringSubmatch(s)[1], -1) {
			name, value := d[1], d[2]
			switch {
			case name == "fill" && value != "none":
				classes = append(classes, class("f", value))
			case name == "stroke":
				classes = append(classes, class("s", value))
			case name == "font-family", name == "font-variant", name == "font-style", value == "normal":
			default:
				attributes = append(attributes, fmt.Sprintf(`%s="%s"`, name, value))
			}
		}
		return fmt.Sprintf(` class="%s" %s`, strings.Join(classes, " "), strings.Join(attributes, " "))
	})
	w, h := c.Size()
	var out bytes.Buffer
	fmt.Fprintf(&out, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%g\" height=\"%g\" viewBox=\"0 0 %g %g\" role=\"img\">\n", w, h, w, h)
	fmt.Fprintf(&out, "<title>%s</title>\n<style>\ntext{font-family:Helvetica,Arial,\"Liberation Sans\",sans-serif}\n", html.EscapeString(title))
	rules := func(pick func(ink) uint32) {
		for _, name := range slices.Sorted(maps.Keys(used)) {
			property := map[byte]string{'f': "fill", 's': "stroke"}[name[0]]
			fmt.Fprintf(&out, ".%s{%s:#%06X}\n", name, property, pick(used[name]))
		}
	}
	rules(func(i ink) uint32 { return i.light })
	out.WriteString("@media (prefers-color-scheme:dark){\n")
	rules(func(i ink) uint32 { return i.dark })
	out.WriteString("}\n</style>\n<g " + drawn)
	return out.Bytes(), nil
}
