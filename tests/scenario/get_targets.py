#!/usr/bin/env python3
"""What stands at the target already: other files, other clients, traps."""

import os
import signal
import socket
import time

from harness import (MI, Belayd, Skip, case, check, check_code, check_one_line,
                     get, has_verified, library, main, names, need_root,
                     same, scaled, sha256, shelf, start, wait_until,
                     write_random)

SIZE = scaled(12, 3) * MI + 5
library(file=(write_random, SIZE), other=(write_random, SIZE, 2))


def source(name="file"):
    return os.path.join(shelf(), name)


def put(path, data=b"mine"):
    with open(path, "wb") as file:
        file.write(data)
    return path


def content(path):
    with open(path, "rb") as file:
        return file.read()


@case
def the_same_file_again(into):
    with Belayd() as server:
        check_code(get(server.url(), cwd=into), 0)
        before = os.stat(into + "/file")
        for options in ((), ("--overwrite",), ("--no-clobber",),
                        ("--sha256", sha256(source())),
                        ("--overwrite", "--sha256", sha256(source()))):
            run = get("-v", *options, server.url(), cwd=into)
            check_one_line(run, 0, "already there|skipped")
            check(os.stat(into + "/file").st_ino == before.st_ino,
                  "written again", run)
            check(names(into) == ["file"], "litter: %r" % names(into), run)
        # Touched, but of the same content.
        os.utime(into + "/file")
        run = get(server.url(), cwd=into)
        check_one_line(run, 0, "already there, and verified")
        # ... which need not be read again to find that out once more.
        check_one_line(get(server.url(), cwd=into), 0, "size and time")
        check(os.stat(into + "/file").st_mtime_ns == before.st_mtime_ns,
              "another time")
        for options, word in ((("--no-remote-time",), "and verified"),
                              (("-n",), "and verified"),
                              (("--sha256", sha256(source())), "verified")):
            os.utime(into + "/file", ns=(5, 5))
            run = get(*options, server.url(), cwd=into)
            check_one_line(run, 0, word)
            check(os.stat(into + "/file").st_mtime_ns == 5, "its time", run)
        # -q says nothing at all.
        run = get("-q", server.url(), cwd=into)
        check_code(run, 0)
        check(run.err == "", "-q talks", run)


@case
def another_file_is_there(into):
    target = into + "/file"
    with Belayd() as server:
        for data in (b"mine", content(source("other"))):
            put(target, data)
            run = get(server.url(), cwd=into)
            check_one_line(run, 10, "exists", "--overwrite")
            check(content(target) == data, "overwritten without a word")
            run = get("--sha256", sha256(source()), server.url(), cwd=into)
            check_one_line(run, 10, "exists")
            run = get("--no-clobber", server.url(), cwd=into)
            check_one_line(run, 0, "skipped")
            check(content(target) == data, "overwritten by --no-clobber")
            check(names(into) == ["file"], "litter: %r" % names(into))
            run = get("--overwrite", server.url(), cwd=into)
            check_code(run, 0)
            check(same(target, source()), "not replaced", run)
            check(names(into) == ["file"], "litter: %r" % names(into), run)
        # An empty file is a file.
        put(target, b"")
        check_one_line(get(server.url(), cwd=into), 10, "exists")
        # While it is being replaced the old one stays.
        put(target, b"mine")
        run = start("--overwrite", "--limit-rate", SIZE, server.url(),
                    cwd=into)
        wait_until(lambda: "file.part" in names(into), "partial file")
        check(content(target) == b"mine", "gone before the new one is there")
        run.send(signal.SIGKILL)
        run.wait()
        check(content(target) == b"mine", "a kill took it")
        check_code(get("--overwrite", server.url(), cwd=into), 0)
        check(same(target, source()), "not replaced")


@case
def target_appears_during_the_download(into):
    with Belayd() as server:
        run = start("--limit-rate", SIZE, server.url(), cwd=into)
        wait_until(lambda: "file.part" in names(into), "partial file")
        put(into + "/file", b"somebody else's")
        run.wait()
        check_one_line(run, 10, "exists", "kept")
        check(content(into + "/file") == b"somebody else's", "overwritten")
        os.unlink(into + "/file")
        run = get("-v", server.url(), cwd=into)
        check_code(run, 0)
        check(run.ledger["kept"] > 0.99 * SIZE, "fetched again", run)


@case
def target_is_no_file(into):
    elsewhere = put(os.path.join(into, "elsewhere"), b"precious")
    with Belayd() as server:
        os.mkdir(into + "/dir")
        check_one_line(get("-o", "dir", server.url(), cwd=into), 5,
                       "not a regular file|directory")
        os.mkfifo(into + "/fifo")
        check_one_line(get("-o", "fifo", server.url(), cwd=into), 5,
                       "not a regular file")
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(into + "/sock")
            check_one_line(get("-o", "sock", server.url(), cwd=into), 5,
                           "not a regular file")
        # A link is never followed: it counts as a file that exists.
        os.symlink("elsewhere", into + "/link")
        os.symlink("nowhere", into + "/dangling")
        for name in ("link", "dangling"):
            check_one_line(get("-o", name, server.url(), cwd=into), 10,
                           "exists")
            run = get("--overwrite", "-o", name, server.url(), cwd=into)
            check_code(run, 0)
            check(not os.path.islink(into + "/" + name) and
                  same(into + "/" + name, source()), "not replaced", run)
        check(content(elsewhere) == b"precious", "written through the link")
        check("nowhere" not in names(into), "made through the link")
        if os.geteuid() == 0:
            check_one_line(get("-o", "/dev/null", server.url(), cwd=into), 5,
                           "not a regular file")


