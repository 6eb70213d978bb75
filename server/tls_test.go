package server

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/gateway/nethttp"
	"github.com/isbjorn/isbjorn/internal/testrun"
)

// authority makes certificates.
type authority struct {
	t    testing.TB
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	made int64
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir()}
	a.cert, a.key = a.make(&x509.Certificate{Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	a.write("ca.pem", "CERTIFICATE", a.cert.Raw)
	return a
}

// make signs a certificate, by itself for the first.
func (a *authority) make(template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	a.made++
	template.SerialNumber = big.NewInt(a.made)
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Now().Add(365 * 24 * time.Hour)
	}
	template.NotBefore = template.NotAfter.Add(-10 * 365 * 24 * time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(raw)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key
}

func (a *authority) path(name string) string { return filepath.Join(a.dir, name) }

// write replaces a file.
func (a *authority) write(name, kind string, content []byte) {
	a.t.Helper()
	next := a.path(name) + ".next"
	if err := errors.Join(os.WriteFile(next, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: content}), 0o600), os.Rename(next, a.path(name))); err != nil {
		a.t.Fatal(err)
	}
}

// issue writes NAME.pem and NAME.key, for DNS names and 127.0.0.1.
func (a *authority) issue(name string, until time.Time, names ...string) *x509.Certificate {
	a.t.Helper()
	cert, key := a.make(&x509.Certificate{
		Subject: pkix.Name{CommonName: name, Organization: []string{"Bears"}}, NotAfter: until, DNSNames: names, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	a.write(name+".pem", "CERTIFICATE", cert.Raw)
	a.write(name+".key", "PRIVATE KEY", raw)
	return cert
}

// options are those of a server with certificates that were issued.
func (a *authority) options(names ...string) TLSOptions {
	var o TLSOptions
	for _, name := range names {
		o.Cert, o.Key = append(o.Cert, a.path(name+".pem")), append(o.Key, a.path(name+".key"))
	}
	return o
}

// client is the configuration of a client that trusts the authority, with a certificate of its own, or none.
func (a *authority) client(server, own string) *tls.Config {
	a.t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	c := &tls.Config{RootCAs: pool, ServerName: server}
	if own != "" {
		pair, err := tls.LoadX509KeyPair(a.path(own+".pem"), a.path(own+".key"))
		if err != nil {
			a.t.Fatal(err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c
}

// tlsServer is a server with a certificate for example.com and *.example.org.
type tlsServer struct {
	*testServer
	ca    *authority
	https net.Addr
}

func startTLS(t testing.TB, app gateway.App, options Options) *tlsServer {
	t.Helper()
	a := newAuthority(t)
	a.issue("site", time.Time{}, "example.com", "*.example.org")
	if len(options.TLS.Cert) == 0 && options.TLS.Config == nil {
		own := a.options("site")
		options.TLS.Cert, options.TLS.Key = own.Cert, own.Key
		if options.TLS.ClientCA != "" {
			options.TLS.ClientCA = a.path("ca.pem")
		}
	}
	// The listener of start is http: TLS.Cert would make it https.
	s := &tlsServer{ca: a}
	s.testServer = startAt(t, "http://127.0.0.1:0", app, options)
	var err error
	if s.https, err = s.ListenTLS("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	return s
}

// transport is a client by HTTP/1.1 or HTTP/2.
func (s *tlsServer) transport(major int, config *tls.Config) *http.Client {
	if config == nil {
		config = s.ca.client("example.com", "")
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(major == 1)
	protocols.SetHTTP2(major == 2)
	t := &http.Transport{TLSClientConfig: config, Protocols: protocols, DisableCompression: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", s.https.String())
		}}
	s.t.Cleanup(t.CloseIdleConnections)
	return &http.Client{Transport: t, Timeout: 20 * time.Second}
}

// inEachProtocol runs f with HTTP/1.1 and HTTP/2.
func inEachProtocol(t *testing.T, f func(t *testing.T, major int)) {
	t.Helper()
	for _, major := range []int{1, 2} {
		t.Run(fmt.Sprintf("HTTP %d", major), func(t *testing.T) { f(t, major) })
	}
}

// ask makes a request and returns the status and the content.
func ask(t testing.TB, c *http.Client, r *http.Request) (int, string) {
	t.Helper()
	resp, err := c.Do(r)
	if err != nil {
		t.Error(err)
		return 0, ""
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Errorf("the content: %v", err)
	}
	return resp.StatusCode, string(b)
}

func request(path string) *http.Request {
	r, err := http.NewRequest("GET", "https://example.com"+path, nil)
	if err != nil {
		panic(err)
	}
	return r
}

// dialTLS is a TLS connection for HTTP/1.1 in bytes.
func (s *tlsServer) dialTLS() *tlsClient {
	s.t.Helper()
	raw, err := net.Dial("tcp", s.https.String())
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = raw.Close() })
	_ = raw.SetDeadline(time.Now().Add(20 * time.Second))
	c := tls.Client(raw, s.ca.client("example.com", ""))
	if err := c.Handshake(); err != nil {
		s.t.Fatal(err)
	}
	return &tlsClient{c, raw.(*net.TCPConn), bufio.NewReader(c), s.t}
}

type tlsClient struct {
	*tls.Conn
	raw *net.TCPConn
	r   *bufio.Reader
	t   testing.TB
}

func (c *tlsClient) send(s string) {
	c.t.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		c.t.Fatal(err)
	}
}

// status reads an answer.
func (c *tlsClient) status() int {
	c.t.Helper()
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		c.t.Fatal(err)
	}
	return resp.StatusCode
}

// ends waits for the end of the connection, and returns what came until then.
func (c *tlsClient) ends() string {
	c.t.Helper()
	b, err := io.ReadAll(c.r)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Fatal("the connection does not end")
	}
	return string(b)
}

// printEnviron answers with keys of the environ.
func printEnviron(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
	if _, err := start("200 OK", nil, nil); err != nil {
		return nil, err
	}
	var b strings.Builder
	for key := range strings.SplitSeq(env.Query(), ",") {
		fmt.Fprintf(&b, "%v\n", env.Get(key))
	}
	return env.Text(b.String()), nil
}

func TestTLSEnviron(t *testing.T) {
	s := startTLS(t, appFunc(printEnviron), Options{})
	keys := request("/?wsgi.url_scheme,HTTPS,SSL_PROTOCOL,SSL_TLS_SNI,SSL_CLIENT_VERIFY,SSL_CLIENT_S_DN,SSL_CLIENT_CERT,SERVER_PROTOCOL,SERVER_PORT,SERVER_NAME,HTTP_HOST,SERVER_SOFTWARE")
	for name, want := range map[string]string{
		"1":         "https\non\nTLSv1.3\nexample.com\nNONE\n<nil>\n<nil>\nHTTP/1.1\n443\nexample.com\nexample.com\nisbjorn\n",
		"2":         "https\non\nTLSv1.3\nexample.com\nNONE\n<nil>\n<nil>\nHTTP/2.0\n443\nexample.com\nexample.com\nisbjorn\n",
		"1, TLS1.2": "https\non\nTLSv1.2\nexample.com\nNONE\n<nil>\n<nil>\nHTTP/1.1\n443\nexample.com\nexample.com\nisbjorn\n",
	} {
		config := s.ca.client("example.com", "")
		if strings.Contains(name, "1.2") {
			config.MaxVersion = tls.VersionTLS12
		}
		if status, got := ask(t, s.transport(int(name[0]-'0'), config), keys); status != 200 || got != want {
			t.Errorf("HTTP/%s: %d %q, want %q", name, status, got, want)
		}
	}
	resp, err := s.transport(2, nil).Do(request("/?SSL_CIPHER"))
	if err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if !strings.HasPrefix(string(b), "TLS_") || resp.Header.Get("Server") != "isbjorn" || resp.Header.Get("Date") == "" {
		t.Errorf("SSL_CIPHER is %q, fields %v", b, resp.Header)
	}
	plain, err := http.Get("http://" + s.addr.String() + "/?HTTPS,SSL_PROTOCOL,wsgi.url_scheme")
	if err != nil {
		t.Fatal(err)
	}
	b, _ = io.ReadAll(plain.Body)
	_ = plain.Body.Close()
	if string(b) != "<nil>\n<nil>\nhttp\n" {
		t.Errorf("plain: %q", b)
	}
}

// An http.Handler sees the connection and the protocol.
func TestTLSHandler(t *testing.T) {
	s := startTLS(t, nethttp.App(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Proto, r.ProtoMajor, r.TLS != nil && r.TLS.HandshakeComplete, r.Host)
	})), Options{})
	inEachProtocol(t, func(t *testing.T, major int) {
		want := map[int]string{1: "HTTP/1.11 trueexample.com", 2: "HTTP/2.02 trueexample.com"}[major]
		if _, got := ask(t, s.transport(major, nil), request("/")); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	})
}

