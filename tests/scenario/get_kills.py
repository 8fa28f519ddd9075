#!/usr/bin/env python3
"""The client is killed or interrupted at any moment; the same command goes on
from there, and little is fetched twice."""

import os
import random
import re
import signal
import subprocess
import time

from harness import (KI, MI, Belayd, Peer, case, check, check_code, bytes_of,
                     check_printable, get, has_verified, library, lines_of,
                     listens, main, names, reported, same, scaled, shelf,
                     start, wait_until, write_random)

CHUNK = 256 * KI
SIZE = scaled(40, 4) * MI + 99
KILLS = scaled(100, 10)

library(file=(write_random, SIZE))

# Seconds to end after a signal: 2 are promised, where nothing else runs.
# What this is to find is an end that waits for a peer or a back-off.
AT_ONCE = 20

SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


def source():
    return os.path.join(shelf(), "file")


def whole(run, into):
    check_code(run, 0)
    check(same(source(), os.path.join(into, "file")), "other bytes", run)
    check(names(into) == ["file"], "something is left: %r" % names(into), run)


@case
def killed_at_random(into):
    chance = random.Random(7)
    best = ends = 0
    with Belayd() as server:
        for count in range(KILLS):
            run = start("-x", chance.choice([1, 2, 4]), "--limit-rate",
                        SIZE * 12 // KILLS, server.url(), cwd=into)
            time.sleep(chance.uniform(0.001, 0.08))
            if count % 10 == 9:
                # However slow the machine is, this one gets somewhere.
                least = best + SIZE // 100
                wait_until(lambda: run.poll() is not None or
                           reported(run) >= least, "progress")
                best = least
            run.send(signal.SIGKILL)
            if run.wait().code == 0:
                # A slow machine gives each try more time.
                whole(run, into)
                os.unlink(os.path.join(into, "file"))
                best = 0
                ends += 1
                continue
            check(run.code == -signal.SIGKILL, "not killed", run)
            check("file" not in names(into), "a final name too early", run)
        check(ends <= KILLS // 2, "it ended by itself, %d times" % ends, run)
        run = get("-v", server.url(), cwd=into)
        whole(run, into)
        check(run.ledger["kept"] >= best - 16 * KI,
              "%d bytes were verified, but only %d kept" %
              (best, run.ledger["kept"]), run)
        again = run.ledger["repeated"] + run.ledger["wasted"]
        check(again <= run.ledger["connections"] * CHUNK,
              "%d bytes came in vain" % again, run)


@case
def signals_keep_everything(tmp):
    with Belayd() as server:
        for number, code in SIGNALS.items():
            into = os.path.join(tmp, str(code))
            os.mkdir(into)
            run = start("-x", "2", "--limit-rate", SIZE // 5, server.url(),
                        cwd=into)
            has_verified(run, SIZE // 10)
            have = reported(run)
            began = time.monotonic()
            run.send(number)
            run.wait(30)
            check(time.monotonic() - began < AT_ONCE, "took long", run)
            check_code(run, code)
            last = lines_of(run)[-1]
            check("interrupted" in last and "kept" in last and
                  "same command" in last, "poor words", run)
            kept = bytes_of(re.search(r"([\d.]+ \w+) of", last).group(1))
            check(kept >= have - 16 * KI, "kept less than it had", run)
            run = get("-v", server.url(), cwd=into)
            whole(run, into)
            check(run.ledger["kept"] >= kept - 16 * KI,
                  "%d bytes were kept, %d used" % (kept, run.ledger["kept"]),
                  run)


def interrupted(run, code=130, number=signal.SIGINT):
    wait_until(lambda: run.poll() is not None or listens(run, number),
               "handlers of signals")
    began = time.monotonic()
    run.send(number)
    run.wait(30)
    check(time.monotonic() - began < AT_ONCE, "took long", run)
    check_code(run, code)
    check_printable(run)
    return run


@case
def interrupted_while_waiting(into):
    """Connecting, greeting, backing off, and writing to a full pipe."""
    with Peer(lambda sock: time.sleep(30)) as silent:
        run = start(silent.url(), cwd=into)
        wait_until(lambda: silent.accepted, "connection")
        time.sleep(0.2)
        interrupted(run)
    check(names(into) == [] or ".part" in str(names(into)), "litter")
    # Nobody listens there any more: back-off.
    run = start("--retry", "inf", silent.url(), cwd=into)
    time.sleep(1)
    interrupted(run, 143, signal.SIGTERM)
    with Belayd() as server:
        reader, writer = os.pipe()
        run = start("-o", "-", server.url(), cwd=into, stdout=writer)
        os.close(writer)
        time.sleep(1)
        check(run.poll() is None, "ended with nobody reading", run)
        interrupted(run)
        os.close(reader)
        # The deadline holds there, too.
        reader, writer = os.pipe()
        run = start("--deadline", "1", "-o", "-", server.url(), cwd=into,
                    stdout=writer)
        os.close(writer)
        run.wait(30)
        check_code(run, 9)
        os.close(reader)


@case
def interrupted_while_resuming(into):
    """An interrupt in the first moments of a resume loses nothing."""
    with Belayd() as server:
        run = start("--limit-rate", SIZE // 5, server.url(), cwd=into)
        has_verified(run, SIZE // 5)
        have = reported(run)
        interrupted(run)
        for wait in range(20):
            run = start("--limit-rate", "1k", server.url(), cwd=into)
            time.sleep(0.004 * wait)
            if run.poll() is None:
                # Before the handlers are in place a signal simply kills.
                run.send(signal.SIGINT)
                check(run.wait(30).code in (130, -signal.SIGINT),
                      "exit code", run)
        run = get("-v", server.url(), cwd=into)
        whole(run, into)
        check(run.ledger["kept"] >= have - 16 * KI, "lost what it had", run)


@case
def ignored_signals_stay_ignored(into):
    """nohup, and background jobs of shells, start programs so."""
    def ignore():
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    with Belayd() as server:
        run = start("--limit-rate", SIZE // 2, server.url(), cwd=into,
                    preexec_fn=ignore)
        wait_until(lambda: ".part" in str(names(into)), "partial file")
        run.send(signal.SIGHUP)
        run.send(signal.SIGINT)
        whole(run.wait(), into)


@case
def stopped_and_continued(into):
    with Belayd() as server:
        run = start("-v", "--limit-rate", SIZE // 2, server.url(), cwd=into)
        wait_until(lambda: ".part" in str(names(into)), "partial file")
        run.send(signal.SIGSTOP)
        time.sleep(2)
        run.send(signal.SIGCONT)
        whole(run.wait(), into)


@case
def closed_standard_descriptors(into):
    """What is closed must not become a file or a socket of ours."""
    with Belayd() as server:
        for closing in ("<&-", ">&-", "2>&-", "<&- >&- 2>&-"):
            name = "out%d" % len(closing)
            code = subprocess.call(
                ["sh", "-c", 'exec "$@" %s' % closing, "sh",
                 os.environ["BELAY"], "get", "-v", "-o", name, server.url()],
                cwd=into, timeout=60, stderr=subprocess.DEVNULL)
            check(code == 0, "exit code %d with %s" % (code, closing))
            check(same(source(), os.path.join(into, name)), closing)
        code = subprocess.call(
            ["sh", "-c", 'exec "$@" >&-', "sh", os.environ["BELAY"], "get",
             "-o", "-", server.url()], cwd=into, timeout=60,
            stderr=subprocess.DEVNULL)
        check(code == 5, "exit code %d for a closed standard output" % code)


if __name__ == "__main__":
    main()
