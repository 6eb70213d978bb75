package middleware

import (
	"container/list"
	"errors"
	"fmt"
	"io"
	"math"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/isbjorn/isbjorn/gateway"
)

// RateOptions are the options of RateLimit, for each client.
type RateOptions struct {
	Rate    float64 // requests per second, in the long run; more than 0
	Burst   int     // requests at once, after a pause; at least 1
	Clients int     // clients that are remembered, about 200 bytes each; 0 is 10,000
}

const defaultClients = 10_000

// RateLimit answers 429 with Retry-After to clients with too many requests: a token bucket for each
// client. A client is an IPv4 address or an IPv6 prefix of 64 bits, the least that one subscriber has,
// by REMOTE_ADDR: behind proxies TrustedProxies has to be outside, or all clients are one. All
// connections to Unix sockets are one client. Of more than Clients the one with the oldest request is
// forgotten, and begins again with a full Burst.
func RateLimit(o RateOptions) (gateway.Middleware, error) {
	limiter, err := newRateLimiter(o)
	if err != nil {
		return nil, err
	}
	return func(app gateway.App) gateway.App {
		return gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			if wait := limiter.reserve(clientOf(env.RemoteAddr().Addr()), time.Now()); wait > 0 {
				return refuse(env, start, "429 Too Many Requests", retryAfter(wait))
			}
			return app.Serve(env, start)
		})
	}, nil
}

// clientOf returns the address that stands for a client.
func clientOf(addr netip.Addr) netip.Addr {
	if addr = addr.Unmap(); addr.Is6() {
		prefix, _ := addr.WithZone("").Prefix(64)
		return prefix.Addr()
	}
	return addr
}

// retryAfter is the field Retry-After: wait in whole seconds, at least one. RFC 9110 section 10.2.3.
func retryAfter(wait time.Duration) gateway.Header {
	seconds := int64(max(1, math.Ceil(wait.Seconds())))
	return gateway.Header{Name: "Retry-After", Value: strconv.FormatInt(seconds, 10)}
}

// rateLimiter has a limiter for each of the clients with the latest requests.
type rateLimiter struct {
	RateOptions
	mu      sync.Mutex
	clients map[netip.Addr]*list.Element
	lru     *list.List // of rateClient, the one with the latest request in front
}

type rateClient struct {
	client netip.Addr
	*rate.Limiter
}

func newRateLimiter(o RateOptions) (*rateLimiter, error) {
	if o.Clients == 0 {
		o.Clients = defaultClients
	}
	switch {
	case !(o.Rate > 0) || math.IsInf(o.Rate, 1):
		return nil, fmt.Errorf("middleware: RateOptions.Rate is %v; use a number of requests per second above 0",
			o.Rate)
	case o.Burst < 1:
		return nil, fmt.Errorf("middleware: RateOptions.Burst is %d; use at least 1, or no request passes", o.Burst)
	case o.Clients < 1:
		return nil, fmt.Errorf("middleware: RateOptions.Clients is %d; use at least 1, or 0 for %d",
			o.Clients, defaultClients)
	}
	return &rateLimiter{RateOptions: o, clients: make(map[netip.Addr]*list.Element), lru: list.New()}, nil
}

// reserve counts a request at the time now; it returns 0, or how much later it would be allowed.
func (l *rateLimiter) reserve(client netip.Addr, now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := l.clients[client]
	if at != nil {
		l.lru.MoveToFront(at)
	} else {
		if len(l.clients) >= l.Clients {
			delete(l.clients, l.lru.Remove(l.lru.Back()).(rateClient).client)
		}
		at = l.lru.PushFront(rateClient{client, rate.NewLimiter(rate.Limit(l.Rate), l.Burst)})
		l.clients[client] = at
	}
	reservation := at.Value.(rateClient).ReserveN(now, 1)
	wait := reservation.DelayFrom(now)
	if wait > 0 {
		reservation.CancelAt(now) // a refused request takes no token
	}
	return wait
}

var errBodyLimit = errors.New("middleware: the content is larger than BodyLimit allows")

// BodyLimit answers 413 to requests with more than a number of bytes of content. It is for
// applications, or parts of one, that allow less than the server. By default the server has collected
// the content already. Where it streams content (Pool) none is read for the 413. Content of unknown
// length, which is chunked, is an error of Input when the application reads beyond the limit; if it
// returns that error before it has called start, the answer is 413 too.
func BodyLimit(bytes int64) (gateway.Middleware, error) {
	if bytes < 0 {
		return nil, fmt.Errorf("middleware: BodyLimit of %d bytes; use 0, for no content, or more", bytes)
	}
	return func(app gateway.App) gateway.App {
		return gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			if !env.Input().Limit(bytes, errBodyLimit) {
				return refuse(env, start, "413 Content Too Large")
			}
			started := false
			body, err := app.Serve(env, func(status string, headers []gateway.Header, exc error) (io.Writer, error) {
				started = true
				return start(status, headers, exc)
			})
			if body == nil && !started && errors.Is(err, errBodyLimit) {
				return refuse(env, start, "413 Content Too Large")
			}
			return body, err
		})
	}, nil
}

// ConcurrencyLimit answers 503 with Retry-After (wait, in whole seconds) while as many responses are in
// progress. A response is until its Body was closed, so also while a slow client takes it.
func ConcurrencyLimit(answers int, wait time.Duration) (gateway.Middleware, error) {
	if answers < 1 {
		return nil, fmt.Errorf("middleware: ConcurrencyLimit of %d answers; use at least 1", answers)
	}
	var running atomic.Int64
	end := func(*trackedResponse) { running.Add(-1) }
	return func(app gateway.App) gateway.App {
		return gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			if running.Add(1) > int64(answers) {
				running.Add(-1)
				return refuse(env, start, "503 Service Unavailable", retryAfter(wait))
			}
			return (&trackedResponse{onEnd: end}).serve(app, env, start)
		})
	}, nil
}
