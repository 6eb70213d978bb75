package server

import (
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// shows returns the name of the certificate that a client gets, or the error of the handshake.
func shows(addr net.Addr, config *tls.Config) (name string, resumed bool, err error) {
	raw, err := net.Dial("tcp", addr.String())
	if err != nil {
		return "", false, err
	}
	defer raw.Close()
	_ = raw.SetDeadline(time.Now().Add(20 * time.Second))
	config = config.Clone()
	config.NextProtos = []string{"http/1.1"}
	c := tls.Client(raw, config)
	if _, err := c.Write([]byte("GET / HTTP/1.1\r\nHost: " + config.ServerName + "\r\nConnection: close\r\n\r\n")); err != nil {
		return "", false, err
	}
	if _, err := c.Read(make([]byte, 1)); err != nil { // in TLS 1.3 a refusal comes behind the handshake, as do tickets
		return "", false, err
	}
	state := c.ConnectionState()
	return state.PeerCertificates[0].Subject.CommonName, state.DidResume, nil
}

func TestTLSNames(t *testing.T) {
	a := newAuthority(t)
	a.issue("first", time.Time{}, "first.example")
	a.issue("exact", time.Time{}, "www.example.com", "Upper.Example.com")
	a.issue("wild", time.Time{}, "*.example.com")
	for _, strict := range []bool{false, true} {
		o := a.options("first", "exact", "wild")
		o.StrictSNI = strict
		s := startAt(t, "http://127.0.0.1:0", appFunc(hello), Options{TLS: o})
		https, err := s.ListenTLS("https://127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]string{
			"first.example": "first", "www.example.com": "exact", "WWW.Example.COM": "exact", "upper.example.com": "exact",
			"other.example.com": "wild", "a.b.example.com": "", "example.com": "", "elsewhere.example": "", "": "",
		} {
			config := a.client(name, "")
			config.InsecureSkipVerify = true
			got, _, err := shows(https, config)
			switch {
			case want == "" && strict:
				if err == nil || !strings.Contains(err.Error(), "unrecognized name") {
					t.Errorf("strict, %q: %q, %v; want unrecognized name", name, got, err)
				}
			case want == "" && got == "first":
			case got != want || err != nil:
				t.Errorf("strict %v, %q: %q, %v; want %q", strict, name, got, err, want)
			}
		}
	}
}

// A certificate that was replaced, behind symbolic links too, is served from the next handshake on, and sessions of
// before are resumed. What cannot be used changes nothing, and is one line in the log.
func TestTLSReload(t *testing.T) {
	a := newAuthority(t)
	for _, version := range []string{"one", "two"} { // as cert-manager does: a link to a directory that is replaced
		if err := os.Mkdir(a.path(version), 0o700); err != nil {
			t.Fatal(err)
		}
		a.issue(version+"/tls", time.Time{}, "example.com")
	}
	link := func(target string) {
		t.Helper()
		if err := errors.Join(os.Symlink(target, a.path("next")), os.Rename(a.path("next"), a.path("live"))); err != nil {
			t.Fatal(err)
		}
	}
	link("one")
	s := startAt(t, "http://127.0.0.1:0", appFunc(hello), Options{TLS: a.options("live/tls")})
	https, err := s.ListenTLS("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	config := a.client("example.com", "")
	config.ClientSessionCache = tls.NewLRUClientSessionCache(10)
	want := func(name string, resumed bool) {
		t.Helper()
		fresh := config.Clone()
		fresh.ClientSessionCache = nil
		if got, _, err := shows(https, fresh); got != name || err != nil {
			t.Errorf("a new client gets %q, %v; want %q", got, err, name)
		}
		if _, got, err := shows(https, config); got != resumed || err != nil {
			t.Errorf("a client with a session: resumed %v, %v; want %v", got, err, resumed)
		}
	}
	want("one/tls", false)
	front := s.tlsFront().(*front)
	front.reload()
	want("one/tls", true)
	link("two")
	front.reload()
	want("two/tls", true)
	if log := s.log.String(); strings.Count(log, "a certificate was read again") != 1 {
		t.Errorf("the log has %s", log)
	}
	for name, spoil := range map[string]func(){
		"key of another": func() { copyFile(t, a.path("one/tls.key"), a.path("two/tls.key")) },
		"no PEM":         func() { a.write("two/tls.pem", "OTHER", nil) },
		"expired":        func() { a.issue("two/tls", time.Now().Add(-time.Hour), "example.com") },
		"missing":        func() { _ = os.Remove(a.path("two/tls.key")) },
	} {
		s.log.Reset()
		spoil()
		front.reload()
		front.reload()
		want("two/tls", true)
		if log := s.log.String(); strings.Count(log, "cannot be used; the one before is still served") != 1 {
			t.Errorf("%s: the log has %q, want one line", name, log)
		}
	}
	a.issue("two/tls", time.Now().Add(5*24*time.Hour), "example.com")
	s.log.Reset()
	front.reload()
	if log := s.log.String(); !strings.Contains(log, "a certificate was read again") || !strings.Contains(log, "expires soon") {
		t.Errorf("the log has %s", log)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Clients without a certificate, with a wrong or an expired one, and with a right one; and the host that is not the
// name of the handshake.
func TestTLSClientCertificates(t *testing.T) {
	others := newAuthority(t)
	others.issue("stranger", time.Time{}, "stranger")
	for mode, none := range map[ClientAuthMode]string{RequireClientCert: "certificate required", RequestClientCert: ""} {
		s := startTLS(t, appFunc(printEnviron), Options{TLS: TLSOptions{ClientCA: "set by startTLS", ClientAuth: mode}})
		s.ca.issue("friend", time.Time{}, "friend")
		s.ca.issue("late", time.Now().Add(-time.Hour), "late")
		for name, tt := range map[string]struct {
			from *authority
			own  string
			want string // a part of the error
		}{
			"none":    {s.ca, "", none},
			"wrong":   {others, "stranger", "certificate"},
			"expired": {s.ca, "late", "expired certificate"},
			"right":   {s.ca, "friend", ""},
		} {
			config := s.ca.client("example.com", "")
			if tt.own != "" { // sent whether the server would like it or not
				pair, err := tls.LoadX509KeyPair(tt.from.path(tt.own+".pem"), tt.from.path(tt.own+".key"))
				if err != nil {
					t.Fatal(err)
				}
				config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
			}
			_, _, err := shows(s.https, config)
			if (err != nil) != (tt.want != "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, %s: %v, want %q", mode, name, err, tt.want)
			}
			if name == "none" && mode == RequestClientCert {
				if _, text := ask(t, s.transport(1, config), request("/?SSL_CLIENT_VERIFY,SSL_CLIENT_S_DN")); text != "NONE\n<nil>\n" {
					t.Errorf("without a certificate: %q", text)
				}
			}
			if name != "right" {
				continue
			}
			inEachProtocol(t, func(t *testing.T, major int) {
				c := s.transport(major, config)
				_, text := ask(t, c, request("/?SSL_CLIENT_VERIFY,SSL_CLIENT_S_DN,SSL_CLIENT_CERT"))
				if !strings.HasPrefix(text, "SUCCESS\nCN=friend,O=Bears\n-----BEGIN CERTIFICATE-----\n") {
					t.Errorf("%q", text)
				}
				for host, want := range map[string]int{"example.com:8443": 200, "EXAMPLE.com": 200, "www.example.org": 421, "127.0.0.1": 421} {
					r := request("/?HTTPS")
					r.Host = host
					if status, text := ask(t, c, r); status != want {
						t.Errorf("host %s: %d %q, want %d", host, status, text, want)
					}
				}
			})
		}
	}
}

// A listener may have certificates of its own, and plain ones stay plain.
func TestTLSListeners(t *testing.T) {
	a := newAuthority(t)
	a.issue("one", time.Time{}, "example.com")
	a.issue("two", time.Time{}, "example.com")
	s := startAt(t, "http://127.0.0.1:0", appFunc(hello), Options{TLS: a.options("one")})
	config := a.client("example.com", "")
	config.ClientSessionCache = tls.NewLRUClientSessionCache(10)
	for _, tt := range []struct {
		addr    string
		options []ListenOption
		want    string
	}{
		{"127.0.0.1:0", nil, "one"}, {"https://127.0.0.1:0", nil, "one"},
		{"127.0.0.1:0", []ListenOption{WithTLS(a.options("two"))}, "two"},
	} {
		addr, err := s.Listen(tt.addr, tt.options...)
		if err != nil {
			t.Fatal(err)
		}
		got, resumed, err := shows(addr, config)
		if got != tt.want || err != nil || resumed && tt.want == "two" {
			t.Errorf("Listen(%q): %q, resumed %v, %v; want %q", tt.addr, got, resumed, err, tt.want)
		}
	}
	path := filepath.Join(t.TempDir(), "s")
	if _, err := s.Listen("unix:" + path); err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = c.Write([]byte(get))
	b := make([]byte, 12)
	if _, err := c.Read(b); err != nil || string(b) != "HTTP/1.1 200" {
		t.Errorf("over the Unix socket: %q, %v", b, err)
	}
	for addr, want := range map[string]string{
		"unix:/s": "is not for TLS", "http://:0": "is not for TLS",
	} {
		if _, err := s.ListenTLS(addr); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ListenTLS(%q): %v", addr, err)
		}
		if _, err := s.Listen(addr, WithTLS(a.options("two"))); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Listen(%q) with TLS: %v", addr, err)
		}
	}
}

// A program may have a tls.Config of its own.
func TestTLSConfig(t *testing.T) {
	a := newAuthority(t)
	a.issue("own", time.Time{}, "example.com")
	asked := make(chan string, 1)
	s := startTLS(t, appFunc(hello), Options{TLS: TLSOptions{Config: &tls.Config{
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			asked <- hello.ServerName
			pair, err := tls.LoadX509KeyPair(a.path("own.pem"), a.path("own.key"))
			return &pair, err
		},
		NextProtos: []string{"acme-tls/1"},
	}}})
	c := s.transport(2, a.client("example.com", ""))
	if status, _ := ask(t, c, request("/")); status != 200 || <-asked != "example.com" {
		t.Errorf("status %d", status)
	}
}

