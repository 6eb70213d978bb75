//go:build linux

package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/isbjorn/isbjorn/internal/head"
)

var requests = map[string]string{"hello": head.Hello, "browser": head.Browser, "close": head.Close}

// patience is how long a server may take for an answer before it counts as failed.
const patience = 10 * time.Second

// check asks over one connection, request after request and 16 at once, and looks at the
// answers. It returns the length of one, the same for all. What is too much in one answer
// shows in the next.
func check(addr, head string) (size int, err error) {
	c, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	counted := &counter{from: c}
	in := bufio.NewReader(counted)
	depths := []int{1, 16, 1}
	if head == "close" {
		depths = []int{1}
	}
	for _, depth := range depths {
		if _, err := io.WriteString(c, strings.Repeat(requests[head], depth)); err != nil {
			return 0, err
		}
		for i := range depth {
			before := counted.n - in.Buffered()
			if err := checkAnswer(in); err != nil {
				return 0, fmt.Errorf("answer %d of %d to %q: %w", i+1, depth, head, err)
			}
			n := counted.n - in.Buffered() - before
			if size != 0 && n != size {
				return 0, fmt.Errorf("answers to %q of %d and of %d bytes", head, size, n)
			}
			size = n
		}
	}
	if head == "close" {
		if b, err := in.ReadByte(); err != io.EOF {
			return 0, fmt.Errorf("after the answer to \"Connection: close\": %q, %v; want the end", b, err)
		}
	}
	return size, nil
}

func checkAnswer(in *bufio.Reader) error {
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != 200 || string(body) != text || resp.ContentLength != int64(len(text)) {
		return fmt.Errorf("status %d, Content-Length %d, content %.100q; want 200, %d, %q", resp.StatusCode, resp.ContentLength, body, len(text), text)
	}
	return nil
}

// counter counts what is read.
type counter struct {
	from io.Reader
	n    int
}

func (c *counter) Read(b []byte) (int, error) {
	n, err := c.from.Read(b)
	c.n += n
	return n, err
}

// clients are connections that ask in lockstep.
type clients []net.Conn

// dial opens n connections.
func dial(addr string, n int) (list clients, err error) {
	for range n {
		c, err := net.DialTimeout("tcp", addr, patience)
		if err != nil {
			list.close()
			return nil, fmt.Errorf("connection %d of %d: %w", len(list)+1, n, err)
		}
		list = append(list, c)
	}
	return list, nil
}

func (list clients) close() {
	for _, c := range list {
		_ = c.Close()
	}
}

// exchange sends request on each connection, times times, and awaits answers of answer
// bytes before the next.
func (list clients) exchange(request string, answer, times int) error {
	var all sync.WaitGroup
	errs := make([]error, len(list))
	for i, c := range list {
		all.Go(func() { errs[i] = exchange(c, request, answer, times) })
	}
	all.Wait()
	return cmp.Or(errs...)
}

func exchange(c net.Conn, request string, answer, times int) error {
	in := make([]byte, answer)
	for range times {
		_ = c.SetDeadline(time.Now().Add(patience))
		if _, err := io.WriteString(c, request); err != nil {
			return err
		}
		if _, err := io.ReadFull(c, in); err != nil {
			return err
		}
		if !bytes.HasPrefix(in, []byte("HTTP/1.1 200 ")) || !bytes.HasSuffix(in, []byte(text)) {
			return fmt.Errorf("answered %.200q", in)
		}
	}
	return nil
}

const (
	// stallBytes is what a client sends at most that does not read. The answers are three
	// times as much: who keeps all of them shows.
	stallBytes = 1 << 20
	// stallTime ends it where a server goes on reading, slowly.
	stallTime = 3 * time.Second
	// stallQuiet without progress is a stall.
	stallQuiet = 300 * time.Millisecond
	// The buffers and the segments of such a client in bytes. All are small, and so is
	// then what the kernel holds of requests and answers, in place of the server.
	stallBuffer  = 4 << 10
	stallSegment = 536
)

// stall opens n connections that ask and ask and read nothing, until the server takes no
// more. The connections stay open.
func stall(ctx context.Context, addr string, n int) (list clients, err error) {
	d := net.Dialer{Timeout: patience, Control: func(_, _ string, raw syscall.RawConn) (err error) {
		return errors.Join(raw.Control(func(fd uintptr) {
			err = errors.Join(
				syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, stallBuffer),
				syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_SNDBUF, stallBuffer),
				syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_MAXSEG, stallSegment))
		}), err)
	}}
	request := []byte(strings.Repeat(head.Hello, 1000))
	deadline := time.Now().Add(stallTime)
	var all sync.WaitGroup
	for range n {
		c, err := d.DialContext(ctx, "tcp", addr)
		if err != nil {
			list.close()
			all.Wait()
			return nil, err
		}
		list = append(list, c)
		all.Go(func() {
			for sent := 0; sent < stallBytes && ctx.Err() == nil; {
				until := time.Now().Add(stallQuiet)
				if until.After(deadline) {
					return
				}
				_ = c.SetWriteDeadline(until)
				k, err := c.Write(request[sent%len(request):]) // a request that was cut goes on
				sent += k
				if err != nil && k == 0 {
					return // it takes no more, or has closed
				}
			}
		})
	}
	all.Wait()
	return list, nil
}
