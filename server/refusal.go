package server

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/parser"
	"github.com/isbjorn/isbjorn/server/internal/respond"
)

// refuse answers a request that cannot be served, and ends the connection behind the answer. head is the
// input of the request, for the log: nil if the caller does not have it.
func (s *session) refuse(why *parser.Error, head []byte) {
	sh := s.sh
	sh.count(refused)
	if s.x == nil || !s.x.reachedApp() {
		s.logRefusal(why, head)
	}
	sh.out = respond.AppendError(sh.out, why.Status, why.Why, s.x != nil && s.x.in.isHEAD, &sh.date)
	sh.flush(s.sock)
	s.endRequest(lastDone)
	s.sock.Close()
}

// reachedApp reports whether the application was given the request: then the middlewares around it log it.
func (x *exchange) reachedApp() bool {
	return x.session.phase == responding && !(x.app.onWorker() && x.app.job.neverRan)
}

// refusedLineMax is how much of a request line is logged: it is TargetBytes by default.
const refusedLineMax = 8 << 10

// logRefusal logs a refusal: in the access log if the outermost middleware is one (gateway.RefusalLogger),
// else in the log of the server.
func (s *session) logRefusal(why *parser.Error, head []byte) {
	r := gateway.Refusal{
		Remote: s.sock.RemoteAddr(), Status: why.Status, Why: why.Why,
		Bytes: int64(len(respond.ErrorText(why.Status, why.Why))),
	}
	if x := s.x; x != nil {
		switch { // where the head is now: a copy of it, a copy of the request, or the caller's head
		case x.in.head != nil:
			head = x.in.head.B
		case x.in.ownsCopy:
			head = x.in.copied
		}
		if x.in.isHEAD {
			r.Bytes = 0
		}
	}
	line, _, _ := bytes.Cut(head, []byte("\n"))
	line, _ = bytes.CutSuffix(line, []byte("\r"))
	r.Line = string(line[:min(len(line), refusedLineMax)])
	if to := s.sh.srv.refusals; to != nil {
		s.sh.cfg.logs.Do(len(r.Line), func() { to.LogRefusal(r) })
		return
	}
	s.sh.cfg.log.Info("request refused", slog.Any("remote", r.Remote), slog.String("request", r.Line),
		slog.Int("status", why.Status), slog.Int("rule", why.Rule), slog.String("why", why.Why))
}

// uploadError is what Read of streamed content returns after a refusal with why. Content that came too late
// is os.ErrDeadlineExceeded too, as with a net.Conn.
func uploadError(why *parser.Error) error {
	if why == errBodyTime || why == errBodyRate {
		return fmt.Errorf("%w: %w", why, os.ErrDeadlineExceeded)
	}
	return why
}

// Refusals by the server; those by the parser are in package parser. Rule is the number in parser/doc.go.
var (
	errHeadTime     = &parser.Error{Status: 408, Rule: 61, Why: "the request head took longer than the option HeadTimeout"}
	errBodyTime     = &parser.Error{Status: 408, Rule: 61, Why: "no content came for as long as the option BodyTimeout"}
	errBodyRate     = &parser.Error{Status: 408, Rule: 61, Why: "the content came slower than the option BodyRate"}
	errIncomplete   = &parser.Error{Status: 400, Rule: 44, Why: "the connection ended inside a request"}
	errExpectation  = &parser.Error{Status: 417, Rule: 55, Why: "only the expectation 100-continue can be met"}
	errTypeTwice    = &parser.Error{Status: 400, Rule: 28, Why: "more than one Content-Type"}
	errRequestTime  = &parser.Error{Status: 504, Why: "the application took longer than the option RequestTimeout"}
	errTooManyConns = &parser.Error{Status: 503, Why: "too many connections"}
	errBusy         = &parser.Error{Status: 503, Why: "all workers are busy and their queue is full (options Workers and WorkerQueue)"}
	errHungup       = &parser.Error{Status: 503, Why: "the client has closed its sending side while the request waited for a worker"}
	errQueueTime    = &parser.Error{Status: 504, Why: "the request waited for a worker longer than the option RequestTimeout"}
	errUnderscore   = &parser.Error{Status: 400, Why: "a field with \"_\" in its name, which the option UnderscoreFields refuses"}
	errTraceContent = &parser.Error{Status: 400, Why: "TRACE with content"} // RFC 9110 section 9.3.8
)
