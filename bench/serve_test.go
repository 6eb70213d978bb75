package bench

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"github.com/isbjorn/isbjorn/internal/benchmark"
	"github.com/isbjorn/isbjorn/server"
)

// BenchmarkServe is the whole server over loopback TCP, with net/http beside it, each in
// a process of its own. One operation is one request; four connections for each core
// send depth of them at once. The time is that of both sides, cpu-us/req that of the
// server alone; what is allocated is the client's.
func BenchmarkServe(b *testing.B) {
	for _, by := range []string{"isbjorn", "nethttp"} {
		for i := range scenarios {
			sc := &scenarios[i]
			var p *process // for as many runs as it takes, unless they leave a trace
			stop := func() {
				if p != nil {
					p.stop(b)
					p = nil
				}
			}
			b.Run("server="+by+"/"+sc.name, func(b *testing.B) {
				if p == nil {
					p = startProcess(b, by+"/"+sc.app)
				}
				if sc.fresh {
					defer stop()
				}
				drive := sc.drive
				if drive == nil {
					drive = driveKept
				}
				b.SetBytes(sc.bytes())
				b.ReportAllocs()
				if err := drive(b, p, sc); err != nil {
					b.Fatal(err)
				}
				if by == "isbjorn" {
					b.ReportMetric(float64(p.processors), "GOMAXPROCS")
				}
			})
			stop()
		}
	}
}

// connsPerCore are the connections side by side: with one for each core a server would
// mostly wait.
const connsPerCore = 4

// driveKept sends requests on connections that are kept.
func driveKept(b *testing.B, p *process, sc *scenario) error {
	want, err := learn(p.addr, sc)
	if err != nil {
		return err
	}
	in := []byte(strings.Repeat(sc.request, sc.depth))
	type client struct {
		net.Conn
		out []byte
	}
	clients := make(chan client, connsPerCore*runtime.GOMAXPROCS(0))
	for range cap(clients) {
		c, err := net.Dial("tcp", p.addr)
		if err != nil {
			return err
		}
		defer c.Close()
		clients <- client{c, make([]byte, want.size*sc.depth)}
	}
	b.SetParallelism(connsPerCore)
	meter := benchmark.Start(b, p.pid())
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		c := <-clients
		for more := true; more; {
			n := 0
			for n < sc.depth && pb.Next() {
				n++
			}
			more = n == sc.depth
			if err := want.exchange(c.Conn, in[:n*len(sc.request)], c.out[:n*want.size]); err != nil {
				b.Error(err)
				return
			}
		}
	})
	meter.Report(b)
	return nil
}

// driveShort opens a connection for each request.
func driveShort(b *testing.B, p *process, sc *scenario) error {
	want, err := learn(p.addr, sc)
	if err != nil {
		return err
	}
	in := []byte(sc.request)
	b.SetParallelism(connsPerCore)
	meter := benchmark.Start(b, p.pid())
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		out := make([]byte, want.size+1) // the end comes behind the answer
		for pb.Next() {
			if err := want.only(p.addr, in, out); err != nil {
				b.Error(err)
				return
			}
		}
	})
	meter.Report(b)
	return nil
}

// idleConns is small enough for any limit of open files.
const idleConns = 1000

// driveBesideIdle sends requests on one connection, beside those that are idle, and says
// what these take.
func driveBesideIdle(b *testing.B, p *process, sc *scenario) error {
	want, err := learn(p.addr, sc)
	if err != nil {
		return err
	}
	in, out := []byte(sc.request), make([]byte, want.size)
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			_ = c.Close()
		}
	}()
	before, err := p.memory()
	if err != nil {
		return err
	}
	for range idleConns {
		c, err := net.Dial("tcp", p.addr)
		if err != nil {
			return err
		}
		conns = append(conns, c)
		if err := want.exchange(c, in, out); err != nil {
			return err
		}
	}
	after, err := p.memory()
	if err != nil {
		return err
	}
	meter := benchmark.Start(b, p.pid())
	for b.Loop() {
		if err := want.exchange(conns[0], in, out); err != nil {
			return err
		}
	}
	meter.Report(b)
	b.ReportMetric(float64(after-before)/idleConns, "B/conn")
	return nil
}

// answer is what the bytes of all answers have in common: they differ in their Date.
type answer struct {
	size        int // bytes
	first, last []byte
}

// learn has one request answered and reads it as a client does.
func learn(addr string, sc *scenario) (*answer, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, sc.request); err != nil {
		return nil, err
	}
	var raw bytes.Buffer
	if err := sc.readAnswers(io.TeeReader(c, &raw), 1); err != nil {
		return nil, err
	}
	const compared = 16
	b := raw.Bytes()
	return &answer{len(b), b[:compared], b[len(b)-compared:]}, nil
}

