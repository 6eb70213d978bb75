package dispatch

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isbjorn/isbjorn/internal/testlog"
	"github.com/isbjorn/isbjorn/internal/testrun"
	"github.com/isbjorn/isbjorn/wsgi/internal/wire"
	"github.com/isbjorn/isbjorn/wsgi/internal/worker"
)

// fakeWorker is the other side, in Go: its slots take messages from the queue when the test says so.
type fakeWorker struct {
	t      *testing.T
	q      *Queue
	number int
	words  [][8]atomic.Uint64
	data   [][2]int
	lane   [][2]int
	killed chan string
	once   sync.Once
}

func pair(t *testing.T, kind int) [2]int {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return fds
}

func newFakeWorker(t *testing.T, q *Queue, number, slots int) *fakeWorker {
	t.Helper()
	w := &fakeWorker{t: t, q: q, number: number, words: make([][8]atomic.Uint64, slots), killed: make(chan string, 1)}
	for i := range slots {
		w.data = append(w.data, pair(t, unix.SOCK_STREAM))
		w.lane = append(w.lane, pair(t, unix.SOCK_SEQPACKET))
		w.words[i][worker.WordState].Store(worker.StateIdle)
	}
	t.Cleanup(func() {
		w.die()
		for i := range slots {
			_ = unix.Close(w.data[i][0])
			_ = unix.Close(w.lane[i][0])
		}
	})
	return w
}

func (w *fakeWorker) Number() int                    { return w.number }
func (w *fakeWorker) PID() int                       { return 1000 + w.number }
func (w *fakeWorker) Slots() int                     { return len(w.words) }
func (w *fakeWorker) Data(slot int) int              { return w.data[slot][0] }
func (w *fakeWorker) Lane(slot int) int              { return w.lane[slot][0] }
func (w *fakeWorker) Load(slot, word int) uint64     { return w.words[slot][word].Load() }
func (w *fakeWorker) Store(slot, word int, v uint64) { w.words[slot][word].Store(v) }
func (w *fakeWorker) Release()                       {}
func (w *fakeWorker) Dump(done func(string))         { done("stacks of the worker") }

func (w *fakeWorker) Kill(why string) {
	select {
	case w.killed <- why:
	default:
	}
	go w.die()
}

// die closes the worker's ends, as the kernel does for a process that has ended.
func (w *fakeWorker) die() {
	w.once.Do(func() {
		for i := range w.words {
			_ = unix.Close(w.data[i][1])
			_ = unix.Close(w.lane[i][1])
		}
		w.q.Exited(w)
	})
}

// message is one that a slot has taken.
type message struct {
	w     *fakeWorker
	slot  int
	id    uint64
	fence bool
	path  string
}

// take takes one message for a slot, as the worker does; it waits for one.
func (w *fakeWorker) take(slot int) message {
	w.t.Helper()
	b := make([]byte, wire.MessageBytesMax)
	fd := int(w.q.Theirs().Fd())
	var n int
	for deadline := time.Now().Add(10 * time.Second); ; {
		var err error
		if n, _, err = unix.Recvfrom(fd, b, unix.MSG_DONTWAIT); err == nil {
			break
		}
		if time.Now().After(deadline) {
			w.t.Fatal("no message came")
		}
		time.Sleep(time.Millisecond)
	}
	m := message{w: w, slot: slot}
	if b[2] != 'i' {
		w.t.Fatalf("a message begins with %q", b[:8])
	}
	m.id = uint64(binary.LittleEndian.Uint32(b[3:]))
	m.fence = b[7] == 'N'
	if _, after, ok := bytes.Cut(b[:n], []byte("PATH_INFOz")); ok {
		m.path = string(after[1 : 1+after[0]])
	}
	if m.fence {
		w.words[slot][worker.WordSeen].Store(m.id)
	}
	return m
}

func (m message) begin() message {
	l := &m.w.words[m.slot]
	l[worker.WordStart].Store(m.w.q.monotonic(time.Now()))
	l[worker.WordCount].Add(1)
	l[worker.WordRunning].Store(m.id)
	l[worker.WordSeen].Store(m.id)
	l[worker.WordState].Store(worker.StateRunning)
	return m
}

func (m message) end() {
	m.w.words[m.slot][worker.WordRunning].Store(0)
	m.w.words[m.slot][worker.WordState].Store(worker.StateIdle)
}

