package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/perf/benchfmt"
)

// root is this tree.
func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// planted does what the environment says, for each request. Not told, it does nothing.
const planted = `package server

import ("os"; "strconv"; "syscall")

func plantedCount(name string) int { n, _ := strconv.Atoi(os.Getenv(name)); return n }

var (
	plantedSpins   = plantedCount("PLANTED_SPINS")
	plantedObjects = plantedCount("PLANTED_OBJECTS")
	plantedCalls   = plantedCount("PLANTED_CALLS")

	plantedSum    uint64
	plantedObject *[16]byte
)

func planted() {
	for range plantedSpins { plantedSum = plantedSum*6364136223846793005 + 1442695040888963407 }
	for range plantedObjects { plantedObject = new([16]byte) }
	for range plantedCalls { syscall.Getppid() }
}
`

// plant builds this tree as both revisions, and the tree with planted in the way of every
// request.
func plant(t *testing.T) *gate {
	t.Helper()
	const file = "server/exchange.go"
	entry := regexp.MustCompile(`(?m)^func \(x \*exchange\) onHead\(.*\{\n`) // every request passes it
	dir, temp := root(t), t.TempDir()
	source, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		t.Fatal(err)
	}
	if len(entry.FindAll(source, -1)) != 1 {
		t.Fatalf("%s does not have %v: give the function that every request passes", file, entry)
	}
	write(t, filepath.Join(temp, "entry.go"), entry.ReplaceAllString(string(source), "${0}planted()\n"))
	write(t, filepath.Join(temp, "planted.go"), planted)
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {
		filepath.Join(dir, file):                filepath.Join(temp, "entry.go"),
		filepath.Join(dir, "server/planted.go"): filepath.Join(temp, "planted.go"),
	}})
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(temp, "overlay"), string(overlay))
	g := &gate{bench: "^BenchmarkExchange$/^head=hello$/^depth=1$", overSockets: true, progress: io.Discard,
		pkg: "./bench", program: "./examples/hello", beside: "./bench/nethttp"}
	if err := g.build(t.Context(), dir, dir, temp, "-overlay", filepath.Join(temp, "overlay")); err != nil {
		t.Fatal(err)
	}
	return g
}

// spins is how many rounds of planted are a part of what subject costs: as measured, since the speed of the machine is
// not to be had but by comparison. Many rounds cost so much each. A few are hidden, wholly or in part, since the
// processor does what follows at the same time (out-of-order execution); so the first guess is measured, and what it
// lacks is added at the cost of many.
func (g *gate) spins(t *testing.T, of func(*testing.T) []*subject, many int, part float64) string {
	t.Helper()
	cost := func(rounds float64) float64 {
		t.Setenv("PLANTED_SPINS", strconv.Itoa(int(math.Round(rounds))))
		subjects := of(t)
		if _, err := g.measure(t.Context(), "", subjects, func(n int, _ time.Duration) bool { return n >= 30 }); err != nil {
			t.Fatal(err)
		}
		return judge(allSeries(subjects)[:1])[0].delta
	}
	all := cost(float64(many))
	if all < 0.2 {
		t.Fatalf("%d rounds cost %.2g of a request", many, all)
	}
	each := all / float64(many)
	rounds := part / each
	for range 5 {
		lacks := part - cost(rounds)
		if lacks < part/10 {
			break
		}
		rounds += lacks / each
	}
	return strconv.Itoa(int(math.Round(rounds)))
}

// A gate that never fires is common. This one sees what is planted, and says what it is.
func TestPlanted(t *testing.T) {
	g := plant(t)
	memory := func(t *testing.T) []*subject {
		s, _, err := g.inMemory(t.Context())
		if err != nil || len(s) != 1 {
			t.Fatalf("%d subjects, %v; want 1", len(s), err)
		}
		return s
	}
	loopback := func(t *testing.T) []*subject { return g.loopback(t.Context())[:1] }
	calls := func(t *testing.T) []*subject {
		s, err := g.systemCalls(t.Context())
		var m misuse
		switch {
		case errors.As(err, &m): // no strace, or it may not trace
			t.Skip(err)
		case err != nil:
			t.Fatal(err)
		}
		return s[1:] // 16 requests at once
	}
	tests := []struct {
		name     string
		subjects func(*testing.T) []*subject
		variable string
		many     int // for 10 %: rounds that cost about as much as a request
		count    string
		time     time.Duration
		want     string // the beginning of the line that says so
	}{
		{"10 % in memory", memory, "PLANTED_SPINS", 200, "", 5 * time.Second, "FAIL Exchange/head=hello/depth=1 %s: +"},
		{"10 % over loopback", loopback, "PLANTED_SPINS", 4000, "", 12 * time.Second, "FAIL Loopback/head=hello/depth=1 cpu-us/req: +"},
		{"an allocation", memory, "PLANTED_OBJECTS", 0, "1", 0, "FAIL Exchange/head=hello/depth=1 allocs/op: 1, was 0"},
		{"a system call", calls, "PLANTED_CALLS", 0, "1", 0, "FAIL Syscalls/head=hello/depth=16 syscalls/batch: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			count := tt.count
			if tt.many > 0 {
				count = g.spins(t, tt.subjects, tt.many, 0.1)
			}
			t.Setenv(tt.variable, count)
			g.time = tt.time
			verdicts, err := g.run(t.Context(), tt.subjects(t))
			if err != nil {
				t.Fatal(err)
			}
			out := printed(t, verdicts, false)
			t.Logf("%s=%s\n%s", tt.variable, count, out)
			want := strings.Replace(tt.want, "%s", verdicts[0].unit, 1)
			if !strings.Contains(out, "\n"+want) {
				t.Errorf("no line %q", want)
			}
		})
	}
}

