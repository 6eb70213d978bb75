package nethttp

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/internal/field"
)

// What a ResponseWriter of net/http's server can do beyond the interface: see also Flush
// and ReadFrom.

// hijackBufferBytes is the size of each buffer that Hijack returns, as in net/http.
const hijackBufferBytes = 4 << 10

var (
	errHijackWritten = errors.New("nethttp: Hijack after content was written; call it before Write")
	errHijackReading = errors.New("nethttp: Hijack while another goroutine reads the Body; wait for it")
)

// Hijack is http.Hijacker. What WriteHeader has declared is sent first, by the status
// 101 with the header as it is: whoever calls it then has a protocol of their own.
func (w *response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.env == nil:
		return nil, nil, errOver
	case w.err != nil:
		return nil, nil, w.err
	case w.written > 0:
		return nil, nil, errHijackWritten
	case !w.x.content.mu.TryLock():
		return nil, nil, errHijackReading
	}
	conn, rest, err := w.env.Hijack()
	w.x.content.mu.Unlock()
	if err != nil {
		return nil, nil, supported(err)
	}
	w.err = http.ErrHijacked
	out := bufio.NewWriterSize(conn, hijackBufferBytes)
	if w.code != 0 {
		w.sendHead(out)
	}
	in := bufio.NewReaderSize(conn, hijackBufferBytes)
	if len(rest) > 0 {
		in = bufio.NewReaderSize(io.MultiReader(bytes.NewReader(rest), conn), max(len(rest), hijackBufferBytes))
		_, _ = in.Peek(len(rest)) // Buffered says that there is something
	}
	return conn, bufio.NewReadWriter(in, out), nil
}

// sendHead sends what was declared. Errors stick to out.
func (w *response) sendHead(out *bufio.Writer) {
	dated := false
	fmt.Fprintf(out, "HTTP/1.1 %s\r\n", statusLine(w.code))
	for _, h := range w.buf.fields {
		dated = dated || field.KindOf(h.Name) == field.Date
		fmt.Fprintf(out, "%s: %s\r\n", h.Name, h.Value)
	}
	if !dated {
		fmt.Fprintf(out, "Date: %s\r\n", time.Now().UTC().Format(http.TimeFormat))
	}
	_, _ = out.WriteString("\r\n")
	_ = out.Flush()
}

// CloseNotify is http.CloseNotifier: deprecated, and some frameworks take each
// ResponseWriter for one.
func (w *response) CloseNotify() <-chan bool {
	gone := make(chan bool, 1)
	ctx := w.x.ending.context()
	context.AfterFunc(ctx, func() {
		if context.Cause(ctx) != context.Canceled { // that is the end of the response
			gone <- true
		}
	})
	return gone
}

// SetReadDeadline is for http.ResponseController.
func (w *response) SetReadDeadline(t time.Time) error {
	return w.x.ending.with(func(env *gateway.Environ) error { return env.SetReadDeadline(t) })
}

// SetWriteDeadline is for http.ResponseController.
func (w *response) SetWriteDeadline(t time.Time) error {
	return w.x.ending.with(func(env *gateway.Environ) error { return env.SetWriteDeadline(t) })
}

// EnableFullDuplex is for http.ResponseController. It always is.
func (w *response) EnableFullDuplex() error { return nil }

// localAddr is the address that the client connected to; nil if nobody has asked before
// the handler returned.
func (w *response) localAddr() net.Addr {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.local == nil && w.env != nil {
		if addr := w.env.LocalAddr(); addr.IsValid() {
			w.local = net.TCPAddrFromAddrPort(addr)
		} else {
			w.local = &net.UnixAddr{Net: "unix"}
		}
	}
	return w.local
}
