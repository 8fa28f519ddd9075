#!/usr/bin/env python3
"""Side by side on loopback: one large page-cached file, written to disk.

    loopback.py --belay PATH --belayd PATH [--size MIB] [--repeat N]
                [--dir DIR] [--json FILE]

belay (digests known to the server, digests unknown, and with one
connection) against curl, lftp pget and aria2 from nginx and an rsync daemon;
the programs that are not installed are left out and named.  The order turns
from round to round; the figures are medians.  CPU is that of both sides,
server and client.  Only belay (and curl followed by sha256sum) verify what
they wrote.

It is a benchmark, not a test: it prints figures and fails only if a result
is wrong.
"""

import argparse
import hashlib
import json
import os
import pathlib
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

TICK = os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_port(port, seconds=10):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
            return
        except OSError:
            time.sleep(0.02)
    raise SystemExit(f"nothing listens on port {port}")


def descendants(pid):
    """pid and all processes below it."""
    children = {}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                text = (entry / "stat").read_text()
            except OSError:
                continue
            parent = int(text.rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(entry.name))
    found, queue = [], [pid]
    while queue:
        one = queue.pop()
        found.append(one)
        queue += children.get(one, [])
    return found


def cpu_of(pid):
    """CPU seconds of a process and all below it, ended children included."""
    total = 0
    for one in descendants(pid):
        try:
            text = pathlib.Path(f"/proc/{one}/stat").read_text()
        except OSError:
            continue
        fields = text.rpartition(")")[2].split()
        total += sum(int(x) for x in fields[11:15])
    return total / TICK


class Server:
    def __init__(self, command, port):
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        self.port = port
        wait_port(port)

    def cpu(self):
        return cpu_of(self.process.pid)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def nginx(work, root):
    port = free_port()
    conf = work / "nginx.conf"
    conf.write_text(f"""
daemon off; worker_processes 2; pid {work}/nginx.pid;
error_log {work}/nginx.log; user root;
events {{ worker_connections 256; }}
http {{
  access_log off; sendfile on; tcp_nopush on; sendfile_max_chunk 2m;
  client_body_temp_path {work}/n1; proxy_temp_path {work}/n2;
  fastcgi_temp_path {work}/n3; uwsgi_temp_path {work}/n4;
  scgi_temp_path {work}/n5;
  server {{ listen 127.0.0.1:{port}; root {root}; }}
}}""")
    return Server(["nginx", "-c", str(conf)], port)


def rsyncd(work, root):
    port = free_port()
    conf = work / "rsyncd.conf"
    conf.write_text(f"use chroot = no\n[f]\npath = {root}\nread only = yes\n")
    return Server(["rsync", "--daemon", "--no-detach", f"--port={port}",
                   "--address=127.0.0.1", f"--config={conf}"], port)


def belayd(args, work, root, cache):
    port = free_port()
    return Server([args.belayd, "--plain", "--root", str(root), "--cache",
                   str(cache), "--listen", f"127.0.0.1:{port}",
                   *(["--user", "root"] if os.geteuid() == 0 else [])], port)


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as f:
        while block := f.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


class Case:
    """One way to fetch the file.  command(out) -> list of words."""

    def __init__(self, name, server, command, before=None):
        self.name, self.server, self.command = name, server, command
        self.before = before
        self.wall, self.cpu = [], []

    def run(self, out, size):
        for leftover in out.parent.iterdir():
            leftover.unlink()
        os.sync()
        if self.before:
            self.before(self)
        server0 = self.server.cpu()
        own0 = resource.getrusage(resource.RUSAGE_CHILDREN)
        start = time.monotonic()
        result = subprocess.run(self.command(out), stdout=subprocess.DEVNULL,
                                stderr=subprocess.PIPE, text=True)
        wall = time.monotonic() - start
        own1 = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = (own1.ru_utime + own1.ru_stime - own0.ru_utime -
               own0.ru_stime + self.server.cpu() - server0)
        if result.returncode != 0 or out.stat().st_size != size:
            raise SystemExit(f"{self.name}: exit {result.returncode}\n"
                             f"{result.stderr[-800:]}")
        self.wall.append(wall)
        self.cpu.append(cpu)


def make_file(path, mib):
    with open(path, "wb") as f:
        for _ in range(mib):
            f.write(os.urandom(1 << 20))
    old = time.time() - 3600
    os.utime(path, (old, old))
    time.sleep(2.5)  # the change time must be out of the racy window


