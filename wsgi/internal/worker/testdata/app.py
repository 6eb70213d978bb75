"""The application of the tests: a function for each path."""
import atexit
import gzip
import io
import os
import signal
import sys
import tempfile
import threading
import time

P = [('Content-Type', 'text/plain')]
PULLED = []
KEEP = []
GATE = os.environ.get('GATE')


class Body:
    def __init__(self, env, chunks, boom=False):
        self.env, self.it, self.n, self.boom = env, iter(chunks), 0, boom

    def __iter__(self):
        return self

    def __next__(self):
        chunk = next(self.it)
        PULLED.append(chunk)
        if isinstance(chunk, Exception):
            raise chunk
        return chunk

    def close(self):
        self.n += 1
        self.env['wsgi.errors'].write('closed %d\n' % self.n)
        if self.boom:
            raise ValueError('boom')


def ok(env, sr):
    sr('200 OK', P)
    return [b'%d' % os.getpid()]


def hello(env, sr):
    sr('200 OK', P)
    return [b'hello']


def lazy(env, sr):
    sr('201 Created', P + [('X-Late', 'yes')])
    yield b''
    yield b'lazy'
    yield b''


def empty(env, sr):
    sr('200 OK', P)
    return iter([])


def write(env, sr):
    w = sr('200 OK', P)
    w(b'1')
    w(b'2')
    return [b'3']


def write_text(env, sr):
    sr('200 OK', P)('1')


def write_much(env, sr):
    w = sr('200 OK', P + [('Content-Length', '2')])
    w(b'1')
    w(b'2')
    return [b'3']


def write_exact(env, sr):
    sr('200 OK', P + [('Content-Length', '2')])(b'12')
    return []


def exc_before(env, sr):
    sr('200 OK', P + [('X-Old', '1'), ('Content-Length', '3')])
    try:
        1 / 0
    except Exception:
        sr('503 Sorry', [('X-New', '1')], sys.exc_info())
    return [b'custom']


def exc_after(env, sr):
    sr('200 OK', P)
    yield b'first'
    try:
        {}['k']
    except KeyError:
        sr('500 Late', P, sys.exc_info())
    yield b'second'


KINDS = {'l': ['text'], 's': 'text', 'n': None, 'i': 5, 'il': [5], 'b': b'bytes', 'ba': [bytearray(b'x')],
         't': (b'a', b'b'), 'e': [], 'mid': [b'ok', 'text'], 'mv': [memoryview(b'mv')]}


def kinds(env, sr):
    sr('200 OK', P)
    if env['QUERY_STRING'] == 'midg':
        return iter([b'ok', 'text'])
    return KINDS[env['QUERY_STRING']]


def raises(env, sr):
    raise ValueError('early')


def raises_later(env, sr):
    sr('200 OK', P)
    raise ValueError('late')


def never(env, sr):
    return [b'x']


def twice(env, sr):
    sr('200 OK', P)
    sr('404 No', P)
    return [b'x']


def swallow(env, sr):
    try:
        sr('200 OK', [('X A', '1')])
    except Exception:
        pass
    return [b'x']


def mended(env, sr):
    try:
        sr('200 OK', [('X A', '1')])
    except Exception:
        sr('500 Mine', P, sys.exc_info())
    return [b'mine']


def keep(env, sr):
    KEEP[:] = [sr]
    KEEP.append(sr('200 OK', P))
    return [b'kept']


def old(env, sr):
    try:
        KEEP[1](b'stray')
    except RuntimeError as e:
        env['wsgi.errors'].write('%s\n' % e)
    KEEP[0]('500 Old', P)


def mid(env, sr):
    sr('200 OK', P + ([('Content-Length', '100')] if env['QUERY_STRING'] else []))
    yield b'part'
    raise ValueError('mid')


def much(env, sr):
    del PULLED[:]
    sr('200 OK', P + [('Content-Length', '3')])
    return Body(env, [b'abcdef', b'ghi'])


def pulled(env, sr):
    sr('200 OK', P)
    return [repr(PULLED).encode()]


def little(env, sr):
    sr('200 OK', P + [('Content-Length', '10')])
    return iter([b'abc']) if env['QUERY_STRING'] else [b'abc']


def exact(env, sr):
    sr('200 OK', P + [('Content-Length', '3')])
    return Body(env, [b'a', b'bc', b'never'])


CASES = [('200', P), (b'200 OK', P), ('OK', P), (200, P), ('100 Continue', P), ('200 OK\r\nX-I: 1', P),
         ('200 OK', [('A', b'x')]), ('200 OK', [('A', 5)]), ('200 OK', [('A', 'a\r\nX-I: 1')]), ('200 OK', [('A', 'a\n')]),
         ('200 OK', [('A:', 'x')]), ('200 OK', [('', 'x')]), ('200 OK', [('A', '\u2713')]),
         ('200 OK', [('Content-Length', 'abc')]), ('200 OK', [('Content-Length', '-1')]),
         ('200 OK', [('Content-Length', '3'), ('Content-Length', '4')]),
         ('200 OK', [('Content-Length', '3'), ('content-length', '3')]), ('200 OK', (('A', 'x'),)),
         ('200 OK', [['A', 'x']]), ('200 OK', {'A': 'x'}.items()), ('200 OK', None), ('200 OK', [('A', 'x', 'y')]),
         ('200 OK', [('A\n', 'x')]), ('200 OK\n', P), ('200 OK', [('A', 'x' * 70000)]), ('200 OK', [('A', 'x')] * 1025)]


