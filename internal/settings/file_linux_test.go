package settings

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// What is no regular file is refused at once: a pipe without a writer, and a device without an end, too.
func TestReadFileRegular(t *testing.T) {
	dir := t.TempDir()
	fifo, zero, large := filepath.Join(dir, "fifo.toml"), filepath.Join(dir, "zero.toml"), filepath.Join(dir, "large.toml")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/zero", zero); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(large, make([]byte, fileBytes+1), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		fifo: "not a regular file", zero: "not a regular file", dir: "not a regular file", large: "at most 1048576",
	} {
		d := ReadFile(name, map[string]Reader{".toml": ReadTOML})
		if text := d.Mistakes.Error(); !strings.Contains(text, want) {
			t.Errorf("%s: %s; want %q", name, text, want)
		}
	}
}

// No shape of TOML ends the reader, or makes a mistake that cannot be printed.
func TestReadTOMLShapes(t *testing.T) {
	for _, text := range []string{
		"", "\ufeffbind = \":1\"", "workers = 1\r\nloops = 2\r\n", "bind = \"a\x00b\"", "\x00", "a", "a =", "[", "[a", "[[",
		"tls.cert = [\"a\"]\n[tls]\nkey = [\"b\"]", "tls = {cert = [\"a\"], key = {a = {b = 1}}}", "\"log\".\"access\" = \"-\"",
		"\"\" = 1", "[\"\"]\na = 1", "bind = [[\"a\"], [\"b\"]]", "bind = [{a = 1}]", "workers = 1979-05-27T07:32:00Z",
		"workers = 07:32:00", "\"\u00fc\" = 1", "[tls]\n[tls]", "[tls]\n[[tls]]", "[[tls]]\n[[tls]]", "workers = inf",
		"workers = 0x10", "workers = 99999999999999999999", "bind = \"\"\"\na\"\"\"", "bind = '''\n", "bind = [\n\n", "a.b.c.d.e = 1",
		"[static]\nmap = {}", "[static.map]\n\"/a\" = \"b\"", "[static.map]\n\"/a\" = [\"b\"]", "workers = 1 workers = 2", "= 1",
		"bind = []", "\t\tworkers = \"x\"", "# only", "workers = 1\nworkers = 2\nworkers = 3", "\xff = 1", "bind = \"\xff\"",
		strings.Repeat("[a.", 5000), "a = " + strings.Repeat("[", 5000),
	} {
		name := filepath.Join(t.TempDir(), "f.toml")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		func() {
			defer func() {
				if v := recover(); v != nil {
					t.Errorf("%.60q: panic: %v", text, v)
				}
			}()
			_, mistakes := Load(Input{Command: Run, File: name})
			_ = mistakes.Error()
		}()
	}
}
