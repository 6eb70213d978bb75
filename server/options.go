package server

import (
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/isbjorn/isbjorn/server/internal/logqueue"
	"github.com/isbjorn/isbjorn/server/internal/spool"

	"github.com/isbjorn/isbjorn/gateway"
	"github.com/isbjorn/isbjorn/loop"
	"github.com/isbjorn/isbjorn/parser"
)

// Option changes a number or a behaviour of a Server. Every limit of package
// parser is one, by the name of its field. Of package loop these are not: ReadBytes
// and AcceptBatch only share out the time of a loop, Tick is the grain of all
// timeouts, and LowWaterBytes follows HighWaterBytes. There is no reason to turn
// them that a server could know of.
type Option func(*config)

// config is all that can be configured, with the defaults of newConfig.
type config struct {
	limits           parser.Limits
	loop             loop.Options
	headTime         time.Duration
	bodyTime         time.Duration
	bodyRate         int // bytes a second; negative for none
	idleTime         time.Duration
	maxConns         int
	dispatch         DispatchMode
	dispatchBy       func(*gateway.Environ) DispatchMode // nil: dispatch says it for all
	workers          int
	queue            int           // requests that wait for a worker
	requestTime      time.Duration // 0 for none
	trialRest        time.Duration // trialRestMin, but in tests
	stopTime         time.Duration
	alsoListen       []string
	onStart          []func(*Server)
	content          spool.Options
	tempDirUntried   bool // content.Dir is the default, and may be needed
	name             string
	environ          map[string]any
	underscorePolicy UnderscorePolicy
	log              *slog.Logger // the server's lines, by logs
	logs             *logqueue.Queue
	appLog           *slog.Logger // the option Logger, for the application
}

const (
	// highWaterBytesMin is a page: with less the head of an answer alone is too much, and
	// each chunk waits until the one before has been sent.
	highWaterBytesMin = 4 << 10

	// memoryBytesMax is the most that an option may let one connection keep in memory. More
	// is a mistake of units: a few such connections are all the memory of a machine.
	memoryBytesMax = 1 << 30
)

func newConfig(options []Option) (*config, error) {
	c := &config{
		limits:    parser.DefaultLimits(),
		loop:      loop.DefaultOptions(),
		headTime:  10 * time.Second,
		bodyTime:  30 * time.Second,
		bodyRate:  500,
		idleTime:  130 * time.Second,
		maxConns:  maxConnsDefault(loop.Descriptors()),
		workers:   4096,
		queue:     1024,
		stopTime:  30 * time.Second,
		trialRest: trialRestMin,
		content:   spool.Options{MemoryBytes: 64 << 10, Space: &spool.Space{Max: 1 << 30}, Open: spool.Open},
		name:      "isbjorn",
		log:       slog.Default(),
	}
	for i, o := range options {
		if o == nil {
			return nil, fmt.Errorf("server: option %d is nil; leave it out", i+1)
		}
		o(c)
	}
	for _, t := range []struct {
		option string
		d      time.Duration
	}{
		{"HeadTimeout", c.headTime}, {"BodyTimeout", c.bodyTime}, {"IdleTimeout", c.idleTime},
		{"WriteTimeout", c.loop.WriteStall}, {"LingerTime", c.loop.LingerTime}, {"StopTime", c.stopTime},
	} {
		if t.d <= 0 {
			return nil, fmt.Errorf("server: option %s is %v; use a positive duration", t.option, t.d)
		}
	}
	for _, t := range []struct {
		option string
		n      int64
	}{ // 0 asks package loop for its default; here it is a mistake
		{"Loops", int64(c.loop.Loops)}, {"LingerBytes", c.loop.LingerBytes},
	} {
		if t.n <= 0 {
			return nil, fmt.Errorf("server: option %s is %d; use a positive number", t.option, t.n)
		}
	}
	if n := c.loop.HighWaterBytes; n < highWaterBytesMin || n > memoryBytesMax {
		return nil, fmt.Errorf("server: option HighWaterBytes is %d; use %d to %d bytes", n, highWaterBytesMin, memoryBytesMax)
	}
	if n := c.limits.BodyBytes; n < -1 {
		return nil, fmt.Errorf("server: option BodyBytes is %d; use a number of bytes, or -1 to lift the limit", n)
	}
	if c.loop.StallWarning == 0 || c.loop.StallWarning < -1 {
		return nil, fmt.Errorf("server: option StallWarning is %v; use a positive duration, or -1 for none", c.loop.StallWarning)
	}
	if c.bodyRate == 0 || c.bodyRate < -1 {
		return nil, fmt.Errorf("server: option BodyRate is %d; use a positive number of bytes a second, or -1 for none", c.bodyRate)
	}
	if c.dispatch < Auto || c.dispatch > Pool {
		return nil, fmt.Errorf("server: option Dispatch is %d; use Auto, Inline or Pool", c.dispatch)
	}
	if c.dispatchBy != nil && c.dispatch != Auto {
		return nil, fmt.Errorf("server: option DispatchBy chooses for each request; leave the option Dispatch out")
	}
	if c.workers < 1 {
		return nil, fmt.Errorf("server: option Workers is %d; use a positive number", c.workers)
	}
	if c.queue < 0 {
		return nil, fmt.Errorf("server: option WorkerQueue is %d; use 0 for none, or more", c.queue)
	}
	if c.requestTime < 0 {
		return nil, fmt.Errorf("server: option RequestTimeout is %v; use a positive duration, or leave it out for none", c.requestTime)
	}
	if c.requestTime > 0 && c.dispatch == Inline {
		return nil, fmt.Errorf("server: option RequestTimeout needs the option Dispatch(Auto) or Dispatch(Pool): an application on the loop cannot be left behind")
	}
	if c.maxConns < 1 {
		return nil, fmt.Errorf("server: option MaxConnections is %d; use a positive number, or leave it out for as many as there are descriptors", c.maxConns)
	}
	if err := gateway.CheckHeader(&gateway.Header{Name: "Server", Value: c.name}); err != nil {
		return nil, fmt.Errorf("server: option Name is %q; use a text without control characters, or none", c.name)
	}
	if err := gateway.CheckExtra(c.environ); err != nil {
		return nil, fmt.Errorf("server: option Environ: %w", err)
	}
	if c.underscorePolicy > KeepUnderscores {
		return nil, fmt.Errorf("server: option UnderscoreFields is %d; use DropUnderscores, RefuseUnderscores or KeepUnderscores", c.underscorePolicy)
	}
	if c.log == nil {
		return nil, fmt.Errorf("server: option Logger is nil; use slog.New(slog.DiscardHandler) for silence")
	}
	if slices.ContainsFunc(c.onStart, func(f func(*Server)) bool { return f == nil }) {
		return nil, fmt.Errorf("server: option OnStart has no function; use one, or leave it out")
	}
	if err := c.limits.Check(); err != nil {
		return nil, fmt.Errorf("server: option %s", strings.TrimPrefix(err.Error(), "parser: Limits."))
	}
	if err := c.checkContent(); err != nil {
		return nil, err
	}
	c.logs, c.appLog = new(logqueue.Queue), c.log
	c.log = c.logs.Logger(c.appLog)
	c.loop.Log = c.log
	if err := c.loop.Check(); err != nil {
		return nil, fmt.Errorf("server: option %s", strings.TrimPrefix(err.Error(), "loop: "))
	}
	return c, nil
}

