"""Cases against a client program.  Each builds a Partner and runs the
program; what counts is the exit status and the bytes it leaves."""

import os
import struct
import time

import belay_id as identity
import belay_wire as wire

from cases import Suite, Unsupported
from partner import (Partner, always, at_greeting, changed, first, noise, on,
                     pin_of)

R = wire.R
suite = Suite()
case = suite.case

# Files are sent at c = 12, so that few bytes make many chunks.
SIZE = 60000
SMALL = {"max_c": 12}


def heals(client, hook, data=None, connections=1, **options):
    """The first connections misbehave; the result is right in the end."""
    with Partner(first(hook, connections), **dict(SMALL, **options)) as p:
        data = p.put("f", noise(SIZE) if data is None else data)
        client.gets(p, data)
        assert p.connections > connections, \
            "the fault was accepted: only %d connections" % p.connections


def refetches(client, hook):
    """Chunk data that does not fit is asked for again, on this connection
    or on another."""
    with Partner(first(hook), **SMALL) as p:
        client.gets(p, p.put("f", noise(SIZE)))
        asked = sum(min(r[0] + r[1], SIZE) - r[0]
                    for m in p.requests("GET") for r in m.fields["ranges"]
                    if r[0] < SIZE)
        assert p.connections > 1 or asked > SIZE, "the fault was accepted"


def survives(client, hook, **options):
    """As heals, but giving up is right as well: a client need not repeat
    what a server does against the rules."""
    with Partner(first(hook), **dict(SMALL, **options)) as p:
        data = p.put("f", noise(SIZE))
        status, words = client.run(p)
        if status != 0:
            assert not os.path.exists(p.out()), "a result was left"
            assert status is not None, "it hangs: " + words
            return
        client.check_result(p, data)
        assert p.connections > 1 or len(p.requests("OPEN")) > 1, \
            "the fault was accepted"


# -- plain downloads ----------------------------------------------------------

@case("B1-V1a", "B1-F6a", "B1-R5a", "B1-G4i")
def fresh(client):
    """a plain download, at every ragged edge of the grid"""
    for size in (0, 1, 4095, 4096, 4097, 8191, 8192, 8193, 5 * 4096, 20000,
                 13 * 4096 + 1):
        with Partner(**SMALL) as p:
            client.gets(p, p.put("f", noise(size)))


@case("B1-I4")
def default_grid(client):
    """the server's choice of c is accepted"""
    with Partner() as p:
        client.gets(p, p.put("f", noise(700000)))


@case("B1-G2")
def again(client):
    """a complete file, asked for again, is success"""
    with Partner(**SMALL) as p:
        data = p.put("f", noise(SIZE))
        client.gets(p, data)
        client.run(p)
        client.check_result(p, data)


@case("B1-C10")
def keeps_open(client):
    """the client's direction stays open while answers are due"""
    closed = []

    def act(session, ident, fields, tlvs):
        session.plain("CHUNK", ident, fields)
        time.sleep(0.5)
        closed.append(session.ended_by_client)

    with Partner(always(on("CHUNK", act, 3)), **SMALL) as p:
        client.gets(p, p.put("f", noise(SIZE)))
        assert not any(closed), "half-closed with a GET outstanding"


# -- cuts ---------------------------------------------------------------------

@case("B1-C2", "B1-S8")
def cuts(client):
    """resets at many places; what is verified does not travel again"""
    for start in (5, 60, 200, 5000, 9000):
        sent = []

        def hook_of(n):
            def greeting(session):
                session.cut = start + 4200 * n
                sent.append(session)
            return at_greeting(greeting)
        with Partner(hook_of, **SMALL) as p:
            client.gets(p, p.put("f", noise(SIZE)))
            total = sum(s.sent for s in sent)
            assert total < SIZE + len(sent) * 6500 + 30000, \
                "%d bytes in %d connections" % (total, len(sent))


@case("B1-C2", "B1-R5a", "B1-R5e")
def end_before_done(client):
    """end of stream after the last chunk is not success by itself"""
    heals(client, on("DONE", lambda s, *_: s.end()))


@case("B1-F4", "B1-C2")
def end_in_chunk(client):
    """end of stream inside a chunk"""
    def act(session, ident, fields, tlvs):
        session.put(wire.encode("CHUNK", ident, fields)[:2000])
        session.end()
    heals(client, on("CHUNK", act, 3))


