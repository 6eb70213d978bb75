package web_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/isbjorn/isbjorn/gateway/gatewaytest"
	"github.com/isbjorn/isbjorn/gateway/web"
)

func TestBestType(t *testing.T) {
	// RFC 9110 section 12.5.1: the qualities of its last example, from the most.
	const example = "text/*;q=0.3, text/plain;q=0.7, text/plain;format=flowed, text/plain;format=fixed;q=0.4, */*;q=0.5"
	ranked := []string{"text/plain;format=flowed", "text/plain", "image/jpeg", "text/plain;format=fixed", "text/html"}
	for i, better := range ranked {
		for _, worse := range ranked[i+1:] {
			if got := web.BestType(example, worse, better); got != better {
				t.Errorf("of %s and %s: %s", worse, better, got)
			}
		}
	}
	if got := web.BestType(example, "text/html;level=3", "text/html"); got != "text/html;level=3" { // the same
		t.Error(got)
	}
	const html, plain, js = "text/html", "text/plain", "application/json"
	for _, tt := range []struct {
		accept string
		offers []string
		want   string
	}{
		{"", []string{html, js}, html},
		{"", nil, ""},
		{"*/*", nil, ""},
		{"*/*", []string{js, html}, js},
		{"text/html", []string{js, html}, html},
		{"text/html", []string{js}, ""},
		{"TEXT/HTML", []string{html}, html},
		{"text/*", []string{js, plain, html}, plain},
		{"text/plain; q=0.5, text/html, text/x-dvi; q=0.8, text/x-c", []string{plain, "text/x-dvi", html}, html},
		{"text/html;q=0", []string{html}, ""},
		{"*/*, text/html;q=0", []string{html, js}, js},
		{"text/html;q=0.000", []string{html}, ""},
		{"text/html;q=0.001", []string{html}, html},
		{"text/*;q=0, text/html", []string{plain, html}, html},
		{"text/html;level=1", []string{html}, ""},
		{"text/html;level=1;q=0.5, text/html;q=0.1, application/json;q=0.3", []string{js, "text/html; level=1"}, "text/html; level=1"},
		{`text/html;a="x,y;q=0", application/json;q=0.1`, []string{html, js}, js},
		{`text/html;a="x,y", application/json;q=0.1`, []string{js, `text/html;a="X,y"`}, `text/html;a="X,y"`},
		{"text/html; charset=UTF-8", []string{"text/html; charset=utf-8"}, "text/html; charset=utf-8"},
		{"*", []string{html}, ""},               // of no kind of range
		{"text/html;q=1.1", []string{html}, ""}, // malformed, so not named
		{"text/html;q=-1", []string{html}, ""},  //
		{"text/html;q=NaN", []string{html}, ""}, //
		{"text/html;q=1e0", []string{html}, ""}, //
		{"text/html;q=", []string{html}, ""},    //
		{"text/html;q=.5", []string{html}, ""},  //
		{"text/html;q=0.1234", []string{html}, ""},
		{"text/html;q=1.000", []string{html}, html},
		{"text/html;q=1.", []string{html}, html},
		{", ,text/html,", []string{html}, html},
		{"text/html;;;", []string{html}, ""},
		{"garbage, text/ , /, text/html", []string{html}, html},
		{"text/html", []string{"not a type", html}, html},
		{strings.Repeat("a/b,", 200) + "text/html", []string{html}, ""}, // beyond what is read
	} {
		if got := web.BestType(tt.accept, tt.offers...); got != tt.want {
			t.Errorf("Accept %.100q, of %q: %q, want %q", tt.accept, tt.offers, got, tt.want)
		}
	}
}

func TestBestLanguage(t *testing.T) {
	for _, tt := range []struct {
		accept string
		offers []string
		want   string
	}{
		{"", []string{"en", "da"}, "en"},
		{"da, en-gb;q=0.8, en;q=0.7", []string{"en", "da"}, "da"}, // RFC 9110 section 12.5.4
		{"da, en-gb;q=0.8, en;q=0.7", []string{"en", "en-GB"}, "en-GB"},
		{"da, en-gb;q=0.8, en;q=0.7", []string{"en-US", "sv"}, "en-US"},
		{"da, en-gb;q=0.8, en;q=0.7", []string{"sv"}, ""},
		{"de", []string{"de-CH"}, "de-CH"},
		{"de", []string{"den"}, ""}, // begins with de, but not as a tag
		{"de-CH", []string{"en", "de"}, "de"},
		{"zh-Hant-TW", []string{"zh-Hant", "zh"}, "zh-Hant"},
		{"en-US, de;q=0.5", []string{"de", "en"}, "en"},
		{"en-US, en;q=0.3, de;q=0.5", []string{"en", "de"}, "de"},
		{"de-CH;q=0.2, de-AT, en;q=0.5", []string{"en", "de"}, "de"}, // the most of two
		{"en-GB;q=0, *;q=0.1", []string{"en-GB", "en"}, "en"},
		{"en-GB;q=0", []string{"en"}, ""},
		{"*", []string{"sv", "en"}, "sv"},
		{"*;q=0", []string{"sv"}, ""},
		{"*;q=0, sv", []string{"en", "sv"}, "sv"},
		{"sv;q=0, *", []string{"sv", "en"}, "en"},
		{"EN", []string{"en"}, "en"},
		{"en;q=2", []string{"en"}, ""},
	} {
		if got := web.BestLanguage(tt.accept, tt.offers...); got != tt.want {
			t.Errorf("Accept-Language %q, of %q: %q, want %q", tt.accept, tt.offers, got, tt.want)
		}
	}
}

