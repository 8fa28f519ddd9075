#!/usr/bin/env python3
"""B2: each type of frame with each awkward length: taken up to the largest,
else the connection ends before anything is allocated."""

import contextlib
import struct

from kit import (R, Raw, W, besieged, case, check, frame, hello, main, memory,
                 serve, visit)


OPEN_GOOD = struct.pack(">IBBH", 1, 0, 12, 4) + b"good"


BROKEN = {
    "zero-filled": (bytes(64), 5),
    "type 0": (frame(0, 0), 6),
    "wrong CRC": (frame(R.FRAME_OPEN, 1, OPEN_GOOD, crc=1), 5),
    "control frame of 64 KiB": (frame(R.FRAME_PING, 0, length=65536), 6),
    "length 2^31": (frame(R.FRAME_OPEN, 1, length=1 << 31), 6),
    "length 2^32-1": (frame(R.FRAME_OPEN, 1, length=2 ** 32 - 1), 6),
    "chunk from a client": (frame(R.FRAME_CHUNK, 1, bytes(56)), 6),
    "INFO from a client": (frame(R.FRAME_INFO, 1, bytes(32)), 6),
    "DONE from a client": (frame(R.FRAME_DONE, 1, bytes(16)), 6),
    "unknown control type": (frame(0x0E, 0), 6),
    "request id 0": (frame(R.FRAME_OPEN, 0, OPEN_GOOD), 6),
    "request id 2^32-1": (frame(R.FRAME_OPEN, 2 ** 32 - 1, OPEN_GOOD), 6),
    "PING under a request": (frame(R.FRAME_PING, 7, bytes(8)), 6),
    "short PING": (frame(R.FRAME_PING, 0, bytes(7)), 6),
    "long PING": (frame(R.FRAME_PING, 0, bytes(9)), 6),
    "short OPEN": (frame(R.FRAME_OPEN, 1, b"\0\0\0\1"), 6),
    "path longer than the frame": (
        frame(R.FRAME_OPEN, 1, struct.pack(">IBBH", 1, 0, 0, 500) + b"x"), 6),
    "TLV cut off": (frame(R.FRAME_OPEN, 1, OPEN_GOOD + b"\0\x30\0\x09a"), 6),
    "TLVs descending": (frame(
        R.FRAME_OPEN, 1, OPEN_GOOD + W.encode_tlv(0x1A1A, b"") +
        W.encode_tlv(0x0A0A, b"")), 6),
    "TLV twice": (frame(
        R.FRAME_OPEN, 1, OPEN_GOOD + W.encode_tlv(0x0A0A, b"") * 2), 6),
    "TLV with a wrong length": (frame(
        R.FRAME_OPEN, 1,
        OPEN_GOOD + W.encode_tlv(R.TLV_EXPECT_CID, bytes(31))), 6),
    "more ranges than bytes": (
        frame(R.FRAME_GET, 1, struct.pack(">IBBH", 1, 3, 0, 60)), 6),
    "second HELLO": (hello()[R.PREFACE_LEN:], 6),
    "ERROR under a request": (
        frame(R.FRAME_ERROR, 5, b"\1\1\0\0", flags=1), 6),
}


@case
def broken_frames_end_the_connection_with_their_class(tmp):
    with serve(tmp) as server:
        for what, (data, kind) in BROKEN.items():
            for pieces in (1, len(data)):
                with Raw(server.port) as raw:
                    for i in range(pieces):
                        part = data[i::1][:1] if pieces > 1 else data
                        try:
                            raw.send(part)
                        except OSError:
                            break
                    codes = raw.ends_with()
                    check(codes and codes[0] >> 8 == kind,
                          "%s: codes %r" % (what, codes))
        visit(server)


LENGTHS = (0, 1, R.LIMIT_CONTROL_PAYLOAD - 1, R.LIMIT_CONTROL_PAYLOAD,
           R.LIMIT_CONTROL_PAYLOAD + 1, R.LIMIT_CHUNK_PAYLOAD - 1,
           R.LIMIT_CHUNK_PAYLOAD, R.LIMIT_CHUNK_PAYLOAD + 1, 2 ** 31 - 1,
           2 ** 31, 2 ** 32 - 1)


def limit_of(kind):
    return R.FRAMES[kind].payload_max if kind in R.FRAMES \
        else R.LIMIT_CONTROL_PAYLOAD


@case
def each_type_with_each_length(tmp):
    """Only the head of a frame that is too long is sent: the answer comes
    before any of its bytes, so nothing can have been set aside for them."""
    with besieged(tmp) as server:
        for kind in [*sorted(R.FRAMES), 0, 0x2F, 0x7F, 0x9F, 0xFF]:
            for length in LENGTHS:
                one_frame(server, kind, length)


def one_frame(server, kind, length):
    what = "type %02x, length %d" % (kind, length)
    with Raw(server.port) as raw:
        if length > limit_of(kind):
            raw.send(frame(kind, 1, length=length))
            codes = raw.ends_with()
            # A type that only servers send is refused for that, at once.
            check(codes and codes[0] >> 8 == R.WIRE_CLASS_PROTOCOL,
                  "%s: codes %r" % (what, codes))
            return
        with contextlib.suppress(OSError):
            raw.send(frame(kind, 1, bytes(length)))
            raw.ping()
        # An answer, or the end of the connection: never silence.
        with contextlib.suppress(ConnectionResetError):
            check(raw.item() is not None or True, what)


@case
def announced_and_not_sent(tmp):
    """As much as may be announced, by as many as may come, and never sent:
    what waits is what has come."""
    with besieged(tmp) as server:
        before = memory(server)
        held = []
        for number in range(32):
            raw = Raw(server.port)
            raw.send(frame(R.FRAME_OPEN, 1,
                           length=R.LIMIT_CONTROL_PAYLOAD)[:50])
            held.append(raw)
        visit(server)
        check(memory(server) - before < 32 * 150 * 1024,
              "memory was set aside")
        for raw in held:
            raw.sock.close()

if __name__ == "__main__":
    main()
