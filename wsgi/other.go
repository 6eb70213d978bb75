//go:build !linux

package wsgi

import (
	"context"
	"errors"

	"github.com/isbjorn/isbjorn/gateway"
)

// App is a Python application in its workers. It implements gateway.App.
type App struct{}

var errSystem = errors.New("wsgi: Python applications run on Linux alone: the workers need its sockets and shared memory")

// New returns an error: this is not Linux.
func New(o Options) (*App, error) {
	if _, err := o.complete(); err != nil {
		return nil, err
	}
	return nil, errSystem
}

// Serve implements gateway.App.
func (*App) Serve(*gateway.Environ, gateway.StartResponse) (gateway.Body, error) {
	return nil, errSystem
}

// StreamsContent implements gateway.Streamer.
func (*App) StreamsContent() bool { return false }

// Shutdown does nothing.
func (*App) Shutdown(context.Context) error { return nil }

// Close does nothing.
func (*App) Close() error { return nil }

// Reload returns an error: this is not Linux.
func (*App) Reload(context.Context, Options) error { return errSystem }

// Scale returns an error: this is not Linux.
func (*App) Scale(int) error { return errSystem }

// Size is 0.
func (*App) Size() int { return 0 }

// Workers returns none.
func (*App) Workers() []WorkerInfo { return nil }
