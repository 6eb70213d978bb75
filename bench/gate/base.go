package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// build is the programs of one revision.
type build struct {
	label   string // "base" or "tree"
	dir     string // of the source
	bench   string // test binary of -package; "" if no benchmark is to run
	program string // -program; "" if it is not to run
}

// compile builds what is measured of the source in dir into a directory. Paths are left out,
// so that the same source gives the same programs. extra are arguments of go build.
func (g *gate) compile(ctx context.Context, label, dir, into string, extra ...string) (*build, error) {
	b := &build{label: label, dir: dir}
	if g.bench != "" {
		b.bench = filepath.Join(into, label, "bench.test")
		if err := goBuild(ctx, dir, "test", append([]string{"-c", "-o", b.bench}, extra...), g.pkg); err != nil {
			return nil, err
		}
	}
	if g.runs() {
		b.program = filepath.Join(into, label, "program")
		if err := goBuild(ctx, dir, "build", append([]string{"-o", b.program}, extra...), g.program); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// runs says whether programs are measured, and not only benchmarks.
func (g *gate) runs() bool { return g.overSockets || g.calls }

// check looks for what the flags name in the source in dir, before anything is built.
func (g *gate) check(ctx context.Context, label, dir string) error {
	for _, want := range []struct {
		flag, pkg string
		used      bool
		is, none  string
	}{
		{"-package", g.pkg, g.bench != "", "tests", "-bench ''"},
		{"-program", g.program, g.runs(), "main", "-loopback=false -syscalls=false"},
		{"-beside", g.beside, g.overSockets && g.beside != "" && label == "base", "main", "-beside ''"},
	} {
		if !want.used {
			continue
		}
		said := "not asked, this is no path of a directory"
		if strings.HasPrefix(want.pkg, ".") && !strings.Contains(want.pkg, "...") {
			cmd := exec.CommandContext(ctx, "go", "list", "-f", `{{printf "%q" .ImportPath}}{{if or .TestGoFiles .XTestGoFiles}} tests{{end}}{{if eq .Name "main"}} main{{end}}`, "--", want.pkg)
			cmd.Dir = dir
			out, err := cmd.CombinedOutput()
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if said = string(out); err == nil && slices.Contains(strings.Fields(said), want.is) {
				continue
			}
		}
		return misuse(fmt.Sprintf("%s %s: the %s has no package with %s there: give its directory, as ./name, or %s for none (go list: %s)",
			want.flag, want.pkg, label, want.is, want.none, strings.TrimSpace(said)))
	}
	return nil
}

func goBuild(ctx context.Context, dir, verb string, args []string, pkg string) error {
	cmd := exec.CommandContext(ctx, "go", append(append([]string{verb, "-trimpath", "-buildvcs=false"}, args...), pkg)...)
	cmd.Dir = dir
	cmd.Env = append([]string{"CGO_ENABLED=0"}, os.Environ()...) // who needs cgo says CGO_ENABLED=1
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("in %s: %s: %w\n%s", dir, cmd, err, out)
	}
	return nil
}

// same reports whether the programs of both are the same, byte for byte.
func same(a, b *build) (bool, error) {
	for _, paths := range [][2]string{{a.bench, b.bench}, {a.program, b.program}} {
		if paths[0] == "" {
			continue
		}
		one, err1 := os.ReadFile(paths[0])
		other, err2 := os.ReadFile(paths[1])
		if err := errors.Join(err1, err2); err != nil || !bytes.Equal(one, other) {
			return false, err
		}
	}
	return true, nil
}

// gitEnviron is the environment for git: without the variables by which git tells its hooks
// of the repository and the index at work. With GIT_INDEX_FILE the checkout of the base
// would replace the index of a commit under way, and the commit would be empty.
var gitEnviron = sync.OnceValue(func() []string {
	local, _ := exec.Command("git", "rev-parse", "--local-env-vars").Output() // without git the next call says so
	names := strings.Fields(string(local))
	return slices.DeleteFunc(os.Environ(), func(pair string) bool {
		name, _, _ := strings.Cut(pair, "=")
		return slices.Contains(names, name)
	})
})

// git runs git in a directory and returns what it prints.
func git(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir, cmd.Env = dir, gitEnviron()
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
