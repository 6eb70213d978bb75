package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/isbjorn/isbjorn/gateway"
)

func small(e *Encoder) []byte {
	e.Begin()
	e.Text("REQUEST_METHOD", "GET")
	e.TextBytes([]byte("PATH_INFO"), []byte("/\xe9"))
	e.IntPair("wsgi.version", 1, 0)
	e.Bool("wsgi.multithread", true)
	e.Int("n", -5)
	if err := e.End([]byte("content"), 0); err != nil {
		panic(err)
	}
	return e.Message(1 << 40)
}

func TestEncodeBytes(t *testing.T) {
	const want = ")\x04l\x03\x00\x00\x00\x00\x00\x00\x00\x00\x04{z\x0eREQUEST_METHODz\x03GETz\x09PATH_INFOz\x02/\xe9" +
		"z\x0cwsgi.version)\x02i\x01\x00\x00\x00i\x00\x00\x00\x00z\x10wsgi.multithreadTz\x01ni\xfb\xff\xff\xff0" +
		"s\x07\x00\x00\x00contenti\x00\x00\x00\x00"
	if got := small(new(Encoder)); string(got) != want {
		t.Errorf("a request is\n%q, want\n%q", got, want)
	}
}

func TestEncodeAllocates(t *testing.T) {
	var e Encoder
	small(&e)
	if got := testing.AllocsPerRun(100, func() { small(&e) }); got != 0 {
		t.Errorf("a small request allocates %v times, want 0", got)
	}
}

func TestEncodePairs(t *testing.T) {
	var e Encoder
	e.Begin()
	e.Text("a", "b")
	pairs := e.Pairs()
	if err := e.End(nil, Stream); err != nil {
		t.Fatal(err)
	}
	want := bytes.Clone(e.Message(math.MaxUint64))
	e.Begin()
	e.Add(pairs)
	if err := e.End(nil, Stream); err != nil {
		t.Fatal(err)
	}
	// Each id has its own length.
	if small, got := len(e.Message(7)), e.Message(math.MaxUint64); !bytes.Equal(got, want) || small != len(want)-10 {
		t.Errorf("with Add %q, want %q; %d bytes with a small id", got, want, small)
	}
}

func TestEncodeLimits(t *testing.T) {
	var e Encoder
	for _, tt := range []struct {
		name           string
		value, content int
		err            error
	}{
		{"most content", 0, InlineBytesMax, nil},
		{"too much content", 0, InlineBytesMax + 1, ErrMessageSize},
		{"most of a message", MessageBytesMax - 32, -1, nil},
		{"too much of a message", MessageBytesMax - 31, -1, ErrMessageSize},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e.Begin()
			e.Text("", strings.Repeat("x", tt.value))
			var content []byte
			if tt.content >= 0 {
				content = make([]byte, tt.content)
			}
			if err := e.End(content, 0); err != tt.err {
				t.Errorf("%v, want %v", err, tt.err)
			}
		})
	}
}

// frame makes a frame as a worker does.
func frame(t Type, flags uint8, id uint64, payload string) string {
	b := appendFrame(nil, t, flags, id, func(b []byte) []byte { return append(b, payload...) })
	return string(b)
}

func head(parts ...string) string {
	text := strings.Join(parts, "\x00") + "\x00"
	return string(binary.LittleEndian.AppendUint16(nil, uint16(len(text)))) + text
}

// decode decodes all of s, given step bytes more at a time, and joins the parts of BODY.
func decode(s string, step int) (got string, err error) {
	var d Decoder
	var out strings.Builder
	var buf []byte
	for at := 0; at < len(s); {
		more := min(step, len(s)-at)
		buf = append(buf, s[at:at+more]...)
		at += more
		for {
			f, n, err := d.Next(buf)
			if err != nil {
				for _, kind := range []error{ErrType, ErrFlags, ErrLength, ErrState, ErrID} {
					if errors.Is(err, kind) {
						return out.String(), kind
					}
				}
				return out.String(), err
			}
			if n == 0 {
				break
			}
			fmt.Fprintf(&out, "%s", f.Payload)
			if !f.More {
				fmt.Fprintf(&out, "|%d,%d,%d>%d;", f.Type, f.Flags, f.ID, d.Running())
			}
			buf = buf[n:]
		}
	}
	return out.String(), nil
}

