#!/usr/bin/env python3
"""B14: request and cancel, again and again: work and queues are bounded."""

import os

from kit import (MI, R, Raw, besieged, case, check, main, many, serve, settle,
                 visit, worker_pids, write_random)


@case
def cancel_flood_is_cut_off(tmp):
    with serve(tmp) as server:
        big = os.path.join(tmp, "root", "big")
        write_random(big, 8 * MI)
        with Raw(server.port) as raw:
            raw.info("big", c=12)
            try:
                for _ in range(400):
                    raw.cancel(raw.get())
                codes = raw.ends_with()
            except OSError:
                codes = raw.ends_with()
            check(codes and codes[-1] >> 8 == R.WIRE_CLASS_TRANSIENT,
                  "codes %r" % codes)
        visit(server)


@case
def cancel_ends_with_exactly_one_end(tmp):
    with serve(tmp) as server:
        big = os.path.join(tmp, "root", "big")
        write_random(big, 64 * MI)
        with Raw(server.port) as raw:
            raw.info("big")
            request = raw.get()
            raw.message()
            raw.cancel(request)
            last = raw.answer(request)[-1]
            check(last.name == "ERROR" and
                  last.fields["code"] == R.WIRE_CANCELLED, "not cancelled")
            check(raw.received < 40 * MI, "too much was sent first")
            raw.ping()
            check(raw.message().name == "PONG", "something behind the END")


def bytes_read(server):
    """By the workers, from files and sockets."""
    total = 0
    for pid in worker_pids(server):
        with open("/proc/%d/io" % pid) as file:
            total += int(file.readline().split()[1])
    return total


@case
def cancelled_below_the_limit(tmp):
    """Two of five are cancelled, which may be: what was asked for and not
    wanted is not read, and too many of them are read late."""
    count = many(100000, 3000)
    with besieged(tmp) as server:
        big = write_random(os.path.join(tmp, "root", "big"), 64 * MI)
        settle(big)
        before = bytes_read(server)
        with Raw(server.port, patience=600 if count > 10000 else 60) as raw:
            raw.info("big", c=20)
            open_again = 0
            for number in range(count):
                if number % 5 < 2:
                    raw.cancel(raw.get(ranges=((0, MI),)))
                else:
                    raw.ask("CLOSE", {"handle": 9})
                open_again += 1
                if open_again == 500:
                    open_again = 0
                    raw.ping()
                    while raw.message().name != "PONG":
                        pass
        read = bytes_read(server) - before
        check(read < count * MI // 8, "%d bytes read for %d requests" %
              (read, count))

if __name__ == "__main__":
    main()
