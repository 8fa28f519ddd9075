#!/usr/bin/env python3
"""Inputs of the fuzz targets as text: one input a line, in hexadecimal.

usage: corpus.py vectors DIR          spec/vectors as inputs: DIR/NAME.hex
       corpus.py unpack DIR FILE...   one file an input, as libFuzzer wants
       corpus.py pack FILE DIR        and back, sorted, without doubles

tests/fuzz/corpus/NAME.hex holds what fuzzing found beyond the vectors; it is
kept small by campaign.py. Both are replayed by every run of the tests.
"""

import hashlib
import itertools
import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
VECTORS = ROOT / "spec/vectors"

# Longer ones stay out of the corpus; the unit tests run them.
INPUT_MAX = 16384

TLV_WHERE = ["HELLO-C", "HELLO-S", "ERROR", "OPEN", "INFO", "DONE", "ENTRY",
             "GOAWAY", "LIST", "ENTRIES", "AUTH"]

PREFACE_LEN = 16
HEADER_LEN = 16


def load(name):
    return json.loads((VECTORS / f"{name}.json").read_text())["vectors"]


def pattern(at, length):
    return bytes((at + i) % 251 for i in range(length))


def stream_bytes(item):
    return bytes.fromhex(item["hex"]) + pattern(item["pattern_at"],
                                                item["pattern_len"])


def u16(n):
    return n.to_bytes(2, "big")


# ---- one function for each target; all yield bytes.

def frame():
    for v in load("frame"):
        i = v["input"]
        sender = 1 if i["receiver"] == "client" else 0
        for crc in (0, 2):
            yield bytes([sender | crc]) + stream_bytes(i)


def preface():
    for v in load("preface"):
        i = v["input"]
        peer = 1 if i["receiver"] == "client" else 0
        for crc in (0, 2):
            yield bytes([peer | crc]) + bytes.fromhex(i["hex"])


def message():
    for v in load("message"):
        i = v["input"]
        b = bytes.fromhex(i["hex"])
        sender = 1 if i["sender"] == "server" else 0
        if len(b) >= HEADER_LEN:
            yield (bytes([sender, 0, 64, b[4], b[5]]) + b[8:12] +
                   b[HEADER_LEN:])


def tlv():
    for v in load("tlv"):
        i = v["input"]
        where = TLV_WHERE.index(i["context"]) if i["context"] in TLV_WHERE \
            else len(TLV_WHERE)
        for unknown in (0, 0x84):  # 0x84 is a multiple of 12
            yield bytes([where + unknown]) + bytes.fromhex(i["hex"])


def entries():
    for v in load("message"):
        b = bytes.fromhex(v["input"]["hex"])
        if len(b) > 4 and b[4] == 0x41:
            yield b[HEADER_LEN:]


def path():
    for v in load("path"):
        yield bytes.fromhex(v["input"]["bytes"])


def text():
    for v in load("path"):
        for cap in (0, 20):
            yield bytes([cap]) + bytes.fromhex(v["input"]["bytes"])


def uri():
    for v in load("uri"):
        yield v["input"]["uri"].encode()


def manifest():
    for v in load("manifest"):
        data = bytes.fromhex(v["input"]["data"])
        yield data
        if b"\n\n" in data:
            yield data[:data.index(b"\n\n") + 1]
        for key in v["input"]["keys"]:
            yield key.encode()


def cid():
    for v in load("cid"):
        i = v["input"]
        if i["kind"] == "text":
            yield bytes(17) + i["text"].encode("utf-8", "surrogateescape")
        elif i["kind"] == "parts":
            size = int(i["size"])
            if size < 1 << 64:
                yield (size.to_bytes(8, "big") + bytes([i["chunk_log2"]]) +
                       b"\xff" * 8)


