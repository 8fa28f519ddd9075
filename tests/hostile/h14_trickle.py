#!/usr/bin/env python3
"""H14: one valid byte now and then, for ever: the try is ended.

A peer that is not silent, but next to it. The rule of one minute is tried
with a clock of its own in tests/unit/receiver_test.c (test_trickle); here the
user's own limits, and with BELAY_LONG the minute itself."""

import os
import time

from peer import (R, SIZE, SMALL, Partner, Run, Skip, always, at_greeting, box,
                  case, check, check_code, first, judge, main, noise, on,
                  wire)


def trickle(name, pause, index=None):
    """This message comes byte by byte."""
    def act(session, ident, fields, tlvs):
        for byte in wire.encode(name, ident, fields, tlvs):
            session.put(bytes([byte]))
            time.sleep(pause)
    return on(name, act, index)


def run_against(tmp, hook, *args, timeout=60):
    with Partner(first(hook), **SMALL) as p:
        data = p.put("f", noise(SIZE))
        run = Run(["get", *args, p.url()], box(tmp)).wait(timeout)
        judge(run, tmp, data)
        check_code(run, 0)
        check(p.connections > 1, "the trickle was borne", run)
        os.unlink(os.path.join(box(tmp), "f"))


@case
def slower_than_the_user_wants(tmp):
    """--speed-limit: the connection is left, and the next one serves."""
    for name, index in (("CHUNK", 2), ("INFO", None)):
        run_against(tmp, trickle(name, 0.3, index), "--speed-limit", "1k",
                    "--speed-time", "2")


@case
def a_greeting_in_drops(tmp):
    """The greeting has an absolute deadline; the user's ends the rest."""
    def drops(session):
        for byte in wire.encode_preface(R.ROLE_SERVER):
            session.put(bytes([byte]))
            time.sleep(1)
    with Partner(always(at_greeting(drops)), **SMALL) as p:
        p.put("f", noise(SIZE))
        run = Run(["get", "--deadline", "3", p.url()], box(tmp)).wait()
        judge(run, tmp)
        check_code(run, 9)


@case
def the_minute_itself(tmp):
    """A byte each 10 s: left after a minute, without any option."""
    if not os.environ.get("BELAY_LONG"):
        raise Skip("takes more than a minute; BELAY_LONG asks for it")
    for name, index in (("CHUNK", 2), ("INFO", None)):
        run_against(tmp, trickle(name, 10, index), timeout=150)


if __name__ == "__main__":
    main()
