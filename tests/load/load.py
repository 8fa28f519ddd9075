#!/usr/bin/env python3
"""What many clients cost a server, and what they do to each other.

A small variant in every run; BELAY_LONG=1 takes the numbers of the design:
1,000 clients of one file, 10,000 idle connections, a tree of 10^6 names.
Times and shares are printed; they are asserted only in the long variant,
which has the machine to itself.
"""

import contextlib
import os
import resource
import signal
import socket
import statistics
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "scenario"))
import harness  # noqa: E402 (the path must be set first)
from harness import (KI, MI, Belayd, Run, Skip, case, check,  # noqa: E402
                     check_code, library, main, names, same, settle, sha256,
                     shelf, spawn, start, wait_until, write_random)

from crowd import Crowd, Member  # noqa: E402

LONG = bool(os.environ.get("BELAY_LONG"))
# Section (f) of the design: what an idle and an active connection may cost,
# and all of them together.
IDLE_COST, ACTIVE_COST, POOL = 100 * KI, 2.1 * MI, 256 * MI

library(hot=(write_random, MI if LONG else 300 * KI),
        large=(write_random, (64 if LONG else 16) * MI))


def several(long, short):
    return long if LONG else harness.scaled(short, min(short, 10))


def figure(text, *values):
    print("    " + text % values, flush=True)


def worker_pids(server):
    pid = server.child.pid
    with open("/proc/%d/task/%d/children" % (pid, pid)) as file:
        return list(map(int, file.read().split()))


def memory(server):
    """Private memory of the workers."""
    total = 0
    for pid in worker_pids(server):
        with open("/proc/%d/smaps_rollup" % pid) as file:
            total += sum(int(line.split()[1]) * KI for line in file
                         if line.startswith(("Private_C", "Private_D")))
    return total


def descriptors(server):
    return sum(len(os.listdir("/proc/%d/fd" % pid))
               for pid in worker_pids(server))


def warm(server, name="hot"):
    """Digests are known, the workers have touched what they need."""
    with Crowd(server.port, [Member(59000 + i, name) for i in range(8)]) as c:
        c.until(c.done, "first answers", 60)


def served(server):
    """Somebody else is still served."""
    digest = sha256(os.path.join(shelf(), "hot"))
    with Crowd(server.port, [Member(58000, "hot", digest)]) as one:
        began = time.monotonic()
        one.until(one.done, "answer to one more client", 60)
        return time.monotonic() - began


def flat(server, before, fds, count):
    """When all have gone, their memory and descriptors are given back; some
    are opened at the first use, and stay."""
    fds += 8
    wait_until(lambda: descriptors(server) <= fds,
               "at most %d descriptors" % fds, 60)
    kept = memory(server) - before
    figure("kept when %d have gone: %.1f MiB", count, kept / MI)
    if harness.SCALE >= 1:
        # Freed, but maybe not given back to the kernel.
        check(kept < count * IDLE_COST + 32 * MI, "%d bytes are kept" % kept)


@case
def one_hot_file(tmp):
    """L1: all complete, in memory of the formula; not slower for some."""
    count = several(1000, 200)
    digest = sha256(os.path.join(shelf(), "hot"))
    with Belayd(None, "--max-connections", "1100") as server:
        warm(server)
        before, fds = memory(server), descriptors(server)
        peaks, shares = [], []
        for _ in range(2):
            members = [Member(i, "hot", digest) for i in range(count)]
            most = 0
            with Crowd(server.port, members) as crowd:
                end = time.monotonic() + 300
                while not crowd.done():
                    check(time.monotonic() < end, "still not done")
                    for _ in range(50):
                        crowd.turn()
                    most = max(most, memory(server) - before)
                lost = crowd.lost
            times = [member.seconds for member in members]
            slowest = max(times) / statistics.median(times)
            figure("%d clients, %d came back: slowest / median %.2f, server "
                   "memory %+.1f MiB", count, lost, slowest, most / MI)
            peaks.append(most)
            shares.append(slowest)
        if LONG:
            check(min(shares) <= 2, "slowest / median %r" % shares)
        if harness.SCALE >= 1:
            bound = min(count * ACTIVE_COST, POOL) + count * IDLE_COST
            check(max(peaks) <= bound, "%r bytes, allowed %d" %
                  (peaks, bound))
        flat(server, before, fds, count)


