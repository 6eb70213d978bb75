package gateway

import "fmt"

// The sides of the interface.
const (
	applicationSide = "application" // or a middleware, seen from around it
	serverSide      = "server"      // or a middleware, seen from the application in it
	middlewareSide  = "middleware"  // one that has Set a key of the environ, or is in ValidateMiddleware
)

// Violation is the error of a rule that was broken. It has no view of the request, and may be kept.
type Violation struct {
	Rule    string // what must be
	Party   string // the side that broke it: "application", "server" or "middleware"
	Found   string // what was there
	Fix     string // what that side has to do
	Request string // method and target
}

func (v *Violation) Error() string {
	return fmt.Sprintf("gateway: the %s broke a rule: %s; but %s; %s (%s)", v.Party, v.Rule, v.Found, v.Fix, v.Request)
}

// rule is the part of a Violation that does not depend on the request.
type rule struct {
	party, text, fix string
}

func (r *rule) violation(request, found string) *Violation {
	return &Violation{Rule: r.text, Party: r.party, Found: found, Fix: r.fix, Request: request}
}

// The rules of the server.
var (
	ruleEnviron = rule{serverSide,
		"every key of the environ has a valid value (RFC 3875 section 4.1, PEP 3333 \"environ Variables\")",
		"set it right, or leave it out if it may be absent"}
	ruleCall = rule{serverSide,
		"Serve gets an Environ and a start",
		"pass both"}
	ruleSource = rule{serverSide,
		"content comes as from an io.Reader: at least one byte and no more than asked for, or an error",
		"let the source wait until there is a byte"}
	ruleContent = rule{serverSide,
		"the input ends with the content (PEP 3333 \"Input and Error Streams\")",
		"give Begin or ContentStream the bytes of this request only"}
	ruleWriter = rule{serverSide,
		"start returns a writer or an error, and exc once something was sent " +
			"(PEP 3333 \"The start_response() Callable\")",
		"return it, and let it stick"}
	ruleNext = rule{serverSide,
		"Next is called until it returns an error that is not ErrWait, and not after Serve has failed, nor after Close",
		"stop, and close the Body"}
	ruleClose = rule{serverSide,
		"a Body is closed exactly once, whatever happened",
		"call Close where every way out of a response passes"}
	ruleReadOnly = rule{serverSide,
		"a chunk is read-only",
		"copy what is to be changed"}
)

// The rules of the application.
var (
	ruleStatus = rule{applicationSide,
		"status is a final one: three digits from 200, one space and a reason (RFC 9112 section 4)",
		"pass such as \"200 OK\" to start"}
	ruleHeader = rule{applicationSide,
		"headers are tokens with values that have no control characters, and not those of the connection " +
			"(RFC 9110 sections 5.1, 5.5, 7.6.1)",
		"leave it out, or encode it"}
	ruleLength = rule{applicationSide,
		"Content-Length is one decimal number, and none with 204 (RFC 9110 section 8.6)",
		"leave it out, or declare the number of bytes of the Body"}
	ruleLengths = rule{applicationSide,
		"the content has as many bytes as Content-Length and Len of the Body say (RFC 9112 section 6.3)",
		"count them again, or leave the length out"}
	ruleTwice = rule{applicationSide,
		"start is called once; again only with exc, to replace a response",
		"pass the error that is the reason as exc"}
	ruleStart = rule{applicationSide,
		"start is called before there is content, and before the response ends",
		"call it before Serve returns, or in the first Next"}
	ruleEmpty = rule{applicationSide,
		"a response with 204 or 304 has no content (RFC 9110 sections 15.3.5, 15.4.5)",
		"return no Body, or another status"}
	ruleChunk = rule{applicationSide,
		"a chunk stays as it is until the next call of Next or Close",
		"give each chunk memory of its own, or write to it in Next only"}
	ruleWaker = rule{applicationSide,
		"Environ.Waker is called before a Next that returns ErrWait",
		"call it in Serve, and call the function that it returns when there is something"}
	ruleReady = rule{applicationSide,
		"a Body that is Ready never waits",
		"leave the method Ready out"}
	ruleWrapper = rule{applicationSide,
		"a Wrapper passes on the chunks of the Body that it wraps unchanged",
		"leave the method Unwrap out, or return nil"}
	ruleInform = rule{applicationSide,
		"an interim response is one of 102 to 199, with headers like those of a final one, and comes before start " +
			"(RFC 9110 section 15.2)",
		"call Inform first, or leave it out"}
	ruleTrailer = rule{applicationSide,
		"a trailer field is one that a client can take after the content (RFC 9110 section 6.5.1)",
		"pass it to start"}
	ruleExpired = rule{applicationSide,
		"an Environ and its Input end with the response",
		"keep copies: Environ.Clone, strings.Clone, bytes.Clone"}
	ruleExpiredStart = rule{applicationSide,
		"start and its writer end with the response",
		"write before Close, or return a Body that waits in Next"}
)

// The rules of a middleware, of which ValidateMiddleware sees both sides.
var (
	ruleBlocks = rule{middlewareSide,
		"a middleware yields a chunk, which may be empty, for each one it takes " +
			"(PEP 3333 \"Middleware Handling of Block Boundaries\")",
		"return an empty chunk from Next when there is nothing to pass on yet"}
	rulePassWait = rule{middlewareSide,
		"a middleware passes ErrWait on",
		"return it from Next with what was taken so far"}
	ruleNoWrite = rule{middlewareSide,
		"a middleware does not turn chunks into write() (PEP 3333 \"The write() Callable\")",
		"return a Body"}
	rulePassClose = rule{middlewareSide,
		"a middleware passes Close on to the Body that it took (PEP 3333 \"Specification Details\")",
		"call Close of that Body in Close of its own"}
)
