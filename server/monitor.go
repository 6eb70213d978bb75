package server

import (
	"bytes"
	"sync/atomic"
	"time"

	"github.com/isbjorn/isbjorn/loop"
	"github.com/isbjorn/isbjorn/server/internal/callstate"
)

// With Dispatch: Auto an application runs on the loop, and it is unknown beforehand whether it will return
// soon. The monitor samples each loop every 4 ms, as the Go scheduler's sysmon does with its
// processors. A call that two samples have found is handed off: the loop continues on a new goroutine,
// and the goroutine of the call finishes as a worker. That happens at once where the goroutine is
// blocked, else after samplesMax samples. Now and then a call is sampled with its stack at the first
// sight: an application that blocks, however shortly, makes its loop a queue. An application that was
// seen to block is promoted: workers run all its requests, until it is tried on the loops again
// (trial.go).
//
// The monitor sleeps while no loop begins a call.

const (
	// sampleEvery is the time between two samples. An application blocks its loop for two of
	// them at most, and what it takes to start another goroutine.
	sampleEvery = 4 * time.Millisecond

	// samplesMax is how many samples a call may last before it is handed off that is running, waits for
	// a lock, or whose stack is unknown.
	samplesMax = 5

	// stackEvery is the least time between two stacks of calls that were found once.
	stackEvery = 50 * time.Millisecond

	// goroutinesMax is how many goroutines there may be for a stack: all of them stand still meanwhile,
	// some 50 us with few of them, milliseconds with hundreds of deep ones.
	goroutinesMax = 512

	// traceShare is the share of time that stacks may take, one in so many. Without it an application
	// that computes for 18 ms, beside 450 goroutines parked 40 frames deep, would pay for a stack of 1
	// to 5 ms every 4 ms. firstStackDebt and confirmDebt are how much of that share may have been spent
	// ahead when a call was found once, and when it was found before: that stack decides a hand-off.
	traceShare     = 100
	firstStackDebt = time.Millisecond
	confirmDebt    = 20 * time.Millisecond

	// traceCostMax is what one stack may cost of the share: four times what was measured with 450
	// goroutines, 40 calls deep. What is beyond is time that a busy machine gave to other processes, and
	// would keep the monitor from sampling for minutes.
	traceCostMax = 20 * time.Millisecond

	// waitsMax is how many times more often a loop may be seen blocked in the application than running
	// in it: a channel may be full by chance. A wait for a lock counts an eighth: the goroutine that
	// holds it may merely want a processor, as in package log under load.
	waitsMax         = 3
	lockWaitsPerWait = 8

	// retakesMax is how many times in retakesWindow loops may be retaken from calls that are not
	// blocked, such as those that compute for samplesMax samples: beyond that workers are cheaper.
	retakesMax    = 10
	retakesWindow = 10 * time.Second
)

// monitor samples the loops until they have ended.
type monitor struct {
	s     *Server
	timer *time.Timer // the next sample; it does not run while the monitor sleeps, but for a trial

	// asleep says that no loop has begun a call since the last sample: the first that does starts the
	// timer.
	asleep  atomic.Bool
	samples atomic.Uint64

	stackAt    time.Time // of the last stack of a call that was found once
	budget     traceBudget
	waitScore  int                   // samples of blocked calls less those of running ones, times lockWaitsPerWait
	retakes    [retakesMax]time.Time // the last ones that count
	nextRetake int                   // of retakes

	trial
}

// sampling is what the monitor knows of a loop. The lock of shard.calls guards it.
type sampling struct {
	observation uint64 // at the last sample
	samples     int    // how often it was the same before
}

func newMonitor(s *Server) *monitor {
	return &monitor{s: s, timer: time.NewTimer(sampleEvery)}
}

func (w *monitor) run() {
	for {
		select {
		case <-w.s.reactor.Done():
			w.timer.Stop()
			return
		case <-w.timer.C:
		}
		w.asleep.Store(false)
		w.samples.Add(1)
		quiet := true
		for _, l := range w.s.reactor.Loops() {
			quiet = w.sample(l) && quiet
		}
		w.reconsider(time.Now(), !quiet)
		// Without a call since the last sample there is nothing to sample: an idle server costs no wake-ups.
		if !quiet || !w.sleep() {
			w.timer.Reset(sampleEvery)
		}
	}
}

