#!/usr/bin/env python3
"""spec/dissector/belay.lua against the oracle, on the streams of the vectors
and on a live download from the small server or, from the environment, BELAYD.

Every conversation of spec/vectors/streams becomes a TCP connection in a
capture file, once with one segment per message and once cut into segments of
odd sizes. tshark dissects it with belay.lua; the raw bytes of every field
must be those of the oracle's parse, message by message. Broken CRCs and
lengths must show as expert information.

Needs tshark; without it the test is skipped (exit code 77).
"""

import json
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import xml.etree.ElementTree as ElementTree
from pathlib import Path

sys.dont_write_bytecode = True
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "spec/oracle"))

import belay_wire as wire
import registry as R
import serving

LUA = ROOT / "spec/dissector/belay.lua"
FIRST_PORT = 40000
SEGMENT_MAX = 60000
EXPERTS = ("belay.bad_crc", "belay.malformed", "belay.unknown")


# ---- A capture of TCP connections over IPv4, without link layer.

def tcp_packet(sender, client_port, sequence, flags, data):
    here, there = b"\x0a\0\0\1", b"\x0a\0\0\2"
    ports = (client_port, R.PROTO_PORT)
    mine, theirs = ("client", "server")
    if sender == theirs:
        here, there, ports = there, here, ports[::-1]
        mine, theirs = theirs, mine
    tcp = struct.pack(">HHIIBBHHH", *ports, sequence[mine], sequence[theirs],
                      0x50, flags, 65535, 0, 0)
    ip = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(tcp) + len(data), 0, 0,
                     64, 6, 0) + here + there
    sequence[mine] += len(data) + (1 if flags & 0x02 else 0)
    return ip + tcp + data


def connection(client_port, pieces):
    """The packets of one connection that carries (sender, bytes) pieces."""
    sequence = {"client": 1000, "server": 2000}
    yield tcp_packet("client", client_port, sequence, 0x02, b"")
    yield tcp_packet("server", client_port, sequence, 0x12, b"")
    for sender, data in pieces:
        for at in range(0, len(data), SEGMENT_MAX):
            yield tcp_packet(sender, client_port, sequence, 0x18,
                             data[at:at + SEGMENT_MAX])


def capture(path, conversations):
    """Write conversation i as a connection from port FIRST_PORT + i."""
    # Link type 101: packets begin with the IP header.
    with open(path, "wb") as out:
        out.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144,
                              101))
        second = 0
        for number, pieces in enumerate(conversations):
            for packet in connection(FIRST_PORT + number, pieces):
                out.write(struct.pack("<IIII", second, 0, len(packet),
                                      len(packet)) + packet)
                second += 1


