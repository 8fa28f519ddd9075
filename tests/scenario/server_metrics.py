#!/usr/bin/env python3
"""What belayd --metrics tells: the numbers of real transfers, errors, resets
and refusals, in the Prometheus text format 0.0.4; and that the process that
tells them is small, confined, and holds against who talks to it."""

import contextlib
import http.client
import os
import random
import re
import signal
import socket
import subprocess

import harness
from harness import (GI, KI, MI, Belayd, case, check, library, program,
                     together, wait_until, write_random, write_text)

import registry as R
from rawclient import Raw, fetch, hello, joined
from tlskit import TlsBelayd, TlsRaw, self_made

# -- the format: everything that it does not allow is a failure ---------------

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"'
SAMPLE = re.compile(r"(%s)(?:\{(%s(?:,%s)*)\})? (\d+(?:\.\d+)?)" %
                    (NAME, LABEL, LABEL))
HELP = re.compile(r"# HELP (%s) (.+)" % NAME)
TYPE = re.compile(r"# TYPE (%s) (counter|gauge)" % NAME)


def parse(text):
    """{'name{labels}': number}"""
    check(text.endswith("\n") and "\r" not in text, "line ends")
    series, kinds, family, helped = {}, {}, None, None
    for line in text[:-1].split("\n"):
        if HELP.fullmatch(line):
            helped = HELP.fullmatch(line)[1]
            check(helped not in kinds, "%s comes twice" % helped)
        elif TYPE.fullmatch(line):
            family, kind = TYPE.fullmatch(line).groups()
            check(family == helped, "TYPE without its HELP: " + line)
            kinds[family] = kind
            check((kind == "counter") == family.endswith("_total"),
                  "name and type of " + family)
            check(family.startswith("belayd_"), "prefix of " + family)
        else:
            sample = SAMPLE.fullmatch(line)
            check(sample, "no line of the format: %r" % line)
            name, labels, value = sample.groups()
            check(name == family == helped, "outside its family: " + line)
            key = name + ("{%s}" % labels if labels else "")
            check(key not in series, "twice: " + key)
            series[key] = float(value) if "." in value else int(value)
    check(set(kinds) == {re.sub(r"\{.*", "", key) for key in series},
          "a family without a sample")
    return series


def request(port, method="GET", path="/metrics"):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(method, path)
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer, body


class Watch:
    """The numbers of a server, as they differ from an earlier moment."""

    def __init__(self, server):
        self.server = server
        self.port = int(re.search(r"metrics on 127\.0\.0\.1:(\d+)",
                                  server.text())[1])
        self.first = self.now()

    def now(self):
        answer, body = request(self.port)
        check(answer.status == 200, "status %d" % answer.status)
        return parse(body)

    def since(self):
        now = self.now()
        for key, value in now.items():
            if "_total" in key:
                check(value >= self.first[key], key + " went back")
        return {key: value - self.first[key] for key, value in now.items()
                if value != self.first[key] and "uptime" not in key}

    def expect(self, **numbers):
        """Exactly these changed since the beginning, and no other; written
        with __ before a label, as errors_total__access=1."""
        wanted = {spell(key): value for key, value in numbers.items()
                  if value != 0}
        seen = {}

        def fits():
            seen.clear()
            seen.update(self.since())
            return seen == wanted
        try:
            wait_until(fits, "numbers", 20)
        except harness.Failure:
            raise harness.Failure("the numbers are\n%r, expected\n%r" % (
                seen, wanted)) from None


LABELS = {"chunks_sent_total": "encoding", "errors_total": "class",
          "hash_jobs": "state", "limit_hits_total": "limit"}


def spell(key):
    name, _, label = key.partition("__")
    return "belayd_" + name + (
        '{%s="%s"}' % (LABELS[name], label) if label else "")


def mixed(path):
    """Text is packed, zeros are not sent, noise goes as it is."""
    write_text(path, 256 * KI)
    os.truncate(path, 512 * KI)
    with open(path, "ab") as file:
        file.write(random.Random(5).randbytes(256 * KI))
    return path


def long_one(path):
    with open(path, "wb") as file:
        file.truncate(512 * GI)
    return path


CHUNKS = 11
BYTES = 10 * 256 * KI + 1234
library(small=(write_random, 5000), f=(write_random, BYTES), mixed=(mixed,),
        big=(write_random, 8 * MI), huge=(long_one,))


def serve(*args):
    return Belayd(None, "--metrics", ":0", *args)


def children(server):
    pid = server.child.pid
    with open("/proc/%d/task/%d/children" % (pid, pid)) as file:
        return [int(child) for child in file.read().split()]


