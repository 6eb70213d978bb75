package convert

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/isbjorn/isbjorn/cmd/isbjorn/internal/foreign"
	"github.com/isbjorn/isbjorn/cmd/isbjorn/internal/gunicorn"
	"github.com/isbjorn/isbjorn/cmd/isbjorn/internal/uwsgi"
	"github.com/isbjorn/isbjorn/internal/settings"
)

// values are all values of a configuration, without their sources.
func values(c *settings.Config) string {
	var b strings.Builder
	for _, s := range settings.Of(settings.Run) {
		b.WriteString(s.Key + " = " + strings.Join(c.List(s.Key), "|") + "\n")
	}
	return b.String()
}

// roundTrip fails if what is converted, read again, is not what the document has. It reports whether there was
// something to convert.
func roundTrip(t *testing.T, d *settings.Document, file string) bool {
	t.Helper()
	config, mistakes := Load(d)
	if mistakes.Failed() {
		return false
	}
	var toml bytes.Buffer
	if err := Convert(&toml, config, mistakes); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, toml.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	again, mistakes := settings.Load(settings.Input{Command: settings.Run, File: file})
	if mistakes.Failed() {
		t.Fatalf("%s\n%v", &toml, mistakes)
	}
	if got, want := values(again), values(config); got != want {
		t.Fatalf("%s\nis read as\n%s\nand not as\n%s", &toml, got, want)
	}
	return true
}

func clean(t testing.TB) {
	for _, name := range []string{"PORT", "WEB_CONCURRENCY", "FORWARDED_ALLOW_IPS", "GUNICORN_CMD_ARGS"} {
		t.Setenv(name, "")
	}
}

// What is converted gives the same values as the file itself, for files in several styles.
func TestRoundTrip(t *testing.T) {
	clean(t)
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	names, err := filepath.Glob("testdata/*.*")
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	_, errPython := exec.LookPath("python3")
	t.Chdir(t.TempDir())
	for _, name := range append(names, "testdata/many.ini:prod") {
		if errPython != nil && strings.HasSuffix(name, ".py") {
			t.Logf("%s needs python3: apt-get install python3", name)
			continue
		}
		if !roundTrip(t, settings.ReadFile(filepath.Join(here, name), Readers(false)), "isbjorn.toml") {
			_, mistakes := Load(settings.ReadFile(filepath.Join(here, name), Readers(false)))
			t.Errorf("%s: %v", name, mistakes)
		}
	}
}

// FuzzUWSGI: what is converted from an ini gives the same values as the ini itself, and every mistake has a line.
func FuzzUWSGI(f *testing.F) {
	for _, line := range []string{"http = :80", "processes = 8 # x", "chdir = %d$(HOME)@(a)%(b c)", "env = A=\"\\\u00e9\x7f", "https = :1,a,b,,!c", "static-map = /a=b\nstatic-map = /c=d", "log-slow = 5", "ini = :x\n[x]\nthreads=2"} {
		f.Add(line)
	}
	fuzz(f, "uwsgi.ini", "[uwsgi]\n")
}

// FuzzGunicorn: what is converted from a gunicorn.conf.py gives the same values as the file itself, and every mistake
// has a line.
func FuzzGunicorn(f *testing.F) {
	for _, line := range []string{"bind = ':80', 'unix:/a'", "raw_env = ['A=\\x00\"\\\\']", "worker_class='gevent'\nworker_connections=0x10", "certfile='c'\nkeyfile='k'", "umask = 0o7", "def post_fork(a, b): pass"} {
		f.Add(line)
	}
	fuzz(f, "gunicorn.conf.py", "")
}

func fuzz(f *testing.F, name, head string) {
	clean(f)
	f.Chdir(f.TempDir())
	read := Readers(true)[filepath.Ext(name)]
	f.Fuzz(func(t *testing.T, text string) {
		d := read(name, []byte(head+text))
		lines := strings.Count(head+text, "\n") + 1
		for _, m := range d.Mistakes {
			if m.Source.Line > lines || m.Excerpt != "" && (m.Source.Column < 1 || m.Source.Column-1 > len(m.Excerpt)) {
				t.Errorf("%+v", m)
			}
			_ = m.String()
		}
		roundTrip(t, d, "isbjorn.toml")
	})
}

