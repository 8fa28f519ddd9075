"""streams/*.json: whole conversations, in the order the bytes arrive."""

import belay_id as identity
import belay_wire as wire

from .common import R, VectorFile, local_error, wire_error
from .frame import raw_frame
from .talk import C, DEMO, DEMO2, File, PATH, Talk, V2
from .zlib_streams import STREAMS

TOP = wire.U64_MAX
FATAL = wire_error("PROTOCOL_ERROR")


def build():
    return [fresh(), resume(), changed(), errors(), grease(), digest(),
            listing(), auth(), cancel(), goaway(), faults()]


def u32(n):
    return n.to_bytes(4, "big")


# -- fresh --------------------------------------------------------------------

def fresh():
    out = VectorFile("streams/fresh", {
        "WORKED_EXAMPLE": "an exchange that the text shows byte by byte",
        "EMPTY": "a file, or a selection, without chunks",
        "CODEC": "zlib and zero-fill chunks",
        "INTERLEAVED": "L2: answers in another order than requests",
        "PIPELINED": "the client writes everything at once",
    })
    t = Talk().client_hello().open(1, 1).get(2, 1, [(0, TOP)]).c("GOAWAY")
    t.server_hello().info(1, 1, cid=False)
    for i in range(5):
        t.chunk(2, 1, i)
    t.done(2, 5, 20000)
    t.add(out, "worked-17-1", "V1a H2b L1 G3 G8 C9",
          "fresh download in one flight",
          flags=["WORKED_EXAMPLE", "PIPELINED"])

    empty = File(0)
    t = Talk().hello().open(1, 1).info(1, 1, empty)
    t.get(2, 1, [(0, TOP)]).done(2, 0, 0, empty)
    t.add(out, "empty-file", "G2 ID1-P2", "an empty file", flags=["EMPTY"])

    t = Talk().hello().open(1, 1).info(1, 1).get(2, 1, [(20000, TOP)])
    t.done(2, 0, 0)
    t.add(out, "nothing-left", "G2", "resuming a complete file is success",
          flags=["EMPTY"])

    add_codecs(out)
    add_interleaved(out)
    for size in (1, 4095, 4096, 4097, 8191, 8192, 8193):
        add_size(out, size)
    return out


def add_size(out, size):
    file = File(size)
    t = Talk().hello().open(1, 1).get(2, 1, [(0, TOP)]).info(1, 1, file)
    for i in range(len(file.digests)):
        t.chunk(2, 1, i, file)
    t.done(2, len(file.digests), size, file)
    t.add(out, "size-%d" % size, "G3 ID1-C2", "%d bytes at c = 12" % size)


def add_codecs(out):
    zeros = File(0)
    zeros.data, zeros.size = identity.pattern(4096) + bytes(4096), 8192
    zeros.digests = identity.digests_of(zeros.data, C)
    zeros.cid = identity.cid_of(zeros.data, C)
    zeros.inverted = {5000}
    stream = bytes.fromhex(STREAMS["pattern-4096-level-9"]["stored"])
    t = Talk().hello().open(1, 1).info(1, 1, zeros).get(2, 1, [(0, TOP)])
    t.chunk(2, 1, 0, zeros, codec=R.CODEC_ZLIB, data=stream)
    t.chunk(2, 1, 1, zeros, codec=R.CODEC_ZERO, data=b"")
    t.done(2, 2, 8192, zeros)
    t.add(out, "codecs", "Z1b Z1c Z2", "a zlib chunk and a zero-fill chunk",
          flags=["CODEC"])


def add_interleaved(out):
    small = File(100)
    t = Talk().hello()
    t.open(1, 1).get(2, 1, [(0, TOP)])
    t.open(3, 2, path=b"small").get(4, 2, [(0, TOP)])
    t.info(3, 2, small).info(1, 1)
    t.chunk(2, 1, 0).chunk(4, 2, 0, small).chunk(2, 1, 1)
    t.done(4, 1, 100, small)
    for i in (2, 3, 4):
        t.chunk(2, 1, i)
    t.done(2, 5, 20000)
    t.add(out, "two-files", "L1 L2b O8", "two handles, answers interleaved",
          flags=["INTERLEAVED", "PIPELINED"])

    t = Talk().hello().open(1, 1).info(1, 1)
    t.get(2, 1, [(0, 8192)], flags=0).get(3, 1, [(8192, TOP)], flags=0)
    t.chunk(2, 1, 0).chunk(2, 1, 1).done(2, 2, 8192)
    t.chunk(3, 1, 2).chunk(3, 1, 3).chunk(3, 1, 4).done(3, 3, 11808)
    t.c("CLOSE", 4, handle=1).s("DONE", 4)
    t.c("PING", opaque=b"\1" * 8).s("PONG", opaque=b"\1" * 8)
    t.add(out, "bounded-gets", "L4 K1 C1a",
          "two GETs of bounded span, CLOSE, PING")


# -- resume -------------------------------------------------------------------

