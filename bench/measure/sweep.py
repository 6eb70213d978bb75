#!/usr/bin/env python3
"""Measure an http.Handler by what it costs: net/http, isbjorn, and isbjorn with Pool.

    sweep.py [--conns N] [--seconds S] [--rounds R] [--work D,...] [--sleep D,...] BRIDGE

BRIDGE is the program bench/bridge. For each cost of the handler, computing (--work) or
sleeping (--sleep), it is asked as measure.py does: the server on CPU 0, wrk on CPU 1, one
server at a time, in turn, R rounds of all of them. Durations are those of Go, such as
10us or 0.5ms. Printed is a table in Markdown, with medians over the rounds: requests a
second, the 99th percentile of the latency in ms, and CPU time of the server per request
in microseconds, that of the handler included.

Needs wrk and python3. The machine is noisy: read what is side by side in a line.
"""
import re, resource, shlex, statistics, sys

import measure

SERVERS = [("net/http", "-server nethttp"), ("isbjorn", "-dispatch auto"), ("isbjorn, Pool", "-dispatch pool")]
MS = {"us": 0.001, "ms": 1, "s": 1000, "m": 60_000}


def milliseconds(text):
    m = re.fullmatch(r"([\d.]+)(\D+)", text)
    return float(m[1]) * MS[m[2]] if m else float("nan")  # wrk has seen too few


def main():
    ap = measure.options(__doc__)
    measure.place(ap)
    ap.add_argument("--work", default="0s,10us,50us,200us,1ms", help="%(default)s; '' for none")
    ap.add_argument("--sleep", default="100us,1ms,5ms", help="%(default)s; '' for none")
    ap.add_argument("--port", type=int, default=29075)
    ap.add_argument("bridge")
    ap.set_defaults(head="hello", depth=1, path="/")
    a = ap.parse_args()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # of wrk and of the servers, too

    costs = [(flag, d) for flag in ("work", "sleep") for d in getattr(a, flag).split(",") if d]
    got = {(cost, name): [] for cost in costs for name, _ in SERVERS}
    for _ in range(a.rounds):
        for flag, d in costs:
            for name, args in SERVERS:
                command = f"{shlex.quote(a.bridge)} -addr 127.0.0.1:{a.port} {args} -{flag} {d}"
                one = measure.one(name, a.port, command, a)
                if not one or one["bad"]:
                    sys.exit(f"{command}: {one['bad'] if one else 'it did not answer'}")
                got[(flag, d), name].append(one)

    print(f"{a.conns} connections, GOMAXPROCS={a.procs}, {a.rounds} rounds of {a.seconds} s; req/s, p99 in ms, CPU us per request\n")
    print("| handler |" + "".join(f" {name}: req/s | p99 | CPU |" for name, _ in SERVERS))
    print("| --- |" + " --- | --- | --- |" * len(SERVERS))
    for cost in costs:
        line = f"| {cost[0]} {cost[1]} |"
        for name, _ in SERVERS:
            rounds = got[cost, name]
            rps = statistics.median(r["rps"] for r in rounds)
            p99 = statistics.median(milliseconds(r["p99"]) for r in rounds)
            us = statistics.median(r["us"] for r in rounds)
            line += f" {rps:,.0f} | {p99:.2f} | {us:.1f} |"
        print(line)


if __name__ == "__main__":
    main()
