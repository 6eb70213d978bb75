package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/loop"
	"github.com/isbjorn/isbjorn/parser"
	"github.com/isbjorn/isbjorn/server/internal/logqueue"
	"github.com/isbjorn/isbjorn/server/internal/spool"
)

// Options are the settings of a Server. The zero value of each field is its default, so Options{} is a
// server as this page describes it. Where "none" or "no limit" is possible it is -1, by the names [None] and
// [NoLimit]. [New] refuses every other value that cannot work; the error names the option and what would do.
//
// The limits of package parser are fields like all others, by their names there: each setting has one name,
// in Go, in a file and on a command line. Two options of package loop are left out: ReadBytes only divides
// the time of a loop between connections, and Tick is the resolution of all timeouts.
type Options struct {
	// Loops is the number of event loops. Default: one for each core (GOMAXPROCS).
	Loops int

	// Dispatch is where the application runs. Default [Auto].
	Dispatch DispatchMode

	// DispatchBy chooses the mode for each request, for an application of which a part blocks,
	// such as all under one path, and another must have the latency of [Inline]. It may return
	// Auto too; what Auto finds out about the application does not change requests with Inline.
	// It is called on the event loop; env is valid during the call only. It needs Dispatch at its
	// default, Auto. A request whose content a gateway.Streamer reads as it comes runs on a worker
	// in any case. Default none.
	DispatchBy func(env *gateway.Environ) DispatchMode

	// Workers is how many requests workers run at once: all with [Pool], and with Auto where the
	// application blocks. Default 4096: a goroutine with its stack and request costs some 10 KiB.
	// Half of the workers may run requests whose content is still to come; the content of further
	// such requests is collected first, as with Inline (see BodyMemory, TempDir, TempBytes).
	Workers int

	// WorkerQueue is how many requests may wait for a worker. Default 1024; None lets none
	// wait. Further ones are answered by 503 with Retry-After.
	WorkerQueue int

	// RequestTimeout is the longest that an application on a worker may take for a request, the
	// wait for a worker included, until it has given all of its response. After that the client
	// gets 504, or the connection ends if the response has begun; the Context of the application is
	// cancelled, and the log has the request, its age and the stack. Default none, also by None.
	// With Inline it is refused.
	RequestTimeout time.Duration

	// StallWarning is how long a loop may be blocked by an application, while its other
	// connections wait, until the log has a warning with the request and the stack; another line
	// follows when the loop runs again. Default 1 s; None for no warning. It does not stop the
	// application.
	StallWarning time.Duration

	// HeadTimeout is how long a head may take, from its first byte to its last. Default
	// 10 s. After that the answer is 408.
	HeadTimeout time.Duration

	// BodyTimeout is how long no content of a request may come while more is due. Default 30 s.
	// After that the answer is 408.
	BodyTimeout time.Duration

	// BodyRate is how many bytes of content must come each second on average, once BodyTimeout
	// has passed since the head: a client that sends a byte from time to time keeps within
	// BodyTimeout, but keeps a connection and memory busy. Default 500, as in Apache's
	// mod_reqtimeout (MinRate); None for no such limit. Slower content is answered by 408.
	BodyRate int

	// IdleTimeout is how long a connection is kept between two requests. Default 130 s, longer
	// than most proxies and load balancers have (60 s, 90 s, Caddy 120 s): the proxy must have the
	// shorter idle timeout, or it sends requests into a connection that the server just closed.
	// An idle connection costs 489 bytes. docs/operating.md has a table of proxies that need more.
	IdleTimeout time.Duration

	// WriteTimeout is how long a client may take nothing of its answer: acknowledge none of
	// it, on TCP. Default 60 s, as nginx's send_timeout. Then the connection is cut. A client that
	// reads steadily, however slowly, is not cut.
	WriteTimeout time.Duration

	// LingerTime is how long input of a client is read and dropped after its last answer, so that
	// no reset destroys that answer (RFC 9112 section 9.6, nginx's lingering_close). Default 5 s.
	// For a client that has not taken all of its answer by then WriteTimeout applies instead.
	LingerTime time.Duration

	// LingerBytes bounds the same in bytes. Default 16 MiB. It need not be as large as the uploads
	// of clients that should read why they were refused: after LingerBytes the rest of an upload
	// stays in the client's kernel until LingerTime is over.
	LingerBytes int64

	// StopTimeout is how long [Main] and [Run] wait at the end for requests in progress, and for
	// applications that have taken a connection over by Hijack. Default 30 s: a service manager
	// should wait longer (systemd: TimeoutStopSec). Shutdown has a Context for it.
	StopTimeout time.Duration

	// MaxConnections is how many connections there may be. Over the limit, the longest-idle
	// connection is closed, of the same loop or else of another; if none is idle, the new one is
	// refused with 503. The log has a line about either, once a second at most. Default: the limit
	// of open files (RLIMIT_NOFILE), less an eighth and 32 for other descriptors.
	MaxConnections int

	// HighWaterBytes is how much unsent output a connection may have, in bytes. Above it no body is
	// pulled and no input read, until 64 KiB are unsent, or HighWaterBytes if that is less. Default
	// 256 KiB, least 4 KiB: each client that does not read may cost that much memory. With Inline
	// write() cannot wait for the client, and is an error when eight times as much is unsent.
	HighWaterBytes int

	// MethodBytes is the longest method, in bytes. Default 32: the longest registered one has
	// 17. Longer ones are answered by 501.
	MethodBytes int

	// TargetBytes is the longest request target, in bytes. Default 8 KiB. Longer ones are
	// answered by 414.
	TargetBytes int

	// HeadBytes is the longest head, request line and fields, in bytes. Default 32 KiB. Larger
	// heads are answered by 431.
	HeadBytes int

	// Fields is the most request fields. Default and most 100. More are answered by 431.
	Fields int

	// BodyBytes is the longest content of a request, in bytes. Default 1 MiB; NoLimit lifts
	// the limit. More is answered by 413: at once if Content-Length declares it.
	BodyBytes int64

	// ChunkLineBytes is the longest chunk-size with its extensions, in bytes. Default 1024.
	// Longer ones are answered by 400.
	ChunkLineBytes int

	// TrailerBytes is the most bytes of trailer field lines of chunked content. Default 8 KiB;
	// None refuses trailers. More is answered by 431.
	TrailerBytes int

	// TrailerFields is the most trailer fields. Default 32; None refuses trailers. More are
	// answered by 431.
	TrailerFields int

	// BodyMemory is how much collected content of a request is kept in memory, in bytes; more is kept
	// in a temporary file. Default 64 KiB: most forms and API calls fit, and a thousand slow uploads
	// take 64 MiB at most. With None all is kept in files, except content that was read with its
	// head, which is served from the read buffer.
	BodyMemory int

	// TempDir is the directory of the temporary files. They have no name (O_TMPFILE), or are unlinked
	// at once, so that none outlives the server. Default os.TempDir(), which is TMPDIR of the
	// environment, or /tmp. In a tmpfs they take memory: choose a disk. A directory that is set here
	// must exist at the start. If the default does not work, as in a container with a read-only root,
	// the log has a warning at the start, and content over BodyMemory is answered by 500.
	TempDir string

	// TempBytes is how much the temporary files of all connections may take together, in bytes.
	// Default 1 GiB: a thousand uploads of the default BodyBytes at once, and less than a small
	// disk has; NoLimit sets no bound. An upload that does not fit is answered by 503. The files
	// of applications (gateway.Environ.TempFile, forms of package web) count too: a large form that
	// was collected counts twice while it is parsed.
	TempBytes int64

	// Bind are the addresses that [Main] serves, unless -addr names others. Run and
	// ListenAndServe serve them beside the address that they are called with. A restart hands them
	// over. Default none: Main then serves 127.0.0.1:8080, or 0.0.0.0:$PORT.
	Bind []string

	// TLS are the certificates of https addresses. Default none.
	TLS TLSOptions

	// SocketMode is the file mode of a Unix socket that the server makes. Default 0666.
	SocketMode FileMode

	// Fixed has the names of options that an operator cannot change ("BodyBytes"): with [Main], those that a flag, a
	// variable or a file would set otherwise. Default none.
	Fixed []string

	// ServerHeader is the value of the field Server, and SERVER_SOFTWARE. Default "isbjorn";
	// NoServerHeader sends no such field.
	ServerHeader string

	// UnderscoreFields is what the server does with request fields that have "_" in their names.
	// Default [DropUnderscores].
	UnderscoreFields UnderscorePolicy

	// Environ are pairs in the environ of every request, for Get and All. Keys of CGI, HTTP_
	// and wsgi. are set by the request, and are refused here. Default none. New copies the map; its
	// values are used by many requests at once.
	Environ map[string]any

	// OnStart are called in their order with the server that [Main] or [Run] has made, when its
	// addresses are bound and before it accepts its first client. So a program gets its Stats, for
	// example. The functions must not stop the server, since signals do that, and open no listeners:
	// see Bind. Default none.
	OnStart []func(*Server)

	// OnReload is called by [Main] and [Run] at SIGHUP, on a goroutine of its own, to take new settings or code. An
	// error is a line in the log; what was there before goes on. While it runs, systemd is told of a reload
	// (Type=notify-reload), SIGUSR2 is refused, and a further SIGHUP waits: for several there is one more call. ctx
	// ends when the server stops. nil for nothing: then SIGHUP has only certificates read again.
	OnReload func(ctx context.Context) error

	// Logger is for the server's log lines. Default slog.Default(); with
	// slog.New(slog.DiscardHandler) there are none. Its slog.Handler is called for one line after
	// the other, on a goroutine of its own: if it blocks, only the log waits. Up to 1,024 lines or
	// 4 MiB are queued meanwhile; more are dropped, and a line says how many. Shutdown and Close wait
	// for the last lines, a second at most. The application uses the Logger itself (Environ.Errors).
	Logger *slog.Logger

	tune func(*config) // for tests: called by newConfig before it checks
}