// printed is the report; ok is what it must say.
func printed(t *testing.T, verdicts []*verdict, ok bool) string {
	t.Helper()
	var out strings.Builder
	got, err := report(&out, verdicts, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got != ok {
		t.Errorf("passes: %v, want %v\n%s", got, ok, out.String())
	}
	return out.String()
}

// All of the gate, and nothing planted. What it writes can be read.
func TestUnchanged(t *testing.T) {
	g := plant(t)
	g.tree = &build{"tree", g.base.dir, g.base.bench, g.base.program}
	g.bench, g.overSockets, g.time = "^BenchmarkExchange$", true, 10*time.Second
	subjects, alone, err := g.subjects(t.Context())
	if err != nil || len(alone) > 0 {
		t.Fatalf("%v, alone %v", err, alone)
	}
	verdicts, err := g.run(t.Context(), subjects)
	if err != nil {
		t.Fatal(err)
	}
	t.Log(printed(t, verdicts, true))
	dir := t.TempDir()
	if err := writeRaw(dir, subjects); err != nil {
		t.Fatal(err)
	}
	read := map[string]int{}
	files := benchfmt.Files{Paths: []string{filepath.Join(dir, "base.txt"), filepath.Join(dir, "tree.txt")}}
	for files.Scan() {
		switch r := files.Result().(type) {
		case *benchfmt.Result:
			read[r.Name.String()]++
		case *benchfmt.SyntaxError:
			t.Error(r)
		}
	}
	for _, s := range subjects {
		if n := 2 * len(s.done); n < 2*pairsMin || read[s.name] != n || files.Err() != nil {
			t.Errorf("%s: %d results written, %d read, %v", s.name, n, read[s.name], files.Err())
		}
	}

	g.bench = "^BenchmarkNone$"
	var m misuse
	if _, _, err := g.subjects(t.Context()); !errors.As(err, &m) || !strings.Contains(err.Error(), "give another -bench") {
		t.Errorf("no benchmark: %v", err)
	}
	g.calls, g.bench = true, ""
	t.Setenv("PATH", "")
	if _, _, err := g.subjects(t.Context()); !errors.As(err, &m) || !strings.Contains(err.Error(), "apt-get install strace") {
		t.Errorf("no strace: %v", err)
	}
}

// Each is refused, by the name of the flag that is wrong.
func TestMisuse(t *testing.T) {
	t.Chdir("../..")
	for _, tt := range []struct{ args, says string }{
		{"more", "-base"},
		{"-none", "-none"},
		{"-time x", "-time"},
		{"-bench= -loopback=false -syscalls=false", "-bench"},
		{"-base nowhere", "-base"},
		{"-package ./none", "-package ./none"},
		{"-package ./examples/echo", "-package ./examples/echo"}, // no tests
		{"-package github.com/isbjorn/isbjorn/bench", "-package github"},
		{"-package ./...", "-package ./..."},
		{"-program ./none", "-program ./none"},
		{"-program ./server", "-program ./server"}, // not main
		{"-beside ./none", "-beside ./none"},
		{"-beside ./server", "-beside ./server"},
	} {
		status, _, said := runGate(t, strings.Fields(tt.args)...)
		if status != misused || !strings.Contains(said, tt.says) {
			t.Errorf("%s: status %d, want %d; %q, want %q", tt.args, status, misused, said, tt.says)
		}
	}
}

// runGate runs the gate in the current directory.
func runGate(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var out strings.Builder
	status = run(t.Context(), args, &out, file)
	said, err := os.ReadFile(file.Name())
	if err != nil {
		t.Fatal(err)
	}
	return status, out.String(), string(said)
}

// An application of somebody else, whose module is not the root of the repository.
func TestOwnRepository(t *testing.T) {
	dir := repository(t)
	t.Chdir(dir)
	for path, content := range map[string]string{
		"go/go.mod":          "module example.com/own\n\ngo 1.26\n",
		"go/own_test.go":     "package own\n\nimport \"testing\"\n\nvar kept *int\n\nfunc BenchmarkOwn(b *testing.B) { for b.Loop() { kept = new(int) } }\n",
		"go/cmd/app/main.go": own,
	} {
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		write(t, path, content)
	}
	t.Chdir("go")
	flags := []string{"-package", ".", "-bench", ".", "-loopback=false", "-syscalls=false", "-time", "0s"}
	if status, _, said := runGate(t, flags...); status != misused || !strings.Contains(said, "the base has no") {
		t.Errorf("a base without it: status %d, want %d; %q", status, misused, said)
	}
	mustGit(t, dir, "add", "go")
	mustGit(t, dir, "-c", "user.name=n", "-c", "user.email=e", "commit", "-q", "-m", "own")
	status, out, said := runGate(t, append(flags, "-base", "HEAD")...)
	if status != passed || !strings.Contains(out, "pass Own allocs/op") {
		t.Errorf("status %d, want %d; %q\n%s", status, passed, said, out)
	}

	tree := filepath.Join(dir, "go")
	for _, beside := range []string{"", "./cmd/app"} {
		g := &gate{overSockets: true, pkg: "./none", program: "./cmd/app", beside: beside}
		if err := errors.Join(g.check(t.Context(), "base", tree), g.build(t.Context(), tree, tree, t.TempDir())); err != nil {
			t.Fatal(err)
		}
		s := g.loopback(t.Context())[0]
		if err := s.measure(g.base, g.tree); err != nil {
			t.Fatal(err)
		}
		if s.series(cpuUsed) == nil || (s.series(ratio) != nil) != (beside != "") {
			t.Errorf("-beside %q: measured %v", beside, s.done[0].base.Values)
		}
	}
}

// own says where it listens and a lot more.
const own = `package main

import ("flag"; "fmt"; "net"; "net/http"; "strings")

func main() {
	addr := flag.String("addr", "", "")
	flag.Parse()
	l, err := net.Listen("tcp", *addr)
	if err != nil { panic(err) }
	fmt.Printf("listening on http://%s\n", l.Addr())
	fmt.Println(strings.Repeat("more ", 100_000))
	panic(http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "my own") })))
}
`

// Only answers that can be checked are measured.
func TestLearn(t *testing.T) {
	n := 0
	for _, tt := range []struct {
		name, content, says string
		answer              http.HandlerFunc
	}{
		{"text", "abc", "", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "abc") }},
		{"chunked", "3\r\nabc\r\n0\r\n\r\n", "", func(w http.ResponseWriter, _ *http.Request) {
			_ = http.NewResponseController(w).Flush()
			_, _ = io.WriteString(w, "abc")
		}},
		{"another each time", "", "stays the same", func(w http.ResponseWriter, _ *http.Request) { n++; fmt.Fprint(w, n) }},
		{"not found", "", "404", http.NotFound},
		{"the last", "", "keep", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Connection", "close") }},
	} {
		s := httptest.NewServer(tt.answer)
		defer s.Close()
		size, content, err := learn(s.Listener.Addr().String())
		var m misuse
		switch {
		case tt.says == "" && (err != nil || string(content) != tt.content || size <= len(content)):
			t.Errorf("%s: %d bytes, %q, %v; want %q", tt.name, size, content, err, tt.content)
		case tt.says != "" && (!errors.As(err, &m) || !strings.Contains(err.Error(), tt.says)):
			t.Errorf("%s: %v; want misuse with %q", tt.name, err, tt.says)
		}
	}
}

