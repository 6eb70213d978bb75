// Package stdtest runs Go's own tests of net/http with isbjorn in place of its server. They
// serve most of what they ask on TCP, the tests of the client too, and were written by
// others for another server: the best evidence there is that a program moves by one line.
//
// The tests are those of the Go installation, built by go test -overlay: in a copy of
// server.go, Serve, Close and Shutdown of http.Server call what testdata/hook_test.go sets,
// a file that is added to the tests. Listeners that isbjorn does not take, those of TLS, are
// left to net/http. What does not pass is in testdata/differences.txt, each with a reason;
// what is not there has to pass, and what is there must not, so that no line is left behind.
//
//	go test -v .                              # a minute
//	go test -v . -list-failures               # what fails, for the list of another version of Go
package stdtest

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

var list = flag.Bool("list-failures", false, "print what fails, with the first lines of its output, and compare nothing")

// hooks are what is added to net/http's server.go, behind the lines that begin a function.
var hooks = []struct{ behind, added string }{
	{"func (s *Server) Serve(l net.Listener) error {\n", "\tif IsbjornServe != nil {\n\t\tif err, ok := IsbjornServe(s, l); ok {\n\t\t\treturn err\n\t\t}\n\t}\n"},
	{"func (s *Server) Close() error {\n", "\tif IsbjornClose != nil {\n\t\tIsbjornClose(s)\n\t}\n"},
	{"func (s *Server) Shutdown(ctx context.Context) error {\n", "\tif IsbjornShutdown != nil {\n\t\tif err := IsbjornShutdown(s, ctx); err != nil {\n\t\t\treturn err\n\t\t}\n\t}\n"},
}

const hookVars = `
var (
	IsbjornServe    func(*Server, net.Listener) (err error, ok bool)
	IsbjornClose    func(*Server)
	IsbjornShutdown func(*Server, context.Context) error
)
`

const (
	// each is the time of one test. Those of net/http take a second or two; what waits for
	// something that isbjorn does not do ends here.
	each = 10 * time.Second

	// tries is how often a test has to fail that is not expected to: many have timeouts of
	// milliseconds, and the machine has other things to do.
	tries = 3

	// atOnce is how many tests run at a time: most of their time is waiting.
	atOnce = 6
)

func TestNetHTTP(t *testing.T) {
	if testing.Short() {
		t.Skip("takes minutes")
	}
	expected := differences(t)
	binary, dir := build(t)
	names := strings.Fields(run(t, dir, binary, "-test.list", "^Test"))
	names = slices.DeleteFunc(names, func(name string) bool { return !strings.HasPrefix(name, "Test") })
	var (
		mu     sync.Mutex
		failed = map[string]string{} // and the output
		work   = make(chan string)
		done   sync.WaitGroup
	)
	for range atOnce {
		done.Go(func() {
			for name := range work {
				output := ""
				_, differs := expected[name]
				for try := 0; try < tries; try++ {
					var ok bool
					if output, ok = pass(t.Context(), dir, binary, name); ok == !differs {
						break
					}
				}
				if output != "" {
					mu.Lock()
					failed[name] = output
					mu.Unlock()
				}
			}
		})
	}
	for _, name := range names {
		work <- name
	}
	close(work)
	done.Wait()
	for _, name := range names {
		output, fails := failed[name]
		reason, differs := expected[name]
		switch {
		case *list && fails:
			fmt.Printf("%s: %s\n%s\n", name, cmp.Or(reason, "?"), output)
		case *list:
		case fails && !differs:
			t.Errorf("%s fails, and is not in testdata/differences.txt:\n%s", name, output)
		case !fails && differs:
			t.Errorf("%s passes now: take its line out of testdata/differences.txt (%s)", name, reason)
		}
	}
	for name := range expected {
		if !slices.Contains(names, name) {
			t.Errorf("%s of testdata/differences.txt is no test of net/http", name)
		}
	}
	t.Logf("%d of %d tests of net/http pass, %d are listed differences", len(names)-len(failed), len(names), len(expected))
}

// differences are the tests that do not pass, and why: lines "TestName: reason".
func differences(t *testing.T) map[string]string {
	f, err := os.Open("testdata/differences.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all := map[string]string{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		name, reason, ok := strings.Cut(line, ": ")
		if !ok || all[name] != "" {
			t.Fatalf("testdata/differences.txt: %q; use \"TestName: reason\", once", line)
		}
		all[name] = reason
	}
	return all
}

// build builds the tests of net/http, and returns where they are and where they run.
func build(t *testing.T) (binary, dir string) {
	temp := t.TempDir()
	dir = filepath.Join(strings.TrimSpace(run(t, ".", "go", "env", "GOROOT")), "src", "net", "http")
	source, err := os.ReadFile(filepath.Join(dir, "server.go"))
	if err != nil {
		t.Skip("no sources of net/http: ", err)
	}
	for _, h := range hooks {
		if bytes.Count(source, []byte(h.behind)) != 1 {
			t.Fatalf("server.go of %s has no %q: the hook has to follow", runtime.Version(), h.behind)
		}
		source = bytes.Replace(source, []byte(h.behind), []byte(h.behind+h.added), 1)
	}
	hooked := filepath.Join(temp, "server.go")
	if err := os.WriteFile(hooked, append(source, hookVars...), 0o600); err != nil {
		t.Fatal(err)
	}
	hook, err := filepath.Abs("testdata/hook_test.go")
	if err != nil {
		t.Fatal(err)
	}
	overlay, _ := json.Marshal(map[string]any{"Replace": map[string]string{
		filepath.Join(dir, "server.go"):       hooked,
		filepath.Join(dir, "isbjorn_test.go"): hook,
	}})
	file := filepath.Join(temp, "overlay.json")
	if err := os.WriteFile(file, overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	binary = filepath.Join(temp, "http.test")
	run(t, ".", "go", "test", "-c", "-overlay", file, "-o", binary, "net/http")
	return binary, dir
}

// run runs a command that must not fail, and returns what it says.
func run(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	return string(out)
}

// outputBytesMost is what is shown of a test that fails.
const outputBytesMost = 2000

// result is the line of the test itself. Whether the whole binary has failed is not asked:
// TestMain of net/http looks for goroutines.
var result = regexp.MustCompile(`(?m)^--- (PASS|FAIL|SKIP): `)

// pass runs one test, and reports whether it passes; else it returns its output.
func pass(ctx context.Context, dir, binary, name string) (output string, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, each+5*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, "-test.v", "-test.short", "-test.timeout", each.String(), "-test.run", "^"+name+"$")
	cmd.Dir = dir
	out, _ := cmd.CombinedOutput()
	if m := result.FindSubmatch(out); m != nil && string(m[1]) != "FAIL" {
		return "", true
	}
	return string(out[:min(len(out), outputBytesMost)]) + "\n", false
}
