"""Cases against a server.  Each gets a Target and opens its own probes."""

import os
import struct
import time

import belay_id as identity
import belay_wire as wire

from cases import Skipped, Suite, Unsupported
from probe import (Ended, Late, PATIENCE, Probe, Told, check_chunks, cid_of,
                   describe, digests_of)

R = wire.R
TOP = wire.U64_MAX
suite = Suite()
case = suite.case


def frame(name, ident, payload, flags=0):
    return wire.encode_frame(wire.TYPES[name], ident, payload, flags)


def tlv16(kind, value):
    return kind, struct.pack(">H", value)


# -- preface and HELLO --------------------------------------------------------

@case("B1-V1c")
def version_rejected(target):
    """another version is answered by a rejecting preface and ERROR"""
    with Probe(target, greet=False) as p:
        p.raw(wire.encode_preface(R.ROLE_CLIENT, 0x7FFF))
        preface = p.element()
        assert isinstance(preface, wire.Preface) and preface.flags & 1, \
            "no rejection"
        assert preface.version != 0x7FFF
        error = p.message()
        assert describe(error) == "ERROR VERSION_REJECTED", describe(error)
        assert error.tlv(R.TLV_VERSIONS) is not None, "no TLV VERSIONS"
        p.ended("VERSION_REJECTED")


@case("B1-V2b")
def foreign_preface(target):
    """wrong magic, CRC or role: closed without a word"""
    good = wire.encode_preface(R.ROLE_CLIENT)
    for bad in (b"GET / HTTP/1.1\r\n\r\n", b"\0" * 16,
                good[:15] + bytes([good[15] ^ 1]),
                wire.encode_preface(R.ROLE_SERVER)):
        with Probe(target, greet=False) as p:
            p.raw(bad + wire.encode("HELLO"))
            try:
                item = p.element()
            except Ended:
                continue
            # A server may send its own preface first, and then nothing.
            assert isinstance(item, wire.Preface), "an answer to %r" % bad
            try:
                item = p.element()
            except Ended:
                continue
            raise AssertionError("%r is answered by %s" % (
                bad, describe(item) if isinstance(item, wire.Message)
                else item))


@case("B1-V2c")
def other_protocols(target):
    """bytes that begin no preface are closed before sixteen have come"""
    for bad in (b"SSH-2.0-x\r\n", b"HELO there\r\n", b"\x00\x00"):
        with Probe(target, greet=False) as p:
            p.raw(bad)
            try:
                while isinstance(p.element(3), wire.Preface):
                    pass
                raise AssertionError("%r is answered" % bad)
            except Ended:
                pass


@case("B1-H1b", "B1-M2")
def first_frame(target):
    """another first frame than HELLO, and a second HELLO, are BAD_STATE"""
    for first in (wire.encode("LIST", 1, {"path": b""}),
                  wire.encode("PING"), frame("CLOSE", 1, b"\0\0\0\1"),
                  wire.encode_frame(0x8A, 0)):
        with Probe(target, greet=False) as p:
            p.raw(wire.encode_preface(R.ROLE_CLIENT) + first)
            while True:
                try:
                    item = p.element()
                except Ended:
                    break
                if isinstance(item, wire.Message) and item.name == "ERROR":
                    assert item.fields["code"] >> 8 == 6, describe(item)
    with Probe(target) as p:
        p.say("HELLO")
        assert p.ended("BAD_STATE"), "closed without ERROR"


@case("B1-H3", "B1-H1a")
def hello_first(target):
    """the server's HELLO comes before any answer"""
    with Probe(target, greet=False) as p:
        p.raw(wire.encode_preface(R.ROLE_CLIENT) + wire.encode("HELLO") +
              wire.encode("OPEN", 1, {"handle": 1, "path": target.path}) +
              wire.encode("PING"))
        p.expect_hello()
        p.info(1)


@case("B1-H2a", "B1-H2b", "B1-L1")
def early_requests(target):
    """sixteen requests on sixteen handles before the server's HELLO"""
    extra = b"".join(wire.encode("OPEN", i, {"handle": i,
                                             "path": target.path})
                     for i in range(1, 17))
    with Probe(target, extra=extra) as p:
        for i in range(1, 17):
            p.info(i)


@case("B1-H4")
def hello_values(target):
    """a HELLO with a value out of range ends the connection"""
    for bad in ((R.TLV_MAX_CHUNK_LOG2, b"\x0b"),
                (R.TLV_MAX_CHUNK_LOG2, b"\x17"),
                (R.TLV_MAX_CHUNK_LOG2, b""), (R.TLV_CODECS, b""),
                tlv16(R.TLV_IDLE_TIMEOUT, 9), (R.TLV_AGENT, b"")):
        with Probe(target, greet=False) as p:
            p.raw(wire.encode_preface(R.ROLE_CLIENT) +
                  wire.encode("HELLO", tlvs=[bad]))
            try:
                p.expect_hello()
            except (Ended, AssertionError):
                continue
            p.ended("PROTOCOL_ERROR")


@case("B1-H6")
def long_hello(target):
    """preface and HELLO above 4096 bytes are FRAME_TOO_LARGE, just below
    they are not"""
    with Probe(target, hello=[(0x7001, bytes(4096 - 36))]):
        pass
    with Probe(target, greet=False) as p:
        p.raw(wire.encode_preface(R.ROLE_CLIENT) + wire.encode(
            "HELLO", tlvs=[(0x7001, bytes(4096 - 35))]))
        try:
            item = p.element()
            while not isinstance(item, wire.Message):
                item = p.element()
            assert describe(item) != "HELLO", "accepted"
        except Ended:
            pass


@case("B1-V1b")
def preface_waits(target):
    """a server waits a moment for the client's preface"""
    start = time.monotonic()
    with Probe(target, greet=False) as p:
        try:
            p.element(0.15)
        except Late:
            return
        took = time.monotonic() - start
        # On a busy machine it may be this program that came late.
        assert took > R.TIMER_PREFACE_WAIT_MS / 1000, \
            "the server spoke first, after %.0f ms" % (took * 1000)


# -- frames -------------------------------------------------------------------

@case("B1-F1b", "B1-E4")
def wrong_crc(target):
    """a wrong CRC is CORRUPT_STREAM and ends the connection"""
    for data in (wire.encode("PING"), wire.encode_frame(0x9A, 0, b"grease")):
        with Probe(target) as p:
            p.raw(data[:12] + bytes([data[12] ^ 1]) + data[13:])
            assert p.ended("CORRUPT_STREAM"), "closed without ERROR"


