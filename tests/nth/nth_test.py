#!/usr/bin/env python3
"""Every allocation and every system call of both programs fails once, and for
ever, for all n (shim.c): no crash, no hang, a right exit code, never a wrong
byte under the final name, and the same command without faults goes on.

Each case first counts the calls of its scenario, then lets them fail one
after the other. Normal runs take a sample, shifted by the scenario so that
all cases together touch most kinds of calls; BELAY_LONG takes every n.

Environment: NTH_SHIM is the library.
"""

import collections
import mmap
import os
import shutil
import signal
import struct
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "scenario"))
import harness  # noqa: E402
from harness import (KI, Failure, Run, case, check, check_code,  # noqa: E402
                     library, main, names, program, same, shelf, spawn,
                     write_random)

# Some chunks of 16 KiB, a last one of another length.
SIZE = 100 * KI + 7
PATIENCE = 30

LONG = bool(os.environ.get("BELAY_LONG"))
# Calls that fail in one case of a normal run.
SAMPLE = 20
SERVER_SAMPLE = 8

COUNT, ONCE, EVER = 0, 1, 2
MEMORY, SYSTEM = 1, 2
KINDS = {ONCE: "once", EVER: "ever"}
SETS = {MEMORY: "memory", SYSTEM: "system"}

# struct nth_plan: count, at, kind, set, hit
PLAN = struct.Struct("=QQII40s")

library(file=(write_random, SIZE))

# What the one table of exit codes has for a machine that fails: done after
# all, out of memory, cannot write here, temporary.
CLIENT_CODES = {0, 1, 5, 75}
# 0 stopped as asked, 1 cannot serve.
SERVER_CODES = {0, 1}


class Plan:
    """The file that the shim maps."""

    def __init__(self, folder, kind, calls, at=0):
        self.kind = kind
        self.path = os.path.join(folder, "plan")
        with open(self.path, "wb") as file:
            file.write(PLAN.pack(0, at, kind, calls, b""))
            file.truncate(mmap.PAGESIZE)
        self.env = {"LD_PRELOAD": os.environ["NTH_SHIM"],
                    "NTH_PLAN": self.path}

    def read(self):
        """How many calls were counted, and what failed first."""
        with open(self.path, "rb") as file:
            count, _, _, _, hit = PLAN.unpack(file.read(PLAN.size))
        return count, hit.rstrip(b"\0").decode()


def chosen(count, shift, sample):
    """The n to try: all, or a sample that begins elsewhere in each loop."""
    if LONG or count <= sample:
        return list(range(1, count + 1))
    step = count / sample
    return sorted({1 + int((i + shift % 7 / 7) * step) for i in range(sample)})


def stats(what, kind, calls, tried, count, seen, hits):
    """One line a loop: how much was tried, and how it ended."""
    print("    %s, %s, %s: %d of %d calls; %s; %d kinds" %
          (what, SETS[calls], KINDS[kind], tried, count,
           ", ".join("%s %d times" % (code, n)
                     for code, n in sorted(seen.items(), key=str)),
           len(hits)), flush=True)


def loops(what, one, sample=SAMPLE):
    """Run one(folder, plan, counting) for every kind, set and chosen n. It
    returns how the program ended."""
    base = tempfile.mkdtemp(prefix="nth-", dir=harness.BASE)
    for shift, (kind, calls) in enumerate(
            (k, c) for c in SETS for k in KINDS):
        folder = tempfile.mkdtemp(dir=base)
        plan = Plan(folder, COUNT, calls)
        one(folder, plan, True)
        count, _ = plan.read()
        check(count > 10, "only %d calls were counted" % count)
        seen = collections.Counter()
        hits = set()
        faults = []
        ns = chosen(count, shift, sample)
        for n in ns:
            folder = tempfile.mkdtemp(dir=base)
            plan = Plan(folder, kind, calls, n)
            try:
                seen[one(folder, plan, False)] += 1
            except Failure as failure:
                faults.append("call %d of %d (%s): %s" %
                              (n, count, plan.read()[1], failure))
            hits.add(plan.read()[1])
            shutil.rmtree(folder)
        stats(what, kind, calls, len(ns), count, seen, hits - {""})
        check(not faults, "%d faults, the first ones:\n%s" %
              (len(faults), "\n".join(faults[:8])))
    shutil.rmtree(base)


# -- the client ---------------------------------------------------------------

OPTIONS = ["-q", "--retry", "2", "--chunk-size", "16K", "-x", "2"]


def client(url, into, env=None, deadline="6"):
    # A person's settings are no part of this.
    return Run(["get", *OPTIONS, "--deadline", deadline, url], into,
               env={"XDG_CONFIG_HOME": "/nonexistent",
                    "BELAY_CONFIG": "/dev/null", **(env or {})}
               ).wait(PATIENCE)


def right_or_absent(into, run):
    path = os.path.join(into, "file")
    if os.path.exists(path):
        check(same(path, os.path.join(shelf(), "file")),
              "wrong bytes under the final name", run)
    else:
        check(run.code != 0, "exit code 0 without a file", run)


