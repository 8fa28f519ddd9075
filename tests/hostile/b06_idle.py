#!/usr/bin/env python3
"""B6: idle connections from one address: as many as one may have are kept, and
another address is served."""

import contextlib
import time

from kit import (LONG, R, Raw, SCALE, case, check, descriptors, besieged,
                 hello, is_refused, main, many, memory, serve, visit,
                 wait_until, whole_log)


@case
def connections_per_address_have_a_limit(tmp):
    with serve(tmp, "--max-per-address", "20") as server:
        held = [Raw(server.port) for _ in range(20)]
        with Raw(server.port, greet=False) as raw:
            codes = raw.ends_with()
            check(codes and codes[0] == R.WIRE_BUSY, "codes %r" % codes)
        began = time.monotonic()
        visit(server)
        check(time.monotonic() - began < 20, "another address had to wait")
        held.pop().sock.close()

        def again():
            with Raw(server.port, greet=False) as raw:
                raw.send(hello())
                raw.item()
                return raw.message().name == "HELLO"
        wait_until(again, "free place", 5, 0.05)
        for raw in held:
            raw.sock.close()


@case
def connections_in_all_have_a_limit(tmp):
    with serve(tmp, "--max-connections", "30") as server:
        held = [Raw(server.port, source="127.0.0.%d" % (2 + i % 5))
                for i in range(30)]
        with Raw(server.port, greet=False, source="127.0.0.9") as raw:
            check(raw.ends_with()[:1] == [R.WIRE_BUSY], "not refused")
        for raw in held:
            raw.sock.close()


@case
def a_thousand_idle_connections_cost_little(tmp):
    with serve(tmp, "--max-connections", "1100") as server:
        visit(server)
        before = memory(server)
        held = []
        for i in range(1000):
            held.append(Raw(server.port,
                            source="127.0.1.%d" % (1 + i // 30)))
        grown = (memory(server) - before) / len(held)
        check(SCALE < 1 or grown < 100 * 1024,
              "%.0f bytes for each idle connection" % grown)
        began = time.monotonic()
        visit(server)
        check(time.monotonic() - began < 20, "the next client had to wait")
        for raw in held:
            raw.sock.close()


@case
def ten_thousand_from_one_address(tmp):
    with besieged(tmp) as server:
        base = descriptors(server)
        held = []
        for _ in range(many(10000, 400)):
            raw = Raw(server.port, greet=False)
            with contextlib.suppress(OSError):
                raw.send(hello())
            if len(held) < 32:
                raw.greeting()
                held.append(raw)
            else:
                raw.sock.close()
        visit(server)
        check(descriptors(server) <= base + 32 + 4, "more are kept")
        lines = whole_log(server).count(b" refuse ")
        check(b"reason=connections-of-address" in whole_log(server),
              server.text())
        check(LONG or lines < many(10000, 400) - 32 or
              b"refuse-more" not in whole_log(server), "a flood of lines")
        for raw in held:
            raw.sock.close()


@case
def strangers_wait_and_are_not_refused(tmp):
    """Eight of an address may be in the door; the ninth is heard as soon as
    one of them is known, or gone."""
    with serve(tmp) as server:
        silent = [Raw(server.port, greet=False) for _ in range(8)]
        for raw in silent:
            check(raw.item() is not None, "no preface") # it was looked at
        ninth = Raw(server.port, greet=False)
        ninth.send(hello())
        ninth.sock.settimeout(1)
        with contextlib.suppress(TimeoutError):
            check(ninth.sock.recv(1) == b"no", "nine strangers")
        visit(server)
        ninth.sock.settimeout(20)
        silent[0].send(hello())
        silent[0].message()
        check(ninth.greeting() is not None, "never heard")
        tenth = Raw(server.port, greet=False)
        silent[1].sock.close()
        tenth.send(hello())
        tenth.greeting()
        for raw in [*silent, ninth, tenth]:
            raw.sock.close()


@case
def many_strangers_are_turned_away_by_chance(tmp):
    """From 64 on some are, at 256 all; who is known does not count."""
    with serve(tmp) as server:
        def stranger(number):
            return Raw(server.port, greet=False,
                       source="127.0.2.%d" % (1 + number // 8))
        held = []
        refused = 0
        known = [Raw(server.port, source="127.0.3.%d" % (1 + i // 30))
                 for i in range(100)]
        for number in range(60):
            held.append(stranger(number))
        visit(server)
        check(b"reason=strangers" not in whole_log(server), "before 64")
        for number in range(60, 600):
            held.append(stranger(number))
        wait_until(lambda: b"reason=strangers" in whole_log(server),
                   "refusals", 20)
        for number in range(600, 700):
            if is_refused(server, "127.0.4.%d" % (1 + number % 200)):
                refused += 1
        check(refused > 20, "%d of 100 refused" % refused)
        known[0].answer(known[0].open("good"), "INFO")
        for raw in held:
            raw.sock.close()
        wait_until(lambda: not is_refused(server, "127.0.5.1"),
                   "room again", 20, 0.2)
        for raw in known:
            raw.sock.close()

if __name__ == "__main__":
    main()