func TestTLSOptionsRefused(t *testing.T) {
	a := newAuthority(t)
	a.issue("one", time.Time{}, "example.com")
	a.issue("two", time.Time{}, "example.com")
	one, two := a.options("one"), a.options("one", "two")
	own := &tls.Config{Certificates: []tls.Certificate{{}}}
	for _, tt := range []struct {
		options TLSOptions
		want    string
	}{
		{TLSOptions{Cert: one.Cert}, "option TLS.Cert has 1 files and TLS.Key has 0; give a key for each"},
		{TLSOptions{Cert: one.Cert, Key: two.Key}, "option TLS.Cert has 1 files and TLS.Key has 2"},
		{TLSOptions{Cert: one.Cert, Key: two.Key[1:]}, "private key does not match"},
		{TLSOptions{Cert: one.Cert, Key: []string{"/none"}}, "/none"},
		{TLSOptions{Cert: one.Key, Key: one.Key}, "one.key"},
		{TLSOptions{Cert: one.Cert, Key: one.Key, ClientCA: "/none"}, "option TLS.ClientCA: open /none"},
		{TLSOptions{Cert: one.Cert, Key: one.Key, ClientCA: one.Key[0]}, "option TLS.ClientCA: " + one.Key[0] + " has no certificate"},
		{TLSOptions{Cert: one.Cert, Key: one.Key, ClientAuth: RequestClientCert}, "option TLS.ClientAuth is request"},
		{TLSOptions{Cert: one.Cert, Key: one.Key, ClientAuth: 7}, "option TLS.ClientAuth is 7; use"},
		{TLSOptions{Cert: one.Cert, Key: one.Key, MinVersion: 7}, "option TLS.MinVersion is 7; use"},
		{TLSOptions{ClientCA: "ca.pem"}, `option TLS.ClientCA is "ca.pem"`},
		{TLSOptions{StrictSNI: true}, "option TLS.StrictSNI"},
		{TLSOptions{Config: &tls.Config{}}, "option TLS.Config has no certificate"},
		{TLSOptions{Config: own, Cert: one.Cert, Key: one.Key}, "option TLS.Config has certificates"},
	} {
		if err := (Options{TLS: tt.options}).Check(); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v, want %q", tt.options, err, tt.want)
		}
	}
	if err := (Options{Bind: []string{"https://:443"}}).Check(); err == nil || !strings.Contains(err.Error(), "TLS.Cert") {
		t.Errorf("https without a certificate: %v", err)
	}
	s := start(t, appFunc(hello), Options{})
	if _, err := s.Listen("https://127.0.0.1:0"); err == nil || !strings.Contains(err.Error(), "needs a certificate; give the options TLS.Cert and TLS.Key") {
		t.Errorf("https without a certificate: %v", err)
	}
	for _, f := range []func() error{
		func() error { return ListenAndServeTLS(":0", appFunc(hello), Options{}) },
		func() error { return ListenAndServeHTTPS(":0", http.NotFoundHandler(), Options{}) },
	} {
		if err := f(); err == nil || !strings.Contains(err.Error(), "needs a certificate") {
			t.Errorf("without a certificate: %v", err)
		}
	}
}

