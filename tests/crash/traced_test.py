#!/usr/bin/env python3
"""Every state that a crash may leave of what the real client does, from the
system calls that it really makes (README.md).

A command runs once under strace (strace.py); from its calls come the states
that a crash at any moment may leave (disk.py).  In each of them nothing wrong
may be under a final name.  A sample of them is made into directories
(rebuild.py), where the same command runs again: it has to end well, with the
right bytes everywhere, without litter, and without fetching what was on the
disk.  Then syncs are taken out of the record, and wrong states must appear.

CRASH_STATES: states tried per scenario, about, where there are more (600;
10000 with BELAY_LONG).  CRASH_RUNS: runs per scenario (6; 300).  CRASH_KILLS:
kills per scenario (2; everywhere).  CRASH_SEED: of the choice (1).
"""

import copy
import hashlib
import os
import random
import re
import shutil
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "scenario"))
import harness  # noqa: E402
from harness import (KI, Belayd, Run, Skip, case, check, check_code,  # noqa
                     library, names, scaled, shelf, wait_until,
                     write_random)
import disk  # noqa: E402
from disk import ABSENT, WHOLE, Disk  # noqa: E402
from rebuild import rebuild  # noqa: E402
from strace import record  # noqa: E402
from tlskit import self_made  # noqa: E402

LONG = bool(os.environ.get("BELAY_LONG"))
STATES = int(os.environ.get("CRASH_STATES", 10000 if LONG else 600))
RUNS = int(os.environ.get("CRASH_RUNS", 300 if LONG else scaled(6, 2)))
KILLS = int(os.environ.get("CRASH_KILLS", 1000 if LONG else scaled(2)))
SEED = int(os.environ.get("CRASH_SEED", 1))

CHUNK = 16 * KI
SIZE = 3 * CHUNK + 100
AT_ONCE = 4
# Of the journal: both copies of its head, a hint.
HEADS, SLOT = 8192, 40

library(file=(write_random, SIZE, 1), older=(write_random, SIZE + 900, 2))


def content(path):
    with open(path, "rb") as file:
        return file.read()


def of_shelf(name="file"):
    return content(os.path.join(shelf(), name))


def write(path, data):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)
    return path


# What can be found: P1 and C15 are broken; P2 is.
WRONG, LOST = "wrong bytes", "told and lost"


# Names that a run that ends well leaves nowhere.
OF_OURS = re.compile(r"\.part$|\.belay$|/\.belay-|\.new$")


class Scenario:
    """A command in a directory `world`; below it, `cwd` is where it runs."""

    cwd = "into"
    # Does the same command go on from what a crash left?
    again = True
    def __init__(self, args, finals, may=(), litter=None):
        """`finals`: what may be under a final name, None being nothing; the
        last one is what a run that succeeds leaves there.  A function judges
        bytes for itself, and whether that is the last one.  `may`: names
        that a run may leave besides these.  `litter`: the pattern of those
        temporary files that nobody can remove safely who was not there."""
        self.args, self.finals, self.may = args, finals, set(may)
        self.litter = litter

    def env(self, world):
        return {"XDG_CONFIG_HOME": world + "/home/config",
                "XDG_STATE_HOME": world + "/home/state",
                "HOME": world + "/home", "TMPDIR": world + "/tmp"}

    def wrong(self, data_of, done):
        """What is wrong under the final names of a state, if anything."""
        for path, allowed in self.finals.items():
            data = data_of(path)
            judge = allowed if callable(allowed) else \
                lambda data, done, all=allowed: \
                data in (all[-1:] if done else all)
            what = not judge(data, False) and not judge(data, True) and \
                WRONG or done and not judge(data, True) and LOST
            if what:
                return "%s: %s, %r" % (what, path, data and data[:60])
        return None

    def wrong_elsewhere(self, state):
        """The same for what is more than bytes under a name."""
        return None

    def check_fetched(self, run, state, context):
        """Is no more fetched than this state makes necessary?"""