def exporter(server):
    found = re.findall(r" sandbox exporter=(\d+) ", server.text())
    return int(found[-1]) if found else None


class Counted(Raw):
    """Also counts what it sends."""

    sent = 0

    def send(self, *parts):
        self.sent += sum(map(len, parts))
        super().send(*parts)


# -- what is counted ----------------------------------------------------------

@case
def transfers_are_counted_to_the_byte(tmp):
    with serve() as server:
        watch = Watch(server)
        check(watch.first['belayd_build_info{version="%s",protocol="1",'
                          'openssl="%s"}' % versions()] == 1, "build info")
        with Counted(server.port) as one:
            check(len(joined(fetch(one, "f", 18)[1])) == BYTES, "bytes")
            watch.expect(
                connections_open=1, connections_total=1, requests_total=2,
                sent_bytes_total=one.received, received_bytes_total=one.sent,
                sent_file_bytes_total=BYTES, chunks_sent_total__raw=CHUNKS,
                digest_cache_misses_total=CHUNKS)
        watch.expect(
            connections_total=1, requests_total=2,
            sent_bytes_total=one.received, received_bytes_total=one.sent,
            sent_file_bytes_total=BYTES, chunks_sent_total__raw=CHUNKS,
            digest_cache_misses_total=CHUNKS)
        # What one worker computed the other one knows from the cache.
        with Counted(server.port) as two:
            fetch(two, "f", 18)
            watch.expect(
                connections_open=1, connections_total=2, requests_total=4,
                sent_bytes_total=one.received + two.received,
                received_bytes_total=one.sent + two.sent,
                sent_file_bytes_total=2 * BYTES, chunks_sent_total__raw=2 * CHUNKS,
                digest_cache_misses_total=CHUNKS, digest_cache_hits_total=CHUNKS)


def versions():
    text = subprocess.run([program("BELAYD"), "--version"], timeout=20,
                          capture_output=True, text=True).stdout
    return (re.search(r"belayd (\S+),", text)[1],
            re.search(r"OpenSSL (\S+),", text)[1])


@case
def encodings_are_told_apart(tmp):
    with serve() as server:
        watch = Watch(server)
        with Raw(server.port, greet=False) as raw:
            raw.send(hello(((R.TLV_MAX_CHUNK_LOG2, b"\x16"), (
                R.TLV_CODECS, bytes([R.CODEC_RAW, R.CODEC_ZLIB,
                                     R.CODEC_ZERO])))))
            raw.greeting()
            fetch(raw, "mixed", 18)
        watch.expect(
            connections_total=1, requests_total=2,
            sent_bytes_total=raw.received,
            received_bytes_total=watch.since()["belayd_received_bytes_total"],
            sent_file_bytes_total=768 * KI, chunks_sent_total__raw=1,
            chunks_sent_total__zlib=1, chunks_sent_total__zero=1,
            digest_cache_misses_total=3)
        check(raw.received < 600 * KI, "nothing was packed")


@case
def errors_are_counted_by_class(tmp):
    with serve() as server:
        watch = Watch(server)
        with Counted(server.port) as raw:
            check(raw.error(raw.open("missing")) == R.WIRE_NOT_FOUND, "1")
            check(raw.error(raw.get(handle=9)) == R.WIRE_BAD_HANDLE, "2")
            raw.info("f")
            stale = raw.ask("OPEN", {"handle": 2, "want_chunk_log2": 0,
                                     "path": b"f", "flags": 0},
                            [(R.TLV_EXPECT_VERSION, b"\x00" * 16)])
            check(raw.error(stale) == R.WIRE_CHANGED, "3")
            watch.expect(
                connections_open=1, connections_total=1, requests_total=4,
                sent_bytes_total=raw.received, received_bytes_total=raw.sent,
                errors_total__permanent=2, errors_total__stale=1)
            raw.next_id = 1  # used before: the connection ends
            raw.open("f", 3)
            check(raw.ends_with() is not None, "no reason")
            watch.expect(
                connections_total=1, requests_total=4,
                sent_bytes_total=raw.received, received_bytes_total=raw.sent,
                errors_total__permanent=2, errors_total__stale=1,
                errors_total__protocol=1)


@case
def a_reset_is_counted(tmp):
    with serve() as server:
        watch = Watch(server)
        raw = Raw(server.port, receive_buffer=16 * KI)
        raw.info("big")
        raw.get()
        raw.message()
        harness.abort(raw.sock)
        wait_until(lambda: watch.since().get(
            "belayd_connection_resets_total") == 1, "reset", 20)
        seen = watch.since()
        check(seen["belayd_connections_total"] == 1 and
              "belayd_connections_open" not in seen, seen)


