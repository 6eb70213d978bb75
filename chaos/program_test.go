package chaos

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	// heapGrowthMiB is how much more may be alive in the server's heap at the
	// end. What it keeps for later is bounded: 256 exchanges of about 2 KiB for
	// each loop, and what sync.Pool holds until two collections are over.
	heapGrowthMiB = 4

	// residentGrowthMiB is the same for the memory that the kernel counts. The
	// race detector never gives its shadow memory back, so this is the peak of
	// the run: a dozen large contents, with the collector's headroom, times five
	// for the shadow. Growth of 10 to 30 MiB is usual.
	residentGrowthMiB = 128
)

// program is an example that runs.
type program struct {
	t      *testing.T
	cmd    *exec.Cmd
	addr   string
	stdout *bufio.Scanner
	exited chan struct{} // closed when it has, and err may be read
	err    error

	mu          sync.Mutex
	log         strings.Builder // stderr without the lines of the collector, about TLS and about refusals
	collections int
	heap        int // MiB alive after the last one
}

// start starts an example and waits until it listens. It ends with the test.
func start(t *testing.T, path, listen string) *program {
	t.Helper()
	p := &program{t: t, cmd: exec.Command(path, "-addr", listen), exited: make(chan struct{})}
	// The collector reports what is alive, and comes often: a view that outlives
	// its memory shows sooner.
	p.cmd.Env = append(os.Environ(), "GODEBUG=gctrace=1", "GOGC=50")
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said := make(chan struct{})
	go func() { // it may read the log to its end before Wait closes the pipe
		p.readLog(bufio.NewReader(stderr))
		close(said)
	}()
	p.stdout = bufio.NewScanner(stdout)
	p.stdout.Scan()
	go func() {
		for p.stdout.Scan() {
		}
		<-said
		p.err = p.cmd.Wait()
		close(p.exited)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // an error says that it has ended
		<-p.exited
		if p.log.Len() > 0 {
			t.Errorf("its log is not empty:\n%.8000s", p.log.String())
		}
	})
	var ok bool
	if p.addr, ok = strings.CutPrefix(p.stdout.Text(), "listening on http://"); !ok {
		t.Fatalf("the first line is %q, want listening on http://...", p.stdout.Text())
	}
	return p
}

// A line of the collector: "gc 5 @0.1s 0%: ... ms cpu, 4->4->1 MB, 4 MB goal, ... 2 P".
var collection = regexp.MustCompile(`^gc \d+ @.*->(\d+) MB, \d+ MB goal, .* P( \(forced\))?\n$`)

// A line of the server begins with the time. It is written as one, the
// collector's are written in pieces: one of the server's may come between two.
var logged = regexp.MustCompile(`\d{4}/\d\d/\d\d \d\d:\d\d:\d\d [A-Z]+ `)

const logBytesMax = 64 << 10

// plainPort is in the line about clients that speak TLS.
const plainPort = "a client speaks TLS to a port that does not"

// refused and dropped are in the lines about requests that the server refuses, and about
// more of them than the log takes.
const (
	refused = "INFO request refused"
	dropped = "lines of the log were dropped"
)

// blocks is in the line about an application that blocks its loop.
const blocks = "workers run all requests until it no longer blocks"

