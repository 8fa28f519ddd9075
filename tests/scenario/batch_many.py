#!/usr/bin/env python3
"""Batches of many files over bad links: nothing lost, nothing twice, the same
command again is cheap, and the exit code tells the worst."""

import contextlib
import os
import random
import resource
import signal
import time

from harness import (KI, MI, Belayd, Fault, Tmpfs, case, check, check_code, get,
                     in_private_mounts, library, main, names,
                     same, scaled, shelf, start, wait_until,
                     write_random)

COUNT = 2000 if os.environ.get("BELAY_LONG") else scaled(1000, 200)
LARGE = 6 * MI


def write_many(path, count, size, seed):
    os.mkdir(path)
    source = random.Random(seed)
    for k in range(count):
        with open(os.path.join(path, "f%05d" % k), "wb") as file:
            file.write(source.randbytes(source.randrange(size)))


library(many=(write_many, COUNT, 4 * KI, 1),
        large=(write_random, LARGE, 2), other=(write_random, LARGE + 1, 3))


def many():
    return os.path.join(shelf(), "many")


def write_list(into, server, *more):
    with open(os.path.join(into, "list"), "w") as file:
        for name in names(many()):
            file.write(server.url("many/" + name) + "\n")
        for line in more:
            file.write(line + "\n")


def check_whole(into, run):
    check(names(into) == names(many()), "names: %d" % len(names(into)), run)
    for name in names(into):
        with open(os.path.join(into, name), "rb") as a, \
                open(os.path.join(many(), name), "rb") as b:
            check(a.read() == b.read(), "%s differs" % name, run)


@case
def resets_and_one_that_is_missing(into):
    with Belayd() as server, Fault(server, "--rst-every", "1M") as fault:
        write_list(into, fault, fault.url("many/none"),
                   fault.url("large") + " dir=big")
        run = get("-i", "list", "-d", "to", "--failed", "failed", cwd=into,
                  timeout=180)
        check_code(run, 3)
        check_whole(os.path.join(into, "to"), run)
        check(same(os.path.join(into, "big", "large"),
                   os.path.join(shelf(), "large")), "large", run)
        check(names(os.path.join(into, "big")) == ["large"], "litter", run)
        with open(os.path.join(into, "failed")) as file:
            lines = file.read().splitlines()
        check(len(lines) == 2 and "none" in lines[1], "failed: %r" % lines,
              run)
        check("%d of %d files fetched" % (COUNT + 1, COUNT + 2) in run.err,
              "summary", run)
        check(len(run.err) < 20000, "a flood of lines", run)
        check(run.peak_rss < 100 * MI, "memory: %d" % run.peak_rss, run)


@case
def again_is_cheap(into):
    with Belayd() as server:
        write_list(into, server)
        first = get("-i", "list", "-d", "to", cwd=into)
        check_code(first, 0)
        check_whole(os.path.join(into, "to"), first)
        # One is gone, one is older, one is another.
        os.unlink(os.path.join(into, "to", "f00000"))
        again = get("-i", "list", "-d", "to", cwd=into)
        check_code(again, 0)
        check("1 of %d files fetched" % COUNT in again.err and
              "%d already there" % (COUNT - 1) in again.err, "summary",
              again)
        check_whole(os.path.join(into, "to"), again)
        inodes = {n: os.stat(os.path.join(into, "to", n)).st_ino
                  for n in names(os.path.join(into, "to"))}
        check_code(get("-i", "list", "-d", "to", cwd=into), 0)
        check(inodes == {n: os.stat(os.path.join(into, "to", n)).st_ino
                         for n in inodes}, "files were replaced")


@case
def few_connections(into):
    """Small files share connections."""
    with Belayd() as server, Fault(server) as fault:
        write_list(into, fault)
        run = get("-i", "list", "-d", "to", cwd=into)
        check_code(run, 0)
        stats = fault.stats()
        check(stats["connections"] <= 16, "connections: %r" % stats, run)


@case
def killed_and_run_again(into):
    with Belayd() as server, Fault(server, "--rate", MI) as fault:
        write_list(into, fault)
        kills = 0
        while kills < 12:
            run = start("-i", "list", "-d", "to", cwd=into)
            time.sleep(0.15 + 0.1 * kills)
            if run.poll() is not None:
                break
            run.send(signal.SIGKILL)
            run.wait()
            kills += 1
            # What has a final name is whole at any moment.
            with contextlib.suppress(FileNotFoundError):
                for name in names(os.path.join(into, "to")):
                    if name.startswith("f") and ".part" not in name:
                        check(same(os.path.join(into, "to", name),
                                   os.path.join(many(), name)),
                              "%s is not whole" % name)
        check(kills >= 2, "it was over too soon")
        run = get("-i", "list", "-d", "to", cwd=into, timeout=120)
        check_code(run, 0)
        check_whole(os.path.join(into, "to"), run)


