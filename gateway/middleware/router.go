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

// Route is the application for a method and a path.
//
// The segments of Path are text ("/users"), a parameter ("/users/{id}"), which matches any one segment
// that is not empty, or, as the last one, a wildcard ("/files/{path...}"), which matches any number of
// segments, also none. The application reads them by [Param]. Where several paths match, from left to
// right text goes before a parameter, and that before a wildcard; the method is compared after that.
//
// A Route of GET also answers HEAD. An empty Method is every method without a Route of its own.
type Route struct {
	Method string
	Path   string // not percent-encoded; begins with "/"
	App    gateway.App

	mount bool
}

// Mount is a Route of prefix, which has no parameters, and of all paths below it. For app the prefix
// moves from PATH_INFO to SCRIPT_NAME, and Environ.RawPath is without it: an http.Handler sees Path and
// RawPath as behind http.StripPrefix.
func Mount(prefix string, app gateway.App) Route {
	return Route{Path: strings.TrimSuffix(prefix, "/") + "/{...}", App: app, mount: true}
}

// Router is an application that calls that of the Route that matches. It answers 404 if none does, 405
// with Allow if only Routes of other methods do, OPTIONS where no Route does, and 400 if the
// percent-encoding of the path is invalid. Segments are decoded and matched one by one: "%2F" is no
// separator. The segments "." and ".." match nothing. A mounted Router matches the path without the
// prefix.
//
// The application of a wildcard or a Mount may read "%2F" as a separator and skip empty segments, as
// http.FileServer does. That must not lead around another Route: the answer is 404 if the path, read
// so, has "." or ".." as a segment, or matches another Route. With "/files/private/{path...}" beside
// it, an application mounted at "/files" never gets "/files/private%2Fa".
//
// The error says which routes are invalid, or in conflict.
func Router(routes ...Route) (gateway.App, error) {
	root := new(node)
	for i, route := range routes {
		if err := root.add(route); err != nil {
			return nil, fmt.Errorf("middleware: route %d, %s %s: %w", i, route.Method, route.Path, err)
		}
	}
	return root, nil
}

// node is the tree of the routes that begin with the same segments.
type node struct {
	text     map[string]*node
	param    *node
	wildcard *node
	name     string                 // of the parameter or wildcard that leads here
	methods  map[string]gateway.App // of the paths that end here; "" is any other method
	mount    bool
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
			next = &n.wildcard
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

// find returns the node for segments, of which depth have led to n, or nil; at is how many segments
// come before those of its wildcard. It sets the parameters in env, if that is not nil.
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
		// Backtracking: "/users/me/posts" is found below {id} if text has no such route.
		if n.param != nil && segment != "" {
			if found, at := n.param.find(env, segments, depth+1); found != nil {
				if env != nil {
					env.Set(paramKey+n.param.name, segment)
				}
				return found, at
			}
		}
	}
	if env != nil && n.wildcard != nil && !n.wildcard.mount {
		env.Set(paramKey+n.wildcard.name, strings.Join(segments[depth:], "/"))
	}
	return n.wildcard, depth
}

// paramKey is the prefix of the keys of parameters in the Environ.
const paramKey = "isbjorn.param."

// Param is a parameter of the Route that matched, decoded; "" if it has none of this name. The segments
// of a wildcard are joined by "/".
func Param(env *gateway.Environ, name string) string {
	s, _ := env.Get(paramKey + name).(string)
	return s
}

func (n *node) Serve(env *gateway.Environ, start gateway.StartResponse) (gateway.Body, error) {
	raw, segments, err := pathSegments(env)
	if err != nil {
		return refuse(env, start, "400 Bad Request")
	}
	found, depth := n.find(env, segments, 0)
	if found == nil || hasDotSegment(segments) || depth < len(segments) && !n.onlyMatch(found, segments, depth) {
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

// hasDotSegment reports whether "." or ".." is among segments.
func hasDotSegment(segments []string) bool {
	return slices.Contains(segments, ".") || slices.Contains(segments, "..")
}

// onlyMatch reports whether found, whose wildcard has the segments from depth on, also matches if they
// are read as a path of files: separated by "%2F" too, and without empty ones but the last.
func (n *node) onlyMatch(found *node, segments []string, depth int) bool {
	plain := true
	for i, segment := range segments[depth:] {
		plain = plain && !strings.Contains(segment, "/") && (segment != "" || depth+i == len(segments)-1)
	}
	if plain { // the usual case: both readings are the same
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
	return other == found && !hasDotSegment(read)
}

// allow is the value of Allow. RFC 9110 section 10.2.1.
func (n *node) allow() string {
	methods := slices.Collect(maps.Keys(n.methods))
	methods = append(methods, "OPTIONS")
	if n.methods["GET"] != nil {
		methods = append(methods, "HEAD")
	}
	slices.Sort(methods)
	return strings.Join(slices.Compact(methods), ", ")
}

// pathSegments returns the segments of PATH_INFO, as sent and decoded. If a middleware has Set another
// PATH_INFO without RawPathKey, both are its segments.
func pathSegments(env *gateway.Environ) (raw, decoded []string, err error) {
	path := env.Path()
	if path == "" { // the prefix of a Mount, without a slash
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