@case
def refused_tokens_and_handshakes_are_counted(tmp):
    identity = self_made(tmp)
    tokens = os.path.join(tmp, "tokens")
    done = subprocess.run([program("BELAYD"), "token", "add", tokens, "a"],
                          capture_output=True, text=True, timeout=30)
    token = done.stdout.strip().encode()
    with TlsBelayd(identity, "--metrics", ":0", "--tokens",
                   tokens) as server:
        watch = Watch(server)
        with TlsRaw(server.port) as raw:
            check(raw.judged(token=b"wrong") == R.WIRE_AUTH_FAILED, "token")
            check(raw.judged(token=token) == 0, "right token")
        with socket.create_connection(("127.0.0.1", server.port)) as bad:
            bad.settimeout(20)
            bad.sendall(b"\x16\x03\x01\x00\x05nohel")
            while bad.recv(100):
                pass
        with socket.create_connection(("127.0.0.1", server.port)) as plain:
            plain.settimeout(20)
            plain.sendall(hello())
            answer = b""
            with contextlib.suppress(ConnectionResetError):
                while more := plain.recv(1000):
                    answer += more
            check(len(answer) < 200, "more than a refusal in the clear")

        def told():
            seen = watch.since()
            for key in ("belayd_sent_bytes_total",
                        "belayd_received_bytes_total",
                        "belayd_connection_resets_total"):
                seen.pop(key, None)
            return seen == {
                spell(key): value for key, value in dict(
                    connections_total=3, tls_handshakes_total=1,
                    tls_handshakes_failed_total=2, auth_failures_total=1,
                    errors_total__access=2, requests_total=2).items()}
        wait_until(told, "numbers; they are %r" % watch.since(), 20)


@case
def limits_are_counted_by_name(tmp):
    with serve("--max-connections", "3", "--max-per-address",
               "1") as server:
        watch = Watch(server)
        with Raw(server.port), Raw(server.port, source="127.0.0.2"):
            with Raw(server.port, greet=False) as third:
                check(third.ends_with() is not None, "taken")
            with Raw(server.port, source="127.0.0.3"):
                with Raw(server.port, greet=False,
                         source="127.0.0.4") as fifth:
                    check(fifth.ends_with() is not None, "taken")
                wait_until(lambda: watch.since().get(
                    spell("limit_hits_total__connections")) == 1, "limit")
        check(watch.since()[
            spell("limit_hits_total__connections_per_address")] == 1,
              watch.since())
        wait_until(lambda: "belayd_connections_open" not in watch.since(),
                   "end of all")
        check(watch.since()["belayd_connections_total"] == 3, watch.since())


@case
def hash_jobs_run_and_are_given_up(tmp):
    """One of a file so long that it is seen, and dropped by who wanted it."""
    with serve() as server:
        watch = Watch(server)
        with Raw(server.port) as raw:
            raw.info("small", c=18)
            raw.answer(raw.digest(count=1))
            wait_until(lambda: watch.since().get(
                "belayd_hash_jobs_done_total") == 1, "end of a job")
            check(watch.since()["belayd_digest_cache_misses_total"] == 1,
                  watch.since())
        with Raw(server.port) as raw:
            raw.info("huge")
            request = raw.digest(count=1)
            wait_until(lambda: watch.since().get(
                spell("hash_jobs__running")) == 1, "a running job")
            raw.cancel(request)
            wait_until(lambda: watch.since().get(
                "belayd_hash_jobs_done_total") == 2, "a job given up")
            check(watch.since()[spell("errors_total__cancelled")] == 1,
                  watch.since())
        check(not [key for key in watch.since() if "hash_jobs{" in key],
              watch.since())


# -- processes ----------------------------------------------------------------