@case("B1-F2b", "B1-S16")
def too_large(target):
    """a length over the limit is refused from the header alone"""
    for kind in (R.FRAME_GET, 0x9A, 0x3F):
        with Probe(target) as p:
            head = struct.pack(">IBBHI", 65536, kind, 0, 0, 1)
            p.raw(head + bytes(4))
            assert p.ended("FRAME_TOO_LARGE", "CORRUPT_STREAM"), \
                "closed without ERROR"
    with Probe(target) as p:
        p.raw(wire.encode_frame(0x9A, 0, bytes(65535)))
        p.alive()


@case("B1-F3a")
def order_of_checks(target):
    """length, CRC, type, fields, TLVs: the first failure decides"""
    with Probe(target) as p:
        data = wire.encode_frame(0x00, 0)
        p.raw(data[:12] + bytes([data[12] ^ 1]) + data[13:])
        p.ended("CORRUPT_STREAM")
    with Probe(target) as p:
        # A bad path, and a critical TLV behind it.
        p.open(1, 1, b"..", tlvs=[(0xFF01, b"")])
        p.refused(1, "BAD_PATH")
        p.alive()


@case("B1-F3b")
def malformed(target):
    """payloads that cannot be read end the connection"""
    whole = wire.encode_payload("OPEN", {"handle": 1, "path": target.path})
    get = wire.encode_payload("GET", {"handle": 1, "ranges": [(0, 1)]})
    for name, payload in (("OPEN", whole[:-1]), ("OPEN", whole[:5]),
                          ("OPEN", b""), ("GET", get[:-1]),
                          ("GET", get[:6] + b"\0\3" + get[8:]),
                          ("CLOSE", b"\0\0\0"), ("CANCEL", b"x"),
                          ("DIGEST", bytes(23)), ("LIST", b"\0\0\0\5a"),
                          ("OPEN", whole + b"\x7f\x01\x00\x09x"),
                          ("OPEN", whole + b"\x7f\x01\0\0\x7f\x01\0\0"),
                          ("OPEN", whole + b"\x7f\x02\0\0\x7f\x01\0\0"),
                          ("OPEN", whole + b"\x80\x22\0\1x")):
        with Probe(target) as p:
            p.raw(frame(name, 1, payload))
            told = p.ended("PROTOCOL_ERROR")
            assert told, "%s %s: closed without ERROR" % (name,
                                                          payload.hex())
    for payload in (bytes(7), bytes(9)):
        with Probe(target) as p:
            p.raw(frame("PING", 0, payload))
            p.ended("PROTOCOL_ERROR")


@case("B1-F3c", "B1-E6")
def refused_alone(target):
    """a refused request does not disturb the others"""
    with Probe(target) as p:
        p.opened(1, 1, target.path)
        p.get(2, 1, [(0, 0)])
        p.open(3, 2, b"a//b")
        p.get(4, 1, [(0, 1)])
        p.refused(2, "BAD_REQUEST")
        p.refused(3, "BAD_PATH")
        assert p.answer(4)[-1].name == "DONE"


@case("B1-F5a", "B1-X4a")
def grease(target):
    """ignorable frames of any id, and grease TLVs, are skipped"""
    odd = [(v, b"grease") for v in R.GREASE_TLV]
    with Probe(target, hello=odd + [(R.TLV_CODECS, b"\x0a\x7a"),
                                    (R.TLV_FEATURES, b"\x0a\x0a")]) as p:
        for value in R.GREASE_FRAME + (0x82, 0xBF, 0xF0, 0xFF):
            p.raw(wire.encode_frame(value, 0xDEADBEEF, b"grease", flags=1))
        p.opened(1, 1, target.path, tlvs=odd)
        assert p.fence() == [], "grease was answered"


@case("B1-F5b")
def unknown_request(target):
    """an unknown request gets UNSUPPORTED and uses up its id"""
    with Probe(target) as p:
        for ident, kind in ((1, 0x17), (2, 0x3F)):
            p.raw(wire.encode_frame(kind, ident, b"?"))
            p.refused(ident, "UNSUPPORTED")
        p.say("LIST", 2, {"path": b""})
        p.ended("PROTOCOL_ERROR")


@case("B1-F5d")
def wrong_direction(target):
    """answers from a client, and types that do not exist, end it"""
    for kind, ident in ((0x00, 0), (0x02, 0), (R.FRAME_INFO, 1),
                        (R.FRAME_DONE, 1), (R.FRAME_CHUNK, 1), (0x55, 1)):
        with Probe(target) as p:
            p.raw(wire.encode_frame(kind, ident, bytes(56)))
            assert p.ended("PROTOCOL_ERROR"), "0x%02x" % kind


@case("B1-F6b")
def request_ids(target):
    """ids that do not increase, 0 and 2^32 - 1 end the connection"""
    for ids in ((5, 5), (5, 4), (0,), (0xFFFFFFFF,)):
        with Probe(target) as p:
            for ident in ids:
                p.open(ident, ident or 1, target.path)
            assert p.ended("PROTOCOL_ERROR"), "ids %s" % (ids,)
    with Probe(target) as p:
        p.opened(7, 1, target.path)
        p.opened(0xFFFFFFFE, 2, target.path)


@case("B1-F6c")
def connection_ids(target):
    """HELLO, PING, PONG and GOAWAY have request id 0"""
    for name in ("PING", "GOAWAY"):
        with Probe(target) as p:
            p.raw(frame(name, 3, bytes(8)))
            assert p.ended("PROTOCOL_ERROR"), name


@case("B1-F7a")
def one_end(target):
    """every request gets exactly one END"""
    with Probe(target) as p:
        p.open(1, 1, target.path).get(2, 1, [(0, 1)]).digest(3, 1)
        p.open(4, 2, b"no such file").get(5, 2)
        p.say("CLOSE", 6, {"handle": 1}).get(7, 1)
        for ident in range(1, 8):
            p.answer(ident)
        assert p.fence() == [], "more than one END"


