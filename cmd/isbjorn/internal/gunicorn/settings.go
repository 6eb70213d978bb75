package gunicorn

import (
	"slices"
	"strings"

	"github.com/isbjorn/isbjorn/cmd/isbjorn/internal/foreign"
	"github.com/isbjorn/isbjorn/internal/settings"
)

// A rule is the verdict on a setting of gunicorn. One without set, taken and refused is a setting of our table, whose
// column Gunicorn has its name.
type rule struct {
	set     func(*reader, *value)
	keys    string // ours, that set gives, where the table does not say it
	taken   string // why there is nothing to do
	refused string // what does it instead; not said for a value that is off
	off     string // a further value that is off
}

// Reasons and mends that many settings share.
const (
	asgi      = "it is for workers with ASGI alone"
	http2     = "it is for HTTP/2 alone"
	journal   = "let systemd's journal have standard error"
	inFront   = "let the proxy in front do it"
	scrape    = "scrape /metrics"
	dirty     = "start it as a program of its own: celery, rq, or a unit of systemd"
	strict    = "leave it out: what two servers may read in two ways is refused"
	inApp     = "write it in the application"
	logInApp  = "configure logging in the application; log.format, log.level and log.file are isbjorn's"
	withProxy = "it is for proxy_protocol alone"
	withUWSGI = "it is for protocol = \"uwsgi\" alone"
)

// rules are the settings that need more than a name in the table.
var rules map[string]rule

func init() { // the functions refer to the map
	rules = map[string]rule{
		"bind":                     {set: (*reader).bind},
		"worker_class":             {set: (*reader).workerClass, keys: "threads, gevent"},
		"worker_connections":       {set: func(*reader, *value) {}}, // with worker_class
		"threads":                  {set: (*reader).threads},
		"keepalive":                {set: (*reader).keepalive},
		"limit_request_line":       {set: (*reader).requestLine},
		"limit_request_field_size": {set: (*reader).fieldSize},
		"limit_request_fields":     {set: (*reader).fields},
		"umask":                    {set: (*reader).umask},
		"forwarded_allow_ips":      {set: (*reader).forwarded},
		"accesslog":                {set: (*reader).output}, "errorlog": {set: (*reader).output}, "pidfile": {set: (*reader).output},
		"access_log_format": {set: (*reader).format},
		"loglevel":          {set: (*reader).level},
		"pythonpath":        {set: (*reader).path},
		"cert_reqs":         {set: (*reader).certReqs},
		"ca_certs":          {set: (*reader).clientCA},
		"header_map":        {set: (*reader).headerMap},
		"config":            {keys: "(reads the file)", set: func(*reader, *value) {}},

		"backlog":                           {taken: "the queue is as long as the kernel allows: net.core.somaxconn"},
		"reload_engine":                     {taken: "files are watched in the way that the system has"},
		"sendfile":                          {taken: "files are sent by sendfile in any case"},
		"reuse_port":                        {taken: "connections are isbjorn's own, and not a worker's"},
		"worker_tmp_dir":                    {taken: "workers show that they live without a file"},
		"enable_stdio_inheritance":          {taken: "workers have standard output and error in any case"},
		"control_socket":                    {taken: "signals tell isbjorn what to do"},
		"control_socket_mode":               {taken: "signals tell isbjorn what to do"},
		"control_socket_disable":            {taken: "signals tell isbjorn what to do"},
		"disable_redirect_access_to_syslog": {taken: "there is no syslog"},
		"syslog_addr":                       {taken: "it is for syslog alone"},
		"syslog_prefix":                     {taken: "it is for syslog alone"},
		"syslog_facility":                   {taken: "it is for syslog alone"},
		"default_proc_name":                 {taken: "processes are named after the application"},
		"http_parser":                       {taken: "there is one parser"},
		"protocol":                          {refused: "write http here, and in nginx proxy_pass in place of uwsgi_pass", off: "http"},
		"uwsgi_allow_ips":                   {taken: withUWSGI},
		"proxy_allow_ips":                   {taken: withProxy},
		"ssl_version":                       {taken: "TLS is 1.2 or later; tls.min_version can be 1.3"},
		"suppress_ragged_eofs":              {taken: "a connection that ends early is no error of the application"},
		"do_handshake_on_connect":           {taken: "handshakes cost no worker"},
		"asgi_loop":                         {taken: asgi},
		"asgi_lifespan":                     {taken: asgi},
		"asgi_disconnect_grace_period":      {taken: asgi},
		"root_path":                         {taken: asgi},
		"http2_max_concurrent_streams":      {taken: http2},
		"http2_initial_window_size":         {taken: http2},
		"http2_max_frame_size":              {taken: http2},
		"http2_max_header_list_size":        {taken: http2},

		"http_protocols":                     {refused: inFront + ": it speaks HTTP/2, and HTTP/1.1 here", off: "h1"},
		"http2_cleartext":                    {refused: inFront, off: "off"},
		"spew":                               {refused: "run the application under python3 -m trace, or use py-spy"},
		"check_config":                       {refused: "isbjorn check"},
		"print_config":                       {refused: "isbjorn run --print-config"},
		"initgroups":                         {refused: "SupplementaryGroups in the unit of systemd"},
		"secure_scheme_headers":              {set: (*reader).schemeHeaders, refused: "have the proxy send X-Forwarded-Proto"},
		"forwarder_headers":                  {refused: "have the proxy send X-Forwarded-*", off: "SCRIPT_NAME,PATH_INFO"},
		"logger_class":                       {refused: logInApp, off: "gunicorn.glogging.Logger"},
		"logconfig":                          {refused: logInApp},
		"logconfig_dict":                     {refused: logInApp},
		"logconfig_json":                     {refused: logInApp},
		"syslog":                             {refused: journal},
		"statsd_host":                        {refused: scrape},
		"statsd_prefix":                      {refused: scrape},
		"dogstatsd_tags":                     {refused: scrape},
		"enable_backlog_metric":              {refused: scrape},
		"paste":                              {refused: "write a module that loads the file, and name it"},
		"raw_paste_global_conf":              {refused: "write a module that loads the file, and name it"},
		"proxy_protocol":                     {refused: "have the proxy send X-Forwarded-For, and set forwarded_allow_ips", off: "off"},
		"ciphers":                            {refused: "leave it out: TLS is 1.2 or later, with Go's choices"},
		"permit_obsolete_folding":            {refused: strict},
		"strip_header_spaces":                {refused: strict},
		"permit_unconventional_http_method":  {refused: strict},
		"permit_unconventional_http_version": {refused: strict},
		"casefold_http_method":               {refused: strict},
		"ssl_context":                        {refused: "leave it out: certfile, keyfile and ca_certs are read"},
		"dirty_apps":                         {refused: dirty},
		"dirty_workers":                      {refused: dirty},
		"dirty_timeout":                      {taken: "it is for dirty_apps alone"},
		"dirty_threads":                      {taken: "it is for dirty_apps alone"},
		"dirty_graceful_timeout":             {taken: "it is for dirty_apps alone"},
		"on_dirty_starting":                  {refused: dirty},
		"dirty_post_fork":                    {refused: dirty},
		"dirty_worker_init":                  {refused: dirty},
		"dirty_worker_exit":                  {refused: dirty},
	}
	for _, hook := range settings.Find("hooks", settings.Run).Gunicorn {
		rules[hook] = rule{set: (*reader).hook}
	}
}