// A limit is met exactly, and exceeded by one.
func TestTLSLimits(t *testing.T) {
	s := startTLS(t, appFunc(echo), Options{HeadBytes: 2000, TargetBytes: 300, MethodBytes: 10, Fields: 8, BodyBytes: 1000})
	inEachProtocol(t, func(t *testing.T, major int) {
		c := s.transport(major, nil)
		with := func(change func(r *http.Request)) *http.Request {
			r := request("/")
			r.Header.Set("User-Agent", "t")
			change(r)
			return r
		}
		content := func(n int, known bool) func(*http.Request) {
			return func(r *http.Request) {
				r.Method, r.Body, r.ContentLength = "POST", io.NopCloser(strings.NewReader(pattern(n))), -1
				if known {
					r.ContentLength = int64(n)
				}
			}
		}
		// The head as the parser sees it has the names in the forms of net/http.
		base := len("GET / HTTP/1.1\r\nHost: example.com\r\nUser-Agent: t\r\nA: \r\n\r\n")
		for _, tt := range []struct {
			name   string
			change func(*http.Request)
			want   int
		}{
			{"head", func(r *http.Request) { r.Header.Set("A", pattern(2000-base)) }, 200},
			{"head + 1", func(r *http.Request) { r.Header.Set("A", pattern(2000-base+1)) }, 431},
			{"target", func(r *http.Request) { r.URL.Path = "/" + pattern(299) }, 200},
			{"target + 1", func(r *http.Request) { r.URL.Path = "/" + pattern(300) }, 414},
			{"method", func(r *http.Request) { r.Method = "ABCDEFGHIJ" }, 200},
			{"method + 1", func(r *http.Request) { r.Method = "ABCDEFGHIJK" }, 501},
			{"fields", func(r *http.Request) { r.Header["A"] = strings.Split("123456", "") }, 200},
			{"fields + 1", func(r *http.Request) { r.Header["A"] = strings.Split("1234567", "") }, 431},
			{"content", content(1000, true), 200},
			{"content + 1", content(1001, true), 413},
			{"unknown length", content(1000, false), 200},
			{"unknown length + 1", content(1001, false), 413},
		} {
			resp, err := c.Do(with(tt.change))
			if err != nil {
				t.Errorf("%s: %v", tt.name, err)
				continue
			}
			b, _ := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if resp.StatusCode != tt.want {
				t.Errorf("%s: %d %.100q, want %d", tt.name, resp.StatusCode, b, tt.want)
			}
		}
	})
	if s.Stats().Refused == 0 || !strings.Contains(s.log.String(), "request refused") {
		t.Errorf("%+v\n%s", s.Stats(), s.log)
	}
}

