package testlog

import (
	"context"
	"log/slog"
	"sync"
)

// Stuck is a slog.Handler that blocks until Release is closed, as a full pipe does.
type Stuck struct {
	slog.Handler
	At      chan bool // closed by the first line
	Release chan bool
	once    sync.Once
}

// NewStuck returns a Stuck and what it will have written.
func NewStuck() (*Stuck, *Buffer) {
	b := &Buffer{}
	return &Stuck{Handler: slog.NewTextHandler(b, nil), At: make(chan bool), Release: make(chan bool)}, b
}

// Handle writes a line when Release is closed.
func (l *Stuck) Handle(ctx context.Context, r slog.Record) error {
	l.once.Do(func() { close(l.At) })
	<-l.Release
	return l.Handler.Handle(ctx, r)
}
