"""Builds one conversation: its bytes in order and the events it must give."""

import hashlib

import belay_id as identity
import belay_wire as wire

from .common import R, u64

V1 = bytes.fromhex("a1b2c3d4e5f60718")
V2 = bytes.fromhex("a1b2c3d4e5f60719")
PATH = b"iso/demo.bin"
C = 12


class File:
    """A file of the conversations: pattern(size), some bytes inverted."""

    def __init__(self, size, invert_at=(), version=V1, mtime=0x6955B900):
        data = bytearray(identity.pattern(size))
        for at in invert_at:
            data[at] ^= 0xFF
        self.data, self.size = bytes(data), size
        self.version, self.mtime = version, mtime
        self.inverted = set(invert_at)
        self.digests = identity.digests_of(self.data, C)
        self.leaves = identity.leaves_of(size, C, self.digests)
        self.cid = identity.cid_of(self.data, C)

    def raw(self, i):
        return self.data[i << C:(i + 1) << C]

    def plain(self, i):
        """Is chunk i a piece of the pattern, and not altered?"""
        return not any(at >> C == i for at in self.inverted)


DEMO = File(20000)
DEMO2 = File(20100, (9000,), V2, 0x6955B93C)

HELLO_C = [(R.TLV_MAX_CHUNK_LOG2, b"\x14"), (R.TLV_CODECS, b"\0\1\2"),
           (R.TLV_AGENT, b"demo/1"), (0x1A1A, bytes.fromhex("deadbe"))]
HELLO_S = [(R.TLV_MAX_CHUNK_LOG2, b"\x16"), (R.TLV_MAX_REQUESTS, b"\0\x40"),
           (R.TLV_CODECS, b"\0\1\2"), (R.TLV_IDLE_TIMEOUT, b"\0\x78"),
           (R.TLV_AGENT, b"belayd/1")]


