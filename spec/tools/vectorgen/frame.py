"""frame.json: one frame as bytes, up to but not including its payload's
meaning (section 6).  The stream before it is in order: preface and HELLO have
passed, and for answers the request is outstanding."""

import struct
import zlib

import belay_id as identity
import belay_wire as wire

from .common import R, VectorFile, wire_error

NOTES = {
    "LENGTH": "F2: payload length at, below and above the limit of its type",
    "CRC": "F1: any bit under the CRC",
    "CHUNK_DATA": "F1: the data of a CHUNK is not under the CRC",
    "RESERVED": "X2: reserved bits are ignored, but they are under the CRC",
    "UNKNOWN_TYPE": "F5: what becomes of a type the receiver does not know",
    "DIRECTION": "F5: a known type from the wrong side",
    "GREASE": "X4: values that mean nothing",
    "ORDER": "F3: the first failing check decides",
    "REQUEST_ID": "F6: request ids that a frame cannot have",
    "END": "F7: END where it must be, or must not be",
    "ZEROS": "zero-filled garbage is not a frame",
}

OTHER = {"client": "server", "server": "client"}


def raw_frame(frame_type, request_id, payload, flags=0, reserved=0,
              length=None, crc_xor=0):
    """A frame with any field wrong on purpose, CRC fitting unless told."""
    head = struct.pack(">IBBHI", len(payload) if length is None else length,
                       frame_type, flags, reserved, request_id)
    crc = zlib.crc32(head + wire.covered(frame_type, payload)) ^ crc_xor
    return head + struct.pack(">I", crc) + payload


class Frames:
    """Adds frames to the file in one uniform input form."""

    def __init__(self, out):
        self.out = out

    def add(self, name, req, comment, receiver, data, disposition="accept",
            error=None, flags=(), pattern_at=0, pattern_len=0, **more):
        expected = None
        if error is None:
            header = wire.decode_header(data[:16])
            expected = {"length": header.length, "type": header.type,
                        "flags": header.flags,
                        "request_id": header.request_id,
                        "disposition": disposition}
        self.out.add(name, req, comment,
                     {"receiver": receiver, "hex": data.hex(),
                      "pattern_at": pattern_at, "pattern_len": pattern_len},
                     expected, error, flags, **more)


def patterned(frame_type, request_id, length, flags=0):
    """A control frame whose payload is pattern(length): header only."""
    return raw_frame(frame_type, request_id, identity.pattern(length),
                     flags)[:16]


def add_samples(f):
    """One good frame of each type, to the side that receives it."""
    d8 = bytes(8)
    to_server = (("hello", R.FRAME_HELLO, 0, b"", 0),
                 ("ping", R.FRAME_PING, 0, d8, 0),
                 ("pong", R.FRAME_PONG, 0, d8, 0),
                 ("goaway", R.FRAME_GOAWAY, 0, d8, 0),
                 ("open", R.FRAME_OPEN, 1, struct.pack(
                     ">IBBH", 1, 0, 0, 1) + b"f", 0),
                 ("list", R.FRAME_LIST, 1, bytes(4), 0),
                 ("get", R.FRAME_GET, 1, struct.pack(
                     ">IBBHQQ", 1, 3, 0, 1, 0, 1), 0),
                 ("digest", R.FRAME_DIGEST, 1, struct.pack(">I", 1) +
                  bytes(20), 0),
                 ("close", R.FRAME_CLOSE, 1, struct.pack(">I", 1), 0),
                 ("cancel", R.FRAME_CANCEL, 1, b"", 0),
                 ("auth", R.FRAME_AUTH, 1, b"\x02\0\0\0", 0),
                 ("error", R.FRAME_ERROR, 0, b"\x06\x01\0\0", 1))
    to_client = (("hello", R.FRAME_HELLO, 0, b"", 0),
                 ("ping", R.FRAME_PING, 0, d8, 0),
                 ("pong", R.FRAME_PONG, 0, d8, 0),
                 ("goaway", R.FRAME_GOAWAY, 0, d8, 0),
                 ("info", R.FRAME_INFO, 1, wire.encode_payload(
                     "INFO", {"file_type": R.FILE_DIRECTORY}), 1),
                 ("entries", R.FRAME_ENTRIES, 1, bytes(4), 1),
                 ("digests", R.FRAME_DIGESTS, 1, wire.encode_payload(
                     "DIGESTS", {"digests": [bytes(32)]}), 0),
                 ("done", R.FRAME_DONE, 1, bytes(16), 1),
                 ("error", R.FRAME_ERROR, 1, b"\x01\x03\0\0", 1),
                 ("error-connection", R.FRAME_ERROR, 0, b"\x05\x03\0\0", 1),
                 ("progress", R.FRAME_PROGRESS, 1, bytes(16), 0),
                 ("notice", R.FRAME_NOTICE, 0, b"hello", 0))
    for receiver, rows in (("server", to_server), ("client", to_client)):
        for name, frame_type, ident, payload, flags in rows:
            f.add("%s-%s" % (receiver, name), "F1a F3a",
                  "a plain %s" % name.upper(), receiver,
                  raw_frame(frame_type, ident, payload, flags))
    f.add("largest-id", "F6a", "the largest request id there is", "server",
          raw_frame(R.FRAME_LIST, 0xFFFFFFFE, bytes(4)))