// check looks at whole answers.
func (a *answer) check(b []byte) error {
	for ; len(b) > 0; b = b[a.size:] {
		if !bytes.HasPrefix(b, a.first) || !bytes.HasSuffix(b[:a.size], a.last) {
			return fmt.Errorf("wrong answer: %.1000q", b[:a.size])
		}
	}
	return nil
}

// exchange writes requests and reads so many answers that out is full.
func (a *answer) exchange(c net.Conn, in, out []byte) error {
	if _, err := c.Write(in); err != nil {
		return err
	}
	if n, err := io.ReadFull(c, out); err != nil {
		return fmt.Errorf("after %d of %d bytes of the answers: %w", n, len(out), err)
	}
	return a.check(out)
}

// only is exchange for a connection that ends behind the answer. out has room for more.
func (a *answer) only(addr string, in, out []byte) error {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Write(in); err != nil {
		return err
	}
	if n, err := io.ReadFull(c, out); n != a.size || err != io.ErrUnexpectedEOF {
		return fmt.Errorf("an answer of %d bytes, want %d, and then %v, want the end", n, a.size, err)
	}
	return a.check(out[:a.size])
}

// serverVariable says what the server is to be, where this program is to be one:
// isbjorn/hello, say.
const serverVariable = "BENCH_ISBJORN_SERVER"

// profilesVariable names a directory in which each server leaves a profile of its CPU time.
const profilesVariable = "BENCH_ISBJORN_PROFILES"

// serverMain serves on a port of its own until its input ends. It says where, and on how
// many processors; a line of input asks for the bytes in use.
func serverMain(what string) error {
	by, name, _ := strings.Cut(what, "/")
	app, ok := applications[name]
	if !ok {
		return fmt.Errorf("%s=%s: no such application", serverVariable, what)
	}
	if dir := os.Getenv(profilesVariable); dir != "" {
		f, err := os.CreateTemp(dir, by+"-"+name+"-*.pprof")
		if err != nil {
			return fmt.Errorf("%s: %w", profilesVariable, err)
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	var addr net.Addr
	switch by {
	case "isbjorn":
		s, err := server.New(app.isbjorn, server.Options{Logger: quiet})
		if err != nil {
			return err
		}
		if addr, err = s.Listen("127.0.0.1:0"); err != nil {
			return err
		}
	case "nethttp":
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		addr = l.Addr()
		go func() { _ = http.Serve(l, app.nethttp) }()
	default:
		return fmt.Errorf("%s=%s: no such server", serverVariable, what)
	}
	fmt.Println(addr, runtime.GOMAXPROCS(0))
	for input := bufio.NewScanner(os.Stdin); input.Scan(); {
		fmt.Println(inUse())
	}
	return nil
}

// inUse is the memory that objects and stacks take, in bytes. The resident memory would
// have in it what the collector lets lie.
func inUse() uint64 {
	for range 2 { // pools keep things for one
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}

// process is a server in a process of its own. It ends when the benchmark does, in
// whatever way, since its input ends then.
type process struct {
	cmd        *exec.Cmd
	ask        io.WriteCloser // its input
	says       *bufio.Reader  // its output
	addr       string
	processors int // GOMAXPROCS
}

func startProcess(b *testing.B, what string) *process {
	b.Helper()
	cmd := exec.Command(filePath)
	cmd.Env = append(os.Environ(), serverVariable+"="+what,
		"GORACE=atexit_sleep_ms=0") // the race detector's second before the end
	cmd.Stderr = os.Stderr
	p := &process{cmd: cmd, ask: must(cmd.StdinPipe()), says: bufio.NewReader(must(cmd.StdoutPipe()))}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	if _, err := fmt.Fscanln(p.says, &p.addr, &p.processors); err != nil {
		p.stop(b)
		b.Fatalf("%s does not listen: %v", what, err)
	}
	return p
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// memory is what it has in use, in bytes.
func (p *process) memory() (n int, err error) {
	if _, err := fmt.Fprintln(p.ask); err != nil {
		return 0, err
	}
	_, err = fmt.Fscanln(p.says, &n)
	return n, err
}

// stop ends it, and fails if it has ended otherwise.
func (p *process) stop(b *testing.B) {
	b.Helper()
	_ = p.ask.Close()
	if err := p.cmd.Wait(); err != nil {
		b.Errorf("the server: %v", err)
	}
}
