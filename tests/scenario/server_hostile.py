"""What a hostile or broken client can do to the server: nothing but be told
so.  After each case a well-behaved client is served."""

import os
import random
import shutil
import socket
import struct
import time

import harness
from harness import MI, Belayd, Failure, case, check, need_root, \
    scaled, settle, wait_until, write_random

import belay_wire as W
import registry as R
from rawclient import MAX, Raw, fetch, hello, joined

BASE = {}


def serve(tmp, *args):
    root = os.path.join(tmp, "root")
    os.makedirs(os.path.join(root, "sub"), exist_ok=True)
    with open(os.path.join(root, "good"), "wb") as out:
        out.write(b"good" * 5000)
    return Belayd(root, *args)


def check_alive(server, source=None):
    with Raw(server.port, source=source) as raw:
        _, chunks, _ = fetch(raw, "good", 12)
        check(joined(chunks) == b"good" * 5000, "the server no longer serves")
    check("worker-crash" not in server.text(), server.text())


def frame(kind, request, payload=b"", length=None, crc=None, flags=0):
    """A frame that may lie about itself."""
    head = struct.pack(">IBBHI", len(payload) if length is None else length,
                       kind, flags, 0, request)
    import zlib
    return head + struct.pack(
        ">I", zlib.crc32(head + payload) if crc is None else crc) + payload


OPEN_GOOD = struct.pack(">IBBH", 1, 0, 12, 4) + b"good"

# What is sent behind the greeting, and the class of the answer.
BROKEN = {
    "zero-filled": (bytes(64), 5),
    "type 0": (frame(0, 0), 6),
    "wrong CRC": (frame(R.FRAME_OPEN, 1, OPEN_GOOD, crc=1), 5),
    "control frame of 64 KiB": (frame(R.FRAME_PING, 0, length=65536), 6),
    "length 2^31": (frame(R.FRAME_OPEN, 1, length=1 << 31), 6),
    "length 2^32-1": (frame(R.FRAME_OPEN, 1, length=2 ** 32 - 1), 6),
    "chunk from a client": (frame(R.FRAME_CHUNK, 1, bytes(56)), 6),
    "INFO from a client": (frame(R.FRAME_INFO, 1, bytes(32)), 6),
    "DONE from a client": (frame(R.FRAME_DONE, 1, bytes(16)), 6),
    "unknown control type": (frame(0x0E, 0), 6),
    "request id 0": (frame(R.FRAME_OPEN, 0, OPEN_GOOD), 6),
    "request id 2^32-1": (frame(R.FRAME_OPEN, 2 ** 32 - 1, OPEN_GOOD), 6),
    "PING under a request": (frame(R.FRAME_PING, 7, bytes(8)), 6),
    "short PING": (frame(R.FRAME_PING, 0, bytes(7)), 6),
    "long PING": (frame(R.FRAME_PING, 0, bytes(9)), 6),
    "short OPEN": (frame(R.FRAME_OPEN, 1, b"\0\0\0\1"), 6),
    "path longer than the frame": (
        frame(R.FRAME_OPEN, 1, struct.pack(">IBBH", 1, 0, 0, 500) + b"x"), 6),
    "TLV cut off": (frame(R.FRAME_OPEN, 1, OPEN_GOOD + b"\0\x30\0\x09a"), 6),
    "TLVs descending": (frame(
        R.FRAME_OPEN, 1, OPEN_GOOD + W.encode_tlv(0x1A1A, b"") +
        W.encode_tlv(0x0A0A, b"")), 6),
    "TLV twice": (frame(
        R.FRAME_OPEN, 1, OPEN_GOOD + W.encode_tlv(0x0A0A, b"") * 2), 6),
    "TLV with a wrong length": (frame(
        R.FRAME_OPEN, 1,
        OPEN_GOOD + W.encode_tlv(R.TLV_EXPECT_CID, bytes(31))), 6),
    "more ranges than bytes": (
        frame(R.FRAME_GET, 1, struct.pack(">IBBH", 1, 3, 0, 60)), 6),
    "second HELLO": (hello()[R.PREFACE_LEN:], 6),
    "ERROR under a request": (
        frame(R.FRAME_ERROR, 5, b"\1\1\0\0", flags=1), 6),
}


