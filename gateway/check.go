package gateway

import (
	"fmt"
	"slices"
	"strings"

	"github.com/isbjorn/isbjorn/internal/field"
)

// CheckStatus checks a status as given to StartResponse: three digits from 100 to 599, one
// space, and a reason phrase, which may be empty (RFC 9112 section 4).
func CheckStatus(status string) (code int, err error) {
	if len(status) < 4 || status[3] != ' ' ||
		status[0] < '1' || status[0] > '5' || !digit(status[1]) || !digit(status[2]) {
		return 0, fmt.Errorf("gateway: status %q; use three digits from 100 to 599, a space and a reason, "+
			"such as \"200 OK\"", status)
	}
	if !field.ValidValue(status[4:]) {
		return 0, fmt.Errorf("gateway: status %q has a control character", status)
	}
	return int(status[0]-'0')*100 + int(status[1]-'0')*10 + int(status[2]-'0'), nil
}

func digit(c byte) bool { return '0' <= c && c <= '9' }

// CheckHeader checks a field as given to StartResponse: Name is a token, Value has no control
// characters but HTAB, and it is no field that only the server sends, such as Transfer-Encoding.
func CheckHeader(h *Header) error {
	_, err := field.Check(h.Name, h.Value)
	return err
}

// CheckExtra checks the pairs of [ServerInfo.Extra], which a deployer adds to every Environ.
// Keys of the CGI and WSGI view and of isbjorn's own are errors: they come from the request.
func CheckExtra(extra map[string]any) error {
	for key, value := range extra {
		switch {
		case key == "":
			return fmt.Errorf("gateway: a key of the environ is empty, with the value %v; give it a name", value)
		case value == nil:
			return fmt.Errorf("gateway: the environ's %s is nil, which reads as a key that is not there; "+
				"leave it out", key)
		case slices.Contains(cgiKeys, key):
			return fmt.Errorf("gateway: the environ's %s comes from the request; a middleware may Set it", key)
		}
		for _, prefix := range []string{"HTTP_", "wsgi.", "isbjorn."} {
			if strings.HasPrefix(key, prefix) {
				return fmt.Errorf("gateway: the environ's %s: names that begin with %s are the server's; "+
					"use a prefix of your own, such as \"myapp.\"", key, prefix)
			}
		}
	}
	return nil
}