@case("B1-R1", "B1-R2", "B1-C2")
def killed_and_resumed(client):
    """a killed client resumes: expectations in OPEN, only missing chunks"""
    waiting = []

    def act(session, ident, fields, tlvs):
        waiting.append(session)
        time.sleep(30)

    plan = {0: on("CHUNK", lambda s, *_: s.end(), 8), 1: on("CHUNK", act, 11)}
    with Partner(plan.get, **SMALL) as p:
        data = p.put("f", noise(SIZE))
        process = client.start(p)
        deadline = time.monotonic() + client.timeout
        while not waiting and time.monotonic() < deadline:
            time.sleep(0.05)
        # Time to put what has come on the disk.
        time.sleep(2)
        process.kill()
        process.communicate()
        assert not os.path.exists(p.out()), "a result while it was running"
        before = len(p.heard)
        client.gets(p, data)
        opens = [m for _, m in p.heard[before:] if m.name == "OPEN"]
        gets = [m for _, m in p.heard[before:] if m.name == "GET"]
        if any(r[0] == 0 for m in gets for r in m.fields["ranges"]):
            raise Unsupported("nothing survived the kill")
        assert opens[0].tlv(R.TLV_EXPECT_VERSION) is not None or \
            opens[0].tlv(R.TLV_EXPECT_CID) is not None, "no expectation"
        assert opens[0].fields["want_chunk_log2"] == 12, "another grid"


@case("B1-R6a", "B1-R6c")
def shrinks(client):
    """a link that never carries a whole chunk: smaller ones are asked for"""
    def greeting(session):
        session.cut = 12000
    with Partner(always(at_greeting(greeting)), max_c=14) as p:
        client.gets(p, p.put("f", noise(40000)),
                    timeout=max(120, client.timeout))


@case("B1-T12")
def backs_off(client):
    """a server that closes at once is not hammered"""
    def greeting(session):
        session.reset()
    with Partner(always(at_greeting(greeting))) as p:
        p.put("f", noise(10))
        client.never(p)
        assert p.connections <= 25, "%d connections in 5 s" % p.connections


# -- damaged and lying chunks -------------------------------------------------

def flipped(at, once=True):
    """One bit of the whole frame of chunk 2 is inverted."""
    def act(session, ident, fields, tlvs):
        data = wire.encode("CHUNK", ident, fields)
        place = at if at >= 0 else len(data) + at
        session.put(data[:place] + bytes([data[place] ^ 1]) +
                    data[place + 1:])
        session.flips = getattr(session, "flips", 0) + 1
        session.partner.flips = max(session.flips,
                                    getattr(session.partner, "flips", 0))
    return on("CHUNK", act, 2, once)


@case("B1-G4g", "B1-R9")
def flipped_data(client):
    """a flipped bit in a chunk's data"""
    for at in (72, -1):
        refetches(client, flipped(at))


@case("B1-F1b", "B1-E4")
def flipped_header(client):
    """a flipped bit in the header or the fixed fields of a chunk"""
    for at in (4, 5, 11, 15, 22, 27, 40):
        heals(client, flipped(at))


@case("B1-R9")
def always_damaged(client):
    """a chunk that is damaged each time is never part of a success"""
    with Partner(always(flipped(100, once=False)), **SMALL) as p:
        p.put("f", noise(SIZE))
        client.never(p, timeout=10)
        assert 0 < p.flips <= 2, \
            "it was borne %d times on one connection" % p.flips


@case("B1-F2b", "B1-S16")
def huge_length(client):
    """a CHUNK of 4 GiB is refused from its header"""
    def act(session, ident, fields, tlvs):
        head = struct.pack(">IBBHI", 0xFFFFFFFF, R.FRAME_CHUNK, 0, 0, ident)
        session.put(head + bytes(4) + bytes(5000))
        time.sleep(5)
    heals(client, on("CHUNK", act, 1))


@case("B1-G4b")
def other_handle(client):
    """a chunk for another handle"""
    heals(client, changed("CHUNK", 1, handle=0x7777))


@case("B1-G4c")
def other_place(client):
    """off the grid, beyond the end, a second time"""
    heals(client, changed("CHUNK", 1, offset=4097))
    heals(client, changed("CHUNK", 1, offset=1 << 40))

    def twice(session, ident, fields, tlvs):
        session.plain("CHUNK", ident, fields)
        session.plain("CHUNK", ident, fields)
    heals(client, on("CHUNK", twice, 1))


