package bench

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience is how long anything may take that takes no time.
const patience = 20 * time.Second

// buildProgram builds one of the programs, and returns where it is.
func buildProgram(t *testing.T, name string) (path string) {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: it builds programs and starts them")
	}
	path = filepath.Join(t.TempDir(), name)
	if _, err := os.ReadFile(filepath.Join(name, "main.go")); err != nil { // read also for the cache of go test
		t.Fatal(err)
	}
	if out, err := exec.Command("go", "build", "-o", path, "./"+name).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

// A program that does not call server.Main is linked without the table of settings.
func TestNoSettings(t *testing.T) {
	symbols, err := exec.Command("go", "tool", "nm", buildProgram(t, "bridge")).Output()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(symbols, []byte(" github.com/isbjorn/isbjorn/server.New\n")) {
		t.Error("the symbols of the program lack server.New")
	}
	if bytes.Contains(symbols, []byte(" github.com/isbjorn/isbjorn/internal/settings.table\n")) {
		t.Error("the table of settings is linked; it may be used by functions that only server.Main calls")
	}
}

// The program serves the same by every server, and ends in order.
func TestBridge(t *testing.T) {
	path := buildProgram(t, "bridge")
	for _, tt := range []struct {
		flags   string
		server  string        // field Server
		atLeast time.Duration // that an answer takes
	}{
		{"", "isbjorn", 0},
		{"-dispatch auto -sleep 50ms", "isbjorn", 50 * time.Millisecond},
		{"-dispatch inline -work 100ms", "isbjorn", 25 * time.Millisecond}, // about 100
		{"-dispatch pool -inline", "isbjorn", 0},
		{"-server nethttp -inline", "", 0},
		{"-server nethttp -sleep 50ms", "", 50 * time.Millisecond},
	} {
		t.Run(tt.flags, func(t *testing.T) {
			t.Parallel()
			program := exec.Command(path, append(strings.Fields(tt.flags), "-addr", "127.0.0.1:0")...)
			stdout, err := program.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := program.Start(); err != nil {
				t.Fatal(err)
			}
			late := time.AfterFunc(patience, func() { _ = program.Process.Kill() })
			defer late.Stop()
			lines := bufio.NewScanner(stdout)
			lines.Scan()
			url, ok := strings.CutPrefix(lines.Text(), "listening on ")
			if !ok {
				t.Errorf("it says %q", lines.Text())
			}
			targets := []string{"/"}
			if strings.Contains(tt.flags, "-inline") {
				targets = append(targets, "/inline")
			}
			client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
			for _, target := range targets {
				began := time.Now()
				resp, err := client.Get(url + target)
				if err != nil {
					t.Error(err)
					continue
				}
				got, err := io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				if err != nil || resp.StatusCode != 200 || string(got) != "Hello, World!" || resp.Header.Get("Server") != tt.server {
					t.Errorf("%s: %s by %q, %q, %v", target, resp.Status, resp.Header.Get("Server"), got, err)
				}
				if took := time.Since(began); took < tt.atLeast {
					t.Errorf("%s: it took %v, want %v at least", target, took, tt.atLeast)
				}
			}
			if err := program.Process.Signal(syscall.SIGTERM); err != nil {
				t.Error(err)
			}
			_, _ = io.Copy(io.Discard, stdout)
			if err := program.Wait(); err != nil {
				t.Errorf("after SIGTERM: %v", err)
			}
		})
	}
	for _, flags := range []string{"-server other", "-dispatch other", "-sleep -1s", "-work -1s", "more", "-addr nowhere", "-server nethttp -addr nowhere"} {
		if out, err := exec.Command(path, strings.Fields(flags)...).CombinedOutput(); err == nil || len(out) == 0 {
			t.Errorf("%s: %v, %q; want an error and why", flags, err, out)
		}
	}
}

// It measures something, of both servers.
func TestIdle(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("it reads /proc")
	}
	idle, bridge := buildProgram(t, "idle"), buildProgram(t, "bridge")
	for _, by := range []string{"isbjorn", "nethttp"} {
		t.Run(by, func(t *testing.T) {
			t.Parallel()
			out, err := exec.Command(idle, "-n", "200", bridge, "-server", by, "-addr", "127.0.0.1:0").CombinedOutput()
			if ok, _ := regexp.Match(`^BenchmarkIdle/conns=200 1 .* \d+ B/conn\n$`, out); err != nil || !ok {
				t.Errorf("%v, %q", err, out)
			}
		})
	}
}