class Get(Scenario):
    """One file, `target`, in chunks."""

    def __init__(self, url, *args, target="file", old=None, end=None, **more):
        finals = {"into/" + target: [old, end if end is not None
                                     else of_shelf()],
                  **more.pop("finals", {})}
        super().__init__(["get", "-v", "--chunk-size", "16K", *args, url],
                         finals, **more)
        self.target = "into/" + target
        self.end = self.finals[self.target][-1]

    def known(self, state):
        """Bytes that need not be fetched in this state, at least: all, once
        they have their name; the chunks that were synced, if the journal's
        head and their hints were as well (RELIABILITY (d) 4, 5)."""
        if state.data(self.target) == self.end:
            return len(self.end)
        part, journal = (state.entries.get(self.target + end)
                         for end in (".part", ".part.belay"))
        if part is None or journal is None or \
                not synced(state, journal.node, 0, HEADS):
            return 0
        pieces = [(k, self.end[at:at + CHUNK]) for k, at in
                  enumerate(range(0, len(self.end), CHUNK))]
        return sum(len(piece) for k, piece in pieces
                   if part.data[k * CHUNK:].startswith(piece) and
                   synced(state, part.node, k * CHUNK, len(piece)) and
                   synced(state, journal.node, HEADS + k * SLOT, SLOT))

    def check_fetched(self, run, state, context):
        most = len(self.end) - self.known(state)
        if "useful " in run.err:
            check(run.ledger["useful"] <= most + 8, "%d bytes are fetched, "
                  "%d were missing: %s" % (run.ledger["useful"], most,
                                           context))


def synced(state, node, at, size):
    """Was all that was written there synced?"""
    return all(id(change) in state.durable for change in node.changes
               if change.what == "write" and change.at < at + size and
               change.at + len(change.data) > at)


# -- the search ---------------------------------------------------------------

class Found:
    """What a search saw: numbers, what was wrong, and a fair sample of the
    states between each two syncs."""

    def __init__(self):
        self.keys = set()
        self.states = 0
        self.wrong = []
        self.samples = []


