#!/usr/bin/env python3
"""H20: the server claims that nothing changed, that all was sent, that the
partial file is complete: verified anyway, and refused."""

import os

from peer import (PATIENT, R, SIZE, SMALL, Partner, Run, always, box, case,
                  check, conform, judge, main, names, never, noise, on,
                  pin_of)

conform("done_lies", "again", "killed_and_resumed")

COUNT = (SIZE + 4095) >> 12


def done(**fields):
    """DONE in place of the first chunk."""
    def hook(session, name, ident, got, tlvs):
        if name != "CHUNK":
            return name == "DONE"
        if ident not in session.__dict__.setdefault("claimed", set()):
            session.claimed.add(ident)
            session.plain("DONE", ident, fields)
        return True
    return hook


@case
def all_was_sent(tmp):
    """DONE with the right counts, and not one chunk."""
    for fields in ({"chunks": COUNT, "raw_bytes": SIZE}, {},
                   {"chunks": 0, "raw_bytes": SIZE}):
        run, _ = never(tmp, done(**fields))
        check("f" not in names(box(tmp)), "a result", run)


@case
def zeros_are_what_you_have(tmp):
    """Every chunk is "all zeros", as the new partial file is."""
    def zeros(session, name, ident, fields, tlvs):
        if name != "CHUNK":
            return False
        session.plain("CHUNK", ident, dict(fields, codec=R.CODEC_ZERO,
                                           data=b""))
        return True
    never(tmp, zeros)


@case
def the_identity_of_what_is_there(tmp):
    """A partial file of zeros with an empty journal, and a server that says
    it is complete."""
    box(tmp)
    for pin in (None, pin_of(noise(SIZE))):
        for name, data in (("f.part", bytes(SIZE)), ("f.part.belay", b"")):
            with open(os.path.join(box(tmp), name), "wb") as out:
                out.write(data)
            os.chmod(os.path.join(box(tmp), name), 0o600)
        with Partner(always(done(chunks=0, raw_bytes=0)), **SMALL) as p:
            p.put("f", noise(SIZE))
            run = Run(["get", *PATIENT, p.url(pin=pin)], box(tmp)).wait()
            judge(run, tmp)
            check(run.code != 0, "success", run)
        for name in names(box(tmp)):
            os.unlink(os.path.join(box(tmp), name))


@case
def nothing_changed_since(tmp):
    """After a break the server has other bytes under the old version and the
    old content id."""
    old = noise(SIZE)
    other = old[:40960] + bytes(SIZE - 40960)

    def swapped(session, *_):
        session.partner.put("f", other)
        session.end()

    def claims(session, name, ident, fields, tlvs):
        if name not in ("INFO", "DONE") or not session.partner.first_tlvs:
            if name == "INFO":
                session.partner.first_tlvs = list(tlvs)
            return False
        keep = dict(session.partner.first_tlvs)
        session.plain(name, ident, fields,
                      [(kind, keep.get(kind, value)) for kind, value in tlvs])
        return True

    def hook_of(n):
        if n:
            return claims
        cut = on("CHUNK", swapped, 8)

        def both(*args):
            return claims(*args) or cut(*args)
        return both

    with Partner(hook_of, judges=False, **SMALL) as p:
        p.first_tlvs = None
        p.put("f", old)
        p.hash("f")
        run = Run(["get", *PATIENT, p.url()], box(tmp)).wait()
        final = os.path.join(box(tmp), "f")
        if run.code == 0:
            with open(final, "rb") as file:
                check(file.read() in (old, other), "a mix", run)
            os.unlink(final)
            run.code = 75
        judge(run, tmp)


if __name__ == "__main__":
    main()