// Loops sets the number of event loops. Default: one for each core (GOMAXPROCS).
func Loops(n int) Option { return func(c *config) { c.loop.Loops = n } }

// MethodBytes limits the method, in bytes. Default 32: the longest registered one
// has 17. Longer ones are answered by 501.
func MethodBytes(n int) Option { return func(c *config) { c.limits.MethodBytes = n } }

// HeadBytes limits the request line and the fields, in bytes. Default 32 KiB.
// Larger heads are answered by 431.
func HeadBytes(n int) Option { return func(c *config) { c.limits.HeadBytes = n } }

// TargetBytes limits the request target, in bytes. Default 8 KiB. Longer ones
// are answered by 414.
func TargetBytes(n int) Option { return func(c *config) { c.limits.TargetBytes = n } }

// Fields limits the number of request fields. Default and most 100. More are
// answered by 431.
func Fields(n int) Option { return func(c *config) { c.limits.Fields = n } }

// BodyBytes limits the content of a request, in bytes. Default 1 MiB; -1 lifts
// the limit. More is answered by 413, before it is read where it is announced.
func BodyBytes(n int64) Option { return func(c *config) { c.limits.BodyBytes = n } }

// ChunkLineBytes limits a chunk-size with its extensions, in bytes. Default 1024.
// Longer ones are answered by 400.
func ChunkLineBytes(n int) Option { return func(c *config) { c.limits.ChunkLineBytes = n } }

// TrailerBytes limits the trailer field lines of chunked content, in bytes.
// Default 8 KiB; 0 refuses trailers. More is answered by 431.
func TrailerBytes(n int) Option { return func(c *config) { c.limits.TrailerBytes = n } }

// TrailerFields limits the number of trailer fields. Default 32; 0 refuses
// trailers. More are answered by 431.
func TrailerFields(n int) Option { return func(c *config) { c.limits.TrailerFields = n } }

// BodyMemory is how much content of a request is kept in memory, in bytes; more
// goes to a temporary file. Default 64 KiB: most forms and calls of an API fit,
// and a thousand slow uploads take 64 MiB at worst. 0 keeps none; what came whole
// with its head is served from the read buffer all the same.
func BodyMemory(n int) Option { return func(c *config) { c.content.MemoryBytes = n } }

