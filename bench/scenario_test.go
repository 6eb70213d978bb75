package bench

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/gateway/nethttp"
	"github.com/isbjorn/isbjorn/internal/head"
)

// scenario is what a client asks for, and how.
type scenario struct {
	name    string // key=value/key=value
	app     string // key of applications
	request string
	depth   int    // how many requests are written at once
	content string // of each answer

	over  bool                                        // sockets only: it is about them, or about what the memory has not
	drive func(*testing.B, *process, *scenario) error // nil for driveKept
	fresh bool                                        // each run wants a server that has served nobody yet
}

// The heads: the smallest that a client sends, what the TechEmpower benchmark sends, and
// what a desktop browser sends.
const tfbHead = "GET /plaintext HTTP/1.1\r\nHost: tfb-server:8080\r\n" +
	"Accept: text/plain,text/html;q=0.9,application/xhtml+xml;q=0.9,*/*;q=.8\r\n" +
	"Connection: keep-alive\r\nKeep-Alive: timeout=5\r\n\r\n"

// post is a request with content, announced by its length.
func post(content string) string {
	return fmt.Sprintf("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", len(content), content)
}

// postChunked is the same in one chunk.
func postChunked(content string) string {
	return fmt.Sprintf("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(content), content)
}

// digits is a text of n bytes.
func digits(n int) string { return strings.Repeat("0123456789abcdef", n/16) }

var (
	kilobyte = digits(1 << 10)
	megabyte = digits(1 << 20)
)

var scenarios = []scenario{
	{name: "head=hello/depth=1", app: "hello", request: head.Hello, depth: 1, content: text},
	{name: "head=hello/depth=16", app: "hello", request: head.Hello, depth: 16, content: text},
	{name: "head=tfb/depth=1", app: "hello", request: tfbHead, depth: 1, content: text},
	{name: "head=tfb/depth=16", app: "hello", request: tfbHead, depth: 16, content: text},
	{name: "head=browser/depth=1", app: "hello", request: head.Browser, depth: 1, content: text},
	{name: "head=browser/depth=16", app: "hello", request: head.Browser, depth: 16, content: text},
	{name: "head=post1k/depth=1", app: "echo", request: post(kilobyte), depth: 1, content: kilobyte},
	{name: "head=post1m/depth=1", app: "echo", request: post(megabyte), depth: 1, content: megabyte},
	{name: "head=chunked1k/depth=1", app: "echo", request: postChunked(kilobyte), depth: 1, content: kilobyte},

	// A response of several chunks: in as many of the protocol, or of a length that the application declares.
	{name: "app=stream/framing=chunked", app: "stream", request: head.Hello, depth: 1, content: streamed},
	{name: "app=stream/framing=length", app: "streamOfLength", request: head.Hello, depth: 1, content: streamed},

	// A small file is read, a larger one is sent by the kernel.
	{name: "app=file/size=4k", app: "file4k", request: head.Hello, depth: 1, content: fileBeginning(4 << 10)},
	{name: "app=file/size=64k", app: "file64k", request: head.Hello, depth: 1, content: fileBeginning(64 << 10), over: true},

	// JSON of 2 KB, made for each request or once for all.
	{name: "app=json/made=each", app: "json", request: head.Hello, depth: 1, content: string(document)},
	{name: "app=json/made=once", app: "jsonMade", request: head.Hello, depth: 1, content: string(document)},

	// One http.Handler, by either server.
	{name: "app=bridge/head=hello", app: "bridge", request: head.Hello, depth: 1, content: text},
	{name: "app=bridge/head=browser", app: "bridge", request: head.Browser, depth: 1, content: text},

	{name: "head=hello/conns=short", app: "hello", request: head.Close, depth: 1, content: text, over: true, drive: driveShort},
	{name: fmt.Sprintf("head=hello/idle=%d", idleConns), app: "hello", request: head.Hello, depth: 1, content: text, over: true, drive: driveBesideIdle, fresh: true},
}

// bytes is what one request moves, for SetBytes: it or its answer, which is larger.
func (sc *scenario) bytes() int64 { return int64(max(len(sc.request), len(sc.content))) }

// readAnswers reads so many answers from r, and fails if one is not right.
func (sc *scenario) readAnswers(r io.Reader, n int) error {
	buffered := bufio.NewReader(r)
	for range n {
		resp, err := http.ReadResponse(buffered, nil)
		if err != nil {
			return err
		}
		content, err := io.ReadAll(resp.Body)
		if err != nil {
			return err
		}
		if resp.StatusCode != http.StatusOK || string(content) != sc.content {
			return fmt.Errorf("answered %s, %d bytes %.100q; want %d bytes %.100q", resp.Status, len(content), content, len(sc.content), sc.content)
		}
	}
	if n := buffered.Buffered(); n > 0 {
		return fmt.Errorf("%d bytes behind the answer", n)
	}
	return nil
}

// application is the same thing for either server, as one would write it there.
type application struct {
	isbjorn gateway.App
	nethttp http.Handler
}

var applications = map[string]application{
	"hello":          {gateway.AppFunc(hello), http.HandlerFunc(helloHTTP)},
	"echo":           {gateway.AppFunc(echo), http.HandlerFunc(echoHTTP)},
	"stream":         {stream(nil), streamHTTP("")},
	"streamOfLength": {stream(lengthOf(len(streamed))), streamHTTP(strconv.Itoa(len(streamed)))},
	"file4k":         {file(4 << 10), fileHTTP(4 << 10)},
	"file64k":        {file(64 << 10), fileHTTP(64 << 10)},
	"json":           {gateway.AppFunc(jsonEach), http.HandlerFunc(jsonEachHTTP)},
	"jsonMade":       {gateway.AppFunc(jsonMade), http.HandlerFunc(jsonMadeHTTP)},
	"bridge":         {nethttp.App(http.HandlerFunc(helloHTTP)), http.HandlerFunc(helloHTTP)},
}

const text = "Hello, World!"

var (
	textHeaders = []gateway.Header{{Name: "Content-Type", Value: "text/plain"}}
	fileHeaders = []gateway.Header{{Name: "Content-Type", Value: "application/octet-stream"}}
	jsonHeaders = []gateway.Header{{Name: "Content-Type", Value: "application/json"}}
)

func hello(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
	if _, err := start("200 OK", textHeaders, nil); err != nil {
		return nil, err
	}
	return env.Text(text), nil
}

func helloHTTP(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain")
	_, _ = io.WriteString(w, text)
}

func echo(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
	content, err := env.Input().ReadAll()
	if err != nil {
		return nil, err
	}
	if _, err := start("200 OK", nil, nil); err != nil {
		return nil, err
	}
	return env.Bytes(content), nil
}

func echoHTTP(w http.ResponseWriter, r *http.Request) {
	content, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Content-Type", "application/octet-stream") // or it would be guessed
	w.Header().Set("Content-Length", strconv.Itoa(len(content)))
	_, _ = w.Write(content)
}

// streamChunks is how many chunks of a kilobyte a stream has.
const streamChunks = 8

var (
	chunk    = []byte(kilobyte)
	streamed = strings.Repeat(kilobyte, streamChunks)
)

func lengthOf(n int) []gateway.Header {
	return []gateway.Header{{Name: "Content-Length", Value: strconv.Itoa(n)}}
}

func stream(headers []gateway.Header) gateway.App {
	headers = append(headers, textHeaders...)
	chunks := func(yield func([]byte, error) bool) {
		for range streamChunks {
			if !yield(chunk, nil) {
				return
			}
		}
	}
	return gateway.AppFunc(func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		_, err := start("200 OK", headers, nil)
		return gateway.Stream(chunks), err
	})
}

