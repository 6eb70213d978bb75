// Package certs has the certificates of a TLS server: pairs of PEM files that are read again when they change, chosen
// by the name that a client asks for, and the keys of session tickets. Its methods may be called from any goroutine.
package certs

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Pair names the files of a certificate, with the chain to its issuer, and its key; both PEM.
type Pair struct{ Cert, Key string }

// Store is the certificates of a server.
type Store struct {
	strict  bool
	log     *slog.Logger
	now     func() time.Time // time.Now; another in tests
	current atomic.Pointer[chosen]

	mu    sync.Mutex // of Reload
	pairs []*pair
}

// pair is a Pair and what was read of it.
type pair struct {
	Pair
	cert    *tls.Certificate
	content [2][]byte // of the files, when they were read last
}

// chosen is the certificates by name. It does not change.
type chosen struct {
	first  []*tls.Certificate
	byName map[string][]*tls.Certificate // lower case; "*.example.com" for a wildcard
}

// Load reads the pairs. With strict a client that asks for no name, or for one that no certificate has, gets none. The
// error is of the first pair that cannot work.
func Load(pairs []Pair, strict bool, log *slog.Logger) (*Store, error) {
	s := &Store{strict: strict, log: log, now: time.Now}
	for _, p := range pairs {
		p := &pair{Pair: p}
		cert, content, err := p.read()
		if err != nil {
			return nil, err
		}
		p.cert, p.content = cert, content
		s.pairs = append(s.pairs, p)
	}
	s.swap()
	return s, nil
}

// read reads the files, through links to what they point to now, and checks that they fit.
func (p *pair) read() (cert *tls.Certificate, content [2][]byte, err error) {
	for i, file := range []string{p.Cert, p.Key} {
		if content[i], err = os.ReadFile(file); err != nil {
			return nil, content, err
		}
	}
	c, err := tls.X509KeyPair(content[0], content[1])
	if err != nil {
		return nil, content, fmt.Errorf("certificate %s with key %s: %w", p.Cert, p.Key, err)
	}
	return &c, content, nil
}

// Warn logs the certificates that have expired, or will within the next 14 days.
func (s *Store) Warn() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.pairs {
		p.warn(s.log, s.now())
	}
}

// warnBefore is how long before the end of a certificate the log has a line: ACME clients renew it 30 days before.
const warnBefore = 14 * 24 * time.Hour

func (p *pair) warn(log *slog.Logger, now time.Time) {
	switch left := p.cert.Leaf.NotAfter.Sub(now); {
	case left <= 0:
		log.Error("a certificate has expired: clients will not accept it; renew it", slog.String("file", p.Cert), slog.Time("expired", p.cert.Leaf.NotAfter))
	case left < warnBefore:
		log.Warn("a certificate expires soon: renew it", slog.String("file", p.Cert), slog.Time("expires", p.cert.Leaf.NotAfter))
	}
}

// Reload reads the files again. A pair whose content is another one takes the place of the old one, for the handshakes
// to come. One that cannot be read or does not fit, or whose certificate has expired, changes nothing: the old one is
// served, with one line in the log for each such change.
func (s *Store) Reload() {
	s.mu.Lock()
	defer s.mu.Unlock()
	changed := false
	for _, p := range s.pairs {
		cert, content, err := p.read()
		if same(content, p.content) {
			continue
		}
		p.content = content
		if err == nil && cert.Leaf.NotAfter.Before(s.now()) {
			err = fmt.Errorf("certificate %s has expired at %v", p.Cert, cert.Leaf.NotAfter)
		}
		if err != nil {
			s.log.Error("a certificate has changed and cannot be used; the one before is still served: put a certificate and its key in place, and send SIGHUP",
				slog.Any("error", err))
			continue
		}
		p.cert, changed = cert, true
		s.log.Info("a certificate was read again", slog.String("file", p.Cert), slog.Time("expires", cert.Leaf.NotAfter))
		p.warn(s.log, s.now())
	}
	if changed {
		s.swap()
	}
}

// same compares contents; nil is that of a file that cannot be read.
func same(a, b [2][]byte) bool {
	for i := range a {
		if !bytes.Equal(a[i], b[i]) || (a[i] == nil) != (b[i] == nil) {
			return false
		}
	}
	return true
}

// swap makes the certificates of the pairs those that are served.
func (s *Store) swap() {
	c := &chosen{byName: make(map[string][]*tls.Certificate)}
	for _, p := range s.pairs {
		c.first = append(c.first, p.cert)
		for _, name := range names(p.cert.Leaf) {
			c.byName[name] = append(c.byName[name], p.cert)
		}
	}
	s.current.Store(c)
}

// names are the DNS names of a certificate, or its common name if it has none.
func names(leaf *x509.Certificate) (all []string) {
	for _, name := range leaf.DNSNames {
		all = append(all, strings.ToLower(name))
	}
	if len(all) == 0 && leaf.Subject.CommonName != "" {
		all = append(all, strings.ToLower(leaf.Subject.CommonName))
	}
	return all
}

// Get is for tls.Config.GetCertificate: a certificate that has the name, or a wildcard for it, or the first one. Of
// several it is the first that the client supports. If there is none for a strict server it is nil, which package tls
// answers by unrecognized_name.
func (s *Store) Get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	c := s.current.Load()
	name := strings.TrimSuffix(strings.ToLower(hello.ServerName), ".")
	candidates := c.byName[name]
	if len(candidates) == 0 && name != "" {
		if _, rest, ok := strings.Cut(name, "."); ok {
			candidates = c.byName["*."+rest]
		}
	}
	if len(candidates) == 0 {
		if s.strict {
			return nil, nil
		}
		candidates = c.first
	}
	for _, cert := range candidates {
		if hello.SupportsCertificate(cert) == nil {
			return cert, nil
		}
	}
	return candidates[0], nil // the handshake says what does not fit
}

// Pool reads certificates of authorities, PEM.
func Pool(file string) (*x509.CertPool, []byte, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(content) {
		return nil, nil, errors.New(file + " has no certificate in PEM form")
	}
	return pool, content, nil
}