def dissect(conversations):
    """For each conversation its Belay messages: sender, fields, experts."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "belay.pcap")
        capture(path, conversations)
        result = subprocess.run(
            ["tshark", "-n", "-X", f"lua_script:{LUA}", "-r", path,
             "-T", "pdml"], capture_output=True, check=True)
    if b"Lua: Error" in result.stderr or b"Lua Error" in result.stdout:
        sys.exit(result.stderr.decode() + "the dissector has a fault")
    messages = [[] for _ in conversations]
    for packet in ElementTree.fromstring(result.stdout).iter("packet"):
        ports = [int(packet.find(f".//field[@name='tcp.{end}port']")
                     .get("show")) for end in ("src", "dst")]
        sender = "server" if ports[0] == R.PROTO_PORT else "client"
        for proto in packet.iter("proto"):
            if proto.get("name") == "belay":
                messages[max(ports) - FIRST_PORT].append(
                    (sender, fields(proto), experts(proto)))
    return messages


def fields(proto):
    """(name, hex) of each field that stands for bytes of its own."""
    return [(field.get("name"), field.get("value"))
            for field in proto.iter("field")
            if field.get("name").startswith("belay.")
            and field.get("name").count(".") <= 2
            and field.get("name") not in EXPERTS
            and field.get("value") is not None]


def experts(proto):
    return sorted({field.get("name") for field in proto.iter("field")
                   if field.get("name") in EXPERTS})


# ---- What the oracle makes of the same bytes, in the same form.

def fixed(name, values):
    return [(f"belay.{name.lower()}.{field}", as_hex(values[field], width))
            for field, _, width, kind in R.LAYOUTS.get(name, ())
            if kind != "reserved"]


def as_hex(value, width):
    if isinstance(value, bytes):
        return value.hex()
    return (value % (1 << 8 * width)).to_bytes(width, "big").hex()


def without_reserved(found):
    """The dissector shows reserved bytes; the oracle drops them."""
    names = {f"belay.{name.lower()}.{field}" for name, rows in
             R.LAYOUTS.items() for field, _, _, kind in rows
             if kind == "reserved"}
    return [item for item in found if item[0] not in names]


def preface_fields(data, preface):
    return fixed("PREFACE", {"magic": R.PREFACE_MAGIC, "crc": data[12:16],
                             **preface._asdict()})


def text(name, value):
    return [(name, value.hex())] if value else []


def variable(message):
    name, values = message.name, message.fields
    if name in ("OPEN", "LIST"):
        return text(f"belay.{name.lower()}.path", values["path"])
    if name == "GET":
        return [item for offset, length in values["ranges"] for item in
                fixed("RANGE", {"offset": offset, "length": length})]
    if name == "CHUNK":
        return text("belay.chunk.data", values["data"])
    if name == "NOTICE":
        return text("belay.notice.text", values["text"])
    if name == "DIGESTS":
        return [("belay.digests.digest", d.hex())
                for d in values["digests"]] + \
            [("belay.digests.proof", d.hex()) for d in values["proof"]]
    if name == "ENTRIES":
        return [item for entry in values["entries"] for item in
                fixed("ENTRY", entry) +
                text("belay.entry.name", entry["name"]) +
                tlv_fields(entry["tlvs"], entry["ignored"])]
    return []


def tlv_fields(known, ignored):
    """Sorted by order; the value of an ignored TLV is not compared."""
    values = dict(known)
    items = []
    for kind in sorted(list(values) + list(ignored),
                       key=lambda k: k & ~R.TLV_CRITICAL):
        items.append(("belay.tlv.type", as_hex(kind, 2)))
        if kind in values:
            items.append(("belay.tlv.length", as_hex(len(values[kind]), 2)))
            name = R.TLVS[kind].name.lower()
            items += text(f"belay.tlv.{name}", values[kind])
    return items


def without_ignored_values(found, ignored):
    """Drop length and value of TLVs that the oracle only names."""
    skip = {as_hex(kind, 2) for kind in ignored}
    out, dropping = [], False
    for name, value in found:
        if name == "belay.tlv.type":
            dropping = value in skip
        elif dropping and name.startswith("belay.tlv."):
            continue
        else:
            dropping = False
        out.append((name, value))
    return out


def frame_fields(head, payload, item):
    """item: what the oracle's StreamReader said about this frame."""
    header = wire.decode_header(head)
    items = fixed("HEADER", header._asdict())
    if isinstance(item, wire.Message):
        items += fixed(item.name, item.fields) + variable(item) + \
            tlv_fields(item.tlvs, item.ignored)
    elif header.type not in R.FRAMES:
        items += text("belay.payload", payload)
    return items


def ignored_types(item):
    if not isinstance(item, wire.Message):
        return ()
    inner = [kind for entry in item.fields.get("entries", ())
             for kind in entry["ignored"]]
    return list(item.ignored) + inner


# ---- The streams.

def segments(vector):
    for piece in vector["input"]["segments"]:
        at, run = piece["pattern_at"], piece["pattern_len"]
        yield piece["from"], bytes.fromhex(piece["hex"]) + bytes(
            i % 251 for i in range(at, at + run))


def messages(pieces):
    """(sender, bytes, oracle's item) of each message, or None when the bytes
    do not form messages: such streams are for other tests."""
    readers = {side: wire.StreamReader(side) for side in ("client", "server")}
    out = []
    for sender, data in pieces:
        try:
            items = readers[sender].feed(data)
        except wire.WireError:
            return None
        if len(items) != 1 or readers[sender].buffer:
            return None
        out.append((sender, data, items[0]))
    return out


def expected_fields(data, item):
    if isinstance(item, wire.Preface):
        return preface_fields(data, item)
    return frame_fields(data[:wire.FRAME_HEADER], data[wire.FRAME_HEADER:],
                        item)


def compare(what, known, found):
    if len(known) != len(found):
        sys.exit(f"{what}: {len(found)} messages, {len(known)} expected")
    for number, (mine, theirs) in enumerate(zip(known, found)):
        sender, data, item = mine
        other, got, bad = theirs
        got = without_ignored_values(without_reserved(got),
                                     ignored_types(item))
        want = expected_fields(data, item)
        refused = isinstance(item, tuple) and not isinstance(
            item, wire.Preface) and isinstance(item[0], wire.WireError)
        if sender != other:
            sys.exit(f"{what}, message {number}: sent by {other}")
        if refused:
            got, bad = got[:len(want)], []
        if "belay.bad_crc" in bad or "belay.malformed" in bad:
            sys.exit(f"{what}, message {number}: {bad}")
        if got != want:
            sys.exit(f"{what}, message {number}:\n got {got}\nwant {want}")