func (p *program) readLog(r *bufio.Reader) {
	other := "" // what is not the server's, since the last end of a line of it
	for {
		line, err := r.ReadString('\n')
		server := ""
		if at := logged.FindStringIndex(line); at != nil {
			line, server = line[:at[0]], line[at[0]:]
		}
		other += line
		p.mu.Lock()
		switch {
		case strings.Contains(server, plainPort), strings.Contains(server, refused), strings.Contains(server, dropped):
			// one of our clients did
		case strings.Contains(server, blocks) && filepath.Base(p.cmd.Path) == "bridge":
			// it is meant to
		default:
			p.keep(server)
		}
		if m := collection.FindStringSubmatch(other); m != nil {
			p.collections++
			p.heap, _ = strconv.Atoi(m[1])
			other = ""
		} else if strings.HasSuffix(other, "\n") || err != nil {
			p.keep(other)
			other = ""
		}
		p.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// keep adds to the log, while it is not too long.
func (p *program) keep(line string) {
	if p.log.Len() < logBytesMax {
		p.log.WriteString(line)
	}
}

// The server's lines may come between any two pieces of a line of the
// collector's; none of either is lost, and nothing else is taken for one.
func TestReadLog(t *testing.T) {
	const (
		gc      = "gc 7 @0.1s 0%: 0.1+1.0+0.1 ms clock, 0.1+0.1/0.2/0.3+0.1 ms cpu, 4->5->3 MB, 5 MB goal, 0 MB stacks, 0 MB globals, 2 P\n"
		tls     = "2026/01/02 03:04:05 WARN " + plainPort + "\n"
		failure = "2026/01/02 03:04:05 ERROR the application failed error=\"its end\"\n"
	)
	for at := range len(gc) {
		for _, say := range []string{tls, failure, failure + tls, tls + failure + failure} {
			p := &program{cmd: exec.Command("hello")}
			p.readLog(bufio.NewReader(strings.NewReader(gc + gc[:at] + say + gc[at:] + gc + "panic: here")))
			want := strings.ReplaceAll(say, tls, "") + "panic: here"
			if p.collections != 3 || p.heap != 3 || p.log.String() != want {
				t.Fatalf("%q at %d of a line of the collector: %d collections, %d MiB, log %q; want 3, 3, %q",
					say, at, p.collections, p.heap, p.log.String(), want)
			}
		}
	}
}

// alive says whether it still runs.
func (p *program) alive() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// good wants good requests to be answered.
func (p *program) good(newJob func(int64) *job) {
	p.t.Helper()
	j := newJob(-1)
	defer j.close()
	if err := whole(j); err != nil {
		p.t.Fatalf("a good request: %v%s", err, j.traffic())
	}
}

// collect makes the server allocate until its collector has come three times:
// the first may have begun before the clients left, the second and the third
// empty its pools.
func (p *program) collect(newJob func(int64) *job) {
	p.t.Helper()
	collections := func() int {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.collections
	}
	j := newJob(-2)
	defer j.close()
	c := j.client()
	if err := c.connect(); err != nil {
		p.t.Fatal(err)
	}
	head := "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 300000\r\n\r\n"
	for last := collections() + 3; collections() < last; {
		// Head and content come apart, so that the content is copied.
		c.sending([][]byte{[]byte(head), make([]byte, 300000)}, time.Millisecond, nil)
		a, err := readAnswer(c.r, "POST")
		if err != nil || a.status != 200 {
			p.t.Fatalf("POST: %+v, %v", a, err)
		}
		c.writer.Wait()
	}
}

// usage is memory in MiB.
type usage struct{ heap, resident int }

func (p *program) usage() usage {
	p.mu.Lock()
	defer p.mu.Unlock()
	return usage{heap: p.heap, resident: residentMiB(p.cmd.Process.Pid)}
}

func (p *program) descriptors() int { return openDescriptors(p.cmd.Process.Pid) }

// wantDescriptors waits until there are as many as before, or fewer.
func (p *program) wantDescriptors(before int) {
	p.t.Helper()
	now := 0
	for limit := time.Now().Add(*settle); time.Now().Before(limit); time.Sleep(10 * time.Millisecond) {
		if now = p.descriptors(); now <= before {
			return
		}
	}
	p.t.Errorf("%d descriptors before, %d still open %v after all clients have left", before, now, *settle)
}

// stop wants an orderly end.
func (p *program) stop() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Errorf("SIGTERM: %v", err)
	}
	select {
	case <-p.exited:
	case <-time.After(*patience):
		p.t.Fatalf("still running %v after SIGTERM", *patience)
	}
	if p.err != nil { // nil is exit status 0
		p.t.Errorf("after SIGTERM: %v, want exit status 0", p.err)
	}
}