// What the server refuses on a loop it refuses over TLS.
func TestTLSStrict(t *testing.T) {
	s := startTLS(t, appFunc(hello), Options{UnderscoreFields: RefuseUnderscores})
	for head, want := range map[string]int{
		"GET / HTTP/1.1\r\nHost: example.com\r\nA_B: 1\r\n\r\n":                                        400,
		"POST / HTTP/1.1\r\nHost: example.com\r\nContent-Type: a/b\r\nContent-Type: a/c\r\n\r\n":       400,
		"TRACE / HTTP/1.1\r\nHost: example.com\r\nContent-Length: 1\r\n\r\nx":                          400,
		"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n":                            501,
		"GET / HTTP/1.1\r\nHost: example.com\r\nExpect: 200-ok\r\n\r\n":                                417,
		"GET /a`b HTTP/1.1\r\nHost: example.com\r\n\r\n":                                               400,
		"GET / HTTP/1.1\r\nHost: example.com, other\r\n\r\n":                                           400,
		"POST / HTTP/1.1\r\nHost: example.com\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx":     400,
		"POST / HTTP/1.1\r\nHost: example.com\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n":    501,
		"GET / HTTP/1.1\r\nHost: example.com\r\nA: b\x00c\r\n\r\n":                                     400,
		"GET / HTTP/1.1\r\nA: no host\r\n\r\n":                                                         400,
		"POST / HTTP/1.1\r\nHost: example.com\r\nTransfer-Encoding: chunked\r\n\r\nx\r\nhello\r\n\r\n": 200, // not read
	} {
		c := s.dialTLS()
		c.send(head)
		if status := c.status(); status != want {
			t.Errorf("%.80q: %d, want %d", head, status, want)
		}
	}
}

