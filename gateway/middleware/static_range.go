package middleware

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
)

// ifRange reports whether If-Range allows a 206: the client has a part of this version of the file. A
// date allows it if it is that of the file and more than a second old: within a second the file may
// have changed again. RFC 9110 section 13.1.5.
func ifRange(env *gateway.Environ, etag string, modified time.Time) bool {
	value := env.Header("If-Range")
	if value == "" {
		return true
	}
	if since, err := http.ParseTime(value); err == nil {
		return !modified.IsZero() && modified.Truncate(time.Second).Equal(since) && time.Since(modified) > time.Second
	}
	return value == etag
}

// parseRange reads a Range of one range of a file of size bytes. ok is false for another unit, a
// malformed value, or several ranges: then the field is ignored. length is 0 if the file has no byte of
// the range. RFC 9110 section 14.1.2.
func parseRange(value string, size int64) (first, length int64, ok bool) {
	unit, set, _ := strings.Cut(value, "=")
	from, to, dash := strings.Cut(strings.Trim(set, " \t"), "-")
	if !strings.EqualFold(unit, "bytes") || !dash {
		return 0, 0, false
	}
	last, ok := parsePosition(to)
	switch {
	case from == "":
		if !ok {
			return 0, 0, false
		}
		length = min(last, size)
		return size - length, length, true
	case to == "":
		last = size - 1
	case !ok:
		return 0, 0, false
	}
	first, ok = parsePosition(from)
	if !ok || to != "" && last < first {
		return 0, 0, false
	}
	return first, max(0, min(last, size-1)-first+1), true
}

// parsePosition reads 1*DIGIT. A number that does not fit counts as larger than any file.
func parsePosition(s string) (int64, bool) {
	n, err := strconv.ParseUint(s, 10, 63)
	if errors.Is(err, strconv.ErrRange) {
		return 1<<63 - 2, true
	}
	return int64(n), err == nil
}
