package middleware

import (
	"crypto/rand"
	"io"

	"github.com/isbjorn/isbjorn/gateway"
)

// RequestIDKey is the key of the Environ under which RequestID sets the ID of a request, a string.
const RequestIDKey = "isbjorn.request_id"

// requestIDBytesMax is the longest ID that is taken from a request: it is in every line of the log.
const requestIDBytesMax = 128

// RequestID gives every request an ID, for logs: env.Get(RequestIDKey), and the field X-Request-Id of
// the response, in place of one that the application has set. The ID is random. With trust it is the
// X-Request-Id of the request, if that has 1 to 128 letters, digits and -._~+/=: only. Trust is for
// servers behind a proxy that sets the field; else a client could give two requests the same ID.
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
			field := gateway.Header{Name: "X-Request-Id", Value: id}
			return app.Serve(env, func(status string, headers []gateway.Header, exc error) (io.Writer, error) {
				return start(status, append(withoutHeaders(headers, field.Name), field), exc)
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
