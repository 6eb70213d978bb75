package worker

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/isbjorn/isbjorn/wsgi/internal/wire"
)

// answerTests are the cases of docs/design/wsgi.md: what an application does, what the server is told, and what the log
// has, of which log is a part. "" is an empty log, and "*" any.
var answerTests = []struct{ name, target, want, log string }{
	{"list", "/hello", "200 OK: hello", ""},
	{"lazy generator", "/lazy", "201 Created X-Late=yes: lazy", ""},
	{"no content", "/empty", "200 OK:", ""},
	{"write", "/write", "200 OK: 123", ""},
	{"write of str", "/write_text", "fails in app: TypeError: write needs bytes, got str", ""},
	{"write of too much", "/write_much", "200 OK Content-Length=2: 12 closes", "Content-Length is 2, the application gave at least 3 bytes"},
	{"write of all", "/write_exact", "200 OK Content-Length=2: 12", ""},
	{"exc_info before content", "/exc_before", "503 Sorry X-New=1: custom", ""},
	{"exc_info after content", "/exc_after", "200 OK: first fails in content: KeyError: 'k'", ""},
	{"raises before start_response", "/raises", "fails in app: ValueError: early", ""},
	{"raises after start_response", "/raises_later", "fails in app: ValueError: late", ""},
	{"raises after the first chunk", "/mid", "200 OK: part fails in content: ValueError: mid", ""},
	{"raises within a length", "/mid?cl", "200 OK Content-Length=100: part fails in content: ValueError: mid", ""},
	{"start_response never called", "/never", "fails in content: RuntimeError: the application gave content, or returned, " +
		"without a call of start_response", ""},
	{"called twice", "/twice", "fails in app: RuntimeError: start_response was called a second time, without exc_info", ""},
	{"error swallowed", "/swallow", "fails in content: ValueError: header name 'X A' is not a token (RFC 9110 section 5.1)", ""},
	{"error mended", "/mended", "500 Mine: mine", ""},
	{"kept start_response", "/keep", "200 OK: kept", ""},
	{"called after its end", "/old", "fails in app: RuntimeError: start_response was called after its request had ended",
		"write was called after its request had ended"},

	{"text in a list", "/kinds?l", "fails in content: TypeError: the application gave str as content; give bytes", ""},
	{"text", "/kinds?s", "fails in content: TypeError: the application returned str; return a list of bytes, such as [text.encode()]", ""},
	{"None", "/kinds?n", "fails in content: TypeError: the application returned None; return an iterable of bytes", ""},
	{"int", "/kinds?i", "fails in content: TypeError: the application returned int; return an iterable of bytes", ""},
	{"int in a list", "/kinds?il", "fails in content: TypeError: the application gave int as content; give bytes", ""},
	{"bytes", "/kinds?b", "200 OK: bytes", "return [content], a list"},
	{"bytes again", "/kinds?b", "200 OK: bytes", ""},
	{"bytearray", "/kinds?ba", "200 OK: x", ""},
	{"memoryview", "/kinds?mv", "200 OK: mv", ""},
	{"tuple", "/kinds?t", "200 OK: ab", ""},
	{"empty list", "/kinds?e", "200 OK:", ""},
	{"text second in a list", "/kinds?mid", "fails in content: TypeError: the application gave str as content; give bytes", ""},
	{"text second in an iterator", "/kinds?midg", "200 OK: ok fails in content: TypeError: the application gave str as content; give bytes", ""},
	{"coroutine", "/coroutine", "fails in content: TypeError: the application returned coroutine; return an iterable of bytes; " +
		"an async function needs an ASGI server", ""},

	{"too much", "/much", "200 OK Content-Length=3: abc closes",
		"GET /much: Content-Length is 3, the application gave at least 6 bytes; the rest is cut and the connection closes\nerror 0 closed 1"},
	{"too much: what was asked for", "/pulled", "200 OK: [b'abcdef']", ""},
	{"too little in a list", "/little", "200 OK Content-Length=10: abc fails in content: ValueError: Content-Length is 10, " +
		"the application gave 3 bytes; the connection closes", ""},
	{"too little", "/little?iter", "200 OK Content-Length=10: abc fails in content: ValueError: Content-Length is 10, " +
		"the application gave 3 bytes; the connection closes", ""},
	{"length reached", "/exact", "200 OK Content-Length=3: abc", "error 0 closed 1"},

	{"hop-by-hop", "/hop", "200 OK A=b: abc", "header Transfer-Encoding is dropped"},
	{"hop-by-hop again", "/hop", "200 OK A=b: abc", ""},
	{"Connection: close", "/hop?close", "200 OK A=b: abc closes", ""},

	{"204", "/none?204+No+Content", "204 No Content:", "content is dropped, status 204 has none"},
	{"204 again", "/none?204+No+Content", "204 No Content:", "closed 1"},
	{"304", "/none?304+Not+Modified", "304 Not Modified:", "closed 1"},

	{"close", "/closing", "200 OK: ab", "error 0 closed 1"},
	{"close after an error", "/closing?error", "200 OK: a fails in content: ValueError: it", "error 0 closed 1"},
	{"close after a wrong chunk", "/closing?text", "200 OK: a fails in content: TypeError: the application gave str as content; give bytes", "error 0 closed 1"},
	{"close after a first wrong chunk", "/closing?first", "fails in content: TypeError: the application gave str as content; give bytes", "error 0 closed 1"},
	{"close raises", "/closing?boom", "200 OK: ab", "error 0 closed 1\nerror 0 close() of the application raised; the answer is not changed"},

	{"SystemExit", "/exits?exit", "fails in app: SystemExit: 3", ""},
	{"SystemExit 4", "/exits?exit4", "fails in app: SystemExit: 4", ""},
	{"KeyboardInterrupt", "/exits?kbd", "fails in app: KeyboardInterrupt", ""},
	{"GeneratorExit", "/exits?gen", "fails in app: GeneratorExit", ""},
	{"MemoryError", "/exits?mem", "fails in app: MemoryError", ""},
	{"RecursionError", "/exits?rec", "fails in app: RecursionError: maximum recursion depth exceeded", "*"},

	{"early hints", "/hints", "(103 Early Hints [{Link </a.css>}]) 200 OK: x", ""},
	{"bad early hints", "/hints?bad", "(103 Early Hints [{Link </a.css>}]) fails in app: ValueError: the value of header A " +
		"has a control character, or one that is not Latin-1: 'b\\r\\nX-I: 1'", ""},
	{"wsgi.errors", "/errors", "200 OK: x", "error 0 half line\nerror 0 two\nerror 0 restthread"},
	{"wsgi.errors after the end", "/errors_late", "200 OK: x", "error 0 after"},
	{"child that exits", "/fork?exit", "200 OK: parent", ""},
	{"child that answers", "/fork?answer", "200 OK: parent", ""},
	{"child that is terminated", "/fork?sleep", "200 OK: 15", ""},
	{"main thread", "/thread", "200 OK: True", ""},
	{"what a program sees", "/module", "200 OK: (['app:app'], 'app', False, None, 'testdata')", ""},
}

