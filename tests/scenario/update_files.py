#!/usr/bin/env python3
"""belay get onto an older copy, and with --seed: what is there already does
not travel; the old file stands until the new one is whole."""

import os
import random
import shutil
import signal
import time

from harness import (KI, MI, Belayd, Fault, case, check, check_code,
                     check_one_line, get, library, main, names, reported, same,
                     scaled, settle, sha256, shelf, start, wait_until, write_random)

SIZE = scaled(24, 6) * MI + 12345
CHUNK = 256 * KI
library(file=(write_random, SIZE), other=(write_random, SIZE, 2))


def source(name="file"):
    return os.path.join(shelf(), name)


def older(into, name="file", every=10):
    """A copy in which each tenth chunk is different."""
    target = os.path.join(into, name)
    shutil.copyfile(source(), target)
    with open(target, "r+b") as file:
        for at in range(CHUNK, SIZE, every * CHUNK):
            os.pwrite(file.fileno(), b"older", at)
    os.utime(target, (1e9, 1e9))
    return target


def chunks(every=10):
    return len(range(CHUNK, SIZE, every * CHUNK))


def check_new(into, run, fetched_at_most):
    check_code(run, 0)
    check(same(into + "/file", source()), "wrong bytes", run)
    check(not [n for n in names(into) if ".part" in n], "litter", run)
    ledger = run.ledger
    check(ledger["useful"] <= fetched_at_most, "fetched too much", run)
    check(abs(ledger["useful"] + ledger["reused"] + ledger["kept"] - SIZE) <
          SIZE / 50, "the ledger does not add up", run)


@case
def onto_an_older_copy(into):
    target = older(into)
    with Belayd() as server:
        # Without leave it stays.
        run = get(server.url(), cwd=into)
        check_one_line(run, 10, "--overwrite")
        before = sha256(target)
        run = get("-v", "--overwrite", server.url(), cwd=into)
        check(sha256(target) != before, "still the old one", run)
        check_new(into, run, (chunks() + 1) * CHUNK)
        check("from a local file" in run.err, "not told", run)


def read_bytes():
    """What this process and its ended children have read so far."""
    with open("/proc/self/io") as file:
        return int(file.readline().split()[1])


@case
def an_old_file_is_read_once_to_judge_it(into):
    """Its size is right and its time is not: to see whether it is the file,
    and what of it can be used, takes one reading; then what fits is copied,
    and that is compared again."""
    older(into)
    with Belayd() as server:
        check_code(get("-o", "none", server.url(), cwd=into), 0)
        before = read_bytes()
        run = get("-v", "--overwrite", server.url(), cwd=into)
        amount = read_bytes() - before
        check_new(into, run, (chunks() + 1) * CHUNK)
        check(amount < 2.5 * SIZE, "%.1f times read" % (amount / SIZE), run)


@case
def moved_longer_shorter(into):
    target = into + "/file"
    right = open(source(), "rb").read()
    for data, most in ((right[3 * CHUNK:], 5 * CHUNK),
                       (b"\0" * (2 * CHUNK) + right, 2 * CHUNK),
                       (right + b"more", CHUNK),
                       (right[:SIZE // 2], SIZE // 2 + 2 * CHUNK),
                       (b"", SIZE), (b"nothing of it", SIZE)):
        with open(target, "wb") as file:
            file.write(data)
        with Belayd() as server:
            run = get("-v", "--overwrite", server.url(), cwd=into)
            check_new(into, run, most)


@case
def seeds(into):
    with Belayd() as server:
        older(into, "seed1", every=2)
        shutil.copyfile(source(), into + "/seed2")
        os.truncate(into + "/seed2", SIZE // 2)
        run = get("-v", "--seed", "seed1", "--seed", "seed2", server.url(),
                  cwd=into)
        check_new(into, run, SIZE // 3 + CHUNK)
        os.unlink(into + "/file")
        # What cannot be used costs nothing but a word.
        os.mkfifo(into + "/fifo")
        run = get("-v", "--seed", "absent", "--seed", "fifo", "--seed", ".",
                  server.url(), cwd=into)
        check_new(into, run, SIZE)
        for name in ("absent", "fifo"):
            check("--seed " + name in run.err, "not told", run)
        # Seeds are only read.
        check(os.path.getsize(into + "/seed2") == SIZE // 2, "seed changed")


@case
def killed_on_the_way(into):
    """At any moment: the old file stands, or the new one; never another."""
    chance = random.Random(3)
    target = older(into, every=3)
    old = sha256(target)
    new = sha256(source())
    with Belayd() as server, Fault(server, "--rate", "4M") as fault:
        for count in range(6):
            run = start("--overwrite", "--no-progress", fault.url(), cwd=into)
            time.sleep(chance.uniform(0.05, 0.5))
            if count == 5:
                # However slow the machine is, this one gets somewhere.
                wait_until(lambda: run.poll() is not None or
                           reported(run) > SIZE // 10, "progress")
            run.send(signal.SIGKILL)
            run.wait()
            is_now = sha256(target)
            check(is_now in (old, new), "neither old nor new", run)
        run = get("-v", "--overwrite", fault.url(), cwd=into)
        check_code(run, 0)
        check(same(target, source()), "wrong bytes", run)
        check(names(into) == ["file"], "litter: %r" % names(into), run)
        check(is_now == new or run.ledger["kept"] > 0, "nothing was kept", run)


@case
def the_old_file_changes_meanwhile(into):
    """A donor that is written to while it is read: never wrong bytes."""
    target = older(into)
    with Belayd() as server:
        run = start("-v", "--overwrite", "--no-progress", server.url(),
                    cwd=into)
        with open(target, "r+b") as file:
            at = 0
            while run.poll() is None and at < 4000:
                os.pwrite(file.fileno(), b"scribble", (at * 77777) % SIZE)
                at += 1
        run.wait()
        check_code(run, 0)
        check(same(target, source()), "wrong bytes", run)


@case
def the_server_changes_meanwhile(into):
    root = into + "/root"
    os.mkdir(root)
    os.mkdir(into + "/here")
    shutil.copyfile(source(), root + "/file")
    settle(root + "/file")
    older(into + "/here", every=2)
    with Belayd(root) as server, Fault(server, "--rate", "3M") as fault:
        run = start("--overwrite", "--no-progress", fault.url(),
                    cwd=into + "/here")
        wait_until(lambda: "file.part" in names(into + "/here"), "no partial")
        time.sleep(0.3)
        shutil.copyfile(source("other"), root + "/new")
        os.rename(root + "/new", root + "/file")
        run.wait()
        check_code(run, 0)
        check(same(into + "/here/file", source("other")) or
              same(into + "/here/file", source()), "a mix", run)


if __name__ == "__main__":
    main()
