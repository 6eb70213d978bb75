package uwsgi

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/isbjorn/isbjorn/cmd/isbjorn/internal/foreign"
	"github.com/isbjorn/isbjorn/internal/settings"
)

// application is what uWSGI loads: a module or a file, and the name of the callable in it.
type application struct {
	target, callable *entry
}

// translate gives our settings for all entries.
func (r *reader) translate() {
	used := r.used()
	for _, e := range r.entries {
		if e.name == "protocol" || e.name == "socket-protocol" {
			r.protocol = e.value
		}
	}
	for _, e := range r.entries {
		if e.wrong {
			continue
		}
		r.cutComment(e)
		switch o, ok := lookup(e.name); {
		case !ok && used[e.name]: // a placeholder
		case !ok:
			message := "no uWSGI option that isbjorn knows"
			if e.at.Origin == settings.File {
				message += ", and no %(" + e.name + ") uses it"
			}
			mend := "leave it out"
			if near := settings.Nearest(e.name, names()); near != "" {
				mend = "did you mean " + near + "?"
			}
			r.Say(settings.Error, e.at, e.name, "", message, mend)
		case o.set != nil:
			o.set(r, e)
		case o.taken != "":
			r.needless(e, o.taken)
		case o.refused != "":
			if !isFalse(e.value) {
				r.Say(settings.Error, e.at, e.name, e.value, "isbjorn has nothing like it", o.refused)
			}
		default:
			r.plain(e)
		}
	}
	r.application()
	r.defaults()
}

func (r *reader) needless(e *entry, why string) {
	r.Say(settings.Hint, e.at, e.name, "", foreign.Needless+why, "")
}

// comment is a comment behind a value, as other ini files have it.
var comment = regexp.MustCompile(`[ \t]+[;#].*$`)

// cutComment cuts a comment behind a value, where a value cannot have one.
func (r *reader) cutComment(e *entry) {
	if e.at.Origin != settings.File || ownPercent[e.name] || e.name == "env" || strings.HasPrefix(e.name, "procname") {
		return
	}
	if cut := comment.FindString(e.value); cut != "" {
		e.value = strings.TrimSuffix(e.value, cut)
		r.Say(settings.Warning, e.at, e.name, e.value, "uWSGI has no comments behind a value: it takes "+
			strconv.Quote(strings.TrimSpace(cut))+" for a part of it, which is left out here", "give the comment a line of its own")
	}
}

// isFalse reports whether uWSGI takes a text for no.
func isFalse(text string) bool {
	return slices.Contains([]string{"false", "off", "no", "0"}, strings.ToLower(text))
}

// isSwitch reports whether a text is a word for yes or no, and no value.
func isSwitch(text string) bool {
	return text == "" || isFalse(text) || slices.Contains([]string{"true", "on", "yes", "1"}, strings.ToLower(text))
}

// plain gives an option as the setting that has its name in the table.
func (r *reader) plain(e *entry) {
	s := settingOf(e.name)
	switch s.Kind {
	case settings.Bool:
		r.Give(s.Key, e.at, strconv.FormatBool(!isFalse(e.value)))
	case settings.Int, settings.Duration, settings.Bytes:
		if n, ok := r.number(e); ok {
			r.giveNumber(e, s, n, "")
		}
	default:
		r.giveText(e, s.Key, e.value)
	}
}

// number is the value of an option that takes one; no value is 1.
func (r *reader) number(e *entry) (int64, bool) {
	if e.value == "" || strings.EqualFold(e.value, "true") {
		return 1, true
	}
	n, err := strconv.ParseInt(e.value, 10, 64)
	if err == nil && n >= 0 && e.value[0] != '+' {
		return n, true
	}
	message, mend := "a number", ""
	if n := head(e.value); n > 0 {
		message = "a number; uWSGI takes the digits at the front alone"
		mend = fmt.Sprintf("write %d if that is meant", n)
	}
	r.Say(settings.Error, e.at, e.name, e.value, message, mend)
	return 0, false
}