// frame sends one frame.
func (m message) frame(t wire.Type, flags byte, payload string) message {
	b := binary.LittleEndian.AppendUint32(nil, uint32(len(payload)))
	b = binary.LittleEndian.AppendUint64(append(b, byte(t), flags, 0, 0), m.id)
	b = append(b, payload...)
	for len(b) > 0 {
		n, err := unix.Write(m.w.data[m.slot][1], b)
		if err != nil {
			m.w.t.Errorf("the frame of a worker: %v", err)
			return m
		}
		b = b[n:]
	}
	return m
}

func headOf(parts ...string) string {
	text := strings.Join(parts, "\x00") + "\x00"
	return string(binary.LittleEndian.AppendUint16(nil, uint16(len(text)))) + text
}

// answer sends a whole response.
func (m message) answer(content string) {
	m.frame(wire.FrameResp, 0, headOf("200 OK")+content).end()
}

// client is the caller of a request.
type client struct {
	t     *testing.T
	r     *Request
	woken chan struct{}
}

func submit(t *testing.T, q *Queue, path string) *client {
	t.Helper()
	return submitOf(t, q, path, nil)
}

// submitOf is submit for a client of which gone tells whether it has left.
func submitOf(t *testing.T, q *Queue, path string, gone func() bool) *client {
	t.Helper()
	c := &client{t: t, r: q.Get(), woken: make(chan struct{}, 1)}
	c.r.Message.Begin()
	c.r.Message.Text("PATH_INFO", path)
	if err := c.r.Message.End(nil, 0); err != nil {
		t.Fatal(err)
	}
	c.r.Line = func() string { return "GET " + path }
	c.r.Gone = gone
	c.r.Wake = func() {
		select {
		case c.woken <- struct{}{}:
		default:
		}
	}
	q.Submit(c.r, nil)
	return c
}

// wait collects the answer, until its end.
func (c *client) wait() string {
	c.t.Helper()
	var out strings.Builder
	timeout := time.After(20 * time.Second)
	for {
		p := c.r.Take()
		for _, h := range p.Interim {
			fmt.Fprintf(&out, "%d ", h.Code)
		}
		if p.Head != nil {
			fmt.Fprintf(&out, "%s:", p.Head.Status)
		}
		out.Write(p.Content)
		if p.File != nil {
			b := make([]byte, p.N)
			n, _ := p.File.ReadAt(b, p.Off)
			fmt.Fprintf(&out, "file %q", b[:n])
			_ = p.File.Close()
		}
		switch {
		case p.Failure != nil:
			return out.String() + fmt.Sprintf("failed %d: %s", p.Failure.Kind, p.Failure.Message)
		case p.End:
			return out.String()
		case len(p.Content) > 0:
			continue
		}
		select {
		case <-c.woken:
		case <-timeout:
			c.t.Fatalf("no answer; so far %q", out.String())
		}
	}
}

func (c *client) want(want string) {
	c.t.Helper()
	if got := c.wait(); got != want {
		c.t.Errorf("the answer is %q, want %q", got, want)
	}
	c.r.Release()
}

func newQueue(t *testing.T, o Options) (*Queue, *testlog.Buffer) {
	t.Helper()
	log := new(testlog.Buffer)
	if o.Log = slog.New(slog.NewTextHandler(log, nil)); o.WaitMax == 0 {
		o.WaitMax = 100
	}
	q, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(q.Close)
	return q, log
}