// sleep stops the samples until wake, which the next call on a loop calls. It reports false if a call began
// meanwhile: either wake finds asleep set, or sleep finds the mark cleared.
func (w *monitor) sleep() bool {
	if left := w.untilTrial(time.Now()); left > 0 {
		w.timer.Reset(left)
	}
	w.asleep.Store(true)
	for _, l := range w.s.reactor.Loops() {
		if !l.Handler().(*shard).calls.Marked(callstate.Sampled) {
			return !w.asleep.CompareAndSwap(true, false)
		}
	}
	return true
}

// wake starts the timer. On a loop that begins a call.
func (w *monitor) wake() {
	if w.asleep.CompareAndSwap(true, false) {
		w.timer.Reset(sampleEvery)
	}
}

// sample reports whether l is in no call of the application, and has begun none since the last sample.
func (w *monitor) sample(l *loop.Loop) (quiet bool) {
	sh := l.Handler().(*shard)
	quiet = sh.calls.SetMark(callstate.Sampled)
	c, inCall, samples := sh.observe()
	switch {
	case c == nil:
		return quiet && !inCall
	case samples > 0:
		w.confirm(sh, c, samples)
	case !w.s.allOnWorkers.Load() && time.Since(w.stackAt) >= stackEvery:
		w.sampleStack(sh, c)
	}
	return false
}

// observe returns the call that the loop is in, if it can be handed off, and how many samples have
// found it before.
func (sh *shard) observe() (c *callstate.Call, inCall bool, samples int) {
	sh.calls.Lock()
	defer sh.calls.Unlock()
	c = sh.calls.Observe()
	s := &sh.sampling
	if s.samples++; s.observation != sh.calls.Observations() {
		*s = sampling{observation: sh.calls.Observations()}
	}
	if c == nil {
		latest := sh.calls.Latest()
		return nil, latest != nil && latest.State() == callstate.InServer, 0
	}
	if !c.CanHandOff {
		return nil, true, 0
	}
	return c, true, s.samples
}

// stillObserved reports whether the loop is in the call that the last sample has found. Caller holds
// the lock of shard.calls.
func (sh *shard) stillObserved(c *callstate.Call) bool {
	return c.State() == callstate.Observed && sh.sampling.observation == sh.calls.Observations()
}

// sampleStack is for a call that was not found before.
func (w *monitor) sampleStack(sh *shard, c *callstate.Call) {
	stack := w.trace(sh, firstStackDebt) // without the lock, which the loop may want
	sh.calls.Lock()
	defer sh.calls.Unlock()
	if stack == nil || returning(stack) {
		return
	}
	var request []any
	switch {
	case sh.stillObserved(c):
		w.stackAt = time.Now()
		request = c.Owner.(*exchange).describe()
	case !bytes.Contains(stack, []byte(inServe)):
		return
	} // else the call has ended since, as a short sleep whose timer woke the monitor too: it counts, without its request
	if w.weigh(stack) {
		w.promote("the application blocks its loop", stack, request)
	}
}

// weigh counts a sample of a call, and reports whether the application blocks.
func (w *monitor) weigh(stack []byte) (blocks bool) {
	switch state := goroutineState(stack); {
	case isBlocked(state) || justWoken(stack):
		w.waitScore += lockWaitsPerWait
	case waitsForLock(state):
		w.waitScore++
	default:
		w.waitScore = max(w.waitScore-lockWaitsPerWait, 0)
	}
	return w.waitScore >= waitsMax*lockWaitsPerWait
}

// confirm is for a call that samples have found before.
func (w *monitor) confirm(sh *shard, c *callstate.Call, samples int) {
	stack := w.trace(sh, confirmDebt)
	blocked := isBlocked(goroutineState(stack))
	sh.calls.Lock()
	defer sh.calls.Unlock()
	if !sh.stillObserved(c) || returning(stack) || !blocked && samples < samplesMax {
		return
	}
	request := sh.retakeLoop(c.Owner.(*exchange), callstate.Observed)
	switch {
	case request == nil:
	case blocked:
		w.promote("the application has blocked its loop", stack, request)
	case w.retakesTooOften(time.Now()):
		w.promote("the application has blocked its loops ten times in ten seconds", stack, request)
	}
}

// retakesTooOften counts a loop that was retaken, and reports whether it was the last of retakesMax in
// retakesWindow.
func (w *monitor) retakesTooOften(now time.Time) bool {
	w.retakes[w.nextRetake] = now
	w.nextRetake = (w.nextRetake + 1) % retakesMax
	oldest := w.retakes[w.nextRetake]
	return !oldest.IsZero() && now.Sub(oldest) < retakesWindow
}
