"""The fenced `belay-hex` blocks of the specification: parse, expand, re-encode.

The form is defined in spec/README.md, section "Hex blocks". A block is read
into bytes, the bytes are decoded and encoded again by spec/oracle, and both
have to agree; so an example of the text cannot differ from the protocol.
"""

import hashlib
import re
import sys
import zlib
from pathlib import Path

sys.dont_write_bytecode = True
ORACLE = Path(__file__).resolve().parents[1] / "oracle"
sys.path.insert(0, str(ORACLE))

import belay_id  # noqa: E402  (needs the path above)
import belay_wire as wire  # noqa: E402

R = wire.R

FENCE = re.compile(r"^```belay-hex ?(.*?)\n(.*?)^```$", re.DOTALL | re.M)
MACRO = re.compile(r"^(pattern|changed)\((\d+) @ (\d+)\)$")
TLV_LINE = re.compile(r"^  ([0-9a-f]{4}) [0-9a-f]{4} ?[0-9a-f]* ; (\w+)$")
ELEMENT = re.compile(r"^([CS]) (\w+) +(.*)$")


class HexError(Exception):
    """A block that does not say what it means."""


def changed_file():
    """Second version of the worked example: longer, one byte inverted."""
    data = bytearray(belay_id.pattern(20100))
    data[9000] ^= 0xFF
    return bytes(data)


def expand(text):
    """The bytes of one line: hex words, or one macro for file contents."""
    text = text.split(";")[0].strip()
    macro = MACRO.match(text)
    if macro:
        name, length, at = macro.group(1), *map(int, macro.group(2, 3))
        if name == "pattern":
            return belay_id.pattern(length, at)
        return changed_file()[at:at + length]
    try:
        return bytes.fromhex(text.replace(" ", ""))
    except ValueError:
        raise HexError(f"not hexadecimal: {text!r}") from None


# ---- streams and parts of streams

def elements(body):
    """(direction, name, bytes) of each preface and frame, then the sums."""
    found, sums = [], []
    for line in body.splitlines():
        if line.startswith("sha256 "):
            sums.append(line.split()[1:])
        elif line.startswith("  "):
            if not found:
                raise HexError("a continuation line comes first")
            check_tlv_name(line)
            found[-1][2] += expand(line)
        else:
            match = ELEMENT.match(line)
            if not match:
                raise HexError(f"neither element nor continuation: {line!r}")
            found.append([match.group(1), match.group(2),
                          expand(match.group(3))])
    return found, sums


def check_tlv_name(line):
    """A comment that names a TLV has to name the right one."""
    match = TLV_LINE.match(line)
    if match and match.group(2) != "grease":
        value = getattr(R, "TLV_" + match.group(2), None)
        if value != int(match.group(1), 16):
            raise HexError(f"TLV {match.group(1)} is not {match.group(2)}")


def reencode_frame(data, sender):
    """Decode one frame with the oracle and encode it again."""
    header = wire.decode_header(data[:wire.FRAME_HEADER])
    payload = data[wire.FRAME_HEADER:]
    if len(payload) != header.length:
        raise HexError(f"length says {header.length}, {len(payload)} follow")
    wire.check_length(header)
    wire.check_crc(data[:wire.FRAME_HEADER], payload)
    wire.check_type(header, sender)
    message = wire.decode_message(header, payload, sender)
    fixed = wire.encode_payload(message.name, message.fields)
    again = fixed + wire.encode_tlvs(split_tlvs(payload[len(fixed):]))
    return message.name, wire.encode_frame(header.type, header.request_id,
                                           again, header.flags)


def split_tlvs(data):
    """Type and value of each TLV, unknown ones included."""
    result = []
    while data:
        length = int.from_bytes(data[2:4], "big")
        result.append((int.from_bytes(data[:2], "big"), data[4:4 + length]))
        data = data[4 + length:]
    return result


def check_element(direction, name, data):
    sender = "client" if direction == "C" else "server"
    if name == "preface":
        role = R.ROLE_CLIENT if direction == "C" else R.ROLE_SERVER
        preface = wire.decode_preface(data, role)
        again = wire.encode_preface(role, preface.version, preface.flags)
    else:
        real, again = reencode_frame(data, sender)
        if real != name:
            raise HexError(f"{name} is a {real}")
    if again != data:
        raise HexError(f"{name}: the oracle encodes\n{again[:96].hex(' ')}")


