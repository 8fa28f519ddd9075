"""Bytes <-> messages: preface, frames, TLVs, and every payload of version 1.

The oracle for belay-1.md, sections 5 to 8 and 10.  Decoding is
strict and complete: each check names its rule, and checks run in the order of
F3a: length limit, CRC, direction and type, fixed fields, TLVs.

A decoded message is a Message: the frame header, a dict of fields named as in
the text, the TLVs this message defines, and the types of those it ignores.
"""

import struct
import zlib
from collections import namedtuple

import registry as R

CONNECTION = "connection"   # the connection ends
REQUEST = "request"         # only this request fails, the connection goes on
LOCAL = "local"             # no code travels: the receiver refuses the data

U64_MAX = (1 << 64) - 1
CHUNK_HEADER = R.LAYOUT_LEN["CHUNK"]
FRAME_HEADER = R.LAYOUT_LEN["HEADER"]


class WireError(Exception):
    """A broken rule: a wire code (or local reason), its reach, the rule."""

    def __init__(self, code, rule, why, scope=CONNECTION):
        super().__init__("%s (%s): %s" % (code, rule, why))
        self.code, self.rule, self.why, self.scope = code, rule, why, scope

    def value(self):
        return getattr(R, "WIRE_" + self.code) if self.scope != LOCAL else 0


def malformed(rule, why):
    """The bytes cannot be read as this message: the connection ends."""
    return WireError("PROTOCOL_ERROR", rule, why)


def refused(code, rule, why):
    """The request is readable and wrong: only it fails."""
    return WireError(code, rule, why, REQUEST)


# -- preface (section 5) ------------------------------------------------------

Preface = namedtuple("Preface", "version role flags")


def encode_preface(role, version=None, flags=0):
    head = R.PREFACE_MAGIC + struct.pack(
        ">HBB", R.PROTO_VERSION if version is None else version, role, flags)
    return head + struct.pack(">I", zlib.crc32(head))


def decode_preface(data, peer_role):
    """Checks magic, CRC, role, version, in this order.

    A client gets a rejected preface back as a value, since the server's
    version tells it how to dial again; a server that reads a foreign version
    raises VERSION_REJECTED."""
    magic, version, role, flags, crc = struct.unpack(">8sHBBI", data)
    if magic != R.PREFACE_MAGIC:
        raise malformed("V2b", "the first eight bytes are not the magic")
    if crc != zlib.crc32(data[:12]):
        raise WireError("CORRUPT_STREAM", "V2b", "CRC of the preface")
    if role != peer_role:
        raise malformed("V2b", "the peer has the wrong role")
    rejected = role == R.ROLE_SERVER and flags & R.PREFACE_REJECTED
    if not rejected and version != R.PROTO_VERSION:
        raise WireError("VERSION_REJECTED", "V1c", "version %d" % version)
    return Preface(version, role, flags)


# -- frames (section 6) -------------------------------------------------------

Header = namedtuple("Header", "length type flags request_id crc")

NAMES = {value: frame.name for value, frame in R.FRAMES.items()}
TYPES = {name: value for value, name in NAMES.items()}
REQUESTS = {f.name for f in R.FRAMES.values() if f.id_rule == "new"}
CONNECTION_FRAMES = {"HELLO-C", "HELLO-S", "GOAWAY"}

END_ALWAYS = {f.name for f in R.FRAMES.values() if f.end_rule == "always"}
END_NEVER = {f.name for f in R.FRAMES.values() if f.end_rule == "never"}

ACCEPT = "accept"               # decode it
SKIP = "skip"                   # F5a: an ignorable type
ANSWER_UNSUPPORTED = "answer_unsupported"   # F5b: server, unknown request
CANCEL_LOCALLY = "cancel_locally"           # F5c: client, unknown answer


def covered(frame_type, payload):
    """F1a: the part of the payload under the frame's CRC."""
    return payload[:CHUNK_HEADER] if frame_type == R.FRAME_CHUNK else payload


def encode_frame(frame_type, request_id, payload=b"", flags=0, reserved=0):
    head = struct.pack(">IBBHI", len(payload), frame_type, flags, reserved,
                       request_id)
    crc = zlib.crc32(head + covered(frame_type, payload))
    return head + struct.pack(">I", crc) + payload


