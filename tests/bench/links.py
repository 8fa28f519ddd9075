#!/usr/bin/env python3
"""Download clients on the same bad link, side by side.

usage: links.py --link NETLAB-LINK [--belay PATH --belayd PATH] [options]

Each run gets a fresh link (100 Mbit/s, 40 ms round trip), fresh servers in
the server namespace (nginx, rsync --daemon, belayd) and an empty directory,
and fetches one file of random bytes. Every peer runs in the loop that its
user would write, with a limit of 10 s on silence. The table shows for each
client and scenario:

  done    exit status 0 within the time limit
  right   the file's SHA-256 is that of the source
  time    seconds divided by the ideal: size * 8 / rate (IP and TCP headers
          alone cost 1.036)
  bytes   TCP payload delivered at the client / size (retransmitted bytes
          count again)

Needs root; ends with status 77 where the lab cannot run. Peers that are not
installed are reported as skipped ("sh tests/install.sh bench" gets them).
"""

import argparse
import contextlib
import hashlib
import json
import os
import random
import shlex
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "netlab"))
from lab import Lab, main, require  # noqa: E402 (the path comes first)

HTTP_PORT = 8080
RSYNC_PORT = 8730
BELAY_PORT = 4433
NAME = "file"

# Settings of the link, and what happens to it while the client runs: pairs
# of seconds and a function of the lab.
SCENARIOS = {
    "clean": ({}, ()),
    "jitter": ({"jitter": 20}, ()),
    "rst-3s": ({"rst_every": 3}, ()),
    "rst-0.7s": ({"rst_every": 0.7}, ()),
    "loss-1%": ({"loss": "1%"}, ()),
    "loss-2%": ({"loss": "2%"}, ()),
    "bursts": ({"burst": "0.2%,20%"}, ()),
    "blackout-2s": ({"blackout": "1:2"}, ()),
    "blackout-10s": ({"blackout": "1:10"}, ()),
    # One packet in so many that a MiB holds one wrong bit.
    "wrong-bits": ({"corrupt_down": f"{1448 / (1 << 20):.6f}"}, ()),
    "new-address": ({}, [(1.5, lambda lab: lab.change_address(
        "client", "10.99.0.77"))]),
    "half-open": ({}, [(1.5, lambda lab: lab.half_open())]),
}
STANDARD = ("clean", "jitter", "rst-3s", "rst-0.7s", "loss-2%", "bursts",
            "blackout-10s", "wrong-bits", "new-address", "half-open")
SILENCE = 10  # seconds that every client is told to bear, if it can be told

NGINX = """
daemon off;
user root;
worker_processes 1;
error_log {directory}/nginx.log error;
pid {directory}/nginx.pid;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    sendfile on;
    client_body_temp_path {directory}/t1;
    proxy_temp_path {directory}/t2;
    fastcgi_temp_path {directory}/t3;
    uwsgi_temp_path {directory}/t4;
    scgi_temp_path {directory}/t5;
    server {{ listen {port}; root {root}; }}
}}
"""

RSYNCD = """
use chroot = no
reverse lookup = no
uid = root
gid = root
log file = {directory}/rsyncd.log
pid file = {directory}/rsyncd.pid
[m]
    path = {root}
    read only = yes
"""


def http_url():
    return f"http://{Lab.SERVER}:{HTTP_PORT}/{NAME}"


class Client:
    """A row of the table. needs: programs; command: what to run, in an empty
    directory where the file shall appear as NAME; serve(): the server's
    command line, its configuration written to directory."""

    def __init__(self, name, needs, command, serve, port):
        self.name = name
        self.needs = needs
        self.command = command
        self.serve = serve
        self.port = port

    def missing(self):
        return [tool for tool in self.needs if shutil.which(tool) is None]


def serve_nginx(root, directory):
    path = os.path.join(directory, "nginx.conf")
    with open(path, "w") as file:
        file.write(NGINX.format(directory=directory, root=root,
                                port=HTTP_PORT))
    return ["nginx", "-p", directory, "-c", path]