@case("B1-F7c", "B1-X2")
def reserved_bits(target):
    """reserved bits and fields mean nothing"""
    with Probe(target, greet=False) as p:
        p.raw(wire.encode_preface(R.ROLE_CLIENT, flags=0xFF) +
              wire.encode_frame(R.FRAME_HELLO, 0, b"", 0xFF, 0xFFFF))
        p.expect_hello()
        payload = wire.encode_payload("OPEN", {
            "handle": 1, "flags": 0xFE, "want_chunk_log2": 12,
            "path": target.path})
        p.raw(wire.encode_frame(R.FRAME_OPEN, 1, payload, 0xFF, 0xFFFF))
        info = p.info(1)
        payload = wire.encode_payload("GET", {
            "handle": 1, "flags": 0xFC, "ranges": [(0, 1)]})
        p.raw(wire.encode_frame(R.FRAME_GET, 2, payload, 0xFF, 0xFFFF))
        check_chunks(p.answer(2), info, [(0, 1)], 1)


# -- TLVs ---------------------------------------------------------------------

@case("B1-X1b", "B1-X1f")
def unknown_tlvs(target):
    """unknown TLVs, and those of other frames, are ignored"""
    with Probe(target) as p:
        p.opened(1, 1, target.path, tlvs=[
            (0x0001, b"ignored"), (0x7F01, bytes(300)),
            (R.TLV_VERSION, b""), (R.TLV_CURSOR, b"")])


@case("B1-X1c")
def critical_tlvs(target):
    """an unknown critical TLV in a request is UNSUPPORTED"""
    with Probe(target) as p:
        p.open(1, 1, target.path, tlvs=[(0xFF01, b"")])
        p.refused(1, "UNSUPPORTED")
        p.opened(2, 1, target.path)
        p.say("CLOSE", 3, {"handle": 1}, [(R.TLV_TOKEN, b"t")])
        p.refused(3, "UNSUPPORTED")
        p.alive()


@case("B1-X1e")
def critical_in_hello(target):
    """an unknown critical TLV in HELLO or GOAWAY ends the connection"""
    with Probe(target, greet=False) as p:
        p.raw(wire.encode_preface(R.ROLE_CLIENT) +
              wire.encode("HELLO", tlvs=[(0xFF01, b"")]))
        try:
            p.expect_hello()
        except (Ended, AssertionError):
            pass
        else:
            p.ended("PROTOCOL_ERROR")
    with Probe(target) as p:
        p.say("GOAWAY", 0, {}, [(0xFF01, b"")])
        p.ended("PROTOCOL_ERROR")


# -- connection ---------------------------------------------------------------

@case("B1-C1a", "B1-C1b", "B1-C4")
def ping(target):
    """PONG echoes the bytes, after refusals of earlier requests"""
    with Probe(target) as p:
        for i in range(6):
            assert p.fence(bytes([i]) * 8) == []
        p.open(1, 1, b"../x")
        names = [describe(m) for m in p.fence()]
        assert names == ["ERROR BAD_PATH"], names


@case("B1-C3", "B1-C4")
def pings_at_once(target):
    """PINGs sent without waiting get PONGs in order, or TOO_MANY_PINGS"""
    marks = [bytes([i]) * R.PING_LEN
             for i in range(R.LIMIT_PINGS_TOLERATED)]
    with Probe(target) as p:
        p.raw(b"".join(wire.encode("PING", 0, {"opaque": m}) for m in marks))
        for mark in marks:
            item = p.message()
            if item.name != "PONG":
                assert describe(item) == "ERROR TOO_MANY_PINGS" or \
                    item.name == "GOAWAY", describe(item)
                return
            assert item.fields["opaque"] == mark, "PONGs in another order"


@case("B1-C5")
def stray_pong(target):
    """a PONG that answers nothing is ignored"""
    with Probe(target) as p:
        p.say("PONG", 0, {"opaque": b"nothing!"})
        p.alive()


@case("B1-C9", "B1-C7")
def client_goaway(target):
    """after a client's GOAWAY the server finishes and closes"""
    with Probe(target) as p:
        p.open(1, 1, target.path).get(2, 1, [(0, 1)])
        p.say("GOAWAY", 0, {"last_id": 0})
        p.info(1)
        assert p.answer(2)[-1].name == "DONE"
        assert not p.ended("PROTOCOL_ERROR")


@case("B1-C9", "B1-M2")
def request_after_goaway(target):
    """a request after the client's GOAWAY is BAD_STATE"""
    with Probe(target) as p:
        p.raw(wire.encode("GOAWAY") +
              wire.encode("LIST", 1, {"path": b""}))
        p.ended("BAD_STATE")


# -- AUTH ---------------------------------------------------------------------

@case("B1-A1", "B1-A2", "B1-S2b")
def auth(target):
    """without AUTH_METHODS every AUTH is UNSUPPORTED; with them other
    requests wait for it, and a token on plain TCP is INSECURE"""
    with Probe(target, auth=True) as p:
        listed = p.hello.tlv(R.TLV_AUTH_METHODS)
        p.say("AUTH", 1, {"method": R.AUTH_BEARER},
              [(R.TLV_TOKEN, b"wrong token")])
        if listed is None:
            p.refused(1, "UNSUPPORTED" if target.tls or target.command
                      else "INSECURE")
            p.opened(2, 1, target.path)
            return
        p.refused(1, "INSECURE")         # or AUTH_FAILED, the same class
        p.open(2, 1, target.path)
        p.refused(2, "AUTH_REQUIRED")
        p.alive()


@case("B1-S6")
def unknown_method(target):
    """a method that is not listed is UNSUPPORTED and not counted"""
    with Probe(target, auth=True) as p:
        for ident in range(1, 6):
            p.say("AUTH", ident, {"method": 200})
            p.refused(ident, "UNSUPPORTED")
        p.alive()


# -- OPEN ---------------------------------------------------------------------

@case("B1-O1")
def handle_zero(target):
    """handle 0 and OPEN_NO_HANDLE belong together"""
    with Probe(target) as p:
        p.open(1, 0, target.path)
        p.refused(1, "BAD_REQUEST")
        p.open(2, 1, target.path, flags=R.OPEN_NO_HANDLE)
        p.refused(2, "BAD_REQUEST")
        info = p.opened(3, 0, target.path, flags=R.OPEN_NO_HANDLE)
        assert info.fields["handle"] == 0
        p.get(4, 1, [(0, 1)])
        p.refused(4, "BAD_HANDLE")


@case("B1-O2")
def handle_in_use(target):
    """a handle in use is refused, the first one goes on"""
    with Probe(target) as p:
        info = p.opened(1, 1, target.path)
        p.open(2, 1, target.path)
        p.refused(2, "BAD_HANDLE")
        p.get(3, 1, [(0, 1)])
        check_chunks(p.answer(3), info, [(0, 1)], 1)


