package worker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/isbjorn/isbjorn/internal/testrun"
	"github.com/isbjorn/isbjorn/wsgi/internal/wire"
)

const patience = 60 * time.Second // of a test that waits for a worker

// pythons are the interpreters to test with: with -short the first.
func pythons(t *testing.T) []string {
	testrun.Slow(t, "starts Python", "TestAnswers")
	testrun.Slow(t, "starts Python", "TestAnswers")
	found := findPythons()
	if len(found) == 0 {
		t.Skip("needs python3, 3.8 or later: apt-get install python3")
	}
	if testing.Short() {
		found = found[:1]
	}
	return found
}

// findPythons finds each version in the PATH, and those of the variable TEST_ISBJORN_PYTHONS, a list as PATH is one:
// make test-pythons has some.
var findPythons = sync.OnceValue(func() (found []string) {
	found = filepath.SplitList(os.Getenv("TEST_ISBJORN_PYTHONS"))
	var seen []string
	for _, name := range []string{"python3", "python3.8", "python3.9", "python3.10", "python3.11", "python3.12",
		"python3.13", "python3.14"} {
		// The interpreter itself: name may be a script that starts it.
		out, err := exec.Command(name, "-c", "import sys; sys.version_info < (3, 8) or print(sys.executable)").Output()
		if path := strings.TrimSpace(string(out)); err == nil && path != "" {
			real, _ := filepath.EvalSymlinks(path)
			if !slices.Contains(seen, real) {
				found, seen = append(found, path), append(seen, real)
			}
		}
	}
	return found
})

// everyPython runs test for each interpreter.
func everyPython(t *testing.T, test func(t *testing.T, python string)) {
	for _, python := range pythons(t) {
		t.Run(strings.ReplaceAll(python, "/", "_"), func(t *testing.T) { test(t, python) })
	}
}

// findGevent finds an interpreter that has gevent.
var findGevent = sync.OnceValue(func() string {
	for _, python := range append(findPythons(), "/usr/bin/python3") { // that has Debian's packages
		if exec.Command(python, "-c", "import gevent").Run() == nil {
			return python
		}
	}
	return ""
})

func geventPython(t *testing.T) string {
	testrun.Slow(t, "starts Python")
	testrun.Slow(t, "starts Python")
	python := findGevent()
	if python == "" {
		t.Skip("needs gevent: apt-get install python3-gevent")
	}
	return python
}

// everyMode runs test for each interpreter with threads, and for one with gevent.
func everyMode(t *testing.T, test func(t *testing.T, python string, c wire.Config)) {
	everyPython(t, func(t *testing.T, python string) { test(t, python, wire.Config{}) })
	t.Run("gevent", func(t *testing.T) { test(t, geventPython(t), wire.Config{Gevent: true}) })
}

// answer is what a worker sent for one request.
type answer struct {
	head    wire.Head
	interim []string
	body    []byte
	frames  []wire.Type
	close   bool
	file    bool     // body was read from a descriptor
	fail    []string // where, request line, message, traceback
	slot    int
	back    bool // not begun: handed back
	done    chan bool
	first   chan bool // content has come

	input     []byte        // for WANT
	abortAt   int           // WANTs that are answered before ABORT; negative: all
	open      *os.File      // for OPEN
	lateAbort bool          // the answer to WANT is an ABORT when the response has come
	slow      time.Duration // between the first content and what follows
	hold      chan bool     // after the first content the rest is read when the test closes it
}

// String is the answer in short.
func (a *answer) String() string {
	var b strings.Builder
	for _, i := range a.interim {
		fmt.Fprintf(&b, "(%s) ", i)
	}
	if a.head.Status != "" {
		b.WriteString(strings.TrimSpace(a.head.Status))
		for _, f := range a.head.Fields {
			if f.Name != "Content-Type" {
				fmt.Fprintf(&b, " %s=%s", f.Name, f.Value)
			}
		}
		fmt.Fprintf(&b, ": %s", a.body)
	}
	if a.file {
		b.WriteString(" by file")
	}
	if a.close {
		b.WriteString(" closes")
	}
	if a.fail != nil {
		if b.Len() > 0 && !strings.HasSuffix(b.String(), " ") {
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, "fails in %s: %s", a.fail[0], a.fail[2])
	}
	return strings.TrimSpace(b.String())
}

// generation is the queue that its workers share.
type generation struct {
	conn  *net.UnixConn
	other *os.File
	id    atomic.Uint64
}

