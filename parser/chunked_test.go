package parser

import (
	"bytes"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
)

// Rule 48 to the byte: a chunk line that reaches the limit passes; with one byte more it is
// refused at its LF.
func TestChunkOverhead(t *testing.T) {
	// Sixteen bytes of data, and 15744 bytes of excess in chunk lines: 640 below the limit.
	most := strings.Repeat(chunk(1, 1000), 16)
	for _, tt := range []struct {
		name, before string
		size, line   int // data and line of the next chunk, which reaches the limit
	}{
		{"data", most, 1, 640 + 14 + 2},
		{"last chunk", most, 0, 640 + 14},
		{"more data", most, 100, 640 + 14 + 200},
		{"in steps", most + chunk(1, 336), 1, 320 + 14 + 2},
		{"one byte below", most + chunk(1, 655), 1, 1 + 14 + 2},
		{"one byte below, last chunk", most + chunk(1, 655), 0, 1 + 14},
		{"at the limit", most + chunk(1, 656), 0, 14},
		{"data pays twice", most + chunk(100, 14), 0, 640 + 14 + 200},
		{"a short line pays too", most + chunk(1, 1), 0, 640 + 14 + 15},
		{"all paid", most + chunk(15744/2, 14) + most, 0, 640 + 14},
		{"all but two paid", most + chunk(15744/2-1, 14) + most, 0, 638 + 14},
		{"paid and more", most + chunk(100000, 5) + most, 0, 640 + 14},
		{"nothing paid in advance", chunk(100000, 5) + most, 0, 640 + 14},
		{"nothing paid in advance by short lines", strings.Repeat(chunk(1, 1), 1000) + most, 0, 640 + 14},
	} {
		lim := DefaultLimits()
		pass := []byte(chunked + tt.before + chunk(tt.size, tt.line))
		over := []byte(chunked + tt.before + chunk(tt.size, tt.line+1))
		over = over[:len(over)-tt.size-len("\r\n")]
		if tt.size > 0 {
			pass = append(pass, "0\r\n\r\n"...)
		}
		for _, cuts := range [][]int{nil, {len(over) - 1}, cutEvery(7, len(over))} {
			if f := feedCut(pass, lim, cuts...); f.refusal != nil || len(f.complete()) != 1 {
				t.Errorf("%s: %d complete, refusal %v", tt.name, len(f.complete()), f.refusal)
			}
			if f := feedCut(over, lim, cuts...); f.refusal != errChunkOverhead {
				t.Errorf("%s, one byte more: refusal %v, want %v", tt.name, f.refusal, errChunkOverhead)
			}
		}
		if f := feedCut(over[:len(over)-1], lim); f.refusal != nil {
			t.Errorf("%s, one byte more, before the LF: refused: %v", tt.name, f.refusal)
		}
	}
}

// chunk returns a chunk with size bytes of data and a line of that many bytes.
// The last chunk has the final CRLF too.
func chunk(size, line int) string {
	b := strconv.FormatInt(int64(size), 16)
	if len(b) < line {
		b += ";" + strings.Repeat("a", line-len(b)-1)
	}
	return b + "\r\n" + strings.Repeat("x", size) + "\r\n"
}

// Trailer returns the lines of the trailer section as they were sent, wherever the input is
// cut, and nothing else.
func TestTrailer(t *testing.T) {
	for _, trailer := range []string{"", "X-Sum: 1\r\n", "a:\r\nB: \tc d \r\na: 2\r\n", "X-Long: " + strings.Repeat("x", 8000) + "\r\n"} {
		in := []byte(chunked + "5;x=y\r\nhello\r\n0\r\n" + trailer + "\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n")
		for _, cuts := range [][]int{nil, cutEvery(1, len(in)), cutEvery(7, len(in)), {len(in) - 31}, {len(in) - 32}} {
			f := feedCut(in, DefaultLimits(), cuts...)
			if got := f.complete(); len(got) != 2 || got[0].trailer != trailer || got[0].content != "hello" || got[1].trailer != "" {
				t.Errorf("cut at %v: %.500s, want the trailer %.100q", cuts, f, trailer)
			}
		}
	}
}

