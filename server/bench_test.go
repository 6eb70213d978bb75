package server

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/internal/benchmark"
	"github.com/isbjorn/isbjorn/loop"
	"github.com/isbjorn/isbjorn/server/internal/respond"
)

// What is measured here are parts that package bench has little or nothing of: they
// could get worse unseen.

// Every benchmark works, and reports what benchstat can read.
func TestBenchmarks(t *testing.T) { benchmark.Verify(t) }

// benchServer makes a server that is closed with b.
func benchServer(b *testing.B, app gateway.App, options Options) *Server {
	b.Helper()
	s, err := New(app, options.with(Options{Loops: 1, Logger: slog.New(slog.DiscardHandler)}))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(s.Close)
	return s
}

// exchanges measures a request that comes in these reads, in memory. Its answer begins
// and ends like this.
func exchanges(b *testing.B, app gateway.App, first, last string, reads ...string) {
	m := benchServer(b, app, Options{}).openMemory()
	var in [][]byte
	for _, read := range reads {
		in = append(in, []byte(read))
	}
	b.ReportAllocs()
	meter := benchmark.Start(b, 0)
	for b.Loop() {
		m.Out = m.Out[:0]
		for _, read := range in {
			m.Feed(read)
		}
	}
	meter.Report(b)
	if !bytes.HasPrefix(m.Out, []byte(first)) || !bytes.HasSuffix(m.Out, []byte(last)) || bytes.Count(m.Out, []byte("HTTP/1.1 ")) != strings.Count(first, "HTTP/1.1 ") {
		b.Errorf("answered %q", m.Out)
	}
}

// BenchmarkStart is what a response head costs: little if it is that of the response
// before, which is all that package bench sees; else its fields are checked and rendered.
func BenchmarkStart(b *testing.B) {
	for _, fields := range []int{1, 10} {
		same := make([]gateway.Header, fields)
		for i := range same {
			same[i] = gateway.Header{Name: fmt.Sprintf("X-Field-%d", i), Value: "some value of a usual length"}
		}
		other := append(same[:fields-1:fields-1], gateway.Header{Name: "X-Last", Value: "changes"})
		for _, before := range []struct {
			name    string
			headers []gateway.Header
		}{{"same", same}, {"other", other}} {
			b.Run(fmt.Sprintf("fields=%d/before=%s", fields, before.name), func(b *testing.B) {
				heads := [2][]gateway.Header{same, before.headers}
				var r respond.Response
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					r.Reset()
					if err := r.Declare("200 OK", heads[i&1], nil); err != nil {
						b.Fatal(err)
					}
				}
				date := respond.NewDate("")
				if out, _ := r.Commit(nil, 0, respond.Request{KeepAlive: true}, &date); bytes.Count(out, []byte("\r\n")) != 1+fields+2 {
					b.Errorf("rendered %q", out)
				}
			})
		}
	}
}

// BenchmarkNoContent is responses without content, which have a way of their own.
func BenchmarkNoContent(b *testing.B) {
	notModified := appFunc(func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		_, err := start("304 Not Modified", textHeaders, nil)
		return nil, err
	})
	b.Run("answer=head", func(b *testing.B) {
		exchanges(b, appFunc(hello), "HTTP/1.1 200 OK\r\n", "\r\n\r\n", "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n")
	})
	b.Run("answer=304", func(b *testing.B) {
		exchanges(b, notModified, "HTTP/1.1 304 Not Modified\r\n", "\r\n\r\n", get)
	})
}

// BenchmarkHeadTimer is a head that comes in one read, and in two: then the timer of the
// head begins, which asks the clock, and the first part is kept.
func BenchmarkHeadTimer(b *testing.B) {
	const first, last = "HTTP/1.1 200 OK\r\n", "Hello, World!"
	b.Run("reads=1", func(b *testing.B) { exchanges(b, appFunc(hello), first, last, browserHead) })
	b.Run("reads=2", func(b *testing.B) { exchanges(b, appFunc(hello), first, last, browserHead[:100], browserHead[100:]) })
}

