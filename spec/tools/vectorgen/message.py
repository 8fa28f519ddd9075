"""message.json: every message as one frame, and what it says (8, 10, 15)."""

import struct

import belay_id as identity
import belay_json
import belay_wire as wire

from .common import R, VectorFile, request_error, wire_error
from .frame import raw_frame

NOTES = {
    "EDGE": "a field at the end of its range",
    "RESERVED": "reserved fields and bits are ignored, so re-encoding gives "
                "other bytes",
    "IGNORED_TLV": "an unknown TLV is ignored, so re-encoding gives other "
                   "bytes",
    "TRUNCATED": "the payload ends inside a field",
    "TRAILING": "bytes after a message that has no TLVs",
    "LYING_LENGTH": "a length or count that does not fit the payload",
    "RANGE": "G1: ranges that are empty, unsorted, overlapping, overflowing",
    "PATH": "N1: a path that is refused, never cleaned",
    "FIELD": "a field with a value the message cannot have",
    "MISSING_TLV": "a mandatory TLV is absent",
    "ORDER": "F3: the first failing check decides",
    "CRITICAL": "X1: an unknown critical TLV",
}
FATAL = wire_error("PROTOCOL_ERROR")
D = [identity.sha256(bytes([i])) for i in range(8)]
SERVER_SIDE = {"INFO", "ENTRIES", "CHUNK", "DIGESTS", "DONE", "ERROR",
               "PROGRESS", "NOTICE"}


def sender_of(name):
    return "server" if name in SERVER_SIDE else "client"


def completed(name, fields):
    """The fields a decoder returns: derived lengths, absent ones zero."""
    full = {}
    for field, _, width, kind in wire.layout(name):
        if kind != "reserved":
            full[field] = fields.get(field, bytes(width)
                                     if kind == "bytes" else 0)
    full.update(fields)
    for field, source in (("path_len", "path"), ("stored_len", "data"),
                          ("proof_len", "proof")):
        if source in full and field in full:
            full[field] = len(full[source])
    for source in ("ranges", "digests", "entries"):
        if source in full:
            full["count"] = len(full[source])
    return full


class Messages:
    def __init__(self, out):
        self.out = out

    def good(self, name, case, fields=None, tlvs=(), request_id=None,
             end=None, req="F4", comment=None, sender=None, flags=()):
        fields = fields or {}
        if request_id is None:
            request_id = 0 if R.FRAMES[wire.TYPES[name]].id_rule == "zero" \
                else 7
        if end is None:
            end = name in wire.END_ALWAYS
        data = wire.encode(name, request_id, fields, tlvs, end)
        ordered = sorted(tlvs, key=lambda t: t[0] & 0x7FFF)
        expected = {"type": name, "request_id": request_id, "end": end,
                    "fields": belay_json.fields_json(
                        completed(name, fields)),
                    "tlvs": belay_json.tlvs_json(ordered), "ignored": []}
        self.put(name, case, data, req, comment, sender, dict(
            expected, canonical=True), None, flags)

    def lax(self, name, case, data, fields, tlvs=(), ignored=(), req="X2",
            comment=None, sender=None, flags=()):
        """Accepted, though no sender of version 1 would write these bytes."""
        header = wire.decode_header(data[:16])
        expected = {"type": name, "request_id": header.request_id,
                    "end": bool(header.flags & R.FRAME_FLAG_END),
                    "fields": belay_json.fields_json(
                        completed(name, fields)),
                    "tlvs": belay_json.tlvs_json(tlvs),
                    "ignored": list(ignored), "canonical": False}
        self.put(name, case, data, req, comment, sender, expected, None,
                 flags)

    def bad(self, name, case, payload, error, flag, req="F3b", comment=None,
            sender=None, **more):
        rule = R.FRAMES[wire.TYPES[name]].id_rule
        data = raw_frame(wire.TYPES[name], 0 if rule == "zero" else 7,
                         payload, name in wire.END_ALWAYS)
        self.put(name, case, data, req, comment, sender, None, error,
                 [flag], **more)

    def put(self, name, case, data, req, comment, sender, expected, error,
            flags, **more):
        self.out.add("%s-%s" % (name.lower(), case), req,
                     comment or case.replace("-", " "),
                     {"sender": sender or sender_of(name),
                      "hex": data.hex()},
                     expected, error, flags, **more)