@case
def broken_frames_end_the_connection_with_their_class(tmp):
    with serve(tmp) as server:
        for what, (data, kind) in BROKEN.items():
            for pieces in (1, len(data)):
                with Raw(server.port) as raw:
                    for i in range(pieces):
                        part = data[i::1][:1] if pieces > 1 else data
                        try:
                            raw.send(part)
                        except OSError:
                            break
                    codes = raw.ends_with()
                    check(codes and codes[0] >> 8 == kind,
                          "%s: codes %r" % (what, codes))
        check_alive(server)


@case
def requests_against_a_rule_fail_alone(tmp):
    def get(*ranges, handle=1, urgency=3):
        return R.FRAME_GET, struct.pack(
            ">IBBH", handle, urgency, 0, len(ranges)) + \
            b"".join(struct.pack(">QQ", *r) for r in ranges)

    wrong = [
        (get(), R.WIRE_BAD_REQUEST),
        (get((0, 0)), R.WIRE_BAD_REQUEST),
        (get((10, 10), (15, 10)), R.WIRE_BAD_REQUEST),
        (get((10, 10), (0, 10)), R.WIRE_BAD_REQUEST),
        (get((0, MAX), (0, 1)), R.WIRE_BAD_REQUEST),
        (get((1 << 63, 1 << 63)), R.WIRE_BAD_REQUEST),
        (get((0, 1), urgency=8), R.WIRE_BAD_REQUEST),
        (get(*[(i * 2, 1) for i in range(65)]), R.WIRE_BAD_REQUEST),
        (get((0, 1), handle=9), R.WIRE_BAD_HANDLE),
        ((R.FRAME_CLOSE, struct.pack(">I", 9)), R.WIRE_BAD_HANDLE),
        ((R.FRAME_DIGEST, struct.pack(">IBBHQII", 9, 0, 0, 0, 0, 0, 0)),
         R.WIRE_BAD_HANDLE),
        ((R.FRAME_DIGEST, struct.pack(">IBBHQII", 1, 33, 0, 0, 0, 0, 0)),
         R.WIRE_BAD_REQUEST),
        ((R.FRAME_OPEN, struct.pack(">IBBH", 0, 0, 0, 4) + b"good"),
         R.WIRE_BAD_REQUEST),
        ((R.FRAME_OPEN, struct.pack(">IBBH", 5, 1, 0, 4) + b"good"),
         R.WIRE_BAD_REQUEST),
        ((R.FRAME_OPEN, struct.pack(">IBBH", 1, 0, 0, 4) + b"good"),
         R.WIRE_BAD_HANDLE),
        ((R.FRAME_OPEN, struct.pack(">IBBH", 5, 0, 11, 4) + b"good"),
         R.WIRE_UNSUPPORTED),
        ((R.FRAME_OPEN, struct.pack(">IBBH", 5, 0, 23, 4) + b"good"),
         R.WIRE_UNSUPPORTED),
        ((R.FRAME_OPEN, struct.pack(">IBBH", 5, 0, 0, 4) + b"good" +
          W.encode_tlv(0x8077, b"?")), R.WIRE_UNSUPPORTED),
        ((0x2F, b"who knows"), R.WIRE_UNSUPPORTED),
        ((R.FRAME_AUTH, b"\1\0\0\0" + W.encode_tlv(R.TLV_TOKEN, b"x")),
         R.WIRE_INSECURE),
        ((R.FRAME_AUTH, b"\2\0\0\0"), R.WIRE_UNSUPPORTED),
        ((R.FRAME_LIST, b"\0\0\0\0" +
          W.encode_tlv(R.TLV_MAX_ENTRIES, bytes(4))), R.WIRE_BAD_REQUEST),
    ]
    with serve(tmp) as server, Raw(server.port) as raw:
        raw.info("good", c=12)
        for (kind, payload), code in wrong:
            request, raw.next_id = raw.next_id, raw.next_id + 1
            raw.send(frame(kind, request, payload))
            got = raw.error(request)
            check(got == code, "frame %02x %r: code %04x, expected %04x" %
                  (kind, payload[:16], got, code))
        raw.answer(raw.get(), "DONE")


