#!/usr/bin/env python3
"""Everything goes wrong at once, for as long as one likes.

    soak.py [--seconds N] [--seed N] [--clients N] [--verbose]

Clients of all kinds fetch from two servers, through proxies that reset, cut,
stall, half-open, flip, truncate, refuse, delay and dribble; the proxies are
replaced with others all the time. Clients are killed, stopped and
interrupted, one server is killed and restarted, and half of the files change,
shrink, grow, vanish and come back. Then all is quiet for a while, and
everybody has to finish.

What must hold: exit code 0 only for the bytes of one version of the file; no
other final name ever; no client that hangs; client memory below 64 MiB;
memory and descriptors of the server that lives on, flat.

The length is a length of time, as for any soak: a slower machine does less
in it. Exit status 0: all held; 1: something did not, and the seed is told.
"""

import argparse
import collections
import hashlib
import os
import random
import signal
import statistics
import sys
import threading
import time
import traceback

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "scenario"))
import harness  # noqa: E402 (the path must be set first)
from harness import (KI, MI, Belayd, Failure, Fault, Run, check, sha256,
                     wait_until, write_random)
from tlskit import TlsBelayd, self_made  # noqa: E402

# What a client may say while all goes wrong: done; not there; content that
# contradicts itself (a flipped digest); a limit of its own; for now.
CODES = {0, 3, 4, 9, 75}
DEADLINE = 20
HANG = DEADLINE + 100
CLIENT_MEMORY = 64 * MI
CLIENT_DESCRIPTORS = 100

STILL = {"tiny": 1, "empty": 0, "small": 70 * KI, "middle": 3 * MI + 17,
         "large": 12 * MI + 4321}
MOVING = {"log": 300 * KI, "image": 4 * MI, "table": MI + 3}
TREE = 30


BELAY = os.path.realpath(harness.program("BELAY"))


class Source:
    """The files that are served, and every content that each has had. A
    change is one system call, and is known before it is made."""

    def __init__(self, root, chance):
        self.root = root
        self.chance = chance
        self.lock = threading.Lock()
        self.versions = collections.defaultdict(set)
        self.changes = 0
        os.makedirs(os.path.join(root, "tree", "deep"))
        for number, (name, size) in enumerate({**STILL, **MOVING}.items()):
            write_random(self.path(name), size, number + 1)
        for number in range(TREE):
            name = "tree/%s%d" % ("deep/" if number % 3 else "", number)
            write_random(self.path(name), number * 3000, 100 + number)
        for base, _, files in os.walk(root):
            for name in files:
                path = os.path.join(base, name)
                self.versions[os.path.relpath(path, root)].add(sha256(path))

    def path(self, name):
        return os.path.join(self.root, name)

    def known(self, name, digest):
        with self.lock:
            return digest in self.versions[name]

    def remember(self, name, data):
        with self.lock:
            self.versions[name].add(hashlib.sha256(data).hexdigest())

    def change(self):
        name = self.chance.choice(list(MOVING))
        path = self.path(name)
        self.changes += 1
        try:
            with open(path, "rb") as file:
                data = file.read()
        except FileNotFoundError:
            data = b""
        kind = self.chance.choice(("replace", "patch", "append", "shrink",
                                   "vanish", "touch"))
        if kind == "replace" or not data:
            self.replace(name, self.chance.randbytes(
                self.chance.randrange(1, MOVING[name] * 2)))
        elif kind == "patch":
            at = self.chance.randrange(len(data)) & ~4095
            new = self.chance.randbytes(min(4096, len(data) - at))
            self.remember(name, data[:at] + new + data[at + len(new):])
            with open(path, "r+b", 0) as file:
                os.pwrite(file.fileno(), new, at)
        elif kind == "append":
            if len(data) > 4 * MOVING[name]:
                return
            new = self.chance.randbytes(4096 - len(data) % 4096)
            self.remember(name, data + new)
            with open(path, "ab", 0) as file:
                file.write(new)
        elif kind == "shrink":
            size = self.chance.randrange(len(data))
            self.remember(name, data[:size])
            os.truncate(path, size)
        elif kind == "vanish":
            os.unlink(path)
        else:
            os.utime(path)

    def replace(self, name, data):
        self.remember(name, data)
        with open(self.path("." + name), "wb") as file:
            file.write(data)
        os.rename(self.path("." + name), self.path(name))