@case
def idle_connections(tmp):
    """Each costs less than 100 KiB, and who comes then is served."""
    count = several(10000, 600)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < count + 500:
        raise Skip("needs %d descriptors" % (count + 500))
    resource.setrlimit(resource.RLIMIT_NOFILE, (count + 500, hard))
    try:
        hold_idle(count)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def hold_idle(count):
    with Belayd(None, "--max-connections", str(count + 100)) as server:
        warm(server)
        before, fds = memory(server), descriptors(server)
        with Crowd(server.port, [Member(i) for i in range(count)]) as crowd:
            crowd.until(lambda: crowd.greeted() == count, "greetings", 120)
            each = (memory(server) - before) / count
            figure("%d idle connections: %.1f KiB each, the next client has "
                   "its file after %.0f ms", count, each / KI,
                   served(server) * 1000)
            check(crowd.lost < count // 10, "%d were lost" % crowd.lost)
            if harness.SCALE >= 1:
                check(each < IDLE_COST, "%.0f bytes each" % each)
        flat(server, before, fds, count)


def fast_ones(server, tmp, count):
    """Seconds that `count` clients side by side need for the large file."""
    began = time.monotonic()
    runs = []
    for number in range(count):
        into = os.path.join(tmp, "fast%d" % number)
        os.makedirs(into, exist_ok=True)
        runs.append((start("-q", "--no-config", "-x", "1",
                           server.url("large"), cwd=into), into))
    for run, into in runs:
        run.wait(120)
    seconds = time.monotonic() - began
    for run, into in runs:
        check_code(run, 0)
        check(same(os.path.join(into, "large"),
                   os.path.join(shelf(), "large")), "other bytes", run)
        os.unlink(os.path.join(into, "large"))
    return seconds


@case
def slow_readers(tmp):
    """L7: those who read 1 kB/s take nothing from those who read."""
    slow, fast = several(100, 60), several(10, 4)
    with Belayd(None, "--max-connections", "400") as server:
        warm(server, "large")
        fast_ones(server, tmp, fast)
        alone = min(fast_ones(server, tmp, fast) for _ in range(
            3 if LONG else 1))
        before = memory(server)
        program = [sys.executable, "-B", __file__, "--slow-readers",
                   str(server.port), str(slow)]
        readers = spawn(program, stdout=subprocess.PIPE, text=True)
        check(readers.stdout.readline() == "reading\n", "no slow readers")
        beside = min(fast_ones(server, tmp, fast) for _ in range(
            3 if LONG else 1))
        grown = memory(server) - before
        check(readers.poll() is None, "the slow readers are gone")
        readers.kill()
        readers.wait()
        figure("%d fast clients: %.2f s alone, %.2f s beside %d slow ones "
               "(%.0f %%); server memory %+.1f MiB", fast, alone, beside,
               slow, 100 * alone / beside, grown / MI)
        if LONG:
            check(alone / beside >= 0.8, "%.2f of the speed" %
                  (alone / beside))
        if harness.SCALE >= 1:
            check(grown <= (slow + fast) * ACTIVE_COST, "%d bytes" % grown)


def slow_readers_program(port, count):
    """In a process of its own, so that it is killed as one."""
    members = [Member(i, "large", rate=1000) for i in range(count)]
    with Crowd(port, members) as crowd:
        crowd.until(lambda: crowd.greeted() == count, "greetings", 60)
        print("reading", flush=True)
        while True:
            crowd.turn()


@case
def stopped_under_load(tmp):
    """L6: it takes nobody new at once, ends in time, and those whom it
    leaves go on at the next one."""
    count = several(40, 8)
    size = os.path.getsize(os.path.join(shelf(), "large"))
    with Belayd(None, "--max-per-address", "500") as server:
        runs = []
        for number in range(count):
            into = os.path.join(tmp, "into%d" % number)
            os.mkdir(into)
            runs.append((start("-v", "--no-config", "--retry", "inf",
                               "--limit-rate",
                               size // (20 if LONG else 3),
                               server.url("large"), cwd=into), into))
        wait_until(lambda: all(any(name.startswith("large") for name in
                                   names(into)) for _, into in runs),
                   "partial files")
        old = server.child
        server.signal(signal.SIGTERM)
        wait_until(lambda: refused(server.port), "closed port", 20)
        began = time.monotonic()
        server.command[server.command.index("--listen") + 1] = \
            "127.0.0.1:%d" % server.port
        server.begin()
        wait_until(lambda: old.poll() is not None, "end of the old server",
                   60)
        figure("the old server ended after %.1f s with %d clients",
               time.monotonic() - began, count)
        check(old.returncode == 0, "exit %s" % old.returncode)
        for run, into in runs:
            run.wait(120)
            check_code(run, 0)
            check(same(os.path.join(into, "large"),
                       os.path.join(shelf(), "large")), "other bytes", run)


def refused(port):
    with contextlib.suppress(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 1).close()
        return False
    return True


@case
def fair_shares(tmp):
    """L2: files that are not known yet, each client its own: when the first
    has its file, the others are not far."""
    count = several(32, 12)
    size = 8 * MI
    root = os.path.join(tmp, "root")
    os.mkdir(root)
    files = [write_random(os.path.join(root, "f%d" % i), size, i + 1)
             for i in range(count)]
    settle(*files)
    for path in files:
        with open(path, "rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    members = [Member(i, "f%d" % i, sha256(path) if not LONG else None)
               for i, path in enumerate(files)]
    with Belayd(root) as server, Crowd(server.port, members) as crowd:
        crowd.until(lambda: any(m.received > size * 0.9 for m in members),
                    "first file", 120)
        shares = [member.received for member in members]
        index = sum(shares) ** 2 / (count * sum(x * x for x in shares))
        figure("fairness index of %d clients: %.3f", count, index)
        crowd.until(crowd.done, "all files", 300)
        if LONG:
            check(index >= 0.9, "fairness index %.3f" % index)


@case
def a_million_names(tmp):
    """L3: paged; neither side keeps them."""
    if not LONG:
        raise Skip("10^6 names: with BELAY_LONG=1; 200,000 are in "
                   "scenario/dir_get")
    need = 1000000
    src = os.path.join(tmp, "src")
    os.mkdir(src)
    fd = os.open(src, os.O_RDONLY)
    for k in range(need):
        os.close(os.open("name-of-some-length-%07d" % k,
                         os.O_WRONLY | os.O_CREAT, dir_fd=fd))
    os.close(fd)
    with Belayd(src) as server:
        run = Run(["ls", server.url("")], tmp)
        client = 0
        while run.poll() is None:
            client = max(client, high_water(run.pid))
            time.sleep(0.1)
        check_code(run, 0)
        check(run.out.count(b"\n") == need, "names are missing")
        worker = max(map(high_water, worker_pids(server)))
        figure("client %.1f MiB, worker %.1f MiB", client / MI, worker / MI)
        check(client < 64 * MI and worker < 64 * MI, "memory")


def high_water(pid):
    """The most memory that a process has had since its exec."""
    with contextlib.suppress(OSError), open("/proc/%d/status" % pid) as file:
        for line in file:
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * KI
    return 0


class Cgroup:
    """A limit of memory, page cache included."""

    BASE = "/sys/fs/cgroup/memory"

    def __init__(self, size):
        harness.need_root()
        self.path = os.path.join(self.BASE, "belay-%d-%d" % (os.getpid(),
                                                             size))
        try:
            os.mkdir(self.path)
            self.write("memory.limit_in_bytes", size)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.rmdir(self.path)
            raise Skip("no memory controller here: %s" % error)

    def write(self, name, value):
        with open(os.path.join(self.path, name), "w") as file:
            file.write(str(value))

    def enter(self):
        """For preexec_fn: the process that calls it comes under the limit."""
        self.write("cgroup.procs", os.getpid())

    def killed(self):
        with open(os.path.join(self.path, "memory.oom_control")) as file:
            return int(dict(line.split() for line in file)["oom_kill"])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        def gone():
            with contextlib.suppress(OSError):
                os.rmdir(self.path)
            return not os.path.exists(self.path)
        wait_until(gone, "end of the control group", 20)


@case
def little_memory(tmp):
    """M2: a client in 32 MiB, a server in 96 MiB with 100 clients."""
    if harness.SCALE < 1:
        raise Skip("sanitizers need their own memory")
    sparse = os.path.join(tmp, "root", "sparse")
    os.mkdir(os.path.dirname(sparse))
    harness.write_sparse(sparse, (64 << 30) if LONG else 1 << 30,
                         [0, 100 * MI + 5, 900 * MI])
    with Belayd(os.path.dirname(sparse)) as server, Cgroup(32 * MI) as group:
        run = start("-v", "--no-config", server.url("sparse"), cwd=tmp,
                    preexec_fn=group.enter).wait(1200 if LONG else 60)
        check_code(run, 0)
        check(harness.same_sparse(sparse, os.path.join(tmp, "sparse")),
              "other bytes", run)
        check(group.killed() == 0, "out of memory")
    count = several(100, 100)
    with Cgroup(96 * MI) as group:
        with Belayd(None, "--max-connections", "200") as server:
            for pid in [*worker_pids(server), server.child.pid]:
                group.write("cgroup.procs", pid)
            digest = sha256(os.path.join(shelf(), "hot"))
            with Crowd(server.port, [Member(i, "hot", digest)
                                     for i in range(count)]) as crowd:
                crowd.until(crowd.done, "files for all", 120)
            check(group.killed() == 0, "out of memory")
            check("worker-crash" not in server.text(), server.text())


if __name__ == "__main__":
    if sys.argv[1:2] == ["--slow-readers"]:
        slow_readers_program(int(sys.argv[2]), int(sys.argv[3]))
    main()
