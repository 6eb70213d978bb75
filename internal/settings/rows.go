package settings

import "time"

// The groups, in the order of the help.
const (
	gListen  = "Addresses"
	gApp     = "Application"
	gStatic  = "Files"
	gProxy   = "Upstreams"
	gWorkers = "Workers"
	gTimes   = "Timeouts"
	gLimits  = "Limits"
	gTLS     = "TLS"
	gLog     = "Log"
	gHTTP    = "HTTP"
	gProcess = "Process"
)

var groups = []string{gListen, gApp, gStatic, gProxy, gWorkers, gTimes, gLimits, gTLS, gLog, gHTTP, gProcess}

const (
	kib = 1 << 10
	mib = 1 << 20
	gib = 1 << 30

	memoryMax   = gib // of one connection: see server.Options
	durationMax = 1<<63 - 1
)

// table has all settings. Only functions refer to it: a program without settings, such as one that calls
// server.ListenAndServe, is linked without it. Each collection of garbage reads all variables that are linked.
var table = []Setting{
	// Addresses.
	{
		Key: "bind", List: true, Default: "127.0.0.1:8080",
		Group: gListen, For: everywhere, Common: everywhere, Short: "b", Alias: "addr", Arg: "ADDRESS",
		Option: "Bind", Change: OnRestart,
		Help:     "host:port, https://host:port, unix:/path",
		Gunicorn: []string{"bind"}, UWSGI: []string{"http", "http-socket", "http11-socket", "https", "https-socket"},
	},
	{
		Key: "socket_mode", Kind: Mode, Default: "0666",
		Group: gListen, For: everywhere, Option: "SocketMode", Change: OnRestart,
		Help:  "file mode of Unix sockets",
		UWSGI: []string{"chmod-socket", "chmod"},
	},
	{
		Key: "trusted_proxies", List: true,
		Group: gListen, For: Static | Proxy | Run, Common: Proxy | Run, Arg: "PREFIX",
		Help:     "believe X-Forwarded-* of 10.0.0.0/8, unix",
		Gunicorn: []string{"forwarded_allow_ips"},
	},

	// The application of a Python program.
	{
		Key:   "app",
		Group: gApp, For: Run, Common: Run, Arg: "MODULE:NAME", Change: NewWorkers,
		Help:     "the WSGI application",
		Gunicorn: []string{"wsgi_app"}, UWSGI: []string{"module", "wsgi", "wsgi-file", "file", "callable"},
	},
	{
		Key: "factory", Kind: Bool, Default: "false",
		Group: gApp, For: Run, Change: NewWorkers,
		Help: "call what app names, to get the application",
	},
	{
		Key:   "prefix",
		Group: gApp, For: Run, Arg: "PATH", Change: OnRestart,
		Help: "path of the application: SCRIPT_NAME",
	},
	{
		Key: "stream_input", List: true,
		Group: gApp, For: Run, Arg: "PATH", Change: NewWorkers,
		Help: "paths whose content is read as it comes",
	},
	{
		Key: "strict", Kind: Bool, Default: "false",
		Group: gApp, For: Run, Change: NewWorkers,
		Help: "check the application strictly",
	},
	{
		Key:   "chdir",
		Group: gApp, For: Run, Common: Run, Arg: "DIR", Change: NewWorkers,
		Help:     "directory to work in",
		Gunicorn: []string{"chdir"}, UWSGI: []string{"chdir"},
	},
	{
		Key: "env", Kind: Pair, List: true,
		Group: gApp, For: Run, Short: "e", Arg: "NAME=VALUE", Change: NewWorkers,
		Help:     "environment variable of the workers",
		Gunicorn: []string{"raw_env"}, UWSGI: []string{"env"},
	},
	{
		Key: "preload", Kind: Bool, Default: "false",
		Group: gApp, For: Run, Change: NewWorkers,
		Help:     "import once, and fork the workers",
		Gunicorn: []string{"preload_app"}, UWSGI: []string{"lazy", "lazy-apps"},
	},
	{
		Key: "python.path", List: true,
		Group: gApp, For: Run, Arg: "DIR", Change: NewWorkers,
		Help:     "directories at the front of sys.path",
		Gunicorn: []string{"pythonpath"}, UWSGI: []string{"pythonpath", "python-path", "pp"},
	},
	{
		Key: "python.exe", Default: "auto", Auto: true,
		Group: gApp, For: Run, Arg: "FILE", Change: NewWorkers,
		Help:  "auto: that of VIRTUAL_ENV, or python3",
		UWSGI: []string{"home", "virtualenv", "venv", "pyhome"},
	},
	{
		Key:   "hooks",
		Group: gApp, For: Run, Arg: "FILE", Change: NewWorkers,
		Help: "file with hooks as gunicorn has them",
		Gunicorn: []string{"on_starting", "on_reload", "when_ready", "pre_fork", "post_fork", "post_worker_init",
			"worker_int", "worker_abort", "pre_request", "post_request", "child_exit", "worker_exit", "nworkers_changed",
			"pre_exec", "on_exit"},
	},
	{
		Key: "static.map", Kind: Pair, List: true,
		Group: gApp, For: Run, Arg: "PATH=DIR",
		Help:  "serve the files of a directory under a path",
		UWSGI: []string{"static-map"},
	},

	// isbjorn static.
	{
		Key:   "static.root",
		Group: gStatic, For: Static, Arg: "DIR",
		Help: "directory of the files (the argument)",
	},
	{
		Key: "static.index", List: true, Default: "index.html",
		Group: gStatic, For: Static, Common: Static, Arg: "NAME",
		Help: "file that is served for a directory",
	},
	{
		Key:   "static.spa",
		Group: gStatic, For: Static, Common: Static, Arg: "FILE",
		Help: "file for unknown pages (single-page app)",
	},
	{
		Key: "static.listing", Kind: Bool, Default: "false",
		Group: gStatic, For: Static, Common: Static,
		Help: "list directories without an index",
	},
	{
		Key: "static.cache", Kind: Duration, Default: "none", None: true, Max: int64(10 * 365 * 24 * time.Hour),
		Group: gStatic, For: Static, Common: Static,
		Help: "how long clients may keep a file without asking",
	},
	{
		Key: "static.immutable", Kind: Bool, Default: "false",
		Group: gStatic, For: Static, Common: Static,
		Help: "app.3f2a91bc.js may be kept for a year",
	},
	{
		Key: "static.precompressed", Kind: Enum, List: true, Values: []string{"zst", "br", "gz"}, Default: "zst,br,gz",
		Group: gStatic, For: Static, Arg: "CODING",
		Help: "compressed forms that may be beside a file",
	},
	{
		Key: "static.open_files", Kind: Int, Default: "1024", None: true, Min: 1, Max: 1 << 20,
		Group: gStatic, For: Static,
		Help: "files kept open, checked each second",
	},
	{
		Key: "static.symlinks", Kind: Bool, Default: "true",
		Group: gStatic, For: Static,
		Help: "follow links that stay in the directory",
	},
	{
		Key: "static.error_pages", Kind: Pair, List: true,
		Group: gStatic, For: Static, Arg: "STATUS=FILE",
		Help: "file for an error: 404=404.html",
	},

	// isbjorn proxy.
	{
		Key: "proxy.to", List: true,
		Group: gProxy, For: Proxy, Arg: "URL",
		Help: "upstreams (the arguments)",
	},
	{
		Key: "proxy.balance", Kind: Enum, Values: []string{"least", "round_robin", "hash"}, Default: "least",
		Group: gProxy, For: Proxy, Common: Proxy,
		Help: "least, round_robin or hash (by client)",
	},
	{
		Key: "proxy.host", Kind: Enum, Values: []string{"keep", "upstream"}, Default: "keep",
		Group: gProxy, For: Proxy, Common: Proxy,
		Help: "Host of requests to an upstream",
	},
	{
		Key: "proxy.connect_timeout", Kind: Duration, Default: "5s", Min: 1,
		Group: gProxy, For: Proxy,
		Help: "for a connection to an upstream; then 504",
	},
	{
		Key: "proxy.upstream_timeout", Kind: Duration, Default: "1m", None: true, Min: 1,
		Group: gProxy, For: Proxy, Common: Proxy,
		Help: "without a byte of an answer; then 504",
	},
	{
		Key: "proxy.retries", Kind: Int, Default: "2", None: true, Max: 10,
		Group: gProxy, For: Proxy, Common: Proxy,
		Help: "others to try, if nothing can run twice",
	},
	{
		Key:   "proxy.health_path",
		Group: gProxy, For: Proxy, Common: Proxy, Arg: "PATH",
		Help: "leave upstreams out that fail here",
	},
	{
		Key: "proxy.health_interval", Kind: Duration, Default: "2s", Min: int64(100 * time.Millisecond),
		Group: gProxy, For: Proxy,
		Help: "between two of these checks",
	},

	{
		Key: "proxy.forward", Kind: Enum, Values: []string{"x-forwarded", "forwarded", "none"}, Default: "x-forwarded",
		Group: gProxy, For: Proxy,
		Help: "fields that tell upstreams the client",
	},
	{
		Key: "proxy.tunnel_timeout", Kind: Duration, Default: "1h", None: true, Min: 1,
		Group: gProxy, For: Proxy,
		Help: "without a byte on a WebSocket",
	},
	{
		Key: "proxy.max_fails", Kind: Int, Default: "1", None: true,
		Group: gProxy, For: Proxy,
		Help: "failures until an upstream is left out",
	},
	{
		Key: "proxy.fail_timeout", Kind: Duration, Default: "10s", Min: 1,
		Group: gProxy, For: Proxy,
		Help: "how long it is left out then",
	},
	{
		Key: "proxy.upgrade", List: true, Default: "websocket",
		Group: gProxy, For: Proxy, Arg: "TOKEN",
		Help: "protocols that Upgrade may change to",
	},
	{
		Key:   "proxy.ca",
		Group: gProxy, For: Proxy, Arg: "FILE",
		Help: "certificates that sign those of upstreams",
	},

	// Workers.
	{
		Key: "workers", Kind: Int, Default: "4096", Auto: true, Min: 1, Max: 1 << 20,
		Group: gWorkers, For: Program | Static | Proxy, Common: Program, Short: "w", Option: "Workers",
		Help: "requests that block and run at once",
	},
	{
		Key: "workers", Kind: Int, Default: "auto", Auto: true, Min: 1, Max: 512,
		Group: gWorkers, For: Run, Common: Run, Short: "w",
		Help:     "processes; auto: one for each core",
		Gunicorn: []string{"workers"}, UWSGI: []string{"processes", "workers", "p"},
	},
	{
		Key: "workers_min", Kind: Int, Default: "auto", Auto: true, Min: 1, Max: 512,
		Group: gWorkers, For: Run,
		Help:  "processes when idle; auto: as workers",
		UWSGI: []string{"cheaper"},
	},
	{
		Key: "threads", Kind: Int, Default: "1", Min: 1, Max: 4096,
		Group: gWorkers, For: Run, Common: Run, Change: NewWorkers,
		Help:     "threads of each process",
		Gunicorn: []string{"threads"}, UWSGI: []string{"threads"},
	},
	{
		Key: "gevent", Kind: Int, Default: "none", None: true, Min: 1, Max: 65536,
		Group: gWorkers, For: Run, Change: NewWorkers,
		Help:  "requests at once in each process, by gevent",
		UWSGI: []string{"gevent"},
	},
	{
		Key: "worker_queue", Kind: Int, Default: "1024", None: true, Min: 1, Max: 1 << 20,
		Group: gWorkers, For: everywhere, Option: "WorkerQueue", Change: OnRestart,
		Help: "requests that wait for a worker; more get 503",
	},
	{
		Key: "max_requests", Kind: Int, Default: "none", None: true, Min: 1,
		Group: gWorkers, For: Run,
		Help:     "replace a process after so many requests",
		Gunicorn: []string{"max_requests"}, UWSGI: []string{"max-requests"},
	},
	{
		Key: "max_requests_jitter", Kind: Int, Default: "0",
		Group: gWorkers, For: Run,
		Help:     "up to so many more, by chance",
		Gunicorn: []string{"max_requests_jitter"}, UWSGI: []string{"max-requests-delta"},
	},
	{
		Key: "max_lifetime", Kind: Duration, Default: "none", None: true, Min: int64(time.Second),
		Group: gWorkers, For: Run,
		Help:  "replace a process after this time",
		UWSGI: []string{"max-worker-lifetime"},
	},
	{
		Key: "max_rss", Kind: Bytes, Default: "none", None: true, Min: mib,
		Group: gWorkers, For: Run,
		Help:  "replace a process that has more memory",
		UWSGI: []string{"reload-on-rss", "evil-reload-on-rss"},
	},
	{
		Key: "reload_surge", Kind: Int, Default: "1", Min: 1, Max: 512,
		Group: gWorkers, For: Run,
		Help: "processes beyond workers during a reload",
	},
	{
		Key: "loops", Kind: Int, Default: "auto", Auto: true, Min: 1, Max: 1024,
		Group: gWorkers, For: everywhere, Option: "Loops", Change: OnRestart,
		Help: "event loops; auto: one for each core",
	},
	{
		Key: "dispatch", Kind: Enum, Values: []string{"auto", "inline", "pool"}, Default: "auto",
		Group: gWorkers, For: Program, Option: "Dispatch",
		Help: "where the application runs",
	},

	// Timeouts.
	{
		Key: "request_timeout", Kind: Duration, Default: "none", None: true, Min: 1,
		Group: gTimes, For: Program | Static | Proxy, Common: Program, Short: "t", Alias: "timeout",
		Option: "RequestTimeout",
		Help:   "for the application; then 504",
	},
	{
		Key: "request_timeout", Kind: Duration, Default: "30s", None: true, Min: int64(time.Millisecond),
		Group: gTimes, For: Run, Common: Run, Short: "t", Alias: "timeout",
		Help:     "for the application; then 504",
		Gunicorn: []string{"timeout"}, UWSGI: []string{"harakiri"},
	},
	{
		Key: "queue_timeout", Kind: Duration, Default: "30s", None: true, Min: int64(time.Millisecond),
		Group: gTimes, For: Run,
		Help: "for a free worker; then 503",
	},
	{
		Key: "boot_timeout", Kind: Duration, Default: "30s", Min: int64(time.Millisecond),
		Group: gTimes, For: Run,
		Help: "for a worker to load the application",
	},
	{
		Key: "head_timeout", Kind: Duration, Default: "10s", Min: 1,
		Group: gTimes, For: everywhere, Option: "HeadTimeout",
		Help:  "for the head of a request; then 408",
		UWSGI: []string{"http-timeout", "http-headers-timeout"},
	},
	{
		Key: "body_timeout", Kind: Duration, Default: "30s", Min: 1,
		Group: gTimes, For: everywhere, Option: "BodyTimeout",
		Help:  "without content while more is due; then 408",
		UWSGI: []string{"socket-timeout"},
	},
	{
		Key: "body_rate", Kind: Int, Default: "500", None: true, Min: 1,
		Group: gTimes, For: everywhere, Option: "BodyRate",
		Help: "least bytes of content a second; else 408",
	},
	{
		Key: "idle_timeout", Kind: Duration, Default: "2m10s", Min: 1,
		Group: gTimes, For: everywhere, Common: Program | Static | Proxy, Option: "IdleTimeout",
		Help:     "for a connection between two requests",
		Gunicorn: []string{"keepalive"}, UWSGI: []string{"http-keepalive"},
	},
	{
		Key: "write_timeout", Kind: Duration, Default: "1m", Min: 1,
		Group: gTimes, For: everywhere, Option: "WriteTimeout",
		Help: "while a client takes none of its answer",
	},
	{
		Key: "linger_time", Kind: Duration, Default: "5s", Min: 1,
		Group: gTimes, For: everywhere, Option: "LingerTime",
		Help: "input is dropped after the last answer",
	},
	{
		Key: "stop_timeout", Kind: Duration, Default: "30s", Min: 1,
		Group: gTimes, For: everywhere, Common: everywhere, Option: "StopTimeout",
		Help:     "for requests in progress when the program stops",
		Gunicorn: []string{"graceful_timeout"}, UWSGI: []string{"worker-reload-mercy", "reload-mercy"},
	},
	{
		Key: "stall_warning", Kind: Duration, Default: "1s", None: true, Min: 1,
		Group: gTimes, For: Program, Option: "StallWarning",
		Help: "blocked loops are in the log after this",
	},

	// Limits.
	{
		Key: "body_bytes", Kind: Bytes, Default: "1MiB", None: true, Min: 1,
		Group: gLimits, For: everywhere, Common: everywhere, Option: "BodyBytes",
		Help:  "content of a request; more gets 413",
		UWSGI: []string{"limit-post"},
	},
	{
		Key: "head_bytes", Kind: Bytes, Default: "32KiB", Min: 64, Max: 65533,
		Group: gLimits, For: everywhere, Common: Program, Option: "HeadBytes",
		Help:     "request line and fields; more gets 431",
		Gunicorn: []string{"limit_request_field_size"}, UWSGI: []string{"buffer-size"},
	},
	{
		Key: "target_bytes", Kind: Bytes, Default: "8KiB", Min: 1, Max: 65512,
		Group: gLimits, For: everywhere, Option: "TargetBytes",
		Help:     "target of a request; longer ones get 414",
		Gunicorn: []string{"limit_request_line"},
	},
	{
		Key: "method_bytes", Kind: Bytes, Default: "32", Min: 7, Max: 65518,
		Group: gLimits, For: everywhere, Option: "MethodBytes",
		Help: "method; longer ones get 501",
	},
	{
		Key: "fields", Kind: Int, Default: "100", Min: 1, Max: 100,
		Group: gLimits, For: everywhere, Option: "Fields",
		Help:     "fields of a request; more get 431",
		Gunicorn: []string{"limit_request_fields"},
	},
	{
		Key: "chunk_line_bytes", Kind: Bytes, Default: "1KiB", Min: 16, Max: 65533,
		Group: gLimits, For: everywhere, Option: "ChunkLineBytes",
		Help: "chunk-size line; longer ones get 400",
	},
	{
		Key: "trailer_bytes", Kind: Bytes, Default: "8KiB", None: true, Min: 1, Max: 65533,
		Group: gLimits, For: everywhere, Option: "TrailerBytes",
		Help: "trailer section; longer ones get 431",
	},
	{
		Key: "trailer_fields", Kind: Int, Default: "32", None: true, Min: 1, Max: 100,
		Group: gLimits, For: everywhere, Option: "TrailerFields",
		Help: "trailer fields; more get 431",
	},
	{
		Key: "max_connections", Kind: Int, Default: "auto", Auto: true, Min: 1,
		Group: gLimits, For: everywhere, Common: Program | Static | Proxy, Option: "MaxConnections",
		Help:     "connections; auto: by the limit of open files",
		Gunicorn: []string{"worker_connections"},
	},
	{
		Key: "body_memory", Kind: Bytes, Default: "64KiB", None: true, Min: 1, Max: memoryMax,
		Group: gLimits, For: everywhere, Option: "BodyMemory",
		Help:  "content kept in memory; more is in a file",
		UWSGI: []string{"post-buffering"},
	},
	{
		Key: "temp_dir", Default: "auto", Auto: true,
		Group: gLimits, For: everywhere, Arg: "DIR", Option: "TempDir",
		Help:     "directory of such files; auto: TMPDIR, or /tmp",
		Gunicorn: []string{"tmp_upload_dir"},
	},
	{
		Key: "temp_bytes", Kind: Bytes, Default: "1GiB", None: true, Min: 1,
		Group: gLimits, For: everywhere, Option: "TempBytes",
		Help: "all such files together; more gets 503",
	},
	{
		Key: "high_water_bytes", Kind: Bytes, Default: "256KiB", Min: 4 * kib, Max: memoryMax,
		Group: gLimits, For: everywhere, Option: "HighWaterBytes",
		Help: "output that waits, for each connection",
	},
	{
		Key: "linger_bytes", Kind: Bytes, Default: "16MiB", Min: 1,
		Group: gLimits, For: everywhere, Option: "LingerBytes",
		Help: "input that is dropped after the last answer",
	},

	// TLS.
	{
		Key: "tls.cert", List: true,
		Group: gTLS, For: everywhere, Common: everywhere, Arg: "FILE", Option: "TLS.Cert",
		Help:     "certificate chain (PEM), one for each name",
		Gunicorn: []string{"certfile"},
	},
	{
		Key: "tls.key", List: true,
		Group: gTLS, For: everywhere, Common: everywhere, Arg: "FILE", Option: "TLS.Key",
		Help:     "its key, PEM",
		Gunicorn: []string{"keyfile"},
	},
	{
		Key:   "tls.client_ca",
		Group: gTLS, For: everywhere, Arg: "FILE", Option: "TLS.ClientCA",
		Help:     "certificates that sign those of clients, PEM",
		Gunicorn: []string{"ca_certs"},
	},
	{
		Key: "tls.client_auth", Kind: Enum, Values: []string{"require", "request"}, Default: "require",
		Group: gTLS, For: everywhere, Option: "TLS.ClientAuth",
		Help:     "whether a client must have a certificate",
		Gunicorn: []string{"cert_reqs"},
	},
	{
		Key: "tls.min_version", Kind: Enum, Values: []string{"1.2", "1.3"}, Default: "1.2",
		Group: gTLS, For: everywhere, Option: "TLS.MinVersion",
		Help: "least version of TLS",
	},
	{
		Key: "tls.strict_sni", Kind: Bool, Default: "false",
		Group: gTLS, For: everywhere, Option: "TLS.StrictSNI",
		Help: "refuse names that no certificate has",
	},

	// Log.
	{
		Key: "log.access", Default: "off",
		Group: gLog, For: Static | Proxy | Run, Common: Static | Proxy | Run, Arg: "FILE",
		Help:     "a line for each request; - is stdout",
		Gunicorn: []string{"accesslog"}, UWSGI: []string{"req-logger", "logger-req", "disable-logging"},
	},
	{
		Key: "log.format", Kind: Enum, Values: []string{"combined", "json"}, Default: "combined",
		Group: gLog, For: Static | Proxy | Run,
		Help:     "of these lines",
		Gunicorn: []string{"access_log_format"}, UWSGI: []string{"log-format", "logformat"},
	},
	{
		Key: "log.level", Kind: Enum, Values: []string{"debug", "info", "warn", "error"}, Default: "info",
		Group: gLog, For: Static | Proxy | Run, Common: Static | Proxy | Run,
		Help:     "least level of the log",
		Gunicorn: []string{"loglevel"},
	},
	{
		Key: "log.file", Default: "-",
		Group: gLog, For: Static | Proxy | Run, Arg: "FILE", Change: OnRestart,
		Help:     "the log: a file, or - for standard error",
		Gunicorn: []string{"errorlog"}, UWSGI: []string{"logto", "logto2", "daemonize", "daemonize2", "logger"},
	},
	{
		Key: "log.slow", Kind: Duration, Default: "none", None: true, Min: 1,
		Group: gLog, For: Run,
		Help:  "a request that takes longer is in the log",
		UWSGI: []string{"log-slow"},
	},
	{
		Key: "log.output", Kind: Bool, Default: "true",
		Group: gLog, For: Run, Change: NewWorkers,
		Help:     "what processes print is in the log",
		Gunicorn: []string{"capture_output"},
	},
	{
		Key: "log.max_size", Kind: Bytes, Default: "none", None: true, Min: 4 * kib,
		Group: gLog, For: Run,
		Help:  "a larger log is renamed to .old",
		UWSGI: []string{"log-maxsize"},
	},

	// HTTP.
	{
		Key: "server_header", Default: "isbjorn", None: true,
		Group: gHTTP, For: everywhere, Option: "ServerHeader",
		Help: "value of the field Server",
	},
	{
		Key: "underscore_fields", Kind: Enum, Values: []string{"drop", "refuse", "keep"}, Default: "drop",
		Group: gHTTP, For: everywhere, Option: "UnderscoreFields",
		Help:     "request fields with _ in their names",
		Gunicorn: []string{"header_map"},
	},

	// Process.
	{
		Key:   "user",
		Group: gProcess, For: Run, Change: OnRestart,
		Help:     "user of the processes, by number or name",
		Gunicorn: []string{"user"}, UWSGI: []string{"uid"},
	},
	{
		Key:   "group",
		Group: gProcess, For: Run, Change: OnRestart,
		Help:     "group of the processes",
		Gunicorn: []string{"group"}, UWSGI: []string{"gid"},
	},
	{
		Key: "umask", Kind: Mode, Default: "auto", Auto: true,
		Group: gProcess, For: Run, Change: OnRestart,
		Help:     "of the processes; auto: as it is",
		Gunicorn: []string{"umask"}, UWSGI: []string{"umask"},
	},
	{
		Key: "daemon", Kind: Bool, Default: "false",
		Group: gProcess, For: Run, Short: "D", Change: OnRestart,
		Help:     "run in the background",
		Gunicorn: []string{"daemon"},
	},
	{
		Key:   "pidfile",
		Group: gProcess, For: Run, Short: "p", Arg: "FILE", Change: OnRestart,
		Help:     "file with the process id",
		Gunicorn: []string{"pidfile"}, UWSGI: []string{"pidfile", "safe-pidfile", "pidfile2", "safe-pidfile2"},
	},
	{
		Key: "name", Default: "auto", Auto: true,
		Group: gProcess, For: Run, Change: OnRestart,
		Help:     "of the processes in ps; auto: the application",
		Gunicorn: []string{"proc_name"}, UWSGI: []string{"procname-prefix", "procname-prefix-spaced", "procname"},
	},
	{
		Key: "control", Default: "auto", Auto: true,
		Group: gProcess, For: Run, Arg: "SOCKET", Change: OnRestart,
		Help: "for isbjorn status: auto, off, unix:PATH",
	},
	{
		Key:   "stats.bind",
		Group: gProcess, For: Run, Arg: "ADDRESS", Change: OnRestart,
		Help:  "uWSGI's stats server, for uwsgitop",
		UWSGI: []string{"stats", "stats-server"},
	},
	{
		Key: "reload.watch", Kind: Bool, Default: "false",
		Group: gProcess, For: Run, Change: OnRestart,
		Help:     "reload when a file of the application changes",
		Gunicorn: []string{"reload"}, UWSGI: []string{"py-autoreload", "py-auto-reload", "python-autoreload", "python-auto-reload"},
	},
	{
		Key: "reload.touch", List: true,
		Group: gProcess, For: Run, Arg: "FILE", Change: OnRestart,
		Help:     "reload when one of these files changes",
		Gunicorn: []string{"reload_extra_files"}, UWSGI: []string{"touch-reload", "touch-workers-reload", "touch-chain-reload"},
	},
}
