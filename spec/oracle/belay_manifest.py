"""Signed manifest: the oracle for belay-manifest-1.md."""

import base64
import binascii
import calendar
import re

import belay_id as identity
import belay_wire as wire
import ed25519
from belay_wire import LOCAL, R, WireError

FIRST_LINE = b"belay-manifest/1"
DASH = "\u2014 ".encode()
NAME = re.compile(rb"[\x21-\x2a\x2c-\x7e\x80-\xff]+")
NUMBER = re.compile(rb"0|[1-9][0-9]*")
TIME = re.compile(rb"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)Z")
FILE = re.compile(rb"([0-9a-f]{64}) ([0-9]{2}) (0|[1-9][0-9]*) (.+)")
SIGNATURE = re.compile(rb"([^ ]+) ([A-Za-z0-9+/]+={0,2})")


def refuse(reason, rule, why):
    """The five failures of MF1-V7 are told apart by reason."""
    return WireError(reason, rule, why, LOCAL)


def malformed(rule, why):
    return refuse("MALFORMED", rule, why)


class Key:
    """A trusted key, from its text: name+keyid+base64(0x01 || public)."""

    def __init__(self, text):
        name, ident, data = text.split("+", 2)
        raw = base64.b64decode(data, validate=True)
        self.name, self.public = name.encode(), raw[1:]
        self.ident = key_id(self.name, self.public)
        if raw[:1] != b"\x01" or len(raw) != 33 or self.ident.hex() != ident:
            raise ValueError("not a key: " + text)


def key_id(name, public):
    full = identity.sha256(name, b"\n\x01", public)
    return full[:R.LIMIT_MANIFEST_KEY_ID]


def key_text(name, public):
    return "%s+%s+%s" % (name.decode(), key_id(name, public).hex(),
                         base64.b64encode(b"\x01" + public).decode())


class Manifest:
    def __init__(self, origin, serial, expires, files, signed, signers):
        self.origin, self.serial, self.expires = origin, serial, expires
        self.files = files          # [(path, c, size, CID)], ascending
        self.signed = signed        # the signed bytes
        self.signers = signers      # names of known keys that verified


def split(data):
    """(signed bytes, bytes of the signature lines)"""
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        raise malformed("MF1-F1", "not UTF-8")
    at = data.find(b"\n\n")
    if at < 0 or not data.endswith(b"\n"):
        raise malformed("MF1-F1", "no empty line, or no LF at the end")
    return data[:at + 1], data[at + 2:]


def check_signatures(signed, tail, keys):
    """MF1-S2 to S4: names of the known keys that verified."""
    good = []
    lines = tail.split(b"\n")[:-1]
    if not lines:
        raise malformed("MF1-F1", "no signature line")
    for line in lines:
        found = SIGNATURE.fullmatch(line[len(DASH):])
        if not line.startswith(DASH) or not found or \
                not NAME.fullmatch(found[1]):
            raise malformed("MF1-F1", "signature line %r" % line)
        try:
            raw = base64.b64decode(found[2], validate=True)
        except binascii.Error:
            raise malformed("MF1-F1", "base64 in %r" % line)
        if len(raw) != R.LIMIT_MANIFEST_KEY_ID + 64:
            continue
        ident, signature = raw[:R.LIMIT_MANIFEST_KEY_ID], \
            raw[R.LIMIT_MANIFEST_KEY_ID:]
        for key in keys:
            if (key.name, key.ident) != (found[1], ident):
                continue
            if not ed25519.verify(key.public, signed, signature):
                raise refuse("BAD_SIGNATURE", "MF1-S3", key.name.decode())
            good.append(key.name.decode())
    if not good:
        raise refuse("NO_KNOWN_KEY", "MF1-S4", "no signature of a known key")
    return good