@case("B1-G4d")
def other_length(client):
    """a chunk that is shorter, longer or empty, with fitting digest"""
    for n in (0, 4095, 4097):
        def act(session, ident, fields, tlvs, n=n):
            raw = (fields["data"] + b"x")[:n]
            session.plain("CHUNK", ident, dict(
                fields, data=raw, raw_len=n, digest=identity.sha256(raw)))
        heals(client, on("CHUNK", act, 1))


@case("B1-G4e", "B1-Z1a")
def stored_lies(client):
    """a raw chunk whose stored bytes are not as many as its raw length"""
    def act(session, ident, fields, tlvs):
        session.plain("CHUNK", ident, dict(fields, data=fields["data"][1:]))
    heals(client, on("CHUNK", act, 1))


@case("B1-G4e", "B1-G4f", "B1-Z1d", "B1-Z3")
def bad_codec(client):
    """codecs that do not exist, and a zlib stream that is none"""
    for codec in (3, 0x0A, 200, R.CODEC_ZLIB):
        def act(session, ident, fields, tlvs, codec=codec):
            session.plain("CHUNK", ident, dict(fields, codec=codec,
                                               data=b"x" * 100))
        heals(client, on("CHUNK", act, 1))


@case("B1-Z1c", "B1-G4g")
def false_zeros(client):
    """zero-fill for a chunk that is not zero"""
    refetches(client, changed("CHUNK", 1, codec=R.CODEC_ZERO, data=b""))


@case("B1-Z2", "B1-Z1b", "B1-Z1c")
def compressed(client):
    """zlib and zero-fill chunks, if the client announces them"""
    with Partner(zlib=True, **SMALL) as p:
        data = p.put("f", b"text " * 5000 + bytes(20000) + noise(5000))
        client.gets(p, data)
        if p.codecs <= {R.CODEC_RAW}:
            raise Unsupported("raw only")


@case("B1-R5b", "B1-R5d")
def exchanged(client):
    """two chunks in each other's place, digests and lengths right: the CID
    tells"""
    held = {}

    def hook(session, name, ident, fields, tlvs):
        if name != "CHUNK" or fields["offset"] >> 12 not in (1, 2):
            return False
        held[fields["offset"]] = fields
        if len(held) == 2:
            one, two = held[4096], held[8192]
            session.plain("CHUNK", ident, dict(two, offset=4096))
            session.plain("CHUNK", ident, dict(one, offset=8192))
            held.clear()
        return True

    with Partner(first(hook), **SMALL) as p:
        data = p.put("f", noise(SIZE))
        status, words = client.run(p)
        if status == 0:
            client.check_result(p, data)


# -- answers ------------------------------------------------------------------

@case("B1-F6d", "B1-G4a")
def other_request(client):
    """answers to requests that do not exist, or of the wrong type"""
    def other_id(session, ident, fields, tlvs):
        session.plain("CHUNK", ident + 1000, fields)

    def other_type(session, ident, fields, tlvs):
        session.plain("DIGESTS", ident, {"digests": [bytes(32)]}, end=True)
    heals(client, on("CHUNK", other_id, 1))
    heals(client, on("CHUNK", other_type, 1))


@case("B1-F7b")
def wrong_end(client):
    """CHUNK with END, DONE without"""
    def with_end(session, ident, fields, tlvs):
        session.put(wire.encode("CHUNK", ident, fields, end=True))

    def without_end(session, ident, fields, tlvs):
        session.put(wire.encode_frame(R.FRAME_DONE, ident,
                                      wire.encode_payload("DONE", fields,
                                                          tlvs)))
    heals(client, on("CHUNK", with_end, 2))
    heals(client, on("DONE", without_end))


@case("B1-G9")
def done_lies(client):
    """DONE before all chunks, or with other counts"""
    def early(session, ident, fields, tlvs):
        session.plain("DONE", ident, {"chunks": 1, "raw_bytes": 4096})
        session.end()
    heals(client, on("CHUNK", early, 1))
    heals(client, changed("DONE", chunks=3))


