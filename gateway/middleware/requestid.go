package middleware

import (
	"crypto/rand"
	"io"

	"github.com/isbjorn/isbjorn/gateway"
)

// RequestIDKey is where RequestID puts the name of a request in its Environ: a
// string.
const RequestIDKey = "isbjorn.request_id"

// requestIDBytesMax bounds what is taken from a client: every log line has it.
const requestIDBytesMax = 128

// RequestID gives every request a name, for logs: env.Get(RequestIDKey), and the
// field X-Request-Id of the response, in place of one that the application set. With
// trust a good X-Request-Id of the request is taken: 1 to 128 letters, digits and
// -._~+/=:. That is for servers behind proxies that set it; anybody else could give
// two requests the same name. Otherwise it is new, and random.
func RequestID(trust bool) gateway.Middleware {
	return func(app gateway.App) gateway.App {
		return gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			id := ""
			if trust {
				id = env.Header("X-Request-Id")
			}
			if !validRequestID(id) {
				id = rand.Text()
			}
			env.Set(RequestIDKey, id)
			return app.Serve(env, func(status string, headers []gateway.Header, exc error) (io.Writer, error) {
				return start(status, append(without(headers, "X-Request-Id"), gateway.Header{Name: "X-Request-Id", Value: id}), exc)
			})
		})
	}
}

func validRequestID(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c|0x20 && c|0x20 <= 'z', '+' <= c && c <= ':' && c != ',', c == '_', c == '~', c == '=':
		default:
			return false
		}
	}
	return 0 < len(s) && len(s) <= requestIDBytesMax
}