@case("B1-O3")
def too_many_handles(target):
    """one handle more than MAX_HANDLES"""
    with Probe(target) as p:
        most = p.limit(R.TLV_MAX_HANDLES, R.LIMIT_HANDLES_DEFAULT)
        for i in range(1, most + 1):
            p.opened(i, i, target.path)
        p.open(most + 1, most + 1, target.path)
        p.refused(most + 1, "TOO_MANY_HANDLES")
        p.say("CLOSE", most + 2, {"handle": 1})
        p.answer(most + 2)
        p.opened(most + 3, 1, target.path)


@case("B1-O4", "B1-I3")
def every_grid(target):
    """every chunk_log2 from 12 to both maxima, and none beyond"""
    with Probe(target, hello=[(R.TLV_MAX_CHUNK_LOG2, b"\x16")]) as p:
        most = p.limit(R.TLV_MAX_CHUNK_LOG2, R.LIMIT_CHUNK_LOG2_DEFAULT)
        for c in range(12, most + 1):
            info = p.opened(c, c, target.path, want=c)
            assert info.fields["chunk_log2"] == c
        for ident, c in ((100, 11), (101, 23), (102, 255)):
            p.open(ident, ident, target.path, want=c)
            p.refused(ident, "UNSUPPORTED")
    with Probe(target, hello=[(R.TLV_MAX_CHUNK_LOG2, b"\x0d")]) as p:
        p.open(1, 1, target.path, want=14)
        p.refused(1, "UNSUPPORTED")
        info = p.opened(2, 2, target.path, want=0)
        assert info.fields["chunk_log2"] <= 13


@case("B1-I4")
def default_grid(target):
    """the server's choice is the default of the identity text"""
    with Probe(target, hello=[(R.TLV_MAX_CHUNK_LOG2, b"\x16")]) as p:
        info = p.opened(1, 1, target.path, want=0)
        most = p.limit(R.TLV_MAX_CHUNK_LOG2, R.LIMIT_CHUNK_LOG2_DEFAULT)
        c = min(most, identity.default_chunk_log2(info.fields["size"]))
        assert info.fields["chunk_log2"] == c, info.fields["chunk_log2"]


@case("B1-O5", "B1-O12")
def not_a_file(target):
    """a directory opens only for its INFO"""
    with Probe(target) as p:
        p.open(1, 1, b"")
        p.refused(1, "NOT_A_FILE")
        info = p.opened(2, 0, b"", flags=R.OPEN_NO_HANDLE)
        assert info.fields["file_type"] == R.FILE_DIRECTORY
        assert info.fields["size"] == info.fields["chunk_log2"] == 0


@case("B1-O6", "B1-O10")
def expectations(target):
    """EXPECT_VERSION and EXPECT_CID decide by the table of 10.1"""
    with Probe(target) as p:
        info = p.opened(1, 1, target.path)
        version = info.tlv(R.TLV_VERSION)
        p.get(2, 1)
        frames = p.answer(2)
        got = check_chunks(frames, info, [(0, TOP)], 1)
        cid = cid_of(info, [identity.sha256(got[i]) for i in sorted(got)])
        p.opened(3, 2, target.path, tlvs=[(R.TLV_EXPECT_VERSION, version)])
        p.open(4, 3, target.path, tlvs=[(R.TLV_EXPECT_VERSION, b"other")])
        error = p.refused(4, "CHANGED")
        assert error.tlv(R.TLV_VERSION) == version, "no VERSION"
        assert error.tlv_uint(R.TLV_SIZE, -1) == info.fields["size"]
        named = p.opened(5, 4, target.path, tlvs=[
            (R.TLV_EXPECT_VERSION, version),
            (R.TLV_EXPECT_CID, cid)]).tlv(R.TLV_CID)
        assert named in (None, cid), "INFO names another CID"
        p.open(6, 5, target.path, tlvs=[
            (R.TLV_EXPECT_VERSION, b"other"), (R.TLV_EXPECT_CID, cid)])
        if named is None:
            p.refused(6, "CHANGED")
        else:
            p.info(6)                   # a touched file is the same file
            p.open(7, 6, target.path, tlvs=[
                (R.TLV_EXPECT_VERSION, version),
                (R.TLV_EXPECT_CID, bytes(32))])
            p.refused(7, "CHANGED")


@case("B1-O7")
def failed_open(target):
    """requests behind a failed OPEN get BAD_HANDLE"""
    with Probe(target) as p:
        p.open(1, 1, b"no such file").get(2, 1).digest(3, 1)
        p.refused(1, "NOT_FOUND")
        p.refused(2, "BAD_HANDLE")
        p.refused(3, "BAD_HANDLE")
        p.opened(4, 1, target.path)


@case("B1-O8", "B1-O11", "B1-O13", "B1-O14")
def info_first(target):
    """INFO precedes other answers on its handle and is complete"""
    with Probe(target) as p:
        p.open(1, 1, target.path).get(2, 1, [(0, 1)])
        first = p.message()
        assert first.name == "INFO" and first.tlv(R.TLV_VERSION)
        assert first.fields["mode"] <= 0o777
        assert not (first.fields["info_flags"] & R.INFO_CID_PENDING and
                    first.tlv(R.TLV_CID)), "pending and present"


@case("B1-N1a")
def bad_paths(target):
    """paths that break N1 are BAD_PATH and never repaired"""
    with Probe(target) as p:
        paths = [b"/" + target.path, target.path + b"/", b"./" + target.path,
                 b"..", b"a/../" + target.path, b"a//b", b"a\0b", b"/",
                 b"c" * 256, b"/".join([b"p" * 200] * 21)]
        for ident, path in enumerate(paths, 1):
            p.open(ident, ident, path)
            p.refused(ident, "BAD_PATH")
        p.alive()


@case("B1-N1b", "B1-N1d")
def names_are_bytes(target):
    """case matters, and missing or forbidden paths are NOT_FOUND"""
    with Probe(target) as p:
        swapped = target.path.swapcase()
        if swapped != target.path:
            p.open(1, 1, swapped)
            p.refused(1, "NOT_FOUND")
        for ident, path in enumerate((b"\xff\xfe", b"a" * 255, b"%2e%2e"),
                                     2):
            p.open(ident, ident, path)
            p.refused(ident, "NOT_FOUND")


@case("B1-N1c", needs=["--root"])
def links_out(target):
    """symbolic links that leave the tree are not followed"""
    for name, goal in (("out-file", "/etc/passwd"), ("out-dir", "/etc"),
                       ("out-up", "../..")):
        link = target.full(name)
        if not os.path.islink(link):
            os.symlink(goal, link)
    with Probe(target) as p:
        for ident, path in enumerate(("out-file", "out-dir/passwd",
                                      "out-up/etc/passwd"), 1):
            p.open(ident, ident, target.wire(path))
            p.refused(ident, "NOT_FOUND", "NOT_A_FILE", "DENIED")