def merkle():
    for v in load("merkle"):
        i = v["input"]
        if i["kind"] == "proof":
            yield (b"\0" + int(i["block_index"]).to_bytes(8, "big") +
                   int(i["block_count"]).to_bytes(8, "big") +
                   bytes.fromhex(i["root"]) + bytes.fromhex(i["block_hash"]) +
                   b"".join(map(bytes.fromhex, i["path"])))
    for count in (1, 2, 3, 7, 8, 13, 64, 200):
        for log2 in (0, 1, 3):
            for spoil in (0xFFFF, 3, 9, 40, 300, 600):
                yield bytes([1, count - 1, 5, log2, count // 2]) + u16(spoil)
    for size in (0, 1, 4096, 40960, 70000, 900000):
        for steps in (b"", b"\2\0\7", b"\xff" * 8):
            yield (b"\xf0" + size.to_bytes(4, "big") + b"\0\2\4" + steps)


def zpack():
    for v in load("chunk"):
        i = v["input"]
        if i["kind"] == "codec" and i["raw_len"] < 1 << 24:
            yield (b"\0" + i["raw_len"].to_bytes(3, "big") +
                   bytes.fromhex(i["stored"]))
    for n in (0, 1, 100, 4096):
        yield b"\1\0\0\0" + u16(n // 2) + b"\1\6" + b"abcd" * (n // 4)


def journal():
    # Honest pairs; then edits of single bytes, sealed and not.
    for bits in (0, 0x3F, 0x1F, 2):
        honest = bytes([3, bits, 5, 9, 0, 0, 0x80, 0, 4])
        older = bytes([3, bits, 4, 9, 0, 0, 0x80, 0, 4])
        yield honest + older + bytes(range(64))
        yield bytes([0]) + honest
        yield honest + bytes([4, 0, 100])
    for at in (0, 8, 11, 12, 15, 32, 40, 48, 49, 50, 52, 54, 60, 96, 136, 168,
               232, 2280, 4088):
        for options in (0x11, 0x13):
            yield (bytes([options, 0x3F, 5, 9, 0, 0, 0x80, 0, 4]) + u16(at) +
                   b"\x80" + bytes([1, 0, 1, 9, 0, 0, 0, 1, 0]))


def rangeset():
    yield bytes([39]) + bytes(b for i in range(60)
                              for b in (i % 6, i * 7 % 256, i * 3 % 40))
    yield bytes([0]) + bytes(b for i in range(20)
                             for b in (i % 6 | 0x80, i * 11 % 256, 5))


def ls():
    # A C1 control, a broken sequence, a size that no file has.
    for name in (b"plain", "n\u00e4me".encode(), b"\xc2\x9b31m", b"a\\b\x1b[2J",
                 b"\xff\xfe", "\u202egnp.exe".encode(), b"", b"\x7f\t\n"):
        for options in range(32):
            yield (bytes([options, options % 5]) +
                   (0x8000000000000000 if name == b"plain" else 5).to_bytes(
                       8, "big") + bytes(11) + b"\7\1\244\3a\x9bb" + name)


# ---- files and answers that people and proxies write.

def list():
    url = b"belay://host/dir/name"
    for kind in (b"\0", b"\1"):
        end = b"\n" if kind == b"\0" else b"\0"
        yield kind + url + end + url + b" out=a dir=b" + end
        yield kind + url + b' out="a \\"b\\\\ \\t" mirror="' + url + b" " + \
            url + b'"' + end
        yield kind + url + b" sha256=" + b"ab" * 32 + b"\r" + end
        yield kind + b"# note" + end + b"  " + end + url + b" checksum=" + \
            b"sha256:" + b"AB" * 32 + end
        yield kind + url + b' out="open' + end + url + b" what=1" + end


def config():
    yield b"# note\nlimit-rate = 2M\ncompress = yes\n\njobs=3\r\n"
    for name in (b"conns", b"retry-time", b"quiet", b"proxy", b"known-hosts",
                 b"accept-new", b"nothing", b"= 3", b"conns =", b"a = \0b"):
        for value in (b"", b" = yes", b" = no", b"=\t1 2 \t", b" = x" * 3):
            yield name + value + b"\n"
    yield b"conns = 2\nconns = 3\n"


def receipt():
    for file in sorted((VECTORS / "receipt").glob("*.txt")):
        yield file.read_bytes()


def knownhosts():
    key = b" sha256:" + b"5d" * 32 + b"\n"
    for host in (b"host:7245", b"[2001:db8::1]:7245", b"host", b"host:0",
                 b"host:99999", b"HOST:7245", b"# x", b""):
        yield host + key
        yield host + key * 2 + b"host:7245" + key
    yield b"host:7245 sha256:5d\n"
    yield b"host:7245" + key.upper()
    yield b"".join(b"host:7245 sha256:" + bytes([65 + i % 6, 48]) * 32 + b"\n"
                   for i in range(10))


def socks():
    for secret, method in ((0, 0), (1, 2), (1, 0), (0, 2), (0, 255)):
        for piece in (0, 255):
            head = bytes([secret, piece, 5, method])
            head += b"\1\0" if method == 2 else b""
            for code in (0, 1, 5, 9):
                yield head + bytes([5, code, 0, 1, 127, 0, 0, 1, 4, 56])
            yield head + bytes([5, 0, 0, 4]) + bytes(18)
            yield head + bytes([5, 0, 0, 3, 4]) + b"name" + b"\0\1"
            yield head + bytes([5, 0, 0, 3, 0, 0, 1])
            yield head + bytes([4, 0])
    yield b"\0\0HTTP/1.1 400 Bad Request"


def proxy():
    for address in (b"socks5h://host", b"SOCKS5h://u:p@[::1]:1080/",
                    b"socks5h://%75%3a:%00@h:1", b"socks5h://u@h:65536",
                    b"http://h", b"socks5h://h:0", b"socks5h://:@h", b"h"):
        for names in (b"", b"*", b".b.c,x", b"a.b.c", b"[::1] b.c"):
            yield address + b"\0" + names + b"\0a.b.c"


def ssh():
    for address in (b"host/path", b"u@host:22//etc/x", b"-host/p", b"u@h/a b",
                    b"[::1]/p", b"-l@h/p"):
        for command in (b"", b"ssh -v", b" /usr/bin/ssh  -p\t1 ", b"plink",
                        b"\t", b"a " * 40):
            for server in (b"", b"/opt/bel ayd", b"a'b", b"$(x)", b"''"):
                yield b"\2" + address + b"\0" + command + b"\0" + server


def prologue():
    for most in (0, 1, 7, 255):
        for stream in (b"\xfd", b"hello\r\n\xfd", b"\xfe\xfd", b"\xfe\xfe",
                       b"\xfe\x89\xfd", b"\xff\xff\xff\xfd",
                       b"\xff\xff\xff\xff\xfd", b"a\xfe", b""):
            yield bytes([most]) + stream


def keyfile():
    seen = {k.encode() for v in load("manifest") for k in v["input"]["keys"]}
    keys = sorted(seen)
    for key in keys:
        yield b"\0" + key + b"\n"
        yield b"\0# a comment\n\n" + key
    yield b"\0" + b"\n".join(keys[:3])
    # What stands behind a NUL, or far down, is not left out in silence.
    yield b"\0" + keys[0] + b"\n\0" + keys[-1]
    yield b"\0" + keys[0] + b"\n#\0\n" + keys[-1]
    yield b"\2" + keys[0]
    pem = (b"-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK"
           b"1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n")
    for name in (b"", b"Belay-Key-Name: name\n", b"Belay-Key-Name: a+b\n",
                 b"Belay-Key-Name: other\r\n", b"x Belay-Key-Name: name\n"):
        yield b"\1" + name + pem
        yield b"\1" + name + pem.replace(b"MC4", b"MC5")


def access():
    digest = b"9f" * 32
    yield b"\0# who\n* /pub\ntoken:alice,cert:build-7  /builds\n" + \
        b"key:sha256:" + digest + b" /builds/secret\n- /builds/secret/off\n"
    for line in (b"* pub", b"* /a/../b", b"* /x y", b", /a", b"*,* /",
                 b"token: /a", b"who /a", b"* /a\n* /a", b"- /", b"*\t/"):
        yield b"\0" + line + b"\n"
    for who in (b"*", b"-", b"token:alice", b"cert:build-7", b"token:bob,*",
                b"key:sha256:" + b"0" * 64):
        for path in (b"/", b"/pub", b"/pub/a", b"/pub/a/b", b"/x y"):
            yield b"\0- /pub/a\n" * (path != b"/pub/a") + \
                b"* /builds\n" + who + b" " + path
    for line in (b"alice sha256:" + digest, b"alice " + digest,
                 b"alice\tsha256:" + digest.upper(), b"sha256:" + digest,
                 b"# note", b"al ice sha256:" + digest, b"alice sha256:9f"):
        yield b"\1" + line + b"\n" + line + b"\n"


def aide():
    def record(host, port=7245, pin=9, shift=0):
        return (bytes([3, shift]) + u16(port) + bytes([pin, len(host)]) + host)

    for bits in (0, 2, 3, 7):
        for command in range(3):
            start = bytes([0, command])
            for how in range(4):
                yield bytes([bits]) + start + bytes([how, 5, 0])
            # Looked at, ended by itself, looked at again, put away, twice.
            yield (bytes([bits]) + start + b"\0\0\0" + b"\1\0\0" +
                   b"\5\0\0\7" + b"\1\0\0" + b"\2\0\0" * 2)
            # As many as there may be, and more.
            yield bytes([bits]) + start + b"\0\0\xff" * 1 + start + \
                b"\0\0\3\2\0\x40" + start + b"\0\0\1"
        for host in (b"new", b"kept", b"2001:db8::1", b"", b"a b", b"n\0x",
                     b"x" * 255, b"x" * 254):
            yield bytes([bits | 4]) + record(host) * 2 + record(host, pin=8)
        for shift in (1, 0xff, 0x80):
            yield bytes([bits | 4]) + record(b"new", shift=shift)
        for kind in (0, 1, 2, 3, 9):
            for number in (0, 255, 256):
                yield (bytes([bits]) + b"\0\0\0\0\0" + bytes([4, kind]) +
                       u16(number) + u16(2) + b"x\0")
        yield bytes([bits]) + b"\4\xff\0\0\0\7" + bytes(7)
        for fail in (1, 2):
            yield bytes([bits, 6, fail]) + b"\0\0\0\0\2" * 2


def digestcache():
    bitmaps = (0x8000000000000005).to_bytes(8, "big")
    write = b"\5\0" + bitmaps + b"\xaa\1"
    for op, length in ((0, 364), (1, 44)):
        for which in range(4):
            for how in range(4):
                body = bytes(12) + bytes(7) + b"\7" + bytes(120) + b"\xaa" * 96
                yield (bytes([op, which, how]) + u16(length) +
                       body[:length])
    # Written, read by another opener, added to, contradicted.
    yield write + b"\4\0\x08\0\4\0" + write
    yield write + b"\5\0" + bitmaps + b"\xbb\0" + b"\4\0\x08\1\4\0"
    yield write + b"\5\0" + bytes(7) + b"\2" + b"\xbb\0" + b"\x08\1\4\0"
    yield b"\7\0\x33\6\0\6\2\x08\1\6\0\7\2\x44"
    for how in range(8):
        for length in (0, 11, 12, 44, 47):
            yield b"\3" + bytes([how, length]) + bytes(40) + b"\x08\1" + write
    for how in range(2):
        for length in (0, 1, 50, 255):
            yield b"\2" + bytes([length, how, 20, 1]) + bytes(20) + \
                b"\x08\1" + write


def settings():
    ip4 = b"\xff\1\x0a\1\2\3" + bytes(12)
    ip6 = b"\xff\2\x20\1\x0d\xb8" + bytes(12)
    mapped = b"\x14\3\x0a\1\2\3" + bytes(12)
    doors = b"--tls-cert\0c\0--tls-key\0k\0"
    every = (b"--listen", b"--cache", b"--workers", b"--max-connections",
             b"--max-per-address", b"--exempt", b"--user", b"--sandbox",
             b"--metrics", b"--log-file", b"--client-ca", b"--tokens",
             b"--access", b"--tls-cert", b"--root")
    for start in (ip4, ip6, mapped):
        for text in (b"10.0.0.0/8", b"10.1.2.3", b"10.1.2.3/31", b"::/0",
                     b"2001:db8::/32", b"::1", b"0.0.0.0/0", b"1.2.3.4/33",
                     b"::ffff:10.0.0.0/104", b"fe80::/129", b"x/1", b"1.2/"):
            yield start + b"--root\0/srv\0--plain\0--exempt\0" + text
    for option in every:
        for value in (b"1", b"8", b"9", b"0", b"65536", b"65537", b"strict",
                      b"off", b":7245", b""):
            yield ip4 + b"--root=/srv\0" + doors + option + b"\0" + value
            yield ip4 + b"--stdio\0" + option + b"=" + value
        yield ip4 + option
    for words in (b"--help", b"--version", b"--no-compression\0--verbose",
                  b"--pl\0--root\0.", b"--unknown", b"rest", b"--\0rest",
                  b"-x", b"--root\0\0--plain", b"--s", b"--listen=a\0" * 17,
                  b"--exempt=::1\0" * 17):
        yield ip4 + words
        yield b"\0" + ip4[1:] + words


def shared():
    def enter(worker, guest):
        return bytes([0, worker, guest, 0])

    several = b"".join(enter(w, g) for w in (0, 1, 7) for g in range(6))
    yield several + bytes(b for i in range(16) for b in (1, i, 2, i, 3, i))
    yield several * 3 + b"\7\1" + bytes(b for i in range(8) for b in (4, i, 1))
    for guest in (0, 1, 2, 5, 0x80):
        yield several + bytes([6, 1, guest, 4, 1, 1, 7, 1])
    for what in range(3):
        for number in (0, 1, 60000, 3600000, 0xffffffff):
            yield (bytes([8, 1, what]) + number.to_bytes(4, "big") +
                   u16(5000)) * 4
    yield b"\x05\0\1\0" * 4 + b"\x05\0\1\1" * 4 + b"\x09\0" * 3 + \
        b"\x09\1\x09\2\7\1\7\2"
    for number in (0, 1, 46):
        yield bytes([10, 0, number]) + b"\xff" * 16
    for memory in range(4):
        for byte in (0, 1, 2, 0x7f, 0x80, 0xff):
            yield (several + bytes([12, memory, byte]) + several +
                   bytes(b for i in range(8) for b in (4, i, 1)) +
                   b"\x08\1\1" + bytes(6) + b"\3\1\7\1\5\1\1\0")
        for at in (0, 40, 60, 100, 200, 400, 1000):
            yield several + bytes([11, memory]) + u16(at) + b"\x20" + \
                bytes(range(240, 256)) * 2 + several + b"\4\1\1\3\2\7\0"


# ---- conversations.

def frames_of(segments, side):
    """Preface and frames of one side: (bytes of the preface, frames)."""
    data = b"".join(stream_bytes(s) for s in segments if s["from"] == side)
    head, data = data[:PREFACE_LEN], data[PREFACE_LEN:]
    frames = []
    while len(data) >= HEADER_LEN:
        length = int.from_bytes(data[:4], "big")
        frames.append(data[:HEADER_LEN + length])
        data = data[HEADER_LEN + length:]
    return head, frames, data


def op_raw(op, data):
    return bytes([op]) + u16(len(data)) + data


def streams():
    for file in sorted((VECTORS / "streams").glob("*.json")):
        for v in json.loads(file.read_text())["vectors"]:
            yield v["input"]["segments"]


def sender():
    for segments in streams():
        head, frames, rest = frames_of(segments, "client")
        out = op_raw(5, head)
        for f in frames:
            payload = f[HEADER_LEN:]
            if len(payload) < 1500:
                out += (bytes([0, f[4], f[5]]) + f[10:12] +
                        u16(len(payload)) + payload)
        yield out + op_raw(5, rest) + b"\x09\x01"
    # Greeting, two files, ranges, digests, held jobs in any order, an end.
    greet = b"\x09\x04"
    open1 = b"\x01\x01\x00\x01"
    get1 = b"\x02\x01\x20\x00\x00\x10\x00\x00\x00\x20\x00\x00"
    digest1 = b"\x03\x01\x00\x01\x00\x00"
    hold = b"\x09\x03\x1f"
    finish = b"\x06\x00\x06\x01"
    yield greet + open1 + get1 + digest1 + b"\x04\x00\x01" + b"\x09\x01"
    yield greet + hold + open1 + get1 + finish * 8 + b"\x04\x01\x01" + finish
    yield greet + b"\x01\x02\x05\x01\x02\x02\xe8" + bytes(40) + b"\x08\xff" * 4
    # Who it is; a reader that takes one byte, and waits.
    for door in range(0xe1, 0x100):
        for who in (b"\4\xf0\0", b"\4\xf0\2", b"\4\xf0\x80", b""):
            yield (greet + who + open1 + get1 + b"\4\2\5" + b"\x08\x1f" +
                   bytes([8, door]))
    for wait in (1, 60, 125):
        yield (greet + open1 + b"\x09\xf0" + get1 + digest1 +
               bytes([8, wait]) * 3 + b"\x09\xf0" + get1)


def ask(f):
    """The client's frame as an operation of the receiver target."""
    kind = f[4]
    if kind == 0x10:
        return b"\x02\x00"
    if kind == 0x12:
        return b"\x02\x02\x00\x00\x00\xff\xff\x01"
    table = {0x11: 0x82, 0x13: 0x03, 0x14: 0x04, 0x15: 0x05}
    return bytes([2, table[kind]]) if kind in table else b""


def receiver():
    for segments in streams():
        out = b"\x01"
        for side in ("client", "server"):
            head, frames, rest = frames_of(segments, side)
            if side == "server":
                out += op_raw(1, head)
            for f in frames:
                payload = f[HEADER_LEN:]
                if side == "client":
                    out += ask(f)
                elif len(payload) < 4500:
                    out += (bytes([0, f[4], f[5], f[11]]) +
                            u16(len(payload)) + payload)
        yield out
    greet = b"\x06"
    for codec, how in itertools.product(range(4), (1, 3, 0x15, 0x1d, 0x0e)):
        yield (bytes([how]) + greet + b"\x02\x00" +
               b"\x03\x00\x00\x00\x00\x00" +
               b"\x00\x00\x00" + b"\x02\x02\x00\x00\x00\xff\xff\x01" +
               bytes([3, 0, 0, codec, 0, 1, 0, 0, 0]) + b"\x04\xff" * 3)


# One of each class and those that are treated in their own way.
CODES = (0x0101, 0x0102, 0x0103, 0x0105, 0x0108, 0x0201, 0x0202, 0x0203, 0x0204,
         0x0301, 0x0302, 0x0401, 0x0501, 0x0502, 0x0503, 0x0504, 0x0601, 0x0607,
         0x0701, 0x7777)


def server_says():
    """What a server may say unasked, as arguments of partner_script()."""
    kinds = (0x05, 0x80, 0x81, 0x45)
    for v in load("message"):
        b = bytes.fromhex(v["input"]["hex"])
        if v["input"]["sender"] == "server" and HEADER_LEN <= len(b) < 80 and \
                b[4] in kinds:
            yield b[4:6] + b[11:12] + u16(len(b) - HEADER_LEN) + b[HEADER_LEN:]


def transfer():
    files = b"\x9c\x40\x00\x03" + b"\x9d\x40\x00\x03" + b"\x60\x00\x01\x03"
    weak = b"\x9c\x40\x00\x00" + b"\x9d\x40\x00\x01" + b"\x60\x00\x01\x02"
    join, serve = b"\x01\x00", b"\x04\x00"
    for bits in (0, 0x24, 0x40, 0x83, 0x10):
        for contents in (files, weak):
            start = bytes([bits]) + contents + join
            yield start + serve * 3
            # Some answers, another version, a cut, a new connection.
            yield (start + b"\x03\x00\x00\x00\x00" * 5 + b"\x07\x01" +
                   b"\x02\x00\x00\x01" + join + serve * 4)
            # Killed half-way, some chunks spoiled, taken up again.
            yield (start + b"\x03\x00\x00\x00\x00" * 6 + b"\x08\x32" + join +
                   serve * 4)
            # A byte of each answer is wrong.
            for at in (0, 20, 40, 60, 100):
                yield (start + b"\x03\x00\x00\x00\x00" * 2 + b"\x03\x00" +
                       u16(at) + b"\x01" + b"\x00\x03" + join + serve * 2)
            yield start + b"\x06\x00\x03\x01" + b"\x00\x04" + join + serve
    start = b"\x02" + files + join
    for code in CODES:
        for after in (0, 1, 2):
            yield (start + b"\x03\x00\x00\x00\x00" * after + b"\x06\x00" +
                   u16(code) + serve + b"\x00\x03" + join + serve)
        yield (start + (b"\x03\x00\x00\x00\x00" * 2 + b"\x06\x00" + u16(code) +
                        b"\x00\x03" + join) * 4 + serve)
    for said in server_says():
        yield (start + b"\x03\x00\x00\x00\x00" * 2 + b"\x05\x00" + said +
               serve + b"\x00\x03" + join + serve)
    # A pin, and servers that do not care.
    for content in (0, 1, 2, 3):
        for version in (0x84, 0x85, 0x86):
            start = b"\x20" + b"\x9c\x40\x00\x03" + \
                bytes([0x9c, 0x40, 0, content, 0x9c, 0x40, 1, content]) + \
                b"\x07" + bytes([version]) + join
            yield start + serve * 2
            yield start + b"\x03\0\0\0\0" * 4 + b"\x07\0" + serve
    # Data of a chunk is wrong, again and again.
    start = b"\x02" + files + join
    yield (start + b"\x03\x00\x00\x00\x00" +
           (b"\x03\x00\x01\x00\x01" + serve + join) * 12)
    # Mirrors, ordered output, pauses; a local file that is alike.
    join += b"\x01\x01" + b"\x01\x02"
    serve += b"\x04\x01" + b"\x04\x02"
    for more in (1, 2, 0x10, 0x12, 0x20, 0x22):
        for others in (0, 4, 0x18, 0x24):
            start = b"\x02\x9c\x40\x00" + bytes([3 | more << 2]) + \
                b"\x9d\x40\x00" + bytes([3 | others << 2]) + \
                b"\x60\x00\x01\x03" + join
            yield start + b"\x03\x00\x00\x00\x00" * 4 + serve * 3
            yield (start + b"\x03\x01\x00\x14\x01" * 2 + serve +
                   b"\x00\x03" + join + serve * 2)
            yield start + b"\x02\xf0" + b"\x00\x03" + join + serve * 2
    for how in range(8):
        for bits in (0, 4, 0x20):
            start = bytes([bits]) + b"\x9c\x40\x00\x03\x9d\x40\x00\x03" + \
                b"\x60\x00\x01" + bytes([3 | (0x20 | how) << 2]) + join
            yield start + serve * 3
            yield (start + b"\x03\x00\x00\x00\x00" * 3 + b"\x08\x32" + join +
                   b"\x07\x01" + serve * 4)
    # As many connections as help, a question only, a comparison only.
    for way, how in ((3, 0), (9, 0), (6, 0x20), (6, 0x21), (6, 0x24)):
        for bits in (0, 4, 0x24):
            for size in (b"\x9c\x40", b"\xea\x5f", b"\0\0"):
                start = bytes([bits]) + size + bytes([way, 3]) + \
                    b"\x9d\x40\x00\x03" + b"\x60\x00\x01" + \
                    bytes([3 | how << 2]) + join + b"\x01\x03"
                yield start + serve * 3
                yield start + b"\x00\x03" * 3 + b"\x09\1" + join + \
                    b"\x09\0" + b"\x02\1" + b"\x00\x03" * 2 + \
                    b"\x09\2" + join + serve * 4
                yield (start + b"\x03\x00\x00\x00\x00" * 2 + b"\x07\x01" +
                       b"\x03\x00\x00\x24\x01" + serve)


def bulk():
    join, serve, lose, wait = b"\1\0", b"\3\0", b"\4\0", b"\5\4"
    for bits in (0, 4, 9):
        for how in (0, 1, 5, 8, 0x63):
            start = bytes([bits, 40 + how]) + \
                b"".join(bytes([0, k * 5 % 24, how]) for k in range(9))
            yield start + join + serve
            # Some answers, a cut, another version, once more.
            yield start + join + b"\2\0\0\0\0" * 6 + lose + b"\x09\5" + \
                wait + join + serve
            # One byte of an answer is wrong; a refusal; the end is near.
            for at in (5, 17, 30, 45, 70):
                yield start + join + b"\2\0\0\0\0" * (at % 4) + b"\2\0" + \
                    u16(at) + b"\1" + serve + wait + join + serve
            for code in CODES[::3]:
                yield start + join + b"\6\3" + u16(code) + b"\5" + serve
            yield start + join + b"\2\0\0\0\0" * 3 + b"\x08\0\4" + serve + \
                wait + join + serve + b"\x0a\xf0"
    start = bytes([0, 40]) + b"\0\5\0" * 3 + join
    for code in CODES:
        for after in (1, 2, 4):
            yield start + b"\2\0\0\0\0" * after + b"\6\0" + u16(code) + \
                b"\5" + serve + wait + join + serve
    for said in server_says():
        yield start + b"\2\0\0\0\0" * 3 + b"\7\0" + said + serve
    # Changed between two chunks; pinned files of servers that do not care.
    for which in range(24):
        for after in (2, 3, 4):
            yield bytes([0, 40, 0, which, 1]) + join + \
                b"\2\0\0\0\0" * after + bytes([9, which]) + serve + wait
    for which in range(24):
        for how in (8, 9, 12):
            yield bytes([0, 40, 0, which, how, 9, 0x80 + (which + 16) % 24]) + \
                join + serve


def walk():
    join, serve, lose, wait = b"\0\0", b"\2\xff", b"\3\0", b"\4\4"
    one = b"\1\0\0\0\0"
    for bits in (1, 7, 0x12, 0x21):
        for seed in (3, 77):
            start = bytes([bits, seed]) + join
            yield start + serve
            yield start + one * 4 + lose + wait + join + serve
            yield start + b"\x08\0" + one * 6 + b"\x08\1" + b"\x09\3" + serve
            for at in (5, 17, 20, 30, 45, 60):
                yield start + one * (at % 4) + b"\1\1" + u16(at) + b"\1" + \
                    serve + wait + join + serve
            for code in CODES:
                yield start + one + b"\5\1" + u16(code) + b"\5" + serve
            yield start + one * 3 + b"\7\4" + serve + wait + join + serve
            for names in (b"\xfea1\xfea2", b"\0.x\1.y", b"\0/a", b"\3aab"):
                for how in (0, 1, 2, 3, 6):
                    yield start + (b"\x0a\0" + bytes([len(names) // 3, how]) +
                                   names) * 3 + serve
    for said in server_says():
        yield bytes([1, 77]) + join + one + b"\6\0" + said + serve


TARGETS = [frame, preface, message, tlv, entries, path, text, uri, cid, merkle,
           zpack, journal, rangeset, manifest, list, config, receipt,
           knownhosts, socks, proxy, ssh, prologue, keyfile, access, aide,
           digestcache, settings, shared, ls, sender, receiver, transfer, bulk,
           walk]


def write(file, inputs):
    lines = sorted({i.hex() for i in inputs}, key=lambda s: (len(s), s))
    file.write_text("".join(line + "\n" for line in lines))
    return len(lines)


def read(file):
    for line in file.read_text().splitlines():
        if not line.startswith("#"):
            yield bytes.fromhex(line)


def main():
    if len(sys.argv) == 3 and sys.argv[1] == "vectors":
        folder = pathlib.Path(sys.argv[2])
        folder.mkdir(parents=True, exist_ok=True)
        for target in TARGETS:
            inputs = [i for i in target() if len(i) <= INPUT_MAX]
            if not write(folder / f"{target.__name__}.hex", inputs):
                sys.exit(f"{target.__name__}: no input")
    elif len(sys.argv) >= 4 and sys.argv[1] == "unpack":
        folder = pathlib.Path(sys.argv[2])
        folder.mkdir(parents=True, exist_ok=True)
        for name in sys.argv[3:]:
            for one in read(pathlib.Path(name)):
                digest = hashlib.sha256(one).hexdigest()
                (folder / digest[:32]).write_bytes(one)
    elif len(sys.argv) == 4 and sys.argv[1] == "pack":
        files = pathlib.Path(sys.argv[3]).iterdir()
        write(pathlib.Path(sys.argv[2]), [f.read_bytes() for f in files])
    else:
        sys.exit(__doc__)
    return 0


if __name__ == "__main__":
    sys.exit(main())