func newGeneration(t *testing.T) *generation {
	conn, other := pair(t, unix.SOCK_SEQPACKET)
	t.Cleanup(func() { conn.Close(); other.Close() })
	return &generation{conn: conn, other: other}
}

// pair returns a socketpair: one end for here, one to be inherited.
func pair(t *testing.T, kind int) (*net.UnixConn, *os.File) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fds[0]), "here")
	c, err := net.FileConn(f)
	f.Close()
	if err != nil {
		t.Fatal(err)
	}
	return c.(*net.UnixConn), os.NewFile(uintptr(fds[1]), "there")
}

// process is a worker.
type process struct {
	t       *testing.T
	g       *generation
	cmd     *exec.Cmd
	control *net.UnixConn
	board   []uint64
	slots   []*slot
	stderr  *bytes.Buffer // to be read when exited is closed
	exited  chan bool

	mu      sync.Mutex
	answers map[uint64]*answer
	logs    []string
	changed chan bool // something came on control

	hello, ready, loadError, stacks []string
	drained, leaves                 bool
	pong                            uint64
	trouble                         error
}

type slot struct {
	data, lane *net.UnixConn
}

func newProcess(t *testing.T, python string, g *generation, c wire.Config, env ...string) *process {
	t.Helper()
	if c.Slots == 0 {
		c.Slots = 1
	}
	if c.Dir == "" {
		c.Dir = "testdata"
	}
	p := &process{t: t, g: g, answers: map[uint64]*answer{}, changed: make(chan bool, 1), exited: make(chan bool),
		stderr: new(bytes.Buffer)}
	source, err := unix.MemfdCreate("source", unix.MFD_CLOEXEC)
	board, err2 := unix.MemfdCreate("board", unix.MFD_CLOEXEC)
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	s, b := os.NewFile(uintptr(source), "source"), os.NewFile(uintptr(board), "board")
	if _, err := s.WriteString(Source); err != nil {
		t.Fatal(err)
	}
	s.Seek(0, 0)
	b.Truncate(int64(c.Slots) * LineBytes)
	memory, err := unix.Mmap(board, 0, int(c.Slots)*LineBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	p.board = unsafe.Slice((*uint64)(unsafe.Pointer(&memory[0])), len(memory)/8)

	var control *os.File
	p.control, control = pair(t, unix.SOCK_STREAM)
	files := []*os.File{s, control, g.other, b}
	for range c.Slots {
		data, theirData := pair(t, unix.SOCK_STREAM)
		lane, theirLane := pair(t, unix.SOCK_SEQPACKET)
		p.slots = append(p.slots, &slot{data, lane})
		files = append(files, theirData, theirLane)
	}
	p.cmd = exec.Command(python, "-c", Boot)
	p.cmd.Env = append(append(os.Environ(), "PYTHONUNBUFFERED=1", "PYTHONDONTWRITEBYTECODE=1"), env...)
	p.cmd.ExtraFiles = files
	p.cmd.Stdout, p.cmd.Stderr = p.stderr, p.stderr
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if f != g.other {
			f.Close()
		}
	}
	var readers sync.WaitGroup
	readers.Go(p.readControl)
	for i := range p.slots {
		readers.Go(func() { p.readSlot(i) })
	}
	go func() { p.cmd.Wait(); close(p.exited); p.change(func() {}) }()
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		<-p.exited
		p.control.Close()
		for _, s := range p.slots {
			s.data.Close()
			s.lane.Close()
		}
		readers.Wait()
		unix.Munmap(memory)
		if t.Failed() {
			t.Logf("log: %q\nstderr: %s", p.logs, p.stderr)
		}
	})
	p.control.Write(wire.AppendConfig(nil, &c))
	return p
}

// start starts a worker alone in its generation, and waits until it is ready.
func start(t *testing.T, python string, c wire.Config, env ...string) *process {
	t.Helper()
	if c.Target == "" {
		c.Target = "app:app"
	}
	p := newProcess(t, python, newGeneration(t), c, env...)
	p.wait("READY", func() bool { return p.ready != nil })
	return p
}

// change makes a change under the lock and tells those who wait.
func (p *process) change(f func()) {
	p.mu.Lock()
	f()
	p.mu.Unlock()
	select {
	case p.changed <- true:
	default:
	}
}

