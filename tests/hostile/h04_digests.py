#!/usr/bin/env python3
"""H4: a list with 2^32 entries, digests without end, a count that does not fit
the size: refused within the cap of memory."""

import os
import struct
import time

from peer import (SMALL, attack, box, case, changed, check, check_idle, conform, main,
                  names, never, on, wire)

conform("broken_list", "lying_list", "weak_needs_list")

# A weak version and no content id: the list decides, so it is asked for.
WEAK = dict(SMALL, weak=True, no_cid=True)


@case
def four_billion_chunks(tmp):
    """2^44 bytes in chunks of 4 KiB; and as many as the client takes."""
    for size in (1 << 44, 1 << 34, (1 << 34) + 1):
        never(tmp, changed("INFO", size=size), options=WEAK)
        for name in names(box(tmp)):
            os.unlink(os.path.join(box(tmp), name))


@case
def digests_without_end(tmp):
    """Frames full of digests, on and on."""
    def act(session, ident, fields, tlvs):
        until = time.monotonic() + 20
        frame = {"first_chunk": 0, "block_log2": fields["block_log2"],
                 "proof": [], "digests": [bytes(32)] * 1000}
        while time.monotonic() < until:
            session.plain("DIGESTS", ident, frame)
            frame["first_chunk"] += 1000

    run, p = never(tmp, on("DIGESTS", act), options=WEAK)
    check(p.requests("DIGEST"), "no list was asked for", run)
    check_idle(run, 10)


@case
def other_counts(tmp):
    """More digests than chunks, none, at another place, of another block."""
    for more in ({"digests": [bytes(32)] * 100}, {"digests": []},
                 {"first_chunk": 1}, {"first_chunk": (1 << 32) - 1},
                 {"block_log2": 7}, {"block_log2": 63},
                 {"proof": [bytes(32)] * 3}):
        def act(session, ident, fields, tlvs, more=more):
            payload = dict(fields, **more)
            try:
                session.plain("DIGESTS", ident, payload, tlvs, end=True)
            except (struct.error, wire.WireError):
                session.end()
        run, _ = attack(tmp, lambda n: on("DIGESTS", act) if n < 2 else None,
                        options=WEAK)
        if run.code == 0:
            os.unlink(os.path.join(box(tmp), "f"))


@case
def digests_that_fit_nothing(tmp):
    """Right in number, wrong in what they say."""
    def act(session, ident, fields, tlvs):
        session.plain("DIGESTS", ident, dict(
            fields, digests=[bytes(32)] * len(fields["digests"])), tlvs,
            end=True)
    never(tmp, on("DIGESTS", act), options=WEAK)


if __name__ == "__main__":
    main()
