#!/usr/bin/env python3
"""H7: a packed chunk that expands without end, is cut off, has bytes behind
it, a second member, a dictionary, is one byte too long or too short: refused,
in the memory of one chunk."""

import zlib

from peer import MI, R, case, check_idle, conform, heals, identity, main, on

conform("bad_codec", "compressed", "false_zeros")

TEXT = b"text " * 20000
CHUNK = 4096


def packed(make):
    """Chunk 2 as zlib data that make() made of its plain bytes."""
    def act(session, ident, fields, tlvs):
        plain = TEXT[2 * CHUNK:3 * CHUNK]
        session.plain("CHUNK", ident, dict(
            fields, codec=R.CODEC_ZLIB, raw_len=CHUNK, data=make(plain),
            digest=identity.sha256(plain)))
    return on("CHUNK", act, 2)


def with_dictionary(plain):
    packer = zlib.compressobj(zdict=b"text text text")
    return packer.compress(plain) + packer.flush()


def raw_deflate(plain):
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(plain) + packer.flush()


def gzip(plain):
    packer = zlib.compressobj(wbits=31)
    return packer.compress(plain) + packer.flush()


WRONG = {
    "bomb": lambda plain: zlib.compress(bytes(64 * MI), 9)[:4 * MI],
    "small bomb": lambda plain: zlib.compress(bytes(2 * MI), 9),
    "cut off": lambda plain: zlib.compress(plain)[:-5],
    "no checksum": lambda plain: zlib.compress(plain)[:-4],
    "wrong checksum": lambda plain: zlib.compress(plain)[:-1] + b"\0",
    "bytes behind": lambda plain: zlib.compress(plain) + b"x",
    "twice": lambda plain: zlib.compress(plain) * 2,
    "in two": lambda plain: zlib.compress(plain[:9]) +
    zlib.compress(plain[9:]),
    "dictionary": with_dictionary,
    "one more": lambda plain: zlib.compress(plain + b"t"),
    "one less": lambda plain: zlib.compress(plain[:-1]),
    "nothing": lambda plain: zlib.compress(b""),
    "no zlib": raw_deflate,
    "gzip": gzip,
    "empty": lambda plain: b"",
}


@case
def what_is_no_packed_chunk(tmp):
    """Each is refused, and the chunk fetched again."""
    for name, make in WRONG.items():
        try:
            run, _ = heals(tmp, packed(make), "-z", data=TEXT,
                           options={"max_c": 12, "zlib": True})
        except Exception as error:
            raise type(error)("%s: %s" % (name, error))
        check_idle(run, 10)


@case
def packed_although_not_wanted(tmp):
    """Without -z, too, nothing wrong comes of it."""
    heals(tmp, packed(WRONG["small bomb"]), data=TEXT,
          options={"max_c": 12, "zlib": True})


if __name__ == "__main__":
    main()
