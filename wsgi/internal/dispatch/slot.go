//go:build linux

package dispatch

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isbjorn/isbjorn/loop"
	"github.com/isbjorn/isbjorn/wsgi/internal/wire"
	"github.com/isbjorn/isbjorn/wsgi/internal/worker"
)

// slot is a thread of a worker, and the loop.ConnHandler of its stream. The lock of the queue guards it, but for what
// only the home loop uses.
type slot struct {
	q *Queue
	w Worker
	n int

	calls    []func()   // memory of Queue.later, for the loop's goroutine
	conn     *loop.Conn // the stream on the home loop; nil before, and after its end
	dec      wire.Decoder
	req      *Request // whose frames come
	last     bool     // the process has exited: all is read, whoever takes it
	broken   bool     // the worker was killed for a frame: nothing more is read
	answered uint64   // requests that have ended
	ended    time.Time

	// Of sweep.
	watched uint64    // the request that runs
	since   time.Time // it began, gave content or waited for the client
	overdue time.Time // it has passed its timeout
	slow    bool      // it is in the log
}

// attachAll has l wait for the streams that it does not have. On l's goroutine.
func (q *Queue) attachAll(l *loop.Loop) {
	q.mu.Lock()
	defer q.unlock()
	if q.home != l {
		return
	}
	if q.watch == nil && q.ours >= 0 {
		// A duplicate, so that the queue outlives the loop.
		fd, err := unix.FcntlInt(uintptr(q.ours), unix.F_DUPFD_CLOEXEC, 0)
		if err == nil {
			q.watch, err = l.Watch(fd, (*room)(q))
		}
		if err != nil {
			q.o.Log.Error("the queue of the workers: " + err.Error())
		}
	}
	for _, s := range slices.Clone(q.slots) {
		if s.conn != nil {
			continue
		}
		fd, err := unix.FcntlInt(uintptr(s.w.Data(s.n)), unix.F_DUPFD_CLOEXEC, 0)
		if err == nil {
			s.conn, err = l.Attach(fd, s)
		}
		if err != nil {
			s.kill("its stream cannot be watched: " + err.Error())
			q.lose(s)
		}
	}
	q.pump()
}

// room is the handler of the queue's descriptor.
type room Queue

func (*room) Readable(*loop.Watch) {}

func (r *room) Writable(*loop.Watch) {
	q := (*Queue)(r)
	q.mu.Lock()
	defer q.unlock()
	q.full = false
	q.pump()
}

func (r *room) Closed(*loop.Watch, error) {
	q := (*Queue)(r)
	q.mu.Lock()
	defer q.unlock()
	q.watch, q.home, q.full = nil, nil, false
}

// kill ends the worker, which has broken a rule.
func (s *slot) kill(why string) {
	w, n := s.w, s.n
	s.q.later = append(s.q.later, func() { w.Kill(fmt.Sprintf("slot %d: %s", n, why)) })
}

// line is the request line of r, for logs.
func (s *slot) line(r *Request) string {
	if r.handled || r.Line == nil {
		return "a request whose client has left"
	}
	return r.Line()
}

func (s *slot) Opened(*loop.Conn)  {}
func (s *slot) HungUp(*loop.Conn)  {}
func (s *slot) Drained(*loop.Conn) {}
func (s *slot) Timeout(*loop.Conn) {}

// Exited: no callback runs code of others.
func (s *slot) Exited(c *loop.Conn) { c.Abort() }

// EOF: the worker has ended, or the application has closed its descriptors.
func (s *slot) EOF(c *loop.Conn) { c.Drop() }

func (s *slot) Closed(c *loop.Conn, err error) {
	q := s.q
	q.mu.Lock()
	defer q.unlock()
	s.conn = nil
	if errors.Is(err, loop.ErrStopped) {
		q.home, q.watch = nil, nil
		if c.Unused() == 0 { // the next request attaches the stream to another loop, or Shutdown does
			return
		}
	}
	q.lose(s)
}