def add_lengths(f):
    top = R.LIMIT_CONTROL_PAYLOAD
    for receiver, frame_type, ident, name in (
            ("server", 0x9A, 7, "grease"), ("client", 0x9A, 0, "grease"),
            ("server", 0x3F, 7, "unknown-request")):
        f.add("%s-%s-65535" % (receiver, name), "F2b F5a",
              "the longest control frame", receiver,
              patterned(frame_type, ident, top),
              "skip" if name == "grease" else "answer_unsupported",
              pattern_len=top, flags=["LENGTH", "UNKNOWN_TYPE"])
    too_large = wire_error("FRAME_TOO_LARGE")
    for frame_type in (0x01, 0x10, 0x12, 0x40, 0x45, 0x81, 0x8A, 0x00, 0x7F):
        for receiver in ("server", "client"):
            f.add("%s-%02x-65536" % (receiver, frame_type), "F2b F3a",
                  "one byte over the limit, judged from the header alone",
                  receiver, patterned(frame_type, 1, top + 1), error=too_large,
                  flags=["LENGTH", "ORDER"])
    for length in (R.LIMIT_CHUNK_PAYLOAD + 1, 0x7FFFFFFF, 0xFFFFFFFF):
        f.add("client-chunk-%x" % length, "F2b S16", "CHUNK over 56 + 2^22",
              "client", raw_frame(R.FRAME_CHUNK, 1, b"", length=length),
              error=too_large, flags=["LENGTH"])
    f.add("length-before-crc", "F2b F3a", "too large and a wrong CRC",
          "server", raw_frame(R.FRAME_GET, 1, b"", length=0xFFFFFFFF,
                              crc_xor=1),
          error=too_large, flags=["LENGTH", "ORDER"])


def add_crc(f):
    ping = raw_frame(R.FRAME_PING, 0, bytes(range(8)))
    # Bits whose flip keeps the length and so lets the CRC be judged.
    for i in list(range(4, 24)):
        bad = bytearray(ping)
        bad[i] ^= 0x01
        f.add("crc-flip-byte-%d" % i, "F1b E4", "a bit of byte %d" % i,
              "server", bytes(bad), error=wire_error("CORRUPT_STREAM"),
              flags=["CRC"])
    f.add("crc-before-type", "F3a", "wrong CRC and a type that does not exist",
          "server", raw_frame(0x00, 0, b"", crc_xor=0x80000000),
          error=wire_error("CORRUPT_STREAM"), flags=["CRC", "ORDER"])
    f.add("zeros", "F1b F3a", "sixteen zero bytes: the CRC fails first",
          "client", bytes(16), error=wire_error("CORRUPT_STREAM"),
          flags=["ZEROS"])
    f.add("type-zero", "F5d", "type 0 with a fitting CRC", "client",
          raw_frame(0, 0, b""), error=wire_error("PROTOCOL_ERROR"),
          flags=["ZEROS"])


