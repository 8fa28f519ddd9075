"""chunk.json: codecs (Z1 to Z3) and the acceptance of a CHUNK (G4).

zlib streams are data, not computed: Z5 promises nothing about the bytes a
compressor writes, so these vectors are only for decoding."""

import zlib

import belay_id as identity
import belay_wire as wire

from .common import R, VectorFile, local_error, u64, wire_error
from .zlib_streams import NEEDS_DICTIONARY, STREAMS

NOTES = {
    "STORED_LENGTH": "Z1: stored length that the codec does not allow",
    "BOMB": "Z3: the stream holds more than the chunk",
    "SHORT": "Z3: the stream holds less than the chunk, or does not end",
    "TRAILING": "Z3: bytes after the end of the stream",
    "DICTIONARY": "Z2: a preset dictionary",
    "DAMAGED": "the stream contradicts itself",
    "UNKNOWN_CODEC": "a codec the client did not announce",
    "DIGEST": "the bytes are not those of the digest",
    "PLACE": "G4: not the place, length or file the client asked for",
    "TWICE": "G4: delivered before",
    "EDGE": "the last chunk, or the shortest that the rule allows",
}


def add_codec(out, name, req, comment, codec, raw_len, stored, raw=None,
              error=None, flags=()):
    out.add(name, req, comment,
            {"kind": "codec", "codec": codec, "raw_len": raw_len,
             "stored": stored.hex()},
            None if raw is None else
            {"raw_sha256": identity.sha256(raw).hex()},
            error and local_error(error), flags)


def add_raw_and_zero(out):
    raw = identity.pattern(4096)
    add_codec(out, "raw", "Z1a", "4096 bytes as they are", 0, 4096, raw, raw)
    add_codec(out, "raw-1", "Z1a", "a chunk of one byte", 0, 1, b"\0", b"\0",
              flags=["EDGE"])
    for n in (0, 4095, 4097):
        add_codec(out, "raw-stored-%d" % n, "Z1a", "stored is not raw length",
                  0, 4096, identity.pattern(n), error="BAD_STORED_LENGTH",
                  flags=["STORED_LENGTH"])
    for n in (1, 4095, 4096, 1 << 22):
        add_codec(out, "zero-%d" % n, "Z1c", "%d zero bytes" % n, 2, n, b"",
                  bytes(n), flags=["EDGE"] if n == 1 else [])
    add_codec(out, "zero-with-data", "Z1c", "zero-fill stores nothing", 2,
              4096, b"\0", error="BAD_STORED_LENGTH",
              flags=["STORED_LENGTH"])
    for codec in (3, 64, 127, 255) + R.GREASE_CODEC:
        add_codec(out, "codec-%d" % codec, "Z1d X4a", "no codec of version 1",
                  codec, 4096, raw, error="BAD_STORED_LENGTH",
                  flags=["UNKNOWN_CODEC"])


