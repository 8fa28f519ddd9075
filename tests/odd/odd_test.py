#!/usr/bin/env python3
"""The real programs on machines that are odd (shim.c): clocks that jump,
calls that fail or are not known, a bad block under the served file.

Environment: ODD_SHIM is the library.
"""

import errno
import os
import re
import struct
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "scenario"))
import harness  # noqa: E402 (the path must be set first)
from harness import (KI, MI, Belayd, case, check, check_code,  # noqa: E402
                     check_nothing_final, get, library, lines_of, main, names,
                     same, settle, shelf, start, wait_until, write_random)

SIZE = 6 * MI + 17
YEAR = 365 * 86400

library(file=(write_random, SIZE))


def odd(**settings):
    """An environment: odd(FAIL="...", CLOCKS=path, READ_ERROR=offset)."""
    return {"LD_PRELOAD": os.environ["ODD_SHIM"],
            **{"ODD_" + name: str(value)
               for name, value in settings.items()}}


class Clocks:
    def __init__(self, tmp, name="clocks"):
        self.path = os.path.join(tmp, name)
        with open(self.path, "wb") as file:
            file.write(bytes(4096))

    def set(self, wall=0, monotonic=0):
        """Seconds that each is ahead from now on."""
        with open(self.path, "r+b", 0) as file:
            file.write(struct.pack("=qq", int(wall * 1e9),
                                   int(monotonic * 1e9)))


class OddBelayd(Belayd):
    """A server on an odd machine."""

    def __init__(self, env, *args, **options):
        self.env = env
        super().__init__(*args, **options)

    def begin(self):
        before = {name: os.environ.get(name) for name in self.env}
        os.environ.update(self.env)
        try:
            super().begin()
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


def whole(run, into, what=""):
    check_code(run, 0, what)
    check(same(os.path.join(shelf(), "file"), os.path.join(into, "file")),
          what + ": other bytes", run)
    check(names(into) == ["file"], "left behind: %r" % names(into), run)
    os.unlink(os.path.join(into, "file"))


def half_way(server, into, env, *options):
    run = start("-v", "--no-config", "--limit-rate", SIZE // 2, *options,
                server.url(), cwd=into, env=env)
    wait_until(lambda: "file.part" in names(into), "partial file")
    time.sleep(0.4)
    check(run.poll() is None, "it ended too soon", run)
    return run


@case
def wall_clock_jumps(tmp):
    """M4: a year back, a year ahead, one second: no effect, on either
    side."""
    ours, theirs = Clocks(tmp, "ours"), Clocks(tmp, "theirs")
    into = os.path.join(tmp, "into")
    os.mkdir(into)
    with OddBelayd(odd(CLOCKS=theirs.path)) as server:
        run = half_way(server, into, odd(CLOCKS=ours.path))
        for ahead in (-YEAR, YEAR, 0, 1):
            ours.set(wall=ahead)
            theirs.set(wall=-ahead)
            time.sleep(0.2)
        whole(run.wait(), into)
        check(run.ledger["breaks"] == 0, "connections were lost", run)


@case
def monotonic_clock_jumps(tmp):
    """M5: an hour ahead, as some machines do when they wake up: at most a
    new connection."""
    for side in ("client", "server"):
        clocks = Clocks(tmp, side)
        into = os.path.join(tmp, "into-" + side)
        os.mkdir(into)
        env = odd(CLOCKS=clocks.path)
        with OddBelayd(env if side == "server" else {}) as server:
            run = half_way(server, into, env if side == "client" else {},
                           "-x", "2")
            clocks.set(monotonic=3600)
            whole(run.wait(), into, side)
            again = run.ledger["repeated"] + run.ledger["wasted"]
            check(again <= (run.ledger["breaks"] + 2) * 256 * KI,
                  "%d bytes came again" % again, run)


@case
def threads_that_are_late(tmp):
    """Each connection finds another version, and each is time for a sync,
    whose thread comes too late: what changes the partial file as a whole
    must wait for it."""
    roots = [os.path.join(tmp, name) for name in ("one", "two")]
    for number, root in enumerate(roots):
        os.mkdir(root)
        write_random(os.path.join(root, "file"), SIZE, number)
    settle(*(os.path.join(root, "file") for root in roots))
    into = os.path.join(tmp, "into")
    os.mkdir(into)
    clocks = Clocks(tmp)
    with Belayd(roots[0]) as one, Belayd(roots[1]) as two:
        for server in (one, two):  # from now on the digests are known
            check_code(get("--no-config", "-o", "first", "--overwrite",
                           server.url(), cwd=tmp), 0)
        with harness.Fault(one, "--connect", "127.0.0.1:%d" % two.port,
                           "--rst-after", MI, "--rst-max", "14") as fault:
            run = start("-v", "--no-config", "-x", "1", "--retry", "inf",
                        fault.url(), cwd=into,
                        env=odd(CLOCKS=clocks.path, LATE=60))
            ahead = 0
            while run.poll() is None:
                check(ahead < 11 * 3000, "it never ends", run)
                ahead += 11
                clocks.set(monotonic=ahead)
                time.sleep(0.02)
        check_code(run, 0)
        check("changed" in run.err, "no version was another one", run)
        check(any(same(os.path.join(into, "file"),
                       os.path.join(root, "file")) for root in roots),
              "other bytes", run)