// Each timeout is over, and not for one who keeps within it.
func TestTLSTimeouts(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "waits for timers")
	const short, long = 200 * time.Millisecond, time.Hour
	reads := appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		if _, err := env.Input().ReadAll(); err != nil {
			return nil, err
		}
		_, err := start("200 OK", nil, nil)
		return gateway.Text("read"), err
	})
	head := "POST / HTTP/1.1\r\nHost: example.com\r\nContent-Length: 5\r\n\r\n"
	for _, tt := range []struct {
		name    string
		options Options
		send    string
		answer  string // the beginning of it
		counted func(Stats) uint64
	}{
		{"HeadTimeout", Options{HeadTimeout: short}, "GET / HTTP/1.1\r\nHo", "", func(s Stats) uint64 { return s.HeadTimeouts }},
		{"IdleTimeout", Options{IdleTimeout: short}, "GET / HTTP/1.1\r\nHost: example.com\r\n\r\n", "HTTP/1.1 200 OK", func(s Stats) uint64 { return s.IdleTimeouts }},
		{"BodyTimeout", Options{BodyTimeout: short}, head + "he", "HTTP/1.1 408 Request Timeout", func(s Stats) uint64 { return s.BodyTimeouts }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := startTLS(t, reads, tt.options)
			c := s.dialTLS()
			c.send(tt.send)
			if got := c.ends(); !strings.HasPrefix(got, tt.answer) {
				t.Errorf("%q, want %q", got, tt.answer)
			}
			eventually(t, "it is counted", func() bool { return tt.counted(s.Stats()) == 1 })
		})
	}
	t.Run("BodyRate", func(t *testing.T) {
		s := startTLS(t, reads, Options{BodyTimeout: 500 * time.Millisecond, BodyRate: 1000})
		inEachProtocol(t, func(t *testing.T, major int) {
			before := s.Stats().RateTimeouts
			r, w := io.Pipe()
			go func() {
				for range 20_000 { // a byte each 5 ms is less than 1000 a second
					if _, err := w.Write([]byte("x")); err != nil {
						return
					}
					time.Sleep(5 * time.Millisecond)
				}
			}()
			req := request("/")
			req.Method, req.Body, req.ContentLength = "POST", r, 1000_000
			resp, err := s.transport(major, nil).Do(req)
			_ = r.Close()
			if err == nil {
				_ = resp.Body.Close()
				if resp.StatusCode != 408 {
					t.Errorf("status %d, want 408", resp.StatusCode)
				}
			}
			if n := s.Stats().RateTimeouts - before; n != 1 {
				t.Errorf("counted %d times", n)
			}
		})
	})
	t.Run("BodyTimeout, HTTP 2", func(t *testing.T) {
		s := startTLS(t, reads, Options{BodyTimeout: short})
		r, w := io.Pipe()
		defer w.Close()
		go func() { _, _ = w.Write([]byte("he")) }()
		req := request("/")
		req.Method, req.Body = "POST", r
		if status, text := ask(t, s.transport(2, nil), req); status != 408 {
			t.Errorf("%d %q, want 408", status, text)
		}
	})
	t.Run("content of a refusal by net/http", func(t *testing.T) {
		s := startTLS(t, appFunc(hello), Options{BodyTimeout: short, IdleTimeout: long})
		c := s.dialTLS()
		c.send("POST / HTTP/1.1\r\nHost: example.com\r\nContent-Length: 5\r\nExpect: x\r\n\r\n")
		if status := c.status(); status != 417 {
			t.Errorf("status %d", status)
		}
		c.ends()
	})
	t.Run("content that nobody reads", func(t *testing.T) {
		s := startTLS(t, appFunc(hello), Options{BodyTimeout: short, IdleTimeout: long})
		c := s.dialTLS()
		c.send(head + "he")
		if status := c.status(); status != 200 {
			t.Errorf("status %d", status)
		}
		c.ends()
	})
}

// RequestTimeout answers in place of an application, and ends a response that has begun.
func TestTLSRequestTimeout(t *testing.T) {
	testrun.Slow(t, "waits for timers")
	causes := make(chan error, 10)
	s := startTLS(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		ctx := env.Context()
		if env.Path() != "/silent" {
			w, err := start("200 OK", nil, nil)
			if err != nil {
				return nil, err
			}
			_, _ = io.WriteString(w, "begun")
		}
		<-ctx.Done()
		causes <- context.Cause(ctx)
		w, err := start("200 OK", nil, nil)
		if err == nil {
			_, err = io.WriteString(w, "late")
		}
		return nil, err
	}), Options{Dispatch: Pool, RequestTimeout: 100 * time.Millisecond})
	inEachProtocol(t, func(t *testing.T, major int) {
		if status, text := ask(t, s.transport(major, nil), request("/silent")); status != 504 || !strings.Contains(text, "RequestTimeout") {
			t.Errorf("%d %q, want 504", status, text)
		}
		resp, err := s.transport(major, nil).Do(request("/begun"))
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if string(b) != "begun" || err == nil {
			t.Errorf("%q, %v; want what was sent, and an error", b, err)
		}
		for range 2 {
			if cause := <-causes; cause != gateway.ErrTimeout {
				t.Errorf("the cause is %v", cause)
			}
		}
	})
	if n := s.Stats().RequestTimeouts; n != 4 {
		t.Errorf("counted %d times, want 4", n)
	}
	eventually(t, "all workers are back", func() bool { return s.Stats().Working == 0 })
	if log := s.log.String(); strings.Contains(log, "the application failed") || strings.Count(log, "longer than the option RequestTimeout") != 4 || !strings.Contains(log, "TestTLSRequestTimeout") {
		t.Errorf("the log has no line, no stack, or more: %s", log)
	}
}

