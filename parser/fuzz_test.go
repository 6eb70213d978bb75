package parser

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// seed adds the rows of the rules test and a sample of the corpus: the fuzzer needs its
// vocabulary, not all of it.
func seed(f *testing.F, add func(in []byte)) {
	const oneIn = 25
	for _, tt := range ruleTests {
		if len(tt.in) <= 1000 {
			add([]byte(tt.in))
		}
	}
	for i, c := range corpus(f) {
		if i%oneIn == 0 && len(c.Input) <= 1000 && i < 544 {
			add(c.Input)
		}
	}
	add([]byte(browserHead))
}

// fuzzLimits are small, so that the fuzzer reaches them.
func fuzzLimits() Limits {
	return Limits{MethodBytes: 9, TargetBytes: 60, HeadBytes: 700, Fields: 6, BodyBytes: 200, ChunkLineBytes: 40, TrailerBytes: 60, TrailerFields: 3}
}

// Invariant: the result does not depend on where the bytes are cut.
func FuzzParseCut(f *testing.F) {
	seed(f, func(in []byte) { f.Add(in, uint16(1), uint16(9)) })
	f.Fuzz(func(t *testing.T, in []byte, step, at uint16) {
		for _, lim := range []Limits{DefaultLimits(), fuzzLimits()} {
			want := feedCut(in, lim)
			for _, cuts := range [][]int{cutEvery(1, len(in)), cutEvery(int(step)+1, len(in)), {int(at) % (len(in) + 1)}} {
				got := feedCut(in, lim, cuts...)
				if got.String() != want.String() || got.refusal != want.refusal {
					t.Errorf("%q cut at %v:\n%s\nwhole:\n%s", in, cuts, got, want)
				}
			}
		}
	})
}

// Invariant: the same for chunked content; and of what is accepted net/http reads the same
// content and trailer. Exception: net/http refuses whitespace between
// chunk-size and ';', which RFC 9112 section 7.1.1 says to accept.
func FuzzChunkedCut(f *testing.F) {
	seed(f, func(in []byte) {
		if _, after, ok := bytes.Cut(in, []byte(chunked)); ok {
			f.Add(after, uint16(1))
		}
	})
	f.Fuzz(func(t *testing.T, in []byte, step uint16) {
		in = append([]byte(chunked), in...)
		for _, lim := range []Limits{DefaultLimits(), fuzzLimits()} {
			want := feedCut(in, lim)
			for _, cuts := range [][]int{{len(chunked)}, cutEvery(1, len(in)), cutEvery(int(step)+1, len(in))} {
				got := feedCut(in, lim, cuts...)
				if got.String() != want.String() || got.refusal != want.refusal {
					t.Errorf("%q cut at %v:\n%s\nwhole:\n%s", in, cuts, got, want)
				}
			}
			if len(want.complete()) == 0 || bytes.Contains(in, []byte(" ;")) || bytes.Contains(in, []byte("\t;")) {
				continue
			}
			r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(in)))
			if err != nil {
				t.Fatalf("net/http: %v", err)
			}
			content, err := io.ReadAll(r.Body)
			if err != nil || string(content) != want.requests[0].content {
				t.Errorf("%q: content %q, net/http reads %q, %v", in, want.requests[0].content, content, err)
			}
			trailer := http.Header{}
			for line := range strings.SplitSeq(want.requests[0].trailer, "\r\n") {
				if name, value, ok := strings.Cut(line, ":"); ok {
					trailer.Add(name, strings.Trim(value, " \t"))
				}
			}
			if len(trailer)+len(r.Trailer) > 0 && !reflect.DeepEqual(trailer, r.Trailer) {
				t.Errorf("%q: trailer %q, net/http reads %q", in, trailer, r.Trailer)
			}
		}
	})
}

// Invariant: nothing is allocated, for any bytes and any cuts.
func FuzzParseAllocates(f *testing.F) {
	const runs = 20 // AllocsPerRun rounds down: once in all of them does not count
	seed(f, func(in []byte) { f.Add(in, []byte{6}) })
	limits := []Limits{DefaultLimits(), fuzzLimits()}
	var r Request
	f.Fuzz(func(t *testing.T, in, steps []byte) {
		cuts := cutsBy(steps, len(in))
		got := testing.AllocsPerRun(runs, func() {
			for i := range limits {
				parseAll(&r, in, nil, &limits[i])
				parseAll(&r, in, cuts, &limits[i])
			}
		})
		if got != 0 {
			t.Errorf("%q whole and cut at %v: %v allocations, want 0", in, cuts, got)
		}
	})
}

// Invariant: progress is linear. A call reads the new bytes and a few before them; the bytes
// that earlier calls have read may be overwritten. feeder checks the progress of Decode.
func FuzzParseLinear(f *testing.F) {
	seed(f, func(in []byte) { f.Add(in, []byte{6}) })
	f.Fuzz(func(t *testing.T, in, steps []byte) {
		for _, lim := range []Limits{DefaultLimits(), fuzzLimits()} {
			want := feedCut(in, lim)
			for _, cuts := range [][]int{cutEvery(1, len(in)), cutsBy(steps, len(in))} {
				f := feeder{lim: lim}
				heads, given := 0, 0 // complete heads; bytes of the next one in the last call
				f.place = func(b []byte) []byte {
					if f.inBody {
						return b
					}
					if heads != len(f.requests) {
						heads, given = len(f.requests), 0
					}
					scan := int(f.r.scan)
					if given-scan > scanAgainMax {
						t.Errorf("%q cut at %v: after %d bytes %d are looked at again", in, cuts, given, given-scan)
					}
					given = len(b)
					return spent(b, scan)
				}
				f.feedCut(in, cuts...)
				f.expect(t, want, in, "without what is spent, cut at %v", cuts)
			}
		}
	})
}

