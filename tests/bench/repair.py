#!/usr/bin/env python3
"""How much travels to make a damaged or an older file right?

    repair.py --belay PATH --belayd PATH [--size MIB] [--dir DIR]

One file, damaged or changed in a few ways, on loopback; bytes are counted by
a proxy between the two programs.  `belay repair` and `belay get --overwrite`
against an rsync daemon (in place), aria2 with a metalink of chunk digests,
and zsync; what is not installed is left out and named.

It is a benchmark, not a test: it prints figures and fails only if a result
is wrong.
"""

import argparse
import hashlib
import http.server
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

KI, MI = 1 << 10, 1 << 20
CHUNK = 256 * KI


class Counter(threading.Thread):
    """Passes connections on, and counts what comes back."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.to = port
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        self.down = self.up = 0
        self.start()

    def run(self):
        while True:
            client, _ = self.listener.accept()
            server = socket.create_connection(("127.0.0.1", self.to))
            for a, b, down in ((client, server, False),
                               (server, client, True)):
                threading.Thread(target=self.pass_on, args=(a, b, down),
                                 daemon=True).start()

    def pass_on(self, a, b, down):
        try:
            while data := a.recv(MI):
                b.sendall(data)
                if down:
                    self.down += len(data)
                else:
                    self.up += len(data)
            b.shutdown(socket.SHUT_WR)
        except OSError:
            a.close()
            b.close()


def wait_port(port):
    for _ in range(500):
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
            return
        except OSError:
            time.sleep(0.02)
    raise SystemExit("nothing listens on port %d" % port)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(MI):
            digest.update(block)
    return digest.hexdigest()


# -- what is wrong with the file ----------------------------------------------

def ten_bits(data):
    for at in random.Random(1).sample(range(len(data)), 10):
        data[at] ^= 1
    return data


def a_cut(data):
    return data[:len(data) * 3 // 4]


def a_hole(data):
    at = len(data) // 2
    data[at:at + 4 * MI] = bytes(4 * MI)
    return data


def grown(data):
    """The old file lacks 4 MiB at its beginning."""
    return data[4 * MI:]


def one_byte_more(data):
    """What lies behind is at no border of a chunk."""
    return data[:MI] + b"x" + data[MI:]


DAMAGE = (ten_bits, a_cut, a_hole, grown, one_byte_more)


# -- who makes it right -------------------------------------------------------

class Belay:
    def __init__(self, options, root, verb):
        self.verb, self.belay = verb, options.belay
        self.name = "belay " + verb[0]
        port = free_port()
        self.server = subprocess.Popen(
            [options.belayd, "--plain", "--root", root, "--listen",
             "127.0.0.1:%d" % port] +
            (["--user", "nobody"] if os.geteuid() == 0 else []),
            stderr=subprocess.DEVNULL)
        wait_port(port)
        self.counter = Counter(port)

    def command(self, target):
        url = "belay+tcp://127.0.0.1:%d/file" % self.counter.port
        if self.verb[0] == "repair":
            return [self.belay, *self.verb, "-q", target, url]
        return [self.belay, *self.verb, "-q", "-o", target, url]


class Rsync:
    name = "rsync --inplace -c"

    def __init__(self, root, tmp):
        port = free_port()
        conf = os.path.join(tmp, "rsyncd.conf")
        with open(conf, "w") as out:
            out.write("use chroot = no\n[m]\npath = %s\n" % root)
        self.server = subprocess.Popen(
            ["rsync", "--daemon", "--no-detach", "--port=%d" % port,
             "--address=127.0.0.1", "--config=" + conf],
            stderr=subprocess.DEVNULL)
        wait_port(port)
        self.counter = Counter(port)

    def command(self, target):
        return ["rsync", "--inplace", "-c", "-t",
                "rsync://127.0.0.1:%d/m/file" % self.counter.port, target]


class Ranges(http.server.SimpleHTTPRequestHandler):
    """Files by HTTP/1.1 with ranges, for aria2."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        with open(self.translate_path(self.path), "rb") as file:
            size = os.fstat(file.fileno()).st_size
            first, last = 0, size - 1
            given = self.headers.get("Range", "")
            if given.startswith("bytes="):
                a, _, b = given[6:].partition("-")
                first, last = int(a), min(int(b), last) if b else last
            self.send_response(206 if given else 200)
            self.send_header("Content-Length", str(last - first + 1))
            if given:
                self.send_header("Content-Range", "bytes %d-%d/%d" %
                                 (first, last, size))
            self.end_headers()
            file.seek(first)
            left = last - first + 1
            while left > 0:
                data = file.read(min(left, MI))
                self.wfile.write(data)
                left -= len(data)


