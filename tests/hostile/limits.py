#!/usr/bin/env python3
"""Each limit of the server that a client can reach, at one less, at itself
and at one more: the first two are served, the third is not.

Those that only time or a million requests reach are tested in the units:
requests of a connection and times in sender_test.c and sender_time_test.c,
penalties and the rate of requests in conduct_test.c, strangers and hash jobs
in census_test.c, options in settings_test.c."""

import contextlib
import os

from kit import (R, Raw, W, abort, case, check, frame, hello, is_refused,
                 main, serve, visit, wait_until)


class Table:
    """(name, limit, probe): probe(server, n) tells whether n were taken."""

    def __init__(self):
        self.rows = []

    def limit(self, number):
        def keep(probe):
            self.rows.append((probe.__name__, number, probe))
            return probe
        return keep


ONE = Table()


def code_of(server, path, **options):
    with Raw(server.port) as raw:
        return raw.error(raw.open(path, **options))


@ONE.limit(R.LIMIT_PATH)
def path_bytes(server, n):
    """A path that is too long is no path; others are only not there."""
    parts = [b"d" * 200] * 30
    path = b"/".join(parts)[:n]
    if path.endswith(b"/"):
        path = path[:-1] + b"x"
    code = code_of(server, path)
    check(code in (R.WIRE_BAD_PATH, R.WIRE_NOT_FOUND), "code %04x" % code)
    return code == R.WIRE_NOT_FOUND


@ONE.limit(R.LIMIT_COMPONENT)
def component_bytes(server, n):
    return code_of(server, b"d" * n) == R.WIRE_NOT_FOUND


@ONE.limit(R.LIMIT_PATH_DEPTH)
def path_depth(server, n):
    return code_of(server, b"/".join([b"d"] * n)) == R.WIRE_NOT_FOUND


@ONE.limit(64)
def ranges_of_a_request(server, n):
    with Raw(server.port) as raw:
        raw.answer(raw.open("good", c=12), "INFO")
        last = raw.answer(raw.get(ranges=[(i, 1) for i in range(n)]))[-1]
        return last.name == "DONE"


@ONE.limit(R.LIMIT_HANDLES_RECOMMENDED)
def open_handles(server, n):
    with Raw(server.port) as raw:
        asked = [raw.open("good", handle=1 + i, c=12) for i in range(n)]
        names = [raw.answer(request)[-1].name for request in asked]
        check(names[:-1] == ["INFO"] * (n - 1), "earlier ones")
        return names[-1] == "INFO"


@ONE.limit(R.LIMIT_PRE_HELLO - R.PREFACE_LEN)
def bytes_of_hello(server, n):
    """Header and payload; what follows the preface counts."""
    size = n - 16
    tlvs = [(R.TLV_MAX_CHUNK_LOG2, b"\x16")]
    while (rest := size - len(W.encode_tlvs(tlvs))) > 4:
        tlvs.append((0x7000 + len(tlvs), bytes(min(rest - 4, 1000))))
    data = W.encode_preface(R.ROLE_CLIENT) + W.encode("HELLO", tlvs=tlvs)
    data = data[:R.PREFACE_LEN] + data[R.PREFACE_LEN:]
    if len(data) != R.PREFACE_LEN + n:
        return exact_hello(server, n)
    return greeted(server, data)


def exact_hello(server, n):
    """Where the items above do not come out even: one of them is cut."""
    payload = b""
    kind = 0x7000
    left = n - 16
    while left > 0:
        size = min(left - 4, 1000)
        if 0 < left - 4 - size < 4:
            size -= 4
        payload += W.encode_tlv(kind, bytes(size))
        left -= 4 + size
        kind += 1
    return greeted(server, W.encode_preface(R.ROLE_CLIENT) +
                   frame(R.FRAME_HELLO, 0, payload))


def greeted(server, data):
    with Raw(server.port, greet=False) as raw:
        with contextlib.suppress(OSError):
            raw.send(data)
        try:
            while (message := raw.message()) is not None:
                if message.name == "HELLO":
                    # Its own greeting may come before it judges ours.
                    raw.ping()
                elif message.name == "PONG":
                    return True
                elif message.name in ("ERROR", "GOAWAY"):
                    return False
        except OSError:
            pass
        return False


