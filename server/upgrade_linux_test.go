package server

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/isbjorn/isbjorn/internal/testlog"
	"github.com/isbjorn/isbjorn/internal/testrun"

	"golang.org/x/sys/unix"
)

// A family is a program that runs, and those that it has started by SIGUSR2.
type family struct {
	t       *testing.T
	conduct string // the file that says how the next one is to be
	group   int    // of processes
	pid     int    // the one that was asked last
	network string
	address string
	tls     *tls.Config // of a client of an https address; nil for others
	where   []string    // the lines that say where it listens
	stderr  *testlog.Buffer
	said    int         // bytes of stderr that were waited for
	lines   chan string // of stdout; closed when no process is left
	outputs []*os.File  // where stdout and stderr are read
}

// patience is how long anything may take that takes no time.
const patience = 20 * time.Second

// begin starts a program and waits until it listens.
func begin(t *testing.T, conduct string, prepare func(*exec.Cmd), args ...string) *family {
	t.Helper()
	f := launch(t, conduct, prepare, args...)
	f.listens()
	f.pid = f.ask()
	return f
}

// launch starts a program.
func launch(t *testing.T, conduct string, prepare func(*exec.Cmd), args ...string) *family {
	t.Helper()
	testrun.Slow(t, "it starts processes")
	if os.Getenv("TEST_ISBJORN_DISPATCH") != "" {
		t.Skip("a program runs with Auto, in each suite")
	}
	// Processes whose parent has ended become ours, so that Wait4 tells how they end.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Skipf("this kernel has no child subreaper: %v", err)
	}
	f := &family{t: t, conduct: filepath.Join(t.TempDir(), "conduct"), stderr: &testlog.Buffer{}, lines: make(chan string, 1000)}
	f.next(conduct)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), programFile+"="+f.conduct,
		"GORACE=atexit_sleep_ms=0") // the race detector's second before the end
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if prepare != nil {
		prepare(cmd)
	}
	var readers sync.WaitGroup
	pipe := func(read func(io.Reader)) *os.File {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		f.outputs = append(f.outputs, r)
		readers.Go(func() {
			read(r)
			_ = r.Close()
		})
		return w
	}
	stdout := pipe(func(r io.Reader) {
		for lines := bufio.NewScanner(r); lines.Scan(); {
			f.lines <- lines.Text()
		}
		close(f.lines)
	})
	stderr := pipe(func(r io.Reader) { _, _ = io.Copy(f.stderr, r) })
	stdin, lifeline, err := os.Pipe() // all processes end with it, also if the test is killed
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdin = stdin
	if cmd.Stdout == nil { // or it is the test's
		cmd.Stdout, cmd.Stderr = stdout, stderr
	}
	err = cmd.Start()
	_, _, _ = stdin.Close(), stdout.Close(), stderr.Close()
	if err != nil {
		t.Fatal(err)
	}
	f.pid, f.group = cmd.Process.Pid, cmd.Process.Pid
	_ = cmd.Process.Release()
	t.Cleanup(func() {
		_ = lifeline.Close()
		readers.Wait()
		for err := error(nil); err == nil || err == syscall.EINTR; {
			_, err = syscall.Wait4(-f.group, nil, 0, nil)
		}
		if t.Failed() {
			t.Logf("stderr: %.4000s", f.stderr)
		}
	})
	return f
}

