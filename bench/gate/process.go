package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// core is the processor that all is measured on, clients included: the last that this
// process may use, since the first has most of the interrupts.
func core() (int, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return 0, fmt.Errorf("which processors may be used: %w", err)
	}
	cpu := -1
	for left := set.Count(); left > 0; {
		if cpu++; set.IsSet(cpu) {
			left--
		}
	}
	return cpu, nil
}

// pinned runs do on one processor, with the processes that it starts. They do not
// preempt each other when they wake (SCHED_BATCH): a server that is woken for each
// request of a batch, or for many at once, as it happens, costs twice as much from one
// millisecond to the next, and no regression is to be seen in that.
func pinned(cpu int, do func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return err
	}
	one.Set(cpu)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return fmt.Errorf("pin to processor %d: %w", cpu, err)
	}
	if err := schedule(unix.SCHED_BATCH); err != nil {
		return err
	}
	return errors.Join(do(), schedule(unix.SCHED_NORMAL), unix.SchedSetaffinity(0, &before))
}

// schedule sets the policy of the calling thread, and leaves its nice value.
func schedule(policy uint32) error {
	attr, err := unix.SchedGetAttr(0, 0)
	if err != nil {
		return fmt.Errorf("scheduling policy: %w", err)
	}
	attr.Policy = policy
	if err := unix.SchedSetAttr(0, attr, 0); err != nil {
		return fmt.Errorf("scheduling policy %d: %w", policy, err)
	}
	return nil
}

// command is a program to be measured: it has one processor, says on standard error
// what goes wrong, and ends with ctx, together with what it has started.
func command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
	cmd.Stderr = os.Stderr
	return cmd
}

// server is a program that listens and serves.
type server struct {
	cmd  *exec.Cmd
	addr string
}

// serve starts a server on a free port, and waits until it says which. args comes
// before -addr. The calling thread decides where it runs.
func serve(ctx context.Context, name string, args ...string) (*server, error) {
	cmd := command(ctx, name, append(args, "-addr", "127.0.0.1:0")...)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	late := time.AfterFunc(patience, func() { _ = cmd.Cancel() })
	defer late.Stop()
	lines := bufio.NewReader(stdout)
	line, err := lines.ReadString('\n')
	addr, ok := strings.CutPrefix(strings.TrimSpace(line), "listening on http://")
	if !ok {
		_ = cmd.Cancel()
		return nil, fmt.Errorf("%s says %q first and not where it listens, as listening on http://HOST:PORT: %w", cmd, line, errors.Join(err, cmd.Wait()))
	}
	go func() { _, _ = io.Copy(io.Discard, lines) }() // what else it says; until it ends
	return &server{cmd, addr}, nil
}

// kill ends the server at once.
func (s *server) kill() {
	_ = s.cmd.Cancel()
	_ = s.cmd.Wait()
}

// cpuTime is what a process has used, user and system, to the nanosecond: the clock
// of a process, whose number is made as clock_getcpuclockid(3) does.
func cpuTime(pid int) (time.Duration, error) {
	const scheduled = 2 // CPUCLOCK_SCHED
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|scheduled), &t); err != nil {
		return 0, fmt.Errorf("CPU time of process %d: %w", pid, err)
	}
	return time.Duration(t.Nano()), nil
}