func TestAnswers(t *testing.T) {
	everyMode(t, func(t *testing.T, python string, c wire.Config) {
		p := start(t, python, c)
		for _, tt := range answerTests {
			t.Run(tt.name, func(t *testing.T) {
				p.t = t
				got, logs := p.get(tt.target)
				logs = noID(logs)
				if c.Gevent && tt.name == "main thread" {
					tt.want = "200 OK: False"
				}
				if strings.Contains(tt.want, "RecursionError") {
					got = got[:min(len(got), len(tt.want))]
				}
				if got != tt.want || tt.log == "" && logs != "" || tt.log != "*" && !strings.Contains(logs, tt.log) {
					t.Errorf("%s: %q, want %q\nlog: %s\nwant: %s", tt.target, got, tt.want, logs, tt.log)
				}
				if n := strings.Count(logs, "closed"); n > 1 {
					t.Errorf("close was called %d times", n)
				}
			})
		}
		p.t = t
	})
}

// noID writes 0 for the ids of requests in a log.
func noID(logs string) string {
	lines := strings.Split(logs, "\n")
	for i, line := range lines {
		if f := strings.SplitN(line, " ", 3); len(f) == 3 && (f[0] == "error" || f[0] == "warn") {
			lines[i] = f[0] + " 0 " + f[2]
		}
	}
	return strings.Join(lines, "\n")
}

