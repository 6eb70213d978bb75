package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/isbjorn/isbjorn/server"
)

// pidFile is a file with the process id, for scripts that send signals. An empty name is none.
type pidFile string

// check refuses a file of a process that runs this program. What another program has left there, or a process that has
// ended, is replaced: a number alone says little, since the system gives it to others. The parent is the process that a
// restart by SIGUSR2 follows.
func (p pidFile) check() error {
	if p == "" {
		return nil
	}
	dir := filepath.Dir(string(p))
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return fmt.Errorf("pidfile: the directory %s is not there: mkdir -p %s", dir, dir)
	}
	pid, err := p.read()
	switch {
	case errors.Is(err, fs.ErrNotExist) || err == nil && (pid == os.Getpid() || pid == os.Getppid()):
		return nil
	case err != nil && !errors.Is(err, errNoPID):
		return fmt.Errorf("pidfile: %w", err)
	case err == nil && isSelf(pid):
		return fmt.Errorf("pidfile: %s is that of process %d, which runs: stop it (kill %d), or name another file",
			string(p), pid, pid)
	}
	return nil
}

// isSelf reports whether a process runs this program.
func isSelf(pid int) bool {
	own, err := os.Stat("/proc/self/exe")
	if err != nil { // no such system: that the process is there has to do
		return syscall.Kill(pid, 0) == nil
	}
	its, err := os.Stat(fmt.Sprintf("/proc/%d/exe", pid))
	return err == nil && os.SameFile(own, its)
}

var errNoPID = errors.New("it has no process id")

func (p pidFile) read() (int, error) {
	b, err := os.ReadFile(string(p))
	if err != nil {
		return 0, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || pid <= 0 {
		return 0, errNoPID
	}
	return pid, nil
}

// write has the file say which process this is, in one step: no reader finds half of it.
func (p pidFile) write() error {
	f, err := os.CreateTemp(filepath.Dir(string(p)), filepath.Base(string(p))+".*")
	if err != nil {
		return fmt.Errorf("pidfile: %w", err)
	}
	_, err = fmt.Fprintln(f, os.Getpid())
	err = errors.Join(err, f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), string(p))
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("pidfile: %w", err)
	}
	return nil
}

// remove removes the file if it is that of this process: after a restart it is that of the new one.
func (p pidFile) remove() {
	if pid, err := p.read(); err == nil && pid == os.Getpid() {
		_ = os.Remove(string(p))
	}
}

// with has the file written when the addresses are bound. remove is to be called at the end.
func (p pidFile) with(options server.Options, failed func(error)) server.Options {
	if p != "" {
		options.OnStart = append(options.OnStart, func(*server.Server) {
			if err := p.write(); err != nil {
				failed(err)
			}
		})
	}
	return options
}
