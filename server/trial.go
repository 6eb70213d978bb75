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
	// restLeast is how long an application runs on workers before the first trial, and how
	// long a trial takes; restMost the longest time between two.
	restLeast = 10 * time.Second
	restMost  = 10 * time.Minute

	// trialLooks is how many looks of a trial must have found that a loop has begun a call:
	// a server without clients learns nothing.
	trialLooks = 100
)

// trial is the watchman's part of it.
type trial struct {
	rest   time.Duration // between the last promotion and its trial
	next   time.Time     // when workers have run all requests for so long; zero while they do not
	tried  time.Time     // when the trial began that is under way; zero if none is
	active int           // looks of it that count
	held   time.Time     // when the last trial ended well
}

// promote has workers run the application, for what it does with a request. Caller holds
// hold.mu of its loop.
func (w *watchman) promote(why string, stack []byte, request []any) {
	if w.s.blocks.Swap(true) {
		return
	}
	now, silent := time.Now(), !w.tried.IsZero() // the log has said it before the trial
	if silent || !w.held.IsZero() && now.Sub(w.held) < restMost {
		w.rest = min(2*w.rest, restMost)
	} else {
		w.rest = w.s.config.rest
	}
	w.next, w.tried = now.Add(w.rest), time.Time{}
	w.waits, w.takes = 0, [takesMost]time.Time{}
	if !silent {
		w.s.config.log.Warn(why+": "+promotedLine+"; the option Dispatch(Pool) says so from the start, Dispatch(Inline) keeps them on the loop",
			append([]any{slog.String("stack", string(stack))}, request...)...)
	}
}

const (
	promotedLine = "workers run all requests until it no longer blocks"
	returnedLine = "the application no longer blocks: its requests run on the loops again"
)

// reconsider begins a trial when it is time, and ends one that went well. begun says that
// a loop has begun a call since the last look.
func (w *watchman) reconsider(now time.Time, begun bool) {
	switch {
	case !w.next.IsZero() && w.s.blocks.Load():
		if !now.Before(w.next) {
			w.next, w.tried, w.active = time.Time{}, now, 0
			w.s.blocks.Store(false)
		}
	case w.tried.IsZero():
	case begun:
		if w.active++; w.active >= trialLooks && now.Sub(w.tried) >= w.s.config.rest {
			w.tried, w.held = time.Time{}, now
			w.s.config.log.Info(returnedLine)
		}
	}
}

// untilTrial is how long it takes until the next trial; 0 if none is due.
func (w *watchman) untilTrial(now time.Time) time.Duration {
	if w.next.IsZero() {
		return 0
	}
	return max(w.next.Sub(now), 1)
}
