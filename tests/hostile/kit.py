"""What the files b*.py share: hostile clients against the real server.

Each file stands for one line of the acceptance catalogue, "hostile client
against the server". An attack runs within `besieged()`, which checks what
holds for all lines: the server lives, a client from another address gets the
right bytes, descriptors return and memory stays, and the log is lines of
printable text.
"""

import contextlib
import importlib
import os
import re
import struct
import sys
import zlib

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
sys.dont_write_bytecode = True
sys.path[:0] = [os.path.join(TOP, "tests", "scenario"),
                os.path.join(TOP, "spec", "oracle")]

import harness                                                  # noqa: E402
import belay_wire as W                                          # noqa: E402
import registry as R                                            # noqa: E402
from harness import (KI, MI, SCALE, Belayd, Failure,            # noqa: E402
                     Listening, Skip, abort, as_user, case, check, main,
                     need_root, program, scaled, settle, wait_until,
                     write_random)
from rawclient import MAX, Raw, fetch, hello, joined            # noqa: E402

LONG = bool(os.environ.get("BELAY_LONG"))

# Where well-behaved clients come from; attacks come from 127.0.0.1.
FRIEND = "127.0.0.77"

GOOD = b"good" * 5000


def many(full, usual):
    """How often: as the catalogue says with BELAY_LONG, else a part."""
    return full if LONG else scaled(usual, max(1, usual // 4))


def borrow(script, *names):
    """A scenario, and its cases that cover the line as well."""
    before = list(harness.CASES)
    module = importlib.import_module(script)
    found = [case for case in harness.CASES[len(before):]
             if case.__name__ in names]
    check(len(found) == len(names), "no such case in " + script)
    harness.CASES[:] = before + found
    return module


def serve(tmp, *args, **options):
    root = os.path.join(tmp, "root")
    os.makedirs(os.path.join(root, "sub"), exist_ok=True)
    with open(os.path.join(root, "good"), "wb") as out:
        out.write(GOOD)
    return Belayd(root, *args, **options)


def whole_log(server):
    with open(server.log, "rb") as file:
        return file.read()


def visit(server, source=FRIEND):
    """Another client is served, the right bytes."""
    with Raw(server.port, source=source) as raw:
        _, chunks, _ = fetch(raw, "good", 12)
        check(joined(chunks) == GOOD, "wrong bytes")


def worker_pids(server):
    """Those that were started last, by number; without the exporter."""
    def started():
        return dict(re.findall(rb"worker-start worker=(\d+) pid=(\d+)",
                               whole_log(server)))
    found = wait_until(started, "workers", 30)
    return [int(found[number]) for number in sorted(found)]


def memory(server):
    """Private memory of the workers."""
    total = 0
    for pid in worker_pids(server):
        with open("/proc/%d/smaps_rollup" % pid) as file:
            for line in file:
                if line.startswith(("Private_Clean", "Private_Dirty")):
                    total += int(line.split()[1]) * KI
    return total


def descriptors(server):
    return sum(len(os.listdir("/proc/%d/fd" % pid))
               for pid in worker_pids(server))


def what_is_open(server):
    found = []
    for pid in worker_pids(server):
        where = "/proc/%d/fd" % pid
        for name in os.listdir(where):
            with contextlib.suppress(OSError):
                found.append(os.readlink(os.path.join(where, name)))
    return sorted(found)


def check_log(server):
    """Lines of printable text, whatever the peers sent."""
    for line in whole_log(server).splitlines():
        # The sign for "and so on" is the only one that is not ASCII.
        check(re.fullmatch(rb"[\x20-\x7e]*",
                           line.replace("…".encode(), b"")) and
              len(line) < 1600,
              "raw bytes in the log: %r" % line[:200])
        check(line.startswith((b"listening on ", b"metrics on ")) or
              re.match(rb"\d{4}-\d\d-\d\dT[\d:.]+Z \w+ [a-z-]+\b", line),
              "not a line of the log: %r" % line[:200])


def gone(server, before):
    """Wait until those who left are gone for the server, too."""
    wait_until(lambda: descriptors(server) <= before, "closed descriptors",
               30, 0.02)


def check_calm(server, before, grown):
    visit(server)
    check(b"worker-crash" not in whole_log(server), server.text())
    try:
        wait_until(lambda: descriptors(server) <= before[0] + 2,
                   "closed descriptors", 30, 0.05)
    except Failure as failure:
        raise Failure("%s: %d before, now %r" % (
            failure, before[0], what_is_open(server))) from failure
    now = memory(server)
    # A sanitizer keeps freed memory back.
    check(SCALE < 1 or now <= before[1] + grown,
          "memory of the workers grew from %d to %d" % (before[1], now))
    check_log(server)


@contextlib.contextmanager
def besieged(tmp, *args, grown=8 * MI, **options):
    with serve(tmp, "--workers", "2", *args, **options) as server:
        for _ in range(4):  # two at a time: one for each worker
            with Raw(server.port, source=FRIEND) as raw:
                fetch(raw, "good", 12)
                visit(server)
        wait_until(lambda: whole_log(server).count(b" close ") >= 8,
                   "the ends of the visits", 20)
        before = descriptors(server), memory(server)
        yield server
        check_calm(server, before, grown)


def frame(kind, request, payload=b"", length=None, crc=None, flags=0):
    """A frame that may lie about itself."""
    head = struct.pack(">IBBHI", len(payload) if length is None else length,
                       kind, flags, 0, request)
    return head + struct.pack(
        ">I", zlib.crc32(head + payload) if crc is None else crc) + payload


def last_words(port, data, source=None):
    """What the server says to a client that sends this, and nothing else."""
    with Raw(port, greet=False, source=source) as raw:
        with contextlib.suppress(OSError):
            raw.send(data)
        return raw.ends_with()


def is_refused(server, source=None):
    """The wire code of a refusal at the door, or 0."""
    with Raw(server.port, greet=False, source=source) as raw:
        with contextlib.suppress(OSError):
            raw.send(hello())
        try:
            while (message := raw.message()) is not None:
                if message.name == "HELLO":
                    return 0
                if message.name in ("ERROR", "GOAWAY"):
                    return message.fields["code"]
        except ConnectionResetError:
            pass
        return -1
