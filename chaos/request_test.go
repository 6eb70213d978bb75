package chaos

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// example is what is known of one example.
type example struct {
	name        string
	contentType string

	// answer is the content that a request gets.
	answer func(r *request, local netip.AddrPort) []byte

	// plausible says whether a good answer can be one to any request of this
	// client, where nobody knows how the server understood it.
	plausible func(a *answer, c *client) bool
}

// applications are the examples that do not answer every request alike, or never end:
// what a random one gets is the application's business. The tests of examples check
// them.
var applications = []string{"clock", "files", "middleware", "router", "stream", "upload"}

var examples = []*example{
	{
		name: "hello", contentType: "text/plain",
		answer:    func(*request, netip.AddrPort) []byte { return []byte("Hello, World!") },
		plausible: func(a *answer, _ *client) bool { return string(a.content) == "Hello, World!" },
	},
	echoes("echo"),
	echoes("pool"), echoes("auto"), echoes("bridge"), // of testdata
	{
		name: "environ", contentType: "text/plain; charset=utf-8",
		answer: environAnswer,
		plausible: func(a *answer, c *client) bool {
			return bytes.Contains(a.content, fmt.Appendf(nil, "\nREMOTE_PORT = %d\n", c.local.Port()))
		},
	},
}

// echoes is an example that answers the content of the request.
func echoes(name string) *example {
	return &example{
		name: name, contentType: "application/octet-stream",
		answer:    func(r *request, _ netip.AddrPort) []byte { return r.content },
		plausible: func(a *answer, c *client) bool { return len(a.content) < int(c.offered.Load()) },
	}
}

// request is a good request.
type request struct {
	raw     []byte
	head    int // bytes of raw that are the head
	method  string
	target  string
	minor   int // HTTP/1.minor
	keep    bool
	expect  bool // Expect: 100-continue
	host    string
	fields  [][2]string // as sent, without Host
	content []byte
	ends    []int // where lines of the framing end in raw: places worth a cut
}

// size bounds a random request.
type size int

const (
	small  size = iota // about 100 bytes
	medium             // a few KiB
	held               // some 16 KiB: one read brings it whole, and its answer waits for the socket without a copy
	large              // up to 1 MiB
)

// bodyBytesMax is the content that the server takes, exactly.
const bodyBytesMax = 1 << 20

// newRequest makes a good request of a random form. last is one after which the
// connection ends.
func (c *client) newRequest(s size, last bool) *request {
	rng := c.rng
	r := &request{minor: 1, keep: true, method: pick(rng, "GET", "GET", "POST", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "BREW")}
	if c.never == r.method {
		r.method = http.MethodPost
	}
	token := fmt.Sprintf("%016x", rng.Uint64())
	r.target = "/" + token + randomPath(rng)
	r.host = "h" + token[:4] + ".example" + pick(rng, "", "", ":8080")
	r.fields = append(r.fields, [2]string{"X-Token", token})
	if rng.IntN(8) == 0 {
		r.minor = 0
	}
	switch {
	case last && r.minor == 1:
		r.field("Connection", pick(rng, "close", "Close", "x-other, close"))
		r.keep = false
	case last:
		r.keep = false
	case r.minor == 0:
		r.field("Connection", pick(rng, "keep-alive", "Keep-Alive"))
	}
	most, fieldBytes := 100, 30
	switch s {
	case medium:
		most, fieldBytes = 6000, 300
	case held:
		most = 16<<10 + rng.IntN(24<<10)
	case large:
		most, fieldBytes = bodyBytesMax, 3000
		if n := rng.IntN(4000); n > 0 {
			r.target += "&" + strings.Repeat("t", n)
		}
	}
	for i := range rng.IntN(7) {
		r.field(fmt.Sprintf("%s%d", pick(rng, "X-F", "x-f", "Cookie-", "Accept-"), i), randomValue(rng, rng.IntN(fieldBytes)))
	}
	if rng.IntN(4) == 0 {
		r.field("X-Twice", randomValue(rng, 8))
		r.field("X-Twice", randomValue(rng, 8))
	}
	kind := rng.IntN(3)
	if c.content || s == held {
		kind = 1 + rng.IntN(2)
	}
	switch {
	case kind == 0:
		r.finish(nil)
	case kind == 1 || r.minor == 0:
		r.content = randomContent(rng, token, most)
		r.field("Content-Type", "text/x-"+token[:3])
		r.field("Content-Length", strconv.Itoa(len(r.content)))
		r.expectation(c)
		r.finish(r.content)
	default:
		r.content = randomContent(rng, token, most)
		r.field("Transfer-Encoding", pick(rng, "chunked", "Chunked"))
		r.expectation(c)
		r.finish(encodeChunked(rng, r.content))
	}
	return r
}

