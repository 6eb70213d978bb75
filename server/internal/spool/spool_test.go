package spool

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"testing"
)

// Content comes back as it was added, whatever the runs, in memory or in a file; space is what the file
// has, and Release gives everything back.
func TestContent(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, open := range []func(string) (File, error){Open, Create} {
		o := &Options{MemoryBytes: 8 << 10, Dir: t.TempDir(), Space: &Space{Max: -1}, Open: open}
		for range 60 {
			var c Content
			var want []byte
			for range r.IntN(20) {
				for range r.IntN(5) {
					run := make([]byte, r.IntN(1<<r.IntN(18)))
					for i := range run {
						run[i] = byte(r.Uint32())
					}
					if err := c.Add(run, o); err != nil {
						t.Fatal(err)
					}
					want = append(want, run...)
				}
				if err := c.Flush(); err != nil {
					t.Fatal(err)
				}
			}
			got := c.Bytes()
			if c.File() != nil {
				if got != nil {
					t.Fatalf("%d bytes are in memory beside the file", len(got))
				}
				got = make([]byte, len(want))
				if _, err := io.ReadFull(io.NewSectionReader(c.File(), 0, c.Size()), got); err != nil {
					t.Fatal(err)
				}
				if o.Space.Used() != c.Size() {
					t.Fatalf("%d bytes of the account are used for %d", o.Space.Used(), c.Size())
				}
			} else if len(want) > o.MemoryBytes {
				t.Fatalf("%d bytes are in memory", len(want))
			}
			if c.Size() != int64(len(want)) || !bytes.Equal(got, want) {
				t.Fatalf("%d other bytes", c.Size())
			}
			if c.Release(); o.Space.Used() != 0 || !c.Empty() || c.Size() != 0 {
				t.Fatalf("%d bytes of the account are used after Release", o.Space.Used())
			}
		}
	}
}

// A full account is an error of the write that does not fit, and what fits stays.
func TestSpace(t *testing.T) {
	o := &Options{MemoryBytes: 0, Dir: t.TempDir(), Space: &Space{Max: 100_000}, Open: Open}
	var a, b Content
	run := make([]byte, 60_000)
	if err := a.Add(run, o); err != nil {
		t.Fatal(err)
	}
	if err := b.Add(run, o); err != ErrSpace {
		t.Errorf("beyond the account: %v, want %v", err, ErrSpace)
	}
	b.Release()
	if o.Space.Used() != 60_000 {
		t.Errorf("%d bytes are used, want 60000", o.Space.Used())
	}
	a.Release()
	if o.Space.Used() != 0 {
		t.Errorf("%d bytes are used after all", o.Space.Used())
	}
}

// An application's temporary file takes room as it grows, and gives it back once.
func TestAppFile(t *testing.T) {
	full := errors.New("full")
	o := Options{Dir: t.TempDir(), Space: &Space{Max: 100}, Open: Open}
	f, err := o.OpenForApp("", full)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		off, n, used int64
		err          error
	}{{0, 60, 60, nil}, {0, 60, 60, nil}, {50, 20, 70, nil}, {70, 31, 70, full}, {99, 1, 100, nil}, {100, 1, 100, full}} {
		if _, err := f.WriteAt(make([]byte, tt.n), tt.off); err != tt.err || o.Space.Used() != tt.used {
			t.Errorf("%d bytes at %d: %v, %d used, want %v, %d", tt.n, tt.off, err, o.Space.Used(), tt.err, tt.used)
		}
	}
	if err := f.Close(); err != nil || o.Space.Used() != 0 {
		t.Errorf("Close: %v, %d bytes used", err, o.Space.Used())
	}
	_, wrote := f.WriteAt([]byte("x"), 0)
	if again := f.Close(); !errors.Is(again, os.ErrClosed) || !errors.Is(wrote, os.ErrClosed) || o.Space.Used() != 0 {
		t.Errorf("after Close: %v, %v, %d bytes used", again, wrote, o.Space.Used())
	}
	if _, err := o.OpenForApp(t.TempDir()+"/none", full); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a directory that is not there: %v", err)
	}
}
