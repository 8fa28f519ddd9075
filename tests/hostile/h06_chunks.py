#!/usr/bin/env python3
"""H6: a chunk that nobody asked for, twice, overlapping, out of range, of a
wrong length at the end: the connection is dropped, and nothing is written."""

import os

from peer import (R, SIZE, box, case, check, conform, heals, identity, main,
                  names, never, noise, on)

conform("other_handle", "other_place", "other_length", "other_request",
        "stored_lies", "exchanged", "done_lies", "huge_length")

LAST = SIZE >> 12
REST = SIZE - (LAST << 12)


def chunk(offset, data, handle=1):
    return {"offset": offset, "raw_len": len(data), "handle": handle,
            "codec": R.CODEC_RAW, "digest": identity.sha256(data),
            "data": data}


@case
def before_anybody_asked(tmp):
    """A chunk in place of INFO, and right behind it."""
    data = noise(SIZE)[:4096]
    heals(tmp, on("INFO", lambda s, ident, fields, tlvs: s.plain(
        "CHUNK", ident, chunk(0, data))))

    def behind(session, ident, fields, tlvs):
        session.plain("INFO", ident, fields, tlvs)
        session.plain("CHUNK", ident, chunk(0, data))
    heals(tmp, on("INFO", behind))


@case
def the_last_one(tmp):
    """Its length follows from the size, and from nothing else."""
    tail = noise(SIZE)[LAST << 12:]
    for data in (tail[:-1], tail + b"x", tail + bytes(4096 - REST), b""):
        heals(tmp, on("CHUNK", lambda s, ident, fields, tlvs, data=data:
                      s.plain("CHUNK", ident, dict(
                          fields, data=data, raw_len=len(data),
                          digest=identity.sha256(data))), LAST))
    # One behind the last.
    heals(tmp, on("CHUNK", lambda s, ident, fields, tlvs: s.plain(
        "CHUNK", ident, dict(fields, offset=(LAST + 1) << 12)), LAST))


@case
def nothing_of_it_is_written(tmp):
    """What was refused is not in the partial file."""
    mark = b"HOSTILE!" * 512

    for values in ({"offset": 1 << 12}, {"offset": 1 << 40},
                   {"offset": (1 << 64) - 4096}, {"handle": 0x7777},
                   {"offset": 4097}):
        def act(session, ident, fields, tlvs, values=values):
            session.plain("CHUNK", ident, dict(chunk(0, mark), **values))
            session.end()
        never(tmp, on("CHUNK", act, 5))
        for name in names(box(tmp)):
            path = os.path.join(box(tmp), name)
            check(os.path.getsize(path) <= 1 << 20, "size of " + name)
            with open(path, "rb") as file:
                check(mark[:64] not in file.read() or
                      values == {"offset": 1 << 12},
                      "hostile bytes in %s after %r" % (name, values))
            os.unlink(path)


if __name__ == "__main__":
    main()
