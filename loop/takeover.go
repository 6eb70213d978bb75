package loop

// TakeOver gives the loop another goroutine, while its own is in a callback of c, in code
// that may never return. The caller is sure that the goroutine touches nothing of the
// loop any more, and ends by runtime.Goexit when it does return; the caller has the loop
// to itself meanwhile, and may be any goroutine, that one too.
//
// unused are the bytes of Input that are to be offered again; nil in other callbacks.
// What the handler used of them is not written to again. On the new goroutine the handler
// says in then what has become of c, and the loop goes on, with everything that was under
// way.
//
// On Linux that costs a goroutine, and cannot fail. With kqueue the loop
// needs another poller, for which there may be no descriptor, and registers all of its
// connections and listeners anew. If it fails nothing has changed.
func (l *Loop) TakeOver(c *Conn, unused []byte, then func()) error {
	if !resumes && !l.cleaningUp {
		l.wakeMu.Lock() // holds wake off
		err := l.poller.renew()
		l.wakeMu.Unlock()
		if err != nil {
			return err
		}
	}
	l.generation.Add(1)
	l.retain(l.inRead) // which belongs to the goroutine that is held
	if len(unused) > 0 {
		c.stash = takeBuffer()
		c.stash.B = append(c.stash.B, unused...)
	}
	go l.runFrom(func() {
		l.inCallback = true
		then()
		l.catchUp(c)
		l.settle()
	})
	return nil
}

// catchUp does what is missing behind the callback of c, which may be nil, whose
// goroutine does not come back.
func (l *Loop) catchUp(c *Conn) {
	switch {
	case l.cleaningUp: // cleanUp is at work
		return
	case !resumes:
		l.register()
	default:
		for _, ln := range l.listeners { // accept may have been under way
			if err := l.poller.rearmListener(&ln.att); err != nil {
				ln.retry = true
			}
		}
	}
	if c == nil || c.state == closed {
		return
	}
	c.retained = false // what it would retain is left already
	c.schedule()       // timer may have been under way
	c.rearm()          // the rest of its event, a hangup perhaps
	c.advance()
}

// register tells a new poller of all that the loop has.
func (l *Loop) register() {
	l.Conns(func(c *Conn) {
		if c.mem != nil || c.state >= dead {
			return
		}
		if err := l.poller.add(&c.att); err != nil {
			c.kill(err)
		}
	})
	for _, ln := range l.listeners {
		if err := l.poller.addListener(&ln.att); err != nil {
			ln.retry = true
			ln.complain(l, "a listener cannot be watched; it is looked at once a tick", err)
		}
	}
}

// replace gives the loop another goroutine where a callback or task has ended its own by
// runtime.Goexit. It reports false if that cannot be.
func (l *Loop) replace() bool {
	c := l.current
	return l.TakeOver(c, nil, func() {
		if c == nil {
			l.handler.Exited(nil)
			return
		}
		if c.exited { // Exited has done so itself
			c.kill(ErrAborted)
		}
		c.exited = true
		l.handler.Exited(c)
		c.Close() // its input is lost
	}) == nil
}