class Proxies:
    """Faults in front of the servers. A proxy keeps its port for ever, but
    not its faults."""

    RULES = (
        lambda c: ("--rst-every", c.randrange(200 * KI, 8 * MI),
                   "--rst-jitter", 80),
        lambda c: ("--rst-after", c.randrange(1000, 4 * MI)),
        lambda c: ("--rst-every-time", "%.2f" % c.uniform(0.1, 3)),
        lambda c: ("--fin-after", c.randrange(1, 4 * MI)),
        lambda c: ("--truncate", c.randrange(1, 4 * MI)),
        lambda c: ("--stall-after", c.randrange(1, 4 * MI), "--stall-for",
                   "%.2f" % c.uniform(0.1, 4)),
        lambda c: ("--half-open-after", c.randrange(1, 6 * MI)),
        lambda c: ("--flip-every", c.randrange(400 * KI, 8 * MI)),
        lambda c: ("--flip-every", c.randrange(1000, 40 * KI), "--up"),
        lambda c: ("--refuse-first", c.randrange(1, 4)),
        lambda c: ("--blackhole-first", 1),
        lambda c: ("--rate", c.randrange(200 * KI, 8 * MI)),
        lambda c: ("--delay", c.randrange(1, 40)),
        lambda c: ("--split", c.randrange(40, 2000)),
    )

    def __init__(self, ports, chance):
        self.chance = chance
        self.ports = {}
        self.made = 0
        self.all = [Fault(port, *self.rules()) for port in ports]
        for proxy, port in zip(self.all, ports):
            self.ports[proxy.port] = port

    def rules(self):
        """Some at once; one of a kind, and one kind of direction."""
        words = []
        for rule in self.chance.sample(self.RULES,
                                       self.chance.randrange(1, 5)):
            new = rule(self.chance)
            if not any(str(word).startswith("--") and word in words
                       for word in new):
                words += new
        self.made += 1
        return ["--seed", self.chance.randrange(1 << 30), *words]

    def turn(self, rules=None):
        """One proxy gets other faults; its connections are lost."""
        proxy = self.chance.choice(self.all)
        self.set(proxy, self.rules() if rules is None else rules)

    def set(self, proxy, rules):
        proxy.end(signal.SIGKILL)
        proxy.command = [harness.program("BELAY_FAULT"), "--listen",
                         "127.0.0.1:%d" % proxy.port, "--connect",
                         "127.0.0.1:%d" % self.ports[proxy.port],
                         *map(str, rules)]
        proxy.begin()

    def quiet(self):
        for proxy in self.all:
            self.set(proxy, [])


def descriptors(pid):
    """How many it has open; 0 when it is gone."""
    try:
        return len(os.listdir("/proc/%d/fd" % pid))
    except OSError:
        return 0


def high_water(pid):
    """The most memory that a program has had since its exec."""
    try:
        if os.readlink("/proc/%d/exe" % pid) != BELAY:
            return 0
        with open("/proc/%d/status" % pid) as file:
            for line in file:
                if line.startswith("VmHWM"):
                    return int(line.split()[1]) * KI
    except OSError:
        pass
    return 0


def memory(pid):
    """Bytes of its own: what several workers share counts for none."""
    total = 0
    try:
        with open("/proc/%d/smaps_rollup" % pid) as file:
            for line in file:
                if line.startswith("Private_"):
                    total += int(line.split()[1]) * KI
    except OSError:
        pass
    return total


def family(server):
    pid = server.child.pid
    with open("/proc/%d/task/%d/children" % (pid, pid)) as file:
        return [pid, *map(int, file.read().split())]


