package server

import "testing"

// Every pair of phase and event, so that a new one cannot be forgotten.
func TestPhaseTable(t *testing.T) {
	type pair struct {
		p phase
		e event
	}
	want := map[pair]phase{
		{readingHead, headComplete}:     readingBody,
		{readingHead, requestComplete}:  handling,
		{readingHead, lastDone}:         draining,
		{readingBody, requestComplete}:  handling,
		{readingBody, lastDone}:         draining,
		{handling, responseSuspended}:   responding,
		{handling, responseDone}:        readingHead,
		{handling, contentLeft}:         skipping,
		{handling, lastDone}:            draining,
		{responding, responseSuspended}: responding,
		{responding, responseDone}:      readingHead,
		{responding, contentLeft}:       skipping,
		{responding, lastDone}:          draining,
		{skipping, responseDone}:        readingHead,
		{skipping, lastDone}:            draining,
	}
	for p := range phases {
		for e := range events {
			if got := transitions[p][e]; got != want[pair{p, e}] { // what is not listed is closed
				t.Errorf("%v behind event %d: %v, want %v", p, e, got, want[pair{p, e}])
			}
		}
	}
}
