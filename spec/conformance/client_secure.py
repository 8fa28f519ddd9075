"""Cases against a client program: TLS, tokens, pipes and directories."""

import os
import socket
import ssl
import threading
import time

import belay_wire as wire
import secure

from cases import Unsupported
from client_cases import SIZE, SMALL, case
from partner import Partner, always, at_greeting, fake_ssh, noise, on, pin_of

R = wire.R


# -- TLS ----------------------------------------------------------------------

def tls_partner(hooks=lambda n: None, context=None, **options):
    return Partner(hooks, tls=context or secure.server_context(),
                   **dict(SMALL, **options))


def needs_tls(client):
    """Once for all cases: does a plain download over TLS work?"""
    with client.lock:
        if client.tls_verdict is None:
            client.tls_verdict = try_tls(client)
    if client.tls_verdict:
        raise Unsupported(client.tls_verdict)


def try_tls(client):
    with tls_partner() as p:
        data = p.put("f", noise(SIZE))
        status, words = client.run(p, timeout=20)
        if status == 0:
            client.check_result(p, data)
            return ""
        if not any(secure.extensions(h) for h in p.hellos if h):
            return "no TLS: " + words
        if not p.heard:
            return "the test certificate is not trusted, see {ca}: " + words
        raise AssertionError("fails over TLS: " + words)


@case("B1-S1b", "B1-S3", "B1-S5")
def over_tls(client):
    """TLS 1.3 with the ALPN id, resumed connections too, no early data"""
    needs_tls(client)

    def cut(n):
        return on("CHUNK", lambda s, *_: s.end(), 4 * n + 4) \
            if n < 3 else None
    with tls_partner(cut) as p:
        client.gets(p, p.put("f", noise(SIZE)))
        assert len(p.shaken) > 3, p.shaken
        assert set(p.shaken) == {("TLSv1.3", secure.ALPN)}, p.shaken
        for hello in p.hellos:
            assert secure.EXT_EARLY_DATA not in secure.extensions(hello), \
                "early data"


def never_over_tls(client, context, why):
    with tls_partner(context=context) as p:
        p.put("f", noise(10))
        client.never(p)
        assert p.hellos, "it did not connect"
        assert not p.heard and not p.violations, why


@case("B1-S1b")
def no_alpn(client):
    """a TLS server that selects no protocol gets no preface"""
    needs_tls(client)
    never_over_tls(client, secure.server_context(alpn=None),
                   "it spoke Belay without the ALPN id")


@case("B1-S3")
def old_tls(client):
    """a server that has only TLS 1.2"""
    needs_tls(client)
    context = secure.server_context(newest=ssl.TLSVersion.TLSv1_2)
    with tls_partner(context=context) as p:
        p.put("f", noise(10))
        client.never(p)
        assert p.hellos and not p.shaken, "TLS 1.2 was accepted"


@case("B1-S4", "U1-10")
def certificates(client):
    """a certificate of another name, or of nobody, ends it"""
    needs_tls(client)
    for chain in ("othername", "untrusted"):
        never_over_tls(client, secure.server_context(chain),
                       "it accepted the certificate " + chain)


@case("B1-S4", "B1-S7", "U1-1")
def no_fallback(client):
    """a server without TLS on the port of a belay:// URL"""
    needs_tls(client)
    with Partner(**SMALL) as p:
        p.put("f", noise(10))
        client.never(p, p.url().replace("belay+tcp", "belay"))
        assert not p.heard, "it went on without TLS"


@case("B1-V1e")
def rejected_on_tls(client):
    """a rejection behind the ALPN id is a failure, no reason to dial with
    another version"""
    needs_tls(client)

    def greeting(session):
        session.put(wire.encode_preface(R.ROLE_SERVER, 9,
                                        R.PREFACE_REJECTED))
        session.plain("ERROR", 0, {"code": R.WIRE_VERSION_REJECTED},
                      [(R.TLV_VERSIONS, b"\0\x09")])
        session.end()
    with tls_partner(always(at_greeting(greeting))) as p:
        p.put("f", noise(10))
        client.fails(p)
        assert not p.violations, p.violations


