#!/usr/bin/env python3
"""Side by side on loopback, encrypted: one large page-cached file, to disk.

    loopback_tls.py --belay PATH --belayd PATH [--size MIB] [--repeat N]
                    [--dir DIR] [--cipher NAME] [--json FILE]

belay from belayd against curl from nginx, both TLS 1.3, in one run, in an
order that turns from round to round; the figures are medians, the ratio is
that of times. Plain belay and curl stand beside them. CPU is that of both
sides. Only belay verifies what it wrote. --cipher chooses nginx's and curl's
(default: what they agree on).

It is a benchmark, not a test: it prints figures and fails only if a result
is wrong.
"""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import loopback
from loopback import Case, Server, free_port, make_file, report, sha256


def identity(work, belayd):
    done = subprocess.run([belayd, "init", str(work / "id"), "localhost"],
                          check=True, capture_output=True, text=True)
    pin = [w for w in done.stdout.split() if w.startswith("sha256:")][0]
    return work / "id/cert.pem", work / "id/key.pem", pin


def nginx_tls(work, root, cert, key, cipher):
    port = free_port()
    conf = work / "nginx-tls.conf"
    choice = (f"ssl_conf_command Ciphersuites {cipher};" if cipher else "")
    conf.write_text(f"""
daemon off; worker_processes 2; pid {work}/nginx-tls.pid;
error_log {work}/nginx-tls.log; user root;
events {{ worker_connections 256; }}
http {{
  access_log off; sendfile on; tcp_nopush on; sendfile_max_chunk 2m;
  client_body_temp_path {work}/t1; proxy_temp_path {work}/t2;
  fastcgi_temp_path {work}/t3; uwsgi_temp_path {work}/t4;
  scgi_temp_path {work}/t5;
  server {{ listen 127.0.0.1:{port} ssl; root {root};
            ssl_certificate {cert}; ssl_certificate_key {key};
            ssl_protocols TLSv1.3; {choice} }}
}}""")
    return Server(["nginx", "-c", str(conf)], port)


def belayd_tls(args, work, root, cert, key):
    port = free_port()
    user = ["--user", "root"] if os.geteuid() == 0 else []
    return Server([args.belayd, "--tls-cert", str(cert), "--tls-key",
                   str(key), "--plain", *user, "--root", str(root),
                   "--cache", str(work / "cache"), "--listen",
                   f"127.0.0.1:{port}"], port)


def cases(args, work, root, servers):
    cert, key, pin = identity(work, args.belayd)
    web = nginx_tls(work, root, cert, key, args.cipher)
    servers.append(web)
    plain_web = loopback.nginx(work, root)
    servers.append(plain_web)
    own = belayd_tls(args, work, root, cert, key)
    servers.append(own)
    tls = f"belay://localhost:{own.port}/file.bin"
    return [
        Case("curl, TLS", web, lambda out: [
            "curl", "-s", "--cacert", str(cert), "--resolve",
            f"localhost:{web.port}:127.0.0.1", "-o", str(out),
            f"https://localhost:{web.port}/file.bin"]),
        Case("belay, TLS", own, lambda out: [
            args.belay, "get", "-q", "-o", str(out), "--pin", pin, tls]),
        Case("belay -x1, TLS", own, lambda out: [
            args.belay, "get", "-q", "-x1", "-o", str(out), "--pin", pin,
            tls]),
        Case("curl, plain", plain_web, lambda out: [
            "curl", "-s", "-o", str(out),
            f"http://127.0.0.1:{plain_web.port}/file.bin"]),
        Case("belay, plain", own, lambda out: [
            args.belay, "get", "-q", "-o", str(out),
            f"belay+tcp://127.0.0.1:{own.port}/file.bin"]),
    ]


def measure(args, work, servers):
    root, outdir = work / "root", work / "out"
    root.mkdir()
    outdir.mkdir()
    make_file(root / "file.bin", args.size)
    size, want = args.size << 20, sha256(root / "file.bin")
    found = cases(args, work, root, servers)
    out = outdir / "file.bin"
    for case in found:  # warm caches, check each result once
        case.run(out, size)
        case.wall.clear()
        case.cpu.clear()
        if sha256(out) != want:
            raise SystemExit(f"{case.name}: WRONG BYTES")
    for turn in range(args.repeat):
        shift = turn % len(found)
        for case in found[shift:] + found[:shift]:
            case.run(out, size)
    return report(found, size, [])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--belay", required=True)
    parser.add_argument("--belayd", required=True)
    parser.add_argument("--size", type=int, default=2048, help="MiB")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--dir", default=None)
    parser.add_argument("--cipher", default=None)
    parser.add_argument("--json", default=None)
    args = parser.parse_args()
    args.belay, args.belayd = map(os.path.abspath, (args.belay, args.belayd))
    for program in ("nginx", "curl"):
        if not shutil.which(program):
            raise SystemExit(f"{program} is not installed: nothing to "
                             "compare with")
    servers = []
    work = pathlib.Path(tempfile.mkdtemp(prefix="belay-bench.", dir=args.dir))
    try:
        rows = measure(args, work, servers)
        if args.json:
            pathlib.Path(args.json).write_text(json.dumps(rows, indent=1))
    finally:
        for server in servers:
            server.stop()
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
