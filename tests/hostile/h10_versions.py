#!/usr/bin/env python3
"""H10: another version after a reconnect: the whole new one or "source
changed", never a mix; with a known identity refused, or the next mirror."""

import os

from peer import (PATIENT, SIZE, SMALL, Partner, Run, box, case, check,
                  check_code, conform, first, judge, main, names, noise, on,
                  pin_of, scenario)

conform("changed_between", "cut_while_comparing", "ignored_expectation",
        "same_weak_token", "wrong_pin", "pinned")
scenario("mirror_files", "a_stale_one")

OLD, NEW = noise(SIZE), noise(SIZE, 2)


def swapped(session, *_):
    session.partner.put("f", NEW)
    session.end()


@case
def source_changed_is_an_end_of_its_own(tmp):
    """--if-changed=stop: exit 7, and the partial file stays."""
    with Partner(first(on("CHUNK", swapped, 8)), **SMALL) as p:
        p.put("f", OLD)
        run = Run(["get", *PATIENT, "--if-changed", "stop", p.url()],
                  box(tmp)).wait()
        judge(run, tmp)
        check_code(run, 7)
        check("f.part" in names(box(tmp)), "the partial file is gone", run)


@case
def a_known_identity_is_not_given_up(tmp):
    """The pinned content comes from the next mirror, whatever the first one
    becomes."""
    with Partner(first(on("CHUNK", swapped, 3)), **SMALL) as p, \
            Partner(**SMALL) as q:
        p.put("f", OLD)
        q.put("f", OLD)
        pin = pin_of(OLD)
        run = Run(["get", *PATIENT, "--mirror", q.url(pin=pin),
                   p.url(pin=pin)], box(tmp)).wait()
        judge(run, tmp, OLD)
        check_code(run, 0)


@case
def each_connection_another_version(tmp):
    """It ends, with one of them or with none."""
    def hook_of(n):
        def act(session, ident, fields, tlvs):
            session.partner.put("f", noise(SIZE, 10 + n))
            session.end()
        return on("CHUNK", act, n % 12)

    with Partner(hook_of, **SMALL) as p:
        p.put("f", OLD)
        run = Run(["get", "--deadline", "4", p.url()], box(tmp)).wait()
        final = os.path.join(box(tmp), "f")
        if run.code == 0:
            with open(final, "rb") as file:
                got = file.read()
            check(any(got == noise(SIZE, 10 + n) for n in range(100)) or
                  got == OLD, "a mix", run)
            os.unlink(final)
            run.code = 75
        judge(run, tmp)


if __name__ == "__main__":
    main()