// lose ends a slot whose stream has ended: what it ran has no more answer.
func (q *Queue) lose(s *slot) {
	i := slices.Index(q.slots, s)
	if i < 0 {
		return
	}
	q.slots = slices.Delete(q.slots, i, i+1)
	if len(q.slots) == 0 {
		q.noWorker = time.Now()
	}
	r := s.req
	if r == nil {
		if begun := q.handed[s.w.Load(s.n, worker.WordRunning)]; begun != nil && begun.slot == nil {
			r = begun
		}
	}
	if r != nil {
		q.fail(r, WorkerDied, fmt.Sprintf("worker %d (pid %d) died while it ran the request", s.w.Number(), s.w.PID()))
		q.settleRequest(r)
		s.req = nil
	}
	if s.w.Load(s.n, worker.WordState) != worker.StateGone && !s.last {
		s.kill("its stream has ended")
	}
	q.suspects, q.fence = q.lastID, 0 // an earlier fence is before requests that are looked for now
	q.unuse(s.w)
	q.pump()
}

// resume reads on. On the home loop.
func (s *slot) resume() {
	if c := s.conn; c != nil && c.Paused() {
		c.Resume()
	}
}

// Input decodes frames.
func (s *slot) Input(c *loop.Conn, b []byte) (used int) {
	q := s.q
	q.mu.Lock()
	q.later = s.calls[:0]
	for !s.broken && !c.Paused() {
		f, n, err := s.dec.Next(b[used:])
		if err == nil && n > 0 {
			err = s.frame(c, &f)
		}
		if err != nil {
			s.broken = true
			s.kill(err.Error())
			break
		}
		if n == 0 {
			break
		}
		used += n
	}
	if s.broken {
		used = len(b)
	}
	q.pump()
	calls, home := q.later, q.home
	q.later = nil
	q.mu.Unlock()
	if len(calls) > 0 && home != nil {
		home.ExpectTasks()
	}
	for i, f := range calls {
		f()
		calls[i] = nil
	}
	s.calls = calls[:0]
	return used
}

var errRequest = errors.New("a frame of a request that it was not given, or that another slot has begun")

// frame takes one frame.
func (s *slot) frame(c *loop.Conn, f *wire.Frame) error {
	q, r := s.q, s.req
	if r == nil {
		r = q.handed[f.ID]
		if r == nil && f.Type == wire.FrameReturn { // it was given to another worker already
			return nil
		}
		if r == nil || r.slot != nil {
			return fmt.Errorf("%w: %d", errRequest, f.ID)
		}
		if f.Type == wire.FrameReturn {
			delete(q.handed, r.id)
			r.state = unsent
			switch {
			case r.handled:
				q.recycle(r)
			case r.failure != nil:
				r.state = done
			default:
				r.tries--
				q.linkFirst(r)
			}
			return nil
		}
		s.req, r.slot = r, s
		if r.gone {
			s.w.Store(s.n, worker.WordCancel, r.id)
		}
	}
	wanted := !r.handled && r.failure == nil
	switch f.Type {
	case wire.FrameResp:
		rest, err := wire.DecodeHead(&r.head, f.Payload, false)
		if err != nil {
			return err
		}
		if wanted {
			r.headed, r.close = true, f.Flags&wire.FlagClose != 0
			r.buf = append(r.buf, rest...)
		}
		s.end(r)
	case wire.FrameHead:
		if _, err := wire.DecodeHead(&r.head, f.Payload, false); err != nil {
			return err
		}
		if wanted {
			r.headed, r.close = true, f.Flags&wire.FlagClose != 0
		}
		s.since = time.Now()
	case wire.FrameBody:
		if wanted {
			s.store(c, r, f.Payload)
		}
		if s.since = time.Now(); f.End() && !f.More {
			r.close = r.close || f.Flags&wire.FlagClose != 0
			s.end(r)
			return nil
		}
	case wire.FrameInfo:
		var h wire.Head
		if _, err := wire.DecodeHead(&h, f.Payload, true); err != nil {
			return err
		}
		if wanted {
			r.interim = append(r.interim, h)
		}
	case wire.FrameFile:
		if err := s.takeFile(r, f, wanted); err != nil {
			return err
		}
		if f.End() {
			s.end(r)
			return nil
		}
		// What follows is why it is short: the application's error.
	case wire.FrameOpen:
		return s.sendContent(r)
	case wire.FrameFail:
		if err := s.failed(r, f); err != nil {
			return err
		}
		s.end(r)
		return nil
	case wire.FrameWant:
		n, err := wire.DecodeWant(f.Payload)
		switch {
		case err != nil:
			return err
		case !r.Streamed:
			return errors.New("WANT, and no content is streamed")
		case r.wants > 0:
			return errors.New("a second WANT")
		case !wanted:
			s.send(wire.AppendAbort(nil, r.id))
		default:
			r.wants = n
		}
	}
	if wanted {
		q.tell(r)
	}
	return nil
}

