"""A Belay client made of single frames, for scenarios about the server.

It sends what it is told, right or wrong, and hands out the server's frames
one by one, decoded and checked by the oracle.  It verifies each chunk.
"""

import hashlib
import socket
import time

from harness import Failure, check

import belay_id
import belay_wire as W
import registry as R

MAX = 2 ** 64 - 1
NAMES = {value: key for key, value in W.TYPES.items()}


def hello(tlvs=((R.TLV_MAX_CHUNK_LOG2, b"\x16"),
                (R.TLV_CODECS, bytes([R.CODEC_RAW, R.CODEC_ZERO])))):
    return W.encode_preface(R.ROLE_CLIENT) + W.encode("HELLO", tlvs=tlvs)


class Raw:
    """One connection.  Every wait ends after `patience` seconds."""

    def __init__(self, port, greet=True, source=None, patience=20,
                 receive_buffer=None, host="127.0.0.1"):
        self.sock = socket.socket(
            socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.sock.settimeout(patience)
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF,
                                 receive_buffer)
        if source:
            self.sock.bind((source, 0))
        self.sock.connect((host, port))
        self.reader = W.StreamReader("server")
        self.items = []
        self.next_id = 1
        self.received = 0
        if greet:
            self.send(hello())
            self.greeting()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def send(self, *parts):
        self.sock.sendall(b"".join(parts))

    def ask(self, name, fields=None, tlvs=()):
        """Send one request; returns its id."""
        request, self.next_id = self.next_id, self.next_id + 1
        self.send(W.encode(name, request, fields, tlvs))
        return request

    def open(self, path, handle=1, c=0, tlvs=(), flags=0):
        path = path if isinstance(path, bytes) else path.encode()
        return self.ask("OPEN", {"handle": handle, "want_chunk_log2": c,
                                 "path": path, "flags": flags}, tlvs)

    def get(self, handle=1, ranges=((0, MAX),), flags=0, urgency=3):
        return self.ask("GET", {"handle": handle, "urgency": urgency,
                                "flags": flags, "ranges": list(ranges)})

    def digest(self, handle=1, block_log2=32, first=0, count=1, flags=0):
        return self.ask("DIGEST", {"handle": handle, "flags": flags,
                                   "block_log2": block_log2,
                                   "first_block": first,
                                   "block_count": count})

    def list(self, path, cursor=None, most=None, flags=0):
        tlvs = []
        if cursor:
            tlvs.append((R.TLV_CURSOR, cursor))
        if most is not None:
            tlvs.append((R.TLV_MAX_ENTRIES, most.to_bytes(4, "big")))
        return self.ask("LIST", {"path": path, "flags": flags}, tlvs)

    def cancel(self, request):
        self.send(W.encode("CANCEL", request))

    def goaway(self):
        self.send(W.encode("GOAWAY", 0, {"last_id": 0, "code": 0}))

    def ping(self, opaque=b"12345678"):
        self.send(W.encode("PING", 0, {"opaque": opaque}))

    # -- receiving

    def item(self):
        """The next thing the server sent; None at the end of the stream."""
        while not self.items:
            data = self.sock.recv(1 << 18)
            if not data:
                return None
            self.received += len(data)
            self.items += self.reader.feed(data)
        return self.items.pop(0)

    def greeting(self):
        check(self.item() is not None, "no preface")
        message = self.message()
        check(message is not None and message.name == "HELLO", "no HELLO")
        self.hello = message
        return message

    def message(self):
        """The next frame that is not grease; None at the end."""
        while True:
            item = self.item()
            if isinstance(item, W.Preface):
                continue
            if item is None or isinstance(item, W.Message):
                if item is not None and item.name == "CHUNK":
                    verify_chunk(item)
                return item
            check(isinstance(item, tuple) and item[0] == W.SKIP,
                  "odd frame %r" % (item,))

    def answer(self, request, name=None):
        """All frames of one answer, the last one with END.  Frames of other
        requests are kept back."""
        frames, others = [], []
        while True:
            message = self.message()
            check(message is not None, "end of stream in an answer")
            if message.header.request_id != request:
                others.append(message)
                continue
            frames.append(message)
            if message.end:
                break
        self.items = others + self.items
        if name is not None:
            check(frames[-1].name == name, "answer is %s %s, expected %s" %
                  (frames[-1].name, code_name(frames[-1]), name))
        return frames

    def error(self, request):
        """The code of the ERROR that ends this request."""
        last = self.answer(request)[-1]
        check(last.name == "ERROR", "answer is %s, expected ERROR" %
              last.name)
        return last.fields["code"]

    def info(self, *args, **options):
        return self.answer(self.open(*args, **options), "INFO")[-1]

    def ends_with(self):
        """What the server says before it closes: codes of ERROR with id 0
        and of GOAWAY."""
        codes = []
        try:
            while (message := self.message()) is not None:
                if message.name in ("ERROR", "GOAWAY") and \
                        message.header.request_id == 0:
                    codes.append(message.fields["code"])
        except ConnectionResetError:
            pass
        return codes

    def closes_within(self, seconds):
        """Seconds until the server closes, what it sends meanwhile is
        dropped."""
        began = time.monotonic()
        self.sock.settimeout(seconds)
        try:
            while self.sock.recv(1 << 16):
                pass
        except socket.timeout:
            raise Failure("still open after %.1f s" % seconds)
        except ConnectionResetError:
            pass
        return time.monotonic() - began


def code_name(message):
    if message.name != "ERROR":
        return ""
    code = message.fields["code"]
    for name in dir(R):
        if name.startswith("WIRE_") and getattr(R, name) == code and \
                not name.startswith("WIRE_CLASS"):
            return name
    return hex(code)


def chunk_bytes(message):
    fields = message.fields
    if fields["codec"] == R.CODEC_ZERO:
        return bytes(fields["raw_len"])
    if fields["codec"] == R.CODEC_ZLIB:
        import zlib
        return zlib.decompress(fields["data"])
    return fields["data"]


def verify_chunk(message):
    data = chunk_bytes(message)
    check(len(data) == message.fields["raw_len"], "chunk has a wrong length")
    check(hashlib.sha256(data).digest() == message.fields["digest"],
          "chunk does not have its digest")


def fetch(raw, path, c=0, ranges=((0, MAX),), handle=1):
    """OPEN and GET in one write; returns (info, bytes by offset, done)."""
    opened = raw.open(path, handle=handle, c=c)
    got = raw.get(handle=handle, ranges=ranges)
    info = raw.answer(opened, "INFO")[-1]
    frames = raw.answer(got, "DONE")
    chunks = {f.fields["offset"]: chunk_bytes(f) for f in frames[:-1]
              if f.name == "CHUNK"}
    done = frames[-1]
    check(done.fields["chunks"] == len(chunks), "DONE counts other chunks")
    return info, chunks, done


def joined(chunks):
    return b"".join(chunks[at] for at in sorted(chunks))


def cid_of(data, c):
    return belay_id.cid_of(data, c)
