"""A worker of `isbjorn run`: loads a WSGI application and answers the requests that the server hands out.

docs/design/wsgi.md has the protocol. The order here is that of a worker's life: constants, channels, a slot and its
requests, what an application is given, loading, start and end. CPython 3.8 to 3.14, the standard library alone. What is
used while requests run is bound before the application is imported, since that may replace parts of modules: gevent
does. Of its making is only what a request waits on; locks, sockets, threads and sleep by these names are the system's.
"""
import ast
import atexit
import difflib
import errno
import faulthandler
import functools
import gc
import importlib
import inspect
import io
import linecache
import marshal
import mmap
import os
import re
import select
import signal
import socket
import stat
import struct
import sys
import tempfile
import threading
import traceback
import types
from io import BytesIO
from _thread import allocate_lock, get_ident as real_ident, start_new_thread
from socket import MSG_DONTWAIT, socket as Socket
from time import monotonic_ns, sleep

PROTOCOL = 1
SOURCE_NAME = '<isbjorn worker>'
OURS = SOURCE_NAME, globals().get('__file__')

# Descriptors that a worker inherits; the first was that of this source.
_, CONTROL_FD, QUEUE_FD, BOARD_FD, SLOTS_FD = 3, 4, 5, 6, 7

# Bounds, as in wsgi/internal/wire; bytes unless the name says otherwise.
MESSAGE_MAX = 192 << 10
RESP_MAX = 256 << 10  # of content that goes with its head in one frame
HEAD_MAX = (1 << 16) - 1
FIELDS_MAX = 1024
INTERIM_MAX = 16
WANT_MAX = 256 << 10
TEXT_MAX = 64 << 10  # characters of a traceback, a log line
STACKS_MAX = 200 << 10  # characters: in UTF-8 below the limit of a frame
FINISH_SECONDS = 5
LANE_WAITS = (.001, .01, .1, .2, .3, .4)  # seconds, between tries to send a descriptor

FENCE, STREAM, BY_FILE = 1, 2, 4  # flags of requests
END, CLOSE = 1, 2  # flags of frames
RESP, HEAD, BODY, FILE, INFO, WANT, FAIL, RETURN, OPEN = range(1, 10)
DATA, ABORT = 16, 17
HELLO, READY, LOAD_ERROR, DRAINED, STACKS, LOG, PONG, LEAVE = range(32, 40)
CONFIG, DUMP, PING, STOP = range(48, 52)

# Words of a slot's line of the scoreboard, 8 bytes each. The server writes CANCEL and DRAIN, the worker the others.
STATE, RUNNING_ID, START_NS, COUNT, SEEN_ID, CANCEL, DRAIN, THREAD = range(8)
LINE_BYTES = 64
BEFORE, WITHIN, AFTER = range(3)  # a response: its head, its content
IDLE, RUNNING, INPUT, OUTPUT, CLOSING, GONE = 1, 2, 3, 4, 5, 6  # 0: the slot has not begun

frame_head = struct.Struct('<IBBHQ')
resp_head = struct.Struct('<IBBHQH')  # with the length of the head
head_length = struct.Struct('<H')
file_part = struct.Struct('<QQ')
status_form = re.compile('[1-5][0-9][0-9](?: [\t\x20-\x7e\x80-\xff]*)?')
token_form = re.compile("[!#$%&'*+.^_`|~0-9A-Za-z-]+")
value_form = re.compile('[\t\x20-\x7e\x80-\xff]*')
length_form = re.compile('[0-9]{1,18}')


class ClientGone(ConnectionError):
    """The client has left: raised by wsgi.input and by write()."""


class ChannelClosed(BaseException):
    """The server has closed a channel: the worker ends. No `except Exception` of an application takes it."""


# What comes from the server has no code objects; from 3.13 on Python can be told so.
load_value = marshal.loads if sys.version_info < (3, 13) else functools.partial(marshal.loads, allow_code=False)

# --- Channels ---------------------------------------------------------------------------------------------------------


def receive_frame(sock):
    """Reads one frame: its type, flags, id and payload."""
    length, kind, flags, _, id = frame_head.unpack(receive_exactly(sock, frame_head.size))
    return kind, flags, id, receive_exactly(sock, length) if length else b''


def receive_exactly(sock, n):
    data = sock.recv(n)
    while 0 < len(data) < n:
        more = sock.recv(n - len(data))
        if not more:
            raise ChannelClosed
        data += more
    if not data:
        raise ChannelClosed
    return data


def texts(*parts):
    """Texts that each end with NUL, which is taken out of them."""
    return b''.join(p.replace('\0', ' ').encode('utf-8', 'replace') + b'\0' for p in parts)


class Control:
    """The control stream. Any thread may send; what is sent after a fork in the child goes to stderr."""

    def __init__(self, sock):
        self.sock = sock
        self.lock = allocate_lock()
        self.logged = set()

    def send(self, kind, id=0, payload=b''):
        with self.lock:
            self.sock.sendall(frame_head.pack(len(payload), kind, 0, 0, id) + payload)

    def log(self, level, text, id=0):
        if process.forked:
            os.write(2, (text + '\n').encode('utf-8', 'replace'))
            return
        try:
            self.send(LOG, id, texts(level, text[:TEXT_MAX]))
        except OSError:
            pass  # the server has gone; the worker's end is near

    def log_once(self, key, level, text):
        """Logs what is the same for each request the first time only."""
        if key not in self.logged and len(self.logged) < 1000:
            self.logged.add(key)
            self.log(level, text)


