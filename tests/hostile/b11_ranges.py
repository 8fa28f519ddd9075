#!/usr/bin/env python3
"""B11: ranges that overflow, lie past the end, are empty, cross, or are a
million: refused or capped."""

import os
import random
import struct
import time

from kit import (MAX, MI, R, Raw, W, besieged, case, check, frame, main, serve,
                 visit, write_random)


@case
def requests_against_a_rule_fail_alone(tmp):
    def get(*ranges, handle=1, urgency=3):
        return R.FRAME_GET, struct.pack(
            ">IBBH", handle, urgency, 0, len(ranges)) + \
            b"".join(struct.pack(">QQ", *r) for r in ranges)

    wrong = [
        (get(), R.WIRE_BAD_REQUEST),
        (get((0, 0)), R.WIRE_BAD_REQUEST),
        (get((10, 10), (15, 10)), R.WIRE_BAD_REQUEST),
        (get((10, 10), (0, 10)), R.WIRE_BAD_REQUEST),
        (get((0, MAX), (0, 1)), R.WIRE_BAD_REQUEST),
        (get((1 << 63, 1 << 63)), R.WIRE_BAD_REQUEST),
        (get((0, 1), urgency=8), R.WIRE_BAD_REQUEST),
        (get(*[(i * 2, 1) for i in range(65)]), R.WIRE_BAD_REQUEST),
        (get((0, 1), handle=9), R.WIRE_BAD_HANDLE),
        ((R.FRAME_CLOSE, struct.pack(">I", 9)), R.WIRE_BAD_HANDLE),
        ((R.FRAME_DIGEST, struct.pack(">IBBHQII", 9, 0, 0, 0, 0, 0, 0)),
         R.WIRE_BAD_HANDLE),
        ((R.FRAME_DIGEST, struct.pack(">IBBHQII", 1, 33, 0, 0, 0, 0, 0)),
         R.WIRE_BAD_REQUEST),
        ((R.FRAME_OPEN, struct.pack(">IBBH", 0, 0, 0, 4) + b"good"),
         R.WIRE_BAD_REQUEST),
        ((R.FRAME_OPEN, struct.pack(">IBBH", 5, 1, 0, 4) + b"good"),
         R.WIRE_BAD_REQUEST),
        ((R.FRAME_OPEN, struct.pack(">IBBH", 1, 0, 0, 4) + b"good"),
         R.WIRE_BAD_HANDLE),
        ((R.FRAME_OPEN, struct.pack(">IBBH", 5, 0, 11, 4) + b"good"),
         R.WIRE_UNSUPPORTED),
        ((R.FRAME_OPEN, struct.pack(">IBBH", 5, 0, 23, 4) + b"good"),
         R.WIRE_UNSUPPORTED),
        ((R.FRAME_OPEN, struct.pack(">IBBH", 5, 0, 0, 4) + b"good" +
          W.encode_tlv(0x8077, b"?")), R.WIRE_UNSUPPORTED),
        ((0x2F, b"who knows"), R.WIRE_UNSUPPORTED),
        ((R.FRAME_AUTH, b"\1\0\0\0" + W.encode_tlv(R.TLV_TOKEN, b"x")),
         R.WIRE_INSECURE),
        ((R.FRAME_AUTH, b"\2\0\0\0"), R.WIRE_UNSUPPORTED),
        ((R.FRAME_LIST, b"\0\0\0\0" +
          W.encode_tlv(R.TLV_MAX_ENTRIES, bytes(4))), R.WIRE_BAD_REQUEST),
    ]
    with serve(tmp) as server, Raw(server.port) as raw:
        raw.info("good", c=12)
        for (kind, payload), code in wrong:
            request, raw.next_id = raw.next_id, raw.next_id + 1
            raw.send(frame(kind, request, payload))
            got = raw.error(request)
            check(got == code, "frame %02x %r: code %04x, expected %04x" %
                  (kind, payload[:16], got, code))
        raw.answer(raw.get(), "DONE")


@case
def limits_at_and_one_beyond(tmp):
    with serve(tmp) as server, Raw(server.port) as raw:
        most = raw.hello.tlv_uint(R.TLV_MAX_HANDLES, 16)
        check(most == R.LIMIT_HANDLES_RECOMMENDED, "MAX_HANDLES")
        for handle in range(1, most + 1):
            raw.open("good", handle=handle, c=12)
        over = raw.open("good", handle=most + 1, c=12)
        for request in range(1, most + 1):
            raw.answer(request, "INFO")
        check(raw.error(over) == R.WIRE_TOO_MANY_HANDLES, "one too many")
        raw.answer(raw.ask("CLOSE", {"handle": 7}), "DONE")
        raw.answer(raw.open("good", handle=7, c=12), "INFO")
        raw.answer(raw.get(handle=3, ranges=[(i * 2, 1) for i in range(64)]),
                   "DONE")
    with serve(tmp) as server, Raw(server.port, patience=60) as raw:
        # Nothing is read meanwhile, so nothing can end.
        most = raw.hello.tlv_uint(R.TLV_MAX_REQUESTS, 16)
        big = os.path.join(tmp, "root", "big")
        write_random(big, 64 * MI)
        first = raw.open("big", c=22)
        for _ in range(most + 40):
            raw.get()
        time.sleep(0.5)
        refused = 0
        for request in range(first + 1, first + most + 41):
            raw.cancel(request)
        raw.sock.close()
        visit(server)


@case
def a_million_that_cross(tmp):
    """Ranges over each other are refused, as many as there are; in order and
    apart they cost what their chunks cost."""
    source = random.Random(11)
    with besieged(tmp) as server, Raw(server.port) as raw:
        write_random(os.path.join(tmp, "root", "f"), 4 * MI)
        raw.answer(raw.open("f", c=16), "INFO")
        wrong = []
        for _ in range(200):
            ranges = [(source.randrange(2 ** 22), source.randrange(2 ** 20))
                      for _ in range(64)]
            wrong.append(raw.get(ranges=ranges))
        for request in wrong:
            check(raw.error(request) == R.WIRE_BAD_REQUEST, "crossing ranges")
        # One byte of each chunk: each chunk once.
        frames = raw.answer(raw.get(ranges=[(i * 65536, 1)
                                            for i in range(64)]), "DONE")
        check(frames[-1].fields["chunks"] == 64, "chunks")
        frames = raw.answer(raw.get(ranges=[(i, 1) for i in range(64)]),
                            "DONE")
        check(frames[-1].fields["chunks"] == 1, "one chunk more than once")


@case
def past_the_end(tmp):
    with serve(tmp) as server, Raw(server.port) as raw:
        size = len(b"good" * 5000)
        raw.answer(raw.open("good", c=12), "INFO")
        for ranges, chunks in (([(size - 1, 1)], 1), ([(size, 1)], None),
                               ([(size - 1, 2)], None),
                               ([(2 ** 63 - 1, 1)], None),
                               ([(MAX, 1)], None), ([(1, MAX)], None),
                               ([(0, MAX)], 5), ([(2 ** 63, 2 ** 63)], None)):
            last = raw.answer(raw.get(ranges=ranges))[-1]
            if last.name == "DONE":
                check(chunks is None or last.fields["chunks"] == chunks,
                      "%r: %r" % (ranges, last.fields))
                check(last.fields["chunks"] <= 5, "%r" % ranges)
            else:
                check(chunks is None, "%r: refused" % ranges)
                check(last.fields["code"] >> 8 == R.WIRE_BAD_REQUEST >> 8,
                      "%r: code %04x" % (ranges, last.fields["code"]))

if __name__ == "__main__":
    main()