def decode_header(data):
    length, frame_type, flags, _, request_id, crc = struct.unpack(
        ">IBBHII", data)
    return Header(length, frame_type, flags, request_id, crc)


def check_length(header):
    """F2b, from the 16 header bytes alone, before anything is allocated."""
    limit = R.LIMIT_CONTROL_PAYLOAD
    if header.type == R.FRAME_CHUNK:
        limit = R.LIMIT_CHUNK_PAYLOAD
    if header.length > limit:
        raise WireError("FRAME_TOO_LARGE", "F2b",
                        "%d bytes for type 0x%02x" %
                        (header.length, header.type))


def check_crc(head_bytes, payload):
    """F1b.  head_bytes are the 16 bytes as they came."""
    header = decode_header(head_bytes)
    if header.crc != zlib.crc32(head_bytes[:12] +
                                covered(header.type, payload)):
        raise WireError("CORRUPT_STREAM", "F1b", "CRC of a frame")


def check_type(header, sender):
    """F5 and the direction column: what becomes of this frame type."""
    name = NAMES.get(header.type)
    if name is None:
        return disposition_of_unknown(header.type, sender)
    frame = R.FRAMES[header.type]
    senders = frame.senders if header.request_id else frame.zero_senders
    if senders not in ("both", "c2s" if sender == "client" else "s2c"):
        raise malformed("F5d", "%s from the %s" % (name, sender))
    return ACCEPT


def disposition_of_unknown(frame_type, sender):
    if frame_type >= 0x80:
        return SKIP
    if sender == "client" and 0x10 <= frame_type <= 0x3F:
        return ANSWER_UNSUPPORTED
    if sender == "server" and 0x40 <= frame_type <= 0x7F:
        return CANCEL_LOCALLY
    raise malformed("F5d", "type 0x%02x from the %s" % (frame_type, sender))


def check_header_fields(header):
    """Request id and END, as far as the frame alone can tell."""
    name = NAMES[header.type]
    rule = R.FRAMES[header.type].id_rule
    ident = header.request_id
    end = header.flags & R.FRAME_FLAG_END
    if rule == "zero" and ident != 0:
        raise malformed("F6c", "%s with a request id" % name)
    if rule == "new" and ident in (0, R.REQUEST_ID_NEVER):
        raise malformed("F6b", "request id 0x%x" % ident)
    if rule == "answer" and ident == 0:
        raise malformed("F6d", "%s without a request id" % name)
    if name in END_ALWAYS and not end:
        raise malformed("F7b", "%s without END" % name)
    if name in END_NEVER and end:
        raise malformed("F7b", "%s with END" % name)


# -- cursor -------------------------------------------------------------------

