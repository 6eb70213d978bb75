package chaos

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// behaviours are what a client may do. Each opens its connections itself and
// returns what was wrong.
var behaviours = []struct {
	name string
	run  func(*job) error
}{
	{"whole", whole},
	{"pipelined", pipelined},
	{"last", last},
	{"expect", expect},
	{"cut", cut},
	{"drip", drip},
	{"flood", flood},
	{"slow reader", slowReader},
	{"goes away in an answer", goesAway},
	{"reset in a request", resetInRequest},
	{"reset in an answer", resetInAnswer},
	{"half-close after", halfCloseAfter},
	{"half-close inside", halfCloseInside},
	{"malformed", malformed},
	{"mutated", mutated},
	{"garbage", garbage},
	{"silent", silent},
	{"vanish", vanish},
}

// whole sends one request after the other, each when the last was answered.
func whole(j *job) error {
	c := j.client()
	var requests []*request
	for range 1 + j.rng.IntN(8) {
		requests = append(requests, c.newRequest(pick(j.rng, small, medium, large), false))
	}
	if err := c.connect(); err != nil {
		return err
	}
	for _, r := range requests {
		c.sending([][]byte{r.raw}, 0, nil)
		if err := c.answers([]*request{r}); err != nil {
			return err
		}
		if j.rng.IntN(3) == 0 {
			time.Sleep(time.Duration(j.rng.IntN(100)) * time.Millisecond)
		}
	}
	return nil
}

// pipelined sends many at once.
func pipelined(j *job) error {
	c := j.client()
	requests, raw := c.several(2+j.rng.IntN(60), pick(j.rng, small, small, medium), false)
	if err := c.connect(); err != nil {
		return err
	}
	c.sending([][]byte{raw}, 0, nil)
	return c.answers(requests)
}

// last sends more behind a request that ends the connection: those have no answer.
func last(j *job) error {
	c := j.client()
	requests, raw := c.several(j.fewOrFlood(c), pick(j.rng, small, small, medium), true)
	_, more := c.several(j.rng.IntN(5), small, false)
	if err := c.connect(); err != nil {
		return err
	}
	c.sending(c.pieces(append(raw, more...), j.rng.IntN(4), nil), 5*time.Millisecond, nil)
	if err := c.answers(requests); err != nil {
		return err
	}
	return c.end()
}

// fewOrFlood is a number of requests: few, or as many as fill the socket, so that
// the connection ends while answers still wait in the server.
func (j *job) fewOrFlood(c *client) int {
	if j.rng.IntN(3) > 0 {
		return 1 + j.rng.IntN(5)
	}
	c.narrow, c.slow = true, 30
	return 500 + j.rng.IntN(2000)
}

// expect waits for 100 (Continue) before it sends the content.
func expect(j *job) error {
	c := j.client()
	c.expect, c.content = true, true
	var requests []*request
	for range 1 + j.rng.IntN(3) {
		requests = append(requests, c.newRequest(medium, false))
	}
	if err := c.connect(); err != nil {
		return err
	}
	for _, r := range requests {
		if err := c.send(r.raw[:r.head]); err != nil {
			return err
		}
		if r.expect {
			a, err := readAnswer(c.r, r.method)
			if err != nil {
				return fmt.Errorf("instead of 100: %w", err)
			}
			if a.status != http.StatusContinue {
				return fmt.Errorf("answered %d before the content, want 100", a.status)
			}
			c.tally.interim.Add(1)
			r.expect = false // it comes once
		}
		c.sending(c.pieces(r.raw[r.head:], j.rng.IntN(3), nil), 5*time.Millisecond, nil)
		if err := c.answers([]*request{r}); err != nil {
			return err
		}
	}
	return nil
}

// cut sends good requests in pieces with pauses between them.
func cut(j *job) error {
	c := j.client()
	requests, raw := c.several(1+j.rng.IntN(6), pick(j.rng, small, medium, large), false)
	if err := c.connect(); err != nil {
		return err
	}
	c.sending(c.pieces(raw, 1+j.rng.IntN(20), requests[0].ends), 20*time.Millisecond, nil)
	return c.answers(requests)
}

// drip sends byte by byte.
func drip(j *job) error {
	c := j.client()
	requests, raw := c.several(1+j.rng.IntN(3), small, false)
	if err := c.connect(); err != nil {
		return err
	}
	c.sending(slices.Collect(slices.Chunk(raw, 1)), 100*time.Microsecond, nil)
	return c.answers(requests)
}

