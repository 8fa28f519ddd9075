#!/usr/bin/env python3
"""H12: an error text of 1 MiB with escapes, and a code out of range: at most
512 characters, escaped, and an exit code from our own table."""

import os

from peer import (MI, R, SMALL, Partner, always, attack, box, case, check,
                  conform, main, names, never, on, on_terminal, program, wire)

conform("permanent", "access", "grease")

NASTY = b"\x1b]0;title\x07\x1b[2J\x9b31m\r\n%n%s\xff\x7f" + \
    "\u202e\u2066".encode()


def error(code, text, name="INFO"):
    return on(name, lambda s, ident, *_: s.plain(
        "ERROR", ident, {"code": code}, [(R.TLV_MESSAGE, text)]))


@case
def codes_of_every_class(tmp):
    """Known, unknown, of unknown classes: the table of exit codes holds."""
    for code in (0, 1, 0x0101, 0x01FE, 0x02FE, 0x0301, 0x04FE, 0x05FE,
                 0x0905, 0x7FFF, 0xFFFF):
        for name in ("INFO", "CHUNK", "HELLO"):
            run, _ = attack(tmp, always(error(code, NASTY, name)))
            check(run.code != 0 or name == "CHUNK", "success", run)
            for left in names(box(tmp)):
                os.unlink(os.path.join(box(tmp), left))
            check(len(run.err) < 1500, "%d characters of text" %
                  len(run.err), run)


@case
def long_texts(tmp):
    """At the limit, one beyond, and a frame of 1 MiB that is refused from its
    header."""
    for text in (NASTY * 20)[:512], b"A" * 512, b"A" * 513, b"B" * 60000:
        run, _ = never(tmp, error(R.WIRE_NOT_FOUND, text))
        check(run.err.count("A") <= 512 and run.err.count("B") <= 512,
              "longer than agreed", run)

    def huge(session, ident, *_):
        session.put(wire.encode_frame(R.FRAME_ERROR, ident, b"\x01\x01" +
                                      b"C" * 60000))
        session.put(b"C" * MI)
        session.end()
    run, _ = never(tmp, on("INFO", huge))
    check(run.err.count("C") <= 512, "longer than agreed", run)


@case
def notices_and_agents(tmp):
    """Texts of other frames, before and while data flows."""
    def notices(session, name, ident, fields, tlvs):
        if name != "HELLO" and session.sent > 100:
            session.plain("NOTICE", 0, {"text": NASTY * 8})
        return False

    run, _ = attack(tmp, always(notices), "-v")
    check(run.code == 0, "notices end it", run)


@case
def on_a_real_terminal(tmp):
    """The bytes themselves: nothing but what the bar needs."""
    with Partner(always(error(R.WIRE_NOT_FOUND, NASTY * 9)), **SMALL) as p:
        p.put("f", b"x" * 60000)
        code, text = on_terminal([program("BELAY"), "get", "-v", p.url()],
                                 box(tmp))
    check(code == 3, "exit code %d" % code)
    for bad in ("\x1b]", "\x1b[2J", "\x9b", "\x07", "\u202e", "\x7f"):
        check(bad not in text, "%r on the terminal: %r" % (bad, text))


if __name__ == "__main__":
    main()
