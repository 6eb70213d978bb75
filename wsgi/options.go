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

	// TempDir is the directory of files for responses that slow clients do not take. Default os.TempDir().
	TempDir string

	// Software is SERVER_SOFTWARE. Default "isbjorn".
	Software string

	// Log takes what workers print, and what happens to them. Default slog.Default().
	Log *slog.Logger
}

// None turns a limit off.
const None = -1

// complete fills in the defaults, and checks the rest.
func (o Options) complete() (Options, error) {
	for _, limit := range []struct {
		name  string
		value *time.Duration
		def   time.Duration
	}{
		{"QueueTimeout", &o.QueueTimeout, 30 * time.Second}, {"RequestTimeout", &o.RequestTimeout, 30 * time.Second},
		{"SlowTime", &o.SlowTime, None}, {"BootTimeout", &o.BootTimeout, 30 * time.Second},
		{"GracefulTimeout", &o.GracefulTimeout, 30 * time.Second},
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
		{"Workers", &o.Workers, runtime.GOMAXPROCS(0), 1, 512}, {"Threads", &o.Threads, 1, 1, 4096},
		{"Gevent", &o.Gevent, 0, 0, 65536}, {"Queue", &o.Queue, 1024, None, 1 << 20},
	} {
		if *number.value == 0 {
			*number.value = number.def
		}
		if *number.value < number.min || *number.value > number.max {
			return o, fmt.Errorf("wsgi: option %s is %d; use %d to %d", number.name, *number.value, number.min, number.max)
		}
	}
	o.Queue = max(o.Queue, 0)
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