def add_chunk_crc(f):
    raw = identity.pattern(64)
    payload = wire.encode_payload("CHUNK", {
        "raw_len": 64, "handle": 1, "digest": identity.sha256(raw),
        "data": raw})
    good = raw_frame(R.FRAME_CHUNK, 2, payload)
    f.add("chunk", "F1a", "CHUNK of 64 raw bytes", "client", good)
    bad = bytearray(good)
    bad[-1] ^= 1
    f.add("chunk-data-flip", "F1a",
          "a flipped data bit passes the CRC; the digest finds it later",
          "client", bytes(bad), flags=["CHUNK_DATA"])
    for at in (16, 23, 36, 39, 40, 71):
        bad = bytearray(good)
        bad[at] ^= 1
        f.add("chunk-header-flip-%d" % at, "F1a F1b",
              "a bit of byte %d, in the first 56 payload bytes" % at,
              "client", bytes(bad), error=wire_error("CORRUPT_STREAM"),
              flags=["CRC"])
    whole = zlib.crc32(good[:12] + payload)
    f.add("chunk-crc-over-all", "F1a", "CRC over the data as well",
          "client", good[:12] + struct.pack(">I", whole) + payload,
          error=wire_error("CORRUPT_STREAM"), flags=["CRC"])


def add_reserved(f):
    f.add("reserved-16", "X2", "reserved header field set", "server",
          raw_frame(R.FRAME_PING, 0, bytes(8), reserved=0xFFFF),
          flags=["RESERVED"])
    f.add("reserved-flags", "X2", "reserved flag bits set", "server",
          raw_frame(R.FRAME_PING, 0, bytes(8), flags=0xFE),
          flags=["RESERVED"])
    f.add("end-on-request", "F7c", "END has no meaning on a request",
          "server", raw_frame(R.FRAME_LIST, 1, bytes(4), flags=0x01),
          flags=["RESERVED", "END"])


def add_unknown(f):
    for value in R.GREASE_FRAME:
        for receiver in ("server", "client"):
            f.add("%s-grease-%02x" % (receiver, value), "F5a X4a",
                  "grease, any request id", receiver,
                  raw_frame(value, 0xDEADBEEF, b"\xDE\xAD"), "skip",
                  flags=["GREASE"])
    for value in (0x82, 0xBF, 0xF0, 0xFF):
        for receiver in ("server", "client"):
            f.add("%s-ignorable-%02x" % (receiver, value), "F5a",
                  "an unknown type in the ignorable half", receiver,
                  raw_frame(value, 0, b""), "skip", flags=["UNKNOWN_TYPE"])
    for value in (0x17, 0x20, 0x3F):
        f.add("server-request-%02x" % value, "F5b", "an unknown request",
              "server", raw_frame(value, 9, b"?"), "answer_unsupported",
              flags=["UNKNOWN_TYPE"])
        f.add("client-request-%02x" % value, "F5d",
              "an unknown request type from a server", "client",
              raw_frame(value, 9, b"?"), error=wire_error("PROTOCOL_ERROR"),
              flags=["UNKNOWN_TYPE", "DIRECTION"])
    for value in (0x46, 0x5A, 0x7F):
        f.add("client-answer-%02x" % value, "F5c", "an unknown answer",
              "client", raw_frame(value, 9, b"?"), "cancel_locally",
              flags=["UNKNOWN_TYPE"])
        f.add("server-answer-%02x" % value, "F5d",
              "an unknown answer type from a client", "server",
              raw_frame(value, 9, b"?"), error=wire_error("PROTOCOL_ERROR"),
              flags=["UNKNOWN_TYPE", "DIRECTION"])
    for value in (0x02, 0x06, 0x0F):
        for receiver in ("server", "client"):
            f.add("%s-connection-%02x" % (receiver, value), "F5d",
                  "an unknown connection type", receiver,
                  raw_frame(value, 0, b""),
                  error=wire_error("PROTOCOL_ERROR"), flags=["UNKNOWN_TYPE"])


