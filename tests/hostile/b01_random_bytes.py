#!/usr/bin/env python3
"""B1: 10,000 connections of random bytes and as many with a valid beginning:
the server lives, its memory is flat."""

import contextlib
import random

from kit import (Raw, R, W, besieged, case, check, frame, hello, main, many,
                 serve, visit)

OPEN_GOOD = b"\0\0\0\1\0\x0c\0\4good"


@case
def greetings_that_are_none(tmp):
    rejected = bytes.fromhex("89424c590d0a1a0a0001530162 3304c6".replace(
        " ", ""))
    with serve(tmp) as server:
        for data in (b"GET / HTTP/1.1\r\n\r\n", b"\0", bytes(16),
                     W.encode_preface(R.ROLE_SERVER),
                     R.PREFACE_MAGIC + b"\0\1C\0\0\0\0\0"):
            with Raw(server.port, greet=False) as raw:
                raw.send(data)
                check(raw.sock.recv(100) == b"", "an answer to %r" % data)
        with Raw(server.port, greet=False) as raw:
            raw.send(W.encode_preface(R.ROLE_CLIENT, version=2))
            data = b""
            while part := raw.sock.recv(1000):
                data += part
            check(data[:16] == rejected, "preface %r" % data[:16])
            check(data[16:][20:22] == b"" or b"\x06\x07" in data,
                  "VERSION_REJECTED")
        with Raw(server.port, greet=False) as raw:
            raw.send(W.encode_preface(R.ROLE_CLIENT),
                     frame(R.FRAME_HELLO, 0, length=5000))
            check(raw.ends_with()[0] == R.WIRE_FRAME_TOO_LARGE, "long HELLO")
        with Raw(server.port, greet=False) as raw:
            raw.send(W.encode_preface(R.ROLE_CLIENT),
                     frame(R.FRAME_OPEN, 1, OPEN_GOOD))
            check(raw.ends_with()[0] == R.WIRE_BAD_STATE, "no HELLO")
        visit(server)


@case
def garbage_by_the_thousand(tmp):
    source = random.Random(4)
    with besieged(tmp) as server:
        for number in range(2 * many(10000, 500)):
            head = hello() if number % 2 else b""
            with Raw(server.port, greet=False) as raw, \
                    contextlib.suppress(OSError):
                raw.send(head + source.randbytes(source.randrange(300)))


@case
def valid_frames_of_random_content(tmp):
    source = random.Random(5)
    kinds = sorted(R.FRAMES)
    with besieged(tmp) as server:
        for number in range(many(3000, 150)):
            data = b"".join(
                frame(source.choice(kinds), source.choice((0, i)),
                      source.randbytes(source.randrange(80)))
                for i in range(1, 20))
            with Raw(server.port, greet=False) as raw, \
                    contextlib.suppress(OSError):
                raw.send(hello() + data)

if __name__ == "__main__":
    main()
