#!/usr/bin/env python3
"""B24: a worker that crashes takes only its own connections along, is replaced
at once, and whoever it dealt with has to wait."""

import os
import signal

from kit import (FRIEND, R, Raw, case, check, is_refused, main, serve, visit,
                 wait_until, whole_log, worker_pids)


def alive(raw):
    try:
        raw.answer(raw.open("good", handle=raw.next_id))
        return True
    except Exception:
        return False


def after(server, before):
    """Until the worker is gone, which may take its time to die, and another
    one is there."""
    wait_until(lambda: set(worker_pids(server)) and
               not set(worker_pids(server)) & set(before), "a new worker", 60)


def rests(pid):
    """It deals with nobody: it answered, and sleeps until the next event."""
    def asleep():
        with open("/proc/%d/stat" % pid) as file:
            return file.read().rsplit(")", 1)[1].split()[0] == "S"
    wait_until(asleep, "a worker at rest", 20)


def guests_of(server, worker, others, count):
    """So many connections which that worker has, since the others sleep."""
    for pid in others:
        os.kill(pid, signal.SIGSTOP)
    raws = [Raw(server.port) for _ in range(count)]
    for pid in others:
        os.kill(pid, signal.SIGCONT)
    check(all(alive(raw) for raw in raws), "not served by %d" % worker)
    return raws


@case
def only_its_connections_end(tmp):
    with serve(tmp, "--workers", "2", "--exempt", "127.0.0.0/8") as server:
        visit(server)
        wait_until(lambda: len(worker_pids(server)) == 2, "workers", 20)
        first, second = before = worker_pids(server)
        raws = [guests_of(server, first, [second], 4),
                guests_of(server, second, [first], 4)]
        os.kill(first, signal.SIGSEGV)
        wait_until(lambda: set(worker_pids(server)) - set(before),
                   "a new worker", 20)
        living = [sum(alive(raw) for raw in some) for some in raws]
        check(living == [0, 4], "%r of 4 and 4 connections live" % living)
        visit(server)
        for raw in sum(raws, []):
            raw.sock.close()
        many = [Raw(server.port) for _ in range(32)]
        for raw in many:
            raw.sock.close()


@case
def the_guest_is_barred(tmp):
    """The only one that the worker had is it; others come in at once."""
    with serve(tmp, "--workers", "1") as server:
        before = worker_pids(server)
        raw = Raw(server.port)
        os.kill(before[0], signal.SIGSEGV)
        wait_until(lambda: b" barred " in whole_log(server), "log line", 20)
        check(b"origin=127.0.0.1 reason=crash ms=90000" in whole_log(server),
              server.text())
        raw.sock.close()
        after(server, before)
        check(is_refused(server) == R.WIRE_BUSY, "not barred")
        visit(server)


@case
def guests_of_a_chance_crash_are_not(tmp):
    """With several, nobody in particular is to blame."""
    with serve(tmp, "--workers", "1") as server:
        before = worker_pids(server)
        raws = [Raw(server.port), Raw(server.port, source=FRIEND)]
        rests(before[0])
        os.kill(before[0], signal.SIGSEGV)
        after(server, before)
        visit(server)
        visit(server, "127.0.0.1")
        check(b" barred " not in whole_log(server), server.text())
        for raw in raws:
            raw.sock.close()


@case
def an_operator_may_kill(tmp):
    with serve(tmp, "--workers", "1") as server:
        before = worker_pids(server)
        raw = Raw(server.port)
        os.kill(before[0], signal.SIGKILL)
        after(server, before)
        visit(server, "127.0.0.1")
        raw.sock.close()


if __name__ == "__main__":
    main()
