#!/usr/bin/env python3
"""belayd over TLS, seen by openssl, tshark and peers that misbehave.

Requirements: B1-S1a, B1-S3, B1-S5, B1-W1, B1-W1a, B1-T2; acceptance
B3, B18, B19, B20.
"""

import contextlib
import os
import re
import shutil
import socket
import ssl
import subprocess
import time

from harness import (KI, MI, SCALE, Skip, case, check, check_code,
                     check_one_line, get, library, main, need_root, same,
                     program, scaled, shelf, spawn, start, wait_until,
                     write_random)
from tlskit import (ALPN, Authority, TlsBelayd, client_context, self_made)

library(file=(write_random, 64 * MI, 9), small=(write_random, 200 * KI, 4))


def s_client(port, *args, data=b""):
    """What openssl s_client tells of a connection."""
    done = subprocess.run(
        ["openssl", "s_client", "-connect", "127.0.0.1:%d" % port, *args],
        input=data, capture_output=True, timeout=20)
    return (done.stdout + done.stderr).decode("utf-8", "replace")


def still_serves(server, tmp, identity):
    check_code(get("--overwrite", "--pin", identity[2], server.url("small"),
                   cwd=tmp), 0)


@case
def as_openssl_sees_it(tmp):
    """TLS 1.3 with ALPN and nothing else: no older version, no other id, no
    id at all, no ticket."""
    identity = self_made(tmp)
    with TlsBelayd(identity) as server:
        text = s_client(server.port, "-alpn", ALPN, "-tls1_3")
        check("ALPN protocol: belay/1" in text, text)
        check("New, TLSv1.3" in text, text)
        check("Server Temp Key: X25519" in text, text)
        check("New Session Ticket" not in text, text)
        check("Compression: NONE" in text, text)
        for args in ((), ("-alpn", "h2"), ("-alpn", "belay/2,http/1.1")):
            text = s_client(server.port, *args)
            check("alert number 120" in text, text)  # no_application_protocol
        text = s_client(server.port, "-alpn", ALPN, "-tls1_2")
        check("alert number 70" in text, text)       # protocol_version
        check("Cipher is (NONE)" in text, text)
        for suite in ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384",
                      "TLS_CHACHA20_POLY1305_SHA256"):
            text = s_client(server.port, "-alpn", ALPN, "-ciphersuites",
                            suite)
            check("Cipher is " + suite in text, text)
        still_serves(server, tmp, identity)


def knocks(server):
    """A connection that says nothing, from elsewhere."""
    socket.create_connection(("127.0.0.1", server.port), 10,
                             ("127.0.0.9", 0)).close()
    return True


@case
def as_tshark_sees_it(tmp):
    """On the wire: one version, one ALPN id, no name of a file."""
    need_root()
    if not shutil.which("tshark"):
        raise Skip("needs tshark")
    identity = self_made(tmp)
    trace = os.path.join(tmp, "trace.pcapng")
    with TlsBelayd(identity) as server:
        log = open(os.path.join(tmp, "log"), "wb")
        capture = spawn(["tshark", "-i", "lo", "-w", trace, "-f",
                         "tcp port %d" % server.port], stdout=log,
                        stderr=log)
        wait_until(lambda: b"Capturing" in open(log.name, "rb").read() or
                   capture.poll() is not None, "start of the capture")
        if capture.poll() is not None:
            raise Skip("tshark cannot capture here")
        # It is told before the first packet is seen.
        empty = os.path.getsize(trace) if os.path.exists(trace) else 0
        wait_until(lambda: knocks(server) and os.path.exists(trace) and
                   os.path.getsize(trace) > max(empty, 1000),
                   "first captured packets", step=0.2)
        still_serves(server, tmp, identity)
        wait_until(lambda: os.path.exists(trace) and
                   os.path.getsize(trace) > 200 * KI, "captured packets")
        capture.terminate()
        capture.wait(10)

    def shows(test):
        done = subprocess.run(
            ["tshark", "-r", trace, "-d", "tcp.port==%d,tls" % server.port,
             "-Y", test, "-T", "fields", "-e", "frame.number"],
            capture_output=True, timeout=60)
        return len(done.stdout.split())

    check(shows('tls.handshake.type == 1 && '
                'tls.handshake.extensions_alpn_str == "belay/1"') > 0,
          "no ClientHello with our ALPN id")
    check(shows("tls.handshake.type == 2 && "
                "tls.handshake.extensions.supported_version == 0x0304") > 0,
          "no TLS 1.3")
    check(shows("tls.handshake.extension.type == 42") == 0, "early data")
    check(shows("tls.handshake.extension.type == 41") == 0, "a session")
    check(shows('tcp.payload contains "small"') == 0, "a name is readable")
    check(shows("tcp.payload contains 89:42:4c:59:0d:0a:1a:0a") == 0,
          "a preface is readable")


