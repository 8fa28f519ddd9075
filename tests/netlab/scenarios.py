#!/usr/bin/env python3
"""Downloads over links that only the lab can make: darkness, loss, a host
that moves, a rate that collapses.

usage: scenarios.py --link NETLAB-LINK [NAME...]

Each case has a lab of its own; all run side by side. The programs are those
of BELAY and BELAYD. BELAY_LONG=1 takes the lengths of the catalogue. Exit
status 0: all hold; 1: one does not; 77: cannot run here.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "scenario")]
import harness  # noqa: E402 (the path must be set first)
from harness import KI, MI, check, read_ledger, same, write_random  # noqa: E402
from lab import Lab, Skip, main, require  # noqa: E402

LONG = bool(os.environ.get("BELAY_LONG"))
PORT = 7245
NAME = "server.example"
PATIENCE = 60 + (240 if LONG else 0)
LINK = None


class World:
    """A lab with belayd in it, and one client at a time."""

    def __init__(self, size, hosts=None, **settings):
        self.size = size
        self.hosts = hosts
        self.lab = Lab(LINK, **{"rate": "50M", "delay": 5, **settings})

    def __enter__(self):
        self.dir = tempfile.mkdtemp(prefix="belay-netlab-")
        os.chmod(self.dir, 0o755)
        try:
            for name in ("root", "into", "cache"):
                os.mkdir(self.path(name))
            write_random(self.path("root/file"), self.size)
            if self.hosts:
                self.resolve(*self.hosts)
            self.lab.__enter__()
            self.serve()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.lab.close()
        shutil.rmtree(self.dir, ignore_errors=True)

    def path(self, name):
        return os.path.join(self.dir, name)

    def serve(self):
        self.server = self.lab.popen(
            "server", [harness.program("BELAYD"), "--plain", "--user",
                       "root", "--root", self.path("root"), "--cache",
                       self.path("cache"), "--listen", "0.0.0.0:%d" % PORT],
            stdout=open(self.path("log"), "wb"), stderr=subprocess.STDOUT)
        harness.wait_until(lambda: b"listening on" in self.read("log"),
                           "server")

    def read(self, name):
        with open(self.path(name), "rb") as file:
            return file.read()

    def resolve(self, *addresses):
        """What NAME means from now on."""
        with open(self.path("hosts"), "w") as file:
            file.writelines("%s %s\n" % (address, NAME)
                            for address in addresses)

    def start(self, *options):
        host = NAME if self.hosts else self.lab.SERVER
        command = [harness.program("BELAY"), "get", "-v", "--no-config",
                   *options, "belay+tcp://%s:%d/file" % (host, PORT)]
        if self.hosts:
            # The same file, seen in the place of the one of this machine.
            command = ["unshare", "-m", "--propagation", "private", "sh",
                       "-c", 'mount --bind "$0" /etc/hosts && exec "$@"',
                       self.path("hosts"), *command]
        self.began = time.monotonic()
        self.client = self.lab.popen("client", command,
                                     cwd=self.path("into"),
                                     stdout=open(self.path("out"), "wb"),
                                     stderr=subprocess.STDOUT)

    def said(self):
        return self.read("out").decode("utf-8", "backslashreplace")

    def received(self, size):
        """Wait until so much is on the client's side."""
        harness.wait_until(
            lambda: self.lab.stats()["down"]["payload_out"] >= size or
            self.client.poll() is not None, "%d bytes" % size, PATIENCE,
            0.05)
        check(self.client.poll() is None, "it ended too soon:\n" +
              self.said())

    def finish(self):
        """To the end, which must be the whole file. Returns the ledger."""
        try:
            code = self.client.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise harness.Failure("still running:\n" + self.said())
        self.seconds = time.monotonic() - self.began
        check(code == 0, "exit code %s:\n%s" % (code, self.said()))
        check(same(self.path("root/file"), self.path("into/file")),
              "other bytes:\n" + self.said())
        return read_ledger(self.said())


def case_darkness():
    """N4: nothing passes for long; it goes on without anybody's help."""
    dark = 90 if LONG else 8
    with World(8 * MI, rate="20M") as world:
        world.start("--timeout", "3")
        world.received(2 * MI)
        world.lab.dark(dark)
        ledger = world.finish()
        check(world.seconds > dark, "it was not dark at all")
        return "%d s dark, %d breaks" % (dark, ledger["breaks"])


def case_darkness_at_the_end():
    """The whole link stands still when some connections have nothing left to
    do. They ask whether the others are alone in that, and not for what the
    others bring when it goes on: nothing comes twice."""
    with World(8 * MI, rate="20M") as world:
        world.start("-x", "8")
        world.received(8 * MI - 700 * KI)
        world.lab.dark(7)
        ledger = world.finish()
        check(ledger["repeated"] == 0, "%d bytes came twice:\n%s" % (
            ledger["repeated"], world.said()))
        return "%.1f s, %d breaks" % (world.seconds, ledger["breaks"])


def case_loss():
    """N5: five packets of a hundred are lost; no digest is wrong."""
    size = 1024 * MI if LONG else 4 * MI
    with World(size, delay=1, loss="5%", rate="400M") as world:
        world.start()
        ledger = world.finish()
        check(ledger["bad chunks"] == 0, "wrong digests:\n" + world.said())
        lost = world.lab.stats()["down"]["drop_loss"]
        check(lost > 10, "only %d packets were lost" % lost)
        return "%d packets lost" % lost


