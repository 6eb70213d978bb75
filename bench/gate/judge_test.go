package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

// machine makes up samples of CPU time.
type machine struct {
	planted float64 // what the tree costs more, as a part
	noise   float64 // of each measurement, as a part of it
	drift   float64 // how much slower the machine has become at the end
	modes   float64 // how probable it is that a measurement begins in the other of two speeds
	hiccup  int     // pairs that are disturbed, by one side
}

func (m machine) sample(r *rand.Rand, pairs int) []pair {
	speed := 1.0
	measure := func(i int, cost float64) float64 {
		if r.Float64() < m.modes {
			speed = 1.9 - speed + 1 // 1 or 1.9
		}
		return cost * speed * (1 + m.drift*float64(i)/float64(pairs)) * math.Exp(m.noise*r.NormFloat64())
	}
	var made []pair
	for i := range pairs {
		p := pair{treeFirst: i%2 == 1}
		if p.treeFirst {
			p.tree, p.base = measure(i, 1+m.planted), measure(i, 1)
		} else {
			p.base, p.tree = measure(i, 1), measure(i, 1+m.planted)
		}
		if i < m.hiccup {
			p.tree *= 3
		}
		made = append(made, p)
	}
	return made
}

// fails is the whole way of a time: judged, repeated on suspicion, and judged.
func (m machine) fails(r *rand.Rand, pairs, comparisons int) bool {
	s := &series{&subject{name: "Made"}, cpuUsed, m.sample(r, pairs)}
	if v := s.time(alpha / float64(comparisons)); !v.suspect {
		return false
	}
	s.pairs = append(s.pairs, m.sample(r, pairs)...)
	return s.time(alpha / float64(comparisons)).loss
}

func TestJudgeTimes(t *testing.T) {
	const trials = 10_000
	const some = trials / 10 // exact p of so many pairs take their time
	tests := []struct {
		name        string
		machine     machine
		pairs       int
		trials      int
		least, most int // trials that fail
	}{
		{"nothing", machine{noise: 0.03}, pairsMin, trials, 0, 0},
		{"nothing, noisy", machine{noise: 0.1}, pairsMin, trials, 0, 10},
		{"nothing, on a machine that drifts", machine{noise: 0.03, drift: 0.3}, pairsMin, trials, 0, 0},
		{"nothing, on a machine of two speeds", machine{noise: 0.03, modes: 0.2}, pairsMin, trials, 0, 10},
		{"nothing, and a hiccup", machine{noise: 0.03, hiccup: 2}, pairsMin, trials, 0, 0},
		{"3 % more", machine{planted: 0.03, noise: 0.03}, pairsMin, trials, 0, trials / 20},
		{"10 % more", machine{planted: 0.1, noise: 0.03}, pairsMin, trials, trials, trials},
		{"10 % more, on a machine that drifts", machine{planted: 0.1, noise: 0.03, drift: 0.3}, pairsMin, trials, trials, trials},
		{"10 % more, on a machine of two speeds", machine{planted: 0.1, noise: 0.03, modes: 0.2}, 100, some, some, some},
		{"10 % more, noisy", machine{planted: 0.1, noise: 0.1}, 100, some, some, some},
		{"10 % less", machine{planted: -0.1, noise: 0.03}, pairsMin, trials, 0, 0},
	}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(1, uint64(i)))
			failed := 0
			for range tt.trials {
				if tt.machine.fails(r, tt.pairs, 14) {
					failed++
				}
			}
			if t.Logf("%d of %d fail", failed, tt.trials); failed < tt.least || failed > tt.most {
				t.Errorf("%d of %d fail, want %d to %d", failed, tt.trials, tt.least, tt.most)
			}
		})
	}
}

func TestJudgeCounts(t *testing.T) {
	same := func(base, tree float64) (pairs []pair) {
		for range pairsMin {
			pairs = append(pairs, pair{base, tree, false})
		}
		return pairs
	}
	tests := []struct {
		unit  string
		pairs []pair
		loss  bool
	}{
		{allocs, same(0, 0), false},
		{allocs, same(0, 1), true},
		{allocs, same(7, 8), true},
		{allocs, same(8, 7), false},
		{allocs, append(same(2, 2), pair{2, 3, false}), false}, // one of eleven
		{calls, same(4, 5), true},
		{calls, same(4, 20), true},
		{calls, same(4.02, 4.12), false}, // a timer
		{calls, same(5, 4), false},
	}
	for _, tt := range tests {
		s := &series{&subject{name: "Made"}, tt.unit, tt.pairs}
		v := judge([]*series{s})[0]
		if v.loss != tt.loss || v.suspect != tt.loss {
			t.Errorf("%s, %v: loss %v, suspect %v; want %v", tt.unit, tt.pairs, v.loss, v.suspect, tt.loss)
		}
		if text := v.String(); strings.HasPrefix(text, "FAIL Made "+tt.unit+": ") != tt.loss {
			t.Error(text)
		}
	}
}

// Each time gets its part of alpha, counts take none.
func TestAlphaIsShared(t *testing.T) {
	s := machine{planted: 0.1, noise: 0.01}.sample(rand.New(rand.NewPCG(1, 1)), pairsMin)
	all := []*series{{&subject{}, cpuUsed, s}} // p is 2 of 252, the least there is with 5 and 5
	for range 100 {
		all = append(all, &series{&subject{}, allocs, s})
	}
	if v := judge(all)[0]; !v.loss {
		t.Errorf("alone: %v, p=%g; want a loss", v, v.p)
	}
	for range 3 {
		all = append(all, all[0])
	}
	if v := judge(all)[0]; v.loss || !v.suspect || !strings.HasPrefix(fmt.Sprint(v), "pass ") || !strings.Contains(fmt.Sprint(v), "too noisy") {
		t.Errorf("one of four: %v, p=%g, suspect %v; want no loss, but not in silence", v, v.p, v.suspect)
	}
}
