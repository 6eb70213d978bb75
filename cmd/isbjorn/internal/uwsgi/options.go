package uwsgi

import (
	"slices"
	"strings"

	"github.com/isbjorn/isbjorn/cmd/isbjorn/internal/foreign"
	"github.com/isbjorn/isbjorn/internal/settings"
)

// An option is the verdict on an option of uWSGI. One without set, taken and refused is a setting of our table, whose
// column UWSGI has its name.
type option struct {
	set     func(*reader, *entry)
	keys    string // ours, that set gives, where the table does not say it
	taken   string // why there is nothing to do
	refused string // what does it instead
}

// Reasons and mends that many options share.
const (
	always      = "it is so in any case"
	noRouting   = "write it in the application, or in the proxy in front"
	unit        = "write a unit of systemd"
	own         = "start it as a program of its own"
	inUnit      = "set it in the unit of systemd"
	inApp       = "write it in the application"
	writeEnv    = "write env = NAME=VALUE for each"
	logsLines   = "lines have the time and one form"
	oneListener = "connections are isbjorn's own, and not a worker's"
)

// options are those that need more than a name in the table; a * at the end stands for all names that begin so.
var options map[string]option

func init() { // the functions refer to the map
	options = map[string]option{
		"http": {set: (*reader).bind}, "http-socket": {set: (*reader).bind}, "http11-socket": {set: (*reader).bind},
		"https":        {set: (*reader).https, keys: "bind, tls.cert, tls.key, tls.client_ca"},
		"https-socket": {set: (*reader).https, keys: "bind, tls.cert, tls.key, tls.client_ca"},
		"stats":        {set: (*reader).stats}, "stats-server": {set: (*reader).stats},
		"chmod-socket": {set: (*reader).socketMode}, "chmod": {set: (*reader).socketMode},
		"module": {set: (*reader).target}, "wsgi": {set: (*reader).target},
		"wsgi-file": {set: (*reader).target}, "file": {set: (*reader).target},
		"callable":   {set: func(r *reader, e *entry) { r.app.callable = e }, keys: "app"},
		"pythonpath": {set: (*reader).path}, "python-path": {set: (*reader).path}, "pp": {set: (*reader).path},
		"home": {set: (*reader).home}, "virtualenv": {set: (*reader).home},
		"venv": {set: (*reader).home}, "pyhome": {set: (*reader).home},
		"lazy":      {set: func(r *reader, e *entry) { r.lazy = e }, keys: "preload"},
		"lazy-apps": {set: func(r *reader, e *entry) { r.lazy = e }, keys: "preload"},
		"daemonize": {set: (*reader).log, keys: "daemon, log.file"}, "daemonize2": {set: (*reader).log, keys: "daemon, log.file"},
		"logto": {set: (*reader).log}, "logto2": {set: (*reader).log},
		"logger":     {set: (*reader).logger, keys: "log.file"},
		"req-logger": {set: (*reader).logger}, "logger-req": {set: (*reader).logger},
		"log-format": {set: (*reader).logFormat}, "logformat": {set: (*reader).logFormat},
		"log-slow":      {set: scaled("ms")},
		"reload-on-rss": {set: scaled("MiB")}, "evil-reload-on-rss": {set: scaled("MiB")},
		"http-keepalive": {set: (*reader).keepalive},
		"buffer-size":    {set: (*reader).headBytes},
		"py-autoreload":  {set: (*reader).autoreload}, "python-autoreload": {set: (*reader).autoreload},
		"py-auto-reload": {set: (*reader).autoreload}, "python-auto-reload": {set: (*reader).autoreload},
		"pidfile": {set: (*reader).output}, "pidfile2": {set: (*reader).output},
		"safe-pidfile": {set: (*reader).output}, "safe-pidfile2": {set: (*reader).output},
		"disable-logging": {keys: "log.access", set: func(r *reader, e *entry) { r.noLog = !isFalse(e.value) }},
		"plugin":          {set: (*reader).plugin, keys: "(those of Python)"}, "plugins": {set: (*reader).plugin, keys: "(those of Python)"},
		"need-plugin": {set: (*reader).plugin, keys: "(those of Python)"}, "need-plugins": {set: (*reader).plugin, keys: "(those of Python)"},
		"socket": {set: (*reader).socket, keys: "bind, with protocol = http"},
		"protocol": {keys: "bind, with http", set: func(r *reader, e *entry) {
			if e.value != "http" && e.value != "uwsgi" { // uwsgi: socket says it
				r.Say(settings.Error, e.at, e.name, e.value, "isbjorn speaks HTTP", "write http")
			}
		}},

		"ini": {keys: "(reads the file)"}, "include": {keys: "(reads the file)"}, "inherit": {keys: "(reads the file)"},
		"set": {keys: "(a placeholder)"}, "set-placeholder": {keys: "(a placeholder)"}, "set-ph": {keys: "(a placeholder)"},

		"master":                      {taken: "there is always one process above the workers"},
		"vacuum":                      {taken: "sockets and the pidfile are removed in any case"},
		"die-on-term":                 {taken: "SIGTERM ends it in any case"},
		"single-interpreter":          {taken: always},
		"enable-threads":              {taken: "threads of the application run in any case"},
		"thunder-lock":                {taken: oneListener},
		"thunder-lock-watchdog":       {taken: oneListener},
		"need-app":                    {taken: "an application that cannot be loaded ends the start"},
		"no-orphans":                  {taken: "workers end with the process above them"},
		"memory-report":               {taken: "memory of each worker is measured in any case"},
		"offload-threads":             {taken: "files and slow clients cost no worker"},
		"offload-thread":              {taken: "files and slow clients cost no worker"},
		"ignore-sigpipe":              {taken: "a client that has left is no error of the application"},
		"ignore-write-errors":         {taken: "a client that has left is no error of the application"},
		"write-errors-tolerance":      {taken: "a client that has left is no error of the application"},
		"write-errors-exception-only": {taken: "a client that has left is no error of the application"},
		"disable-write-exception":     {taken: "a client that has left is no error of the application"},
		"strict":                      {taken: "unknown options are errors"},
		"listen":                      {taken: "the queue is as long as the kernel allows: net.core.somaxconn"},
		"reuse-port":                  {taken: oneListener},
		"so-keepalive":                {taken: "TCP keep-alive is always on"},
		"tcp-nodelay":                 {taken: always},
		"no-defer-accept":             {taken: oneListener},
		"close-on-exec":               {taken: always},
		"close-on-exec2":              {taken: always},
		"max-vars":                    {taken: "fields bounds the fields of a request"},
		"stats-http":                  {taken: "the port of stats speaks HTTP too"},
		"stats-min":                   {taken: "the form of stats is one"},
		"stats-minified":              {taken: "the form of stats is one"},
		"stats-no-cores":              {taken: "the form of stats is one"},
		"stats-no-metrics":            {taken: "the form of stats is one"},
		"auto-procname":               {taken: "processes have names in any case"},
		"procname-master":             {taken: "processes have names in any case"},
		"procname-append":             {taken: "processes have names in any case"},
		"cheaper-algo":                {taken: "the number of workers follows their load"},
		"cheaper-initial":             {taken: "the number of workers follows their load"},
		"cheaper-step":                {taken: "the number of workers follows their load"},
		"cheaper-overload":            {taken: "the number of workers follows their load"},
		"cheaper-idle":                {taken: "the number of workers follows their load"},
		"harakiri-verbose":            {taken: "the log has the request and its stack in any case"},
		"harakiri-no-arh":             {taken: "there are no hooks behind a request"},
		"no-harakiri-arh":             {taken: "there are no hooks behind a request"},
		"py-tracebacker":              {taken: "stacks of workers can be asked for at any time"},
		"py-call-osafterfork":         {taken: "Python is told of a fork in any case"},
		"min-worker-lifetime":         {taken: "workers are replaced one at a time"},
		"max-worker-lifetime-delta":   {taken: "workers are replaced one at a time"},
		"mule-reload-mercy":           {taken: "there are no mules"},
		"gevent-monkey-patch":         {taken: "gevent patches before the application is imported"},
		"gevent-early-monkey-patch":   {taken: "gevent patches before the application is imported"},
		"log-4xx":                     {taken: "log.access has every request; errors are in the log in any case"},
		"log-5xx":                     {taken: "log.access has every request; errors are in the log in any case"},
		"log-date":                    {taken: logsLines},
		"logdate":                     {taken: logsLines},
		"log-micros":                  {taken: logsLines},
		"log-prefix":                  {taken: logsLines},
		"log-format-strftime":         {taken: logsLines},
		"logformat-strftime":          {taken: logsLines},
		"log-zero":                    {taken: logsLines},
		"log-master":                  {taken: "one process writes the log"},
		"log-master-bufsize":          {taken: "one process writes the log"},
		"log-master-stream":           {taken: "one process writes the log"},
		"threaded-logger":             {taken: "one process writes the log"},
		"log-x-forwarded-for":         {taken: "trusted_proxies says whom to believe"},
		"log-backupname":              {taken: "the larger log is renamed to .old"},
		"http-processes":              {taken: "there is an event loop for each core"},
		"http-workers":                {taken: "there is an event loop for each core"},
		"http-auto-chunked":           {taken: always},
		"http-raw-body":               {taken: "the application reads chunked content as any other"},
		"http-chunked-input":          {taken: "the application reads chunked content as any other"},
		"wsgi-manage-chunked-input":   {taken: "the application reads chunked content as any other"},
		"wsgi-accept-buffer":          {taken: "bytes are what WSGI takes"},
		"wsgi-env-behavior":           {taken: "each request has an environ of its own"},
		"wsgi-env-behaviour":          {taken: "each request has an environ of its own"},
		"http-manage-expect":          {taken: "100 Continue is sent when content is read"},
		"http-manage-source":          {taken: "REMOTE_ADDR is the client's"},
		"http-buffer-size":            {taken: "buffers grow as they must"},
		"post-buffering-bufsize":      {taken: "buffers grow as they must"},
		"http-socket-modifier1":       {taken: "isbjorn runs Python alone"},
		"http-modifier1":              {taken: "isbjorn runs Python alone"},
		"show-config":                 {taken: "--print-config shows what is in force"},
		"print":                       {taken: "it only printed"},
		"iprint":                      {taken: "it only printed"},
		"binary-path":                 {taken: "a restart takes the program that runs"},
		"skip-atexit":                 {taken: "workers end as Python ends"},
		"ksm":                         {taken: "the kernel decides"},
		"cpu-affinity":                {taken: "the kernel places processes"},
		"lock-engine":                 {taken: "there are no locks between workers"},
		"locks":                       {taken: "there are no locks between workers"},

		"uwsgi-socket":               {set: (*reader).socket, refused: "write http-socket here, and proxy_pass in nginx"},
		"suwsgi-socket":              {set: (*reader).socket, refused: "write http-socket here, and proxy_pass in nginx"},
		"socket-protocol":            {refused: "write protocol = http"},
		"fastcgi-*":                  {refused: "write http-socket here, and proxy_pass in nginx"},
		"scgi-*":                     {refused: "write http-socket here, and proxy_pass in nginx"},
		"shared-socket":              {refused: "write the address for http-socket"},
		"chown-socket":               {refused: "let systemd make the socket (SocketUser), or write chmod-socket and gid"},
		"abstract-socket":            {refused: "write the address with a port, or a path"},
		"http-enable-proxy-protocol": {refused: "let the proxy in front send X-Forwarded-For, and set trusted_proxies"},
		"enable-proxy-protocol":      {refused: "let the proxy in front send X-Forwarded-For, and set trusted_proxies"},
		"http-to":                    {refused: "isbjorn proxy is in front of other servers"},
		"http-to-https":              {refused: noRouting},
		"http-websockets":            {refused: "isbjorn runs WSGI, which has no WebSockets: put them into a service of their own"},
		"http-auto-gzip":             {refused: noRouting},
		"http-subscription-*":        {refused: "isbjorn proxy is in front of several servers"},
		"subscri*":                   {refused: "isbjorn proxy is in front of several servers"},
		"fastrouter*":                {refused: "isbjorn proxy is in front of several servers"},
		"zerg*":                      {refused: "SIGUSR2 restarts without a lost request"},
		"emperor*":                   {refused: unit + " for each application"},
		"vassal*":                    {refused: unit + " for each application"},
		"spooler*":                   {refused: own + ": celery, rq, or a unit"},
		"mule*":                      {refused: own + ": celery, rq, or a unit"},
		"farm":                       {refused: own + ": celery, rq, or a unit"},
		"cron*":                      {refused: "write a timer of systemd, or a line of cron"},
		"unique-cron":                {refused: "write a timer of systemd, or a line of cron"},
		"timer":                      {refused: "write a timer of systemd, or a line of cron"},
		"rbtimer":                    {refused: "write a timer of systemd, or a line of cron"},
		"signal*":                    {refused: own},
		"attach-*":                   {refused: unit + " for it"},
		"smart-attach-*":             {refused: unit + " for it"},
		"legion*":                    {refused: "keepalived, or the orchestrator, chooses a leader"},
		"cache*":                     {refused: "use redis or memcached"},
		"check-cache":                {refused: "use redis or memcached"},
		"queue*":                     {refused: "use redis or memcached"},
		"sharedarea":                 {refused: "use redis or memcached"},
		"route*":                     {refused: noRouting},
		"final-route*":               {refused: noRouting},
		"error-route*":               {refused: noRouting},
		"response-route*":            {refused: noRouting},
		"error-page-*":               {refused: noRouting},
		"add-header":                 {refused: noRouting},
		"rem-header":                 {refused: noRouting},
		"del-header":                 {refused: noRouting},
		"collect-header":             {refused: noRouting},
		"async":                      {refused: "write threads = 50, or gevent = 50"},
		"ugreen":                     {refused: "write threads = 50, or gevent = 50"},
		"asyncio":                    {refused: "write threads = 50, or gevent = 50"},
		"greenlet":                   {refused: "write threads = 50, or gevent = 50"},
		"loop":                       {refused: "write gevent = 50"},
		"hook-*":                     {refused: inUnit + ": ExecStartPre, ExecStopPost"},
		"exec-*":                     {refused: inUnit + ": ExecStartPre, ExecStopPost"},
		"call-*":                     {refused: inApp},
		"after-request-*":            {refused: inApp},
		"mount-*":                    {refused: inUnit},
		"umount-*":                   {refused: inUnit},
		"wait-*":                     {refused: inUnit + ": After, Requires"},
		"mount":                      {refused: inApp + ": a router that calls each under its path"},
		"manage-script-name":         {refused: inApp + ": a router that calls each under its path"},
		"vhost":                      {refused: unit + " for each application"},
		"paste":                      {refused: "write a module that loads the file, and name it"},
		"ini-paste":                  {refused: "write a module that loads the file, and name it"},
		"ini-paste-logged":           {refused: "write a module that loads the file, and name it"},
		"eval":                       {refused: "write it into a module, and name it"},
		"pyrun":                      {refused: "run it with python3"},
		"pyshell*":                   {refused: "run python3 -i"},
		"pecan":                      {refused: "write a module that makes the application, and name it"},
		"web3":                       {refused: "isbjorn runs WSGI"},
		"pump":                       {refused: "isbjorn runs WSGI"},
		"wsgi-lite":                  {refused: "isbjorn runs WSGI"},
		"import":                     {refused: "import it in the module of the application"},
		"pyimport":                   {refused: "import it in the module of the application"},
		"py-import":                  {refused: "import it in the module of the application"},
		"python-import":              {refused: "import it in the module of the application"},
		"shared-*":                   {refused: "import it in the module of the application"},
		"pyargv":                     {refused: "write env = NAME=VALUE, and read it in the application"},
		"optimize":                   {refused: "write env = PYTHONOPTIMIZE=1"},
		"pymodule-alias":             {refused: inApp},
		"py-auto-reload-ignore":      {refused: "leave it out"},
		"py-programname":             {refused: "write home = DIRECTORY of the environment"},
		"py-executable":              {refused: "write home = DIRECTORY of the environment"},
		"envdir":                     {refused: writeEnv},
		"early-envdir":               {refused: writeEnv},
		"ienv":                       {refused: writeEnv},
		"unenv":                      {refused: inUnit + ": UnsetEnvironment"},
		"chdir2":                     {refused: "write chdir"},
		"force-cwd":                  {refused: "write chdir"},
		"chroot":                     {refused: inUnit + ": RootDirectory"},
		"pivot-root":                 {refused: inUnit + ": RootDirectory"},
		"namespace*":                 {refused: "run it in a container"},
		"unshare*":                   {refused: "run it in a container"},
		"setns*":                     {refused: "run it in a container"},
		"jail*":                      {refused: "run it in a container"},
		"cgroup*":                    {refused: inUnit + ": Slice, MemoryMax, CPUQuota"},
		"cap":                        {refused: inUnit + ": AmbientCapabilities"},
		"add-gid":                    {refused: inUnit + ": SupplementaryGroups"},
		"immediate-uid":              {refused: "write uid"},
		"immediate-gid":              {refused: "write gid"},
		"limit-as":                   {refused: "write reload-on-rss, or MemoryMax in the unit"},
		"limit-nproc":                {refused: inUnit + ": LimitNPROC"},
		"max-fd":                     {refused: inUnit + ": LimitNOFILE"},
		"prio":                       {refused: inUnit + ": Nice"},
		"reload-on-as":               {refused: "write reload-on-rss"},
		"evil-reload-on-as":          {refused: "write reload-on-rss"},
		"reload-on-uss":              {refused: "write reload-on-rss"},
		"reload-on-pss":              {refused: "write reload-on-rss"},
		"reload-on-fd":               {refused: "write max-requests"},
		"reload-on-exception*":       {refused: "write max-requests"},
		"catch-exceptions":           {refused: "let the framework show tracebacks, in development alone"},
		"exception-handler":          {refused: inApp},
		"harakiri-graceful-*":        {refused: "leave it out: the stack is in the log before a worker is replaced"},
		"harakiri-queue-threshold":   {refused: "leave it out"},
		"http-harakiri":              {refused: "write harakiri"},
		"http-stats*":                {refused: "write stats"},
		"touch-logreopen":            {refused: "send SIGUSR1 behind a rotation"},
		"touch-logrotate":            {refused: "write log-maxsize, or let logrotate do it"},
		"touch-exec":                 {refused: own},
		"touch-signal":               {refused: own},
		"fs-reload":                  {refused: "write touch-reload"},
		"fs-brutal-reload":           {refused: "write touch-reload"},
		"log-syslog":                 {refused: "let systemd's journal have standard error"},
		"log-socket":                 {refused: "let systemd's journal have standard error"},
		"log-encoder":                {refused: "log.format can be json"},
		"log-req-encoder":            {refused: "log.format can be json"},
		"log-route":                  {refused: "write logger and req-logger"},
		"log-req-route":              {refused: "write logger and req-logger"},
		"log-drain":                  {refused: "filter it where the log is read"},
		"log-filter":                 {refused: "filter it where the log is read"},
		"log-big":                    {refused: "leave it out: the size is in each line of log.access"},
		"log-sendfile":               {refused: "leave it out"},
		"log-reopen":                 {refused: "send SIGUSR1 behind a rotation"},
		"log-truncate":               {refused: "leave it out"},
		"worker-logger*":             {refused: "write logger"},
		"alarm*":                     {refused: "watch the metrics or the log"},
		"log-alarm":                  {refused: "watch the metrics or the log"},
		"metric*":                    {refused: "write stats"},
		"enable-metrics":             {refused: "write stats"},
		"stats-push":                 {refused: "scrape stats"},
		"carbon*":                    {refused: "scrape stats"},
		"snmp*":                      {refused: "scrape stats"},
		"master-fifo":                {refused: "send signals: HUP reloads, TERM stops"},
		"check-static":               {refused: "write static-map = /PATH=DIRECTORY for the paths that have files"},
		"static-check":               {refused: "write static-map = /PATH=DIRECTORY for the paths that have files"},
		"static-map2":                {refused: "write static-map, whose directory has no prefix of the path"},
		"static-index":               {refused: "isbjorn static serves whole sites"},
		"static-expires*":            {refused: "isbjorn static serves whole sites, with --cache"},
		"static-gzip*":               {refused: "isbjorn static serves whole sites, with their compressed forms"},
		"static-safe":                {refused: "write static-map for that directory"},
		"static-skip-ext":            {refused: "keep such files in another directory"},
		"static-cache-paths*":        {refused: "leave it out: open files are kept"},
		"mimefile":                   {refused: "isbjorn static serves whole sites"},
		"mime-file":                  {refused: "isbjorn static serves whole sites"},
		"upload-progress":            {refused: inApp},
		"sni*":                       {refused: "write https for one certificate, and tls.cert and tls.key for more in isbjorn.toml"},
		"ssl-*":                      {refused: "TLS is 1.2 or later, with Go's choices"},
		"https2":                     {refused: "write https = ADDRESS,CERTIFICATE,KEY"},
		"idle":                       {refused: inUnit + ": a socket that starts it"},
		"die-on-idle":                {refused: inUnit + ": a socket that starts it"},
		"cheap":                      {refused: inUnit + ": a socket that starts it"},
		"cheaper-rss-*":              {refused: "write reload-on-rss"},
		"rpc*":                       {refused: own},
		"lua*":                       {refused: "isbjorn runs Python"},
		"php*":                       {refused: "isbjorn runs Python"},
		"psgi*":                      {refused: "isbjorn runs Python"},
		"perl*":                      {refused: "isbjorn runs Python"},
		"rack*":                      {refused: "isbjorn runs Python"},
		"ruby*":                      {refused: "isbjorn runs Python"},
		"cgi*":                       {refused: "isbjorn runs Python"},
		"xml*":                       {refused: "write an ini file"},
		"yaml":                       {refused: "write an ini file"},
		"yml":                        {refused: "write an ini file"},
		"json":                       {refused: "write an ini file"},
		"config":                     {refused: "write ini = FILE"},
		"declare-option*":            {refused: "write out the options"},
		"blacklist":                  {refused: "leave it out"},
		"whitelist":                  {refused: "leave it out"},
		"exit":                       {refused: "leave it out"},
		"stop":                       {refused: "send SIGTERM"},
		"reload":                     {refused: "send SIGHUP"},
		"connect-and-read":           {refused: "read the port of stats with curl"},
		"ugid":                       {refused: "write uid and gid"},
		"freebind":                   {refused: "let systemd make the socket (FreeBind)"},
		"no-site":                    {refused: "leave it out"},
		"multiwatch":                 {refused: unit},
		"websocket*":                 {refused: "isbjorn runs WSGI, which has no WebSockets: put them into a service of their own"},
		"chunked-input-*":            {refused: "body_timeout and body_bytes bound content"},
		"http-use-*":                 {refused: "isbjorn proxy is in front of several servers"},
		"http-resubscribe":           {refused: "isbjorn proxy is in front of several servers"},
		"http-var":                   {refused: writeEnv},
		"for":                        {refused: "write out the lines"}, "for-*": {refused: "write out the lines"},
		"if-*": {refused: "write out the lines that hold"}, "ifenv": {refused: "write out the lines that hold"},
		"ifexists": {refused: "write out the lines that hold"}, "ifdir": {refused: "write out the lines that hold"},
		"ifplugin": {refused: "write out the lines that hold"}, "else": {refused: "write out the lines that hold"},
	}
}