// The forbidden names of RFC 9110 section 6.5.1 are refused at their colon, in either case, on
// any line; names that differ from them by a byte are accepted.
func TestTrailerNames(t *testing.T) {
	lim := DefaultLimits()
	const before = chunked + "0\r\n"
	for _, name := range []string{
		"Content-Length", "Transfer-Encoding", "Trailer", "TE", "Connection", // framing
		"Host", "Expect", // routing, control
		"Authorization", "Proxy-Authorization", "Cookie", // authentication
		"Content-Encoding", "Content-Range", "Content-Type", // how to read the content
	} {
		for _, same := range []string{name, strings.ToLower(name), strings.ToUpper(name)} {
			for _, lines := range []string{"", "X:\r\n", name + "s: y\r\nX: y\r\n"} {
				in := []byte(before + lines + same + ":")
				for _, cuts := range [][]int{nil, cutEvery(1, len(in))} {
					if f := feedCut(in, lim, cuts...); f.refusal != errTrailerName {
						t.Errorf("%q: refusal %v, want %v", in, f.refusal, errTrailerName)
					}
				}
				if f := feedCut(in[:len(in)-1], lim); f.refusal != nil {
					t.Errorf("%q: refused before the colon: %v", in, f.refusal)
				}
			}
		}
		near := []string{
			name + "s", "X" + name, name + "-" + name, name + strings.Repeat("n", 40),
			name[1:], name[:len(name)-1], name[:len(name)-1] + "_",
		}
		if strings.Contains(name, "-") {
			near = append(near, strings.Replace(name, "-", "_", 1), strings.Replace(name, "-", "", 1))
		}
		for _, other := range near {
			in := []byte(before + other + ": y\r\n\r\n")
			if f := feedCut(in, lim); f.refusal != nil || len(f.complete()) != 1 {
				t.Errorf("%q: %d complete, refusal %v", in, len(f.complete()), f.refusal)
			}
		}
	}
}

// Invariant: content that is encoded with any allowed framing decodes to the same, and exactly
// its encoding is used. Too much framing is refused at the end of the chunk line where it
// exceeds the limit.
func FuzzChunkedRoundTrip(f *testing.F) {
	// One byte of data after a line of 772, again and again.
	overhead := []byte{1, 0, 0, 3, 0, 0, 255, 0, 0, 0, 0, 255, 0, 0, 0, 0, 255, 0, 0}
	f.Add([]byte("hello, world"), []byte(nil), []byte(nil))
	f.Add([]byte("hello, world"), []byte("7 as they come, UPPER and lower"), []byte{0, 4})
	random := rand.New(rand.NewPCG(0, 0))
	for range 40 {
		choices := make([]byte, 300)
		for i := range choices {
			choices[i] = byte(random.IntN(256))
		}
		f.Add(bytes.Repeat([]byte("\r\n0\r\n"), 100), choices, choices[:3])
	}
	f.Add(bytes.Repeat([]byte("x"), 100), bytes.Repeat(overhead, 21), []byte{3})
	f.Add(bytes.Repeat([]byte("x"), 100), bytes.Repeat(overhead, 22), []byte{200})
	f.Fuzz(func(t *testing.T, content, choices, steps []byte) {
		content = content[:min(len(content), 2000)]
		c := chooser(choices)
		encoded, sent, refused := c.encode(content)
		in := append(encoded[:len(encoded):len(encoded)], "1\r\nx\r\n0\r\n\r\n"...) // more that looks the same
		given := bytes.Clone(in)
		lim := DefaultLimits()
		for _, cuts := range [][]int{nil, cutEvery(1, len(in)), cutsBy(steps, len(in))} {
			got, used, err := decode(in, &lim, cuts)
			switch {
			case !bytes.Equal(got, content[:sent]):
				t.Errorf("%q cut at %v: content %q, want %q", in, cuts, got, content[:sent])
			case refused && err != errChunkOverhead:
				t.Errorf("%q cut at %v: refusal %v, want %v", encoded, cuts, err, errChunkOverhead)
			case !refused && (used != len(encoded) || err != nil):
				t.Errorf("%q cut at %v: %d bytes used, %v, want %d", in, cuts, used, err, len(encoded))
			}
		}
		before := encoded[:len(encoded)-1]
		if _, used, err := decode(before, &lim, nil); used != len(before) || err != nil {
			t.Errorf("%q: %d bytes used, %v, want %d and more needed", before, used, err, len(before))
		}
		if !bytes.Equal(in, given) {
			t.Errorf("%q is %q after decoding", given, in)
		}
	})
}