# -- GET ----------------------------------------------------------------------

@case("B1-G1a", "B1-G1b", "B1-G1d")
def bad_ranges(target):
    """ranges and urgencies that break G1 are BAD_REQUEST"""
    with Probe(target) as p:
        p.opened(1, 1, target.path)
        most = p.limit(R.TLV_MAX_RANGES, R.LIMIT_RANGES_DEFAULT)
        bad = [[], [(0, 0)], [(0, 2), (1, 1)], [(4096, 1), (0, 1)],
               [(0, TOP), (TOP, TOP)], [(TOP, 1)], [(1 << 63, 1 << 63)]]
        if most < 4000:
            bad.append([(i, 1) for i in range(most + 1)])
        for ident, ranges in enumerate(bad, 2):
            p.get(ident, 1, ranges)
            p.refused(ident, "BAD_REQUEST")
        p.get(50, 1, [(0, 1)], urgency=8)
        p.refused(50, "BAD_REQUEST")
        p.get(51, 1, [(i, 1) for i in range(64)])
        assert p.answer(51)[-1].name == "DONE"


@case("B1-G1c")
def closed_handle(target):
    """a handle that is not open is BAD_HANDLE"""
    with Probe(target) as p:
        p.get(1, 1).digest(2, 1).say("CLOSE", 3, {"handle": 1})
        for ident in (1, 2, 3):
            p.refused(ident, "BAD_HANDLE")


@case("B1-G2")
def beyond_the_end(target):
    """parts beyond the end are ignored, nothing left is DONE"""
    with Probe(target) as p:
        info = p.opened(1, 1, target.path)
        size = info.fields["size"]
        for ident, ranges in enumerate((
                [(size, TOP)], [(size, 1)], [(1 << 62, 5)],
                [(0, 1), (size + 4096, 1)], [(size - 1, 1000)]), 2):
            p.get(ident, 1, ranges)
            check_chunks(p.answer(ident), info, ranges, 1)


@case("B1-G3", "B1-F4", "ID1-C2", "ID1-C3")
def whole_chunks(target):
    """whole chunks, once, ascending, whatever the ranges cut"""
    with Probe(target) as p:
        info = p.opened(1, 1, target.path)
        for ident, ranges in enumerate((
                [(0, TOP)], [(4095, 2)], [(0, 10), (20, 10)], [(4096, 4096)],
                [(0, 4097), (8191, 2)], [(1, 1), (5000, TOP)]), 2):
            p.get(ident, 1, ranges)
            check_chunks(p.answer(ident), info, ranges, 1)


@case("B1-G4", needs=["--root"])
def content(target):
    """the bytes are the file's, at every ragged edge"""
    for size in (0, 1, 4095, 4096, 4097, 8191, 8192, 8193, 5 * 4096,
                 13 * 4096 + 1):
        data = identity.pattern(size)
        path = target.put("edge-%d" % size, data)
        with Probe(target) as p:
            info = p.opened(1, 1, path)
            p.get(2, 1)
            got = check_chunks(p.answer(2), info, [(0, TOP)], 1)
            assert b"".join(got[i] for i in sorted(got)) == data


@case("B1-G6", "B1-Z1d")
def no_compression(target):
    """codecs that were not announced, or not wanted, are not used"""
    with Probe(target) as p:
        info = p.opened(1, 1, target.path)
        p.get(2, 1)
        check_chunks(p.answer(2), info, [(0, TOP)], 1)
    with Probe(target, hello=[(R.TLV_CODECS, b"\0\1\2")]) as p:
        info = p.opened(1, 1, target.path)
        p.get(2, 1, flags=R.GET_NO_COMPRESSION)
        frames = p.answer(2)
        check_chunks(frames, info, [(0, TOP)], 1, (0, 2))


@case("B1-Z1a", "B1-Z1b", "B1-Z1c", "B1-Z2", "B1-Z3", needs=["--root"])
def codecs(target):
    """whatever codec the server picks decodes exactly"""
    data = bytes(8192) + b"text " * 3000 + identity.pattern(5000)
    path = target.put("codecs", data)
    with Probe(target, hello=[(R.TLV_CODECS, b"\0\1\2")]) as p:
        info = p.opened(1, 1, path)
        p.get(2, 1)
        frames = p.answer(2)
        got = check_chunks(frames, info, [(0, TOP)], 1, (0, 1, 2))
        assert b"".join(got[i] for i in sorted(got)) == data
        if not {f.fields["codec"] for f in frames[:-1]} - {0}:
            raise Unsupported("only raw chunks came")


@case("B1-G7", "B1-L2a")
def close_after(target):
    """CLOSE_AFTER and CLOSE take effect in order"""
    with Probe(target) as p:
        p.open(1, 1, target.path)
        p.get(2, 1, [(0, 1)]).get(3, 1, [(0, 1)], flags=R.GET_CLOSE_AFTER)
        p.get(4, 1, [(0, 1)])
        p.info(1)
        assert p.answer(2)[-1].name == "DONE"
        assert p.answer(3)[-1].name == "DONE"
        p.refused(4, "BAD_HANDLE")
        p.opened(5, 1, target.path)


@case("B1-G8", "B1-I5", "ID1-I1", needs=["--root"])
def cid_when_known(target):
    """after a full read of a strong version DONE and INFO name the CID"""
    data = identity.pattern(20000)
    path = target.put("cid", data, age=3)
    with Probe(target) as p:
        info = p.opened(1, 1, path)
        strong = info.fields["info_flags"] & R.INFO_VERSION_STRONG
        p.get(2, 1)
        done = p.answer(2)[-1]
        assert done.tlv(R.TLV_VERSION) == info.tlv(R.TLV_VERSION)
        if not strong:
            raise Unsupported("the version is never strong here")
        cid = identity.cid_of(data, 12)
        assert done.tlv(R.TLV_CID) == cid, "DONE has no CID, or another"
        again = p.opened(3, 2, path)
        assert again.tlv(R.TLV_CID) == cid, "INFO has no CID, or another"