// Parts of an answer reach the client as they come, and the slot takes the next request.
func TestAnswers(t *testing.T) {
	t.Parallel()
	q, _ := newQueue(t, Options{})
	w := newFakeWorker(t, q, 1, 1)
	q.Ready(w)
	for _, tt := range []struct {
		name   string
		answer func(m message)
		want   string
	}{
		{"one frame", func(m message) { m.answer("content") }, "200 OK:content"},
		{"no content", func(m message) { m.answer("") }, "200 OK:"},
		{"pieces", func(m message) {
			m.frame(wire.FrameHead, 0, headOf("201 Made", "A", "b")).frame(wire.FrameBody, 0, "a")
			m.frame(wire.FrameBody, wire.FlagEnd, "b").end()
		}, "201 Made:ab"},
		{"empty end", func(m message) {
			m.frame(wire.FrameHead, 0, headOf("200 OK")).frame(wire.FrameBody, wire.FlagEnd, "").end()
		}, "200 OK:"},
		{"early hints", func(m message) {
			m.frame(wire.FrameInfo, 0, headOf("103 Early Hints", "Link", "x")).answer("c")
		}, "103 200 OK:c"},
		{"failure", func(m message) {
			m.frame(wire.FrameFail, 0, "app\x00GET /\x00ValueError: x\x00trace\n\x00").end()
		}, "failed 0: worker 1: ValueError: x\ntrace"},
		{"failure after content", func(m message) {
			m.frame(wire.FrameHead, 0, headOf("200 OK")).frame(wire.FrameBody, 0, "part")
			m.frame(wire.FrameFail, 0, "app\x00GET /\x00ValueError: x\x00\x00").end()
		}, "200 OK:partfailed 0: worker 1: ValueError: x"},
		{"large", func(m message) {
			m.frame(wire.FrameHead, 0, headOf("200 OK")).frame(wire.FrameBody, wire.FlagEnd, strings.Repeat("x", 3<<20)).end()
		}, "200 OK:" + strings.Repeat("x", 3<<20)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := submit(t, q, "/")
			m := w.take(0).begin()
			go tt.answer(m)
			if got := c.wait(); got != tt.want {
				t.Errorf("%.200q, want %.200q", got, tt.want)
			}
			c.r.Release()
			for w.Load(0, worker.WordRunning) != 0 {
				time.Sleep(time.Millisecond)
			}
		})
	}
	if s := q.Status(); s.Running != 0 || s.Waiting != 0 {
		t.Errorf("at the end %+v", s)
	}
}

// A frame that breaks a rule ends the worker, and the client gets an error.
func TestBrokenFrames(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		frame func(m message)
		rule  string
	}{
		{"unknown request", func(m message) { m.id += 7; m.frame(wire.FrameResp, 0, headOf("200 OK")) }, "not given"},
		{"unknown type", func(m message) { m.frame(99, 0, "") }, "type unknown"},
		{"malformed head", func(m message) { m.frame(wire.FrameResp, 0, headOf("200 OK", "A\r\n", "b")) }, "malformed head"},
		{"WANT", func(m message) { m.frame(wire.FrameWant, 0, "\x01\x00\x00\x00") }, "no content is streamed"},
		{"FILE without descriptor", func(m message) {
			m.frame(wire.FrameHead, 0, headOf("200 OK"))
			m.frame(wire.FrameFile, wire.FlagEnd, string(make([]byte, 8))+"\x01"+string(make([]byte, 7)))
		}, "descriptor of a FILE"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			q, _ := newQueue(t, Options{})
			w := newFakeWorker(t, q, 1, 1)
			q.Ready(w)
			c := submit(t, q, "/")
			tt.frame(w.take(0).begin())
			if got := c.wait(); !strings.Contains(got, "failed 1: worker 1 (pid 1001) died while it ran the request") {
				t.Errorf("the client gets %q", got)
			}
			c.r.Release()
			if why := <-w.killed; !strings.Contains(why, tt.rule) {
				t.Errorf("it was killed for %q, want %q", why, tt.rule)
			}
		})
	}
}

// What a worker has begun when it dies is not repeated; what it has taken and not begun is, with another worker; what
// it has answered, and is still on its way, is neither.
func TestDeath(t *testing.T) {
	t.Parallel()
	q, _ := newQueue(t, Options{})
	first := newFakeWorker(t, q, 1, 3)
	q.Ready(first)
	begun, taken, queued := submit(t, q, "/begun"), submit(t, q, "/taken"), submit(t, q, "/queued")
	first.take(0).begin()
	if m := first.take(1); m.path != "/taken" {
		t.Fatalf("took %q", m.path)
	}
	second := newFakeWorker(t, q, 2, 1)
	q.Ready(second)
	first.die()
	begun.want("failed 1: worker 1 (pid 1001) died while it ran the request")
	answer := func(want string) {
		for {
			if m := second.take(0); !m.fence {
				if m.path != want {
					t.Errorf("took %q, want %q", m.path, want)
				}
				m.begin().answer(want)
				return
			}
		}
	}
	answer("/queued")
	queued.want("200 OK:/queued")
	answer("/taken")
	taken.want("200 OK:/taken")
	if s := q.Status(); s.Running != 0 || s.Waiting != 0 || s.Slots != 1 {
		t.Errorf("at the end %+v", s)
	}
}