def odd_pieces(known):
    """The same bytes in segments of 1, 2, 3, ... 1500 bytes. A run of one
    sender's messages may be cut anywhere, since TCP keeps no borders."""
    runs = []
    for sender, data, _ in known:
        if runs and runs[-1][0] == sender:
            runs[-1][1] += data
        else:
            runs.append([sender, bytearray(data)])
    size = 1
    for sender, data in runs:
        at = 0
        while at < len(data):
            yield sender, bytes(data[at:at + size])
            at += size
            size = size + 1 if size < 40 else (size * 7) % 1500 + 1


def by_sender(items):
    """Reassembly shows a message where it ends; order counts per sender."""
    return sorted(items, key=lambda item: item[0])


def check_streams():
    cases = []
    for path in sorted((ROOT / "spec/vectors/streams").glob("*.json")):
        for vector in json.loads(path.read_text())["vectors"]:
            known = messages(list(segments(vector)))
            if known is not None:
                cases.append((f"{path.stem}/{vector['id']}", known))
    whole = dissect([[(s, d) for s, d, _ in known] for _, known in cases])
    for (what, known), found in zip(cases, whole):
        compare(what, known, found)
    worked = [case for case in cases if "/worked" in case[0]]
    pieces = dissect([list(odd_pieces(known)) for _, known in worked])
    for (what, known), found in zip(worked, pieces):
        compare(what + ", cut", by_sender(known), by_sender(found))
    if len(cases) < 20 or len(worked) < 3:
        sys.exit(f"only {len(cases)} streams, {len(worked)} worked ones")
    return len(cases)


# ---- A live download.

def record(address, listener, pieces):
    """Forwards one connection and notes what passes, in order."""
    lock = threading.Lock()

    def pump(name, source, goal):
        while data := source.recv(65536):
            with lock:
                pieces.append((name, data))
            goal.sendall(data)
        goal.shutdown(socket.SHUT_WR)

    client, _ = listener.accept()
    with client, socket.create_connection(address) as server:
        up = threading.Thread(target=pump, args=("client", client, server))
        up.start()
        pump("server", server, client)
        up.join()


def cut_messages(sender, stream):
    """(sender, bytes, oracle's item) of each message in one direction."""
    reader, at = wire.StreamReader(sender), 0
    while at < len(stream):
        size = R.PREFACE_LEN if at == 0 else wire.FRAME_HEADER + \
            wire.decode_header(stream[at:at + wire.FRAME_HEADER]).length
        data = stream[at:at + size]
        item, = reader.feed(data)
        yield sender, data, item
        at += size


def check_live():
    pieces = []
    with serving.Server() as server, tempfile.TemporaryDirectory() as room, \
            socket.create_server(("127.0.0.1", 0)) as listener:
        server.put("f", serving.noise(1000000) + bytes(600000))
        server.rest()
        thread = threading.Thread(target=record, args=(
            ("127.0.0.1", server.port), listener, pieces))
        thread.start()
        code, _, stderr = serving.mini(serving.url(
            listener.getsockname()[1], "f"), room + "/out")
        thread.join()
    if code != 0:
        sys.exit(f"live: the download failed: {stderr}")
    known = [message for side in ("client", "server") for message in
             cut_messages(side, b"".join(d for s, d in pieces if s == side))]
    found = dissect([pieces])[0]
    compare("live", by_sender(known), by_sender(found))
    return len(known)


def check_faults():
    """One flipped bit, a lying TLV length, and a length beyond all limits."""
    preface = wire.encode_preface(R.ROLE_CLIENT)
    hello = wire.encode("HELLO")
    broken = bytearray(wire.encode("PING", fields={"opaque": bytes(8)}))
    broken[20] ^= 4
    lying = wire.encode_frame(R.FRAME_CLOSE, 1,
                              bytes(4) + b"\x0a\x0a\x00\x09x")
    huge = b"\x7f\xff\xff\xff" + bytes(12)
    pieces = [("client", bytes(data)) for data in
              (preface, hello, broken, lying, huge)]
    found = [bad for _, _, bad in dissect([pieces])[0]]
    want = [[], [], ["belay.bad_crc"], ["belay.malformed"],
            ["belay.malformed"]]
    if found != want:
        sys.exit(f"faults: {found}, expected {want}")


def main():
    if shutil.which("tshark") is None:
        print("tshark is not installed: skipped")
        return 77
    check_faults()
    count, live = check_streams(), check_live()
    print(f"{count} streams and a download of {live} messages dissected as "
          "the oracle reads them")
    return 0


if __name__ == "__main__":
    sys.exit(main())
