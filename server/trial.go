package server

import (
	"log/slog"
	"time"
)

// An application that was seen to block runs on workers, for twice to four times the CPU
// time of a short request. It may block no more: a cache is warm, a dependency is fast
// again, or it was the machine's fault. So it is tried on the loops again after a while,
// and stays there if it is not seen to block. One that does is back on workers after what
// the first time took, some milliseconds for each loop, and it takes twice as long until
// the next trial.

const (
	// trialRestMin is how long an application runs on workers before the first trial, and how
	// long a trial takes; trialRestMax the longest time between two.
	trialRestMin = 10 * time.Second
	trialRestMax = 10 * time.Minute

	// trialSamples is how many looks of a trial must have found that a loop has begun a call:
	// a server without clients learns nothing.
	trialSamples = 100
)

// trial is the monitor's part of it.
type trial struct {
	rest      time.Duration // between the last promotion and its trial
	next      time.Time     // when workers have run all requests for so long; zero while they do not
	began     time.Time     // when the trial began that is under way; zero if none is
	active    int           // looks of it that count
	endedWell time.Time     // when the last trial ended well
}

// promote has workers run the application, for what it does with a request. Caller holds
// the lock of shard.calls of its loop.
func (w *monitor) promote(why string, stack []byte, request []any) {
	if w.s.appBlocks.Swap(true) {
		return
	}
	now, silent := time.Now(), !w.began.IsZero() // the log has said it before the trial
	if silent || !w.endedWell.IsZero() && now.Sub(w.endedWell) < trialRestMax {
		w.rest = min(2*w.rest, trialRestMax)
	} else {
		w.rest = w.s.config.trialRest
	}
	w.next, w.began = now.Add(w.rest), time.Time{}
	w.waitScore, w.retakes = 0, [retakesMax]time.Time{}
	if !silent {
		w.s.config.log.Warn(why+": "+promotedLine+"; the option Dispatch: Pool says so from the start, and Dispatch: Inline keeps them on the loop",
			append([]any{slog.String("stack", string(stack))}, request...)...)
	}
}

const (
	promotedLine = "workers run all requests until it no longer blocks"
	returnedLine = "the application no longer blocks: its requests run on the loops again"
)

// reconsider begins a trial when it is time, and ends one that went well. begun says that
// a loop has begun a call since the last look.
func (w *monitor) reconsider(now time.Time, begun bool) {
	switch {
	case !w.next.IsZero() && w.s.appBlocks.Load():
		if !now.Before(w.next) {
			w.next, w.began, w.active = time.Time{}, now, 0
			w.s.appBlocks.Store(false)
		}
	case w.began.IsZero():
	case begun:
		if w.active++; w.active >= trialSamples && now.Sub(w.began) >= w.s.config.trialRest {
			w.began, w.endedWell = time.Time{}, now
			w.s.config.log.Info(returnedLine)
		}
	}
}

// untilTrial is how long it takes until the next trial; 0 if none is due.
func (w *monitor) untilTrial(now time.Time) time.Duration {
	if w.next.IsZero() {
		return 0
	}
	return max(w.next.Sub(now), 1)
}