const (
	// None is the value of an option for "none": WorkerQueue, RequestTimeout, BodyRate, StallWarning,
	// TrailerBytes, TrailerFields and BodyMemory take it.
	None = -1

	// NoLimit is the value of the options BodyBytes and TempBytes for "no limit".
	NoLimit = -1

	// NoServerHeader is the value of the option ServerHeader for no field Server.
	NoServerHeader = "-"
)

// DispatchMode is where applications run.
type DispatchMode int

const (
	// Auto runs them on the event loop. If a call takes longer than some milliseconds, the server
	// moves the loop to a new goroutine, and the call finishes on its own. If the application was
	// seen to block, the server runs every request as with Pool, until the application no longer
	// blocks; the log says this once, with the request and the stack. An application is called when
	// all content of the request has come. A gateway.Streamer runs as with Pool for a request whose
	// content did not come with its head.
	Auto DispatchMode = iota

	// Inline runs them on the event loop, for applications that never block and never compute for
	// long. An application is called when all content of the request has come.
	Inline

	// Pool runs each request on a goroutine of its own. An application may block, and
	// reads content while the client sends it.
	Pool
)

// UnderscorePolicy is what the server does with request fields that have "_" in their names. In CGI names
// X_User and X-User are the same, so a client could send the one where a proxy in front of the server
// removes only the other.
type UnderscorePolicy uint8