@case
def counters_survive_workers_and_the_exporter(tmp):
    with serve("--workers", "1") as server:
        watch = Watch(server)
        raw = Raw(server.port)
        fetch(raw, "small")
        wait_until(lambda: watch.since().get(
            "belayd_chunks_sent_total{encoding=\"raw\"}") == 1, "a chunk")
        check(watch.since()["belayd_connections_open"] == 1, "open")
        teller = exporter(server)
        [worker] = [pid for pid in children(server) if pid != teller]
        os.kill(worker, signal.SIGKILL)

        def replaced():
            seen = watch.since()
            return seen.get("belayd_worker_starts_total") == 1 and seen
        seen = wait_until(replaced, "another worker")
        check(seen["belayd_worker_crashes_total"] == 1 and
              "belayd_workers" not in seen and
              "belayd_connections_open" not in seen and
              seen["belayd_connections_total"] == 1 and
              seen["belayd_sent_file_bytes_total"] == 5000, seen)

        with Raw(server.port) as raw:
            before = watch.now()
            os.kill(teller, signal.SIGKILL)
            fetch(raw, "small")  # goes on without
            wait_until(lambda: exporter(server) not in (teller, None),
                       "another exporter")
            after = wait_until(lambda: answers(watch), "numbers")
            for key, value in before.items():
                check("_total" not in key or after[key] >= value,
                      key + " went back")
            check(after["belayd_connections_open"] == 1 and
                  after["belayd_uptime_seconds"] >
                  before["belayd_uptime_seconds"], after)
        check("exporter-exit signal=%d" % signal.SIGKILL in server.text(),
              "not logged")


def answers(watch):
    try:
        return watch.now()
    except OSError:
        return None


@case
def stops_with_the_server(tmp):
    with serve() as server:
        watch = Watch(server)
        teller = exporter(server)
        server.child.send_signal(signal.SIGTERM)
        wait_until(lambda: server.child.poll() is not None, "end")
        check(server.child.returncode == 0, "exit status")
        check(not os.path.exists("/proc/%d" % teller), "exporter goes on")
        check(answers(watch) is None, "port is open")


@case
def exporter_is_confined(tmp):
    """It sees no file, no socket of clients, no key, and cannot write the
    numbers."""
    identity = self_made(tmp)
    with TlsBelayd(identity, "--metrics", ":0", "--sandbox",
                   "require") as server:
        wait_until(lambda: exporter(server), "exporter")
        Watch(server).now()
        pid = exporter(server)
        with open("/proc/%d/status" % pid) as file:
            status = dict(line.split(":\t", 1) for line in file)
        sanitized = "calls=left-out-in-this-build" in server.text()
        check(status["NoNewPrivs"].strip() == "1" and
              status["Seccomp"].strip() == ("0" if sanitized else "2"),
              status)
        with open("/proc/%d/maps" % pid) as file:
            maps = file.read()
        check("belayd-vault" not in maps, "the keys are within reach")
        shared = [line for line in maps.splitlines() if "/dev/zero" in line]
        check(shared and all(" r--s " in line for line in shared), shared)
        listening = listening_inodes()
        ports = [listening[inode] for inode in sockets_of(pid)
                 if inode in listening]
        check(ports == [int(re.search(r"metrics on \S+:(\d+)",
                                      server.text())[1])], ports)
        for worker in children(server):
            if worker != pid:
                check([listening[inode] for inode in sockets_of(worker)
                       if inode in listening] == [server.port],
                      "sockets of a worker")


def sockets_of(pid):
    for fd in os.listdir("/proc/%d/fd" % pid):
        found = re.fullmatch(r"socket:\[(\d+)\]",
                             os.readlink("/proc/%d/fd/%s" % (pid, fd)))
        if found:
            yield found[1]


def listening_inodes():
    with open("/proc/net/tcp") as file:
        rows = [line.split() for line in file][1:]
    return {row[9]: int(row[1].split(":")[1], 16) for row in rows
            if row[3] == "0A"}


# -- who talks to it ----------------------------------------------------------

def talk(port, data):
    """The whole answer, as bytes."""
    with socket.create_connection(("127.0.0.1", port), 20) as sock:
        whole = b""
        try:
            sock.sendall(data)
            while True:
                got = sock.recv(1 << 16)
                if not got:
                    return whole
                whole += got
        except ConnectionResetError:
            return whole