@case
def ignorable_things_are_ignored(tmp):
    with serve(tmp) as server, Raw(server.port) as raw:
        for kind in list(range(0x82, 0x100)):
            raw.send(frame(kind, random.randrange(2 ** 32),
                           os.urandom(random.randrange(100)), flags=0xFF))
        raw.send(frame(R.FRAME_PONG, 0, bytes(8)))
        raw.cancel(77777)
        raw.cancel(0)
        opened = raw.next_id
        raw.next_id += 1
        raw.send(frame(R.FRAME_OPEN, opened, struct.pack(
            ">IBBH", 1, 0xFE & ~1, 12, 4) + b"good" +
            W.encode_tlv(0x0077, b"later"), flags=0xFE))
        raw.answer(opened, "INFO")
        raw.answer(raw.get(flags=0xF0), "DONE")


def paths(root):
    os.mkdir(os.path.join(root, "d"))
    os.symlink("good", os.path.join(root, "link-inside"))
    os.symlink("/etc/passwd", os.path.join(root, "link-absolute"))
    os.symlink("../outside", os.path.join(root, "link-outside"))
    os.symlink("loop", os.path.join(root, "loop"))
    os.symlink("/proc/self/fd/0", os.path.join(root, "link-fd"))
    os.symlink("sub", os.path.join(root, "link-dir"))
    os.mkfifo(os.path.join(root, "fifo"))
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(os.path.join(root, "socket"))
    with open(os.path.join(os.path.dirname(root), "outside"), "w") as out:
        out.write("secret")
    with open(os.path.join(root, "sub", "in"), "w") as out:
        out.write("in")
    return sock


@case
def only_regular_files_beneath_the_root(tmp):
    bad_path = [b"..", b"../outside", b"/etc/passwd", b"a/../good",
                b"sub//in", b"./good", b"good/", b"sub/", b"/", b"a\0b",
                b"x" * 256, b"d/" * 2100, b"a/" * 100 + b"a", b"."]
    missing = [b"%2e%2e/outside", b"..\\outside", b"no\nsuch", b"\x1b[2Jx",
               b"\xff\xfe", b"x" * 255, b"none", b"none/none",
               b"link-inside", b"link-absolute", b"link-outside", b"loop",
               b"link-fd", b"link-dir/in", b"good/x"]
    not_files = [b"", b"d", b"sub", b"fifo", b"socket"]
    with serve(tmp, "--verbose") as server:
        root = os.path.join(tmp, "root")
        paths(root)
        if os.geteuid() == 0:
            os.mknod(os.path.join(root, "null"), 0o20666, os.makedev(1, 3))
            not_files.append(b"null")
        with Raw(server.port) as raw:
            began = time.monotonic()
            for group, code in ((bad_path, R.WIRE_BAD_PATH),
                                (missing, R.WIRE_NOT_FOUND),
                                (not_files, R.WIRE_NOT_A_FILE)):
                for path in group:
                    request = raw.open(path)
                    got = raw.error(request)
                    check(got == code, "%r: code %04x, expected %04x" %
                          (path[:40], got, code))
            check(time.monotonic() - began < 10, "an open blocked")
        log = server.text()
        check("\x1b" not in log and "\nsuch" not in log, "raw bytes logged")
        check_alive(server)


@case
def mode_000_looks_like_missing(tmp):
    # Root reads everything, so it must become somebody else.
    other = []
    if os.geteuid() == 0:
        cache = os.path.join(tmp, "cache")
        os.mkdir(cache)
        shutil.chown(cache, "nobody")
        other = ["--user", "nobody", "--cache", cache]
    with serve(tmp, *other) as server, Raw(server.port) as raw:
        path = os.path.join(tmp, "root", "locked")
        with open(path, "w") as out:
            out.write("x")
        os.chmod(path, 0)
        check(raw.error(raw.open("locked")) == R.WIRE_NOT_FOUND, "locked")