const (
	DropUnderscores   UnderscorePolicy = iota // the application does not see them; the first is logged
	RefuseUnderscores                         // the request is answered by 400
	KeepUnderscores                           // the application sees them, like other fields
)

var (
	dispatchNames   = []string{Auto: "auto", Inline: "inline", Pool: "pool"}
	underscoreNames = []string{DropUnderscores: "drop", RefuseUnderscores: "refuse", KeepUnderscores: "keep"}
)

// String returns auto, inline or pool.
func (d DispatchMode) String() string { return nameOf(dispatchNames, int(d)) }

// Set takes what String returns, in letters of either case.
func (d *DispatchMode) Set(s string) error { return setByName(d, dispatchNames, s) }

// String returns drop, refuse or keep.
func (u UnderscorePolicy) String() string { return nameOf(underscoreNames, int(u)) }

// Set takes what String returns, in letters of either case.
func (u *UnderscorePolicy) Set(s string) error { return setByName(u, underscoreNames, s) }

func nameOf(names []string, i int) string {
	if i < 0 || i >= len(names) {
		return strconv.Itoa(i)
	}
	return names[i]
}

func setByName[T ~int | ~uint8](value *T, names []string, s string) error {
	i := slices.Index(names, strings.ToLower(s))
	if i < 0 {
		return fmt.Errorf("%q is none of %s", s, strings.Join(names, ", "))
	}
	*value = T(i)
	return nil
}

