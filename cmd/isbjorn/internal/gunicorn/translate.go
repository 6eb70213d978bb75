package gunicorn

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/isbjorn/isbjorn/cmd/isbjorn/internal/foreign"
	"github.com/isbjorn/isbjorn/internal/settings"
)

// translate gives our settings for all values.
func (r *reader) translate() {
	r.changed("env") // before raw_env, which counts more
	for _, name := range r.order {
		v := r.values[name]
		switch rule, ok := lookup(name); {
		case !ok:
			r.unknown(v)
		case v.kind == kindNeedsPython:
			r.Say(settings.Error, v.at, name, "", "its value is computed, and needs Python", "run this where gunicorn runs")
		case name == "config", v.data == nil && v.kind != kindHook && v.kind != kindClass && v.kind != kindOther: // None
		case rule.set != nil:
			rule.set(r, v)
		case rule.taken != "":
			r.Say(settings.Hint, v.at, name, "", foreign.Needless+rule.taken, "")
		case rule.refused != "":
			if !v.off(rule.off) {
				r.Say(settings.Error, v.at, name, v.shown(), "isbjorn has nothing like it", rule.refused)
			}
		default:
			r.plain(v)
		}
	}
	r.changed("python.path") // behind pythonpath, which gunicorn puts in front
	r.tls()
	r.connections()
	r.defaults()
}

// changed gives what the file has changed in its process, of one key. Variables that are gone are said with env.
func (r *reader) changed(key string) {
	for _, c := range r.changes {
		switch {
		case c.key == key && key == "env":
			name, _, _ := strings.Cut(c.text, "=")
			r.Give(key, c.at, c.text)
			r.Say(settings.Hint, c.at, "", "", "the file sets "+name+" for the application, and so does env", "")
		case c.key == key:
			r.Give(key, c.at, c.text)
		case c.key == "" && key == "env":
			r.Say(settings.Warning, c.at, "", "", "the file removes "+c.text+" from the environment, and isbjorn does not",
				"start it without: env -u "+c.text)
		}
	}
}

// off reports whether a value asks for nothing.
func (v *value) off(off string) bool {
	switch data := v.data.(type) {
	case nil:
		return v.kind != kindHook && v.kind != kindOther && (v.kind != kindClass || v.text == off)
	case bool:
		return !data
	case json.Number:
		return data == "0"
	case string:
		return data == "" || off != "" && strings.EqualFold(data, off)
	case []any:
		return len(data) == 0 || len(data) == 1 && data[0] == off
	case map[string]any:
		return len(data) == 0
	}
	return false
}

// unknown says that a name is like a setting and is none. Other names are the file's own.
func (r *reader) unknown(v *value) {
	if v.name == "*" {
		r.Say(settings.Hint, v.at, "", "", "what the other file sets needs Python", "run this where gunicorn runs")
		return
	}
	if v.used || v.imported || strings.HasPrefix(v.name, "_") {
		return
	}
	const message = "gunicorn has no such setting and passes over it"
	if near := settings.Nearest(v.name, names()); near != "" {
		r.Say(settings.Warning, v.at, v.name, "", message, "did you mean "+near+"?")
	} else {
		r.Say(settings.Hint, v.at, v.name, "", message, "")
	}
}

func (r *reader) wrong(v *value, message, mend string) {
	r.Say(settings.Error, v.at, v.name, v.shown(), message, mend)
}

// plain gives a value as the setting that has its name in the table.
func (r *reader) plain(v *value) {
	s := settingOf(v.name)
	switch {
	case s.Kind == settings.Bool:
		if on, ok := v.bool(); ok {
			r.Give(s.Key, v.at, strconv.FormatBool(on))
		} else {
			r.wrong(v, "must be True or False", "")
		}
	case s.Kind == settings.Int || s.Kind == settings.Duration || s.Kind == settings.Bytes:
		if n, ok := r.number(v); ok {
			r.giveNumber(v, s, n)
		}
	case s.List:
		words, err := v.words()
		if err != nil {
			r.wrong(v, err.Error(), "")
			return
		}
		if len(words) > 0 && !(len(words) == 1 && words[0] == "") {
			r.giveTexts(v, s.Key, words...)
		}
	default:
		switch data := v.data.(type) {
		case string:
			r.giveTexts(v, s.Key, data)
		case json.Number: // a user or a group
			r.giveTexts(v, s.Key, data.String())
		default:
			r.wrong(v, "must be a text", "")
		}
	}
}