// A gate that is interrupted leaves nothing that runs: not what strace runs either.
func TestServerEndsWithContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	path := filepath.Join(t.TempDir(), "pid")
	s, err := serve(ctx, "sh", "-c", "sleep 100 & echo -n $! >"+path+"; echo listening on http://here; wait")
	if err != nil {
		t.Fatal(err)
	}
	if s.addr != "here" {
		t.Errorf("listens on %q", s.addr)
	}
	child, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := s.cmd.Wait(); err == nil {
		t.Error("it has ended by itself")
	}
	runs := func() bool {
		stat, err := os.ReadFile("/proc/" + string(child) + "/stat")
		return err == nil && !bytes.Contains(stat, []byte(") Z "))
	}
	for late := time.Now().Add(patience); runs(); time.Sleep(time.Millisecond) {
		if time.Now().After(late) {
			t.Fatalf("process %s still runs", child)
		}
	}
}

func TestParseSummary(t *testing.T) {
	got, err := parseSummary(`% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 50.00    0.000010           1        10           write
 50.00    0.000010           1        12         2 read
------ ----------- ----------- --------- --------- ----------------
100.00    0.000020           1        22         2 total
`)
	if err != nil || len(got) != 2 || got["write"] != 10 || got["read"] != 12 {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := parseSummary("strace: nothing\n"); err == nil {
		t.Error("no calls, and no error")
	}
}