var decodeTests = []struct {
	name, in, want string
	err            error
}{
	{name: "whole", in: frame(FrameResp, FlagClose, 9, "\x00\x00x"), want: "\x00\x00x|1,2,9>0;"},
	{name: "streamed", in: frame(FrameInfo, 0, 9, "ii") + frame(FrameWant, 0, 9, "wwww") + frame(FrameHead, 0, 9, "hh") +
		frame(FrameBody, 0, 9, "abc") + frame(FrameBody, FlagEnd, 9, ""),
		want: "ii|5,0,9>9;wwww|6,0,9>9;hh|2,0,9>9;abc|3,0,9>9;|3,1,9>0;"},
	{name: "file", in: frame(FrameOpen, 0, 1, "") + frame(FrameHead, 0, 1, "hh") + frame(FrameFile, FlagEnd, 1,
		"0123456789abcdef"), want: "|9,0,1>1;hh|2,0,1>1;0123456789abcdef|4,1,1>0;"},
	{name: "file and more", in: frame(FrameHead, 0, 1, "hh") + frame(FrameFile, 0, 1, "0123456789abcdef") +
		frame(FrameFail, 0, 1, ""), want: "hh|2,0,1>1;0123456789abcdef|4,0,1>1;|7,0,1>0;"},
	{name: "two requests", in: frame(FrameReturn, 0, 1, "") + frame(FrameFail, 0, 2, "f"), want: "|8,0,1>0;f|7,0,2>0;"},

	{name: "unknown", in: frame(0, 0, 1, ""), err: ErrType},
	{name: "of the other stream", in: frame(FrameHello, 0, 1, ""), err: ErrType},
	{name: "of the other side", in: frame(FrameData, 0, 1, ""), err: ErrType},
	{name: "reserved", in: frame(FrameResp, 0, 1, "")[:6] + "\x01\x00\x01\x00\x00\x00\x00\x00\x00\x00", err: ErrFlags},
	{name: "flags", in: frame(FrameHead, FlagEnd, 1, "hh"), err: ErrFlags},
	{name: "close without end", in: frame(FrameHead, 0, 1, "hh") + frame(FrameBody, FlagClose, 1, "x"),
		want: "hh|2,0,1>1;", err: ErrFlags},
	{name: "no head in it", in: frame(FrameResp, 0, 1, "x"), err: ErrLength},
	{name: "over a frame's limit", in: "\x01\x00\x10\x00" + frame(FrameResp, 0, 1, "")[4:], err: ErrLength},
	{name: "empty body", in: frame(FrameHead, 0, 1, "hh") + frame(FrameBody, 0, 1, ""), want: "hh|2,0,1>1;", err: ErrLength},
	{name: "short want", in: frame(FrameWant, 0, 1, "www"), err: ErrLength},
	{name: "no request", in: frame(FrameResp, 0, 0, "hh"), err: ErrID},
	{name: "another request", in: frame(FrameWant, 0, 1, "wwww") + frame(FrameResp, 0, 2, "hh"),
		want: "wwww|6,0,1>1;", err: ErrID},
	{name: "body first", in: frame(FrameBody, FlagEnd, 1, ""), err: ErrState},
	{name: "file first", in: frame(FrameFile, FlagEnd, 1, "0123456789abcdef"), err: ErrState},
	{name: "two heads", in: frame(FrameHead, 0, 1, "hh") + frame(FrameHead, 0, 1, "hh"), want: "hh|2,0,1>1;", err: ErrState},
	{name: "info after the head", in: frame(FrameHead, 0, 1, "hh") + frame(FrameInfo, 0, 1, "hh"),
		want: "hh|2,0,1>1;", err: ErrState},
	{name: "return of a begun one", in: frame(FrameWant, 0, 1, "wwww") + frame(FrameReturn, 0, 1, ""),
		want: "wwww|6,0,1>1;", err: ErrState},
	{name: "open late", in: frame(FrameWant, 0, 1, "wwww") + frame(FrameOpen, 0, 1, ""), want: "wwww|6,0,1>1;", err: ErrState},
	{name: "too many hints", in: strings.Repeat(frame(FrameInfo, 0, 1, "hh"), InterimMax+1),
		want: strings.Repeat("hh|5,0,1>1;", InterimMax), err: ErrState},
}

