package apps

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/isbjorn/isbjorn/internal/testlog"

	"github.com/isbjorn/isbjorn/gateway/nethttp"
	"github.com/isbjorn/isbjorn/server"
)

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

// site is an application that is served.
type site struct {
	addr     string
	log      *testlog.Buffer // of the server
	client   *http.Client
	shutdown func(context.Context) error
}

// aServer runs applications.
type aServer struct {
	name  string
	serve func(testing.TB, http.Handler) *site
}

// isbjorns are isbjorn as it is and with an option that its users have.
var isbjorns = []aServer{{"isbjorn", byIsbjorn}, {"isbjorn-pool", byIsbjornPool}}

// servers are those that run each application: net/http's is the first.
var servers = append([]aServer{{"net-http", byNetHTTP}}, isbjorns...)

func byNetHTTP(t testing.TB, app http.Handler) *site {
	t.Helper()
	s := &site{log: &testlog.Buffer{}, client: newClient(t)}
	srv := httptest.NewUnstartedServer(app)
	srv.Config.ErrorLog = log.New(s.log, "", 0)
	srv.Start()
	t.Cleanup(srv.Close)
	s.addr, s.shutdown = srv.Listener.Addr().String(), srv.Config.Shutdown
	return s
}

func byIsbjorn(t testing.TB, app http.Handler) *site     { return byIsbjornWith(t, app, server.Auto) }
func byIsbjornPool(t testing.TB, app http.Handler) *site { return byIsbjornWith(t, app, server.Pool) }

// byIsbjornWith lifts the limit of content, which net/http leaves to handlers.
func byIsbjornWith(t testing.TB, app http.Handler, d server.DispatchMode) *site {
	t.Helper()
	s := &site{log: &testlog.Buffer{}, client: newClient(t)}
	srv, err := server.New(nethttp.App(app), server.Options{Dispatch: d,
		BodyBytes: server.NoLimit, Logger: slog.New(slog.NewTextHandler(s.log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	addr, err := srv.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		srv.Close()
		if err := srv.Wait(); err != nil {
			t.Errorf("Wait: %v", err)
		}
	})
	s.addr, s.shutdown = addr.String(), srv.Shutdown
	return s
}

// newClient shows answers as they came.
func newClient(t testing.TB) *http.Client {
	transport := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: crowd, ExpectContinueTimeout: patience}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{
		Transport:     transport,
		Timeout:       patience,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// onEach runs a test of an application on all servers.
func onEach(t *testing.T, app func(testing.TB) http.Handler, test func(*testing.T, *site)) {
	for _, server := range servers {
		t.Run(server.name, func(t *testing.T) { test(t, server.serve(t, app(t))) })
	}
}

// only is an application for onEach that keeps nothing.
func only(h http.Handler) func(testing.TB) http.Handler {
	return func(testing.TB) http.Handler { return h }
}

func (s *site) url(target string) string { return "http://" + s.addr + target }

// request is what a client asks.
type request struct {
	name   string // the target, if it is empty
	method string // GET, if it is empty
	target string
	header string // field lines, with "\n" between them
	body   string // with a Content-Length

	varies string // a regular expression: what no two answers have in common
}

func (q *request) String() string {
	if q.name != "" {
		return q.name
	}
	return strings.TrimSpace(q.method + " " + q.target)
}

// fields are header's.
func (q *request) fields() http.Header {
	h := http.Header{}
	for line := range strings.Lines(q.header) {
		name, value, _ := strings.Cut(line, ":")
		h.Add(name, strings.TrimSpace(value))
	}
	return h
}

// answer is all that a client sees of one but Date and Server.
type answer struct {
	text   string
	length string // Content-Length
}

// as reports whether a is want. A server may know the length of what the other sends
// in chunks: isbjorn does if the handler was done before the first of it left.
func (a answer) as(want answer) bool {
	return a.text == want.text && (a.length == want.length || want.length == "")
}

// do asks.
func (s *site) do(q *request) (a answer) {
	var body io.Reader
	if q.body != "" {
		body = strings.NewReader(q.body)
	}
	r, err := http.NewRequest(q.method, s.url(q.target), body)
	if err != nil {
		return answer{text: err.Error()}
	}
	r.Header, r.Host = q.fields(), "example.com"
	var b strings.Builder
	defer func() {
		if a.text = b.String(); q.varies != "" {
			a.text = scrub(a.text, q.varies)
		}
	}()
	r = r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
		fmt.Fprintln(&b, code, header)
		return nil
	}}))
	resp, err := s.client.Do(r)
	if err != nil {
		fmt.Fprint(&b, "no answer: ", scrub(err.Error(), regexp.QuoteMeta(s.addr)+`|\d+\.\d+\.\d+\.\d+:\d+`))
		return a
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	fmt.Fprintln(&b, resp.Proto, resp.Status)
	a.length = resp.Header.Get("Content-Length")
	for _, name := range slices.Sorted(maps.Keys(resp.Header)) {
		if name != "Date" && name != "Server" && name != "Content-Length" {
			fmt.Fprintf(&b, "%s: %q\n", name, resp.Header[name])
		}
	}
	fmt.Fprintf(&b, "close %t\n%q\n", resp.Close, content)
	for _, name := range slices.Sorted(maps.Keys(resp.Trailer)) {
		fmt.Fprintf(&b, "trailer %s: %q\n", name, resp.Trailer[name])
	}
	if err != nil {
		fmt.Fprintln(&b, err)
	}
	return a
}

