#!/usr/bin/env python3
"""Python applications by isbjorn run and by the WSGI servers that are installed: CPU time of all processes of a server
for each request, requests a second, and latency.

Rounds are interleaved: each server is started, warmed up, loaded by wrk, and ended in turn, so that a slow minute of
the machine meets all of them. The tables have medians, and the bars ratios of values of the same round.

    bench/python/measure.py bin/isbjorn                   all loads, 7 rounds
    bench/python/measure.py --rounds 1 --seconds 1 bin/isbjorn

The floor is no server: floor.c, a front that reads no HTTP, and a Python that calls the application and no more. It is
what two processes for each request cost on this machine.

Debian has the servers: apt-get install wrk gunicorn uwsgi-core uwsgi-plugin-python3 python3-waitress python3-flask
"""
import argparse
import importlib.util
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
PYTHON = '/usr/bin/python3'
TICK = os.sysconf('SC_CLK_TCK')


def command(server, app, port, workers, threads):
    """The command line of a server; None if it is not there."""
    bind = '127.0.0.1:%d' % port
    if server == 'isbjorn':
        return [options.isbjorn, 'run', 'apps:' + app, '-b', bind, '-w', str(workers), '--threads', str(threads),
                '--python-exe', PYTHON, '--log-level', 'error']
    if server in ('gunicorn-gthread', 'gunicorn-sync'):
        kind = server.split('-')[1]
        more = ['--threads', str(max(threads, 4))] if kind == 'gthread' else []
        return shutil.which('gunicorn') and [PYTHON, shutil.which('gunicorn'), 'apps:' + app, '-b', bind, '-w', str(workers),
                                             '-k', kind, '--log-level', 'error', '--worker-connections', '2000'] + more
    if server in ('uwsgi', 'uwsgi-quiet'):
        more = ['--threads', str(threads)] if threads > 1 else []
        more += ['--disable-logging'] if server == 'uwsgi-quiet' else []  # it writes a line for each request else
        return shutil.which('uwsgi') and [
            'uwsgi', '--plugin', 'python3', '--http-socket', bind, '--module', 'apps:' + app, '-p', str(workers), '--master',
            '--die-on-term', '--need-app', '--listen', '100'] + more
    if server == 'floor':  # no HTTP, and a Python that does nothing but call the application
        return options.floor and workers == 1 and threads == 1 and [options.floor, str(port), PYTHON, 'floor.py', app]
    if server == 'waitress':
        return shutil.which('waitress-serve') and workers == 1 and [
            PYTHON, shutil.which('waitress-serve'), '--listen', bind, '--threads', str(max(threads, 4)), 'apps:' + app]
    raise SystemExit('unknown server ' + server)


SERVERS = ['isbjorn', 'floor', 'gunicorn-gthread', 'gunicorn-sync', 'uwsgi', 'uwsgi-quiet', 'waitress']

# name: application, connections, workers, threads
LOADS = {
    'bare': ('bare', 32, 1, 1),
    'flask': ('flask', 32, 1, 1),
    'bare, 1 connection': ('bare', 1, 1, 1),
    'bare, 64 connections, 2 workers': ('bare', 64, 2, 1),
    'flask, 64 connections, 2 workers': ('flask', 64, 2, 1),
    'sleep of 5 ms, 1000 connections, 2 workers of 32 threads': ('sleep', 1000, 2, 32),
}

# What isbjorn has to reach: load, value, server to compare with, factor. For rates the ratio is at least that.
BARS = [
    ('bare', 'cpu', 'gunicorn-gthread', .20), ('bare', 'cpu', 'uwsgi', .7),
    ('flask', 'cpu', 'gunicorn-gthread', .42), ('flask', 'cpu', 'uwsgi', .7),
    ('bare, 1 connection', 'cpu', 'uwsgi', 1),
    ('bare, 64 connections, 2 workers', 'rate', '*', 1), ('flask, 64 connections, 2 workers', 'rate', '*', 1),
    ('sleep of 5 ms, 1000 connections, 2 workers of 32 threads', 'p99', 'gunicorn-gthread', 1),
]


def tree(pid):
    """pid and all processes below it."""
    parents = {}
    for name in os.listdir('/proc'):
        if name.isdigit():
            try:
                with open('/proc/%s/stat' % name) as f:
                    fields = f.read().rsplit(')', 1)[1].split()
            except OSError:
                continue
            parents[int(name)] = int(fields[1])
    below, grown = {pid}, True
    while grown:
        more = {p for p, parent in parents.items() if parent in below} - below
        below, grown = below | more, bool(more)
    return below


def cpu(pids):
    """CPU time of processes, in seconds."""
    total = 0
    for pid in pids:
        try:
            with open('/proc/%d/stat' % pid) as f:
                fields = f.read().rsplit(')', 1)[1].split()
        except OSError:
            continue
        total += int(fields[11]) + int(fields[12])
    return total / TICK


def memory(pids):
    """Private memory of the Python processes, in MiB: the largest of them."""
    most = 0
    for pid in pids:
        try:
            with open('/proc/%d/smaps_rollup' % pid) as f:
                text = f.read()
            with open('/proc/%d/comm' % pid) as f:
                if not f.read().startswith('python'):
                    continue
        except OSError:
            continue
        most = max(most, sum(int(n) for n in re.findall(r'Private_\w+: +(\d+) kB', text)) / 1024)
    return most


