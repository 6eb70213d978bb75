package nethttp

import (
	"crypto/tls"
	"encoding/pem"
)

// tlsKey is the key under which an environ has the *tls.ConnectionState, for App.
const tlsKey = "isbjorn.tls"

// tlsKeys are the keys of a request over TLS, as mod_ssl of Apache names them.
var tlsKeys = []string{
	"HTTPS", "SSL_PROTOCOL", "SSL_CIPHER", "SSL_TLS_SNI", "SSL_CLIENT_VERIFY", "SSL_CLIENT_S_DN", "SSL_CLIENT_CERT", tlsKey,
}

// Keys implements gateway.Conn.
func (c *call) Keys() []string {
	if c.r.TLS == nil {
		return nil
	}
	return tlsKeys
}

// Key implements gateway.Conn.
func (c *call) Key(key string) any {
	state := c.r.TLS
	if state == nil {
		return nil
	}
	switch key {
	case "HTTPS":
		return "on"
	case "SSL_PROTOCOL":
		return protocolName(state.Version)
	case "SSL_CIPHER":
		return tls.CipherSuiteName(state.CipherSuite)
	case "SSL_TLS_SNI":
		if state.ServerName != "" {
			return state.ServerName
		}
	case "SSL_CLIENT_VERIFY":
		switch {
		case len(state.PeerCertificates) == 0:
			return "NONE"
		case len(state.VerifiedChains) == 0: // tls.Config of a program that asks for any certificate
			return "FAILED:unverified"
		}
		return "SUCCESS"
	case "SSL_CLIENT_S_DN":
		if certs := state.PeerCertificates; len(certs) > 0 {
			return certs[0].Subject.String()
		}
	case "SSL_CLIENT_CERT":
		if certs := state.PeerCertificates; len(certs) > 0 {
			return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certs[0].Raw}))
		}
	case tlsKey:
		return state
	}
	return nil
}

// protocolName is the name of a version of TLS in mod_ssl.
func protocolName(version uint16) string {
	switch version {
	case tls.VersionTLS10:
		return "TLSv1"
	case tls.VersionTLS11:
		return "TLSv1.1"
	case tls.VersionTLS12:
		return "TLSv1.2"
	case tls.VersionTLS13:
		return "TLSv1.3"
	}
	return tls.VersionName(version)
}