def fails_and_heals(url, into, plan, counting):
    run = client(url, into, plan.env)
    check(run.code in ({0} if counting else CLIENT_CODES),
          "exit code %s" % run.code, run)
    right_or_absent(into, run)
    again = client(url, into)
    check_code(again, 0, "the next run")
    check(same(os.path.join(into, "file"), os.path.join(shelf(), "file")),
          "the next run left other bytes", again)
    check(names(into) == ["file"], "left behind: %r" % names(into), again)
    return run.code


def under(folder):
    into = os.path.join(folder, "into")
    os.mkdir(into)
    return into


@case
def client_fresh(_tmp):
    with harness.Belayd() as server:
        loops("fresh download", lambda folder, plan, counting:
              fails_and_heals(server.url(), under(folder), plan, counting))


@case
def client_resume(tmp):
    """From a partial file that a killed client left."""
    with harness.Belayd() as server:
        run = harness.start(*OPTIONS, "--limit-rate", "40K", server.url(),
                            cwd=tmp)
        harness.wait_until(lambda: any(
            os.stat(os.path.join(tmp, n)).st_blocks * 512 > 32 * KI
            for n in names(tmp) if n.endswith(".part")), "some chunks")
        run.send(signal.SIGKILL)
        run.wait()

        def one(folder, plan, counting):
            into = os.path.join(folder, "into")
            shutil.copytree(tmp, into)
            return fails_and_heals(server.url(), into, plan, counting)

        loops("resumed download", one)


@case
def client_up_to_date(tmp):
    with harness.Belayd() as server:
        check_code(client(server.url(), tmp), 0)

        def one(folder, plan, counting):
            into = os.path.join(folder, "into")
            shutil.copytree(tmp, into)
            return fails_and_heals(server.url(), into, plan, counting)

        loops("up to date", one)


# -- other commands of the client ---------------------------------------------

# A normal run tries few calls of each; the download above has most of them.
FEW = 4


INTERRUPTED = 128 + signal.SIGINT


def command(words, cwd, env=None, hopeless=False):
    """Not `get` itself: words are all of its arguments. What has no end
    while there is no connection is interrupted if that is hopeless."""
    run = Run(words, cwd, env={"XDG_CONFIG_HOME": "/nonexistent",
                               "BELAY_CONFIG": "/dev/null", **(env or {})})
    if hopeless:
        harness.wait_until(lambda: run.poll() is not None or
                           "next try in" in run.err, "end or wait", PATIENCE)
        if run.poll() is None:
            run.send(signal.SIGINT)
    return run.wait(PATIENCE)


def check_tree(into, root, run, whole):
    """Whatever has its final name has the right bytes."""
    for name in ("a", "b", "d/c"):
        path = os.path.join(into, name)
        check(os.path.exists(path) or not whole, "no " + name, run)
        check(not os.path.exists(path) or
              same(path, os.path.join(root, name)),
              "wrong bytes under the name " + name, run)


def make_tree(tmp):
    root = os.path.join(tmp, "tree")
    os.makedirs(os.path.join(root, "d"))
    for seed, name in enumerate(("a", "b", "d/c")):
        harness.age(write_random(os.path.join(root, name), 3000 + seed, seed))
    return root


def fetch_many(words, root, into, plan, counting):
    """A command that fetches the tree to `into`: with faults, and again."""
    run = command(words, into, plan.env)
    check(run.code in ({0} if counting else CLIENT_CODES),
          "exit code %s" % run.code, run)
    out = os.path.join(into, "out")
    check_tree(out, root, run, run.code == 0)
    again = command(words, into)
    check_code(again, 0, "the next run")
    check_tree(out, root, again, True)
    return run.code


@case
def client_batch(tmp):
    """Small files of a list, with digests."""
    root = make_tree(tmp)
    with harness.Belayd(root) as server:
        lines = "".join("%s out=%s\n" % (server.url(n), n)
                        for n in ("a", "b", "d/c"))

        def one(folder, plan, counting):
            into = under(folder)
            with open(os.path.join(into, "list"), "w") as file:
                file.write(lines)
            return fetch_many(["get", "-q", "--retry", "2", "--deadline", "6",
                               "-i", "list", "-d", "out"], root, into, plan,
                              counting)

        loops("batch", one, FEW)


@case
def client_tree(tmp):
    root = make_tree(tmp)
    with harness.Belayd(root) as server:
        loops("directory", lambda folder, plan, counting: fetch_many(
            ["get", "-q", "--retry", "2", "--deadline", "6", "-r",
             server.url(""), "-d", "out"], root, under(folder), plan,
            counting), FEW)


def damaged(folder):
    """A copy of the file in which one chunk is wrong."""
    into = under(folder)
    path = os.path.join(into, "file")
    shutil.copy(os.path.join(shelf(), "file"), path)
    with open(path, "r+b") as file:
        file.seek(40 * KI)
        file.write(b"wrong")
    return into, path