def add_zlib(out):
    for name, row in STREAMS.items():
        stored = bytes.fromhex(row["stored"])
        raw = zlib.decompress(stored)
        add_codec(out, "zlib-" + name, "Z2 Z3 Z5", row["comment"], 1, len(raw),
                  stored, raw)
    base = bytes.fromhex(STREAMS["pattern-4096-level-9"]["stored"])
    size = 4096

    def bad(name, stored, flag, raw_len=size, req="Z3",
            error="BAD_STREAM"):
        add_codec(out, "bad-zlib-" + name, req, "zlib: " +
                  name.replace("-", " "), 1, raw_len, stored, error=error,
                  flags=[flag])

    bad("one-byte-too-much", base, "BOMB", raw_len=size - 1)
    bad("half-announced", base, "BOMB", raw_len=size // 2)
    bad("one-byte-too-little", base, "SHORT", raw_len=size + 1)
    bad("much-too-little", base, "SHORT", raw_len=1 << 22)
    for n in (1, 4, 5, 100):
        bad("cut-by-%d" % n, base[:-n], "SHORT")
    bad("trailing-byte", base + b"\0", "TRAILING")
    bad("two-streams", base + base, "TRAILING")
    bad("adler", base[:-1] + bytes([base[-1] ^ 1]), "DAMAGED")
    bad("middle", base[:40] + bytes([base[40] ^ 0x55]) + base[41:],
        "DAMAGED")
    bad("method-7", bytes([0x77, 0x85]) + base[2:], "DAMAGED", req="Z2")
    bad("window-64k", bytes([0x88, 0x1C]) + base[2:],
        "DAMAGED", req="Z2")
    bad("header-check", bytes([base[0], base[1] ^ 1]) + base[2:], "DAMAGED",
        req="Z2")
    bad("dictionary", bytes.fromhex(NEEDS_DICTIONARY),
        "DICTIONARY", req="Z2")
    bad("gzip", bytes.fromhex("1f8b0800000000000003") + base[2:], "DAMAGED",
        req="Z2")
    bad("raw-deflate", base[2:-4], "DAMAGED", req="Z2")
    bad("all-zero", bytes(64), "DAMAGED")
    length = "BAD_STORED_LENGTH"
    bad("stored-7", base[:7], "STORED_LENGTH", req="Z1b", error=length)
    bad("stored-0", b"", "STORED_LENGTH", req="Z1b", error=length)
    tiny = bytes.fromhex(STREAMS["zeros-16"]["stored"])
    bad("stored-is-raw", tiny, "STORED_LENGTH", raw_len=len(tiny), req="Z1b",
        error=length)
    bad("stored-above-raw", tiny, "STORED_LENGTH", raw_len=len(tiny) - 1,
        req="Z1b", error=length)


def add_gate(out):
    """A client that asked for parts of pattern(20000) at c = 12."""
    data = identity.pattern(20000)
    digests = identity.digests_of(data, 12)

    def chunk(i, **more):
        raw = data[i << 12:(i + 1) << 12]
        fields = dict({"offset": i << 12, "raw_len": len(raw), "handle": 1,
                       "codec": 0, "digest": digests[i], "data": raw},
                      **more)
        fields["stored_len"] = len(fields["data"])
        return wire.encode_payload("CHUNK", fields)

    def gate(name, comment, payloads, accepted=None, error=None, flag=None,
             ranges=((4096, 4096), (12288, wire.U64_MAX)), listed=None,
             codecs=(0, 1, 2), handle=1, req="G4"):
        out.add("gate-" + name, req, comment,
                {"kind": "gate", "handle": handle, "size": u64(20000),
                 "chunk_log2": 12, "codecs": list(codecs),
                 "ranges": [{"offset": u64(o), "length": u64(n)}
                            for o, n in ranges],
                 "digests": [d.hex() for d in listed or []],
                 "payloads": [p.hex() for p in payloads]},
                {"accepted": accepted} if error is None else None,
                error, [flag] if flag else [])

    gate("in-order", "the three chunks asked for",
         [chunk(1), chunk(3), chunk(4)], [1, 3, 4])
    gate("last-only", "the ragged last chunk", [chunk(4)], [4], flag="EDGE")
    gate("with-list", "every D_i is the verified list's",
         [chunk(1), chunk(3)], [1, 3], listed=digests)
    gate("zero-fill", "a zero-fill chunk that is what was asked for",
         [chunk(1, codec=2, data=b"", digest=identity.sha256(bytes(4096)))],
         [1])
    stream = bytes.fromhex(STREAMS["pattern-chunk-1"]["stored"])
    gate("zlib", "a compressed chunk", [chunk(1, codec=1, data=stream)], [1])
    closed = wire_error("PROTOCOL_ERROR")
    bad = (
        ("not-asked", "G4c", "chunk 2 was not asked for", [chunk(2)],
         closed, "PLACE"),
        ("twice", "G4c", "chunk 1 a second time", [chunk(1), chunk(1)],
         closed, "TWICE"),
        ("backwards", "G4c", "chunk 1 after chunk 3", [chunk(3), chunk(1)],
         closed, "PLACE"),
        ("beyond", "G4c", "offset beyond the file",
         [chunk(4, offset=5 << 12)], closed, "PLACE"),
        ("far-beyond", "G4c", "offset near 2^64",
         [chunk(4, offset=(1 << 64) - 4096)], closed, "PLACE"),
        ("off-grid", "G4c", "offset 4097", [chunk(1, offset=4097)], closed,
         "PLACE"),
        ("other-handle", "G4b", "handle of another file",
         [chunk(1, handle=2)], closed, "PLACE"),
        ("short", "G4d", "raw length 4095",
         [chunk(1, raw_len=4095, data=data[4096:8191])], closed, "PLACE"),
        ("empty", "G4d", "raw length 0", [chunk(1, raw_len=0, data=b"")],
         closed, "PLACE"),
        ("last-full", "G4d", "the last chunk as long as the others",
         [chunk(4, raw_len=4096, data=bytes(4096))], closed, "PLACE"),
        ("raw-stored-less", "G4e Z1a", "raw, stored length 4095",
         [chunk(1, data=data[4096:8191])], closed, "STORED_LENGTH"),
        ("zero-stored-1", "G4e Z1c", "zero-fill with a byte of data",
         [chunk(1, codec=2, data=b"x")], closed, "STORED_LENGTH"),
        ("zlib-stored-raw", "G4e Z1b", "zlib as long as the raw bytes",
         [chunk(1, codec=1)], closed, "STORED_LENGTH"),
        ("unknown-codec", "G4e X4a", "a grease codec",
         [chunk(1, codec=0x0A)], closed, "UNKNOWN_CODEC"),
        ("unannounced", "G4e Z1d", "zlib though only raw was announced",
         [chunk(1, codec=1, data=stream)], closed, "UNKNOWN_CODEC"),
        ("inflate", "G4f", "a zlib stream of another length",
         [chunk(1, codec=1, data=bytes.fromhex(
             STREAMS["last-3616"]["stored"]))],
         local_error("BAD_STREAM"), "SHORT"),
        ("digest", "G4g", "data of chunk 1 with the digest of chunk 3",
         [chunk(1, digest=digests[3])], local_error("DIGEST_MISMATCH"),
         "DIGEST"),
        ("data-flip", "G4g", "one bit of the data",
         [chunk(1, data=data[4096:8191] + bytes([data[8191] ^ 1]))],
         local_error("DIGEST_MISMATCH"), "DIGEST"),
        ("zeros-are-not", "G4g Z1c", "zero-fill with another digest",
         [chunk(1, codec=2, data=b"")], local_error("DIGEST_MISMATCH"),
         "DIGEST"),
        ("wrong-place", "G4h R10a", "chunk 1 labelled as chunk 3, lengths "
         "fit", [chunk(1, offset=3 << 12)], local_error("LIST_MISMATCH"),
         "PLACE"),
        ("other-version", "G4h R10a", "digest and data of another version",
         [chunk(1, data=bytes(4096), digest=identity.sha256(bytes(4096)))],
         local_error("LIST_MISMATCH"), "DIGEST"))
    for name, req, comment, payloads, error, flag in bad:
        gate("bad-" + name, comment, payloads, error=error, flag=flag,
             req=req, listed=digests
             if error["code"] == "LIST_MISMATCH" else None,
             codecs=(0,) if name == "unannounced" else (0, 1, 2))
    gate("bad-empty-selection", "any chunk when nothing was selected",
         [chunk(0)], error=closed, flag="PLACE", req="G4c",
         ranges=((20000, wire.U64_MAX),))


def build():
    out = VectorFile("chunk", NOTES)
    add_raw_and_zero(out)
    add_zlib(out)
    add_gate(out)
    return out
