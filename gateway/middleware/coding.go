package middleware

import (
	"bytes"
	"io"
	"strconv"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// zstdWindowBytes is the memory that a decoder needs; browsers refuse more than 8 MiB (RFC 9659). An
// encoder takes about nine times the window, 1.1 MiB, until its content ends; so does that of gzip. The
// default level of zstd, with a window of 512 KiB, takes 2.5 MiB and twice the time, for content
// (source, prose) that is 8 % shorter.
const zstdWindowBytes = 128 << 10

// coding is a content coding: RFC 9110 section 8.4.1, RFC 8878.
type coding struct {
	name     string
	encoders sync.Pool // of encoder
}

// outputs has the buffers that encoders write to.
var outputs = sync.Pool{New: func() any { return new(bytes.Buffer) }}

type encoder interface {
	io.WriteCloser
	Flush() error
	Reset(io.Writer)
}

// codings are in the order of preference among those that a client accepts equally.
var codings = []*coding{
	{name: "zstd", encoders: sync.Pool{New: func() any {
		e, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true),
			zstd.WithWindowSize(zstdWindowBytes), zstd.WithEncoderLevel(zstd.SpeedFastest))
		if err != nil {
			panic(err) // the options are constants, and valid
		}
		return e
	}}},
	{name: "gzip", encoders: sync.Pool{New: func() any { return gzip.NewWriter(nil) }}},
}

// acceptedCoding chooses a coding by the value of Accept-Encoding; nil is none. RFC 9110 section 12.5.3.
func acceptedCoding(header string) (best *coding) {
	if header == "" {
		return nil
	}
	bestQ, _ := codingWeight(header, "identity", false) // 0 if not named: any accepted coding is better
	for _, c := range codings {
		q, _ := codingWeight(header, c.name, true)
		if q > bestQ || best == nil && q == bestQ && q > 0 {
			best, bestQ = c, q
		}
	}
	return best
}

// codingWeight is the weight of a content coding in an Accept-Encoding; if it is not named, that of "*" if
// star is set, and else 0. named is false if there is neither.
func codingWeight(header, coding string, star bool) (q float64, named bool) {
	ofStar, hasStar := 0.0, false
	for item := range strings.SplitSeq(header, ",") {
		name, params, _ := strings.Cut(item, ";")
		name = strings.Trim(name, " \t")
		if len(name) > len("x-") && strings.EqualFold(name[:len("x-")], "x-") {
			name = name[len("x-"):] // x-gzip is gzip: RFC 9110 section 8.4.1.3
		}
		switch {
		case strings.EqualFold(name, coding):
			q, named = quality(params), true
		case name == "*" && star:
			ofStar, hasStar = quality(params), true
		}
	}
	if named {
		return q, true
	}
	return ofStar, hasStar
}

// quality is the weight in the parameters of an item: 1 if there are none, 0 if it is invalid. RFC 9110
// section 12.4.2.
func quality(params string) float64 {
	params = strings.Trim(params, " \t")
	if params == "" {
		return 1
	}
	name, value, _ := strings.Cut(params, "=")
	q, err := strconv.ParseFloat(value, 64)
	if err != nil || !strings.EqualFold(name, "q") || !(0 <= q && q <= 1) {
		return 0
	}
	return q
}
