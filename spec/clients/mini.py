#!/usr/bin/env python3
"""A small Belay downloader, written from the text in spec/ alone.

    mini.py [--give-up SECONDS] belay[+tcp]://HOST[:PORT]/PATH[#bl1-..] [FILE]

It is the baseline client of belay-1 section 14.1: raw chunks, one file, one
connection at a time.  It resumes from FILE.part with FILE.journal, compares
digests where a version token proves nothing, and survives a changed file.
Marks such as R3 are rules of belay-1.md.  Exit status: 0 done, 1 failed.
"""
import hashlib, json, os, random, re, socket, ssl, struct, sys, time
import urllib.parse, zlib

MAGIC = bytes.fromhex("89424c590d0a1a0a")
HELLO, PING, PONG, GOAWAY, OPEN, GET, DIGEST = 1, 3, 4, 5, 0x10, 0x12, 0x13
INFO, CHUNK, DIGESTS, DONE, ERROR = 0x40, 0x42, 0x43, 0x44, 0x45
ANSWERS = {OPEN: {INFO}, GET: {CHUNK, DONE}, DIGEST: {DIGESTS, DONE}}
VERSION, CID, RETRY_AFTER, EXPECT_VERSION, EXPECT_CID = 0x30, 0x31, 0x41, 0x8021, 0x8022
PERMANENT, TRANSIENT, STALE, ACCESS, SERVER, PROTOCOL, CANCELLED = range(1, 8)
UNSUPPORTED, BAD_HANDLE, CHANGED_DURING = 0x0102, 0x0108, 0x0302
C_MIN, C_MAX, MAX_RANGES = 12, 22, 64
# Section 7: the lengths of the TLVs that a server may send.
TLV_LENGTHS = {HELLO: {1: (1, 1), 2: (2, 2), 3: (2, 2), 4: (2, 2), 5: (1, 32), 6: (2, 2),
                         7: (2, 2), 8: (1, 128), 9: (1, 32), 10: (2, 128)},
               INFO: {0x30: (1, 32), 0x31: (32, 32), 0x32: (32, 32)},
               ERROR: {12: (2, 64), 0x30: (1, 32), 0x31: (32, 32), 0x40: (1, 512), 0x41: (4, 4),
                       0x42: (8, 8), 0x44: (8, 8)}, DIGESTS: {}}
TLV_LENGTHS[DONE] = TLV_LENGTHS[INFO]
TLV_LEAST = {1: C_MIN, 2: 16, 3: 16, 4: 64, 6: 10}      # 8.1, allowed values


class Failed(Exception):
    """No repeat will help."""


class Lost(Exception):
    """The connection is of no use any more; dial again."""


class Refused(Exception):
    """ERROR for one request."""
    def __init__(self, code):
        super().__init__("error 0x%04x" % code)
        self.code, self.kind = code, code >> 8


# -- identity (belay-id-1) ----------------------------------------------------

def sha(*parts):
    return hashlib.sha256(b"".join(parts)).digest()

def count(size, c):
    return (size + (1 << c) - 1) >> c

def length(size, c, i):
    return min(1 << c, size - (i << c))

def mth(x):
    if len(x) < 2:
        return x[0] if x else sha()
    k = 1 << (len(x) - 1).bit_length() - 1
    return sha(b"\x01", mth(x[:k]), mth(x[k:]))

def cid_of(size, c, digests):
    leaves = [sha(b"\x00", struct.pack(">QI", i << c, length(size, c, i)), d)
              for i, d in enumerate(digests)]
    return sha(b"\x02\x01", bytes([c, 0]), struct.pack(">Q", size), mth(leaves))


# -- one connection -----------------------------------------------------------

def take(form, payload):
    if len(payload) < struct.calcsize(form):
        raise Lost("malformed frame")
    return struct.unpack_from(form, payload)

def tlv(kind, value):
    return struct.pack(">HH", kind, len(value)) + value

def tlvs(payload, of):
    """Type -> value.  X1, F3b: ascending, complete, no critical one, since none
    is known in answers, and the lengths of section 7."""
    found, last = {}, -1
    while payload:
        kind, size = take(">HH", payload)
        low, high = TLV_LENGTHS[of].get(kind, (0, size))
        if kind <= last or kind & 0x8000 or len(payload) < 4 + size \
                or not low <= size <= high or kind in (10, 12) and size % 2:
            raise Lost("malformed TLVs")
        if of == HELLO and int.from_bytes(payload[4:4 + size], "big") < TLV_LEAST.get(kind, 0):
            raise Lost("HELLO breaks H4")
        found[kind], payload, last = payload[4:4 + size], payload[4 + size:], kind
    return found