def u16(n):
    return n.to_bytes(2, "big")


def payload(name, fields, tlvs=()):
    return wire.encode_payload(name, fields, tlvs)


def cut_everywhere(m, name, whole, skip=()):
    """Every shorter payload is malformed, except at TLV borders."""
    for n in range(len(whole)):
        if n not in skip:
            m.bad(name, "cut-at-%d" % n, whole[:n], FATAL, "TRUNCATED")


def add_connection(m):
    for sender in ("client", "server"):
        m.good("HELLO", sender + "-empty", sender=sender)
        m.good("PING", sender, {"opaque": bytes(range(8))}, sender=sender,
               req="C1a")
        m.good("PONG", sender, {"opaque": b"\xff" * 8}, sender=sender,
               req="C1a")
    m.good("HELLO", "client-full", {}, [
        (R.TLV_MAX_CHUNK_LOG2, b"\x14"), (R.TLV_CODECS, b"\0\1\2"),
        (R.TLV_IDLE_TIMEOUT, u16(120)), (R.TLV_AGENT, b"demo/1"),
        (R.TLV_FEATURES, u16(7) + u16(9))], req="H4")
    m.good("HELLO", "server-full", {}, [
        (R.TLV_MAX_CHUNK_LOG2, b"\x16"), (R.TLV_MAX_REQUESTS, u16(1024)),
        (R.TLV_MAX_HANDLES, u16(512)), (R.TLV_MAX_RANGES, u16(64)),
        (R.TLV_CODECS, b"\0\1\2"), (R.TLV_IDLE_TIMEOUT, u16(120)),
        (R.TLV_PING_INTERVAL, u16(10)), (R.TLV_AGENT, b"belayd/1"),
        (R.TLV_AUTH_METHODS, b"\1\2")], sender="server", req="H4")
    grease = wire.encode_tlv(0x2A2A, b"") + wire.encode_tlv(0x7F00, b"xy")
    m.lax("HELLO", "client-grease", raw_frame(R.FRAME_HELLO, 0, grease), {},
          ignored=[0x2A2A, 0x7F00], req="X1b X4a", flags=["IGNORED_TLV"])
    m.good("GOAWAY", "client", req="V2a")
    m.good("GOAWAY", "announce", {"last_id": 0xFFFFFFFF}, sender="server",
           req="V2a", flags=["EDGE"])
    m.good("GOAWAY", "final", {"last_id": 41, "code": 0x0503}, [
        (R.TLV_MESSAGE, "wird neu gestartet \u2714".encode()),
        (R.TLV_RETRY_AFTER_MS, (5000).to_bytes(4, "big"))],
           sender="server", req="V2a X6")
    m.lax("GOAWAY", "reserved", raw_frame(R.FRAME_GOAWAY, 0,
                                          bytes(6) + b"\xff\xff"), {},
          flags=["RESERVED"])
    for n in (0, 7):
        m.bad("PING", "short-%d" % n, bytes(n), FATAL, "TRUNCATED", req="F3b")
        m.bad("PONG", "short-%d" % n, bytes(n), FATAL, "TRUNCATED", req="F3b",
              sender="server")
    m.bad("PING", "long", bytes(9), FATAL, "TRAILING", req="F3b")
    m.bad("PING", "with-tlv", bytes(8) + wire.encode_tlv(0x1A1A, b""),
          FATAL, "TRAILING", req="F3b V2a",
          comment="PING is 8 bytes in every version")
    m.bad("PONG", "long", bytes(9), FATAL, "TRAILING", req="F3b")
    cut_everywhere(m, "GOAWAY", bytes(8))
    m.bad("HELLO", "garbage", b"\x00\x01\x00", FATAL, "TRUNCATED")


