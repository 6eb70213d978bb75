package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/gateway/forwarded"
)

// Request is an Environ with what is mostly asked of it. Everything is parsed when
// it is asked for first. It belongs to the goroutine that serves its request.
type Request struct {
	*gateway.Environ
	options *Options

	query    url.Values // nil: not parsed yet
	queryErr error

	cookies    []*http.Cookie
	cookiesErr error
	cookiesRun bool // they were parsed

	form    *Form
	formErr error

	temp      gateway.TempFile // what of the form did not fit into memory; nil if all did
	tempBytes int64            // its size
}

// NewRequest is for Apps that are no HandlerFunc. o is kept; nil is DefaultOptions.
// It is not checked here: call Check once, when the program starts.
//
// Nothing must be closed: temporary files go when the request ends.
func NewRequest(env *gateway.Environ, o *Options) *Request {
	if o == nil {
		o = &defaults
	}
	return &Request{Environ: env, options: o}
}

// Close removes the temporary file of a form, if there is one, before the request
// ends, which does it too: on every path, by the Context of the Environ.
func (r *Request) Close() error {
	if r.temp == nil {
		return nil
	}
	err := r.temp.Close()
	if errors.Is(err, os.ErrClosed) {
		return nil // the request has ended
	}
	return err
}

var (
	errQueryFields = &StatusError{Status: 400, Text: "the query has more pairs than the option Fields"}
	errQuery       = errors.New("the query is malformed")
)

// Query is the query of the target, parsed. The Environ has it as it was sent. A
// pair that is malformed is left out, and makes the error a 400; the others are
// there nevertheless.
func (r *Request) Query() (url.Values, error) {
	if r.query == nil {
		r.query, r.queryErr = parsePairs(strings.Clone(r.Environ.Query()), r.options.Fields, errQueryFields, errQuery)
	}
	return r.query, r.queryErr
}

// parsePairs parses a query or a form; the values are views of s. The result is
// never nil.
func parsePairs(s string, most int, errMost, errBad error) (url.Values, error) {
	if strings.Count(s, "&") >= most {
		return url.Values{}, errMost
	}
	values, err := url.ParseQuery(s)
	if err != nil {
		err = &StatusError{Status: 400, Text: errBad.Error(), Err: err}
	}
	return values, err
}

// Cookies are the client's cookies, in their order. One that is malformed is left
// out, and makes the error a 400; the others are there nevertheless, since a client
// also sends cookies that others have set.
func (r *Request) Cookies() ([]*http.Cookie, error) {
	if !r.cookiesRun {
		r.cookiesRun = true
		line := strings.Clone(r.Header("Cookie"))
		for pair := range strings.SplitSeq(line, ";") {
			if strings.Trim(pair, " \t") == "" {
				continue
			}
			cookies, err := http.ParseCookie(pair)
			if err != nil && r.cookiesErr == nil {
				r.cookiesErr = &StatusError{Status: 400, Text: "a cookie is malformed", Err: err}
			}
			r.cookies = append(r.cookies, cookies...)
		}
	}
	return r.cookies, r.cookiesErr
}

// Cookie is the first cookie with that name; nil if there is none.
func (r *Request) Cookie(name string) *http.Cookie {
	cookies, _ := r.Cookies()
	for _, c := range cookies {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// Client is who asked, and for what, behind the proxies of the options.
func (r *Request) Client() forwarded.Origin {
	origin, _ := r.options.Proxies.Resolve(r.Environ)
	return origin
}

// BestType is BestType for this request's Accept. The response should say
// "Vary: Accept".
func (r *Request) BestType(offers ...string) string { return BestType(r.Header("Accept"), offers...) }

// BestLanguage is BestLanguage for this request's Accept-Language. The response
// should say "Vary: Accept-Language".
func (r *Request) BestLanguage(offers ...string) string {
	return BestLanguage(r.Header("Accept-Language"), offers...)
}

// BestEncoding is BestEncoding for this request's Accept-Encoding. The response
// should say "Vary: Accept-Encoding".
func (r *Request) BestEncoding(offers ...string) string {
	return BestEncoding(r.Header("Accept-Encoding"), offers...)
}

var (
	errJSONType  = &StatusError{Status: 415, Text: "the content is not application/json"}
	errJSONBytes = &StatusError{Status: 413, Text: "the content is larger than the option JSONBytes"}
	errJSONEmpty = &StatusError{Status: 400, Text: "there is no content where JSON is expected"}
	errJSONMore  = &StatusError{Status: 400, Text: "something follows the JSON value"}
)

// JSON decodes the content into v as encoding/json does. It takes the content, so
// it works once.
//
// The content must be of type application/json, or another that ends with +json
// (RFC 6839), else the error is a 415; more than the option JSONBytes is a 413;
// what is not one JSON value that fits v is a 400. v is then partly filled.
func (r *Request) JSON(v any) error {
	if kind := r.contentType(); kind != "application/json" && !strings.HasSuffix(kind, "+json") {
		return errJSONType
	}
	in := r.Input()
	if !in.Limit(r.options.JSONBytes, errJSONBytes) {
		return errJSONBytes
	}
	content := &noted{r: in}
	d := json.NewDecoder(content)
	if r.options.JSONKnownFields {
		d.DisallowUnknownFields()
	}
	err := d.Decode(v)
	if err == nil {
		if _, err = d.Token(); err == io.EOF {
			return nil
		}
		err = errJSONMore // also what is no token
	}
	var programmer *json.InvalidUnmarshalError
	switch {
	case content.err != nil:
		return content.err
	case err == io.EOF:
		return errJSONEmpty
	case err == errJSONMore, errors.As(err, &programmer):
		return err
	}
	return &StatusError{Status: 400, Text: jsonText(err), Err: err}
}

// jsonText says what is wrong with JSON, without the names of the program's types,
// and with no more than the beginning of what the client sent.
func jsonText(err error) string {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Sprintf("malformed JSON at byte %d", syntax.Offset)
	case errors.As(err, &kind) && kind.Field != "":
		return fmt.Sprintf("JSON: a %.100s is not what the field %.100q takes", kind.Value, kind.Field)
	case errors.As(err, &kind):
		return fmt.Sprintf("JSON: a %.100s is not what is expected", kind.Value)
	case err == io.ErrUnexpectedEOF || err == io.EOF:
		return "the JSON value is cut short"
	case strings.HasPrefix(err.Error(), "json: unknown field "): // there is no type for it
		return fmt.Sprintf("JSON: %.100s", strings.TrimPrefix(err.Error(), "json: "))
	}
	return "JSON: a value is not accepted"
}

// noted is a reader that keeps its error: what parses it does not say whose an
// error is, and a file that cannot be read is no fault of the client.
type noted struct {
	r   io.Reader
	err error // never io.EOF
}

func (n *noted) Read(p []byte) (int, error) {
	k, err := n.r.Read(p)
	if err != nil && err != io.EOF {
		n.err = err
	}
	return k, err
}