@case
def only_get_and_head_of_metrics(tmp):
    with serve() as server:
        port = Watch(server).port
        answer, body = request(port)
        check(answer.getheader("Content-Type") ==
              "text/plain; version=0.0.4; charset=utf-8" and
              int(answer.getheader("Content-Length")) == len(body),
              answer.getheaders())
        answer, body = request(port, "HEAD")
        check(answer.status == 200 and body == "" and
              int(answer.getheader("Content-Length")) > 1000, "HEAD")
        for path in ("/", "/metrics/", "/metric", "/metrics/../f", "/f"):
            for method in ("GET", "POST"):
                check(request(port, method, path)[0].status == 404, path)
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE", "X"):
            answer, _ = request(port, method)
            check(answer.status == 405 and
                  answer.getheader("Allow") == "GET, HEAD", method)
        parse(talk(port, b"GET /metrics HTTP/1.0\r\n\r\n").decode()
              .split("\r\n\r\n", 1)[1])
        twice = talk(port, b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n" * 2)
        check(twice.count(b"HTTP/1.1 200") == 1, "one request each")


NONSENSE = (
    b"", b"\0" * 100, b"\xff" * 9000, b"GET\r\n\r\n",
    b"GET  HTTP/1.1\r\n\r\n", b"\r\n" * 50 + b"\x16\x03\x01",
    b"GET /metrics HTTP/9.9\r\n\r\n",
    b"GET /metrics HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 20000 + b"\r\n\r\n",
    b"GET /" + b"a" * 20000 + b" HTTP/1.1\r\n\r\n",
    b"GET /%00%ff%zz/../%2e HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: "
    b"99999999999999999999\r\n\r\n",
    b"POST /metrics HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
    b"\r\nffffffffffffffffff\r\n",
    b"GET /metrics HTTP/1.1\r\nA\r\n: b\r\n \r\n\r\n")


def harmless(port, data):
    """The connection ends, with an answer or without."""
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.settimeout(40)
        try:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(1 << 16):
                pass
        except TimeoutError:
            raise harness.Failure("left open: %r" % data) from None
        except OSError:
            pass


@case
def nonsense_does_no_harm(tmp):
    with serve() as server:
        watch = Watch(server)
        teller = exporter(server)
        together(lambda data: harmless(watch.port, data), NONSENSE)
        watch.now()
        check(exporter(server) == teller, "the exporter ended")


@case
def who_trickles_or_waits_is_shown_out(tmp):
    """All places taken by those who never end their request: they go after
    their time, one byte after the other or not, and others are served."""
    with serve() as server:
        watch = Watch(server)
        idle = [socket.create_connection(("127.0.0.1", watch.port))
                for _ in range(15)]
        trickle = socket.create_connection(("127.0.0.1", watch.port))
        trickle.sendall(b"GET /metrics HTTP/1.1\r\nX: ")
        late = socket.create_connection(("127.0.0.1", watch.port), 40)
        late.sendall(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")

        def shown_out():
            try:
                trickle.sendall(b"y")
                trickle.settimeout(0.3)
                return trickle.recv(1000) == b""
            except TimeoutError:
                return False
            except (BrokenPipeError, ConnectionResetError):
                return True
        wait_until(shown_out, "end of the one who trickles", 40)
        check(late.recv(100).startswith(b"HTTP/1.1 200"), "no answer")
        for sock in idle:
            sock.settimeout(40)
            try:
                check(sock.recv(1) == b"", "not closed")
            except ConnectionResetError:
                pass
        watch.now()


@case
def the_manual_lists_all_and_no_more(tmp):
    with open(os.path.join(harness.TOP, "server", "belayd.8")) as file:
        manual = file.read()
    manual = manual[manual.index(".Sh METRICS"):manual.index(".Sh SIGNALS")]
    with serve() as server:
        series = Watch(server).now()
    families = {re.sub(r"\{.*", "", key) for key in series}
    named = set(re.findall(r"\bbelayd_\w+", manual))
    check(named == families, named ^ families)
    for key in series:
        for value in re.findall(r'(?:encoding|class|state|limit)="(\w+)"',
                                key):
            check(re.search(r"\b%s\b" % value, manual), "no " + value)


# -- the option ---------------------------------------------------------------

@case
def off_unless_asked_for(tmp):
    root = os.path.join(tmp, "root")
    os.makedirs(root)
    with Belayd(root, "--workers", "1") as server:
        wait_until(lambda: "worker-start" in server.text(), "worker")
        check(len(children(server)) == 1 and "metrics" not in server.text(),
              server.text())


@case
def wrong_addresses(tmp):
    root = os.path.join(tmp, "root")
    os.makedirs(root)
    taken = socket.create_server(("127.0.0.1", 0))
    user = harness.as_user()
    for text, code in (("", 2), (":", 2), (":x", 2), ("9", 2), (":65536", 2),
                       ("localhost:9", 2), ("1.2.3.4", 2), ("::1:9", 2),
                       (":" + "1" * 200, 2), ("203.0.113.7:0", 1),
                       (":%d" % taken.getsockname()[1], 1)):
        done = subprocess.run(
            [program("BELAYD"), "--root", root, "--plain", "--listen",
             "127.0.0.1:0", "--metrics", text, *user], timeout=20,
            capture_output=True, text=True)
        check(done.returncode == code and len(done.stderr.splitlines()) == 1
              and done.stdout == "", "%r: %r" % (text, done))


if __name__ == "__main__":
    harness.main()
