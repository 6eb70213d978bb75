package gunicorn

import (
	"os"
	"slices"
	"strings"

	"github.com/isbjorn/isbjorn/cmd/isbjorn/internal/foreign"
	"github.com/isbjorn/isbjorn/internal/settings"
)

// A flagKind is how many values a flag has.
type flagKind uint8

const (
	one      flagKind = iota
	many              // may be given several times
	yes               // none: it is True
	no                // none: it is False
	optional          // one behind = or as the next argument, or none
)

// An argument is a flag of gunicorn's command line.
type argument struct {
	long, short string
	setting     string
	kind        flagKind
}

var flags = []argument{
	{"config", "c", "config", one}, {"bind", "b", "bind", many}, {"backlog", "", "backlog", one},
	{"workers", "w", "workers", one}, {"worker-class", "k", "worker_class", one}, {"threads", "", "threads", one},
	{"worker-connections", "", "worker_connections", one}, {"max-requests", "", "max_requests", one},
	{"max-requests-jitter", "", "max_requests_jitter", one}, {"timeout", "t", "timeout", one},
	{"graceful-timeout", "", "graceful_timeout", one}, {"keep-alive", "", "keepalive", one},
	{"limit-request-line", "", "limit_request_line", one}, {"limit-request-fields", "", "limit_request_fields", one},
	{"limit-request-field_size", "", "limit_request_field_size", one}, {"reload", "", "reload", yes},
	{"reload-engine", "", "reload_engine", one}, {"reload-extra-file", "", "reload_extra_files", many},
	{"spew", "", "spew", yes}, {"check-config", "", "check_config", yes}, {"print-config", "", "print_config", yes},
	{"preload", "", "preload_app", yes}, {"no-sendfile", "", "sendfile", no}, {"reuse-port", "", "reuse_port", yes},
	{"chdir", "", "chdir", one}, {"daemon", "D", "daemon", yes}, {"env", "e", "raw_env", many}, {"pid", "p", "pidfile", one},
	{"worker-tmp-dir", "", "worker_tmp_dir", one}, {"user", "u", "user", one}, {"group", "g", "group", one},
	{"umask", "m", "umask", one}, {"initgroups", "", "initgroups", yes},
	{"forwarded-allow-ips", "", "forwarded_allow_ips", one}, {"access-logfile", "", "accesslog", one},
	{"disable-redirect-access-to-syslog", "", "disable_redirect_access_to_syslog", yes},
	{"access-logformat", "", "access_log_format", one}, {"error-logfile", "", "errorlog", one},
	{"log-file", "", "errorlog", one}, {"log-level", "", "loglevel", one}, {"capture-output", "", "capture_output", yes},
	{"logger-class", "", "logger_class", one}, {"log-config", "", "logconfig", one},
	{"log-config-json", "", "logconfig_json", one}, {"log-syslog-to", "", "syslog_addr", one},
	{"log-syslog", "", "syslog", yes}, {"log-syslog-prefix", "", "syslog_prefix", one},
	{"log-syslog-facility", "", "syslog_facility", one}, {"enable-stdio-inheritance", "R", "enable_stdio_inheritance", yes},
	{"statsd-host", "", "statsd_host", one}, {"dogstatsd-tags", "", "dogstatsd_tags", one},
	{"statsd-prefix", "", "statsd_prefix", one}, {"enable-backlog-metric", "", "enable_backlog_metric", yes},
	{"name", "n", "proc_name", one}, {"pythonpath", "", "pythonpath", one}, {"paste", "", "paste", one},
	{"paster", "", "paste", one}, {"proxy-protocol", "", "proxy_protocol", optional},
	{"proxy-allow-from", "", "proxy_allow_ips", one}, {"protocol", "", "protocol", one},
	{"uwsgi-allow-from", "", "uwsgi_allow_ips", one}, {"keyfile", "", "keyfile", one}, {"certfile", "", "certfile", one},
	{"ssl-version", "", "ssl_version", one}, {"cert-reqs", "", "cert_reqs", one}, {"ca-certs", "", "ca_certs", one},
	{"suppress-ragged-eofs", "", "suppress_ragged_eofs", yes},
	{"do-handshake-on-connect", "", "do_handshake_on_connect", yes}, {"ciphers", "", "ciphers", one},
	{"http-protocols", "", "http_protocols", one}, {"http2-cleartext", "", "http2_cleartext", one},
	{"http2-max-concurrent-streams", "", "http2_max_concurrent_streams", one},
	{"http2-initial-window-size", "", "http2_initial_window_size", one},
	{"http2-max-frame-size", "", "http2_max_frame_size", one},
	{"http2-max-header-list-size", "", "http2_max_header_list_size", one},
	{"paste-global", "", "raw_paste_global_conf", many}, {"permit-obsolete-folding", "", "permit_obsolete_folding", yes},
	{"strip-header-spaces", "", "strip_header_spaces", yes},
	{"permit-unconventional-http-method", "", "permit_unconventional_http_method", yes},
	{"permit-unconventional-http-version", "", "permit_unconventional_http_version", yes},
	{"casefold-http-method", "", "casefold_http_method", yes}, {"forwarder-headers", "", "forwarder_headers", one},
	{"header-map", "", "header_map", one}, {"asgi-loop", "", "asgi_loop", one},
	{"asgi-lifespan", "", "asgi_lifespan", one},
	{"asgi-disconnect-grace-period", "", "asgi_disconnect_grace_period", one}, {"http-parser", "", "http_parser", one},
	{"root-path", "", "root_path", one}, {"dirty-app", "", "dirty_apps", many}, {"dirty-workers", "", "dirty_workers", one},
	{"dirty-timeout", "", "dirty_timeout", one}, {"dirty-threads", "", "dirty_threads", one},
	{"dirty-graceful-timeout", "", "dirty_graceful_timeout", one}, {"control-socket", "", "control_socket", one},
	{"control-socket-mode", "", "control_socket_mode", one}, {"no-control-socket", "", "control_socket_disable", yes},
}