def parse(data, keys):
    signed, tail = split(data)
    signers = check_signatures(signed, tail, keys)
    lines = signed.split(b"\n")[:-1]
    for line in lines:
        if any(byte < 0x20 or byte == 0x7F for byte in line) or \
                line.endswith(b" "):
            raise malformed("MF1-F1", "a control character or final space")
    if len(lines) < 4 or lines[0] != FIRST_LINE:
        raise malformed("MF1-F2", "header")
    origin = header(lines[1], b"origin", NAME)
    if len(origin) > R.LIMIT_COMPONENT:
        raise malformed("MF1-F2", "origin is too long")
    serial = int(header(lines[2], b"serial", NUMBER))
    if serial >> 64:
        raise malformed("MF1-F2", "serial is too large")
    expires = seconds(header(lines[3], b"expires", TIME))
    return Manifest(origin, serial, expires, files(lines[4:]), signed,
                    signers)


def header(line, word, form):
    name, _, value = line.partition(b" ")
    if name != word or not form.fullmatch(value):
        raise malformed("MF1-F2", "%r where %s belongs" % (line,
                                                           word.decode()))
    return value


def seconds(text):
    year, month, day, hour, minute, second = map(int,
                                                 TIME.fullmatch(text).groups())
    days = calendar.monthrange(year, month)[1] \
        if 1 <= month <= 12 and year else 0
    if not (1 <= day <= days and hour < 24 and minute < 60 and second < 60):
        raise malformed("MF1-F2", "no such time: %r" % text)
    return calendar.timegm((year, month, day, hour, minute, second))


def files(lines):
    out = []
    for line in lines:
        found = FILE.fullmatch(line)
        if not found:
            raise malformed("MF1-F2", "file line %r" % line)
        c, size = int(found[2]), int(found[3])
        try:
            identity.check_geometry(size, c)
        except identity.IdError as error:
            raise malformed("MF1-F3", str(error))
        out.append((decode_path(found[4]), c, size,
                    bytes.fromhex(found[1].decode())))
    paths = [row[0] for row in out]
    if any(b <= a for a, b in zip(paths, paths[1:])):
        raise malformed("MF1-F5", "paths do not ascend")
    every = set(paths)
    for path in paths:
        parts = path.split(b"/")
        if any(b"/".join(parts[:n]) in every for n in range(1, len(parts))):
            raise malformed("MF1-F6", "%r lies below a file" % path)
    return out


def escaped(byte):
    """MF1-F4: these bytes are written as % and two upper-case digits."""
    return byte < 0x21 or byte in (0x25, 0x7F)


def encode_path(path):
    return b"".join(b"%%%02X" % b if escaped(b) else bytes([b]) for b in path)


def decode_path(text):
    out = re.sub(rb"%([0-9A-F]{2})",
                 lambda m: bytes([int(m[1], 16)]), text)
    if encode_path(out) != text:
        raise malformed("MF1-F4", "escapes of %r" % text)
    try:
        parts = wire.check_path(out)
    except WireError as error:
        raise malformed("MF1-F4", error.why)
    if not parts:
        raise malformed("MF1-F4", "the empty path")
    return out


def accept(manifest, now, stored_serial=None, stored_signed=None):
    """MF1-V1 to V3: may a client with this memory use the manifest now?"""
    if stored_serial is not None:
        if manifest.serial < stored_serial:
            raise refuse("ROLLBACK", "MF1-V1", "serial %d after %d" %
                         (manifest.serial, stored_serial))
        if manifest.serial == stored_serial and \
                identity.sha256(manifest.signed) != stored_signed:
            raise refuse("ROLLBACK", "MF1-V2", "the same serial, other text")
    if manifest.expires <= now:
        raise refuse("EXPIRED", "MF1-V3", "expired")


def demand(manifest, origin):
    """MF1-V4; a demanded key is the only known one when the file is read."""
    if manifest.origin != origin:
        raise refuse("OTHER_ORIGIN", "MF1-V4", "%r, not %r" % (
            manifest.origin, origin))


def verify_file(manifest, path, data):
    """MF1-V5, V6: are these bytes what the manifest says about the path?"""
    for name, c, size, cid in manifest.files:
        if name == path:
            if len(data) != size or identity.cid_of(data, c) != cid:
                raise refuse("CONTENTS_DIFFER", "MF1-V5", "%r" % path)
            return
    raise refuse("NOT_LISTED", "MF1-V6", "%r" % path)
