#!/usr/bin/env python3
"""B3: who says nothing, or half of a greeting, or a byte a second, is gone at
the handshake's deadline."""

import time

from kit import (R, Raw, W, borrow, case, check, frame, hello, is_refused,
                 main, serve, visit, wait_until, whole_log)

borrow("tls_server", "half_a_handshake")


@case
def silence_ends_at_the_handshake_deadline(tmp):
    with serve(tmp, "--exempt", "127.0.0.1") as server:
        began = time.monotonic()
        silent = Raw(server.port, greet=False)
        half = Raw(server.port, greet=False)
        half.send(hello()[:20])
        trickle = Raw(server.port, greet=False)
        check(silent.sock.recv(16)[:8] == R.PREFACE_MAGIC,
              "a greeting for who waits")
        data = W.encode_preface(R.ROLE_CLIENT) + \
            frame(R.FRAME_HELLO, 0, W.encode_tlvs([(R.TLV_AGENT, b"x" * 99)]))
        for byte in data[:9]:
            trickle.send(bytes([byte]))
            time.sleep(1)
        for raw in (silent, half, trickle):
            raw.closes_within(15)
        seconds = time.monotonic() - began
        check(9 < seconds < 30, "closed after %.1f s" % seconds)
        visit(server)


@case
def two_that_stall_are_barred_for_a_while(tmp):
    """Ten seconds for each, and from fifteen on nobody of the address comes
    in; others do, and it is told once."""
    with serve(tmp) as server:
        stalled = [Raw(server.port, greet=False) for _ in range(2)]
        for raw in stalled:
            raw.closes_within(30)
        wait_until(lambda: b" barred " in whole_log(server), "log line", 20)
        check(b"origin=127.0.0.1 reason=stalled" in whole_log(server),
              server.text())
        check(is_refused(server) == R.WIRE_BUSY, "not barred")
        visit(server)

if __name__ == "__main__":
    main()