// bool is a value that gunicorn takes for True or False.
func (v *value) bool() (on, ok bool) {
	switch data := v.data.(type) {
	case bool:
		return data, true
	case string:
		word := strings.ToLower(strings.TrimSpace(data))
		return word == "true", word == "true" || word == "false"
	}
	return false, false
}

// number is a value that gunicorn takes for a number: of a text, as int(text, 0) of Python reads it.
func (r *reader) number(v *value) (int64, bool) {
	n, err := int64(0), errors.New("none")
	switch data := v.data.(type) {
	case bool:
		n, err = map[bool]int64{true: 1}[data], nil
	case json.Number:
		n, err = strconv.ParseInt(data.String(), 10, 64)
	case string:
		if number, ok := parseLiteral(strings.TrimSpace(data)); ok {
			if text, ok := number.(json.Number); ok {
				n, err = strconv.ParseInt(text.String(), 10, 64)
			}
		}
	}
	if err != nil || n < 0 {
		r.wrong(v, "must be a whole number, 0 or more", "")
		return 0, false
	}
	return n, true
}

// giveNumber gives a number of seconds, bytes or things; 0 is none where there may be none.
func (r *reader) giveNumber(v *value, s *settings.Setting, n int64) {
	text := strconv.FormatInt(n, 10)
	if n == 0 && s.None {
		text = "none"
	}
	r.giveTexts(v, s.Key, text)
}

// giveTexts gives texts if the setting takes them.
func (r *reader) giveTexts(v *value, key string, texts ...string) {
	s := settings.Find(key, settings.Run)
	var normal []string
	for _, text := range texts {
		one, err := s.Normal(text)
		if err == nil && text == "" {
			err = errors.New("must not be empty")
		}
		if err != nil {
			r.Say(settings.Error, v.at, v.name, text, err.Error(), "")
			return
		}
		normal = append(normal, one)
	}
	r.Give(key, v.at, normal...)
}

// bind gives the addresses: host:port, host, unix:path, fd://N.
func (r *reader) bind(v *value) {
	words, err := v.words()
	if err != nil {
		r.wrong(v, err.Error(), "")
		return
	}
	for _, word := range words {
		if strings.Contains(word, "$") {
			mend := `write bind = f"0.0.0.0:{os.environ['PORT']}"`
			if v.at.Origin != settings.File {
				mend = "let the shell replace it: double quotes"
			}
			r.wrong(v, "nothing replaces a variable in a text", mend)
			return
		}
		address, ok := address(word)
		if !ok {
			r.wrong(v, "an address is host:port, :port, unix:/path or fd://N", "")
			return
		}
		r.giveTexts(v, "bind", address)
	}
}

// address is an address of gunicorn's as isbjorn writes it.
func address(text string) (string, bool) {
	text = strings.TrimSpace(text)
	switch {
	case strings.HasPrefix(text, "unix:"):
		path := strings.TrimPrefix(strings.TrimPrefix(text, "unix:"), "//")
		return "unix:" + path, path != ""
	case strings.HasPrefix(text, "fd://"):
		_, err := strconv.ParseUint(text[len("fd://"):], 10, 31)
		return text, err == nil
	}
	text = strings.TrimPrefix(strings.TrimPrefix(text, "tcp://"), "http://")
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		host, port = strings.Trim(text, "[]"), "8000" // gunicorn's own port
		if text == "" || strings.Contains(text, "/") || strings.Contains(host, ":") && text[0] != '[' {
			return "", false
		}
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || strings.ContainsAny(host, "/ ") {
		return "", false
	}
	return net.JoinHostPort(host, strconv.FormatUint(n, 10)), true
}

// class is a worker class by its name.
func (v *value) class() string {
	class, _ := v.data.(string)
	if v.kind == kindClass {
		class = v.text
	}
	return strings.TrimPrefix(class, "egg:gunicorn#")
}

// isGevent reports whether workers are those of gevent.
func (r *reader) isGevent() bool {
	v := r.values["worker_class"]
	return v != nil && strings.Contains(strings.ToLower(v.class()), "gevent")
}

