package main

import (
	"encoding/csv"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"gonum.org/v1/plot"

	"github.com/isbjorn/isbjorn/bench/internal/sample"
)

var keep = flag.String("keep", "", "directory for a report of made-up data, to look at")

// made makes the report of a run, and returns its files by name.
func made(t *testing.T, run sample.Run, samples []sample.Sample) map[string]string {
	t.Helper()
	dir := write(t, run, samples)
	if err := report(dir, ""); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[e.Name()] = string(text)
	}
	return files
}

func TestPictures(t *testing.T) {
	run, samples := synthetic()
	if *keep != "" {
		writeTo(t, *keep, run, samples)
		if err := report(*keep, ""); err != nil {
			t.Fatal(err)
		}
	}
	files := made(t, run, samples)
	for _, f := range figures {
		t.Run(f.plot, func(t *testing.T) {
			svg := files[f.plot+".svg"]
			if n := len(svg); n == 0 || n > 100_000 {
				t.Errorf("%d bytes, want something and at most 100,000", n)
			}
			boxes := checkSVG(t, svg)
			all := " " + strings.Join(boxes, " | ") + " "
			if !strings.Contains(all, f.title) || !strings.Contains(all, "AMD EPYC") || !strings.Contains(all, "20 November 2026") || !strings.Contains(all, run.Command) {
				t.Errorf("no title, machine, date or command in %q", all)
			}
			for _, v := range f.values {
				if !strings.Contains(all, v.title) && !strings.Contains(all, v.plainTitle()) {
					t.Errorf("no title %q in %q", v.title, all)
				}
			}
			page := files["README.md"]
			for server := range resultsOf(f.plot, samples) {
				if name := displayName(server); !strings.Contains(all, name) {
					t.Errorf("no %s in %q", name, all)
				}
				if !strings.Contains(files[f.plot+".csv"], "\n"+server+",") {
					t.Errorf("no %s in the CSV", server)
				}
			}
			if !strings.Contains(page, "]("+f.plot+".svg)") || !strings.Contains(page, "]("+f.plot+".csv)") || !strings.Contains(page, f.shows) {
				t.Error("the page does not show it")
			}
		})
	}
	for name, text := range files {
		if word := regexp.MustCompile(`\b(NaN|[+-]?Inf)\b`).FindString(text); word != "" {
			t.Errorf("%s has %s", name, word)
		}
	}
	for _, want := range []string{"2 × AMD EPYC, 8 GiB, Linux 6.18", "20 November 2026, 1h2m5s", "| wrk | 4.1.0 |", "| server on processors | 0 |", "- bjoern: not measured, there is no python3-dev"} {
		if !strings.Contains(files["README.md"], want) {
			t.Errorf("README.md has no %q", want)
		}
	}
}

