package nethttp

import (
	"fmt"
	"net/http"
	"net/textproto"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/internal/field"
)

// WriteHeader declares the status and the header as they are now. It sends 1xx statuses at once, except 100,
// which the server sends, and 101, which waits for Hijack.
func (w *response) WriteHeader(code int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case code < 100 || code > 999:
		panic(fmt.Sprintf("nethttp: WriteHeader was called with the code %d; use one of three digits", code))
	case w.env == nil:
	case w.err == http.ErrHijacked:
		fmt.Fprintf(w.env.Errors(), "nethttp: WriteHeader(%d) on a connection that was taken over by Hijack", code)
	case w.code != 0:
		_, file, line, _ := runtime.Caller(1)
		fmt.Fprintf(w.env.Errors(), "nethttp: superfluous WriteHeader(%d) at %s:%d; the status is %d already",
			code, file, line, w.code)
	case code >= 200 || code == http.StatusSwitchingProtocols:
		w.declare(code)
	case code > http.StatusContinue:
		w.inform(code)
	}
}

// inform sends an interim response with the fields of the header that one may have. For HTTP/1.0 clients, and
// under servers without Inform, nothing is sent.
func (w *response) inform(code int) {
	fields := w.buf.fields[:0]
	for name, values := range w.header {
		if kind, err := field.Check(name, ""); err == nil && kind != field.ContentLength && kind != field.Trailer {
			fields = appendField(fields, name, values)
		}
	}
	fields = withoutHops(fields, w.header["Connection"])
	sortFields(fields)
	w.buf.fields = fields
	_ = w.env.Inform(code, fields)
}

// bodyAllowed reports whether a response with this code may have content. RFC 9112 section 6.3, item 1.
func bodyAllowed(code int) bool {
	return code >= 200 && code != http.StatusNoContent && code != http.StatusNotModified
}

// declare takes the fields of the header as they are now. Those that only the server sends, and invalid ones,
// are left out.
func (w *response) declare(code int) {
	w.code = code
	var hops []string // values of Connection: names of hop-by-hop fields, RFC 9110 section 7.6.1
	fields := w.buf.fields[:0]
	for name, values := range w.header {
		kind, err := field.Check(name, "")
		switch {
		case len(values) == 0: // header["Date"] = nil: the server must not add its own
			if kind == field.Date || kind == field.ServerName {
				fields = append(fields, gateway.Header{Name: name})
			}
			w.hasTrailers = w.hasTrailers || kind == field.ContentLength // net/http chunks the content then
			continue
		case code == http.StatusSwitchingProtocols: // for Hijack: unchanged, but for the framing of content
			if err != nil && kind == field.Plain || kind == field.ContentLength || name == "Transfer-Encoding" {
				continue
			}
		case kind == field.Connection:
			if hasToken(values, "close") {
				fields = append(fields, gateway.Header{Name: name, Value: "close"})
			}
			hops = values
			continue
		case strings.HasPrefix(name, http.TrailerPrefix):
			w.hasTrailers = true
			continue
		case err != nil || code == http.StatusNotModified && name == "Content-Type":
			continue
		case kind == field.Trailer:
			w.hasTrailers = true
			w.addTrailerNames(values)
		case kind == field.ContentLength:
			if values = values[:1]; !w.declareLength(values[0]) {
				continue
			}
		case kind == field.Date || kind == field.ServerName:
			values = values[:1]
		}
		fields = appendField(fields, name, values)
	}
	if hops != nil {
		fields = withoutHops(fields, hops)
	}
	sortFields(fields)
	w.buf.fields = fields
	_, typed := w.header["Content-Type"]
	w.sniffType = !typed && w.header.Get("Content-Encoding") == "" && w.header.Get("Transfer-Encoding") == ""
}

// appendField appends a field for each value.
func appendField(fields []gateway.Header, name string, values []string) []gateway.Header {
	for _, value := range values {
		fields = append(fields, gateway.Header{Name: name, Value: cleanValue(value)})
	}
	return fields
}

// withoutHops drops the fields that the values of Connection name. The server sends a Connection without their
// names, so that a proxy would pass them on.
func withoutHops(fields []gateway.Header, connection []string) []gateway.Header {
	return slices.DeleteFunc(fields, func(h gateway.Header) bool {
		return field.KindOf(h.Name) == field.Plain && hasToken(connection, h.Name)
	})
}

// sortFields sorts them by name, as net/http does.
func sortFields(fields []gateway.Header) {
	slices.SortStableFunc(fields, func(a, b gateway.Header) int { return strings.Compare(a.Name, b.Name) })
}

// addTrailerNames adds the names in the values of Trailer.
func (w *response) addTrailerNames(list []string) {
	for _, names := range list {
		for name := range strings.SplitSeq(names, ",") {
			w.buf.trailers = append(w.buf.trailers, http.CanonicalHeaderKey(textproto.TrimString(name)))
		}
	}
}

// trailerFields returns the trailer fields of the header: those that were announced, and those with
// http.TrailerPrefix. Fields that are not allowed as trailers are left out.
func (w *response) trailerFields() (fields []gateway.Header) {
	for key, values := range w.header {
		if name, ok := strings.CutPrefix(key, http.TrailerPrefix); ok {
			fields = appendField(fields, name, values)
		}
	}
	for _, name := range w.buf.trailers {
		fields = appendField(fields, name, w.header[name])
	}
	return slices.DeleteFunc(fields, func(h gateway.Header) bool { return field.CheckTrailer(h.Name, h.Value) != nil })
}

// declareLength reports whether value is a valid length of a response that may have content.
func (w *response) declareLength(value string) bool {
	n, err := strconv.ParseUint(value, 10, 63)
	if err != nil {
		fmt.Fprintf(w.env.Errors(), "nethttp: the handler has set Content-Length to %q; use a decimal number", value)
		return false
	}
	if !bodyAllowed(w.code) {
		return false
	}
	w.declared = int64(n)
	return true
}

var newlines = strings.NewReplacer("\r", " ", "\n", " ")

// cleanValue is a value as net/http sends it: line ends are spaces, and the ends are trimmed.
func cleanValue(value string) string { return textproto.TrimString(newlines.Replace(value)) }

// statusLines has the status and reason of the codes that net/http knows.
var statusLines = func() (t [600]string) {
	for code := range t {
		if text := http.StatusText(code); text != "" {
			t[code] = strconv.Itoa(code) + " " + text
		}
	}
	return t
}()

func statusLine(code int) string {
	if code < len(statusLines) && statusLines[code] != "" {
		return statusLines[code]
	}
	return strconv.Itoa(code) + " status code " + strconv.Itoa(code)
}