def wait_as_told(error_payload):
    told = tlvs(error_payload[4:], ERROR).get(RETRY_AFTER, b"\xfa")
    time.sleep(int.from_bytes(told, "big") / 1000)


class Connection:
    def __init__(self, tls, host, port):
        try:
            self.sock = socket.create_connection((host, port), 10)
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if tls:                     # S1b, S3, S4
                context = ssl.create_default_context()
                context.minimum_version = ssl.TLSVersion.TLSv1_3
                context.set_alpn_protocols(["belay/1"])
                self.sock = context.wrap_socket(self.sock, server_hostname=host)
        except OSError as error:
            raise Lost("cannot connect: %s" % error)
        if tls and self.sock.selected_alpn_protocol() != "belay/1":
            raise Failed("the TLS server does not speak belay/1")
        self.sock.settimeout(45)        # T6 and T7; own PINGs are optional
        self.last_id, self.gone = 0, False
        head = MAGIC + struct.pack(">HBB", 1, 0x43, 0)
        self.write(head + struct.pack(">I", zlib.crc32(head)))
        self.send(HELLO, 0, tlv(1, bytes([C_MAX])) + tlv(0x1A1A, b"grease"))
        self.send(random.randrange(0x8A, 0xFB, 16), 0, b"grease")

    def greet(self):
        head = self.read(16)
        magic, version, role, flags, crc = struct.unpack(">8sHBBI", head)
        if magic != MAGIC or crc != zlib.crc32(head[:12]) or role != 0x53:
            raise Failed("this is not a Belay server: %r" % head)
        if flags & 1 or version != 1:
            raise Failed("the server speaks version %d only" % version)
        kind, ident, _, payload = self.frame()
        if kind != HELLO or ident:      # H1a: ERROR or GOAWAY in its place
            self.of_connection(kind, ident, payload)
            raise Lost("no HELLO")
        tlvs(payload, HELLO)            # nothing in it is needed here

    def write(self, data):
        try:
            self.sock.sendall(data)
        except OSError as error:
            raise Lost(str(error))

    def send(self, kind, ident, payload):
        head = struct.pack(">IBBHI", len(payload), kind, 0, 0, ident)
        self.write(head + struct.pack(">I", zlib.crc32(head + payload)) + payload)

    def read(self, n):
        data = bytearray()
        while len(data) < n:
            try:
                piece = self.sock.recv(n - len(data))
            except OSError as error:
                raise Lost(str(error))
            if not piece:
                raise Lost("end of stream")     # C2: never a success
            data += piece
        return bytes(data)

    def frame(self):
        """Type, request id, END, payload of the next frame.  F3a"""
        head = self.read(16)
        size, kind, flags, _, ident, crc = struct.unpack(">IBBHII", head)
        if size > (56 + (1 << C_MAX) if kind == CHUNK else 65535):
            raise Lost("frame too large")
        payload = self.read(size)
        if crc != zlib.crc32(head[:12] + payload[:56 if kind == CHUNK else size]):
            raise Lost("wrong CRC")
        return kind, ident, flags & 1, payload

    def of_connection(self, kind, ident, payload):
        """Handles what may come at any time; False if it is an answer."""
        if kind == PING and ident == 0 and len(payload) == 8:
            self.send(PONG, 0, payload)
        elif kind == GOAWAY and ident == 0:
            self.gone = True
            if self.last_id > take(">IHH", payload)[0]:
                raise Lost("the server goes away")
        elif kind == ERROR and ident == 0:
            code, _ = take(">HH", payload)
            if code >> 8 == TRANSIENT:
                wait_as_told(payload)
            raise (Lost if code >> 8 in (TRANSIENT, STALE, SERVER, PROTOCOL, CANCELLED)
                   else Failed)("the server ends it: error 0x%04x" % code)
        else:                           # C5: PONG; F5a: advisory types
            return kind == PONG and ident == 0 or kind >= 0x80
        return True

    def request(self, kind, payload):
        """Yields type and payload of each answer frame up to END."""
        if self.gone:
            raise Lost("the server went away")
        self.last_id += 1
        self.send(kind, self.last_id, payload)
        end = False
        while not end:
            got, ident, end, body = self.frame()
            if self.of_connection(got, ident, body):
                end = False
                continue
            if ident != self.last_id or got not in ANSWERS[kind] | {ERROR}:
                raise Lost("frame 0x%02x answers nothing" % got)    # F6d
            if got != DIGESTS and end == (got == CHUNK):
                raise Lost("END in the wrong place")                # F7b
            if got == ERROR:
                code, _ = take(">HH", body)
                if code >> 8 == TRANSIENT:
                    wait_as_told(body)
                raise Refused(code)
            yield got, body


