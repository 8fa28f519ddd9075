"""cid.json: content ids, their text form, the default chunk size."""

import belay_id as identity

from .common import VectorFile, local_error, u64
from .merkle import SIZES, recipe

NOTES = {
    "SIZE_EDGE": "a size next to a border of the chunk grid or of the rule",
    "NOT_CANONICAL": "another spelling of a value that has exactly one",
    "BAD_RANGE": "chunk_log2 outside 12..22, or too many chunks",
    "BAD_LENGTH": "too few or too many characters",
}


def add_file(out, size, c, invert_at=()):
    data = bytearray(identity.pattern(size))
    for at in invert_at:
        data[at] ^= 0xFF
    value = identity.cid_of(bytes(data), c)
    out.add("file-%d-c%d%s" % (size, c, "-inverted" if invert_at else ""),
            "ID1-I1", "CID of %d bytes at c = %d" % (size, c),
            dict(kind="file", chunk_log2=c, **recipe(size, invert_at)),
            {"cid": value.hex(), "text": identity.cid_text(c, value)},
            flags=["SIZE_EDGE"] if size % (1 << c) in (0, 1, (1 << c) - 1)
            else [])


def add_parts(out, size, c, root):
    value = identity.cid(size, c, root)
    out.add("parts-%d-c%d" % (size, c), "ID1-C5 ID1-I1",
            "CID from size %d, c = %d and a root" % (size, c),
            {"kind": "parts", "size": u64(size), "chunk_log2": c,
             "root": root.hex()},
            {"cid": value.hex(), "text": identity.cid_text(c, value)})


def add_texts(out):
    value = identity.cid_of(identity.pattern(20000), 12)
    good = identity.cid_text(12, value)
    for c in (12, 18, 22):
        text = identity.cid_text(c, value)
        out.add("text-c%d" % c, "ID1-I2", "text form at c = %d" % c,
                {"kind": "text", "text": text},
                {"chunk_log2": c, "cid": value.hex()})
    for name, text, flag in (
            ("empty", "", "BAD_LENGTH"),
            ("prefix-only", "bl1-", "BAD_LENGTH"),
            ("no-hex", "bl1-12-", "BAD_LENGTH"),
            ("short", good[:-1], "BAD_LENGTH"),
            ("long", good + "0", "BAD_LENGTH"),
            ("newline", good + "\n", "BAD_LENGTH"),
            ("space-before", " " + good, "NOT_CANONICAL"),
            ("upper-hex", good.upper().replace("BL1", "bl1"),
             "NOT_CANONICAL"),
            ("one-upper-digit", good[:-1] + "F", "NOT_CANONICAL"),
            ("upper-prefix", "BL1" + good[3:], "NOT_CANONICAL"),
            ("other-version", "bl2" + good[3:], "NOT_CANONICAL"),
            ("underscore", good.replace("-", "_"), "NOT_CANONICAL"),
            ("no-second-dash", "bl1-12" + good[7:] + "0", "NOT_CANONICAL"),
            ("not-hex", good[:-1] + "g", "NOT_CANONICAL"),
            ("signed-c", "bl1-+9" + good[6:], "NOT_CANONICAL"),
            ("one-digit-c", "bl1-9" + good[6:], "NOT_CANONICAL"),
            ("c-00", "bl1-00" + good[6:], "BAD_RANGE"),
            ("c-11", "bl1-11" + good[6:], "BAD_RANGE"),
            ("c-23", "bl1-23" + good[6:], "BAD_RANGE"),
            ("c-99", "bl1-99" + good[6:], "BAD_RANGE"),
            ("three-digit-c", "bl1-012" + good[6:], "NOT_CANONICAL")):
        out.add("bad-text-" + name,
                "ID1-I3" if name == "other-version" else "ID1-I2",
                "not a CID: " + name,
                {"kind": "text", "text": text},
                error=local_error("BAD_CID_TEXT"), flags=[flag])


def add_defaults(out):
    """Section 9.1: the smallest c in 18..22 with size <= 2^(c+15)."""
    table = [(0, 18), (1, 18), ((1 << 33) - 1, 18), (1 << 33, 18),
             ((1 << 33) + 1, 19), (1 << 34, 19), ((1 << 34) + 1, 20),
             (1 << 35, 20), ((1 << 35) + 1, 21), (1 << 36, 21),
             ((1 << 36) + 1, 22), (1 << 40, 22), (1 << 54, 22)]
    for size, c in table:
        out.add("default-%d" % size, "ID1-C4 I4", "chunk_log2 a server picks",
                {"kind": "default", "size": u64(size)}, {"chunk_log2": c},
                flags=["SIZE_EDGE"])


def build():
    out = VectorFile("cid", NOTES)
    for size in SIZES:
        add_file(out, size, 12)
    add_file(out, 20100, 12, (9000,))
    for c in range(13, 23):
        add_file(out, 20000, c)
    for size, c in ((1 << 18, 18), ((1 << 18) + 1, 18), (5 << 18, 18),
                    (1000003, 16)):
        add_file(out, size, c)
    root = identity.sha256(b"any root")
    for size, c in ((0, 12), (0, 22), (1, 12), (1, 22), (1 << 32, 12),
                    (1 << 32, 22), (1 << 44, 12), (1 << 54, 22)):
        add_parts(out, size, c, root)
    for size, c in (((1 << 44) + 1, 12), (1 << 54 | 1, 22),
                    ((1 << 63) - 1, 22), (1 << 63, 22), ((1 << 64) - 1, 22)):
        out.add("bad-parts-%d-c%d" % (size, c), "ID1-C5",
                "more than 2^32 chunks, or 2^63 bytes",
                {"kind": "parts", "size": u64(size), "chunk_log2": c,
                 "root": root.hex()},
                error=local_error("BAD_GEOMETRY"), flags=["BAD_RANGE"])
    for c in (0, 11, 23, 255):
        out.add("bad-parts-c%d" % c, "ID1-C1", "c = %d has no CID" % c,
                {"kind": "parts", "size": "1", "chunk_log2": c,
                 "root": root.hex()},
                error=local_error("BAD_GEOMETRY"), flags=["BAD_RANGE"])
    add_texts(out)
    add_defaults(out)
    return out