// settingOf is the setting of our table that has a name of uWSGI's; nil if there is none.
func settingOf(name string) *settings.Setting {
	for _, s := range settings.Of(settings.Run) {
		if slices.Contains(s.UWSGI, name) {
			return s
		}
	}
	return nil
}

// lookup is the verdict on a name.
func lookup(name string) (option, bool) {
	if o, ok := options[name]; ok {
		return o, true
	}
	if settingOf(name) != nil {
		return option{}, true
	}
	for i := len(name); i > 0; i-- { // the longest family
		if o, ok := options[name[:i]+"*"]; ok {
			return o, true
		}
	}
	return option{}, false
}

func known(name string) bool { _, ok := lookup(name); return ok }

// names are those that are known, without families.
func names() (list []string) {
	for name := range options {
		if !strings.HasSuffix(name, "*") {
			list = append(list, name)
		}
	}
	for _, s := range settings.Of(settings.Run) {
		list = append(list, s.UWSGI...)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// Verdicts lists the options of uWSGI that are known, by name, and what becomes of each.
func Verdicts() (list []foreign.Verdict) {
	for name, o := range options {
		s := settingOf(name)
		v := foreign.Verdict{Name: name, Text: o.keys}
		switch {
		case o.taken != "":
			v.Kind, v.Text = foreign.Taken, o.taken
		case o.refused != "":
			v.Kind, v.Text = foreign.Refused, o.refused
		case v.Text == "" && s != nil:
			v.Text = s.Key
		}
		list = append(list, v)
	}
	for _, s := range settings.Of(settings.Run) {
		for _, name := range s.UWSGI {
			if _, ok := options[name]; !ok {
				list = append(list, foreign.Verdict{Name: name, Text: s.Key})
			}
		}
	}
	slices.SortFunc(list, func(a, b foreign.Verdict) int { return strings.Compare(a.Name, b.Name) })
	return list
}