// A client that takes nothing is cut after WriteTimeout; one that reads slowly is not.
func TestTLSWriteTimeout(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "it waits")
	const size = 8 << 20
	failed := make(chan error, 1)
	s := startTLS(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		w, err := start("200 OK", nil, nil)
		if err != nil {
			return nil, err
		}
		_, err = io.WriteString(w, pattern(size))
		failed <- err
		return nil, err
	}), Options{WriteTimeout: time.Second})
	inEachProtocol(t, func(t *testing.T, major int) {
		before := s.Stats().Stalled
		resp, err := s.transport(major, nil).Do(request("/"))
		if err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-failed:
			if err == nil {
				t.Error("all was sent")
			}
		case <-time.After(20 * time.Second):
			t.Error("the write does not end")
		}
		_ = resp.Body.Close()
		if s.Stats().Stalled == before {
			t.Error("it is not counted")
		}
		resp, err = s.transport(major, nil).Do(request("/"))
		if err != nil {
			t.Fatal(err)
		}
		n := int64(0)
		for err == nil {
			var m int64
			m, err = io.CopyN(io.Discard, resp.Body, size/20)
			n += m
			time.Sleep(100 * time.Millisecond) // 2 s in all, twice WriteTimeout
		}
		_ = resp.Body.Close()
		if err := <-failed; err != nil || n != size {
			t.Errorf("a slow reader got %d bytes of %d; %v", n, size, err)
		}
	})
}

// Workers and WorkerQueue bound what runs, over TLS and plain together.
func TestTLSWorkers(t *testing.T) {
	running, release := make(chan string, 10), make(chan bool)
	s := startTLS(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		running <- env.Scheme()
		<-release
		_, err := start("200 OK", nil, nil)
		return gateway.Text("done"), err
	}), Options{Dispatch: Pool, Workers: 2, WorkerQueue: 1})
	plain := s.dial()
	plain.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	<-running
	var clients sync.WaitGroup
	c := s.transport(2, nil)
	for range 2 {
		clients.Go(func() {
			if status, _ := ask(t, c, request("/")); status != 200 {
				t.Errorf("status %d", status)
			}
		})
	}
	<-running
	eventually(t, "one waits", func() bool { st := s.Stats(); return st.Working == 2 && st.Waiting == 1 })
	resp, err := c.Do(request("/"))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" || s.Stats().RefusedBusy != 1 {
		t.Errorf("%v, counted %d", resp, s.Stats().RefusedBusy)
	}
	close(release)
	plain.want("GET", 200, "done")
	clients.Wait()
}

// MaxConnections counts connections over TLS and plain ones together. The longest-idle one goes for a new one.
func TestTLSMaxConnections(t *testing.T) {
	s := startTLS(t, appFunc(hello), Options{MaxConnections: 3, Loops: 1})
	get := "GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"
	var conns []*tlsClient
	for range 3 {
		c := s.dialTLS()
		c.send(get)
		c.status()
		eventually(t, "it is idle", func() bool { return s.idleTLS() == len(conns)+1 })
		conns = append(conns, c)
	}
	c := s.dialTLS()
	c.send(get)
	c.status()
	if b := conns[0].ends(); b != "" {
		t.Errorf("the longest-idle one has %q", b)
	}
	plain := s.dial()
	plain.send(get)
	plain.want("GET", 200, "Hello, World!")
	conns[1].ends()
	if st := s.Stats(); st.EvictedIdle != 2 || st.Connections != 3 {
		t.Errorf("%+v", st)
	}
}

// idleTLS is how many connections over TLS are idle.
func (s *tlsServer) idleTLS() (n int) {
	f := s.tlsFront().(*front)
	f.mu.Lock()
	defer f.mu.Unlock()
	for c := range f.conns {
		if c.isIdle() {
			n++
		}
	}
	return n
}

// idleConns is how many connections of loops are idle.
func (s *tlsServer) idleConns() (n int) {
	for _, l := range s.reactor.Loops() {
		done := make(chan int)
		l.Do(func() {
			idle := 0
			for _, c := range connsOf(l) {
				if isIdle(c, c.Context.(*session)) {
					idle++
				}
			}
			done <- idle
		})
		n += <-done
	}
	return n
}

