package loop

// TakeOver gives the loop another goroutine, while its own is in Input or Drained of
// c, in code that may never return. The caller is sure that the goroutine touches
// nothing of the loop any more, and ends by runtime.Goexit when it does return; the
// caller has the loop to itself meanwhile, and may be any goroutine, that one too.
//
// unused are the bytes of Input that are to be offered again; nil in Drained. What the
// handler used of them is not written to again. On the new goroutine the handler says
// in then what has become of c, and the loop goes on, with everything that was under
// way: it looks at all connections and listeners anew. That costs a few system calls
// and one for each of them.
//
// If it fails, for want of descriptors, nothing has changed.
func (l *Loop) TakeOver(c *Conn, unused []byte, then func()) error {
	l.stopped.Lock() // holds wake off
	err := l.poller.renew()
	l.stopped.Unlock()
	if err != nil {
		return err
	}
	l.turn.Add(1)
	l.in, l.inUsed = make([]byte, l.opt.ReadBytes), 0 // the old one belongs to who is held
	if len(unused) > 0 {
		c.stash = takeBuffer()
		c.stash.B = append(c.stash.B, unused...)
	}
	go func() {
		l.heading.Store(ownHeading())
		l.busy = true
		then()
		c.retained = false // what it would retain is left already
		l.register()
		c.advance()
		l.settle()
		l.goOn()
	}()
	return nil
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
