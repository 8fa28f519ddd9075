"""Where a server is, and a client that says exactly what a case wants."""

import os
import shutil
import socket
import subprocess
import time

import belay_chunk as chunk
import belay_id as identity
import belay_wire as wire
import secure
from cases import Later, Unsupported

R = wire.R
PATIENCE = 20.0                         # seconds; no answer is that slow
SANDBOX = "belay-conform"               # folder of the cases below --root


class Ended(AssertionError):
    """The server's direction is at its end, orderly or by a reset; where a
    case does not wait for that, it fails."""

    def __str__(self):
        return "the connection ended"


class Late(AssertionError):
    """Nothing came in time."""


class Told(AssertionError):
    """ERROR for the connection came, with this code."""

    def __init__(self, message):
        super().__init__("the connection ends: " + code_name(message))
        self.code = message.fields["code"]


class Target:
    """A server, a file on it, and perhaps its directory and a token.  It is
    reached over TCP, over TLS, or as a command with a pipe."""

    def __init__(self, path, address=None, tls=False, command=None,
                 root=None, token=None):
        self.path, self.address, self.tls = path, address, tls
        self.command, self.root, self.token = command, root, token

    def gifts(self):
        """What cases can ask for with needs=."""
        return {name for name, given in (
            ("--root", self.root), ("--token", self.token),
            ("a belay:// URL", self.tls),
            ("a command with a pipe", self.command)) if given}

    def connect(self, patience, context=None):
        """A stream socket, and the process at its other end, if it is one."""
        if self.command:
            ours, theirs = socket.socketpair()
            with theirs:
                return ours, subprocess.Popen(
                    self.command, stdin=theirs, stdout=theirs,
                    stderr=subprocess.DEVNULL)
        sock = self.dial(patience)
        if self.tls:
            context = context or secure.client_context()
            sock = context.wrap_socket(sock, server_hostname=self.address[0])
        return sock, None

    def dial(self, patience):
        sock = socket.create_connection(self.address, patience)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def full(self, name):
        """Where a file of the cases is for this program."""
        return os.path.join(self.root, SANDBOX, name)

    def wire(self, name):
        """Its path on the wire."""
        return os.fsencode(SANDBOX + "/" + name)

    def put(self, name, data, age=0):
        """A new file in the served tree; returns its path on the wire."""
        full = self.full(name)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full + ".new", "wb") as f:
            f.write(data)
        os.replace(full + ".new", full)
        if age:
            time.sleep(age)
        return self.wire(name)

    def __enter__(self):
        if self.root:
            os.makedirs(os.path.join(self.root, SANDBOX), exist_ok=True)
        return self

    def __exit__(self, *_):
        if self.root:
            shutil.rmtree(os.path.join(self.root, SANDBOX),
                          ignore_errors=True)


class Probe:
    """One connection.  Where AUTH has to come first, only the cases that
    are about AUTH can be decided: they say auth=True.  Where DIGEST_PENDING is
    an answer and no reason to come later, the case says pending=True."""

    def __init__(self, target, greet=True, hello=(), preface=None,
                 extra=b"", auth=False, pending=False):
        self.auth, self.pending = auth, pending
        self.sock, self.process = target.connect(PATIENCE)
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
        if self.process:
            self.process.kill()
            self.process.wait()

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
            if left <= 0:
                raise Late("no answer within %g s" % patience)
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
                if describe(item) == "ERROR AUTH_REQUIRED" and not self.auth:
                    raise Unsupported("the server asks for AUTH")
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
        if describe(frames[-1]) == "ERROR DIGEST_PENDING" and \
                not self.pending:
            raise Later("the server puts digests off")
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