OPEN = {"handle": 1, "path": b"iso/demo.bin"}
LONGEST = b"/".join([b"p" * 127] * 32) + b"q"


def add_open(m):
    m.good("OPEN", "plain", OPEN, req="O1")
    m.good("OPEN", "resume", dict(OPEN, handle=0xFFFFFFFF,
                                  want_chunk_log2=12), [
        (R.TLV_EXPECT_VERSION, bytes.fromhex("a1b2c3d4e5f60718")),
        (R.TLV_EXPECT_CID, D[0])], req="R1 O9")
    m.good("OPEN", "no-handle", dict(OPEN, handle=0, flags=1), req="O1")
    m.good("OPEN", "root", {"handle": 2, "path": b""}, req="N1a",
           comment="the empty path is the root directory", flags=["EDGE"])
    m.good("OPEN", "chunk-log2-22", dict(OPEN, want_chunk_log2=22),
           req="O4", flags=["EDGE"])
    m.good("OPEN", "path-4096", {"handle": 1, "path":
                                 LONGEST}, req="N1a",
           flags=["EDGE"])
    m.lax("OPEN", "reserved-flags", raw_frame(
        R.FRAME_OPEN, 7, payload("OPEN", dict(OPEN, flags=0xFE))),
        dict(OPEN, flags=0xFE), flags=["RESERVED"],
        comment="the reserved bits of flags mean nothing")
    whole = payload("OPEN", {"handle": 1, "path": b"f"},
                    [(R.TLV_EXPECT_VERSION, b"v")])
    cut_everywhere(m, "OPEN", whole, skip=(9,))
    bad_path = request_error("BAD_PATH")
    for name, path in (("dotdot", b"a/../b"), ("absolute", b"/etc"),
                       ("nul", b"a\0b"), ("too-long", LONGEST + b"q")):
        m.bad("OPEN", "path-" + name, payload(
            "OPEN", {"handle": 1, "path": path}), bad_path, "PATH", req="N1a")
    wrong = request_error("BAD_REQUEST")
    m.bad("OPEN", "handle-0", payload("OPEN", dict(OPEN, handle=0)), wrong,
          "FIELD", req="O1", comment="handle 0 needs NO_HANDLE")
    m.bad("OPEN", "no-handle-with-handle", payload(
        "OPEN", dict(OPEN, flags=1)), wrong, "FIELD", req="O1",
          comment="NO_HANDLE needs handle 0")
    for c in (1, 11, 23, 255):
        m.bad("OPEN", "chunk-log2-%d" % c, payload(
            "OPEN", dict(OPEN, want_chunk_log2=c)),
            request_error("UNSUPPORTED"), "FIELD", req="O4 I3")
    m.bad("OPEN", "critical", payload("OPEN", OPEN, [(0x8F00, b"")]),
          request_error("UNSUPPORTED"), "CRITICAL", req="X1c")
    m.bad("OPEN", "path-len-lies", struct.pack(">IBBH", 1, 0, 0, 2) + b"f",
          FATAL, "LYING_LENGTH")
    m.bad("OPEN", "path-before-tlv", payload(
        "OPEN", {"handle": 1, "path": b".."}, [(0x8F00, b"")]), bad_path,
          "ORDER", req="F3a", comment="fixed fields are judged before TLVs")