// next says how the next process is to be.
func (f *family) next(conduct string) {
	f.t.Helper()
	if err := os.WriteFile(f.conduct, []byte(conduct), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

// line is the next line of stdout.
func (f *family) line() string {
	f.t.Helper()
	select {
	case line, ok := <-f.lines:
		if !ok {
			f.t.Fatalf("no process is left; stderr: %.2000s", f.stderr)
		}
		return line
	case <-time.After(patience):
		f.t.Fatalf("no line within %v", patience)
	}
	return ""
}

// want reads lines of stdout.
func (f *family) want(lines ...string) {
	f.t.Helper()
	for _, want := range lines {
		if got := f.line(); got != want {
			f.t.Fatalf("it says %q, want %q", got, want)
		}
	}
}

// listens takes an address from the next line.
func (f *family) listens() {
	f.t.Helper()
	line := f.line()
	f.where = append(f.where, line)
	var ok bool
	if f.address, ok = strings.CutPrefix(line, "listening on unix:"); ok {
		f.network = "unix"
	} else if f.address, ok = strings.CutPrefix(line, "listening on http://"); ok {
		f.network = "tcp"
	} else if f.address, ok = strings.CutPrefix(line, "listening on https://"); ok {
		f.network = "tcp"
	} else {
		f.t.Fatalf("it says %q, want listening on ...", line)
	}
}

// says waits for a line of the log, behind those that were waited for.
func (f *family) says(what string) {
	f.t.Helper()
	eventually(f.t, "the log says "+what, func() bool {
		log := f.stderr.String()
		_, rest, ok := strings.Cut(log[f.said:], what)
		if ok {
			f.said = len(log) - len(rest)
		}
		return ok
	})
}

func (f *family) signal(pid int, s syscall.Signal) {
	f.t.Helper()
	if err := syscall.Kill(pid, s); err != nil {
		f.t.Fatalf("%v for process %d: %v", s, pid, err)
	}
}

// ended waits for the end of a process and returns its status. It sends signals to
// it until then.
func (f *family) ended(pid int, signals ...syscall.Signal) int {
	f.t.Helper()
	var status syscall.WaitStatus
	eventually(f.t, fmt.Sprintf("process %d ends", pid), func() bool {
		for _, s := range signals {
			f.signal(pid, s)
		}
		got, err := syscall.Wait4(pid, &status, syscall.WNOHANG, nil)
		if err != nil && err != syscall.EINTR && err != syscall.ECHILD { // not ours as long as its parent lives
			f.t.Fatalf("waiting for process %d: %v", pid, err)
		}
		return got == pid
	})
	if !status.Exited() {
		f.t.Errorf("process %d was ended by signal %v", pid, status.Signal())
	}
	return status.ExitStatus()
}

// restart has the next process take over, and returns the pid of the old one,
// which still drains.
func (f *family) restart() (old int) {
	f.t.Helper()
	old = f.pid
	f.signal(old, syscall.SIGUSR2)
	f.want("restarting")
	f.want(f.where...)
	f.want("stopping")
	eventually(f.t, "another process answers", func() bool { f.pid = f.ask(); return f.pid != old })
	return old
}

// stop ends the last process in order; none may be left.
func (f *family) stop() {
	f.t.Helper()
	f.signal(f.pid, syscall.SIGTERM)
	f.want("stopping")
	if status := f.ended(f.pid); status != 0 {
		f.t.Errorf("exit status %d after SIGTERM, want 0", status)
	}
	f.gone()
}

// gone waits until no process is left.
func (f *family) gone() {
	f.t.Helper()
	select {
	case line, ok := <-f.lines:
		if ok {
			f.t.Fatalf("it says %q, want the end of all processes", line)
		}
	case <-time.After(patience):
		f.t.Fatalf("there is still a process after %v", patience)
	}
	if c, err := net.Dial(f.network, f.address); err == nil {
		_ = c.Close()
		f.t.Errorf("%s still lets clients in", f.address)
	}
}

// listeners is how many sockets listen on the family's port.
func (f *family) listeners() (n int) {
	f.t.Helper()
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		f.t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(f.address)
	number, _ := strconv.Atoi(port)
	for line := range strings.Lines(string(table)) {
		const listens = "0A" // TCP_LISTEN
		if fields := strings.Fields(line); strings.HasSuffix(fields[1], fmt.Sprintf(":%04X", number)) && fields[3] == listens {
			n++
		}
	}
	return n
}

// conversation is a connection to a family.
type conversation struct {
	net.Conn
	r *bufio.Reader
}

func (f *family) dial() (*conversation, error) {
	c, err := net.DialTimeout(f.network, f.address, patience)
	if err != nil {
		return nil, err
	}
	_ = c.SetDeadline(time.Now().Add(2 * patience))
	if f.tls != nil {
		c = tls.Client(c, f.tls)
	}
	return &conversation{c, bufio.NewReader(c)}, nil
}

func (f *family) mustDial() *conversation {
	f.t.Helper()
	c, err := f.dial()
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = c.Close() })
	return c
}

// answer reads an answer; pid is the process that has sent it.
func (c *conversation) answer() (pid int, content []byte, last bool, err error) {
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return 0, nil, false, err
	}
	content, err = io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != 200 {
		err = errors.New(resp.Status)
	}
	if err == nil {
		pid, err = strconv.Atoi(resp.Header.Get("Pid"))
	}
	return pid, content, resp.Close, err
}