@case("B1-N2a", "B1-O14", "B1-O11", "B1-I3")
def bad_info(client):
    """INFO with another handle, grid, size or without VERSION"""
    for values in ({"handle": 0x7777}, {"chunk_log2": 23},
                   {"chunk_log2": 11}, {"size": 1 << 63}):
        survives(client, changed("INFO", **values))
    survives(client, on("INFO", lambda s, ident, fields, tlvs: s.plain(
        "INFO", ident, fields, [])))


@case("B1-S10")
def enormous(client):
    """a size of 2^50 does not fill the disk"""
    def act(session, ident, fields, tlvs):
        session.plain("INFO", ident, dict(fields, size=1 << 50), tlvs)
        session.end()
    with Partner(always(on("INFO", act))) as p:
        p.put("f", noise(SIZE))
        client.never(p)
        folder = os.path.dirname(p.out())
        used = sum(os.lstat(os.path.join(folder, name)).st_blocks * 512
                   for name in os.listdir(folder))
        assert used < 64 << 20, "%d bytes on the disk" % used


@case("B1-F5a", "B1-X1b", "B1-X4a", "B1-X6", "B1-S11")
def grease(client):
    """ignorable frames, unknown TLVs, notices full of control characters"""
    def hook(session, name, ident, fields, tlvs):
        session.put(wire.encode_frame(0xBA, ident, b"grease", flags=1))
        session.put(wire.encode_frame(0xF5, 0xFFFFFFFF, b"private"))
        if session.sent > 200:
            session.plain("NOTICE", 0, {"text": b"\x1b[2J\xff\0 hi"})
        if name in ("INFO", "DONE", "HELLO"):
            tlvs = list(tlvs) + [(0x7A7A, b"grease"), (0x0000, b"")]
        session.plain(name, ident, fields, tlvs,
                      end=name in wire.END_ALWAYS or name == "DIGESTS")
        return True

    def quiet_start(session, name, ident, fields, tlvs):
        return name != "HELLO" and hook(session, name, ident, fields, tlvs)
    with Partner(always(quiet_start), **SMALL) as p:
        client.gets(p, p.put("f", noise(SIZE)))


@case("B1-S18")
def much_grease(client):
    """nearly as many skipped frames in a row as a client has to bear"""
    def act(session, ident, fields, tlvs):
        data = wire.encode_frame(0x9A, 5, b"grease")
        session.put(data * (R.LIMIT_IDLE_FRAMES - 10))
        session.plain("CHUNK", ident, fields)
    with Partner(first(on("CHUNK", act, 2)), **SMALL) as p:
        client.gets(p, p.put("f", noise(SIZE)))
        assert p.connections == 1 or len(p.requests("OPEN")) >= 1


@case("B1-X2", "B1-F7c")
def reserved_bits(client):
    """reserved bits and fields of every frame mean nothing"""
    def hook(session, name, ident, fields, tlvs):
        if name == "INFO":
            fields["info_flags"] |= 0xFFFC
        payload = wire.encode_payload(name, fields, tlvs)
        if name == "CHUNK":
            payload = payload[:21] + b"\xff\xff\xff" + payload[24:]
        end = name in wire.END_ALWAYS or name == "DIGESTS"
        session.put(wire.encode_frame(wire.TYPES[name], ident, payload,
                                      0xFE | end, 0xFFFF))
        return True
    with Partner(always(hook), **SMALL) as p:
        client.gets(p, p.put("f", noise(SIZE)))


@case("B1-X1d", "B1-X1e")
def critical_tlvs(client):
    """an unknown critical TLV in INFO or HELLO is not ignored"""
    for name in ("INFO", "HELLO"):
        survives(client, on(name, lambda s, ident, fields, tlvs, name=name:
                            s.plain(name, ident, fields,
                                    list(tlvs) + [(0xFF01, b"")])))


@case("B1-F3b", "B1-X1a")
def bad_tlvs(client):
    """TLVs of a wrong length, twice, in disorder or cut off, in INFO and
    DONE, end the connection"""
    good = [(R.TLV_VERSION, b"v"), (R.TLV_CID, bytes(32))]
    for bad in ([(R.TLV_VERSION, bytes(33))], [(R.TLV_VERSION, b"")],
                [good[0], (R.TLV_CID, bytes(31))], good[::-1],
                [good[0], good[0]], [good[0], (0x7F01, None)]):
        def act(session, ident, fields, tlvs, bad=bad):
            tail = b"".join(
                struct.pack(">HH", kind, 9 if value is None else len(value)) +
                (value or b"") for kind, value in bad)
            name = "INFO" if "chunk_log2" in fields else "DONE"
            session.put(wire.encode_frame(
                wire.TYPES[name], ident,
                wire.encode_payload(name, fields) + tail, 1))
        survives(client, on("INFO", act))
        survives(client, on("DONE", act))


