#!/usr/bin/env python3
"""The link breaks in every way it can; the file arrives whole, what was
received is not fetched again, and the client neither spins nor sleeps."""

import os
import random
import signal
import time

from harness import (GI, KI, MI, PATIENCE, SCALE, Belayd, Fault, case, check,
                     check_code, cpu_seconds, get, has_verified, library,
                     listens, main, names, same, scaled, shelf, start,
                     together, wait_until, write_random)

CHUNK = 256 * KI
# The lengths of the catalogue, or small ones.
CATALOGUE = bool(os.environ.get("BELAY_LONG"))
SIZE = scaled(24, 6) * MI + 4321
LONG = scaled(60, 8) * MI

library(file=(write_random, SIZE), long=(write_random, LONG),
        small=(write_random, 300 * KI), middle=(write_random, 3 * MI))


def finished(run, name, into, what=""):
    check_code(run, 0, what)
    check(same(os.path.join(shelf(), name), os.path.join(into, name)),
          what + ": other bytes", run)
    check(names(into) == [name], "something is left: %r" % names(into), run)
    os.unlink(os.path.join(into, name))


def thrifty(run, breaks_at_most, conns):
    """P3: at most one chunk for each connection that was lost."""
    ledger = run.ledger
    again = ledger["repeated"] + ledger["wasted"]
    check(ledger["breaks"] <= breaks_at_most,
          "%d breaks" % ledger["breaks"], run)
    check(again <= (ledger["breaks"] + conns) * CHUNK + 64 * KI,
          "%.0f bytes came in vain in %d breaks" % (again, ledger["breaks"]),
          run)


@case
def resets_every_few_chunks(into):
    with Belayd() as server:
        for conns in (1, 2, 4, 16):
            with Fault(server, "--rst-every", 2 * MI, "--seed",
                       conns) as fault:
                run = get("-v", "-x", conns, fault.url(), cwd=into)
                finished(run, "file", into, "-x %d" % conns)
                resets = fault.stats()["faults"]
                check(resets >= SIZE // (2 * MI) - 1,
                      "only %d resets" % resets)
                thrifty(run, (resets + 1) * conns, conns)


@case
def reset_of_each_connection(into):
    with Belayd() as server:
        for conns in (1, 4):
            with Fault(server, "--rst-after", MI, "--rst-jitter", 80) as f:
                run = get("-v", "-x", conns, f.url(), cwd=into)
                finished(run, "file", into, "-x %d" % conns)


@case
def links_too_short_for_a_chunk(into):
    """Chunks get smaller when no connection lives as long as one needs."""
    with Belayd() as server:
        with Fault(server, "--rst-after", 100 * KI) as fault:
            run = get("-v", "-x", "1", fault.url("middle"), cwd=into)
            finished(run, "middle", into)
            check("chunks are now" in run.err, "did not shrink", run)


@case
def clean_end_in_mid_stream(into):
    with Belayd() as server:
        with Fault(server, "--fin-after", 3 * MI + 17) as fault:
            run = get("-v", "-x", "2", fault.url(), cwd=into)
            finished(run, "file", into)
            thrifty(run, 60, 2)


def cut_at_each(tmp, server, name, cuts, kind):
    """The first connection is cut at that byte, the next one is not.  Most
    of the time is back-off, so several such pairs run at once."""
    def run_some(part):
        into = os.path.join(tmp, "%s%d" % (kind, part))
        mine = cuts[part::8]
        os.mkdir(into)
        rule = ",".join("%d,-" % at for at in mine)
        with Fault(server, "--cut-at", rule, "--cut-with", kind) as fault:
            for at in mine:
                run = get("-x", "1", "--retry", "8", fault.url(name),
                          cwd=into)
                finished(run, name, into, "%s at %d" % (kind, at))

    together(run_some, range(8))


@case
def cut_at_each_early_byte(tmp):
    step = 1 if scaled(100) == 100 else 7
    with Belayd() as server:
        cut_at_each(tmp, server, "small", list(range(0, 301, step)), "rst")
        cut_at_each(tmp, server, "small", list(range(1, 301, 3 * step)),
                    "fin")


@case
def cut_around_frame_borders(tmp):
    """Behind each chunk stands a frame header: cut near the first ones."""
    frame = CHUNK + 72
    cuts = [k * frame + d for k in (1, 2)
            for d in range(-2, scaled(500, 20), scaled(13, 5))]
    with Belayd() as server:
        cut_at_each(tmp, server, "middle", cuts, "rst")


@case
def stall_and_half_open(tmp):
    def one(kind):
        into = os.path.join(tmp, kind)
        os.mkdir(into)
        with Fault(server, "--cut-at", "%d,-" % MI, "--cut-with",
                   kind) as fault:
            run = get("-v", "-x", "1", "--timeout", "1", fault.url("middle"),
                      cwd=into)
            finished(run, "middle", into, kind)
            # A sanitizer needs more for what is not idle.
            check(run.cpu < (1 if SCALE >= 1 else 4),
                  "%.2f s of CPU time while idle" % run.cpu, run)

    with Belayd() as server:
        together(one, ("stall", "half-open"))


@case
def stall_before_the_greeting(into):
    with Belayd() as server:
        with Fault(server, "--blackhole-first", "1") as fault:
            run = start("-v", "--retry", "5", fault.url("middle"), cwd=into)
            wait_until(lambda: listens(run, signal.SIGUSR1), "its beginning")
            time.sleep(0.5)
            before = cpu_seconds(run.pid)
            time.sleep(2)
            used = cpu_seconds(run.pid) - before
            check(used < 0.3, "%.2f s of CPU time while waiting" % used)
            run.wait()
            finished(run, "middle", into)


