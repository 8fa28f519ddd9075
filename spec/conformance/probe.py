"""A client that says exactly what a case wants it to say."""

import socket
import time

import belay_chunk as chunk
import belay_id as identity
import belay_wire as wire

R = wire.R
PATIENCE = 10.0                         # seconds; no answer is that slow


class Ended(AssertionError):
    """The server's direction is at its end, orderly or by a reset; where a
    case does not wait for that, it fails."""

    def __str__(self):
        return "the connection ended"


class Told(AssertionError):
    """ERROR for the connection came, with this code."""

    def __init__(self, message):
        super().__init__("the connection ends: " + code_name(message))
        self.code = message.fields["code"]


class Probe:
    def __init__(self, target, greet=True, hello=(), preface=None,
                 extra=b""):
        self.sock = socket.create_connection(target.address, PATIENCE)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.reader = wire.StreamReader("server")
        self.stash = []                 # elements that nobody asked for yet
        self.hello = None
        if not greet:
            return
        self.raw((wire.encode_preface(R.ROLE_CLIENT)
                  if preface is None else preface) +
                 wire.encode("HELLO", tlvs=list(hello)) + extra)
        self.expect_hello()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    # -- out --

    def raw(self, data):
        try:
            self.sock.sendall(data)
        except OSError:
            pass                        # the answer tells why

    def say(self, name, ident=0, fields=None, tlvs=()):
        self.raw(wire.encode(name, ident, fields, tlvs))
        return self

    def open(self, ident, handle, path, want=12, tlvs=(), flags=0):
        return self.say("OPEN", ident, {
            "handle": handle, "want_chunk_log2": want, "path": path,
            "flags": flags}, tlvs)

    def get(self, ident, handle, ranges=((0, wire.U64_MAX),), flags=0,
            urgency=3):
        return self.say("GET", ident, {
            "handle": handle, "urgency": urgency, "flags": flags,
            "ranges": list(ranges)})

    def digest(self, ident, handle, block_log2=32, first=0, count=1,
               flags=0):
        return self.say("DIGEST", ident, {
            "handle": handle, "block_log2": block_log2, "flags": flags,
            "first_block": first, "block_count": count})

    # -- in --

    def element(self, patience=PATIENCE):
        """The next element of the stream, whatever it is."""
        deadline = time.monotonic() + patience
        while not self.stash:
            left = deadline - time.monotonic()
            assert left > 0, "no answer within %g s" % patience
            self.sock.settimeout(left)
            try:
                data = self.sock.recv(65536)
            except socket.timeout:
                continue
            except OSError:
                raise Ended()
            if not data:
                raise Ended()
            try:
                self.stash += self.reader.feed(data)
            except wire.WireError as error:
                raise AssertionError("the server's bytes break %s: %s" %
                                     (error.rule, error.why))
        return self.stash.pop(0)

    def message(self, patience=PATIENCE):
        """The next message that is not advisory."""
        while True:
            item = self.element(patience)
            if isinstance(item, wire.Message):
                if item.name not in ("PROGRESS", "NOTICE"):
                    return item
            elif isinstance(item, wire.Preface):
                raise AssertionError("a second preface")
            elif item[0] != wire.SKIP:
                raise AssertionError("an unknown answer 0x%02x" %
                                     item[1].type)

    def expect_hello(self):
        preface = self.element()
        assert isinstance(preface, wire.Preface) and not preface.flags & 1, \
            "the preface is %r" % (preface,)
        self.hello = self.message()
        assert self.hello.name == "HELLO", self.hello.name + " before HELLO"
        return self.hello

    def limit(self, tlv_type, default):
        return self.hello.tlv_uint(tlv_type, default)

    def answer(self, ident, patience=PATIENCE):
        """All frames of one answer; those of others are kept."""
        frames, others = [], []
        while not frames or not frames[-1].end:
            item = self.message(patience)
            (frames if item.header.request_id == ident and
             item.name not in wire.CONNECTION_FRAMES else others).append(item)
            if item.name == "ERROR" and item.header.request_id == 0:
                raise Told(item)
        self.stash = others + self.stash
        return frames

    def info(self, ident):
        frames = self.answer(ident)
        assert frames[0].name == "INFO", describe(frames[0])
        return frames[0]

    def opened(self, ident, handle, path, want=12, tlvs=(), flags=0):
        self.open(ident, handle, path, want, tlvs, flags)
        return self.info(ident)

    def refused(self, ident, *codes, before=()):
        """The answer is one ERROR of the class of one of these codes."""
        frames = self.answer(ident)
        names = [f.name for f in frames[:-1]]
        assert frames[-1].name == "ERROR" and set(names) <= set(before), \
            "answered by %s" % ", ".join(map(describe, frames))
        classes = {getattr(R, "WIRE_" + c) >> 8 for c in codes}
        got = frames[-1].fields["code"]
        assert got >> 8 in classes, "0x%04x in place of %s" % (
            got, " or ".join(codes))
        return frames[-1]

    def ended(self, *codes, patience=PATIENCE):
        """The connection ends; an ERROR before that has one of the classes.
        Frames of earlier answers may come before it."""
        classes = {getattr(R, "WIRE_" + c) >> 8 for c in codes}
        told = []
        try:
            while True:
                item = self.message(patience)
                if item.name == "ERROR" and item.header.request_id == 0:
                    told.append(item.fields["code"])
        except Ended:
            pass
        for code in told:
            assert code >> 8 in classes, "ended with 0x%04x in place of %s" \
                % (code, " or ".join(codes))
        return told

    def fence(self, mark=b"fence..."):
        """C1b: what came before the PONG, advisory frames left out."""
        self.say("PING", 0, {"opaque": mark})
        seen = []
        while True:
            item = self.message()
            if item.name == "PONG" and item.fields["opaque"] == mark:
                return seen
            seen.append(item)

    def alive(self):
        """The connection still answers."""
        self.fence(b"alive?!?")


def describe(message):
    return code_name(message) if message.name == "ERROR" else message.name


def code_name(message):
    code = message.fields["code"]
    return "ERROR %s" % R.CODES.get(code, "0x%04x" % code)


def check_chunks(frames, info, ranges, handle, codecs=()):
    """G3, G4 over a whole GET answer: returns {index: raw bytes}."""
    size, c = info.fields["size"], info.fields["chunk_log2"]
    gate = chunk.ChunkGate(handle, size, c, list(ranges), codecs=codecs)
    wanted = chunk.selected_chunks(size, c, list(ranges))
    got = {}
    for frame in frames[:-1]:
        assert frame.name == "CHUNK", describe(frame)
        try:
            index, raw = gate.accept(frame.fields)
        except wire.WireError as error:
            raise AssertionError("CHUNK breaks %s: %s" % (error.rule,
                                                          error.why))
        got[index] = raw
    done = frames[-1]
    assert done.name == "DONE", describe(done)
    assert sorted(got) == wanted, "chunks %s in place of %s" % (
        sorted(got), wanted)
    assert done.fields["chunks"] == len(got) and \
        done.fields["raw_bytes"] == sum(map(len, got.values())), \
        "DONE counts other chunks"
    return got


def digests_of(frames):
    assert all(f.name == "DIGESTS" for f in frames), \
        ", ".join(map(describe, frames))
    out = []
    for frame in frames:
        assert frame.fields["first_chunk"] == len(out) + \
            frames[0].fields["first_chunk"], "a gap in the digests"
        out += frame.fields["digests"]
    return out


def cid_of(info, digests):
    return identity.cid_from_digests(info.fields["size"],
                                     info.fields["chunk_log2"], digests)
