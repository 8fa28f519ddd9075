#!/usr/bin/env python3
"""Prove each rule of belay-fault.

usage: selftest.py PATH-TO-BELAY-FAULT [NAME...]

Every test starts its own proxy in front of a small server in this process,
looks at the bytes and the kind of end that a client sees, and compares the
proxy's counters with it. Exit status 0: all rules hold.
"""

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

PROXY = None
PATTERN = random.Random(7).randbytes(1 << 20)


def pattern(start, length):
    """The bytes [start, start + length) of an endless known stream."""
    out = bytearray()
    while length > 0:
        at = start % len(PATTERN)
        piece = PATTERN[at:at + length]
        out += piece
        start += len(piece)
        length -= len(piece)
    return bytes(out)


class Server:
    """Answers "SEND n\\n" by n bytes of the pattern and an end of stream;
    "SINK\\n" by counting what comes; "ECHO\\n" by sending it back."""

    def __init__(self, address="127.0.0.1"):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.sock = socket.socket(family)
        self.sock.bind((address, 0))
        self.sock.listen(200)
        self.port = self.sock.getsockname()[1]
        self.sunk = []
        self.ends = []
        self.accepted = 0
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                conn, _ = self.sock.accept()
            except OSError:
                return
            self.accepted += 1
            threading.Thread(target=self.serve, args=(conn,),
                             daemon=True).start()

    def serve(self, conn):
        end = "fin"
        try:
            line = b""
            while not line.endswith(b"\n"):
                byte = conn.recv(1)
                if not byte:
                    return
                line += byte
            words = line.split()
            if words[0] == b"SEND":
                self.send(conn, int(words[1]))
            elif words[0] == b"SINK":
                self.sink(conn)
            elif words[0] == b"ECHO":
                while True:
                    data = conn.recv(65536)
                    if not data:
                        break
                    conn.sendall(data)
            with contextlib.suppress(OSError):
                conn.shutdown(socket.SHUT_WR)
            while conn.recv(65536):
                pass
        except ConnectionResetError:
            end = "rst"
        except OSError as error:
            end = "rst" if isinstance(error, BrokenPipeError) else str(error)
        finally:
            self.ends.append(end)
            conn.close()

    def send(self, conn, length):
        at = 0
        while at < length:
            piece = pattern(at, min(1 << 18, length - at))
            conn.sendall(piece)
            at += len(piece)

    def sink(self, conn):
        got = bytearray()
        self.sunk.append(got)
        while True:
            data = conn.recv(65536)
            if not data:
                return
            got += data

    def close(self):
        self.sock.close()