func TestDecode(t *testing.T) {
	for _, tt := range decodeTests {
		for _, step := range []int{1, 7, 1 << 20} {
			t.Run(fmt.Sprintf("%s/step=%d", tt.name, step), func(t *testing.T) {
				if got, err := decode(tt.in, step); got != tt.want || err != tt.err {
					t.Errorf("decode(%q) = %q, %v; want %q, %v", tt.in, got, err, tt.want, tt.err)
				}
			})
		}
	}
}

// A HEAD, INFO or WANT allocates nothing in the decoder, nor does a part of BODY.
func TestDecodeAllocates(t *testing.T) {
	in := []byte(frame(FrameHead, 0, 1, "hh") + frame(FrameBody, 0, 1, "abc") + frame(FrameBody, FlagEnd, 1, ""))
	got := testing.AllocsPerRun(100, func() {
		var d Decoder
		for b := in; len(b) > 0; {
			_, n, err := d.Next(b)
			if err != nil || n == 0 {
				t.Fatal(n, err)
			}
			b = b[n:]
		}
	})
	if got != 0 {
		t.Errorf("a response allocates %v times in the decoder, want 0", got)
	}
}

func TestControl(t *testing.T) {
	hello, ready := frame(FrameHello, 0, 0, "h"), frame(FrameReady, 0, 0, "r")
	for _, tt := range []struct {
		name, in string
		err      error
	}{
		{"life", hello + frame(FrameLog, 0, 5, "l") + ready + frame(FramePong, 0, 3, "") + frame(FrameLeave, 0, 0, "") +
			frame(FrameDrained, 0, 0, "") + frame(FrameLog, 0, 0, "late"), nil},
		{"load error", hello + frame(FrameLoadError, 0, 0, "e"), nil},
		{"no hello", ready, ErrState},
		{"log first", frame(FrameLog, 0, 0, "l"), ErrState},
		{"twice hello", hello + hello, ErrState},
		{"ready twice", hello + ready + ready, ErrState},
		{"drained early", hello + frame(FrameDrained, 0, 0, ""), ErrState},
		{"data frame", hello + frame(FrameResp, 0, 1, "hh"), ErrType},
		{"flags", frame(FrameHello, 1, 0, "h"), ErrFlags},
		{"pong with payload", hello + frame(FramePong, 0, 1, "x"), ErrLength},
		{"over the limit", "\x01\x00\x10\x00" + hello[4:], ErrLength},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var c Control
			var err error
			for b := []byte(tt.in); len(b) > 0; {
				var n int
				if _, n, err = c.Next(b); err != nil {
					break
				}
				if n == 0 {
					t.Fatalf("%q is not whole", b)
				}
				b = b[n:]
			}
			if !errors.Is(err, tt.err) {
				t.Errorf("%v, want %v", err, tt.err)
			}
		})
	}
}