// once makes a request on a connection of its own.
func (f *family) once(target string) (pid int, content []byte, err error) {
	c, err := f.dial()
	if err != nil {
		return 0, nil, err
	}
	defer c.Close()
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", target); err != nil {
		return 0, nil, err
	}
	pid, content, _, err = c.answer()
	if err != nil {
		return 0, nil, err
	}
	if n, err := c.r.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		return 0, nil, fmt.Errorf("after the answer: %d bytes, %w; want the end", n, err)
	}
	return pid, content, nil
}

// ask returns the pid of a process that serves.
func (f *family) ask() int {
	f.t.Helper()
	pid, content, err := f.once("/pid")
	if err != nil || string(content) != strconv.Itoa(pid) {
		f.t.Fatalf("GET /pid: %q of %d, %v", content, pid, err)
	}
	return pid
}

// upload is a request that is under way: its head and half its content were sent,
// and the server has asked for more.
func (f *family) upload(content string) (finish func() (pid int)) {
	f.t.Helper()
	c := f.mustDial()
	fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n", len(content))
	if line, err := c.r.ReadString('\n'); err != nil || !strings.HasPrefix(line, "HTTP/1.1 100 ") {
		f.t.Fatalf("the server says %q, %v; want 100", line, err)
	}
	_, _ = c.r.ReadString('\n')
	_, _ = io.WriteString(c, content[:len(content)/2])
	return func() int {
		f.t.Helper()
		_, _ = io.WriteString(c, content[len(content)/2:])
		pid, got, _, err := c.answer()
		_ = c.Close() // the server waits for it
		if err != nil || string(got) != content {
			f.t.Errorf("the upload was answered by %d bytes, %v; want its %d", len(got), err, len(content))
		}
		return pid
	}
}

// download is a response that is under way.
func (f *family) download() (finish func() (pid int)) {
	f.t.Helper()
	c := f.mustDial()
	_ = c.Conn.(interface{ SetReadBuffer(int) error }).SetReadBuffer(16 << 10)
	_, _ = io.WriteString(c, "GET /big HTTP/1.1\r\nHost: h\r\n\r\n")
	if _, err := c.r.Peek(1); err != nil {
		f.t.Fatal(err)
	}
	return func() int {
		f.t.Helper()
		pid, got, _, err := c.answer()
		_ = c.Close()
		piece := []byte(pattern(64 << 10))
		for range bigBytes / len(piece) {
			if !bytes.HasPrefix(got, piece) {
				break
			}
			got = got[len(piece):]
		}
		if err != nil || len(got) > 0 {
			f.t.Errorf("the download ended with %v, and %d bytes that are missing or other", err, len(got))
		}
		return pid
	}
}

// pace is how long a client waits between two turns: the kernel must have ports
// enough, and others the processor.
const pace = 2 * time.Millisecond

// load makes requests until stopped: each must be answered, and right.
type load struct {
	f       *family
	stop    atomic.Bool
	clients sync.WaitGroup
	asked   atomic.Int64
}

func (f *family) load() *load {
	l := &load{f: f}
	for range 3 {
		l.clients.Go(func() { l.run(l.fresh) })
	}
	for range 2 {
		l.clients.Go(func() { l.run(l.pipelined) })
	}
	return l
}

func (l *load) run(turn func() error) {
	for !l.stop.Load() {
		if err := turn(); err != nil {
			l.f.t.Errorf("under load: %v", err)
			return
		}
	}
}

// fresh is a request on a new connection.
func (l *load) fresh() error {
	pid, content, err := l.f.once("/pid")
	if err == nil && string(content) != strconv.Itoa(pid) {
		err = fmt.Errorf("process %d answers %q", pid, content)
	}
	l.asked.Add(1)
	time.Sleep(pace)
	return err
}

// pipelined makes requests on one connection, several at once, until the server
// closes it: before an answer, as it may an idle one, or with an answer that says
// so. What it has not answered then it has not served (RFC 9112 section 9.3.2).
func (l *load) pipelined() error {
	c, err := l.f.dial()
	if err != nil {
		return err
	}
	defer c.Close()
	for first := true; !l.stop.Load(); first = false {
		const depth = 4
		for i := range depth {
			fmt.Fprintf(c, "POST /%d HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n%d", i, i)
		}
		for i := range depth {
			_, err := c.r.Peek(1)
			if err == io.EOF && !first {
				return nil
			}
			if err != nil {
				return fmt.Errorf("before an answer: %w", err)
			}
			_, content, last, err := c.answer()
			if err != nil || string(content) != strconv.Itoa(i) {
				return fmt.Errorf("request %d was answered by %q, %w", i, content, err)
			}
			l.asked.Add(1)
			if last {
				return nil
			}
		}
		time.Sleep(pace)
	}
	return nil
}

