#!/usr/bin/env python3
"""A small Belay server over plain TCP, for testing clients.

    mini_server.py --root DIR [--listen HOST:PORT] [faults]

It prints "listening on HOST:PORT" and serves DIR, read-only, until it is
killed.  It does what belay-1 section 14.1 asks of a server, and proofs, LIST,
CANCEL, AUTH and zlib besides, one request after another.  The faults make it a
partner that breaks connections or knows less than it could:

    --cut N            reset each connection after N bytes have been sent
    --cut-random SEED  reset each connection at a random byte below 3 chunks
    --flip N           invert one bit of the Nth byte of each connection
    --racy-ms N        a file that changed this recently has no strong VERSION
    --weak             no VERSION is ever strong
    --no-cid           never name a CID in INFO, DONE or CHANGED
    --max-c N          largest chunk_log2
    --zlib             compress chunks where that helps
    --speaks-first     do not wait long for the client's preface
    --token TOKEN      requests need AUTH with this token
    --secure           something in front ends TLS, so that tokens may come
"""

import argparse
import hmac
import os
import random
import socket
import stat
import struct
import sys
import threading
import time
import zlib
from queue import Empty, Queue

HERE = os.path.dirname(os.path.abspath(__file__))
sys.dont_write_bytecode = True
sys.path.insert(0, HERE)

import belay_chunk as chunk  # noqa: E402  (needs the path above)
import belay_id as identity  # noqa: E402
import belay_wire as wire  # noqa: E402

R = wire.R
MAX_REQUESTS = 64
MAX_HANDLES = 32


class Refusal(Exception):
    """ERROR for one request."""

    def __init__(self, code, *tlvs):
        super().__init__(code)
        self.code, self.tlvs = code, tlvs


class Closed(Exception):
    """The connection is over, by the peer or by a fault."""


class Handle:
    """One open file in one version (I2: one fstat serves both)."""

    def __init__(self, server, fd, want, client_max):
        self.server, self.fd = server, fd
        self.stat = os.fstat(fd)
        self.size = self.stat.st_size
        self.version = server.version(self.stat)
        self.strong = not server.options.weak and self.rest_ms() <= 0
        most = min(server.options.max_c, client_max)
        self.c = want or min(identity.default_chunk_log2(self.size), most)
        if not R.LIMIT_CHUNK_LOG2_MIN <= self.c <= most or \
                identity.chunk_count(self.size, self.c) > 1 << 32:
            raise Refusal("UNSUPPORTED")
        self.digests = server.digests.setdefault((self.version, self.c), {})

    def rest_ms(self):
        """How long the file has to rest until a token of it is strong."""
        age = time.time() - self.stat.st_ctime
        return self.server.options.racy_ms - age * 1000

    def check(self):
        """G5a"""
        if self.server.version(os.fstat(self.fd)) != self.version:
            raise Refusal("CHANGED_DURING")

    def read(self, i):
        """Raw bytes and D_i of chunk i."""
        self.check()
        length = identity.chunk_len(self.size, self.c, i)
        data = os.pread(self.fd, length, i << self.c)
        if len(data) != length:
            raise Refusal("CHANGED_DURING")
        digest = identity.sha256(data)
        # I11: what was read under a weak version is not used again.
        if self.strong and self.digests.setdefault(i, digest) != digest:
            raise Refusal("CHANGED_DURING")         # G5b
        return data, digest

    def digest(self, i):
        if self.strong and i in self.digests:
            return self.digests[i]
        return self.read(i)[1]

    def leaves(self):
        count = identity.chunk_count(self.size, self.c)
        return identity.leaves_of(self.size, self.c,
                                  [self.digest(i) for i in range(count)])

    def cid(self):
        """I5: known once every digest is."""
        count = identity.chunk_count(self.size, self.c)
        if not self.strong or len(self.digests) != count or \
                self.server.options.no_cid:
            return None
        return identity.cid(self.size, self.c, identity.mth(self.leaves()))

    def tlvs(self):
        cid = self.cid()
        return [(R.TLV_VERSION, self.version)] + \
            ([(R.TLV_CID, cid)] if cid else [])