def add_directions(f):
    for value in sorted(R.FRAMES):
        frame = R.FRAMES[value]
        receiver = {"c2s": "client", "s2c": "server"}.get(frame.senders)
        if receiver is None:
            continue
        # A baseline receiver may not know an advisory type and skips it.
        f.add("%s-gets-%s" % (receiver, frame.name.lower()), "F5d",
              "%s from the %s" % (frame.name, OTHER[receiver]), receiver,
              raw_frame(value, 1, b"", 1),
              error=wire_error("PROTOCOL_ERROR"), flags=["DIRECTION"],
              acceptable=value >= 0x80)
    f.add("direction-before-fields", "F3a",
          "GET from a server, and malformed as well", "client",
          raw_frame(R.FRAME_GET, 0, b"\x01"),
          error=wire_error("PROTOCOL_ERROR"), flags=["DIRECTION", "ORDER"])


def add_ids_and_end(f):
    """check_header_fields: part of the direction-and-type step."""
    wrong = wire_error("PROTOCOL_ERROR")
    for value, length in ((R.FRAME_HELLO, 0), (R.FRAME_PING, 8),
                          (R.FRAME_PONG, 8), (R.FRAME_GOAWAY, 8)):
        f.add("id-on-%02x" % value, "F6c", "a connection frame with an id",
              "client", raw_frame(value, 1, bytes(length)), error=wrong,
              flags=["REQUEST_ID"])
    for ident in (0, 0xFFFFFFFF):
        f.add("request-id-%x" % ident, "F6b", "an id no request has",
              "server", raw_frame(R.FRAME_LIST, ident, bytes(4)),
              error=wrong, flags=["REQUEST_ID"])
    for value, length in ((R.FRAME_INFO, 32), (R.FRAME_DONE, 16),
                          (R.FRAME_CHUNK, 56), (R.FRAME_DIGESTS, 48),
                          (R.FRAME_ENTRIES, 4)):
        f.add("answer-id-0-%02x" % value, "F6d", "an answer to nothing",
              "client", raw_frame(value, 0, bytes(length), flags=1
                                  if value != R.FRAME_CHUNK else 0),
              error=wrong, flags=["REQUEST_ID"])
    f.add("client-error-for-request", "F5d",
          "a client's ERROR is only about the connection", "server",
          raw_frame(R.FRAME_ERROR, 3, b"\x06\x01\0\0", 1), error=wrong,
          flags=["DIRECTION"])
    done = bytes(16)
    f.add("done-without-end", "F7b", "DONE is always the last frame",
          "client", raw_frame(R.FRAME_DONE, 1, done), error=wrong,
          flags=["END"])
    f.add("error-without-end", "F7b", "ERROR is always the last frame",
          "client", raw_frame(R.FRAME_ERROR, 1, b"\x01\x03\0\0"),
          error=wrong, flags=["END"])
    f.add("info-without-end", "F7b", "INFO is always the last frame",
          "client", raw_frame(R.FRAME_INFO, 1, wire.encode_payload(
              "INFO", {"file_type": R.FILE_DIRECTORY})), error=wrong,
          flags=["END"])
    payload = wire.encode_payload("CHUNK", {
        "raw_len": 1, "handle": 1, "digest": identity.sha256(b"x"),
        "data": b"x"})
    f.add("chunk-with-end", "F7b", "CHUNK never carries END", "client",
          raw_frame(R.FRAME_CHUNK, 1, payload, flags=1), error=wrong,
          flags=["END"])
    f.add("progress-with-end", "F7b", "PROGRESS never ends a request; a "
          "receiver that does not know it skips it", "client",
          raw_frame(R.FRAME_PROGRESS, 1, bytes(16), flags=1), error=wrong,
          flags=["END"], acceptable=True)


def build():
    out = VectorFile("frame", NOTES)
    frames = Frames(out)
    for step in (add_samples, add_lengths, add_crc, add_chunk_crc,
                 add_reserved, add_unknown, add_directions, add_ids_and_end):
        step(frames)
    return out
