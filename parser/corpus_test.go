package parser

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/isbjorn/isbjorn/internal/testrun"
)

// testdata/requests.jsonl and sweeps.jsonl are this project's own cases, written
// from the RFCs: one JSON object a line, the bytes of one connection and the expected
// result. requests.jsonl was made by hand; sweeps.jsonl has all 256 bytes in many
// places, and good and bad ones at offsets 0 to 40 of a name, a value and a path, for
// bugs of code that reads 8 bytes at a time.
type corpusCase struct {
	ID        string      `json:"id"`
	Input     []byte      `json:"input_b64"`
	Expect    string      `json:"expect"` // "accept" or "reject"
	Status    statuses    `json:"status"` // allowed answers to the rejected request
	Body      []byte      `json:"body_b64"`
	Bodies    [][]byte    `json:"bodies_b64"` // if several requests are delivered
	Requests  int         `json:"requests"`   // how many are delivered
	Close     bool        `json:"close"`
	EOF       bool        `json:"eof"`   // the client closes after the input
	Layer     string      `json:"layer"` // "server": the parser may accept
	Limits    caseLimits  `json:"limits"`
	Method    *string     `json:"method"` // of the first request; one character a byte
	Target    *string     `json:"target"`
	Version   *string     `json:"version"`
	Authority *string     `json:"authority"`
	Headers   [][2]string `json:"headers"`
}

type caseLimits struct {
	Body *int64 `json:"body"`
}

// statuses is null, one number or a list in JSON.
type statuses []int

func (s *statuses) UnmarshalJSON(b []byte) error {
	if b[0] == '[' || string(b) == "null" {
		return json.Unmarshal(b, (*[]int)(s))
	}
	*s = make(statuses, 1)
	return json.Unmarshal(b, &(*s)[0])
}

// stricter lists the cases that this parser refuses although they say "accept".
var stricter = map[string]*Error{
	// RFC 3986 allows ',' in a host. No host has one, but two Host lines that a
	// proxy has joined do. Rule 32.
	"sweep-host-2c": errHost,
}

func TestCorpus(t *testing.T) {
	cases := corpus(t)
	for n, c := range cases {
		lim := c.limits()
		whole := feedCut(c.Input, lim)
		c.check(t, whole)
		if n%testrun.Rounds(1, 4) != 0 { // a quarter is cut
			continue
		}

		same := func(how string, cuts ...int) {
			if got := feedCut(c.Input, lim, cuts...); got.String() != whole.String() || got.refusal != whole.refusal {
				t.Errorf("%s, %s:\n%s\nwhole:\n%s", c.ID, how, got, whole)
			}
		}
		same("byte by byte", cutEvery(1, len(c.Input))...)
		same("seven bytes at a time", cutEvery(7, len(c.Input))...)
		if len(c.Input) <= splitBytesMax && !testing.Short() {
			for at := range len(c.Input) {
				same("split", at)
			}
		}
		c.checkSecond(t, whole)
		c.checkFollowed(t, whole)
	}
}