# -- tokens -------------------------------------------------------------------

@case("B1-A5", needs=["--token-args"])
def token_unwanted(client):
    """a server that wants no token: the client carries on"""
    needs_tls(client)
    with tls_partner() as p:
        client.gets(p, p.put("f", noise(SIZE)), token="conform-token")
        if not p.requests("AUTH"):
            raise Unsupported("AUTH is sent only where it is asked for")


@case("B1-A1", "B1-E1", needs=["--token-args"])
def token_wanted(client):
    """a server that asks for a token gets it, over TLS"""
    needs_tls(client)
    with tls_partner(token="conform-token") as p:
        client.gets(p, p.put("f", noise(SIZE)), token="conform-token")
    with tls_partner(token="conform-token") as p:
        p.put("f", noise(10))
        client.fails(p, token="another-token")


@case("B1-S2a", needs=["--token-args"])
def token_on_plain(client):
    """no token travels over plain TCP, whatever the server asks for"""
    for options in ({}, {"token": "conform-token"}):
        with Partner(**dict(SMALL, **options)) as p:
            p.put("f", noise(10))
            client.run(p, timeout=8, token="conform-token")
            assert all(m.tlv(R.TLV_TOKEN) is None
                       for m in p.requests("AUTH")), "a token was sent"


# -- pipes --------------------------------------------------------------------

SSH_URL = "belay+ssh://user@example.invalid/f"


@case("B1-W2", "B1-W4", "U1-8")
def over_ssh(client):
    """a download over a pipe that ssh gives; user and host are arguments
    of their own"""
    with Partner(speaks_first=True, **SMALL) as p:
        data = p.put("f", noise(SIZE))
        env, argv = fake_ssh(p)
        status, words = client.run(p, SSH_URL, env=env)
        if not os.path.exists(argv):
            raise Unsupported("no ssh: " + words)
        assert status == 0, "exit status %s: %s" % (status, words)
        client.check_result(p, data)
        with open(argv, encoding="ascii") as f:
            called = f.readline()
        assert "'user@example.invalid'" in called or (
            "'user'" in called and "'example.invalid'" in called), called


@case("B1-W3", "B1-W4", "B1-S11")
def talkative_shell(client):
    """what the remote shell printed is shown, escaped, and no part of it
    gets into the result"""
    with Partner(speaks_first=True, **SMALL) as p:
        data = p.put("f", noise(SIZE))
        env, argv = fake_ssh(p, b"Welcome to\x1b[31m example\r\n" + bytes(8))
        status, words = client.run(p, SSH_URL, timeout=10, env=env)
        if not os.path.exists(argv):
            raise Unsupported("no ssh: " + words)
        if status == 0:                 # it skipped the words: B1-W4
            client.check_result(p, data)
        else:
            assert not os.path.exists(p.out()), "a result was left"
        assert "\x1b" not in words, "control characters are shown"
        if "Welcome to" not in words:
            raise Unsupported("the words are not shown: " + words)


# -- directories --------------------------------------------------------------

def entry(name, kind=R.FILE_REGULAR, size=0):
    return {"name": name, "file_type": kind, "size": size, "mtime_s": 0,
            "mtime_ns": 0, "mode": 0o644}