// giveNumber gives a number with a unit, "" for seconds, bytes or none. 0 is none where there may be none.
func (r *reader) giveNumber(e *entry, s *settings.Setting, n int64, unit string) {
	text := strconv.FormatInt(n, 10) + unit
	if n == 0 && s.None {
		text = "none"
	}
	r.giveText(e, s.Key, text)
}

// giveText gives a text if the setting takes it.
func (r *reader) giveText(e *entry, key, text string) {
	if text == "" {
		r.Say(settings.Error, e.at, e.name, "", "has no value", "")
		return
	}
	normal, err := settings.Find(key, settings.Run).Normal(text)
	if err != nil {
		r.Say(settings.Error, e.at, e.name, e.value, err.Error(), "")
		return
	}
	r.Give(key, e.at, normal)
}

// scaled gives a number in units of the setting's own.
func scaled(unit string) func(*reader, *entry) {
	return func(r *reader, e *entry) {
		if n, ok := r.number(e); ok {
			r.giveNumber(e, settingOf(e.name), n, unit)
		}
	}
}

// address is an address as isbjorn writes it; uWSGI takes one without a colon for the path of a Unix socket.
func (r *reader) address(e *entry, text string) (string, bool) {
	wrong := func(message, mend string) (string, bool) {
		r.Say(settings.Error, e.at, e.name, e.value, message, mend)
		return "", false
	}
	switch {
	case text == "":
		return wrong("has no address", "write host:port or :port")
	case strings.Contains(text, ","):
		return wrong("an address with more behind a comma", "write the address alone: isbjorn has the workers itself")
	case strings.HasPrefix(text, "="):
		return wrong("shared sockets are not read", "write the address here")
	case strings.HasPrefix(text, "fd://"):
		return text, true
	case strings.Trim(text, "0123456789") == "":
		return wrong("uWSGI takes an address without a colon for a Unix socket", "write :"+text)
	case strings.HasPrefix(text, "/") || !strings.Contains(text, ":"):
		return "unix:" + text, true
	}
	text = strings.TrimPrefix(text, "*")
	_, port, err := net.SplitHostPort(text)
	n, errPort := strconv.ParseUint(port, 10, 16)
	if err != nil || errPort != nil || strconv.FormatUint(n, 10) != port {
		return wrong("an address is host:port, :port or the path of a Unix socket", "")
	}
	return text, true
}

func (r *reader) bind(e *entry) {
	if address, ok := r.address(e, e.value); ok {
		r.Give("bind", e.at, address)
	}
}

// https is ADDRESS,CERTIFICATE,KEY[,CIPHERS[,CLIENT_CA]].
func (r *reader) https(e *entry) {
	parts := strings.Split(e.value, ",")
	if len(parts) < 3 || strings.Contains(e.value, "=") {
		r.Say(settings.Error, e.at, e.name, e.value, "isbjorn reads address,certificate,key", "write it so")
		return
	}
	address, ok := r.address(e, parts[0])
	if !ok {
		return
	}
	r.Give("bind", e.at, "https://"+address)
	r.Give("tls.cert", e.at, parts[1])
	r.Give("tls.key", e.at, parts[2])
	if len(parts) > 3 && parts[3] != "" {
		r.Say(settings.Warning, e.at, e.name, e.value, "the ciphers are Go's, TLS 1.2 or later", "leave "+parts[3]+" out")
	}
	if len(parts) > 4 {
		ca, required := strings.CutPrefix(parts[4], "!")
		r.Give("tls.client_ca", e.at, ca)
		if !required {
			r.Give("tls.client_auth", e.at, "request")
		}
	}
}

// socket speaks the protocol uwsgi, unless protocol = http.
func (r *reader) socket(e *entry) {
	if r.protocol == "http" && e.name == "socket" {
		r.bind(e)
		return
	}
	r.Say(settings.Error, e.at, e.name, e.value, "isbjorn speaks HTTP, and not the protocol uwsgi",
		"write http-socket here, and in nginx proxy_pass in place of uwsgi_pass")
}