def add_get(m):
    def get(ranges, **more):
        return dict({"handle": 1, "urgency": 3, "ranges": ranges}, **more)

    top = (1 << 64) - 1
    m.good("GET", "all", get([(0, top)], flags=2), req="G1b")
    m.good("GET", "two", get([(4096, 4096), (12288, top)]), req="G1a")
    m.good("GET", "touching", get([(0, 1), (1, 1), (2, top)]), req="G1a",
           flags=["EDGE"])
    m.good("GET", "no-compression", get([(0, 1)], flags=1, urgency=0),
           req="G1d")
    m.good("GET", "urgency-7", get([(5, 6)], urgency=7), req="G1d",
           flags=["EDGE"])
    m.good("GET", "64-ranges", get([(i * 8192, 4096) for i in range(64)]),
           req="G1a", flags=["EDGE"])
    m.good("GET", "up-to-the-end-of-u64", get([(top - 1, 1)]), req="G1a",
           flags=["EDGE"])
    m.good("GET", "open-end-at-the-edge", get([(top, top)]), req="G1b",
           flags=["EDGE"])
    m.lax("GET", "reserved-flags", raw_frame(
        R.FRAME_GET, 7, payload("GET", get([(0, 1)], flags=0xFC))),
        get([(0, 1)], flags=0xFC), flags=["RESERVED"],
        comment="the reserved bits of flags mean nothing")
    wrong = request_error("BAD_REQUEST")
    for name, ranges in (
            ("no-range", []), ("empty-range", [(0, 0)]),
            ("second-empty", [(0, 1), (5, 0)]),
            ("overlap", [(0, 4097), (4096, 1)]),
            ("same-twice", [(0, 4096), (0, 4096)]),
            ("descending", [(8192, 1), (0, 1)]),
            ("open-first", [(0, top), (top, 1)]),
            ("after-open", [(0, top), (1, top)]),
            ("overflow", [(top, 1)]), ("overflow-2", [(1 << 63, 1 << 63)]),
            ("overflow-first", [(top - 5, 6), (top, top)]),
            ("65-ranges", [(i, 1) for i in range(65)])):
        m.bad("GET", name, payload("GET", get(ranges)), wrong, "RANGE",
              req="G1b" if "open" in name else "G1a")
    m.bad("GET", "urgency-8", payload("GET", get([(0, 1)], urgency=8)),
          wrong, "FIELD", req="G1d")
    m.bad("GET", "count-lies", struct.pack(">IBBH", 1, 3, 0, 3) + bytes(16),
          FATAL, "LYING_LENGTH")
    m.bad("GET", "range-before-tlv", payload(
        "GET", get([(0, 0)]), [(0x8F00, b"")]), wrong, "ORDER", req="F3a",
        comment="ranges are judged before TLVs")
    cut_everywhere(m, "GET", payload("GET", get([(0, 1)])))


def add_digest(m):
    m.good("DIGEST", "whole-list", {"handle": 2, "block_log2": 32,
                                    "block_count": 1}, req="D1")
    m.good("DIGEST", "with-proof", {
        "handle": 2, "block_log2": 3, "flags": 1,
        "first_block": (1 << 64) - 1, "block_count": 0xFFFFFFFF}, req="D1",
        flags=["EDGE"])
    m.good("DIGEST", "no-wait", {"handle": 2, "flags": 2}, req="D3")
    m.lax("DIGEST", "reserved", raw_frame(
        R.FRAME_DIGEST, 7, b"\0\0\0\2\0\0\xff\xff" + bytes(12) + b"\xff" * 4),
        {"handle": 2}, flags=["RESERVED"])
    m.lax("DIGEST", "ignored-tlv", raw_frame(
        R.FRAME_DIGEST, 7, payload("DIGEST", {"handle": 2}) +
        wire.encode_tlv(0x3A3A, b"g")), {"handle": 2}, ignored=[0x3A3A],
        req="X1b", flags=["IGNORED_TLV"])
    m.bad("DIGEST", "block-log2-33", payload(
        "DIGEST", {"handle": 2, "block_log2": 33}),
        request_error("BAD_REQUEST"), "FIELD", req="D1")
    cut_everywhere(m, "DIGEST", payload("DIGEST", {"handle": 2}))