// BenchmarkExpect is content that is sent when the server has asked for it, beside one
// that comes unasked. The timer of the content begins in either. The heads have one length:
// the pool of buffers learns which sizes are usual.
func BenchmarkExpect(b *testing.B) {
	const head, content = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n", "abcde"
	b.Run("expect=none", func(b *testing.B) {
		exchanges(b, appFunc(echo), "HTTP/1.1 200 OK\r\n", content, head+"Accept: 100-continue\r\n\r\n", content)
	})
	b.Run("expect=continue", func(b *testing.B) {
		exchanges(b, appFunc(echo), "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n", content, head+"Expect: 100-continue\r\n\r\n", content)
	})
}

// BenchmarkDispatch is where the application runs: for one that never waits the rest is the
// same, so the difference is what a worker, or being watched, costs. So many requests are
// pipelined that waking the loop for them counts little.
func BenchmarkDispatch(b *testing.B) {
	const depth = 64
	for _, d := range []struct {
		name string
		is   DispatchMode
	}{{"auto", Auto}, {"inline", Inline}, {"pool", Pool}} {
		b.Run(fmt.Sprintf("dispatch=%s/depth=%d", d.name, depth), func(b *testing.B) {
			answered := make(chan bool, 1)
			left := depth
			body := &tellingBody{tell: func() {
				if left--; left == 0 {
					left = depth
					answered <- true
				}
			}}
			s := benchServer(b, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
				_, err := start("200 OK", textHeaders, nil)
				body.Sized = env.Text("Hello, World!")
				return body, err
			}), Options{Dispatch: d.is})
			s.start()
			l := s.reactor.Loops()[0]
			var m *loop.Memory
			in := []byte(strings.Repeat(get, depth))
			l.Do(func() { m = l.OpenMemory(); m.Feed(in) })
			<-answered
			// A worker closes its body before the loop has sent the rest of the response: then it is not complete yet.
			size := make(chan int)
			var measure, feed func()
			measure = func() {
				if bytes.Count(m.Out, []byte("HTTP/1.1 200 OK\r\n")) < depth || !bytes.HasSuffix(m.Out, []byte("Hello, World!")) {
					l.Do(measure)
					return
				}
				size <- len(m.Out)
			}
			l.Do(measure)
			whole := <-size
			feed = func() {
				if len(m.Out) < whole {
					l.Do(feed)
					return
				}
				if len(m.Out) != whole {
					b.Errorf("%d bytes of answers, want %d", len(m.Out), whole)
				}
				m.Out = m.Out[:0]
				m.Feed(in)
			}
			b.ReportAllocs()
			meter := benchmark.Start(b, 0)
			for range benchmark.Batches(b, depth) {
				l.Do(feed)
				<-answered
			}
			meter.Report(b)
			l.Do(measure)
			<-size
			l.Do(func() {
				if n := bytes.Count(m.Out, []byte("HTTP/1.1 200 OK\r\n")); n != depth || !bytes.HasSuffix(m.Out, []byte("Hello, World!")) {
					b.Errorf("%d answers: %.1000q", n, m.Out)
				}
				close(size)
			})
			<-size
		})
	}
}

// tellingBody is a Body that says when it was closed, on the loop.
type tellingBody struct {
	gateway.Sized
	tell func()
}

func (*tellingBody) Ready() {}

func (t *tellingBody) Close() error {
	defer t.tell()
	return t.Sized.Close()
}

// BenchmarkConnection is a connection and nothing on it, over loopback: what accept, the
// first and the last timer, and the close in order cost. The client's part is in it.
func BenchmarkConnection(b *testing.B) {
	s := benchServer(b, appFunc(hello), Options{})
	addr, err := s.Listen("127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		c, err := net.Dial("tcp", addr.String())
		if err != nil {
			b.Fatal(err)
		}
		if err := c.(*net.TCPConn).CloseWrite(); err != nil {
			b.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, c); n > 0 || err != nil {
			b.Fatalf("read %d bytes, %v; want the end", n, err)
		}
		_ = c.Close()
	}
}