// end stops the clients.
func (l *load) end() {
	l.f.t.Helper()
	l.stop.Store(true)
	l.clients.Wait()
}

// Ten restarts under load, each into another number of loops: nothing is refused,
// reset, cut or lost, and what had begun is finished by the process it began with.
func TestRestartUnderLoad(t *testing.T) {
	const loops = 3
	f := begin(t, fmt.Sprintf("%d 30s serves", loops), nil, "-addr", "127.0.0.1:0")
	l := f.load()
	defer l.end()
	for i := range 10 {
		f.next(fmt.Sprintf("%d 30s serves", []int{1, 5, 2, 3}[i%4]))
		upload, download := f.upload(pattern(300_000)), f.download()
		asked := l.asked.Load()
		old := f.restart()
		eventually(t, "the clients go on", func() bool { return l.asked.Load() > asked+100 || t.Failed() })
		if pid := upload(); pid != old {
			t.Errorf("the upload to process %d was answered by %d", old, pid)
		}
		if pid := download(); pid != old {
			t.Errorf("the download from process %d was answered by %d", old, pid)
		}
		if status := f.ended(old); status != 0 {
			t.Errorf("exit status %d of the old process, want 0", status)
		}
		if n := f.listeners(); n != loops {
			t.Errorf("there are %d listeners, want the %d of the first process", n, loops)
		}
		if t.Failed() {
			t.Fatalf("in restart %d", i)
		}
	}
	if _, content, err := f.once("/environment"); err != nil || len(content) > 0 {
		t.Errorf("the environment still has %q, %v", content, err)
	}
	l.end()
	f.stop()
	if f.stderr.String() != "" {
		t.Errorf("stderr is not empty")
	}
	t.Logf("%d requests", l.asked.Load())
}

// The socket of a Unix address stays while there is a successor, and goes with the
// last.
func TestRestartOnAUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	f := begin(t, "2 30s serves", nil, "-addr", "unix:"+path)
	l := f.load()
	defer l.end()
	for range 3 {
		upload := f.upload(pattern(100_000))
		old := f.restart()
		if pid := upload(); pid != old {
			t.Errorf("the upload to process %d was answered by %d", old, pid)
		}
		if status := f.ended(old); status != 0 {
			t.Errorf("exit status %d of the old process, want 0", status)
		}
		f.ask()
	}
	l.end()
	f.stop()
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
}

// A new process that ends, or is not ready in time, changes nothing, and the next
// restart can be a better one.
func TestRestartFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	f := begin(t, "2 500ms serves", nil, "-addr", "unix:"+path)
	first := f.pid
	l := f.load()
	defer l.end()
	for conduct, want := range map[string]string{crashes: "exited: exit status 3", hangs: "timed out"} {
		f.next("2 30s " + conduct)
		f.signal(f.pid, syscall.SIGUSR2)
		f.want("restarting")
		f.says(want)
		if pid := f.ask(); pid != first {
			t.Errorf("it %s: process %d answers, want %d", conduct, pid, first)
		}
	}
	const line = "restart failed; this process keeps serving"
	if log := f.stderr.String(); strings.Count(log, line) != 2 || strings.Count(log, "\n") != 2 {
		t.Errorf("the log is %q, want two lines of %q", log, line)
	}
	f.next("2 30s serves")
	f.ended(f.restart())
	l.end()
	f.stop()
}

// While a new process starts, SIGUSR2 does nothing and SIGTERM ends both.
func TestSignalsWhileRestarting(t *testing.T) {
	f := begin(t, "2 30s serves", nil, "-addr", "127.0.0.1:0")
	f.next("2 30s hangs")
	f.signal(f.pid, syscall.SIGUSR2)
	f.want("restarting")
	f.signal(f.pid, syscall.SIGUSR2)
	f.says("SIGUSR2: a restart is already in progress")
	f.stop()
}