def cases(args, work, root, servers):
    name = "file.bin"
    http = hot = cold = rs = None
    found, missing = [], []

    def have(*programs):
        for program in programs:
            if not shutil.which(program):
                missing.append(program)
                return False
        return True

    if have("nginx", "curl"):
        http = nginx(work, root)
        servers.append(http)
        url = f"http://127.0.0.1:{http.port}/{name}"
        found.append(Case("curl", http, lambda out: [
            "curl", "-s", "-o", str(out), url]))
        found.append(Case("curl, then sha256sum", http, lambda out: [
            "sh", "-c", f"curl -s -o {out} {url} && sha256sum {out}"]))
        if have("lftp"):
            found.append(Case("lftp pget -n 4", http, lambda out: [
                "lftp", "-c", f"pget -n 4 {url} -o {out}"]))
        if have("aria2c"):
            found.append(Case("aria2c -x4", http, lambda out: [
                "aria2c", "-q", "-x4", "-s4", "-k1M",
                "--file-allocation=none", "-d", str(out.parent), "-o",
                out.name, url]))
    if have("rsync"):
        rs = rsyncd(work, root)
        servers.append(rs)
        found.append(Case("rsync daemon", rs, lambda out: [
            "rsync", "--whole-file",
            f"rsync://127.0.0.1:{rs.port}/f/{name}", str(out)]))

    hot = belayd(args, work, root, work / "cache-hot")
    servers.append(hot)
    url_hot = f"belay+tcp://127.0.0.1:{hot.port}/{name}"

    def get(url, *options):
        return lambda out: [args.belay, "get", "-q", "-o", str(out),
                            *options, url]

    found.append(Case("belay", hot, get(url_hot)))
    found.append(Case("belay -x1", hot, get(url_hot, "-x", "1")))

    def restart_cold(case):
        case.server.stop()
        servers.remove(case.server)
        shutil.rmtree(work / "cache-cold", ignore_errors=True)
        case.server = belayd(args, work, root, work / "cache-cold")
        servers.append(case.server)

    cold = belayd(args, work, root, work / "cache-cold")
    servers.append(cold)
    case = Case("belay, digests unknown", cold, None, restart_cold)
    case.command = lambda out: get(
        f"belay+tcp://127.0.0.1:{case.server.port}/{name}")(out)
    found.append(case)
    return found, missing


def report(found, size, missing):
    base = statistics.median(found[0].wall)
    gib = size / (1 << 30)
    rows = []
    print(f"{'':26} {'seconds':>8} {'time/curl':>9} {'MiB/s':>7} "
          f"{'CPU-s/GiB':>9}")
    for case in found:
        wall = statistics.median(case.wall)
        cpu = statistics.median(case.cpu) / gib
        rows.append({"name": case.name, "seconds": wall,
                     "ratio": wall / base, "cpu_per_gib": cpu})
        print(f"{case.name:26} {wall:8.2f} {wall / base:9.2f} "
              f"{size / wall / (1 << 20):7.0f} {cpu:9.2f}")
    if missing:
        print("not installed, left out:", ", ".join(missing))
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--belay", required=True)
    parser.add_argument("--belayd", required=True)
    parser.add_argument("--size", type=int, default=2048, help="MiB")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--dir", default=None)
    parser.add_argument("--only", default=None,
                        help="cases whose name holds this word, and curl")
    parser.add_argument("--json", default=None)
    args = parser.parse_args()
    args.belay, args.belayd = map(os.path.abspath, (args.belay, args.belayd))
    servers = []
    work = pathlib.Path(tempfile.mkdtemp(prefix="belay-bench.", dir=args.dir))
    try:
        root, outdir = work / "root", work / "out"
        root.mkdir()
        outdir.mkdir()
        make_file(root / "file.bin", args.size)
        size = args.size << 20
        want = sha256(root / "file.bin")
        found, missing = cases(args, work, root, servers)
        if args.only:
            found = [c for c in found if args.only in c.name or
                     c.name == "curl"]
        out = outdir / "file.bin"
        for case in found:  # warm caches, check each result once
            if case.before is None:
                case.run(out, size)
                case.wall.clear()
                case.cpu.clear()
                if sha256(out) != want:
                    raise SystemExit(f"{case.name}: WRONG BYTES")
        for turn in range(args.repeat):
            shift = turn % len(found)
            for case in found[shift:] + found[:shift]:
                case.run(out, size)
        rows = report(found, size, missing)
        if args.json:
            pathlib.Path(args.json).write_text(json.dumps(rows, indent=1))
    finally:
        for server in servers:
            server.stop()
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
