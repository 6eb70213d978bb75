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

// The optional methods of net/http's own ResponseWriter, for http.ResponseController and type assertions;
// Flush and ReadFrom are in other files.

// hijackBufferBytes is the size of each buffer that Hijack returns, as in net/http.
const hijackBufferBytes = 4 << 10

var (
	errHijackWritten = errors.New("nethttp: Hijack after content was written; call it before Write")
	errHijackReading = errors.New("nethttp: Hijack while another goroutine reads the Body; wait for it")
)

// Hijack implements http.Hijacker. A head that WriteHeader has declared is sent first, unchanged if its
// status is 101: the handler then speaks another protocol.
func (w *response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.env == nil:
		return nil, nil, errHandlerReturned
	case w.err != nil:
		return nil, nil, w.err
	case w.written > 0:
		return nil, nil, errHijackWritten
	case !w.x.body.mu.TryLock():
		return nil, nil, errHijackReading
	}
	conn, rest, err := w.env.Hijack()
	w.x.body.mu.Unlock()
	if err != nil {
		return nil, nil, asNotSupported(err)
	}
	w.err = http.ErrHijacked
	out := bufio.NewWriterSize(conn, hijackBufferBytes)
	if w.code != 0 {
		w.sendHead(out)
	}
	in := bufio.NewReaderSize(conn, hijackBufferBytes)
	if len(rest) > 0 {
		in = bufio.NewReaderSize(io.MultiReader(bytes.NewReader(rest), conn), max(len(rest), hijackBufferBytes))
		_, _ = in.Peek(len(rest)) // fills the buffer, so that Buffered reports rest
	}
	return conn, bufio.NewReadWriter(in, out), nil
}

// sendHead sends the declared head. Its errors stick in out.
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

// CloseNotify implements http.CloseNotifier, which is deprecated; some frameworks assert it without a check.
func (w *response) CloseNotify() <-chan bool {
	gone := make(chan bool, 1)
	ctx := w.x.ctx.context()
	context.AfterFunc(ctx, func() {
		if context.Cause(ctx) != context.Canceled { // Canceled is the end of the response
			gone <- true
		}
	})
	return gone
}

// SetReadDeadline is for http.ResponseController.
func (w *response) SetReadDeadline(t time.Time) error {
	return w.x.ctx.withEnviron(func(env *gateway.Environ) error { return env.SetReadDeadline(t) })
}

// SetWriteDeadline is for http.ResponseController.
func (w *response) SetWriteDeadline(t time.Time) error {
	return w.x.ctx.withEnviron(func(env *gateway.Environ) error { return env.SetWriteDeadline(t) })
}

// EnableFullDuplex is for http.ResponseController. Full duplex is always on.
func (w *response) EnableFullDuplex() error { return nil }

// localAddr is the address that the client connected to; nil if its first call comes after the handler has
// returned.
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
