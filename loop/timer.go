package loop

// wheelSlots is the number of slots of a wheel: with ticks of 100 ms one
// rotation is 51 s. A longer timeout stays in its slot for another round.
const wheelSlots = 512

// wheel is the coarse timer of one loop: a ring of slots, one per tick, each a
// list of the connections to look at when that tick comes.
//
// A connection is in at most one slot, that of the earliest tick it may be due.
// Moving a deadline later, which every request does, only stores a number; the
// slot is corrected when its turn comes. So a busy connection touches the wheel
// once in a rotation, not once a request.
type wheel struct {
	slots [wheelSlots]timer // heads of rings
	due   timer             // head of those that fire now
	now   int64             // ticks since the loop began
}

// timer is a link in a slot's ring. Zero means not in any.
type timer struct {
	prev, next *timer
	conn       *Conn
	slotTick   int64 // the tick whose slot it is in
}

func (w *wheel) init() {
	for i := range w.slots {
		w.slots[i].ring()
	}
	w.due.ring()
}

func (t *timer) ring() { t.prev, t.next = t, t }

func (t *timer) linked() bool { return t.next != nil }

func (t *timer) unlink() {
	if t.next != nil {
		t.prev.next, t.next.prev = t.next, t.prev
		t.prev, t.next = nil, nil
	}
}

func (t *timer) link(head *timer) {
	t.prev, t.next = head.prev, head
	t.prev.next, head.prev = t, t
}

// schedule makes sure that t is looked at no later than at tick due.
func (w *wheel) schedule(t *timer, due int64) {
	if t.linked() {
		if t.slotTick <= due {
			return // it will be found there and moved on
		}
		t.unlink()
	}
	t.slotTick = due
	t.link(&w.slots[due%wheelSlots])
}

// advance moves the wheel to tick now and calls fire for every connection that
// was scheduled up to it. fire schedules again what is not due yet; it may
// unlink any timer. If fire does not come back, the next advance goes on.
func (w *wheel) advance(now int64, fire func(*Conn)) {
	w.fire(fire)
	w.now = max(w.now, now-wheelSlots) // after a long sleep one rotation sees all
	for w.now < now {
		w.now++
		slot := &w.slots[w.now%wheelSlots]
		if slot.next == slot {
			continue
		}
		// The ring moves to a head of its own first: what fire schedules into
		// this very slot belongs to the next round.
		w.due.prev, w.due.next = slot.prev, slot.next
		w.due.prev.next, w.due.next.prev = &w.due, &w.due
		slot.ring()
		w.fire(fire)
	}
}

func (w *wheel) fire(fire func(*Conn)) {
	for w.due.next != &w.due {
		t := w.due.next
		t.unlink()
		fire(t.conn)
	}
}