// What start_response gets: the error names the field or the status, and is raised at the line that called.
func TestStartResponse(t *testing.T) {
	const traced = "app.py\", line "
	everyMode(t, func(t *testing.T, python string, c wire.Config) {
		p := start(t, python, c)
		for i, want := range []string{"200: abc", "status is bytes", "status 'OK'", "status is int", "status '100 Continue'",
			"status '200 OK\\r\\nX-I: 1'", "header 'A'", "header 'A'", "header A", "header A", "header name 'A:'",
			"header name ''", "header A", "header Content-Length", "header Content-Length", "header Content-Length",
			"200 OK Content-Length=3: abc", "200 OK A=x: abc", "200 OK A=x: abc", "200 OK A=x: abc", "headers is None",
			"header ('A', 'x', 'y')", "header name 'A\\n'", "status '200 OK\\n'", "the headers are", "the headers are"} {
			a := p.call(request{path: "/case", query: fmt.Sprint(i)})
			switch {
			case strings.HasPrefix(want, "200"):
				if a.String() != want {
					t.Errorf("case %d: %v, want %s", i, a, want)
				}
			case a.fail == nil || !strings.Contains(a.fail[2], want) || !strings.Contains(a.fail[3], traced) ||
				!strings.Contains(a.fail[3], "sr(status, headers)") || len(a.frames) != 1:
				t.Errorf("case %d: %q, want %s", i, a.fail, want)
			}
		}
		if logs := p.takeLogs(); logs != "" {
			t.Error(logs)
		}
	})
}

// Which frames an answer is made of: what is known at once is one, and a chunk leaves as it comes.
func TestFrames(t *testing.T) {
	everyMode(t, func(t *testing.T, python string, c wire.Config) {
		p := start(t, python, c)
		for target, want := range map[string][]wire.Type{
			"/hello":   {wire.FrameResp},
			"/empty":   {wire.FrameResp},
			"/lazy":    {wire.FrameHead, wire.FrameBody, wire.FrameBody},
			"/write":   {wire.FrameHead, wire.FrameBody, wire.FrameBody, wire.FrameBody, wire.FrameBody},
			"/exact":   {wire.FrameHead, wire.FrameBody, wire.FrameBody},
			"/big":     {wire.FrameHead, wire.FrameBody},
			"/raises":  {wire.FrameFail},
			"/kinds?s": {wire.FrameFail},
		} {
			path, query, _ := strings.Cut(target, "?")
			if a := p.call(request{path: path, query: query}); !slices.Equal(a.frames, want) {
				t.Errorf("%s: frames %v, want %v", target, a.frames, want)
			}
		}
		if a := p.call(request{path: "/big"}); a.head.Length != 300000 || len(a.body) != 300000 {
			t.Errorf("/big: %d bytes, Content-Length %d", len(a.body), a.head.Length)
		}
	})
}