@case
def one_port_for_both(tmp):
    """B1-W1: the first byte decides; any other one gets silence. Plain access
    is off unless it was asked for."""
    identity = self_made(tmp)
    for options, plain in (((), False), (("--plain",), True)):
        with TlsBelayd(identity, *options) as server:
            still_serves(server, tmp, identity)
            run = get("--overwrite", "--retry", "1", "belay+tcp://127.0.0.1:"
                      "%d/small" % server.port, cwd=tmp)
            if plain:
                check_code(run, 0)
            else:
                check_one_line(run, 11, "TLS is needed")
                check(run.seconds < 20, "it was tried again", run)
            for first in (b"\x00", b"GET / HTTP/1.1\r\n\r\n", b"\x17\x03\x03",
                          b"\x15", b"SSH-2.0-x\r\n"):
                with socket.create_connection(
                        ("127.0.0.1", server.port), 10) as sock:
                    sock.sendall(first)
                    check(reads(sock) == b"", "an answer to %r" % first)


def reads(sock):
    try:
        sock.settimeout(10)
        return sock.recv(1000)
    except ConnectionResetError:
        return b""


@case
def hostile_hellos(tmp):
    """B19: junk, huge and cut hellos, records of wrong kinds, and plaintext
    around the handshake are refused; the server lives."""
    identity = self_made(tmp)
    good = hello_bytes()
    plain = b"\x89BLY\r\n\x1a\n" + bytes(8)
    attacks = [b"\x16" + bytes(100), b"\x16\x03\x01\xff\xff" + b"\x01" * 70000,
               b"\x16\x03\x01\x40\x00" + b"\x01\xff\xff\xff" +
               bytes(16380), good[:50] + plain, plain[:1] + good,
               good + plain, good + b"\x17\x03\x03\x00\x20" + bytes(32),
               good + good, good + b"\x14\x03\x03\x00\x01\x01" * 50,
               good[:5] + b"\x02" + good[6:],
               b"\x16\x03\x01\x00\x00" * 1000]
    with TlsBelayd(identity) as server:
        for number, attack in enumerate(attacks):
            with socket.create_connection(("127.0.0.1", server.port),
                                          10) as sock:
                ends(sock, attack, number)
        still_serves(server, tmp, identity)
        check("worker-crash" not in server.whole(), server.text())


def hello_bytes():
    """A ClientHello as Python sends it."""
    inside, outside = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = client_context().wrap_bio(inside, outside)
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outside.read()


def ends(sock, attack, number):
    """The server must end the connection by itself, and soon."""
    sock.settimeout(15)
    try:
        sock.sendall(attack)
        while data := sock.recv(1 << 16):
            check(b"\x89BLY" not in data, "attack %d was answered" % number)
    except (ConnectionResetError, BrokenPipeError):
        pass
    except socket.timeout:
        check(False, "attack %d is still connected" % number)


@case
def half_a_handshake(tmp):
    """B3: silence, and one byte a second, end at the handshake's deadline,
    which no byte prolongs."""
    identity = self_made(tmp)
    hello = hello_bytes()
    # The same address fetches something afterwards.
    with TlsBelayd(identity, "--exempt", "127.0.0.1") as server:
        socks = [socket.create_connection(("127.0.0.1", server.port), 5)
                 for _ in range(3)]
        began = time.monotonic()
        socks[1].sendall(hello[:20])
        ended = {}
        at = 0
        while len(ended) < 3 and time.monotonic() - began < 40:
            with contextlib.suppress(OSError):
                socks[2].sendall(hello[at:at + 1])
            at += 1
            end = time.monotonic() + 1
            for number, sock in enumerate(socks):
                sock.settimeout(max(0.01, (end - time.monotonic()) / 3))
                try:
                    if number not in ended and sock.recv(100) == b"":
                        ended[number] = time.monotonic() - began
                except socket.timeout:
                    pass
                except OSError:
                    ended[number] = time.monotonic() - began
        check(sorted(ended) == [0, 1, 2], "ended: %r" % ended)
        check(all(8 < seconds < 30 for seconds in ended.values()),
              "ended after %r" % ended)
        still_serves(server, tmp, identity)
        for sock in socks:
            sock.close()


