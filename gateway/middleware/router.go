package middleware

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/isbjorn/isbjorn/gateway"
)

// Route says which application answers for a method and a path.
//
// The segments of Path are text ("/users"), a parameter ("/users/{id}"), which is any
// one segment that is not empty, or, as the last one, the rest ("/files/{path...}"),
// which is any number of segments, none too. The application gets them by [Param].
// Where several paths match, text counts for more than a parameter, and that for more
// than the rest, from left to right; only then is the method looked at.
//
// A Route of GET also answers HEAD. An empty Method is every method that has no
// Route of its own.
type Route struct {
	Method string
	Path   string // not percent-encoded; begins with "/"
	App    gateway.App

	mount bool
}

// Mount hands all below prefix, which has no parameters, and prefix itself to an
// application of its own: the prefix moves from PATH_INFO to SCRIPT_NAME. Environ.RawPath
// is what was sent behind it: an http.Handler has Path and RawPath as by http.StripPrefix.
func Mount(prefix string, app gateway.App) Route {
	return Route{Path: strings.TrimSuffix(prefix, "/") + "/{...}", App: app, mount: true}
}

// Router is an application that hands each request to that of the Route that
// matches. It answers 404 if there is none, 405 with Allow if there is one for
// another method, OPTIONS where no Route does, and 400 if the path is not well
// encoded. Segments are matched decoded, each for itself: "%2F" does not separate.
// "." and ".." as segments match nothing. A mounted Router goes on from there.
//
// What takes the rest of a path, a Mount too, may read it with "%2F" as a separator, and
// with empty segments left out, as http.FileServer does. So that this leads around no other
// Route, the answer is 404 where the path then has "." or ".." as a segment, or another Route
// matches: beside "/files/private/{path...}" nothing that is mounted at "/files" gets
// "/files/private%2Fa".
//
// The error says which routes are in conflict, or cannot be.
func Router(routes ...Route) (gateway.App, error) {
	root := new(node)
	for i, route := range routes {
		if err := root.add(route); err != nil {
			return nil, fmt.Errorf("middleware: route %d, %s %s: %w", i, route.Method, route.Path, err)
		}
	}
	return root, nil
}

// node is what may follow after some segments of a path.
type node struct {
	text    map[string]*node
	param   *node
	rest    *node
	name    string                 // that the parameter or rest before it has
	methods map[string]gateway.App // of paths that end here; "" is any other
	mount   bool
}

func (n *node) add(route Route) error {
	if route.App == nil {
		return errors.New("the route has no App")
	}
	if !strings.HasPrefix(route.Path, "/") {
		return errors.New("the Path must begin with \"/\"")
	}
	names := map[string]bool{}
	segments := strings.Split(route.Path[1:], "/")
	for i, segment := range segments {
		last := i == len(segments)-1
		name, isParam := strings.CutPrefix(segment, "{")
		name, closed := strings.CutSuffix(name, "}")
		name, isRest := strings.CutSuffix(name, "...")
		next := &n.param
		switch {
		case !isParam && strings.ContainsAny(segment, "{}"), isParam != closed, strings.ContainsAny(name, "{}"):
			return fmt.Errorf("segment %q; use text, {name} or {name...}", segment)
		case !isParam && (segment == "." || segment == ".." || segment == "" && !last):
			return fmt.Errorf("segment %q matches nothing", segment)
		case !isParam:
			if n.text == nil {
				n.text = map[string]*node{}
			}
			if n.text[segment] == nil {
				n.text[segment] = new(node)
			}
			n = n.text[segment]
			continue
		case isRest && !last:
			return fmt.Errorf("%s is not the last segment", segment)
		case name == "" && !route.mount || names[name]:
			return fmt.Errorf("segment %q needs a name that no other has", segment)
		case isRest:
			next = &n.rest
		}
		names[name] = true
		if *next == nil {
			*next = &node{name: name, mount: route.mount}
		}
		if n = *next; n.name != name || n.mount != route.mount {
			return fmt.Errorf("conflict: another route has {%s} where this one has {%s}", n.name, name)
		}
	}
	if n.methods == nil {
		n.methods = map[string]gateway.App{}
	}
	if n.methods[route.Method] != nil {
		return errors.New("conflict: another route is the same")
	}
	n.methods[route.Method] = route.App
	return nil
}

