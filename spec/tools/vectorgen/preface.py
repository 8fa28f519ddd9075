"""preface.json: the first 16 bytes of each direction (section 5)."""

import struct
import zlib

import belay_wire as wire

from .common import R, VectorFile, wire_error

NOTES = {
    "MAGIC": "the stream does not start as Belay",
    "NEWLINES": "a link that rewrites line ends or strips the eighth bit",
    "CRC": "the CRC does not match",
    "ROLE": "an echo, or two peers of the same kind",
    "VERSION": "a version other than 1",
    "RESERVED": "reserved bits are ignored",
}


def with_crc(head):
    return head + struct.pack(">I", zlib.crc32(head))


def add(out, name, req, comment, data, receiver, expected=None, error=None,
        flags=(), **more):
    out.add(name, req, comment, {"hex": data.hex(), "receiver": receiver},
            expected, error, flags, **more)


def build():
    out = VectorFile("preface", NOTES)
    client = wire.encode_preface(R.ROLE_CLIENT)
    server = wire.encode_preface(R.ROLE_SERVER)
    peers = (("client", server, R.ROLE_SERVER),
             ("server", client, R.ROLE_CLIENT))
    for receiver, good, role in peers:
        add_for(out, receiver, good, role)
    add(out, "client-rejected", "V1d", "the server speaks only version 1",
        wire.encode_preface(R.ROLE_SERVER, 1, 1), "client",
        {"version": 1, "flags": 1, "rejected": True}, flags=["VERSION"])
    add(out, "client-rejected-other-bits", "V1d X2",
        "rejection with reserved bits set",
        wire.encode_preface(R.ROLE_SERVER, 1, 0xFF), "client",
        {"version": 1, "flags": 255, "rejected": True},
        flags=["VERSION", "RESERVED"])
    add(out, "client-rejected-newer", "V1d", "the server speaks up to 3",
        wire.encode_preface(R.ROLE_SERVER, 3, 1), "client",
        {"version": 3, "flags": 1, "rejected": True}, flags=["VERSION"])
    add(out, "server-flag-from-client", "X2",
        "in a client's preface all flag bits are reserved",
        wire.encode_preface(R.ROLE_CLIENT, 1, 1), "server",
        {"version": 1, "flags": 1, "rejected": False}, flags=["RESERVED"])
    return out


def add_for(out, receiver, good, role):
    """The cases that are alike on both sides."""
    add(out, receiver + "-good", "V2a V2b", "version 1", good, receiver,
        {"version": 1, "flags": 0, "rejected": False})
    add(out, receiver + "-reserved", "X2", "reserved flag bits set",
        wire.encode_preface(role, 1, 0xFE), receiver,
        {"version": 1, "flags": 0xFE, "rejected": False},
        flags=["RESERVED"])
    for version in (0, 2, 0xFFFF):
        add(out, "%s-version-%d" % (receiver, version),
            "V1c" if receiver == "server" else "V1d",
            "version %d" % version, wire.encode_preface(role, version),
            receiver, error=wire_error("VERSION_REJECTED"),
            flags=["VERSION"])
    other = R.ROLE_CLIENT if role == R.ROLE_SERVER else R.ROLE_SERVER
    for name, value in (("own", other), ("zero", 0), ("lower", role | 0x20)):
        add(out, "%s-role-%s" % (receiver, name), "V2b",
            "role 0x%02x" % value, wire.encode_preface(value), receiver,
            error=wire_error("PROTOCOL_ERROR"), flags=["ROLE"])
    for i in range(8):
        bad = bytearray(good)
        bad[i] ^= 0x80 if i == 0 else 0x01
        add(out, "%s-magic-%d" % (receiver, i), "V2b V2c",
            "magic byte %d is wrong, CRC fits" % i,
            with_crc(bytes(bad[:12])), receiver,
            error=wire_error("PROTOCOL_ERROR"), flags=["MAGIC"])
    add_mangled(out, receiver, good)
    for i in range(8, 16):
        bad = bytearray(good)
        bad[i] ^= 0x10
        add(out, "%s-flip-%d" % (receiver, i), "V2b",
            "a bit of byte %d flipped" % i, bytes(bad), receiver,
            error=wire_error("CORRUPT_STREAM"), flags=["CRC"])


def add_mangled(out, receiver, good):
    for name, bad in (
            ("tls", bytes.fromhex("16030102000100ef0103031122334455")),
            ("http", b"GET / HTTP/1.1\r\n"),
            ("ssh", b"SSH-2.0-OpenSSH_"),
            ("motd", b"Welcome to host!"),
            ("zeros", bytes(16)),
            ("lf-for-crlf", good.replace(b"\r\n", b"\n") + b"\x00"),
            ("crlf-for-lf", good.replace(b"\x1a\n", b"\x1a\r\n")[:16]),
            ("seven-bit", bytes(b & 0x7F for b in good))):
        add(out, "%s-%s" % (receiver, name), "V2c W1",
            "not a preface: " + name, bad, receiver,
            error=wire_error("PROTOCOL_ERROR"),
            flags=["NEWLINES" if name in ("lf-for-crlf", "crlf-for-lf",
                                          "seven-bit") else "MAGIC"])