class Process:
    """What a worker has one of. `close_all` is for forked children: they must not answer for their parent."""

    def __init__(self):
        self.forked = False
        self.pid = os.getpid()
        self.control = self.queue = self.board = None
        self.control_ident = 0
        self.signals = None  # a pipe, into which Python writes the numbers of signals
        self.masks = {}  # of threads that fork
        self.slots = []
        self.strict = False
        self.pool = None  # GreenSlots, with gevent

    def close_all(self):
        self.forked = True
        reset_signals()
        if self.pool is not None:
            self.pool.stop()
        self.control.sock.close()
        self.queue.close()
        for slot in self.slots:
            slot.data.close()
            slot.lane.close()
            slot.line = [0] * (LINE_BYTES // 8)


process = Process()


# --- A slot: a thread and its streams ---------------------------------------------------------------------------------


class Slot:
    """A thread that takes requests from the queue, one at a time, and answers on its own streams."""

    new_lock = staticmethod(allocate_lock)

    def __init__(self, number, data, lane, line):
        self.number, self.data, self.lane, self.line = number, data, lane, line
        self.lock = self.new_lock()  # a thread of the application may read while its response is sent
        self.ident = 0

    def run(self, app):
        """Runs requests until the queue is shut down, or the server drains this slot."""
        line, queue, buffer = self.line, process.queue, bytearray(MESSAGE_MAX)
        view = memoryview(buffer)
        self.ident = threading.get_ident()
        line[THREAD] = getattr(threading, 'get_native_id', lambda: 0)()
        try:
            while True:
                line[STATE] = IDLE
                n = queue.recv_into(buffer)
                if n == 0:
                    return
                id, environ, content, flags = load_value(view[:n])
                if flags & FENCE:
                    line[SEEN_ID] = id
                    if line[DRAIN]:
                        return
                    continue
                if line[DRAIN]:
                    self.send(RETURN, 0, id)
                    line[SEEN_ID] = id
                    return
                self.begin(id)
                self.answer(app, id, environ, content, flags)
                if process.forked or os.getpid() != process.pid:
                    flush_standard()
                    os._exit(0)  # a child that the application forked has come back into the server's loop
                line[RUNNING_ID] = 0
        except (ChannelClosed, OSError):
            if process.forked:
                os._exit(0)
        finally:
            line[STATE] = GONE

    def begin(self, id):
        """From RUNNING_ID on the request counts as begun: it is not given to another worker."""
        line = self.line
        line[START_NS] = monotonic_ns()
        line[COUNT] += 1
        line[RUNNING_ID] = id
        line[SEEN_ID] = id
        line[STATE] = RUNNING

    def answer(self, app, id, environ, content, flags):
        response = Response(self, id, environ)
        if self.line[CANCEL] == id:
            response.fail('gone', 'the client has left before the request began', '')
            return
        streamed = None
        if not flags:
            content = BytesIO(content or b'')
        elif flags & BY_FILE:
            content = self.open_content(response)
        else:
            streamed = StreamedInput(self, response)
            content = io.BufferedReader(streamed, 64 << 10)
        errors = ErrorLog(id)
        environ['wsgi.input'] = content
        environ['wsgi.errors'] = errors
        environ['wsgi.file_wrapper'] = FileWrapper
        environ['wsgi.early_hints'] = response.early_hints
        environ['isbjorn.request_id'] = id
        environ['isbjorn.disconnected'] = environ['waitress.client_disconnected'] = response.disconnected
        try:
            response.run(app)
        finally:
            response.ended = True
            if streamed is not None:
                streamed.finish()
            if errors.half:
                errors.finish()
            try:
                content.close()
            except Exception:
                pass  # it is the application's to break

    def open_content(self, response):
        """Asks for the content's descriptor, which has an offset of its own."""
        self.send(OPEN, 0, response.id)
        fd = receive_fd(self.lane)
        return io.BufferedReader(io.FileIO(fd, 'rb'), 64 << 10)

    def send(self, kind, flags, id):
        """Sends a frame without a payload, as the first of a request."""
        if process.forked:
            raise ChannelClosed
        self.data.sendall(frame_head.pack(0, kind, flags, 0, id))

    def send_all(self, data):
        """Sends all of it. Only if it has to wait, the state says so."""
        try:
            n = self.data.send(data, MSG_DONTWAIT)
        except BlockingIOError:
            n = 0
        if n < len(data):
            state = self.line[STATE]
            self.line[STATE] = OUTPUT
            self.data.sendall(memoryview(data)[n:])
            self.line[STATE] = state

    sleep = staticmethod(sleep)

    def await_input(self):
        """Waits for the first byte of a frame, where that is more than its receive does."""

    def raise_thrown(self):
        """Raises what came while a frame was received."""


def receive_fd(lane):
    _, ancillary, _, _ = lane.recvmsg(1, socket.CMSG_SPACE(4), socket.MSG_CMSG_CLOEXEC)
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            return struct.unpack('i', content[:4])[0]
    raise ChannelClosed


# --- Slots with gevent ------------------------------------------------------------------------------------------------


class GreenSlots:
    """The slots of a worker with gevent, which run in its main thread. A request has a greenlet of its own: what an
    application leaves behind in one, such as a Timeout that is not cancelled, meets no other request.

    The queue is read in the hub, one request in a round of its loop and only while a slot is free, so what other
    workers can take does not wait here. A request that was taken has a slot before anything else runs.
    """

    def __init__(self):
        try:
            import gevent
            import greenlet
            from gevent import event, hub, monkey, socket, thread
        except ImportError as e:
            raise LoadError('import', 'gevent is not there for %s: %s' % (sys.executable, e),
                            'install it: pip install gevent; or run without --gevent') from None
        monkey.patch_all()
        self.new_lock = thread.allocate_lock
        self.wait_read, self.wait_write, self.sleep = socket.wait_read, socket.wait_write, gevent.sleep
        self.spawn, self.current, self.Greenlet, self.Hub = gevent.spawn, gevent.getcurrent, greenlet.greenlet, hub.Hub
        self.event = event.Event()  # all slots have left
        self.free, self.left = [], 0
        self.buffer = bytearray(MESSAGE_MAX)
        self.seen, self.at_end = 0, False
        self.forker = None  # in a child: the greenlet that forked
        self.watcher = gevent.get_hub().loop.io(process.queue.fileno(), 1)
        self.asked = gevent.get_hub().loop.async_()  # for stacks, by another thread; it keeps the loop alive too
        self.thread, self.dumped, self.dump_lock = real_ident(), [], allocate_lock()

    def new_slot(self, number, data, lane, line):
        return GreenSlot(self, number, data, lane, line)

    def run(self, app):
        """Runs requests until all slots have left."""
        self.app = app
        self.free, self.left = process.slots[::-1], len(process.slots)  # the last is used first
        for slot in self.free:
            slot.line[THREAD] = getattr(threading, 'get_native_id', lambda: 0)()
            slot.line[STATE] = IDLE
        self.watcher.start(self.take)
        self.asked.start(self.dump)
        while not self.event.is_set():
            try:
                self.event.wait()
            except BaseException as e:  # SystemExit of a greenlet of the application, which gevent raises here
                if process.forked:
                    os._exit(0)
                process.control.log('error', 'a greenlet of the application raised\n' + traceback_of(e))

    def stop(self):
        self.watcher.stop()
        self.asked.stop()
        self.forker = self.current()

    def take(self):
        """Takes a message from the queue, which has one or had one: another worker may have it. Fences are taken
        together, since each is for all free slots. The queue's descriptor is that of other workers too, so whether it
        blocks is up to them."""
        buffer, fence = self.buffer, 0
        try:
            while True:
                n = process.queue.recv_into(buffer, 0, socket.MSG_DONTWAIT)
                if n == 0:
                    self.at_end = True
                    break
                id, environ, content, flags = load_value(memoryview(buffer)[:n])
                self.seen = id
                if not flags & FENCE:
                    slot = self.free.pop()
                    if slot.line[DRAIN]:
                        self.spawn(slot.give_back, id)
                        fence = id  # for the others, which are drained too
                        break
                    slot.begin(id)
                    slot.greenlet = self.spawn(slot.serve, self.app, id, environ, content, flags)
                    break
                fence = id
        except BlockingIOError:
            pass
        except (ChannelClosed, OSError):
            self.at_end = True
        if fence or self.at_end:
            free, self.free = self.free, []
            for slot in free:
                self.release(slot)
        if not self.free:
            self.watcher.stop()

    def release(self, slot):
        """Makes a slot free that has nothing in hand. All that was taken before has a slot, so SEEN_ID is the last."""
        line = slot.line
        line[SEEN_ID] = self.seen
        line[RUNNING_ID] = 0
        if self.at_end or slot.broken or line[DRAIN]:
            line[STATE] = GONE
            self.left -= 1
            if not self.left:
                self.event.set()
            return
        line[STATE] = IDLE
        self.free.append(slot)
        if not self.watcher.active:
            self.watcher.start(self.take)

    def stacks(self):
        """The stacks of greenlets. The main thread makes them, if its loop runs; if a greenlet does not let it, the
        others stand still, and any thread may look at them."""
        self.dump_lock.acquire(False)
        self.asked.send()
        if self.dump_lock.acquire(True, 0.3):
            return self.dumped
        return self.format_stacks()

    def dump(self):
        self.dumped = self.format_stacks()
        if self.dump_lock.locked():
            self.dump_lock.release()

    def format_stacks(self):
        names = {id(s.greenlet): 'isbjorn-%d, request %d' % (s.number, s.line[RUNNING_ID])
                 for s in process.slots if s.line[RUNNING_ID]}
        parts = []
        for g in gc.get_objects():
            if issubclass(type(g), self.Greenlet) and g and type(g) is not self.Hub:
                frame = g.gr_frame or sys._current_frames().get(self.thread)  # it waits, or runs
                parts.append('greenlet %s\n%s' % (names.get(id(g)) or getattr(g, 'name', 'main'),
                                                  ''.join(traceback.format_stack(frame))))
        return parts


class GreenSlot(Slot):
    """A slot whose requests are greenlets."""

    def __init__(self, pool, number, data, lane, line):
        self.pool, self.greenlet, self.new_lock, self.sleep = pool, None, pool.new_lock, pool.sleep
        self.broken = False
        Slot.__init__(self, number, GreenSocket(pool, data), GreenSocket(pool, lane), line)

    def give_back(self, id):
        self.send(RETURN, 0, id)
        self.pool.release(self)

    def serve(self, app, id, environ, content, flags):
        try:
            self.answer(app, id, environ, content, flags)
        except (ChannelClosed, OSError):
            self.broken = True
        except BaseException as e:  # a Timeout of the application that came after the answer
            process.control.log('error', 'after the answer\n' + traceback_of(e), id)
        if process.forked or os.getpid() != process.pid:
            if self.pool.current() is self.pool.forker:
                flush_standard()
                os._exit(0)  # a child that the application forked has come back into the server's loop
            return
        self.pool.release(self)

    def await_input(self):
        """Waits, and may be ended by what the application has thrown in: the frame is untouched."""
        self.pool.wait_read(self.data.fd)

    def raise_thrown(self):
        thrown, self.data.thrown = self.data.thrown, None
        if thrown is not None:
            raise thrown


class GreenSocket:
    """A socket whose waits let other greenlets run. What is thrown into a waiting greenlet meanwhile, as by
    gevent.Timeout, is raised when all has been sent: after half of a frame nothing else could be."""

    def __init__(self, pool, sock):
        sock.setblocking(False)
        self.pool, self.sock, self.fd, self.close, self.thrown = pool, sock, sock.fileno(), sock.close, None

    def wait(self, wait):
        try:
            wait(self.fd)
        except BaseException as e:
            self.thrown = e

    def send(self, data, flags):
        return self.sock.send(data, flags)

    def recv(self, n):
        return self.retry(self.pool.wait_read, self.sock.recv, n)

    def recvmsg(self, *args):
        return self.retry(self.pool.wait_read, self.sock.recvmsg, *args)

    def sendmsg(self, *args):
        return self.retry(self.pool.wait_write, self.sock.sendmsg, *args)

    def retry(self, wait, method, *args):
        while True:
            try:
                return method(*args)
            except BlockingIOError:
                self.wait(wait)

    def sendall(self, data):
        n = self.retry(self.pool.wait_write, self.sock.send, data)
        if n < len(data):
            data = memoryview(data)
            while n < len(data):
                n += self.retry(self.pool.wait_write, self.sock.send, data[n:])
        if self.thrown is not None:
            thrown, self.thrown = self.thrown, None
            raise thrown


# --- A request's way through the application --------------------------------------------------------------------------


class Response:
    """The answer to one request: start_response with its checks, write(), the content, and what goes wrong."""

    status = None
    fields = ()
    head = b''  # of these, as it is sent, without its length
    length = None  # of Content-Length
    flags = 0  # CLOSE, if the connection is to be closed after the answer
    count = 0  # bytes of content so far
    interim = 0
    fault = None  # of start_response: it sticks
    sent = False  # the head has left
    finished = False  # the last frame has left
    ended = False  # the slot is done with the request
    stage = BEFORE  # of the stream of the slot, with its lock: threads of the application may write too

    def __init__(self, slot, id, environ):
        self.slot, self.id, self.environ = slot, id, environ
        get = environ.get
        self.method = get('REQUEST_METHOD', '')
        self.target = get('REQUEST_URI', '')
        self.old_client = get('SERVER_PROTOCOL') == 'HTTP/1.0'

    # What the application calls.

    def start_response(self, status, headers, exc_info=None):
        if self.ended:
            raise RuntimeError('start_response was called after its request had ended')
        replaces = bool(exc_info)
        if replaces:
            try:
                if self.sent:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None
        elif self.status is not None:
            self.stick(RuntimeError('start_response was called a second time, without exc_info'))
        try:
            self.set_head(status, headers)
        except Exception as e:
            self.stick(e)
        if replaces:
            self.fault = None
        return self.write

    def stick(self, error):
        self.fault = error
        raise error

    def set_head(self, status, headers):
        status = check_status(status)
        fields, length, flags = check_fields(headers), None, 0
        kinds = name_kinds
        for name, value in fields:
            if kinds.get(name) is not PLAIN:
                fields, length, flags = self.special_fields(fields)
                break
        self.head = encode_head(status, fields)
        self.status, self.fields, self.length, self.flags = status, fields, length, flags

    def special_fields(self, checked):
        """The fields that are sent, Content-Length, and CLOSE, of fields of which one is special."""
        fields, length, flags = [], None, 0
        for name, value in checked:
            lower = name.lower()
            if lower == 'content-length':
                if not length_form.fullmatch(value):
                    raise ValueError('header Content-Length: %r is not a number of bytes' % value)
                if length is not None:
                    if int(value) != length:
                        raise ValueError('header Content-Length is there twice, as %d and %s' % (length, value))
                    continue
                length = int(value)
            elif lower == 'connection' and value.strip().lower() == 'close' and not process.strict:
                flags = CLOSE
                continue
            elif is_hop_by_hop(lower):
                if process.strict:
                    raise ValueError("header %s is the server's to send (PEP 3333, hop-by-hop)" % name)
                process.control.log_once(
                    lower, 'warn', "the application's header %s is dropped: it is the server's to send" % name)
                continue
            fields.append((name, value))
        return fields, length, flags

    def write(self, data):
        if self.ended:
            raise RuntimeError('write was called after its request had ended')
        if type(data) is not bytes:
            raise TypeError('write needs bytes, got %s' % kind_of(data))
        if self.fault is not None:
            raise self.fault
        self.check_client()
        if self.finished or self.without_content():
            self.warn_content(data)
            return
        data = self.within_length(data)
        if not self.sent:
            self.send_head()
        if data:
            self.send_body(data, 0)

    def early_hints(self, headers):
        if self.ended:
            raise RuntimeError('wsgi.early_hints was called after its request had ended')
        fields = check_fields(headers)
        for name, _ in fields:
            if is_hop_by_hop(name.lower()) or name.lower() in ('content-length', 'trailer'):
                raise ValueError('header %s cannot be in early hints' % name)
        head = encode_head('103 Early Hints', fields)
        if self.old_client or self.sent or self.finished:
            return
        if self.interim == INTERIM_MAX:
            process.control.log_once('hints', 'warn', 'early hints over %d a request are dropped' % INTERIM_MAX)
            return
        self.interim += 1
        self.send_early(INFO, head_length.pack(len(head)) + head)

    def disconnected(self):
        return self.slot.line[CANCEL] == self.id

    # The course of a request.

    def run(self, app):
        result, where = None, 'app'
        try:
            result = app(self.environ, self.start_response)
            where = 'content'
            self.send_result(result)
        except ChannelClosed:
            raise
        except ClientGone:
            self.fail('gone', 'the client has left', '')
        except BaseException as e:
            if self.disconnected():
                self.fail('gone', 'the client has left', '')
            else:
                self.fail_by(where, e)
        finally:
            if type(result) is not list:
                self.close(result)

    def close(self, result):
        """Calls close() of what the application returned, once: this is the one place, on every path."""
        try:
            close = getattr(result, 'close', None)
            if close is not None:
                self.slot.line[STATE] = CLOSING
                close()
        except ChannelClosed:
            raise
        except BaseException as e:
            if not process.forked:
                process.control.log('error', 'close() of the application raised; the answer is not changed\n'
                                    + traceback_of(e), self.id)

    def send_result(self, result):
        kind = type(result)
        if kind is list or kind is tuple:
            if len(result) == 1 and type(result[0]) is bytes:
                self.send_known(result[0])
            else:
                self.send_known(b''.join([as_bytes(chunk) for chunk in result]))
        elif isinstance(result, bytes):
            process.control.log_once('bytes', 'warn', 'the application returned bytes; return [content], a list')
            self.send_known(bytes(result))
        elif isinstance(result, str):
            raise TypeError("the application returned str; return a list of bytes, such as [text.encode()]")
        elif result is None or not hasattr(result, '__iter__') and not hasattr(result, '__getitem__'):
            hint = '; an async function needs an ASGI server' if inspect.iscoroutine(result) else ''
            if hint:
                result.close()
            raise TypeError('the application returned %s; return an iterable of bytes%s' % (kind_of(result), hint))
        elif kind is not FileWrapper or not self.send_file(result):
            self.send_chunks(result)

    def send_known(self, content):
        """Sends content of which all is there: in one frame, where it fits."""
        self.need_head()
        if self.sent:  # by write()
            self.send_chunks([content])
            return
        self.check_client()
        size = len(content)
        if self.without_content():
            if self.status[:3] in ('204', '304'):
                self.warn_content(content)
            elif self.length is None:
                self.add_length(size)
            self.send_resp()
        elif size <= RESP_MAX and (self.length is None or self.length == size):
            self.send_resp(content)
        else:
            if self.length is None:
                self.add_length(size)
            self.send_chunks([content])

    def send_chunks(self, result):
        """Sends chunks as they come: each leaves before the next is asked for, and none before content is there."""
        for chunk in () if self.is_head_known() else result:
            chunk = as_bytes(chunk)
            if not chunk:
                self.check_client()
                if self.is_head_known():
                    break
                continue
            self.need_head()
            self.check_client()
            if self.without_content():
                self.warn_content(chunk)
                break
            rest = self.within_length(chunk)
            if self.finished:  # too much
                return
            last = self.length is not None and self.count + len(rest) == self.length
            self.send_chunk(rest, last)
            if last:
                return
        self.need_head()
        self.check_client()
        if self.without_content():
            if not self.finished:
                self.send_resp()
        elif self.length is not None and self.count < self.length:
            if not self.sent:
                self.send_head()
            raise ValueError('Content-Length is %d, the application gave %d bytes; the connection closes'
                             % (self.length, self.count))
        elif not self.sent:
            self.send_resp()
        elif not self.finished:
            self.send_body(b'', END)

    def send_chunk(self, chunk, last):
        if self.sent:
            self.send_body(chunk, END if last else 0)
        elif last and len(chunk) <= RESP_MAX:
            self.send_resp(chunk)
        else:
            self.sent, self.finished = True, last
            self.count += len(chunk)
            head = resp_head.pack(len(self.head) + 2, HEAD, self.flags, 0, self.id, len(self.head)) + self.head
            self.send_raw(BEFORE, AFTER if last else WITHIN, chunk,
                          head + frame_head.pack(len(chunk), BODY, END if last else 0, 0, self.id))

    def within_length(self, chunk):
        """What Content-Length has place for. With more the response ends here, and its connection."""
        if self.length is None or self.count + len(chunk) <= self.length:
            return chunk
        process.control.log('error', '%s: Content-Length is %d, the application gave at least %d bytes; '
                            'the rest is cut and the connection closes'
                            % (self.line(), self.length, self.count + len(chunk)), self.id)
        chunk = chunk[:self.length - self.count]
        if not self.sent:
            self.flags = CLOSE
            self.send_head()
        self.send_body(chunk, END | CLOSE)
        return b''

    def send_file(self, wrapper):
        """Hands a regular file to the server, by its descriptor; False: it has to be read."""
        if isinstance(wrapper.filelike, io.TextIOBase):
            raise TypeError("wsgi.file_wrapper got a text file; open it in 'rb'")
        self.need_head()
        if self.sent:
            return False
        part = file_region(wrapper.filelike)
        if part is None:
            return False
        fd, offset, available = part
        if self.method == 'HEAD' and self.length is None and self.status[:3] not in ('204', '304'):
            self.add_length(available)
        length = available if self.length is None else min(self.length, available)
        if length == 0 or self.without_content():
            return False
        self.check_client()
        short = self.length is not None and self.length > available
        if self.length is None:
            self.add_length(length)
        self.send_head()
        if not self.send_descriptor(fd, offset, length, short):
            return False
        if short:
            raise ValueError('Content-Length is %d, the file has %d bytes; the connection closes'
                             % (self.length, available))
        return True

    def send_descriptor(self, fd, offset, length, short):
        """Sends FILE and its descriptor, with nothing between: another response would get it. False: too many are on
        their way to the server, and still after a second."""
        part = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack('i', fd))]
        slot = self.slot
        for wait in LANE_WAITS:
            self.check_client()
            if process.forked:
                raise ChannelClosed
            with slot.lock:
                self.check_stage(WITHIN)
                try:
                    slot.lane.sendmsg([b'f'], part)
                except OSError as e:
                    if e.errno != errno.ETOOMANYREFS:
                        return False
                else:
                    self.stage = WITHIN if short else AFTER
                    self.finished = not short
                    self.count += length
                    try:
                        slot.send_all(frame_head.pack(file_part.size, FILE, 0 if short else END, 0, self.id)
                                      + file_part.pack(offset, length))
                    except OSError:
                        raise ChannelClosed
                    return True
            slot.sleep(wait)
        return False

    # Parts of it.

    def need_head(self):
        if self.fault is not None:
            raise self.fault
        if self.status is None:
            raise RuntimeError('the application gave content, or returned, without a call of start_response')

    def check_client(self):
        if self.slot.line[CANCEL] == self.id:
            raise ClientGone('the client has left')

    def without_content(self):
        return self.method == 'HEAD' or self.status is not None and self.status[:3] in ('204', '304')

    def is_head_known(self):
        """HEAD: nothing more is wanted of the application."""
        return self.method == 'HEAD' and self.status is not None

    def warn_content(self, content):
        if content and self.status is not None and self.status[:3] in ('204', '304'):
            process.control.log_once('content of ' + self.status[:3], 'warn',
                                     '%s: content is dropped, status %s has none' % (self.line(), self.status[:3]))

    def add_length(self, n):
        self.length = n
        self.fields = self.fields + [('Content-Length', str(n))]
        self.head = encode_head(self.status, self.fields)

    def send_head(self):
        self.need_head()
        self.sent = True
        self.send_raw(BEFORE, WITHIN, self.head,
                      resp_head.pack(len(self.head) + 2, HEAD, self.flags, 0, self.id, len(self.head)))

    def send_resp(self, content=b''):
        """Sends the whole response."""
        self.sent = self.finished = True
        head = self.head
        n = len(head)
        self.send_raw(BEFORE, AFTER, content,
                      resp_head.pack(n + 2 + len(content), RESP, self.flags, 0, self.id, n) + head)

    def send_body(self, chunk, flags):
        self.finished = flags != 0
        self.count += len(chunk)
        self.send_raw(WITHIN, AFTER if flags else WITHIN, chunk, frame_head.pack(len(chunk), BODY, flags, 0, self.id))

    def check_stage(self, stage):
        """Whether a frame may be sent that belongs there; with the lock. Another thread of the application may have
        sent some."""
        if self.stage != stage:
            raise RuntimeError('another thread has written content of this response meanwhile, or the end of it')

    def send_raw(self, stage, after, payload, head):
        """Sends a frame that belongs to stage, and moves on to after."""
        if process.forked:
            raise ChannelClosed
        slot = self.slot
        with slot.lock:
            if self.stage != stage:
                self.check_stage(stage)
            self.stage = after
            try:
                if len(payload) > 64 << 10:  # as it is, without a copy
                    slot.send_all(head)
                    slot.send_all(payload)
                else:
                    slot.send_all(head + payload)
            except OSError:
                raise ChannelClosed

    def send_early(self, kind, payload, after=None):
        """Sends what cannot follow the last frame, and moves on to after; False: that has left."""
        if process.forked:
            raise ChannelClosed
        with self.slot.lock:
            if self.stage == AFTER or kind == INFO and self.stage != BEFORE:
                return False
            if after is not None:
                self.stage = after
            try:
                self.slot.send_all(frame_head.pack(len(payload), kind, 0, 0, self.id) + payload)
            except OSError:
                raise ChannelClosed
            return True

    def line(self):
        return '%s %s' % (self.method, self.target)

    def fail_by(self, where, error):
        self.fail(where, '%s: %s' % (type(error).__name__, error) if str(error) else type(error).__name__,
                  traceback_of(error))

    def fail(self, where, message, text):
        payload = texts(where, self.line(), message[:TEXT_MAX], text[:TEXT_MAX])
        self.finished = True
        if not self.send_early(FAIL, payload, AFTER) and where != 'gone':
            process.control.log('error', '%s: after the answer: %s\n%s' % (self.line(), message, text), self.id)


