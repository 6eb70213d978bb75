package server

import (
	"log/slog"
	"time"
)

// An application that was seen to block is promoted: workers run it, which costs twice to four times the CPU
// time of a short request. It may stop to block: a cache is warm, a dependency is fast again, or the machine
// was busy. So after a while it is tried on the loops again, and stays there if it is not seen to block in
// the trial. If it is, it is promoted again, after some milliseconds on each loop as at first, and the time
// until the next trial doubles.

const (
	// trialDelayMin is the time from the first promotion to its trial, and how long a trial takes;
	// trialDelayMax is the longest time between two trials.
	trialDelayMin = 10 * time.Second
	trialDelayMax = 10 * time.Minute

	// trialSamples is how many samples of a trial must have found a call begun since the sample before: a
	// trial without requests shows nothing.
	trialSamples = 100
)

// trial is the part of the monitor that tries a promoted application on the loops.
type trial struct {
	delay     time.Duration // from the last promotion to its trial
	next      time.Time     // when the next trial begins; zero if the application is not promoted
	began     time.Time     // when the present trial began; zero if there is none
	active    int           // samples of the present trial that count
	endedWell time.Time     // when the last trial ended without a promotion
}

// promote has workers run the application. why, stack and request are for the log. Caller holds the lock of
// the shard.calls in which the request was found.
func (w *monitor) promote(why string, stack []byte, request []any) {
	if w.s.allOnWorkers.Swap(true) {
		return
	}
	now, silent := time.Now(), !w.began.IsZero() // in a trial: the first promotion is in the log
	if silent || !w.endedWell.IsZero() && now.Sub(w.endedWell) < trialDelayMax {
		w.delay = min(2*w.delay, trialDelayMax)
	} else {
		w.delay = w.s.config.trialDelay
	}
	w.next, w.began = now.Add(w.delay), time.Time{}
	w.waitScore, w.retakes = 0, [retakesMax]time.Time{}
	if !silent {
		w.s.config.log.Warn(why+": "+promotedLine+"; if it always blocks, use the option Dispatch: Pool; Dispatch: Inline keeps its requests on the loops",
			append([]any{slog.String("stack", string(stack))}, request...)...)
	}
}

const (
	promotedLine = "workers run all requests until it no longer blocks"
	returnedLine = "the application no longer blocks: its requests run on the loops again"
)

// reconsider begins a trial when it is due, and ends one in which the application was not seen to block.
// begun says that a loop has begun a call since the last sample.
func (w *monitor) reconsider(now time.Time, begun bool) {
	switch {
	case !w.next.IsZero() && w.s.allOnWorkers.Load():
		if !now.Before(w.next) {
			w.next, w.began, w.active = time.Time{}, now, 0
			w.s.allOnWorkers.Store(false)
		}
	case w.began.IsZero(): // no trial
	case begun:
		if w.active++; w.active >= trialSamples && now.Sub(w.began) >= w.s.config.trialDelay {
			w.began, w.endedWell = time.Time{}, now
			w.s.config.log.Info(returnedLine)
		}
	}
}

// untilTrial is the time until the next trial, at least 1 ns; 0 if none is planned.
func (w *monitor) untilTrial(now time.Time) time.Duration {
	if w.next.IsZero() {
		return 0
	}
	return max(w.next.Sub(now), 1)
}