// The command has TOML with comments on stdout, or mistakes on stderr and nothing else.
func TestRun(t *testing.T) {
	clean(t)
	t.Chdir(t.TempDir())
	for name, text := range map[string]string{
		"uwsgi.ini":        "[uwsgi]\nhttp = :8080\nmaster = 1\nmodule = shop\nstats = :1\nharakiri = 5\n[prod]\nprocesses = 3\n",
		"wrong.ini":        "[uwsgi]\nvaccum = 1\nharakiri = x\n",
		"gunicorn.conf.py": "workers = 2\nbacklog = 5\n",
		"isbjorn.toml":     "workers = 2\n",
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		args           string
		exit           int
		stdout, stderr []string // parts
	}{
		{"uwsgi.ini", 0, []string{"# From uwsgi.ini, by isbjorn convert.\n#", "# master (uwsgi.ini:3): there is always one process above the workers\n", "\nbind = [\":8080\"]\n", "request_timeout = \"5s\"\n"},
			[]string{"uwsgi.ini:5:9: warning: stats"}},
		{"uwsgi.ini:prod", 0, []string{"\nworkers = 3\n"}, nil},
		{"wrong.ini", 2, nil, []string{"wrong.ini:2:1: vaccum", "wrong.ini:3:12: harakiri = \"x\"", "2 mistakes; nothing was converted.\n"}},
		{"--no-python gunicorn.conf.py", 0, []string{"\nworkers = 2\n", "# backlog (gunicorn.conf.py:2): the queue"}, nil},
		{"--no-python -- gunicorn -w 3 shop", 0, []string{"\nworkers = 3\n", "app = \"shop\"\n", "# From gunicorn.conf.py"}, nil},
		{"-- /usr/bin/uwsgi --http :80 -p 3", 0, []string{"\nworkers = 3\n", "bind = [\":80\"]"}, nil},
		{"-- uwsgi --emperor x", 2, nil, []string{"flag --emperor", "1 mistake; nothing was converted.\n"}},
		{"missing.ini", 2, nil, []string{"missing.ini: no such file"}},
		{"isbjorn.toml", 2, nil, []string{"its name must end with .ini or .py"}},
		{"", 2, nil, []string{"usage: "}}, {"a.ini b.ini", 2, nil, []string{"usage: "}}, {"-- nginx", 2, nil, []string{"usage: "}}, {"--", 2, nil, []string{"usage: "}}, {"--what a.ini", 2, nil, []string{"usage: "}},
	} {
		var stdout, stderr bytes.Buffer
		exit := Run(strings.Fields(tt.args), &stdout, &stderr)
		if exit != tt.exit || (stdout.Len() > 0) != (exit == 0) || tt.stderr == nil && stderr.Len() > 0 {
			t.Errorf("%s: exit %d\n%s\n%s", tt.args, exit, &stdout, &stderr)
		}
		for _, part := range tt.stdout {
			if !strings.Contains(stdout.String(), part) {
				t.Errorf("%s: no %q in\n%s", tt.args, part, &stdout)
			}
		}
		for _, part := range tt.stderr {
			if !strings.Contains(stderr.String(), part) {
				t.Errorf("%s: no %q in\n%s", tt.args, part, &stderr)
			}
		}
		if exit == 0 {
			if err := os.WriteFile("out.toml", stdout.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, mistakes := settings.Load(settings.Input{Command: settings.Run, File: "out.toml"}); mistakes.Failed() {
				t.Errorf("%s: %v", tt.args, mistakes)
			}
		}
	}
}

// pageTables are the tables of docs/coming-from.md for a server, made of the verdicts.
func pageTables(server string, verdicts []foreign.Verdict) string {
	var b strings.Builder
	table := func(kind foreign.Kind, title, what string) {
		var rows []string
		names := map[string][]string{}
		for _, v := range verdicts {
			if v.Kind == kind {
				if names[v.Text] == nil {
					rows = append(rows, v.Text)
				}
				names[v.Text] = append(names[v.Text], v.Name)
			}
		}
		slices.Sort(rows)
		fmt.Fprintf(&b, "### %s\n\n| %s | %s |\n| --- | --- |\n", title, server, what)
		for _, text := range rows {
			fmt.Fprintf(&b, "| %s | %s |\n", strings.ReplaceAll(strings.Join(names[text], ", "), "*", "\\*"), strings.ReplaceAll(text, "*", "\\*"))
		}
		b.WriteString("\n")
	}
	table(foreign.Mapped, "What "+server+" sets here", "isbjorn")
	table(foreign.Taken, "Was needed in "+server, "why it is not here")
	table(foreign.Refused, "Refused from "+server, "what does it instead")
	return b.String()
}

var update = flag.Bool("update", false, "write the tables of docs/coming-from.md anew")

// The tables of docs/coming-from.md are those of the code: go test ./cmd/isbjorn/internal/convert -run TestPage -update
// writes them.
func TestPage(t *testing.T) {
	const file = "../../../../docs/coming-from.md"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	for server, verdicts := range map[string][]foreign.Verdict{"gunicorn": gunicorn.Verdicts(), "uWSGI": uwsgi.Verdicts()} {
		begin, end := "<!-- "+server+":begin -->\n\n", "<!-- "+server+":end -->\n"
		i, j := strings.Index(page, begin), strings.Index(page, end)
		if i < 0 || j < i {
			t.Fatalf("%s has no place for the tables of %s", file, server)
		}
		page = page[:i+len(begin)] + pageTables(server, verdicts) + page[j:]
	}
	if *update {
		if err := os.WriteFile(file, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if page != string(text) {
		t.Errorf("the tables of %s are not those of the code; go test ./cmd/isbjorn/internal/convert -run TestPage -update", file)
	}
}

// A value that TOML cannot have is refused.
func TestNoUTF8(t *testing.T) {
	d := Readers(true)[".ini"]("uwsgi.ini", []byte("[uwsgi]\nchdir = /\xff\n"))
	if _, mistakes := Load(d); !slices.ContainsFunc(mistakes, func(m *settings.Mistake) bool { return strings.Contains(m.Message, "UTF-8") }) {
		t.Error(mistakes)
	}
}
