//go:build unix

package parser

import (
	"runtime/debug"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/isbjorn/isbjorn/internal/testrun"
)

// guard is memory between two unreadable pages: a read of one byte before its beginning or
// after its end faults.
type guard struct {
	pages  []byte // all of it
	memory []byte // what may be read and written
}

func newGuard(tb testing.TB) *guard {
	tb.Helper()
	const size = 1 << 20 // longer than any input
	page := unix.Getpagesize()
	pages, err := unix.Mmap(-1, 0, page+size+page, unix.PROT_NONE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := unix.Munmap(pages); err != nil {
			tb.Error(err)
		}
	})
	memory := pages[page : page+size : page+size]
	if err := unix.Mprotect(memory, unix.PROT_READ|unix.PROT_WRITE); err != nil {
		tb.Fatal(err)
	}
	return &guard{pages, memory}
}

// atEnd returns a copy of b that ends at the second page.
func (g *guard) atEnd(b []byte) []byte {
	place := g.memory[len(g.memory)-len(b):]
	copy(place, b)
	return place
}

// atStart returns a copy of b that begins after the first page. Its capacity is the whole
// memory, with bytes of earlier calls.
func (g *guard) atStart(b []byte) []byte {
	copy(g.memory, b)
	return g.memory[:len(b)]
}

// inside runs parse on in, and fails if it reads outside.
func (g *guard) inside(t *testing.T, in []byte, parse func()) {
	t.Helper()
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		switch fault := recover().(type) {
		case nil:
		case interface{ Addr() uintptr }:
			start := uintptr(unsafe.Pointer(&g.memory[0]))
			t.Fatalf("%.1000q: read at %d of memory 0 to %d", in, int(fault.Addr()-start), len(g.memory)-1)
		default:
			panic(fault)
		}
	}()
	parse()
}

// feed feeds in and compares with want. The input of each call is at either end of the memory,
// next to an unreadable page.
func (g *guard) feed(t *testing.T, in []byte, want *feeder, cuts ...int) {
	t.Helper()
	for _, place := range []func([]byte) []byte{g.atEnd, g.atStart} {
		g.inside(t, in, func() {
			eachWay(func() {
				f := feeder{lim: want.lim, place: place}
				f.feedCut(in, cuts...)
				f.expect(t, want, in, "between pages, cut at %v", cuts)
			})
		})
	}
}

// Invariant: a call reads nothing outside its input, for any bytes and any cuts, and bytes
// before or after them change nothing.
func FuzzParseInside(f *testing.F) {
	g := newGuard(f)
	seed(f, func(in []byte) { f.Add(in, []byte{6}, byte('\n')) })
	f.Fuzz(func(t *testing.T, in, steps []byte, fill byte) {
		if len(in) > len(g.memory) {
			return
		}
		for _, lim := range []Limits{DefaultLimits(), fuzzLimits()} {
			want := feedCut(in, lim)
			for _, cuts := range [][]int{nil, cutsBy(steps, len(in))} {
				g.feed(t, in, want, cuts...)
				f := feeder{lim: lim, place: amid(string([]byte{fill}))}
				f.feedCut(in, cuts...)
				f.expect(t, want, in, "amid %q, cut at %v", fill, cuts)
			}
		}
	})
}

// All of the corpus, whole and byte by byte.
func TestCorpusInside(t *testing.T) {
	testrun.Slow(t, "cuts each case in places")
	g := newGuard(t)
	for _, c := range corpus(t) {
		want := feedCut(c.Input, c.limits())
		g.feed(t, c.Input, want)
		if len(c.Input) <= splitBytesMax {
			g.feed(t, c.Input, want, cutEvery(1, len(c.Input))...)
		}
	}
}

// Every length of the elements that are read several bytes at a time, so that the input ends
// at every offset in such a step; whole, and with the first call ending at every offset of
// the last few steps.
func TestLengthsInside(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: each length with each cut near its end takes 2 s")
	}
	const (
		bytesMax = 130
		lastMax  = splitBytesMax / 8 // fewer with the race detector
	)
	g := newGuard(t)
	feed := func(in string) {
		want := feedCut([]byte(in), DefaultLimits())
		g.feed(t, []byte(in), want)
		for cut := max(len(in)-lastMax, 0); cut < len(in); cut++ {
			g.feed(t, []byte(in), want, cut)
		}
	}
	for _, b := range benchmarks {
		for n := range min(len(b.in), bytesMax) + 1 {
			feed(b.in[:n])
		}
	}
	long := head + strings.Repeat("Cookie: name=value; other=\"value\"\r\n", 90) + "\r\n"
	for n := range bytesMax + 1 {
		feed(browserHead[:len(browserHead)-n])
		feed(long[:len(long)-n])
		for _, before := range []string{
			"", "GET /", "GET /?", "GET http://", line, head + "X:",
			chunked + "1;", chunked + "1;a=\"", chunked + "0\r\n", chunked + "0\r\nX:",
		} {
			feed(before + strings.Repeat("a", n))
		}
		feed(head + "X:" + strings.Repeat(" ", n))
		feed(head + strings.Repeat("X:\r\n", n/4))
	}
}

// The bytes behind a request are read when it is parsed, and not with each request
// before it: all of a long pipeline would be read again for each of its
// requests. Here the bytes behind are there, but unreadable.
func TestLooksNoFurther(t *testing.T) {
	g := newGuard(t)
	// place returns b, so many readable bytes as may be marked in vain, and a page.
	place := func(b []byte) []byte {
		const ahead = 63
		end := len(g.pages) - unix.Getpagesize()
		placed := g.pages[end-ahead-len(b):]
		copy(placed, b)
		copy(placed[len(b):], strings.Repeat("a", ahead))
		return placed
	}
	lim := DefaultLimits()
	for _, in := range []string{helloHead, tfbHead, browserHead, postHead, chunkedHead, head + strings.Repeat("X:\r\n", 98) + "\r\n"} {
		b := []byte(in)
		g.inside(t, b, func() {
			var r Request
			if n, err := r.Parse(place(b), &lim); n != len(b) || err != nil {
				t.Errorf("%q and more: Parse = %d, %v, want %d", b, n, err, len(b))
			}
		})
	}
	for _, in := range []string{"0\r\n\r\n", "0;a=b\r\nX: y\r\n\r\n"} {
		b := []byte(in)
		g.inside(t, b, func() {
			body := Body{length: -1, state: chunkSize}
			if _, n, err := body.Decode(place(b), &lim); n != len(b) || err != nil {
				t.Errorf("%q and more: Decode = %d, %v, want %d", b, n, err, len(b))
			}
		})
	}
}
