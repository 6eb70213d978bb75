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

// RateOptions says how often each client may ask.
type RateOptions struct {
	Rate    float64 // requests per second, in the long run; more than 0
	Burst   int     // requests at once, for a client that has been quiet; at least 1
	Clients int     // how many are remembered, about 200 bytes each; 0 is 10,000
}

const defaultClients = 10_000

// RateLimit answers 429 with Retry-After to clients that ask too often. A client is
// an IPv4 address or an IPv6 prefix of 64 bits, which is what one subscriber has,
// by REMOTE_ADDR: behind proxies TrustedProxies has to be outside, or all clients are
// one. All that come by Unix sockets are one. When more than Clients ask, the one that
// has been quiet for longest is forgotten, and begins again with a full Burst.
func RateLimit(o RateOptions) (gateway.Middleware, error) {
	limiter, err := newRateLimiter(o)
	if err != nil {
		return nil, err
	}
	return func(app gateway.App) gateway.App {
		return gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			if wait := limiter.wait(clientOf(env.RemoteAddr().Addr()), time.Now()); wait > 0 {
				return refuse(env, start, "429 Too Many Requests", retryAfter(wait))
			}
			return app.Serve(env, start)
		})
	}, nil
}

// clientOf is the client that an address belongs to.
func clientOf(addr netip.Addr) netip.Addr {
	if addr = addr.Unmap(); addr.Is6() {
		prefix, _ := addr.WithZone("").Prefix(64)
		return prefix.Addr()
	}
	return addr
}

// retryAfter is in whole seconds, at least one. RFC 9110 section 10.2.3.
func retryAfter(wait time.Duration) gateway.Header {
	return gateway.Header{Name: "Retry-After", Value: strconv.FormatInt(int64(max(1, math.Ceil(wait.Seconds()))), 10)}
}

// rateLimiter is the limiters of the clients that asked last.
type rateLimiter struct {
	RateOptions
	mu      sync.Mutex
	clients map[netip.Addr]*list.Element
	order   *list.List // of rateClient, who asked last in front
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
		return nil, fmt.Errorf("middleware: RateOptions.Rate is %v; use a number of requests per second above 0", o.Rate)
	case o.Burst < 1:
		return nil, fmt.Errorf("middleware: RateOptions.Burst is %d; use at least 1, or no request passes", o.Burst)
	case o.Clients < 1:
		return nil, fmt.Errorf("middleware: RateOptions.Clients is %d; use at least 1, or 0 for %d", o.Clients, defaultClients)
	}
	return &rateLimiter{RateOptions: o, clients: make(map[netip.Addr]*list.Element), order: list.New()}, nil
}

// wait counts a request at a time; it returns 0, or how long it came too early.
func (l *rateLimiter) wait(client netip.Addr, now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := l.clients[client]
	if at != nil {
		l.order.MoveToFront(at)
	} else {
		if len(l.clients) >= l.Clients {
			delete(l.clients, l.order.Remove(l.order.Back()).(rateClient).client)
		}
		at = l.order.PushFront(rateClient{client, rate.NewLimiter(rate.Limit(l.Rate), l.Burst)})
		l.clients[client] = at
	}
	reservation := at.Value.(rateClient).ReserveN(now, 1)
	wait := reservation.DelayFrom(now)
	if wait > 0 {
		reservation.CancelAt(now) // who is refused has not used anything up
	}
	return wait
}

var errBodyLimit = errors.New("middleware: the content is larger than BodyLimit allows")

// BodyLimit answers 413 to requests with more than a number of bytes of content. It
// is for applications, or parts of one, that want less than the server allows. By
// default the server has read it all already. On a server that streams content
// (Pool) nothing of it has to be read; content without a length, which is
// chunked, is an error for the application when it reads too much, and if it passes
// that on before it has called start, the answer is 413, too.
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

// ConcurrencyLimit answers 503 with Retry-After, in whole seconds, while a number of
// answers is under way. One is until it was closed, that is, also while a slow client
// takes it.
func ConcurrencyLimit(answers int, wait time.Duration) (gateway.Middleware, error) {
	if answers < 1 {
		return nil, fmt.Errorf("middleware: ConcurrencyLimit of %d answers; use at least 1", answers)
	}
	var running atomic.Int64
	end := func(*reply) { running.Add(-1) }
	return func(app gateway.App) gateway.App {
		return gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			if running.Add(1) > int64(answers) {
				running.Add(-1)
				return refuse(env, start, "503 Service Unavailable", retryAfter(wait))
			}
			return (&reply{end: end}).serve(app, env, start)
		})
	}, nil
}
