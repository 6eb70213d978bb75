"""CPU time of a request in worker.py, without a server: python3 bench.py [--flask] WORKER.py [OTHER.py ...]

Requests are put into the queue's socket, a slot answers them, and the answers are thrown away. Several files take
turns, so that a change can be seen beside what was: git show main:wsgi/internal/worker/worker.py > /tmp/old.py.
"""
import importlib.util
import marshal
import socket
import statistics
import sys
import time

BATCH, ROUNDS = 50, 200
ENVIRON = {
    'REQUEST_METHOD': 'GET', 'SCRIPT_NAME': '', 'PATH_INFO': '/', 'QUERY_STRING': '', 'SERVER_NAME': 'localhost',
    'SERVER_PORT': '8000', 'SERVER_PROTOCOL': 'HTTP/1.1', 'SERVER_SOFTWARE': 'isbjorn', 'REQUEST_URI': '/',
    'RAW_URI': '/', 'REMOTE_ADDR': '127.0.0.1', 'REMOTE_PORT': '50000', 'wsgi.version': (1, 0),
    'wsgi.url_scheme': 'http', 'wsgi.multithread': False, 'wsgi.multiprocess': True, 'wsgi.run_once': False,
    'wsgi.input_terminated': True, 'HTTP_HOST': 'localhost:8000', 'HTTP_USER_AGENT': 'Mozilla/5.0 (X11; Linux x86_64)',
    'HTTP_ACCEPT': 'text/html,application/xhtml+xml;q=0.9,*/*;q=0.8', 'HTTP_ACCEPT_ENCODING': 'gzip, deflate, br',
    'HTTP_ACCEPT_LANGUAGE': 'en-US,en;q=0.5', 'HTTP_CONNECTION': 'keep-alive',
}


def bare(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain'), ('Content-Length', '5')])
    return [b'hello']


def flask_app():
    from flask import Flask
    app = Flask('bench')
    app.route('/')(lambda: 'hello')
    return app


def load(path):
    spec = importlib.util.spec_from_file_location('worker', path)
    worker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(worker)
    return worker


class Bench:
    def __init__(self, path, app):
        self.worker = worker = load(path)
        self.queue, worker.process.queue = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.queue.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        self.ours, data = socket.socketpair()
        self.line = memoryview(bytearray(64)).cast('Q')
        self.slot = worker.Slot(0, data, data, self.line)
        self.id, self.app = 0, app

    def batch(self):
        """Seconds of CPU time for each request, and the bytes of the answers."""
        for _ in range(BATCH):
            self.id += 1
            self.queue.send(marshal.dumps((self.id, ENVIRON, None, 0), 2))
        self.id += 1
        self.queue.send(marshal.dumps((self.id, None, None, self.worker.FENCE), 2))
        left = [BATCH]

        def app(environ, start_response):
            left[0] -= 1
            if not left[0]:
                self.line[self.worker.DRAIN] = 1  # the fence ends the slot
            return self.app(environ, start_response)
        begin = time.process_time()
        self.slot.run(app)
        took = time.process_time() - begin
        self.line[self.worker.DRAIN] = 0
        return took / BATCH, self.ours.recv(1 << 20)


def main(paths):
    app = bare
    if paths[0] == '--flask':
        app, paths = flask_app(), paths[1:]
    benches = [Bench(path, app) for path in paths]
    times = [[] for _ in benches]
    for round in range(ROUNDS):
        for bench, list in zip(benches, times):
            took, _ = bench.batch()
            if round >= ROUNDS // 10:
                list.append(took * 1e6)
    for path, list in zip(paths, times):
        print('%-40s median %6.2f us, lowest %6.2f us a request' % (path, statistics.median(list), min(list)))


if __name__ == '__main__':
    main(sys.argv[1:])