def add_list(m):
    m.good("LIST", "root", {"path": b""}, req="N1a")
    m.good("LIST", "next-page", {"flags": 1, "path": b"a/b"}, [
        (R.TLV_CURSOR, b"\0cursor"), (R.TLV_MAX_ENTRIES, bytes(3) + b"\x64")],
        req="Q8 Q6")
    m.bad("LIST", "max-entries-0", payload("LIST", {"path": b""}, [
        (R.TLV_MAX_ENTRIES, bytes(4))]), request_error("BAD_REQUEST"),
        "FIELD", req="Q6", comment="refused by the decoder or by the "
        "server behind it", acceptable=True)
    m.bad("LIST", "path", payload("LIST", {"path": b"a//b"}),
          request_error("BAD_PATH"), "PATH", req="N1a")
    m.bad("LIST", "path-len-lies", b"\0\0\0\x09abc", FATAL, "LYING_LENGTH")
    cut_everywhere(m, "LIST", payload("LIST", {"path": b"a"}))


def add_small(m):
    m.good("CLOSE", "plain", {"handle": 1})
    cut_everywhere(m, "CLOSE", payload("CLOSE", {"handle": 1}))
    m.good("CANCEL", "plain")
    m.good("CANCEL", "of-nothing", request_id=0xFFFFFFFE,
           req="K3", comment="CANCEL of an unknown id is ignored, not refused",
           flags=["EDGE"])
    m.bad("CANCEL", "garbage", b"\x01", FATAL, "TRAILING")
    m.good("AUTH", "bearer", {"method": 1}, [(R.TLV_TOKEN, b"secret")])
    m.good("AUTH", "external", {"method": 2})
    m.good("AUTH", "unknown-method", {"method": 200},
           comment="readable; the server answers UNSUPPORTED")
    m.lax("AUTH", "reserved", raw_frame(R.FRAME_AUTH, 7, b"\2\xff\xff\xff"),
          {"method": 2}, flags=["RESERVED"])
    m.bad("AUTH", "bearer-without-token", payload("AUTH", {"method": 1}),
          request_error("BAD_REQUEST"), "MISSING_TLV", req="F3c")
    cut_everywhere(m, "AUTH", payload("AUTH", {"method": 2}))


INFO = {"handle": 1, "file_type": 1, "chunk_log2": 12, "info_flags": 3,
        "size": 20000, "mtime_s": 0x6955B900, "mode": 0o644}
VERSION = (R.TLV_VERSION, bytes.fromhex("a1b2c3d4e5f60718"))