@case("B1-I10", "B1-I11", needs=["--root"])
def fresh_is_weak(target):
    """a file that was changed just now has no strong version, and no CID
    is made from it"""
    path = target.put("fresh", identity.pattern(9000))
    with Probe(target) as p:
        info = p.opened(1, 1, path)
        if info.fields["info_flags"] & R.INFO_VERSION_STRONG:
            raise Unsupported("strong at once: there is a change counter")
        p.get(2, 1)
        assert p.answer(2)[-1].tlv(R.TLV_CID) is None, "a CID of a weak file"


@case("B1-G5a", "B1-G5b", "B1-I2", needs=["--root"])
def changed_during(target):
    """a change under an open handle ends it with CHANGED_DURING"""
    data = bytearray(identity.pattern(20000))
    path = target.put("during", bytes(data), age=3)
    full = target.full("during")
    with Probe(target) as p:
        p.opened(1, 1, path)
        with open(full, "r+b") as f:
            f.seek(9000)
            f.write(b"changed")
        p.get(2, 1).get(3, 1, [(0, 1)])
        p.refused(2, "CHANGED_DURING", before=["CHUNK"])
        p.refused(3, "CHANGED_DURING", "BAD_HANDLE")
        p.get(4, 1, [(0, 1)])
        p.refused(4, "BAD_HANDLE")


@case("B1-O6", "B1-I8", needs=["--root"])
def replaced_file(target):
    """a renamed-over file: open handles keep the old one, OPEN sees the
    new one"""
    old, new = identity.pattern(20000), identity.pattern(20000, 7)
    path = target.put("replaced", old, age=3)
    with Probe(target) as p:
        info = p.opened(1, 1, path)
        target.put("replaced", new)
        p.get(2, 1)
        frames = p.answer(2)
        # Rename changes the inode's ctime, so refusing is right, too.
        if frames[-1].name == "DONE":
            got = check_chunks(frames, info, [(0, TOP)], 1)
            assert b"".join(got[i] for i in sorted(got)) == old
        p.open(3, 2, path, tlvs=[(R.TLV_EXPECT_VERSION,
                                  info.tlv(R.TLV_VERSION))])
        p.refused(3, "CHANGED")


# -- DIGEST -------------------------------------------------------------------

@case("B1-D1", "B1-D2", "B1-D6", "B1-D7", "B1-D9", "ID1-T1")
def digest_lists(target):
    """lists begin and end where they were asked for"""
    with Probe(target) as p:
        info = p.opened(1, 1, target.path)
        n = identity.chunk_count(info.fields["size"], 12)
        p.get(2, 1)
        got = check_chunks(p.answer(2), info, [(0, TOP)], 1)
        truth = [identity.sha256(got[i]) for i in sorted(got)]
        for ident, (b, first, count, low, high) in enumerate((
                (32, 0, 1, 0, n), (0, 0, 0, 0, n), (0, 1, 1, 1, 2),
                (0, n - 1, 5, n - 1, n), (1, 1, 0, 2, n)), 3):
            p.digest(ident, 1, b, first, count)
            frames = p.answer(ident)
            assert digests_of(frames) == truth[low:high], (b, first, count)
            assert frames[0].fields["first_chunk"] == low
        for ident, (b, first, count) in enumerate((
                (0, n, 0), (32, 1, 1), (32, 1 << 63, 0),
                (0, (1 << 64) - 1, 0xFFFFFFFF)), 20):
            p.digest(ident, 1, b, first, count)
            assert p.answer(ident)[0].name == "DONE", (b, first, count)
        p.digest(30, 1, 33)
        p.refused(30, "BAD_REQUEST")


@case("B1-D8", "B1-D10", "ID1-P1", "ID1-P3")
def proofs(target):
    """each block's path leads to the root of the whole list"""
    with Probe(target) as p:
        info = p.opened(1, 1, target.path)
        size = info.fields["size"]
        n = identity.chunk_count(size, 12)
        p.digest(2, 1)
        leaves = identity.leaves_of(size, 12, digests_of(p.answer(2)))
        root = identity.mth(leaves)
        for ident, b in enumerate((0, 1, 2, 32), 3):
            m = identity.block_count(n, b)
            p.digest(ident, 1, b, 0, min(m, 40), flags=R.DIGEST_WITH_PROOF)
            frames = p.answer(ident)
            if describe(frames[-1]) == "ERROR UNSUPPORTED":
                raise Unsupported("no proofs")
            check_proofs(frames, leaves, root, b, m)


def check_proofs(frames, leaves, root, b, m):
    at = 0
    for f in frames:
        assert f.name == "DIGESTS", describe(f)
        first, count = f.fields["first_chunk"], f.fields["count"]
        block = first >> b
        assert first == at and (first + count - 1) >> b == block, \
            "a frame crosses a block's end"
        at = first + count
        border = min(len(leaves), (block + 1) << b)
        if at < border:
            assert not f.fields["proof"], "a proof before the block's end"
            continue
        value = identity.mth(leaves[block << b:border])
        assert identity.verify_block(root, block, m, value,
                                     f.fields["proof"]), "block %d" % block


def sparse(target, name, size):
    """A file of zeros that takes no room but long to hash."""
    path = target.put(name, b"")
    try:
        os.truncate(target.full(name), size)
    except OSError as error:
        raise Skipped("no sparse file of %d bytes: %s" % (size, error))
    return path


@case("B1-D3", "B1-D4", needs=["--root"], alone=True)
def no_wait(target):
    """DIGEST_NO_WAIT answers at once, all or nothing"""
    path = sparse(target, "no-wait", 1 << 40)
    with Probe(target, pending=True) as p:
        p.opened(1, 1, path, want=20)
        p.digest(2, 1, flags=R.DIGEST_NO_WAIT)
        p.refused(2, "DIGEST_PENDING")
        p.opened(3, 2, target.path)
        p.digest(4, 2, flags=R.DIGEST_NO_WAIT)
        frames = p.answer(4)
        if frames[-1].name == "ERROR":
            assert len(frames) == 1, "digests before DIGEST_PENDING"
            assert describe(frames[0]) == "ERROR DIGEST_PENDING", \
                describe(frames[0])


@case("B1-S13", needs=["--root"], alone=True)
def hash_budget(target):
    """many long DIGESTs: some are put off, and others still get served"""
    path = sparse(target, "budget", 1 << 40)
    with Probe(target) as p:
        count = min(12, p.limit(R.TLV_MAX_HANDLES, R.LIMIT_HANDLES_DEFAULT))
        for i in range(1, count + 1):
            p.opened(i, i, path, want=20)
        for i in range(1, count + 1):
            p.digest(count + i, i)
        with Probe(target) as other:
            info = other.opened(1, 1, target.path)
            other.get(2, 1)
            check_chunks(other.answer(2), info, [(0, TOP)], 1)
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline:
            try:
                item = p.element(max(0.1, deadline - time.monotonic()))
            except Late:
                break
            if isinstance(item, wire.Message) and item.name == "ERROR":
                assert describe(item) == "ERROR DIGEST_PENDING", \
                    describe(item)
                return
        raise Unsupported("%d DIGESTs of 1 TiB at once are accepted" % count)