def resume():
    out = VectorFile("streams/resume", {
        "WORKED_EXAMPLE": "an exchange that the text shows byte by byte",
        "WEAK_TOKEN": "a version token that proves nothing",
        "CUT": "C2: end of stream is a reset, never a success",
        "TOUCHED": "another version token with the same content id",
    })
    t = Talk().client_hello()
    t.open(1, 1, 12, DEMO).get(2, 1, [(4096, 4096), (12288, TOP)])
    t.server_hello().info(1, 1)
    t.chunk(2, 1, 1).chunk(2, 1, 3).chunk(2, 1, 4).done(2, 3, 0x2E20)
    t.add(out, "worked-17-2", "R1 R2 O6 G3", "resume in one round trip",
          flags=["WORKED_EXAMPLE"])

    t = Talk().hello().open(1, 1, 12, DEMO)
    touched = File(20000, version=V2)
    t.info(1, 1, touched).get(2, 1, [(16384, TOP)])
    t.chunk(2, 1, 4, touched).done(2, 1, 3616, touched)
    t.add(out, "touched", "O6 R2", "equal CID, other token: the same file",
          flags=["TOUCHED"])

    t = Talk().hello().open(1, 1, 12, DEMO)
    t.info(1, 1, cid=False, strong=False)
    t.c("DIGEST", 2, handle=1, first_block=0, block_count=3)
    t.s("PROGRESS", 2, done=4096, total=12288)
    t.s("DIGESTS", 2, end=True, digests=DEMO.digests[:3])
    t.get(3, 1, [(12288, TOP)])
    t.chunk(3, 1, 3).chunk(3, 1, 4).done(3, 2, 7712)
    t.add(out, "weak-token", "N2c R3 D2", "kept chunks are compared first",
          flags=["WEAK_TOKEN"])

    reset = local_error("RESET")
    t = Talk().hello().open(1, 1).info(1, 1).get(2, 1, [(0, TOP)])
    t.chunk(2, 1, 0).chunk(2, 1, 1)
    t.add(out, "cut-between-frames", "C2", "the server's stream ends",
          error=reset, flags=["CUT"])
    t = Talk().hello().open(1, 1).info(1, 1).get(2, 1, [(0, TOP)])
    t.chunk(2, 1, 0)
    half = wire.encode("CHUNK", 2, {
        "offset": 4096, "raw_len": 4096, "handle": 1,
        "digest": DEMO.digests[1], "data": DEMO.raw(1)})[:2000]
    t.raw("server", half)
    t.add(out, "cut-in-chunk", "C2", "the stream ends inside chunk 1",
          error=reset, flags=["CUT"])
    t = Talk().hello().open(1, 1).info(1, 1).get(2, 1, [(0, TOP)])
    for i in range(5):
        t.chunk(2, 1, i)
    t.add(out, "cut-before-done", "C2", "all chunks, but no END",
          error=reset, flags=["CUT"])
    t = Talk().client_hello().open(1, 1)
    t.raw("server", wire.encode_preface(R.ROLE_SERVER)[:9])
    t.add(out, "cut-in-preface", "C2", "the stream ends inside the preface",
          error=reset, flags=["CUT"])
    return out


# -- changed ------------------------------------------------------------------

def changed_error(t, ident, file):
    return t.error(ident, R.WIRE_CHANGED, [
        (R.TLV_VERSION, file.version), (R.TLV_CID, file.cid),
        (R.TLV_SIZE, file.size.to_bytes(8, "big"))])


def changed():
    out = VectorFile("streams/changed", {
        "WORKED_EXAMPLE": "an exchange that the text shows byte by byte",
        "DURING": "G5: the file changes while it is sent",
        "CLIENT_COMPARES": "N2: the server did not refuse, the client does",
        "MIXED": "bytes or names of two versions under one handle",
    })
    rest = [(8192, 4096), (16384, TOP)]
    t = Talk().client_hello().open(1, 1, 12, DEMO)
    t.msg("client", "GET", 2, {"handle": 1, "urgency": 3, "flags": 2,
                               "ranges": rest})
    t.server_hello()
    changed_error(t, 1, DEMO2).error(2, R.WIRE_BAD_HANDLE)
    t.open(3, 2, 12)
    t.c("DIGEST", 4, handle=2, block_log2=32, block_count=1)
    t.info(3, 2, DEMO2)
    t.s("DIGESTS", 4, end=True, block_log2=32, digests=DEMO2.digests)
    t.get(5, 2, rest).chunk(5, 2, 2, DEMO2).chunk(5, 2, 4, DEMO2)
    t.done(5, 2, 0x1E84, DEMO2)
    t.add(out, "worked-17-3", "O6 O7 O10 R4a R4b R4c",
          "the file changed between two "
          "connections", flags=["WORKED_EXAMPLE"])

    t = Talk().hello().open(1, 1).info(1, 1).get(2, 1, [(0, TOP)])
    t.chunk(2, 1, 0).chunk(2, 1, 1).error(2, R.WIRE_CHANGED_DURING)
    t.c("DIGEST", 3, handle=1, block_log2=32, block_count=1)
    t.events[-1]["what"] = "REFUSED"
    t.error(3, R.WIRE_BAD_HANDLE)
    t.open(4, 1).info(4, 1, DEMO2)
    t.add(out, "during", "G5a O7", "CHANGED_DURING closes the handle",
          flags=["DURING"])

    t = Talk().hello().open(1, 1, 12, DEMO)
    t.info(1, 1, DEMO2, what="CHANGED")
    t.add(out, "client-finds-cid", "N2b", "INFO names another CID",
          flags=["CLIENT_COMPARES"])
    t = Talk().hello().open(1, 1, 12, DEMO)
    t.info(1, 1, DEMO2, cid=False, what="CHANGED")
    t.add(out, "client-finds-version", "N2b", "INFO names another VERSION "
          "and no CID", flags=["CLIENT_COMPARES"])

    t = Talk().hello().open(1, 1).info(1, 1).get(2, 1, [(0, TOP)])
    for i in range(5):
        t.chunk(2, 1, i)
    t.done(2, 5, 20000, DEMO2, fault=True)
    t.add(out, "done-other-version", "G10", "DONE names another version",
          error=local_error("CHANGED"), flags=["MIXED"])

    shadow = File(20000, (9000,))
    t = Talk().hello().open(1, 1).info(1, 1, cid=False)
    t.c("DIGEST", 2, handle=1, block_log2=32, block_count=1)
    t.s("DIGESTS", 2, end=True, block_log2=32, digests=DEMO.digests)
    t.get(3, 1, [(0, TOP)]).chunk(3, 1, 0).chunk(3, 1, 1)
    t.chunk(3, 1, 2, shadow, fault=True)
    t.add(out, "two-digests", "G4h G5b R10a", "a chunk that is not the list's",
          error=local_error("LIST_MISMATCH"), flags=["MIXED"])

    t = Talk().hello().open(1, 1).info(1, 1).get(2, 1, [(0, TOP)])
    t.chunk(2, 1, 0).chunk(2, 1, 1).chunk(2, 1, 2, shadow)
    t.chunk(2, 1, 3).chunk(2, 1, 4).done(2, 5, 20000, fault=True)
    t.add(out, "cid-differs", "R5b R5d",
          "each chunk fits its digest, the whole "
          "is not the CID", error=local_error("CID_MISMATCH"),
          flags=["MIXED"])
    return out