def add_info(m):
    m.good("INFO", "pending", INFO, [VERSION], req="O11 I6")
    m.good("INFO", "known", dict(INFO, info_flags=1), [
        VERSION, (R.TLV_CID, D[0]), (R.TLV_WHOLE_SHA256, D[1])], req="O11")
    m.good("INFO", "edges", {
        "handle": 0xFFFFFFFF, "file_type": 1, "chunk_log2": 22,
        "size": 1 << 54, "mtime_s": -1, "mtime_ns": 999999999,
        "mode": 0xFFFFFFFF}, [(R.TLV_VERSION, b"v" * 32)], req="O13",
        flags=["EDGE"])
    m.good("INFO", "oldest", dict(INFO, mtime_s=-(1 << 63)), [VERSION],
           req="O13", flags=["EDGE"])
    m.good("INFO", "no-handle", dict(INFO, handle=0), [VERSION], req="O5")
    for value in (R.FILE_DIRECTORY, R.FILE_SYMLINK, R.FILE_OTHER):
        m.good("INFO", "type-%d" % value, {"handle": 1, "file_type": value},
               req="O12", comment="no VERSION and no chunk_log2 needed")
    m.lax("INFO", "reserved-flags", raw_frame(
        R.FRAME_INFO, 7, payload("INFO", dict(INFO, info_flags=0xFFFC),
                                 [VERSION]), 1),
        dict(INFO, info_flags=0xFFFC), [VERSION], flags=["RESERVED"],
        comment="the reserved bits of info_flags mean nothing")
    m.bad("INFO", "no-version", payload("INFO", INFO), FATAL, "MISSING_TLV",
          req="O11 N2a")
    for c in (0, 11, 23):
        m.bad("INFO", "chunk-log2-%d" % c, payload(
            "INFO", dict(INFO, chunk_log2=c), [VERSION]), FATAL, "FIELD",
            req="I3")
    for value in (0, 5):
        m.bad("INFO", "type-%d" % value, payload(
            "INFO", dict(INFO, file_type=value), [VERSION]), FATAL, "FIELD")
    m.bad("INFO", "mtime-ns", payload(
        "INFO", dict(INFO, mtime_ns=1000000000), [VERSION]), FATAL, "FIELD",
        req="O13")
    for size in (1 << 63, (1 << 64) - 1):
        m.bad("INFO", "size-%d" % size, payload(
            "INFO", dict(INFO, chunk_log2=22, size=size), [VERSION]), FATAL,
            "FIELD", req="O14", comment="the decoder finds it, or the check "
            "of INFO against the request", acceptable=True)
    m.bad("INFO", "too-many-chunks", payload(
        "INFO", dict(INFO, size=(1 << 44) + 1), [VERSION]), FATAL, "FIELD",
        req="I3 ID1-C5", comment="2^32 + 1 chunks; the decoder finds it, or "
        "the check of INFO against the request", acceptable=True)
    m.bad("INFO", "critical", payload("INFO", INFO,
                                      [VERSION, (0x8F00, b"")]), FATAL,
          "CRITICAL", req="X1d", comment="a client cannot ignore it; the "
          "request fails, or the connection", acceptable=True)
    cut_everywhere(m, "INFO", payload("INFO", INFO, [(R.TLV_VERSION, b"v")]))


def add_chunk(m):
    raw = identity.pattern(100)
    m.good("CHUNK", "raw", {"offset": 16384, "raw_len": 100, "handle": 1,
                            "digest": identity.sha256(raw), "data": raw},
           req="G4 F1a")
    m.good("CHUNK", "zero", {"raw_len": 4096, "handle": 1, "codec": 2,
                             "digest": identity.sha256(bytes(4096)),
                             "data": b""}, request_id=2, req="Z1c")
    m.good("CHUNK", "edges", {"offset": (1 << 64) - 4096,
                              "raw_len": 0xFFFFFFFF, "handle": 0xFFFFFFFF,
                              "codec": 255, "digest": D[0], "data": b"x"},
           req="G4", comment="readable; whether it is accepted is G4's matter",
           flags=["EDGE"])
    body = bytearray(payload("CHUNK", {
        "raw_len": 100, "handle": 1, "digest": identity.sha256(raw),
        "data": raw}))
    body[21:24] = b"\xff\xff\xff"
    m.lax("CHUNK", "reserved", raw_frame(R.FRAME_CHUNK, 7, bytes(body)),
          {"raw_len": 100, "handle": 1, "digest": identity.sha256(raw),
           "data": raw}, flags=["RESERVED"])
    for n in (0, 24, 55):
        m.bad("CHUNK", "cut-at-%d" % n, bytes(body[:n]), FATAL, "TRUNCATED")
    for name, length in (("more", 101), ("less", 99), ("none", 0)):
        lie = bytearray(body)
        lie[12:16] = length.to_bytes(4, "big")
        m.bad("CHUNK", "stored-lies-" + name, bytes(lie), FATAL,
              "LYING_LENGTH", req="G4e")