@case
def traps_at_the_partial(into):
    """Nothing that was planted is followed, blocked on, or written."""
    precious = put(os.path.join(into, "precious"), b"precious")

    def trap(name, plant):
        plant(os.path.join(into, name))
        run = get(server.url(), cwd=into, timeout=10)
        check(run.code in (0, 5, 10), "exit code %s" % run.code, run)
        check(content(precious) == b"precious", "written: " + name, run)
        if run.code == 0:
            check(same(into + "/file", source()), name, run)
        else:
            check_one_line(run, run.code, "file.part")
            check("file" not in names(into), "final name", run)
        for left in names(into):
            if left != "precious":
                path = os.path.join(into, left)
                (os.rmdir if os.path.isdir(path) and
                 not os.path.islink(path) else os.unlink)(path)

    with Belayd() as server:
        for name in ("file.part", "file.part.belay"):
            trap(name, lambda path: os.symlink("precious", path))
            trap(name, lambda path: os.symlink("nothing", path))
            trap(name, lambda path: os.mkfifo(path))
            trap(name, lambda path: os.mkdir(path))
            trap(name, lambda path: os.link(precious, path))
            trap(name, lambda path: put(path, b"not ours at all"))
            trap(name, lambda path: put(path, b""))
            if os.geteuid() == 0:
                trap(name, lambda path: os.chown(put(path), 1, 1))


@case
def two_clients(into):
    with Belayd() as server:
        # Killed in the end: so slow that nothing outlives it.
        first = start("--limit-rate", SIZE // 30, server.url(), cwd=into)
        has_verified(first, 1)
        began = time.monotonic()
        second = get(server.url(), cwd=into)
        check_one_line(second, 6, "process %d" % first.pid)
        check(time.monotonic() - began < 20, "did not leave at once")
        # Who started first is not disturbed.
        check(first.poll() is None, "the first one ended", first)
        first.send(signal.SIGKILL)
        first.wait()
        # A killed holder leaves no lock behind.
        run = get("-v", server.url(), cwd=into)
        check_code(run, 0)
        check(same(into + "/file", source()), "other bytes", run)
        check(run.ledger["kept"] > 0, "nothing was kept", run)


@case
def many_clients_at_once(into):
    """One of them wins; all others leave, or find the finished file."""
    with Belayd() as server:
        runs = [start("--limit-rate", SIZE * 2, server.url(), cwd=into)
                for _ in range(8)]
        codes = sorted(run.wait().code for run in runs)
        check(codes[0] == 0 and set(codes) <= {0, 6},
              "exit codes %r" % codes, runs[0])
        check(same(into + "/file", source()), "other bytes")
        check(names(into) == ["file"], "litter: %r" % names(into))


@case
def directory_not_writable(tmp):
    into = os.path.join(tmp, "into")
    os.mkdir(into)
    os.chmod(tmp, 0o755)
    need_root()
    as_nobody = {"preexec_fn": lambda: (os.setgroups([]), os.setgid(65534),
                                        os.setuid(65534))}
    with Belayd() as server:
        try:
            run = get(server.url(), cwd=into, **as_nobody)
        except PermissionError:
            raise Skip("another user cannot start the program")
        check_one_line(run, 5, "Permission denied", "file.part")
        check(names(into) == [], "litter")
        # The directory is not readable, but writable.
        os.chmod(into, 0o333)
        os.chown(into, 65534, 65534)
        run = get("-d", into, server.url(), cwd="/", **as_nobody)
        check(run.code in (0, 5), "exit code", run)


@case
def directory_that_is_missing(tmp):
    """-d DIR is made, with what is above it; not for nothing, and not for a
    typing error in -o."""
    with Belayd() as server:
        run = get("-d", "a/b/", server.url(), cwd=tmp)
        check_code(run, 0)
        check(os.path.exists(tmp + "/a/b/file"), "it is not there", run)
        check_code(get("-d", "c", "-o", "d/e", server.url(), cwd=tmp), 0)
        check(os.path.exists(tmp + "/c/d/e"), "it is not there")
        check_code(get("-d", "x/y", "-n", server.url(), cwd=tmp), 0)
        check_code(get("-d", "x/y", server.url("no"), cwd=tmp), 3)
        check_one_line(get("-o", "x/y", server.url(), cwd=tmp), 5, "x: no such")
        check(names(tmp) == ["a", "c"], "left: %r" % names(tmp))
        check_one_line(get("-d", "a/b/file", server.url(), cwd=tmp), 5,
                       "not a directory")


if __name__ == "__main__":
    main()
