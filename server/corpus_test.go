package server

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/internal/testrun"
)

// corpusCase is one connection of the parser's corpus, as the server sees it.
type corpusCase struct {
	ID        string          `json:"id"`
	Input     []byte          `json:"input_b64"`
	Expect    string          `json:"expect"`
	Status    json.RawMessage `json:"status"` // null, a number or several
	Body      []byte          `json:"body_b64"`
	Bodies    [][]byte        `json:"bodies_b64"`
	Requests  int             `json:"requests"`
	Responses int             `json:"responses"`
	Close     bool            `json:"close"`
	EOF       bool            `json:"eof"`
	SplitAt   []int           `json:"split_at"`
	Interim   []int           `json:"interim"` // must come before the next piece
	HasBody   *bool           `json:"resp_content"`
	Limits    struct {
		Body *int64 `json:"body"`
	} `json:"limits"`
}

// stricter are cases that the server refuses although they say "accept": a host has no comma, but two Host lines
// that a proxy has joined do.
var stricter = []string{"sweep-host-2c"}

func corpus(t *testing.T, names ...string) (cases []*corpusCase) {
	t.Helper()
	for _, name := range names {
		f, err := os.Open(filepath.Join("..", "parser", "testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		d := json.NewDecoder(f)
		for d.More() {
			c := new(corpusCase)
			if err := d.Decode(c); err != nil {
				t.Fatal(err)
			}
			if slices.Contains(stricter, c.ID) {
				c.Expect, c.Status, c.Requests, c.Responses, c.Close = "reject", json.RawMessage("400"), 0, 1, true
			}
			cases = append(cases, c)
		}
	}
	return cases
}

func (c *corpusCase) allows(status int) bool {
	var one int
	if json.Unmarshal(c.Status, &one) == nil {
		return status == one
	}
	var several []int
	return json.Unmarshal(c.Status, &several) == nil && slices.Contains(several, status)
}

// check checks all that the server has sent on the connection of c. closed says that the server has closed it.
func (c *corpusCase) check(t *testing.T, how string, out []byte, closed bool) {
	t.Helper()
	fail := func(format string, args ...any) {
		t.Helper()
		t.Errorf("%s, %s: %s\nsent     %.300q\nanswered %.500q", c.ID, how, fmt.Sprintf(format, args...), c.Input, out)
	}
	method := "GET"
	if c.HasBody != nil && !*c.HasBody {
		method = "HEAD"
	}
	r := bufio.NewReader(bytes.NewReader(out))
	var served [][]byte
	refused := 0
	for {
		if _, err := r.Peek(1); err == io.EOF {
			break
		}
		resp, err := http.ReadResponse(r, &http.Request{Method: method})
		if err != nil {
			fail("answer %d: %v", len(served)+1, err)
			return
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			fail("answer %d: %v", len(served)+1, err)
			return
		}
		switch {
		case refused != 0:
			fail("an answer after the refusal")
			return
		case resp.StatusCode == 100:
		case resp.StatusCode == 200:
			served = append(served, body)
		default:
			refused = resp.StatusCode
			if !resp.Close || resp.ContentLength < 0 {
				fail("a refusal without Connection: close or Content-Length")
			}
		}
	}
	if len(served) != c.Requests {
		fail("%d requests were served, want %d", len(served), c.Requests)
		return
	}
	switch {
	case c.Expect == "reject" && refused == 0 && !(c.EOF && closed):
		fail("not refused")
	case c.Expect == "reject" && refused != 0 && string(c.Status) != "null" && !c.allows(refused):
		fail("refused with %d, want %s", refused, c.Status)
	case c.Expect == "accept" && refused != 0:
		fail("refused with %d", refused)
	}
	if c.Close != closed {
		fail("closed: %v, want %v", closed, c.Close)
	}
	if method == "HEAD" {
		return
	}
	bodies := c.Bodies
	if bodies == nil && c.Body != nil && c.Requests == 1 {
		bodies = [][]byte{c.Body}
	}
	for i, want := range bodies {
		if i < len(served) && !bytes.Equal(served[i], want) {
			fail("content of request %d is %.100q, want %.100q", i+1, served[i], want)
		}
	}
}

// bodyLimit is the limit that c asks for, else the default one.
func (c *corpusCase) bodyLimit() int64 {
	if c.Limits.Body != nil {
		return *c.Limits.Body
	}
	return 1 << 20
}

func (c *corpusCase) options() Options { return Options{BodyBytes: c.bodyLimit()} }

func quietly(app gateway.App, options Options) (*Server, error) {
	return New(app, Options{Loops: 1, Logger: slog.New(slog.DiscardHandler)}.with(options))
}

// Every case in memory: whole, byte by byte, cut in two at every place.
func TestCorpusInMemory(t *testing.T) {
	t.Parallel()
	servers := map[int64]*Server{} // by their limit
	for _, c := range corpus(t, "requests.jsonl", "sweeps.jsonl") {
		s := servers[c.bodyLimit()]
		if s == nil {
			var err error
			if s, err = quietly(appFunc(echo), c.options()); err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			servers[c.bodyLimit()] = s
		}
		feed := func(pieces ...[]byte) ([]byte, bool) {
			m := s.openMemory()
			for _, p := range pieces {
				for len(p) > 0 && m.Conn.Alive() {
					n := min(len(p), 64<<10) // as much as one read returns
					m.Feed(bytes.Clone(p[:n]))
					p = p[n:]
				}
			}
			if c.EOF {
				m.EOF()
			}
			return m.Out, !m.Conn.Alive()
		}
		out, closed := feed(c.Input)
		c.check(t, "whole", out, closed)
		out, closed = feed(bytes.SplitAfter(c.Input, nil)...)
		c.check(t, "byte by byte", out, closed)
		if len(c.Input) <= cutBytesMax && !testing.Short() {
			for cut := 1; cut < len(c.Input); cut++ {
				out, closed = feed(c.Input[:cut], c.Input[cut:])
				c.check(t, fmt.Sprint("cut at ", cut), out, closed)
			}
		}
	}
}

// Every case over sockets: whole, byte by byte and in two.
func TestCorpusOverSockets(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "asks some thousand requests; TestCorpusInMemory has the same cases")
	servers := map[int64]*testServer{} // by their limit
	byHand := corpus(t, "requests.jsonl")
	for _, c := range byHand {
		if servers[c.bodyLimit()] == nil {
			servers[c.bodyLimit()] = start(t, appFunc(echo), c.options().with(Options{Logger: slog.New(slog.DiscardHandler)}))
		}
	}
	var wg sync.WaitGroup
	running := make(chan bool, 16) // at once
	cases := byHand
	if !testing.Short() { // TestCorpusInMemory has had the sweeps
		cases = append(cases, corpus(t, "sweeps.jsonl")...)
	}
	for _, c := range cases {
		s := servers[c.bodyLimit()]
		running <- true
		wg.Go(func() {
			defer func() { <-running }()
			modes := map[string][]int{"whole": nil, "in two": {len(c.Input) / 2}}
			if len(c.Input) < 2000 {
				every := make([]int, 0, len(c.Input))
				for i := 1; i < len(c.Input); i++ {
					every = append(every, i)
				}
				modes["byte by byte"] = every
			}
			if c.SplitAt != nil {
				modes = map[string][]int{"as written": c.SplitAt}
			}
			for mode, cuts := range modes {
				out, closed, err := c.over(s.addr, cuts)
				if err != nil {
					t.Errorf("%s, %s: %v", c.ID, mode, err)
					continue
				}
				c.check(t, mode, out, closed)
			}
		})
	}
	wg.Wait()
}

// over sends c over a connection, cut at the given places, and returns what the
// server answers and whether it has closed.
func (c *corpusCase) over(addr net.Addr, cuts []int) (out []byte, closed bool, err error) {
	conn, err := net.Dial(addr.Network(), addr.String())
	if err != nil {
		return nil, false, err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	answers := make(chan []byte)
	go func() {
		defer close(answers)
		for {
			b := make([]byte, 64<<10)
			n, err := conn.Read(b)
			if n > 0 {
				answers <- b[:n]
			}
			if err != nil {
				if err != io.EOF {
					answers <- []byte("[" + err.Error() + "]") // makes the check fail
				}
				return
			}
		}
	}()
	sent := make(chan error, 1)
	proceed := make(chan bool, 1)
	go func() {
		from := 0
		for i, cut := range append(slices.Clone(cuts), len(c.Input)) {
			if _, err := conn.Write(c.Input[from:cut]); err != nil {
				break // refused already: the answer is there to be read
			}
			if from = cut; i < len(c.Interim) {
				<-proceed
			}
		}
		if c.EOF {
			_ = conn.(*net.TCPConn).CloseWrite()
		}
		sent <- nil
	}()
	for {
		// The end of a connection that stays open: all sent, all answered, and a
		// probe's answer shows that nothing else is coming.
		done := sent
		if !c.answered(out) {
			done = nil
		}
		select {
		case b, ok := <-answers:
			if !ok {
				return out, true, nil
			}
			out = append(out, b...)
			if len(c.Interim) > 0 && strings.Contains(string(out), " 100 Continue\r\n\r\n") {
				select {
				case proceed <- true:
				default:
				}
			}
		case <-done:
			if c.Close {
				sent = nil // wait for the end
				continue
			}
			_ = conn.(*net.TCPConn).CloseWrite() // in order: the server ends it too
			for b := range answers {
				out = append(out, b...)
			}
			// What a half-close inside a request is answered with is no part of
			// the case.
			if i := bytes.LastIndex(out, []byte("HTTP/1.1 400 ")); i >= 0 && c.Expect == "accept" && bytes.Contains(out[i:], []byte("ended inside a request")) {
				out = out[:i]
			}
			return out, false, nil
		}
	}
}

// answered says whether out has all the final answers that c is to get.
func (c *corpusCase) answered(out []byte) bool {
	return bytes.Count(out, []byte("HTTP/1.1 "))-bytes.Count(out, []byte("HTTP/1.1 100 ")) >= c.Responses
}