// TempDir is the directory of the temporary files. They have no name in it, or
// lose it at once, so that none is left behind. Default, also for "", os.TempDir(), which
// is TMPDIR of the environment, or /tmp. In a tmpfs they are memory after all: choose a
// disk. A directory that is set here must be there at the start. The default is used
// when it is needed: where it is missing, as in a container with a read-only root, there
// is a warning in the log, and content over [BodyMemory] is answered by 500.
func TempDir(path string) Option { return func(c *config) { c.content.Dir = path } }

// TempBytes is how much the temporary files of all connections may take together,
// in bytes. Default 1 GiB: a thousand uploads of the default BodyBytes at once, and
// less than a small disk has; -1 sets no bound. An upload that does not fit is
// answered by 503. The files that applications ask for (gateway.Environ.TempFile, forms
// of package web) count too: a large form that was collected is there twice while it is read.
func TempBytes(n int64) Option { return func(c *config) { c.content.Space.Max = n } }

// HeadTimeout is how long a head may take, from its first byte to its last.
// Default 10 s. A slow one is answered by 408.
func HeadTimeout(d time.Duration) Option { return func(c *config) { c.headTime = d } }

// BodyTimeout is how long the content of a request may make no progress.
// Default 30 s. A slow one is answered by 408.
func BodyTimeout(d time.Duration) Option { return func(c *config) { c.bodyTime = d } }

// BodyRate is how many bytes a second of content must come on average, once
// BodyTimeout has passed since the head: a client that sends a byte from time to
// time makes progress, but keeps a connection and memory busy. Default 500, as in
// Apache httpd; -1 sets none. What is slower is answered by 408.
func BodyRate(bytesPerSecond int) Option { return func(c *config) { c.bodyRate = bytesPerSecond } }

// MaxConnections is how many connections there may be. For one more, the one goes
// that has been idle longest, of the same loop or else of another; if all are at
// work the new one is answered by 503. The log says either, once a second at most. Default: what the limit of open files (RLIMIT_NOFILE) allows,
// less an eighth and 32 for what else has a descriptor.
func MaxConnections(n int) Option { return func(c *config) { c.maxConns = n } }

// maxConnsDefault leaves some of so many descriptors to listeners, pollers, and
// files of the application.
func maxConnsDefault(descriptors int) int { return max(descriptors-descriptors/8-32, descriptors/2, 1) }

// IdleTimeout is how long a connection is kept between two requests. Default
// 130 s, longer than what most proxies and load balancers in front have (60 s, 90 s,
// Caddy 120 s): the one with the longer time must be the server, or the proxy sends
// requests into a connection that was just closed. It costs 489 bytes for each connection.
// docs/operating.md has a table of those that need more.
func IdleTimeout(d time.Duration) Option { return func(c *config) { c.idleTime = d } }

// WriteTimeout is how long a client may take nothing of its answer: acknowledge none of
// it, on TCP. Default 60 s, as nginx has it. Then the connection is cut. Who reads steadily,
// however slowly, is not.
func WriteTimeout(d time.Duration) Option { return func(c *config) { c.loop.WriteStall = d } }

// HighWaterBytes is how much unsent output a connection may hold, in bytes. Above it
// no body is pulled and no input read, until 64 KiB are left, or as much as this if
// it is less. Default 256 KiB, least 4 KiB: that, times the clients that do not read, is memory.
// On a loop write() cannot wait: with Inline it is an error when eight times as much waits.
func HighWaterBytes(n int) Option {
	return func(c *config) { c.loop.HighWaterBytes, c.loop.LowWaterBytes = n, 0 }
}

// LingerBytes is how much input of a client is read and thrown away after its last
// answer, in bytes, so that no reset destroys that answer (RFC 9112 section 9.6).
// Default 16 MiB. A server whose clients send larger uploads, and should be able to
// read why they were refused, needs no more: what comes after that waits in the client's
// own kernel until LingerTime is over.
func LingerBytes(n int64) Option { return func(c *config) { c.loop.LingerBytes = n } }

// LingerTime bounds the same in time. Default 5 s; a client that has not taken all of its
// answer by then has WriteTimeout, and again while it takes some.
func LingerTime(d time.Duration) Option { return func(c *config) { c.loop.LingerTime = d } }

// StallWarning is how long an application may hold its loop, whose other connections
// wait meanwhile, before the log says so, with the request and the stack; and says
// so again when the loop goes on. Default 1 s; -1 sets none. It does not stop the
// application.
func StallWarning(d time.Duration) Option { return func(c *config) { c.loop.StallWarning = d } }

// DispatchMode is where applications run.
type DispatchMode int