func (r *request) field(name, value string) { r.fields = append(r.fields, [2]string{name, value}) }

// expectation asks for 100 (Continue). The server may leave it out when content
// has come already.
func (r *request) expectation(c *client) {
	if r.minor == 1 && (c.expect || c.rng.IntN(8) == 0) && len(r.content) > 0 {
		r.field("Expect", "100-continue")
		r.expect = true
	}
}

func (r *request) finish(coded []byte) {
	b := fmt.Appendf(nil, "%s %s HTTP/1.%d\r\nHost: %s\r\n", r.method, r.target, r.minor, r.host)
	for _, f := range r.fields {
		b = append(b, f[0]+": "+f[1]+"\r\n"...)
		r.ends = append(r.ends, len(b))
	}
	b = append(b, "\r\n"...)
	r.head = len(b)
	r.raw = append(b, coded...)
	r.ends = append(r.ends, r.head, len(r.raw))
}

// environAnswer is the text of the example environ.
func environAnswer(r *request, local netip.AddrPort) []byte {
	path, query, _ := strings.Cut(r.target, "?")
	path, _ = url.PathUnescape(path)
	name, port, ok := strings.Cut(r.host, ":")
	if !ok {
		port = "80"
	}
	values := map[string]string{
		"REQUEST_METHOD": r.method, "SCRIPT_NAME": "", "PATH_INFO": path, "QUERY_STRING": query,
		"REQUEST_URI": r.target, "RAW_URI": r.target, "SERVER_NAME": name, "SERVER_PORT": port,
		"SERVER_PROTOCOL": fmt.Sprintf("HTTP/1.%d", r.minor), "SERVER_SOFTWARE": "isbjorn",
		"REMOTE_ADDR": local.Addr().String(), "REMOTE_PORT": strconv.Itoa(int(local.Port())), "HTTP_HOST": r.host,
		"wsgi.version": "[1 0]", "wsgi.url_scheme": "http", "wsgi.input": fmt.Sprintf("%d bytes of content", len(r.content)),
		"wsgi.errors": "the server's log", "wsgi.multithread": multithread, "wsgi.multiprocess": "false", "wsgi.run_once": "false",
		"wsgi.input_terminated": "true", "wsgi.file_wrapper": "gateway.File", "isbjorn.context": "context.Background.WithCancel",
	}
	for _, f := range r.fields {
		key := strings.ReplaceAll(strings.ToUpper(f[0]), "-", "_")
		if key != "CONTENT_TYPE" && key != "CONTENT_LENGTH" {
			key = "HTTP_" + key
		}
		if first, twice := values[key]; twice {
			values[key] = first + ", " + f[1]
		} else {
			values[key] = f[1]
		}
	}
	var lines []string
	for key, value := range values {
		value = strings.NewReplacer("\r", "\\r", "\n", "\\n").Replace(value)
		lines = append(lines, key+" = "+value+"\n")
	}
	slices.Sort(lines)
	return []byte(strings.Join(lines, ""))
}

