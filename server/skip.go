package server

import (
	"github.com/isbjorn/isbjorn/parser"
)

// skipBytesMax is how much content that an application has left unread is read and dropped behind its
// answer, to keep the connection. As in net/http: a client of an API that refuses a request sends less, and
// for more a new connection costs less. BodyTimeout and BodyRate apply meanwhile.
const skipBytesMax = 256 << 10

// errSkipBytes ends a connection whose request was answered, so it is not sent.
var errSkipBytes = &parser.Error{Status: 413, Why: "more content was left unread than is read behind an answer"}

// canSkipContent reports whether the connection can be kept although a part of the content has not come yet:
// little may be left of it, and the client does send it. A client that waits for 100 Continue may send it or
// not when it sees another answer (RFC 9110 section 10.1.1), so its next bytes may be content or a request.
func (x *exchange) canSkipContent() bool {
	return !x.in.expect100 && !x.sh.stopping && x.in.decoder.Remaining() <= skipBytesMax
}

// skip drops the content in b. It adds what it uses of b to used.
func (x *exchange) skip(b []byte, used *int) error {
	for !x.in.decoder.Done() {
		_, n, err := x.in.decoder.Decode(b, &x.sh.cfg.limits)
		if err != nil {
			return err
		}
		if n == 0 {
			return nil
		}
		b = b[n:]
		*used += n
		// Chunked content may turn out to be more than canSkipContent allows. The client was not told that
		// the connection ends, and its next request may be behind the content: that is worth as much as is
		// read behind a last answer.
		if x.in.clock.add(n, x.sh.now); x.in.clock.bytes > max(skipBytesMax, x.sh.cfg.loop.LingerBytes) {
			return errSkipBytes
		}
	}
	x.session.endRequest(responseDone)
	return nil
}

// endSkipping ends a connection whose content does not end, or is invalid. Its request was answered.
func (s *session) endSkipping() {
	s.endRequest(lastDone)
	s.sock.Close()
}