// wait waits until done, which is called under the lock, reports true.
func (p *process) wait(what string, done func() bool) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		p.mu.Lock()
		ok, trouble := done(), p.trouble
		p.mu.Unlock()
		if ok {
			return
		}
		if trouble != nil {
			p.t.Fatalf("no %s: %v", what, trouble)
		}
		select {
		case <-p.changed:
		case <-ctx.Done():
			p.t.Fatalf("no %s in %v", what, patience)
		}
	}
}

func (p *process) readControl() {
	var c wire.Control
	err := p.read(p.control, func(b []byte) (n int, err error) {
		f, n, err := c.Next(b)
		if n == 0 || err != nil {
			return n, err
		}
		texts := func(n int) []string {
			s, e := wire.DecodeTexts(f.Payload, n)
			err = e
			return s
		}
		p.change(func() {
			switch f.Type {
			case wire.FrameHello:
				p.hello = texts(6)
			case wire.FrameReady:
				p.ready = texts(3)
			case wire.FrameLoadError:
				p.loadError = texts(4)
			case wire.FrameStacks:
				p.stacks = texts(1)
			case wire.FrameLog:
				if s := texts(2); err == nil {
					p.logs = append(p.logs, fmt.Sprintf("%s %d %s", s[0], f.ID, s[1]))
				}
			case wire.FramePong:
				p.pong = f.ID
			case wire.FrameLeave:
				p.leaves = true
			case wire.FrameDrained:
				p.drained = true
			}
		})
		return n, err
	})
	p.change(func() { p.trouble = err })
}

func (p *process) readSlot(i int) {
	var d wire.Decoder
	s := p.slots[i]
	err := p.read(s.data, func(b []byte) (int, error) {
		f, n, err := d.Next(b)
		if n == 0 || err != nil {
			return n, err
		}
		p.mu.Lock()
		a := p.answers[f.ID]
		p.mu.Unlock()
		if a == nil {
			return 0, fmt.Errorf("frame %d of request %d, which is not there", f.Type, f.ID)
		}
		a.slot = i
		if !f.More {
			a.frames = append(a.frames, f.Type)
		}
		a.close = a.close || f.Flags&wire.FlagClose != 0
		switch f.Type {
		case wire.FrameResp, wire.FrameHead:
			rest, err := wire.DecodeHead(&a.head, f.Payload, false)
			if err != nil {
				return 0, err
			}
			a.body = append(a.body, rest...)
		case wire.FrameBody:
			a.body = append(a.body, f.Payload...)
			select {
			case a.first <- true:
			default:
			}
			time.Sleep(a.slow)
			a.slow = 0
			if a.hold != nil {
				<-a.hold
			}
		case wire.FrameFile:
			offset, length, err := wire.DecodeFile(f.Payload)
			if err != nil {
				return 0, err
			}
			file, err := receiveFile(s.lane)
			if err != nil {
				return 0, err
			}
			part, err := io.ReadAll(io.NewSectionReader(file, offset, length))
			file.Close()
			a.body, a.file = append(a.body, part...), true
			if err != nil {
				return 0, err
			}
		case wire.FrameInfo:
			var h wire.Head
			if _, err := wire.DecodeHead(&h, f.Payload, true); err != nil {
				return 0, err
			}
			a.interim = append(a.interim, fmt.Sprintf("%s %v", h.Status, h.Fields))
		case wire.FrameWant:
			want, err := wire.DecodeWant(f.Payload)
			if err != nil {
				return 0, err
			}
			if a.lateAbort {
				break
			}
			if a.abortAt == 0 {
				s.data.Write(wire.AppendAbort(nil, f.ID))
				break
			}
			a.abortAt--
			part := a.input[:min(want, len(a.input))]
			a.input = a.input[len(part):]
			if _, err := s.data.Write(wire.AppendData(nil, f.ID, part, len(a.input) == 0 && a.abortAt < 0)); err != nil {
				return 0, err
			}
		case wire.FrameOpen:
			if _, _, err := s.lane.WriteMsgUnix([]byte("f"), unix.UnixRights(int(a.open.Fd())), nil); err != nil {
				return 0, err
			}
		case wire.FrameFail:
			if a.fail, err = wire.DecodeTexts(f.Payload, 4); err != nil {
				return 0, err
			}
		case wire.FrameReturn:
			a.back = true
		}
		if !f.More && d.Running() == 0 {
			if a.lateAbort {
				s.data.Write(wire.AppendAbort(nil, f.ID))
			}
			close(a.done)
		}
		return n, nil
	})
	if err != nil {
		p.change(func() { p.trouble = fmt.Errorf("slot %d: %w", i, err) })
	}
}