def check_status(status):
    if type(status) is str and status in known_status:
        return status
    if not isinstance(status, str):
        raise TypeError('status is %s, not str: %r' % (kind_of(status), status))
    if not status_form.fullmatch(status):
        raise ValueError('status %r is not three digits, a space and a reason, such as "200 OK"' % status)
    if status[0] == '1':
        raise ValueError('status %r is no final one; for 103 there is wsgi.early_hints' % status)
    if len(status) == 3:
        return status + ' '
    if len(known_status) < 100:
        known_status.add(str(status))
    return status


known_status = set()


def check_fields(headers):
    """The pairs of headers, each checked: the errors name the field."""
    try:
        pairs = list(headers)
    except TypeError:
        raise TypeError('headers is %s, not a list of pairs' % kind_of(headers)) from None
    for pair in pairs:
        if type(pair) is not tuple and isinstance(pair, (tuple, list)):  # what the application may change later
            return check_fields([tuple(p) if isinstance(p, (tuple, list)) else p for p in pairs])
        if type(pair) is not tuple or len(pair) != 2:
            raise TypeError('header %r is not a pair of name and value' % (pair,))
        name, value = pair
        if type(name) is not str or type(value) is not str:
            if not isinstance(name, str) or not isinstance(value, str):
                raise TypeError('header %r: %r is %s; both have to be str' % (
                    name, value, kind_of(name if not isinstance(name, str) else value)))
        if name not in name_kinds:
            check_name(name)
        if not (value.isascii() and value.isprintable()) and not value_form.fullmatch(value):
            raise ValueError('the value of header %s has a control character, or one that is not Latin-1: %r'
                             % (name, value))
    return pairs