@case("B1-N3a", "B1-N3b", "B1-Q4")
def hostile_names(client):
    """a listing with names that lead elsewhere: nothing is written there"""
    def act(session, name, ident, fields, tlvs):
        if name != "ENTRIES" or fields["entries"][0]["name"] != b"good":
            return False
        names = sorted((b"../outside", b"..", b"/tmp/belay-outside", b"a/b",
                        b"good", b"planted", b"x\0y"))
        session.plain("ENTRIES", ident, {"entries": [
            entry(n, size=10) for n in names]}, end=True)
        return True

    with Partner(always(act), **SMALL) as p:
        for name in ("d/good", "outside", "d/planted", "d/b"):
            os.makedirs(os.path.join(p.root, "d"), exist_ok=True)
            p.put(name, b"0123456789")
        outside = os.path.join(p.room, "elsewhere")
        os.makedirs(p.out())
        # A link that stands where the listing wants a file.
        os.symlink(outside, os.path.join(p.out(), "planted"))
        client.run(p, p.url("d"), timeout=15)
        if not p.requests("LIST"):
            raise Unsupported("no directories")
        assert not os.path.exists(outside), "written through a link"
        for bad in (os.path.join(p.room, "outside"),
                    os.path.join(os.path.dirname(p.out()), "outside"),
                    "/tmp/belay-outside", os.path.join(p.out(), "a")):
            assert not os.path.lexists(bad), bad + " was created"


# -- choices of a client ------------------------------------------------------

@case("B1-R11b")
def list_first(client):
    """with a pin the digest list is fetched before chunks are judged"""
    with Partner() as p:
        data = p.put("f", noise(SIZE))
        status, words = client.run(p, p.url(pin=pin_of(data)))
        if status != 0:
            raise Unsupported("no pins: " + words)
        names = [m.name for _, m in p.heard if m.name in ("DIGEST", "GET")]
        if names[0] != "DIGEST":
            raise Unsupported("the list does not come first: %s" % names)


@case("B1-R6b")
def shrinks_on_waste(client):
    """resets that waste nearly half of the bytes: smaller chunks"""
    def greeting(session):
        session.cut = 480000
    with Partner(always(at_greeting(greeting))) as p:
        client.gets(p, p.put("f", noise(3 << 20)), timeout=120)
        wanted = [m.fields["want_chunk_log2"] for m in p.requests("OPEN")]
        if all(c in (0, 18) for c in wanted):
            raise Unsupported("the grid stays: %s" % wanted)


@case("B1-R6d")
def many_chunks(client):
    """a file of 2^20 chunks is not refused"""
    seen = threading.Event()

    def act(session, name, ident, fields, tlvs):
        """After some chunks the client is asked whether it is still there."""
        if name != "CHUNK" or fields["offset"] & (1 << 20) - 1 != 12 << 12:
            return False
        session.plain("PING", 0, {"opaque": b"too big?"})
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline and not session.ended_by_client:
            if any(isinstance(m, wire.Message) and m.name == "PONG"
                   for m in list(session.queue.queue)):
                seen.set()
                break
            time.sleep(0.05)
        return False

    with Partner(always(act), **SMALL) as p:
        p.put("f", b"")
        os.truncate(os.path.join(p.root, "f"), 1 << 32)
        process = client.start(p)
        for _ in range(400):
            if seen.wait(0.05) or process.poll() is not None:
                break
        process.kill()
        words = process.communicate()[1].decode("utf-8", "replace")[-400:]
        if not seen.is_set() and "space" in words.lower():
            raise Unsupported("no space for 4 GiB here: " + words)
        assert seen.is_set(), "refused: " + words


@case("B1-T4", slow=True)
def dial_timer(client):
    """an address that does not answer is left after 10 s"""
    with Partner(**SMALL) as p:
        data = p.put("f", noise(10))
        p.listener.listen(0)
        # The queue of the listener is filled, so that SYNs are dropped.
        p.paused.clear()
        fill = [socket.socket() for _ in range(4)]
        for sock in fill:
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", p.port))
        time.sleep(0.5)
        process = client.start(p)
        time.sleep(12.5)
        for sock in fill:
            sock.close()
        start = time.monotonic()
        p.paused.set()
        try:
            process.communicate(timeout=client.timeout)
        finally:
            process.kill()
            process.communicate()
        took = time.monotonic() - start
        client.check_result(p, data)
        # The kernel would repeat the SYN of the first dial at 15 s.
        assert took < 2, "the first dial lasted on, %.1f s" % took
