package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Type is the kind of a frame.
type Type uint8

// Frames of a slot's data stream, from the worker.
const (
	FrameResp   Type = 1 + iota // head and content: the whole response
	FrameHead                   // a head; BODY or FILE follow
	FrameBody                   // content
	FrameFile                   // a part of the file whose descriptor is next on the lane
	FrameInfo                   // a 1xx response
	FrameWant                   // input that is wanted
	FrameFail                   // the request ends without a whole response
	FrameReturn                 // a request that was taken and not begun
	FrameOpen                   // the content's descriptor is wanted on the lane
)

// Frames of a slot's data stream, to the worker.
const (
	FrameData  Type = 16 + iota // input
	FrameAbort                  // there is no more input: the client has left
)

// Frames of the control stream, from the worker.
const (
	FrameHello Type = 32 + iota
	FrameReady
	FrameLoadError
	FrameDrained
	FrameStacks
	FrameLog
	FramePong
	FrameLeave // the worker was asked by a signal to end, and asks to be drained
)

// Frames of the control stream, to the worker.
const (
	FrameConfig Type = 48 + iota
	FrameDump
	FramePing
	FrameStop
)

// Flags of frames.
const (
	FlagEnd   = 1 << iota // BODY, FILE, DATA: the last one
	FlagClose             // RESP, HEAD, BODY: the connection is to be closed after the response
)

const frameHeadBytes = 16 // length uint32, type uint8, flags uint8, 0 uint16, id uint64; little endian

// Frame is one frame, or a part of a BODY frame.
type Frame struct {
	Type    Type
	Flags   uint8
	More    bool   // BODY: the rest of the frame follows; Flags count when More is false
	ID      uint64 // of the request, or the token of a control frame
	Payload []byte // a part of what Next was given
}

// End reports whether f is the last frame of its kind.
func (f *Frame) End() bool { return f.Flags&FlagEnd != 0 }

// AppendData appends a DATA frame: the answer to a WANT, with at most what was wanted.
func AppendData(dst []byte, id uint64, content []byte, end bool) []byte {
	var flags uint8
	if end {
		flags = FlagEnd
	}
	return appendFrame(dst, FrameData, flags, id, func(b []byte) []byte { return append(b, content...) })
}

// AppendAbort appends an ABORT frame.
func AppendAbort(dst []byte, id uint64) []byte { return AppendControl(dst, FrameAbort, id) }

// AppendControl appends a frame without payload: DUMP, PING, STOP. token comes back in STACKS and PONG.
func AppendControl(dst []byte, t Type, token uint64) []byte {
	return appendFrame(dst, t, 0, token, func(b []byte) []byte { return b })
}

func appendFrame(dst []byte, t Type, flags uint8, id uint64, payload func([]byte) []byte) []byte {
	at := len(dst)
	dst = append(dst, 0, 0, 0, 0, byte(t), flags, 0, 0)
	dst = payload(binary.LittleEndian.AppendUint64(dst, id))
	binary.LittleEndian.PutUint32(dst[at:], uint32(len(dst)-at-frameHeadBytes))
	return dst
}

// Errors of the decoders. Each is final: the worker has to be ended.
var (
	ErrType   = errors.New("wire: frame type unknown here")
	ErrFlags  = errors.New("wire: flags unknown for this frame")
	ErrLength = errors.New("wire: length not allowed for this frame")
	ErrState  = errors.New("wire: frame not allowed now")
	ErrID     = errors.New("wire: frame of another request than the running one")
	ErrHead   = errors.New("wire: malformed head")
)

// slotState is where a slot's data stream stands.
//
//	free -> begun -> headed -> free
//	free, begun -> free by RESP, FAIL, RETURN; headed -> free by the END flag or FAIL
type slotState uint8

const (
	free   slotState = iota // between requests
	begun                   // frames of a request have come, its head has not
	headed                  // its head has come, its end has not
)

// rule is what a frame type may be.
type rule struct {
	flags    uint8
	min, max uint32
	from     [3]bool // by slotState
	to       slotState
	stay     bool // the state stays, but free becomes begun
}

var (
	anywhere = [3]bool{true, true, true}
	unheaded = [3]bool{true, true, false}
	onlyFree = [3]bool{true, false, false}
	onlyHead = [3]bool{false, false, true}

	dataRules = [...]rule{
		FrameResp:   {flags: FlagClose, min: 2, max: FrameBytesMax, from: unheaded, to: free},
		FrameHead:   {flags: FlagClose, min: 2, max: HeadBytesMax + 2, from: unheaded, to: headed},
		FrameBody:   {flags: FlagEnd | FlagClose, max: 1<<32 - 1, from: onlyHead, to: headed},
		FrameFile:   {flags: FlagEnd, min: 16, max: 16, from: onlyHead, to: headed},
		FrameInfo:   {min: 2, max: HeadBytesMax + 2, from: unheaded, stay: true},
		FrameWant:   {min: 4, max: 4, from: anywhere, stay: true},
		FrameFail:   {max: FrameBytesMax, from: anywhere, to: free},
		FrameReturn: {from: onlyFree, to: free},
		FrameOpen:   {from: onlyFree, to: begun},
	}
)

// Decoder decodes the data stream of a slot. The zero value stands between requests.
type Decoder struct {
	state   slotState
	interim int
	id      uint64
	body    Frame  // a BODY frame of which more is to come
	left    uint32 // of body
}