// threads are those of a worker; gunicorn's gevent workers pass over them.
func (r *reader) threads(v *value) {
	if r.isGevent() {
		r.Say(settings.Hint, v.at, v.name, "", foreign.Needless+"gevent workers have worker_connections in place of threads", "")
		return
	}
	r.plain(v)
}

// workerClass is what kind of workers there are.
func (r *reader) workerClass(v *value) {
	class := v.class()
	refuse := func(message, mend string) { r.Say(settings.Error, v.at, v.name, class, message, mend) }
	has := func(parts ...string) bool {
		return slices.ContainsFunc(parts, func(part string) bool { return strings.Contains(strings.ToLower(class), part) })
	}
	switch {
	case class == "sync" || class == "gthread" || has("gunicorn.workers.sync.", "gunicorn.workers.gthread."):
		r.Say(settings.Hint, v.at, v.name, "", foreign.Needless+"threads says how many requests a worker has at once", "")
	case r.isGevent():
		n := int64(1000) // gunicorn's own
		if connections := r.values["worker_connections"]; connections != nil && connections.data != nil {
			var ok bool
			if n, ok = r.number(connections); !ok {
				return
			}
		}
		r.giveNumber(v, settings.Find("gevent", settings.Run), n)
	case has("eventlet"):
		refuse("eventlet is not run", "use gthread with threads = 50, or gevent")
	case has("uvicorn", "asgi", "hypercorn", "daphne", "aiohttp", "sanic"):
		refuse("an ASGI application; isbjorn runs WSGI",
			"keep this server and put isbjorn proxy in front, or give the WSGI application and gthread")
	case has("tornado"):
		refuse("Tornado's own applications are no WSGI", "keep this server and put isbjorn proxy in front")
	case has("meinheld"):
		refuse("meinheld is not run", "use gthread, or gevent")
	default:
		refuse("a worker class of your own is not run", "use gthread with threads, or gevent")
	}
}

// connections gives worker_connections, by the kind of workers.
func (r *reader) connections() {
	v := r.values["worker_connections"]
	if v == nil || v.data == nil || r.Has("gevent") || v.kind == kindNeedsPython {
		return
	}
	n, ok := r.number(v)
	if !ok {
		return
	}
	workers, err := strconv.ParseInt(strings.Join(r.Texts("workers"), ""), 10, 64)
	class, _ := r.values["worker_class"]
	threads := strings.Join(r.Texts("threads"), "")
	switch {
	case (class == nil || class.data == "sync") && (threads == "" || threads == "1"):
		r.Say(settings.Hint, v.at, v.name, "", foreign.Needless+"workers of the class sync do not use it", "")
	case err != nil || n == 0:
		r.Say(settings.Hint, v.at, v.name, "", foreign.Needless+"max_connections follows the limit of open files", "")
	default:
		r.giveTexts(v, "max_connections", strconv.FormatInt(min(n, 1<<31)*workers, 10))
	}
}

// keepalive is seconds; those of gunicorn's default are few for a connection behind a proxy.
func (r *reader) keepalive(v *value) {
	n, ok := r.number(v)
	switch {
	case !ok:
	case n == 0:
		r.Say(settings.Warning, v.at, v.name, v.shown(), "connections stay open here, for idle_timeout at most", "leave it out")
	default:
		r.giveNumber(v, settingOf(v.name), n)
		if n < 60 {
			r.Say(settings.Hint, v.at, v.name, "", "a proxy that keeps connections for longer meets closed ones", "leave it out for 2m10s")
		}
	}
}

// headDefault is head_bytes where nothing is given.
const headDefault = 32 << 10

// headMax is the largest head_bytes.
func headMax() int64 { return settings.Find("head_bytes", settings.Run).Max }

// requestLine is limit_request_line; 0 is no limit of its own.
func (r *reader) requestLine(v *value) {
	if n, ok := r.number(v); ok {
		s := settingOf(v.name)
		if n == 0 || n > s.Max {
			n = headDefault
		}
		r.giveNumber(v, s, n)
	}
}

// fieldSize is that of one field, and head_bytes that of all: the default of that, or more if one may have more.
func (r *reader) fieldSize(v *value) {
	n, ok := r.number(v)
	if !ok {
		return
	}
	if n == 0 {
		n = headMax()
	}
	line := int64(4094) // gunicorn's own
	if other := r.values["limit_request_line"]; other != nil && other.data != nil {
		if line, ok = r.number(other); !ok {
			return
		}
	}
	total := min(min(n, headMax())+min(line, headMax()), headMax())
	r.giveNumber(v, settingOf(v.name), max(total, headDefault))
	r.Say(settings.Hint, v.at, v.name, "", "head_bytes is for the request line and all fields together", "")
}

