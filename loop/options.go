package loop

import (
	"fmt"
	"io/fs"
	"log/slog"
	"runtime"
	"time"
)

// Options configure a Reactor. The zero value of a field means its default. Check has the
// bounds.
type Options struct {
	// Loops is the number of event loops. Default: GOMAXPROCS, so one per core.
	Loops int

	// ReadBytes is the size of a loop's read buffer in bytes, which is also the most that
	// is read from one connection before the others have their turn. Default 64 KiB:
	// larger reads gain nothing measurable, smaller ones cost calls on uploads.
	ReadBytes int

	// HighWaterBytes is how many bytes of unsent output a connection may have. Above it
	// input is not read, and the handler should make no more output ([Conn.Full]) until
	// 64 KiB are left, or HighWaterBytes if that is less. Default 256 KiB: more than a
	// batch of small pipelined answers; a thousand peers that do not read cost 250 MiB.
	HighWaterBytes int

	lowWaterBytes int // 64 KiB: the socket's buffer keeps the peer busy until the handler has made more
	acceptBatch   int // connections accepted in one turn. 64 empties a usual queue, in well under 1 ms

	// LingerBytes is how many bytes of input are read and discarded after Close, so that
	// the close is not a reset, which would destroy the answer on its way (RFC 9112
	// section 9.6). Default 16 MiB: an upload that was refused early can finish within
	// it. Beyond that nothing is read, and flow control stops the peer.
	LingerBytes int64

	// LingerTime is how long a connection lingers after FIN, as in nginx
	// (lingering_timeout). A peer that has not acknowledged all of its answer by then has
	// WriteTimeout, and again whenever it has taken some. Default 5 s.
	LingerTime time.Duration

	// WriteTimeout is how long a peer may take no output before the connection is cut. On
	// TCP a peer takes output when it acknowledges some. Default 60 s, as in nginx
	// (send_timeout): over loopback, whose packets have up to 64 KiB, a peer that reads
	// 2 KiB/s acknowledges every 32 s.
	WriteTimeout time.Duration

	// Tick is the resolution of all timers: a timeout comes up to two ticks late, never
	// early. Default 100 ms: a loop without traffic wakes 10 times a second.
	Tick time.Duration

	// SocketMode is the file mode of a Unix socket made by Listen. Default 0o666, which
	// lets other users connect: access is restricted by the mode of its directory, or here.
	SocketMode fs.FileMode

	// Log gets the warnings of listeners: no descriptor left, accept fails. Default
	// slog.Default().
	Log *slog.Logger
}

const (
	readBytesMin = 4 << 10  // one page: with less every request takes several reads
	readBytesMax = 16 << 20 // a loop's buffer is resident memory
	loopsMax     = 1024     // more than any machine has cores: the value is a mistake
	tickMin      = time.Millisecond
	tickMax      = time.Second // Handler.Tick advances clocks that show seconds
)

// DefaultOptions returns Options with every field set to its default.
func DefaultOptions() Options { return Options{}.withDefaults() }

// withDefaults returns o with every zero field replaced.
func (o Options) withDefaults() Options {
	setDefault(&o.Loops, runtime.GOMAXPROCS(0))
	setDefault(&o.ReadBytes, 64<<10)
	setDefault(&o.HighWaterBytes, 256<<10)
	setDefault(&o.lowWaterBytes, 64<<10)
	o.lowWaterBytes = min(o.lowWaterBytes, o.HighWaterBytes)
	setDefault(&o.acceptBatch, 64)
	setDefault(&o.LingerBytes, 16<<20)
	setDefault(&o.LingerTime, 5*time.Second)
	setDefault(&o.WriteTimeout, time.Minute)
	setDefault(&o.Tick, 100*time.Millisecond)
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

// Check returns an error for a value that cannot work: it names the field, the value and
// what to use instead.
func (o Options) Check() error {
	o = o.withDefaults()
	switch {
	case o.Loops < 1 || o.Loops > loopsMax:
		return fmt.Errorf("loop: Loops is %d; use 1 to %d, or leave it out for one per core", o.Loops, loopsMax)
	case o.ReadBytes < readBytesMin || o.ReadBytes > readBytesMax:
		return fmt.Errorf("loop: ReadBytes is %d; use %d to %d bytes", o.ReadBytes, readBytesMin, readBytesMax)
	case o.HighWaterBytes < 1:
		return fmt.Errorf("loop: HighWaterBytes is %d; use a positive number of bytes", o.HighWaterBytes)
	case o.LingerBytes < 0:
		return fmt.Errorf("loop: LingerBytes is %d; use a positive number of bytes", o.LingerBytes)
	case o.LingerTime < 0:
		return fmt.Errorf("loop: LingerTime is %v; use a positive duration", o.LingerTime)
	case o.WriteTimeout < 0:
		return fmt.Errorf("loop: WriteStall is %v; use a positive duration", o.WriteTimeout)
	case o.Tick < tickMin || o.Tick > tickMax:
		return fmt.Errorf("loop: Tick is %v; use %v to %v", o.Tick, tickMin, tickMax)
	case o.SocketMode&^fs.ModePerm != 0:
		return fmt.Errorf("loop: SocketMode is %#o; use permission bits only, such as 0660", uint32(o.SocketMode))
	}
	return nil
}