// variable has flags that gunicorn reads before those of the command line.
const variable = "GUNICORN_CMD_ARGS"

// CommandLine reads the arguments of a command gunicorn, without its name, and what gunicorn reads then: the
// configuration file, that of -c or DefaultFile, and GUNICORN_CMD_ARGS. The file has the least weight, and the
// arguments have the greatest. With noPython the file is read as ReadLiterals does.
func CommandLine(args []string, noPython bool) *settings.Document {
	r := newReader("gunicorn")
	r.noPython = noPython
	fromArgs := r.parse(args, func(name string) settings.Source {
		return settings.Source{Origin: settings.Flags, Name: name}
	})
	at := settings.Source{Origin: settings.Environment, Name: variable}
	words, err := splitWords(os.Getenv(variable))
	if err != nil {
		r.Say(settings.Error, foreign.Place{Source: at}, "", os.Getenv(variable), err.Error(), "")
	}
	fromVariable := r.parse(words, func(string) settings.Source { return at })
	if config := cmpOr(fromArgs["config"], fromVariable["config"]); config != nil {
		r.open(config.shown(), config.at)
	} else if data, err := os.ReadFile(DefaultFile); err == nil {
		r.Name = DefaultFile
		r.file(DefaultFile, data)
	}
	for _, source := range []map[string]*value{fromVariable, fromArgs} {
		for _, f := range flags { // in an order that is always the same
			if v := source[f.setting]; v != nil {
				r.set(v)
			}
		}
		if v := source["wsgi_app"]; v != nil {
			r.set(v)
		}
	}
	return r.finish()
}

func cmpOr(a, b *value) *value {
	if a != nil {
		return a
	}
	return b
}

