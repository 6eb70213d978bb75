package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/internal/testlog"
	"github.com/isbjorn/isbjorn/internal/testrun"
)

// runs is what Run does, in the process of the test, with a pipe in place of stdout.
func runs(t *testing.T, app gateway.App, options Options) (url string, signals chan<- os.Signal, ended <-chan error) {
	t.Helper()
	r, w := io.Pipe()
	t.Cleanup(func() { _ = r.Close() })
	s, e := make(chan os.Signal, 1), make(chan error, 1)
	options = Options{Logger: slog.New(slog.DiscardHandler)}.with(options)
	go func() { e <- new(processUpgrade).run(app, []string{"127.0.0.1:0"}, options, s, w) }()
	if _, err := fmt.Fscanf(r, "listening on %s\n", &url); err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.Copy(io.Discard, r) }()
	return url, s, e
}

// The server of a program that Run serves is there for Stats.
func TestOnStart(t *testing.T) {
	servers := make(chan *Server, 2)
	f := func(s *Server) { servers <- s }
	url, signals, ended := runs(t, appFunc(echo), Options{OnStart: []func(*Server){f, f}})
	one, two := <-servers, <-servers
	if one == nil || one != two {
		t.Fatalf("two servers: %p, %p", one, two)
	}
	resp, err := http.Post(url, "text/plain", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if n := one.Stats().Accepted; n != 1 {
		t.Errorf("it has accepted %d connections, want 1", n)
	}
	http.DefaultClient.CloseIdleConnections()
	signals <- os.Interrupt
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// SIGHUP calls OnReload, one at a time; several meanwhile are one more. Its error is a line in the log, SIGUSR2 has to
// wait for it, and a stop ends its context.
func TestOnReload(t *testing.T) {
	log := new(testlog.Buffer)
	calls, results := make(chan context.Context), make(chan error)
	_, signals, ended := runs(t, appFunc(echo), Options{Logger: slog.New(slog.NewTextHandler(log, nil)),
		OnReload: func(ctx context.Context) error {
			calls <- ctx
			select {
			case err := <-results:
				return err
			case <-ctx.Done():
				return ctx.Err()
			}
		}})
	logs := func(text string, n int) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); strings.Count(log.String(), text) < n; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("the log has no %q:\n%s", text, log)
			}
		}
	}
	signals <- syscall.SIGHUP
	<-calls
	signals <- syscall.SIGHUP
	signals <- syscall.SIGHUP
	logs("one more follows it", 2)
	signals <- syscall.SIGUSR2
	logs("no restart while a reload is in progress", 1)
	results <- errors.New("the code is broken")
	<-calls // the one more
	logs("reload failed; all goes on as before: the code is broken", 1)
	results <- nil
	signals <- syscall.SIGHUP
	ctx := <-calls
	signals <- syscall.SIGTERM
	if err := <-ended; err != nil {
		t.Error(err)
	}
	<-ctx.Done()
}

// An application learns at the begin of a stop that the program ends: a response that waits can end in time.
func TestOnShutdown(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "waits for timers")
	told, late := make(chan bool), make(chan bool)
	var s *Server
	url, signals, ended := runs(t, appFunc(echo), Options{LingerTime: 50 * time.Millisecond, OnStart: []func(*Server){func(server *Server) {
		s = server
		s.OnShutdown(func() { told <- true })
		s.OnShutdown(func() { told <- true })
	}}})
	c := dialURL(t, url)
	_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 6\r\n\r\n")
	_, _ = c.Read(make([]byte, 100)) // the 100: the request is at work
	signals <- os.Interrupt
	<-told
	<-told
	s.OnShutdown(func() { late <- true })
	<-late
	_, _ = io.WriteString(c, "123456")
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// What is not done within StopTimeout is cut.
func TestStopTime(t *testing.T) {
	const stopTime = 50 * time.Millisecond
	url, signals, ended := runs(t, appFunc(echo), Options{StopTimeout: stopTime})
	c := dialURL(t, url)
	_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 6\r\n\r\n")
	_, _ = c.Read(make([]byte, 100)) // the 100: the request is at work
	began := time.Now()
	signals <- os.Interrupt
	if err := <-ended; err != context.DeadlineExceeded {
		t.Errorf("%v, want %v", err, context.DeadlineExceeded)
	}
	if took := time.Since(began); took < stopTime {
		t.Errorf("it has ended after %v, want %v", took, stopTime)
	}
}

// interrupt sends signals until Run has returned, and returns why it has and when.
func interrupt(t *testing.T, signals chan<- os.Signal, ended <-chan error) (took time.Duration, err error) {
	t.Helper()
	began := time.Now()
	eventually(t, "Run returns", func() bool {
		select {
		case err = <-ended:
			return true
		case signals <- os.Interrupt:
		default:
		}
		return false
	})
	return time.Since(began), err
}

// A second signal ends what does not end in order.
func TestSecondSignalStopsAtOnce(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "waits for timers")
	url, signals, ended := runs(t, appFunc(echo), Options{})
	c := dialURL(t, url)
	_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 6\r\n\r\n")
	_, _ = c.Read(make([]byte, 100)) // the 100: the request is at work
	if took, err := interrupt(t, signals, ended); err != errSecondSignal || took < secondSignal {
		t.Errorf("run: %v after %v, want %v, and not before %v", err, took, errSecondSignal, secondSignal)
	}
}

func dialURL(t *testing.T, url string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	t.Cleanup(func() { _ = c.Close() })
	return c
}
