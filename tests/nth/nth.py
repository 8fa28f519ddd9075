"""What the scripts here share: the plan that the shim (shim.c) follows, the
loops over all n, and how a client ends that did not get what it asked for.

Each case first counts the calls of its scenario, then lets them fail one
after the other.  Normal runs take a sample, shifted by the scenario so that
all cases together touch most kinds of calls; BELAY_LONG takes every n.  What
the programs have at their end is looked at, too: no block is lost, and no
more files are open than after a run without failures (leaks.c).

Environment: NTH_SHIM is the library; NTH_SETS, which calls fail ("1 2 4").
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
from harness import KI, Failure, Run, check, library, write_random  # noqa: E402

# Some chunks of 16 KiB, a last one of another length.
SIZE = 100 * KI + 7
PATIENCE = 30

LONG = bool(os.environ.get("BELAY_LONG"))
# Calls that fail in one case of a normal run.
SAMPLE = 16

COUNT, ONCE, EVER = 0, 1, 2
MEMORY, SYSTEM, CRYPTO = 1, 2, 4
KINDS = {ONCE: "once", EVER: "ever"}
SETS = {MEMORY: "memory", SYSTEM: "system", CRYPTO: "OpenSSL's memory"}
CHOSEN_SETS = [int(n) for n in os.environ.get("NTH_SETS", "1 2 4").split()]

# struct nth_plan
PLAN = struct.Struct("=QQII40sIIIIII120s")
Seen = collections.namedtuple(
    "Seen", "count at kind set hit down ends leaks crypto_leaks files "
    "crypto_hit leak")

library(file=(write_random, SIZE))

# What the one table of exit codes has for a machine that fails: done after
# all, out of memory, cannot write here, temporary.
CLIENT_CODES = {0, 1, 5, 75}


class Plan:
    """The file that the shim maps."""

    def __init__(self, folder, kind, calls, at=0):
        self.kind = kind
        self.calls = calls
        self.path = os.path.join(folder, "plan")
        with open(self.path, "wb") as file:
            file.write(PLAN.pack(0, at, kind, calls, b"", *[0] * 6, b""))
            file.truncate(mmap.PAGESIZE)
        self.env = {"LD_PRELOAD": os.environ["NTH_SHIM"],
                    "NTH_PLAN": self.path}

    def read(self):
        with open(self.path, "rb") as file:
            seen = Seen(*PLAN.unpack(file.read(PLAN.size)))
        return seen._replace(hit=seen.hit.rstrip(b"\0").decode(),
                             leak=seen.leak.split(b"\0")[0].decode())

    def check_end(self, files):
        """Every process that ended by itself gave back what it had; `files`
        are open at the end of a run without failures.  What OpenSSL loses
        when its own memory fails is its own affair."""
        seen = self.read()
        lost = seen.leaks - (seen.crypto_leaks if seen.crypto_hit else 0)
        check(lost == 0, "%d blocks were lost, the first of %s" %
              (lost, seen.leak))
        check(seen.files <= files, "%d files are open at the end, not %d" %
              (seen.files, files))


def chosen(count, shift, sample):
    """The n to try: all, or a sample that begins elsewhere in each loop."""
    if LONG or count <= sample:
        return list(range(1, count + 1))
    step = count / sample
    return sorted({1 + int((i + shift % 7 / 7) * step) for i in range(sample)})


def sample_of(calls, sample):
    """How OpenSSL begins is the same everywhere."""
    return max(2, sample // 5) if calls == CRYPTO else sample


def loop(what, one, base, kind, calls, ns):
    """Let call n fail, for each n; returns what was wrong."""
    folder = tempfile.mkdtemp(dir=base)
    plan = Plan(folder, COUNT, calls)
    one(folder, plan, True)
    usual = plan.read()
    plan.check_end(usual.files)
    check(usual.count > 2 or calls == CRYPTO,
          "only %d calls were counted" % usual.count)
    check(usual.ends > 0, "no process was looked at as it ended")
    seen = collections.Counter()
    hits = set()
    faults = []
    ns = ns(usual.count)
    for n in ns:
        folder = tempfile.mkdtemp(dir=base)
        plan = Plan(folder, kind, calls, n)
        try:
            seen[one(folder, plan, False)] += 1
            plan.check_end(usual.files)
        except Failure as failure:
            faults.append("%s, %s, call %d of %d (%s): %s" %
                          (SETS[calls], KINDS[kind], n, usual.count,
                           plan.read().hit, failure))
        hits.add(plan.read().hit)
        shutil.rmtree(folder)
    print("    %s, %s, %s: %d of %d calls; %s; %d kinds" %
          (what, SETS[calls], KINDS[kind], len(ns), usual.count,
           ", ".join("%s %d times" % (code, n)
                     for code, n in sorted(seen.items(), key=str)),
           len(hits - {""})), flush=True)
    return faults


def loops(what, one, sample=SAMPLE):
    """Run one(folder, plan, counting) for every kind, set and chosen n. It
    returns how the program ended."""
    base = tempfile.mkdtemp(prefix="nth-", dir=harness.BASE)
    faults = []
    for shift, (kind, calls) in enumerate(
            (k, c) for c in CHOSEN_SETS for k in KINDS):
        faults += loop(what, one, base, kind, calls,
                       lambda count, shift=shift, calls=calls:
                       chosen(count, shift, sample_of(calls, sample)))
    shutil.rmtree(base)
    check(not faults, "%d faults, the first ones:\n%s" %
          (len(faults), "\n".join(faults[:40])))


# -- the client ---------------------------------------------------------------

# A normal run tries few calls of each; the fresh download has most of them.
FEW = 3

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


def under(folder):
    into = os.path.join(folder, "into")
    os.mkdir(into)
    return into


def done():
    """The end of each script."""
    if "NTH_SHIM" not in os.environ:
        sys.exit("NTH_SHIM is not set")
    harness.main()