// flood sends very many without reading, until nothing goes any more. Then it
// reads all.
func flood(j *job) error {
	c := j.client()
	c.narrow = true
	requests, raw := c.several(200+j.rng.IntN(3000), small, false)
	if err := c.connect(); err != nil {
		return err
	}
	c.sending([][]byte{raw}, 0, nil)
	c.untilStuck(int64(len(raw)))
	if j.rng.IntN(8) == 0 { // or it does not read at all
		c.leave()
		return nil
	}
	c.widen()
	return c.answers(requests)
}

// untilStuck returns when all is sent, or nothing goes any more.
func (c *client) untilStuck(all int64) {
	for before := int64(-1); ; {
		now := c.written.Load()
		if now == all || now == before {
			return
		}
		before = now
		time.Sleep(30 * time.Millisecond)
	}
}

// slowReader takes large answers in small bits with pauses, and then the rest.
func slowReader(j *job) error {
	c, requests, err := j.manyBytes()
	if err != nil {
		return err
	}
	c.slow = 20 + j.rng.IntN(200)
	return c.answers(requests)
}

// goesAway does so in the middle of a large answer.
func goesAway(j *job) error {
	c, requests, err := j.manyBytes()
	if err != nil {
		return err
	}
	c.slow = j.rng.IntN(50)
	c.limit = j.rng.IntN(300 << 10)
	err = c.answers(requests)
	time.Sleep(time.Duration(j.rng.IntN(100)) * time.Millisecond)
	c.leave()
	if errors.Is(err, errLimit) {
		return nil
	}
	return err
}

// manyBytes asks for answers that fill a socket.
func (j *job) manyBytes() (*client, []*request, error) {
	c := j.client()
	c.narrow = true
	n, s := 1+j.rng.IntN(6), large
	switch kind := j.rng.IntN(3); {
	case kind == 0 || j.example.name == "hello":
		n, s = 100+j.rng.IntN(1000), small
	case kind == 1:
		n, s = 20+j.rng.IntN(40), held
	}
	c.content = true
	requests, raw := c.several(n, s, false)
	if err := c.connect(); err != nil {
		return nil, nil, err
	}
	c.sending([][]byte{raw}, 0, nil)
	return c, requests, nil
}

// resetInRequest sends a part and resets.
func resetInRequest(j *job) error {
	c := j.client()
	requests, raw := c.several(1+j.rng.IntN(4), pick(j.rng, small, medium, large), false)
	at := j.rng.IntN(len(raw))
	if err := c.connect(); err != nil {
		return err
	}
	c.sending(c.pieces(raw[:at], j.rng.IntN(3), requests[0].ends), 5*time.Millisecond, nil)
	c.writer.Wait() // the server reads: nothing fills a socket here
	c.reset()
	return nil
}

// resetInAnswer reads a part of the answers and resets.
func resetInAnswer(j *job) error {
	c := j.client()
	requests, raw := c.several(1+j.rng.IntN(30), pick(j.rng, small, medium), false)
	c.limit = j.rng.IntN(len(requests) * 200)
	if err := c.connect(); err != nil {
		return err
	}
	c.sending([][]byte{raw}, 0, nil)
	err := c.answers(requests)
	c.reset()
	if errors.Is(err, errLimit) {
		return nil
	}
	return err
}

// halfCloseAfter says that it will send no more: the answers still come whole,
// and then the end.
func halfCloseAfter(j *job) error {
	c := j.client()
	requests, raw := c.several(1+j.rng.IntN(20), pick(j.rng, small, medium, large), j.rng.IntN(4) == 0)
	if j.rng.IntN(2) == 0 {
		c.narrow, c.slow = true, 50
	}
	if err := c.connect(); err != nil {
		return err
	}
	c.sending(c.pieces(raw, j.rng.IntN(3), nil), 5*time.Millisecond, func() { _ = c.CloseWrite() })
	if err := c.answers(requests); err != nil {
		return err
	}
	return c.end()
}

// halfCloseInside does so inside of a request, which then is never served.
func halfCloseInside(j *job) error {
	c := j.client()
	requests, raw := c.several(j.rng.IntN(4), small, false)
	c.never = http.MethodHead // whether its refusal has content depends on where it was cut
	r := c.newRequest(pick(j.rng, small, medium), false)
	at := 1 + j.rng.IntN(len(r.raw)-1)
	if j.rng.IntN(4) == 0 {
		at = len(r.raw) - 1
	}
	raw = append(raw, r.raw[:at]...)
	if err := c.connect(); err != nil {
		return err
	}
	c.sending(c.pieces(raw, j.rng.IntN(3), nil), 5*time.Millisecond, func() { _ = c.CloseWrite() })
	if err := c.answers(requests); err != nil {
		return err
	}
	return c.refusal(400, 408)
}

