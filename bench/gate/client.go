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

	// patience is how long one answer may take: a server that is stuck must not
	// hold the gate.
	patience = 20 * time.Second
)

// client has connections to one server and works on them in lockstep: what it
// asks a server to do does not hang on how fast either of them is. Its sockets
// block, and one goroutine uses it, so that it runs where its thread is pinned.
type client struct {
	conns   []*os.File
	depth   int    // requests of a batch
	size    int    // of one answer, in bytes: the same for all, as the Date has a fixed length
	content []byte // what each ends with, behind the head
	in      []byte // a batch of requests
	out     []byte // room for its answers
}

// dial opens conns connections, for batches of depth requests.
func dial(addr string, conns, depth int) (_ *client, err error) {
	c := &client{depth: depth, in: []byte(strings.Repeat(request, depth))}
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	if c.size, c.content, err = learn(addr); err != nil {
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
		fd := int(f.Fd()) // Fd makes it block
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit); err != nil {
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
			if answer := answers[:c.size]; !bytes.HasPrefix(answer, []byte("HTTP/1.1 200 ")) || !bytes.HasSuffix(answer, c.content) {
				return fmt.Errorf("wrong answer %q", answer)
			}
		}
	}
	return nil
}

// learn asks twice on one connection, and returns the length of a whole answer in bytes, and
// what follows its head. Answers that differ by more than the head cannot be checked.
func learn(addr string) (size int, content []byte, err error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return 0, nil, err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	for again := range 2 {
		if _, err := io.WriteString(c, request); err != nil {
			return 0, nil, err
		}
		var raw bytes.Buffer
		resp, err := http.ReadResponse(bufio.NewReader(io.TeeReader(c, &raw)), nil)
		if err != nil {
			return 0, nil, err
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			return 0, nil, err
		}
		_, behind, _ := bytes.Cut(raw.Bytes(), []byte("\r\n\r\n"))
		switch {
		case resp.StatusCode != http.StatusOK || resp.Close:
			return 0, nil, misuse(fmt.Sprintf("it answers GET / by %s, Connection %q: -program and -beside must be programs that answer by 200 and keep the connection", resp.Status, resp.Header.Get("Connection")))
		case again == 1 && (raw.Len() != size || !bytes.Equal(behind, content)):
			return 0, nil, misuse("it answers GET / by other bytes each time: -program and -beside must be programs whose answer stays the same but for the Date")
		}
		size, content = raw.Len(), behind
	}
	return size, content, nil
}
