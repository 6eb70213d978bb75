package nethttp

import "strings"

// fieldName is a name that many clients send: requests share its string.
type fieldName struct {
	key     string // canonical
	special bool   // see adjustFields
}

// fieldNames is a hash table with linear probing from slot; an entry without a key ends the search.
var fieldNames = func() (t [256]fieldName) {
	for name := range strings.FieldsSeq(`
		Accept Accept-Charset Accept-Encoding Accept-Language Access-Control-Request-Headers Access-Control-Request-Method
		Authorization Cache-Control Connection! Content-Encoding Content-Length Content-Type Cookie Dnt Expect Forwarded From
		Host If-Match If-Modified-Since If-None-Match If-Range If-Unmodified-Since Keep-Alive Origin Pragma! Priority Range
		Referer Sec-Ch-Ua Sec-Ch-Ua-Mobile Sec-Ch-Ua-Platform Sec-Fetch-Dest Sec-Fetch-Mode Sec-Fetch-Site Sec-Fetch-User
		Sec-Gpc Te Traceparent Tracestate Trailer Transfer-Encoding! Upgrade Upgrade-Insecure-Requests User-Agent Via
		X-Correlation-Id X-Csrf-Token X-Forwarded-For X-Forwarded-Host X-Forwarded-Port X-Forwarded-Proto X-Real-Ip
		X-Request-Id X-Requested-With`) {
		key, amends := strings.CutSuffix(name, "!")
		i := slot(key)
		for t[i].key != "" {
			i++
		}
		t[i] = fieldName{key, amends}
	}
	return t
}()

// slot is the hash of a name, in any case.
func slot(name string) uint8 {
	last := len(name) - 1
	return uint8(last) + (name[0]|0x20)*8 + (name[last/2]|0x20)*10 + (name[last] | 0x20)
}

// lookupName returns the entry of a name, which is a token; one with no key if there is none.
func lookupName(name string) *fieldName {
	for i := slot(name); ; i++ {
		f := &fieldNames[i]
		if f.key == "" || f.key == name || len(f.key) == len(name) && strings.EqualFold(f.key, name) {
			return f
		}
	}
}
