#!/usr/bin/env python3
"""H5: data after the announced end, endless frames of length zero, endless
pings: cut, and the processor stays idle."""

import os
import time

from peer import (R, attack, box, case, check, check_code, check_idle, conform,
                  first, heals, main, on, wire)

conform("wrong_end", "much_grease", "end_before_done")

FLOOD_S = 15


def flood(data):
    """In place of chunk 2, for as long as somebody listens."""
    def act(session, ident, fields, tlvs):
        until = time.monotonic() + FLOOD_S
        while time.monotonic() < until:
            session.put(data)
    return on("CHUNK", act, 2)


FLOODS = {
    "empty": wire.encode_frame(0x9A, 0, b"") * 500,
    "pings": wire.encode("PING", 0, {"opaque": b"12345678"}) * 500,
    "notices": wire.encode("NOTICE", 0, {"text": b"hello"}) * 500,
    "pongs": wire.encode("PONG", 0, {"opaque": b"12345678"}) * 500,
    "private": wire.encode_frame(0xF5, 0xFFFFFFFF, b"x" * 1000) * 100,
}


@case
def floods_are_cut(tmp):
    """Each is left before it ends by itself, and served anew."""
    for name, data in FLOODS.items():
        sent = []

        def hook(session, *args, act=flood(data), sent=sent):
            try:
                return act(session, *args)
            finally:
                sent.append(session.sent)

        run, _ = heals(tmp, hook)
        check(max(sent) < 64 << 20, "%s: %d bytes were taken" %
              (name, max(sent)), run)
        check_idle(run, 5)


@case
def data_after_the_end(tmp):
    """Chunks, answers and noise behind DONE change nothing."""
    def with_more(more):
        def act(session, ident, fields, tlvs):
            session.plain("DONE", ident, fields, tlvs)
            session.put(more(ident))
        return on("DONE", act)

    chunk = {"offset": 0, "raw_len": 4096, "handle": 1, "codec": R.CODEC_RAW,
             "digest": bytes(32), "data": bytes(4096)}
    for more in (lambda i: wire.encode("CHUNK", i, chunk),
                 lambda i: wire.encode("DONE", i, {}),
                 lambda i: b"\0" * 100000, lambda i: b"\xff" * 100000):
        run, _ = attack(tmp, first(with_more(more), 1))
        check_code(run, 0)
        os.unlink(os.path.join(box(tmp), "f"))


if __name__ == "__main__":
    main()
