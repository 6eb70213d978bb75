#!/usr/bin/env python3
"""Measure what a second loop on a second processor is worth.

    scale.py [--work D] [--conns N] [--seconds S] [--rounds R] BRIDGE

BRIDGE is the program bench/bridge, whose handler computes for D, a duration of Go, on its
loop. It is asked in turn with GOMAXPROCS=1 on CPU 0 and with GOMAXPROCS=2 on CPUs 0 and 1, by
wrk on both. The more a request costs, the less of the processors is wrk's: what each has used is
printed, in processors, so that it can be seen who is the limit. The ratio is the
median over the rounds.

Needs wrk, python3 and two processors that nobody else uses.
"""
import resource, statistics, sys

import measure


def wrk_seconds():
    r = resource.getrusage(resource.RUSAGE_CHILDREN)
    return r.ru_utime + r.ru_stime


def main():
    ap = measure.options(__doc__, rounds=7)
    ap.add_argument("--work", default="1ms")
    ap.add_argument("--port", type=int, default=29080)
    ap.add_argument("bridge")
    a = ap.parse_args()
    command = [a.bridge, "-addr", f"127.0.0.1:{a.port}", "-dispatch", "inline", "-work", a.work]
    got = {1: [], 2: []}
    for i in range(a.rounds):
        for procs in (1, 2) if i % 2 == 0 else (2, 1):
            cpus = ",".join(map(str, range(procs)))
            with measure.running(command, a.port, "/", procs, cpus) as pids:
                if pids is None:
                    sys.exit(f"{command}: it did not answer")
                before, client = measure.cpu_seconds(pids), wrk_seconds()
                n, rps, _, bad = measure.wrk(a.port, a.conns, a.seconds, "hello", 1, "/", cpus="0,1")
                if not n or bad:
                    sys.exit(f"{command}: {bad or 'no request was answered'}")
                used = measure.cpu_seconds(pids) - before
                took = n / rps
                got[procs].append(dict(rps=rps, us=used / n * 1e6, server=used / took, wrk=(wrk_seconds() - client) / took))

    print(f"work={a.work} conns={a.conns} seconds={a.seconds} rounds={a.rounds}")
    print(f"{'loops':<6}{'req/s':>9}{'CPU us/req':>12}{'server, CPUs':>14}{'wrk, CPUs':>11}")
    for procs, rows in got.items():
        m = {k: statistics.median(r[k] for r in rows) for k in rows[0]}
        print(f"{procs:<6}{m['rps']:>9.0f}{m['us']:>12.1f}{m['server']:>14.2f}{m['wrk']:>11.2f}")
    ratios = sorted(two["rps"] / one["rps"] for one, two in zip(got[1], got[2]))
    print(f"requests per second, two loops to one: {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")


if __name__ == "__main__":
    main()