def wait_for(port, process):
    for _ in range(500):
        if process.poll() is not None:
            raise SystemExit('a server has ended: %s' % process.args)
        try:
            socket.create_connection(('127.0.0.1', port), 1).close()
            return
        except OSError:
            time.sleep(.02)
    raise SystemExit('a server does not listen: %s' % process.args)


def wrk(port, connections, seconds):
    out = subprocess.run(['wrk', '-t1', '-c%d' % connections, '-d%ss' % seconds, '--latency', '--timeout', '10s',
                          'http://127.0.0.1:%d/' % port], capture_output=True, text=True, check=True).stdout
    requests = int(re.search(r'(\d+) requests in', out).group(1))
    rate = float(re.search(r'Requests/sec: +([\d.]+)', out).group(1))
    number, unit = re.search(r'99% +([\d.]+)(us|ms|s)\b', out).groups()
    p99 = float(number) * {'us': .001, 'ms': 1, 's': 1000}[unit]
    # A server that closes each connection is seen as errors of reading: those with an answer are none.
    bad = sum(map(int, re.findall(r'(?:connect|write|timeout) (\d+)', out)))
    bad += sum(map(int, re.findall(r'Non-2xx or 3xx responses: (\d+)', out)))
    return requests, rate, p99, bad


def round_of(server, load):
    """One server under one load: its values."""
    app, connections, workers, threads = LOADS[load]
    if app == 'flask' and not importlib.util.find_spec('flask') and not os.path.exists('/usr/lib/python3/dist-packages/flask'):
        return None
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        port = s.getsockname()[1]
    args = command(server, app, port, workers, threads)
    if not args:
        return None
    process = subprocess.Popen(args, cwd=HERE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               start_new_session=True, env=dict(os.environ, PYTHONPATH=HERE, PYTHONDONTWRITEBYTECODE='1'))
    try:
        wait_for(port, process)
        wrk(port, connections, max(1, options.seconds // 3))  # all workers are there, caches are warm
        pids = tree(process.pid)
        before = cpu(pids)
        requests, rate, p99, bad = wrk(port, connections, options.seconds)
        used = cpu(pids) - before
        return {'cpu': used / max(requests, 1) * 1e6, 'rate': rate, 'p99': p99, 'bad': bad, 'memory': memory(pids)}
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def main():
    values = {}
    for n in range(options.rounds):
        for load in options.loads:
            for server in options.servers:
                got = round_of(server, load)
                if got:
                    values.setdefault((load, server), []).append(got)
        print('round %d of %d' % (n + 1, options.rounds), file=sys.stderr)
    for load in options.loads:
        print('\n%s\n\n| server | us CPU | requests/s | p99 ms | errors | MiB |\n| --- | --- | --- | --- | --- | --- |' % load)
        for server in options.servers:
            got = values.get((load, server))
            if got:
                m = {k: statistics.median(v[k] for v in got) for k in got[0]}
                print('| %s | %.1f | %.0f | %.2f | %d | %.1f |' % (
                    server, m['cpu'], m['rate'], m['p99'], sum(v['bad'] for v in got), m['memory']))
    failed = False
    print('\n| load | value | beside | ratio | bar |\n| --- | --- | --- | --- | --- |')
    for load, value, peer, bar in BARS:
        ours = values.get((load, 'isbjorn'))
        peers = [s for s in SERVERS[2:] if (load, s) in values and peer in ('*', s)]
        if not ours or not peers:
            continue
        worst = None
        for p in peers:
            ratio = statistics.median(a[value] / max(b[value], 1e-9) for a, b in zip(ours, values[load, p]))
            if worst is None or (ratio < worst[0]) == (value == 'rate'):
                worst = ratio, p
        ok = worst[0] >= bar if value == 'rate' else worst[0] <= bar
        failed = failed or not ok
        print('| %s | %s | %s | %.3f | %s %.2f: %s |' % (load, value, worst[1], worst[0], '>=' if value == 'rate' else '<=', bar,
                                                     'reached' if ok else 'MISSED'))
        if sum(v['bad'] for v in ours):
            failed = True
            print('| %s | errors | | %d | 0: MISSED |' % (load, sum(v['bad'] for v in ours)))
    return 1 if failed and options.gate else 0


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument('isbjorn', help='the program')
parser.add_argument('--rounds', type=int, default=7)
parser.add_argument('--seconds', type=int, default=4, help='of each load')
parser.add_argument('--servers', type=lambda s: s.split(','), default=SERVERS)
parser.add_argument('--loads', type=lambda s: [n for n in LOADS if any(n.startswith(p) for p in s.split(';'))],
                    default=list(LOADS), help='those that begin so, with ; between them')
parser.add_argument('--gate', action='store_true', help='status 1 if a bar is missed')
options = parser.parse_args()
options.isbjorn = os.path.abspath(options.isbjorn)
options.floor = None
if 'floor' in options.servers and shutil.which('cc'):
    options.floor = os.path.join(tempfile.mkdtemp(), 'floor')
    subprocess.run(['cc', '-O2', '-o', options.floor, os.path.join(HERE, 'floor.c')], check=True)
try:
    status = main()
finally:
    if options.floor:
        shutil.rmtree(os.path.dirname(options.floor))
sys.exit(status)