# -- errors -------------------------------------------------------------------

def errors():
    out = VectorFile("streams/errors", {
        "REQUEST": "one request fails, the connection goes on",
        "LIMIT": "a limit of HELLO, or its default before HELLO",
        "AFTER_ERROR": "what was received before an error stays valid",
        "VERSION": "V1: the server does not speak the client's version",
    })
    refused = "REFUSED"

    t = Talk().hello()
    t.open(1, 1, path=b"missing").get(2, 1, [(0, TOP)])
    t.error(1, R.WIRE_NOT_FOUND).error(2, R.WIRE_BAD_HANDLE)
    t.open(3, 1).info(3, 1)
    t.add(out, "not-found", "O7 E6",
          "a pipelined GET fails with its OPEN, the "
          "handle is free again", flags=["REQUEST"])

    t = Talk().hello()
    t.msg("client", "OPEN", 1, {"handle": 1, "path": b"../etc/passwd"},
          what=refused)
    t.error(1, R.WIRE_BAD_PATH)
    t.open(2, 1).info(2, 1)
    t.msg("client", "GET", 3, {"handle": 1, "ranges": [(0, 1), (0, 1)]},
          what=refused)
    t.error(3, R.WIRE_BAD_REQUEST)
    t.msg("client", "GET", 4, {"handle": 9, "ranges": [(0, 1)]},
          what=refused)
    t.error(4, R.WIRE_BAD_HANDLE)
    t.msg("client", "OPEN", 5, {"handle": 2, "path": PATH},
          [(0x8F00, b"")], what=refused)
    t.error(5, R.WIRE_UNSUPPORTED)
    t.msg("client", "OPEN", 6, {"handle": 1, "path": PATH}, what=refused)
    t.error(6, R.WIRE_BAD_HANDLE)
    t.get(7, 1, [(0, 1)]).chunk(7, 1, 0).done(7, 1, 4096)
    t.add(out, "requests-refused", "F3c N1a G1a G1c X1c O2",
          "five refused requests and one that works", flags=["REQUEST"])

    t = Talk().hello()
    t.raw("client", raw_frame(0x2A, 1, b"what?"), "UNKNOWN_REQUEST", 1)
    t.error(1, R.WIRE_UNSUPPORTED)
    t.open(2, 1).info(2, 1)
    t.add(out, "unknown-request", "F5b", "an unknown request type",
          flags=["REQUEST"])

    t = Talk().hello().open(1, 1).info(1, 1).get(2, 1, [(0, TOP)], flags=0)
    t.chunk(2, 1, 0).chunk(2, 1, 1)
    t.error(2, R.WIRE_IO_ERROR, [(R.TLV_OFFSET, (8192).to_bytes(8, "big"))])
    t.get(3, 1, [(12288, TOP)]).chunk(3, 1, 3).chunk(3, 1, 4)
    t.done(3, 2, 7712)
    t.add(out, "io-error", "G5c E6", "chunks before IO_ERROR count, later "
          "ranges may be tried", flags=["AFTER_ERROR"])

    t = Talk().hello(server=[])
    for i in range(16):
        t.open(1 + i, 1 + i)
    t.msg("client", "LIST", 17, {"path": b""}, what=refused)
    t.error(17, R.WIRE_TOO_MANY_REQUESTS, [(R.TLV_RETRY_AFTER_MS, u32(5))])
    for i in range(16):
        t.info(1 + i, 1 + i)
    t.msg("client", "OPEN", 18, {"handle": 99, "path": PATH}, what=refused)
    t.error(18, R.WIRE_TOO_MANY_HANDLES)
    t.add(out, "limits", "L7 O3 H2a",
          "the 17th request and the 17th handle under "
          "default limits", flags=["LIMIT"])

    t = Talk()
    t.raw("client", wire.encode_preface(R.ROLE_CLIENT, 2), None)
    t.faulty = True
    t.raw("server", wire.encode_preface(R.ROLE_SERVER, 1, 1))
    t.s("ERROR", 0, [(R.TLV_VERSIONS, b"\0\1")],
        code=R.WIRE_VERSION_REJECTED)
    t.add(out, "version-2-to-server", "V1c", "a server refuses version 2",
          error=wire_error("VERSION_REJECTED"), flags=["VERSION"])
    t = Talk().client_hello()
    t.raw("server", wire.encode_preface(R.ROLE_SERVER, 3, 1), "REJECTED")
    t.s("ERROR", 0, [(R.TLV_VERSIONS, b"\0\2\0\3")],
        code=R.WIRE_VERSION_REJECTED)
    t.add(out, "version-1-rejected", "V1d V2a", "a client reads a rejection "
          "by a newer server", flags=["VERSION"])
    return out