@case
def interrupted_and_run_again(into):
    with Belayd() as server, Fault(server, "--rate", 300 * KI) as fault:
        write_list(into, fault)
        run = start("-i", "list", "-d", "to", "--failed", "failed", cwd=into)
        to = os.path.join(into, "to")
        wait_until(lambda: os.path.isdir(to) and
                   any(n.startswith("f") for n in os.listdir(to)), "file")
        run.send(signal.SIGINT)
        run.wait()
        check_code(run, 128 + signal.SIGINT)
        with open(os.path.join(into, "failed")) as file:
            left = [line for line in file if line[0] != "#"]
        have = [n for n in names(to) if ".part" not in n]
        check(len(left) + len(have) == COUNT, "%d left, %d there" %
              (len(left), len(have)), run)
        check(not [n for n in names(to) if not n.startswith("f")],
              "litter: %r" % names(to)[:3], run)
        check(len(run.err) < 20000, "a flood of lines", run)
    with Belayd(listen="127.0.0.1:%d" % fault.port) as server:
        run = get("-i", "failed", cwd=into)
        check_code(run, 0)
        check_whole(to, run)


@case
def one_rate_for_all(into):
    """The limit holds over files side by side."""
    with Belayd() as server:
        with open(os.path.join(into, "list"), "w") as file:
            for k in range(4):
                file.write("%s out=l%d\n" % (server.url("large"), k))
        run = get("-i", "list", "-j", "4", "--limit-rate", str(8 * MI),
                  cwd=into)
        check_code(run, 0)
        # 24 MiB at 8 MiB/s.
        check(run.seconds > 2.7, "too fast: %.2f s" % run.seconds, run)
        check(run.seconds < 30, "too slow: %.2f s" % run.seconds, run)
        for k in range(4):
            check(same(os.path.join(into, "l%d" % k),
                       os.path.join(shelf(), "large")), "content", run)


@case
def one_deadline_for_all(into):
    with Belayd() as server:
        with open(os.path.join(into, "list"), "w") as file:
            for k in range(4):
                file.write("%s out=l%d\n" % (server.url("large"), k))
        run = get("-i", "list", "-j", "2", "--limit-rate", str(4 * MI),
                  "--deadline", "2", "--failed", "failed", cwd=into)
        check_code(run, 9)
        check(run.seconds < 22, "too long: %.2f s" % run.seconds, run)
        with open(os.path.join(into, "failed")) as file:
            text = file.read()
        check(text.count("limit (limit)") >= 2, "failed: " + text, run)
        run = get("-i", "list", cwd=into)
        check_code(run, 0)
        check([n for n in names(into) if n.startswith("l") and
               n != "list"] == ["l0", "l1", "l2", "l3"], "names", run)


@case
def a_server_that_is_away(into):
    with Belayd() as server:
        write_list(into, server, "belay+tcp://127.0.0.1:1/x")
    run = get("-i", "list", "-d", "to", "--failed", "failed", cwd=into,
              timeout=120)
    check_code(run, 75)
    with open(os.path.join(into, "failed")) as file:
        lines = [line for line in file if line[0] != "#"]
    check(len(lines) == COUNT + 1, "failed: %d" % len(lines), run)


@case
def disk_full_midway(into):
    disk = os.path.join(into, "disk")
    with Tmpfs(disk, "size=4m,nr_inodes=100k") as mounted, \
            Belayd() as server:
        write_list(into, server, server.url("large") + " dir=disk")
        run = get("-i", "list", "-d", "disk", "--failed", "disk-failed",
                  cwd=into, timeout=120)
        check_code(run, 5)
        for name in names(disk):
            if name.startswith("f"):
                check(same(os.path.join(disk, name),
                           os.path.join(many(), name)),
                      "%s is not whole" % name, run)
        mounted.remount("size=64m")
        run = get("-i", "list", "-d", "disk", cwd=into, timeout=120)
        check_code(run, 0)
        os.unlink(os.path.join(disk, "large"))
        check_whole(disk, run)


@case
def few_descriptors(into):
    def limit():
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

    with Belayd() as server:
        write_list(into, server)
        run = get("-i", "list", "-d", "to", "-j", "16", cwd=into,
                  preexec_fn=limit, timeout=120)
        check_code(run, 0)
        check_whole(os.path.join(into, "to"), run)


if __name__ == "__main__":
    if os.geteuid() == 0:
        in_private_mounts(__file__)
    main()