def serve_rsync(root, directory):
    path = os.path.join(directory, "rsyncd.conf")
    with open(path, "w") as file:
        file.write(RSYNCD.format(directory=directory, root=root))
    return ["rsync", "--daemon", "--no-detach", f"--config={path}",
            f"--port={RSYNC_PORT}"]


def http_client(name, command):
    return Client(name, [command[0], "nginx"], loop(*command), serve_nginx,
                  HTTP_PORT)


def loop(*words):
    """What users write around a program that gives up."""
    return ["sh", "-c", f"until {shlex.join(words)}; do sleep 0.2; done"]


def peers():
    """Every peer gets the flags that let it finish, if it can at all."""
    url = http_url()
    curl = ["curl", "-q", "-sS", "-f", "-C", "-", "--connect-timeout",
            f"{SILENCE}", "--speed-limit", "1", "--speed-time", f"{SILENCE}",
            "-o", NAME, url]
    wget = ["wget", "-q", "--no-config", "-c", "-t0", f"-T{SILENCE}",
            "--waitretry=1", url]
    aria2 = ["aria2c", "-q", "-c", "-m0", "--no-conf", f"-t{SILENCE}",
             "--retry-wait=1", "--file-allocation=none", "-o", NAME]
    rsync = [f"--timeout={SILENCE}",
             f"rsync://{Lab.SERVER}:{RSYNC_PORT}/m/{NAME}", NAME]
    lftp = (f"set net:max-retries 1000; set net:timeout {SILENCE}; "
            f"set net:reconnect-interval-base 1; "
            f"set net:reconnect-interval-multiplier 1; "
            f"set cmd:fail-exit yes; pget -n 4 -c {url} -o {NAME}")
    return [
        http_client("curl -C -", curl),
        http_client("curl -C - --retry", [
            *curl[:-1], "--retry", "1000", "--retry-all-errors",
            "--retry-delay", "1", url]),
        http_client("wget -c -t0", wget),
        http_client("aria2c", aria2 + [url]),
        http_client("aria2c -x8 -s8", aria2 + ["-x8", "-s8", "-k1M", url]),
        http_client("lftp pget -c", ["lftp", "-c", lftp]),
        Client("rsync --append-verify", ["rsync"],
               loop("rsync", "-q", "--append-verify", *rsync), serve_rsync,
               RSYNC_PORT),
        Client("rsync --inplace", ["rsync"],
               loop("rsync", "-q", "--inplace", *rsync), serve_rsync,
               RSYNC_PORT),
        http_client("zsync", ["zsync", "-q", url + ".zsync"]),
    ]


def belay_clients(arguments):
    belay = os.path.abspath(arguments.belay)
    belayd = os.path.abspath(arguments.belayd)

    def serve(root, directory):
        return [belayd, "--plain", "--user", "root", "--root", root,
                "--listen",
                f"{Lab.SERVER}:{BELAY_PORT}",
                *shlex.split(arguments.belayd_args)]

    url = f"belay+tcp://{Lab.SERVER}:{BELAY_PORT}/{NAME}"
    clients = []
    for extra in [""] + arguments.belay_args:
        clients.append(Client(
            f"belay get {extra}".rstrip(), [belay, belayd],
            # It asks after so long, and waits as long for an answer.
            [belay, "get", "--no-config", f"--timeout={SILENCE // 2}",
             *shlex.split(extra), url, "-o", NAME], serve, BELAY_PORT))
    return clients


def wait_for_port(lab, port, server, seconds=10):
    """The server's own namespace is asked, so that the link sees nothing."""
    deadline = time.monotonic() + seconds
    with lab.inside("server"):
        while time.monotonic() < deadline:
            if server.poll() is not None:
                raise RuntimeError(f"server ended: {server.returncode}")
            with contextlib.suppress(OSError):
                socket.create_connection((lab.SERVER, port), 1).close()
                return
            time.sleep(0.05)
    raise RuntimeError("server does not listen")


def digest(path):
    state = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            state.update(block)
    return state.hexdigest()