PLAIN, SPECIAL = 1, 2
name_kinds = {}  # names of fields that were checked


def check_name(name):
    if not token_form.fullmatch(name):
        raise ValueError('header name %r is not a token (RFC 9110 section 5.1)' % name)
    if len(name_kinds) < 1000:
        lower = name.lower()
        special = lower == 'content-length' or is_hop_by_hop(lower)
        name_kinds[str(name)] = SPECIAL if special else PLAIN


def encode_head(status, fields):
    if status[:3] == '204':
        fields = [f for f in fields if f[0].lower() != 'content-length']
    parts = [status]
    for f in fields:
        parts += f
    parts.append('')
    head = '\0'.join(parts).encode('latin-1')
    if len(head) > HEAD_MAX or len(fields) > FIELDS_MAX:
        raise ValueError('the headers are %d bytes in %d fields; at most %d in %d can be sent'
                         % (len(head), len(fields), HEAD_MAX, FIELDS_MAX))
    return head


def is_hop_by_hop(lower):
    return lower in ('connection', 'keep-alive', 'te', 'transfer-encoding', 'upgrade', 'status') \
        or lower.startswith('proxy-')


def as_bytes(chunk):
    kind = type(chunk)
    if kind is bytes:
        return chunk
    if isinstance(chunk, (bytes, bytearray, memoryview)):
        return bytes(chunk)
    raise TypeError('the application gave %s as content; give bytes' % kind_of(chunk))