@case
def flips(into):
    with Belayd() as server:
        with Fault(server, "--flip-every", 3 * MI) as fault:
            run = get("-v", "-x", "2", fault.url(), cwd=into)
            finished(run, "file", into)
            flipped = fault.stats()["flips"]
            check(flipped > 0, "nothing was flipped")
            # A flip in a header ends its connection; one in a chunk's data
            # costs that chunk, not what is on its way behind it.
            bad = run.ledger["bad chunks"]
            check(bad + run.ledger["breaks"] > 0, "flips were not noticed",
                  run)
            check(run.ledger["breaks"] <= max(1, bad // 4),
                  "it broke for each bad chunk", run)


@case
def dribble(into):
    with Belayd() as server:
        for split in (1, 7, 1000):
            with Fault(server, "--split", split) as fault:
                run = get("-x", "2", fault.url("small"), cwd=into)
                finished(run, "small", into, "split %d" % split)


def visited(server):
    """Has the client come since the server was started?"""
    return " open " in server.text().rpartition("listening on ")[2]


@case
def server_killed_twenty_times(into):
    chance = random.Random(3)
    with Belayd() as server:
        run = start("-v", "--retry", "inf", "--limit-rate", LONG // 8,
                    server.url("long"), cwd=into)
        kills = 0
        while kills < scaled(20, 5):
            # Some are sure to meet a connection.
            wait_until(lambda: kills >= 5 or visited(server) or
                       run.poll() is not None, "connection")
            time.sleep(chance.uniform(0.05, 0.25))
            if run.poll() is not None:
                break  # a slow machine gives it more time between kills
            server.restart(pause=chance.choice([0, 0, 0.1]))
            kills += 1
        check(kills >= scaled(10, 4), "it ended too soon", run)
        finished(run.wait(), "long", into)
        check(run.ledger["breaks"] > 3, "few breaks", run)
        again = run.ledger["repeated"] + run.ledger["wasted"]
        check(again <= (run.ledger["breaks"] + 8) * CHUNK,
              "%d bytes were fetched in vain" % again, run)


@case
def no_server_for_a_while(into):
    """The client waits, quietly, and goes on when the server is back."""
    with Belayd() as server:
        run = start("-v", "--limit-rate", SIZE // 5, server.url(), cwd=into)
        has_verified(run, 1)
        server.end(signal.SIGKILL)
        time.sleep(0.2)
        before = cpu_seconds(run.pid)
        time.sleep(2)
        used = cpu_seconds(run.pid) - before
        check(used < 0.3, "%.2f s of CPU time in 2 s without a server" %
              used, run)
        check(run.poll() is None, "gave up at once", run)
        server.restart()
        finished(run.wait(PATIENCE), "file", into)


@case
def server_stopped_and_continued(into):
    """N16: the server stands still, longer than the client bears silence."""
    with Belayd() as server:
        # So slowly that not all of it is in the buffers of the sockets.
        run = start("-v", "--timeout", "1", "--limit-rate", SIZE // 10,
                    server.url(), cwd=into)
        wait_until(lambda: ".part" in str(names(into)), "partial file")
        time.sleep(0.3)
        os.killpg(server.child.pid, signal.SIGSTOP)
        time.sleep(120 if CATALOGUE else 4)
        check(run.poll() is None, "gave up", run)
        os.killpg(server.child.pid, signal.SIGCONT)
        finished(run.wait(), "file", into)
        again = run.ledger["repeated"] + run.ledger["wasted"]
        check(again < SIZE // 2, "%d bytes came again" % again, run)


@case
def last_frames_are_lost(tmp):
    """N15: all data is there, what ends it is not: nothing comes again."""
    into = os.path.join(tmp, "measure")
    os.mkdir(into)
    with Belayd() as server:
        with Fault(server) as fault:
            finished(get("-x", "1", fault.url("small"), cwd=into), "small",
                     into)
            total = fault.stats()["bytes_down"]

        def one(back):
            into = os.path.join(tmp, str(back))
            os.mkdir(into)
            with Fault(server, "--cut-at", "%d,-" % (total - back)) as fault:
                run = get("-v", "-x", "1", fault.url("small"), cwd=into)
                finished(run, "small", into, "%d bytes less" % back)
                check(run.ledger["repeated"] <= 64 * KI,
                      "data came again", run)

        together(one, range(1, scaled(60, 10), 3))


@case
def a_thousand_resets(into):
    """N13: a reset in each MiB; less than a tenth comes in vain, and the
    client does not grow."""
    size = GI if CATALOGUE else scaled(48, 8) * MI
    path = write_random(os.path.join(into, "root"), size)
    os.mkdir(os.path.join(into, "served"))
    os.mkdir(os.path.join(into, "into"))
    os.rename(path, os.path.join(into, "served", "file"))
    with Belayd(os.path.join(into, "served")) as server:
        with Fault(server, "--rst-every", MI) as fault:
            run = start("-v", "-x", "1", fault.url(),
                        cwd=os.path.join(into, "into"))
            seen = []
            while run.poll() is None:
                seen.append(open_files(run.pid))
                time.sleep(0.1)
            check_code(run, 0)
            check(same(os.path.join(into, "served", "file"),
                       os.path.join(into, "into", "file")), "other bytes",
                  run)
            stats = fault.stats()
            check(stats["faults"] >= size // MI - 1, "few resets")
            check(stats["bytes_down"] <= 1.1 * size, "%.3f times the size" %
                  (stats["bytes_down"] / size), run)
            check(max(seen) < 60, "%d descriptors" % max(seen))
            check(scaled(100) < 100 or run.peak_rss < 64 * MI, "memory",
                  run)


def open_files(pid):
    try:
        return len(os.listdir("/proc/%d/fd" % pid))
    except OSError:
        return 0


if __name__ == "__main__":
    main()