class Cursor:
    """Bounded reading; running out of bytes is a malformed frame."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def left(self):
        return len(self.data) - self.at

    def take(self, n):
        if n > self.left():
            raise malformed("F3b", "%d bytes wanted, %d left" %
                            (n, self.left()))
        self.at += n
        return self.data[self.at - n:self.at]

    def uint(self, width):
        return int.from_bytes(self.take(width), "big")

    def sint(self, width):
        return int.from_bytes(self.take(width), "big", signed=True)


# -- TLVs (section 7) ---------------------------------------------------------

# Values of HELLO that have a range (section 7): type -> (least, most).
TLV_RANGES = {
    R.TLV_MAX_CHUNK_LOG2: (R.LIMIT_CHUNK_LOG2_MIN, R.LIMIT_CHUNK_LOG2_MAX),
    R.TLV_MAX_REQUESTS: (R.LIMIT_REQUESTS_MIN, 0xFFFF),
    R.TLV_MAX_HANDLES: (R.LIMIT_HANDLES_MIN, 0xFFFF),
    R.TLV_MAX_RANGES: (R.LIMIT_RANGES_MIN, 0xFFFF),
    R.TLV_IDLE_TIMEOUT: (R.LIMIT_IDLE_MIN_S, 0xFFFF),
}


def encode_tlv(tlv_type, value):
    return struct.pack(">HH", tlv_type, len(value)) + value


def encode_tlvs(tlvs):
    """Ascending by (type & 0x7FFF), as every sender must."""
    ordered = sorted(tlvs, key=lambda tlv: tlv[0] & ~R.TLV_CRITICAL)
    return b"".join(encode_tlv(t, v) for t, v in ordered)


def decode_tlvs(cursor, context):
    """All TLVs up to the end of the cursor.

    Returns ([(type, value)] of those this context defines, [type] of the
    ignored ones).  A type that belongs to another message only is unknown
    here."""
    pairs = []
    last = -1
    while cursor.left():
        tlv_type, length = cursor.uint(2), cursor.uint(2)
        value = cursor.take(length)
        order = tlv_type & ~R.TLV_CRITICAL
        if order <= last:
            raise malformed("X1a", "TLV 0x%04x is out of order or twice" %
                            tlv_type)
        last = order
        pairs.append((tlv_type, value))
    known, ignored = [], []
    for tlv_type, value in pairs:
        if tlv_known(tlv_type, context):
            check_tlv_value(tlv_type, value)
            known.append((tlv_type, value))
        elif tlv_type & R.TLV_CRITICAL:
            raise unknown_critical(tlv_type, context)
        else:
            ignored.append(tlv_type)
    return known, ignored


def tlv_known(tlv_type, context):
    """A context is a message, or ENTRY; HELLO-C and HELLO-S tell whose."""
    row = R.TLVS.get(tlv_type)
    return row is not None and (context in row.where or
                                context.split("-")[0] in row.where)


def unknown_critical(tlv_type, context):
    why = "critical TLV 0x%04x is unknown in %s" % (tlv_type, context)
    if context in REQUESTS:
        return refused("UNSUPPORTED", "X1c", why)
    return malformed("X1e" if context in CONNECTION_FRAMES else "X1d", why)


def check_tlv_value(tlv_type, value):
    row = R.TLVS[tlv_type]
    if not row.len_min <= len(value) <= row.len_max:
        raise malformed("F3b", "TLV 0x%04x has %d bytes" %
                        (tlv_type, len(value)))
    if row.type == "u16list" and len(value) % 2:
        raise malformed("F3b", "TLV 0x%04x is a list of u16" % tlv_type)
    if tlv_type in TLV_RANGES:
        least, most = TLV_RANGES[tlv_type]
        if not least <= int.from_bytes(value, "big") <= most:
            raise malformed("H4", "TLV 0x%04x is out of range" % tlv_type)


# -- paths and names (N1a, N3a) -----------------------------------------------

def check_path(path):
    """N1a.  Violations are refused, never cleaned."""
    if len(path) > R.LIMIT_PATH:
        raise refused("BAD_PATH", "N1a", "longer than 4096 bytes")
    if path == b"":
        return []
    parts = path.split(b"/")
    for part in parts:
        if part in (b"", b".", b".."):
            raise refused("BAD_PATH", "N1a", "component %r" % part)
        if len(part) > R.LIMIT_COMPONENT:
            raise refused("BAD_PATH", "N1a", "component over 255 bytes")
        if b"\x00" in part:
            raise refused("BAD_PATH", "N1a", "NUL")
    return parts


WINDOWS_DEVICES = {"CON", "PRN", "AUX", "NUL"} | {
    port + digit for port in ("COM", "LPT") for digit in "123456789"}


def check_name(name, windows=False):
    """N3a: may a client create a file with this name from a listing?"""
    bad = (not 1 <= len(name) <= R.LIMIT_COMPONENT or name in (b".", b"..")
           or b"/" in name or b"\x00" in name)
    if windows and not bad:
        stem = name.split(b".")[0].rstrip(b" ").decode("latin-1").upper()
        bad = (b"\\" in name or b":" in name or stem in WINDOWS_DEVICES
               or name[-1:] in (b" ", b"."))
    if bad:
        raise WireError("HOSTILE_NAME", "N3a", repr(name), LOCAL)


# -- payloads (sections 8, 10, 15) --------------------------------------------

WITHOUT_TLVS = {"PING", "PONG", "CHUNK", "NOTICE"}


def layout(name):
    """Fixed fields of a message as layout.tsv lists them; some have none."""
    return R.LAYOUTS.get(name, ())


def read_fixed(cursor, name):
    fields = {}
    for field, _, width, kind in layout(name):
        if kind == "reserved":
            cursor.take(width)
        elif kind == "bytes":
            fields[field] = cursor.take(width)
        else:
            fields[field] = cursor.uint(width) if kind[0] == "u" \
                else cursor.sint(width)
    return fields


def write_fixed(fields, name):
    """What the caller leaves out is zero."""
    out = b""
    for field, _, width, kind in layout(name):
        if kind == "reserved":
            out += bytes(width)
        elif kind == "bytes":
            out += fields.get(field, bytes(width))
        else:
            out += fields.get(field, 0).to_bytes(width, "big",
                                                 signed=kind[0] == "i")
    return out


class Message:
    def __init__(self, header, name, fields, tlvs=(), ignored=()):
        self.header, self.name, self.fields = header, name, fields
        self.tlvs, self.ignored = list(tlvs), list(ignored)

    def tlv(self, tlv_type, default=None):
        """The value of a TLV, if this message carries it."""
        return dict(self.tlvs).get(tlv_type, default)

    def tlv_uint(self, tlv_type, default):
        value = self.tlv(tlv_type)
        return default if value is None else int.from_bytes(value, "big")

    @property
    def end(self):
        return bool(self.header.flags & R.FRAME_FLAG_END)


def decode_message(header, payload, sender, max_ranges=None):
    """The payload of one frame whose length, CRC and type were accepted."""
    name = NAMES[header.type]
    check_header_fields(header)
    cursor = Cursor(payload)
    fields = read_fixed(cursor, name)
    variable = READ_VARIABLE.get(name)
    if variable:
        variable(cursor, fields)
    check = CHECK.get(name)
    if check:
        check(fields, max_ranges or R.LIMIT_RANGES_DEFAULT)
    if name in WITHOUT_TLVS:
        if cursor.left():
            raise malformed("F3b", "%s has %d bytes too many" %
                            (name, cursor.left()))
        return Message(header, name, fields)
    message = Message(header, name, fields,
                      *decode_tlvs(cursor, tlv_context(name, sender)))
    check_required_tlvs(message)
    return message


def tlv_context(name, sender):
    if name == "HELLO":
        return "HELLO-C" if sender == "client" else "HELLO-S"
    return name


def check_required_tlvs(message):
    """Fields and TLVs together."""
    if message.name == "INFO" and message.tlv(R.TLV_VERSION) is None \
            and message.fields["file_type"] == R.FILE_REGULAR:
        raise malformed("N2a", "INFO of a regular file without VERSION")
    if message.name == "AUTH" and message.tlv(R.TLV_TOKEN) is None \
            and message.fields["method"] == R.AUTH_BEARER:
        raise refused("BAD_REQUEST", "F3c", "bearer without TOKEN")
    if message.name == "LIST" and \
            message.tlv_uint(R.TLV_MAX_ENTRIES, 1) == 0:
        raise refused("BAD_REQUEST", "Q6", "MAX_ENTRIES 0")


# Variable parts, between the fixed fields and the TLVs.

def read_path(cursor, fields):
    fields["path"] = cursor.take(fields["path_len"])


def read_ranges(cursor, fields):
    fields["ranges"] = [(cursor.uint(8), cursor.uint(8))
                        for _ in range(fields["count"])]


def read_chunk_data(cursor, fields):
    fields["data"] = cursor.take(cursor.left())


def read_digests(cursor, fields):
    fields["digests"] = [cursor.take(32) for _ in range(fields["count"])]
    fields["proof"] = [cursor.take(32) for _ in range(fields["proof_len"])]


def read_notice(cursor, fields):
    fields["text"] = cursor.take(cursor.left())


def read_entries(cursor, fields):
    fields["entries"] = []
    for _ in range(fields["count"]):
        # "length" counts the bytes of this entry after itself.
        head = cursor.take(2)
        inner = Cursor(head + cursor.take(int.from_bytes(head, "big")))
        entry = read_fixed(inner, "ENTRY")
        entry["name"] = inner.take(entry["name_len"])
        entry["tlvs"], entry["ignored"] = decode_tlvs(inner, "ENTRY")
        fields["entries"].append(entry)


READ_VARIABLE = {"OPEN": read_path, "LIST": read_path, "GET": read_ranges,
                 "CHUNK": read_chunk_data, "DIGESTS": read_digests,
                 "ENTRIES": read_entries, "NOTICE": read_notice}


# Meaning of fixed and variable fields, as far as one message can tell.

def check_open(fields, _):
    want = fields["want_chunk_log2"]
    if bool(fields["flags"] & R.OPEN_NO_HANDLE) != (fields["handle"] == 0):
        raise refused("BAD_REQUEST", "O1", "handle and NO_HANDLE disagree")
    if want and not R.LIMIT_CHUNK_LOG2_MIN <= want <= R.LIMIT_CHUNK_LOG2_MAX:
        raise refused("UNSUPPORTED", "O4", "chunk_log2 %d" % want)
    check_path(fields["path"])


def check_list(fields, _):
    check_path(fields["path"])


def check_get(fields, max_ranges):
    if fields["urgency"] > R.LIMIT_URGENCY:
        raise refused("BAD_REQUEST", "G1d", "urgency %d" % fields["urgency"])
    check_ranges(fields["ranges"], max_ranges)


def check_ranges(ranges, max_ranges):
    """G1a, G1b: at least one, sorted, disjoint, none empty or overflowing."""
    if not 1 <= len(ranges) <= max_ranges:
        raise refused("BAD_REQUEST", "G1a", "%d ranges" % len(ranges))
    end = 0
    for i, (offset, length) in enumerate(ranges):
        last = i == len(ranges) - 1
        if length == 0 or offset < end:
            raise refused("BAD_REQUEST", "G1a", "range %d" % i)
        if length == R.GET_TO_END:
            if not last:
                raise refused("BAD_REQUEST", "G1b",
                              "only the last range may be open")
            end = U64_MAX
        elif offset + length > U64_MAX:
            raise refused("BAD_REQUEST", "G1a", "range %d overflows" % i)
        else:
            end = offset + length


def check_digest(fields, _):
    if fields["block_log2"] > R.LIMIT_BLOCK_LOG2:
        raise refused("BAD_REQUEST", "D1", "block_log2 over 32")


def check_info(fields, _):
    check_file_type(fields)
    c = fields["chunk_log2"]
    if fields["file_type"] == R.FILE_REGULAR and not \
            R.LIMIT_CHUNK_LOG2_MIN <= c <= R.LIMIT_CHUNK_LOG2_MAX:
        raise malformed("I3", "chunk_log2 %d in INFO" % c)
    if fields["size"] >> 63:
        raise malformed("O14", "size %d" % fields["size"])


def check_file_type(fields):
    if not R.FILE_REGULAR <= fields["file_type"] <= R.FILE_OTHER:
        raise malformed("F3b", "file type %d" % fields["file_type"])
    if fields["mtime_ns"] > 999999999:
        raise malformed("O13", "mtime_ns over 999999999")


def check_entries(fields, _):
    """Names ascend strictly within a frame; whether a name may be created
    is check_name's question."""
    last = None
    for entry in fields["entries"]:
        check_file_type(entry)
        if not 1 <= len(entry["name"]) <= R.LIMIT_COMPONENT:
            raise malformed("Q3", "a name of %d bytes" % len(entry["name"]))
        if last is not None and entry["name"] <= last:
            raise malformed("Q1", "entries do not ascend")
        last = entry["name"]