func streamHTTP(length string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		if length != "" {
			w.Header().Set("Content-Length", length)
		}
		flusher := http.NewResponseController(w)
		for range streamChunks { // each leaves at once, as that of a Body does
			_, _ = w.Write(chunk)
			_ = flusher.Flush()
		}
	})
}

// filePath is a file that is there in any process of this program, and is larger than what is served of it.
var filePath = must(os.Executable())

func fileBeginning(n int) string {
	f := must(os.Open(filePath))
	defer f.Close()
	b := make([]byte, n)
	must(io.ReadFull(f, b))
	return string(b)
}

func file(n int64) gateway.App {
	return gateway.AppFunc(func(_ *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		f, err := os.Open(filePath)
		if err != nil {
			return nil, err
		}
		_, err = start("200 OK", fileHeaders, nil)
		return gateway.FileRange(f, 0, n), err
	})
}

func fileHTTP(n int64) http.Handler {
	length := strconv.FormatInt(n, 10)
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		f, err := os.Open(filePath)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		defer f.Close()
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("Content-Length", length)
		_, _ = io.CopyN(w, f, n) // by sendfile
	})
}

// item is a part of what an API answers.
type item struct {
	ID    int      `json:"id"`
	Name  string   `json:"name"`
	Price float64  `json:"price"`
	Stock bool     `json:"in_stock"`
	Tags  []string `json:"tags"`
}

var (
	items = func() (items []item) {
		for i := range 22 {
			items = append(items, item{ID: i, Name: "a thing with a name", Price: 9.5, Stock: i%2 == 0, Tags: []string{"red", "small"}})
		}
		return items
	}()
	document       = must(json.Marshal(items))
	documentLength = strconv.Itoa(len(document))
)

func jsonEach(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
	b, err := json.Marshal(items)
	if err != nil {
		return nil, err
	}
	_, err = start("200 OK", jsonHeaders, nil)
	return env.Bytes(b), err
}

func jsonEachHTTP(w http.ResponseWriter, _ *http.Request) {
	b, err := json.Marshal(items)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	_, _ = w.Write(b)
}

func jsonMade(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
	_, err := start("200 OK", jsonHeaders, nil)
	return env.Bytes(document), err
}

func jsonMadeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", documentLength)
	_, _ = w.Write(document)
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