def case(env, sr):
    status, headers = CASES[int(env['QUERY_STRING'])]
    sr(status, headers)
    return [b'abc']


def hop(env, sr):
    sr('200 OK', [('Transfer-Encoding', 'chunked'), ('Keep-Alive', 'timeout=5'), ('Upgrade', 'x'),
                  ('Connection', env['QUERY_STRING'] or 'keep-alive'), ('Status', '1'), ('A', 'b')])
    return [b'abc']


def upgrade(env, sr):
    sr('200 OK', P + [('Upgrade', 'x')])
    return [b'abc']


def latin(env, sr):
    sr('200 OK', [('X-Out', '\xe9'), ('X-In', env['HTTP_X_IN'])])
    return [env['HTTP_X_IN'].encode('latin-1')]


def none(env, sr):
    def g():
        sr(env['QUERY_STRING'].replace('+', ' ') or '200 OK', P + [('Content-Length', '3')] if env.get('cl') else P)
        yield b'abc'
    return Body(env, g())


def head_list(env, sr):
    sr('200 OK', P)
    return [b'abc', b'de']


def head_iter(env, sr):
    del PULLED[:]
    sr('200 OK', P)
    return Body(env, [b'abc'])


def closing(env, sr):
    sr('200 OK', P)
    what = env['QUERY_STRING']
    return Body(env, {'error': [b'a', ValueError('it')], 'text': [b'a', 'b'], 'first': ['text']}.get(what, [b'a', b'b']),
                what == 'boom')


EXITS = {'exit': SystemExit(3), 'exit4': SystemExit(4), 'kbd': KeyboardInterrupt(), 'gen': GeneratorExit(),
         'mem': MemoryError()}


def exits(env, sr):
    if env['QUERY_STRING'] == 'rec':
        return exits(env, sr)
    raise EXITS[env['QUERY_STRING']]


def told(env, sr):
    assert type(env) is dict
    assert env['wsgi.version'] == (1, 0), env['wsgi.version']
    out = sorted((k, v) for k, v in env.items() if isinstance(v, (str, bool)))
    env.clear()
    env['mine'] = 'kept'
    sr('200 OK', P)
    return [repr(out).encode()]


def reads(i):
    return [i.readline(3), i.readline(), i.read(2), i.read(0), i.readlines(5), list(i), i.read(), i.read(None), i.read(-1),
            i.readline(), i.readlines()]


def input(env, sr):
    content = bytes.fromhex(env['content'])
    got, want = reads(env['wsgi.input']), reads(io.BytesIO(content))
    if got != want:
        raise AssertionError('%r, want %r' % (got, want))
    sr('200 OK', P)
    return [b'same']


def input_all(env, sr):
    i = env['wsgi.input']
    content = i.read()
    n = len(content)
    if env['QUERY_STRING'] == 'seek':
        i.seek(0)
        n = i.readinto(bytearray(10))
        try:
            os.write(i.fileno(), b'x')
            n = -1
        except OSError:
            pass
    i.close()
    sr('200 OK', P)
    return [b'%d %d' % (len(content), n)]


def input_text(env, sr):
    sr('200 OK', P)
    return [io.TextIOWrapper(env['wsgi.input'], 'utf-8').read().upper().encode()]


def input_thread(env, sr):
    """A thread reads while the answer is sent."""
    def read():
        try:
            env['wsgi.input'].read()
        except ValueError:
            pass
    t = threading.Thread(target=read)
    t.start()
    sr('200 OK', P)
    return iter([b'a', b'b'])


def input_late(env, sr):
    KEEP[:] = [env['wsgi.input']]
    sr('200 OK', P)
    return [b'kept']


def input_old(env, sr):
    KEEP[0].read()


def fails():
    raise OSError('disk')


