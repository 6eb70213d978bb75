package web

import (
	"mime"
	"slices"
	"strings"
)

// rangesMax is how many elements of an Accept field are read; the rest is ignored. Browsers send fewer
// than 20.
const rangesMax = 100

// acceptItem is one element of Accept, Accept-Language or Accept-Encoding.
type acceptItem struct {
	value  string            // in lower case: "text/*", "de-ch", "gzip"
	params map[string]string // without q
	q      int               // 0 to 1000 thousandths
}

// parseAccept reads a field. Malformed elements are ignored.
func parseAccept(field string) (list []acceptItem) {
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
		list = append(list, acceptItem{of, params, q})
	}
	return list
}

// cutElement cuts the first element off a list, at a comma that is not quoted. RFC 9110 section 5.6.1.
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

// bestOffer is the offer with the highest quality, the first of equal ones; "" if all have 0.
func bestOffer(offers []string, quality func(offer string) int) (chosen string) {
	most := 0
	for _, offer := range offers {
		if q := quality(offer); q > most {
			chosen, most = offer, q
		}
	}
	return chosen
}

// qualityOf is the quality of an offer by a field: that of the element for which match is highest, the
// highest of several. match is 0 for an element that does not match.
func qualityOf(field []acceptItem, match func(*acceptItem) int) (q int, ok bool) {
	most := 0
	for i := range field {
		p := &field[i]
		if m := match(p); m > most || m == most && m > 0 && p.q > q {
			q, most = p.q, m
		}
	}
	return q, most > 0
}

// BestType chooses among media types, such as "text/html" or "text/html; charset=utf-8", by the value of
// the field Accept (RFC 9110 section 12.5.1). The quality of an offer is that of the most specific range
// that matches it; of equal offers the first is chosen, so offer what you prefer first. Without the field
// every type is acceptable. "" says that none is: answer 406, or send one nevertheless.
func BestType(accept string, offers ...string) string {
	if accept == "" {
		return first(offers)
	}
	field := parseAccept(accept)
	return bestOffer(offers, func(offer string) int {
		kind, params, err := mime.ParseMediaType(offer)
		if err != nil {
			return 0
		}
		top, _, _ := strings.Cut(kind, "/")
		q, _ := qualityOf(field, func(p *acceptItem) int {
			switch p.value {
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

// BestLanguage chooses among language tags, such as "en" or "de-CH", by the value of the field
// Accept-Language (RFC 9110 section 12.5.4). A range matches a tag that begins with it (RFC 4647 section
// 3.3.1). A tag that no range matches is also matched by ranges that begin with it (as in section 3.4):
// for "de-CH" alone the offer "de" is chosen. Ties, the absence of the field and "" are as in BestType;
// for "" a default language is mostly better than a 406.
func BestLanguage(accept string, offers ...string) string {
	if accept == "" {
		return first(offers)
	}
	field := parseAccept(accept)
	return bestOffer(offers, func(offer string) int {
		tag := strings.ToLower(offer)
		q, _ := qualityOf(field, func(p *acceptItem) int {
			switch {
			case p.value == "*":
				return 1
			case strings.HasPrefix(p.value, tag+"-") && p.q > 0: // to refuse de-CH is not to refuse de
				return 2
			case tag == p.value || strings.HasPrefix(tag, p.value+"-"):
				return 2 + len(p.value)
			}
			return 0
		})
		return q
	})
}

// BestEncoding chooses among content codings, such as "gzip", by the value of the field Accept-Encoding
// (RFC 9110 section 12.5.3). "identity", no coding, is always an offer: the last one unless it is in
// offers, and with the lowest quality unless the field has it. Without the field it is chosen, since the
// client may support no coding. "" says that not even identity is acceptable. Ties are as in BestType.
func BestEncoding(accept string, offers ...string) string {
	field := parseAccept(accept)
	return bestOffer(append(slices.Clip(offers), "identity"), func(offer string) int {
		coding := strings.TrimPrefix(strings.ToLower(offer), "x-") // x-gzip is gzip, RFC 9110 section 8.4.1
		q, named := qualityOf(field, func(p *acceptItem) int {
			switch strings.TrimPrefix(p.value, "x-") {
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
