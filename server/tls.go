package server

import (
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"

	"github.com/isbjorn/isbjorn/server/internal/workers"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/gateway/nethttp"
	"github.com/isbjorn/isbjorn/server/internal/certs"
)

// TLSOptions are the certificates of https addresses, and what is asked of their clients. The zero value has none, and
// https addresses are refused.
//
// Where there is a certificate, host:port and :port are https; http://host:port and Unix sockets are plain.
type TLSOptions struct {
	// Cert are files with a certificate and the chain to its issuer each, PEM, and Key those with their keys, in
	// the same order. A client gets the certificate that has the name it asks for (SNI), or a wildcard for it, or
	// else the first. The files are read again within 10 s when they have changed, also behind symbolic links, and at
	// SIGHUP with [Run]. What cannot be used then, or has expired, is a line in the log, and the pair before
	// is still served.
	Cert, Key []string

	// ClientCA is a file with certificates of authorities, PEM: a client must have a certificate that one of them has
	// signed, or may have one, as ClientAuth says. A request for another host than the name in its
	// handshake is answered by 421. Default "": clients are asked for no certificate. A changed file needs a restart.
	ClientCA string

	// ClientAuth is whether a client must have a certificate of ClientCA. Default [RequireClientCert].
	ClientAuth ClientAuthMode

	// MinVersion is the least version of TLS. Default [TLS12].
	MinVersion TLSVersion

	// StrictSNI refuses clients that ask for a name which no certificate has, or for none, by the alert
	// unrecognized_name. Default: they get the first certificate.
	StrictSNI bool

	// Config is that of a program that has its own: certificates made on demand (GetCertificate), ciphers. The
	// server uses a clone, with NextProtos as it needs them; the keys of session tickets are Config's, and a restart
	// loses them. The fields above count for more. Default none.
	Config *tls.Config
}

// ClientAuthMode is whether clients must have a certificate.
type ClientAuthMode uint8

const (
	RequireClientCert ClientAuthMode = iota // a client without one is refused
	RequestClientCert                       // a client may have none; a wrong one is refused
)

// TLSVersion is a version of TLS.
type TLSVersion uint8

const (
	TLS12 TLSVersion = iota // 1.2
	TLS13                   // 1.3
)

var (
	clientAuthNames = []string{RequireClientCert: "require", RequestClientCert: "request"}
	tlsVersionNames = []string{TLS12: "1.2", TLS13: "1.3"}
)

// String returns require or request.
func (m ClientAuthMode) String() string { return nameOf(clientAuthNames, int(m)) }

// Set takes what String returns, in letters of either case.
func (m *ClientAuthMode) Set(s string) error { return setByName(m, clientAuthNames, s) }

// String returns 1.2 or 1.3.
func (v TLSVersion) String() string { return nameOf(tlsVersionNames, int(v)) }

// Set takes what String returns.
func (v *TLSVersion) Set(s string) error { return setByName(v, tlsVersionNames, s) }

// given reports whether a field is set.
func (o *TLSOptions) given() bool {
	return len(o.Cert) > 0 || len(o.Key) > 0 || o.ClientCA != "" || o.Config != nil || o.StrictSNI ||
		o.ClientAuth != 0 || o.MinVersion != 0
}

// tlsSupport is how https addresses are served; nil in a program without TLS. What it leads to is not linked into
// such a program: net/http's server and the handshakes of crypto/tls, 2.5 MB.
var tlsSupport *struct {
	setup func(options *TLSOptions, where string, log *slog.Logger) (*tlsSetup, error)
	front func(s *Server) frontend
}

// EnableTLS lets the program serve https addresses with [Options.TLS], or with the settings tls.cert and tls.key of an
// operator. It is called in main before [Main], [Run] or [New], and makes the program 2.5 MB larger. [WithTLS],
// [ListenAndServeTLS] and [ListenAndServeHTTPS] call it themselves.
func EnableTLS() {
	tlsSupport = &struct {
		setup func(options *TLSOptions, where string, log *slog.Logger) (*tlsSetup, error)
		front func(s *Server) frontend
	}{newTLSSetup, func(s *Server) frontend { return newFront(s) }}
}

// frontend is the front of a server's https addresses, which is the type front. Its methods name no type that leads to
// front: the linker keeps the methods of each type that an interface in use names (TestSize of cmd/isbjorn).
type frontend interface {
	add(l *net.TCPListener, setup *tlsSetup) net.Addr
	start()
	reload()  // the certificates
	release() // another process has the listeners
	appendFiles(files []*os.File) ([]*os.File, error)
	drain()
	cut()
	emptied() <-chan struct{} // closed when no connection is left after drain
	evictAny() bool           // reports whether an idle connection was closed
	len() int
	counted(c counter) uint64
	workers() *workers.Pool
}

// ListenOption is a setting of one listener: see [Server.Listen].
type ListenOption func(*listenOptions)

type listenOptions struct {
	tls *TLSOptions
}

// WithTLS makes a listener one for TLS, with certificates of its own in place of [Options.TLS]. The address is
// host:port or :port, with https:// before it or not, or https+fd://N.
func WithTLS(options TLSOptions) ListenOption {
	EnableTLS()
	return func(o *listenOptions) { o.tls = &options }
}

// ListenTLS is [Server.Listen] on an address that is https without a scheme, with the certificates of [Options.TLS]
// or of [WithTLS].
func (s *Server) ListenTLS(addr string, options ...ListenOption) (net.Addr, error) {
	if _, err := parseTLSAddress(addr); err != nil {
		return nil, err
	}
	return s.listen(addr, kindHTTPS, options)
}

