package middleware

import (
	"context"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
)

// AccessLog logs each answer when it is closed, at level Info, as the record
// "request": its remote address, method, target, protocol, status, bytes of content
// taken for sending (0 for HEAD, 204 and 304), duration, referer, user agent, request_id if there is one (see RequestID), and
// aborted, if not all of the content was taken or the application failed. The status is
// 101 where the application has taken the connection over (Environ.Hijack). Give it a
// logger with a slog.JSONHandler for lines of JSON. The handler may run on the server's
// event loop, so it should not wait.
func AccessLog(log *slog.Logger) gateway.Middleware {
	return logged(func(e *entry) {
		attrs := []slog.Attr{
			slog.String("remote", e.remote), slog.String("method", e.method), slog.String("target", e.target), slog.String("protocol", e.protocol),
			slog.Int("status", e.status), slog.Int64("bytes", e.bytes), slog.Duration("duration", e.duration),
			slog.String("referer", e.referer), slog.String("user_agent", e.agent),
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

// CombinedLog logs each answer when it is closed, as a line of the combined log
// format, and behind it the duration in microseconds and "X" if the answer was
// aborted, else "+" (Apache's %D and %X):
//
//	192.0.2.1 - - [02/Jan/2006:15:04:05 +0000] "GET / HTTP/1.1" 200 13 "-" "curl/8.5.0" 151 +
//
// In what clients send, quotes, backslashes and all that is not printable ASCII are
// escaped (\x0a), so a client cannot forge a line. A line is one Write; w is called
// by one goroutine at a time, maybe on the server's event loop, so it should not wait.
// Errors of w are dropped: an answer does not fail because of its log.
func CombinedLog(w io.Writer) gateway.Middleware {
	var mu sync.Mutex
	var line []byte // reused
	return logged(func(e *entry) {
		mu.Lock()
		defer mu.Unlock()
		line = e.appendCombined(line[:0])
		_, _ = w.Write(line)
		if cap(line) > 64<<10 {
			line = nil // one long target must not pin its memory
		}
	})
}

// entry is what is logged of one answer. Its text is nobody else's.
type entry struct {
	remote, user             string // "" if there is none
	method, target, protocol string
	referer, agent, id       string
	status                   int
	bytes                    int64
	began                    time.Time
	duration                 time.Duration
	aborted                  bool
}

// logged is the middleware that hands log an entry for each answer.
func logged(log func(*entry)) gateway.Middleware {
	return func(app gateway.App) gateway.App {
		return gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			began := time.Now()
			r := &reply{end: func(r *reply) { log(newEntry(env, r, began)) }}
			return r.serve(app, env, start)
		})
	}
}

func newEntry(env *gateway.Environ, r *reply, began time.Time) *entry {
	method, target := env.RequestLine() // whatever was Set since
	user, _ := env.Get("REMOTE_USER").(string)
	id, _ := env.Get(RequestIDKey).(string)
	e := &entry{
		user: strings.Clone(user), id: strings.Clone(id),
		method: strings.Clone(method), target: strings.Clone(target), protocol: strings.Clone(env.Protocol()),
		referer: strings.Clone(env.Header("Referer")), agent: strings.Clone(env.Header("User-Agent")),
		status: r.code, bytes: r.bytes(), began: began, duration: time.Since(began),
	}
	if remote := env.RemoteAddr().Addr(); remote.IsValid() {
		e.remote = remote.String()
	}
	bodiless := method == "HEAD" || r.code == 204 || r.code == 304 // what is written then is not sent
	failed := r.err != nil && r.err != io.EOF
	e.aborted = failed || !bodiless && !r.whole()
	switch {
	case env.Hijacked():
		e.status, e.aborted = 101, false
	case failed && e.bytes == 0 || r.code == 0:
		e.status = 500 // which is what a server answers
	}
	if bodiless {
		e.bytes = 0
	}
	return e
}

func (e *entry) appendCombined(b []byte) []byte {
	b = appendEscaped(b, e.remote)
	b = append(b, " - "...)
	b = appendEscaped(b, strings.ReplaceAll(e.user, " ", "+")) // one field
	b = e.began.AppendFormat(b, " [02/Jan/2006:15:04:05 -0700] \"")
	b = appendEscaped(b, e.method)
	b = append(b, ' ')
	b = appendEscaped(b, e.target)
	b = append(b, ' ')
	b = appendEscaped(b, e.protocol)
	b = append(b, "\" "...)
	b = strconv.AppendInt(b, int64(e.status), 10)
	b = append(b, ' ')
	b = strconv.AppendInt(b, e.bytes, 10)
	b = append(b, " \""...)
	b = appendEscaped(b, e.referer)
	b = append(b, "\" \""...)
	b = appendEscaped(b, e.agent)
	b = append(b, "\" "...)
	b = strconv.AppendInt(b, e.duration.Microseconds(), 10)
	if e.aborted {
		return append(b, " X\n"...)
	}
	return append(b, " +\n"...)
}

// appendEscaped appends s so that nothing in it can end a field or a line, or
// control a terminal; "-" if it is empty.
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