def case_wrong_bits():
    """N7: bits flip and TCP does not notice; each bad chunk is refused,
    counted and fetched again."""
    with World(12 * MI, corrupt_down="0.14%") as world:
        world.start()
        ledger = world.finish()
        wrong = world.lab.stats()["down"]["corrupted"]
        check(wrong > 0, "nothing was corrupted")
        check(ledger["bad chunks"] > 0 or ledger["breaks"] > 0,
              "nothing was noticed:\n" + world.said())
        # What is on its way behind a bad chunk is still of use.
        check(ledger["breaks"] <= ledger["bad chunks"] / 2 + 1,
              "each cost its connection:\n" + world.said())
        return "%d bits, %d bad chunks, %d breaks" % (
            wrong, ledger["bad chunks"], ledger["breaks"])


def case_server_moves():
    """N11: the name means another address when it is asked again."""
    with World(8 * MI, hosts=[Lab.SERVER], rate="20M") as world:
        world.start("--timeout", "2", "--connect-timeout", "2")
        world.received(2 * MI)
        world.lab.change_address("server", "10.99.0.88")
        world.resolve("10.99.0.88")
        ledger = world.finish()
        check(ledger["breaks"] > 0, "it did not move:\n" + world.said())
        return "%d breaks" % ledger["breaks"]


def case_first_address_dead():
    """N12: the first address of the name takes everything and says
    nothing. The next one is tried long before the first is given up."""
    with World(MI, hosts=["10.99.0.3", Lab.SERVER]) as world:
        world.start("--connect-timeout", "300")
        world.finish()
        flows = world.lab.stats()["flows"]
        check(flows >= 2, "the dead address was not tried")
        check(world.seconds < 100, "it waited %.0f s" % world.seconds)
        return "%.1f s" % world.seconds


def case_client_moves():
    """The client's own address changes under its connections."""
    with World(8 * MI, rate="20M") as world:
        world.start("--timeout", "2")
        world.received(2 * MI)
        world.lab.change_address("client", "10.99.0.77")
        ledger = world.finish()
        check(ledger["breaks"] > 0, "nothing broke:\n" + world.said())
        return "%d breaks" % ledger["breaks"]


def case_half_open():
    """N3: all connections fall silent and stay open; new ones are made."""
    with World(8 * MI, rate="20M") as world:
        world.start("--timeout", "2")
        world.received(2 * MI)
        world.lab.half_open()
        ledger = world.finish()
        check(ledger["breaks"] > 0, "nothing broke:\n" + world.said())
        return "%d breaks" % ledger["breaks"]


def case_slow_for_a_while():
    """N17: 300 Mbit/s, then 64 kbit/s, then 300 Mbit/s; nobody is taken for
    dead. At the very end a connection that TCP still holds back from then
    may be given up for one that is free: that is no stall. For long it is
    one connection: of several, TCP lets some starve for minutes."""
    with World(60 * MI, rate="300M", delay=1, queue="32K") as world:
        world.start(*(("-x", "1") if LONG else ()))
        world.received(4 * MI)
        world.lab.control("rate 64k")
        time.sleep(40 if LONG else 6)
        check(world.client.poll() is None, "it ended too soon")
        world.lab.control("rate 300M")
        world.finish()
        lost = [line for line in world.said().splitlines()
                if " lost: " in line and "middle of a chunk" not in line]
        check(not lost, "a false stall:\n" + world.said())
        return "%.1f s" % world.seconds


def case_vanished_clients():
    """N14: clients that are gone without a word do not keep their places."""
    if not LONG:
        raise Skip("takes the idle limit: with BELAY_LONG=1")
    with World(64 * MI, rate="20M") as world:
        harness.wait_until(lambda: children(world), "workers")
        time.sleep(1)
        before = descriptors(world)
        for _ in range(5):
            world.start("-x", "2")  # few: an address has 32 places
            world.received(world.lab.stats()["down"]["payload_out"] + MI)
            world.lab.half_open()
            world.lab.kill(world.client)
        check(descriptors(world) > before, "no connection is left")
        harness.wait_until(lambda: descriptors(world) <= before,
                           "descriptors as before", 180, 1)
        return "all given back"


def children(world):
    """nsenter becomes belayd, whose children are the workers."""
    pid = world.server.pid
    with open("/proc/%d/task/%d/children" % (pid, pid)) as file:
        return list(map(int, file.read().split()))


def descriptors(world):
    return sum(len(os.listdir("/proc/%d/fd" % pid))
               for pid in children(world))


CASES = {name.removeprefix("case_"): function
         for name, function in list(globals().items())
         if name.startswith("case_")}


def one(name):
    try:
        print(CASES[name]())
    except harness.Failure as failure:
        print(failure)
        return 1
    return 0


def all_of(names):
    """Each case in a process of its own: labs belong to processes."""
    states = []

    def watch(name):
        began = time.monotonic()
        done = subprocess.run([sys.executable, "-B", __file__, "--link",
                               LINK, "--one", name], capture_output=True,
                              text=True)
        state = {0: "ok", 77: "skipped"}.get(done.returncode, "FAILED")
        states.append(state)
        print("%-8s %-20s %6.2f s  %s" % (
            state, name, time.monotonic() - began,
            (done.stdout + done.stderr).strip()), flush=True)

    threads = [threading.Thread(target=watch, args=(name,))
               for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return 1 if "FAILED" in states else 0


def run():
    global LINK
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--link", required=True)
    parser.add_argument("--one", choices=CASES, help=argparse.SUPPRESS)
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args()
    LINK = os.path.abspath(arguments.link)
    require()
    if arguments.one:
        return one(arguments.one)
    return all_of(arguments.names or list(CASES))


if __name__ == "__main__":
    main(run)