# -- grease -------------------------------------------------------------------

def grease():
    out = VectorFile("streams/grease", {
        "EVERYWHERE": "reserved values in every place that may hold them",
        "RESERVED": "reserved bits and fields set in every message",
    })
    hello_c = [(R.TLV_CODECS, b"\x0a\x00\x7a")] + \
        [(v, b"g" * i) for i, v in enumerate(R.GREASE_TLV)] + \
        [(R.TLV_FEATURES, bytes.fromhex("0a0afafa"))]
    t = Talk().hello(client=hello_c, server=hello_c)
    odd = [(0x0A0A, b""), (0x7A7A, b"\xff" * 9)]
    t.raw("client", raw_frame(0x8A, 0, b""), "SKIP")
    t.c("OPEN", 1, odd, handle=1, path=PATH)
    t.raw("server", raw_frame(0xFA, 77, b"x" * 1024), "SKIP", 77)
    t.info(1, 1)
    t.c("GET", 9, odd, handle=1, urgency=3, ranges=[(0, 4097)])
    t.raw("server", raw_frame(0x9A, 9, b"", flags=1), "SKIP", 9)
    t.chunk(9, 1, 0)
    t.raw("server", raw_frame(0xF5, 0, b"private"), "SKIP")
    t.s("NOTICE", 0, text=b"hello")
    t.chunk(9, 1, 1)
    t.s("PROGRESS", 9, done=1, total=2)
    t.msg("server", "DONE", 9, {"chunks": 2, "raw_bytes": 8192}, odd)
    t.c("PING", opaque=bytes(8))
    t.raw("client", raw_frame(0xAA, 0xFFFFFFFF, b"!"), "SKIP", 0xFFFFFFFF)
    t.s("PONG", opaque=bytes(8))
    t.add(out, "everywhere", "X1b X4a X4b F5a",
          "grease frames, TLVs, codecs and "
          "features on both sides", flags=["EVERYWHERE"])

    t = Talk()
    t.raw("client", wire.encode_preface(R.ROLE_CLIENT, 1, 0xFF), "PREFACE")
    t.raw("client", raw_frame(R.FRAME_HELLO, 0, b"", 0xFE, 0xFFFF), "HELLO")
    t.raw("server", wire.encode_preface(R.ROLE_SERVER, 1, 0xFE), "PREFACE")
    t.raw("server", raw_frame(R.FRAME_HELLO, 0, b"", 0xFE, 0xFFFF), "HELLO")
    body = wire.encode_payload("OPEN", {"handle": 1, "flags": 0xFE,
                                        "path": PATH})
    t.raw("client", raw_frame(R.FRAME_OPEN, 1, body, 0xFE, 1), "OPEN", 1)
    body = wire.encode_payload("INFO", {
        "handle": 1, "file_type": 1, "chunk_log2": C, "info_flags": 0xFFFD,
        "size": DEMO.size}, [(R.TLV_VERSION, DEMO.version),
                             (R.TLV_CID, DEMO.cid)])
    t.raw("server", raw_frame(R.FRAME_INFO, 1, body, 0xFF, 0xABCD), "INFO",
          1)
    body = wire.encode_payload("GET", {"handle": 1, "flags": 0xFC,
                                       "ranges": [(0, 1)]})
    t.raw("client", raw_frame(R.FRAME_GET, 2, body, 0xFE, 1), "GET", 2)
    chunk = bytearray(wire.encode_payload("CHUNK", {
        "raw_len": 4096, "handle": 1, "digest": DEMO.digests[0],
        "data": DEMO.raw(0)}))
    chunk[21:24] = b"\xff\xff\xff"
    t.raw("server", raw_frame(R.FRAME_CHUNK, 2, bytes(chunk), 0xFE, 0xFFFF),
          "CHUNK", 2, 0)
    t.raw("server", raw_frame(R.FRAME_DONE, 2, wire.encode_payload(
        "DONE", {"chunks": 1, "raw_bytes": 4096}), 0xFF, 0xFFFF), "DONE", 2)
    t.add(out, "reserved", "X2", "every reserved bit set",
          flags=["RESERVED"])
    return out


# -- digest -------------------------------------------------------------------

BIG = File(13 * 4096 - 96)


def proofs(t, ident, b, first, count, file=BIG, fault_at=None, spoil=None):
    """DIGESTS with proof for blocks first..first+count-1, one frame each."""
    n = len(file.digests)
    for j in range(first, first + count):
        low, high = j << b, min(n, (j + 1) << b)
        _, path = identity.prove(file.leaves, b, j)
        fields = {"first_chunk": low, "block_log2": b,
                  "digests": file.digests[low:high], "proof": path}
        end = j == first + count - 1
        if j == fault_at:
            spoil(fields)
            t.bad_s("DIGESTS", ident, end=end, **fields)
        else:
            t.s("DIGESTS", ident, end=end, **fields)
    return t


