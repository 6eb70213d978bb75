package worker

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isbjorn/isbjorn/wsgi/internal/wire"
)

// green starts a worker with gevent and the application of green.py.
func green(t *testing.T, slots int32) *process {
	t.Helper()
	return start(t, geventPython(t), wire.Config{Gevent: true, Target: "green:app", Slots: slots})
}

func (p *process) want(path, want string) {
	p.t.Helper()
	if got := p.call(request{path: path}).String(); got != want {
		p.t.Errorf("%s: %s, want %s", path, got, want)
	}
}

// gevent's patches come before all that an application imports, and it may ask for them itself.
func TestGeventPatches(t *testing.T) {
	p := green(t, 1)
	p.want("/patched", "200 OK: (0, True, 'gevent._ssl3')")
	p.control.Write(wire.AppendControl(nil, wire.FrameStop, 0))
	<-p.exited
	if p.stderr.Len() > 0 {
		t.Errorf("stderr: %s", p.stderr)
	}
}

func TestGeventMissing(t *testing.T) {
	p := newProcess(t, pythons(t)[0], newGeneration(t), wire.Config{Gevent: true, Target: "app:app", Dir: "testdata/nogevent"})
	p.wait("LOAD_ERROR", func() bool { return p.loadError != nil })
	<-p.exited
	if e := p.loadError; e[0] != "import" || !strings.Contains(e[1], "gevent is not there for ") ||
		!strings.Contains(e[2], "pip install gevent; or run without --gevent") {
		t.Errorf("%q", e)
	}
}

// Requests wait at once, each in a greenlet of the main thread.
func TestGeventAtOnce(t *testing.T) {
	const n = 1000
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	} else if limit.Max < 2*2*n+100 {
		t.Skipf("needs %d descriptors, the limit is %d", 2*2*n+100, limit.Max)
	}
	p := green(t, n)
	p.want("/hello", "200 OK: hello")
	begin := time.Now()
	var answers []*answer
	for range n {
		_, a := p.send(request{path: "/sleeps"})
		answers = append(answers, a)
	}
	for _, a := range answers {
		p.finish(a)
		if want := fmt.Sprintf("200 OK: %d", p.cmd.Process.Pid); a.String() != want {
			t.Fatalf("%v, want %s", a, want)
		}
	}
	t.Logf("%d requests of 0.5 s in %v", n, time.Since(begin))
	if took := time.Since(begin); took > n*500*time.Millisecond/10 {
		t.Errorf("%d requests of 0.5 s took %v", n, took)
	}
	// One fence is for all slots: each is free, and the worker has nothing in hand.
	fence := p.g.id.Add(1)
	p.g.conn.Write(wire.AppendFence(nil, fence))
	for end := time.Now().Add(patience); p.word(0, WordSeen) < fence || p.word(n-1, WordSeen) < fence; p.ping() {
		if time.Now().After(end) {
			t.Fatal("a free slot does not see a fence")
		}
	}
	// And one drains them all.
	for i := range n {
		p.setWord(i, WordDrain, 1)
	}
	p.g.conn.Write(wire.AppendFence(nil, p.g.id.Add(1)))
	p.wait("DRAINED", func() bool { return p.drained })
	<-p.exited
}

// A request is not taken while all slots are busy: another worker can have it.
func TestGeventTakesWhatItCanRun(t *testing.T) {
	c := wire.Config{Gevent: true, Slots: 2, Target: "app:app"}
	p := start(t, geventPython(t), c)
	gate := newGate(t)
	var answers []*answer
	for range 2 {
		_, a := p.send(request{path: "/wait", env: map[string]string{"gate": gate}})
		answers = append(answers, a)
	}
	p.wait("both requests", func() bool { return len(p.logs) == 2 })
	id, third := p.send(request{path: "/hello"})
	for range 10 {
		p.ping()
	}
	if seen := max(p.word(0, WordSeen), p.word(1, WordSeen)); seen >= id {
		t.Errorf("a worker whose slots are busy took request %d", seen)
	}
	q := newProcess(t, geventPython(t), p.g, c)
	q.mu.Lock()
	q.answers[id] = third
	q.mu.Unlock()
	q.finish(third)
	if third.String() != "200 OK: hello" || q.word(0, WordCount)+q.word(1, WordCount) != 1 {
		t.Errorf("%v, line %v", third, q.board)
	}
	openGate(t, gate)
	for _, a := range answers {
		p.finish(a)
	}
}

// What a request leaves behind in its greenlet meets no other request.
func TestGeventIsolation(t *testing.T) {
	p := green(t, 1)
	for range 5 {
		p.want("/leaves", "200 OK: left")
		p.want("/waits", "200 OK: not interrupted")
		p.want("/local", "200 OK: False")
	}
}

// A Timeout that comes while a frame is sent is raised when the frame has left.
func TestGeventTimeout(t *testing.T) {
	p := green(t, 1)
	a := p.call(request{path: "/late", answer: answer{slow: 100 * time.Millisecond}})
	if len(a.body) != 5+10000000 || a.fail == nil || !strings.Contains(a.fail[2], "0.01 seconds") {
		t.Errorf("%d bytes, %q", len(a.body), a.fail)
	}
	p.want("/hello", "200 OK: hello")
	a = p.call(request{path: "/slow_input", flags: wire.Stream, answer: answer{lateAbort: true}})
	if a.String() != "408 Request Timeout:" {
		t.Error(a)
	}
	p.want("/hello", "200 OK: hello")
}

// SystemExit of a greenlet of the application, which gevent raises in the main one, ends no worker.
func TestGeventSystemExit(t *testing.T) {
	p := green(t, 2)
	p.want("/exits", "200 OK: lives")
	p.want("/exits", "200 OK: lives")
	p.ping()
	if logs := strings.Join(p.logs, "\n"); strings.Count(logs, "SystemExit: 3") != 2 {
		t.Errorf("log: %s", logs)
	}
}

// Stacks come also while a greenlet lets no other run.
func TestGeventStacks(t *testing.T) {
	p := green(t, 3)
	sleeps, _ := p.send(request{path: "/sleeps"})
	loops, _ := p.send(request{path: "/loops"})
	p.wait("the request", func() bool { return len(p.logs) == 1 })
	p.control.Write(wire.AppendControl(nil, wire.FrameDump, 1))
	p.wait("STACKS", func() bool { return p.stacks != nil })
	for id, in := range map[uint64]string{sleeps: "in sleeps", loops: "in loops"} {
		_, text, _ := strings.Cut(p.stacks[0], fmt.Sprintf(", request %d\n", id))
		if text, _, _ = strings.Cut(text, "\n\n"); !strings.Contains(text, in) {
			t.Errorf("request %d is not %s:\n%s", id, in, p.stacks[0])
		}
	}
	p.cmd.Process.Signal(syscall.SIGKILL)
}