def kind_of(value):
    return 'None' if value is None else type(value).__name__


def traceback_of(error):
    """The traceback of an exception without the frames of this file that lead to the application."""
    try:
        tb = error.__traceback__
        while tb is not None and tb.tb_frame.f_code.co_filename in OURS and tb.tb_next is not None:
            tb = tb.tb_next
        return ''.join(traceback.format_exception(type(error), error, tb))
    except BaseException as e:  # an exception whose __str__ raises
        return '%s, and its traceback cannot be shown: %s' % (type(error).__name__, type(e).__name__)


# --- What an application is given -------------------------------------------------------------------------------------


class StreamedInput(io.RawIOBase):
    """wsgi.input that asks the server for content as it is read. One WANT has one answer: DATA or ABORT."""

    def __init__(self, slot, response):
        self.slot, self.response, self.at_end = slot, response, False
        self.lock = slot.new_lock()
        self.owed = False  # the answer to a WANT is to come
        self.rest = b''  # more than a read wanted, which had one before it that gave up

    def readable(self):
        return True

    def readinto(self, buffer):
        with self.lock:
            if self.response.ended:
                raise ValueError('wsgi.input was read after its request had ended')
            if not self.rest and not self.at_end and len(buffer):
                self.response.check_client()
                self.fetch(min(len(buffer), WANT_MAX))
            n = min(len(buffer), len(self.rest))
            buffer[:n] = self.rest[:n]
            self.rest = self.rest[n:]
            return n

    def fetch(self, want):
        line = self.slot.line
        line[STATE] = INPUT
        try:
            if not self.owed and not self.response.send_early(WANT, struct.pack('<I', want)):
                raise ValueError('wsgi.input was read after the answer to its request')
            self.owed = True
            self.slot.await_input()
            kind, flags, _, self.rest = receive_frame(self.slot.data)
            self.owed = False
            self.slot.raise_thrown()
        finally:
            line[STATE] = RUNNING
        if kind == ABORT:
            raise ClientGone('the client has left before its content was whole')
        self.at_end = bool(flags & END)

    def finish(self):
        """Takes what is on its way, which the next request must not read: a thread of the application may wait for
        its DATA, or a read of it has given up, by gevent.Timeout."""
        with self.lock:
            if self.owed:
                receive_frame(self.slot.data)
                self.owed = False


