#!/usr/bin/env python3
"""B17: what a later protocol may say: skipped where it says so, else refused.
Requirement B1-C1b."""

import os
import random
import struct

from kit import (R, Raw, W, besieged, case, check, frame, hello, main, serve,
                 visit)


@case
def ignorable_things_are_ignored(tmp):
    with serve(tmp) as server, Raw(server.port) as raw:
        for kind in list(range(0x82, 0x100)):
            raw.send(frame(kind, random.randrange(2 ** 32),
                           os.urandom(random.randrange(100)), flags=0xFF))
        raw.send(frame(R.FRAME_PONG, 0, bytes(8)))
        raw.cancel(77777)
        raw.cancel(0)
        opened = raw.next_id
        raw.next_id += 1
        raw.send(frame(R.FRAME_OPEN, opened, struct.pack(
            ">IBBH", 1, 0xFE & ~1, 12, 4) + b"good" +
            W.encode_tlv(0x0077, b"later"), flags=0xFE))
        raw.answer(opened, "INFO")
        raw.answer(raw.get(flags=0xF0), "DONE")


@case
def ping_is_a_fence_and_not_a_weapon(tmp):
    with serve(tmp) as server:
        with Raw(server.port) as raw:
            # Accepted for work or answered (B1-C1b): either order is right.
            bad = raw.open("none")
            raw.ping(b"fencefen")
            both = {message.name: message
                    for message in (raw.message(), raw.message())}
            check(set(both) == {"PONG", "ERROR"}, "replies %r" % set(both))
            check(both["ERROR"].header.request_id == bad, "refusal")
            check(both["PONG"].fields["opaque"] == b"fencefen", "echo")
            for _ in range(8):
                raw.ping()
                check(raw.message().name == "PONG", "PONG")
        with Raw(server.port) as raw:
            try:
                for _ in range(2000):
                    raw.ping()
            except OSError:
                pass
            codes = raw.ends_with()
            check(codes and codes[-1] == R.WIRE_TOO_MANY_PINGS,
                  "codes %r" % codes)
        visit(server)


@case
def all_features_of_all_times(tmp):
    """Features and limits that nobody knows, as many as fit."""
    features = b"".join(struct.pack(">H", 1 + i * 97)
                        for i in range(R.LIMIT_FEATURES_BYTES // 2))
    with besieged(tmp) as server:
        for tlvs in (((R.TLV_FEATURES, features),),
                     ((R.TLV_MAX_CHUNK_LOG2, b"\x16"),
                      (R.TLV_FEATURES, features), (0x7FFE, b"x" * 1000))):
            with Raw(server.port, greet=False) as raw:
                raw.send(hello(tlvs))
                raw.greeting()
                raw.answer(raw.open("good"), "INFO")
        for tlvs in (((R.TLV_FEATURES, features + b"\0\1"),),
                     ((R.TLV_FEATURES, b"\0"),), ((0x8FFE, b""),)):
            with Raw(server.port, greet=False) as raw:
                raw.send(hello(tlvs))
                codes = raw.ends_with()
                check(codes and codes[0] >> 8 == R.WIRE_CLASS_PROTOCOL or
                      codes == [] or codes[0] >> 8 == 1,
                      "%r: codes %r" % (tlvs[0][0], codes))


@case
def unknown_types_by_their_bit(tmp):
    """0x80 and above may be skipped; a request below is refused by itself; a
    control frame below ends the connection."""
    with besieged(tmp) as server:
        with Raw(server.port) as raw:
            for kind in range(0x80, 0x100):
                if kind not in R.FRAMES:
                    raw.send(frame(kind, 5, os.urandom(64)))
            for kind in range(0x17, 0x40):
                request, raw.next_id = raw.next_id, raw.next_id + 1
                raw.send(frame(kind, request, b"later"))
                check(raw.error(request) == R.WIRE_UNSUPPORTED,
                      "type %02x" % kind)
        for kind in [*range(0x06, 0x10), *range(0x46, 0x80)]:
            with Raw(server.port) as raw:
                raw.send(frame(kind, 0))
                codes = raw.ends_with()
                check(codes and codes[0] >> 8 == R.WIRE_CLASS_PROTOCOL,
                      "type %02x: codes %r" % (kind, codes))

if __name__ == "__main__":
    main()
