package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// build is the programs of one revision.
type build struct {
	label string // "base" or "tree"
	dir   string // of the source
	bench string // test binary of ./bench
	hello string // examples/hello
}

// compile builds the programs of the source in dir into a directory. Paths are left out,
// so that the same source gives the same programs. extra are arguments of go build.
func compile(ctx context.Context, label, dir, into string, extra ...string) (*build, error) {
	b := &build{label: label, dir: dir, bench: filepath.Join(into, label, "bench.test"), hello: filepath.Join(into, label, "hello")}
	if err := goBuild(ctx, b.dir, "test", append([]string{"-c", "-o", b.bench}, extra...), "./bench"); err != nil {
		return nil, err
	}
	return b, goBuild(ctx, b.dir, "build", append([]string{"-o", b.hello}, extra...), "./examples/hello")
}

func goBuild(ctx context.Context, dir, verb string, args []string, pkg string) error {
	cmd := exec.CommandContext(ctx, "go", append(append([]string{verb, "-trimpath", "-buildvcs=false"}, args...), pkg)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("in %s: %s: %w\n%s", dir, cmd, err, out)
	}
	return nil
}

// same reports whether the programs of both are the same, byte for byte.
func same(a, b *build) (bool, error) {
	for _, paths := range [][2]string{{a.bench, b.bench}, {a.hello, b.hello}} {
		one, err1 := os.ReadFile(paths[0])
		other, err2 := os.ReadFile(paths[1])
		if err := errors.Join(err1, err2); err != nil || !bytes.Equal(one, other) {
			return false, err
		}
	}
	return true, nil
}

// git runs git in a directory and returns what it prints.
func git(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = dir
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", cmd, err, strings.TrimSpace(stderr.String()))
	}
	return strings.TrimSpace(string(out)), err
}

// chooseBase resolves the revision to compare with, in the repository at root. Without
// one it is HEAD if the tree differs from it, else the one before. why says so.
func chooseBase(ctx context.Context, root, rev string) (commit, why string, err error) {
	why = "as given"
	if rev == "" {
		changed, err := git(ctx, root, "status", "--porcelain")
		if err != nil {
			return "", "", err
		}
		rev, why = "HEAD", "this tree differs from it"
		if changed == "" {
			rev, why = "HEAD^", "this tree is HEAD"
		}
	}
	commit, err = git(ctx, root, "rev-parse", "--verify", "--quiet", rev+"^{commit}")
	if err != nil {
		return "", "", misuse(fmt.Sprintf("there is no revision %s (%s) here: give one that is with -base, or fetch more (git fetch --deepen=1)", rev, why))
	}
	return commit, fmt.Sprintf("%s, %s", rev, why), nil
}

// checkOut makes a worktree of a commit in dir. remove takes it away again.
func checkOut(ctx context.Context, root, commit, dir string) (remove func() error, err error) {
	remove = func() error {
		_, err := git(context.WithoutCancel(ctx), root, "worktree", "remove", "--force", dir)
		return err
	}
	if _, err := git(ctx, root, "worktree", "add", "--detach", dir, commit); err != nil {
		_ = remove() // what there may be of it
		return nil, err
	}
	return remove, nil
}