@ONE.limit(R.LIMIT_CONTROL_PAYLOAD)
def bytes_of_a_frame(server, n):
    """Of a type that may be skipped."""
    with Raw(server.port) as raw:
        with contextlib.suppress(OSError):
            raw.send(frame(0x9F, 0, bytes(min(n, 65535)), length=n)
                     if n > 65535 else frame(0x9F, 0, bytes(n)))
            raw.ping()
        with contextlib.suppress(OSError):
            while (message := raw.message()) is not None:
                if message.name == "PONG":
                    return True
        return False


@ONE.limit(R.LIMIT_AGENT)
def bytes_of_agent(server, n):
    return greeted(server, hello(((R.TLV_AGENT, b"a" * n),)))


@ONE.limit(R.LIMIT_CHUNK_LOG2_MAX)
def chunk_log2(server, n):
    with Raw(server.port) as raw:
        return raw.answer(raw.open("good", c=n))[-1].name == "INFO"


@ONE.limit(R.LIMIT_BLOCK_LOG2)
def block_log2(server, n):
    with Raw(server.port) as raw:
        raw.answer(raw.open("good", c=12), "INFO")
        return raw.answer(raw.digest(block_log2=n))[-1].name != "ERROR"


@ONE.limit(R.LIMIT_URGENCY)
def urgency(server, n):
    with Raw(server.port) as raw:
        raw.answer(raw.open("good", c=12), "INFO")
        return raw.answer(raw.get(urgency=n))[-1].name == "DONE"


@ONE.limit(R.LIMIT_CURSOR)
def bytes_of_a_cursor(server, n):
    """One that is too long is against the rules; another is only unknown."""
    with Raw(server.port) as raw:
        request = raw.list(b"", cursor=b"c" * n)
        with contextlib.suppress(OSError):
            while (message := raw.message()) is not None:
                if message.header.request_id == request:
                    return message.name != "ERROR" or \
                        message.fields["code"] >> 8 != R.WIRE_CLASS_PROTOCOL
                if message.name == "ERROR":
                    return False
        return False


@ONE.limit(R.LIMIT_CANCEL_WINDOW // 2)
def cancelled_of_the_last(server, n):
    with Raw(server.port) as raw:
        raw.answer(raw.open("slow", c=22), "INFO")
        try:
            for _ in range(n):
                raw.cancel(raw.get())
            raw.ping()
            while (message := raw.message()) is not None:
                if message.name == "PONG":
                    return True
                if message.header.request_id == 0:
                    return False
        except OSError:
            pass
        return False


@ONE.limit(20)
def connections_of_an_address(server, n):
    held = [Raw(server.port) for _ in range(n - 1)]
    taken = is_refused(server) == 0
    for raw in held:
        abort(raw.sock)
    return taken


@ONE.limit(40)
def connections_in_all(server, n):
    held = [Raw(server.port, source="127.0.8.%d" % (1 + i % 10))
            for i in range(n - 1)]
    taken = is_refused(server, "127.0.8.100") == 0
    for raw in held:
        abort(raw.sock)
    return taken


@ONE.limit(8)
def strangers_of_an_address(server, n):
    """Who is looked at gets the server's preface after a moment."""
    held = [Raw(server.port, greet=False) for _ in range(n)]
    for raw in held[:-1]:
        raw.item()
    last = held[-1]
    last.sock.settimeout(2 if n > 8 else 20)
    try:
        taken = last.item() is not None
    except TimeoutError:
        taken = False
    for raw in held:
        abort(raw.sock)
    return taken


@case
def at_and_around(tmp):
    wrong = []
    with serve(tmp, "--max-per-address", "20", "--max-connections",
               "40") as server:
        with open(os.path.join(tmp, "root", "slow"), "wb") as out:
            out.truncate(64 << 20)
        for name, limit, probe in ONE.rows:
            for n in (limit - 1, limit, limit + 1):
                # Who was there before is gone.
                wait_until(lambda: quiet(server), "quiet server", 30, 0.05)
                if probe(server, n) != (n <= limit):
                    wrong.append("%s: %d of %d" % (name, n, limit))
            visit(server)
    check(not wrong, "\n".join(wrong))


def quiet(server):
    with open(server.log, "rb") as file:
        text = file.read()
    return text.count(b" info open ") == text.count(b" info close ")


if __name__ == "__main__":
    main()