class Server:
    def __init__(self, options):
        self.options = options
        self.tree = os.urandom(16)
        self.digests = {}               # (version, c) -> {chunk: D_i}
        self.random = random.Random(options.cut_random)

    def version(self, st):
        """I9"""
        return identity.sha256(self.tree, struct.pack(
            ">6Q", st.st_dev, st.st_ino, st.st_size, st.st_mtime_ns,
            st.st_ctime_ns, 0))[:16]

    def open_path(self, path, flags):
        """N1c: every component beneath the root, no link followed."""
        fd = os.open(self.options.root, os.O_RDONLY | os.O_DIRECTORY)
        parts = path.split(b"/") if path else []
        try:
            for i, part in enumerate(parts):
                more = flags if i == len(parts) - 1 else os.O_DIRECTORY
                inner = os.open(part, os.O_RDONLY | os.O_NOFOLLOW |
                                os.O_NONBLOCK | more, dir_fd=fd)
                os.close(fd)
                fd = inner
        except NotADirectoryError:
            os.close(fd)
            raise Refusal("NOT_A_DIRECTORY" if flags else "NOT_FOUND")
        except OSError:
            os.close(fd)
            raise Refusal("NOT_FOUND")
        return fd


class Session:
    """One connection: a thread that reads, and one that answers."""

    def __init__(self, server, sock):
        self.server, self.sock = server, sock
        self.reader = wire.StreamReader("client")
        self.queue = Queue(2 * MAX_REQUESTS)
        self.handles = {}
        self.cancelled = set()
        self.last_id = self.received = 0
        self.greeted, self.hello = False, None
        self.trusted, self.refusals = not server.options.token, 0
        self.born = time.monotonic()
        self.sent = 0
        self.cut = server.options.cut
        if server.options.cut_random is not None:
            self.cut = server.random.randrange(1, 13000)

    # -- bytes out, with the faults --

    def put(self, data):
        flip = self.server.options.flip
        if flip is not None and self.sent <= flip < self.sent + len(data):
            at = flip - self.sent
            data = data[:at] + bytes([data[at] ^ 1]) + data[at + 1:]
        if self.cut is not None and self.sent + len(data) > self.cut:
            self.sock.sendall(data[:self.cut - self.sent])
            # Zero linger: the peer sees a reset, not an orderly end.
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                 struct.pack("ii", 1, 0))
            raise Closed()
        self.sock.sendall(data)
        self.sent += len(data)

    def send(self, name, ident=0, fields=None, tlvs=(), end=False):
        self.put(wire.encode(name, ident, fields, tlvs, end))

    def error(self, ident, code, tlvs=()):
        self.send("ERROR", ident, {"code": getattr(R, "WIRE_" + code)}, tlvs)

    # -- bytes in --

    def read_forever(self):
        """L5a: this thread keeps reading while the other one writes."""
        try:
            while True:
                data = self.sock.recv(65536)
                if not data:
                    break
                for item in self.items(data):
                    if isinstance(item, wire.Message) and \
                            item.name == "CANCEL":
                        self.cancelled.add(item.header.request_id)
                    else:
                        self.queue.put(item)
        except wire.WireError as error:
            self.queue.put(error)
        except OSError:
            pass
        self.queue.put(None)

    def items(self, data):
        """H6: what is read before HELLO is complete fits into 4 KiB."""
        self.reader.buffer += data
        self.received += len(data)
        while True:
            item = self.reader.step()
            behind = len(self.reader.buffer) if item else 0
            if not self.greeted and \
                    self.received - behind > R.LIMIT_PRE_HELLO:
                raise wire.WireError("FRAME_TOO_LARGE", "H6", "long HELLO")
            if item is None:
                return
            self.greeted = self.greeted or isinstance(item, wire.Message)
            yield item

    def next_item(self, seconds):
        """None at the end of the stream, or when the time is over."""
        try:
            return self.queue.get(timeout=max(0, seconds))
        except Empty:
            return None

    def run(self):
        reading = threading.Thread(target=self.read_forever, daemon=True)
        reading.start()
        try:
            self.greet()
            while True:
                item = self.next_item(self.patience())
                if item is None and not self.trusted:
                    self.error(0, "HANDSHAKE_TIMEOUT")
                    break
                if item is None:
                    self.send("GOAWAY", 0, {"last_id": self.last_id})
                    break
                if isinstance(item, wire.WireError):
                    raise item
                if not self.element(item):
                    break
        except wire.WireError as error:
            self.farewell(error)
        except (Closed, OSError):
            pass
        finally:
            self.stop(reading)
            for handle in self.handles.values():
                os.close(handle.fd)

    def patience(self):
        """T3 is absolute, T10 begins again with each frame."""
        if self.trusted:
            return R.TIMER_IDLE_MS / 1000
        return self.born + R.TIMER_AUTH_MS / 1000 - time.monotonic()

    def stop(self, reading):
        """The reader has to leave recv() first, or close() has no effect."""
        try:
            self.sock.shutdown(socket.SHUT_RD)
        except OSError:
            pass
        while reading.is_alive():
            if not self.queue.empty():
                self.queue.get()
            reading.join(0.01)
        self.sock.close()

    def farewell(self, error):
        try:
            if self.hello:
                self.error(0, error.code)
        except (Closed, OSError):
            pass

    def greet(self):
        deadline = time.monotonic() + R.TIMER_HANDSHAKE_MS / 1000
        preface, early = None, False
        if self.server.options.speaks_first:    # W4
            preface = self.next_item(R.TIMER_PREFACE_WAIT_MS / 1000)
            early = preface is None
            if early:
                self.put(wire.encode_preface(R.ROLE_SERVER))
        preface = preface or self.next_item(R.TIMER_HANDSHAKE_MS / 1000)
        if isinstance(preface, wire.WireError):
            if preface.code == "VERSION_REJECTED":
                if not early:
                    self.put(wire.encode_preface(R.ROLE_SERVER,
                                                 flags=R.PREFACE_REJECTED))
                self.error(0, "VERSION_REJECTED",
                           [(R.TLV_VERSIONS, b"\x00\x01")])
            raise Closed()
        if preface is None:
            raise Closed()
        if not early:
            self.put(wire.encode_preface(R.ROLE_SERVER))
        hello = self.next_item(deadline - time.monotonic())
        if not isinstance(hello, wire.Message) or hello.name != "HELLO":
            if hello is not None:
                self.error(0, getattr(hello, "code", "BAD_STATE"))
            raise Closed()
        self.hello = hello
        self.send("HELLO", tlvs=[
            (R.TLV_MAX_CHUNK_LOG2, bytes([self.server.options.max_c])),
            (R.TLV_MAX_REQUESTS, struct.pack(">H", MAX_REQUESTS)),
            (R.TLV_MAX_HANDLES, struct.pack(">H", MAX_HANDLES)),
            (R.TLV_CODECS, b"\x00\x01\x0a"),
            (R.TLV_AGENT, b"mini_server/1")] + (
                [(R.TLV_AUTH_METHODS, bytes([R.AUTH_BEARER, 0x7A]))]
                if self.server.options.token else []) + [
            (0x3A3A, b"grease")])
        self.put(wire.encode_frame(R.GREASE_FRAME[2], 7, b"grease"))

    # -- one frame --

    def element(self, item):
        """False when the connection is to end."""
        if isinstance(item, tuple):
            found, header = item
            if found == wire.SKIP:
                return True
            self.new_id(header.request_id)
            self.error(header.request_id, "UNSUPPORTED"
                       if found == wire.ANSWER_UNSUPPORTED else found.code)
            return True
        name, ident = item.name, item.header.request_id
        if name == "PING":
            self.send("PONG", 0, item.fields)
        elif name == "HELLO":
            raise wire.WireError("BAD_STATE", "H1b", "a second HELLO")
        elif name in ("GOAWAY", "ERROR"):
            return False
        elif name in wire.REQUESTS:
            self.new_id(ident)
            self.answer(item, ident)
        return True

    def new_id(self, ident):
        if ident <= self.last_id:
            raise wire.malformed("F6b", "request id %d" % ident)
        self.last_id = ident

    def answer(self, message, ident):
        number = message.fields.get("handle")
        try:
            if not self.trusted and message.name != "AUTH":
                raise Refusal("AUTH_REQUIRED")
            getattr(self, "do_" + message.name.lower())(message, ident)
        except Refusal as refusal:
            self.error(ident, refusal.code, refusal.tlvs)
            if self.refusals >= R.LIMIT_AUTH_ATTEMPTS:
                raise Closed()
            if refusal.code == "CHANGED_DURING":
                self.close(number)
        if message.name == "GET" and message.fields["flags"] & \
                R.GET_CLOSE_AFTER:
            self.close(number)

    def close(self, number):
        handle = self.handles.pop(number, None)
        if handle:
            os.close(handle.fd)

    def handle(self, message):
        handle = self.handles.get(message.fields["handle"])
        if handle is None:
            raise Refusal("BAD_HANDLE")
        return handle

    def stop_if_cancelled(self, ident):
        if ident in self.cancelled:
            raise Refusal("CANCELLED")

    # -- requests --

    def do_auth(self, message, ident):
        options, token = self.server.options, message.tlv(R.TLV_TOKEN)
        bearer = message.fields["method"] == R.AUTH_BEARER
        if bearer and token is None:
            raise Refusal("BAD_REQUEST")
        if bearer and not options.secure:
            self.refusals += 1
            raise Refusal("INSECURE")
        if not options.token or not bearer:
            raise Refusal("UNSUPPORTED")
        if not hmac.compare_digest(token, options.token.encode()):
            self.refusals += 1
            raise Refusal("AUTH_FAILED")
        self.trusted = True
        self.send("DONE", ident)

    def do_close(self, message, ident):
        self.handle(message)
        self.close(message.fields["handle"])
        self.send("DONE", ident)

    def do_open(self, message, ident):
        fields = message.fields
        number = fields["handle"]
        if number in self.handles:
            raise Refusal("BAD_HANDLE")
        if number and len(self.handles) >= MAX_HANDLES:
            raise Refusal("TOO_MANY_HANDLES")
        fd = self.server.open_path(fields["path"], 0)
        keep = False
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                self.info_other(fd, number, ident)
                return
            handle = Handle(self.server, fd, fields["want_chunk_log2"],
                            self.hello.tlv_uint(R.TLV_MAX_CHUNK_LOG2,
                                                R.LIMIT_CHUNK_LOG2_DEFAULT))
            self.expect(message, handle)
            self.info(handle, number, ident)
            if number:
                self.handles[number] = handle
                keep = True
        finally:
            if not keep:
                os.close(fd)

    def expect(self, message, handle):
        """O6, the table of section 10.1."""
        cid, known = message.tlv(R.TLV_EXPECT_CID), handle.cid()
        version = message.tlv(R.TLV_EXPECT_VERSION)
        if cid is not None and known is not None:
            changed = cid != known
        else:
            changed = version is not None and version != handle.version
        if changed:
            size = struct.pack(">Q", handle.size)
            raise Refusal("CHANGED", *handle.tlvs(), (R.TLV_SIZE, size))

    def info(self, handle, number, ident):
        tlvs = handle.tlvs()
        flags = R.INFO_VERSION_STRONG if handle.strong else 0
        if len(tlvs) == 1 and not self.server.options.no_cid:
            flags |= R.INFO_CID_PENDING
        self.send("INFO", ident, {
            "handle": number, "file_type": R.FILE_REGULAR,
            "chunk_log2": handle.c, "info_flags": flags, "size": handle.size,
            "mtime_s": handle.stat.st_mtime_ns // 10 ** 9,
            "mtime_ns": handle.stat.st_mtime_ns % 10 ** 9,
            "mode": handle.stat.st_mode & 0o777}, tlvs)

    def info_other(self, fd, number, ident):
        if number:
            raise Refusal("NOT_A_FILE")
        st = os.fstat(fd)
        self.send("INFO", ident, {
            "file_type": file_type(st), "mode": st.st_mode & 0o777,
            "mtime_s": st.st_mtime_ns // 10 ** 9})

    def do_get(self, message, ident):
        handle = self.handle(message)
        plain = message.fields["flags"] & R.GET_NO_COMPRESSION
        chunks = total = 0
        for first, count in chunk.selected_runs(handle.size, handle.c,
                                                message.fields["ranges"]):
            for i in range(first, first + count):
                self.stop_if_cancelled(ident)
                raw, digest = handle.read(i)
                codec, data = self.pack(raw, plain)
                self.send("CHUNK", ident, {
                    "offset": i << handle.c, "raw_len": len(raw),
                    "handle": message.fields["handle"], "codec": codec,
                    "digest": digest, "data": data})
                chunks, total = chunks + 1, total + len(raw)
        handle.check()
        self.send("DONE", ident, {"chunks": chunks, "raw_bytes": total},
                  handle.tlvs())

    def pack(self, raw, plain):
        """Z1: zlib only where it shrinks the chunk, and only if announced."""
        codecs = self.hello.tlv(R.TLV_CODECS, b"")
        if R.CODEC_ZERO in codecs and not raw.strip(b"\0"):
            return R.CODEC_ZERO, b""
        if self.server.options.zlib and R.CODEC_ZLIB in codecs and not plain:
            packed = zlib.compress(raw, 1)
            if len(packed) < len(raw):
                return R.CODEC_ZLIB, packed
        return R.CODEC_RAW, raw

    def do_digest(self, message, ident):
        handle, fields = self.handle(message), message.fields
        b, count = fields["block_log2"], identity.chunk_count(handle.size,
                                                              handle.c)
        blocks = identity.block_count(count, b)
        first = fields["first_block"]
        past = blocks if fields["block_count"] == 0 else \
            min(blocks, first + fields["block_count"])
        if first >= past:
            self.send("DONE", ident)
            return
        end = min(count, past << b)
        if fields["flags"] & R.DIGEST_NO_WAIT and any(
                i not in handle.digests for i in range(first << b, end)):
            raise Refusal("DIGEST_PENDING")
        self.let_rest(handle, ident)
        proofs = fields["flags"] & R.DIGEST_WITH_PROOF
        low = 0 if proofs else first << b
        known = {i: handle.digest(i)
                 for i in range(low, count if proofs else end)}
        leaves = identity.leaves_of(handle.size, handle.c,
                                    [known[i] for i in range(count)]) \
            if proofs else None
        handle.check()                  # D5
        at = first << b
        while at < end:
            self.stop_if_cancelled(ident)
            at = self.digests(ident, known, b, at, end, leaves)

    def let_rest(self, handle, ident):
        """D12: no digests of a file that may still be written to."""
        wait = handle.rest_ms()
        if wait > 0 and not self.server.options.weak:
            self.send("PROGRESS", ident, {"total": handle.size})
            time.sleep(min(wait, self.server.options.racy_ms) / 1000)

    def digests(self, ident, known, b, at, end, leaves):
        """One frame from chunk at on; returns where the next one starts."""
        block = at >> b
        border = min(end, (block + 1) << b) if leaves else end
        # Room is left for the longest path.
        past = min(border, at + R.LIMIT_DIGESTS_PER_FRAME - R.LIMIT_PROOF)
        proof = []
        if leaves and past == border:
            proof = identity.prove(leaves, b, block)[1]
        self.send("DIGESTS", ident, {
            "first_chunk": at, "block_log2": b, "proof": proof,
            "digests": [known[i] for i in range(at, past)]}, end=past == end)
        return past

    def do_list(self, message, ident):
        fd = self.server.open_path(message.fields["path"], os.O_DIRECTORY)
        try:
            names = sorted(os.fsencode(name) for name in os.listdir(fd))
            names = self.after(names, message.tlv(R.TLV_CURSOR))
            most = min(message.tlv_uint(R.TLV_MAX_ENTRIES, 100), 100)
            entries = [self.entry(fd, name) for name in names[:most]]
        finally:
            os.close(fd)
        tlvs = [(R.TLV_CURSOR, identity.sha256(entries[-1]["name"]))] \
            if len(names) > most else []
        self.send("ENTRIES", ident, {"entries": entries}, tlvs, end=True)

    @staticmethod
    def after(names, cursor):
        """Q8, Q9: a cursor is the digest of the last name of its page."""
        if cursor is None:
            return names
        for i, name in enumerate(names):
            if identity.sha256(name) == cursor:
                return names[i + 1:]
        raise Refusal("CHANGED")

    def entry(self, fd, name):
        st = os.stat(name, dir_fd=fd, follow_symlinks=False)
        kind = file_type(st)
        return {"name": name, "file_type": kind,
                "size": st.st_size if kind == R.FILE_REGULAR else 0,
                "mtime_s": st.st_mtime_ns // 10 ** 9,
                "mtime_ns": st.st_mtime_ns % 10 ** 9,
                "mode": st.st_mode & 0o777}


def file_type(st):
    for test, kind in ((stat.S_ISREG, R.FILE_REGULAR),
                       (stat.S_ISDIR, R.FILE_DIRECTORY),
                       (stat.S_ISLNK, R.FILE_SYMLINK)):
        if test(st.st_mode):
            return kind
    return R.FILE_OTHER


def main(args):
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--root", required=True)
    parser.add_argument("--listen", default="127.0.0.1:0")
    parser.add_argument("--cut", type=int)
    parser.add_argument("--cut-random", type=int)
    parser.add_argument("--flip", type=int)
    parser.add_argument("--racy-ms", type=int, default=R.TIMER_RACY_WINDOW_MS)
    parser.add_argument("--weak", action="store_true")
    parser.add_argument("--no-cid", action="store_true")
    parser.add_argument("--zlib", action="store_true")
    parser.add_argument("--token")
    parser.add_argument("--speaks-first", action="store_true")
    parser.add_argument("--secure", action="store_true")
    parser.add_argument("--max-c", type=int, default=R.LIMIT_CHUNK_LOG2_MAX)
    server = Server(parser.parse_args(args))
    host, _, port = server.options.listen.rpartition(":")
    listener = socket.create_server((host, int(port)))
    print("listening on %s:%d" % listener.getsockname()[:2], flush=True)
    while True:
        sock, _ = listener.accept()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=Session(server, sock).run,
                         daemon=True).start()


if __name__ == "__main__":
    main(sys.argv[1:])
