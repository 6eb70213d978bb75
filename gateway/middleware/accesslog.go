package middleware

import (
	"context"
	"io"
	"log/slog"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/internal/thrown"
)

// AccessLog logs each response when it is closed, at level Info, as the record "request": remote
// address, method, target, protocol, status, bytes of content passed to the server (0 for HEAD, 204
// and 304), duration, referer, user_agent, user and request_id if there is one (see [RequestID]), and
// aborted, if the content was not passed completely or the application failed. The status is the one
// that was sent: 504 where the server answered after its RequestTimeout, 444 for a response that was
// aborted before a part of it was sent, 499 where the client disconnected before, 101 where the
// application has taken the connection over (Environ.Hijack). For lines of JSON give it a logger with a
// slog.JSONHandler. The handler may run on the event loop of the server, so it should not wait.
//
// As the first of a Stack it also logs what the server refuses before it reaches an application
// (malformed heads, limits, timeouts, a lack of room), as the record "refused": remote, request (the
// request line, as far as it came), status, bytes, why.
func AccessLog(log *slog.Logger) gateway.Middleware {
	refused := func(r gateway.Refusal) {
		log.LogAttrs(context.Background(), slog.LevelInfo, "refused",
			slog.String("remote", remoteText(r.Remote)), slog.String("request", r.Line),
			slog.Int("status", r.Status), slog.Int64("bytes", r.Bytes), slog.String("why", r.Why))
	}
	return logMiddleware(refused, func(e *entry) {
		attrs := []slog.Attr{
			slog.String("remote", e.remote),
			slog.String("method", e.method), slog.String("target", e.target), slog.String("protocol", e.protocol),
			slog.Int("status", e.status), slog.Int64("bytes", e.bytes), slog.Duration("duration", e.duration),
			slog.String("referer", e.referer), slog.String("user_agent", e.userAgent),
		}
		if e.user != "" {
			attrs = append(attrs, slog.String("user", e.user))
		}
		if e.id != "" {
			attrs = append(attrs, slog.String("request_id", e.id))
		}
		if e.aborted {
			attrs = append(attrs, slog.Bool("aborted", true))
		}
		log.LogAttrs(context.Background(), slog.LevelInfo, "request", attrs...)
	})
}

// CombinedLog logs each response when it is closed, as a line of the combined log format of Apache and
// nginx, followed by the duration in microseconds and "X" if the response was aborted, else "+"
// (Apache's %D and %X):
//
//	192.0.2.1 - - [02/Jan/2006:15:04:05 +0000] "GET / HTTP/1.1" 200 13 "-" "curl/8.5.0" 151 +
//
// In what clients send, quotes, backslashes and all that is not printable ASCII are escaped (\x0a), so
// that a client cannot forge a line. A line is one Write; w is called by one goroutine at a time, maybe
// on the event loop of the server, so it should not wait. Errors of w are dropped: a response does not
// fail because of its log. The status, and the lines of refusals, are those of [AccessLog].
func CombinedLog(w io.Writer) gateway.Middleware {
	var mu sync.Mutex
	var line []byte // reused
	write := func(e *entry) {
		mu.Lock()
		defer mu.Unlock()
		line = e.appendCombined(line[:0])
		_, _ = w.Write(line)
		if cap(line) > 64<<10 {
			line = nil // a target of 64 KiB, once, must not keep that memory for ever
		}
	}
	return logMiddleware(func(r gateway.Refusal) {
		e := &entry{remote: remoteText(r.Remote), line: r.Line, status: r.Status, bytes: r.Bytes, startTime: time.Now()}
		write(e)
	}, write)
}

// entry is what is logged of one response. Its strings are copies.
type entry struct {
	remote, user             string // "" if there is none
	method, target, protocol string
	line                     string // of a refusal, in place of these three
	referer, userAgent, id   string
	status                   int
	bytes                    int64
	startTime                time.Time
	duration                 time.Duration
	aborted                  bool
}

