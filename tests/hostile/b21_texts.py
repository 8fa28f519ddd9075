#!/usr/bin/env python3
"""B21: names, tokens and agents full of controls: one log line each, escaped
and capped."""


from kit import (R, Raw, besieged, case, check, check_log, hello, main, serve,
                 wait_until, whole_log)

NASTY = b"x\r\n2026-01-01T00:00:00Z info fake\x1b[2J\x9b31m\x7f%n%s\"\\\0"


@case
def log_lines_stay_lines(tmp):
    with serve(tmp) as server:
        agent = b"evil\x1b[31m\n2026 info fake\r\x9b\"\\%n%s" + b"A" * 60
        with Raw(server.port, greet=False) as raw:
            raw.send(hello(((R.TLV_AGENT, agent),)))
            raw.greeting()
        wait_until(lambda: "reason=" in server.text(), "log line", 5)
        line = [line for line in server.text().splitlines()
                if "reason=" in line][-1]
        check("agent=" in line and "\\x1B" in line, line)
        check_log(server)


@case
def names_in_the_log(tmp):
    """What is asked for is logged with --verbose: one line each, whatever is
    in it, and not longer than a line."""
    with besieged(tmp, "--verbose") as server, Raw(server.port) as raw:
        names = [NASTY.replace(b"\0", b""), b"\xff" * 255, b"\x1b" * 255,
                 b"/".join([b"\n" * 200] * 20), b"%n" * 100,
                 "\u202e\u2066".encode() * 30]
        for name in names:
            raw.answer(raw.open(name, handle=raw.next_id))
        wait_until(lambda: whole_log(server).count(b" refused ") >=
                   len(names), "lines", 20)
        check(b"\\x1B" in whole_log(server), "not escaped")
        check(b" info fake\n" not in whole_log(server), "a forged line")


@case
def tokens_are_in_no_log(tmp):
    """Nor do they get through: they came in the open."""
    with besieged(tmp, "--verbose") as server:
        for token in (b"secret-token", NASTY, b"A" * R.LIMIT_TOKEN):
            with Raw(server.port) as raw:
                check(raw.error(raw.ask("AUTH", {"method": R.AUTH_BEARER},
                                        [(R.TLV_TOKEN, token)])) ==
                      R.WIRE_INSECURE, "not refused")
    log = whole_log(server)
    check(b"secret-token" not in log and b"AAAAAAAA" not in log,
          "a token was logged")


@case
def agents_of_all_lengths(tmp):
    with besieged(tmp) as server:
        for agent in (b"", b"a", b"\x1b" * R.LIMIT_AGENT,
                      b"b" * (R.LIMIT_AGENT + 1), b"c" * 60000):
            with Raw(server.port, greet=False) as raw:
                raw.send(hello(((R.TLV_AGENT, agent),)))
                raw.sock.shutdown(1)
                raw.ends_with()
        check(b"c" * (R.LIMIT_AGENT + 1) not in whole_log(server), "capped")

if __name__ == "__main__":
    main()
