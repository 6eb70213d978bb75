package middleware

import (
	"fmt"
	"io"
	"math"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/gateway/gatewaytest"
)

func TestRateLimit(t *testing.T) {
	m, err := RateLimit(RateOptions{Rate: 0.001, Burst: 2})
	if err != nil {
		t.Fatal(err)
	}
	app := m(&answer{})
	ask := func(remote string) *gatewaytest.Response {
		return gatewaytest.Call(app, gatewaytest.Request{Remote: netip.MustParseAddrPort(remote)})
	}
	for _, tt := range []struct {
		remote string
		code   int
	}{
		{"192.0.2.1:1", 200}, {"192.0.2.1:2", 200}, {"192.0.2.1:3", 429}, {"[::ffff:192.0.2.1]:1", 429},
		{"192.0.2.2:1", 200},
		{"[2001:db8::1]:1", 200}, {"[2001:db8::2]:1", 200}, {"[2001:db8::ffff:0:0:1]:1", 429},
		{"[2001:db8:0:1::1]:1", 200},
	} {
		got := ask(tt.remote)
		if got.Code != tt.code {
			t.Errorf("%s: %s, want %d", tt.remote, show(got), tt.code)
		}
		if got.Code == 429 && (got.Get("Retry-After") != "1000" && got.Get("Retry-After") != "999" || got.Text() != "Too Many Requests\n") {
			t.Errorf("%s: Retry-After: %s, %q", tt.remote, got.Get("Retry-After"), got.Text())
		}
	}
}

func TestRateLimiterTime(t *testing.T) {
	l, err := newRateLimiter(RateOptions{Rate: 2, Burst: 3})
	if err != nil {
		t.Fatal(err)
	}
	client, now := netip.MustParseAddr("192.0.2.1"), time.Unix(1000, 0)
	for i, tt := range []struct{ after, wait time.Duration }{
		{0, 0}, {0, 0}, {0, 0}, {0, time.Second / 2}, {0, time.Second / 2}, // a refused request takes no token
		{200 * time.Millisecond, 300 * time.Millisecond}, {300 * time.Millisecond, 0}, {0, time.Second / 2},
		{time.Hour, 0}, {0, 0}, {0, 0}, {0, time.Second / 2},
	} {
		now = now.Add(tt.after)
		if got := l.reserve(client, now); (got - tt.wait).Abs() > time.Microsecond {
			t.Errorf("request %d: wait %v, want %v", i, got, tt.wait)
		}
	}
}

// At most Clients clients are remembered: those with the latest requests.
func TestRateLimiterBounded(t *testing.T) {
	l, err := newRateLimiter(RateOptions{Rate: 1, Burst: 1, Clients: 100})
	if err != nil {
		t.Fatal(err)
	}
	now, steady := time.Unix(1000, 0), netip.MustParseAddr("192.0.2.1")
	_ = l.reserve(steady, now)
	for i := range 10_000 {
		if wait := l.reserve(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), now); wait != 0 {
			t.Fatalf("client %d waits %v", i, wait)
		}
		if i%50 == 0 && l.reserve(steady, now) == 0 {
			t.Fatalf("a client that goes on asking was forgotten after %d others", i)
		}
	}
	if len(l.clients) != 100 || l.lru.Len() != 100 {
		t.Errorf("%d, %d clients are remembered, want 100", len(l.clients), l.lru.Len())
	}
}

func TestRateLimitTogether(t *testing.T) {
	m, err := RateLimit(RateOptions{Rate: 0.001, Burst: 50})
	if err != nil {
		t.Fatal(err)
	}
	app := m(gateway.AppFunc(func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		_, err := start("200 OK", nil, nil)
		return nil, err
	}))
	var mu sync.Mutex
	codes := map[int]int{}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 25 {
				got := gatewaytest.Get(app, "/")
				mu.Lock()
				codes[got.Code]++
				mu.Unlock()
			}
		})
	}
	all.Wait()
	if codes[200] != 50 || codes[429] != 50 {
		t.Errorf("%v, want 50 of each", codes)
	}
}

