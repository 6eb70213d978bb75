package proxy

import (
	"context"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"time"
)

const (
	// rise and fall are how many answers in a row make an upstream alive, and how many failures make it
	// dead: nginx's and HAProxy's usual values.
	rise = 2
	fall = 3

	// healthBytes is how much of the content of such an answer is read, so that its connection can be used
	// again.
	healthBytes = 64 << 10
)

// watch asks one upstream again and again whether it is alive, until ctx ends.
func (a *App) watch(ctx context.Context, u *upstream) {
	defer a.watchers.Done()
	interval := a.options.HealthInterval
	timer := time.NewTimer(time.Duration(rand.Int64N(int64(interval)/4 + 1)))
	defer timer.Stop()
	for run := 0; ; { // answers in a row if positive, failures in a row if negative
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		switch why := a.ask(ctx, u); {
		case ctx.Err() != nil:
			return
		case why == "":
			if run = max(run, 0) + 1; run >= rise && u.dead.CompareAndSwap(true, false) {
				u.succeeded()
				a.options.Logger.Info("proxy: an upstream is alive again", slog.String("upstream", u.name))
			}
		default:
			if run = min(run, 0) - 1; run <= -fall && u.dead.CompareAndSwap(false, true) {
				a.options.Logger.Warn("proxy: an upstream is dead", slog.String("upstream", u.name),
					slog.String("path", a.options.HealthPath), slog.String("cause", why))
			}
		}
		run = max(min(run, rise), -fall) // the count itself need not grow
		timer.Reset(interval - interval/10 + time.Duration(rand.Int64N(int64(interval)/5+1)))
	}
}

// ask sends one question, and returns why the upstream does not count as alive, "" if it does.
func (a *App) ask(ctx context.Context, u *upstream) (why string) {
	ctx, cancel := context.WithTimeout(ctx, a.options.HealthInterval)
	defer cancel()
	target := u.url
	target.Opaque = u.prefix + a.options.HealthPath
	req := (&http.Request{Method: http.MethodGet, URL: &target, Host: u.url.Host,
		Header: http.Header{"User-Agent": {"isbjorn"}}}).WithContext(ctx)
	resp, err := u.conns.RoundTrip(req)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, healthBytes)
	if resp.StatusCode >= 400 || resp.StatusCode < 200 {
		return "status " + resp.Status
	}
	return ""
}
