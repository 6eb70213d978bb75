package loop

import "sync/atomic"

const (
	tablePageConns = 512     // connections a page: 4 KiB of pointers
	tablePages     = 1 << 15 // 16 Mi descriptors, 16 times what Linux allows by default (fs.nr_open)
)

// table maps descriptors to connections. All loops share one, since descriptors are numbers
// of the whole process: 8 bytes for each descriptor used.
//
// The loop that owns a connection writes its entry. Another loop may read it for a stale
// event, and finds a connection that is not its own.
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

// set stores c for fd. It reports false if fd is beyond the table.
func (t *table) set(fd int, c *Conn) bool {
	if uint(fd) >= tablePages*tablePageConns {
		return false
	}
	slot := &t.pages[uint(fd)/tablePageConns]
	page := slot.Load()
	if page == nil {
		page = new(tablePage)
		if !slot.CompareAndSwap(nil, page) { // another loop was first
			page = slot.Load()
		}
	}
	page[uint(fd)%tablePageConns].Store(c)
	return true
}

func (t *table) clear(fd int) { t.set(fd, nil) }
