"""Cases against a server: TLS, AUTH and the pipe."""

import shutil
import socket
import ssl
import subprocess
import tempfile
import time

import belay_wire as wire
import secure

from cases import Skipped, Unsupported
from probe import Ended, PATIENCE, Probe, Told, check_chunks, describe
from server_cases import case

R = wire.R
ON_TLS = ["a belay:// URL"]
HELLO = wire.encode_preface(R.ROLE_CLIENT) + wire.encode("HELLO")


# -- TLS ----------------------------------------------------------------------

def refused_handshake(target, context):
    """The alert with which the server ends the handshake, or its end."""
    with target.dial(PATIENCE) as sock:
        try:
            tls = context.wrap_socket(sock, server_hostname=target.address[0])
            tls.sendall(HELLO)
            answer = tls.recv(1)
        except ssl.SSLError as error:
            return str(error).lower()
        except OSError:
            return ""
        assert not answer, "the handshake was accepted"
        return ""


@case("B1-S1a", "B1-S9", needs=ON_TLS)
def alpn(target):
    """without the ALPN id the handshake ends with its alert"""
    for other in (None, "http/1.1", "belay/2"):
        reason = refused_handshake(target, secure.client_context(other))
        assert "no application protocol" in reason, "%s: ended by %r" % (
            other, reason)


@case("B1-S3", needs=ON_TLS)
def old_tls(target):
    """TLS 1.2 is refused"""
    context = secure.client_context(newest=ssl.TLSVersion.TLSv1_2)
    refused_handshake(target, context)


@case("B1-S5", needs=ON_TLS)
def early_data(target):
    """early data is not accepted, and no ticket invites it"""
    openssl = shutil.which("openssl")
    if not openssl:
        raise Skipped("needs the program openssl")
    where = "%s:%d" % target.address
    common = [openssl, "s_client", "-connect", where, "-tls1_3", "-alpn",
              secure.ALPN, "-ign_eof"]
    with tempfile.TemporaryDirectory() as room:
        ticket, early = room + "/ticket", room + "/early"
        with open(early, "wb") as f:
            f.write(HELLO)
        # The server answers the greeting, then ends what it does not know.
        words = HELLO + wire.encode("GOAWAY")
        subprocess.run(common + ["-sess_out", ticket], input=words,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                       timeout=PATIENCE)
        try:
            done = subprocess.run(
                common + ["-sess_in", ticket, "-early_data", early],
                input=wire.encode("GOAWAY"), stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, timeout=PATIENCE)
        except subprocess.TimeoutExpired as late:
            output = late.stdout or b""
        else:
            output = done.stdout
        assert b"Early data was accepted" not in output, \
            "early data was accepted"


@case("B1-W1", needs=ON_TLS)
def first_byte(target):
    """bytes that are neither TLS nor a preface are closed without a word"""
    for words in (b"GET / HTTP/1.0\r\n\r\n", b"\0\0\0\0", b"SSH-2.0-x\r\n"):
        with target.dial(PATIENCE) as sock:
            sock.sendall(words)
            try:
                answer = sock.recv(100)
            except ConnectionError:
                answer = b""
            assert not answer, "%r is answered by %r" % (words, answer)


@case("B1-W1", needs=ON_TLS)
def plain_on_tls(target):
    """a plain preface on the port of TLS: served, or closed at once"""
    with target.dial(PATIENCE) as sock:
        sock.sendall(HELLO)
        try:
            answer = sock.recv(100)
        except ConnectionError:
            answer = b""
    assert not answer or answer.startswith(R.PREFACE_MAGIC), \
        "answered by %r" % answer


# -- AUTH ---------------------------------------------------------------------

def bearer(target, p):
    """Goes on only where a token can be tried."""
    if R.AUTH_BEARER not in (p.hello.tlv(R.TLV_AUTH_METHODS) or b""):
        raise Unsupported("no bearer tokens")
    if not (target.tls or target.command):
        raise Unsupported("tokens do not travel over plain TCP")


def token_of(p, ident, token):
    p.say("AUTH", ident, {"method": R.AUTH_BEARER}, [(R.TLV_TOKEN, token)])