def add_digests(m):
    m.good("DIGESTS", "list", {"first_chunk": 5, "block_log2": 32,
                               "digests": D[:5], "proof": []}, end=True,
           req="D6 D7")
    m.good("DIGESTS", "not-last", {"digests": D[:1], "proof": []}, req="D6")
    m.good("DIGESTS", "proof", {"first_chunk": (1 << 52) - 1,
                                "digests": D[:1], "proof": D[1:4]},
           end=True, req="D8", flags=["EDGE"])
    m.good("DIGESTS", "2000", {"digests": D[:2] * 1000, "proof": []},
           req="D6", flags=["EDGE"])
    one = payload("DIGESTS", {"digests": D[:1], "proof": D[1:2]})
    for n in (0, 15, 16, 47, 48, 79):
        m.bad("DIGESTS", "cut-at-%d" % n, one[:n], FATAL, "TRUNCATED")
    m.bad("DIGESTS", "none", bytes(16), FATAL, "FIELD", req="D6",
          comment="an empty selection is answered by DONE")
    m.bad("DIGESTS", "2001", payload("DIGESTS", {"digests": D[:3] * 667}),
          FATAL, "FIELD", req="D6")
    m.bad("DIGESTS", "count-lies", bytes(8) + b"\0\0\0\2" + bytes(4) + D[0],
          FATAL, "LYING_LENGTH")
    m.bad("DIGESTS", "count-2-31", bytes(8) + b"\x80\0\0\0" + bytes(4) +
          D[0], FATAL, "LYING_LENGTH")
    m.bad("DIGESTS", "block-log2-33", payload(
        "DIGESTS", {"digests": D[:1], "block_log2": 33}), FATAL, "FIELD",
        req="D6")


def entry(name, tlvs=(), **more):
    tail = b"".join(wire.encode_tlv(t, v) for t, v in tlvs)
    return dict({"length": 28 + len(name) + len(tail), "file_type": 1,
                 "size": 5, "mtime_s": 1, "mtime_ns": 2, "mode": 0o600,
                 "name_len": len(name), "name": name, "tlvs": list(tlvs),
                 "ignored": []}, **more)


def add_entries(m):
    m.good("ENTRIES", "empty", {"entries": []}, end=True, req="Q7",
           comment="an empty directory")
    m.good("ENTRIES", "page", {"entries": [
        entry(b"a", [(R.TLV_CID, D[0])]),
        entry(b"a/"[:1] + b"b", file_type=2, size=0),
        entry(b"link", [(R.TLV_LINK_TARGET, b"../a")], file_type=3),
        entry(b"n" * 255, size=(1 << 64) - 1, mtime_s=-(1 << 63)),
        entry("\u00fc".encode(), file_type=4)]},
        [(R.TLV_CURSOR, b"\xc3\xbc")], end=True, req="Q1 Q7", flags=["EDGE"])
    m.good("ENTRIES", "hostile-names", {"entries": [
        entry(b".."), entry(b"a/b"), entry(b"x\0y")]}, req="N3",
        comment="readable; a client that writes a tree rejects these names")
    good = payload("ENTRIES", {"entries": [entry(b"a"), entry(b"b")]})
    for n in (0, 3, 4, 5, 6, 34, 35, 63):
        m.bad("ENTRIES", "cut-at-%d" % n, good[:n], FATAL, "TRUNCATED")
    for name, names in (("same", (b"a", b"a")), ("descending", (b"b", b"a")),
                        ("prefix-last", (b"ab", b"a"))):
        m.bad("ENTRIES", "order-" + name, payload(
            "ENTRIES", {"entries": [entry(n) for n in names]}), FATAL,
            "FIELD", req="Q1")
    for name, bad in (("name-empty", entry(b"")),
                      ("name-256", entry(b"n" * 256)),
                      ("type-0", entry(b"a", file_type=0)),
                      ("type-5", entry(b"a", file_type=5)),
                      ("mtime-ns", entry(b"a", mtime_ns=1000000000))):
        m.bad("ENTRIES", name, payload("ENTRIES", {"entries": [bad]}),
              FATAL, "FIELD", req="Q3" if "name" in name else "F3b")
    lie = bytearray(good)
    lie[5] += 1
    m.bad("ENTRIES", "length-lies", bytes(lie), FATAL, "LYING_LENGTH")
    lie = bytearray(good)
    lie[33] += 1
    m.bad("ENTRIES", "name-len-lies", bytes(lie), FATAL, "LYING_LENGTH")
    lie = bytearray(good)
    lie[1] = 3
    m.bad("ENTRIES", "count-lies", bytes(lie), FATAL, "LYING_LENGTH")
    # The second entry's bytes inside the first entry's length: as TLVs they
    # make no sense.
    lie = bytearray(good)
    lie[1], lie[5] = 1, lie[5] + 31
    m.bad("ENTRIES", "swallowed", bytes(lie), FATAL, "LYING_LENGTH")


