package middleware

import (
	"slices"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/gateway/forwarded"
)

// TrustedProxies makes the Environ show the client behind reverse proxies: it sets REMOTE_ADDR,
// REMOTE_PORT, wsgi.url_scheme and HTTP_HOST from the fields that the listed proxies write (Fields, by
// default X-Forwarded-For alone), and deletes every other field of that kind, which a client may have
// forged. A p that lists no proxies deletes them all. See [forwarded.Proxies]. The error says what is
// wrong with p.
func TrustedProxies(p forwarded.Proxies) (gateway.Middleware, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	p.Prefixes, p.Fields = slices.Clone(p.Prefixes), slices.Clone(p.Fields)
	return func(app gateway.App) gateway.App {
		return gateway.AppFunc(func(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
			p.Apply(env)
			return app.Serve(env, start)
		})
	}, nil
}
