"""What the files h*.py share: hostile servers against the real client.

Each file stands for one line of the acceptance catalogue, "hostile server
against the client". Its cases are of three kinds: those of scenario scripts
and of the conformance suite that cover the line already, taken over by
scenario() and conform(), and its own, which run the client against a Partner,
the small server with a hook at each message, by attack().

Every attack() also checks what holds for all lines: an exit code of the table
and no fault of the program, printable texts, nothing outside the destination,
no wrong byte under the final name, bounded memory.
"""

import importlib
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
SCENARIOS = os.path.join(TOP, "tests", "scenario")
sys.dont_write_bytecode = True
sys.path[:0] = [SCENARIOS, os.path.join(TOP, "spec", "conformance"),
                os.path.join(TOP, "spec", "oracle")]

import belay_id as identity                                     # noqa: E402
import belay_wire as wire                                       # noqa: E402
import cases as suite_cases                                     # noqa: E402
import client_cases                                             # noqa: E402
import client_secure                                  # noqa: E402,F401
import harness                                                  # noqa: E402
import partner                                                  # noqa: E402
import secure                                         # noqa: E402,F401
import tlskit                                         # noqa: E402,F401
from harness import (CONFINED, Failure, MI, Peer, Run,      # noqa: E402
                     SCALE, Skip, Tmpfs, case, check, check_code,
                     check_one_line, check_printable, get, in_private_mounts,
                     main, names, on_terminal, program)
from partner import (Partner, always, at_greeting, changed,     # noqa: E402
                     first, noise, on, pin_of)

R = wire.R

# The client's, at any size of the file.
MEMORY = 64 * MI

# The one table of the client; 1 would be a fault of its own.
CODES = {0, 3, 4, 5, 7, 8, 9, 10, 11, 13, 75}

SIZE = 60000
SMALL = {"max_c": 12}

# Trying again is of no interest here: a few times shows that it ends.
PATIENT = ["--retry", "3", "--deadline", "20"]


def box(tmp):
    """A destination in a directory of its own; attacks may leave nothing
    beside it."""
    inner = os.path.join(str(tmp), "box", "in")
    os.makedirs(inner, exist_ok=True)
    return inner


def judge(run, tmp, data=None):
    """What holds for every line."""
    check(run.code in CODES, "exit code %s is not of the table" % run.code,
          run)
    check_printable(run)
    check(names(os.path.join(str(tmp), "box")) == ["in"],
          "outside the destination: %r" % names(os.path.join(tmp, "box")),
          run)
    if SCALE >= 1:
        check(run.peak_rss < MEMORY, "%d bytes of memory" % run.peak_rss, run)
    final = os.path.join(box(tmp), "f")
    if run.code == 0:
        check(data is not None, "success of what cannot succeed", run)
        with open(final, "rb") as file:
            check(file.read() == data, "wrong bytes", run)
    else:
        check(not os.path.exists(final), "a final name", run)


def attack(tmp, hooks, *args, data=None, command="get", url=None,
           options=None, before=None):
    """One run against a Partner with these hooks; returns (run, partner).
    before(partner) prepares it."""
    content = noise(SIZE) if data is None else data
    with Partner(hooks, **(SMALL if options is None else options)) as p:
        p.put("f", content)
        if before:
            before(p)
        run = Run([command, *PATIENT, *args, url or p.url()],
                  box(tmp)).wait()
        judge(run, tmp, content)
        check(p.connections > 0, "it did not connect", run)
    return run, p


def heals(tmp, hook, *args, data=None, **more):
    """The first connection misbehaves; the rest is right, and is believed
    only after it was checked."""
    run, p = attack(tmp, first(hook), *args, data=data, **more)
    check_code(run, 0)
    check(p.connections > 1 or len(p.requests("GET")) > 1,
          "the fault was accepted", run)
    os.unlink(os.path.join(box(tmp), "f"))
    return run, p


def never(tmp, hook, *args, **more):
    """Each connection misbehaves so: it does not succeed."""
    run, p = attack(tmp, always(hook), *args, **more)
    check(run.code != 0, "success", run)
    return run, p


def check_idle(run, seconds):
    """The processor had little to do; a sanitizer makes much of it."""
    check(SCALE < 1 or run.cpu < seconds, "%.1f s of CPU time" % run.cpu,
          run)


def used_blocks(folder):
    """Bytes on the disk below a directory."""
    return sum(os.lstat(os.path.join(at, name)).st_blocks * 512
               for at, _, files in os.walk(folder) for name in files)


def borrow(script):
    """A scenario script as a module, without its cases."""
    before = list(harness.CASES)
    module = importlib.import_module(script)
    harness.CASES[:] = before
    return module


# -- what exists already ------------------------------------------------------

def scenario(script, *chosen):
    """Cases of tests/scenario/SCRIPT.py become cases of this file."""
    def run_them(_):
        done = subprocess.run(
            [sys.executable, "-B", os.path.join(SCENARIOS, script + ".py"),
             *chosen], capture_output=True, text=True, timeout=300)
        if done.returncode == 77:
            raise Skip(done.stdout.strip().rpartition("  ")[2])
        check(done.returncode == 0, done.stdout + done.stderr)
    run_them.__name__ = script + "_" + "_".join(chosen)[:60]
    case(run_them)


def conform(*chosen):
    """So do cases of the conformance suite against clients."""
    everything = {one.function.__name__: one
                  for one in client_cases.suite.cases}
    for name in chosen:
        def run_it(_, one=everything[name]):
            command = [program("BELAY"), "get", *CONFINED, "-q",
                       "--no-config", "--retry", "20", "--cacert", "{ca}",
                       "{url}", "-o", "{out}"]
            client = partner.Client(command, harness.PATIENCE,
                                    ["--token-file", "{token_file}"])
            try:
                suite_cases.begin(one.function, client)
            except AssertionError as error:
                raise Failure(str(error))
            except suite_cases.Unsupported as error:
                raise Failure("not supported: %s" % error)
        run_it.__name__ = "conform_" + name
        case(run_it)