// malformed sends a request that must be refused among good ones: those before
// it are answered, those behind it never.
func malformed(j *job) error {
	c := j.client()
	bad := pick(j.rng, malformedRequests...)
	for j.rng.IntN(3) == 0 && bad.long == nil { // more of those that come in many reads
		bad = pick(j.rng, malformedRequests...)
	}
	requests, raw := c.several(j.fewOrFlood(c)-1, small, false)
	raw = append(raw, bad.raw()...)
	_, more := c.several(j.rng.IntN(5), small, false)
	raw = append(raw, more...)
	if err := c.connect(); err != nil {
		return err
	}
	c.sending(c.pieces(raw, j.rng.IntN(4), nil), 5*time.Millisecond, nil)
	if err := c.answers(requests); err != nil {
		return err
	}
	if err := c.refusal(bad.status); err != nil {
		return fmt.Errorf("%s: %w", bad.name, err)
	}
	return nil
}

// mutated sends a good request with some bytes changed, among good ones. What the
// server makes of it nobody here knows; see judge.
func mutated(j *job) error {
	c := j.client()
	c.never = http.MethodHead // or the content of answers would be a guess
	requests, raw := c.several(j.rng.IntN(5), small, false)
	bad := mutate(j.rng, c.newRequest(pick(j.rng, small, medium), false).raw)
	_, more := c.several(j.rng.IntN(5), small, false)
	all := slices.Concat(raw, bad, more)
	if err := c.connect(); err != nil {
		return err
	}
	c.sending(c.pieces(all, j.rng.IntN(4), nil), 5*time.Millisecond, func() { _ = c.CloseWrite() })
	if err := c.answers(requests); err != nil {
		return err
	}
	if err := c.judge(); err != nil {
		return fmt.Errorf("mutated %.1000q: %w", bad, err)
	}
	return nil
}

// judge knows little, and all of it is certain: every answer is well-formed, a
// good one is one that this example gives to this client, after a refusal or an
// answer that says close the connection ends, and it does end.
func (c *client) judge() error {
	for {
		if err := c.end(); err == nil || !errors.Is(err, errTrailing) {
			return err
		}
		a, err := readAnswer(c.r, "")
		switch {
		case err != nil:
			return err
		case a.status == http.StatusContinue:
			c.tally.interim.Add(1)
		case a.status == http.StatusOK:
			if !c.example.plausible(a, c) {
				return fmt.Errorf("an answer that is nobody's: %.500q", a.content)
			}
			c.tally.answers.Add(1)
			if a.closes() {
				return c.end()
			}
		default:
			return c.refused(a, 400, 408, 413, 414, 417, 431, 501, 505)
		}
	}
}

// garbage is no HTTP at all.
func garbage(j *job) error {
	c := j.client()
	b := pick(j.rng, tlsHello, http2Preface, sshBanner, randomGarbage)(j.rng)
	if err := c.connect(); err != nil {
		return err
	}
	c.sending(c.pieces(b, j.rng.IntN(3), nil), 5*time.Millisecond, nil)
	return c.refusal(400, 505)
}

// silent says nothing for a while.
func silent(j *job) error {
	c := j.client()
	requests, raw := c.several(1, small, false)
	if err := c.connect(); err != nil {
		return err
	}
	time.Sleep(time.Duration(j.rng.IntN(300)) * time.Millisecond)
	switch j.rng.IntN(4) {
	case 0:
		c.sending([][]byte{raw}, 0, nil)
		return c.answers(requests)
	case 1:
		_ = c.CloseWrite()
		return c.end()
	}
	c.leave()
	return nil
}

// vanish opens connections and is gone.
func vanish(j *job) error {
	for range 1 + j.rng.IntN(10) {
		c := j.client()
		if err := c.connect(); err != nil {
			return err
		}
		if j.rng.IntN(4) == 0 {
			_ = c.send([]byte(strings.Repeat("GET / HTTP/1.1\r\nHost: h\r\n\r\n", j.rng.IntN(5))))
		}
		c.leave()
	}
	return nil
}