def repeat(ask):
    """E1, class transient: the same again on this connection."""
    while True:
        try:
            return ask()
        except Refused as error:
            if error.kind != TRANSIENT:
                raise


# -- one file -----------------------------------------------------------------

class Download:
    def __init__(self, path, name, pin):
        self.path, self.name, self.pin = path, name, pin    # pin: (c, CID)
        self.part, self.journal = name + ".part", name + ".journal"
        self.size, self.c, self.version, self.cid = None, 0, b"", b""
        self.strong, self.weak = False, False   # weak: some INFO was not strong
        self.have, self.damage = {}, {}         # chunk -> D_i, failures
        self.saved = 0.0
        self.file = open(self.part, "r+b" if os.path.exists(self.part) else "w+b")
        try:
            with open(self.journal, encoding="ascii") as f:
                self.load(json.load(f))
        except (OSError, ValueError, KeyError):
            self.size = None

    def load(self, old):
        """R4d: the journal only says where to look; the bytes decide."""
        if old["path"] != self.path.hex() or old["pin"] != repr(self.pin):
            return
        self.size, self.c, self.strong = old["size"], old["c"], old["strong"]
        self.version, self.weak = bytes.fromhex(old["version"]), old["weak"]
        self.cid, claims = bytes.fromhex(old["cid"]), old["have"].items()
        self.have = {int(i): bytes.fromhex(d) for i, d in claims
                     if sha(self.local(int(i))).hex() == d}

    def save(self):
        if self.size is None or not os.path.exists(self.part):
            return
        text = json.dumps({
            "path": self.path.hex(), "pin": repr(self.pin), "size": self.size,
            "c": self.c, "version": self.version.hex(), "strong": self.strong,
            "weak": self.weak, "cid": self.cid.hex(),
            "have": {i: d.hex() for i, d in self.have.items()}})
        self.saved = time.monotonic()
        self.file.flush()
        os.fsync(self.file.fileno())
        with open(self.journal + ".new", "w", encoding="ascii") as f:
            f.write(text)
            f.flush()
            os.fsync(f.fileno())
        os.replace(self.journal + ".new", self.journal)

    def local(self, i, c=None):
        c = c or self.c
        self.file.seek(i << c)
        return self.file.read(length(self.size, c, i))

    def missing(self):
        return [i for i in range(count(self.size, self.c)) if i not in self.have]

    # Steps 1 to 4: leave an open handle and in .have only what fits to it.

    def open(self, link):
        want = self.c or (self.pin[0] if self.pin else 0)
        expect, handle, kept = True, 1, self.size is not None
        while True:
            try:
                info = self.ask(link, handle, want, expect)
                size, c, version, strong, cid = info
                same = cid == self.cid if cid and self.cid else version == self.version
                if not (expect and kept) or same and size == self.size:
                    break                               # N2b, R8
            except Refused as error:
                if error.code == UNSUPPORTED and want:  # R4a, R11c
                    want, expect, handle = 0, False, handle + 1
                    continue
                if error.kind != STALE or not expect:
                    raise
            if self.pin and self.c in (0, self.pin[0]):
                raise Failed("changed: not the pinned content")     # R11a
            expect, handle = False, handle + 1
        proved = expect and (cid and cid == self.cid or strong and self.strong)
        if self.have and c != self.c:
            self.regrid(c)
        cid, listed = cid or (self.cid if expect else b""), None
        if self.have and not proved:                    # R2 failed: R3, R4
            listed = repeat(lambda: self.digest_list(link, handle, size, c, cid))
        # R4f: what is known changes when the list is here, not before.
        self.size, self.c, self.version, self.strong = size, c, version, strong
        self.cid, self.weak = cid, not strong or expect and self.weak
        if listed is not None:
            self.compare(listed)
        self.file.truncate(size)
        return handle

    def ask(self, link, handle, want, expect):
        payload = struct.pack(">IBBH", handle, 0, want, len(self.path)) + self.path
        if expect and self.version:
            payload += tlv(EXPECT_VERSION, self.version)
        cid = self.pin[1] if self.pin and want == self.pin[0] else self.cid
        if expect and want and cid:
            payload += tlv(EXPECT_CID, cid)
        (_, body), = repeat(lambda: list(link.request(OPEN, payload)))
        got, kind, c, flags, size, _, ns, _ = take(">IBBHQqII", body)
        more = tlvs(body[32:], INFO)
        if got != handle or kind != 1 or VERSION not in more or ns >= 10 ** 9 \
                or want not in (0, c) or not C_MIN <= c <= C_MAX \
                or size >> 63 or count(size, c) > 2 ** 32:
            raise Lost("INFO breaks N2a")
        return size, c, more[VERSION], bool(flags & 1), more.get(CID, b"")

    def regrid(self, c):
        """R6c: hash the kept bytes again; a chunk counts when kept ones
        cover it wholly.  The CID does not hold for another c."""
        old, have = self.c, {}
        for i in range(count(self.size, c)):
            last = (i << c) + length(self.size, c, i) - 1
            if all(k in self.have for k in range(i << c >> old, (last >> old) + 1)):
                have[i] = sha(self.local(i, c))
        self.have, self.c, self.cid = have, c, b""

    def compare(self, listed):
        """R4c: a kept chunk stays, or is copied to where the list wants it.
        A source that an earlier copy overwrote fails its hash."""
        source = {d: i for i, d in self.have.items()}
        old, self.have = self.have, {}
        moves = []
        for i, d in enumerate(listed):
            if old.get(i) == d:
                self.have[i] = d
            elif d in source:
                moves.append((i, source[d]))
        for i, at in sorted(moves, key=lambda m: m[0] if m[1] > m[0] else -m[0]):
            self.file.seek(at << self.c)
            data = self.file.read(length(self.size, self.c, i))
            if sha(data) == listed[i]:
                self.file.seek(i << self.c)
                self.file.write(data)
                self.have[i] = listed[i]

    def digest_list(self, link, handle, size, c, cid):
        """The complete list, checked against INFO's CID if there is one."""
        out = []
        ask = struct.pack(">IBBHQII", handle, 32, 0, 0, 0, 1, 0)
        for kind, body in link.request(DIGEST, ask):
            if kind == DONE:
                break
            first, n, proof, log2, _ = take(">QIBBH", body)
            if first != len(out) or not 1 <= n <= 2000 or proof or log2 != 32 \
                    or len(body) < 16 + 32 * n:
                raise Lost("DIGESTS break D9")
            tlvs(body[16 + 32 * n:], DIGESTS)
            out += [body[at:at + 32] for at in range(16, 16 + 32 * n, 32)]
        if len(out) != count(size, c):
            raise Lost("DIGESTS break D9")
        if cid and cid_of(size, c, out) != cid:
            raise Failed("the server contradicts itself")       # R10b
        return out

    # GET, and the table of G4.

    def fetch(self, link, handle):
        ranges = []
        for i in self.missing():
            if ranges and sum(ranges[-1]) == i << self.c:
                ranges[-1][1] += length(self.size, self.c, i)
            elif len(ranges) < MAX_RANGES:
                ranges.append([i << self.c, length(self.size, self.c, i)])
            else:
                break
        payload = struct.pack(">IBBH", handle, 3, 0, len(ranges)) + b"".join(
            struct.pack(">QQ", *one) for one in ranges)
        last, chunks, total = -1, 0, 0
        for kind, body in link.request(GET, payload):
            if kind == CHUNK:
                last = self.accept(body, handle, ranges, last)
                chunks, total = chunks + 1, total + length(self.size, self.c, last)
                continue
            more = tlvs(body[16:], DONE)
            if take(">QQ", body) != (chunks, total) or \
                    total != sum(n for _, n in ranges):
                raise Lost("DONE breaks G9")
            if more.get(VERSION, self.version) != self.version or \
                    self.cid and more.get(CID, self.cid) != self.cid:
                raise Refused(CHANGED_DURING)                   # G10
            self.cid = self.cid or more.get(CID, b"")

    def accept(self, body, handle, ranges, last):
        offset, raw, stored, got, codec, _, _, d = take(">QIIIBBH32s", body)
        i, data = offset >> self.c, body[56:]
        if got != handle or offset % (1 << self.c) or i <= last \
                or not any(o <= offset < o + n for o, n in ranges) \
                or raw != length(self.size, self.c, i) or codec != 0 \
                or stored != raw or len(data) != raw:
            raise Lost("CHUNK breaks G4")
        if sha(data) != d:
            self.damage[i] = self.damage.get(i, 0) + 1          # R9
            raise (Lost if self.damage[i] < 3 else Failed)("chunk %d is damaged" % i)
        self.file.seek(offset)                                  # G4i
        self.file.write(data)
        self.have[i] = d
        if time.monotonic() > self.saved + 2:
            self.save()
        return i

    # Step 5.

    def own_cid(self, c):
        digests = self.have if c == self.c else {
            i: sha(self.local(i, c)) for i in range(count(self.size, c))}
        return cid_of(self.size, c, [digests[i] for i in sorted(digests)])

    def complete(self, link, handle):
        own = self.own_cid(self.c)
        if self.cid != own and (self.cid or self.weak):         # R5c, R5d
            self.compare(repeat(lambda: self.digest_list(
                link, handle, self.size, self.c, self.cid)))
            return not self.missing()   # if so, the list names our own CID
        return True

    def finish(self):
        own = self.own_cid(self.c)
        if self.pin and self.pin[1] != self.own_cid(self.pin[0]):
            raise Failed("the content is not the pinned one")
        self.file.flush()
        os.fsync(self.file.fileno())
        os.replace(self.part, self.name)
        folder = os.open(os.path.dirname(os.path.abspath(self.name)), os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
        if os.path.exists(self.journal):
            os.unlink(self.journal)
        print("bl1-%02d-%s" % (self.c, own.hex()))

    def attempt(self, where):
        """One connection; returns when every chunk is verified."""
        link = Connection(*where)
        try:
            link.greet()
            handle = self.open(link)
            while self.missing() or not self.complete(link, handle):
                repeat(lambda: self.fetch(link, handle))
        finally:
            link.sock.close()

    def run(self, where, give_up):
        """15.3 and step 6: dial again until it works."""
        start, fruitless, faults = time.monotonic(), 0, 0
        while True:
            before, grid = set(self.have.items()), self.c
            try:
                self.attempt(where)
                return self.finish()
            except (Lost, Refused) as error:
                kind = getattr(error, "kind", SERVER)
                faults += kind == PROTOCOL
                if kind not in range(TRANSIENT, 8) or kind == ACCESS or faults > 1:
                    if getattr(error, "code", 0) != BAD_HANDLE:
                        raise Failed(str(error))
                print("lost: %s" % error, file=sys.stderr)
            finally:
                self.save()
            progress = grid == self.c and set(self.have.items()) - before
            fruitless = 0 if progress else fruitless + 1
            if time.monotonic() - start > give_up:
                raise Failed("gave up")
            if fruitless:
                time.sleep(random.uniform(0, min(30, 0.5 * 2 ** (fruitless - 1))))
            if fruitless and fruitless % 3 == 0 and self.size and self.c > C_MIN:
                self.regrid(max(C_MIN, self.c - 2))             # R6a


def parse_url(url):
    scheme, rest = url.split(":", 1) if ":" in url else ("", "")    # U1-1
    found = re.fullmatch(r"belay(\+tcp)?://(\[[0-9a-fA-F:.]+\]|[\w.-]+)(?::(\d*))?"
                         r"/([\w.~!$&'()*+,;=:@/%-]+)"
                         r"(?:#bl1-(1[2-9]|2[0-2])-([0-9a-f]{64}))?",
                         scheme.lower() + ":" + rest, re.A)
    if not found or re.search("%(?![0-9a-fA-F]{2})|%00|%2[fF]", found[4]) \
            or not 1 <= int(found[3] or 7245) <= 65535:
        raise Failed("not a belay or belay+tcp URL of a file: " + url)  # U1-4
    path = urllib.parse.unquote_to_bytes(found[4])
    if len(path) > 4096 or any(len(p) > 255 or p in (b"", b".", b"..") for p in path.split(b"/")):
        raise Failed("no server takes this path: " + found[4])      # N1a
    pin = (int(found[5]), bytes.fromhex(found[6])) if found[5] else None
    return (not found[1], found[2].strip("[]"), int(found[3] or 7245)), path, pin


def main(args):
    give_up = float("inf")
    if args[:1] == ["--give-up"]:
        give_up, args = float(args[1]), args[2:]
    if len(args) not in (1, 2):
        sys.exit(__doc__)
    try:
        where, path, pin = parse_url(args[0])
        name = args[1] if len(args) == 2 else os.fsdecode(path.split(b"/")[-1])
        Download(path, name, pin).run(where, give_up)
    except Failed as error:
        print("failed: %s" % error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
