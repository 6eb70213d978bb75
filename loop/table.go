package loop

import "sync/atomic"

const (
	tablePageConns = 512     // connections a page: 4 KiB of pointers
	tablePages     = 1 << 15 // 16 Mi descriptors, 16 times what Linux allows by default (fs.nr_open)
)

// table finds the connection of a descriptor. It is one for all loops, since
// descriptors are one space for the process: 8 bytes for each descriptor used.
//
// An entry is written by the loop that owns the connection. Another loop may
// read it for a stale event; it sees a connection that is not its own.
type table struct {
	pages [tablePages]atomic.Pointer[tablePage]
}

type tablePage [tablePageConns]atomic.Pointer[Conn]

func (t *table) get(fd int) *Conn {
	if uint(fd) >= tablePages*tablePageConns {
		return nil
	}
	page := t.pages[uint(fd)/tablePageConns].Load()
	if page == nil {
		return nil
	}
	return page[uint(fd)%tablePageConns].Load()
}

// set enters c; false if the descriptor is beyond the table.
func (t *table) set(fd int, c *Conn) bool {
	if uint(fd) >= tablePages*tablePageConns {
		return false
	}
	slot := &t.pages[uint(fd)/tablePageConns]
	page := slot.Load()
	if page == nil {
		page = new(tablePage)
		if !slot.CompareAndSwap(nil, page) {
			page = slot.Load()
		}
	}
	page[uint(fd)%tablePageConns].Store(c)
	return true
}

func (t *table) clear(fd int) { t.set(fd, nil) }