// parseTLSAddress is parseAddress for an address that must be https.
func parseTLSAddress(addr string) (address, error) {
	a, err := parseAddress(addr, kindHTTPS)
	if err == nil && a.kind != kindHTTPS {
		err = a.refuse("is not for TLS", "use host:port or https://host:port")
	}
	return a, err
}

// ListenAndServeTLS is [ListenAndServe] on an address that is https without a scheme: HTTP/2 and HTTP/1.1 over TLS,
// with the certificates of [Options.TLS].
func ListenAndServeTLS(addr string, app gateway.App, options Options) error {
	EnableTLS()
	s, err := New(app, options)
	if err != nil {
		return err
	}
	defer s.Close()
	a, err := parseTLSAddress(addr)
	if err == nil && s.config.tls == nil {
		err = a.refuseWithoutCertificate()
	}
	if err != nil {
		return err
	}
	return s.serveAddresses([]string{addr}) // with a certificate it is https there too
}

// ListenAndServeHTTPS is [ListenAndServeTLS] of nethttp.App(handler), as [ListenAndServeHTTP] is ListenAndServe. It
// replaces http.ListenAndServeTLS:
//
//	server.ListenAndServeHTTPS(":443", handler, server.Options{TLS: server.TLSOptions{
//		Cert: []string{"example.com.pem"}, Key: []string{"example.com.key"},
//	}})
func ListenAndServeHTTPS(addr string, handler http.Handler, options Options) error {
	return ListenAndServeTLS(addr, nethttp.App(handler), options)
}

// tlsSetup is TLSOptions, ready to use.
type tlsSetup struct {
	config *tls.Config
	certs  *certs.Store // nil if config has its own certificates
	mutual bool         // clients are asked for certificates
	label  string       // of the session ticket keys; "" if they are those of config
}

// newTLSSetup returns nil if options have no certificate. where is the address whose own options these are, or "".
func newTLSSetup(options *TLSOptions, where string, log *slog.Logger) (*tlsSetup, error) {
	if err := options.check(); err != nil {
		return nil, fmt.Errorf("server: option TLS%w", err)
	}
	if len(options.Cert) == 0 && options.Config == nil {
		return nil, nil
	}
	t := &tlsSetup{config: new(tls.Config)}
	if options.Config != nil {
		t.config = options.Config.Clone()
	} else {
		t.label = "TLS " + where
	}
	t.config.NextProtos = append([]string{"h2", "http/1.1"}, without(t.config.NextProtos, "h2", "http/1.1")...)
	t.config.MinVersion = max(t.config.MinVersion, tls.VersionTLS12)
	if options.MinVersion == TLS13 {
		t.config.MinVersion = tls.VersionTLS13
	}
	if len(options.Cert) > 0 {
		pairs := make([]certs.Pair, len(options.Cert))
		for i := range pairs {
			pairs[i] = certs.Pair{Cert: options.Cert[i], Key: options.Key[i]}
		}
		var err error
		if t.certs, err = certs.Load(pairs, options.StrictSNI, log); err != nil {
			return nil, fmt.Errorf("server: options TLS.Cert and TLS.Key: %w", err)
		}
		t.config.GetCertificate = t.certs.Get
	}
	if options.ClientCA != "" {
		pool, content, err := certs.Pool(options.ClientCA)
		if err != nil {
			return nil, fmt.Errorf("server: option TLS.ClientCA: %w", err)
		}
		t.config.ClientCAs, t.config.ClientAuth = pool, tls.RequireAndVerifyClientCert
		if options.ClientAuth == RequestClientCert {
			t.config.ClientAuth = tls.VerifyClientCertIfGiven
		}
		if t.label != "" { // a ticket of a client of other authorities is none here
			t.label += fmt.Sprintf(" %v %x", options.ClientAuth, sha256.Sum256(content))
		}
	}
	t.mutual = t.config.ClientAuth != tls.NoClientCert
	return t, nil
}

// without returns list without some items.
func without(list []string, items ...string) (rest []string) {
	for _, s := range list {
		if s != items[0] && s != items[1] {
			rest = append(rest, s)
		}
	}
	return rest
}

// check returns what cannot work; the caller has written the name of the option.
func (o *TLSOptions) check() error {
	switch own := o.Config; {
	case len(o.Cert) != len(o.Key):
		return fmt.Errorf(".Cert has %d files and TLS.Key has %d; give a key for each certificate, in the same order", len(o.Cert), len(o.Key))
	case int(o.ClientAuth) >= len(clientAuthNames):
		return fmt.Errorf(".ClientAuth is %d; use RequireClientCert or RequestClientCert", o.ClientAuth)
	case int(o.MinVersion) >= len(tlsVersionNames):
		return fmt.Errorf(".MinVersion is %d; use TLS12 or TLS13", o.MinVersion)
	case o.ClientCA == "" && o.ClientAuth != RequireClientCert:
		return fmt.Errorf(".ClientAuth is %v, and there is no TLS.ClientCA; give the authorities of the clients", o.ClientAuth)
	case own == nil && o.ClientCA != "" && len(o.Cert) == 0:
		return fmt.Errorf(".ClientCA is %q, and there is no TLS.Cert; give a certificate of the server", o.ClientCA)
	case o.StrictSNI && len(o.Cert) == 0:
		return errors.New(".StrictSNI is for TLS.Cert; give certificates, or leave it out")
	case own == nil:
		return nil
	case len(o.Cert) > 0 && (len(own.Certificates) > 0 || own.GetCertificate != nil || own.GetConfigForClient != nil):
		return errors.New(".Config has certificates, and so has TLS.Cert; leave one out")
	case len(o.Cert) == 0 && len(own.Certificates) == 0 && own.GetCertificate == nil && own.GetConfigForClient == nil:
		return errors.New(".Config has no certificate; set its Certificates or GetCertificate, or TLS.Cert")
	}
	return nil
}