class ErrorLog:
    """wsgi.errors: each line is a record of the log. It is usable after the request, from any thread. It has what
    io.TextIOBase has, and is made in a third of the time."""

    encoding, errors, closed, newlines, mode = 'utf-8', 'replace', False, None, 'w'
    name, line_buffering = 'wsgi.errors', True

    def __init__(self, id):
        self.id, self.half = id, ''

    def write(self, text):
        if not isinstance(text, str):
            raise TypeError('wsgi.errors needs str, got %s' % kind_of(text))
        lines = (self.half + text).split('\n')
        self.half = lines.pop()
        if len(self.half) > TEXT_MAX:
            lines, self.half = lines + [self.half], ''
        for line in lines:
            process.control.log('error', line, self.id)
        return len(text)

    def writelines(self, texts):
        for text in texts:
            self.write(text)

    def writable(self):
        return True

    def readable(self):
        return False

    seekable = isatty = readable

    def fileno(self):
        raise io.UnsupportedOperation('wsgi.errors has no descriptor')

    detach = read = readline = readlines = seek = tell = truncate = fileno

    def flush(self):
        pass  # lines leave at once; half of one waits for its rest, or the end of the request

    close = flush

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def finish(self):
        if self.half:
            self.write('\n')


io.TextIOBase.register(ErrorLog)


class FileWrapper:
    """wsgi.file_wrapper: a file as content, by its descriptor where that is the same as reading it."""

    def __init__(self, filelike, blksize=8192):
        self.filelike, self.blksize = filelike, blksize
        if hasattr(filelike, 'close'):
            self.close = filelike.close

    def __iter__(self):
        return self

    def __next__(self):
        data = self.filelike.read(self.blksize)
        if data:
            return data
        raise StopIteration


def file_region(f):
    """The descriptor of a regular file, where its logical position is, and how many bytes are from there on; or None.
    fileno() alone says little: that of a GzipFile is of the compressed file, and a BufferedReader has read ahead."""
    if isinstance(f, tempfile._TemporaryFileWrapper):
        f = f.file
    kind = type(f)
    if kind is not io.FileIO and not (kind in (io.BufferedReader, io.BufferedRandom) and type(f.raw) is io.FileIO):
        return None
    try:
        if kind is io.BufferedRandom:
            f.flush()
        fd = f.fileno()
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode) or not f.readable():
            return None
        offset = f.tell()
    except (OSError, ValueError):
        return None
    return fd, offset, max(0, info.st_size - offset)


# --- Loading the application ------------------------------------------------------------------------------------------


class LoadError(Exception):
    """Why there is no application: kind is 'usage', 'import', 'attribute', 'call' or 'kind'; mend says what to do."""

    def __init__(self, kind, message, mend='', text=''):
        Exception.__init__(self, message)
        self.kind, self.message, self.mend, self.text = kind, message, mend, text


NAMES = 'application', 'app'
FACTORIES = 'create_app', 'make_app'
FRAMEWORKS = ('flask.app.Flask', 'bottle.Bottle', 'falcon.app.App', 'pyramid.router.Router',
              'django.core.handlers.wsgi.WSGIHandler', 'cherrypy._cptree.Application', 'cherrypy._cptree.Tree',
              'webob.dec.wsgify')


def load(target, factory=False):
    """The application that target names, and the target in full."""
    why = ''
    if not target:
        target, why = find_target()
    if target.startswith('paste:'):
        return load_paste(target[6:]), target, why
    module_name, _, expression = target.partition(':')
    module_name = file_as_module(module_name)
    module = import_module(module_name)
    if factory and not expression:
        expression = next((n for n in FACTORIES if hasattr(module, n)), FACTORIES[0])
    if expression:
        app = evaluate(module, expression)
    else:
        app, expression = choose(module)
    if factory:
        app = call(app, expression, (), {})
    check_app(app, '%s:%s' % (module_name, expression))
    return app, '%s:%s' % (module_name, expression), why


def find_target():
    """Looks where frameworks keep their application."""
    for name in 'ISBJORN_APP', 'FLASK_APP':
        if os.environ.get(name):
            return os.environ[name], 'by $' + name
    for folder in '', 'src':
        path = os.path.join(folder, 'manage.py')
        if os.path.exists(path):
            settings = django_settings(path)
            if settings:
                if folder:
                    sys.path.insert(0, os.path.abspath(folder))
                os.environ.setdefault('DJANGO_SETTINGS_MODULE', settings)
                package = settings.split('.')[0]
                if os.path.exists(os.path.join(folder, package, 'wsgi.py')):
                    return package + '.wsgi:application', 'by ' + path
                return 'django.core.wsgi:get_wsgi_application()', 'by ' + path
        for name in 'wsgi.py', 'app.py', 'main.py', 'application.py':
            path = os.path.join(folder, name)
            if os.path.exists(path):
                return path, 'the file is there'
    raise LoadError('usage', 'no application is named, and none was found in %s' % os.getcwd(),
                    'name it: isbjorn run MODULE:NAME, such as app:app')


def django_settings(path):
    """The literal of os.environ.setdefault('DJANGO_SETTINGS_MODULE', ...) in manage.py."""
    try:
        with open(path, 'rb') as f:
            tree = ast.parse(f.read())
    except (OSError, SyntaxError, ValueError):
        return None
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == 'setdefault' \
                and len(node.args) == 2:
            try:
                name, value = map(ast.literal_eval, node.args)
            except ValueError:
                continue
            if name == 'DJANGO_SETTINGS_MODULE' and isinstance(value, str):
                return value
    return None