// Where no connection is idle the new one is closed.
func TestTLSMaxConnectionsFull(t *testing.T) {
	s := startTLS(t, appFunc(hello), Options{MaxConnections: 1, Loops: 1})
	busy := s.dial()
	busy.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n")
	eventually(t, "it is at work", func() bool { return s.idleConns() == 0 && s.reactor.Len() == 1 })
	raw, err := net.Dial("tcp", s.https.String())
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	_ = raw.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := tls.Client(raw, s.ca.client("example.com", "")).Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%v, want the end", err)
	}
	eventually(t, "it is counted", func() bool { return s.Stats().RefusedFull == 1 })
	busy.send("hello")
	busy.want("POST", 200, "Hello, World!")
}

// An application takes a connection of HTTP/1.1 over, as a WebSocket does. HTTP/2 has no such thing.
func TestTLSHijack(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "waits for timers")
	done := make(chan error, 1)
	s := startTLS(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		conn, rest, err := env.Hijack()
		done <- err
		if err != nil {
			_, err := start("200 OK", nil, nil)
			return gateway.Text("no"), err
		}
		defer conn.Close()
		_, _ = conn.Write(append([]byte("taken "), rest...))
		_, _ = io.Copy(conn, conn)
		return nil, nil
	}), Options{WriteTimeout: 100 * time.Millisecond})
	if _, text := ask(t, s.transport(2, nil), request("/")); text != "no" || !errors.Is(<-done, errors.ErrUnsupported) {
		t.Errorf("HTTP/2: %q", text)
	}
	c := s.dialTLS()
	c.send("GET / HTTP/1.1\r\nHost: example.com\r\n\r\nbehind")
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	b := make([]byte, len("taken behind"))
	if _, err := io.ReadFull(c.r, b); err != nil || string(b) != "taken behind" {
		t.Fatalf("%q, %v", b, err)
	}
	eventually(t, "it is counted as hijacked", func() bool {
		st := s.Stats()
		return st.Hijacked == 1 && st.Working == 0 && s.tlsFront().(*front).len() == 1 // the idle one of HTTP/2
	})
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	stopped := make(chan error, 1)
	go func() { stopped <- s.Shutdown(ctx) }()
	c.send("more")
	if _, err := io.ReadFull(c.r, b[:4]); err != nil || string(b[:4]) != "more" {
		t.Fatalf("%q, %v", b[:4], err)
	}
	select {
	case err := <-stopped:
		t.Errorf("the stop has not waited: %v", err)
	default:
	}
	_ = c.Close()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

// Faults of an application are answered as on a loop.
func TestTLSFaults(t *testing.T) {
	s := startTLS(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		if strings.HasPrefix(env.Path(), "/begun") {
			w, err := start("200 OK", nil, nil)
			if err != nil {
				return nil, err
			}
			_, _ = io.WriteString(w, "begun")
		}
		switch env.Query() {
		case "panic":
			panic("a fault")
		case "goexit":
			runtime.Goexit()
		case "abort":
			return nil, gateway.ErrAbort
		}
		return nil, errors.New("a fault")
	}), Options{})
	inEachProtocol(t, func(t *testing.T, major int) {
		for _, fault := range []string{"panic", "goexit", "error"} {
			if status, text := ask(t, s.transport(major, nil), request("/?"+fault)); status != 500 || text != "Internal Server Error\n" {
				t.Errorf("%s: %d %q", fault, status, text)
			}
		}
		for _, fault := range []string{"/begun?panic", "/begun?goexit", "/begun?error", "/begun?abort", "/?abort"} {
			resp, err := s.transport(major, nil).Do(request(fault))
			if err == nil {
				_, err = io.ReadAll(resp.Body)
				_ = resp.Body.Close()
			}
			if err == nil {
				t.Errorf("%s: the response looks complete", fault)
			}
		}
	})
	if st := s.Stats(); st.Failed != 16 || st.Aborted != 10 {
		t.Errorf("%d failed, %d of them aborted; want 16 and 10", st.Failed, st.Aborted)
	}
}

// A client that leaves ends the Context of its request.
func TestTLSClientGone(t *testing.T) {
	causes := make(chan error, 1)
	began := make(chan bool, 1)
	s := startTLS(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		ctx := env.Context()
		began <- true
		<-ctx.Done()
		causes <- context.Cause(ctx)
		return nil, gateway.ErrClientGone
	}), Options{})
	inEachProtocol(t, func(t *testing.T, major int) {
		ctx, cancel := context.WithCancel(context.Background())
		go func() { <-began; cancel() }()
		if _, err := s.transport(major, nil).Do(request("/").WithContext(ctx)); err == nil {
			t.Error("it was answered")
		}
		if cause := <-causes; cause != gateway.ErrClientGone {
			t.Errorf("the cause is %v", cause)
		}
	})
	if st := s.Stats(); st.Failed != 0 {
		t.Errorf("%+v", st)
	}
}

