package server

import (
	"strings"
	"testing"
)

var addressTests = []struct {
	text, want string // want is the name under which it is handed over
	refused    string // a part of the error, which also names the address
}{
	{text: "127.0.0.1:8080", want: "http 127.0.0.1:8080"},
	{text: "localhost:0", want: "http localhost:0"},
	{text: ":8080", want: "http :8080"},
	{text: ":http", want: "http :http"},
	{text: "[::1]:8080", want: "http [::1]:8080"},
	{text: "[fe80::1%eth0]:80", want: "http [fe80::1%eth0]:80"},
	{text: "http://127.0.0.1:80", want: "http 127.0.0.1:80"},
	{text: "http://:80", want: "http :80"},
	{text: "http://[::]:80/", want: "http [::]:80"},
	{text: "HTTPS://example.com:443", want: "https example.com:443"},
	{text: "https://[::1]:443", want: "https [::1]:443"},
	{text: "unix:/run/app.sock", want: "http unix:/run/app.sock"},
	{text: "unix:app.sock", want: "http unix:app.sock"},
	{text: "unix:@app", want: "http unix:@app"},
	{text: "unix:///run/app.sock", want: "http unix:/run/app.sock"},
	{text: "fd://3", want: "http fd://3"},
	{text: "fd://007", want: "http fd://7"},
	{text: "http+fd://3", want: "http fd://3"},
	{text: "https+fd://3", want: "https fd://3"},

	{text: "", refused: "is empty; use host:port"},
	{text: "nowhere", refused: "is neither host:port nor :port nor unix:/path; use nowhere:8080"},
	{text: "8080", refused: "use :8080"},
	{text: "127.0.0.1", refused: "use 127.0.0.1:8080"},
	{text: "127.0.0.1:", refused: "has no port; use 127.0.0.1:8080"},
	{text: "127.0.0.1:65536", refused: "has port 65536; use a number from 0 to 65535"},
	{text: "127.0.0.1:-1", refused: "has port -1"},
	{text: "::1", refused: "use [::1]:8080"},
	{text: "[::1]", refused: "use [::1]:8080"},
	{text: "::1:8080", refused: "use "},
	{text: "fe80::1%eth0:80", refused: "use "},
	{text: "2001:db8:0:0:0:0:0:1:80", refused: "use [2001:db8::1]:80"},
	{text: "a:b:c", refused: "use host:port"},
	{text: "*:80", refused: "has the host *; use :80"},
	{text: "http://example.com", refused: "use http://example.com:80"},
	{text: "https://example.com", refused: "use https://example.com:443"},
	{text: "https://", refused: "use https://:443"},
	{text: "https://example.com:443/app", refused: `has "/" behind or before host:port`},
	{text: "http://user@example.com:80", refused: `has "@"`},
	{text: "/run/app.sock", refused: "or unix:/path"},
	{text: "http://unix:/run/app.sock", refused: "use unix:/run/app.sock"},
	{text: "ftp://example.com:21", refused: `has the scheme "ftp"; use http:// or https://, or only example.com:21`},
	{text: "tcp://0.0.0.0:80", refused: "or only 0.0.0.0:80"},
	{text: "unix:", refused: "has no path; use unix:/path/to/socket"},
	{text: "unix://run/app.sock", refused: "use unix:/run/app.sock"},
	{text: "fd:3", refused: "use fd://3"},
	{text: "fd://", refused: "has no descriptor over 2"},
	{text: "fd://2", refused: "has no descriptor over 2"},
	{text: "fd://x", refused: "has no descriptor over 2"},
	{text: "fd://4294967296", refused: "has no descriptor over 2"},
}

func TestParseAddress(t *testing.T) {
	for _, tt := range addressTests {
		a, err := parseAddress(tt.text, kindHTTP)
		if tt.refused == "" {
			if err != nil || a.String() != tt.want {
				t.Errorf("parseAddress(%q) = %q, %v; want %q", tt.text, a.String(), err, tt.want)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), tt.refused) || !strings.Contains(err.Error(), `address "`+tt.text+`"`) {
			t.Errorf("parseAddress(%q): %v; want an error with %q and the address", tt.text, err, tt.refused)
		}
	}
}

// With a certificate TCP is https unless a scheme says otherwise; Unix sockets stay plain.
func TestAddressWithACertificate(t *testing.T) {
	for text, want := range map[string]string{
		":443": "https :443", "http://:80": "http :80", "https://:443": "https :443", "unix:/s": "http unix:/s",
		"http+fd://3": "http fd://3", "fd://3": "",
	} {
		a, err := parseAddress(text, kindHTTPS)
		if want == "" {
			if err == nil || !strings.Contains(err.Error(), "use http+fd://3 or https+fd://3") {
				t.Errorf("%s: %v", text, err)
			}
		} else if err != nil || a.String() != want {
			t.Errorf("%s: %v, %v; want %s", text, a, err, want)
		}
	}
}

// What is spoken at an address makes it no other address.
func TestAddressTwice(t *testing.T) {
	for _, twice := range [][]string{{":80", "http://:80"}, {"http://:80", "https://:80"}, {"unix:/s", "unix:///s"}, {"fd://3", ":1", "fd://03"}, {":0", "http://:0"}} {
		if _, err := parseAddresses(twice, kindHTTP); err == nil || !strings.Contains(err.Error(), "is given twice; leave one out") {
			t.Errorf("%q: %v", twice, err)
		}
	}
	if addrs, err := parseAddresses([]string{":80", "[::1]:80", "unix::80", ":0", "https://:0"}, kindHTTP); err != nil || len(addrs) != 5 {
		t.Errorf("%v, %v", addrs, err)
	}
}