def check_digests(fields, _):
    if not 1 <= fields["count"] <= R.LIMIT_DIGESTS_PER_FRAME:
        raise malformed("D6", "%d digests" % fields["count"])
    if fields["block_log2"] > R.LIMIT_BLOCK_LOG2:
        raise malformed("D6", "block_log2 over 32")


def check_chunk(fields, _):
    if fields["stored_len"] != len(fields["data"]):
        raise malformed("G4e", "stored length is not L - 56")


def check_notice(fields, _):
    if len(fields["text"]) > R.LIMIT_NOTICE:
        raise malformed("F2a", "NOTICE over 1024 bytes")


CHECK = {"OPEN": check_open, "LIST": check_list, "GET": check_get,
         "DIGEST": check_digest, "INFO": check_info,
         "ENTRIES": check_entries, "DIGESTS": check_digests,
         "CHUNK": check_chunk, "NOTICE": check_notice}


# -- encoding messages --------------------------------------------------------

def encode_payload(name, fields=None, tlvs=()):
    """Lengths and counts follow from what they describe."""
    fields = dict(fields or {})
    tail = b""
    if name in ("OPEN", "LIST"):
        tail = fields["path"]
        fields["path_len"] = len(tail)
    elif name == "GET":
        fields["count"] = len(fields["ranges"])
        tail = b"".join(struct.pack(">QQ", *r) for r in fields["ranges"])
    elif name == "CHUNK":
        tail = fields["data"]
        fields["stored_len"] = len(tail)
    elif name == "DIGESTS":
        fields["count"] = len(fields["digests"])
        fields["proof_len"] = len(fields.get("proof", ()))
        tail = b"".join(fields["digests"]) + b"".join(fields.get("proof", ()))
    elif name == "ENTRIES":
        fields["count"] = len(fields["entries"])
        tail = b"".join(encode_entry(e) for e in fields["entries"])
    elif name == "NOTICE":
        tail = fields["text"]
    return write_fixed(fields, name) + tail + encode_tlvs(tlvs)