func TestHead(t *testing.T) {
	info, err := os.Stat("testdata/app.py")
	if err != nil {
		t.Fatal(err)
	}
	everyMode(t, func(t *testing.T, python string, c wire.Config) {
		p := start(t, python, c)
		for _, tt := range []struct {
			request
			want, log string
		}{
			{request{path: "/head_list"}, "200 OK Content-Length=5:", ""},
			{request{path: "/head_iter"}, "200 OK:", "error 0 closed 1"},
			{request{path: "/none"}, "200 OK:", "error 0 closed 1"},
			{request{path: "/none", env: map[string]string{"cl": "1"}}, "200 OK Content-Length=3:", "error 0 closed 1"},
			{request{path: "/raises"}, "fails in app: ValueError: early", ""},
			{request{path: "/file", env: map[string]string{"file": "testdata/app.py"}}, fmt.Sprintf("200 OK Content-Length=%d:", info.Size()), ""},
			{request{path: "/file", env: map[string]string{"file": "testdata/app.py", "length": "5"}}, "200 OK Content-Length=5:", ""},
			{request{path: "/file", query: "bytes", env: map[string]string{"file": "testdata/app.py"}}, "200 OK:", ""},
		} {
			tt.method = "HEAD"
			if got, logs := p.call(tt.request).String(), noID(p.takeLogs()); got != tt.want || logs != tt.log {
				t.Errorf("HEAD %s: %q, log %q; want %q, log %q", tt.path, got, logs, tt.want, tt.log)
			}
		}
		p.call(request{method: "HEAD", path: "/head_iter"})
		if got, _ := p.get("/pulled"); got != "200 OK: []" {
			t.Errorf("content for HEAD was asked for: %s", got)
		}
		a := p.call(request{path: "/none", query: "204+No+Content", env: map[string]string{"cl": "1"}})
		if got := a.String(); got != "204 No Content:" {
			t.Errorf("204 with a length: %q", got)
		}
		if got := p.call(request{path: "/hints", version: "HTTP/1.0"}).String(); got != "200 OK: x" {
			t.Errorf("early hints for HTTP/1.0: %q", got)
		}
	})
}

func TestEnviron(t *testing.T) {
	everyMode(t, func(t *testing.T, python string, c wire.Config) {
		p := start(t, python, c, "SECRET=1")
		const want = "200 OK: [('HTTP_COOKIE', 'a'), ('PATH_INFO', '/told'), ('QUERY_STRING', ''), ('REMOTE_ADDR', ''), " +
			"('REQUEST_METHOD', 'GET'), ('REQUEST_URI', '/told'), ('SERVER_PROTOCOL', 'HTTP/1.1'), ('wsgi.input_terminated', True)]"
		for range 2 {
			if got := p.call(request{path: "/told", env: map[string]string{"HTTP_COOKIE": "a"}}).String(); got != want {
				t.Errorf("%s\nwant %s", got, want)
			}
		}
		a := p.call(request{path: "/latin", env: map[string]string{"HTTP_X_IN": "\xff\xe9"}})
		if got := a.String(); got != "200 OK X-Out=\xe9 X-In=\xff\xe9: \xff\xe9" {
			t.Errorf("Latin-1: %q", got)
		}
	})
}

