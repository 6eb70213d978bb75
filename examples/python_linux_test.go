package examples_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// The applications in Python are served by isbjorn run.
func TestPython(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: it builds the command and starts it")
	}
	python := "/usr/bin/python3" // the distribution's, which has its packages
	if err := exec.Command(python, "-c", "").Run(); err != nil {
		t.Skip("needs python3: apt-get install python3")
	}
	bin := filepath.Join(t.TempDir(), "isbjorn")
	if out, err := exec.Command("go", "build", "-o", bin, "../cmd/isbjorn").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	for file, tt := range map[string]struct{ needs, body string }{
		"plain.py":      {"", "Hello from Python!\n"},
		"flask_app.py":  {"flask", "Hello from Flask!\n"},
		"django_app.py": {"django", "Hello from Django!\n"},
	} {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			if err := exec.Command(python, "-c", "import "+tt.needs).Run(); tt.needs != "" && err != nil {
				t.Skipf("needs %s: apt-get install python3-%[1]s", tt.needs)
			}
			path, err := filepath.Abs(filepath.Join("python", file))
			if err != nil {
				t.Fatal(err)
			}
			p := runCommand(t, exec.Command(bin, "run", path, "--bind", "127.0.0.1:0", "--workers", "1",
				"--python-exe", python, "--log-level", "error", "--env", "PYTHONDONTWRITEBYTECODE=1"))
			if resp, b := p.do(p.request("GET", "/", nil)); resp.StatusCode != 200 || string(b) != tt.body {
				t.Errorf("%s, %q", resp.Status, b)
			}
			if tt.needs == "flask" {
				r := p.request("POST", "/greet", strings.NewReader("name=Nanuk"))
				r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
				if _, b := p.do(r); string(b) != "Hello, Nanuk!\n" {
					t.Errorf("a form: %q", b)
				}
				if _, b := p.do(p.request("GET", "/count", nil)); string(b) != "0\n1\n2\n" {
					t.Errorf("a stream: %q", b)
				}
			}
			p.stop(syscall.SIGTERM)
		})
	}
}