// logMiddleware is the middleware that calls log for each response, and refused for each Refusal.
func logMiddleware(refused func(gateway.Refusal), log func(*entry)) gateway.Middleware {
	return func(app gateway.App) gateway.App { return &accessLogApp{app, refused, log} }
}

type accessLogApp struct {
	app     gateway.App
	refused func(gateway.Refusal)
	log     func(*entry)
}

func (a *accessLogApp) Serve(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
	began := time.Now()
	r := &trackedResponse{onEnd: func(r *trackedResponse) { a.log(newEntry(env, r, began)) }}
	return r.serve(a.app, env, start)
}

// LogRefusal implements gateway.RefusalLogger.
func (a *accessLogApp) LogRefusal(r gateway.Refusal) { a.refused(r) }

func remoteText(remote netip.AddrPort) string {
	if addr := remote.Addr(); addr.IsValid() {
		return addr.String()
	}
	return ""
}

func newEntry(env *gateway.Environ, r *trackedResponse, began time.Time) *entry {
	method, target := env.RequestLine() // as sent, whatever an inner middleware has Set
	user, _ := env.Get("REMOTE_USER").(string)
	id, _ := env.Get(RequestIDKey).(string)
	e := &entry{
		user: strings.Clone(user), id: strings.Clone(id),
		method: strings.Clone(method), target: strings.Clone(target), protocol: strings.Clone(env.Protocol()),
		referer: strings.Clone(env.Header("Referer")), userAgent: strings.Clone(env.Header("User-Agent")),
		status: r.code, bytes: r.sentBytes(), startTime: began, duration: time.Since(began),
		remote: remoteText(env.RemoteAddr()),
	}
	bodiless := method == "HEAD" || r.code == 204 || r.code == 304 // the server drops content of these
	failed := r.err != nil && r.err != io.EOF
	e.aborted = failed || !bodiless && !r.complete()
	switch {
	case env.SentStatus() == 101: // hijacked
		e.status, e.aborted = 101, false
	case env.SentStatus() != 0: // the server has answered instead, or the client disconnected
		e.status, e.bytes, e.aborted = env.SentStatus(), 0, true
	case failed && e.bytes == 0 && !r.flushed && thrown.Is(r.err, gateway.ErrAbort):
		e.status = gateway.StatusNoResponse
	case failed && e.bytes == 0 && !r.flushed || r.code == 0:
		e.status = 500 // the answer of the server
	}
	if bodiless {
		e.bytes = 0
	}
	return e
}

func (e *entry) appendCombined(b []byte) []byte {
	b = appendEscaped(b, e.remote)
	b = append(b, " - "...)
	b = appendEscaped(b, strings.ReplaceAll(e.user, " ", "+")) // a space would begin the next field
	b = e.startTime.AppendFormat(b, " [02/Jan/2006:15:04:05 -0700] \"")
	if e.method == "" {
		b = appendEscaped(b, e.line)
	} else {
		b = appendEscaped(b, e.method)
		b = append(b, ' ')
		b = appendEscaped(b, e.target)
		b = append(b, ' ')
		b = appendEscaped(b, e.protocol)
	}
	b = append(b, "\" "...)
	b = strconv.AppendInt(b, int64(e.status), 10)
	b = append(b, ' ')
	b = strconv.AppendInt(b, e.bytes, 10)
	b = append(b, " \""...)
	b = appendEscaped(b, e.referer)
	b = append(b, "\" \""...)
	b = appendEscaped(b, e.userAgent)
	b = append(b, "\" "...)
	b = strconv.AppendInt(b, e.duration.Microseconds(), 10)
	if e.aborted {
		return append(b, " X\n"...)
	}
	return append(b, " +\n"...)
}

// appendEscaped appends s so that no byte of it can end a field or a line, or control a terminal; "-"
// if it is empty.
func appendEscaped(b []byte, s string) []byte {
	if s == "" {
		return append(b, '-')
	}
	const hex = "0123456789abcdef"
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < ' ' || c > '~':
			b = append(b, '\\', 'x', hex[c>>4], hex[c&15])
		default:
			b = append(b, c)
		}
	}
	return b
}
