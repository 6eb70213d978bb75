package parser

import (
	"fmt"
	"strings"
	"testing"
)

// feeder is the server's side of one connection: it passes the input to Parse and Decode,
// drops what they have used, and stops at a refusal or after a request that ends the
// connection.
type feeder struct {
	lim      Limits
	requests []delivered
	refusal  error
	closed   bool // the last request ends the connection: nothing more may be parsed

	// place moves the bytes of a call to another address. Nil leaves them.
	place func(b []byte) []byte

	r       Request
	in      []byte // the input from the start of this request's head, and of its content later
	inBody  bool
	body    Body
	content []byte
	trailer []byte
	head    string
}

// delivered is one complete request, as text that does not depend on its place in the buffer.
type delivered struct {
	method, target, version, authority string
	fields                             [][2]string
	content, trailer                   string
	words                              string // all of it, by describe
}

// feed parses in[:arrived], and may be called again with more.
func (f *feeder) feed(in []byte, used, arrived int) int {
	for f.refusal == nil && !f.closed {
		window := in[used:arrived:arrived]
		if !f.inBody {
			n, err := f.r.Parse(f.placed(window), &f.lim)
			if err != nil {
				f.refusal = err
				return used
			}
			if n == 0 {
				return used
			}
			f.in = window
			f.head = describe(&f.r, window)
			f.requests = append(f.requests, deliver(&f.r, window))
			f.body = f.r.Body()
			f.inBody = true
			f.content, f.trailer = nil, nil
			used += n
			continue
		}
		if f.body.Done() {
			last := &f.requests[len(f.requests)-1]
			last.content, last.trailer = string(f.content), string(f.trailer)
			last.words = fmt.Sprintf("%s content=%q", f.head, f.content)
			if len(f.trailer) > 0 {
				last.words += fmt.Sprintf(" trailer=%q", f.trailer)
			}
			f.closed = !f.r.KeepAlive()
			f.r.Reset()
			f.inBody = false
			continue
		}
		placed := f.placed(window)
		data, n, err := f.body.Decode(placed, &f.lim)
		if err != nil {
			f.refusal = err
			return used
		}
		f.checkDecode(window, data, n)
		if n == 0 {
			return used
		}
		f.content = append(f.content, data...)
		f.trailer = append(f.trailer, f.body.Trailer(placed[:n])...)
		used += n
	}
	return used
}

// checkDecode checks what the comment of Decode says of data and n, and that Decode uses all
// input up to the end of the content or of a run of data, so that after data there is framing.
func (f *feeder) checkDecode(window, data []byte, n int) {
	if len(data) > n || cap(data) != len(data) {
		panic(fmt.Sprintf("Decode returned %d bytes of data (capacity %d) for %d used", len(data), cap(data), n))
	}
	if n == len(window) || f.body.Done() {
		return
	}
	next := f.body
	more, m, err := next.Decode(window[n:], &f.lim)
	if len(data) == 0 || err == nil && len(more) == m {
		panic(fmt.Sprintf("Decode used %d of %d bytes, and then %d more", n, len(window), m))
	}
}

func (f *feeder) placed(b []byte) []byte {
	if f.place == nil {
		return b
	}
	return f.place(b)
}

// again resets f for another connection, with the same Request.
func (f *feeder) again(lim Limits) {
	f.lim = lim
	f.requests = nil
	f.refusal = nil
	f.closed = false
	f.inBody = false
	f.r.Reset()
}

// complete returns the requests whose content is complete.
func (f *feeder) complete() []delivered {
	if f.inBody {
		return f.requests[:len(f.requests)-1]
	}
	return f.requests
}

func (f *feeder) String() string {
	var s strings.Builder
	for _, r := range f.complete() {
		s.WriteString(r.words)
		s.WriteByte('\n')
	}
	if f.inBody {
		fmt.Fprintf(&s, "%s and %q of its content\n", f.head, f.content)
	}
	fmt.Fprintf(&s, "closed=%v started=%v refusal=%v", f.closed, f.refusal == nil && f.r.Started(), f.refusal)
	return s.String()
}