@case("B1-D5", "B1-D12", needs=["--root"])
def digest_of_fresh(target):
    """a digest list of a file that was just written is that of its bytes"""
    data = identity.pattern(30000)
    path = target.put("digest-fresh", data)
    with Probe(target) as p:
        info = p.opened(1, 1, path)
        p.digest(2, 1)
        assert cid_of(info, digests_of(p.answer(2, PATIENCE + 5))) == \
            identity.cid_of(data, 12)


# -- LIST ---------------------------------------------------------------------

def listing(p, ident, path, tlvs=(), flags=0):
    """(entries, cursor) of one answer."""
    p.say("LIST", ident, {"path": path, "flags": flags}, tlvs)
    frames = p.answer(ident)
    if describe(frames[-1]) in ("ERROR UNSUPPORTED", "ERROR DENIED"):
        raise Unsupported("no LIST")
    assert all(f.name == "ENTRIES" for f in frames), describe(frames[-1])
    for f in frames[:-1]:
        assert f.tlv(R.TLV_CURSOR) is None, "CURSOR before the END frame"
    return [e for f in frames for e in f.fields["entries"]], \
        frames[-1].tlv(R.TLV_CURSOR)


@case("B1-Q1", "B1-Q3", "B1-Q6", "B1-Q7", "B1-Q8")
def list_pages(target):
    """pages of one entry are the whole list, ascending"""
    folder = target.path.rpartition(b"/")[0]
    with Probe(target) as p:
        whole, cursor, ident = [], None, 1
        while ident < 200 and (ident == 1 or cursor is not None):
            tlvs = [(R.TLV_MAX_ENTRIES, b"\0\0\0\1")]
            if cursor is not None:
                tlvs.append((R.TLV_CURSOR, cursor))
            entries, cursor = listing(p, ident, folder, tlvs)
            assert len(entries) <= 1 and (entries or cursor is None)
            whole += [e["name"] for e in entries]
            ident += 1
        assert whole == sorted(set(whole)), "not ascending"
        assert not {b".", b".."} & set(whole)
        assert target.path.rpartition(b"/")[2] in whole or ident == 200
        p.say("LIST", 300, {"path": folder}, [(R.TLV_MAX_ENTRIES, bytes(4))])
        p.refused(300, "BAD_REQUEST")


@case("B1-Q2")
def list_of_file(target):
    """LIST of a file is NOT_A_DIRECTORY"""
    with Probe(target) as p:
        listing(p, 1, target.path.rpartition(b"/")[0])
        p.say("LIST", 2, {"path": target.path})
        p.refused(2, "NOT_A_DIRECTORY")


@case("B1-Q4", needs=["--root"])
def list_types(target):
    """sizes and types of files, directories and links"""
    folder = target.full("types")
    os.makedirs(os.path.join(folder, "dir"), exist_ok=True)
    target.put("types/file", b"12345")
    if not os.path.islink(os.path.join(folder, "link")):
        os.symlink("../etc", os.path.join(folder, "link"))
    with Probe(target) as p:
        entries = {e["name"]: e for e in listing(p, 1, target.wire("types"))[0]}
        assert entries[b"file"]["size"] == 5
        assert entries[b"file"]["file_type"] == R.FILE_REGULAR
        assert entries[b"dir"]["file_type"] == R.FILE_DIRECTORY
        assert entries[b"dir"]["size"] == 0
        if b"link" in entries:
            assert entries[b"link"]["file_type"] == R.FILE_SYMLINK
            assert entries[b"link"]["size"] == 0


@case("B1-Q5", needs=["--root"])
def list_cids(target):
    """a CID in a listing is the one at the default chunk_log2"""
    data = identity.pattern(50000)
    path = target.put("cids/file", data, age=3)
    with Probe(target, hello=[(R.TLV_MAX_CHUNK_LOG2, b"\x16")]) as p:
        for ident, want in ((1, 12), (3, 0)):
            p.opened(ident, ident, path, want=want)
            p.get(ident + 1, ident)
            p.answer(ident + 1)
        entry = listing(p, 9, target.wire("cids"),
                        flags=R.LIST_WITH_CID)[0][0]
        cid = dict(entry["tlvs"]).get(R.TLV_CID)
        assert cid in (None, identity.cid_of(data, 18)), "another grid's CID"


@case("B1-Q9")
def foreign_cursor(target):
    """a cursor that cannot be placed is CHANGED, or just an order mark"""
    folder = target.path.rpartition(b"/")[0]
    with Probe(target) as p:
        listing(p, 1, folder)
        p.say("LIST", 2, {"path": folder}, [(R.TLV_CURSOR, b"\xff" * 64)])
        frames = p.answer(2)
        assert frames[-1].name == "ENTRIES" or \
            frames[-1].fields["code"] >> 8 in (1, 3), describe(frames[-1])
        p.alive()


# -- CLOSE, CANCEL, limits ----------------------------------------------------

@case("B1-K1")
def close(target):
    """CLOSE is answered after earlier requests on the handle"""
    with Probe(target) as p:
        p.open(1, 1, target.path).get(2, 1)
        p.say("CLOSE", 3, {"handle": 1})
        order = []
        while len(order) < 3:
            item = p.message()
            if item.end:
                order.append(item.header.request_id)
        assert order == [1, 2, 3], order
        p.say("CLOSE", 4, {"handle": 1})
        p.refused(4, "BAD_HANDLE")


@case("B1-K2", "B1-K4")
def cancel(target):
    """a cancelled request still gets one END"""
    with Probe(target) as p:
        info = p.opened(1, 1, target.path)
        p.get(2, 1)
        p.say("CANCEL", 2)
        frames = p.answer(2)
        assert describe(frames[-1]) in ("ERROR CANCELLED", "DONE")
        if frames[-1].name == "DONE":
            check_chunks(frames, info, [(0, TOP)], 1)
        assert p.fence() == [], "more after the END"
        p.get(3, 1, [(0, 1)])
        assert p.answer(3)[-1].name == "DONE"