func scrub(s, what string) string { return regexp.MustCompile(what).ReplaceAllString(s, "*") }

// crowd is how many clients ask at once.
const crowd = 4

// same asks each isbjorn and net/http, one request after the other, and then isbjorn
// again by many clients at once.
func same(t *testing.T, app func(testing.TB) http.Handler, requests []request) {
	for _, isbjorn := range isbjorns {
		t.Run(isbjorn.name, func(t *testing.T) { sameBy(t, isbjorn, app, requests) })
	}
}

func sameBy(t *testing.T, isbjorn aServer, app func(testing.TB) http.Handler, requests []request) {
	ours, theirs := isbjorn.serve(t, app(t)), byNetHTTP(t, app(t))
	answers := make([]answer, len(requests))
	for i := range requests {
		q := &requests[i]
		t.Run(q.String(), func(t *testing.T) {
			answers[i] = ours.do(q)
			if want := theirs.do(q); !answers[i].as(want) {
				t.Errorf("isbjorn:\n%.1500v\n\nnet/http:\n%.1500v", answers[i], want)
			}
		})
	}
	t.Run("crowd", func(t *testing.T) {
		var all sync.WaitGroup
		for range crowd {
			all.Go(func() {
				for _, i := range rand.Perm(len(requests)) {
					if got := ours.do(&requests[i]); !got.as(answers[i]) && !answers[i].as(got) {
						t.Errorf("%v:\n%.1500v\n\nalone:\n%.1500v", &requests[i], got, answers[i])
					}
				}
			})
		}
		all.Wait()
	})
}

// wait fails when nothing comes.
func wait[T any](t testing.TB, what string, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		t.Fatalf("%s: nothing came in %v", what, patience)
	}
	return v
}

// give fails when nobody takes v.
func give[T any](t testing.TB, what string, c chan<- T, v T) {
	t.Helper()
	select {
	case c <- v:
	case <-time.After(patience):
		t.Fatalf("%s: nobody took it in %v", what, patience)
	}
}

// dial opens a connection for what http.Client cannot send.
func (s *site) dial(t testing.TB) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return c.(*net.TCPConn)
}

// large is more than any buffer of a response.
var large = func() string {
	var b strings.Builder
	for i := range 30_000 {
		fmt.Fprintf(&b, "line %d\n", i)
	}
	return b.String()
}()
