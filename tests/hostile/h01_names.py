#!/usr/bin/env python3
"""H1: names with ../, absolute, NUL, empty, ., .., 300 bytes, newline, ESC, C1,
DEL, bidirectional overrides: refused or escaped, never raw on a terminal."""

import os

from peer import (Run, borrow, case, check, main, names, on_terminal, program,
                  scenario)

dir_hostile = borrow("dir_hostile")

scenario("dir_hostile", "names_that_lead_out", "directories_that_lead_out",
         "links_that_lead_out")

# Names that a file system takes, and no terminal.
ODD = [b"a\x9b2J", b"b\x7f", "c\u202egpj.exe".encode(), b"d\x1b[2J",
       b"e\r", b"f\xc2\x9b31m", b"g\xff", b"h\xe2\x80", b"i\x07",
       "j\u2066k".encode()]


@case
def odd_names_on_a_terminal(tmp):
    """Listed and fetched; what a terminal would obey is never drawn."""
    src, box = dir_hostile.scene(tmp)

    class Odd(dir_hostile.lying(ODD)):
        def do_open(self, message, ident):
            message.fields["path"] = b"good"
            return super().do_open(message, ident)

    with dir_hostile.server(Odd, src) as peer:
        for words in (["ls", "-l", peer.url("")],
                      ["get", "-v", "-r", peer.url(""), "-d", "out"],
                      ["get", "-r", peer.url(""), "-d", "again"]):
            code, text = on_terminal([program("BELAY"), *words], box)
            check(code == 0, "exit code %d: %r" % (code, text))
            plain = text.replace("\x1b[K", "").replace("\r", "") \
                .replace("\x1b[A", "")
            bad = [c for c in plain
                   if c in "\x7f\x07\x9b\u202e\u2066" or
                   (c < " " and c != "\n") or "\ud800" <= c <= "\udfff"]
            check(not bad, "raw on the terminal: %r in %r" % (bad, text))
        left = {os.fsencode(name) for name in names(box + "/out")}
        check(left == {b"good", *ODD}, "files: %r" % left)


@case
def names_that_are_too_long(tmp):
    """256 bytes and more: the listing is refused."""
    src, box = dir_hostile.scene(tmp)
    for name in (b"n" * 256, b"n" * 300, b""):
        with dir_hostile.server(dir_hostile.lying([name]), src) as peer:
            run = Run(["ls", "--retry", "2", peer.url("")], box).wait()
            check(run.code in (4, 8, 75), "exit code", run)
            check(name[:50] not in run.out or not name, "listed", run)


if __name__ == "__main__":
    main()