def search(scenario, tree, first=None):
    """All states; or up to the first one that is wrong in this way."""
    found = Found()
    choose = random.Random(SEED)
    epochs = list(tree.epochs())
    share = max(1, RUNS // len(epochs))
    order = list(enumerate(epochs))
    # Without a sync, most goes wrong at the end.
    for n, (durable, loose) in reversed(order) if first else order:
        # Behind the last sync, success may have been told.
        done = n == len(epochs) - 1
        known = {id(tree.changes[k]) for k in durable}
        some, count = [], 0
        for fates in disk.every(tree, durable, loose, SEED + n,
                                STATES // len(epochs)):
            state = tree.state(fates)
            found.states += 1
            key = done, state.key()
            if key in found.keys:
                continue
            found.keys.add(key)
            state.durable = known
            wrong = scenario.wrong_elsewhere(state) or \
                scenario.wrong(state.data, done)
            if wrong:
                found.wrong.append("%s\n%s" % (wrong, told(tree, state)))
                if first and wrong.startswith(first):
                    return found
            count += 1
            if len(some) < share:
                some.append(state)
            elif choose.randrange(count) < share:
                some[choose.randrange(share)] = state
        found.samples += some
    if len(found.samples) > RUNS:
        found.samples = choose.sample(found.samples, RUNS)
    return found


def told(tree, state):
    """The changes that a state has not, or not all of, for people."""
    words = {ABSENT: "lost", 2: "torn", 3: "torn, its end is there",
             4: "only its size"}
    return "\n".join("      %s: %s" % (words[fate], str(change.call)[:150])
                     for change, fate in zip(tree.changes, state.kept)
                     if fate != WHOLE)


def below(world):
    return {os.path.relpath(os.path.join(folder, name), world)
            for folder, dirs, files in os.walk(world)
            for name in dirs + files}


def run_again(scenario, tree, state, world):
    """The same command on what a crash left."""
    rebuild(state, world)
    run = Run(scenario.args, os.path.join(world, scenario.cwd),
              env=scenario.env(world)).wait()
    context = "\n    %s\n    the crash:\n%s\n%s" % (
        sorted(state.entries), told(tree, state), run)
    check(run.code == 0, "the next run ends with %s: %s" %
          (run.code, context))

    def data_of(path):
        path = os.path.join(world, path)
        return content(path) if os.path.isfile(path) else None

    wrong = scenario.wrong(data_of, True)
    check(not wrong, "the next run: %s: %s" % (wrong, context))
    left = {path for path in below(world) - tree.usual - scenario.may
            if not (scenario.litter and re.fullmatch(scenario.litter, path))}
    check(not left, "left behind: %s: %s" % (sorted(left), context))
    scenario.check_fetched(run, state, context)
    shutil.rmtree(world)


def run_all(scenario, tree, states, tmp):
    faults = []

    def again(numbered):
        try:
            run_again(scenario, tree, numbered[1],
                      os.path.join(tmp, "again-%d" % numbered[0]))
        except harness.Failure as failure:
            faults.append(str(failure))

    harness.together(again, list(enumerate(states)), AT_ONCE)
    check(not faults, "%d of %d runs, the first one: %s" % (
        len(faults), len(states), "".join(faults[:1])))


def enumerate_all(scenario, tmp, mutants=()):
    """The whole proof for one scenario, in tmp/world as it is.  `mutants`:
    (what is left out, is it this call?, what has to be found)."""
    if not shutil.which("strace"):
        raise Skip("needs strace")
    world = os.path.join(tmp, "world")
    for name in ("into", "home", "tmp"):
        os.makedirs(os.path.join(world, name), exist_ok=True)
    pristine = Disk(world, os.path.join(world, scenario.cwd))
    run, calls = record(scenario.args, os.path.join(world, scenario.cwd),
                        os.path.join(tmp, "trace"), scenario.env(world))
    check_code(run, 0, "under strace")
    tree = copy.deepcopy(pristine)
    tree.replay(calls)
    tree.compare()
    last = tree.whole()
    tree.usual = set(last.entries)
    left = [path for path in tree.usual if OF_OURS.search(path)]
    check(not left, "left behind: %r" % left, run)
    check(not scenario.wrong(last.data, True), "without a crash: %s" %
          scenario.wrong(last.data, True), run)
    found = search(scenario, tree)
    check(not found.wrong, "%d wrong states, the first one: %s" % (
        len(found.wrong), "".join(found.wrong[:1])))
    if scenario.again:
        run_all(scenario, tree, found.samples, tmp)
    print("    %d changes, %d syncs, %d states (%d different), %d runs" % (
        len(tree.changes), sum(1 for _ in tree.epochs()) - 1, found.states,
        len(found.keys), len(found.samples) if scenario.again else 0),
        flush=True)
    if scenario.again:
        kill_and_crash(scenario, tmp, pristine, calls, tree)
    for what, left_out, finds in mutants:
        check_that_it_finds(scenario, pristine, calls, what, left_out, finds)


def check_that_it_finds(scenario, pristine, calls, what, left_out, finds):
    """A sync that is left out of the record is one that the program did not
    make: it could not tell the difference."""
    fewer = [call for call in calls if not left_out(call)]
    check(len(fewer) < len(calls), "no call to leave out: " + what)
    tree = copy.deepcopy(pristine)
    tree.replay(fewer)
    found = search(scenario, tree, finds)
    check(found.wrong and found.wrong[-1].startswith(finds),
          "%s: no %s is found in %d states" % (what, finds, found.states))
    print("    %s: %s" % (what, found.wrong[-1].split(",")[0]), flush=True)


# -- a kill, another run, and then a crash -----------------------------------

def kill_points(pristine, calls):
    """After how many calls a kill leaves something new; a sample of those
    with a new name, where that is all we have time for."""
    tree, points, count = copy.deepcopy(pristine), [], 0
    for k, call in enumerate(calls):
        tree.replay([call])
        if any(change.what == "names" or LONG
               for change in tree.changes[count:]):
            points.append(k + 1)
        count = len(tree.changes)
    if len(points) > KILLS:
        points = sorted(random.Random(SEED).sample(points, KILLS))
    return points


def kill_and_crash(scenario, tmp, pristine, calls, tree):
    """A program that was killed leaves changes that nobody synced.  The next
    one sees them, and must not take them for durable when it says that all
    is done."""
    points = kill_points(pristine, calls)
    faults, states = [], 0
    for point in points:
        found = Found()
        try:
            found = killed_at(scenario, tmp, pristine, calls[:point], tree)
            faults += found.wrong[:1]
        except harness.Failure as failure:
            faults.append(str(failure))
        states += found.states
        if found.wrong or len(faults) > 3:
            faults[-1] += "\n    after a kill behind %s" % calls[point - 1]
    check(not faults, "%d faults after a kill, the first one: %s" % (
        len(faults), "".join(faults[:1])))
    print("    killed at %d points, %d states" % (len(points), states),
          flush=True)


def killed_at(scenario, tmp, pristine, calls, full):
    world = pristine.root
    tree = copy.deepcopy(pristine)
    tree.replay(calls)
    for node, known in zip(tree.nodes, full.nodes):
        node.ino = known.ino
    shutil.rmtree(world)
    rebuild(tree.whole(), world)
    run, more = record(scenario.args, os.path.join(world, scenario.cwd),
                       os.path.join(tmp, "trace"), scenario.env(world))
    check_code(run, 0, "after a kill")
    tree.replay(more, calls[-1].end + 1)
    tree.compare()
    return search(scenario, tree)


def syncs(*ends):
    """Left out: the syncs of files whose paths end so."""
    return lambda call: call.name in ("fsync", "fdatasync") and \
        re.search(r"(%s)$" % "|".join(ends), call.place(0)[0])


# -- one file -----------------------------------------------------------------

def receipt_of(data):
    """Is this text a whole receipt of this content?"""
    chunks = [data[at:at + CHUNK] for at in range(0, len(data), CHUNK)]
    lines = [hashlib.sha256(chunk).hexdigest() for chunk in chunks]

    def judge(text, done):
        if text is None:
            return not done
        found = text.decode("latin-1").splitlines()
        return found[:1] == ["belay receipt 1"] and \
            "size %d" % len(data) in found and found[-1] == "end" and \
            found[-1 - len(lines):-1] == lines
    return judge


@case
def fresh(tmp):
    with Belayd() as server:
        enumerate_all(Get(
            server.url(), "--receipt=receipt",
            finals={"into/receipt": receipt_of(of_shelf())},
            litter=r"into/receipt\.\w{6}"), tmp, [
            ("no sync of the file", syncs("/file.part"), WRONG),
            ("no sync of the directory", syncs("/into"), LOST),
            ("no sync of the receipt", syncs(r"/receipt\.\w{6}"), WRONG)])


def interrupt(server, world, *args):
    """A killed client leaves a partial file with some chunks."""
    into = os.path.join(world, "into")
    os.makedirs(into)
    run = harness.start("-q", "--chunk-size", "16K", "--limit-rate", "30K",
                        *args, server.url(), cwd=into)

    def some():
        for name in names(into):
            if name.endswith(".part"):
                return os.stat(os.path.join(into, name)).st_blocks > 32
        return False

    wait_until(some, "a chunk")
    run.send(signal.SIGKILL)
    run.wait()


@case
def resumed(tmp):
    with Belayd() as server:
        interrupt(server, os.path.join(tmp, "world"))
        enumerate_all(Get(server.url()), tmp, [
            ("no sync of the file", syncs("/file.part"), WRONG)])


@case
def changed_meanwhile(tmp):
    """A partial file of another version, of which equal chunks stay."""
    root = os.path.join(tmp, "root")
    new = of_shelf()[:2 * CHUNK] + b"another end"
    write(root + "/file", of_shelf())
    harness.settle(root + "/file")
    with Belayd(root) as server:
        interrupt(server, os.path.join(tmp, "world"))
        write(root + "/file", new)
        harness.settle(root + "/file")
        enumerate_all(Get(server.url(), end=new), tmp, [
            ("no sync of the file", syncs("/file.part"), WRONG)])


@case
def replaced(tmp):
    """An older file stands there, and gives what fits."""
    old = of_shelf()[:CHUNK] + b"older" * 2000
    write(os.path.join(tmp, "world", "into", "mine"), old)
    with Belayd() as server:
        enumerate_all(Get(server.url(), "-o", "mine", "--overwrite",
                          target="mine", old=old), tmp, [
            ("no sync of the file", syncs("/mine.part"), WRONG),
            ("no sync of the directory", syncs("/into"), LOST)])


class Repair(Scenario):
    def wrong_elsewhere(self, state):
        """The server's time vouches for the server's bytes."""
        entry = state.entries["into/file"]
        vouched = os.stat(os.path.join(shelf(), "file")).st_mtime_ns
        return WRONG + ": into/file, with the time of the right ones" \
            if entry.mtime == vouched and entry.data != of_shelf() else None


@case
def repaired(tmp):
    """In place: no byte may become worse than it was."""
    right = of_shelf()
    bad = bytearray(right[:-50])
    bad[CHUNK + 5] ^= 1
    bad[2 * CHUNK + 9:2 * CHUNK + 99] = bytes(90)
    write(os.path.join(tmp, "world", "into", "file"), bytes(bad))

    def nowhere_worse(data, done):
        if done or data is None or len(data) > len(right):
            return data == right
        pairs = zip(data, right, bytes(bad) + bytes(50))
        return all(a == b or a == c for a, b, c in pairs)

    with Belayd() as server:
        scenario = Repair(["repair", "--chunk-size", "16K", "file",
                           server.url()], {"into/file": nowhere_worse})
        enumerate_all(scenario, tmp, [
            ("no sync of the file", syncs("/into/file"), WRONG)])


# -- many files ---------------------------------------------------------------

FILES = {"a": b"1" * 9000, "b": b"", "c": b"2" * 100, "dir/d": b"3" * 4097,
         "dir/sub/e": b"4", "dir/sub/f": b"5" * 5000}
OLDER = {"a": b"1" * 8999, "dir/d": b"older"}


def make_tree(root, files):
    for name, data in files.items():
        harness.age(write(os.path.join(root, name), data), 3600)


def finals_in(folder, files, older):
    return {os.path.join(folder, name): [older.get(name), data]
            for name, data in files.items()}


@case
def directory(tmp):
    make_tree(tmp + "/root", {**FILES, "large": of_shelf()})
    make_tree(tmp + "/world/into/out", OLDER)
    with Belayd(tmp + "/root") as server:
        enumerate_all(Scenario(
            ["get", "-r", "--overwrite", server.url(""), "-d", "out"],
            finals_in("into/out", {**FILES, "large": of_shelf()}, OLDER)),
            tmp, [
            ("no sync of the small files", lambda call:
             call.name == "syncfs" or syncs(r"/\.belay-tmp/\w+")(call), WRONG),
            ("no sync of a directory", syncs("/out/dir/sub"), LOST)])


@case
def new_directory(tmp):
    """What was reported is there, with all directories that lead to it."""
    make_tree(tmp + "/root", FILES)
    with Belayd(tmp + "/root") as server:
        enumerate_all(Scenario(
            ["get", "-r", server.url(""), "-d", "new/out"],
            finals_in("into/new/out", FILES, {})), tmp)


@case
def file_in_new_directory(tmp):
    with Belayd() as server:
        enumerate_all(Get(server.url(), "-d", "new/out",
                          target="new/out/file"), tmp, [
            ("no sync above the first new directory", syncs("/into"), LOST),
            ("no sync above the second one", syncs("/into/new"), LOST)])


@case
def list_of_files(tmp):
    make_tree(tmp + "/root", FILES)
    with Belayd(tmp + "/root") as server:
        write(tmp + "/world/into/list", "".join(
            "%s out=%s\n" % (server.url(n), n) for n in FILES).encode())
        enumerate_all(Scenario(
            ["get", "-i", "list", "-d", "out"],
            finals_in("into/out", FILES, {})), tmp)


def publish(tmp, serial, files):
    shutil.rmtree(tmp + "/root", ignore_errors=True)
    make_tree(tmp + "/root", files)

    def tool(*args):
        check_code(Run(["manifest", *args], tmp).wait(), 0)

    if not os.path.exists(tmp + "/key"):
        tool("keygen", "--name", "example.org", "key")
    tool("create", "--origin", "example.org", "--serial", str(serial),
         "--expires", "2100-01-01", "-o", "m", "root")
    tool("sign", "--key", "key", "m")


def serial_of(*allowed):
    def judge(text, done):
        if text is None:
            return not done and None in allowed
        found = re.search(rb"\nserial (\d+)\n", text)
        return found and int(found.group(1)) in \
            (allowed[-1:] if done else allowed)
    return judge


@case
def release(tmp):
    """All files of a manifest, and the memory of its serial."""
    into, state = tmp + "/world/into", "home/state/belay/manifests"
    publish(tmp, 1, OLDER)

    def args(server):
        for name in ("m", "key.pub"):
            shutil.copy(tmp + "/" + name, into)
        return ["get", "--manifest", "m", "--key", "key.pub", "-d", "out",
                server.url("")]

    os.makedirs(into)
    with Belayd(tmp + "/root") as server:
        first = Scenario(args(server), {})
        check_code(Run(first.args, into, env=first.env(
            tmp + "/world")).wait(), 0)
    # What a killed run for another one left.
    origin = hashlib.sha256(b"example.org").hexdigest()[:8]
    write(into + "/out/.belay-release-%s-%016x/dir/a.part" % (origin, 77),
          b"some")
    publish(tmp, 2, FILES)
    with Belayd(tmp + "/root") as server:
        serial, = names(os.path.join(tmp, "world", state))
        enumerate_all(Scenario(args(server), {
            **finals_in("into/out", FILES, OLDER),
            os.path.join(state, serial): serial_of(1, 2)}), tmp, [
            ("no sync of the files", syncs(r"\.part"), WRONG),
            ("no sync of a directory", syncs("/out/dir/sub"), LOST),
            ("no sync of the serial", syncs(r"\.new"), WRONG)])


# -- small files of our own ---------------------------------------------------

@case
def manifest(tmp):
    make_tree(tmp + "/world/into/root", FILES)
    older = b"an older one"
    write(tmp + "/world/into/m", older)

    def judge(text, done):
        lines = text.decode("latin-1").splitlines() if text else []
        return (not done and text == older) or \
            sum(line[:64].isalnum() and line[64:65] == " "
                for line in lines) == len(FILES)

    enumerate_all(Scenario(
        ["manifest", "create", "--origin", "example.org", "--serial", "1",
         "--expires", "2100-01-01", "-o", "m", "root"],
        {"into/m": judge}, litter=r"into/m\.\w{6}"), tmp, [
        ("no sync of the manifest", syncs(r"/m\.\w{6}"), WRONG)])


@case
def signature(tmp):
    publish(tmp, 1, FILES)
    unsigned = content(tmp + "/m").split(b"\n\n")[0] + b"\n"
    for name in ("m", "key"):
        write(tmp + "/world/into/" + name, content(tmp + "/" + name))
    os.chmod(tmp + "/world/into/key", 0o600)
    write(tmp + "/world/into/m", unsigned)
    signed = []

    def judge(text, done):
        if text == unsigned:
            return not done
        signed.extend([] if signed else [text])
        return text == signed[0] and text.startswith(unsigned + b"\n")

    enumerate_all(Scenario(
        ["manifest", "sign", "--key", "key", "m"], {"into/m": judge},
        litter=r"into/m\.\w{6}"), tmp, [
        ("no sync of the manifest", syncs(r"/m\.\w{6}"), WRONG)])


@case
def key_pair(tmp):
    """Each half is whole, or is told to be spoiled; never overwritten."""
    first = []

    def judge(data, done):
        return not done or (data or b"").endswith(b"\n")

    scenario = Scenario(["manifest", "keygen", "--name", "example.org", "key"],
                        {"into/key": judge, "into/key.pub": judge})
    # A second run leaves alone what is there, whole or not.
    scenario.again = False
    enumerate_all(scenario, tmp, [
        ("no sync of the file", syncs("/into/key"), LOST),
        ("no sync of the directory", syncs("/into"), LOST)])


@case
def known_hosts(tmp):
    identity = self_made(tmp)
    place = "home/config/belay/known_hosts"
    older = "elsewhere:1 %s\n" % identity[2]
    write(os.path.join(tmp, "world", place), older.encode())
    line = "localhost:7700 %s\n" % identity[2]
    enumerate_all(Scenario(
        ["trust", "localhost:7700", identity[2]],
        {place: [older.encode(), (older + line).encode()]},
        litter=re.escape(place) + r"\.\w{6}"), tmp, [
        ("no sync of the file", syncs(r"known_hosts\.\w{6}"), WRONG),
        ("no sync of its directory", syncs("/config/belay"), LOST)])


if __name__ == "__main__":
    os.umask(disk.UMASK)
    harness.main()