// While the old process drains, there is no further restart; it lets SIGTERM pass
// once, since it is stopping, and ends at once at the second.
func TestSignalsWhileTheOldDrains(t *testing.T) {
	f := begin(t, "2 30s serves", nil, "-addr", "127.0.0.1:0")
	for _, second := range []bool{false, true} {
		upload := f.upload(pattern(100_000))
		old := f.restart()
		f.signal(f.pid, syscall.SIGUSR2)
		f.want("restarting")
		f.says("parent hasn't exited")
		f.signal(old, syscall.SIGUSR2)
		f.says("SIGUSR2: no restart, this process is stopping")
		f.signal(old, syscall.SIGTERM)
		if second {
			if status := f.ended(old, syscall.SIGTERM); status != 1 {
				t.Errorf("exit status %d of the old process after SIGTERM again, want 1", status)
			}
			f.says(errSecondSignal.Error())
			continue
		}
		if pid := upload(); pid != old {
			t.Errorf("the upload to process %d was answered by %d", old, pid)
		}
		if status := f.ended(old); status != 0 {
			t.Errorf("exit status %d of the old process after SIGTERM, want 0", status)
		}
	}
	f.ask()
	f.stop()
}

// When the old process dies before the new one is ready, the new one serves, also clients that connected in between.
func TestSuccessorOfADeadProcess(t *testing.T) {
	f := begin(t, "2 30s serves", nil, "-addr", "127.0.0.1:0")
	f.next("2 30s " + orphaned)
	old := f.pid
	f.signal(old, syscall.SIGUSR2)
	f.want("restarting")
	eventually(t, "the new process has begun", func() bool {
		b, _ := os.ReadFile(f.conduct)
		return string(b) == "begun"
	})
	f.signal(old, syscall.SIGSTOP)
	eventually(t, "the old process stands still", func() bool { return suspended(old) })
	c, err := f.dial()
	f.signal(old, syscall.SIGKILL)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(c, "GET /pid HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
	f.want(f.where...)
	pid, _, _, err := c.answer()
	_ = c.Close()
	if err != nil || pid == old {
		t.Errorf("it was answered by process %d, %v", pid, err)
	}
	f.says("the old process has already exited; this one serves")
	f.pid = pid
	f.stop()
}

// A new process that gets nothing from the old one opens nothing of its own.
func TestSuccessorWithoutListeners(t *testing.T) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	f := launch(t, "2 30s serves", func(cmd *exec.Cmd) {
		cmd.Env = append(cmd.Env, oldProcess+"=yes")
		cmd.ExtraFiles = []*os.File{null, null} // where tableflip has its pipes
	}, "-addr", "127.0.0.1:0")
	if status := f.ended(f.pid); status != 1 {
		t.Errorf("exit status %d, want 1", status)
	}
	if line, ok := <-f.lines; ok {
		t.Errorf("it says %q", line)
	}
	f.says("the old process has handed nothing over")
}

// suspended reports whether all threads of a process stand still.
func suspended(pid int) bool {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	for _, thread := range threads {
		if stat, _ := os.ReadFile(thread); !bytes.Contains(stat, []byte(") T ")) {
			return false
		}
	}
	return len(threads) > 0
}

// activate has a command get sockets as systemd passes them.
func activate(files ...*os.File) func(*exec.Cmd) {
	return func(cmd *exec.Cmd) {
		cmd.Args = append([]string{"sh", "-c", `LISTEN_PID=$$ exec "$0" "$@"`}, cmd.Args...)
		cmd.Path = "/bin/sh"
		cmd.Env = append(cmd.Env, "LISTEN_FDS="+strconv.Itoa(len(files)))
		cmd.ExtraFiles = files
	}
}

// listen makes a listener outside of the server.
func listen(t *testing.T, network, address string) *os.File {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	f, err := l.(interface{ File() (*os.File, error) }).File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = f.Close()
		_ = l.Close()
	})
	return f
}

