#!/usr/bin/env python3
"""B16: wrong tokens: penalties bite; and what is missing, forbidden or outside
is answered alike, by the same work. Requirement B1-S6."""

import collections
import os
import re
import shutil
import subprocess

from kit import (FRIEND, R, Skip, abort, borrow, case, check, main, many,
                 wait_until, whole_log, worker_pids)

auth = borrow("auth_access", "tokens_by_time")

from tlskit import TlsBelayd, self_made                         # noqa: E402


def locked(tmp, *args):
    root = os.path.join(tmp, "root")
    for name in ("pub/a", "private/b"):
        os.makedirs(os.path.dirname(os.path.join(root, name)), exist_ok=True)
        with open(os.path.join(root, name), "w") as out:
            out.write("x" * 5000)
    tokens = os.path.join(tmp, "tokens")
    token = auth.make_token(tokens, "alice").encode()
    rules = os.path.join(tmp, "rules")
    auth.private(rules, "token:alice /pub\n")
    return token, TlsBelayd(self_made(tmp), "--tokens", tokens, "--access",
                            rules, "--workers", "1", *args, root=root)


def guess(server, token, source=None):
    with auth.TlsRaw(server.port, source=source) as raw:
        return raw.judged(token=token)


def may_come(server, source=None):
    try:
        auth.TlsRaw(server.port, source=source).sock.close()
        return True
    except OSError:
        return False


@case
def the_fourth_wrong_one_bars_the_address(tmp):
    """Two may be a mistake. Each costs five seconds, less what has passed
    since; from fifteen on the address waits, whatever it shows, and no other
    does."""
    token, server = locked(tmp)
    with server:
        for number in range(2):
            check(guess(server, b"wrong%d" % number) == R.WIRE_AUTH_FAILED,
                  "not refused")
        check(guess(server, token) == 0, "barred after two")
        for number in range(2, 12):
            if not may_come(server):
                break
            guess(server, b"wrong%d" % number)
        check(b"reason=auth" in whole_log(server), server.text())
        check(number >= 3, "barred after %d" % number)
        check(not may_come(server), "not barred")
        check(guess(server, token, FRIEND) == 0, "others are barred")


@case
def guessing_and_running_away(tmp):
    """Who resets the connection before he hears the answer pays as well."""
    _, server = locked(tmp)
    with server:
        for _ in range(5):
            try:
                raw = auth.TlsRaw(server.port)
            except OSError:
                break
            raw.auth(token=b"wrong")
            abort(raw.sock)
        wait_until(lambda: not may_come(server), "barred", 20, 0.1)


@case
def a_flood_of_guesses(tmp):
    """What gets through is a few; the rest is closed at the door."""
    _, server = locked(tmp)
    with server:
        judged = 0
        for _ in range(many(100000, 300)):
            try:
                judged += guess(server, b"wrong") == R.WIRE_AUTH_FAILED
            except OSError:
                pass
        seconds = 5 * judged
        check(3 <= judged <= 3 + many(100000, 300) // 10,
              "%d guesses were judged in %d s" % (judged, seconds))
        check(may_come(server, FRIEND), "others are barred")


# -- the same work -----------------------------------------------------------

def calls_of(tmp, server, ask):
    """The system calls of the worker while it answers, without those of its
    timers."""
    if not shutil.which("strace"):
        raise Skip("no strace")
    trace = os.path.join(tmp, "trace")
    with auth.TlsRaw(server.port) as raw:
        raw.judged(token=ask.token)
        tracer = subprocess.Popen(
            ["strace", "-qq", "-o", trace, "-p", str(worker_pids(server)[0]),
             "-e", "trace=open,openat,openat2,read,write,pread64,fstat,"
             "newfstatat,statx,getdents64,close,sendmsg"],
            stderr=subprocess.PIPE, text=True)
        try:
            wait_until(lambda: traced(server), "strace", 20)
            first = None
            for _ in range(5):
                answer = ask(raw)
                first = first or answer
                check(answer == first, "answers differ")
        finally:
            tracer.terminate()
            problem = tracer.communicate(timeout=20)[1]
    if "ptrace" in problem:
        raise Skip("strace cannot look at it: " + problem)
    with open(trace) as file:
        names = re.findall(r"^(\w+)\(", file.read(), re.M)
    return first, collections.Counter(names)


def traced(server):
    with open("/proc/%d/status" % worker_pids(server)[0]) as file:
        return "TracerPid:\t0\n" not in file.read()


class Ask:
    def __init__(self, token, path):
        self.token, self.path = token, path

    def __call__(self, raw):
        last = raw.answer(raw.open(self.path, handle=raw.next_id))[-1]
        check(last.name == "ERROR", "%s was opened" % self.path)
        return last.fields["code"], sorted(
            (kind, len(value)) for kind, value in last.tlvs
            if kind & 0x0F0F != 0x0A0A)


@case
def missing_forbidden_and_hidden_are_one(tmp):
    """The same code, the same fields, and the same calls of the system: there
    is nothing in the time that could tell them apart."""
    token, server = locked(tmp, "--exempt", "127.0.0.1")
    with server:
        seen = {}
        for path in ("pub/missing", "private/b", "private/missing",
                     "nowhere", "nowhere/at/all"):
            seen[path] = calls_of(tmp, server, Ask(token, path))
        answers = {repr(answer) for answer, _ in seen.values()}
        check(len(answers) == 1, "answers %r" % answers)
        one = seen["pub/missing"][1]
        check(one["openat2"] >= 5, "calls %r" % one)
        for path, (_, calls) in seen.items():
            for name in ("open", "openat", "openat2", "pread64", "fstat",
                         "newfstatat", "statx", "getdents64"):
                check(calls[name] == one[name], "%s: %d %s, not %d" %
                      (path, calls[name], name, one[name]))


if __name__ == "__main__":
    main()