// A slot that lives may have a message in hand and wait: its request is not given out twice.
func TestSlowSlotKeepsItsRequest(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "waits for timers")
	q, _ := newQueue(t, Options{})
	first, second := newFakeWorker(t, q, 1, 1), newFakeWorker(t, q, 2, 2)
	q.Ready(first)
	q.Ready(second)
	a := submit(t, q, "/a")
	m := second.take(0) // not begun: it waits for the GIL
	first.die()
	for seen := 0; seen < 20; { // the other slot sees fences
		if m := second.take(1); m.fence {
			seen++
		} else {
			t.Fatalf("given out twice: %q", m.path)
		}
	}
	m.begin().answer("once")
	a.want("200 OK:once")
}

// A second worker dies while the requests of the first are looked for: what came between is not given out twice.
func TestSecondDeath(t *testing.T) {
	t.Parallel()
	q, _ := newQueue(t, Options{})
	first, other, last := newFakeWorker(t, q, 1, 1), newFakeWorker(t, q, 2, 1), newFakeWorker(t, q, 3, 1)
	for _, w := range []*fakeWorker{first, other, last} {
		q.Ready(w)
	}
	lost := submit(t, q, "/lost")
	first.take(0)
	first.die()
	m := last.take(0) // the fence
	if !m.fence {
		t.Fatalf("took %q", m.path)
	}
	runs := submit(t, q, "/runs")
	for m.fence {
		m = last.take(0)
	}
	m.begin()
	waits := submit(t, q, "/waits")
	other.die()
	for looked := false; !looked; time.Sleep(time.Millisecond) {
		q.mu.Lock()
		looked = q.suspects == 0 || q.fence > waits.r.id
		q.mu.Unlock()
	}
	taken := map[string]int{}
	for m.answer(m.path); taken["/lost"] == 0 || taken["/waits"] == 0; {
		if m = last.take(0); !m.fence {
			taken[m.path]++
			m.begin().answer(m.path)
		}
	}
	runs.want("200 OK:/runs")
	lost.want("200 OK:/lost")
	waits.want("200 OK:/waits")
	if taken["/lost"] != 1 || taken["/waits"] != 1 {
		t.Errorf("taken: %v", taken)
	}
}

// A request that is lost with each worker does not meet workers for ever.
func TestLostAgain(t *testing.T) {
	t.Parallel()
	q, _ := newQueue(t, Options{})
	c := submit(t, q, "/")
	for i := range triesMax {
		w := newFakeWorker(t, q, i, 1)
		q.Ready(w)
		for w.take(0).fence {
		}
		w.die()
	}
	w := newFakeWorker(t, q, 9, 1)
	q.Ready(w)
	w.take(0) // the fence
	c.want(fmt.Sprintf("failed 1: the request was lost with %d workers that died", triesMax))
}

// Requests wait within limits of number and time, and for workers that are not there.
func TestLimits(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "waits for timers")
	q, _ := newQueue(t, Options{WaitMax: 1, WaitTimeout: 200 * time.Millisecond, BootTimeout: 300 * time.Millisecond})
	early := submit(t, q, "/early")
	if got := early.wait(); !strings.Contains(got, "failed 2: no worker is there since") {
		t.Errorf("without a worker %q", got)
	}
	early.r.Release()
	w := newFakeWorker(t, q, 1, 1)
	q.Ready(w)
	running := submit(t, q, "/running")
	m := w.take(0).begin()
	var out []*client
	for q.Status().Waiting == 0 {
		out = append(out, submit(t, q, "/next"))
	}
	more := submit(t, q, "/more")
	if got := more.wait(); !strings.Contains(got, "failed 2: 1 requests wait already (worker_queue); all 1 slots") {
		t.Errorf("over the limit %q", got)
	}
	more.r.Release()
	last := out[len(out)-1]
	if got := last.wait(); !strings.Contains(got, "failed 2: no worker was free for 200ms") {
		t.Errorf("too long %q", got)
	}
	last.r.Release()
	m.answer("done")
	running.want("200 OK:done")
	for _, c := range out[:len(out)-1] { // in the kernel, for as long
		if got := c.wait(); !strings.Contains(got, "failed 2: no worker was free for 200ms") {
			t.Errorf("in the kernel %q", got)
		}
		c.r.Release()
	}
}