// The names of settings.
func TestTLSNamesOfOptions(t *testing.T) {
	var m ClientAuthMode
	var v TLSVersion
	if err := errors.Join(m.Set("Request"), v.Set("1.3")); err != nil || m != RequestClientCert || v != TLS13 || m.String()+v.String() != "request1.3" {
		t.Errorf("%v, %v, %v", m, v, err)
	}
	if m.Set("maybe") == nil || v.Set("1.1") == nil {
		t.Error("a wrong text was taken")
	}
}

// Tickets are of TLS 1.2 and 1.3, and a server with the keys of another resumes its sessions: see TestRestartTLS.
func TestTLSVersions(t *testing.T) {
	s := startTLS(t, appFunc(hello), Options{TLS: TLSOptions{MinVersion: TLS13}})
	config := s.ca.client("example.com", "")
	config.MaxVersion = tls.VersionTLS12
	if _, _, err := shows(s.https, config); err == nil || !strings.Contains(err.Error(), "protocol version") {
		t.Errorf("TLS 1.2: %v", err)
	}
	config.MaxVersion = 0
	if _, _, err := shows(s.https, config); err != nil {
		t.Error(err)
	}
}

func tcpAddress(t *testing.T, address string) net.Addr {
	t.Helper()
	addr, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return addr
}