def file_as_module(name):
    """The module of path/to/file.py, whose package's root becomes sys.path[0]; other names as they are."""
    if not name.endswith('.py') and '/' not in name:
        return name
    path = os.path.abspath(name)
    if not os.path.exists(path):
        hint = 'give a file that is there, or MODULE:NAME'
        if name.endswith('.py'):
            hint = 'give the module: %s:app' % name[:-3].replace('/', '.')
        raise LoadError('import', 'there is no file %s' % path, hint)
    folder, base = os.path.split(path)
    parts = [base[:-3] if base.endswith('.py') else base]
    if parts[0] == '__init__':
        folder, base = os.path.split(folder)
        parts = [base]
    while os.path.exists(os.path.join(folder, '__init__.py')):
        folder, base = os.path.split(folder)
        parts.insert(0, base)
    if sys.path[0] != folder:
        sys.path.insert(0, folder)
    return '.'.join(parts)


def import_module(name):
    if not name or not all(p.isidentifier() for p in name.split('.')):
        hint = 'give a name of Python, without "-" and spaces' if name else 'give MODULE:NAME, such as app:app'
        raise LoadError('usage', 'the target names no module: %r' % name, hint)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as e:
        if e.name and (name == e.name or name.startswith(e.name + '.')):
            raise LoadError('import', 'there is no module %s' % e.name, near_modules(e.name)) from None
        mend = 'is %s installed for %s? A virtual environment: --python-exe DIR' % (e.name, sys.executable)
        raise LoadError('import', str(e), mend, import_traceback(e)) from None
    except BaseException as e:
        raise LoadError('import', 'import of %s: %s: %s' % (name, type(e).__name__, e),
                        'app.run() belongs under if __name__ == "__main__":' if isinstance(e, SystemExit) else '',
                        import_traceback(e)) from None


def import_traceback(error):
    """traceback_of without the frames of importlib, which precede the module's own."""
    tb = error.__traceback__
    while tb is not None and tb.tb_next is not None and (
            tb.tb_frame.f_code.co_filename in OURS + (importlib.__file__,)
            or tb.tb_frame.f_code.co_filename.startswith('<frozen importlib')):
        tb = tb.tb_next
    return ''.join(traceback.format_exception(type(error), error, tb))


def near_modules(name):
    there = set()
    for folder in sys.path[:1]:
        try:
            for entry in os.listdir(folder or '.'):
                base, ext = os.path.splitext(entry)
                if ext == '.py' or not ext and os.path.isdir(os.path.join(folder, entry)):
                    there.add(base)
        except OSError:
            pass
    near = difflib.get_close_matches(name, sorted(there), 3)
    where = 'looked in %s and the modules of %s' % (sys.path[0] or os.getcwd(), sys.executable)
    return 'did you mean %s? ' % ' or '.join(near) + where if near else where


def evaluate(module, expression):
    """NAME, NAME.ATTRIBUTE, or a call of these with literals."""
    try:
        node = ast.parse(expression, mode='eval').body
        args, kwargs, called = (), {}, isinstance(node, ast.Call)
        if called:
            args = tuple(ast.literal_eval(a) for a in node.args)
            if any(k.arg is None for k in node.keywords):
                raise ValueError
            kwargs = {k.arg: ast.literal_eval(k.value) for k in node.keywords}
            node = node.func
        path = []
        while isinstance(node, ast.Attribute):
            path.insert(0, node.attr)
            node = node.value
        path.insert(0, node.id)
    except (SyntaxError, ValueError, AttributeError):
        raise LoadError('usage', 'the target %r is not NAME, NAME.ATTRIBUTE or a call with literals' % expression,
                        'such as app, or create_app("production", debug=False)') from None
    value = module
    for i, name in enumerate(path):
        try:
            value = getattr(value, name)
        except AttributeError:
            raise LoadError('attribute', '%s has no %s' % ('.'.join([module.__name__] + path[:i]), name),
                            near_names(value, name)) from None
    return call(value, expression, args, kwargs) if called else value


def near_names(value, name):
    if name == 'py':
        return 'give the module, without .py: %s:app' % getattr(value, '__name__', 'app')
    there = [n for n in vars(value) if not n.startswith('_') and callable(getattr(value, n, None))] \
        if hasattr(value, '__dict__') else []
    near = difflib.get_close_matches(name, there, 3) or there[:10]
    return 'did you mean %s?' % ' or '.join(near) if near else 'it has nothing that can be called'


def call(value, expression, args, kwargs):
    if not callable(value):
        raise LoadError('kind', '%s is %s and cannot be called' % (expression, kind_of(value)), '')
    try:
        return value(*args, **kwargs)
    except BaseException as e:
        raise LoadError('call', 'the call of %s: %s: %s' % (expression, type(e).__name__, e), '',
                        import_traceback(e)) from None