// fields is how many there may be.
func (r *reader) fields(v *value) {
	n, ok := r.number(v)
	if !ok {
		return
	}
	s := settingOf(v.name)
	if n == 0 || n > s.Max {
		r.Say(settings.Warning, v.at, v.name, v.shown(), fmt.Sprintf("requests have at most %d fields here", s.Max), "")
		n = s.Max
	}
	r.giveNumber(v, s, n)
}

func (r *reader) umask(v *value) {
	if n, ok := r.number(v); ok {
		if n > 0o777 {
			r.wrong(v, "must be a file mode", fmt.Sprintf("write 0o%d if it is octal", n))
			return
		}
		if n == 0 { // gunicorn's default, which templates write out
			r.Say(settings.Hint, v.at, v.name, "", "the umask stays as it is; gunicorn sets it to 0 here", "")
			return
		}
		r.giveTexts(v, "umask", fmt.Sprintf("%#o", n))
	}
}

// forwarded is the proxies to believe: addresses, networks, or * for all.
func (r *reader) forwarded(v *value) {
	text, ok := v.data.(string)
	if !ok {
		r.wrong(v, "must be a text, with commas", "")
		return
	}
	var prefixes []string
	for word := range strings.SplitSeq(text, ",") {
		word = strings.TrimSpace(word)
		switch {
		case word == "":
		case word == "*":
			prefixes = append(prefixes, "0.0.0.0/0", "::/0", "unix")
			if bind := r.values["bind"]; bind == nil || !onlyUnix(bind) {
				r.Say(settings.Warning, v.at, v.name, v.shown(), "any client may say who it is",
					"give the addresses of the proxies, or listen on a Unix socket")
			}
		default:
			if _, _, err := net.ParseCIDR(word); err != nil && net.ParseIP(word) == nil {
				r.wrong(v, word+" is no address and no network", "")
				return
			}
			prefixes = append(prefixes, prefix(word))
		}
	}
	if len(prefixes) > 0 {
		r.giveTexts(v, "trusted_proxies", prefixes...)
	}
}

// prefix is an address as a network.
func prefix(address string) string {
	switch {
	case strings.Contains(address, "/"):
		return address
	case strings.Contains(address, ":"):
		return address + "/128"
	}
	return address + "/32"
}

func onlyUnix(bind *value) bool {
	words, err := bind.words()
	return err == nil && !slices.ContainsFunc(words, func(word string) bool { return !strings.HasPrefix(word, "unix:") })
}

// output is a file that will be written, or -.
func (r *reader) output(v *value) {
	if text, ok := v.data.(string); ok && text != "" && text != "-" {
		r.CheckDirectory(v.at, v.name, text)
	}
	r.plain(v)
}

// combined is the format of access logs that gunicorn has by default.
const combined = `%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"`

func (r *reader) format(v *value) {
	text, ok := v.data.(string)
	if !ok {
		r.wrong(v, "must be a text", "")
		return
	}
	r.giveTexts(v, "log.format", "combined")
	if strings.TrimSpace(text) != combined {
		r.Say(settings.Warning, v.at, v.name, v.shown(), "lines have the format combined here", "log.format can also be json")
	}
}

func (r *reader) level(v *value) {
	text, _ := v.data.(string)
	switch level := strings.ToLower(strings.TrimSpace(text)); level {
	case "": // gunicorn takes what it does not know for info
		if _, ok := v.data.(string); ok {
			r.giveTexts(v, "log.level", "info")
			return
		}
		r.wrong(v, "must be a text", "")
	case "warning":
		r.giveTexts(v, "log.level", "warn")
	case "critical":
		r.giveTexts(v, "log.level", "error")
	default:
		r.giveTexts(v, "log.level", level)
	}
}

// path is directories with commas, absolute: chdir changes nothing then.
func (r *reader) path(v *value) {
	text, ok := v.data.(string)
	if !ok {
		r.wrong(v, "must be a text, with commas", "")
		return
	}
	var dirs []string
	for dir := range strings.SplitSeq(text, ",") {
		if dir = strings.TrimSpace(dir); dir == "" {
			continue
		}
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			r.wrong(v, "there is no directory "+dir, "make it, or leave it out")
			return
		}
		dirs = append([]string{absolute(dir)}, dirs...) // gunicorn puts each in front of those before it
	}
	if len(dirs) > 0 {
		r.giveTexts(v, "python.path", dirs...)
	}
}