def file(env, sr):
    q = env['QUERY_STRING']
    f = open(env['file'], 'r' if q == 'text' else 'rb')
    if q == 'off':
        f.read(10)
    if q == 'gzip':
        f = gzip.GzipFile(fileobj=io.BytesIO(gzip.compress(b'plain' * 100)))
    if q == 'gzip-file':
        with tempfile.NamedTemporaryFile(delete=False) as t:
            t.write(gzip.compress(b'plain' * 100))
        f = gzip.open(t.name)
        os.unlink(t.name)
    if q == 'bytes':
        f = io.BytesIO(b'x' * 20000)
    if q == 'temp':
        f = tempfile.NamedTemporaryFile()
        f.write(b'temporary')
        f.seek(4)
    if q == 'pipe':
        r, w = os.pipe()
        os.write(w, b'pipe')
        os.close(w)
        f = os.fdopen(r, 'rb')
    if q == 'read':
        f = type('R', (), {'read': lambda self, n, it=iter([b'r1', b'r2', b'']): next(it)})()
    if q == 'raises':
        f = type('R', (), {'read': lambda self, n, it=iter([b'r1']): next(it, None) or fails()})()
        f.close = lambda: env['wsgi.errors'].write('closed file\n')
    KEEP[:] = [f]
    sr('200 OK', P + ([('Content-Length', env['length'])] if 'length' in env else []))
    w = env['wsgi.file_wrapper'](f, 4096)
    return (c for c in w) if q == 'wrapped' else w


def closed(env, sr):
    sr('200 OK', P)
    return [repr(KEEP[0].closed).encode()]


def forever(env, sr):
    sr('200 OK', P)

    def g():
        try:
            while True:
                yield b'x' * 1000
        finally:
            env['wsgi.errors'].write('gone %s %s\n' % (env['isbjorn.disconnected'](), env['waitress.client_disconnected']()))
    return g()


def blocks(env, sr):
    sr('200 OK', P)
    return Body(env, [b'x', b'x' * 9999999, b'never'])


def write_thread(env, sr):
    """A thread writes until it is told that the request has ended."""
    w = sr('200 OK', P)

    def write():
        try:
            while True:
                w(b't')
                time.sleep(0)
        except RuntimeError:
            pass
    threading.Thread(target=write).start()
    time.sleep(0)
    return [b'b'] if env['QUERY_STRING'] == 'list' else iter([b'b', b'b'])


def never_ends():
    while True:
        time.sleep(1)


def at_exit(env, sr):
    frame = sys._getframe()
    while frame.f_code.co_filename != '<isbjorn worker>':
        frame = frame.f_back
    frame.f_globals['FINISH_SECONDS'] = .05
    if env['QUERY_STRING'] == 'blocks':
        atexit.register(never_ends)
    else:
        threading.Thread(target=never_ends).start()
        atexit.register(print, 'the end')
    sr('200 OK', P)
    return [b'x']


def hints(env, sr):
    env['wsgi.early_hints']([('Link', '</a.css>')])
    if env['QUERY_STRING'] == 'bad':
        env['wsgi.early_hints']([('A', 'b\r\nX-I: 1')])
    sr('200 OK', P)
    return [b'x']


def errors(env, sr):
    e = env['wsgi.errors']
    e.write('half ')
    e.writelines(['line\n', 'two\n'])
    e.flush()
    e.write('rest')
    t = threading.Thread(target=lambda: e.write('thread\n'))
    t.start()
    t.join()
    assert not e.isatty() and e.encoding
    KEEP[:] = [e]
    sr('200 OK', P)
    return [b'x']


def errors_late(env, sr):
    KEEP[0].write('after\n')
    sr('200 OK', P)
    return [b'x']


def fork(env, sr):
    pid = os.fork()
    if pid == 0 and env['QUERY_STRING'] == 'sleep':
        time.sleep(1000)
    if env['QUERY_STRING'] == 'sleep':
        os.kill(pid, signal.SIGTERM)
        sr('200 OK', P)
        return [b'%d' % os.WTERMSIG(os.waitpid(pid, 0)[1])]
    if pid == 0 and env['QUERY_STRING'] == 'exit':
        env['wsgi.errors'].write('from the child\n')
        sys.exit(3)
    if pid == 0 and env['QUERY_STRING'] == 'answer':
        sr('200 OK', P)
        return [b'child']
    os.waitpid(pid, 0)
    sr('200 OK', P)
    return [b'parent']


def wait(env, sr):
    """Says 'in', and waits until the test makes a file."""
    env['wsgi.errors'].write('in\n')
    while not os.path.exists(env['gate']):
        time.sleep(.01)
    sr('200 OK', P)
    return [threading.current_thread().name.encode()]


def thread(env, sr):
    sr('200 OK', P)
    return [str(threading.current_thread() is threading.main_thread()).encode()]


def module(env, sr):
    sr('200 OK', P)
    return [repr((sys.argv, __name__, 'worker' in sys.modules, sys.modules['__main__'].__dict__.get('__file__'),
                  os.path.basename(sys.path[0]))).encode()]


async def asynchronous(scope, receive, send):
    pass


def coroutine(env, sr):
    sr('200 OK', P)
    return asynchronous(1, 2, 3)


def big(env, sr):
    sr('200 OK', P)
    return [b'x' * 300000]


def app(env, sr):
    return globals()[env['PATH_INFO'][1:]](env, sr)


class Space:
    inner = staticmethod(app)


def create(name, debug=True):
    assert (name, debug) == ('prod', False)
    return app
