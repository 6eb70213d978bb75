#!/usr/bin/env python3
"""Say where the CPU time of a request goes: its nanoseconds by part of the program.

    where.py [--head hello|browser] [--depth N] [--conns N] [--seconds S] [--rounds R] \
             NAME=PORT=COMMAND [NAME=PORT=COMMAND ...]

Servers are asked as measure.py does, one at a time, in turn, R rounds, while perf samples
them by the clock of the processor. The sum is CPU time per request by /proc, the median of the
rounds; perf says what share of it each part has. An inlined function counts with the one
that it is in. Printed is a table in Markdown.

Needs wrk, python3 and perf (apt-get install linux-perf), and the right to see the kernel:
root, or sysctl kernel.perf_event_paranoid=1 and kernel.kptr_restrict=0.
"""
import collections, os, re, statistics, subprocess, sys, tempfile

import measure

HERTZ = 4999  # samples a second: no multiple of the kernel's ticks

# The first that matches says which part a symbol is.
PARTS = [
    ("kernel", r"\[k\]"),
    ("entry into the kernel", r"\bsyscall[./]|Syscall6|entersyscall|exitsyscall|\b(?:epoll_wait|recv|read|send|write)\b"),
    ("copies and comparisons", r"runtime\.memmove|memeqbody|runtime\.memequal|indexbyte|\bmem(?:cpy|move|mem|cmp)|__mem"),
    ("loop", r"isbjorn/loop\.|netpoll\."),
    ("parser", r"isbjorn/parser\."),
    ("gateway", r"isbjorn/gateway"),
    ("server", r"isbjorn/server\."),
    ("application", r"\bmain\."),
    ("Go runtime", r"runtime\.|runtime/"),
    ("the rest", r""),
]


def shares(path):
    """The share of each part in what perf has recorded."""
    cmd = ["perf", "report", "-i", path, "--stdio", "--sort", "sym", "-F", "overhead,sym", "--percent-limit", "0"]
    text = subprocess.run(cmd, capture_output=True, text=True).stdout
    found = collections.Counter()
    for percent, symbol in re.findall(r"^\s+([\d.]+)%\s+(.*)$", text, re.M):
        part = next(part for part, what in PARTS if re.search(what, symbol))
        found[part] += float(percent) / 100
    if not found:
        sys.exit("perf has recorded nothing: is it installed, and is kernel.perf_event_paranoid 1 or less?")
    return found


def main():
    ap = measure.options(__doc__)
    measure.ask(ap)
    ap.set_defaults(procs=1, cpus="0", path="/")
    a = ap.parse_args()
    times = {name: [] for name, _, _ in a.servers}
    parts = {name: [] for name, _, _ in a.servers}
    with tempfile.TemporaryDirectory() as d:
        data = os.path.join(d, "perf.data")

        def record(pids):
            return subprocess.Popen(["perf", "record", "-q", "-o", data, "-e", "cpu-clock", "-F", str(HERTZ),
                                     "-p", ",".join(map(str, pids)), "--", "sleep", str(a.seconds)],
                                    stdout=subprocess.DEVNULL)
        for _ in range(a.rounds):
            for name, port, command in a.servers:
                one = measure.one(name, port, command, a, record)
                if not one or one["bad"]:
                    sys.exit(f"{command}: {one['bad'] if one else 'it did not answer'}")
                times[name].append(one["us"] * 1000)
                parts[name].append(shares(data))

    print(f"head={a.head} depth={a.depth} conns={a.conns}, {a.rounds} rounds of {a.seconds} s: CPU ns per request\n")
    print("| part |" + "".join(f" {name} |" for name in times))
    print("| --- |" + " ---: |" * len(times))
    total = {name: statistics.median(t) for name, t in times.items()}
    for part, _ in PARTS:
        ns = {name: statistics.median(p[part] for p in parts[name]) * total[name] for name in times}
        if any(round(t) for t in ns.values()):
            print(f"| {part} |" + "".join(f" {t:,.0f} |" for t in ns.values()))
    print("| **sum** |" + "".join(f" **{t:,.0f}** |" for t in total.values()))


if __name__ == "__main__":
    main()
