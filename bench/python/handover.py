#!/usr/bin/env python3
"""Which way requests reach the processes of an application: pull, one SOCK_SEQPACKET queue that all of them receive from,
or push, a stream for each process, which reads all that has come and works it off.

The parent keeps a number of requests in flight, as a server does, and answers nothing itself. A table has the CPU time
of a worker for each request, and the 99th percentile of the time from a request to its answer, medians of rounds. Push
gives a request to the process that has fewest. docs/decisions.md has what was found.

    bench/python/handover.py [--rounds 5] [--requests 4000]
"""
import argparse
import marshal
import os
import selectors
import socket
import statistics
import struct
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import apps  # noqa: E402

ENVIRON = {
    'REQUEST_METHOD': 'GET', 'SCRIPT_NAME': '', 'PATH_INFO': '/', 'QUERY_STRING': '', 'REQUEST_URI': '/', 'RAW_URI': '/',
    'SERVER_PROTOCOL': 'HTTP/1.1', 'SERVER_NAME': 'localhost', 'SERVER_PORT': '8000', 'REMOTE_ADDR': '127.0.0.1',
    'REMOTE_PORT': '40000', 'wsgi.url_scheme': 'http', 'wsgi.version': (1, 0), 'wsgi.multithread': False,
    'wsgi.multiprocess': True, 'wsgi.run_once': False, 'SERVER_SOFTWARE': 'isbjorn', 'HTTP_HOST': 'localhost:8000',
    'HTTP_USER_AGENT': 'Mozilla/5.0 (X11; Linux x86_64; rv:109.0) Gecko/20100101 Firefox/115.0', 'HTTP_ACCEPT': '*/*',
    'HTTP_ACCEPT_LANGUAGE': 'en-US,en;q=0.5', 'HTTP_ACCEPT_ENCODING': 'gzip, deflate', 'HTTP_CONNECTION': 'keep-alive',
    'wsgi.input_terminated': True,
}
HEAD = struct.Struct('<IQ')  # length, id


def mix(environ, start_response):
    if environ['id'] % 100 == 50:
        time.sleep(.05)
    return apps.bare(environ, start_response)


APPS = {'bare': apps.bare, 'sleep of 5 ms': apps.sleep, 'bare, 1 in 100 sleeps 50 ms': mix}
if hasattr(apps, 'flask'):
    APPS['flask'] = apps.flask


def serve(app, id, environ, send):
    environ['id'] = id
    result = app(environ, lambda status, headers, exc_info=None: None)
    content = b''.join(result)
    if hasattr(result, 'close'):
        result.close()
    send(HEAD.pack(len(content), id) + content)


def worker(app, queue, stream, pull):
    """Serves until its channel ends, and then says what CPU time it has used."""
    begin = None
    if pull:
        buffer = bytearray(64 << 10)
        while True:
            n = queue.recv_into(buffer)
            if not n:
                break
            begin = begin or time.process_time()
            id, environ = marshal.loads(memoryview(buffer)[:n])
            serve(app, id, environ, stream.sendall)
    else:
        data = b''
        while True:
            more = stream.recv(256 << 10)
            if not more:
                break
            begin = begin or time.process_time()
            data += more
            at = 0
            while len(data) - at >= HEAD.size:
                length, id = HEAD.unpack_from(data, at)
                if len(data) - at - HEAD.size < length:
                    break
                _, environ = marshal.loads(data[at + HEAD.size:at + HEAD.size + length])
                at += HEAD.size + length
                serve(app, id, environ, stream.sendall)
            data = data[at:]
    stream.sendall(HEAD.pack(8, 0) + struct.pack('<d', time.process_time() - (begin or 0)))
    os._exit(0)


def measure(app, pull, workers, depth, requests):
    """CPU time of the workers for each request in us, and the 99th percentile of the latency in ms."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    streams = []
    for _ in range(workers):
        a, b = socket.socketpair()
        if os.fork() == 0:
            ours.close()
            a.close()
            for s in streams:
                s.close()
            worker(app, theirs, b, pull)
        b.close()
        streams.append(a)
    theirs.close()
    selector = selectors.DefaultSelector()
    for i, s in enumerate(streams):
        selector.register(s, selectors.EVENT_READ, i)
    begun, latencies, loads, owner = {}, [], [0] * workers, {}
    sent = 0

    def give():
        nonlocal sent
        sent += 1
        payload = marshal.dumps((sent, ENVIRON), 2)
        begun[sent] = time.perf_counter()
        if pull:
            ours.send(payload)
        else:
            to = loads.index(min(loads))
            loads[to] += 1
            owner[sent] = to
            streams[to].sendall(HEAD.pack(len(payload), sent) + payload)

    for _ in range(min(depth, requests)):
        give()
    data, used, ended = [b''] * workers, 0.0, 0
    while ended < workers:
        for key, _ in selector.select():
            i = key.data
            data[i] += streams[i].recv(256 << 10)
            while len(data[i]) >= HEAD.size:
                length, id = HEAD.unpack_from(data[i])
                if len(data[i]) < HEAD.size + length:
                    break
                payload, data[i] = data[i][HEAD.size:HEAD.size + length], data[i][HEAD.size + length:]
                if id == 0:
                    used += struct.unpack('<d', payload)[0]
                    ended += 1
                    selector.unregister(streams[i])
                    continue
                latencies.append(time.perf_counter() - begun.pop(id))
                if not pull:
                    loads[owner.pop(id)] -= 1
                if sent < requests:
                    give()
                elif not begun:
                    ours.shutdown(socket.SHUT_WR)
                    for s in streams:
                        if not pull:
                            s.shutdown(socket.SHUT_WR)
    for s in streams:
        s.close()
    ours.close()
    for _ in range(workers):
        os.wait()
    return used / requests * 1e6, statistics.quantiles(latencies, n=100)[98] * 1e3


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--requests', type=int, default=4000)
    parser.add_argument('--apps', default='', help='those whose name begins so')
    o = parser.parse_args()
    print('| application | workers | in flight | us CPU: pull | push | p99 ms: pull | push |')
    print('| --- | --- | --- | --- | --- | --- | --- |')
    for name, app in APPS.items():
        if not name.startswith(o.apps):
            continue
        for workers in 1, 2:
            for depth in 1, 2, 8, 64:
                requests = o.requests if 'sleep' not in name else max(200, o.requests // 20)
                got = {True: [], False: []}
                for _ in range(o.rounds):
                    for pull in True, False:
                        got[pull].append(measure(app, pull, workers, depth, requests))
                cpu = [statistics.median(v[0] for v in got[p]) for p in (True, False)]
                p99 = [statistics.median(v[1] for v in got[p]) for p in (True, False)]
                print('| %s | %d | %d | %.1f | %.1f | %.2f | %.2f |' % (name, workers, depth, *cpu, *p99), flush=True)


main()