// stats is the address of the stats server.
func (r *reader) stats(e *entry) {
	address, ok := r.address(e, e.value)
	if !ok {
		return
	}
	r.Give("stats.bind", e.at, address)
	if strings.HasPrefix(address, "unix:") || strings.HasPrefix(address, "fd:") {
		return
	}
	host, _, err := net.SplitHostPort(address)
	hosts, _ := readSome(hostsFile)
	alone := host == "localhost" || aloneHint(hosts, host) != ""
	if ip := net.ParseIP(host); err == nil && !alone && (ip == nil || !ip.IsLoopback()) {
		r.Say(settings.Warning, e.at, e.name, e.value, "the network can read these numbers", "write 127.0.0.1 for the host")
	}
}

// keepalive is a switch with 1, and else seconds.
func (r *reader) keepalive(e *entry) {
	n, ok := r.number(e)
	switch {
	case !ok:
	case n > 1:
		r.giveNumber(e, settingOf(e.name), n, "")
	case n == 1:
		r.needless(e, "connections stay open, for idle_timeout at most")
	default:
		r.Say(settings.Warning, e.at, e.name, e.value, "connections stay open here, for idle_timeout at most", "leave it out")
	}
}

// log is a file for the log. daemonize has a path, and not a switch: uWSGI writes to a file called true.
func (r *reader) log(e *entry) {
	switch {
	case isSwitch(e.value):
		r.Say(settings.Error, e.at, e.name, e.value, "uWSGI would write the log into a file of this name", "write a path")
		return
	case strings.Contains(e.value, ":"):
		r.Say(settings.Error, e.at, e.name, e.value, "the log can be a file, and not an address", "write a path")
		return
	}
	r.CheckDirectory(e.at, e.name, e.value)
	r.giveText(e, "log.file", e.value)
	if strings.HasPrefix(e.name, "daemonize") {
		r.Give("daemon", e.at, "true")
		r.Say(settings.Hint, e.at, e.name, "", "the umask stays as it is; uWSGI sets it to 0 here", "")
	}
}

// logger is file:PATH, with a name in front of it or not.
func (r *reader) logger(e *entry) {
	key := "log.file"
	if strings.Contains(e.name, "req") {
		key = "log.access"
	}
	kind, path, _ := strings.Cut(e.value, ":")
	if name := strings.Fields(kind); len(name) == 2 {
		kind = name[1]
	}
	switch kind {
	case "file":
		r.CheckDirectory(e.at, e.name, path)
		r.giveText(e, key, path)
	case "stdio":
		r.giveText(e, key, "-")
	default:
		r.Say(settings.Error, e.at, e.name, e.value, "a log is a file here", "write file:PATH, or leave it out and let "+
			"systemd's journal have standard error")
	}
}

func (r *reader) logFormat(e *entry) {
	r.Say(settings.Warning, e.at, e.name, e.value, "lines have the format combined here",
		"log.format can also be json")
}

// output is a file that will be written.
func (r *reader) output(e *entry) {
	r.CheckDirectory(e.at, e.name, e.value)
	r.plain(e)
}

// path gives a directory that must be there, absolute: chdir changes nothing then. A pattern stands for all that it
// matches.
func (r *reader) path(e *entry) {
	found, err := filepath.Glob(e.value)
	if err != nil || len(found) == 0 {
		r.Say(settings.Error, e.at, e.name, e.value, "there is no such directory", "make it, or leave this line out")
		return
	}
	for _, dir := range found {
		r.giveText(e, "python.path", absolute(dir))
	}
}

// home is the directory of a virtual environment.
func (r *reader) home(e *entry) {
	for _, name := range []string{"python3", "python"} {
		exe := filepath.Join(absolute(e.value), "bin", name)
		if _, err := os.Stat(exe); err == nil {
			r.giveText(e, "python.exe", exe)
			return
		}
	}
	r.Say(settings.Error, e.at, e.name, e.value, "there is no bin/python3 in this directory",
		"python3 -m venv "+foreign.Quote(e.value))
}