func TestInput(t *testing.T) {
	small := []byte("ab\ncdefgh\nXYline3\nline4\nrest!!")
	large := bytes.Repeat([]byte("a line of content\n"), 6000)
	file := func(b []byte) *os.File {
		name := filepath.Join(t.TempDir(), "content")
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	everyMode(t, func(t *testing.T, python string, c wire.Config) {
		p := start(t, python, c)
		for _, content := range [][]byte{{}, small, large} {
			env := map[string]string{"content": hex.EncodeToString(content[:min(len(content), 20000)])}
			content = content[:min(len(content), 20000)]
			for name, r := range map[string]request{
				"inline":   {content: content},
				"file":     {flags: wire.ByFile, answer: answer{open: file(content)}},
				"streamed": {flags: wire.Stream, answer: answer{input: slices.Clone(content), abortAt: -1}},
			} {
				r.path, r.env = "/input", env
				if a := p.call(r); a.String() != "200 OK: same" {
					t.Errorf("%s, %d bytes: %v", name, len(content), a)
				}
			}
		}
		for _, tt := range []struct {
			name, query, want string
			r                 request
		}{
			{"none", "", "200 OK: 0 0", request{}},
			{"inline", "seek", "200 OK: 30 10", request{content: small}},
			{"file", "seek", "200 OK: 108000 10", request{flags: wire.ByFile, answer: answer{open: file(large)}}},
			{"streamed", "", "200 OK: 108000 108000", request{flags: wire.Stream, answer: answer{input: large, abortAt: -1}}},
			{"client leaves", "", "fails in gone: the client has left",
				request{flags: wire.Stream, answer: answer{input: large, abortAt: 1}}},
		} {
			tt.r.path, tt.r.query = "/input_all", tt.query
			if got := p.call(tt.r).String(); got != tt.want {
				t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
			}
		}
		if got := p.call(request{path: "/input_text", content: []byte("\xc3\xa9")}).String(); got != "200 OK: É" {
			t.Error(got)
		}
		p.call(request{path: "/input_late", flags: wire.Stream, answer: answer{input: large, abortAt: -1}})
		if got, _ := p.get("/input_old"); !strings.HasPrefix(got, "fails in app: ValueError") {
			t.Errorf("wsgi.input after its request: %s", got)
		}
	})
}

// A thread of the application reads while the response ends: no frame of one request gets into the next.
func TestInputThread(t *testing.T) {
	everyMode(t, func(t *testing.T, python string, c wire.Config) {
		p := start(t, python, c)
		for range 200 {
			a := p.call(request{path: "/input_thread", flags: wire.Stream,
				answer: answer{input: make([]byte, 500000), abortAt: -1}})
			if a.String() != "200 OK: ab" {
				t.Fatal(a)
			}
		}
		p.takeLogs()
	})
}

func TestFile(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789"), 2000)
	name := filepath.Join(t.TempDir(), "data.bin")
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	everyMode(t, func(t *testing.T, python string, c wire.Config) {
		p := start(t, python, c)
		for _, tt := range []struct{ query, length, want string }{
			{"", "", "200 OK Content-Length=20000: " + string(data) + " by file"},
			{"off", "", "200 OK Content-Length=19990: " + string(data[10:]) + " by file"},
			{"", "7", "200 OK Content-Length=7: 0123456 by file"},
			{"", "999999", "200 OK Content-Length=999999: " + string(data) + " by file fails in content: ValueError: " +
				"Content-Length is 999999, the file has 20000 bytes; the connection closes"},
			{"", "0", "200 OK Content-Length=0:  closes"},
			{"wrapped", "", "200 OK: " + string(data)},
			{"temp", "", "200 OK Content-Length=5: orary by file"},
			{"gzip", "", "200 OK: " + strings.Repeat("plain", 100)},
			{"gzip-file", "", "200 OK: " + strings.Repeat("plain", 100)},
			{"bytes", "", "200 OK: " + strings.Repeat("x", 20000)},
			{"pipe", "", "200 OK: pipe"},
			{"read", "", "200 OK: r1r2"},
			{"raises", "", "200 OK: r1 fails in content: OSError: disk"},
			{"text", "", "fails in content: TypeError: wsgi.file_wrapper got a text file; open it in 'rb'"},
		} {
			env := map[string]string{"file": name}
			if tt.length != "" {
				env["length"] = tt.length
			}
			if got := p.call(request{path: "/file", query: tt.query, env: env}).String(); got != tt.want {
				t.Errorf("?%s, length %q: %.200q, want %.200q", tt.query, tt.length, got, tt.want)
			}
			if got, _ := p.get("/closed"); !slices.Contains([]string{"read", "raises", "wrapped"}, tt.query) && got != "200 OK: True" {
				t.Errorf("?%s: closed %s", tt.query, got)
			}
		}
		before := descriptors(t, p)
		for range 50 {
			p.call(request{path: "/file", env: map[string]string{"file": name}})
		}
		p.takeLogs()
		if after := descriptors(t, p); after != before {
			t.Errorf("%d descriptors after 50 files, %d before", after, before)
		}
	})
}

func descriptors(t *testing.T, p *process) int {
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// The client leaves in the middle of an answer without end: the generator is closed, and the slot goes on.
func TestClientGone(t *testing.T) {
	everyMode(t, func(t *testing.T, python string, c wire.Config) {
		p := start(t, python, c)
		id, a := p.send(request{path: "/forever"})
		<-a.first
		p.setWord(0, WordCancel, id)
		p.finish(a)
		if a.fail == nil || a.fail[0] != "gone" {
			t.Errorf("%q", a.fail)
		}
		if logs := noID(p.takeLogs()); logs != "error 0 gone True True" {
			t.Error(logs)
		}
		next := p.g.id.Load() + 1
		p.setWord(0, WordCancel, next)
		if a := p.call(request{path: "/raises"}); a.fail == nil || a.fail[0] != "gone" {
			t.Errorf("a request whose client has left was begun: %v", a)
		}
	})
}

// The client leaves while the worker waits for the server to take content: it goes on when the server throws it away.
func TestClientGoneWhileBlocked(t *testing.T) {
	everyMode(t, func(t *testing.T, python string, c wire.Config) {
		p := start(t, python, c)
		hold := make(chan bool)
		id, a := p.send(request{path: "/blocks", answer: answer{hold: hold}})
		<-a.first
		for end := time.Now().Add(patience); p.word(0, WordState) != StateOutput; p.ping() {
			if time.Now().After(end) {
				t.Fatalf("state %d", p.word(0, WordState))
			}
		}
		p.setWord(0, WordCancel, id)
		close(hold)
		p.finish(a)
		if a.fail == nil || a.fail[0] != "gone" || len(a.body) != 10000000 {
			t.Errorf("%d bytes, %q", len(a.body), a.fail)
		}
		if logs := noID(p.takeLogs()); logs != "error 0 closed 1" {
			t.Error(logs)
		}
	})
}

// A thread of the application writes while its response ends, and after: no frame is out of order, and none is of
// another request.
func TestWriteThread(t *testing.T) {
	everyMode(t, func(t *testing.T, python string, c wire.Config) {
		p := start(t, python, c)
		for i := range 200 {
			a := p.call(request{path: "/write_thread", query: []string{"list", "iter"}[i%2]})
			if s := a.String(); a.fail == nil && (!strings.HasPrefix(s, "200 OK: ") || strings.Trim(s[8:], "tb") != "") ||
				a.fail != nil && !strings.Contains(a.fail[2], "another thread has written content") {
				t.Fatal(a)
			}
		}
		p.takeLogs()
	})
}

// A function that is registered for the end has its time, threads have none, and then the process ends.
func TestExitLimit(t *testing.T) {
	everyMode(t, func(t *testing.T, python string, c wire.Config) {
		for _, tt := range []struct {
			query, stderr string
			status        int
		}{{"thread", "the end\n", 0}, {"blocks", "in never_ends", 1}} {
			p := start(t, python, c)
			p.call(request{path: "/at_exit", query: tt.query})
			p.g.conn.CloseWrite()
			<-p.exited
			if got := p.cmd.ProcessState.ExitCode(); got != tt.status || !strings.Contains(p.stderr.String(), tt.stderr) {
				t.Errorf("%s: status %d, stderr %s", tt.query, got, p.stderr)
			}
		}
	})
}

func TestStrict(t *testing.T) {
	p := start(t, pythons(t)[0], wire.Config{Strict: true})
	env := map[string]string{"SERVER_NAME": "t", "SERVER_PORT": "80", "SCRIPT_NAME": "", "wsgi.url_scheme": "http",
		"wsgi.multithread": "", "wsgi.multiprocess": "", "wsgi.run_once": ""}
	a := p.call(request{path: "/upgrade", env: env})
	if a.fail == nil || !strings.Contains(a.fail[2], "header Upgrade is the server's to send") {
		t.Error(a)
	}
	if a := p.call(request{path: "/hello", env: env}); a.String() != "200 OK: hello" {
		t.Error(a, a.fail)
	}
	if a := p.call(request{path: "/hello"}); a.fail == nil || !strings.HasPrefix(a.fail[2], "AssertionError") {
		t.Errorf("wsgiref.validate takes an environ without SERVER_NAME: %v", a)
	}
}

// Several threads answer at once, and stacks say what they do.
func TestThreads(t *testing.T) {
	everyMode(t, func(t *testing.T, python string, c wire.Config) {
		const n = 4
		c.Slots = n
		p := start(t, python, c)
		gate := newGate(t)
		var ids []uint64
		var answers []*answer
		for range n {
			id, a := p.send(request{path: "/wait", env: map[string]string{"gate": gate}})
			ids, answers = append(ids, id), append(answers, a)
		}
		p.wait("all requests", func() bool { return len(p.logs) == n })
		p.control.Write(wire.AppendControl(nil, wire.FrameDump, 1))
		p.wait("STACKS", func() bool { return p.stacks != nil })
		for i, id := range ids {
			if !strings.Contains(p.stacks[0], fmt.Sprintf(", request %d\n", id)) {
				t.Errorf("no request %d in the stacks:\n%s", id, p.stacks[0])
			}
			if got := p.word(i, WordState); got != StateRunning {
				t.Errorf("slot %d is in state %d", i, got)
			}
			if !slices.Contains(ids, p.word(i, WordRunning)) || p.word(i, WordCount) != 1 || p.word(i, WordStart) == 0 {
				t.Errorf("line %d: %v", i, p.board[i*8:i*8+8])
			}
		}
		if !strings.Contains(p.stacks[0], "in wait") {
			t.Error(p.stacks[0])
		}
		openGate(t, gate)
		names := map[string]bool{}
		for _, a := range answers {
			p.finish(a)
			names[string(a.body)] = true
		}
		if len(names) != n {
			t.Errorf("threads %v", names)
		}
	})
}

// newGate returns the path of a file that the application waits for, until openGate makes it.
func newGate(t *testing.T) string { return filepath.Join(t.TempDir(), "gate") }

func openGate(t *testing.T, gate string) {
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

// A generation ends: what is in its queue is answered, then its workers leave.
func TestDrain(t *testing.T) {
	everyMode(t, func(t *testing.T, python string, c wire.Config) {
		c.Target, c.Slots = "app:app", 2
		p := newProcess(t, python, newGeneration(t), c)
		var answers []*answer
		for range 5 {
			_, a := p.send(request{path: "/hello"})
			answers = append(answers, a)
		}
		p.g.conn.CloseWrite()
		for _, a := range answers {
			p.finish(a)
			if a.String() != "200 OK: hello" {
				t.Error(a)
			}
		}
		p.wait("DRAINED", func() bool { return p.drained })
		<-p.exited
		if !p.cmd.ProcessState.Success() {
			t.Error(p.cmd.ProcessState)
		}
		if p.word(0, WordState) != StateGone || p.word(1, WordState) != StateGone {
			t.Error(p.board)
		}
	})
}

// One worker of two is drained by fences; what it had taken it hands back, and the other goes on.
func TestDrainOne(t *testing.T) {
	everyMode(t, func(t *testing.T, python string, c wire.Config) {
		g := newGeneration(t)
		c.Target, c.Slots = "app:app", 2
		p := newProcess(t, python, g, c)
		p.wait("READY", func() bool { return p.ready != nil })
		p.setWord(0, WordDrain, 1)
		p.setWord(1, WordDrain, 1)
		_, a := p.send(request{path: "/hello"})
		p.finish(a)
		if !a.back || len(a.frames) != 1 {
			t.Errorf("a drained slot answers %v", a)
		}
		q := newProcess(t, python, g, c)
		q.wait("READY", func() bool { return q.ready != nil })
		end := time.Now().Add(patience)
		for p.word(0, WordState) != StateGone || p.word(1, WordState) != StateGone {
			g.conn.Write(wire.AppendFence(nil, g.id.Add(1))) // it goes to one of those who wait
			q.ping()
			if time.Now().After(end) {
				t.Fatalf("lines: %v", p.board)
			}
		}
		p.wait("DRAINED", func() bool { return p.drained })
		<-p.exited
		if got, _ := q.get("/hello"); got != "200 OK: hello" {
			t.Error(got)
		}
	})
}

// Fences reach all who wait, so the server knows that nobody has a message in hand.
func TestFence(t *testing.T) {
	everyMode(t, func(t *testing.T, python string, c wire.Config) {
		c.Slots = 3
		p := start(t, python, c)
		from := p.g.id.Load()
		for end := time.Now().Add(patience); time.Now().Before(end); {
			p.g.conn.Write(wire.AppendFence(nil, p.g.id.Add(1)))
			p.ping()
			if p.word(0, WordSeen) > from && p.word(1, WordSeen) > from && p.word(2, WordSeen) > from {
				return
			}
		}
		t.Errorf("seen: %v", p.board)
	})
}

func TestServerGone(t *testing.T) {
	p := start(t, pythons(t)[0], wire.Config{})
	p.control.Close()
	<-p.exited
}

func TestStop(t *testing.T) {
	everyMode(t, func(t *testing.T, python string, c wire.Config) {
		p := start(t, python, c)
		p.cmd.Process.Signal(syscall.SIGINT)
		p.cmd.Process.Signal(syscall.SIGTERM)
		p.wait("LEAVE", func() bool { return p.leaves })
		if got, _ := p.get("/hello"); got != "200 OK: hello" {
			t.Error(got)
		}
		p.control.Write(wire.AppendControl(nil, wire.FrameStop, 0))
		<-p.exited
	})
}

// A killed worker leaves on the scoreboard what it was running.
func TestKilled(t *testing.T) {
	everyMode(t, func(t *testing.T, python string, c wire.Config) {
		p := start(t, python, c)
		id, _ := p.send(request{path: "/wait", env: map[string]string{"gate": newGate(t)}})
		p.wait("the request", func() bool { return len(p.logs) == 1 })
		p.cmd.Process.Kill()
		<-p.exited
		if p.word(0, WordRunning) != id || p.word(0, WordState) != StateRunning {
			t.Errorf("line: %v", p.board)
		}
	})
}

func TestLoadError(t *testing.T) {
	everyPython(t, func(t *testing.T, python string) {
		for _, tt := range []struct{ target, kind, message, mend string }{
			{"app:nope", "attribute", "app has no nope", "did you mean none?"},
			{"nope:app", "import", "there is no module nope", "looked in"},
			{"app:asynchronous", "kind", "asynchronous: an ASGI application", "isbjorn run has WSGI"},
			{"app:create('prod', debug=nothing)", "usage", "is not NAME, NAME.ATTRIBUTE or a call with literals", "such as"},
			{"app:create('other')", "call", "AssertionError", ""},
		} {
			p := newProcess(t, python, newGeneration(t), wire.Config{Target: tt.target})
			p.wait("LOAD_ERROR", func() bool { return p.loadError != nil })
			<-p.exited
			e := p.loadError
			if e[0] != tt.kind || !strings.Contains(e[1], tt.message) || !strings.Contains(e[2], tt.mend) ||
				!strings.Contains(e[3], "sys.path begins with") {
				t.Errorf("%s: %q, want %q", tt.target, e, tt)
			}
			if p.cmd.ProcessState.ExitCode() != 1 {
				t.Error(p.cmd.ProcessState)
			}
		}
		p := start(t, python, wire.Config{Target: "app:create('prod', debug=False)"})
		if got, _ := p.get("/hello"); got != "200 OK: hello" {
			t.Error(got)
		}
	})
}

// The parts of worker.py that need no server have tests in Python.
func TestUnits(t *testing.T) {
	everyPython(t, func(t *testing.T, python string) {
		cmd := exec.Command(python, "-B", "worker_test.py")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})
}
