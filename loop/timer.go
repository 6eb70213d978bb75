package loop

// wheelSlots is the number of slots of a wheel: with ticks of 100 ms one
// rotation is 51 s. A longer timeout stays in its slot for another round.
const wheelSlots = 512

// wheel is the coarse timer of one loop: a ring of slots, one per tick, each a
// list of the connections to check when that tick comes.
//
// A connection is in at most one slot, that of the earliest tick it may be due.
// Moving a deadline later, which every request does, only stores a number; when the
// slot's tick comes the connection moves to its new slot. So a busy connection touches
// the wheel once in a rotation, not once a request.
type wheel struct {
	slots  [wheelSlots]timer // heads of rings
	firing timer             // head of the ring that advance fires
	now    int64             // the last tick that advance has fired
}

// timer is a link in a slot's ring. The zero value is in none.
type timer struct {
	prev, next *timer
	conn       *Conn
	slotTick   int64 // the tick whose slot it is in
}

func (w *wheel) init() {
	for i := range w.slots {
		w.slots[i].ring()
	}
	w.firing.ring()
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

// schedule makes t fire no later than at tick due.
func (w *wheel) schedule(t *timer, due int64) {
	if t.linked() {
		if t.slotTick <= due {
			return // it fires too early, and its connection schedules it again
		}
		t.unlink()
	}
	t.slotTick = due
	t.link(&w.slots[due%wheelSlots])
}

// advance moves the wheel to tick now and calls fire for every connection in the slots up to
// it. fire schedules again what is not due yet; it may unlink any timer. If fire does not
// return (a handoff) the next advance fires the rest.
func (w *wheel) advance(now int64, fire func(*Conn)) {
	w.fire(fire)
	w.now = max(w.now, now-wheelSlots) // after a long stall one rotation visits every slot
	for w.now < now {
		w.now++
		slot := &w.slots[w.now%wheelSlots]
		if slot.next == slot {
			continue
		}
		// Move the ring to firing first: what fire schedules into this slot is due a
		// rotation later.
		w.firing.prev, w.firing.next = slot.prev, slot.next
		w.firing.prev.next, w.firing.next.prev = &w.firing, &w.firing
		slot.ring()
		w.fire(fire)
	}
}

// fire unlinks each timer of firing and calls fire. Each is unlinked before its call, so a
// call that does not return is not repeated.
func (w *wheel) fire(fire func(*Conn)) {
	for w.firing.next != &w.firing {
		t := w.firing.next
		t.unlink()
		fire(t.conn)
	}
}
