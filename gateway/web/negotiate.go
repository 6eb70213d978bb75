package web

import (
	"mime"
	"slices"
	"strings"
)

// rangesMax is how many elements of an Accept field are read. Browsers send fewer
// than 20; the rest is as if it were not there.
const rangesMax = 100

// preference is one element of Accept, Accept-Language or Accept-Encoding.
type preference struct {
	of     string            // in lower case: "text/*", "de-ch", "gzip"
	params map[string]string // without q
	q      int               // 0 to 1000 thousandths
}

// preferences reads a field. What is malformed is left out, as if the client had not
// named it.
func preferences(field string) (list []preference) {
	for n := 0; field != "" && n < rangesMax; n++ {
		var element string
		element, field = cutElement(field)
		of, params, err := mime.ParseMediaType(element) // the grammar of all three, RFC 9110 section 12.4.2
		if err != nil {
			continue
		}
		q := 1000
		if s, ok := params["q"]; ok {
			if q, ok = quality(s); !ok {
				continue
			}
			delete(params, "q")
		}
		list = append(list, preference{of, params, q})
	}
	return list
}

// cutElement cuts the first element off a list, RFC 9110 section 5.6.1: at a comma
// that is not quoted.
func cutElement(s string) (element, rest string) {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			quoted = !quoted
		case c == '\\' && quoted:
			i++
		case c == ',' && !quoted:
			return s[:i], s[i+1:]
		}
	}
	return s, ""
}

// quality reads a qvalue, RFC 9110 section 12.4.2: 0 to 1 with up to three digits.
func quality(s string) (thousandths int, ok bool) {
	whole, fraction, _ := strings.Cut(s, ".")
	if whole != "0" && whole != "1" || len(fraction) > 3 {
		return 0, false
	}
	for _, c := range []byte((fraction + "000")[:3]) {
		if c < '0' || c > '9' {
			return 0, false
		}
		thousandths = thousandths*10 + int(c-'0')
	}
	if whole == "1" {
		return 1000, thousandths == 0
	}
	return thousandths, true
}

// best is the offer with the highest quality, the first one of several; "" if all
// have 0.
func best(offers []string, quality func(offer string) int) (chosen string) {
	most := 0
	for _, offer := range offers {
		if q := quality(offer); q > most {
			chosen, most = offer, q
		}
	}
	return chosen
}

// rate is the quality that a field gives an offer: that of the element that matches
// it best, the highest of several. match says how well, 0 for not at all.
func rate(field []preference, match func(*preference) int) (q int, ok bool) {
	most := 0
	for i := range field {
		p := &field[i]
		if m := match(p); m > most || m == most && m > 0 && p.q > q {
			q, most = p.q, m
		}
	}
	return q, most > 0
}

// BestType chooses among media types, such as "text/html" or
// "text/html; charset=utf-8", by the value of the field Accept: RFC 9110 section
// 12.5.1. The most specific range that matches an offer gives its quality; of equal
// offers the first one wins, so offer what you prefer first. Without the field any
// will do. "" says that none is acceptable: answer 406, or send one nevertheless.
func BestType(accept string, offers ...string) string {
	if accept == "" {
		return first(offers)
	}
	field := preferences(accept)
	return best(offers, func(offer string) int {
		kind, params, err := mime.ParseMediaType(offer)
		if err != nil {
			return 0
		}
		top, _, _ := strings.Cut(kind, "/")
		q, _ := rate(field, func(p *preference) int {
			switch p.of {
			case "*/*":
				return 1
			case top + "/*":
				return 2
			case kind:
				for name, value := range p.params {
					if got, ok := params[name]; !ok || !strings.EqualFold(got, value) {
						return 0
					}
				}
				return 3 + len(p.params)
			}
			return 0
		})
		return q
	})
}

// BestLanguage chooses among language tags, such as "en" or "de-CH", by the value of
// the field Accept-Language: RFC 9110 section 12.5.4. A range matches a tag that
// begins with it (RFC 4647 section 3.3.1). A tag that no range names is also matched
// by ranges that begin with it (as in section 3.4): who asks for "de-CH" alone is
// given "de". Ties, the absence of the field and "" are as in BestType; who finds
// nothing acceptable is mostly better served by a default than by a 406.
func BestLanguage(accept string, offers ...string) string {
	if accept == "" {
		return first(offers)
	}
	field := preferences(accept)
	return best(offers, func(offer string) int {
		tag := strings.ToLower(offer)
		q, _ := rate(field, func(p *preference) int {
			switch {
			case p.of == "*":
				return 1
			case strings.HasPrefix(p.of, tag+"-") && p.q > 0: // to refuse de-CH is not to refuse de
				return 2
			case tag == p.of || strings.HasPrefix(tag, p.of+"-"):
				return 2 + len(p.of)
			}
			return 0
		})
		return q
	})
}

// BestEncoding chooses among content codings, such as "gzip", by the value of the
// field Accept-Encoding: RFC 9110 section 12.5.3. "identity", no coding, is an offer
// always, the last one unless it is named, and the least wanted one unless the
// client says otherwise. Without the field it is chosen: a client that names no
// coding may not know any. "" says that not even identity is acceptable. Ties are as
// in BestType.
func BestEncoding(accept string, offers ...string) string {
	field := preferences(accept)
	return best(append(slices.Clip(offers), "identity"), func(offer string) int {
		coding := strings.TrimPrefix(strings.ToLower(offer), "x-") // x-gzip is gzip, RFC 9110 section 8.4.1
		q, named := rate(field, func(p *preference) int {
			switch strings.TrimPrefix(p.of, "x-") {
			case "*":
				return 1
			case coding:
				return 2
			}
			return 0
		})
		if !named && coding == "identity" {
			return 1
		}
		return q
	})
}

func first(offers []string) string {
	if len(offers) == 0 {
		return ""
	}
	return offers[0]
}
