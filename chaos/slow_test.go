package chaos

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

var (
	slow    = flag.Duration("slow", 0, "how long each kind of slow client goes on; 0 skips them. Needs slowhttptest (Debian: apt-get install slowhttptest)")
	slowest = flag.Duration("slowest", 100*time.Millisecond, "what no answer to another client may take longer than meanwhile")
)

const slowClients = 1000

// Slow clients, a thousand at a time, in the three ways of slowhttptest: heads and
// contents that never end, and answers that are hardly read. Meanwhile every request
// of another client, on a connection of its own or on one that is kept, is answered
// right and soon.
func TestSlowClients(t *testing.T) {
	if *slow == 0 {
		t.Skip("it takes long; ask for it by -slow 20s")
	}
	tool, err := exec.LookPath("slowhttptest")
	if err != nil {
		t.Fatalf("%v; on Debian: apt-get install slowhttptest", err)
	}
	bin := t.TempDir()
	// Without the race detector: this is about time.
	if out, err := exec.Command("go", "build", "-o", bin+string(filepath.Separator), "../examples/hello", "../examples/echo").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	for _, mode := range []struct {
		name, example string
		args          []string
	}{
		{"slow heads", "hello", []string{"-H", "-i", "2", "-x", "24"}},
		{"slow contents", "echo", []string{"-B", "-i", "2", "-x", "24", "-s", "100000"}},
		{"slow readers", "hello", []string{"-X", "-w", "1", "-y", "512", "-n", "2", "-z", "32", "-k", "10"}},
	} {
		t.Run(mode.name, func(t *testing.T) {
			p := start(t, filepath.Join(bin, mode.example), "127.0.0.1:0")
			content := ""
			if mode.example == "echo" {
				content = strings.Repeat("content ", 100)
			}
			seconds := strconv.Itoa(max(1, int(*slow/time.Second)))
			args := append(mode.args, "-u", "http://"+p.addr+"/", "-c", strconv.Itoa(slowClients), "-r", strconv.Itoa(slowClients/2), "-l", seconds, "-v", "1")
			var said bytes.Buffer
			attack := exec.Command(tool, args...)
			attack.Stdout, attack.Stderr = &said, &said
			before := p.descriptors()
			if err := attack.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- attack.Wait() }()
			limit := time.AfterFunc(*slow+5*time.Second, func() { _ = attack.Process.Kill() })
			defer limit.Stop()

			probes, most, worst := 0, 0, time.Duration(0)
			kept := &probe{addr: p.addr, content: content}
			for running := true; running; {
				select {
				case err := <-ended:
					if running = false; err != nil {
						t.Errorf("slowhttptest: %v\n%s", err, said.String())
					}
				case <-time.After(5 * time.Millisecond):
				}
				for _, c := range []*probe{kept, {addr: p.addr, content: content, once: true}} {
					took, err := c.request()
					if err != nil || took > *slowest {
						t.Errorf("a request took %v, want at most %v; %v", took, *slowest, err)
					}
					probes++
					worst = max(worst, took)
				}
				most = max(most, p.descriptors()-before)
				if t.Failed() {
					_ = attack.Process.Kill()
				}
			}
			kept.close()
			t.Logf("%s: %d requests of others, the slowest answered in %v; %d connections at once", mode.name, probes, worst.Round(10*time.Microsecond), most)
			if most < slowClients*9/10 {
				t.Errorf("only %d of %d slow clients have come\n%s", most, slowClients, said.String())
			}
			p.wantDescriptors(before)
			p.stop()
		})
	}
}

// probe is a client that asks, and looks at the answer.
type probe struct {
	addr    string
	content string // to be echoed; GET and a greeting without
	once    bool   // a connection for each request

	c net.Conn
	r *bufio.Reader
}

// request takes the time from the first byte, connecting included, to the last.
func (p *probe) request() (took time.Duration, err error) {
	began := time.Now()
	defer func() { took = time.Since(began) }()
	if p.once {
		defer p.close()
	}
	if p.c == nil {
		if p.c, err = net.DialTimeout("tcp", p.addr, *patience); err != nil {
			return 0, err
		}
		p.r = bufio.NewReader(p.c)
	}
	_ = p.c.SetDeadline(began.Add(*patience))
	want, request := "Hello, World!", "GET / HTTP/1.1\r\nHost: h\r\n\r\n"
	if p.content != "" {
		want, request = p.content, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: "+strconv.Itoa(len(p.content))+"\r\n\r\n"+p.content
	}
	if _, err := io.WriteString(p.c, request); err != nil {
		return 0, err
	}
	a, err := readAnswer(p.r, http.MethodPost)
	if err == nil && (a.status != http.StatusOK || string(a.content) != want) {
		err = fmt.Errorf("answered %d %.80q", a.status, a.content)
	}
	return 0, err
}

func (p *probe) close() {
	if p.c != nil {
		_ = p.c.Close()
		p.c = nil
	}
}