class Aria2:
    name = "aria2 -V (metalink)"

    def __init__(self, root, tmp):
        self.tmp = tmp
        os_root = root

        class Here(Ranges):
            def __init__(self, *args):
                super().__init__(*args, directory=os_root)

        self.server = None
        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Here)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        self.counter = Counter(self.http.server_port)
        with open(os.path.join(root, "file"), "rb") as file:
            data = file.read()
        self.size = len(data)
        self.pieces = [hashlib.sha256(data[at:at + CHUNK]).hexdigest()
                       for at in range(0, len(data), CHUNK)]
        self.whole = hashlib.sha256(data).hexdigest()

    def command(self, target):
        path = os.path.join(self.tmp, "file.meta4")
        with open(path, "w") as out:
            out.write(
                '<?xml version="1.0"?><metalink '
                'xmlns="urn:ietf:params:xml:ns:metalink"><file name="%s">'
                '<size>%d</size><hash type="sha-256">%s</hash>'
                '<pieces length="%d" type="sha-256">%s</pieces>'
                '<url>http://127.0.0.1:%d/file</url></file></metalink>' % (
                    os.path.basename(target), self.size, self.whole, CHUNK,
                    "".join("<hash>%s</hash>" % p for p in self.pieces),
                    self.counter.port))
        return ["aria2c", "-q", "-V", "--no-conf", "--allow-overwrite=true",
                "--auto-file-renaming=false", "-k", "1M", "-d",
                os.path.dirname(target), "-M", path]


def run(tool, data, damage, tmp, right):
    target = os.path.join(tmp, "target")
    with open(target, "wb") as out:
        out.write(damage(bytearray(data)))
    os.utime(target, (1e9, 1e9))
    before = tool.counter.down, tool.counter.up
    began = time.monotonic()
    code = subprocess.run(tool.command(target), stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL).returncode
    seconds = time.monotonic() - began
    good = code == 0 and sha256(target) == right
    os.unlink(target)
    return (tool.counter.down - before[0], tool.counter.up - before[1],
            seconds, good)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--belay", required=True)
    parser.add_argument("--belayd", required=True)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--dir")
    options = parser.parse_args()
    tmp = tempfile.mkdtemp(prefix="belay-repair-", dir=options.dir)
    os.chmod(tmp, 0o755)
    root = os.path.join(tmp, "root")
    os.mkdir(root)
    data = random.Random(5).randbytes(options.size * MI)
    with open(os.path.join(root, "file"), "wb") as out:
        out.write(data)
    right = hashlib.sha256(data).hexdigest()
    time.sleep(2.5)     # so that the server may remember what it hashes
    tools = [Belay(options, root, ["repair"]),
             Belay(options, root, ["get", "--overwrite"])]
    for program, make in (("rsync", Rsync), ("aria2c", Aria2)):
        if shutil.which(program):
            tools.append(make(root, tmp))
        else:
            print("%s is not installed" % program)
    if not shutil.which("zsync"):
        print("zsync is not installed")
    print("%d MiB; KiB received, KiB sent, seconds" % options.size)
    wrong = False
    for damage in DAMAGE:
        print(damage.__name__.replace("_", " "))
        for tool in tools:
            down, up, seconds, good = run(tool, data, damage, tmp, right)
            wrong = wrong or (not good and isinstance(tool, Belay))
            print("  %-22s %9d %7d %6.2f%s" % (
                tool.name, down // KI, up // KI, seconds,
                "" if good else "   WRONG"))
    for tool in tools:
        if tool.server:
            tool.server.send_signal(signal.SIGTERM)
            tool.server.wait()
    shutil.rmtree(tmp)
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
