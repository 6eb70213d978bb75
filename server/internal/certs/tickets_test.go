package certs

import (
	"bytes"
	"testing"
	"time"
)

// There is a new secret each day, and each is kept for a week.
func TestRotate(t *testing.T) {
	var s Tickets
	now := time.Unix(1e9, 0)
	if !s.Rotate(now) || s.Rotate(now.Add(ticketRotation-time.Second)) {
		t.Error("a new secret at the wrong time")
	}
	first := s.Keys("a")[0]
	for day := 1; day <= 10; day++ {
		if !s.Rotate(now.Add(time.Duration(day) * ticketRotation)) {
			t.Errorf("no new secret on day %d", day)
		}
		keys := s.Keys("a")
		if want := min(day+1, 7); len(keys) != want {
			t.Errorf("day %d: %d keys, want %d", day, len(keys), want)
		}
		if keys[0] == first || (keys[len(keys)-1] == first) != (day < 7) {
			t.Errorf("day %d: the first key is at the wrong place", day)
		}
	}
}

// Each configuration has keys of its own.
func TestKeysByLabel(t *testing.T) {
	var s Tickets
	s.Rotate(time.Now())
	if a, b := s.Keys("a"), s.Keys("b"); a[0] == b[0] || a[0] != s.Keys("a")[0] {
		t.Error("keys are the same for two labels, or differ for one")
	}
}

func TestHandOver(t *testing.T) {
	var old, next Tickets
	now := time.Now()
	for day := range 3 {
		old.Rotate(now.Add(time.Duration(day) * ticketRotation))
	}
	var b bytes.Buffer
	if _, err := old.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	if _, err := next.ReadFrom(bytes.NewReader(b.Bytes())); err != nil {
		t.Fatal(err)
	}
	is, want := next.Keys("a"), old.Keys("a")
	if len(is) != 3 || is[0] != want[0] || is[2] != want[2] {
		t.Errorf("%d keys came over, of %d", len(is), len(want))
	}
	if _, err := next.ReadFrom(bytes.NewReader(b.Bytes()[1:])); err == nil || len(next.Keys("a")) != 3 {
		t.Errorf("what was cut: %v", err)
	}
}