class Proxy:
    def __init__(self, *rules, servers=None, listen="127.0.0.1:0"):
        self.servers = servers or [Server()]
        command = [PROXY, "--listen", listen]
        for server in self.servers:
            host = server.sock.getsockname()[0]
            host = f"[{host}]" if ":" in host else host
            command += ["--connect", f"{host}:{server.port}"]
        self.process = subprocess.Popen(
            command + [str(rule) for rule in rules],
            stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        assert line.startswith("listening on "), line
        host, _, port = line.split()[-1].rpartition(":")
        self.address = (host.strip("[]"), int(port))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        for server in self.servers:
            server.close()

    def connect(self, timeout=10):
        return socket.create_connection(self.address, timeout=timeout)

    def counters(self):
        self.process.send_signal(signal.SIGUSR1)
        return json.loads(self.process.stdout.readline())

    def stop(self):
        self.process.terminate()
        line = self.process.stdout.readline()
        assert self.process.wait(10) == 0, self.process.returncode
        return json.loads(line)


def read_all(sock, timeout=10):
    """Read to the end. Returns (bytes, "fin" | "rst" | "silence")."""
    got = bytearray()
    deadline = time.monotonic() + timeout
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            return bytes(got), "silence"
        sock.settimeout(left)
        try:
            data = sock.recv(1 << 18)
        except ConnectionResetError:
            return bytes(got), "rst"
        except TimeoutError:
            return bytes(got), "silence"
        if not data:
            return bytes(got), "fin"
        got += data


def fetch(proxy, length, timeout=10):
    try:
        with proxy.connect() as sock:
            sock.sendall(b"SEND %d\n" % length)
            return read_all(sock, timeout)
    except (ConnectionResetError, BrokenPipeError):
        return b"", "rst"


def expect(what, got, want):
    if got != want:
        raise AssertionError(f"{what}: {got!r}, expected {want!r}")


def expect_between(what, got, low, high):
    if not low <= got <= high:
        raise AssertionError(f"{what}: {got}, expected {low} to {high}")


def expect_prefix(got, length):
    expect("length", len(got), length)
    expect("bytes are the pattern", got == pattern(0, length), True)


def test_plain():
    size = 20 << 20
    with Proxy() as proxy:
        got, end = fetch(proxy, size)
        expect_prefix(got, size)
        expect("end", end, "fin")
        stats = proxy.stop()
        expect("bytes_down", stats["bytes_down"], size)
        expect("bytes_up", stats["bytes_up"], len(b"SEND %d\n" % size))
        expect("connections", stats["connections"], 1)
        expect("active", stats["active"], 0)
        for name in ("faults", "resets", "peer_resets", "bytes_dropped"):
            expect(name, stats[name], 0)


def test_plain_many():
    with Proxy() as proxy:
        socks = [proxy.connect() for _ in range(100)]
        for i, sock in enumerate(socks):
            sock.sendall(b"SEND %d\n" % (i * 1000))
        for i, sock in enumerate(socks):
            got, end = read_all(sock)
            expect_prefix(got, i * 1000)
            expect("end", end, "fin")
            sock.close()
        expect("connections", proxy.stop()["connections"], 100)


def test_ipv6():
    with Proxy(servers=[Server("::1")], listen="[::1]:0") as proxy:
        got, end = fetch(proxy, 100000)
        expect_prefix(got, 100000)
        expect("end", end, "fin")


def test_half_close_and_echo():
    """An end of stream goes on alone; the other direction stays open."""
    with Proxy() as proxy, proxy.connect() as sock:
        sock.sendall(b"ECHO\n" + pattern(0, 100000))
        sock.shutdown(socket.SHUT_WR)
        got, end = read_all(sock)
        expect_prefix(got, 100000)
        expect("end", end, "fin")


def test_peer_reset_is_passed_on():
    with Proxy() as proxy:
        with proxy.connect() as sock:
            sock.sendall(b"SINK\nabc")
            time.sleep(0.1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                            b"\1\0\0\0\0\0\0\0")
        time.sleep(0.2)
        expect("server saw", proxy.servers[0].ends, ["rst"])
        stats = proxy.stop()
        expect("peer_resets", stats["peer_resets"], 1)
        expect("resets", stats["resets"], 0)


def test_rst_after():
    with Proxy("--rst-after", "1M") as proxy:
        for _ in range(3):
            got, end = fetch(proxy, 5 << 20)
            expect_prefix(got, 1 << 20)
            expect("end", end, "rst")
        time.sleep(0.1)
        expect("server saw", set(proxy.servers[0].ends), {"rst"})
        stats = proxy.stop()
        expect("resets", stats["resets"], 3)
        expect("faults", stats["faults"], 3)
        expect("bytes_down", stats["bytes_down"], 3 << 20)


def test_rst_after_short_stream():
    with Proxy("--rst-after", "1M") as proxy:
        got, end = fetch(proxy, 1000)
        expect_prefix(got, 1000)
        expect("end", end, "fin")


def test_rst_jitter_replays():
    def run(seed):
        lengths = []
        with Proxy("--rst-after", 100000, "--rst-jitter", 50,
                   "--seed", seed) as proxy:
            for _ in range(6):
                got, end = fetch(proxy, 300000)
                expect("end", end, "rst")
                expect_prefix(got, len(got))
                lengths.append(len(got))
        return lengths
    first = run(1)
    expect("same seed", run(1), first)
    expect("other seed differs", run(2) != first, True)
    expect("lengths differ", len(set(first)) > 3, True)
    expect_between("shortest", min(first), 50000, 150000)
    expect_between("longest", max(first), 50000, 150000)


def test_rst_every_hits_all():
    with Proxy("--rst-every", "2M", "--rst-max", 1) as proxy:
        idle = [proxy.connect() for _ in range(3)]
        for sock in idle:
            sock.sendall(b"ECHO\n")
        time.sleep(0.2)
        got, end = fetch(proxy, 8 << 20)
        expect("end", end, "rst")
        expect_between("length", len(got), 1, 2 << 20)
        for sock in idle:
            expect("idle one", read_all(sock), (b"", "rst"))
            sock.close()
        got, end = fetch(proxy, 8 << 20)
        expect("after the last fault", (len(got), end), (8 << 20, "fin"))
        stats = proxy.stop()
        expect("faults", stats["faults"], 1)
        expect("resets", stats["resets"], 4)
        expect("bytes_down", stats["bytes_down"], (2 << 20) + (8 << 20))


def test_rst_every_time():
    with Proxy("--rst-every-time", 0.3, "--rst-max", 2) as proxy:
        start = time.monotonic()
        for i in range(2):
            socks = [proxy.connect() for _ in range(3)]
            for sock in socks:
                sock.sendall(b"ECHO\n")
            for sock in socks:
                expect("end", read_all(sock), (b"", "rst"))
                sock.close()
            expect_between("time", time.monotonic() - start,
                           0.25 + 0.3 * i, 1.5 + 0.3 * i)
        with proxy.connect() as sock:
            sock.sendall(b"ECHO\n")
            expect("no third", read_all(sock, 0.6), (b"", "silence"))
        stats = proxy.stop()
        expect("faults", stats["faults"], 2)
        expect("resets", stats["resets"], 6)


def test_rst_max():
    with Proxy("--rst-after", 1000, "--rst-max", 2) as proxy:
        ends = [fetch(proxy, 5000)[1] for _ in range(4)]
        expect("ends", ends, ["rst", "rst", "fin", "fin"])


def test_fin_after():
    with Proxy("--fin-after", 12345) as proxy:
        got, end = fetch(proxy, 1 << 20)
        expect_prefix(got, 12345)
        expect("end", end, "fin")
        stats = proxy.stop()
        expect("fins", stats["fins"], 1)
        expect("resets", stats["resets"], 0)


def test_fin_after_with_talking_client():
    """Unread input must not turn the clean end into a reset."""
    with Proxy("--fin-after", 50000) as proxy, proxy.connect() as sock:
        sock.sendall(b"ECHO\n" + pattern(0, 100000))
        sock.settimeout(0.5)
        time.sleep(0.3)
        with contextlib.suppress(OSError):
            sock.sendall(b"more")
        got, end = read_all(sock)
        expect_prefix(got, 50000)
        expect("end", end, "fin")


def test_cut_at():
    with Proxy("--cut-at", "0,1,-,64,100K") as proxy:
        size = 200 << 10
        for want in (0, 1, size, 64, 100 << 10, size):
            got, end = fetch(proxy, size)
            expect_prefix(got, want)
            expect("end", end, "fin" if want == size else "rst")
        expect("resets", proxy.stop()["resets"], 4)


def test_cut_with():
    for kind, want in (("fin", "fin"), ("stall", "silence"),
                       ("half-open", "silence"), ("truncate", "fin")):
        with Proxy("--cut-at", 1000, "--cut-with", kind) as proxy:
            got, end = fetch(proxy, 5000, 0.5)
            expect_prefix(got, 1000)
            expect(kind, end, want)


def test_cut_up():
    with Proxy("--up", "--cut-at", 1005) as proxy:
        with proxy.connect() as sock:
            with contextlib.suppress(OSError):
                sock.sendall(b"SINK\n" + pattern(0, 50000))
            expect("client saw", read_all(sock)[1], "rst")
        time.sleep(0.1)
        expect_prefix(bytes(proxy.servers[0].sunk[0]), 1000)
        expect("server saw", proxy.servers[0].ends, ["rst"])


def test_stall_for():
    with Proxy("--stall-after", 5000, "--stall-for", 0.5) as proxy:
        start = time.monotonic()
        got, end = fetch(proxy, 1 << 20)
        took = time.monotonic() - start
        expect_prefix(got, 1 << 20)
        expect("end", end, "fin")
        expect_between("time", took, 0.49, 2.0)
        expect("stalls", proxy.stop()["stalls"], 1)


def test_stall_for_ever():
    """Silence, with backpressure on the server and an open socket."""
    with Proxy("--stall-after", 5000) as proxy:
        with proxy.connect() as sock:
            sock.sendall(b"SEND %d\n" % (200 << 20))
            got, end = read_all(sock, 0.5)
            expect_prefix(got, 5000)
            expect("end", end, "silence")
            expect("still open", proxy.counters()["active"], 1)
        time.sleep(0.2)
        stats = proxy.stop()
        expect("freed after the client left", stats["active"], 0)
        expect("bytes_down", stats["bytes_down"], 5000)


def test_half_open():
    with Proxy("--half-open-after", 3) as proxy:
        with proxy.connect() as sock:
            sock.sendall(b"ECHO\nabcdef")
            expect("got", read_all(sock, 0.3), (b"abc", "silence"))
            sock.sendall(pattern(0, 3 << 20))
            expect("nothing more", read_all(sock, 0.3), (b"", "silence"))
        time.sleep(0.1)
        stats = proxy.counters()
        expect("half_opens", stats["half_opens"], 1)
        expect("the server hears nothing", proxy.servers[0].ends, [])
        expect("its socket stays", stats["active"], 1)
        expect_between("dropped", stats["bytes_dropped"], 3 << 20, 4 << 20)


def count_flips(got):
    want = pattern(0, len(got))
    bad = [i for i in range(len(got)) if got[i] != want[i]]
    for i in bad:
        expect("bits flipped in a byte", bin(got[i] ^ want[i]).count("1"), 1)
    return bad


def test_flip():
    every = 100000
    with Proxy("--flip-every", every, "--seed", 3) as proxy:
        got, end = fetch(proxy, 20 * every)
        expect("end", (len(got), end), (20 * every, "fin"))
        bad = count_flips(got)
        expect("windows", [i // every for i in bad], list(range(20)))
        expect("flips", proxy.stop()["flips"], 20)
    with Proxy("--flip-every", every, "--seed", 3) as proxy:
        expect("replay", count_flips(fetch(proxy, 20 * every)[0]), bad)


def test_flip_every_byte():
    with Proxy("--flip-every", 1) as proxy:
        got, end = fetch(proxy, 3000)
        expect("end", (len(got), end), (3000, "fin"))
        expect("all bytes", len(count_flips(got)), 3000)
        expect("flips", proxy.stop()["flips"], 3000)


def test_truncate():
    with Proxy("--truncate", 5000) as proxy:
        got, end = fetch(proxy, 3 << 20)
        expect_prefix(got, 5000)
        expect("end", end, "fin")
        time.sleep(0.1)
        expect("the server sees a clean end", proxy.servers[0].ends, ["fin"])
        stats = proxy.stop()
        expect("truncations", stats["truncations"], 1)
        expect("dropped", stats["bytes_dropped"], (3 << 20) - 5000)


def test_rate():
    size = 1 << 20
    for rate in (size, 4 * size):
        with Proxy("--rate", rate) as proxy:
            start = time.monotonic()
            got, _ = fetch(proxy, size)
            took = time.monotonic() - start
            expect_prefix(got, size)
            expect_between(f"seconds at {rate}", took,
                           0.93 * size / rate, 1.3 * size / rate + 0.3)


def test_rate_slow():
    with Proxy("--rate", 50) as proxy:
        start = time.monotonic()
        got, _ = fetch(proxy, 50)
        expect_prefix(got, 50)
        expect_between("seconds", time.monotonic() - start, 0.9, 2)


def test_rate_total():
    size = 1 << 20
    with Proxy("--rate-total", 2 * size) as proxy:
        start = time.monotonic()
        socks = [proxy.connect() for _ in range(2)]
        for sock in socks:
            sock.sendall(b"SEND %d\n" % size)
        for sock in socks:
            expect_prefix(read_all(sock)[0], size)
            sock.close()
        expect_between("seconds", time.monotonic() - start, 0.93, 2)


def test_delay():
    with Proxy("--delay", 100) as proxy, proxy.connect() as sock:
        sock.sendall(b"ECHO\n")
        for _ in range(3):
            start = time.monotonic()
            sock.sendall(b"x")
            expect("echo", sock.recv(10), b"x")
            expect_between("round trip", time.monotonic() - start,
                           0.199, 0.5)
        sock.sendall(pattern(0, 1 << 20))
        start = time.monotonic()
        sock.shutdown(socket.SHUT_WR)
        expect_prefix(read_all(sock)[0], 1 << 20)
        expect_between("end", time.monotonic() - start, 0.19, 1.5)


def test_delay_bulk():
    size = 30 << 20
    with Proxy("--delay", 20) as proxy:
        start = time.monotonic()
        expect_prefix(fetch(proxy, size)[0], size)
        expect_between("seconds", time.monotonic() - start, 0.06, 5)


def test_split():
    """A slow reader can tell single bytes; a fast one gets them all."""
    with Proxy("--split", 1) as proxy:
        expect_prefix(fetch(proxy, 5000)[0], 5000)
    with Proxy("--split", 7, "--rate", 700) as proxy, \
            proxy.connect() as sock:
        sock.sendall(b"SEND 140\n")
        sizes = []
        while True:
            data = sock.recv(1000)
            if not data:
                break
            sizes.append(len(data))
        expect("sum", sum(sizes), 140)
        expect_between("largest piece", max(sizes), 1, 21)


def test_refuse_first():
    with Proxy("--refuse-first", 2) as proxy:
        ends = [fetch(proxy, 10)[1] for _ in range(3)]
        expect("ends", ends, ["rst", "rst", "fin"])
        expect("server", proxy.servers[0].accepted, 1)
        expect("refused", proxy.stop()["refused"], 2)


def test_blackhole_first():
    with Proxy("--refuse-first", 1, "--blackhole-first", 1) as proxy:
        expect("first", fetch(proxy, 10)[1], "rst")
        expect("second", fetch(proxy, 10, 0.3), (b"", "silence"))
        expect("third", fetch(proxy, 10)[1], "fin")
        stats = proxy.stop()
        expect("blackholed", stats["blackholed"], 1)
        expect("active", stats["active"], 0)


def test_connect_in_turn():
    servers = [Server(), Server()]
    with Proxy(servers=servers) as proxy:
        for _ in range(4):
            expect_prefix(fetch(proxy, 10)[0], 10)
        expect("accepted", [s.accepted for s in servers], [2, 2])


def test_server_down():
    with Proxy() as proxy:
        server = proxy.servers[0]
        server.sock.shutdown(socket.SHUT_RDWR)
        server.sock.close()
        expect("end", fetch(proxy, 10)[1], "rst")
        expect("connect_failed", proxy.stop()["connect_failed"], 1)


def test_backpressure():
    """A client that does not read holds the server back."""
    with Proxy() as proxy, proxy.connect() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        sock.sendall(b"SEND %d\n" % (100 << 20))
        time.sleep(0.5)
        held = proxy.counters()["bytes_down"]
        expect_between("taken", held, 1, 20 << 20)
        with open(f"/proc/{proxy.process.pid}/statm") as file:
            pages = int(file.read().split()[1])
        expect_between("pages", pages * 4096, 0, 64 << 20)
        cpu = open(f"/proc/{proxy.process.pid}/stat").read().split()[13:15]
        time.sleep(0.5)
        cpu2 = open(f"/proc/{proxy.process.pid}/stat").read().split()[13:15]
        ticks = sum(map(int, cpu2)) - sum(map(int, cpu))
        expect_between("ticks while waiting", ticks, 0, 5)


def test_idle_faulted_connections_cost_nothing():
    """No fault leaves the loop spinning."""
    rules = (("--stall-after", 10), ("--half-open-after", 10),
             ("--fin-after", 10), ("--truncate", 10))
    for rule in rules:
        with Proxy(*rule) as proxy:
            socks = [proxy.connect() for _ in range(4)]
            for sock in socks:
                sock.sendall(b"SEND 100000\n")
            time.sleep(0.1)
            socks[0].shutdown(socket.SHUT_WR)
            socks[1].close()
            stat = f"/proc/{proxy.process.pid}/stat"
            before = sum(map(int, open(stat).read().split()[13:15]))
            time.sleep(0.4)
            after = sum(map(int, open(stat).read().split()[13:15]))
            for sock in socks:
                sock.close()
            expect_between(f"ticks {rule[0]}", after - before, 0, 4)


def test_stats_file():
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "stats")
        with Proxy("--stats", path, "--seed", 99) as proxy:
            fetch(proxy, 1000)
            live = proxy.counters()
            with open(path) as file:
                expect("file", json.load(file), live)
            last = proxy.stop()
            with open(path) as file:
                expect("file", json.load(file), last)
            expect("seed", last["seed"], 99)
        expect("nothing else", os.listdir(directory), ["stats"])


def test_bad_command_lines():
    for line in ("", "--listen 127.0.0.1:0", "--nonsense", "extra",
                 "--listen 127.0.0.1:0 --connect 127.0.0.1:1 --rate x",
                 "--listen 127.0.0.1:0 --connect 127.0.0.1:1 --rate 5X",
                 "--listen 127.0.0.1:0 --connect 127.0.0.1:1 --cut-at 1,,2",
                 "--listen 127.0.0.1:0 --connect 127.0.0.1:1 --rst-jitter 101",
                 "--listen 127.0.0.1:0 --connect 127.0.0.1:1 --stall-for 1",
                 "--listen 127.0.0.1:0 --connect 127.0.0.1:1 --rst-after -1",
                 "--listen 127.0.0.1:0 --connect 127.0.0.1:1 --rst-after"):
        done = subprocess.run([PROXY] + line.split(), capture_output=True,
                              text=True, timeout=5)
        expect(f"status of {line!r}", done.returncode, 2)
        expect("output", done.stdout, "")
        expect("complains", done.stderr.startswith("belay-fault: "), True)
    done = subprocess.run([PROXY, "--help"], capture_output=True, text=True,
                          timeout=5)
    expect("help", (done.returncode, done.stderr), (0, ""))
    expect("help text", "--rst-after" in done.stdout, True)


# What holds a time or a rate from above: a machine that is busy elsewhere makes
# it late, never early, so one try that holds proves it.
TRIES = 4
TIMED = (test_rst_every_time, test_stall_for, test_rate, test_rate_slow,
         test_rate_total, test_delay, test_delay_bulk, test_backpressure,
         test_idle_faulted_connections_cost_nothing)


def main():
    global PROXY
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    PROXY = sys.argv[1]
    names = sys.argv[2:]
    failed = 0
    for name, test in sorted(globals().items()):
        if not name.startswith("test_") or not callable(test):
            continue
        if names and name.removeprefix("test_") not in names:
            continue
        start = time.monotonic()
        for left in reversed(range(TRIES if test in TIMED else 1)):
            try:
                test()
                verdict = "ok"
                break
            except Exception as error:  # every kind of failure is a verdict
                verdict = f"FAILED: {type(error).__name__}: {error}"
                failed += not left
        print(f"{name.removeprefix('test_'):40} "
              f"{time.monotonic() - start:5.2f} s  {verdict}", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
