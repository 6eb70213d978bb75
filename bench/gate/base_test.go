package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// repository makes one with two commits of a file, and no changes.
func repository(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	mustGit(t, dir, "init", "-q", "-b", "main")
	for _, content := range []string{"first", "second"} {
		write(t, filepath.Join(dir, "file"), content)
		mustGit(t, dir, "add", "file")
		mustGit(t, dir, "-c", "user.name=n", "-c", "user.email=e", "commit", "-q", "-m", content)
	}
	return dir
}

func mustGit(t *testing.T, dir string, args ...string) string {
	t.Helper()
	out, err := git(t.Context(), dir, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o666); err != nil {
		t.Fatal(err)
	}
}

func TestChooseBase(t *testing.T) {
	dir := repository(t)
	head, before := mustGit(t, dir, "rev-parse", "HEAD"), mustGit(t, dir, "rev-parse", "HEAD^")
	want := func(rev, commit, why string) {
		t.Helper()
		if got, said, err := chooseBase(t.Context(), dir, rev); err != nil || got != commit || !strings.Contains(said, why) {
			t.Errorf("-base %q: %q, %q, %v; want %q and why: %q", rev, got, said, err, commit, why)
		}
	}
	want("", before, "HEAD^, this tree is HEAD")
	want("main~1", before, "main~1, as given")
	write(t, filepath.Join(dir, "new"), "")
	want("", head, "HEAD, this tree differs")
	if err := os.Remove(filepath.Join(dir, "new")); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "file"), "third")
	want("", head, "HEAD, this tree differs")

	var m misuse
	if _, _, err := chooseBase(t.Context(), dir, "nowhere"); !errors.As(err, &m) || !strings.Contains(err.Error(), "-base") {
		t.Errorf("a revision that is not there: %v", err)
	}
}

// The worktree has the base, and nothing of it is left behind, even after a signal.
func TestCheckOut(t *testing.T) {
	dir, base := repository(t), filepath.Join(t.TempDir(), "base")
	ctx, cancel := context.WithCancel(t.Context())
	remove, err := checkOut(ctx, dir, "HEAD^", base)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(base, "file")); err != nil || string(got) != "first" {
		t.Errorf("%q, %v", got, err)
	}
	cancel()
	if err := remove(); err != nil {
		t.Error(err)
	}
	if list := mustGit(t, dir, "worktree", "list"); strings.Contains(list, "base") {
		t.Errorf("left behind: %s", list)
	}
	if _, err := os.Stat(base); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("left behind: %v", err)
	}
}

// As a pre-commit hook the gate leaves the commit alone: git tells a hook of the index that
// it works on (GIT_INDEX_FILE), and a checkout of the base must not replace that.
func TestHook(t *testing.T) {
	if dir := os.Getenv("GATE_TEST_HOOK"); dir != "" { // this is the hook
		remove, err := checkOut(t.Context(), dir, mustGit(t, dir, "rev-parse", "HEAD^"), filepath.Join(t.TempDir(), "source"))
		if err != nil {
			t.Fatal(err)
		}
		if err := remove(); err != nil {
			t.Fatal(err)
		}
		return
	}
	dir := repository(t)
	hook := filepath.Join(dir, ".git", "hooks", "pre-commit")
	if err := os.MkdirAll(filepath.Dir(hook), 0o777); err != nil {
		t.Fatal(err)
	}
	write(t, hook, "#!/bin/sh\nGATE_TEST_HOOK='"+dir+"' exec '"+os.Args[0]+"' -test.run='^TestHook$'\n")
	if err := os.Chmod(hook, 0o777); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "file"), "third")
	mustGit(t, dir, "-c", "user.name=n", "-c", "user.email=e", "commit", "-q", "-a", "-m", "third")
	if got := mustGit(t, dir, "show", "HEAD:file"); got != "third" {
		t.Errorf("the commit has %q, want the change", got)
	}
	if changed := mustGit(t, dir, "status", "--porcelain"); changed != "" {
		t.Errorf("left over: %s", changed)
	}
}
