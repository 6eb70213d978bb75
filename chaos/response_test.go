package chaos

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// answer is one response.
type answer struct {
	status  int
	reason  string
	fields  map[string]string // by name as sent; none comes twice
	content []byte
}

// closes says that the server will end the connection after this answer.
func (a *answer) closes() bool { return a.fields["Connection"] == "close" }

const (
	lineBytesMax    = 1 << 10 // of any line that these servers send
	contentBytesMax = 2 << 20 // and more than any content they send
)

// readAnswer reads one response to method, and is as strict as can be: a byte
// that is too many or missing must show here or in the next answer. The error is
// io.EOF only if the connection ended before the first byte.
func readAnswer(r *bufio.Reader, method string) (*answer, error) {
	status, err := readLine(r)
	if err != nil {
		return nil, err
	}
	a := &answer{fields: map[string]string{}}
	rest, ok := strings.CutPrefix(status, "HTTP/1.1 ")
	code, reason, space := strings.Cut(rest, " ")
	a.status, err = strconv.Atoi(code)
	a.reason = reason
	if !ok || !space || err != nil || len(code) != 3 || a.status < 100 || reason != http.StatusText(a.status) {
		return nil, fmt.Errorf("status line %q", status)
	}
	for {
		line, err := readLine(r)
		if err != nil {
			return nil, early(err)
		}
		if line == "" {
			break
		}
		name, value, ok := strings.Cut(line, ": ")
		if _, twice := a.fields[name]; !ok || twice || value == "" {
			return nil, fmt.Errorf("field line %q, twice: %v", line, twice)
		}
		a.fields[name] = value
	}
	if err := a.checkFields(); err != nil {
		return nil, err
	}
	if a.status < 200 || method == http.MethodHead {
		return a, nil
	}
	if a.fields["Transfer-Encoding"] != "" {
		return a, early(a.readChunks(r))
	}
	n, _ := strconv.Atoi(a.fields["Content-Length"]) // checked
	a.content = make([]byte, n)
	_, err = io.ReadFull(r, a.content)
	return a, early(err)
}

// checkFields knows every field that these servers send.
func (a *answer) checkFields() error {
	if a.status == http.StatusContinue {
		if len(a.fields) > 0 {
			return fmt.Errorf("fields with status 100: %v", a.fields)
		}
		return nil
	}
	framed := 0
	for name, value := range a.fields {
		ok := false
		switch name {
		case "Server":
			ok = value == "isbjorn"
		case "Date":
			t, err := time.Parse(http.TimeFormat, value)
			ok = err == nil && time.Since(t).Abs() < 2**patience // it may have waited for its reader
		case "Content-Type":
			ok = true // compared with what the example sends
		case "Content-Length":
			n, err := strconv.ParseUint(value, 10, 32)
			ok = err == nil && n <= contentBytesMax && strconv.FormatUint(n, 10) == value
			framed++
		case "Transfer-Encoding":
			ok = value == "chunked"
			framed++
		case "Connection":
			ok = value == "close" || value == "keep-alive"
		}
		if !ok {
			return fmt.Errorf("field %q: %q", name, value)
		}
	}
	if framed != 1 || a.fields["Date"] == "" || a.fields["Server"] == "" {
		return fmt.Errorf("fields %v; want Date, Server, and one of Content-Length and Transfer-Encoding", a.fields)
	}
	return nil
}

// readChunks reads chunked content without extensions and trailers.
func (a *answer) readChunks(r *bufio.Reader) error {
	for {
		line, err := readLine(r)
		if err != nil {
			return err
		}
		n, err := strconv.ParseUint(line, 16, 32)
		if err != nil || len(a.content)+int(n) > contentBytesMax {
			return fmt.Errorf("chunk size %q", line)
		}
		at := len(a.content)
		a.content = append(a.content, make([]byte, n+2)...)
		if _, err := io.ReadFull(r, a.content[at:]); err != nil {
			return err
		}
		end := a.content[at+int(n):]
		a.content = a.content[:at+int(n)]
		if string(end) != "\r\n" {
			return fmt.Errorf("a chunk ends in %q", end)
		}
		if n == 0 {
			return nil
		}
	}
}

// early makes an end inside of an answer an error of its own.
func early(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// readLine returns a line without its CRLF.
func readLine(r *bufio.Reader) (string, error) {
	var line []byte
	for {
		c, err := r.ReadByte()
		if err != nil {
			if len(line) > 0 {
				err = early(err)
			}
			return "", err
		}
		line = append(line, c)
		switch n := len(line); {
		case c == '\n':
			if n < 2 || line[n-2] != '\r' {
				return "", fmt.Errorf("line %q ends in LF alone", line)
			}
			return string(line[:n-2]), nil
		case n > lineBytesMax:
			return "", fmt.Errorf("line of more than %d bytes: %.100q", lineBytesMax, line)
		case n > 1 && line[n-2] == '\r', c < ' ' && c != '\r' && c != '\t', c == 0x7f:
			return "", fmt.Errorf("byte %q in line %q", c, line)
		}
	}
}

var errTrailing = errors.New("bytes behind the last answer")

// readEnd expects the end of the connection, in order and with nothing before it.
func readEnd(r *bufio.Reader) error {
	switch b, err := r.Peek(1); {
	case len(b) > 0:
		b, _ = r.Peek(min(r.Buffered(), 200))
		return fmt.Errorf("%w: %q", errTrailing, b)
	case err != io.EOF:
		return fmt.Errorf("instead of the end: %w", err)
	}
	return nil
}