@case
def rename_fails(tmp):
    """D10: the partial stays, both names are told, and the next run has
    nothing to fetch."""
    with Belayd() as server:
        for error in (errno.EACCES, errno.EXDEV, errno.ENOENT, errno.EROFS):
            name = errno.errorcode[error]
            into = os.path.join(tmp, name)
            os.mkdir(into)
            run = get("--no-config", server.url(), cwd=into,
                      env=odd(FAIL="renameat2=%d,renameat=%d,linkat=%d" %
                              ((error,) * 3)))
            check_code(run, 5, name)
            check_nothing_final(into)
            last = lines_of(run)[-1]
            check("file.part" in last and re.search(r"\bfile\b(?!\.part)",
                                                    last),
                  name + ": not both names are told", run)
            again = get("-v", "--no-config", server.url(), cwd=into)
            whole(again, into, name)
            check(again.ledger["useful"] == 0, name + ": fetched again",
                  again)


@case
def calls_that_are_not_known(tmp):
    """D16: a file system, or a kernel, that knows none of the calls that
    make things faster or finer."""
    extras = ("fallocate", "sync_file_range", "copy_file_range", "clone",
              "renameat2")
    with Belayd() as server:
        for error in (errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL):
            into = os.path.join(tmp, str(error))
            os.mkdir(into)
            env = odd(FAIL=",".join("%s=%d" % (name, error)
                                    for name in extras))
            whole(get("--no-config", server.url(), cwd=into, env=env), into,
                  errno.errorcode[error])


@case
def directory_cannot_be_synced(tmp):
    """D18: the file is there and stays there, but nobody says that it
    would survive a loss of power."""
    with Belayd() as server:
        run = get("--no-config", server.url(), cwd=tmp,
                  env=odd(FAIL="fsyncdir=%d@1" % errno.EIO))
        check_code(run, 5)
        check("not durable" in run.err, "not told", run)
        check(same(os.path.join(shelf(), "file"),
                   os.path.join(tmp, "file")), "the file is not kept", run)


@case
def close_fails(tmp):
    """D9: the last chance of a file system to tell of a lost write."""
    with Belayd() as server:
        for error in (errno.EIO, errno.ENOSPC):
            into = os.path.join(tmp, str(error))
            os.mkdir(into)
            run = get("--no-config", server.url(), cwd=into,
                      env=odd(FAIL="close=%d" % error))
            check_code(run, 5)
            check(os.strerror(error) in run.err, "not told", run)
            again = get("--no-config", server.url(), cwd=into)
            whole(again, into)


@case
def quota_is_reached(tmp):
    """D3: EDQUOT at the n-th write."""
    with Belayd() as server:
        for count in (0, 1, 5):
            into = os.path.join(tmp, str(count))
            os.mkdir(into)
            run = get("--no-config", server.url(), cwd=into,
                      env=odd(FAIL="pwritev=%d@%d" % (errno.EDQUOT, count)))
            check_code(run, 5)
            check("quota" in run.err.lower(), "not told", run)
            check_nothing_final(into)
            whole(get("--no-config", server.url(), cwd=into), into)


@case
def sync_fails_once(tmp):
    """D6: what a failed sync has lost is never called success."""
    with Belayd() as server:
        for call in ("fdatasync", "fsync"):
            into = os.path.join(tmp, call)
            os.mkdir(into)
            run = get("--no-config", server.url(), cwd=into,
                      env=odd(FAIL="%s=%d" % (call, errno.EIO)))
            check_code(run, 5, call)
            check_nothing_final(into)
            whole(get("--no-config", server.url(), cwd=into), into, call)


@case
def sync_takes_long(tmp):
    """The last chunk arrives while a sync is under way: the file is not
    finished under it."""
    clocks = Clocks(tmp)
    into = os.path.join(tmp, "into")
    os.mkdir(into)
    with Belayd() as server:
        run = half_way(server, into, odd(CLOCKS=clocks.path, SLOW_SYNC=1))
        clocks.set(monotonic=11)
        whole(run.wait(), into)


@case
def bad_block_on_the_server(tmp):
    """S9: only the range with it fails, the message says whose disk it is,
    and the client does not try for ever."""
    root = os.path.join(tmp, "root")
    os.mkdir(root)
    settle(write_random(os.path.join(root, "file"), SIZE),
           write_random(os.path.join(root, "small"), 100 * KI))
    env = odd(READ_ERROR=3 * MI + 5)
    with OddBelayd(env, root) as server:
        run = get("-v", "--no-config", "--deadline", "50", server.url(),
                  cwd=tmp)
        check(run.code not in (0, 9), "exit code %s" % run.code, run)
        check(re.search("server.*read", lines_of(run)[-1]), "not told", run)
        check(len(lines_of(run)) < 10, "a storm of tries", run)
        check("file" not in names(tmp), "a final name", run)
        check_code(get("--no-config", server.url("small"), cwd=tmp), 0)
        check("worker-crash" not in server.text(), server.text())


if __name__ == "__main__":
    main()
