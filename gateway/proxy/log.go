package proxy

import (
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
)

// logEvery is the time between two lines about one upstream. A dead upstream fails every request.
const logEvery = time.Second

// failureLog limits the lines about one upstream.
type failureLog struct {
	mu      sync.Mutex
	next    time.Time
	dropped int
}

// line writes a line about a failure: the upstream, the request and the cause.
func (a *App) line(env *gateway.Environ, u *upstream, msg string, err error) {
	l, now := &u.log, time.Now()
	l.mu.Lock()
	if now.Before(l.next) {
		l.dropped++
		l.mu.Unlock()
		return
	}
	dropped := l.dropped
	l.next, l.dropped = now.Add(logEvery), 0
	l.mu.Unlock()
	method, target := env.RequestLine()
	attrs := []any{slog.String("upstream", u.name), slog.String("method", strings.Clone(method)),
		slog.String("target", strings.Clone(target)), slog.String("cause", err.Error())}
	if dropped > 0 {
		attrs = append(attrs, slog.Int("not_logged", dropped))
	}
	a.options.Logger.Warn(msg, attrs...)
}