def add_ends(m):
    m.good("DONE", "get", {"chunks": 5, "raw_bytes": 20000},
           [VERSION, (R.TLV_CID, D[0]), (R.TLV_WHOLE_SHA256, D[1])],
           req="G8")
    m.good("DONE", "zeros", req="G2", comment="CLOSE, AUTH, or nothing "
           "selected")
    m.good("DONE", "edges", {"chunks": (1 << 64) - 1,
                             "raw_bytes": (1 << 64) - 1}, req="F4",
           flags=["EDGE"])
    cut_everywhere(m, "DONE", bytes(16))
    for code, name in sorted(R.CODES.items()):
        m.good("ERROR", name.lower().replace("_", "-"), {"code": code},
               request_id=0 if code >> 8 == R.WIRE_CLASS_PROTOCOL else 7,
               req="F4")
    m.good("ERROR", "changed-full", {"code": R.WIRE_CHANGED}, [
        VERSION, (R.TLV_CID, D[0]), (R.TLV_SIZE, bytes(6) + b"\x4e\x84")],
        req="O10")
    m.good("ERROR", "io-with-offset", {"code": R.WIRE_IO_ERROR}, [
        (R.TLV_MESSAGE, b"disk"), (R.TLV_OFFSET, b"\xff" * 8)], req="G5c E5")
    m.good("ERROR", "versions", {"code": R.WIRE_VERSION_REJECTED},
           [(R.TLV_VERSIONS, u16(1))], request_id=0, req="V1c V2a")
    m.good("ERROR", "from-client", {"code": R.WIRE_CORRUPT_STREAM},
           request_id=0, sender="client", req="C11")
    for code in (0x0000, 0x01FF, 0x02FE, 0x0805, 0xFFFF):
        m.good("ERROR", "unknown-%04x" % code, {"code": code}, req="E1 E2",
               comment="an unknown code acts by its class, an unknown class "
               "as permanent", flags=["EDGE"])
    m.lax("ERROR", "reserved", raw_frame(R.FRAME_ERROR, 7,
                                         b"\x01\x03\xff\xff", 1),
          {"code": R.WIRE_NOT_FOUND}, flags=["RESERVED"])
    cut_everywhere(m, "ERROR", bytes(4))


def add_advisory(m):
    m.good("PROGRESS", "plain", {"done": 1, "total": (1 << 64) - 1},
           req="D11")
    m.bad("PROGRESS", "short", bytes(15), FATAL, "TRUNCATED",
          req="F3b", comment="advisory, so a receiver may also skip it",
          acceptable=True)
    m.good("NOTICE", "plain", {"text": "h\u00e9llo".encode()}, req="X6")
    m.good("NOTICE", "1024", {"text": b"n" * 1024}, req="F2a", flags=["EDGE"])
    m.good("NOTICE", "not-utf8", {"text": b"\xff\x1b[2J"}, req="X6 S11",
           comment="accepted as bytes; control characters are stripped "
           "before anything is shown")
    m.bad("NOTICE", "1025", b"n" * 1025, wire_error("FRAME_TOO_LARGE"),
          "FIELD", req="F2a", comment="a receiver that does not know NOTICE "
          "skips it", acceptable=True)


def build():
    out = VectorFile("message", NOTES)
    messages = Messages(out)
    for step in (add_connection, add_open, add_get, add_digest, add_list,
                 add_small, add_info, add_chunk, add_digests, add_entries,
                 add_ends, add_advisory):
        step(messages)
    return out