@case("B1-F5c")
def unknown_answer(client):
    """an unknown answer type fails its request, not the download"""
    def act(session, ident, fields, tlvs):
        session.put(wire.encode_frame(0x55, ident, b"?"))
        deadline = time.monotonic() + 5
        while ident not in session.cancelled and \
                time.monotonic() < deadline:
            time.sleep(0.05)
        session.error(ident, "CANCELLED")
        session.end()
    survives(client, on("CHUNK", act, 2))


@case("B1-C1a")
def ping(client):
    """PING of the server is answered with the same bytes"""
    def act(session, ident, fields, tlvs):
        session.plain("PING", 0, {"opaque": b"conform!"})
        session.plain("CHUNK", ident, fields)

    def slow_done(session, name, ident, fields, tlvs):
        if name == "DONE":
            time.sleep(0.5)
        return hook(session, name, ident, fields, tlvs)
    hook = on("CHUNK", act, 1)
    with Partner(always(slow_done), **SMALL) as p:
        client.gets(p, p.put("f", noise(SIZE)))
        time.sleep(0.2)
        pongs = [m for _, m in p.heard if m.name == "PONG"]
        assert pongs and pongs[0].fields["opaque"] == b"conform!", "no PONG"


# -- errors and the end of connections ----------------------------------------

def refuse_once(code, tlvs=()):
    return on("INFO", lambda s, ident, *_: s.plain(
        "ERROR", ident, {"code": code}, tlvs))


@case("B1-E1", "B1-T13")
def transient(client):
    """a transient error is repeated, not before RETRY_AFTER_MS"""
    refused = []

    def act(session, ident, fields, tlvs):
        refused.append(time.monotonic())
        session.plain("ERROR", ident, {"code": 0x02FE}, [
            (R.TLV_RETRY_AFTER_MS, struct.pack(">I", 1500))])
    with Partner(first(on("INFO", act)), **SMALL) as p:
        data = p.put("f", noise(SIZE))
        client.gets(p, data)
        assert len(p.requests("OPEN")) > 1, "OPEN was not repeated"
        assert time.monotonic() - refused[0] > 1.4, "repeated too early"


@case("B1-E1")
def server_class(client):
    """an unknown code of class server is repeated on a new connection"""
    heals(client, refuse_once(0x05FE))


@case("B1-E1", "B1-E2")
def permanent(client):
    """permanent errors and unknown classes end the download"""
    for code in (R.WIRE_NOT_FOUND, 0x01FE, 0x0905, 0x0000):
        with Partner(always(refuse_once(code)), **SMALL) as p:
            p.put("f", noise(10))
            client.fails(p)


@case("B1-E1")
def access(client):
    """access errors are not repeated by themselves"""
    with Partner(always(refuse_once(R.WIRE_AUTH_REQUIRED)), **SMALL) as p:
        p.put("f", noise(10))
        client.fails(p)


@case("B1-E6", "B1-G5c")
def io_error(client):
    """chunks before IO_ERROR count; the rest is tried again"""
    def act(session, ident, fields, tlvs):
        offset = struct.pack(">Q", fields["offset"])
        session.plain("ERROR", ident, {"code": R.WIRE_IO_ERROR},
                      [(R.TLV_OFFSET, offset)])
        session.end()
    with Partner(first(on("CHUNK", act, 5)), **SMALL) as p:
        client.gets(p, p.put("f", noise(SIZE)))


@case("B1-C6", "B1-C7")
def goaway(client):
    """after GOAWAY requests go to another connection"""
    def act(session, ident, fields, tlvs):
        session.plain("GOAWAY", 0, {"last_id": session.last_id,
                                    "code": R.WIRE_SHUTTING_DOWN})
        session.plain("CHUNK", ident, fields)
    with Partner(first(on("CHUNK", act, 1)), **SMALL) as p:
        client.gets(p, p.put("f", noise(SIZE)))