@case
def client_repair(_tmp):
    with harness.Belayd() as server:
        words = ["repair", "--chunk-size", "16K", "file", server.url()]

        def one(folder, plan, counting):
            into, path = damaged(folder)
            run = command(words, into, plan.env, plan.kind == EVER)
            check(run.code in ({0} if counting
                               else CLIENT_CODES | {INTERRUPTED}),
                  "exit code %s" % run.code, run)
            right = same(path, os.path.join(shelf(), "file"))
            check(right or run.code != 0, "told to be right", run)
            again = command(words, into)
            check_code(again, 0, "the next run")
            check(same(path, os.path.join(shelf(), "file")),
                  "the next run left other bytes", again)
            return run.code

        loops("repair", one, FEW)


@case
def client_verify(_tmp):
    """What is wrong is never told to be right."""
    with harness.Belayd() as server:
        words = ["verify", "file", server.url()]

        def one(folder, plan, counting):
            into, path = damaged(folder)
            before = open(path, "rb").read()
            run = command(words, into, plan.env, plan.kind == EVER)
            check(run.code in ({14} if counting
                               else CLIENT_CODES - {0} | {14, INTERRUPTED}),
                  "exit code %s" % run.code, run)
            check(open(path, "rb").read() == before, "it wrote", run)
            check_code(command(words, into), 14, "the next run")
            return run.code

        loops("verify", one, FEW)


# -- the server ---------------------------------------------------------------

def server_begin(folder, plan):
    """belayd with the shim: the process, its log, and where it listens (None
    when it has ended instead)."""
    log = os.path.join(folder, "log")
    with open(log, "wb") as out:
        child = spawn([program("BELAYD"), "--plain", "--listen",
                       "127.0.0.1:0", "--root", shelf(), "--workers", "1",
                       "--cache", os.path.join(folder, "cache"),
                       *harness.as_user()],
                      stderr=out, stdout=out, stdin=-3,
                      env={**os.environ, **plan.env},
                      start_new_session=True)

    def port():
        with open(log) as text:
            found = harness.re.search(r"listening on .*?:(\d+)\b", text.read())
        return int(found.group(1)) if found else child.poll() is not None

    return child, log, harness.wait_until(port, "server that listens or ends",
                                          PATIENCE)


def server_end(child, log):
    if child.poll() is None:
        child.send_signal(signal.SIGTERM)
    try:
        code = child.wait(PATIENCE)
    except harness.subprocess.TimeoutExpired:
        with open(log) as text:
            said = text.read()
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        raise Failure("it does not end; log:\n" + said) from None
    with open(log) as text:
        said = text.read()
    check(code in SERVER_CODES, "exit code %s; log:\n%s" % (code, said))
    check("worker-killed" not in said and "worker-crash" not in said and
          " signal=" not in said, "a worker crashed; log:\n%s" % said)
    return code


def descriptors(child):
    """{worker: how many files it has open}"""
    found = {}
    try:
        with open("/proc/%d/task/%d/children" % (child.pid,
                                                 child.pid)) as file:
            for pid in file.read().split():
                found[pid] = len(os.listdir("/proc/%s/fd" % pid))
    except OSError:
        pass  # it ended meanwhile
    return found


def ready(child, log):
    """The worker has all that it keeps, or the server has ended; the worker's
    descriptors then."""
    def settled():
        with open(log) as text:
            return child.poll() is not None or " sandbox " in text.read()

    harness.wait_until(settled, "worker", PATIENCE)
    return descriptors(child)


def check_descriptors(child, before):
    def back():
        now = descriptors(child)
        return all(now.get(pid, 0) <= before[pid] for pid in before)

    harness.wait_until(back, "descriptors given back: %r, then %r" %
                       (before, descriptors(child)), PATIENCE)


def server_one(folder, plan, counting):
    """It ends by itself, or serves: then a client is right or told to come
    again, and what failed once has no consequence for the next one."""
    os.mkdir(os.path.join(folder, "cache"))
    child, log, port = server_begin(folder, plan)
    into = under(folder)
    try:
        if port is not True:
            # With failures for ever there may never be one that serves.
            before = ready(child, log) if plan.kind != EVER else {}
            url = "belay+tcp://127.0.0.1:%d/file" % port
            run = client(url, into, deadline="6" if plan.kind == ONCE else "1")
            # A server that refuses or is silent: refused, or the deadline.
            check(run.code in ({0} if counting else CLIENT_CODES | {3, 9}),
                  "the client's exit code is %s" % run.code, run)
            right_or_absent(into, run)
            if plan.kind == ONCE and child.poll() is None:
                check_code(client(url, into), 0, "the next client")
            check_descriptors(child, before)
    finally:
        code = server_end(child, log)
    check(not counting or code == 0, "exit code %s" % code)
    return code


@case
def server_serves(_tmp):
    loops("server", server_one, SERVER_SAMPLE)


if __name__ == "__main__":
    if "NTH_SHIM" not in os.environ:
        sys.exit("NTH_SHIM is not set")
    main()