// send writes to the worker.
func (s *slot) send(b []byte) {
	s.q.onHome(func() {
		if s.conn != nil {
			s.conn.Send(b)
		}
	})
}

// end ends the answer to r.
func (s *slot) end(r *Request) {
	q := s.q
	r.ended, r.wants = true, 0
	s.req = nil
	s.answered++
	now := time.Now()
	q.service += (now.Sub(later(r.since, s.ended)) - q.service) / 8
	s.ended = now
	q.tell(r)
	q.settleRequest(r)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// failed takes a FAIL.
func (s *slot) failed(r *Request, f *wire.Frame) error {
	texts, err := wire.DecodeTexts(f.Payload, 4)
	if err != nil {
		return err
	}
	where, message, trace := texts[0], texts[2], texts[3]
	if where == "gone" {
		s.q.fail(r, ClientGone, message)
		return nil
	}
	text := fmt.Sprintf("worker %d: %s", s.w.Number(), message)
	if trace = strings.TrimRight(trace, "\n"); strings.HasSuffix(trace, message) {
		text = fmt.Sprintf("worker %d: %s", s.w.Number(), trace)
	} else if trace != "" {
		text += "\n" + trace
	}
	s.q.fail(r, AppFailed, text)
	return nil
}

// store keeps content for the client: in memory, then in a file; and when that is full the worker waits.
func (s *slot) store(c *loop.Conn, r *Request, b []byte) {
	if r.over == nil && len(r.buf)+len(b) <= highBytes {
		r.buf = append(r.buf, b...)
		return
	}
	if r.over == nil && s.q.temp < tempBytesMax {
		over, err := newOverflow(s.q.o.TempDir)
		if err == nil {
			r.over = over
		}
	}
	if r.over == nil { // there is no room: the worker waits
		r.buf = append(r.buf, b...)
		s.pause(c, r)
		return
	}
	if err := r.over.write(s.q, b); err != nil {
		s.q.fail(r, Unavailable, "content that a slow client does not take: "+err.Error())
		s.q.cancel(r)
		return
	}
	if r.over.left() > fileBytesMax || s.q.temp > tempBytesMax {
		s.pause(c, r)
	}
}

func (s *slot) pause(c *loop.Conn, r *Request) {
	if !s.last {
		c.Pause()
		r.paused = true
	}
}

// takeFile takes the descriptor that a FILE announces.
func (s *slot) takeFile(r *Request, f *wire.Frame, wanted bool) error {
	off, n, err := wire.DecodeFile(f.Payload)
	if err != nil {
		return err
	}
	file, err := receiveFile(s.w.Lane(s.n))
	if err != nil {
		return fmt.Errorf("the descriptor of a FILE: %w", err)
	}
	if !wanted {
		return file.Close()
	}
	if r.file != nil {
		_ = file.Close()
		return errors.New("a second FILE")
	}
	r.file = &filePart{file, off, n}
	return nil
}

// receiveFile takes one descriptor of a regular file from a lane.
func receiveFile(lane int) (*os.File, error) {
	var b [8]byte
	oob := make([]byte, unix.CmsgSpace(4*4))
	var n, oobn, flags int
	err := error(unix.EINTR)
	for err == unix.EINTR {
		n, oobn, flags, _, err = unix.Recvmsg(lane, b[:], oob, unix.MSG_CMSG_CLOEXEC|unix.MSG_DONTWAIT)
	}
	if err != nil {
		return nil, os.NewSyscallError("recvmsg", err)
	}
	if n == 0 {
		return nil, io.ErrUnexpectedEOF
	}
	var fds []int
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	for i := range messages {
		more, err := unix.ParseUnixRights(&messages[i])
		if err == nil {
			fds = append(fds, more...)
		}
	}
	var info unix.Stat_t
	switch {
	case err != nil:
	case len(fds) != 1 || flags&unix.MSG_CTRUNC != 0:
		err = fmt.Errorf("%d descriptors came, not one", len(fds))
	case unix.Fstat(fds[0], &info) != nil || info.Mode&unix.S_IFMT != unix.S_IFREG:
		err = errors.New("it is no regular file")
	default:
		return os.NewFile(uintptr(fds[0]), "file of the application"), nil
	}
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
	return nil, err
}

// sendContent answers OPEN: the file is opened anew, with an offset of its own, and for reading alone.
func (s *slot) sendContent(r *Request) error {
	path := "/dev/null" // no client wants the answer any more, and the file may be closed
	if !r.handled && r.File != nil || r.Owned != nil {
		path = fmt.Sprintf("/proc/self/fd/%d", r.File.Fd())
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		s.q.fail(r, Unavailable, "the content cannot be opened for the worker: "+err.Error())
		if fd, err = unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
			return fmt.Errorf("no descriptor is left: %w", err)
		}
	}
	defer unix.Close(fd)
	for err = unix.EINTR; err == unix.EINTR; {
		err = unix.Sendmsg(s.w.Lane(s.n), []byte{'c'}, unix.UnixRights(fd), nil, unix.MSG_DONTWAIT)
	}
	return os.NewSyscallError("sendmsg", err)
}