class Soak:
    def __init__(self, base, options):
        self.options = options
        self.chance = random.Random(options.seed)
        self.base = base
        self.stop = threading.Event()
        self.faults = []
        self.codes = collections.Counter()
        self.peak = 0
        self.fetched = 0
        self.kills = 0
        self.restarts = 0
        self.samples = []
        self.source = Source(os.path.join(base, "root"),
                             random.Random(options.seed + 1))
        identity = self_made(base)
        self.steady = Belayd(self.source.root, "--max-per-address", "1000")
        self.shaky = Belayd(self.source.root, "--max-per-address", "1000")
        self.secure = TlsBelayd(identity, "--max-per-address", "1000",
                                root=self.source.root)
        self.proxies = Proxies(
            [self.steady.port, self.steady.port, self.steady.port,
             self.shaky.port, self.shaky.port, self.secure.port],
            random.Random(options.seed + 2))
        self.known_hosts = os.path.join(base, "known_hosts")
        for proxy in self.proxies.all:
            check(Run(["trust", "--known-hosts", self.known_hosts,
                       "127.0.0.1:%d" % proxy.port, identity[2]],
                      base).wait().code == 0, "cannot trust")

    # -- clients

    def scheme(self, proxy):
        secure = self.proxies.ports[proxy.port] == self.secure.port
        return "belay" if secure else "belay+tcp"

    def where(self, chance):
        proxy = chance.choice(self.proxies.all)
        return "%s://127.0.0.1:%d/" % (self.scheme(proxy), proxy.port)

    def arguments(self, chance):
        return ["-v", "--no-config", "--known-hosts", self.known_hosts,
                "--timeout", "2", "--connect-timeout", "3", "--retry", "inf",
                "--deadline", str(DEADLINE), "-x", str(chance.choice((1, 2, 4, 16)))]

    def job(self, chance):
        """The words of one command."""
        kind = chance.randrange(10)
        base = self.arguments(chance)
        name = chance.choice([*STILL, *MOVING])
        where = self.where(chance)
        extra = []
        if chance.random() < 0.3:
            extra += ["--compress"]
        if chance.random() < 0.3:
            extra += ["--chunk-size", chance.choice(("4K", "64K", "4M"))]
        if kind == 0:
            return ["get", *base, "--overwrite", "-r", "-d", "tree",
                    where + "tree"]
        if kind == 1:
            return ["get", *base, "--overwrite", *extra,
                    *(where + name for name in STILL)]
        if kind == 2:
            return ["get", *base, "--overwrite", *extra, where + name,
                    "--mirror", self.where(chance) + name]
        if kind == 3:
            return ["get", *base, "--overwrite", "-o", name, where + name,
                    "--limit-rate", "2M"]
        return ["get", *base, "--overwrite", *extra, where + name]

    def watch(self, run, chance):
        """To its end, or to one that we make. Returns whether we did."""
        end = time.monotonic() + HANG
        when = time.monotonic() + chance.uniform(0.01, 6)
        how = chance.choice((None, None, signal.SIGKILL, signal.SIGKILL,
                             signal.SIGINT, signal.SIGTERM, signal.SIGSTOP))
        while run.poll() is None:
            now = time.monotonic()
            if now > end:
                run.send(signal.SIGKILL)
                run.wait()
                raise Failure("a client hung\n%s" % run)
            if how is not None and now > when and not self.stop.is_set():
                run.send(how)
                self.kills += 1
                if how != signal.SIGSTOP:
                    run.wait(HANG)
                    return True
                time.sleep(chance.uniform(0.1, 4))
                run.send(signal.SIGCONT)
                how = None
            self.bounded(run)
            time.sleep(0.02)
        return False

    def bounded(self, run):
        """What it needs, as the kernel sees it: the figure that wait4()
        returns begins before exec, with the memory of this process."""
        check(descriptors(run.pid) < CLIENT_DESCRIPTORS,
              "%d descriptors\n%s" % (descriptors(run.pid), run))
        peak = high_water(run.pid)
        self.peak = max(self.peak, peak)
        check(peak < CLIENT_MEMORY or harness.SCALE < 1,
              "%d MiB of memory\n%s" % (peak // MI, run))

    def judge(self, run, into, ended):
        """Whatever the client said: what has its final name is right."""
        self.codes[run.code] += 1
        # A first TLS greeting with a flipped bit may be any protocol's.
        stranger = run.code == 8 and "TLS" in run.err
        if not ended:
            check(run.code in CODES or stranger, "exit code %s\n%s" %
                  (run.code, run))
        for base, folders, files in os.walk(into):
            folders[:] = [name for name in folders if ".part" not in name
                          and not name.startswith(".")]
            for name in files:
                if ".part" in name or name.startswith("."):
                    continue
                path = os.path.join(base, name)
                inside = os.path.relpath(path, into)
                check(self.source.known(inside, sha256(path)),
                      "%s: wrong bytes\n%s" % (inside, run))
                self.fetched += run.code == 0

    def once(self, command, into, chance):
        run = Run(command, into)
        ended = self.watch(run, chance)
        self.judge(run, into, ended)
        return run

    def clear(self, into):
        for base, folders, files in os.walk(into, topdown=False):
            for name in files:
                os.unlink(os.path.join(base, name))
            for name in folders:
                os.rmdir(os.path.join(base, name))

    def client(self, number):
        chance = random.Random("%d %d" % (self.options.seed, number))
        into = os.path.join(self.base, "into%d" % number)
        os.mkdir(into)
        command = None
        try:
            while not self.stop.is_set():
                command = self.job(chance)
                # The same command again and again, as a user would.
                for _ in range(chance.randrange(1, 5)):
                    if self.stop.is_set():
                        break
                    run = self.once(command, into, chance)
                    if run.code == 0:
                        break
                if run.code == 0 and chance.random() < 0.5:
                    self.clear(into)
                    command = None
            self.finish(command, into, chance)
        except Failure as failure:
            self.faults.append("client %d: %s" % (number, failure))
            self.stop.set()
        except Exception:
            self.faults.append(traceback.format_exc())
            self.stop.set()

    def finish(self, command, into, chance):
        """All is quiet: the last command goes through at once."""
        self.calm.wait()
        if command is None:
            return
        command = ["120" if word == str(DEADLINE) else word
                   for word in command]
        run = self.once(command, into, chance)
        check(run.code == 0, "not done although all is quiet\n%s" % run)

    # -- everything else

    def trouble(self):
        """What happens besides, one thing after the other."""
        chance = random.Random(self.options.seed + 3)
        end = time.monotonic() + self.options.seconds
        next_sample = 0
        while time.monotonic() < end and not self.stop.is_set():
            time.sleep(chance.uniform(0.02, 0.25))
            what = chance.randrange(12)
            if what < 7:
                for _ in range(chance.choice((1, 1, 1, 3))):
                    self.source.change()
            elif what < 11:
                self.proxies.turn()
            else:
                self.shaky.restart(chance.choice((signal.SIGKILL,
                                                  signal.SIGTERM)),
                                   pause=chance.choice((0, 0.3, 1)))
                self.restarts += 1
            if time.monotonic() > next_sample:
                self.sample()
                next_sample = time.monotonic() + 1
        self.stop.set()

    def sample(self):
        pids = family(self.steady)
        self.samples.append((sum(map(memory, pids)),
                             sum(map(descriptors, pids))))

    def flat(self, before):
        """Descriptors as at the beginning, memory as in the second quarter
        of the time."""
        most = before + 8  # some are opened at the first use
        wait_until(lambda: sum(map(descriptors, family(self.steady))) <=
                   most, "at most %d descriptors" % most, 90)
        if self.options.seconds < 120 or harness.SCALE < 1:
            return
        quarter = len(self.samples) // 4
        early = statistics.median(m for m, _ in
                                  self.samples[quarter:2 * quarter])
        late = statistics.median(m for m, _ in self.samples[-quarter:])
        print("server memory: %.1f MiB early, %.1f MiB late" %
              (early / MI, late / MI))
        check(late < early * 1.1 + 8 * MI, "the server grew from %d to %d" %
              (early, late))

    def run(self):
        os.mkdir(os.path.join(self.base, "first"))
        harness.check_code(harness.get(
            "--no-config", "-q", self.steady.url("small"),
            cwd=os.path.join(self.base, "first")), 0)
        wait_until(lambda: len(family(self.steady)) > 1, "workers")
        before = sum(map(descriptors, family(self.steady)))
        self.calm = threading.Event()
        clients = [threading.Thread(target=self.client, args=(number,))
                   for number in range(self.options.clients)]
        for thread in clients:
            thread.start()
        try:
            self.trouble()
            self.settle()
        except Failure as failure:
            self.faults.append(str(failure))
        finally:
            self.stop.set()
            self.calm.set()
            for thread in clients:
                thread.join()
        check(not self.faults, "\n".join(self.faults[:3]))
        for server in (self.steady, self.shaky, self.secure):
            with open(server.log, errors="replace") as file:
                check("worker-crash" not in file.read(), "a worker crashed:\n"
                      + server.text())
        for proxy in self.proxies.all:
            proxy.end(signal.SIGKILL)
        self.flat(before)

    def settle(self):
        """Every file is there, and nothing goes wrong any more."""
        for name in MOVING:
            if not os.path.exists(self.source.path(name)):
                self.source.replace(name, self.chance.randbytes(5000))
        self.proxies.quiet()
        self.calm.set()

    def report(self):
        print("%d runs (%s), %d files right, %d killed or stopped, %d "
              "restarts of a server, %d sets of faults, %d changes, client "
              "memory at most %.1f MiB" % (
                  sum(self.codes.values()), ", ".join(
                      "%s: %d" % (code, count) for code, count in
                      sorted(self.codes.items())), self.fetched, self.kills,
                  self.restarts, self.proxies.made, self.source.changes,
                  self.peak / MI))


def options():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--clients", type=int, default=8)
    return parser.parse_args(sys.argv[1:])


OPTIONS = options()
if os.environ.get("BELAY_LONG"):
    OPTIONS.seconds = max(OPTIONS.seconds, 3600)


@harness.case
def soak(tmp):
    world = Soak(tmp, OPTIONS)
    try:
        world.run()
    except Failure as failure:
        raise Failure("seed %d: %s" % (OPTIONS.seed, failure))
    finally:
        world.report()


if __name__ == "__main__":
    del sys.argv[1:]
    harness.main()
