package gateway

// Ready is a Body whose Next never waits for anything but a disk: what it gives is
// there already, and it never says [ErrWait]. A server that runs an application on a
// goroutine of its own may pull and close such a Body on its event loop.
type Ready interface {
	Body
	Ready() // does nothing
}

// Ready is empty: the chunk is in memory.
func (c *chunk) Ready() {}

// Ready is empty: the chunks are in memory.
func (c *chunkList) Ready() {}

// Ready is empty: see the interface.
func (b *FileBody) Ready() {}