class Bench:
    def __init__(self, arguments, directory):
        self.arguments = arguments
        self.directory = directory
        self.root = os.path.join(directory, "root")
        os.mkdir(self.root)
        source = os.path.join(self.root, NAME)
        generator = random.Random(arguments.seed)
        with open(source, "wb") as file:
            left = arguments.size
            while left > 0:
                block = min(left, 1 << 20)
                file.write(generator.randbytes(block))
                left -= block
        self.digest = digest(source)
        if shutil.which("zsyncmake"):
            subprocess.run(["zsyncmake", "-u", NAME, "-o",
                            source + ".zsync", source], check=True,
                           capture_output=True)
        self.ideal = arguments.size * 8 / arguments.rate

    def run(self, client, scenario):
        """One run. Returns the result as a dict."""
        directory = tempfile.mkdtemp(prefix="run-", dir=self.directory)
        target = os.path.join(directory, "target")
        os.mkdir(target)
        log_path = os.path.join(directory, "log")
        try:
            with open(log_path, "wb") as log:
                result = self.transfer(client, scenario, directory, target,
                                       log)
            path = os.path.join(target, NAME)
            result["right"] = (result["done"] and os.path.exists(path) and
                               digest(path) == self.digest)
            if not result["right"]:
                with open(log_path, errors="replace") as log:
                    result["log"] = log.read()[-400:]
        finally:
            shutil.rmtree(directory, ignore_errors=True)
        return result

    def transfer(self, client, scenario, directory, target, log):
        arguments = self.arguments
        settings, events = SCENARIOS[scenario]
        with Lab(arguments.link, congestion=arguments.congestion,
                 rate=arguments.rate, delay=arguments.delay,
                 seed=arguments.seed, **settings) as lab:
            server = lab.popen("server",
                               client.serve(self.root, directory),
                               stdout=log, stderr=log)
            wait_for_port(lab, client.port, server)
            start = time.monotonic()
            status = self.watch(lab, events, lab.popen(
                "client", client.command, cwd=target, stdout=log,
                stderr=log))
            seconds = time.monotonic() - start
            stats = lab.stats()
        return {
            "client": client.name,
            "scenario": scenario,
            "status": status,
            "done": status == 0,
            "seconds": round(seconds, 3),
            "time": round(seconds / self.ideal, 3),
            "bytes": round(stats["down"]["payload_out"] / arguments.size, 4),
            "connections": stats["flows"],
            "resets": stats["rst_events"],
            "link": stats,
        }


    def watch(self, lab, events, child):
        """Wait for the client while the events of the scenario happen.
        Returns its exit status, or None if its time was over."""
        end = time.monotonic() + self.arguments.timeout
        start = time.monotonic()
        for at, happen in events:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return child.wait(start + at - time.monotonic())
            happen(lab)
        try:
            return child.wait(end - time.monotonic())
        except subprocess.TimeoutExpired:
            lab.kill(child)
            return None