// find returns the node for segments, nil if there is none, and how many of all
// segments come before its rest. It puts the parameters on the way into env, if that is
// not nil.
func (n *node) find(env *gateway.Environ, segments []string, depth int) (*node, int) {
	if len(segments) == depth && n.methods != nil {
		return n, depth
	}
	if len(segments) > depth {
		segment := segments[depth]
		if next := n.text[segment]; next != nil {
			if found, at := next.find(env, segments, depth+1); found != nil {
				return found, at
			}
		}
		if n.param != nil && segment != "" {
			if found, at := n.param.find(env, segments, depth+1); found != nil {
				if env != nil {
					env.Set(paramKey+n.param.name, segment)
				}
				return found, at
			}
		}
	}
	if env != nil && n.rest != nil && !n.rest.mount {
		env.Set(paramKey+n.rest.name, strings.Join(segments[depth:], "/"))
	}
	return n.rest, depth
}

// paramKey is where Param finds a parameter in the Environ.
const paramKey = "isbjorn.param."

// Param is a parameter of the Route that matched, decoded; "" if it has none of this
// name. That of a rest has its segments joined by "/".
func Param(env *gateway.Environ, name string) string {
	s, _ := env.Get(paramKey + name).(string)
	return s
}

func (n *node) Serve(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
	raw, segments, err := split(env)
	if err != nil {
		return refuse(env, start, "400 Bad Request")
	}
	found, depth := n.find(env, segments, 0)
	if found == nil || dotted(segments) || depth < len(segments) && !n.only(found, segments, depth) {
		return refuse(env, start, "404 Not Found")
	}
	if found.mount {
		moved, rest := "", ""
		if depth > 0 {
			moved = "/" + strings.Join(segments[:depth], "/")
		}
		if depth < len(segments) {
			rest = "/" + strings.Join(segments[depth:], "/")
		}
		env.Set("SCRIPT_NAME", env.ScriptName()+moved)
		env.Set("PATH_INFO", rest)
		env.Set(gateway.RawPathKey, strings.Join(append([]string{""}, raw[depth:]...), "/"))
	}
	method := env.Method()
	app := found.methods[method]
	if app == nil && method == "HEAD" {
		app = found.methods["GET"]
	}
	if app == nil {
		app = found.methods[""]
	}
	if app != nil {
		return app.Serve(env, start)
	}
	allow := gateway.Header{Name: "Allow", Value: found.allow()}
	if method == "OPTIONS" {
		_, err := start("204 No Content", []gateway.Header{allow}, nil)
		return nil, err
	}
	return refuse(env, start, "405 Method Not Allowed", allow)
}

// dotted reports whether "." or ".." is among segments.
func dotted(segments []string) bool {
	return slices.Contains(segments, ".") || slices.Contains(segments, "..")
}

// only reports whether found, which takes the segments from depth on as its rest, is also
// what matches if that rest is read as a path of files: segments separated by "%2F", too, and
// none but the last empty.
func (n *node) only(found *node, segments []string, depth int) bool {
	plain := true
	for i, segment := range segments[depth:] {
		plain = plain && !strings.Contains(segment, "/") && (segment != "" || depth+i == len(segments)-1)
	}
	if plain { // as most are
		return true
	}
	read := slices.Clone(segments[:depth])
	rest := strings.Split(strings.Join(segments[depth:], "/"), "/")
	for i, segment := range rest {
		if segment != "" || i == len(rest)-1 {
			read = append(read, segment)
		}
	}
	other, _ := n.find(nil, read, 0)
	return other == found && !dotted(read)
}

// allow lists the methods. RFC 9110 section 10.2.1.
func (n *node) allow() string {
	methods := slices.Collect(maps.Keys(n.methods))
	methods = append(methods, "OPTIONS")
	if n.methods["GET"] != nil {
		methods = append(methods, "HEAD")
	}
	slices.Sort(methods)
	return strings.Join(slices.Compact(methods), ", ")
}

// split returns the segments of PATH_INFO as they were sent and decoded. If a middleware
// has Set another PATH_INFO both are of that.
func split(env *gateway.Environ) (raw, decoded []string, err error) {
	path := env.Path()
	if path == "" { // the place where this is mounted
		return []string{""}, []string{""}, nil
	}
	sent, ok := env.RawPath()
	if !ok {
		raw = strings.Split(strings.TrimPrefix(path, "/"), "/")
		return raw, raw, nil
	}
	raw = strings.Split(strings.TrimPrefix(sent, "/"), "/")
	decoded = make([]string, len(raw))
	for i, segment := range raw {
		if decoded[i], err = url.PathUnescape(segment); err != nil {
			return nil, nil, err
		}
	}
	return raw, decoded, nil
}