// Requests of clients that have closed their sending side make room for others when the queue is full.
func TestRoom(t *testing.T) {
	t.Parallel()
	q, _ := newQueue(t, Options{WaitMax: 20})
	w := newFakeWorker(t, q, 1, 1)
	q.Ready(w)
	running := submit(t, q, "/running")
	m := w.take(0).begin()
	var left atomic.Bool
	var waiting []*client
	for n := 0; q.Status().Waiting < 20; n++ {
		gone := func() bool { return false }
		if n%3 > 0 {
			gone = left.Load
		}
		waiting = append(waiting, submitOf(t, q, fmt.Sprintf("/%d", n), gone))
	}
	if got := submit(t, q, "/more").wait(); !strings.Contains(got, "20 requests wait already") {
		t.Errorf("over the limit %q", got)
	}
	left.Store(true)
	var more *client
	for more == nil { // it looks once a tick
		c := submit(t, q, "/another")
		if q.Status().Waiting == 20 {
			c.wait()
			c.r.Release()
		} else {
			more = c
		}
	}
	for n, c := range waiting {
		if n%3 > 0 && n >= len(waiting)-20 { // the others are in the kernel
			if got := c.wait(); !strings.Contains(got, "the queue is full") {
				t.Errorf("%d: %q", n, got)
			}
			c.r.Release()
		}
	}
	m.answer("done")
	running.want("200 OK:done")
	for m.path != "/another" {
		m = w.take(0)
		m.begin().answer(m.path)
	}
	more.want("200 OK:/another")
}

// The client that leaves ends what waits; what runs is told by the scoreboard, and what the slot then sends is dropped.
func TestClientLeaves(t *testing.T) {
	t.Parallel()
	q, _ := newQueue(t, Options{})
	w := newFakeWorker(t, q, 1, 1)
	waits := submit(t, q, "/waits")
	waits.r.Release()
	q.Ready(w)
	runs := submit(t, q, "/runs")
	m := w.take(0).begin()
	if m.path != "/runs" {
		t.Fatalf("took %q, whose client has left", m.path)
	}
	runs.r.Release()
	if got := w.Load(0, worker.WordCancel); got != m.id {
		t.Errorf("CANCEL is %d, want %d", got, m.id)
	}
	next := submit(t, q, "/next") // it goes to the kernel before the slot is free
	m.frame(wire.FrameHead, 0, headOf("200 OK")).frame(wire.FrameBody, 0, "dropped")
	m.frame(wire.FrameFail, 0, "gone\x00GET /\x00x\x00\x00").end()
	w.take(0).begin().answer("next")
	next.want("200 OK:next")

	// In the kernel: the slot is told when it begins.
	running, queued := submit(t, q, "/1"), submit(t, q, "/2")
	m = w.take(0).begin()
	queued.r.Release()
	m.answer("1")
	running.want("200 OK:1")
	m = w.take(0).begin()
	for deadline := time.Now().Add(10 * time.Second); w.Load(0, worker.WordCancel) != m.id; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the slot is not told")
		}
	}
	m.answer("2")
}

// A request that runs too long has its answer, its stacks are in the log, and its worker is replaced if it does not
// end. One that gives content runs on.
func TestTimeout(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "waits for timers")
	replaced := make(chan string, 1)
	q, log := newQueue(t, Options{Timeout: 300 * time.Millisecond, Replace: func(w Worker, why string) { replaced <- why }})
	q.stuck = 500 * time.Millisecond
	w := newFakeWorker(t, q, 1, 2)
	q.Ready(w)
	stream, hangs := submit(t, q, "/stream"), submit(t, q, "/hangs")
	s, h := w.take(0).begin(), w.take(1).begin()
	s.frame(wire.FrameHead, 0, headOf("200 OK"))
	got := hangs
	for done := false; !done; {
		s.frame(wire.FrameBody, 0, "x")
		select {
		case <-got.woken:
			done = true
		case <-time.After(20 * time.Millisecond):
		}
	}
	if got := hangs.wait(); !strings.Contains(got, "failed 3: GET /hangs has run for ") {
		t.Errorf("%q", got)
	}
	hangs.r.Release()
	s.frame(wire.FrameBody, wire.FlagEnd, "").end()
	if got := stream.wait(); strings.Contains(got, "failed") {
		t.Errorf("the stream ended by %q", got)
	}
	stream.r.Release()
	if text := log.String(); !strings.Contains(text, "stacks of the worker") || !strings.Contains(text, "GET /hangs") {
		t.Errorf("the log is %s", text)
	}
	if why := <-replaced; !strings.Contains(why, "does not end") {
		t.Errorf("replaced since %q", why)
	}
	h.end()
}