// hook has the workers run the hooks of the file.
func (r *reader) hook(v *value) {
	if v.kind != kindHook && v.kind != kindClass {
		r.wrong(v, "must be a function", "")
		return
	}
	if !r.Has("hooks") {
		r.giveTexts(v, "hooks", absolute(v.at.Name))
	}
}

// schemeHeaders are the fields that say https; only gunicorn's own are known.
func (r *reader) schemeHeaders(v *value) {
	own := map[string]any{"X-FORWARDED-PROTOCOL": "ssl", "X-FORWARDED-PROTO": "https", "X-FORWARDED-SSL": "on"}
	said, ok := v.data.(map[string]any)
	for field, value := range said {
		ok = ok && own[field] == value
	}
	if !ok {
		r.wrong(v, "isbjorn has nothing like it", rules[v.name].refused)
	}
}

func (r *reader) headerMap(v *value) {
	words := map[any]string{"drop": "drop", "refuse": "refuse", "dangerous": "keep"}
	if word := words[v.data]; word != "" {
		r.giveTexts(v, "underscore_fields", word)
	} else {
		r.wrong(v, "must be one of "+strings.Join(slices.Sorted(maps.Values(map[int]string{1: "dangerous", 2: "drop", 3: "refuse"})), ", "), "")
	}
}

// certReqs is whether clients are asked for a certificate, by a number of module ssl: 0 for no, 2 for required.
func (r *reader) certReqs(v *value) {
	n, ok := r.number(v)
	ca := r.values["ca_certs"]
	switch {
	case !ok || n == 0:
	case n > 2:
		r.wrong(v, "must be 0, 1 or 2", "")
	case ca == nil || ca.data == nil:
		r.wrong(v, "there are no certificates to check those of clients with", "give ca_certs")
	default:
		r.giveTexts(v, "tls.client_auth", map[bool]string{true: "request", false: "require"}[n == 1])
	}
}

// clientCA gives ca_certs where cert_reqs asks clients for a certificate.
func (r *reader) clientCA(v *value) {
	if reqs := r.values["cert_reqs"]; reqs == nil || reqs.off("") {
		r.Say(settings.Hint, v.at, v.name, "", foreign.Needless+"clients are asked for a certificate with cert_reqs alone", "")
		return
	}
	r.plain(v)
}

// tls has all addresses be https where there is a certificate, as in gunicorn.
func (r *reader) tls() {
	cert := r.values["certfile"]
	if !r.Has("tls.cert") {
		return
	}
	if !r.Has("bind") {
		r.defaultBind()
	}
	binds := r.Texts("bind")
	for i, address := range binds {
		if strings.HasPrefix(address, "unix:") || strings.HasPrefix(address, "fd:") {
			r.Say(settings.Error, cert.at, cert.name, cert.shown(), address+" cannot have TLS",
				"leave certfile out: the proxy in front has TLS")
			return
		}
		binds[i] = "https://" + address
	}
	if len(binds) > 0 {
		r.Change("bind", binds)
	}
}

// defaultBind is gunicorn's own address, unless the variable PORT gives one.
func (r *reader) defaultBind() {
	if port := os.Getenv("PORT"); port == "" {
		r.GiveDefault("bind", "127.0.0.1:8000")
	} else if r.Has("tls.cert") {
		r.GiveDefault("bind", "0.0.0.0:"+port)
	}
}

// defaults gives what holds in gunicorn where nothing is given, and is different here.
func (r *reader) defaults() {
	r.defaultBind()
	if os.Getenv("WEB_CONCURRENCY") == "" {
		r.GiveDefault("workers", "1")
	}
	if os.Getenv("FORWARDED_ALLOW_IPS") == "" {
		r.GiveDefault("trusted_proxies", "127.0.0.1/32", "::1/128")
	}
	r.GiveDefault("body_bytes", "none")
	r.Say(settings.Hint, foreign.Place{Source: settings.Source{Origin: settings.File, Name: r.Name}}, "", "",
		"gunicorn has no limit for the content of a request", "body_bytes sets one")
}