// parse reads flags as argparse of Python does, and returns a value for each setting that is given.
func (r *reader) parse(args []string, source func(flag string) settings.Source) map[string]*value {
	values := map[string]*value{}
	wrong := func(flag, message, mend string) {
		r.Say(settings.Error, foreign.Place{Source: source(flag)}, "", "", message, mend)
	}
	give := func(name string, f argument, data any) {
		if before := values[f.setting]; before != nil && f.kind == many {
			before.data = append(before.data.([]any), data)
			return
		}
		if f.kind == many {
			data = []any{data}
		}
		values[f.setting] = &value{name: f.setting, kind: kindLiteral, data: data, at: foreign.Place{Source: source(name)}}
	}
	onlyArgs := false
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		switch {
		case arg == "--" && !onlyArgs:
			onlyArgs = true
			continue
		case onlyArgs || !strings.HasPrefix(arg, "-") || arg == "-":
			if values["wsgi_app"] == nil {
				give(arg, argument{setting: "wsgi_app"}, arg)
			} else {
				wrong(arg, "there is one application, "+values["wsgi_app"].shown(), "")
			}
			continue
		}
		var f *argument
		var name, text string
		joined := false
		if long, ok := strings.CutPrefix(arg, "--"); ok {
			long, text, joined = strings.Cut(long, "=")
			name = "--" + long
			var ok bool
			if f, ok = r.long(long, wrong); !ok {
				if f != nil && (f.kind == one || f.kind == many) && !joined && len(args) > 0 && !strings.HasPrefix(args[0], "-") {
					args = args[1:] // the value of a flag that is misspelled
				}
				continue
			}
		} else {
			name = arg[:2]
			text, joined = arg[2:], len(arg) > 2
			if i := slices.IndexFunc(flags, func(f argument) bool { return f.short == arg[1:2] }); i >= 0 {
				f = &flags[i]
			} else if arg[1:2] == "v" || arg[1:2] == "h" {
				wrong(name, "only prints something", "leave it out")
				continue
			} else {
				wrong(name, "gunicorn has no such flag", "")
				continue
			}
			if joined && (f.kind == yes || f.kind == no) { // -DR is -D -R
				args = append([]string{"-" + text}, args...)
				joined = false
			} else {
				text = strings.TrimPrefix(text, "=")
			}
		}
		switch {
		case f.kind == yes || f.kind == no:
			if joined {
				wrong(name, "takes no value", "")
				continue
			}
			give(name, *f, f.kind == yes)
		case joined:
			give(name, *f, text)
		case len(args) > 0 && (!strings.HasPrefix(args[0], "-") || args[0] == "-" || isNumber(args[0])):
			give(name, *f, args[0])
			args = args[1:]
		case f.kind == optional:
			give(name, *f, "auto")
		default:
			wrong(name, "has no value", "")
		}
	}
	return values
}

// isNumber reports whether argparse takes an argument with - at its front for a value.
func isNumber(text string) bool { return strings.Trim(text[1:], "0123456789.") == "" }

// long finds a flag by its name, or by the beginning of it that no other has. If there is none the flag is the one
// that is meant, perhaps.
func (r *reader) long(name string, wrong func(flag, message, mend string)) (f *argument, ok bool) {
	var found []*argument
	var list []string
	for i := range flags {
		if flags[i].long == name {
			return &flags[i], true
		}
		if strings.HasPrefix(flags[i].long, name) {
			found = append(found, &flags[i])
		}
		list = append(list, flags[i].long)
	}
	switch {
	case len(found) == 1:
		return found[0], true
	case name == "version" || name == "help":
		wrong("--"+name, "only prints something", "leave it out")
	case len(found) > 1:
		wrong("--"+name, "stands for --"+found[0].long+" and --"+found[1].long, "write it out")
		return found[0], false
	default:
		mend := ""
		if near := settings.Nearest(name, list); near != "" {
			mend = "did you mean --" + near + "?"
			f = &flags[slices.Index(list, near)]
		}
		wrong("--"+name, "gunicorn has no such flag", mend)
	}
	return f, false
}
