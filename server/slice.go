package server

import "time"

// sliceTime is how long one connection may use the loop in one turn, for pipelined requests or for chunks of
// a body, while other connections wait: short enough for a client on the same machine, and some hundred
// times what a turn itself costs.
const sliceTime = 2 * time.Millisecond

// sliceStepsMax is the most steps between two readings of the clock, each of which costs a fifth of a short
// request.
const sliceStepsMax = 16

// timeSlice bounds a turn, one call of Input or Drained, by time. A step is a request, or a chunk of a body.
// The longer the steps take, the more often the clock is read: after each step if it takes more than a small
// part of the slice, after sliceStepsMax if they are short. So a turn ends at most sliceStepsMax steps late,
// and only one does: in the next turn the clock is read after each step.
type timeSlice struct {
	epoch      time.Time     // of the shard
	began      time.Duration // the first reading of the clock in this turn, since epoch; 0 before it
	steps      int           // in this turn; after the first reading, since that
	nextCheck  int           // the value of steps at which the clock is read next
	checkEvery int           // steps between two readings
}

// begin begins a turn.
func (s *timeSlice) begin() {
	s.steps, s.nextCheck, s.began = 0, s.checkEvery, 0
	if s.checkEvery == 1 {
		s.began = time.Since(s.epoch)
	}
}

// expired counts a step, and reports whether the time of the turn is over.
func (s *timeSlice) expired() bool {
	s.steps++
	return s.steps >= s.nextCheck && s.checkTime()
}

// checkTime reads the clock for expired, and sets when it is read next.
func (s *timeSlice) checkTime() bool {
	now := time.Since(s.epoch)
	if s.began == 0 { // the steps of the last turn were short, so begin has not read the clock
		s.began, s.steps, s.nextCheck = now, 0, s.checkEvery
		return false
	}
	taken := now - s.began
	if taken >= sliceTime {
		s.checkEvery = 1
		return true
	}
	if taken*sliceStepsMax < sliceTime/4*time.Duration(s.steps) { // sliceStepsMax such steps take < sliceTime/4
		s.checkEvery = min(2*s.checkEvery, sliceStepsMax)
	}
	s.nextCheck = s.steps + s.checkEvery
	return false
}
