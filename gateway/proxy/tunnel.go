package proxy

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
)

// quietTime is how long no byte may pass through a tunnel when the server stops: then it is closed, so that a
// restart does not wait for the last WebSocket.
const quietTime = time.Second

// tunnel passes an upgraded connection on, both ways, until both ends have closed. RFC 9110 section 7.8.
func (t *attempt) tunnel(u *upstream, resp *http.Response) (gateway.Body, *failure, error) {
	x := t.x
	back, ok := resp.Body.(io.ReadWriteCloser)
	protocol := resp.Header.Get("Upgrade")
	if asked := x.header.Get("Upgrade"); !ok || asked == "" || !hasToken(asked, strings.ToLower(protocol)) {
		return nil, &failure{err: fmt.Errorf("%w: 101 to %q, asked for was %q", errNotHTTP, protocol, asked),
			status: "502 Bad Gateway"}, nil
	}
	fields, err := x.app.responseFields(resp.Header, resp.ProtoMinor)
	if err != nil {
		return nil, &failure{err: err, status: "502 Bad Gateway"}, nil
	}
	u.succeeded()
	front, early, err := x.env.Hijack()
	switch {
	case err != nil && x.ctx.Err() != nil:
		return nil, nil, gateway.ErrAbort
	case err != nil:
		return nil, nil, err
	}
	defer front.Close()
	head := "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: " + protocol + "\r\n"
	for _, f := range fields {
		head += f.Name + ": " + f.Value + "\r\n"
	}
	if _, err := io.WriteString(front, head+"\r\n"); err != nil {
		return nil, nil, nil
	}
	pipe(front, back, early, x.app.options.TunnelTimeout, x.env.Stopping(), x.ctx.Done())
	return nil, nil, nil
}

// pipe copies between two connections until both directions have ended, one has failed, no byte has passed for
// limit, or done is closed. early are bytes that the front has sent already.
func pipe(front net.Conn, back io.ReadWriteCloser, early []byte, limit time.Duration, stopping, done <-chan struct{}) {
	began := time.Now()
	var last atomic.Int64 // time since began at which a byte has passed
	touch := func() { last.Store(int64(time.Since(began))) }
	ended := make(chan error, 2)
	go func() {
		var err error
		if len(early) > 0 {
			_, err = back.Write(early)
		}
		if err == nil {
			err = copyHalf(back, front, touch)
		}
		ended <- err
	}()
	go func() { ended <- copyHalf(front, back, touch) }()

	closeBoth := func() {
		_ = front.Close()
		_ = back.Close()
	}
	if limit < 0 {
		limit = 1<<63 - 1
	}
	check := time.NewTimer(limit)
	defer check.Stop()
	for open := 2; open > 0; {
		select {
		case err := <-ended:
			if open--; err != nil {
				closeBoth()
			}
		case <-check.C:
			quiet := time.Since(began) - time.Duration(last.Load())
			if quiet >= limit {
				closeBoth()
			}
			check.Reset(max(limit-quiet, time.Millisecond))
		case <-stopping:
			stopping, limit = nil, min(limit, quietTime)
			check.Reset(0)
		case <-done:
			done = nil
			closeBoth()
		}
	}
}

// copyHalf copies one direction, and passes its end on.
func copyHalf(to io.Writer, from io.Reader, touch func()) error {
	buf := copyBuffers.Get().(*[copyBytes]byte)
	defer copyBuffers.Put(buf)
	for {
		n, err := from.Read(buf[:])
		if n > 0 {
			touch()
			if _, failed := to.Write(buf[:n]); failed != nil {
				return failed
			}
			touch()
		}
		switch {
		case err == io.EOF:
			half, ok := to.(interface{ CloseWrite() error })
			if !ok {
				return io.ErrClosedPipe // both directions end
			}
			return half.CloseWrite()
		case err != nil:
			return err
		}
	}
}
