package process

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// link makes a file named python in dir that leads to the system's.
func link(t *testing.T, dir, to string) string {
	t.Helper()
	path := filepath.Join(dir, "python")
	if err := os.MkdirAll(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(to, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// Python is found in order, the path is absolute, and links are not followed.
func TestFind(t *testing.T) {
	system := python(t)
	dir, venv, path := t.TempDir(), t.TempDir(), t.TempDir()
	t.Setenv("VIRTUAL_ENV", "")
	t.Setenv("PATH", path)
	find := func(python, want, wantWhy string) {
		t.Helper()
		file, why, err := Find(python, dir)
		if err != nil || file != want || why != wantWhy {
			t.Errorf("Find(%q): %q, %q, %v; want %q, %q", python, file, why, err, want, wantWhy)
		}
	}
	_, _, err := Find("", dir)
	for _, part := range []string{filepath.Join(dir, ".venv/bin/python"), filepath.Join(dir, "venv/bin/python"), "python3 in PATH", "--python-exe"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("error %v; want %q in it", err, part)
		}
	}
	find("", link(t, path, system), "PATH")
	find("", link(t, filepath.Join(dir, "venv", "bin"), system), "venv")
	find("", link(t, filepath.Join(dir, ".venv", "bin"), system), ".venv")
	t.Setenv("VIRTUAL_ENV", venv) // without a python: as if it were not there
	find("", filepath.Join(dir, ".venv", "bin", "python"), ".venv")
	own := link(t, filepath.Join(venv, "bin"), system)
	find("", own, "VIRTUAL_ENV")
	find("python", filepath.Join(path, "python"), "it is named")
	find(venv, own, "it is named")
	t.Chdir(venv)
	find("bin/python", own, "it is named")
	find(".", own, "it is named")

	shim := filepath.Join(t.TempDir(), "python3")
	if err := os.WriteFile(shim, []byte("#!/bin/sh\nexec "+system+" \"$@\"\n"), 0o777); err != nil {
		t.Fatal(err)
	}
	file, why, err := Find(shim, dir)
	if err != nil || strings.HasPrefix(file, filepath.Dir(shim)) || why != "it is named, by "+shim {
		t.Errorf("Find(a script): %q, %q, %v", file, why, err)
	}
}