// Sockets of systemd are served in place of an address, over restarts too, and the
// file of a Unix socket stays when all processes are gone.
func TestActivation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	tcp, unix := listen(t, "tcp", "127.0.0.1:0"), listen(t, "unix", path)
	f := launch(t, "2 30s serves", activate(tcp, unix))
	f.listens()
	overTCP := *f
	f.listens()
	if overTCP.network != "tcp" || f.network != "unix" || f.address != path {
		t.Fatalf("it listens on %q", f.where)
	}
	f.pid = f.ask()
	for range 2 {
		if pid := overTCP.ask(); pid != f.pid {
			t.Errorf("process %d answers, want %d", pid, f.pid)
		}
		if status := f.ended(f.restart()); status != 0 {
			t.Errorf("exit status %d of the old process, want 0", status)
		}
	}
	if pid, content, err := f.once("/environment"); err != nil || len(content) > 0 {
		t.Errorf("the environment of %d still has %q, %v", pid, content, err)
	}
	f.signal(f.pid, syscall.SIGTERM)
	f.want("stopping")
	if status := f.ended(f.pid); status != 0 {
		t.Errorf("exit status %d after SIGTERM, want 0", status)
	}
	c, err := net.Dial("unix", path) // waits for the next process that systemd starts
	if err != nil {
		t.Fatalf("the socket of systemd: %v", err)
	}
	_ = c.Close()
}

func TestActivationRefused(t *testing.T) {
	good := listen(t, "tcp", "127.0.0.1:0")
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	datagrams, err := udp.(*net.UDPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	defer datagrams.Close()
	file, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for name, tt := range map[string]struct {
		files []*os.File
		args  []string
		want  string
		exit  int
	}{
		"datagrams":  {[]*os.File{good, datagrams}, nil, "not a TCP or Unix stream socket that listens", 1},
		"file":       {[]*os.File{file}, nil, "socket operation on non-socket", 1},
		"an address": {[]*os.File{good}, []string{"-addr", "127.0.0.1:0"}, "flag --addr", 2},
	} {
		t.Run(name, func(t *testing.T) {
			f := launch(t, "2 30s serves", activate(tt.files...), tt.args...)
			if status := f.ended(f.pid); status != tt.exit {
				t.Errorf("exit status %d, want %d", status, tt.exit)
			}
			if line, ok := <-f.lines; ok {
				t.Errorf("it says %q", line)
			}
			f.says(tt.want)
			if log := f.stderr.String(); !strings.Contains(log, "LISTEN_FDS") || strings.Count(log, "\n") != tt.exit {
				t.Errorf("stderr is %q, want one line that has LISTEN_FDS, and for status 2 one that counts", log)
			}
		})
	}
}

// systemd is notified which process is the service, and of its stop by that process alone.
func TestNotify(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	systemd, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer systemd.Close()
	_ = systemd.SetDeadline(time.Now().Add(2 * patience))
	hears := func(want string) {
		t.Helper()
		b := make([]byte, 1000)
		n, err := systemd.Read(b)
		if err != nil || string(b[:n]) != want {
			t.Errorf("systemd hears %q, %v; want %q", b[:n], err, want)
		}
	}
	f := begin(t, "2 30s serves", func(cmd *exec.Cmd) { cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+path) }, "-addr", "127.0.0.1:0")
	hears(fmt.Sprintf("READY=1\nMAINPID=%d", f.pid))
	f.next("2 30s " + crashes)
	f.signal(f.pid, syscall.SIGUSR2)
	f.want("restarting")
	hears(fmt.Sprintf("READY=1\nMAINPID=%d", f.pid)) // again: the new one may have notified systemd too
	f.next("2 30s serves")
	f.ended(f.restart())
	hears(fmt.Sprintf("READY=1\nMAINPID=%d", f.pid))
	f.stop()
	if _, err := systemd.WriteToUnix([]byte("no more"), &net.UnixAddr{Name: path, Net: "unixgram"}); err != nil {
		t.Fatal(err)
	}
	hears("STOPPING=1")
	hears("no more")
}

// A hijacked connection stays in the old process, within the time of its stop, and that process waits for its end.
func TestRestartWithATakenConnection(t *testing.T) {
	f := begin(t, "2 30s serves", nil, "-addr", "127.0.0.1:0")
	c := f.mustDial()
	says := func(text string) {
		t.Helper()
		_, _ = io.WriteString(c, text)
		got := make([]byte, len(text))
		if n, err := io.ReadFull(c, got); err != nil || string(got) != text {
			t.Errorf("heard %q, %v; want %q", got[:n], err, text)
		}
	}
	_, _ = io.WriteString(c, "GET /echo HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	says("before")
	old := f.restart()
	says("after")
	_ = c.Close()
	if status := f.ended(old); status != 0 {
		t.Errorf("exit status %d of the old process, want 0", status)
	}
	f.stop()
}
