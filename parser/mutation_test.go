package parser

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"github.com/isbjorn/isbjorn/internal/testrun"
)

// mutations is how many damaged heads and bodies TestMutations tries: about a
// second's worth. PARSER_MUTATIONS asks for another number.
const mutations = 15000

// Pieces that have a meaning somewhere in a request.
var pieces = []string{
	"\r", "\n", "\r\n", "\r\n\r\n", " ", "\t", ":", ",", ";", "=", "\"", "\\", "\x00", "\x7f", "\x80", "\xff",
	"/", "?", "#", "%", "%41", "*", "@", "[", "]", "[::1]", "::", ":80", "0", "1", "a", "f", "ffff",
	"GET", "CONNECT ", "OPTIONS ", "http://", "https://a", " HTTP/1.1\r\n", "HTTP/1.0", "HTTP/2.0",
	"Host: h\r\n", "Host: ", "Content-Length: ", "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n",
	"Transfer-Encoding: ", "chunked", "gzip, ", "Connection: close\r\n", "Connection: ", "keep-alive", "Expect: 100-continue\r\n",
	"Expect: ", "X: y\r\n", "X:", "0\r\n\r\n", "5\r\nhello\r\n", "5;a=b\r\n",
}

// Two invariants of the fuzz targets, for inputs that are nearly valid: the parser agrees with
// the reference, and cuts change nothing.
func TestMutations(t *testing.T) {
	count := testrun.Rounds(mutations, mutations/4)
	if s := os.Getenv("PARSER_MUTATIONS"); s != "" {
		var err error
		if count, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	cases := corpus(t)
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	for range count {
		from := cases[random.IntN(len(cases))].Input
		if len(from) > splitBytesMax {
			continue
		}
		in := append([]byte(nil), from...)
		for range 1 + random.IntN(4) {
			in = mutate(random, in, cases)
		}
		compareWithReference(t, in)
		lim := DefaultLimits()
		if random.IntN(2) == 0 {
			lim = fuzzLimits()
		}
		want := feedCut(in, lim)
		for _, cuts := range [][]int{cutEvery(1, len(in)), {random.IntN(len(in) + 1)}} {
			got := feedCut(in, lim, cuts...)
			if got.String() != want.String() || got.refusal != want.refusal {
				t.Errorf("%q cut at %v:\n%s\nwhole:\n%s", in, cuts, got, want)
			}
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func mutate(random *rand.Rand, in []byte, cases []corpusCase) []byte {
	at := random.IntN(len(in) + 1)
	end := min(at+random.IntN(12), len(in))
	piece := []byte(pieces[random.IntN(len(pieces))])
	switch random.IntN(5) {
	case 0: // one byte
		if at < len(in) {
			in[at] = byte(random.IntN(256))
		}
		return in
	case 1: // a piece more
		end = at
	case 2: // a few bytes less
		piece = nil
	case 3: // a piece in the place of a few bytes
	case 4: // the tail of another case
		other := cases[random.IntN(len(cases))].Input
		if len(other) <= splitBytesMax {
			piece, end = other[random.IntN(len(other)):], len(in)
		}
	}
	tail := append([]byte(nil), in[end:]...)
	return append(append(in[:at:at], piece...), tail...)
}