@case
def the_cache_is_not_served(tmp):
    root = os.path.join(tmp, "root")
    os.makedirs(os.path.join(root, "cache"))
    with open(os.path.join(root, "good"), "wb") as out:
        out.write(b"good" * 5000)
    server = harness.Listening(
        [harness.program("BELAYD"), "--root", root, "--plain", "--listen",
         "127.0.0.1:0", "--cache", os.path.join(root, "cache"),
         *harness.as_user()],
        os.path.join(tmp, "log"))
    with server, Raw(server.port) as raw:
        check(raw.error(raw.open("cache/digests.mdb")) == R.WIRE_NOT_FOUND,
              "the cache file is served")
        check(raw.error(raw.list(b"cache")) == R.WIRE_NOT_FOUND,
              "the cache directory is listed")
        entries = raw.answer(raw.list(b""), "ENTRIES")[-1].fields["entries"]
        check([e["name"] for e in entries] == [b"good"], "it shows")


@case
def greetings_that_are_none(tmp):
    rejected = bytes.fromhex("89424c590d0a1a0a0001530162 3304c6".replace(
        " ", ""))
    with serve(tmp) as server:
        for data in (b"GET / HTTP/1.1\r\n\r\n", b"\0", bytes(16),
                     W.encode_preface(R.ROLE_SERVER),
                     R.PREFACE_MAGIC + b"\0\1C\0\0\0\0\0"):
            with Raw(server.port, greet=False) as raw:
                raw.send(data)
                check(raw.sock.recv(100) == b"", "an answer to %r" % data)
        with Raw(server.port, greet=False) as raw:
            raw.send(W.encode_preface(R.ROLE_CLIENT, version=2))
            data = b""
            while part := raw.sock.recv(1000):
                data += part
            check(data[:16] == rejected, "preface %r" % data[:16])
            check(data[16:][20:22] == b"" or b"\x06\x07" in data,
                  "VERSION_REJECTED")
        with Raw(server.port, greet=False) as raw:
            raw.send(W.encode_preface(R.ROLE_CLIENT),
                     frame(R.FRAME_HELLO, 0, length=5000))
            check(raw.ends_with()[0] == R.WIRE_FRAME_TOO_LARGE, "long HELLO")
        with Raw(server.port, greet=False) as raw:
            raw.send(W.encode_preface(R.ROLE_CLIENT),
                     frame(R.FRAME_OPEN, 1, OPEN_GOOD))
            check(raw.ends_with()[0] == R.WIRE_BAD_STATE, "no HELLO")
        check_alive(server)


@case
def silence_ends_at_the_handshake_deadline(tmp):
    with serve(tmp) as server:
        began = time.monotonic()
        silent = Raw(server.port, greet=False)
        half = Raw(server.port, greet=False)
        half.send(hello()[:20])
        trickle = Raw(server.port, greet=False)
        check(silent.sock.recv(16)[:8] == R.PREFACE_MAGIC,
              "a greeting for who waits")
        data = W.encode_preface(R.ROLE_CLIENT) + \
            frame(R.FRAME_HELLO, 0, W.encode_tlvs([(R.TLV_AGENT, b"x" * 99)]))
        for byte in data[:9]:
            trickle.send(bytes([byte]))
            time.sleep(1)
        for raw in (silent, half, trickle):
            raw.closes_within(15)
        seconds = time.monotonic() - began
        check(9 < seconds < 20, "closed after %.1f s" % seconds)
        check_alive(server)