func TestDecodeHead(t *testing.T) {
	many := append([]string{"200 OK"}, slices.Repeat([]string{"A", "b"}, FieldsMax)...)
	for _, tt := range []struct {
		name, in string
		interim  bool
		want     string // empty: an error
	}{
		{"fields", head("200 OK", "A", "\xe9", "a", "") + "rest", false, `200 "200 OK" [{A é} {a }] -1 "rest"`},
		{"length", head("404 ", "content-length", "007"), false, `404 "404 " [{content-length 007}] 7 ""`},
		{"interim", head("103 Early Hints", "Link", "x"), true, `103 "103 Early Hints" [{Link x}] -1 ""`},
		{"no length", "x", false, ""},
		{"longer than there is", "\xff\x00200 OK\x00", false, ""},
		{"empty", "\x00\x00", false, ""},
		{"no NUL", "\x06\x00200 OK", false, ""},
		{"half a field", head("200 OK", "A"), false, ""},
		{"no reason's space", head("200"), false, ""},
		{"line end in the status", head("200 OK\r\nX: y"), false, ""},
		{"line end in a value", head("200 OK", "A", "b\nC: d"), false, ""},
		{"no name", head("200 OK", "", "b"), false, ""},
		{"hop-by-hop", head("200 OK", "Transfer-Encoding", "chunked"), false, ""},
		{"a sign", head("200 OK", "Content-Length", "+5"), false, ""},
		{"two lengths", head("200 OK", "Content-Length", "5", "Content-Length", "5"), false, ""},
		{"length of 64 bits", head("200 OK", "Content-Length", "9223372036854775808"), false, ""},
		{"final 1xx", head("103 Early Hints"), false, ""},
		{"interim 200", head("200 OK"), true, ""},
		{"interim 101", head("101 Switching Protocols"), true, ""},
		{"interim with a length", head("103 Early Hints", "Content-Length", "5"), true, ""},
		{"most fields", head(many...), false, "ok"},
		{"too many fields", head(append(many, "A", "b")...), false, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var h Head
			rest, err := DecodeHead(&h, []byte(tt.in), tt.interim)
			got := ""
			if err == nil {
				fields := strings.ReplaceAll(fmt.Sprint(h.Fields), "\xe9", "é")
				got = fmt.Sprintf("%d %q %s %d %q", h.Code, h.Status, fields, h.Length, rest)
			}
			if got != tt.want && (tt.want != "ok" || err != nil) {
				t.Errorf("%s, %v; want %s", got, err, tt.want)
			}
		})
	}
}

func TestDecodeNumbers(t *testing.T) {
	le32, le64 := binary.LittleEndian.AppendUint32, binary.LittleEndian.AppendUint64
	for n, ok := range map[uint32]bool{0: false, 1: true, WantBytesMax: true, WantBytesMax + 1: false} {
		if got, err := DecodeWant(le32(nil, n)); (err == nil) != ok || ok && got != int(n) {
			t.Errorf("DecodeWant of %d: %d, %v", n, got, err)
		}
	}
	for _, tt := range []struct {
		offset, length uint64
		ok             bool
	}{{0, 1, true}, {5, math.MaxInt64 - 5, true}, {0, 0, false}, {5, math.MaxInt64 - 4, false}, {1 << 63, 1, false}} {
		offset, length, err := DecodeFile(le64(le64(nil, tt.offset), tt.length))
		if (err == nil) != tt.ok || tt.ok && (uint64(offset) != tt.offset || uint64(length) != tt.length) {
			t.Errorf("DecodeFile of %d, %d: %d, %d, %v", tt.offset, tt.length, offset, length, err)
		}
	}
	if got, err := DecodeTexts([]byte("a\x00\xff\x00"), 2); err != nil || !slices.Equal(got, []string{"a", "\ufffd"}) {
		t.Errorf("DecodeTexts: %q, %v", got, err)
	}
	for _, bad := range []string{"", "a\x00", "a\x00b", "a\x00b\x00c\x00"} {
		if got, err := DecodeTexts([]byte(bad), 2); err == nil {
			t.Errorf("DecodeTexts(%q) = %q", bad, got)
		}
	}
}

// Invariant: the frames, and the error, do not depend on where the bytes are cut.
func FuzzDecodeCut(f *testing.F) {
	for _, tt := range decodeTests {
		f.Add(tt.in, 3)
	}
	f.Fuzz(func(t *testing.T, in string, step int) {
		want, wantErr := decode(in, 1<<30)
		got, err := decode(in, max(1, step&0xffff))
		if err != wantErr || wantErr == nil && strings.Count(got, ";") < strings.Count(want, ";") {
			t.Errorf("cut every %d: %q, %v; whole: %q, %v", step, got, err, want, wantErr)
		}
	})
}