// feedCut feeds in, cut at cuts, with takeLines and without: the results must be equal.
func feedCut(in []byte, lim Limits, cuts ...int) *feeder {
	var f *feeder
	eachWay(func() {
		first := f
		f = &feeder{lim: lim}
		f.feedCut(in, cuts...)
		if first != nil && (f.String() != first.String() || f.refusal != first.refusal) {
			panic(fmt.Sprintf("%.1000q cut at %v, without marks:\n%s\nwith marks:\n%s", in, cuts, f, first))
		}
	})
	return f
}

func (f *feeder) feedCut(in []byte, cuts ...int) {
	used := 0
	for _, cut := range cuts {
		used = f.feed(in, used, cut)
	}
	f.feed(in, used, len(in))
}

// expect compares f, fed as how describes, with a feeder that was fed the same bytes at once.
func (f *feeder) expect(t *testing.T, want *feeder, in []byte, how string, a ...any) {
	t.Helper()
	if f.String() != want.String() || f.refusal != want.refusal {
		t.Errorf("%.1000q, %s:\n%s\nwant:\n%s", in, fmt.Sprintf(how, a...), f, want)
	}
}

// amid returns a place for feeder: in the middle of other bytes, made of fill. The bytes
// after it are within the capacity of the slice.
func amid(fill string) func(b []byte) []byte {
	const around = 64
	other := strings.Repeat(fill, around/len(fill))
	var buf []byte
	return func(b []byte) []byte {
		buf = append(buf[:0], other...)
		buf = append(buf, b...)
		buf = append(buf, other...)
		return buf[len(other):][:len(b)]
	}
}

// cutsBy returns cuts of n bytes. The distance of each to the one before is a byte of steps
// plus 1; steps is used repeatedly.
func cutsBy(steps []byte, n int) []int {
	if len(steps) == 0 {
		return nil
	}
	var cuts []int
	for i, at := 0, 0; ; i++ {
		at += int(steps[i%len(steps)]) + 1
		if at >= n {
			return cuts
		}
		cuts = append(cuts, at)
	}
}

// cutEvery returns the cuts after each step bytes of n.
func cutEvery(step, n int) []int {
	var cuts []int
	for at := step; at < n; at += step {
		cuts = append(cuts, at)
	}
	return cuts
}

func deliver(r *Request, b []byte) delivered {
	d := delivered{
		method:    string(r.Method.Of(b)),
		target:    string(r.Target.Of(b)),
		version:   fmt.Sprintf("HTTP/1.%d", r.Minor),
		authority: string(r.Authority.Of(b)),
	}
	for _, f := range r.Fields() {
		d.fields = append(d.fields, [2]string{string(f.Name.Of(b)), string(f.Value.Of(b))})
	}
	return d
}

// describe returns everything that a Request says, as text.
func describe(r *Request, b []byte) string {
	var s strings.Builder
	fmt.Fprintf(&s, "%q %q path=%q query=%q authority=%q form=%d minor=%d keep=%v expect=%d length=%d",
		r.Method.Of(b), r.Target.Of(b), r.Path.Of(b), r.Query.Of(b), r.Authority.Of(b),
		r.targetForm, r.Minor, r.KeepAlive(), r.Expectation(), bodyLength(r))
	for _, f := range r.Fields() {
		fmt.Fprintf(&s, " %q=%q", f.Name.Of(b), f.Value.Of(b))
	}
	for k := range Known(knownCount) {
		if v, ok := r.Known(k); ok {
			fmt.Fprintf(&s, " known%d=%q", k, v.Of(b))
		}
	}
	return s.String()
}

func bodyLength(r *Request) int64 {
	body := r.Body()
	return body.Length()
}