// Invariant: net/http reads what this parser accepts in the same way. Exceptions:
//   - net/http parses the target as a URL, and refuses a '%' that is not followed
//     by two hexadecimal digits, and some hosts. Rule 7 leaves '%' to the path
//     decoder.
//   - net/http deletes Host and Transfer-Encoding from the fields, and checks the
//     names in Trailer against its own list.
//   - net/http takes HTTP/1.0 bodies and versions as we do, but reads the Host of
//     an absolute-form from the target only: so do we, as Authority. It decodes
//     percent triplets in there, which stay as sent here (rule 9).
func FuzzParseAgainstNetHTTP(f *testing.F) {
	seed(f, func(in []byte) { f.Add(in) })
	f.Fuzz(func(t *testing.T, in []byte) {
		lim := DefaultLimits()
		var r Request
		n, err := r.Parse(in, &lim)
		if n == 0 || err != nil {
			return
		}
		target := string(r.Target.Of(in))
		if _, err := url.ParseRequestURI(target); err != nil {
			return
		}
		if slices.ContainsFunc(r.Fields(), func(f Field) bool { return equalFold(f.Name.Of(in), "Trailer") }) {
			return
		}
		rest := in[n:]
		source := bufio.NewReader(bytes.NewReader(in[r.start:])) // net/http takes no leading CRLF
		theirs, err := http.ReadRequest(source)
		if err != nil {
			t.Fatalf("%q is accepted, net/http: %v", in[:n], err)
		}
		if got := string(r.Method.Of(in)); got != theirs.Method {
			t.Errorf("%q: method %q, net/http %q", in, got, theirs.Method)
		}
		if target != theirs.RequestURI {
			t.Errorf("%q: target %q, net/http %q", in, target, theirs.RequestURI)
		}
		if int(r.Minor) != theirs.ProtoMinor {
			t.Errorf("%q: minor %d, net/http %d", in, r.Minor, theirs.ProtoMinor)
		}
		got := string(r.Authority.Of(in))
		if r.targetForm == absoluteForm {
			got, _ = url.PathUnescape(got) // of triplets that are good, as in every host
		}
		if got != theirs.Host {
			t.Errorf("%q: authority %q, net/http %q", in, got, theirs.Host)
		}
		if got := bodyLength(&r); got != theirs.ContentLength {
			t.Errorf("%q: length %d, net/http %d", in, got, theirs.ContentLength)
		}
		want := http.Header{}
		for _, f := range r.Fields() {
			name := http.CanonicalHeaderKey(string(f.Name.Of(in)))
			if name != "Host" && name != "Transfer-Encoding" {
				want[name] = append(want[name], string(f.Value.Of(in)))
			}
		}
		if len(want) != len(theirs.Header) {
			t.Errorf("%q: fields %q, net/http %q", in, want, theirs.Header)
		}
		for name, values := range want {
			if !slices.Equal(values, theirs.Header[name]) {
				t.Errorf("%q: %s %q, net/http %q", in, name, values, theirs.Header[name])
			}
		}
		if r.framing == byNothing {
			if left, err := io.ReadAll(source); err != nil || !bytes.Equal(left, rest) {
				t.Errorf("%q: the head ends before %q, net/http before %q", in, rest, left)
			}
		}
	})
}

// Invariant: the parser and the slow reference agree on every head: its content if it is
// complete, the status if it is refused, or that more bytes are needed.
func FuzzParseReference(f *testing.F) {
	seed(f, func(in []byte) { f.Add(in) })
	f.Fuzz(compareWithReference)
}

func compareWithReference(t *testing.T, in []byte) {
	for _, lim := range []Limits{DefaultLimits(), fuzzLimits()} {
		feedCut(in, lim) // with takeLines and without
		want, status := reference(in, lim)
		var r Request
		n, err := r.Parse(in, &lim)
		switch {
		case err != nil:
			if got := err.(*Error).Status; got != status {
				t.Errorf("%q: refused with %d, %v; the reference says %d, %+v", in, got, err, status, want)
			}
		case n == 0:
			if want != nil || status != 0 {
				t.Errorf("%q: more needed; the reference says %d, %+v", in, status, want)
			}
		case want == nil:
			t.Errorf("%q: accepted; the reference says %d", in, status)
		default:
			if got, want := describe(&r, in), want.describe(); got != want {
				t.Errorf("%q:\n%s\nthe reference says:\n%s", in, got, want)
			}
			if n != want.used {
				t.Errorf("%q: %d bytes used, the reference says %d", in, n, want.used)
			}
		}
	}
}

// describe is like describe of a Request, without its Known fields.
func (h *referenceHead) describe() string {
	form := slices.Index([]string{"origin", "absolute", "authority", "asterisk"}, h.form)
	s := fmt.Sprintf("%q %q path=%q query=%q authority=%q form=%d minor=%d keep=%v expect=%d length=%d",
		h.method, h.target, h.path, h.query, h.authority, form, h.minor, h.keepAlive, h.expect, h.length)
	for _, f := range h.fields {
		s += fmt.Sprintf(" %q=%q", f[0], f[1])
	}
	for k, name := range []string{"host", "content-length", "transfer-encoding", "connection", "expect", "upgrade", "content-type"} {
		if values := h.values(name); len(values) > 0 {
			s += fmt.Sprintf(" known%d=%q", k, values[0])
		}
	}
	return s
}

// The reference against the whole corpus, and every prefix of its smaller inputs.
func TestReference(t *testing.T) {
	for _, c := range corpus(t) {
		if len(c.Input) > splitBytesMax || testing.Short() {
			compareWithReference(t, c.Input)
			continue
		}
		for n := range len(c.Input) + 1 {
			compareWithReference(t, c.Input[:n])
		}
	}
}