// decode returns the content at the start of in and how many bytes it used. in is cut at cuts.
func decode(in []byte, lim *Limits, cuts []int) (content []byte, used int, err error) {
	body := Body{length: -1, state: chunkSize}
	for _, arrived := range append(cuts[:len(cuts):len(cuts)], len(in)) {
		for n := 1; n > 0 && !body.Done(); used += n {
			var data []byte
			data, n, err = body.Decode(in[used:arrived], lim)
			if err != nil {
				return content, used, err
			}
			content = append(content, data...)
		}
	}
	return content, used, nil
}

// chooser makes choices by its bytes; after the last byte always the first choice.
type chooser []byte

func (c *chooser) below(n int) int {
	if len(*c) == 0 {
		return 0
	}
	choice := int((*c)[0]) % n
	*c = (*c)[1:]
	return choice
}

func (c *chooser) of(choices ...string) string { return choices[c.below(len(choices))] }

// word returns least to least+255 bytes of alphabet.
func (c *chooser) word(least int, alphabet string) string {
	size := least + c.below(256)
	from := c.below(len(alphabet))
	return strings.Repeat(alphabet, 2+size/len(alphabet))[from:][:size]
}

// encode encodes content with all that RFC 9112 section 7.1 allows. It counts the excess of
// rule 48 and stops at the end of a chunk line that exceeds the limit; sent is how much of
// the content is encoded before that.
func (c *chooser) encode(content []byte) (encoded []byte, sent int, refused bool) {
	unpaid := 0
	for {
		size := len(content) - sent
		if n := c.below(256); 0 < n && n < size {
			size = n
		}
		line := c.chunkLine(size) + "\r\n"
		encoded = append(encoded, line...)
		unpaid = max(0, unpaid+len(line)-16-2*size)
		if unpaid > 16384 {
			return encoded, sent, true
		}
		if size == 0 {
			break
		}
		encoded = append(encoded, content[sent:sent+size]...)
		encoded = append(encoded, "\r\n"...)
		sent += size
	}
	for range c.below(4) {
		encoded = append(encoded, "x-"+c.word(0, tokenBytes)+":"+c.word(0, "a\t :;\"\\\x80\xff~!")+"\r\n"...)
	}
	return append(encoded, "\r\n"...), sent, false
}

const tokenBytes = letters + digits + "!#$%&'*+-.^_`|~"

// chunkLine returns a chunk line within the default limit, without CRLF.
func (c *chooser) chunkLine(size int) string {
	line := strconv.FormatInt(int64(size), 16)
	if c.below(2) == 1 {
		line = strings.ToUpper(line)
	}
	line = strings.Repeat("0", c.below(17-len(line))) + line
	for range c.below(4) {
		if more := line + c.extension(); len(more) <= 1024 {
			line = more
		}
	}
	return line
}

func (c *chooser) extension() string {
	const quotedBytes = letters + digits + "\t !#$%&'()*+,-./:;<=>?@[]^_`{|}~\x80\xff"
	space := func() string { return c.of("", " ", "\t", " \t ") }
	extension := space() + ";" + space() + c.word(1, tokenBytes)
	switch c.below(3) {
	case 1:
		extension += space() + "=" + space() + c.word(1, tokenBytes)
	case 2:
		pair := c.of("", `\"`, `\\`, `\a`, "\\\t", "\\\xff")
		extension += space() + "=" + space() + `"` + c.word(0, quotedBytes) + pair + c.word(0, quotedBytes) + `"`
	}
	return extension
}
