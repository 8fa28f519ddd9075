#!/usr/bin/env python3
"""B13: digests of many cold files at a time: hashing stays within its budget,
and a client of a known file does not wait for it."""

import os
import re
import time
import urllib.request

from kit import (Failure, MI, Raw, abort, besieged, case, check, main, scaled,
                 settle, visit, wait_until, whole_log)

SIZE = scaled(24, 8) * MI
FILES = 16


def cold(root, count, size):
    """Distinct files that nobody has hashed; sparse, so that hashing is all
    that they cost."""
    made = []
    for number in range(count):
        path = os.path.join(root, "cold%02d" % number)
        with open(path, "wb") as out:
            out.write(b"%d" % number)
            out.truncate(size)
        made.append(path)
    settle(*made)
    return [os.path.basename(path) for path in made]


def numbers(server):
    port = re.search(rb"metrics on \S+:(\d+)", whole_log(server))[1].decode()
    with urllib.request.urlopen("http://127.0.0.1:%s/metrics" % port,
                                timeout=20) as answer:
        text = answer.read().decode()
    return {name: int(value) for name, value in
            re.findall(r"^(\S+) (\d+)$", text, re.M)}


RUNNING = 'belayd_hash_jobs{state="running"}'
OFTEN = 'belayd_limit_hits_total{limit="hash_jobs_per_address"}'


@case
def of_one_address(tmp):
    """Two files at a time; the others wait, and all are answered."""
    with besieged(tmp, "--metrics", ":0", grown=64 * MI) as server:
        names = cold(os.path.join(tmp, "root"), FILES, SIZE)
        raws = [Raw(server.port, patience=300) for _ in names]
        for raw, name in zip(raws, names):
            raw.answer(raw.open(name), "INFO")
        asked = [raw.digest() for raw in raws]
        most = 0
        end = time.monotonic() + 300
        while time.monotonic() < end:
            began = time.monotonic()
            now = numbers(server)
            most = max(most, now[RUNNING])
            check(now[RUNNING] <= 2, "%d files at a time" % now[RUNNING])
            visit(server)
            check(time.monotonic() - began < 20, "another client had to wait")
            if now["belayd_hash_jobs_done_total"] >= FILES:
                break
        for raw, request in zip(raws, asked):
            raw.answer(request, "DIGESTS")
            raw.sock.close()
        # On a busy machine some are done before the last ones have asked.
        check(now[OFTEN] > 0, "nobody had to wait: %r" % now)


@case
def of_many_addresses(tmp):
    """All permits are taken, and there are no more than for half of the
    cores. A client of a known file is served meanwhile."""
    with besieged(tmp, grown=96 * MI) as server:
        names = cold(os.path.join(tmp, "root"), FILES, SIZE)
        raws = [Raw(server.port, source="127.0.6.%d" % (1 + i), patience=300)
                for i in range(FILES)]
        asked = []
        for raw, name in zip(raws, names):
            raw.answer(raw.open(name), "INFO")
            asked.append(raw.digest())
        most = max(1, os.sysconf("SC_NPROCESSORS_ONLN") // 2)
        seen = [permits(server)]
        wait_until(lambda: seen.append(permits(server)) or 0 in seen,
                   "work for all permits", 60, 0.001)
        check(max(seen) <= most, "%d permits" % max(seen))
        began = time.monotonic()
        visit(server)
        check(time.monotonic() - began < 20, "a known file had to wait")
        for raw, request in zip(raws, asked):
            raw.answer(request, "DIGESTS")
            raw.sock.close()


def permits(server):
    """Those that are free now: a number in the kernel, which the parent
    holds."""
    where = "/proc/%d/fdinfo" % server.child.pid
    for name in os.listdir(where):
        with open(os.path.join(where, name)) as file:
            found = re.search(r"eventfd-count:\s*([0-9a-f]+)", file.read())
        if found:
            return int(found[1], 16)
    raise Failure("no permits")


@case
def who_goes_away_stops_it(tmp):
    """When nobody waits any more the work ends, long before the file
    does."""
    with besieged(tmp, "--metrics", ":0", grown=64 * MI) as server:
        names = cold(os.path.join(tmp, "root"), 4, 64 * 1024 * MI)
        raws = [Raw(server.port) for _ in names]
        for raw, name in zip(raws, names):
            raw.answer(raw.open(name), "INFO")
            raw.digest()
        wait_until(lambda: numbers(server)[RUNNING] == 2, "two jobs", 30)
        for raw in raws:
            abort(raw.sock)
        wait_until(lambda: numbers(server)[RUNNING] == 0, "no job", 60, 0.1)


if __name__ == "__main__":
    main()
