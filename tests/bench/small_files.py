#!/usr/bin/env python3
"""Many small files over loopback: belay get -r beside an rsync daemon.

    small_files.py [--files 10000] [--size 4096] [--runs 5] [--delay MS]

Environment: BELAY, BELAYD. Runs alternate, so that whatever else the machine
does meets both; the median of each and their ratio (rsync's time divided by
ours) are printed. Ours is durable at the end, rsync's is not. With --delay
both go by belay-fault (BELAY_FAULT) with that round-trip time.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time


def wait_for(port):
    import socket
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            time.sleep(0.02)
    sys.exit("no server on port %d" % port)


def timed(command):
    began = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL, timeout=300)
    return time.monotonic() - began


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--files", type=int, default=10000)
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--delay", type=int, default=0)
    options = parser.parse_args()
    if not shutil.which("rsync"):
        print("skipped: no rsync")
        return 77
    base = tempfile.mkdtemp(prefix="belay-small-")
    src = os.path.join(base, "src")
    for k in range(options.files):
        where = os.path.join(src, "d%03d" % (k // 100))
        os.makedirs(where, exist_ok=True)
        with open(os.path.join(where, "f%05d" % k), "wb") as out:
            out.write(os.urandom(options.size))
    time.sleep(2.5)
    with open(base + "/rsyncd.conf", "w") as conf:
        conf.write("use chroot = no\n[src]\npath = %s\n" % src)
    root = ["--user", "root"] if os.geteuid() == 0 else []
    servers = [
        subprocess.Popen([os.environ["BELAYD"], "--plain", "--root", src,
                          "--listen", "127.0.0.1:17245", "--cache",
                          base + "/cache", *root],
                         stderr=subprocess.DEVNULL,
                         stdout=subprocess.DEVNULL),
        subprocess.Popen(["rsync", "--daemon", "--no-detach", "--address",
                          "127.0.0.1", "--port", "17246", "--config",
                          base + "/rsyncd.conf"])]
    ports = {"belay": 17245, "rsync": 17246}
    if options.delay:
        for name, port in ports.items():
            servers.append(subprocess.Popen(
                [os.environ["BELAY_FAULT"], "--listen",
                 "127.0.0.1:%d" % (port + 10), "--connect",
                 "127.0.0.1:%d" % port, "--delay", str(options.delay // 2)],
                stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL))
        ports = {name: port + 10 for name, port in ports.items()}
    times = {"belay": [], "rsync": []}
    try:
        for port in ports.values():
            wait_for(port)
        for run in range(options.runs):
            for name, command in (
                    ("belay", [os.environ["BELAY"], "get", "-q", "-r",
                               "belay+tcp://127.0.0.1:%d/" %
                               ports["belay"], "-d"]),
                    ("rsync", ["rsync", "-rt",
                               "rsync://127.0.0.1:%d/src/" %
                               ports["rsync"]])):
                out = os.path.join(base, "%s%d" % (name, run))
                times[name].append(timed([*command, out]))
                shutil.rmtree(out)
    finally:
        for server in servers:
            server.terminate()
            server.wait(20)
        shutil.rmtree(base, ignore_errors=True)
    middle = {name: statistics.median(t) for name, t in times.items()}
    for name, each in times.items():
        print("%s %s s, median %.2f s" %
              (name, " ".join("%.2f" % t for t in each), middle[name]))
    print("ratio %.2f" % (middle["rsync"] / middle["belay"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
