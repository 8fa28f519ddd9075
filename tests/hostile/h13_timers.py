#!/usr/bin/env python3
"""H13: "retry after" 0 or 2^31 seconds, ping and idle intervals of 0: clamped;
the client's own deadlines stay as they are."""

import os
import struct

from peer import (R, SIZE, SMALL, Partner, Run, always, attack, box, case,
                  check, check_code, check_idle, conform, judge, main, noise, on)

conform("transient", "backs_off", "busy_server")


def refused(ms, code=0x02FE, name="INFO"):
    def hook(session, got, ident, fields, tlvs):
        if got != name:
            return False
        session.plain("ERROR", ident, {"code": code},
                      [(R.TLV_RETRY_AFTER_MS, struct.pack(">I", ms))])
        return True
    return hook


@case
def no_wait_at_all(tmp):
    """0 ms: our own back-off keeps the pace."""
    for name in ("INFO", "HELLO"):
        with Partner(always(refused(0, name=name)), **SMALL) as p:
            p.put("f", noise(SIZE))
            run = Run(["get", "--deadline", "3", "--retry", "inf", p.url()],
                      box(tmp)).wait()
            judge(run, tmp)
            check(p.connections < 40 and len(p.requests("OPEN")) < 80,
                  "%d connections, %d requests in 3 s" %
                  (p.connections, len(p.requests("OPEN"))), run)


@case
def a_wait_of_years(tmp):
    """Weeks, in each of the places: the user's deadline decides."""
    for name, code in (("INFO", 0x02FE), ("HELLO", R.WIRE_BUSY)):
        with Partner(always(refused((1 << 32) - 1, code, name)),
                     **SMALL) as p:
            p.put("f", noise(SIZE))
            run = Run(["get", "--deadline", "2", "--retry", "inf", p.url()],
                      box(tmp)).wait()
            judge(run, tmp)
            check_code(run, 9)


@case
def intervals_of_nothing_and_of_years(tmp):
    """What HELLO says of pings and idleness changes no timer of ours."""
    for kind, bad in ((R.TLV_PING_INTERVAL, (0, 65535)),
                      (R.TLV_IDLE_TIMEOUT, (0, 65535))):
        for value in bad:
            def act(session, ident, fields, tlvs, kind=kind, value=value):
                more = [t for t in tlvs if t[0] != kind] + \
                    [(kind, struct.pack(">H", value))]
                session.plain("HELLO", ident, fields,
                              sorted(more, key=lambda t: t[0]))
            run, p = attack(tmp, always(on("HELLO", act)))
            check_idle(run, 5)
            check(len(p.requests("PING")) < 20, "pings", run)
            if run.code == 0:
                os.unlink(os.path.join(box(tmp), "f"))


if __name__ == "__main__":
    main()
