package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	request = "GET / HTTP/1.1\r\nHost: localhost:8080\r\n\r\n"
	text    = "Hello, World!" // what hello and nethttp answer

	// patience is how long one answer may take: a server that is stuck must not
	// hold the gate.
	patience = 20 * time.Second
)

// client has connections to one server and works on them in lockstep: what it
// asks a server to do does not hang on how fast either of them is. Its sockets
// block, and one goroutine uses it, so that it runs where its thread is pinned.
type client struct {
	conns []*os.File
	depth int    // requests of a batch
	size  int    // of one answer, in bytes: the same for all, as the Date has a fixed length
	in    []byte // a batch of requests
	out   []byte // room for its answers
}

// dial opens conns connections, for batches of depth requests.
func dial(addr string, conns, depth int) (c *client, err error) {
	c = &client{depth: depth, in: []byte(strings.Repeat(request, depth))}
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	if c.size, err = answerSize(addr); err != nil {
		return nil, err
	}
	c.out = make([]byte, depth*c.size)
	for range conns {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			return nil, err
		}
		f, err := conn.(*net.TCPConn).File()
		_ = conn.Close()
		if err != nil {
			return nil, err
		}
		c.conns = append(c.conns, f)
		limit := unix.NsecToTimeval(patience.Nanoseconds())
		if err := unix.SetsockoptTimeval(int(f.Fd()), unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit); err != nil { // Fd makes it block
			return nil, err
		}
	}
	return c, nil
}

func (c *client) close() {
	for _, f := range c.conns {
		_ = f.Close()
	}
}

// round sends one batch on every connection, then reads all answers.
func (c *client) round() error {
	for _, f := range c.conns {
		if n, err := unix.Write(int(f.Fd()), c.in); err != nil || n < len(c.in) {
			return fmt.Errorf("sent %d of %d bytes: %v", n, len(c.in), err)
		}
	}
	for _, f := range c.conns {
		for got := 0; got < len(c.out); {
			n, err := unix.Read(int(f.Fd()), c.out[got:])
			if err == unix.EINTR {
				continue
			}
			if err != nil || n <= 0 {
				return fmt.Errorf("%d of %d bytes of the answers: %v", got, len(c.out), err)
			}
			got += n
		}
		for answers := c.out; len(answers) > 0; answers = answers[c.size:] {
			if answer := answers[:c.size]; !bytes.HasPrefix(answer, []byte("HTTP/1.1 200 ")) || !bytes.HasSuffix(answer, []byte(text)) {
				return fmt.Errorf("wrong answer %q", answer)
			}
		}
	}
	return nil
}

// answerSize asks once, and returns the length of the whole answer in bytes.
func answerSize(addr string) (int, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, request); err != nil {
		return 0, err
	}
	var raw bytes.Buffer
	resp, err := http.ReadResponse(bufio.NewReader(io.TeeReader(c, &raw)), nil)
	if err != nil {
		return 0, err
	}
	if body, err := io.ReadAll(resp.Body); err != nil || string(body) != text {
		return 0, fmt.Errorf("answered %q, %v; want %q", body, err, text)
	}
	return raw.Len(), nil
}