def best(results):
    """One row of several runs: right only if all were; medians of the rest,
    by time."""
    results = sorted(results, key=lambda result: result["seconds"])
    row = dict(results[(len(results) - 1) // 2])
    for key in ("done", "right"):
        row[key] = all(result[key] for result in results)
    for key in ("seconds", "time", "bytes"):
        row[key] = statistics.median(result[key] for result in results)
    row["runs"] = len(results)
    return row


def show(row):
    if row.get("skipped"):
        print(f"{row['scenario']:12} {row['client']:22} "
              f"skipped: {row['skipped']}", flush=True)
        return
    why = ""
    if row["status"] is None:
        why = "  stopped at the time limit"
    elif row["status"] != 0:
        why = f"  exit status {row['status']}"
    print(f"{row['scenario']:12} {row['client']:22} "
          f"{'yes' if row['done'] else 'no':5} "
          f"{'yes' if row['right'] else 'no':5} "
          f"{row['seconds']:8.2f} {row['time']:7.3f} {row['bytes']:7.3f} "
          f"{row['connections']:6} {row['resets']:6}{why}", flush=True)


def cell(row):
    if row.get("skipped"):
        return "–"
    if row["right"]:
        return f"{row['time']:.2f}, {row['bytes']:.2f}"
    return "**wrong bytes**" if row["done"] else "not in time"


def show_markdown(rows):
    """A table for people: time / ideal and bytes / size of each run."""
    scenarios = list(dict.fromkeys(row["scenario"] for row in rows))
    print("\n| |", " | ".join(scenarios), "|")
    print("| --- |" + " --- |" * len(scenarios))
    for client in dict.fromkeys(row["client"] for row in rows):
        print("|", client, "|",
              " | ".join(cell(row) for row in rows
                         if row["client"] == client), "|")


def bench(arguments, directory):
    bench = Bench(arguments, directory)
    clients = peers()
    if arguments.belay and arguments.belayd:
        clients += belay_clients(arguments)
    rows = []
    print(f"{arguments.size} bytes, {arguments.rate / 1e6:g} Mbit/s, "
          f"{2 * arguments.delay:g} ms round trip, {arguments.congestion}, "
          f"ideal {bench.ideal:.2f} s, limit {arguments.timeout:g} s, "
          f"{arguments.repeat} run(s) each")
    print(f"{'scenario':12} {'client':22} done  right  seconds    time "
          f"  bytes  conns resets")
    for scenario in arguments.scenario or STANDARD:
        for client in clients:
            if arguments.client and not any(
                    word in client.name for word in arguments.client):
                continue
            if client.missing():
                row = {"client": client.name, "scenario": scenario,
                       "skipped": "no " + ", ".join(client.missing())}
            else:
                row = best([bench.run(client, scenario)
                            for _ in range(arguments.repeat)])
            show(row)
            rows.append(row)
    return {"size": arguments.size, "rate": arguments.rate,
            "delay_ms": arguments.delay, "ideal_seconds": bench.ideal,
            "congestion": arguments.congestion,
            "timeout": arguments.timeout, "rows": rows}


def size(text):
    units = {"K": 1000, "M": 1000 ** 2, "G": 1000 ** 3}
    if text[-1:].upper() in units:
        return int(float(text[:-1]) * units[text[-1].upper()])
    return int(text)


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--link", required=True, metavar="NETLAB-LINK")
    parser.add_argument("--belay", help="the client program")
    parser.add_argument("--belayd", help="the server program")
    parser.add_argument("--belay-args", action="append", default=[],
                        metavar="ARGS",
                        help="one more row: belay get ARGS; repeatable")
    parser.add_argument("--belayd-args", default="", metavar="ARGS")
    parser.add_argument("--size", type=size, default=200 * 10 ** 6,
                        help="bytes; K, M, G are decimal (default 200M)")
    parser.add_argument("--rate", type=size, default=100 * 10 ** 6,
                        help="bits per second (default 100M)")
    parser.add_argument("--delay", type=float, default=20,
                        help="one way, ms (default 20)")
    parser.add_argument("--congestion", default="cubic")
    parser.add_argument("--timeout", type=float, default=240,
                        help="seconds per run (default 240)")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scenario", action="append", choices=SCENARIOS,
                        help="repeatable; default: " +
                        " ".join(STANDARD).replace("%", "%%"))
    parser.add_argument("--client", action="append", metavar="WORD",
                        help="only clients with WORD in their name; "
                        "repeatable")
    parser.add_argument("--markdown", action="store_true",
                        help="print a short table as well")
    parser.add_argument("--json", metavar="FILE",
                        help="write all figures there")
    parser.add_argument("--directory", metavar="DIR",
                        help="for the files (default: a temporary one)")
    arguments = parser.parse_args()
    if bool(arguments.belay) != bool(arguments.belayd):
        parser.error("--belay and --belayd go together")
    arguments.link = os.path.abspath(arguments.link)
    return arguments


def run():
    arguments = parse()
    require()
    with tempfile.TemporaryDirectory(prefix="belay-links-",
                                     dir=arguments.directory) as directory:
        table = bench(arguments, directory)
    if arguments.markdown:
        show_markdown(table["rows"])
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump(table, file, indent=1)
    return 0


if __name__ == "__main__":
    main(run)