// settingOf is the setting of our table that has a name of gunicorn's; nil if there is none.
func settingOf(name string) *settings.Setting {
	for _, s := range settings.Of(settings.Run) {
		if slices.Contains(s.Gunicorn, name) {
			return s
		}
	}
	return nil
}

// lookup is the verdict on a name.
func lookup(name string) (rule, bool) {
	if r, ok := rules[name]; ok {
		return r, true
	}
	return rule{}, settingOf(name) != nil
}

// names are those that are known.
func names() (list []string) {
	for _, v := range Verdicts() {
		list = append(list, v.Name)
	}
	return list
}

// Verdicts lists the settings of gunicorn, by name, and what becomes of each.
func Verdicts() (list []foreign.Verdict) {
	for name, r := range rules {
		v := foreign.Verdict{Name: name, Text: r.keys}
		switch s := settingOf(name); {
		case r.taken != "":
			v.Kind, v.Text = foreign.Taken, r.taken
		case r.refused != "":
			v.Kind, v.Text = foreign.Refused, r.refused
		case v.Text == "" && s != nil:
			v.Text = s.Key
		}
		list = append(list, v)
	}
	for _, s := range settings.Of(settings.Run) {
		for _, name := range s.Gunicorn {
			if _, ok := rules[name]; !ok {
				list = append(list, foreign.Verdict{Name: name, Text: s.Key})
			}
		}
	}
	slices.SortFunc(list, func(a, b foreign.Verdict) int { return strings.Compare(a.Name, b.Name) })
	return list
}