// overflow is content that a slow client has not taken, in a file without a name.
type overflow struct {
	f         *os.File
	from, end int64 // unread
	freed     int64 // the beginning that takes no room any more
}

func newOverflow(dir string) (*overflow, error) {
	if dir == "" {
		dir = os.TempDir()
	}
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, os.NewSyscallError("open", err)
	}
	return &overflow{f: os.NewFile(uintptr(fd), "content of a slow client")}, nil
}

func (o *overflow) left() int64 { return o.end - o.from }

func (o *overflow) write(q *Queue, b []byte) error {
	n, err := o.f.WriteAt(b, o.end)
	o.end += int64(n)
	q.temp += int64(n)
	return err
}

// read takes the next chunk, into the memory of b.
func (o *overflow) read(q *Queue, b []byte) (chunk, memory []byte) {
	const chunkBytes = 64 << 10
	if cap(b) < chunkBytes {
		b = make([]byte, chunkBytes)
	}
	n, _ := o.f.ReadAt(b[:min(chunkBytes, o.left())], o.from)
	o.from += int64(n)
	if read := o.from - o.freed; read >= fileBytesMax/4 { // a stream may go on for ever
		if unix.Fallocate(int(o.f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, o.freed, read) == nil {
			q.temp -= read
			o.freed = o.from
		}
	}
	return b[:n], b
}

func (o *overflow) release(q *Queue) {
	q.temp -= o.end - o.freed
	_ = o.f.Close()
}
