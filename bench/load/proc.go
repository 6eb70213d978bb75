//go:build linux

package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// processors are the numbers of those that this process may use.
func processors() (list []int, err error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, err
	}
	for i := range len(set) * 64 {
		if set.IsSet(i) {
			list = append(list, i)
		}
	}
	return list, nil
}

// pins says where who runs: the server alone on the first processor, the rest is for the
// load. With one processor they share it.
func pins(list []int) (server, load unix.CPUSet, names map[string]string) {
	on := func(set *unix.CPUSet, list []int) string {
		var numbers []string
		for _, i := range list {
			set.Set(i)
			numbers = append(numbers, strconv.Itoa(i))
		}
		return strings.Join(numbers, ",")
	}
	rest := list[1:]
	if len(rest) == 0 {
		rest = list
	}
	names = map[string]string{"server": on(&server, list[:1]), "load": on(&load, rest)}
	return server, load, names
}

// pinSelf moves all threads of this process. Those that begin later follow, and so do
// programs that are started.
func pinSelf(set unix.CPUSet) error {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, t := range threads {
		tid, _ := strconv.Atoi(t.Name())
		if err := unix.SchedSetaffinity(tid, &set); err != nil && err != unix.ESRCH {
			return err
		}
	}
	return nil
}

// group puts a command into a process group of its own, so that all of it can be ended,
// and out of reach of the terminal's ^C. It does not outlive this process.
func group(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	cmd.WaitDelay = time.Second
}

// killGroup ends a command that was started as group says.
func killGroup(cmd *exec.Cmd) error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }

// run runs a program to its end and returns what it printed, on standard error too.
func run(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	group(cmd)
	cmd.Cancel = func() error { return killGroup(cmd) }
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// process is a program that runs.
type process struct {
	cmd   *exec.Cmd
	addr  string // of a server
	log   tail
	ended chan struct{} // closed
	err   error         // then
}

// launch starts a program on the processors of set.
func launch(command []string, set unix.CPUSet) (*process, error) {
	p := &process{cmd: exec.Command(command[0], command[1:]...), ended: make(chan struct{})}
	p.cmd.Stderr = &p.log
	p.cmd.Env = append(os.Environ(), fmt.Sprintf("GOMAXPROCS=%d", set.Count()))
	group(p.cmd)
	if err := startOn(p.cmd, set); err != nil {
		return nil, err
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

// listenTime is how long a server may take until it listens.
const listenTime = 10 * time.Second

// start runs b on the processors of set and waits until it accepts connections.
func start(ctx context.Context, b built, dir, cost string, set unix.CPUSet) (*process, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	command, err := b.command(b.path, dir, cost, port)
	if err != nil {
		return nil, err
	}
	p, err := launch(command, set)
	if err != nil {
		return nil, err
	}
	p.addr = fmt.Sprintf("127.0.0.1:%d", port)
	for deadline := time.Now().Add(listenTime); ; time.Sleep(10 * time.Millisecond) {
		c, err := net.DialTimeout("tcp", p.addr, time.Second)
		if err == nil {
			_ = c.Close()
			return p, nil
		}
		if err := cmp.Or(p.alive(), ctx.Err()); err != nil {
			p.stop()
			return nil, err
		}
		if time.Now().After(deadline) {
			p.stop()
			return nil, fmt.Errorf("%s does not listen: %w", strings.Join(command, " "), err)
		}
	}
}

// startOn starts cmd on the processors of set: it inherits those of the thread.
func startOn(cmd *exec.Cmd, set unix.CPUSet) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var mine unix.CPUSet
	if err := errors.Join(unix.SchedGetaffinity(0, &mine), unix.SchedSetaffinity(0, &set)); err != nil {
		return err
	}
	return errors.Join(cmd.Start(), unix.SchedSetaffinity(0, &mine))
}

// interrupt ends the program in order.
func (p *process) interrupt() error {
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		return err
	}
	select {
	case <-p.ended:
		return nil
	case <-time.After(patience):
		return fmt.Errorf("%s does not end", p.cmd.Path)
	}
}

// stop ends the program, whatever it does.
func (p *process) stop() {
	_ = killGroup(p.cmd)
	<-p.ended
}

// alive is nil while the program runs.
func (p *process) alive() error {
	select {
	case <-p.ended:
		return fmt.Errorf("%s ended: %v: %s", p.cmd.Path, p.err, lastLine(p.log.String()))
	default:
		return nil
	}
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// tree is the process and its descendants.
func (p *process) tree() []int {
	pids := []int{p.cmd.Process.Pid}
	for i := 0; i < len(pids); i++ {
		files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pids[i]))
		for _, file := range files {
			b, _ := os.ReadFile(file)
			for _, child := range strings.Fields(string(b)) {
				if pid, err := strconv.Atoi(child); err == nil {
					pids = append(pids, pid)
				}
			}
		}
	}
	return pids
}

// cpu is the time on processors, user and system, of the server so far.
func (p *process) cpu() (total time.Duration) {
	for _, pid := range p.tree() {
		var t unix.Timespec
		// The clock of another process, as clock_getcpuclockid(3) makes it.
		if err := unix.ClockGettime(int32(^pid<<3|2), &t); err == nil {
			total += time.Duration(t.Nano())
		}
	}
	return total
}

var vmRSS = regexp.MustCompile(`VmRSS:\s+(\d+) kB`)

// rss is the resident memory of the server in bytes.
func (p *process) rss() (total float64) {
	for _, pid := range p.tree() {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if m := vmRSS.FindSubmatch(b); m != nil {
			kib, _ := strconv.Atoi(string(m[1]))
			total += float64(kib << 10)
		}
	}
	return total
}

// tail keeps the end of what is written.
type tail struct{ bytes.Buffer }

const tailBytes = 4 << 10

func (t *tail) Write(b []byte) (int, error) {
	if t.Len() > tailBytes {
		t.Next(t.Len() - tailBytes)
	}
	return t.Buffer.Write(b)
}
