package middleware

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/gateway/gatewaytest"
	"github.com/isbjorn/isbjorn/server"
	"github.com/isbjorn/isbjorn/server/servertest"
)

func fields(pairs ...string) (h []gateway.Header) {
	for i := 0; i < len(pairs); i += 2 {
		h = append(h, gateway.Header{Name: pairs[i], Value: pairs[i+1]})
	}
	return h
}

// answer is an application that always sends the same response.
type answer struct {
	status  string // "" is 200 OK
	headers []gateway.Header
	written string   // by write()
	chunks  []string // nil is no Body
	sized   bool     // the Body has Len
	late    bool     // start is called in the first Next

	failServe, failNext, failClose error // nil is none
	panics                         bool  // and is thrown
	closed                         int
}

var errBroken = errors.New("broken")

func (a *answer) fail(err error) error {
	if err != nil && a.panics {
		panic(err)
	}
	return err
}

func (a *answer) declare(start gateway.StartResponse) error {
	status := a.status
	if status == "" {
		status = "200 OK"
	}
	// start must copy its arguments: they change after the call.
	var memory [][]byte
	lent := func(s string) string {
		b := []byte(s)
		memory = append(memory, b)
		return unsafe.String(unsafe.SliceData(b), len(b))
	}
	headers := make([]gateway.Header, len(a.headers), len(a.headers)+4)
	for i, h := range a.headers {
		headers[i] = gateway.Header{Name: lent(h.Name), Value: lent(h.Value)}
	}
	w, err := start(lent(status), headers, nil)
	for i, h := range headers {
		if h.Name != a.headers[i].Name || h.Value != a.headers[i].Value {
			panic(fmt.Sprintf("the application's header %v is now %v", a.headers[i], h))
		}
	}
	if spare := headers[:cap(headers)]; spare[len(headers)] != (gateway.Header{}) {
		panic(fmt.Sprintf("the application's slice has %v behind its end", spare[len(headers)]))
	}
	clear(headers)
	for _, b := range memory {
		for i := range b {
			b[i] = 'X'
		}
	}
	if err == nil && a.written != "" {
		_, err = io.WriteString(w, a.written)
	}
	return err
}

func (a *answer) Serve(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
	if !a.late {
		if err := a.declare(start); err != nil {
			return nil, err
		}
	}
	err := a.fail(a.failServe)
	if a.chunks == nil {
		return nil, err
	}
	b := &answerBody{a: a, start: start, left: a.chunks}
	if a.sized {
		return &sizedAnswer{b}, err
	}
	return b, err
}

type answerBody struct {
	a     *answer
	start gateway.StartResponse
	left  []string
	begun bool
	chunk []byte
}

func (b *answerBody) Next() ([]byte, error) {
	clear(b.chunk) // it was good until now
	if b.a.late && !b.begun {
		if err := b.a.declare(b.start); err != nil {
			return nil, err
		}
	}
	b.begun = true
	if len(b.left) == 0 {
		if err := b.a.fail(b.a.failNext); err != nil {
			return nil, err
		}
		return nil, io.EOF
	}
	b.chunk = []byte(b.left[0])
	b.left = b.left[1:]
	if len(b.left) == 0 && b.a.failNext == nil {
		return b.chunk, io.EOF
	}
	return b.chunk, nil
}

func (b *answerBody) Close() error {
	b.a.closed++
	clear(b.chunk)
	return b.a.fail(b.a.failClose)
}

type sizedAnswer struct{ *answerBody }

func (s *sizedAnswer) Len() int64 { return int64(len(strings.Join(s.a.chunks, ""))) }

// show is a response as a client sees it, on one line.
func show(got *gatewaytest.Response) string {
	return fmt.Sprintf("%s %q closed %d, %v", got.Status, got.Text(), got.Closed, got.Err)
}

// exchange sends bytes to a server in memory around app, and returns what comes
// back; the client then ends the connection.
func exchange(t testing.TB, app gateway.App, raw string) string {
	t.Helper()
	return exchangeBytes(t, app, []byte(raw))
}

func exchangeBytes(t testing.TB, app gateway.App, raw []byte) string {
	t.Helper()
	s, err := server.New(app, server.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	m := servertest.OpenMemory(s)
	m.Feed(raw)
	m.EOF()
	return string(m.Out)
}

func call(app gateway.App, method, target string, header ...string) *gatewaytest.Response {
	return gatewaytest.Call(app, gatewaytest.Request{Method: method, Target: target, Header: fields(header...)})
}

// keeper is a slog.Handler that keeps the records.
type keeper struct{ records []slog.Record }

func (*keeper) Enabled(context.Context, slog.Level) bool { return true }

func (k *keeper) Handle(_ context.Context, r slog.Record) error {
	k.records = append(k.records, r)
	return nil
}

func (k *keeper) WithAttrs([]slog.Attr) slog.Handler { return k }
func (k *keeper) WithGroup(string) slog.Handler      { return k }

// lockedKeeper is a keeper for a server, which logs on any goroutine.
type lockedKeeper struct {
	mu sync.Mutex
	keeper
}

func (k *lockedKeeper) Handle(ctx context.Context, r slog.Record) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.keeper.Handle(ctx, r)
}

// wait returns the attributes of the first n records, once they are there: a response is logged when it is closed, maybe
// after its client has it.
func (k *lockedKeeper) wait(t testing.TB, n int) (lines []map[string]any) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		k.mu.Lock()
		records := k.records
		k.mu.Unlock()
		if len(records) >= n {
			for _, r := range records[:n] {
				line := map[string]any{}
				r.Attrs(func(a slog.Attr) bool { line[a.Key] = a.Value.Any(); return true })
				lines = append(lines, line)
			}
			return lines
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d lines after 20 s, want %d", len(records), n)
		}
	}
}
