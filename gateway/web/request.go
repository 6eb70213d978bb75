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

// Request is an Environ with parsers for the query, cookies, forms and JSON. Each parses at its first
// call. A Request belongs to the goroutine that serves it.
type Request struct {
	*gateway.Environ
	options *Options

	query    url.Values // nil: not parsed yet
	queryErr error

	cookies       []*http.Cookie
	cookiesErr    error
	cookiesParsed bool // cookies and cookiesErr are set

	form    *Form
	formErr error

	temp      gateway.TempFile // the files of the form that did not fit into memory; nil if all did
	tempBytes int64            // its size, in bytes
}

// NewRequest returns a Request for env, in an App that is no HandlerFunc. o is kept and not copied; nil is
// DefaultOptions. Call its Check once, when the program starts: NewRequest does not.
//
// A Request needs no Close: its temporary file is removed when the request ends.
func NewRequest(env *gateway.Environ, o *Options) *Request {
	if o == nil {
		o = &defaults
	}
	return &Request{Environ: env, options: o}
}

// Close removes the temporary file of a form, if there is one, before the end of the request does so (by
// the Context of the Environ, so on every path).
func (r *Request) Close() error {
	if r.temp == nil {
		return nil
	}
	err := r.temp.Close()
	if errors.Is(err, os.ErrClosed) {
		return nil // the end of the request has closed it
	}
	return err
}

var (
	errQueryFields = &StatusError{Status: 400, Text: "the query has more pairs than the option Fields"}
	errQuery       = errors.New("the query is malformed")
)

// Query is the query of the target, parsed; Environ.Query is the one that was sent. A malformed pair is
// left out, and the error is a 400; the other pairs are there nevertheless.
func (r *Request) Query() (url.Values, error) {
	if r.query == nil {
		r.query, r.queryErr = parsePairs(strings.Clone(r.Environ.Query()), r.options.Fields, errQueryFields, errQuery)
	}
	return r.query, r.queryErr
}

// parsePairs parses a query or a form of at most most pairs. The values are views of s. The result is
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

// Cookies are the cookies of the request, in their order. A malformed one is left out, and the error is a
// 400; the others are there nevertheless, since a client also sends cookies of other applications.
func (r *Request) Cookies() ([]*http.Cookie, error) {
	if !r.cookiesParsed {
		r.cookiesParsed = true
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

// Client is the client of the request behind the proxies of the options, and what it asked for.
func (r *Request) Client() forwarded.Origin {
	origin, _ := r.options.Proxies.Resolve(r.Environ)
	return origin
}

// BestType is BestType for the Accept of this request. Send "Vary: Accept" with the response.
func (r *Request) BestType(offers ...string) string { return BestType(r.Header("Accept"), offers...) }

// BestLanguage is BestLanguage for the Accept-Language of this request. Send "Vary: Accept-Language" with
// the response.
func (r *Request) BestLanguage(offers ...string) string {
	return BestLanguage(r.Header("Accept-Language"), offers...)
}

// BestEncoding is BestEncoding for the Accept-Encoding of this request. Send "Vary: Accept-Encoding" with
// the response.
func (r *Request) BestEncoding(offers ...string) string {
	return BestEncoding(r.Header("Accept-Encoding"), offers...)
}

var (
	errJSONType  = &StatusError{Status: 415, Text: "the content is not application/json"}
	errJSONBytes = &StatusError{Status: 413, Text: "the content is larger than the option JSONBytes"}
	errJSONEmpty = &StatusError{Status: 400, Text: "there is no content where JSON is expected"}
	errJSONMore  = &StatusError{Status: 400, Text: "something follows the JSON value"}
)

// JSON decodes the content into v as encoding/json does. It consumes the content, so it works once.
//
// The content must be of type application/json, or another that ends with +json (RFC 6839), else the error
// is a 415; more than the option JSONBytes is a 413; content that is not exactly one JSON value, of the
// type of v, is a 400. v may then be partly filled.
func (r *Request) JSON(v any) error {
	if kind := r.contentType(); kind != "application/json" && !strings.HasSuffix(kind, "+json") {
		return errJSONType
	}
	in := r.Input()
	if !in.Limit(r.options.JSONBytes, errJSONBytes) {
		return errJSONBytes
	}
	content := &errReader{r: in}
	d := json.NewDecoder(content)
	if r.options.JSONKnownFields {
		d.DisallowUnknownFields()
	}
	err := d.Decode(v)
	if err == nil {
		if _, err = d.Token(); err == io.EOF {
			return nil
		}
		err = errJSONMore // also for bytes that are no token
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

// jsonText is the text of a 400: what is wrong, without the names of Go types, and with at most 100 bytes
// of each value of the client.
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
	case strings.HasPrefix(err.Error(), "json: unknown field "): // encoding/json has no type for this error
		return fmt.Sprintf("JSON: %.100s", strings.TrimPrefix(err.Error(), "json: "))
	}
	return "JSON: a value is not accepted"
}

// errReader is a reader that keeps its error. A parser returns errors of reading and of malformed content
// alike, and only the latter are mistakes of the client.
type errReader struct {
	r   io.Reader
	err error // never io.EOF
}

func (n *errReader) Read(p []byte) (int, error) {
	k, err := n.r.Read(p)
	if err != nil && err != io.EOF {
		n.err = err
	}
	return k, err
}