@case("B1-K3")
def cancel_nothing(target):
    """CANCEL of finished, unknown and zero ids is ignored"""
    with Probe(target) as p:
        p.opened(1, 1, target.path)
        for ident in (1, 77, 0, 0xFFFFFFFF):
            p.raw(wire.encode_frame(R.FRAME_CANCEL, ident))
        assert p.fence() == [], "CANCEL was answered"
        p.opened(2, 2, target.path)


@case("B1-L2b", "B1-L5a")
def many_requests(target):
    """many GETs in one write are all answered"""
    with Probe(target) as p:
        info = p.opened(1, 1, target.path)
        count = min(60, p.limit(R.TLV_MAX_REQUESTS,
                                R.LIMIT_REQUESTS_DEFAULT))
        p.raw(b"".join(wire.encode("GET", i, {
            "handle": 1, "urgency": i % 8, "ranges": [(i * 100, 1)]})
            for i in range(2, count + 2)))
        for i in range(2, count + 2):
            check_chunks(p.answer(i), info, [(i * 100, 1)], 1)


@case("B1-L7", needs=["--root"])
def too_many_requests(target):
    """requests beyond MAX_REQUESTS get TOO_MANY_REQUESTS, no other harm"""
    path = target.put("large", identity.pattern(6 << 20))
    with Probe(target) as p:
        most = p.limit(R.TLV_MAX_REQUESTS, R.LIMIT_REQUESTS_DEFAULT)
        info = p.opened(1, 1, path)
        p.get(2, 1)
        p.raw(b"".join(wire.encode("GET", i, {
            "handle": 1, "urgency": 7, "ranges": [(0, 1)]})
            for i in range(3, most + 40)))
        refusals = 0
        for i in range(2, most + 40):
            frames = p.answer(i, 60)
            if frames[-1].name == "ERROR":
                assert frames[-1].fields["code"] >> 8 == 2, \
                    describe(frames[-1])
                refusals += 1
            elif i == 2:
                check_chunks(frames, info, [(0, TOP)], 1)
        assert refusals <= 40, "%d refusals, MAX_REQUESTS is %d" % (
            refusals, most)


@case("B1-L3a", needs=["--root"])
def urgency(target):
    """an urgent small GET does not wait for a large one"""
    path = target.put("urgent", identity.pattern(24 << 20))
    with Probe(target) as p:
        p.opened(1, 1, path)
        p.get(2, 1, urgency=7)
        p.get(3, 1, [(0, 1)], urgency=0)
        while True:
            item = p.message()
            if item.end:
                break
        if item.header.request_id != 3:
            raise Unsupported("answers come in the order of requests")


@case("B1-S12", needs=["--root"])
def cancel_flood(target):
    """a connection that mostly cancels is ended by GOAWAY, class transient"""
    path = target.put("flood", identity.pattern(1 << 20))
    with Probe(target) as p:
        p.opened(1, 1, path)
        try:
            for ident in range(2, 1000):
                p.get(ident, 1, urgency=7)
                p.say("CANCEL", ident)
                p.answer(ident)
        except Told as told:
            assert told.code >> 8 == R.WIRE_CLASS_TRANSIENT, str(told)
            return
        except Ended:
            return
        raise Unsupported("not ended within a thousand requests")


@case("B1-I1", needs=["--root"])
def racy_write(target):
    """a change within the racy window, size and mtime put back, is seen"""
    old, new = identity.pattern(30000), identity.pattern(30000, 1)
    path = target.put("racy", old)
    full = target.full("racy")
    before = os.stat(full)
    with Probe(target) as p:
        p.opened(1, 1, path)
        p.get(2, 1).digest(3, 1)
        p.answer(2)
        p.answer(3, PATIENCE + 5)
    with open(full, "r+b") as f:
        f.write(new)
    os.utime(full, ns=(before.st_atime_ns, before.st_mtime_ns))
    time.sleep(3)
    with Probe(target) as p:
        info = p.opened(1, 1, path)
        p.digest(2, 1)
        cid = cid_of(info, digests_of(p.answer(2, PATIENCE + 5)))
        assert cid == identity.cid_of(new, 12), "digests of other bytes"
        assert info.tlv(R.TLV_CID) in (None, cid), "an old CID"


# -- timers -------------------------------------------------------------------

@case("B1-T2", "B1-T1", slow=True)
def handshake_timer(target):
    """a trickled greeting is cut 10 s after accept"""
    data = wire.encode_preface(R.ROLE_CLIENT) + wire.encode(
        "HELLO", tlvs=[(0x7001, bytes(64))])
    start = time.monotonic()
    with Probe(target, greet=False) as p:
        try:
            for byte in data[:-1]:
                p.sock.sendall(bytes([byte]))
                time.sleep(0.3)
        except OSError:
            pass
        try:
            while True:
                p.element(30)
        except Ended:
            pass
    took = time.monotonic() - start
    assert 8 < took < 20, "cut after %.1f s" % took


@case("B1-T10", slow=True)
def idle_timer(target):
    """an idle connection ends with GOAWAY, not before the time announced"""
    with Probe(target) as p:
        limit = p.limit(R.TLV_IDLE_TIMEOUT, R.LIMIT_IDLE_DEFAULT_S)
        start = time.monotonic()
        item = p.message(limit + 30)
        assert item.name == "GOAWAY", describe(item)
        assert time.monotonic() - start > limit - 2, "too early"
        assert item.fields["code"] == 0


@case("B1-T8", "B1-D11", needs=["--root"], slow=True, alone=True)
def progress(target):
    """a server that hashes for long is never silent for longer than 10 s"""
    path = sparse(target, "progress", 1 << 42)
    with Probe(target, hello=[(R.TLV_MAX_CHUNK_LOG2, b"\x16")]) as p:
        p.opened(1, 1, path, want=22)
        p.digest(2, 1)
        start, last = time.monotonic(), None
        while time.monotonic() < start + 35:
            try:
                last = p.element(13)
            except Late:
                raise AssertionError("silent for 13 s")
            if isinstance(last, wire.Message) and last.end:
                break
        p.say("CANCEL", 2)


@case("B1-L6", "B1-T9", needs=["--root"], slow=True)
def slow_reader(target):
    """a client that pauses for 60 s gets its file"""
    path = target.put("slow", identity.pattern(8 << 20))
    with Probe(target) as p:
        info = p.opened(1, 1, path)
        p.get(2, 1)
        time.sleep(60)
        check_chunks(p.answer(2), info, [(0, TOP)], 1)