// Running is the id of the request whose response is being sent, or 0. At the end of a stream it is the request that
// has to be answered for the worker.
func (d *Decoder) Running() uint64 {
	if d.state == free {
		return 0
	}
	return d.id
}

// Next decodes one frame from the start of b and reports how many bytes it used. n == 0 with a nil error means that
// more bytes are needed: call again with the same bytes and more, at most FrameBytesMax and a frame's head. A BODY
// frame comes in parts as it arrives. The frame holds a slice of b.
//
// The id of a first frame is the worker's word: the caller checks that the request is out, and begun by no other slot.
func (d *Decoder) Next(b []byte) (f Frame, n int, err error) {
	if d.left > 0 {
		return d.part(b, 0)
	}
	f, size, err := frameHead(b)
	if size < 0 || err != nil {
		return Frame{}, 0, err
	}
	if f.Type == 0 || int(f.Type) >= len(dataRules) {
		return Frame{}, 0, fmt.Errorf("%w: %d", ErrType, f.Type)
	}
	r := &dataRules[f.Type]
	switch length := uint32(size); {
	case f.Flags&^r.flags != 0:
		err = ErrFlags
	case length < r.min || length > r.max || f.Type == FrameBody && length == 0 && !f.End():
		err = ErrLength
	case f.Flags&FlagClose != 0 && f.Type == FrameBody && !f.End():
		err = ErrFlags
	case !r.from[d.state] || f.Type == FrameInfo && d.interim == InterimMax:
		err = ErrState
	case f.ID == 0 || d.state != free && f.ID != d.id:
		err = ErrID
	}
	if err != nil {
		return Frame{}, 0, fmt.Errorf("%w: type %d, flags %#x, length %d, request %d", err, f.Type, f.Flags, size, f.ID)
	}
	if f.Type == FrameBody {
		d.body, d.left = f, uint32(size)
		return d.part(b, frameHeadBytes)
	}
	if int64(len(b)-frameHeadBytes) < size {
		return Frame{}, 0, nil
	}
	n = frameHeadBytes + int(size)
	f.Payload = b[frameHeadBytes:n:n]
	if d.state == free {
		d.id, d.interim = f.ID, 0
	}
	if f.Type == FrameInfo {
		d.interim++
	}
	switch {
	case !r.stay:
		d.state = r.to
	case d.state == free:
		d.state = begun
	}
	if f.Type == FrameFile && f.End() {
		d.state = free
	}
	return f, n, nil
}

// part returns what has come of a BODY frame, from b[from:].
func (d *Decoder) part(b []byte, from int) (f Frame, n int, err error) {
	if len(b) == 0 {
		return Frame{}, 0, nil
	}
	f, n = d.body, from
	size := min(uint64(len(b)-from), uint64(d.left))
	n += int(size)
	f.Payload = b[from:n:n]
	d.left -= uint32(size)
	f.More = d.left > 0
	if !f.More && f.End() {
		d.state = free
	}
	return f, n, nil
}

// frameHead reads the head of a frame; size is -1 if it is not whole.
func frameHead(b []byte) (f Frame, size int64, err error) {
	if len(b) < frameHeadBytes {
		return Frame{}, -1, nil
	}
	if binary.LittleEndian.Uint16(b[6:]) != 0 {
		return Frame{}, -1, fmt.Errorf("%w: bytes 6 and 7 are not 0", ErrFlags)
	}
	f = Frame{Type: Type(b[4]), Flags: b[5], ID: binary.LittleEndian.Uint64(b[8:])}
	return f, int64(binary.LittleEndian.Uint32(b)), nil
}

// Control decodes the control stream of a worker. The zero value waits for HELLO.
type Control struct {
	last Type // HELLO, READY, LOAD_ERROR or DRAINED; 0 before
}

// Next is as that of Decoder; no frame comes in parts.
func (c *Control) Next(b []byte) (f Frame, n int, err error) {
	f, size, err := frameHead(b)
	if size < 0 || err != nil {
		return Frame{}, 0, err
	}
	var ok, turns bool
	switch f.Type {
	case FrameHello:
		ok, turns = c.last == 0, true
	case FrameReady, FrameLoadError:
		ok, turns = c.last == FrameHello, true
	case FrameDrained:
		ok, turns = c.last == FrameReady, true
	case FrameStacks, FrameLog, FramePong, FrameLeave:
		ok = c.last != 0
	default:
		return Frame{}, 0, fmt.Errorf("%w: %d", ErrType, f.Type)
	}
	switch {
	case !ok:
		err = ErrState
	case f.Flags != 0:
		err = ErrFlags
	case size > FrameBytesMax || size != 0 && (f.Type == FramePong || f.Type == FrameLeave || f.Type == FrameDrained):
		err = ErrLength
	}
	if err != nil {
		return Frame{}, 0, fmt.Errorf("%w: type %d, flags %#x, length %d", err, f.Type, f.Flags, size)
	}
	if int64(len(b)-frameHeadBytes) < size {
		return Frame{}, 0, nil
	}
	if turns {
		c.last = f.Type
	}
	n = frameHeadBytes + int(size)
	f.Payload = b[frameHeadBytes:n:n]
	return f, n, nil
}