def choose(module):
    """The application of a module that was named alone."""
    names = vars(module)
    for name in NAMES:
        if callable(names.get(name)):
            return names[name], name
    found = [n for n, v in names.items() if not n.startswith('_') and is_framework(v)]
    if len({id(names[n]) for n in found}) == 1:
        return names[found[0]], found[0]
    if found:
        raise LoadError('usage', '%s has several applications: %s' % (module.__name__, ', '.join(found)),
                        'name one: %s:%s' % (module.__name__, found[0]))
    for name in FACTORIES:
        if inspect.isroutine(names.get(name)):
            needed = [p.name for p in inspect.signature(names[name]).parameters.values()
                      if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
            if needed:
                raise LoadError('usage', '%s.%s needs %s' % (module.__name__, name, ', '.join(needed)),
                                'give literals: %s:%s(...)' % (module.__name__, name))
            return call(names[name], name, (), {}), name + '()'
    bottle = sys.modules.get('bottle')
    if bottle is not None and (any(v is bottle for v in names.values())
                               or getattr(names.get('route'), '__module__', '') == 'bottle'):
        return bottle.default_app(), 'bottle.default_app()'
    raise LoadError('attribute', '%s has no application, app, create_app or make_app' % module.__name__,
                    near_names(module, 'application'))


def is_framework(value):
    return any('%s.%s' % (c.__module__, c.__name__) in FRAMEWORKS for c in type(value).__mro__)


def check_app(app, name):
    if not callable(app):
        raise LoadError('kind', '%s is %s and cannot be called' % (name, kind_of(app)), 'name the application')
    if any('%s.%s' % (c.__module__, c.__name__) == 'tornado.web.Application' for c in type(app).__mro__):
        raise LoadError('kind', '%s is an application of Tornado, which is not WSGI' % name,
                        'run it by its own server, behind isbjorn proxy')
    inner = app
    while hasattr(inner, 'func') and hasattr(inner, 'keywords'):  # functools.partial
        inner = inner.func
    monkey = sys.modules.get('gevent.monkey')
    if process.pool is None and monkey is not None and (
            monkey.is_module_patched('socket') or monkey.is_module_patched('threading')):
        raise LoadError('kind', "%s has called gevent's monkey.patch_all(), which threads cannot run with" % name,
                        'take that call out, or run it with --gevent')
    if inspect.iscoroutinefunction(inner) or not inspect.isclass(inner) and \
            inspect.iscoroutinefunction(getattr(type(inner), '__call__', None)):
        raise LoadError('kind', '%s is asynchronous: an ASGI application' % name,
                        'isbjorn run has WSGI; a framework may have both, such as get_wsgi_application of Django')


def load_paste(spec):
    path, _, name = spec.partition('#')
    try:
        from paste.deploy import loadapp
    except ImportError:
        raise LoadError('import', 'paste:%s needs PasteDeploy' % spec, 'install PasteDeploy') from None
    try:
        return loadapp('config:' + os.path.abspath(path), name=name or None)
    except BaseException as e:
        raise LoadError('call', 'paste:%s: %s: %s' % (spec, type(e).__name__, e), '', import_traceback(e)) from None


# --- Start and end ----------------------------------------------------------------------------------------------------


def main(source):
    linecache.cache[SOURCE_NAME] = len(source), None, source.splitlines(True), SOURCE_NAME  # for tracebacks
    faulthandler.enable()
    control = process.control = Control(inherited(CONTROL_FD))
    process.queue = inherited(QUEUE_FD)
    try:
        start(control)
    except (ChannelClosed, OSError):
        os._exit(0)  # the server has gone


def inherited(fd):
    os.set_inheritable(fd, False)
    sock = Socket(fileno=fd)
    sock.settimeout(None)
    return sock


def start(control):
    control.send(HELLO, 0, texts(
        str(PROTOCOL), '.'.join(map(str, sys.version_info[:3])), sys.implementation.name, str(os.getpid()),
        'on' if getattr(sys, '_is_gil_enabled', lambda: True)() else 'off', probe()))
    kind, _, _, payload = receive_frame(control.sock)
    if kind != CONFIG:
        os._exit(0)
    config = load_value(payload)
    process.strict = config['strict']
    sys.argv = [config['target']]
    folder = os.path.abspath(config['dir'] or os.getcwd())
    if sys.path and sys.path[0] == '':
        del sys.path[0]
    sys.path[:0] = [folder] + config['path']
    new_slot = Slot
    if config['gevent']:
        try:
            process.pool = GreenSlots()
        except LoadError as e:
            fail_load(e)
        new_slot = process.pool.new_slot
    reserve_descriptors(SLOTS_FD + 2 * config['slots'])
    process.board = memoryview(mmap.mmap(BOARD_FD, LINE_BYTES * config['slots'])).cast('Q')
    os.close(BOARD_FD)
    for i in range(config['slots']):
        line = process.board[i * 8:i * 8 + 8]
        process.slots.append(new_slot(i, inherited(SLOTS_FD + 2 * i), inherited(SLOTS_FD + 2 * i + 1), line))
    os.register_at_fork(before=hold_signals, after_in_parent=release_signals, after_in_child=process.close_all)
    take_signals()
    start_new_thread(serve_control, ())
    try:
        app, name, why = load(config['target'], config['factory'])
    except LoadError as e:
        fail_load(e)
    if process.strict:
        from wsgiref.validate import validator
        app = validator(app)
    control.send(READY, 0, texts(name, why, kind_of(app)))
    run_slots(app)
    control.send(DRAINED)
    finish(0)


def fail_load(e):
    where = 'Python %s, %s, in %s, sys.path begins with %s' % (
        sys.version.split()[0], sys.executable, os.getcwd(), ', '.join(sys.path[:3]))
    process.control.send(LOAD_ERROR, 0, texts(e.kind, e.message, e.mend, e.text[-TEXT_MAX:] + where))
    finish(1)


def reserve_descriptors(used):
    """Raises the limit of descriptors where those of the slots would leave the application less than it had."""
    import resource
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if used > 128 and soft != resource.RLIM_INFINITY:
        wanted = soft + used if hard == resource.RLIM_INFINITY else min(soft + used, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def probe():
    """Whether marshal reads Latin-1 as the server writes it."""
    return 'ok' if marshal.loads(b'z\x01\xe9') == '\xe9' and marshal.loads(b'a\x01\0\0\0\xe9') == '\xe9' else 'marshal'


def run_slots(app):
    """One slot runs in the main thread, as programs that use signals expect; more have threads of their own."""
    if process.pool is not None:
        process.pool.run(app)
        return
    if len(process.slots) == 1:
        process.slots[0].run(app)
        return
    threads = [threading.Thread(target=slot.run, args=(app,), name='isbjorn-%d' % slot.number, daemon=True)
               for slot in process.slots]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def take_signals():
    """SIGTERM asks for the worker's end, SIGINT is of the terminal, for the server. A handler alone is not enough:
    where the main thread is about to wait in a receive when a signal comes, it is called after the next message."""
    process.signals, write = os.pipe()
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    for number in signal.SIGTERM, signal.SIGINT:
        signal.signal(number, on_signal)


def on_signal(*_):
    """The control thread is told by a pipe. Unlike SIG_IGN this is not inherited by programs that are run."""


def hold_signals():
    """A fork begins: a signal that comes to the child before it has its own handlers would be lost."""
    process.masks[real_ident()] = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT))


def release_signals():
    signal.pthread_sigmask(signal.SIG_SETMASK, process.masks.pop(real_ident()))


def reset_signals():
    """In a child that the application has forked signals are as in any program."""
    signal.set_wakeup_fd(-1)
    for number, default in (signal.SIGTERM, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler):
        if signal.getsignal(number) is on_signal:
            signal.signal(number, default)
    release_signals()


def serve_control():
    """Answers on the control stream. Its end is that of the server."""
    control, process.control_ident = process.control, real_ident()
    channels = select.poll()
    channels.register(control.sock.fileno(), select.POLLIN)
    channels.register(process.signals, select.POLLIN)
    try:
        while True:
            for fd, _ in channels.poll():
                if fd == process.signals:
                    if signal.SIGTERM in os.read(fd, 64) and signal.getsignal(signal.SIGTERM) is on_signal:
                        control.send(LEAVE)
                    break
            else:
                serve_frame(control)
    except (ChannelClosed, OSError):
        pass
    if not process.forked:
        os._exit(0)


def serve_frame(control):
    kind, _, id, _ = receive_frame(control.sock)
    if kind == DUMP:
        control.send(STACKS, id, texts(stacks()))
    elif kind == PING:
        control.send(PONG, id)
    elif kind == STOP:
        raise ChannelClosed


def stacks():
    """The stack of each thread, with the request that it runs, and with gevent of each greenlet."""
    if process.pool is None:
        names = {t.ident: t.name for t in threading.enumerate()}
    else:
        names = {process.pool.thread: 'MainThread'}  # threading has greenlets
    names[process.control_ident] = 'isbjorn-control'
    running = {s.ident: s.line[RUNNING_ID] for s in process.slots}
    parts = []
    for ident, frame in sys._current_frames().items():
        if ident == process.control_ident:
            continue  # it is this function
        id = running.get(ident)
        parts.append('thread %s%s\n%s' % (names.get(ident, ident), ', request %d' % id if id else '',
                                          ''.join(traceback.format_stack(frame))))
    if process.pool is not None:
        parts = process.pool.stacks() + parts
    return '\n'.join(parts)[:STACKS_MAX]


def flush_standard():
    for stream in sys.stdout, sys.stderr:
        try:
            stream.flush()
        except Exception:
            pass


def finish(code):
    """Runs what the application has registered for its end, for FINISH_SECONDS; its threads are not waited for."""
    start_new_thread(too_late, ())
    try:
        atexit._run_exitfuncs()
    except BaseException:
        traceback.print_exc()
    flush_standard()
    os._exit(code)


def too_late():
    sleep(FINISH_SECONDS)
    text = 'functions that the application has registered for its end take longer than %g s\n' % FINISH_SECONDS
    os.write(2, (text + stacks()).encode('utf-8', 'replace'))
    os._exit(1)
