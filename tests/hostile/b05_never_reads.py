#!/usr/bin/env python3
"""B5: who asks for much and never reads holds two chunks, and ends with the
drain."""

import os
import signal
import time

from kit import (LONG, MI, SCALE, Raw, Skip, besieged, case, check, main,
                 memory, serve, visit, write_random)


@case
def who_never_reads_costs_two_chunks(tmp):
    with serve(tmp) as server:
        big = os.path.join(tmp, "root", "big")
        write_random(big, 64 * MI)
        visit(server)
        before = memory(server)
        held = []
        for _ in range(20):
            raw = Raw(server.port, receive_buffer=4096)
            raw.open("big", c=18)
            raw.get()
            held.append(raw)
        time.sleep(1)
        grown = (memory(server) - before) / len(held)
        check(SCALE < 1 or grown < 2 * 256 * 1024 + 150 * 1024,
              "%.0f bytes for each slow reader" % grown)
        visit(server)
        for raw in held:
            raw.sock.close()


@case
def what_never_reads_is_cut_off(tmp):
    if not LONG:
        raise Skip("takes two minutes: BELAY_LONG")
    with besieged(tmp) as server:
        write_random(os.path.join(tmp, "root", "big"), 64 * MI)
        silent, trickle = (Raw(server.port, receive_buffer=4096)
                           for _ in range(2))
        for raw in (silent, trickle):
            raw.open("big", c=18)
            raw.get()
        began = time.monotonic()
        ended = {}
        while len(ended) < 2 and time.monotonic() - began < 400:
            # 4 KiB in 20 s is less than 512 bytes a second.
            trickle.sock.recv(4096)
            time.sleep(20)
            for reason in (b"write-blocked", b"slow-reader"):
                with open(server.log, "rb") as file:
                    if b"reason=" + reason in file.read():
                        ended.setdefault(reason, time.monotonic() - began)
        check(len(ended) == 2, "ended: %r" % ended)


@case
def and_does_not_hold_up_the_stop(tmp):
    with serve(tmp) as server:
        write_random(os.path.join(tmp, "root", "big"), 64 * MI)
        raw = Raw(server.port, receive_buffer=4096)
        raw.open("big", c=18)
        raw.get()
        time.sleep(0.5)
        visit(server)
        server.child.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        check(server.child.poll() is None, "it did not drain")
        if not LONG:
            server.child.send_signal(signal.SIGTERM)
        server.child.wait(60)
        check(server.child.returncode == 0, server.text())
        raw.sock.close()

if __name__ == "__main__":
    main()