// Interim responses and trailers go through net/http.
func TestTLSInterimAndTrailer(t *testing.T) {
	s := startTLS(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		if err := env.Inform(103, []gateway.Header{{Name: "Link", Value: "</a>"}}); err != nil {
			return nil, err
		}
		if _, err := start("200 OK", []gateway.Header{{Name: "Trailer", Value: "Sum"}}, nil); err != nil {
			return nil, err
		}
		return chunks("a", "b"), env.Trailer([]gateway.Header{{Name: "Sum", Value: "2"}})
	}), Options{})
	inEachProtocol(t, func(t *testing.T, major int) {
		links := ""
		r := request("/")
		r = r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
			Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
				links = fmt.Sprint(code, header.Get("Link"))
				return nil
			},
		}))
		resp, err := s.transport(major, nil).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || string(b) != "ab" || resp.Trailer.Get("Sum") != "2" || links != "103</a>" || resp.Header.Get("Link") != "" {
			t.Errorf("%q, %v, trailer %v, interim %q, header %v", b, err, resp.Trailer, links, resp.Header)
		}
	})
}

// A client that stalls in its handshake is closed, and the oldest one for a new one beyond the bound.
func TestTLSHandshakes(t *testing.T) {
	most, limit := handshakesMax, handshakeTime
	t.Cleanup(func() { handshakesMax, handshakeTime = most, limit })
	handshakesMax, handshakeTime = 3, time.Hour
	s := startTLS(t, appFunc(hello), Options{})
	var stalled []net.Conn
	for range 5 {
		c, err := net.Dial("tcp", s.https.String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		stalled = append(stalled, c)
		eventually(t, "it is accepted", func() bool { return s.Stats().Accepted == uint64(len(stalled)) })
	}
	for i, c := range stalled[:2] {
		if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("handshake %d of 5: %v, want the end", i, err)
		}
	}
	eventually(t, "three are left", func() bool { return s.Stats().Connections == 3 })
	if status, _ := ask(t, s.transport(1, nil), request("/")); status != 200 {
		t.Errorf("status %d beside them", status)
	}
	s.tlsFront().(*front).cut()
	if log := s.log.String(); strings.Contains(log, "level=WARN") || strings.Contains(log, "level=ERROR") {
		t.Errorf("the log has %s", log)
	}

	handshakeTime = 50 * time.Millisecond
	s = startTLS(t, appFunc(hello), Options{})
	c, err := net.Dial("tcp", s.https.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%v, want the end", err)
	}
}

// A client that speaks plain HTTP to an https address is told so; one that refuses the certificate is no noise.
func TestTLSWrongClients(t *testing.T) {
	s := startTLS(t, appFunc(hello), Options{})
	c, err := net.Dial("tcp", s.https.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")
	if b, _ := io.ReadAll(c); !strings.HasPrefix(string(b), "HTTP/1.1 400 Bad Request") || !strings.Contains(string(b), "this address is for https") {
		t.Errorf("%q", b)
	}
	if log := s.log.String(); !strings.Contains(log, "it has to use https://") {
		t.Errorf("the log has %s", log)
	}
	s.log.Reset()
	if _, err := s.transport(1, &tls.Config{}).Do(request("/")); err == nil {
		t.Error("the certificate was accepted")
	}
	eventually(t, "the log has it", func() bool { return strings.Contains(s.log.String(), "handshake has failed") })
	if log := s.log.String(); strings.Count(log, "\n") != 1 || !strings.Contains(log, "level=DEBUG") {
		t.Errorf("the log has %s", log)
	}
}

// Shutdown under load loses no request: HTTP/2 clients are told by GOAWAY, and the last answers of HTTP/1.1 say close.
func TestTLSShutdownUnderLoad(t *testing.T) {
	testrun.Slow(t, "HTTP/2 takes a second to end, and the clients are at work all the time")
	t.Parallel()
	inEachProtocol(t, func(t *testing.T, major int) {
		s := startTLS(t, appFunc(hello), Options{})
		var asked atomic.Int64
		var clients sync.WaitGroup
		refused := make(chan error, 100)
		for range 4 {
			c := s.transport(major, nil)
			clients.Go(func() {
				for {
					r := request("/")
					r.Method = "POST" // which a client does not send again unless it knows that it was not served
					resp, err := c.Do(r)
					if err != nil {
						refused <- err
						return
					}
					if _, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != 200 {
						t.Errorf("%v, %v", resp, err)
					}
					_ = resp.Body.Close()
					asked.Add(1)
				}
			})
		}
		eventually(t, "the clients are at work", func() bool { return asked.Load() > 100 })
		ctx, cancel := shortly()
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		clients.Wait()
		close(refused)
		for err := range refused { // the listener is closed: nothing else may go wrong
			if !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("a request was lost: %v", err)
			}
		}
		if st := s.Stats(); st.Connections != 0 || st.Stopped != 0 {
			t.Errorf("%+v", st)
		}
	})
}

