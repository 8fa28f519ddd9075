"""tlv.json: the TLVs of one payload, in one context (section 7).

A context is the message and, for HELLO, the sender: HELLO-C from a client,
HELLO-S from a server.  ENTRY is one entry inside ENTRIES."""

from belay_wire import encode_tlv

from .common import R, VectorFile, request_error, wire_error

NOTES = {
    "ORDER": "ascending by type without the critical bit, none twice",
    "TRUNCATED": "a TLV that ends beyond the payload",
    "CRITICAL": "X1: an unknown TLV that must not be ignored",
    "IGNORED": "X1: an unknown TLV without the critical bit",
    "GREASE": "X4: reserved values that mean nothing",
    "OTHER_CONTEXT": "a TLV of another message is unknown here",
    "VALUE_LENGTH": "a known TLV whose value is too short or too long",
    "VALUE_RANGE": "a value outside the range of section 7",
}
FATAL = wire_error("PROTOCOL_ERROR")


class Tlvs:
    def __init__(self, out):
        self.out = out

    def good(self, name, context, tlvs, ignored=(), req="X1a", comment=None,
             flags=()):
        """tlvs as (type, value bytes) in wire order; ignored by type."""
        data = b"".join(encode_tlv(t, v) for t, v in tlvs)
        self.out.add(name, req, comment or name.replace("-", " "),
                     {"context": context, "hex": data.hex()},
                     {"tlvs": [{"type": t, "value": v.hex()}
                               for t, v in tlvs if t not in ignored],
                      "ignored": list(ignored)}, flags=flags)

    def bad(self, name, context, data, error, flag, req="X1a", comment=None,
            **more):
        if not isinstance(data, bytes):
            data = b"".join(encode_tlv(t, v) for t, v in data)
        self.out.add(name, req, comment or name.replace("-", " "),
                     {"context": context, "hex": data.hex()},
                     error=error, flags=[flag], **more)


def u16(n):
    return n.to_bytes(2, "big")


def add_good(t):
    t.good("none", "HELLO-C", [])
    t.good("hello-client", "HELLO-C", [
        (R.TLV_MAX_CHUNK_LOG2, b"\x14"), (R.TLV_CODECS, b"\0\1\2"),
        (R.TLV_IDLE_TIMEOUT, u16(10)), (R.TLV_AGENT, b"demo/1"),
        (R.TLV_FEATURES, u16(0x1234))], req="H4")
    t.good("hello-server", "HELLO-S", [
        (R.TLV_MAX_CHUNK_LOG2, b"\x0c"), (R.TLV_MAX_REQUESTS, u16(16)),
        (R.TLV_MAX_HANDLES, u16(16)), (R.TLV_MAX_RANGES, u16(64)),
        (R.TLV_CODECS, b"\0"), (R.TLV_IDLE_TIMEOUT, u16(65535)),
        (R.TLV_PING_INTERVAL, u16(0)), (R.TLV_AGENT, b"a" * 128),
        (R.TLV_AUTH_METHODS, b"\1\2")], req="H4")
    t.good("open", "OPEN", [(R.TLV_EXPECT_VERSION, b"v"),
                            (R.TLV_EXPECT_CID, bytes(32))])
    t.good("open-order-ignores-critical-bit", "OPEN",
           [(0x0020, b""), (R.TLV_EXPECT_VERSION, b"v" * 32), (0x0022, b"")],
           ignored=[0x0020, 0x0022], flags=["ORDER", "IGNORED"])
    t.good("info", "INFO", [(R.TLV_VERSION, b"v"), (R.TLV_CID, bytes(32)),
                            (R.TLV_WHOLE_SHA256, bytes(32))])
    t.good("error", "ERROR", [
        (R.TLV_VERSIONS, u16(1) + u16(2)), (R.TLV_VERSION, b"v"),
        (R.TLV_CID, bytes(32)), (R.TLV_MESSAGE, b"m" * 512),
        (R.TLV_RETRY_AFTER_MS, bytes(4)), (R.TLV_OFFSET, bytes(8)),
        (R.TLV_SIZE, bytes(8))])
    t.good("entry", "ENTRY", [(R.TLV_CID, bytes(32)),
                              (R.TLV_LINK_TARGET, b"../t")])
    t.good("list", "LIST", [(R.TLV_CURSOR, b"c" * 64),
                            (R.TLV_MAX_ENTRIES, bytes(4))])
    t.good("auth", "AUTH", [(R.TLV_TOKEN, b"t" * 4096)], req="X1a")