// FileMode is the permission bits of a file, as in fs.FileMode.
type FileMode uint32

// String returns the bits in octal: 0666.
func (m FileMode) String() string { return fmt.Sprintf("%#o", uint32(m)) }

// Set takes the bits in octal, with or without a leading 0.
func (m *FileMode) Set(s string) error {
	n, err := strconv.ParseUint(s, 8, 32)
	if err != nil {
		return fmt.Errorf("%q is no file mode in octal, such as 0660", s)
	}
	*m = FileMode(n)
	return nil
}

// config is Options with all defaults filled in: see newConfig.
type config struct {
	limits           parser.Limits
	loop             loop.Options
	headTime         time.Duration
	bodyTime         time.Duration
	bodyRate         int // bytes a second; negative for none
	idleTime         time.Duration
	maxConns         int
	dispatch         DispatchMode
	dispatchBy       func(*gateway.Environ) DispatchMode // nil if dispatch holds for all requests
	workers          int
	queue            int           // requests that wait for a worker
	requestTime      time.Duration // 0 for none
	trialDelay       time.Duration // trialDelayMin; shorter in tests
	stopTime         time.Duration
	stallWarning     time.Duration // negative for none
	bind             []string
	tls              *tlsSetup // nil without a certificate
	onStart          []func(*Server)
	onReload         func(context.Context) error
	content          spool.Options
	tempDirUntried   bool   // content.Dir is the default, and may be needed
	serverHeader     string // "" for no field Server
	environ          map[string]any
	underscorePolicy UnderscorePolicy
	log              *slog.Logger // for the server: queues its lines in logs
	logs             *logqueue.Queue
	appLog           *slog.Logger // for the application: the option Logger
}

const (
	// highWaterBytesMin is a page. With less the head of an answer alone would exceed HighWaterBytes, and
	// each chunk would wait until the one before was sent.
	highWaterBytesMin = 4 << 10

	// memoryBytesMax is the most memory that an option may allow one connection. A larger value is a mistake
	// of units: a few such connections would take all the memory of a machine.
	memoryBytesMax = 1 << 30
)

// or returns value, or def where value is the zero value, which stands for the default.
func or[T comparable](value, def T) T {
	var zero T
	if value == zero {
		return def
	}
	return value
}

// orNone is or for an option where None stands for 0.
func orNone(value, def int) int {
	if value == None {
		return 0
	}
	return or(value, def)
}

// Check returns the error that [New] would return for a value that cannot work; nil if there is none.
func (o Options) Check() error {
	_, err := newConfig(o)
	return err
}