// A stop waits for requests at work, whose applications learn of it, and cuts what is left when its time is over.
func TestTLSShutdown(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "waits for timers")
	inEachProtocol(t, func(t *testing.T, major int) {
		began, causes := make(chan bool, 2), make(chan error, 2)
		s := startTLS(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			w, err := start("200 OK", nil, nil)
			if err != nil {
				return nil, err
			}
			if err := gateway.Flush(w); err != nil {
				return nil, err
			}
			ctx, stopping := env.Context(), env.Stopping()
			began <- true
			if env.Path() == "/ends" {
				<-stopping
				return gateway.Text("told"), nil
			}
			<-ctx.Done()
			causes <- context.Cause(ctx)
			return nil, ctx.Err()
		}), Options{})
		var clients sync.WaitGroup
		clients.Go(func() {
			if status, text := ask(t, s.transport(major, nil), request("/ends")); status != 200 || text != "told" {
				t.Errorf("%d %q", status, text)
			}
		})
		clients.Go(func() {
			resp, err := s.transport(major, nil).Do(request("/stays"))
			if err == nil {
				_, err = io.ReadAll(resp.Body)
				_ = resp.Body.Close()
			}
			if err == nil {
				t.Error("the response that was cut looks complete")
			}
		})
		<-began
		<-began
		ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
		defer cancel()
		if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown: %v", err)
		}
		clients.Wait()
		if cause := <-causes; cause != gateway.ErrStopped {
			t.Errorf("the cause is %v", cause)
		}
		if st := s.Stats(); st.Stopped == 0 || !strings.Contains(s.log.String(), "a connection over TLS is cut") {
			t.Errorf("%+v\n%s", st, s.log)
		}
	})
}

// A stop without work takes a second at most: idle connections are closed, also those that never asked.
func TestTLSShutdownIdle(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "waits for timers")
	s := startTLS(t, appFunc(hello), Options{})
	for _, major := range []int{1, 2} {
		ask(t, s.transport(major, nil), request("/"))
	}
	s.dialTLS()
	began := time.Now()
	ctx, cancel := shortly()
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	if d := time.Since(began); d > 10*time.Second {
		t.Errorf("it took %v", d)
	}
	if st := s.Stats(); st.Connections != 0 || st.Stopped != 0 {
		t.Errorf("%+v", st)
	}
}

// An idle connection of HTTP/2 is closed after IdleTimeout.
func TestTLSIdleHTTP2(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "waits for timers")
	s := startTLS(t, appFunc(hello), Options{IdleTimeout: 100 * time.Millisecond})
	ask(t, s.transport(2, nil), request("/"))
	eventually(t, "the connection is closed", func() bool { return s.Stats().Connections == 0 })
}

// Lines of net/http are in the log, those about clients at debug level.
func TestTLSErrorLog(t *testing.T) {
	s := startTLS(t, appFunc(hello), Options{})
	for line, level := range map[string]string{
		"http: panic serving 1.2.3.4:5: x":                   "ERROR",
		"http: superfluous response.WriteHeader call":        "WARN",
		"http2: server: error reading preface from client":   "DEBUG",
		"http: TLS handshake error from 1.2.3.4:5: EOF":      "DEBUG",
		"timeout waiting for SETTINGS frames from 1.2.3.4:5": "DEBUG",
	} {
		s.log.Reset()
		s.tlsFront().(*front).h2.ErrorLog.Print(line)
		if log := s.log.String(); !strings.Contains(log, "level="+level) || !strings.Contains(log, line) {
			t.Errorf("%q: %s, want %s", line, log, level)
		}
	}
}

// A request that takes longer than BodyTimeout, and has no content, keeps its Context.
func TestTLSLongRequest(t *testing.T) {
	t.Parallel()
	testrun.Slow(t, "waits for timers")
	s := startTLS(t, appFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
		select {
		case <-env.Context().Done():
			return nil, context.Cause(env.Context())
		case <-time.After(300 * time.Millisecond):
		}
		_, err := start("200 OK", nil, nil)
		return gateway.Text("done"), err
	}), Options{Dispatch: Pool, BodyTimeout: 50 * time.Millisecond, HeadTimeout: time.Hour})
	inEachProtocol(t, func(t *testing.T, major int) {
		var clients sync.WaitGroup
		for range 20 {
			clients.Go(func() {
				if _, text := ask(t, s.transport(major, nil), request("/")); text != "done" {
					t.Errorf("%q", text)
				}
			})
		}
		clients.Wait()
	})
}
