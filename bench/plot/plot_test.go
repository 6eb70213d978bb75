package main

import (
	"encoding/csv"
	"encoding/xml"
	"errors"
	"flag"
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
