package loop

// Handoff continues the loop on a new goroutine while the present one is in a callback of c
// (nil: in a task) that may never return, as handoffp of Go's scheduler does with a P. The
// caller guarantees that the old goroutine touches nothing of the loop any more and ends by
// runtime.Goexit if the callback does return, and that nothing else touches the loop during
// the call. The caller may be any goroutine, the old one included.
//
// unused are the bytes of Input that are to be offered again; nil in other callbacks. The
// loop copies them, and does not write to the memory of that Input again. then runs first on
// the new goroutine, as a callback of c: there the handler puts c into its new state. After
// it the loop continues with the events, tasks and timers that were due.
//
// On Linux that costs a goroutine and cannot fail. With kqueue the loop needs another
// poller, for which there may be no descriptor, and registers its connections and
// listeners again. After an error nothing has changed.
func (l *Loop) Handoff(c *Conn, unused []byte, then func()) error {
	if !runResumable && !l.cleaningUp {
		l.wakeMu.Lock() // excludes wake
		err := l.poller.renew()
		l.wakeMu.Unlock()
		if err != nil {
			return err
		}
	}
	l.generation.Add(1)       // tells runFrom of the old goroutine that its Goexit is expected
	l.retain(l.lastReadBytes) // the old goroutine still reads the bytes of its Input
	if len(unused) > 0 {
		c.pending = acquireBuffer()
		c.pending.B = append(c.pending.B, unused...)
	}
	go l.runFrom(func() {
		l.inCallback = true
		then()
		l.resumeAfterHandoff(c)
		l.runDeferred()
	})
	return nil
}

// resumeAfterHandoff does what the old goroutine would have done after the callback of c,
// which is nil if a task or Tick did not return.
func (l *Loop) resumeAfterHandoff(c *Conn) {
	switch {
	case l.cleaningUp: // runFrom calls cleanUp again, which closes all that is left
		return
	case !runResumable:
		l.registerAll()
	default:
		// The callback may have been Opened, inside accept: the rest of a queue needs a
		// fresh event.
		for _, ln := range l.listeners {
			if err := l.poller.rearmListener(&ln.att); err != nil {
				ln.retryAtTick = true
			}
		}
		for _, w := range l.watches { // the callback may have been Readable, before Writable
			w.Rearm()
		}
	}
	if c == nil || c.state == closed {
		return
	}
	c.retained = false // Handoff has retained all of that Input
	c.scheduleTimer()  // the callback may have been Timeout, inside onTimer
	c.rearm()          // the rest of its event is lost, a hangup perhaps
	c.drive()
}

// registerAll registers all that the loop has with a new poller.
func (l *Loop) registerAll() {
	register := func(c *Conn) {
		if c.mem != nil || c.state >= dead {
			return
		}
		if err := l.poller.add(&c.att); err != nil {
			c.kill(err)
		}
	}
	each(&l.conns, register)
	each(&l.attached, register)
	for _, w := range l.watches {
		w.register()
	}
	for _, ln := range l.listeners {
		if err := l.poller.addListener(&ln.att); err != nil {
			ln.retryAtTick = true
			ln.warn(l, "the poller refuses a listener; it accepts once a tick instead", err)
		}
	}
}

// replaceAfterGoexit continues the loop on a new goroutine after a callback or task has called
// runtime.Goexit. On the old goroutine. It reports false if Handoff failed.
func (l *Loop) replaceAfterGoexit() bool {
	c := l.current
	return l.Handoff(c, nil, func() {
		if c == nil {
			l.handler.Exited(nil)
			return
		}
		if c.exited { // this time it was Exited or Closed
			c.kill(ErrAborted)
		}
		c.exited = true
		(*c.handler).Exited(c)
		c.Close() // the bytes of its Input are lost, so no further message can be read
	}) == nil
}