// checkSVG returns the texts of a picture. They must be in it and not on one another, each
// colour must be there for light and dark, and nothing else may give one.
func checkSVG(t *testing.T, svg string) (texts []string) {
	t.Helper()
	type box struct {
		text                     string
		left, right, bottom, top float64
	}
	var boxes []box
	var css string
	classes := map[string]bool{}
	number := func(s string) float64 {
		v, err := strconv.ParseFloat(s, 64)
		if err != nil {
			t.Error(err)
		}
		return v
	}
	var width, height float64
	turned := 0 // depth in groups that are rotated
	d := xml.NewDecoder(strings.NewReader(svg))
	for {
		token, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		switch e := token.(type) {
		case xml.EndElement:
			if e.Name.Local == "g" && turned > 0 {
				turned--
			}
		case xml.StartElement:
			a := map[string]string{}
			for _, attr := range e.Attr {
				a[attr.Name.Local] = attr.Value
			}
			for _, c := range strings.Fields(a["class"]) {
				classes[c] = true
			}
			if a["style"] != "" || strings.HasPrefix(a["fill"], "#") || strings.HasPrefix(a["stroke"], "#") {
				t.Errorf("<%s> has a colour of its own: %v", e.Name.Local, a)
			}
			switch e.Name.Local {
			case "svg":
				width, height = number(a["width"]), number(a["height"])
			case "g":
				if turned > 0 || strings.HasPrefix(a["transform"], "rotate") {
					turned++
				}
			case "style":
				if err := d.DecodeElement(&css, &e); err != nil {
					t.Fatal(err)
				}
			case "text":
				var s string
				if err := d.DecodeElement(&s, &e); err != nil {
					t.Fatal(err)
				}
				texts = append(texts, s)
				if turned > 0 {
					continue
				}
				size, _ := strings.CutSuffix(a["font-size"], "px")
				sty := style(number(size), text, a["font-weight"] == "bold")
				b := box{text: s, left: number(a["x"]), bottom: -number(a["y"])}
				b.right = b.left + float64(sty.Width(s))
				b.top = b.bottom + 0.7*number(size)
				boxes = append(boxes, b)
			}
		}
	}
	for i, b := range boxes {
		if b.left < 0 || b.right > width || b.bottom < 0 || b.top > height {
			t.Errorf("%+v is not in %g x %g", b, width, height)
		}
		for _, c := range boxes[:i] {
			if b.left < c.right && c.left < b.right && b.bottom < c.top && c.bottom < b.top {
				t.Errorf("%+v is on %+v", b, c)
			}
		}
	}
	light, dark, ok := strings.Cut(css, "@media (prefers-color-scheme:dark)")
	if !ok {
		t.Error("nothing for dark pages")
	}
	for c := range classes {
		if rule := "." + c + "{"; !strings.Contains(light, rule) || !strings.Contains(dark, rule) {
			t.Errorf("class %s is not in both of %q and %q", c, light, dark)
		}
	}
	return texts
}