// A worker that drains loses no request: a slot that has taken one hands it back.
func TestDrain(t *testing.T) {
	t.Parallel()
	q, _ := newQueue(t, Options{})
	w := newFakeWorker(t, q, 1, 1)
	q.Ready(w)
	c := submit(t, q, "/")
	m := w.take(0)
	q.Drain(w)
	if w.Load(0, worker.WordDrain) == 0 {
		t.Fatal("DRAIN is not set")
	}
	m.frame(wire.FrameReturn, 0, "")
	w.words[0][worker.WordState].Store(worker.StateGone)
	w.die()
	second := newFakeWorker(t, q, 2, 1)
	q.Ready(second)
	for {
		if m := second.take(0); !m.fence {
			m.begin().answer("second")
			break
		}
	}
	c.want("200 OK:second")
	select {
	case why := <-w.killed:
		t.Errorf("it was killed: %s", why)
	default:
	}
}

// A client that takes nothing holds no slot while its answer fits the file, and gets all of it.
func TestSlowClient(t *testing.T) {
	t.Parallel()
	q, _ := newQueue(t, Options{TempDir: t.TempDir()})
	w := newFakeWorker(t, q, 1, 1)
	q.Ready(w)
	c := submit(t, q, "/large")
	m := w.take(0).begin()
	var want strings.Builder
	m.frame(wire.FrameHead, 0, headOf("200 OK"))
	for i := range 300 {
		part := strings.Repeat(string(rune('a'+i%26)), 50_000)
		want.WriteString(part)
		m.frame(wire.FrameBody, 0, part) // it would block if nobody read
	}
	m.frame(wire.FrameBody, wire.FlagEnd, "").end()
	next := submit(t, q, "/next")
	w.take(0).begin().answer("next")
	next.want("200 OK:next")
	if got := c.wait(); got != "200 OK:"+want.String() {
		t.Errorf("%d bytes came of %d", len(got), want.Len())
	}
	c.r.Release()
}

// Shutdown answers what waits, and what the workers have ends as ever.
func TestShutdown(t *testing.T) {
	t.Parallel()
	q, _ := newQueue(t, Options{})
	w := newFakeWorker(t, q, 1, 1)
	q.Ready(w)
	c := submit(t, q, "/")
	m := w.take(0).begin()
	q.Shutdown()
	submit(t, q, "/late").want("failed 2: the application ends")
	m.answer("x")
	c.want("200 OK:x")
}

// A slot whose application does not return from close() has its worker replaced, although the client has its answer.
func TestCloseHangs(t *testing.T) {
	t.Parallel()
	replaced := make(chan string, 2)
	q, _ := newQueue(t, Options{Timeout: 200 * time.Millisecond, Replace: func(w Worker, why string) { replaced <- why }})
	q.stuck = 100 * time.Millisecond
	w := newFakeWorker(t, q, 1, 1)
	q.Ready(w)
	c := submit(t, q, "/")
	w.take(0).begin().frame(wire.FrameResp, 0, headOf("200 OK"))
	c.want("200 OK:")
	other := submit(t, q, "/") // sweep runs while there is something to do
	if why := <-replaced; !strings.Contains(why, "close() does not return") {
		t.Errorf("replaced since %q", why)
	}
	other.r.Release()
}

// A request in the kernel's queue waits no longer than one in ours, when no worker takes it.
func TestKernelLimits(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "waits for timers")
	q, _ := newQueue(t, Options{WaitTimeout: 300 * time.Millisecond, BootTimeout: 300 * time.Millisecond})
	w := newFakeWorker(t, q, 1, 1)
	q.Ready(w)
	running, waits := submit(t, q, "/running"), submit(t, q, "/waits")
	m := w.take(0).begin()
	if got := waits.wait(); !strings.Contains(got, "failed 2: no worker was free for 300ms") {
		t.Errorf("behind a busy slot: %q", got)
	}
	waits.r.Release()
	m.answer("late")
	running.want("200 OK:late")
	m = w.take(0).begin() // the one that has its answer
	for deadline := time.Now().Add(10 * time.Second); w.Load(0, worker.WordCancel) != m.id; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the slot is not told that nobody waits")
		}
	}
	m.frame(wire.FrameFail, 0, "gone\x00GET /\x00x\x00\x00").end()

	lost := submit(t, q, "/lost")
	w.take(0)
	w.die()
	if got := lost.wait(); !strings.Contains(got, "failed 2: no worker is there since 300ms") {
		t.Errorf("without a worker: %q", got)
	}
	lost.r.Release()
}
