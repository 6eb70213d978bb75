package loop

import (
	"fmt"
	"io/fs"
	"log/slog"
	"runtime"
	"time"
)

// Options are the numbers of a Reactor. The zero value of a field means its
// default; Check says what is refused.
type Options struct {
	// Loops is the number of event loops. Default: GOMAXPROCS, so one per core.
	Loops int

	// ReadBytes is the size of a loop's read buffer, and with it the most that is
	// read from one connection before the others get their turn. Default 64 KiB:
	// larger reads gain nothing measurable, smaller ones cost calls on uploads.
	ReadBytes int

	// HighWaterBytes is how much unsent output a connection may hold before
	// its input is no longer read and its handler is told to stop ([Conn.Full]).
	// Default 256 KiB: more than a batch of pipelined small answers, and little
	// enough that a thousand stalled readers cost a quarter of a GiB at worst.
	HighWaterBytes int

	// LowWaterBytes is how far unsent output must fall before the connection
	// goes on. Default 64 KiB: the socket's own buffer keeps the peer busy while
	// the handler makes more.
	LowWaterBytes int

	// AcceptBatch is how many connections are accepted in one turn before the
	// connections that already exist are served. Default 64: enough to empty a
	// usual queue in one turn, and well under a millisecond of work.
	AcceptBatch int

	// LingerBytes is how much input is read and thrown away after the last byte
	// was sent, so that the close does not turn into a reset that destroys the
	// answer on its way (RFC 9112 section 9.6). Default 16 MiB: an upload that
	// was refused early can finish within it. After that nothing is read, and what
	// the peer sends waits in its own kernel until LingerTime is over.
	LingerBytes int64

	// LingerTime bounds the same phase in time. A peer that has not acknowledged all of
	// its answer by then has WriteStall, and again while it takes some. Default 5 s, as
	// nginx waits.
	LingerTime time.Duration

	// WriteStall is how long a peer may take nothing of a pending answer before
	// the connection is cut. Default 60 s, as nginx has it: over loopback, whose packets
	// have up to 64 KiB, a peer that reads 2 KiB/s acknowledges every 32 s.
	WriteStall time.Duration

	// Tick is the grain of every timer: a timeout comes up to two ticks late,
	// never early.
	// Default 100 ms: a loop without traffic wakes 10 times a second.
	Tick time.Duration

	// StallWarning is how long a callback or a task may hold its loop before
	// Handler.Stalled tells: up to three ticks late, never early, and later where the
	// loop was busy before. -1 for no limit.
	// Default 1 s: the loop's other connections have noticed by then, and no
	// machine that is merely busy keeps a goroutine from running for so long.
	StallWarning time.Duration

	// SocketMode is the file mode of a Unix socket made by Listen.
	// Default 0o666, what connect(2) needs for other users: the directory is
	// the place to restrict access; narrow it here where that is not enough.
	SocketMode fs.FileMode

	// Log gets the few lines a reactor has to say (descriptors exhausted, a
	// listener that fails). Default slog.Default().
	Log *slog.Logger
}

const (
	readBytesMin = 4 << 10  // one page: less turns every request into several reads
	readBytesMax = 16 << 20 // a loop's buffer is resident memory
	loopsMax     = 1024     // far above any machine; catches a misread option
	tickMin      = time.Millisecond
	tickMax      = time.Second // Handler.Tick moves clocks that show seconds
)

// DefaultOptions returns the options described at the fields of Options.
func DefaultOptions() Options { return Options{}.withDefaults() }

// withDefaults returns o with every zero field replaced.
func (o Options) withDefaults() Options {
	setDefault(&o.Loops, runtime.GOMAXPROCS(0))
	setDefault(&o.ReadBytes, 64<<10)
	setDefault(&o.HighWaterBytes, 256<<10)
	setDefault(&o.LowWaterBytes, min(64<<10, o.HighWaterBytes))
	setDefault(&o.AcceptBatch, 64)
	setDefault(&o.LingerBytes, 16<<20)
	setDefault(&o.LingerTime, 5*time.Second)
	setDefault(&o.WriteStall, time.Minute)
	setDefault(&o.Tick, 100*time.Millisecond)
	setDefault(&o.StallWarning, time.Second)
	setDefault(&o.SocketMode, 0o666)
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return o
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Check refuses numbers that cannot work. Its error names the field, the value
// and what would do.
func (o Options) Check() error {
	o = o.withDefaults()
	switch {
	case o.Loops < 1 || o.Loops > loopsMax:
		return fmt.Errorf("loop: Loops is %d; use 1 to %d, or leave it out for one per core", o.Loops, loopsMax)
	case o.ReadBytes < readBytesMin || o.ReadBytes > readBytesMax:
		return fmt.Errorf("loop: ReadBytes is %d; use %d to %d bytes", o.ReadBytes, readBytesMin, readBytesMax)
	case o.HighWaterBytes < 1:
		return fmt.Errorf("loop: HighWaterBytes is %d; use a positive number of bytes", o.HighWaterBytes)
	case o.LowWaterBytes < 1 || o.LowWaterBytes > o.HighWaterBytes:
		return fmt.Errorf("loop: LowWaterBytes is %d; use 1 to HighWaterBytes (%d)", o.LowWaterBytes, o.HighWaterBytes)
	case o.AcceptBatch < 1:
		return fmt.Errorf("loop: AcceptBatch is %d; use a positive number of connections", o.AcceptBatch)
	case o.LingerBytes < 0:
		return fmt.Errorf("loop: LingerBytes is %d; use a positive number of bytes", o.LingerBytes)
	case o.LingerTime < 0:
		return fmt.Errorf("loop: LingerTime is %v; use a positive duration", o.LingerTime)
	case o.WriteStall < 0:
		return fmt.Errorf("loop: WriteStall is %v; use a positive duration", o.WriteStall)
	case o.Tick < tickMin || o.Tick > tickMax:
		return fmt.Errorf("loop: Tick is %v; use %v to %v", o.Tick, tickMin, tickMax)
	case o.StallWarning < -1:
		return fmt.Errorf("loop: StallWarning is %v; use a positive duration, or -1 for none", o.StallWarning)
	case o.SocketMode&^fs.ModePerm != 0:
		return fmt.Errorf("loop: SocketMode is %#o; use permission bits only, such as 0660", uint32(o.SocketMode))
	}
	return nil
}