// One Request for all cases, in any order, with Reset between them: the result of each is
// that of a new Request, whatever the one before has left.
func TestCorpusReused(t *testing.T) {
	rounds := 5
	if testing.Short() {
		rounds = 1
	}
	cases := corpus(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	var used feeder
	for range rounds {
		for _, i := range random.Perm(len(cases)) {
			c := &cases[i]
			cuts := randomCuts(random, len(c.Input))
			used.again(c.limits())
			used.feedCut(c.Input, cuts...)
			used.expect(t, feedCut(c.Input, c.limits(), cuts...), c.Input, "%s, with a used Request, cut at %v", c.ID, cuts)
		}
	}
}

// Bytes before and after the input change nothing: old ones in the buffer, or the next
// request.
func TestCorpusAmid(t *testing.T) {
	testrun.Slow(t, "places each case amid nine fillings")
	for n, c := range corpus(t) {
		want := feedCut(c.Input, c.limits())
		for i, fill := range []string{"\x00", "\xff", " ", "a", ":", "\r", "\n", "\r\n", "0\r\n\r\n"} {
			if testing.Short() && (n+i)%3 != 0 { // each of them around a third of the cases
				continue
			}
			f := feeder{lim: c.limits(), place: amid(fill)}
			f.feedCut(c.Input)
			f.expect(t, want, c.Input, "%s, amid %q", c.ID, fill)
			if len(c.Input) <= splitBytesMax {
				f.again(c.limits())
				f.feedCut(c.Input, cutEvery(1, len(c.Input))...)
				f.expect(t, want, c.Input, "%s, amid %q, byte by byte", c.ID, fill)
			}
		}
	}
}

// randomCuts returns up to three cuts of n bytes.
func randomCuts(random *rand.Rand, n int) []int {
	cuts := make([]int, random.IntN(4))
	for i := range cuts {
		cuts[i] = random.IntN(n + 1)
	}
	slices.Sort(cuts)
	return cuts
}

// check compares the result with that of the case.
func (c *corpusCase) check(t *testing.T, f *feeder) {
	t.Helper()
	got := f.complete()
	if want, ok := stricter[c.ID]; ok {
		if f.refusal != want {
			t.Errorf("%s: refusal %v, want %v", c.ID, f.refusal, want)
		}
		return
	}
	if c.Expect == "reject" && c.Layer == "server" && f.refusal == nil {
		return
	}
	if len(got) != c.Requests {
		t.Errorf("%s: %d requests, want %d\n%s", c.ID, len(got), c.Requests, f)
		return
	}
	switch {
	case c.Expect == "accept" && f.refusal != nil:
		t.Errorf("%s: refused: %v", c.ID, f.refusal)
	case c.Expect == "reject" && c.EOF:
		if f.refusal == nil && !f.inBody && !f.r.Started() {
			t.Errorf("%s: the end of input went unnoticed", c.ID)
		}
	case c.Expect == "reject":
		var e *Error
		if !errors.As(f.refusal, &e) {
			t.Errorf("%s: not refused\n%s", c.ID, f)
		} else if !slices.Contains(c.Status, e.Status) {
			t.Errorf("%s: refused with %d (%v), want one of %v", c.ID, e.Status, e, c.Status)
		}
	case c.Close != f.closed:
		t.Errorf("%s: close = %v, want %v", c.ID, f.closed, c.Close)
	}
	if len(got) == 0 {
		return
	}
	bodies := c.Bodies
	if bodies == nil {
		bodies = [][]byte{c.Body}
	}
	for i := range min(len(bodies), len(got)) {
		if got[i].content != string(bodies[i]) {
			t.Errorf("%s: content %d is %q, want %q", c.ID, i, got[i].content, bodies[i])
		}
	}
	first := got[0]
	for _, x := range []struct {
		what string
		want *string
		got  string
	}{
		{"method", c.Method, first.method},
		{"target", c.Target, first.target},
		{"version", c.Version, first.version},
		{"authority", c.Authority, first.authority},
	} {
		if x.want != nil && latin1(*x.want) != x.got {
			t.Errorf("%s: %s %q, want %q", c.ID, x.what, x.got, *x.want)
		}
	}
	if c.Headers == nil {
		return
	}
	var want [][2]string
	for _, h := range c.Headers {
		want = append(want, [2]string{latin1(h[0]), latin1(h[1])})
	}
	if !slices.Equal(first.fields, want) {
		t.Errorf("%s: fields %q, want %q", c.ID, first.fields, want)
	}
}

// checkSecond runs the case after a request that sets every field of the Request: none of it
// may show.
func (c *corpusCase) checkSecond(t *testing.T, alone *feeder) {
	const before = "POST http://first.example/a?b HTTP/1.3\r\nHost: first\r\nConnection: keep-alive\r\n" +
		"Expect: 100-continue\r\nUpgrade: first\r\nContent-Type: first\r\nContent-Type: second\r\nTransfer-Encoding: chunked\r\nX: y\r\n\r\n1;a=b\r\nx\r\n0\r\nX: y\r\n\r\n"
	lim := c.limits()
	first := feedCut([]byte(before), lim)
	if len(first.complete()) != 1 {
		t.Fatalf("the first request did not pass: %v", first)
	}
	in := append([]byte(before), c.Input...)
	want := first.complete()[0].words + "\n" + alone.String()
	for _, cuts := range [][]int{nil, {len(before)}, cutEvery(1, len(in))} {
		got := feedCut(in, lim, cuts...)
		if got.String() != want || got.refusal != alone.refusal {
			t.Errorf("%s, as second request:\n%s\nwant:\n%s", c.ID, got, want)
		}
	}
}

// checkFollowed runs the case with another request after it.
func (c *corpusCase) checkFollowed(t *testing.T, alone *feeder) {
	const after = "GET /after HTTP/1.1\r\nHost: after\r\n\r\n"
	lim := c.limits()
	if alone.refusal == nil && !alone.closed && (alone.inBody || alone.r.Started() || bytes.HasSuffix(c.Input, []byte("\r"))) {
		return // it is incomplete: the next request would be a part of it
	}
	got := feedCut(append(c.Input[:len(c.Input):len(c.Input)], after...), lim)
	want := alone.requests
	if alone.refusal == nil && !alone.closed {
		want = append(want[:len(want):len(want)], feedCut([]byte(after), lim).requests...)
	}
	equal := slices.EqualFunc(got.requests, want, func(a, b delivered) bool { return a.words == b.words })
	if !equal || got.refusal != alone.refusal {
		t.Errorf("%s, followed:\n%s\nalone:\n%s", c.ID, got, alone)
	}
}

func (c *corpusCase) limits() Limits {
	lim := DefaultLimits()
	if c.Limits.Body != nil {
		lim.BodyBytes = *c.Limits.Body
	}
	return lim
}

func corpus(tb testing.TB) []corpusCase {
	tb.Helper()
	var cases []corpusCase
	for _, name := range []string{"testdata/requests.jsonl", "testdata/sweeps.jsonl"} {
		file, err := os.Open(name)
		if err != nil {
			tb.Fatal(err)
		}
		defer file.Close()
		lines := bufio.NewScanner(file)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			var c corpusCase
			decoder := json.NewDecoder(bytes.NewReader(lines.Bytes()))
			if err := decoder.Decode(&c); err != nil {
				tb.Fatalf("%s: %v", name, err)
			}
			cases = append(cases, c)
		}
		if err := lines.Err(); err != nil {
			tb.Fatal(err)
		}
	}
	return cases
}

// latin1 returns the bytes of a string that has one character for each byte.
func latin1(s string) string {
	var b strings.Builder
	for _, c := range s {
		b.WriteByte(byte(c))
	}
	return b.String()
}
