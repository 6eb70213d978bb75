package uwsgi

import (
	"slices"
	"strings"

	"github.com/isbjorn/isbjorn/cmd/isbjorn/internal/foreign"
	"github.com/isbjorn/isbjorn/internal/settings"
)

// shorts are the one-letter flags.
var shorts = map[byte]string{
	's': "socket", 'p': "processes", 't': "harakiri", 'x': "xml", 'S': "set", 'd': "daemonize", 'l': "listen", 'v': "max-vars",
	'b': "buffer-size", 'm': "memory-report", 'c': "cgi-mode", 'a': "abstract-socket", 'C': "chmod-socket", 'T': "enable-threads",
	'i': "single-interpreter", 'M': "master", 'R': "max-requests", 'z': "socket-timeout", 'A': "sharedarea", 'Q': "spooler",
	'L': "disable-logging", 'y': "yaml", 'j': "json", 'w': "module", 'H': "home", 'O': "optimize",
}

// optional are the flags whose value must be joined to them by =, as getopt has it.
var optional = []string{"chmod-socket", "chmod", "memory-report", "need-app", "mule", "log-syslog", "log-date", "logdate",
	"log-prefix", "ksm", "http-keepalive", "http-manage-expect", "http-enable-proxy-protocol", "http-use-cache",
	"http-use-socket", "check-cache", "snmp", "exit", "pyshell", "pyshell-oneshot"}

// switches are the flags without a value.
var switches = []string{"master", "vacuum", "die-on-term", "single-interpreter", "enable-threads", "thunder-lock",
	"no-orphans", "ignore-sigpipe", "ignore-write-errors", "disable-write-exception", "write-errors-exception-only", "strict",
	"reuse-port", "so-keepalive", "tcp-nodelay", "no-defer-accept", "close-on-exec", "close-on-exec2", "stats-http", "stats-min",
	"stats-minified", "stats-no-cores", "stats-no-metrics", "auto-procname", "harakiri-verbose", "harakiri-no-arh",
	"no-harakiri-arh", "py-call-osafterfork", "gevent-monkey-patch", "gevent-early-monkey-patch", "log-4xx", "log-5xx",
	"log-micros", "log-format-strftime", "logformat-strftime", "log-zero", "log-master", "log-master-stream", "threaded-logger",
	"log-x-forwarded-for", "http-auto-chunked", "http-raw-body", "http-chunked-input", "http-websockets", "http-auto-gzip",
	"http-manage-source", "wsgi-manage-chunked-input", "wsgi-accept-buffer", "show-config", "skip-atexit", "lazy", "lazy-apps",
	"disable-logging", "abstract-socket", "manage-script-name", "vhost", "catch-exceptions", "reload-on-exception", "cheap",
	"die-on-idle", "freebind", "no-site", "enable-metrics", "log-reopen", "log-truncate", "enable-proxy-protocol", "cgi-mode"}

// CommandLine reads the arguments of a command uwsgi, without its name, and the files that they name: uwsgi FILE.ini,
// --ini FILE, -p 4. Options count in the order in which they are given.
func CommandLine(args []string) *settings.Document {
	r := newReader("uwsgi")
	for _, arg := range args { // the first file names the capital letters
		if file, _ := splitSection(arg); strings.HasSuffix(file, ".ini") {
			r.Name = file
			r.magic.set(arg, true)
			break
		}
	}
	r.environment()
	for len(args) > 0 {
		args = r.argument(args)
	}
	return r.finish()
}

// argument reads the first of args, and its value, and returns what is left.
func (r *reader) argument(args []string) []string {
	arg, rest := args[0], args[1:]
	at := foreign.Place{Source: settings.Source{Origin: settings.Flags, Name: arg}}
	name, value, joined := strings.Cut(strings.TrimPrefix(arg, "--"), "=")
	switch {
	case !strings.HasPrefix(arg, "-") || arg == "-":
		file, _ := splitSection(arg)
		if strings.HasSuffix(file, ".ini") {
			r.add(newEntry("ini", arg, at))
		} else {
			r.Say(settings.Error, at, "", "", "uWSGI does nothing with this argument", "write --module NAME, or --ini FILE")
		}
		return rest
	case !strings.HasPrefix(arg, "--"):
		long, ok := shorts[arg[1]]
		if !ok {
			r.Say(settings.Error, at, "", "", "no uWSGI option that isbjorn knows", "")
			return rest
		}
		name, value, joined = long, arg[2:], len(arg) > 2
		if joined && slices.Contains(switches, name) { // -MT is -M -T
			value, joined = "", false
			rest = append([]string{"-" + arg[2:]}, rest...)
		}
	}
	at.Name = "--" + name
	if !joined && !known(name) && len(rest) > 0 && !strings.HasPrefix(rest[0], "-") {
		rest = rest[1:] // the value of an option that is not known
	} else if !joined && !slices.Contains(switches, name) && !slices.Contains(optional, name) && known(name) {
		if len(rest) == 0 {
			r.Say(settings.Error, at, "", "", "has no value", "")
			return nil
		}
		value, rest = rest[0], rest[1:]
	}
	value, wrong := r.magic.replace(value)
	e := newEntry(name, value, at)
	r.dropped(e, wrong)
	r.add(e)
	return rest
}