@case("B1-C11", "B1-H1a", "B1-S14")
def busy_server(client):
    """ERROR BUSY in place of HELLO: the client comes again"""
    def act(session, ident, fields, tlvs):
        session.plain("ERROR", 0, {"code": R.WIRE_BUSY})
        session.end()
    heals(client, on("HELLO", act), connections=2)


@case("B1-C11")
def connection_error(client):
    """ERROR for the connection in mid-transfer"""
    def act(session, ident, fields, tlvs):
        session.plain("ERROR", 0, {"code": R.WIRE_SHUTTING_DOWN})
        session.end()
    heals(client, on("CHUNK", act, 4))


@case("B1-V1d")
def rejected(client):
    """a server of another version only"""
    def greeting(session):
        session.put(wire.encode_preface(R.ROLE_SERVER, 9,
                                        R.PREFACE_REJECTED))
        session.plain("ERROR", 0, {"code": R.WIRE_VERSION_REJECTED},
                      [(R.TLV_VERSIONS, b"\0\x09")])
        session.end()
    with Partner(always(at_greeting(greeting))) as p:
        p.put("f", noise(10))
        client.fails(p)


@case("B1-V2b", "B1-V2c")
def not_belay(client):
    """a peer that is no Belay server, and one that is a client"""
    for words in (b"SSH-2.0-OpenSSH_9.2\r\n" + bytes(40),
                  wire.encode_preface(R.ROLE_CLIENT) + wire.encode("HELLO")):
        def greeting(session, words=words):
            session.put(words)
            session.end()
        with Partner(always(at_greeting(greeting))) as p:
            p.put("f", noise(10))
            client.never(p)


# -- changed files ------------------------------------------------------------

def swap_then_end(new):
    """The file is another one when the connection ends."""
    def act(session, ident, fields, tlvs):
        session.partner.put("f", new)
        session.end()
    return on("CHUNK", act, 8)


def with_swap(new, **options):
    return Partner(first(swap_then_end(new)), **dict(SMALL, **options))


OLD = noise(SIZE)
NEW = OLD[:9000] + b"changed!" + OLD[9008:] + b"and longer"
SAME_SIZE = OLD[:9000] + b"changed!" + OLD[9008:]


@case("B1-R4a", "B1-R4b", "B1-R4c", "B1-R12a")
def changed_between(client):
    """the file is another one after a cut: the new one, whole"""
    with with_swap(NEW) as p:
        p.put("f", OLD)
        client.gets(p, NEW)
        opens = p.requests("OPEN")
        assert len(opens) > 1, "only one OPEN"


@case("B1-R4c")
def changed_keeps(client):
    """chunks that both versions share are not fetched again"""
    with with_swap(NEW) as p:
        p.put("f", OLD)
        client.gets(p, NEW)
        asked = [m for n, m in p.heard if m.name == "GET" and n > 0]
        assert asked and all(
            r[0] > 0 for m in asked for r in m.fields["ranges"]), \
            "chunk 0 was asked for again"


@case("B1-R4f", "B1-R4b", "B1-R7", "B1-R2")
def cut_while_comparing(client):
    """the connection ends when the digests of the new version are asked
    for: what is kept of the old one counts for nothing yet"""
    cut = on("DIGESTS", lambda s, *_: s.end())
    for new in (SAME_SIZE, NEW):
        plan = {0: swap_then_end(new), 1: cut, 2: cut}
        with Partner(plan.get, no_cid=True, **SMALL) as p:
            p.put("f", OLD)
            client.gets(p, new)


@case("B1-R4c", "B1-R8")
def changed_shorter(client):
    """the new file is shorter, or empty"""
    for new in (OLD[4096:20000], b""):
        with with_swap(new) as p:
            p.put("f", OLD)
            client.gets(p, new)


@case("B1-G10", "B1-R4a")
def changed_during(client):
    """CHANGED_DURING in mid-transfer"""
    def act(session, ident, fields, tlvs):
        session.partner.put("f", NEW)
        session.plain("ERROR", ident, {"code": R.WIRE_CHANGED_DURING})
        session.end()
    with Partner(first(on("CHUNK", act, 5)), **SMALL) as p:
        p.put("f", OLD)
        client.gets(p, NEW)


@case("B1-N2b")
def ignored_expectation(client):
    """a server that does not compare: the client does"""
    with with_swap(SAME_SIZE, judges=False) as p:
        p.put("f", OLD)
        client.gets(p, SAME_SIZE)