@case
def limits_at_and_one_beyond(tmp):
    with serve(tmp) as server, Raw(server.port) as raw:
        most = raw.hello.tlv_uint(R.TLV_MAX_HANDLES, 16)
        check(most == R.LIMIT_HANDLES_RECOMMENDED, "MAX_HANDLES")
        for handle in range(1, most + 1):
            raw.open("good", handle=handle, c=12)
        over = raw.open("good", handle=most + 1, c=12)
        for request in range(1, most + 1):
            raw.answer(request, "INFO")
        check(raw.error(over) == R.WIRE_TOO_MANY_HANDLES, "one too many")
        raw.answer(raw.ask("CLOSE", {"handle": 7}), "DONE")
        raw.answer(raw.open("good", handle=7, c=12), "INFO")
        raw.answer(raw.get(handle=3, ranges=[(i * 2, 1) for i in range(64)]),
                   "DONE")
    with serve(tmp) as server, Raw(server.port, patience=60) as raw:
        # Nothing is read meanwhile, so nothing can end.
        most = raw.hello.tlv_uint(R.TLV_MAX_REQUESTS, 16)
        big = os.path.join(tmp, "root", "big")
        write_random(big, 64 * MI)
        first = raw.open("big", c=22)
        for _ in range(most + 40):
            raw.get()
        time.sleep(0.5)
        refused = 0
        for request in range(first + 1, first + most + 41):
            raw.cancel(request)
        raw.sock.close()
        check_alive(server)


@case
def cancel_flood_is_cut_off(tmp):
    with serve(tmp) as server:
        big = os.path.join(tmp, "root", "big")
        write_random(big, 8 * MI)
        with Raw(server.port) as raw:
            raw.info("big", c=12)
            try:
                for _ in range(400):
                    raw.cancel(raw.get())
                codes = raw.ends_with()
            except OSError:
                codes = raw.ends_with()
            check(codes and codes[-1] >> 8 == R.WIRE_CLASS_TRANSIENT,
                  "codes %r" % codes)
        check_alive(server)


@case
def cancel_ends_with_exactly_one_end(tmp):
    with serve(tmp) as server:
        big = os.path.join(tmp, "root", "big")
        write_random(big, 64 * MI)
        with Raw(server.port) as raw:
            raw.info("big")
            request = raw.get()
            raw.message()
            raw.cancel(request)
            last = raw.answer(request)[-1]
            check(last.name == "ERROR" and
                  last.fields["code"] == R.WIRE_CANCELLED, "not cancelled")
            check(raw.received < 40 * MI, "too much was sent first")
            raw.ping()
            check(raw.message().name == "PONG", "something behind the END")


@case
def ping_is_a_fence_and_not_a_weapon(tmp):
    with serve(tmp) as server:
        with Raw(server.port) as raw:
            # Accepted for work or answered (B1-C1b): either order is right.
            bad = raw.open("none")
            raw.ping(b"fencefen")
            both = {message.name: message
                    for message in (raw.message(), raw.message())}
            check(set(both) == {"PONG", "ERROR"}, "replies %r" % set(both))
            check(both["ERROR"].header.request_id == bad, "refusal")
            check(both["PONG"].fields["opaque"] == b"fencefen", "echo")
            for _ in range(8):
                raw.ping()
                check(raw.message().name == "PONG", "PONG")
        with Raw(server.port) as raw:
            try:
                for _ in range(2000):
                    raw.ping()
            except OSError:
                pass
            codes = raw.ends_with()
            check(codes and codes[-1] == R.WIRE_TOO_MANY_PINGS,
                  "codes %r" % codes)
        check_alive(server)


@case
def garbage_by_the_thousand(tmp):
    source = random.Random(4)
    with serve(tmp, "--max-per-address", "200") as server:
        for i in range(scaled(1500, 300)):
            head = hello() if i % 2 else b""
            with Raw(server.port, greet=False) as raw:
                try:
                    raw.send(head + source.randbytes(source.randrange(300)))
                except OSError:
                    pass
        check_alive(server)