def add_ignored(t):
    for value in R.GREASE_TLV:
        t.good("grease-%04x" % value, "HELLO-C",
               [(R.TLV_AGENT, b"a"), (value, bytes.fromhex("deadbe"))],
               ignored=[value], req="X4a X1b", flags=["GREASE"])
    t.good("unknown-long", "GET", [(0x7F01, b"\xAA" * 300)],
           ignored=[0x7F01], req="X1b", flags=["IGNORED"])
    t.good("unknown-empty", "CLOSE", [(0x0001 + 0x6000, b"")],
           ignored=[0x6001], req="X1b", flags=["IGNORED"])
    t.good("type-zero", "OPEN", [(0x0000, b"x")], ignored=[0],
           req="X1b", flags=["IGNORED"])
    t.good("client-declares-server-value", "HELLO-C",
           [(R.TLV_MAX_REQUESTS, b"\0")], ignored=[R.TLV_MAX_REQUESTS],
           comment="MAX_REQUESTS from a client is unknown, so its bad length "
           "does not matter", req="X1f", flags=["OTHER_CONTEXT"])
    t.good("version-in-open", "OPEN", [(R.TLV_VERSION, b"")],
           ignored=[R.TLV_VERSION], req="X1f", flags=["OTHER_CONTEXT"])
    t.good("message-in-done", "DONE", [(R.TLV_MESSAGE, b"hi")],
           ignored=[R.TLV_MESSAGE], req="X1f", flags=["OTHER_CONTEXT"])


def add_critical(t):
    refused = request_error("UNSUPPORTED")
    for context in ("OPEN", "GET", "LIST", "DIGEST", "CLOSE", "AUTH"):
        t.bad("critical-in-%s" % context.lower(), context,
              [(0xFF01, b"x")], refused, "CRITICAL", req="X1c")
    for value in R.GREASE_TLV[:2]:
        t.bad("critical-grease-%04x" % (value | 0x8000), "OPEN",
              [(value | 0x8000, b"")], refused, "CRITICAL", req="X1c X4a",
              comment="grease has no critical bit; with it, it is a TLV "
              "nobody knows")
    t.bad("critical-other-context", "GET", [(R.TLV_TOKEN, b"t")], refused,
          "OTHER_CONTEXT", req="X1f X1c")
    t.bad("critical-in-hello-c", "HELLO-C", [(0x8003, b"")], FATAL,
          "CRITICAL", req="X1e")
    t.bad("critical-in-hello-s", "HELLO-S", [(0xFF01, b"")], FATAL,
          "CRITICAL", req="X1e")
    t.bad("critical-in-goaway", "GOAWAY", [(0xFF01, b"")], FATAL,
          "CRITICAL", req="X1e")
    t.bad("critical-before-bad-order", "OPEN",
          [(0xFF01, b""), (0x0001, b"")], FATAL, "ORDER",
          comment="a malformed list is malformed even if it holds an "
          "unknown critical TLV", acceptable=True)


def add_order(t):
    for name, context, types in (
            ("twice", "INFO", (0x0030, 0x0030)),
            ("descending", "INFO", (0x0031, 0x0030)),
            ("unknown-descending", "OPEN", (0x0102, 0x0101)),
            ("unknown-twice", "OPEN", (0x0101, 0x0101)),
            ("same-but-critical-bit", "OPEN", (0x0021, 0x8021)),
            ("critical-sorted-as-large", "OPEN", (0x0022, 0x8021))):
        value = {0x0030: b"v", 0x0031: bytes(32), 0x8021: b"v"}
        t.bad("order-" + name, context,
              [(x, value.get(x, b"")) for x in types], FATAL, "ORDER")


