package wsgi

import (
	"fmt"
	"log/slog"
	"runtime"
	"time"
)

// Options are those of an App. A zero value means the default.
type Options struct {
	// App is the application: "module:name", "module:name.attribute", "module:create_app('x')", "path/to/app.py:name",
	// or a module alone, in which it is looked for. Empty: it is looked for in Dir.
	App string

	// Factory has what App names called, without arguments, to get the application.
	Factory bool

	// Dir is the working directory of the workers, and the first directory in which modules are looked for. Default:
	// that of this process.
	Dir string

	// Path are further directories of modules.
	Path []string

	// Env are variables, as "NAME=value", that the workers have beside those of this process.
	Env []string

	// Python is the interpreter: a file, or a name that PATH has. Default: that of VIRTUAL_ENV, of ./.venv or ./venv,
	// or python3.
	Python string

	// StreamInput are paths under which the application reads content while the client sends it, such as "/upload", or
	// "/" for all. Otherwise it is called when all content is there. It needs a server that runs such requests on a
	// goroutine: package server does with Dispatch Auto and Pool. A client that leaves makes a read raise
	// ConnectionError; a slow one keeps its worker.
	StreamInput []string

	// Strict has the application checked by wsgiref.validate, and makes errors of what is mended otherwise.
	Strict bool

	// Workers is how many processes run the application. Default: the number of cores (GOMAXPROCS).
	Workers int

	// Threads is how many threads of each process run it. Default 1: the application runs in the main thread.
	Threads int

	// Gevent is how many greenlets of each process run it, in place of threads. Default 0: no gevent.
	Gevent int

	// Queue is how many requests may wait for a worker. Default 1024; None lets none wait. More are answered by 503.
	Queue int

	// QueueTimeout is how long a request may wait for a worker; then 503. Default 30 s, None for no limit.
	QueueTimeout time.Duration

	// RequestTimeout is how long the application may take without giving content: then the client gets 504, or the
	// response is cut, the log has the stacks of Python, and the worker is replaced if the request does not end. What
	// waits for the client does not count. Default 30 s; None for no limit.
	RequestTimeout time.Duration

	// SlowTime: a request that runs longer is a line in the log, with its stack. Default none.
	SlowTime time.Duration

	// BootTimeout is how long a worker may take to load the application. Default 30 s.
	BootTimeout time.Duration

	// GracefulTimeout is how long a worker that is to end may take for the requests that it runs. Default 30 s.
	GracefulTimeout time.Duration

	// ReloadSurge is how many processes there may be beyond Workers while Reload replaces them, those that still answer
	// a request among them: more make it faster, and take memory. Default 1.
	ReloadSurge int

	// MaxRequests has a worker replaced that has begun so many requests, and up to MaxRequestsJitter more, by chance.
	// Another one serves before it leaves, and no two are replaced at once. Default none.
	MaxRequests, MaxRequestsJitter int

	// MaxLifetime has a worker replaced in the same way that is so old, or up to a tenth older. Default none.
	MaxLifetime time.Duration

	// MaxRSS has a worker replaced in the same way that has more memory, in bytes: Pss, which divides what processes
	// share, or the resident set where the system has no Pss. It is looked at each 10 s. Default none.
	MaxRSS int64

	// TempDir is the directory of files for responses that slow clients do not take. Default os.TempDir().
	TempDir string

	// Software is SERVER_SOFTWARE. Default "isbjorn".
	Software string

	// Log takes what workers print, and what happens to them. Default slog.Default().
	Log *slog.Logger

	restartDelay func(failures int) time.Duration // for tests: see process.Options
}

// WorkerInfo is one worker process.
type WorkerInfo struct {
	Number     int       `json:"number"` // of all that were started, from 1
	PID        int       `json:"pid"`
	Generation int       `json:"generation"` // 1, and one more for each reload
	State      string    `json:"state"`      // "starting", "serving", or "leaving": it takes no more requests
	Started    time.Time `json:"started"`    // the process
	Requests   uint64    `json:"requests"`   // that it has begun
	Memory     int64     `json:"memory"`     // Pss, in bytes
	Running    []string  `json:"running"`    // requests that it runs, with how long they have
}

// None turns a limit off.
const None = -1

const workersMax = 512

// complete fills in the defaults, and checks the rest.
func (o Options) complete() (Options, error) {
	for _, limit := range []struct {
		name  string
		value *time.Duration
		def   time.Duration
	}{
		{"QueueTimeout", &o.QueueTimeout, 30 * time.Second}, {"RequestTimeout", &o.RequestTimeout, 30 * time.Second},
		{"SlowTime", &o.SlowTime, None}, {"BootTimeout", &o.BootTimeout, 30 * time.Second},
		{"GracefulTimeout", &o.GracefulTimeout, 30 * time.Second}, {"MaxLifetime", &o.MaxLifetime, None},
	} {
		switch *limit.value {
		case 0:
			*limit.value = limit.def
		}
		if *limit.value == None {
			*limit.value = 0
		} else if *limit.value < 0 {
			return o, fmt.Errorf("wsgi: option %s is %v; use a time, or None", limit.name, *limit.value)
		}
	}
	for _, number := range []struct {
		name          string
		value         *int
		def, min, max int
	}{
		{"Workers", &o.Workers, runtime.GOMAXPROCS(0), 1, workersMax}, {"Threads", &o.Threads, 1, 1, 4096},
		{"Gevent", &o.Gevent, 0, 0, 65536}, {"Queue", &o.Queue, 1024, None, 1 << 20},
		{"ReloadSurge", &o.ReloadSurge, 1, 1, workersMax}, {"MaxRequests", &o.MaxRequests, 0, 0, 1 << 40},
		{"MaxRequestsJitter", &o.MaxRequestsJitter, 0, 0, 1 << 40},
	} {
		if *number.value == 0 {
			*number.value = number.def
		}
		if *number.value < number.min || *number.value > number.max {
			return o, fmt.Errorf("wsgi: option %s is %d; use %d to %d", number.name, *number.value, number.min, number.max)
		}
	}
	o.Queue = max(o.Queue, 0)
	if o.MaxRSS < 0 {
		return o, fmt.Errorf("wsgi: option MaxRSS is %d; use a number of bytes", o.MaxRSS)
	}
	if o.Gevent > 0 && o.Threads > 1 {
		return o, fmt.Errorf("wsgi: options Threads = %d and Gevent = %d; use one of them", o.Threads, o.Gevent)
	}
	if o.Software == "" {
		o.Software = "isbjorn"
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return o, nil
}
