package middleware

import (
	"path"
	"strings"
)

// sidecar is a kind of file with the compressed content of the file beside it.
type sidecar struct{ extension, coding string }

// sidecarCodings are the content codings by the extensions that StaticOptions.Precompressed takes.
var sidecarCodings = map[string]string{"zst": "zstd", "br": "br", "gz": "gzip"}

const codingsMax = 3 // as many as sidecarCodings has

// chooseVariant returns the index of the variant for an Accept-Encoding. The file itself is variant 0, for a
// client that accepts nothing else, even if it excludes that too: what it gets then RFC 9110 section 12.5.3
// leaves to the server.
func (e *pathEntry) chooseVariant(accept string) int {
	if accept == "" {
		return 0
	}
	best := 0
	bestQ, _ := codingWeight(accept, "identity", false) // 0 if not named: any accepted coding is better
	for i := 1; i < len(e.variants); i++ {
		q, _ := codingWeight(accept, e.variants[i].coding, true)
		if q > bestQ || best == 0 && q == bestQ && q > 0 {
			best, bestQ = i, q
		}
	}
	return best
}

// prefers reports whether an Accept takes media type a, and does not weight b more. Of two with one weight
// the one is preferred that the more specific range has: "application/json, */*" is a wish for JSON. An empty
// Accept takes all.
func prefers(accept, a, b string) bool {
	qa, specificA := mediaWeight(accept, a)
	qb, specificB := mediaWeight(accept, b)
	return qa > 0 && (qa > qb || qa == qb && specificA >= specificB)
}

// mediaWeight is the weight of a media type in an Accept: that of the most specific range that has it, and
// how specific that is: 3 for the type itself, 2 for "text/*", 1 for "*/*". RFC 9110 section 12.5.1.
func mediaWeight(accept, mediaType string) (q float64, specific int) {
	if accept == "" {
		return 1, 1
	}
	major, _, _ := strings.Cut(mediaType, "/")
	for item := range strings.SplitSeq(accept, ",") {
		name, params, _ := strings.Cut(item, ";")
		name = strings.Trim(name, " \t")
		kind, sub, _ := strings.Cut(name, "/")
		level := 0
		switch {
		case strings.EqualFold(name, mediaType):
			level = 3
		case strings.EqualFold(kind, major) && sub == "*":
			level = 2
		case name == "*/*":
			level = 1
		}
		if level > specific {
			specific, q = level, mediaQuality(params)
		}
	}
	return q, specific
}

// mediaQuality is the weight in the parameters of a media range, where others may come before.
func mediaQuality(params string) float64 {
	for param := range strings.SplitSeq(params, ";") {
		if param = strings.Trim(param, " \t"); len(param) > 2 && strings.EqualFold(param[:2], "q=") {
			return quality(param)
		}
	}
	return 1
}

// hashDigits is the least number of hexadecimal digits that HashedNames takes for a hash.
const hashDigits = 8

// HashedNames is a StaticOptions.CacheControlFor: "public, max-age=31536000, immutable" for a file that has
// a hash of its content in its name, as build tools write them: "app.3f2a91bc.js", "main-0a1b2c3d4e5f.min.css".
// The content of such a name never changes, so that a browser need not ask again for a year. It returns "" for
// the other names.
//
// A hash is a part of the name between dots, hyphens or underscores, not the first one, of 8 to 64 hexadecimal
// digits of one case, with a letter and a digit: a date (report-20261130.pdf) is none. Other hashes, such as
// those of Vite (index-BxZ3a9-b.js), look like words: give a function of your own for their directory.
func HashedNames(name string) string {
	base := path.Base(name)
	start := -1 // of the part; the first one is none
	for i := 0; i <= len(base); i++ {
		if i < len(base) && base[i] != '.' && base[i] != '-' && base[i] != '_' {
			continue
		}
		// The last part is the extension.
		if start >= 0 && i < len(base) && isHash(base[start:i]) {
			return "public, max-age=31536000, immutable"
		}
		start = i + 1
	}
	return ""
}

func isHash(part string) bool {
	if len(part) < hashDigits || len(part) > 64 {
		return false
	}
	digit, lower, upper := false, false, false
	for _, c := range []byte(part) {
		switch {
		case '0' <= c && c <= '9':
			digit = true
		case 'a' <= c && c <= 'f':
			lower = true
		case 'A' <= c && c <= 'F':
			upper = true
		default:
			return false
		}
	}
	return digit && lower != upper
}