def digest():
    out = VectorFile("streams/digest", {
        "PROOF": "section 9.4: a block and its path",
        "RAGGED": "the last block is shorter",
        "LIST": "the whole list, believed because it gives the CID",
        "EMPTY": "nothing selected is answered by DONE",
        "BAD_PROOF": "a path or digest that does not give the root",
        "GAP": "digests missing, repeated or too many",
    })

    def start(b, first, count, flags=1):
        t = Talk().hello().open(1, 1).info(1, 1, BIG)
        return t.c("DIGEST", 2, handle=1, block_log2=b, flags=flags,
                   first_block=first, block_count=count)

    for b, first, count in ((0, 0, 13), (0, 12, 1), (1, 6, 1), (2, 1, 3),
                            (3, 1, 1), (4, 0, 1), (32, 0, 1), (2, 0, 0)):
        t = start(b, first, count)
        total = identity.block_count(13, b)
        proofs(t, 2, b, first, count or total - first)
        t.add(out, "proof-b%d-%d-%d" % (b, first, count), "D8 D10 ID1-P1",
              "blocks of 2^%d chunks, %d from %d" % (b, count, first),
              flags=["PROOF", "RAGGED"] if first + (count or total) == total
              else ["PROOF"])

    t = start(2, 0, 1)
    t.s("DIGESTS", 2, first_chunk=0, block_log2=2, digests=BIG.digests[:3])
    t.s("DIGESTS", 2, end=True, first_chunk=3, block_log2=2,
        digests=BIG.digests[3:4], proof=identity.prove(BIG.leaves, 2, 0)[1])
    t.add(out, "proof-in-two-frames", "D8", "only the frame that completes "
          "the block carries the path", flags=["PROOF"])

    t = start(0, 0, 0, flags=0)
    t.s("DIGESTS", 2, first_chunk=0, digests=BIG.digests[:7])
    t.s("DIGESTS", 2, end=True, first_chunk=7, digests=BIG.digests[7:])
    t.add(out, "list-in-two-frames", "D2 D7", "the list in two frames",
          flags=["LIST"])
    t = start(0, 13, 5, flags=0).s("DONE", 2)
    t.add(out, "beyond", "D1", "blocks beyond the last one",
          flags=["EMPTY"])
    empty = File(0)
    t = Talk().hello().open(1, 1).info(1, 1, empty)
    t.c("DIGEST", 2, handle=1, block_log2=32, block_count=1).s("DONE", 2)
    t.add(out, "empty-file", "D1 ID1-P2", "the list of an empty file",
          flags=["EMPTY"])
    add_bad_digests(out, start)
    return out


def add_bad_digests(out, start):
    rejected = local_error("PROOF_REJECTED")

    def flip(fields):
        fields["proof"] = [bytes(32)] + fields["proof"][1:]

    def drop(fields):
        fields["proof"] = fields["proof"][1:]

    def extend(fields):
        fields["proof"] = fields["proof"] + [bytes(32)]

    def other_digest(fields):
        fields["digests"] = [bytes(32)] + fields["digests"][1:]

    for name, spoil, req, error in (
            ("flip", flip, "D10 ID1-P4", rejected),
            ("short", drop, "D9 ID1-P1", FATAL),
            ("long", extend, "D9 ID1-P1", FATAL),
            ("digest", other_digest, "D10", rejected)):
        t = start(2, 0, 4)
        proofs(t, 2, 2, 0, 4, fault_at=2, spoil=spoil)
        t.add(out, "bad-proof-" + name, req, "the third of four proofs is "
              "wrong: " + name, error=error, flags=["BAD_PROOF"])

    t = start(0, 0, 0, flags=0)
    t.bad_s("DIGESTS", 2, end=True, first_chunk=0,
            digests=BIG.digests[:12] + [bytes(32)])
    t.add(out, "list-not-the-cid", "D10 R4b R10b",
          "the list gives another CID",
          error=local_error("CID_MISMATCH"), flags=["LIST"])
    for name, first, digests, end in (
            ("gap", 1, BIG.digests[1:], True),
            ("too-many", 0, BIG.digests + [bytes(32)], True),
            ("end-too-early", 0, BIG.digests[:12], True),
            ("end-missing", 0, BIG.digests, False)):
        t = start(0, 0, 0, flags=0)
        t.bad_s("DIGESTS", 2, end=end, first_chunk=first, digests=digests)
        t.add(out, "list-" + name, "F7b" if "end" in name else "D9",
              "list: " + name, error=FATAL,
              flags=["GAP"])
    t = start(2, 0, 2)
    t.bad_s("DIGESTS", 2, end=True, first_chunk=0, block_log2=2,
            digests=BIG.digests[:8])
    t.add(out, "crosses-block", "D8", "one frame over two blocks",
          error=FATAL, flags=["GAP"])


# -- list, auth, cancel, goaway -----------------------------------------------

def entry(name, file_type=1, **more):
    return dict({"name": name, "file_type": file_type, "size": 3,
                 "mtime_s": 1, "mtime_ns": 0, "mode": 0o644}, **more)