func newConfig(o Options) (*config, error) {
	c := &config{
		limits:       o.limits(),
		loop:         o.loop(),
		headTime:     or(o.HeadTimeout, 10*time.Second),
		bodyTime:     or(o.BodyTimeout, 30*time.Second),
		bodyRate:     or(o.BodyRate, 500),
		idleTime:     or(o.IdleTimeout, 130*time.Second),
		maxConns:     or(o.MaxConnections, maxConnsDefault(loop.DescriptorLimit())),
		dispatch:     o.Dispatch,
		dispatchBy:   o.DispatchBy,
		workers:      or(o.Workers, 4096),
		queue:        orNone(o.WorkerQueue, 1024),
		requestTime:  o.RequestTimeout,
		trialDelay:   trialDelayMin,
		stopTime:     or(o.StopTimeout, 30*time.Second),
		stallWarning: or(o.StallWarning, time.Second),
		bind:         slices.Clone(o.Bind),
		onStart:      slices.Clone(o.OnStart),
		onReload:     o.OnReload,
		content: spool.Options{
			MemoryBytes: orNone(o.BodyMemory, 64<<10),
			Dir:         o.TempDir,
			Space:       &spool.Space{Max: or(o.TempBytes, 1<<30)},
			Open:        spool.Open,
		},
		serverHeader:     or(o.ServerHeader, "isbjorn"),
		environ:          maps.Clone(o.Environ),
		underscorePolicy: o.UnderscoreFields,
		appLog:           or(o.Logger, slog.Default()),
		logs:             new(logqueue.Queue),
	}
	if c.serverHeader == NoServerHeader {
		c.serverHeader = ""
	}
	if c.requestTime == None {
		c.requestTime = 0
	}
	if o.tune != nil {
		o.tune(c)
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	c.log = c.logs.Logger(c.appLog)
	c.loop.Log = c.log
	var err error
	switch {
	case tlsSupport != nil:
		c.tls, err = tlsSupport.setup(&o.TLS, "", c.log)
	case o.TLS.given():
		err = errors.New("server: options TLS.Cert and TLS.Key: this program is built without TLS; call server.EnableTLS in its main")
	}
	if err != nil {
		return nil, err
	}
	if err := c.checkBind(); err != nil {
		return nil, err
	}
	if err := c.loop.Check(); err != nil {
		return nil, fmt.Errorf("server: option %s", strings.TrimPrefix(err.Error(), "loop: "))
	}
	return c, nil
}

// unnamedKind is what is spoken on host:port where no scheme says it.
func (c *config) unnamedKind() kind {
	if c.tls != nil {
		return kindHTTPS
	}
	return kindHTTP
}

func (o *Options) limits() parser.Limits {
	d := parser.DefaultLimits()
	return parser.Limits{
		MethodBytes:    or(o.MethodBytes, d.MethodBytes),
		TargetBytes:    or(o.TargetBytes, d.TargetBytes),
		HeadBytes:      or(o.HeadBytes, d.HeadBytes),
		Fields:         or(o.Fields, d.Fields),
		BodyBytes:      or(o.BodyBytes, d.BodyBytes),
		ChunkLineBytes: or(o.ChunkLineBytes, d.ChunkLineBytes),
		TrailerBytes:   orNone(o.TrailerBytes, d.TrailerBytes),
		TrailerFields:  orNone(o.TrailerFields, d.TrailerFields),
	}
}

func (o *Options) loop() loop.Options {
	c := loop.DefaultOptions()
	c.Loops = or(o.Loops, c.Loops)
	if o.HighWaterBytes != 0 {
		c.HighWaterBytes = o.HighWaterBytes
	}
	c.WriteTimeout = or(o.WriteTimeout, c.WriteTimeout)
	c.LingerTime = or(o.LingerTime, c.LingerTime)
	c.LingerBytes = or(o.LingerBytes, c.LingerBytes)
	c.SocketMode = or(fs.FileMode(o.SocketMode), c.SocketMode)
	return c
}

// checkBind refuses addresses that have no meaning, and https without a certificate.
func (c *config) checkBind() error {
	addrs, err := parseAddresses(c.bind, c.unnamedKind())
	for _, a := range addrs {
		if a.kind == kindHTTPS && c.tls == nil {
			return a.refuseWithoutCertificate()
		}
	}
	return err
}

// check refuses values that cannot work. The error names the option, its value, and what would do.
func (c *config) check() error {
	if err := c.checkNumbers(); err != nil {
		return err
	}
	if err := c.checkDispatch(); err != nil {
		return err
	}
	if err := gateway.CheckHeader(&gateway.Header{Name: "Server", Value: c.serverHeader}); err != nil {
		return fmt.Errorf("server: option ServerHeader is %q; use a text without control characters, or %q for none", c.serverHeader, NoServerHeader)
	}
	if err := gateway.CheckExtra(c.environ); err != nil {
		return fmt.Errorf("server: option Environ: %w", err)
	}
	if c.underscorePolicy > KeepUnderscores {
		return fmt.Errorf("server: option UnderscoreFields is %d; use DropUnderscores, RefuseUnderscores or KeepUnderscores", c.underscorePolicy)
	}
	if slices.ContainsFunc(c.onStart, func(f func(*Server)) bool { return f == nil }) {
		return errors.New("server: option OnStart has a function that is nil; leave it out")
	}
	if err := c.limits.Check(); err != nil {
		return fmt.Errorf("server: option %s", strings.TrimPrefix(err.Error(), "parser: Limits."))
	}
	return c.checkContent()
}

func (c *config) checkNumbers() error {
	for _, t := range []struct {
		option string
		d      time.Duration
	}{
		{"HeadTimeout", c.headTime}, {"BodyTimeout", c.bodyTime}, {"IdleTimeout", c.idleTime},
		{"WriteTimeout", c.loop.WriteTimeout}, {"LingerTime", c.loop.LingerTime}, {"StopTimeout", c.stopTime},
	} {
		if t.d <= 0 {
			return fmt.Errorf("server: option %s is %v; use a positive duration, or leave it out for the default", t.option, t.d)
		}
	}
	for _, t := range []struct {
		option string
		n      int64
	}{
		{"Loops", int64(c.loop.Loops)}, {"LingerBytes", c.loop.LingerBytes},
		{"Workers", int64(c.workers)}, {"MaxConnections", int64(c.maxConns)},
	} {
		if t.n <= 0 {
			return fmt.Errorf("server: option %s is %d; use a positive number, or leave it out for the default", t.option, t.n)
		}
	}
	if n := c.loop.HighWaterBytes; n < highWaterBytesMin || n > memoryBytesMax {
		return fmt.Errorf("server: option HighWaterBytes is %d; use %d to %d bytes", n, highWaterBytesMin, memoryBytesMax)
	}
	if n := c.limits.BodyBytes; n < NoLimit {
		return fmt.Errorf("server: option BodyBytes is %d; use a positive number of bytes, or -1 to lift the limit", n)
	}
	if d := c.stallWarning; d < None {
		return fmt.Errorf("server: option StallWarning is %v; use a positive duration, or -1 for none", d)
	}
	if c.bodyRate < None {
		return fmt.Errorf("server: option BodyRate is %d; use a positive number of bytes a second, or -1 for none", c.bodyRate)
	}
	for _, t := range []struct {
		option string
		n      int
	}{
		{"WorkerQueue", c.queue}, {"TrailerBytes", c.limits.TrailerBytes}, {"TrailerFields", c.limits.TrailerFields},
	} {
		if t.n < 0 {
			return fmt.Errorf("server: option %s is %d; use a positive number, or -1 for none", t.option, t.n)
		}
	}
	return nil
}

func (c *config) checkDispatch() error {
	switch {
	case c.dispatch < Auto || c.dispatch > Pool:
		return fmt.Errorf("server: option Dispatch is %d; use Auto, Inline or Pool", c.dispatch)
	case c.dispatchBy != nil && c.dispatch != Auto:
		return errors.New("server: option DispatchBy chooses for each request; leave the option Dispatch out")
	case c.requestTime < 0:
		return fmt.Errorf("server: option RequestTimeout is %v; use a positive duration, or leave it out for none", c.requestTime)
	case c.requestTime > 0 && c.dispatch == Inline:
		return errors.New("server: option RequestTimeout needs the option Dispatch to be Auto or Pool: " +
			"with Inline the loop waits for the application")
	}
	return nil
}

// maxConnsDefault is the default of MaxConnections where the process may have so many descriptors. It leaves
// some for listeners, pollers, and files of the application.
func maxConnsDefault(descriptors int) int { return max(descriptors-descriptors/8-32, descriptors/2, 1) }