def add_truncated(t):
    whole = encode_tlv(R.TLV_AGENT, b"demo")
    for n in range(1, len(whole)):
        t.bad("cut-at-%d" % n, "HELLO-C", whole[:n], FATAL, "TRUNCATED",
              req="F3b")
    t.bad("length-ffff", "HELLO-C", b"\x00\x08\xff\xffa", FATAL, "TRUNCATED",
          req="F3b")
    t.bad("cut-second", "HELLO-C", whole + b"\x1a\x1a\x00", FATAL,
          "TRUNCATED", req="F3b")
    t.bad("cut-unknown", "GET", b"\x7f\x01\x00\x02x", FATAL, "TRUNCATED",
          req="F3b")


def add_lengths(t):
    for name, context, tlv_type, lengths in (
            ("max-chunk-log2", "HELLO-C", R.TLV_MAX_CHUNK_LOG2, (0, 2)),
            ("max-requests", "HELLO-S", R.TLV_MAX_REQUESTS, (1, 4)),
            ("codecs", "HELLO-C", R.TLV_CODECS, (0, 33)),
            ("idle", "HELLO-C", R.TLV_IDLE_TIMEOUT, (1, 4)),
            ("agent", "HELLO-S", R.TLV_AGENT, (0, 129)),
            ("auth-methods", "HELLO-S", R.TLV_AUTH_METHODS, (0,)),
            ("features", "HELLO-C", R.TLV_FEATURES, (1, 3)),
            ("versions", "ERROR", R.TLV_VERSIONS, (1, 3)),
            ("expect-version", "OPEN", R.TLV_EXPECT_VERSION, (0, 33)),
            ("expect-cid", "OPEN", R.TLV_EXPECT_CID, (0, 31, 33)),
            ("version", "INFO", R.TLV_VERSION, (0, 33)),
            ("cid", "DONE", R.TLV_CID, (31, 33)),
            ("whole", "DONE", R.TLV_WHOLE_SHA256, (20,)),
            ("message", "ERROR", R.TLV_MESSAGE, (513,)),
            ("message-goaway", "GOAWAY", R.TLV_MESSAGE, (513,)),
            ("retry", "ERROR", R.TLV_RETRY_AFTER_MS, (2, 8)),
            ("offset", "ERROR", R.TLV_OFFSET, (4, 9)),
            ("size", "ERROR", R.TLV_SIZE, (7,)),
            ("cursor", "LIST", R.TLV_CURSOR, (0, 65)),
            ("max-entries", "LIST", R.TLV_MAX_ENTRIES, (2,)),
            ("token", "AUTH", R.TLV_TOKEN, (0, 4097))):
        for n in lengths:
            t.bad("length-%s-%d" % (name, n), context,
                  [(tlv_type, b"\x10" * n)], FATAL, "VALUE_LENGTH",
                  req="H4" if context.startswith("HELLO") else "F3b")


def add_ranges(t):
    for name, context, tlv_type, values in (
            ("max-chunk-log2", "HELLO-C", R.TLV_MAX_CHUNK_LOG2,
             (b"\x00", b"\x0b", b"\x17", b"\xff")),
            ("max-requests", "HELLO-S", R.TLV_MAX_REQUESTS,
             (u16(0), u16(15))),
            ("max-handles", "HELLO-S", R.TLV_MAX_HANDLES,
             (u16(0), u16(15))),
            ("max-ranges", "HELLO-S", R.TLV_MAX_RANGES, (u16(0), u16(63))),
            ("idle", "HELLO-S", R.TLV_IDLE_TIMEOUT, (u16(0), u16(9)))):
        for value in values:
            t.bad("range-%s-%s" % (name, value.hex()), context,
                  [(tlv_type, value)], FATAL, "VALUE_RANGE", req="H4")


def build():
    out = VectorFile("tlv", NOTES)
    tlvs = Tlvs(out)
    for step in (add_good, add_ignored, add_critical, add_order,
                 add_truncated, add_lengths, add_ranges):
        step(tlvs)
    return out