const (
	// Auto runs them on the event loop, as long as they come back at once. One that has
	// not after some milliseconds goes on on a goroutine of its own, the loop with another; and
	// once it was seen to block all requests are run as with Pool, until it no longer does,
	// which the log says once, with the request and the stack. They get a request when its content has
	// come, unless the application is a gateway.Streamer: then one whose content has not
	// come with its head is run as with Pool.
	Auto DispatchMode = iota

	// Inline runs them on the event loop: for applications that neither block nor
	// compute for long, whatever happens. They get a request when its content has come.
	Inline

	// Pool runs each request on a goroutine of its own. An application may block, and
	// reads content while the client sends it.
	Pool
)

// Dispatch says where the application runs. Default Auto.
func Dispatch(d DispatchMode) Option { return func(c *config) { c.dispatch = d } }

// DispatchBy asks f about each request, where the application is one of several that
// differ: those under a path that block, say, and those that never do, whose latency is
// to be that of Inline. Auto, too, may be its answer; what it has learnt then of the
// application does not count for Inline. f is called on the event loop, with an Environ
// that is lent for the call. It is for Dispatch(Auto). A request whose content a
// gateway.Streamer reads as it comes is a worker's in any case.
func DispatchBy(f func(env *gateway.Environ) DispatchMode) Option {
	return func(c *config) { c.dispatchBy = f }
}

// Workers limits the requests that Pool runs at once. Default 4096: a goroutine with
// its stack and request costs some 10 KiB. Half of them may be at requests whose content is
// still to come, however slowly; of more such requests the content is collected first, as
// with Inline (options BodyMemory, TempDir and TempBytes).
func Workers(n int) Option { return func(c *config) { c.workers = n } }

// WorkerQueue limits the requests that wait for a worker. Default 1024; 0 lets none
// wait. Those beyond are answered by 503 with Retry-After.
func WorkerQueue(n int) Option { return func(c *config) { c.queue = n } }

// RequestTimeout limits the time that an application with Dispatch(Pool) takes for a
// request, until it has given all of its response. After that the client gets 504, or
// the connection ends if the response has begun; the log has the request, its age and
// the stack of the application, whose Context is cancelled. Default none.
func RequestTimeout(d time.Duration) Option { return func(c *config) { c.requestTime = d } }

// StopTime is how long [Main] and [Run] wait at the end for requests that are under
// way, and for applications that have taken a connection over. Default 30 s: a service manager should wait longer (systemd: TimeoutStopSec).
// Shutdown has a Context for it.
func StopTime(d time.Duration) Option { return func(c *config) { c.stopTime = d } }

// AlsoListen adds addresses to those that [Main], [Run] and ListenAndServe serve. They
// are handed over by a restart, too.
func AlsoListen(addrs ...string) Option {
	return func(c *config) { c.alsoListen = append(c.alsoListen, addrs...) }
}

// OnStart calls f with the server that [Main] or [Run] has made: when its addresses are
// bound, before it accepts its first client. So a program has its Stats, for example.
// The server is stopped by signals; f must not stop it, and opens no listeners: see
// [AlsoListen].
func OnStart(f func(*Server)) Option {
	return func(c *config) { c.onStart = append(c.onStart, f) }
}

// SocketMode is the file mode of a Unix socket that the server makes.
// Default 0666.
func SocketMode(m fs.FileMode) Option { return func(c *config) { c.loop.SocketMode = m } }

// Name is the value of the field Server, and SERVER_SOFTWARE. Default
// "isbjorn"; "" sends none.
func Name(s string) Option { return func(c *config) { c.name = s } }

// Environ adds pairs to the environ of every request, for Get and All. Keys of CGI,
// HTTP_ and wsgi. are the request's and refused. Default none. The map is copied;
// its values are used by many requests at once.
func Environ(pairs map[string]any) Option {
	return func(c *config) { c.environ = maps.Clone(pairs) }
}

// UnderscorePolicy is what becomes of request fields with "_" in their names. CGI names
// cannot tell X_User from X-User, so a client could send one where a proxy before the
// server only looks after the other.
type UnderscorePolicy uint8

const (
	DropUnderscores   UnderscorePolicy = iota // the application does not see them; the first is logged
	RefuseUnderscores                         // 400
	KeepUnderscores                           // as other fields
)

// UnderscoreFields says what becomes of request fields with "_" in their names.
// Default DropUnderscores.
func UnderscoreFields(u UnderscorePolicy) Option { return func(c *config) { c.underscorePolicy = u } }

// Logger takes the server's log lines. Default slog.Default(). Its slog.Handler is called
// for one line after the other, on a goroutine of its own: one that blocks holds nothing
// but the log. While it does 1,024 lines wait, or 4 MiB; more are dropped, and a line says
// how many. Shutdown and Close wait for the last lines, a second at most. The application
// has l itself (Environ.Errors).
func Logger(l *slog.Logger) Option { return func(c *config) { c.log = l } }