// check compares an answer with what the request must get.
func (r *request) check(a *answer, c *client) error {
	whole := c.example.answer(r, c.local)
	connection := ""
	switch {
	case !r.keep:
		connection = "close"
	case r.minor == 0:
		connection = "keep-alive"
	}
	want := whole
	if r.method == http.MethodHead {
		want = nil
	}
	switch {
	case a.status != 200:
		return fmt.Errorf("answered %d: %.200q; want 200", a.status, a.content)
	case a.fields["Connection"] != connection:
		return fmt.Errorf("Connection: %q, want %q", a.fields["Connection"], connection)
	case a.fields["Content-Type"] != c.example.contentType:
		return fmt.Errorf("Content-Type: %q, want %q", a.fields["Content-Type"], c.example.contentType)
	case a.fields["Content-Length"] != strconv.Itoa(len(whole)):
		return fmt.Errorf("Content-Length: %s, want %d: the content is %.2000q", a.fields["Content-Length"], len(whole), a.content)
	case !bytes.Equal(a.content, want):
		at := 0
		for at < len(want) && want[at] == a.content[at] {
			at++
		}
		return fmt.Errorf("content is wrong from byte %d of %d on: %.100q, want %.100q", at, len(want), a.content[at:], want[at:])
	}
	return nil
}

// pick chooses one.
func pick[T any](rng *rand.Rand, of ...T) T { return of[rng.IntN(len(of))] }

// randomPath is the rest of a target that begins with a path.
func randomPath(rng *rand.Rand) string {
	var b strings.Builder
	for range rng.IntN(10) {
		if rng.IntN(3) == 0 {
			fmt.Fprintf(&b, "%%%02X", rng.IntN(256))
		} else {
			b.WriteByte("abz019-._~!$&'()*+,;=:@/"[rng.IntN(24)])
		}
	}
	return b.String() + "?q=" + strconv.Itoa(rng.IntN(1000))
}

// randomValue has no space at its ends, where it would be cut off.
func randomValue(rng *rand.Rand, n int) string {
	b := []byte{'v'}
	for range n {
		b = append(b, pick(rng, byte(' '+1+rng.IntN(94)), ' ', '\t', byte(0x80+rng.IntN(128)), 'a'))
	}
	return string(append(b, '.'))
}

// randomContent begins with the token, so that no other request has the same.
func randomContent(rng *rand.Rand, token string, most int) []byte {
	n := rng.IntN(most + 1)
	switch rng.IntN(8) {
	case 0:
		n = 0
	case 1:
		n = most
	case 2:
		n = min(most, 16<<10+rng.IntN(3)-1) // where the server changes its way of sending
	}
	b := make([]byte, n+8)
	for i := 0; i < n; i += 8 {
		binary.LittleEndian.PutUint64(b[i:], rng.Uint64())
	}
	copy(b, token)
	return b[:n]
}

// encodeChunked cuts content into chunks of random length.
func encodeChunked(rng *rand.Rand, content []byte) (b []byte) {
	least := 1 + len(content)/50
	for left := content; len(left) > 0; {
		n := min(len(left), least+rng.IntN(4*least))
		size := strconv.FormatInt(int64(n), 16)
		if rng.IntN(2) == 0 {
			size = strings.ToUpper(size)
		}
		b = append(b, pick(rng, "", "", "0", "000")+size...)
		b = append(b, pick(rng, "", "", "", ";a", ";name=value", `;q="a\"b;r"`)...)
		b = append(b, "\r\n"...)
		b = append(b, left[:n]...)
		b = append(b, "\r\n"...)
		left = left[n:]
	}
	b = append(b, pick(rng, "0", "0", "00", "0;last")+"\r\n"...)
	b = append(b, pick(rng, "", "", "", "X-Trailer: value\r\n", "X-One: 1\r\nX-Two: \r\n")...)
	return append(b, "\r\n"...)
}