@case
def many_that_come_and_go(tmp):
    """B18: connections that end at each point of the handshake leave nothing
    behind: descriptors and memory stay as they are."""
    identity = self_made(tmp)
    hello = hello_bytes()
    rounds = scaled(300, 60)
    with TlsBelayd(identity, "--workers", "1") as server:
        still_serves(server, tmp, identity)
        pid = int(re.search(r"worker-start worker=0 pid=(\d+)",
                            server.whole()).group(1))

        def state():
            with open("/proc/%d/statm" % pid) as file:
                return (len(os.listdir("/proc/%d/fd" % pid)),
                        int(file.read().split()[1]) * 4)

        def storm():
            for number in range(rounds):
                with socket.create_connection(("127.0.0.1", server.port),
                                              10) as sock:
                    sock.sendall(hello[:number % (len(hello) + 1)])
                    if number % 3 == 0:
                        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                        b"\1\0\0\0\0\0\0\0")

        storm()
        wait_until(lambda: "conn=%d " % rounds in server.whole(), "the last")
        time.sleep(0.5)
        fds, rss = state()
        storm()
        wait_until(lambda: state()[0] <= fds, "closed descriptors", 30)
        # A sanitizer keeps freed memory back.
        check(SCALE < 1 or state()[1] < rss + 4096, "memory grew from %d to %d KiB" %
              (rss, state()[1]))
        still_serves(server, tmp, identity)


@case
def reload_during_transfers(tmp):
    """A new pair by SIGHUP, again and again: those who fetch notice nothing,
    those who come see the new key."""
    ca = Authority(tmp)
    one, two = ca.issue("one"), ca.issue("two")
    live = [shutil.copy(one[k], os.path.join(tmp, "live%d" % k))
            for k in (0, 1)]
    with TlsBelayd(live) as server:
        runs = [start("--cacert", ca.cert, "-v", "--limit-rate", "20M", "-o",
                      "f%d" % k, server.url("file"), cwd=tmp)
                for k in range(2)]
        for number in range(6):
            for k in (0, 1):
                shutil.copy((one, two)[number % 2][k], live[k])
            server.reload("info reload")
        for number, run in enumerate(runs):
            check_code(run.wait(), 0)
            check(run.ledger["breaks"] == 0, "a break", run)
            check(same(os.path.join(tmp, "f%d" % number),
                       os.path.join(shelf(), "file")), "file differs")
        text = s_client(server.port, "-alpn", ALPN, "-CAfile", ca.cert)
        check("CN = two" in text and "Verify return code: 0 (ok)" in text,
              text)


@case
def what_is_in_force_is_logged(tmp):
    """One line tells version, cipher and who encrypts; with a kernel that can
    do it, the kernel does."""
    identity = self_made(tmp)
    with TlsBelayd(identity) as server:
        still_serves(server, tmp, identity)
        found = re.search(r' tls .*cipher="(\w+)" encrypts=(\w+)',
                          server.whole())
        check(found, "no line about TLS: " + server.text())
        try:
            with open("/proc/sys/net/ipv4/tcp_available_ulp") as file:
                able = "tls" in file.read().split()
        except OSError:
            able = False
        if not able:
            check(found.group(2) == "process", found.group(0))


@case
def files_that_the_user_cannot_read(tmp):
    """Root's files and another user: who cannot read what, and what to do;
    belayd init tells it before."""
    need_root()
    made = subprocess.run([program("BELAYD"), "init", tmp + "/id", "localhost"],
                          capture_output=True, text=True, timeout=30)
    check("--user USER" in made.stdout and "chown -R USER" in made.stdout,
          "init says: " + made.stdout)
    os.mkdir(tmp + "/cache")
    os.chmod(tmp + "/cache", 0o700)
    command = [program("BELAYD"), "--root", shelf(), "--user", "nobody",
               "--listen", "127.0.0.1:0", "--cache", tmp + "/cache"]
    for more, words, owner in (
            (["--plain"], ("cache", "denied for user nobody"), "root"),
            (["--tls-cert", tmp + "/id/cert.pem", "--tls-key",
              tmp + "/id/key.pem"], ("user nobody cannot read", "chown"),
             "nobody")):
        os.chmod(tmp, 0o755)
        shutil.chown(tmp + "/cache", owner)
        run = subprocess.run(command + more, capture_output=True, text=True,
                             timeout=30)
        check(run.returncode == 1 and len(run.stderr.splitlines()) == 1 and
              all(word in run.stderr for word in words),
              "%d: %s" % (run.returncode, run.stderr))


if __name__ == "__main__":
    main()