// read reads c to its end and gives what comes to next, which reports how much it used.
func (p *process) read(c *net.UnixConn, next func([]byte) (int, error)) error {
	var b []byte
	part := make([]byte, 64<<10)
	for {
		n, err := c.Read(part)
		if err != nil {
			return nil
		}
		for b = append(b, part[:n]...); len(b) > 0; {
			used, err := next(b)
			if err != nil {
				return err
			}
			if used == 0 {
				break
			}
			b = b[used:]
		}
	}
}

func receiveFile(lane *net.UnixConn) (*os.File, error) {
	var b [1]byte
	oob := make([]byte, unix.CmsgSpace(4*4))
	_, n, flags, _, err := lane.ReadMsgUnix(b[:], oob)
	if err != nil {
		return nil, err
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(messages) != 1 || flags&unix.MSG_CTRUNC != 0 {
		return nil, fmt.Errorf("%d control messages, flags %#x, %v", len(messages), flags, err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return nil, fmt.Errorf("%d descriptors, %v", len(fds), err)
	}
	return os.NewFile(uintptr(fds[0]), "received"), nil
}

// request is what a test sends.
type request struct {
	method, path, query, version string
	env                          map[string]string
	content                      []byte
	flags                        int32
	answer                       answer // what the reader has to know
}

// send puts r in the queue.
func (p *process) send(r request) (id uint64, a *answer) {
	p.t.Helper()
	id, a = p.g.id.Add(1), &r.answer
	if r.flags&wire.Stream == 0 {
		a.abortAt = -1
	}
	a.done, a.first = make(chan bool), make(chan bool, 1)
	p.mu.Lock()
	p.answers[id] = a
	p.mu.Unlock()
	if r.method == "" {
		r.method = "GET"
	}
	if r.version == "" {
		r.version = "HTTP/1.1"
	}
	var e wire.Encoder
	e.Begin()
	e.Text("REQUEST_METHOD", r.method)
	e.Text("PATH_INFO", r.path)
	e.Text("QUERY_STRING", r.query)
	e.Text("REQUEST_URI", r.path)
	e.Text("SERVER_PROTOCOL", r.version)
	e.Text("REMOTE_ADDR", "")
	e.IntPair("wsgi.version", 1, 0)
	e.Bool("wsgi.input_terminated", true)
	for k, v := range r.env {
		e.Text(k, v)
	}
	if err := e.End(r.content, r.flags); err != nil {
		p.t.Fatal(err)
	}
	if _, err := p.g.conn.Write(e.Message(id)); err != nil {
		p.t.Fatal(err)
	}
	return id, a
}

// call sends r and waits for the answer.
func (p *process) call(r request) *answer {
	p.t.Helper()
	_, a := p.send(r)
	p.finish(a)
	return a
}

func (p *process) finish(a *answer) {
	p.t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case <-a.done:
			return
		case <-p.changed:
			p.mu.Lock()
			trouble := p.trouble
			p.mu.Unlock()
			if trouble != nil {
				p.t.Fatalf("no answer: %v", trouble)
			}
		case <-timeout:
			p.t.Fatalf("no answer in %v", patience)
		}
	}
}

// get calls a path, and takes what was logged for it: of one slot, whose next request shows that the last is done.
func (p *process) get(target string) (answer, logs string) {
	p.t.Helper()
	path, query, _ := strings.Cut(target, "?")
	a := p.call(request{path: path, query: query})
	return a.String(), p.takeLogs()
}

func (p *process) takeLogs() string {
	p.t.Helper()
	if a := p.call(request{path: "/ok"}); string(a.body) != fmt.Sprint(p.cmd.Process.Pid) {
		p.t.Errorf("the next request: %v; want pid %d", a, p.cmd.Process.Pid)
	}
	p.ping()
	p.mu.Lock()
	defer p.mu.Unlock()
	logs := strings.Join(p.logs, "\n")
	p.logs = nil
	return logs
}

func (p *process) ping() {
	p.t.Helper()
	token := p.g.id.Add(1)
	p.control.Write(wire.AppendControl(nil, wire.FramePing, token))
	p.wait("PONG", func() bool { return p.pong == token })
}

// word reads a word of slot i's line.
func (p *process) word(i, word int) uint64 { return atomic.LoadUint64(&p.board[i*8+word]) }

func (p *process) setWord(i, word int, v uint64) { atomic.StoreUint64(&p.board[i*8+word], v) }