@case("B1-R3", "B1-R5c", "B1-R7", "B1-N2c")
def same_weak_token(client):
    """another content under the same weak token is never mixed in"""
    with with_swap(SAME_SIZE, weak=True, no_cid=True) as p:
        p.server.version = lambda st: b"always the same"
        p.put("f", OLD)
        client.gets(p, SAME_SIZE)


@case("B1-R5c")
def weak_needs_list(client):
    """a weak version and no CID: the digest list is asked for"""
    with Partner(weak=True, no_cid=True, **SMALL) as p:
        client.gets(p, p.put("f", OLD))
        assert p.requests("DIGEST"), "no DIGEST before success"


@case("B1-R10b", "B1-R4b", "B1-D10")
def lying_list(client):
    """a digest list that is not the CID's is not believed"""
    def act(session, ident, fields, tlvs):
        session.partner.put("f", NEW)
        session.partner.hash("f")
        session.end()

    def lie(session, name, ident, fields, tlvs):
        if name == "DIGESTS":
            fields["digests"] = [bytes(32)] + fields["digests"][1:]
            session.plain(name, ident, fields, tlvs, end=True)
        return name == "DIGESTS"

    with Partner(lambda n: lie if n else on("CHUNK", act, 8), **SMALL) as p:
        p.put("f", OLD)
        status, _ = client.run(p, timeout=10)
        assert p.requests("DIGEST"), "no DIGEST after CHANGED"
        assert status != 0, "success was reported"
        assert not os.path.exists(p.out()), "a result was left"


@case("B1-D9", "B1-D7")
def broken_list(client):
    """digest lists with gaps or too few entries are refused"""
    def act(session, ident, fields, tlvs):
        fields["digests"] = fields["digests"][:-1]
        session.plain("DIGESTS", ident, fields, tlvs, end=True)

    plan = {0: swap_then_end(NEW), 1: on("DIGESTS", act)}
    with Partner(plan.get, **SMALL) as p:
        p.put("f", OLD)
        client.gets(p, NEW)


# -- pins ---------------------------------------------------------------------

@case("B1-R11a", "B1-R5b")
def pinned(client):
    """a pin is the expectation of the first OPEN, and holds"""
    with Partner() as p:
        data = p.put("f", noise(SIZE))
        status, words = client.run(p, p.url(pin=pin_of(data)))
        if status != 0:
            raise Unsupported("no pins: " + words)
        client.check_result(p, data)
        opening = p.requests("OPEN")[0]
        assert opening.fields["want_chunk_log2"] == 12
        assert opening.tlv(R.TLV_EXPECT_CID) == identity.cid_of(data, 12)


@case("B1-R11a", "B1-R4e", "B1-S7")
def wrong_pin(client):
    """content that is not the pinned one is never a success"""
    for options in ({}, {"no_cid": True}, {"weak": True, "no_cid": True}):
        with Partner(**options) as p:
            p.put("f", noise(SIZE))
            client.fails(p, p.url(pin=pin_of(noise(SIZE, 2))))


@case("B1-R11c")
def pin_of_other_grid(client):
    """a pin whose c the server refuses is compared on its own grid"""
    with Partner(**SMALL) as p:
        data = p.put("f", noise(SIZE))
        status, words = client.run(p, p.url(pin=pin_of(data, 14)))
        if status == 0:
            client.check_result(p, data)
        with Partner(**SMALL) as q:
            q.put("f", noise(SIZE, 2))
            client.never(q, q.url(pin=pin_of(data, 14)))
        if status != 0:
            raise Unsupported("the client may fail here: " + words)


# -- timers -------------------------------------------------------------------

@case("B1-T6", "B1-T7", "B1-R1", slow=True)
def stalls(client):
    """a server that stops in mid-chunk is left after 45 s"""
    def act(session, ident, fields, tlvs):
        session.put(wire.encode("CHUNK", ident, fields)[:1000])
        time.sleep(150)
    with Partner(first(on("CHUNK", act, 3)), **SMALL) as p:
        client.gets(p, p.put("f", noise(SIZE)), timeout=140)


@case("B1-T5", slow=True)
def silent_greeting(client):
    """a server that never greets is left after 10 s"""
    def greeting(session):
        time.sleep(100)
    with Partner(first(at_greeting(greeting)), **SMALL) as p:
        client.gets(p, p.put("f", noise(SIZE)), timeout=90)
