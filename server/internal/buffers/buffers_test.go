package buffers

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// A queue gives back what was added, in order, whatever the pieces, and holds no more memory than
// twice its limit and the largest piece need.
func TestQueue(t *testing.T) {
	const limit = 4 << 10
	r := rand.New(rand.NewPCG(1, 2))
	var q Queue
	var want []byte
	next := byte(0)
	for range 20000 {
		if n := r.IntN(700); q.Len()+n <= limit {
			piece := make([]byte, n)
			for i := range piece {
				piece[i] = next
				next++
			}
			q.Add(piece, limit)
			want = append(want, piece...)
		}
		if !bytes.Equal(q.Bytes(), want) || q.Len() != len(want) {
			t.Fatalf("%d bytes wait, want %d", q.Len(), len(want))
		}
		switch n := r.IntN(900); {
		case n%3 == 0:
			n = min(n, q.Len())
			q.Skip(n)
			want = want[n:]
		default:
			got := make([]byte, n)
			got = got[:q.Read(got)]
			if len(got) != min(n, len(want)) || !bytes.Equal(got, want[:len(got)]) {
				t.Fatalf("read %d other bytes", len(got))
			}
			want = want[len(got):]
		}
	}
	if q.Cap() > limit {
		t.Errorf("the queue holds %d bytes, want at most %d", q.Cap(), limit)
	}
}

// Memory doubles below the limit and grows to the need above it.
func TestGrow(t *testing.T) {
	for _, tt := range []struct{ length, capacity, n, limit, want int }{
		{0, 0, 10, 100, 10},
		{10, 10, 1, 100, 20},
		{60, 60, 1, 100, 100},
		{60, 60, 200, 100, 260},
		{5, 10, 5, 100, 10},
		{200, 200, 1, 100, 201},
	} {
		if b := Grow(make([]byte, tt.length, tt.capacity), tt.n, tt.limit); cap(b) != tt.want || len(b) != tt.length {
			t.Errorf("%+v: length %d, capacity %d", tt, len(b), cap(b))
		}
	}
}

// Release lets large memory go, and keeps small.
func TestRelease(t *testing.T) {
	for _, tt := range []struct{ size, want int }{{100, 100}, {KeptMax, KeptMax}, {KeptMax + 1, 0}} {
		var q Queue
		q.Add(make([]byte, tt.size), tt.size)
		q.Release()
		if q.Len() != 0 || q.Cap() != tt.want {
			t.Errorf("%d bytes: %d left, capacity %d, want %d", tt.size, q.Len(), q.Cap(), tt.want)
		}
	}
}