func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// target takes module and wsgi-file; callable is the name in it.
func (r *reader) target(e *entry) {
	if e.value == "" {
		r.Say(settings.Error, e.at, e.name, "", "has no value", "")
		return
	}
	if before := r.app.target; before != nil {
		r.Twice(e.at, before.at.Source)
	}
	r.app.target = e
}

// application gives module:callable.
func (r *reader) application() {
	target, callable := r.app.target, r.app.callable
	switch {
	case target == nil && callable != nil:
		r.Say(settings.Error, callable.at, callable.name, callable.value, "there is no module", "add module = NAME")
	case target == nil:
	case callable == nil || strings.Contains(filepath.Base(target.value), ":"):
		r.giveText(target, "app", target.value)
	default:
		r.giveText(target, "app", target.value+":"+callable.value)
	}
}

// autoreload is the seconds between two looks; 0 is none.
func (r *reader) autoreload(e *entry) {
	if n, ok := r.number(e); ok {
		r.Give("reload.watch", e.at, strconv.FormatBool(n > 0))
	}
}

// headBytes is buffer-size: of a head that uWSGI takes.
func (r *reader) headBytes(e *entry) {
	n, ok := r.number(e)
	if !ok {
		return
	}
	s := settings.Find("head_bytes", settings.Run)
	if n > s.Max {
		r.Say(settings.Hint, e.at, e.name, "", fmt.Sprintf("heads have at most %d bytes here", s.Max), "")
		n = s.Max
	}
	r.giveNumber(e, s, n, "")
	if def, err := s.Normal(s.Default); err == nil && n < 32<<10 {
		r.Say(settings.Hint, e.at, e.name, "", "head_bytes is "+def+" by default; this can be left out", "")
	}
}

// socketMode is chmod-socket; without a value it is 666.
func (r *reader) socketMode(e *entry) {
	if isSwitch(e.value) {
		r.Give("socket_mode", e.at, "0666")
		return
	}
	r.plain(e)
}

func (r *reader) plugin(e *entry) {
	for name := range strings.SplitSeq(e.value, ",") {
		name = strings.TrimSpace(name)
		if name == "" || slices.ContainsFunc([]string{"python", "http", "gevent", "logfile", "router_static", "corerouter"},
			func(ours string) bool { return strings.HasPrefix(name, ours) }) {
			continue
		}
		r.Say(settings.Error, e.at, e.name, e.value, "isbjorn has no plugins, and nothing like "+name, "leave it out")
		return
	}
	r.needless(e, "isbjorn runs Python and has no plugins")
}

// defaults gives what holds in uWSGI where nothing is given, and is different here.
func (r *reader) defaults() {
	at := foreign.Place{Source: settings.Source{Origin: settings.File, Name: r.Name}}
	if r.lazy == nil || isFalse(r.lazy.value) {
		r.GiveDefault("preload", "true")
		r.Say(settings.Hint, at, "", "", "uWSGI imports the application once and forks the workers, and so does preload: "+
			"connections that it opens while it is imported are shared", "lazy-apps = true imports it in each worker")
	}
	r.GiveDefault("workers", "1")
	r.GiveDefault("request_timeout", "none")
	if !r.Has("body_bytes") {
		r.GiveDefault("body_bytes", "none")
		r.Say(settings.Hint, at, "", "", "uWSGI has no limit for the content of a request", "limit-post sets one")
	}
	if r.noLog {
		r.GiveDefault("log.access", "off")
		r.Change("log.access", []string{"off"}) // of a req-logger too
	} else if file := r.Texts("log.file"); len(file) == 1 {
		r.GiveDefault("log.access", file[0])
	} else {
		r.GiveDefault("log.access", "-")
	}
}
