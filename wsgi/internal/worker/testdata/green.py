"""The application of the tests with gevent: a function for each path."""
import ssl
import sys
import threading
import time
import warnings
from gevent import monkey

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter('always')
    monkey.patch_all()  # as an application does that is written for gevent; the worker has done it
import gevent

P = [('Content-Type', 'text/plain')]
KEEP = []


def patched(env, sr):
    sr('200 OK', P)
    return [repr((len(caught), monkey.is_module_patched('ssl'), ssl.SSLContext.__module__)).encode()]


def hello(env, sr):
    sr('200 OK', P)
    return [b'hello']


def sleeps(env, sr):
    time.sleep(.5)
    sr('200 OK', P)
    return [b'%d' % threading.get_native_id()]


def leaves(env, sr):
    """Leaves a Timeout behind that nobody cancels, and a local of its thread."""
    gevent.Timeout(.01).start()
    sr('200 OK', P)
    return [b'left']


def waits(env, sr):
    gevent.sleep(.05)
    sr('200 OK', P)
    return [b'not interrupted']


def late(env, sr):
    """A Timeout that fires while content is sent that the server does not take."""
    sr('200 OK', P)

    def g():
        yield b'first'
        with gevent.Timeout(.01):
            yield b'x' * 10000000
    return g()


def slow_input(env, sr):
    """A Timeout for a client that does not send."""
    try:
        with gevent.Timeout(.01):
            env['wsgi.input'].read()
    except gevent.Timeout:
        sr('408 Request Timeout', P)
        return [b'']
    sr('200 OK', P)
    return [b'read']


def exits(env, sr):
    gevent.spawn(sys.exit, 3)
    gevent.sleep(.01)
    sr('200 OK', P)
    return [b'lives']


def loops(env, sr):
    """Says 'in', and lets no other greenlet run until it is told by STOP, which kills it."""
    env['wsgi.errors'].write('in\n')
    while True:
        pass


def local(env, sr):
    there = hasattr(LOCAL, 'value')
    LOCAL.value = 1
    sr('200 OK', P)
    return [repr(there).encode()]


LOCAL = threading.local()


def app(env, sr):
    return globals()[env['PATH_INFO'][1:]](env, sr)