def listing():
    out = VectorFile("streams/list", {
        "PAGES": "a cursor that leads to the next page",
        "ORDER": "entries ascend by name bytes, over frames and pages",
    })
    t = Talk().hello()
    t.c("LIST", 1, [(R.TLV_MAX_ENTRIES, u32(3))], path=b"iso")
    t.s("ENTRIES", 1, entries=[entry(b"a"), entry(b"b", 2)])
    t.s("ENTRIES", 1, [(R.TLV_CURSOR, b"c2")], end=True,
        entries=[entry(b"c", tlvs=[(R.TLV_CID, DEMO.cid)])])
    t.c("LIST", 2, [(R.TLV_CURSOR, b"c2")], path=b"iso", flags=1)
    t.s("ENTRIES", 2, end=True, entries=[
        entry(b"link", 3, tlvs=[(R.TLV_LINK_TARGET, b"a")])])
    t.c("LIST", 3, path=b"empty").s("ENTRIES", 3, end=True, entries=[])
    t.add(out, "pages", "Q1 Q7 Q8", "two pages and an empty directory",
          flags=["PAGES"])
    t = Talk().hello().c("LIST", 1, path=b"iso/demo.bin")
    t.error(1, R.WIRE_NOT_A_DIRECTORY)
    t.add(out, "not-a-directory", "Q2", "LIST of a file")
    t = Talk().hello().c("LIST", 1, path=b"")
    t.s("ENTRIES", 1, entries=[entry(b"b")])
    t.bad_s("ENTRIES", 1, end=True, entries=[entry(b"a")])
    t.add(out, "descends-over-frames", "Q1", "the second frame goes back",
          error=FATAL, flags=["ORDER"])
    t = Talk().hello().c("LIST", 1, path=b"")
    t.s("ENTRIES", 1, entries=[entry(b"b")])
    t.bad_s("ENTRIES", 1, end=True, entries=[entry(b"b"), entry(b"c")])
    t.add(out, "same-over-frames", "Q1", "a name twice", error=FATAL,
          flags=["ORDER"])
    return out


def auth():
    out = VectorFile("streams/auth", {
        "REQUIRED": "requests before AUTH has succeeded",
        "REFUSED": "credentials that do not fit",
    })
    methods = [(R.TLV_AUTH_METHODS, b"\1\2")]
    t = Talk().hello(server=methods)
    t.c("AUTH", 1, [(R.TLV_TOKEN, b"secret")], method=1).s("DONE", 1)
    t.open(2, 1).info(2, 1)
    t.add(out, "bearer", "A1", "a token, then a request")
    t = Talk().hello(server=methods)
    t.open(1, 1).error(1, R.WIRE_AUTH_REQUIRED)
    t.c("AUTH", 2, [(R.TLV_TOKEN, b"wrong")], method=1)
    t.error(2, R.WIRE_AUTH_FAILED)
    t.c("AUTH", 3, method=2).s("DONE", 3)
    t.open(4, 1).info(4, 1)
    t.add(out, "required-and-refused", "A1 A4", "first no credentials, then "
          "wrong ones, then the certificate",
          flags=["REQUIRED", "REFUSED"])
    t = Talk().hello(server=methods)
    t.c("AUTH", 1, [(R.TLV_TOKEN, b"secret")], method=1)
    t.error(1, R.WIRE_INSECURE)
    t.add(out, "insecure", "S2b", "a token on a plain connection")
    return out


def cancel():
    out = VectorFile("streams/cancel", {
        "RACE": "CANCEL crosses the end of the answer",
        "ONE_END": "exactly one frame with END for each request",
        "UNKNOWN_ANSWER": "F5: an unknown answer type is cancelled",
    })
    t = Talk().hello().open(1, 1).info(1, 1).get(2, 1, [(0, TOP)], flags=0)
    t.chunk(2, 1, 0).c("CANCEL", 2).chunk(2, 1, 1)
    t.error(2, R.WIRE_CANCELLED)
    t.get(3, 1, [(8192, 1)]).chunk(3, 1, 2).done(3, 1, 4096)
    t.add(out, "cancelled", "K2 K4 F7a",
          "queued chunks still count; the handle "
          "stays open", flags=["ONE_END"])
    t = Talk().hello().open(1, 1).info(1, 1).get(2, 1, [(0, 1)])
    t.chunk(2, 1, 0).c("CANCEL", 2).done(2, 1, 4096).c("CANCEL", 2)
    t.c("CANCEL", 7)
    t.add(out, "too-late", "K2 K3",
          "DONE was on the way; CANCEL of a finished "
          "and of an unknown id is ignored", flags=["RACE"])
    t = Talk().hello().open(1, 1).info(1, 1).get(2, 1, [(0, TOP)])
    t.raw("server", raw_frame(0x55, 2, b"?"), "UNKNOWN_ANSWER", 2)
    t.c("CANCEL", 2).error(2, R.WIRE_CANCELLED)
    t.add(out, "unknown-answer", "F5c", "the client gives up one request",
          flags=["UNKNOWN_ANSWER"])
    t = Talk().hello().open(1, 1).info(1, 1).get(2, 1, [(0, TOP)])
    t.chunk(2, 1, 0).c("CANCEL", 2).error(2, R.WIRE_CANCELLED)
    t.chunk(2, 1, 1, fault=True)
    t.add(out, "chunk-after-end", "F6d G4a", "a chunk after the END",
          error=FATAL, flags=["ONE_END"])
    t = Talk().hello().open(1, 1).info(1, 1).get(2, 1, [(0, 1)])
    t.chunk(2, 1, 0).done(2, 1, 4096).done(2, 1, 4096, fault=True)
    t.add(out, "end-twice", "F6d F7a", "two END frames", error=FATAL,
          flags=["ONE_END"])
    t = Talk().hello().open(1, 1).info(1, 1).get(2, 1, [(0, TOP)])
    t.bad_s("ERROR", 2, code=R.WIRE_CANCELLED)
    t.add(out, "not-cancelled", "K2", "CANCELLED though nobody asked",
          error=FATAL, flags=["ONE_END"], acceptable=True)
    return out