@case
def connections_per_address_have_a_limit(tmp):
    with serve(tmp, "--max-per-address", "20") as server:
        held = [Raw(server.port) for _ in range(20)]
        with Raw(server.port, greet=False) as raw:
            codes = raw.ends_with()
            check(codes and codes[0] == R.WIRE_BUSY, "codes %r" % codes)
        began = time.monotonic()
        check_alive(server, source="127.0.0.2")
        check(time.monotonic() - began < 5, "another address had to wait")
        held.pop().sock.close()

        def again():
            with Raw(server.port, greet=False) as raw:
                raw.send(hello())
                raw.item()
                return raw.message().name == "HELLO"
        wait_until(again, "free place", 5, 0.05)
        for raw in held:
            raw.sock.close()


@case
def connections_in_all_have_a_limit(tmp):
    with serve(tmp, "--max-connections", "30") as server:
        held = [Raw(server.port, source="127.0.0.%d" % (2 + i % 5))
                for i in range(30)]
        with Raw(server.port, greet=False, source="127.0.0.9") as raw:
            check(raw.ends_with()[:1] == [R.WIRE_BUSY], "not refused")
        for raw in held:
            raw.sock.close()


def worker_pids(server):
    with open("/proc/%d/task/%d/children" % (server.child.pid,
                                             server.child.pid)) as file:
        return [int(pid) for pid in file.read().split()]


def memory(server):
    """Private memory of the workers."""
    total = 0
    for pid in worker_pids(server):
        with open("/proc/%d/smaps_rollup" % pid) as file:
            for line in file:
                if line.startswith(("Private_Clean", "Private_Dirty")):
                    total += int(line.split()[1]) * 1024
    return total


@case
def a_thousand_idle_connections_cost_little(tmp):
    with serve(tmp, "--max-connections", "1100") as server:
        check_alive(server)
        before = memory(server)
        held = []
        for i in range(1000):
            held.append(Raw(server.port,
                            source="127.0.1.%d" % (1 + i // 30)))
        grown = (memory(server) - before) / len(held)
        check(harness.SCALE < 1 or grown < 100 * 1024,
              "%.0f bytes for each idle connection" % grown)
        began = time.monotonic()
        check_alive(server)
        check(time.monotonic() - began < 5, "the next client had to wait")
        for raw in held:
            raw.sock.close()


@case
def who_never_reads_costs_two_chunks(tmp):
    with serve(tmp) as server:
        big = os.path.join(tmp, "root", "big")
        write_random(big, 64 * MI)
        check_alive(server)
        before = memory(server)
        held = []
        for _ in range(20):
            raw = Raw(server.port, receive_buffer=4096)
            raw.open("big", c=18)
            raw.get()
            held.append(raw)
        time.sleep(1)
        grown = (memory(server) - before) / len(held)
        check(harness.SCALE < 1 or grown < 2 * 256 * 1024 + 150 * 1024,
              "%.0f bytes for each slow reader" % grown)
        check_alive(server)
        for raw in held:
            raw.sock.close()


@case
def connect_and_vanish(tmp):
    with serve(tmp, "--max-per-address", "50") as server:
        for i in range(scaled(1000, 200)):
            raw = Raw(server.port, greet=False)
            if i % 3 == 0:
                raw.send(hello()[:i % 40])
            harness.abort(raw.sock)
        time.sleep(0.5)
        pids = worker_pids(server)

        def drained():
            return all(len(os.listdir("/proc/%d/fd" % pid)) < 40
                       for pid in pids)
        wait_until(drained, "closed descriptors", 5)
        # No place was lost: as many as before can come.
        held = [Raw(server.port) for _ in range(50)]
        for raw in held:
            raw.sock.close()


@case
def log_lines_stay_lines(tmp):
    with serve(tmp) as server:
        agent = b"evil\x1b[31m\n2026 info fake\r\x9b\"\\%n%s" + b"A" * 60
        with Raw(server.port, greet=False) as raw:
            raw.send(hello(((R.TLV_AGENT, agent),)))
            raw.greeting()
        wait_until(lambda: "reason=" in server.text(), "log line", 5)
        line = [line for line in server.text().splitlines()
                if "reason=" in line][-1]
        check("agent=" in line and "\\x1B" in line, line)
        check("\x1b" not in server.text() and "\r" not in server.text(),
              "raw bytes in the log")


if __name__ == "__main__":
    harness.main()
