package server

import "time"

// sliceTime is how long one connection may keep the loop in a turn, with pipelined requests
// or with chunks of a body, before the others have theirs: as long as a client on the same
// machine hardly notices, and some hundred times what a turn costs by itself.
const sliceTime = 2 * time.Millisecond

// sliceStepsMax is the most steps between two looks at the clock: a look costs a fifth of a
// short request.
const sliceStepsMax = 16

// slice bounds a turn by time. A step is a request, or a chunk of a body. How many steps
// pass between two looks at the clock follows from how long they take: one if they take
// more than a small part of the slice, sliceStepsMax if they are short. So a turn ends at
// most sliceStepsMax steps late, and once only: the next turn looks after each.
type timeSlice struct {
	epoch      time.Time     // of the handler
	began      time.Duration // the first look of this turn, since epoch; 0 before it
	steps      int           // of this turn, or since its first look
	nextCheck  int           // at which of them comes the next look
	checkEvery int           // steps between two looks
}

// begin begins a turn.
func (s *timeSlice) begin() {
	s.steps, s.nextCheck, s.began = 0, s.checkEvery, 0
	if s.checkEvery == 1 {
		s.began = time.Since(s.epoch)
	}
}

// over counts a step, and reports whether the time of the turn is over.
func (s *timeSlice) expired() bool {
	s.steps++
	return s.steps >= s.nextCheck && s.checkTime()
}

func (s *timeSlice) checkTime() bool {
	now := time.Since(s.epoch)
	if s.began == 0 { // steps are short: the time of this turn counts from here
		s.began, s.steps, s.nextCheck = now, 0, s.checkEvery
		return false
	}
	taken := now - s.began
	if taken >= sliceTime {
		s.checkEvery = 1
		return true
	}
	if taken*sliceStepsMax < sliceTime/4*time.Duration(s.steps) { // as many as may pass take a quarter of the slice
		s.checkEvery = min(2*s.checkEvery, sliceStepsMax)
	}
	s.nextCheck = s.steps + s.checkEvery
	return false
}
