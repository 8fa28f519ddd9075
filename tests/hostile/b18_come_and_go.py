#!/usr/bin/env python3
"""B18: connect and close, and resets at each byte of the greeting: no leak, no
place lost."""

import os
import time

from kit import (Raw, abort, besieged, borrow, case, descriptors, gone, hello,
                 main, many, scaled, serve, wait_until, worker_pids)

borrow("tls_server", "many_that_come_and_go")


@case
def connect_and_vanish(tmp):
    with serve(tmp, "--max-per-address", "50") as server:
        for i in range(scaled(1000, 200)):
            raw = Raw(server.port, greet=False)
            if i % 3 == 0:
                raw.send(hello()[:i % 40])
            abort(raw.sock)
        time.sleep(0.5)
        pids = worker_pids(server)

        def drained():
            return all(len(os.listdir("/proc/%d/fd" % pid)) < 40
                       for pid in pids)
        wait_until(drained, "closed descriptors", 5)
        # No place was lost: as many as before can come.
        held = [Raw(server.port) for _ in range(50)]
        for raw in held:
            raw.sock.close()


@case
def connect_and_close_by_the_thousand(tmp):
    with besieged(tmp) as server:
        base = descriptors(server)
        for _ in range(many(100000, 1000)):
            Raw(server.port, greet=False).sock.close()
        gone(server, base)
        held = [Raw(server.port) for _ in range(32)]
        for raw in held:
            raw.sock.close()


@case
def reset_at_each_byte_of_the_greeting(tmp):
    data = hello()
    with besieged(tmp) as server:
        base = descriptors(server)
        for cut in range(len(data) + 1):
            for end in (abort, lambda sock: sock.close()):
                raw = Raw(server.port, greet=False)
                raw.send(data[:cut])
                end(raw.sock)
        gone(server, base)
        held = [Raw(server.port) for _ in range(32)]
        for raw in held:
            raw.sock.close()

if __name__ == "__main__":
    main()