def check_sums(found, sums):
    """A stream is complete: both directions have their length and hash."""
    if sorted(row[0] for row in sums) != ["C", "S"]:
        raise HexError("a stream needs the sha256 of C and of S")
    for direction, length, digest in sums:
        data = b"".join(d for way, _, d in found if way == direction)
        if len(data) != int(length):
            raise HexError(f"{direction} has {len(data)} bytes, not {length}")
        if hashlib.sha256(data).hexdigest() != digest:
            raise HexError(f"sha256 of {direction} differs")


def check_stream(words, body, whole):
    found, sums = elements(body)
    if whole and len(words) != 1:
        raise HexError("a stream has one name")
    for direction, name, data in found:
        try:
            check_element(direction, name, data)
        except wire.WireError as error:
            raise HexError(f"{name}: {error}") from None
    if whole:
        check_sums(found, sums)
    return len(found)


# ---- hashes

def hash_lines(body):
    lines = body.splitlines()
    if not lines or not lines[-1].startswith("= "):
        raise HexError("the last line is not the result")
    return [expand(line) for line in lines[:-1]], expand(lines[-1][2:])


def oracle_hash(kind, data):
    """What the oracle makes of the fields inside a hash input."""
    if kind == "leaf":
        offset, length = data[1:9], data[9:13]
        return belay_id.leaf(int.from_bytes(offset, "big"),
                             int.from_bytes(length, "big"), data[13:])
    if kind == "node":
        return belay_id.node(data[1:33], data[33:])
    if kind == "cid":
        return belay_id.cid(int.from_bytes(data[4:12], "big"), data[2],
                            data[12:])
    if kind == "digest":
        return belay_id.sha256(data)
    if kind == "root-of-nothing":
        return belay_id.mth([])
    raise HexError(f"unknown kind of hash: {kind}")


def check_hash(words, body):
    pieces, result = hash_lines(body)
    data = b"".join(pieces)
    if hashlib.sha256(data).digest() != result:
        raise HexError("the result is not the SHA-256 of the lines")
    if oracle_hash(words[0], data) != result:
        raise HexError(f"the oracle disagrees about this {words[0]}")
    return 1


def check_path(words, body):
    """First line the block's hash, then its path; the result is the root."""
    given = dict(word.split("=") for word in words)
    pieces, root = hash_lines(body)
    j, m = int(given["j"]), int(given["m"])
    if len(pieces) - 1 != belay_id.path_len(j, m):
        raise HexError("the path has the wrong length")
    if belay_id.root_from_path(j, m, pieces[0], pieces[1:]) != root:
        raise HexError("the path leads elsewhere")
    return 1


def check_block(caption, body):
    """Number of things checked; HexError if one of them is wrong."""
    kind, *words = caption.split() or [""]
    if kind in ("stream", "part"):
        return check_stream(words, body, kind == "stream")
    if kind == "hash":
        return check_hash(words, body)
    if kind == "path":
        return check_path(words, body)
    raise HexError(f"unknown caption: {caption!r}")


# Bytes in hexadecimal that stand in prose: no plain numbers, no words.
LOOSE = re.compile(r"(?<![\w/])(?=\w*\d)(?=\w*[a-fA-F])([0-9a-fA-F]{8,})"
                   r"(?!\w)")


def proven(texts):
    """Every value in hexadecimal that prose may repeat: what the blocks
    contain, the check value of the CRC, and the roots of RFC 6962."""
    known = {b"%08X" % zlib.crc32(b"123456789")}
    for text in texts:
        for match in FENCE.finditer(text):
            known.update(re.findall(rb"[0-9a-f]{8,}",
                                    match.group(2).encode()))
    leaves = []
    for entry in ("", "00", "10", "2021", "3031", "40414243",
                  "5051525354555657", "606162636465666768696a6b6c6d6e6f"):
        known.add(entry.encode())
        leaves.append(belay_id.sha256(b"\0" + bytes.fromhex(entry)))
        known.add(belay_id.mth(leaves).hex()[:8].encode())
    return {value.decode() for value in known}


def check_loose(text, known):
    """(line, mistake) of hexadecimal in prose that nothing proves."""
    prose = FENCE.sub(lambda m: "\n" * m.group(0).count("\n"), text)
    return [(prose.count("\n", 0, m.start()) + 1,
             "no block and no rule gives " + m.group(1))
            for m in LOOSE.finditer(prose) if m.group(1) not in known]


def check_text(text):
    """(checked things, [(line, mistake)]) for all blocks of a Markdown text."""
    count, mistakes = 0, []
    for match in FENCE.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        try:
            count += check_block(match.group(1), match.group(2))
        except HexError as error:
            mistakes.append((line, f"belay-hex {match.group(1)}: {error}"))
    return count, mistakes