def goaway():
    out = VectorFile("streams/goaway", {
        "BOUNDARY": "requests above the last id are not answered",
        "IDLE": "a connection that nobody uses",
    })
    t = Talk().hello().open(1, 1).get(2, 1, [(0, 4096)])
    t.s("GOAWAY", last_id=0xFFFFFFFF, code=R.WIRE_SHUTTING_DOWN)
    t.open(3, 2)
    t.s("GOAWAY", last_id=2, code=R.WIRE_SHUTTING_DOWN)
    t.info(1, 1).chunk(2, 1, 0).done(2, 1, 4096)
    t.add(out, "drain", "C6 C7 C8",
          "announcement, then the boundary; request 3 "
          "is not lost but asked again elsewhere", flags=["BOUNDARY"])
    t = Talk().hello().s("GOAWAY", last_id=0)
    t.add(out, "idle", "T10", "the server leaves an idle connection",
          flags=["IDLE"])
    t = Talk().hello().open(1, 1).get(2, 1, [(0, 4096)])
    t.s("GOAWAY", last_id=2).info(1, 1).chunk(2, 1, 0)
    t.add(out, "cut-while-draining", "C2", "the stream ends before the END "
          "of request 2", error=local_error("RESET"), flags=["BOUNDARY"])
    t = Talk().hello().open(1, 1)
    t.s("GOAWAY", last_id=0).bad_s("ERROR", 1, code=R.WIRE_NOT_FOUND)
    t.add(out, "answer-above-boundary", "C6 F7a",
          "an answer to a request that "
          "GOAWAY excluded", error=FATAL, flags=["BOUNDARY"],
          acceptable=True)
    t = Talk().hello().c("GOAWAY").bad_c("LIST", 1, path=b"")
    t.add(out, "request-after-goaway", "C9", "the client said no more",
          error=wire_error("BAD_STATE"), flags=["BOUNDARY"])
    return out


# -- faults -------------------------------------------------------------------

def faults():
    out = VectorFile("streams/faults", {
        "HELLO": "HELLO is the first frame, once",
        "IDS": "F6: request ids strictly increase",
        "NOT_ASKED": "G4: an answer that does not fit its request",
        "DAMAGE": "bits that change on the way",
        "LIE": "lengths and counts that do not fit",
        "INCOMPLETE": "DONE without everything that was asked for",
    })
    add_hello_faults(out)
    add_client_faults(out)
    add_answer_faults(out)
    add_damage(out)
    return out


def add_hello_faults(out):
    state = wire_error("BAD_STATE")
    t = Talk()
    t.raw("client", wire.encode_preface(R.ROLE_CLIENT), "PREFACE")
    t.bad_c("OPEN", 1, handle=1, path=PATH)
    t.add(out, "no-hello", "H1b", "a request before HELLO", error=state,
          flags=["HELLO"])
    t = Talk()
    t.raw("client", wire.encode_preface(R.ROLE_CLIENT), "PREFACE")
    t.fault("client", raw_frame(0x8A, 0, b""))
    t.add(out, "grease-before-hello", "H1b", "HELLO is first, grease or not",
          error=state, flags=["HELLO"])
    t = Talk().hello().bad_c("HELLO")
    t.add(out, "two-hellos-client", "H1b", "a second HELLO", error=state,
          flags=["HELLO"])
    t = Talk().hello().bad_s("HELLO")
    t.add(out, "two-hellos-server", "H1b", "a second HELLO", error=state,
          flags=["HELLO"])
    t = Talk()
    t.raw("client", wire.encode_preface(R.ROLE_CLIENT), "PREFACE")
    t.fault("client", raw_frame(
        R.FRAME_HELLO, 0, wire.encode_tlv(0x7001, bytes(4100))))
    t.add(out, "hello-over-4k", "H6", "more than 4 KiB before HELLO is "
          "complete", error=wire_error("FRAME_TOO_LARGE"), flags=["HELLO"])
    t = Talk().client_hello().open(1, 1)
    t.raw("server", wire.encode_preface(R.ROLE_SERVER), "PREFACE")
    t.info(1, 1, fault=True)
    t.add(out, "answer-before-hello", "H1a", "an answer before the server's "
          "HELLO", error=state, flags=["HELLO"])
    t = Talk().client_hello()
    t.fault("server", wire.encode_preface(R.ROLE_CLIENT))
    t.add(out, "echo", "V2b", "the client reads its own preface",
          error=FATAL, flags=["HELLO"])


def add_client_faults(out):
    for name, ident in (("same", 5), ("lower", 4)):
        t = Talk().hello().c("LIST", 5, path=b"")
        t.bad_c("LIST", ident, path=b"")
        t.add(out, "id-" + name, "F6b", "request id %d after 5" % ident,
              error=FATAL, flags=["IDS"])
    t = Talk().hello()
    t.fault("client", raw_frame(R.FRAME_GET, 1, b"\0\0\0\1\3\0\0\x09"))
    t.add(out, "get-count-lies", "F3b", "nine ranges announced, none sent",
          error=FATAL, flags=["LIE"])
    t = Talk().hello()
    t.fault("client", raw_frame(R.FRAME_GET, 1, b"", length=1 << 31))
    t.add(out, "get-too-large", "F2b", "a GET of 2 GiB",
          error=wire_error("FRAME_TOO_LARGE"), flags=["LIE"])
    t = Talk().hello()
    t.fault("client", wire.encode("DONE", 1))
    t.add(out, "answer-from-client", "F5d", "DONE from a client", error=FATAL,
          flags=["NOT_ASKED"])


def started():
    return Talk().hello().open(1, 1).info(1, 1).get(2, 1, [(0, 8192)],
                                                    flags=0)