def encode_entry(entry):
    name, tlvs = entry["name"], encode_tlvs(entry.get("tlvs", ()))
    entry = dict(entry, name_len=len(name))
    entry["length"] = R.LAYOUT_LEN["ENTRY"] - 2 + len(name) + len(tlvs)
    return write_fixed(entry, "ENTRY") + name + tlvs


def encode(name, request_id=0, fields=None, tlvs=(), end=False):
    """One whole frame."""
    flags = R.FRAME_FLAG_END if end or name in END_ALWAYS else 0
    return encode_frame(TYPES[name], request_id,
                        encode_payload(name, fields, tlvs), flags)


# -- one direction of a connection, bytes in, messages out --------------------

class StreamReader:
    """Feed the bytes of one direction in pieces of any size.

    Returns what each complete element is: a Preface, a Message, or a tuple
    (disposition, Header) for a frame that is not decoded.  Raises WireError
    at the first broken rule of scope connection; an error of scope request
    is returned as a tuple (WireError, Header), since the stream goes on."""

    def __init__(self, sender):
        self.sender = sender
        self.buffer = bytearray()
        self.preface = None
        self.max_ranges = None

    def feed(self, data):
        self.buffer += data
        out = []
        while True:
            item = self.step()
            if item is None:
                return out
            out.append(item)

    def step(self):
        if self.preface is None:
            if len(self.buffer) < R.PREFACE_LEN:
                self.check_magic_so_far()
                return None
            role = R.ROLE_CLIENT if self.sender == "client" else R.ROLE_SERVER
            self.preface = decode_preface(self.cut(R.PREFACE_LEN), role)
            return self.preface
        if len(self.buffer) < FRAME_HEADER:
            return None
        header = decode_header(bytes(self.buffer[:FRAME_HEADER]))
        check_length(header)
        if len(self.buffer) < FRAME_HEADER + header.length:
            return None
        head_bytes = self.cut(FRAME_HEADER)
        return self.frame(head_bytes, header, self.cut(header.length))

    def frame(self, head_bytes, header, payload):
        check_crc(head_bytes, payload)
        disposition = check_type(header, self.sender)
        if disposition != ACCEPT:
            return disposition, header
        try:
            return decode_message(header, payload, self.sender,
                                  self.max_ranges)
        except WireError as error:
            if error.scope != REQUEST:
                raise
            return error, header

    def check_magic_so_far(self):
        """A foreign peer shows at its first wrong byte."""
        n = min(len(self.buffer), len(R.PREFACE_MAGIC))
        if self.buffer[:n] != R.PREFACE_MAGIC[:n]:
            raise malformed("V2c", "the first eight bytes are not the magic")

    def cut(self, n):
        piece = bytes(self.buffer[:n])
        del self.buffer[:n]
        return piece