// The order of the lines does not matter, nor anything else that is not in them.
func TestSameBytes(t *testing.T) {
	run, samples := synthetic()
	want := made(t, run, samples)
	rand.Shuffle(len(samples), func(i, j int) { samples[i], samples[j] = samples[j], samples[i] })
	got := made(t, run, samples)
	delete(want, "samples.jsonl")
	delete(got, "samples.jsonl")
	for name, text := range want {
		if got[name] != text {
			t.Errorf("%s is not the same", name)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%v, want %v", slices.Collect(maps.Keys(got)), slices.Collect(maps.Keys(want)))
	}
}

// of returns a sample with the values, given as pairs.
func of(plot, server string, round int, x sample.X, unit string, value float64) sample.Sample {
	return sample.Sample{Plot: plot, Server: server, Round: round, X: x, Values: map[string]float64{unit: value}}
}

var hello = sample.X{Head: "hello", Depth: 1, Conns: 64}

// Ratios are of what was measured in the same round, and then the median.
func TestFigures(t *testing.T) {
	samples := []sample.Sample{
		of(sample.CPU, "isbjorn", 1, hello, "cpu-us/req", 6), of(sample.CPU, sample.Floor, 1, hello, "cpu-us/req", 5), // 1.2
		of(sample.CPU, "isbjorn", 2, hello, "cpu-us/req", 9), of(sample.CPU, sample.Floor, 2, hello, "cpu-us/req", 10), // 0.9
		of(sample.CPU, "isbjorn", 3, hello, "cpu-us/req", 11), of(sample.CPU, sample.Floor, 3, hello, "cpu-us/req", 10), // 1.1
		of(sample.CPU, "isbjorn", 4, hello, "cpu-us/req", 40), // no floor
	}
	files := made(t, sample.Run{Rounds: 4}, samples)
	rows, err := csv.NewReader(strings.NewReader(files["cpu.csv"])).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	want := [][]string{
		{"server", "tool", "head", "depth", "conns", "rate", "quantile", "cost", "unit", "median", "min", "max", "rounds", "ratio", "ratio_to", "errors"},
		{"floor", "", "hello", "1", "64", "", "", "", "cpu-us/req", "10", "5", "10", "3", "1", "floor", "0"},
		{"isbjorn", "", "hello", "1", "64", "", "", "", "cpu-us/req", "10", "6", "40", "4", "1.1", "floor", "0"},
	}
	if !slices.EqualFunc(rows, want, slices.Equal) {
		t.Errorf("%q, want %q", rows, want)
	}
	if want := "| **isbjorn** | 10 (1.10) |\n"; !strings.Contains(files["README.md"], want) {
		t.Errorf("no %q in %s", want, files["README.md"])
	}
}

// Ratios are drawn from a line at one, and where there is nothing to compare with bars are
// from zero.
func TestDots(t *testing.T) {
	costly := sample.X{Cost: "work 1ms", Conns: 64}
	var samples []sample.Sample
	for round, values := range [][2]float64{{100, 50}, {300, 100}, {250, 100}} { // 2, 3, 2.5
		samples = append(samples, of(sample.Handler, "isbjorn", round+1, costly, "req/s", values[0]), of(sample.Handler, nethttp, round+1, costly, "req/s", values[1]))
	}
	for _, conns := range []int{0, 64} {
		samples = append(samples, of(sample.Stalled, "isbjorn", 1, sample.X{Conns: conns}, "rss-B", float64(conns+1)*(1<<20)))
	}
	p := newPage(sample.Run{}, samples)
	var relative, stalled *picture
	for _, shown := range p.Shown {
		switch shown.plot {
		case sample.Handler:
			relative = shown
		case sample.Stalled:
			stalled = shown
		}
	}
	s := relative.panels[0].series
	if c := s[0].points[0]; len(s) != 1 || s[0].label != "work 1ms" && s[0].label != "" || s[0].absolute != 250 || c.median != 2.5 || c.min != 2 || c.max != 3 {
		t.Errorf("%+v", s)
	}
	q := plot.New()
	if d := newDots(relative, &relative.panels[0], q); d.scale.kind != ratios || d.ref == nil || d.ref.median != 1 {
		t.Errorf("%+v", d)
	}
	for i := range stalled.panels {
		d := newDots(stalled, &stalled.panels[i], q)
		if d.scale.kind != numbers || d.ref != nil || q.X.Min != 0 || q.X.Max < 65 {
			t.Errorf("panel %d is from %v to %v, want both from 0 to 65 or more: %+v", i, q.X.Min, q.X.Max, d)
		}
	}
	if stalled.lines || stalled.panels[1].about != "64 clients that do not read" {
		t.Errorf("%+v", stalled)
	}
}

// A line does not go on where a point is missing that others have.
func TestGap(t *testing.T) {
	var samples []sample.Sample
	for _, conns := range []int{1, 4, 16, 64} {
		samples = append(samples, of(sample.Conns, nethttp, 1, sample.X{Conns: conns}, "req/s", 100))
		if conns != 16 {
			samples = append(samples, of(sample.Conns, "hertz", 1, sample.X{Conns: conns}, "req/s", 200))
		}
	}
	files := made(t, sample.Run{}, samples)
	svg := files["conns.svg"]
	if !strings.Contains(svg, "not measured, or not all: hertz<") || !strings.Contains(files["README.md"], "| hertz | 200 | 200 | - | 200 |") {
		t.Errorf("the gap of hertz is not told: %s", files["README.md"])
	}
	for server, want := range map[string][]int{nethttp: {4}, "hertz": {2, 1}} {
		line := regexp.MustCompile(fmt.Sprintf(`<path d="([^"]*)"\s+class="s%06x" fill="none" stroke-width="%g"`, known[server].light, 1.6))
		var points []int
		for _, m := range line.FindAllStringSubmatch(svg, -1) {
			points = append(points, 1+strings.Count(m[1], "L"))
		}
		if !slices.Equal(points, want) {
			t.Errorf("%s has lines of %v points, want %v", server, points, want)
		}
	}
}

func TestScales(t *testing.T) {
	for _, tt := range []struct {
		kind   kind
		values []float64
		least  float64 // of what is shown, from end to end
		labels string
	}{
		{numbers, []float64{3, 120}, 120, "0 50 100"},
		{ratios, []float64{100, 101}, 0.3, "80 100 120 140"},
		{ratios, []float64{0.1, 1000}, 4, "0.1 1 10 100 1,000"},
		{steps, []float64{1, 4, 16, 4096}, 3.6, "1 4 16 4,096"},
		{steps, []float64{0, 1000, 10_000}, 2, "0 1,000 10k"},
		{steps, []float64{1, 1.01, 100}, 2, "1 100"},
		{tail, []float64{0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1}, 2.4, "50% 90% 99% max"},
		{numbers, nil, 1, ""},
		{numbers, []float64{0}, 1, "0 0.2 0.4 0.6 0.8 1"},
	} {
		s := newScale(tt.kind, tt.values)
		from, to, ticks := s.span()
		var labels []string
		for _, tick := range ticks {
			if tick.Value < from || tick.Value > to {
				t.Errorf("%v: tick %v is not in %v to %v", tt.values, tick, from, to)
			}
			if tick.Label != "" {
				labels = append(labels, tick.Label)
			}
		}
		if to-from < tt.least || strings.Join(labels, " ") != tt.labels {
			t.Errorf("%v: %q on %v, want %q on %v or more", tt.values, labels, to-from, tt.labels, tt.least)
		}
		for _, v := range tt.values {
			if at := s.at(v); at < from || at > to {
				t.Errorf("%v: %v is at %v, not in %v to %v", tt.values, v, at, from, to)
			}
		}
	}
}

// What had errors is marked, and never first.
func TestErrors(t *testing.T) {
	fast := of(sample.CPU, "nginx", 1, hello, "cpu-us/req", 1)
	fast.Values["errors"] = 3
	slow := of(sample.CPU, "isbjorn", 1, hello, "cpu-us/req", 6)
	files := made(t, sample.Run{Rounds: 1}, []sample.Sample{fast, slow})
	page := files["README.md"]
	good, bad := strings.Index(page, "| **isbjorn** | 6 |"), strings.Index(page, "| nginx | 1† |")
	if good < 0 || bad < good {
		t.Errorf("isbjorn at %d, nginx at %d in %s", good, bad, page)
	}
	texts := checkSVG(t, files["cpu.svg"])
	if i, j := slices.Index(texts, "isbjorn"), slices.Index(texts, "nginx"); i < 0 || j < i || !slices.Contains(texts, "1†") {
		t.Errorf("%q", texts)
	}
	hollow := "f" + strings.ToLower("FFFFFF")
	if n := strings.Count(files["cpu.svg"], `class="`+hollow+`"`); n != 2 { // the ground and one mark
		t.Errorf("%d shapes in the colour of the ground, want 2", n)
	}

	behind := sample.X{Rate: 1000, Conns: 64}
	for rate, want := range map[float64]bool{1000: false, 991: false, 980: true} {
		c, ok := rounds{1: {"p50-us": 7, "req/s": rate}}.cell("p50-us", behind.Rate, nil)
		if !ok || c.doubtful() != want {
			t.Errorf("%v of 1000 answered: %+v, want doubtful: %v", rate, c, want)
		}
	}
}

// What was not measured is said, and nothing else is disturbed.
func TestMissing(t *testing.T) {
	run, samples := synthetic()
	for _, f := range figures {
		p := newPage(run, slices.DeleteFunc(slices.Clone(samples), func(s sample.Sample) bool { return s.Plot == f.plot }))
		if len(p.Shown) != len(figures)-1 || !slices.Equal(p.Missing(), []string{f.title + ": not measured", "bjoern: not measured, there is no python3-dev"}) {
			t.Errorf("without %s: %q, and %d pictures", f.plot, p.Missing(), len(p.Shown))
		}
	}
	nothing := made(t, sample.Run{}, nil)
	if n := strings.Count(nothing["README.md"], ": not measured\n"); n != len(figures) || strings.Contains(nothing["README.md"], "svg") {
		t.Errorf("no samples: %s", nothing["README.md"])
	}
	// The reference, a value, one server only, zeros: each is drawn as far as it goes.
	few := slices.DeleteFunc(slices.Clone(samples), func(s sample.Sample) bool { return s.Server != "isbjorn" && s.Server != "unheard-of" })
	for i := range few {
		few[i].Round += 10
		few[i].Values = maps.Clone(few[i].Values)
		for unit := range few[i].Values {
			switch i % 3 {
			case 0:
				few[i].Values[unit] = 0
			case 1:
				delete(few[i].Values, "p99-us")
			}
		}
	}
	for name, text := range made(t, run, few) {
		if strings.HasSuffix(name, ".svg") {
			checkSVG(t, text)
		}
		if word := regexp.MustCompile(`\b(NaN|[+-]?Inf)\b`).FindString(text); word != "" {
			t.Errorf("%s has %s", name, word)
		}
	}
}

// What a server lacks in one plot is said beside it, as far as there is room for it.
func TestWithout(t *testing.T) {
	run, samples := synthetic()
	run.Missing["isbjorn-nethttp, cpu"] = "it | did not answer"
	run.Command = strings.Repeat("command that is long ", 20)
	run.Versions["nginx"] = "nginx version: nginx/1.22.1"
	files := made(t, run, samples)
	if texts := strings.Join(checkSVG(t, files["cpu.svg"]), "\n"); !strings.Contains(texts, "not measured, or not all: isbjorn net/http") || !strings.Contains(texts, "nginx 1.22.1") {
		t.Errorf("%s", texts)
	}
	for _, want := range []string{"- isbjorn net/http, cpu: not measured, it | did not answer\n", "(#what-is-missing)): isbjorn net/http.\n", "| nginx | nginx version: nginx/1.22.1 |"} {
		if !strings.Contains(files["README.md"], want) {
			t.Errorf("no %q in %s", want, files["README.md"])
		}
	}
}

// A bad line is refused by its number, and nothing is written.
func TestRefused(t *testing.T) {
	good := `{"plot":"cpu","server":"isbjorn","round":1,"x":{},"values":{"cpu-us/req":1}}`
	for line, want := range map[string]string{
		`{`: "unexpected end",
		``:  "unexpected end",
		`{"plot":"cup","server":"isbjorn","round":1,"values":{"x":1}}`:                              `plot "cup"`,
		`{"plot":"cpu","round":1,"values":{"x":1}}`:                                                 "no server",
		`{"plot":"cpu","server":"isbjorn","values":{"x":1}}`:                                        "round 0",
		`{"plot":"cpu","server":"isbjorn","round":2}`:                                               "no values",
		`{"plot":"percentile","server":"isbjorn","round":1,"x":{"quantile":99},"values":{"req":1}}`: "quantile 99",
		`{"plot":"cpu","server":"isbjorn","round":1,"values":{"x":"1"}}`:                            "values",
		good: "line 1 does",
	} {
		dir := write(t, sample.Run{}, nil)
		name := filepath.Join(dir, "samples.jsonl")
		if err := os.WriteFile(name, []byte(good+"\n"+line+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		err := report(dir, "")
		if err == nil || !strings.Contains(err.Error(), name+": line 2: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", line, err, want)
		}
		if _, err := os.Stat(filepath.Join(dir, "README.md")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: a page was written, %v", line, err)
		}
	}
	dir := write(t, sample.Run{}, nil)
	for _, name := range []string{"samples.jsonl", "run.json"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		if err := report(dir, ""); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("without %s: %v", name, err)
		}
	}
}

func TestSummary(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "bench", "report")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	run, samples := synthetic()
	writeTo(t, dir, run, samples)
	readme := filepath.Join(root, "README.md")
	renewed := func(text string) (string, error) {
		if err := os.WriteFile(readme, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		err := report(dir, readme)
		got, _ := os.ReadFile(readme)
		return string(got), err
	}
	for _, text := range []string{"# isbjorn\n", begin, end + begin, begin + "\n"} {
		if got, err := renewed(text); !errors.Is(err, errMarkers) || !strings.Contains(err.Error(), readme) || got != text {
			t.Errorf("%q: %q, %v", text, got, err)
		}
		if _, err := os.Stat(filepath.Join(dir, "README.md")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%q: a page was written, %v", text, err)
		}
	}
	once, err := renewed("before\n" + begin + "\nold\n" + end + "\nafter\n")
	if err != nil || !strings.HasPrefix(once, "before\n"+begin+"\n") || !strings.HasSuffix(once, "\n"+end+"\nafter\n") || strings.Contains(once, "old") {
		t.Errorf("%q, %v", once, err)
	}
	for _, want := range []string{"](bench/report/cpu.svg)", "](bench/report/README.md)", "| **isbjorn** | ", "hello, 16 deep"} {
		if !strings.Contains(once, want) {
			t.Errorf("no %q in %s", want, once)
		}
	}
	if twice, err := renewed(once); err != nil || twice != once {
		t.Errorf("again: %q, %v", twice, err)
	}
	if err := report(dir, filepath.Join(t.TempDir(), "README.md")); err == nil || !strings.Contains(err.Error(), "-readme") {
		t.Errorf("a file elsewhere: %v", err)
	}
}

func TestNumbers(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 1: "1", 0.5: "0.500", 0.04567: "0.0457", 9.999: "10.00", 6.25: "6.25", 16.64: "16.6", 99.96: "100", 123.4: "123", 1024: "1,024", 152340.4: "152,340", 1e6: "1,000,000", -1234.5: "-1,234"} {
		if got := number(v); got != want {
			t.Errorf("number(%v) is %s, want %s", v, got, want)
		}
	}
	for v, want := range map[float64]string{0: "0", 0.1: "0.1", 64: "64", 4096: "4,096", 10_000: "10k", 12_500: "12.5k", 1.5e6: "1.5M"} {
		if got := short(v); got != want {
			t.Errorf("short(%v) is %s, want %s", v, got, want)
		}
	}
	for v, want := range map[float64]string{1.036: "1.04", 0.998: "1.00", 13.46: "13.5", 0.0163: "0.016"} {
		if got := times(v); got != want {
			t.Errorf("times(%v) is %s, want %s", v, got, want)
		}
	}
	for v, want := range map[float64]string{0.5: "50%", 0.999: "99.9%", 0.99999: "99.999%", 1: "max"} {
		if got := percent(v); got != want {
			t.Errorf("percent(%v) is %s, want %s", v, got, want)
		}
	}
	for _, tt := range []struct{ v, want []float64 }{{nil, []float64{0}}, {[]float64{3, 1, 2}, []float64{2}}, {[]float64{4, 1, 2, 3}, []float64{2.5}}} {
		if got := median(tt.v); got != tt.want[0] {
			t.Errorf("median %v, want %v", got, tt.want)
		}
	}
}

// A server looks the same whoever else is there, unless it is unknown, and is told from all others.
func TestLooks(t *testing.T) {
	all := looks([]string{"isbjorn", "isbjorn-nethttp", "nethttp", "fasthttp", "else"})
	one := looks([]string{"nethttp"})
	if a, b := all["nethttp"], one["nethttp"]; a.ink != b.ink || a.shape != b.shape {
		t.Errorf("%+v, %+v", a, b)
	}
	seen := map[ink]string{}
	for server, l := range all {
		if other, ok := seen[l.ink]; ok && !strings.HasPrefix(server, "isbjorn") {
			t.Errorf("%s and %s have one colour", server, other)
		}
		seen[l.ink] = server
	}
	if a, b := all["isbjorn"], all["isbjorn-nethttp"]; a.ink != b.ink || a.shape == b.shape || len(b.dash) == 0 {
		t.Errorf("%+v, %+v", a, b)
	}
	light := map[uint32]bool{0: true} // black: vgsvg does not write it
	for _, i := range slices.Concat([]ink{ground, text, muted, grid, band}, slices.Collect(maps.Values(known)), others) {
		if light[i.light] {
			t.Errorf("%06X is there twice, or black", i.light)
		}
		light[i.light] = true
	}
}
