#!/usr/bin/env python3
"""Output in order to a pipe, the rate limit, the bar on a terminal, the calm
lines elsewhere, and memory that does not grow with the file."""

import hashlib
import os
import re
import signal
import subprocess
import threading
import time

from harness import (GI, KI, MI, SCALE, Belayd, Fault, case, check, check_code,
                     check_one_line, get, has_verified, library, lines_of,
                     listens, main, names, on_terminal, program, same, scaled,
                     sha256, shelf, start, wait_until, write_random,
                     write_sparse)

SIZE = scaled(30, 6) * MI + 333
# Far more than the memory it may take; more with BELAY_LONG.
HUGE = GI // 2 if SCALE < 1 else \
    6 * GI if os.environ.get("BELAY_LONG") else 3 * GI // 2

library(file=(write_random, SIZE), small=(write_random, 3000),
        huge=(write_sparse, HUGE, [0, HUGE // 2, HUGE - 100 * KI]))


def source(name="file"):
    return os.path.join(shelf(), name)


class Reader:
    """Reads a pipe on a thread; digest and length of what came."""

    def __init__(self, slowly=0.0):
        self.slowly = slowly
        self.digest = hashlib.sha256()
        self.length = 0
        self.fd, self.writer = os.pipe()
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        while block := os.read(self.fd, 64 * KI):
            self.digest.update(block)
            self.length += len(block)
            time.sleep(self.slowly)

    def join(self):
        os.close(self.writer)
        self.thread.join(60)
        os.close(self.fd)
        return self.digest.hexdigest()


@case
def stream_through_resets(into):
    """Nothing is written twice or out of order, over any number of
    connections, and nothing is left behind."""
    with Belayd() as server, \
            Fault(server, "--rst-every", 3 * MI, "--rst-jitter", 50) as fault:
        for conns in (1, 4, 16):
            reader = Reader()
            run = get("-v", "-x", conns, "-o", "-", fault.url(), cwd=into,
                      stdout=reader.writer)
            check(reader.join() == sha256(source()), "other bytes", run)
            check_code(run, 0)
            check(run.ledger["breaks"] > 0, "no reset on the way", run)
            check(names(into) == [], "left over: %r" % names(into), run)


@case
def stream_to_a_slow_reader(into):
    """A reader that takes its time: bounded memory, and no time-out."""
    with Belayd() as server:
        reader = Reader(slowly=2.0 * 65536 / SIZE)
        run = get("-v", "-o", "-", server.url(), cwd=into,
                  stdout=reader.writer)
        check(reader.join() == sha256(source()), "other bytes", run)
        check_code(run, 0)


@case
def stream_that_is_cut(into):
    """The reader leaves: no noise, a code of its own, no long wait."""
    with Belayd() as server:
        fd, writer = os.pipe()
        run = start("-o", "-", server.url(), cwd=into, stdout=writer)
        os.close(writer)
        os.read(fd, 1000)
        os.close(fd)
        run.wait(20)
        check(run.code in (5, 141), "exit code %s" % run.code, run)
        check(len(lines_of(run)) <= 1, "noise", run)


@case
def stream_of_wrong_content(into):
    """Not a byte of what does not fit the pin reaches the reader, whatever
    chunks were wanted."""
    wrong = "#bl1-18-" + "0" * 64
    with Belayd() as server:
        for more in ((), ("--chunk-size", "4K")):
            reader = Reader()
            run = get("-o", "-", *more, server.url() + wrong, cwd=into,
                      stdout=reader.writer)
            reader.join()
            check_one_line(run, 4)
            check(reader.length == 0, "%d unproven bytes" % reader.length,
                  run)


@case
def rate_limit_holds(into):
    """Counted over a window, on whatever machine: never above the limit."""
    rate = SIZE // 6
    with Belayd() as server:
        run = start("--limit-rate", rate, "-x", "4", server.url(), cwd=into)
        began = time.monotonic()
        part = os.path.join(into, "file.part")
        worst = 0
        while run.poll() is None:
            try:
                have = os.stat(part).st_blocks * 512
            except FileNotFoundError:
                have = 0
            # Chunks in flight are not on the disk yet: this errs kindly.
            worst = max(worst, have - rate * (time.monotonic() - began))
            time.sleep(0.02)
        check_code(run, 0)
        check(same(source(), os.path.join(into, "file")), "other bytes")
        check(worst < rate // 2 + MI, "%d bytes too early" % worst, run)
        took = time.monotonic() - began
        check(took > 4.5, "%.1f s instead of 6" % took, run)


@case
def bar_on_a_terminal(into):
    """It fits the width, it never goes back, it ends in one result line."""
    with Belayd() as server:
        for columns in (40, 100):
            code, text = on_terminal(
                [program("BELAY"), "get", "--limit-rate", str(SIZE // 2),
                 "-o", "f%d" % columns, server.url()], into, columns)
            check(code == 0, "exit code %d\n%s" % (code, text))
            frames = re.split(r"\r\x1b\[K", text)
            check(len(frames) > 5, "no bar:\n" + text)
            drawn = [re.sub(r"\x1b\[[0-9;]*m", "", frame.split("\n")[0])
                     for frame in frames[1:-1]]
            wide = [f for f in drawn if len(f.rstrip("\r")) > columns]
            check(not wide, "wider than %d: %r" % (columns, wide[:1]))
            percent = [int(n) for f in drawn
                       for n in re.findall(r"(\d+)%", f)[:1]]
            check(percent and percent == sorted(percent),
                  "it goes backwards: %r" % percent)
            check("verified" in frames[-1], "no result line:\n" + text)


@case
def no_bar_where_it_does_not_belong(into):
    with Belayd() as server:
        for env in ({"TERM": "dumb"},):
            code, text = on_terminal(
                [program("BELAY"), "get", "--overwrite", server.url()], into,
                env=env)
            check(code == 0 and "\x1b" not in text,
                  "escapes with %r:\n%s" % (env, text))
        # Not a terminal: lines, and none for what is quick.
        run = get("-o", "x", server.url("small"), cwd=into)
        check_code(run, 0)
        check(len(lines_of(run)) == 1 and b"\r" not in run.raw_err,
              "more than the result", run)
        run = get("-q", "-o", "y", server.url("small"), cwd=into)
        check(run.raw_err == b"" and run.out == b"", "-q is not quiet", run)


@case
def status_on_request(into):
    with Belayd() as server:
        run = start("--limit-rate", SIZE // 5, server.url(), cwd=into)
        wait_until(lambda: listens(run, signal.SIGUSR1), "handler", 30, 0)
        run.send(signal.SIGUSR1)
        wait_until(lambda: re.search("%, | at work yet", run.err),
                   "an early answer", 30)
        has_verified(run, 1)
        wait_until(lambda: re.search(r"\d+%.* of ", run.err), "status")
        run.send(signal.SIGUSR1)
        check_code(run.wait(), 0)


@case
def memory_at_any_size(into):
    """64 MiB are enough for a file of any size."""
    with Belayd() as server:
        sizes = []
        for name in ("file", "huge"):
            run = get("-x", "8", server.url(name), cwd=into)
            check_code(run, 0)
            sizes.append(run.peak_rss)
        if scaled(100) == 100:  # sanitizers need their own
            check(max(sizes) < 64 * MI, "%r bytes" % sizes)


@case
def two_programs_in_a_pipe(into):
    """belay get -o - | sha256sum, as a user types it."""
    with Belayd() as server:
        done = subprocess.run(
            "'%s' get -q -o - %s | sha256sum" %
            (program("BELAY"), server.url()), shell=True, cwd=into,
            capture_output=True, timeout=60)
        check(done.stdout.split()[0].decode() == sha256(source()),
              "other bytes")
        check(done.stderr == b"", "-q said %r" % done.stderr)


main()