@case("B1-A3", "B1-S6")
def auth_attempts(target):
    """wrong tokens are AUTH_FAILED, and the third one ends the connection"""
    with Probe(target, auth=True) as p:
        bearer(target, p)
        p.say("AUTH", 1, {"method": R.AUTH_BEARER})
        p.refused(1, "BAD_REQUEST")
        last = 1 + R.LIMIT_AUTH_ATTEMPTS
        for ident in range(2, last + 1):
            token_of(p, ident, b"wrong token %d" % ident)
            try:
                p.refused(ident, "AUTH_FAILED")
            except Told as told:
                # The last one may be refused by the end of the connection.
                assert ident == last, str(told)
                assert told.code >> 8 == R.WIRE_CLASS_ACCESS, str(told)
        p.ended("AUTH_FAILED", "PROTOCOL_ERROR", "BUSY")


@case("B1-A1", "B1-A2", "B1-A4", needs=["--token"])
def auth_accepted(target):
    """the right token, with requests in the same write; a refusal later
    does not undo it"""
    token = target.token.encode()
    with Probe(target, auth=True) as p:
        bearer(target, p)
        p.open(1, 1, target.path)
        p.refused(1, "AUTH_REQUIRED")
        p.raw(wire.encode("AUTH", 2, {"method": R.AUTH_BEARER},
                          [(R.TLV_TOKEN, token)]) +
              wire.encode("OPEN", 3, {"handle": 1, "want_chunk_log2": 12,
                                      "path": target.path}))
        done = p.answer(2)[-1]
        assert done.name == "DONE" and done.fields == {
            "chunks": 0, "raw_bytes": 0}, describe(done)
        info = p.info(3)
        token_of(p, 4, b"another token")
        p.refused(4, "AUTH_FAILED")
        p.get(5, 1, [(0, 1)])
        check_chunks(p.answer(5), info, [(0, 1)], 1)


@case("B1-A1")
def auth_required(target):
    """without AUTH nothing but PING and CANCEL works"""
    with Probe(target, auth=True) as p:
        if p.hello.tlv(R.TLV_AUTH_METHODS) is None:
            raise Unsupported("no AUTH")
        p.open(1, 1, target.path).get(2, 1).digest(3, 1)
        p.say("LIST", 4, {"path": b""}).say("CLOSE", 5, {"handle": 1})
        for ident in range(1, 6):
            p.refused(ident, "AUTH_REQUIRED")
        p.say("CANCEL", 1)
        p.alive()


@case("B1-T3", slow=True)
def auth_timer(target):
    """without AUTH the connection ends 30 s after accept, PINGs or not"""
    start = time.monotonic()
    with Probe(target, auth=True) as p:
        if p.hello.tlv(R.TLV_AUTH_METHODS) is None:
            raise Unsupported("no AUTH")
        try:
            while time.monotonic() < start + 60:
                time.sleep(6)
                p.alive()
        except (Told, Ended):
            pass
    took = time.monotonic() - start
    assert 25 < took < 50, "ended after %.0f s" % took


# -- pipe ---------------------------------------------------------------------

@case("B1-W4", needs=["a command with a pipe"])
def pipe_speaks(target):
    """on a pipe the server's preface comes without the client's"""
    with Probe(target, greet=False) as p:
        item = p.element()
        assert isinstance(item, wire.Preface), describe(item)
        p.raw(HELLO)
        hello = p.message()
        assert hello.name == "HELLO", describe(hello)


@case("B1-W2", needs=["a command with a pipe"])
def clean_pipe(target):
    """standard output carries Belay bytes only, from the first to the last"""
    ours, process = target.connect(PATIENCE)
    with ours:
        ours.settimeout(PATIENCE)
        ours.sendall(HELLO + wire.encode("OPEN", 1, {
            "handle": 1, "path": b"no such file"}) + wire.encode("OPEN", 2, {
                "handle": 2, "path": target.path}) + wire.encode("GOAWAY"))
        reader, items = wire.StreamReader("server"), []
        try:
            while data := ours.recv(65536):
                items += reader.feed(data)
            ours.shutdown(socket.SHUT_RDWR)
        except wire.WireError as error:
            raise AssertionError("other bytes: " + error.why)
        except OSError:
            pass
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        raise AssertionError("the server does not end with its connection")
    finally:
        process.kill()
        process.wait()
    assert not reader.buffer, "%d bytes behind the last frame" % len(
        reader.buffer)
    names = [m.name for m in items if isinstance(m, wire.Message)]
    assert names[:3] == ["HELLO", "ERROR", "INFO"], names