func TestBestEncoding(t *testing.T) {
	for _, tt := range []struct {
		accept string
		offers []string
		want   string
	}{
		{"", []string{"gzip"}, "identity"},
		{"compress, gzip", []string{"gzip"}, "gzip"}, // RFC 9110 section 12.5.3, its examples
		{"*", []string{"zstd", "gzip"}, "zstd"},
		{"compress;q=0.5, gzip;q=1.0", []string{"compress", "gzip"}, "gzip"},
		{"gzip;q=1.0, identity; q=0.5, *;q=0", []string{"zstd", "gzip"}, "gzip"},
		{"gzip;q=1.0, identity; q=0.5, *;q=0", []string{"zstd"}, "identity"},
		{"br", []string{"gzip"}, "identity"},
		{"gzip;q=0.001", []string{"gzip"}, "gzip"},
		{"gzip;q=0.5, identity", []string{"gzip"}, "identity"},
		{"gzip;q=0.5, *", []string{"gzip"}, "identity"},
		{"gzip;q=0.5, *;q=0.5", []string{"gzip"}, "gzip"},
		{"gzip, identity", []string{"gzip"}, "gzip"},
		{"gzip, identity", []string{"identity", "gzip"}, "identity"},
		{"gzip;q=0", []string{"gzip"}, "identity"},
		{"identity;q=0", []string{"gzip"}, ""},
		{"*;q=0", []string{"gzip"}, ""},
		{"*;q=0, identity", []string{"gzip"}, "identity"},
		{"*;q=0, gzip;q=0.1", []string{"zstd", "gzip"}, "gzip"},
		{"x-gzip", []string{"gzip"}, "gzip"},
		{"GZIP", []string{"gzip"}, "gzip"},
		{"gzip;q=x", []string{"gzip"}, "identity"},
	} {
		if got := web.BestEncoding(tt.accept, tt.offers...); got != tt.want {
			t.Errorf("Accept-Encoding %q, of %q: %q, want %q", tt.accept, tt.offers, got, tt.want)
		}
	}
}

func TestRequestNegotiates(t *testing.T) {
	app := web.HandlerFunc(func(r *web.Request) (*web.Response, error) {
		return web.Text(r.BestType("text/html", "text/plain") + " " + r.BestLanguage("en", "sv") + " " + r.BestEncoding("br", "gzip")), nil
	})
	got := gatewaytest.Call(app, gatewaytest.Request{Header: header("Accept", "text/plain", "Accept-Language", "sv", "Accept-Encoding", "gzip")})
	if got.Text() != "text/plain sv gzip" {
		t.Errorf("%+v", got)
	}
}

// Invariant: the choice is one of the offers, or none, and the same when it is the
// only offer.
func FuzzNegotiation(f *testing.F) {
	for _, s := range []string{
		"", "*/*", "text/html;q=0.5,*;q=0", `a;b="c,d"`, `a;b="c\",d`, "a;q=1;q=0", "a/b;*=x;*0*=y", ",,,", "en-*", "\x00", "text/html;q*=utf-8''0",
	} {
		f.Add(s)
	}
	offers := []string{"text/html", "en", "gzip", "x-gzip", "image/png;a=b"}
	f.Fuzz(func(t *testing.T, s string) {
		for name, choose := range map[string]func(string, ...string) string{"BestType": web.BestType, "BestLanguage": web.BestLanguage, "BestEncoding": web.BestEncoding} {
			got := choose(s, offers...)
			if got != "" && !slices.Contains(offers, got) && (name != "BestEncoding" || got != "identity") {
				t.Errorf("%s of %q: %q", name, s, got)
			}
			if again := choose(s, offers...); again != got {
				t.Errorf("%s of %q: %q, then %q", name, s, got, again)
			}
			if got := choose(s, got); got == "" && choose(s, offers...) != "" {
				t.Errorf("%s of %q: what it chose is not acceptable alone", name, s)
			}
		}
	})
}