def add_answer_faults(out):
    t = started().chunk(3, 1, 0, fault=True)
    t.add(out, "unknown-request-id", "F6d", "a chunk for request 3",
          error=FATAL, flags=["NOT_ASKED"])
    t = started().chunk(2, 7, 0, fault=True)
    t.add(out, "other-handle", "G4b", "a chunk for handle 7",
          error=FATAL, flags=["NOT_ASKED"])
    t = started().chunk(2, 1, 0).chunk(2, 1, 2, fault=True)
    t.add(out, "not-asked", "G4c", "chunk 2, outside the ranges",
          error=FATAL, flags=["NOT_ASKED"])
    t = started().chunk(2, 1, 0).chunk(2, 1, 0, fault=True)
    t.add(out, "twice", "G4c", "chunk 0 twice",
          error=FATAL, flags=["NOT_ASKED"])
    t = started().chunk(2, 1, 1).chunk(2, 1, 0, fault=True)
    t.add(out, "descending", "G4c", "chunk 0 after chunk 1", error=FATAL,
          flags=["NOT_ASKED"])
    t = Talk().hello().open(1, 1).info(1, 1).get(2, 1, [(0, TOP)])
    for place, source in enumerate((1, 0, 2, 3, 4)):
        t.chunk(2, 1, source, offset=place << C, index=place)
    t.done(2, 5, 20000, fault=True)
    t.add(out, "chunks-exchanged", "R5b", "chunks 0 and 1 in each other's "
          "place, all sums right: only the CID can tell",
          error=local_error("CID_MISMATCH"), flags=["LIE"])
    t = started().chunk(2, 1, 0, fault=True, offset=100)
    t.add(out, "off-grid", "G4c", "offset 100",
          error=FATAL, flags=["LIE"])
    t = started().info(2, 1, fault=True)
    t.add(out, "info-for-get", "F6d", "INFO as answer to GET", error=FATAL,
          flags=["NOT_ASKED"])
    t = Talk().hello().open(1, 1).info(1, 2, fault=True)
    t.add(out, "info-other-handle", "N2a", "INFO for another handle",
          error=FATAL, flags=["NOT_ASKED"])
    for name, want, c, size in (("other-grid", 12, 13, 20000),
                                ("over-limit", 0, 21, 20000)):
        t = Talk().hello().open(1, 1, want)
        t.info(1, 1, fault=True, chunk_log2=c, size=size)
        t.add(out, "info-" + name, "N2a", "chunk_log2 %d where %d was asked "
              "and 20 is the client's maximum" % (c, want),
              error=FATAL, flags=["LIE"])
    for name, size in (("size-2-63", 1 << 63), ("too-many-chunks",
                                                (1 << 44) + 1)):
        t = Talk().hello().open(1, 1).info(1, 1, fault=True, size=size)
        t.add(out, "info-" + name, "O14" if size >> 63 else "I3 ID1-C5",
              "INFO with a size that no file has at c = 12", error=FATAL,
              flags=["LIE"])
    t = started().chunk(2, 1, 0).done(2, 1, 4096, fault=True)
    t.add(out, "done-too-early", "G9", "DONE before chunk 1",
          error=FATAL, flags=["INCOMPLETE"])
    t = started().done(2, 0, 0, fault=True)
    t.add(out, "done-at-once", "G9", "DONE without any chunk",
          error=FATAL, flags=["INCOMPLETE"])
    t = started().chunk(2, 1, 0).chunk(2, 1, 1).done(2, 3, 8192, fault=True)
    t.add(out, "done-counts-lie", "G9", "DONE says three chunks",
          error=FATAL, flags=["LIE"])


def add_damage(out):
    def flip(at, bit=1):
        def corrupt(data):
            return data[:at] + bytes([data[at] ^ bit]) + data[at + 1:]
        return corrupt

    for name, at, error in (
            ("length-high", 0, wire_error("FRAME_TOO_LARGE")),
            ("type", 4, wire_error("CORRUPT_STREAM")),
            ("request-id", 11, wire_error("CORRUPT_STREAM")),
            ("crc", 15, wire_error("CORRUPT_STREAM")),
            ("offset", 22, wire_error("CORRUPT_STREAM")),
            ("raw-len", 27, wire_error("CORRUPT_STREAM")),
            ("digest", 60, wire_error("CORRUPT_STREAM")),
            ("first-data", 72, local_error("DIGEST_MISMATCH")),
            ("last-data", 72 + 4095, local_error("DIGEST_MISMATCH"))):
        t = started().chunk(2, 1, 0)
        t.chunk(2, 1, 1, fault=True, corrupt=flip(at))
        t.add(out, "flip-" + name,
              "G4g" if name.endswith("data") else "F1b",
              "one bit of chunk 1: " + name,
              error=error, flags=["DAMAGE"])
    t = started().chunk(2, 1, 0)
    t.chunk(2, 1, 1, fault=True, data=DEMO.raw(1)[1:] + b"\0")
    t.add(out, "shifted-data", "G4g R9", "data moved by one byte",
          error=local_error("DIGEST_MISMATCH"), flags=["DAMAGE"])
    t = started().chunk(2, 1, 0)
    whole = wire.encode("CHUNK", 2, {
        "offset": 4096, "raw_len": 4096, "handle": 1,
        "digest": DEMO.digests[1], "data": DEMO.raw(1)})
    # A lost byte shows at the CRC of whatever follows.
    t.raw("server", whole[:1000])
    t.fault("server", whole[1001:] + wire.encode("DONE", 2, {
        "chunks": 2, "raw_bytes": 8192}))
    t.add(out, "lost-byte", "G4g R9", "a byte of chunk 1 is missing",
          error=local_error("DIGEST_MISMATCH"), flags=["DAMAGE"])


