package gateway

// Ready is a Body whose Next never waits for anything but a disk: what it gives is
// there already. A server that runs an application on a goroutine of its own may
// pull such a Body on its event loop.
type Ready interface {
	Body
	Ready() // does nothing
}

// Ready is empty: the chunk is in memory.
func (c *chunk) Ready() {}

// Ready is empty: see the interface.
func (b *FileBody) Ready() {}