func TestBodyLimit(t *testing.T) {
	m, err := BodyLimit(10)
	if err != nil {
		t.Fatal(err)
	}
	for n, code := range map[int]int{0: 200, 10: 200, 11: 413, 1000: 413} {
		if got := gatewaytest.Call(m(&answer{}), gatewaytest.Request{Method: "POST", Body: strings.Repeat("x", n)}); got.Code != code {
			t.Errorf("%d bytes: %s, want %d", n, show(got), code)
		}
	}
}

// Content of unknown length is counted while it is read.
func TestBodyLimitOfStreams(t *testing.T) {
	m, err := BodyLimit(10)
	if err != nil {
		t.Fatal(err)
	}
	for n, code := range map[int]int{0: 200, 10: 200, 11: 413, 1000: 413} {
		app := m(gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			b, err := env.Input().ReadAll()
			if err != nil {
				return nil, fmt.Errorf("reading: %w", err)
			}
			_, err = start("200 OK", nil, nil)
			return env.Bytes(b), err
		}))
		got := gatewaytest.Call(app, gatewaytest.Request{Method: "POST", Stream: strings.NewReader(strings.Repeat("x", n))})
		if got.Code != code || got.Err != nil || code == 200 && len(got.Text()) != n {
			t.Errorf("%d bytes: %s, want %d", n, show(got), code)
		}
	}
}

func TestConcurrencyLimit(t *testing.T) {
	m, err := ConcurrencyLimit(2, 1500*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	probe := m(&answer{})
	free := func() int { // how many are not taken
		var n int
		var nest gateway.AppFunc
		nest = func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			n++
			if n <= 2 {
				body, err := m(nest).Serve(env, func(string, []gateway.Header, error) (io.Writer, error) { return io.Discard, nil })
				if body != nil {
					_ = body.Close()
				}
				return nil, err
			}
			return nil, nil
		}
		gatewaytest.Get(m(nest), "/")
		return n
	}
	for _, a := range []answer{
		{}, {chunks: []string{"one"}}, {chunks: []string{"one"}, sized: true}, {failServe: errBroken}, {failServe: errBroken, chunks: []string{"x"}},
		{failNext: errBroken, chunks: []string{"x"}}, {failClose: errBroken, chunks: []string{"x"}},
		{failServe: errBroken, panics: true}, {failNext: errBroken, chunks: []string{"x"}, panics: true}, {failClose: errBroken, chunks: []string{"x"}, panics: true},
	} {
		func() {
			defer func() { _ = recover() }()
			gatewaytest.Get(m(&a), "/")
		}()
		if n := free(); n != 2 {
			t.Errorf("after %+v there is room for %d, want 2", a, n)
		}
	}

	// Until it is closed, an answer counts.
	var got *gatewaytest.Response
	outer := m(&answer{chunks: []string{"one"}})
	gatewaytest.Get(gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		ignore := func(string, []gateway.Header, error) (io.Writer, error) { return io.Discard, nil }
		first, _ := outer.Serve(env, ignore)
		second, _ := outer.Serve(env, ignore)
		got = gatewaytest.Get(probe, "/")
		_ = first.Close()
		if after := gatewaytest.Get(probe, "/"); after.Code != 200 {
			t.Errorf("after one was closed: %s", show(after))
		}
		_ = second.Close()
		_, err := start("200 OK", nil, nil)
		return nil, err
	}), "/")
	if got.Code != 503 || got.Get("Retry-After") != "2" {
		t.Errorf("with two open: %s, Retry-After %s", show(got), got.Get("Retry-After"))
	}
}

func TestLimitsRefused(t *testing.T) {
	for _, o := range []RateOptions{{}, {Rate: 1}, {Burst: 1}, {Rate: -1, Burst: 1}, {Rate: math.NaN(), Burst: 1}, {Rate: math.Inf(1), Burst: 1}, {Rate: 1, Burst: 1, Clients: -1}} {
		if _, err := RateLimit(o); err == nil || !strings.Contains(err.Error(), "RateOptions.") {
			t.Errorf("%+v: %v", o, err)
		}
	}
	if _, err := BodyLimit(-1); err == nil {
		t.Error("BodyLimit(-1) is no error")
	}
	if _, err := ConcurrencyLimit(0, 0); err == nil {
		t.Error("ConcurrencyLimit(0) is no error")
	}
}