// Invariant: a head that is accepted passes gateway's checks field by field, and encodes to the same bytes.
func FuzzDecodeHead(f *testing.F) {
	f.Add([]byte(head("200 OK", "A", "b", "Content-Length", "5")+"rest"), false)
	f.Add([]byte(head("103 Early Hints", "Link", "b")), true)
	f.Fuzz(func(t *testing.T, in []byte, interim bool) {
		var h Head
		rest, err := DecodeHead(&h, in, interim)
		if err != nil {
			return
		}
		if _, err := gateway.CheckStatus(h.Status); err != nil {
			t.Error(err)
		}
		parts := []string{h.Status}
		for i := range h.Fields {
			if err := gateway.CheckHeader(&h.Fields[i]); err != nil {
				t.Error(err)
			}
			parts = append(parts, h.Fields[i].Name, h.Fields[i].Value)
		}
		if got := head(parts...) + string(rest); got != string(in) {
			t.Errorf("%q encodes to %q", in, got)
		}
	})
}

// loads answers, for each pair of an encoded message and the environ it should have, whether marshal reads that.
const loads = `
import marshal, struct, sys
i, o = sys.stdin.buffer, sys.stdout.buffer
def text():
    return i.read(struct.unpack('<I', i.read(4))[0])
while True:
    head = i.read(4)
    if not head: break
    message = i.read(struct.unpack('<I', head)[0])
    id, key, value, content, flags = struct.unpack('<Q', i.read(8))[0], text(), text(), text(), i.read(1)[0]
    want = (id, {key.decode('latin-1'): value.decode('latin-1'), 'b': True, 'n': -7, 'v': (1, 0)}, content, flags)
    if key == b'b': want[1]['b'] = True
    if key == b'n': want[1]['n'] = -7
    if key == b'v': want[1]['v'] = (1, 0)
    got = marshal.loads(message)
    o.write(b'+' if got == want and type(got[1]) is dict else b'-')
    o.flush()
`

// Invariant: Python's marshal reads what was encoded.
func FuzzEncodeLoads(f *testing.F) {
	python, err := exec.LookPath("python3")
	if err != nil {
		f.Skip("needs python3: apt-get install python3")
	}
	cmd := exec.Command(python, "-c", loads)
	var trouble bytes.Buffer
	cmd.Stderr = &trouble
	in, _ := cmd.StdinPipe()
	out, _ := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { in.Close(); cmd.Wait() })

	f.Add(uint64(1), "HTTP_X", "\xe9\x00\xff", []byte("x"), byte(2))
	f.Add(uint64(math.MaxUint64), "", strings.Repeat("x", 256), []byte{}, byte(0))
	f.Add(uint64(math.MaxInt32+1), strings.Repeat("k", 255), "", bytes.Repeat([]byte("x"), InlineBytesMax), byte(4))
	var e Encoder
	f.Fuzz(func(t *testing.T, id uint64, key, value string, content []byte, flags byte) {
		if content == nil {
			content = []byte{}
		}
		e.Begin()
		e.Text(key, value)
		e.Bool("b", true)
		e.Int("n", -7)
		e.IntPair("v", 1, 0)
		if e.End(content, int32(flags)) != nil {
			return
		}
		b := e.Message(id)
		var q []byte
		text := func(s string) {
			q = append(binary.LittleEndian.AppendUint32(q, uint32(len(s))), s...)
		}
		text(string(b))
		q = binary.LittleEndian.AppendUint64(q, id)
		text(key)
		text(value)
		text(string(content))
		if _, err := in.Write(append(q, flags)); err != nil {
			t.Fatal(err, trouble.String())
		}
		var answer [1]byte
		if _, err := io.ReadFull(out, answer[:]); err != nil || answer[0] != '+' {
			t.Errorf("python reads %q otherwise: %v %s", b, err, trouble.String())
		}
	})
}
