// Package testhook is the way of package servertest to what package server does not export.
package testhook

import "github.com/isbjorn/isbjorn/loop"

// OpenMemory opens a connection without a socket to a *server.Server. Package server sets it.
var OpenMemory func(server any) *loop.Memory