class Talk:
    """Each call appends one element and the event it causes."""

    def __init__(self):
        self.segments, self.events, self.chunks = [], [], []
        self.faulty = False

    # -- elements --

    def raw(self, sender, data, what=None, request_id=0, index=-1,
            pattern_at=0, pattern_len=0):
        """Any bytes.  what None: they complete nothing, or are the fault."""
        self.segments.append({"from": sender, "hex": data.hex(),
                              "pattern_at": pattern_at,
                              "pattern_len": pattern_len})
        if what is not None and not self.faulty:
            self.events.append({"from": sender, "what": what,
                                "request_id": request_id, "chunk": index})
            if index >= 0:
                self.chunks.append({"request_id": request_id,
                                    "chunk": index})
        return self

    def fault(self, sender, data, **more):
        """The first bytes that a correct receiver refuses."""
        self.raw(sender, data, **more)
        self.faulty = True
        return self

    def msg(self, sender, name, request_id=0, fields=None, tlvs=(),
            end=False, what=None, fault=False):
        data = wire.encode(name, request_id, fields, tlvs, end)
        if fault:
            return self.fault(sender, data)
        return self.raw(sender, data, what or name, request_id)

    def c(self, name, request_id=0, tlvs=(), **fields):
        return self.msg("client", name, request_id, fields, tlvs)

    def s(self, name, request_id=0, tlvs=(), end=False, **fields):
        return self.msg("server", name, request_id, fields, tlvs, end)

    def bad_s(self, name, request_id=0, tlvs=(), end=False, **fields):
        return self.msg("server", name, request_id, fields, tlvs, end,
                        fault=True)

    def bad_c(self, name, request_id=0, tlvs=(), **fields):
        return self.msg("client", name, request_id, fields, tlvs,
                        fault=True)

    # -- usual pieces --

    def hello(self, client=None, server=None):
        self.raw("client", wire.encode_preface(R.ROLE_CLIENT), "PREFACE")
        self.c("HELLO", tlvs=HELLO_C if client is None else client)
        self.raw("server", wire.encode_preface(R.ROLE_SERVER), "PREFACE")
        return self.s("HELLO", tlvs=HELLO_S if server is None else server)

    def client_hello(self):
        self.raw("client", wire.encode_preface(R.ROLE_CLIENT), "PREFACE")
        return self.c("HELLO", tlvs=HELLO_C)

    def server_hello(self):
        self.raw("server", wire.encode_preface(R.ROLE_SERVER), "PREFACE")
        return self.s("HELLO", tlvs=HELLO_S)

    def open(self, request_id, handle, want=0, expect=None, flags=0,
             path=PATH):
        tlvs = [(R.TLV_EXPECT_VERSION, expect.version),
                (R.TLV_EXPECT_CID, expect.cid)] if expect else []
        return self.c("OPEN", request_id, tlvs, handle=handle, flags=flags,
                      want_chunk_log2=want, path=path)

    def get(self, request_id, handle, ranges, flags=2):
        return self.c("GET", request_id, handle=handle, urgency=3,
                      flags=flags, ranges=ranges)

    def info(self, request_id, handle, file=DEMO, cid=True, strong=True,
             what=None, fault=False, **more):
        fields = dict({"handle": handle, "file_type": 1, "chunk_log2": C,
                       "info_flags": strong | (0 if cid else 2),
                       "size": file.size, "mtime_s": file.mtime,
                       "mode": 0o644}, **more)
        tlvs = [(R.TLV_VERSION, file.version)]
        if cid:
            tlvs.append((R.TLV_CID, file.cid))
        return self.msg("server", "INFO", request_id, fields, tlvs,
                        what=what, fault=fault)

    def chunk(self, request_id, handle, i, file=DEMO, fault=False,
              corrupt=None, index=None, **more):
        """Raw data; a piece of the pattern travels as a recipe."""
        raw = file.raw(i)
        fields = dict({"offset": i << C, "raw_len": len(raw),
                       "handle": handle, "digest": file.digests[i],
                       "data": raw}, **more)
        data = wire.encode("CHUNK", request_id, fields)
        if corrupt is not None:
            data = corrupt(data)
        tail = fields["data"]
        recipe = {}
        if file.plain(i) and tail and data.endswith(tail) and tail == raw:
            data = data[:-len(tail)]
            recipe = {"pattern_at": i << C, "pattern_len": len(tail)}
        if fault:
            return self.fault("server", data, **recipe)
        return self.raw("server", data, "CHUNK", request_id,
                        i if index is None else index, **recipe)

    def done(self, request_id, chunks, raw_bytes, file=DEMO, cid=True,
             fault=False):
        tlvs = [(R.TLV_VERSION, file.version)]
        if cid:
            tlvs.append((R.TLV_CID, file.cid))
        return self.msg("server", "DONE", request_id,
                        {"chunks": chunks, "raw_bytes": raw_bytes}, tlvs,
                        fault=fault)

    def error(self, request_id, code, tlvs=()):
        return self.s("ERROR", request_id, tlvs, code=code)

    # -- the vector --

    def stream(self, sender):
        return b"".join(
            bytes.fromhex(s["hex"]) + identity.pattern(s["pattern_len"],
                                                       s["pattern_at"])
            for s in self.segments if s["from"] == sender)

    def add(self, out, ident, req, comment, error=None, eof=True, flags=(),
            **more):
        client, server = self.stream("client"), self.stream("server")
        result = {"events": self.events, "chunks": self.chunks}
        out.add(ident, req, comment,
                {"segments": self.segments, "eof": eof,
                 "client_len": u64(len(client)),
                 "client_sha256": hashlib.sha256(client).hexdigest(),
                 "server_len": u64(len(server)),
                 "server_sha256": hashlib.sha256(server).hexdigest()},
                None if error else result, error, flags, **more)
        out.vectors[-1]["prefix_ok"] = result if error else None
