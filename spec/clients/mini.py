#!/usr/bin/env python3
"""A small Belay downloader, written from the text in spec/ alone.

    mini.py [--give-up SECONDS] belay+tcp://HOST[:PORT]/PATH[#bl1-..] [FILE]

It is the baseline client of belay-1 section 14.1: raw chunks, one file, one
connection at a time.  It resumes from FILE.part with FILE.journal, compares
digests where a version token proves nothing, and survives a changed file.
Numbers in comments are rules of belay-1.md.  Exit status: 0 done, 1 failed.
"""
import hashlib, json, os, random, re, socket, struct, sys, time, urllib.parse, zlib

MAGIC = bytes.fromhex("89424c590d0a1a0a")
HELLO, PING, PONG, GOAWAY, OPEN, GET, DIGEST = 1, 3, 4, 5, 0x10, 0x12, 0x13
INFO, CHUNK, DIGESTS, DONE, ERROR = 0x40, 0x42, 0x43, 0x44, 0x45
ANSWERS = {OPEN: {INFO}, GET: {CHUNK, DONE}, DIGEST: {DIGESTS, DONE}}
VERSION, CID, RETRY_AFTER = 0x30, 0x31, 0x41
C_MIN, C_MAX, TO_END, MAX_RANGES = 12, 22, 2 ** 64 - 1, 64
PERMANENT, TRANSIENT, STALE, ACCESS, SERVER, PROTOCOL, CANCELLED = range(1, 8)
UNSUPPORTED, BAD_HANDLE = 0x0102, 0x0108


class Failed(Exception):
    """No repeat will help."""


class Lost(Exception):
    """The connection is of no use any more; dial again."""


class Refused(Exception):
    """ERROR for one request, by its code."""
    def __init__(self, code):
        super().__init__("error 0x%04x" % code)
        self.code, self.kind = code, code >> 8


def sha(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


# -- identity (belay-id-1) ----------------------------------------------------

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

class Connection:
    def __init__(self, host, port):
        try:
            self.sock = socket.create_connection((host, port), 10)
        except OSError as error:
            raise Lost("cannot connect: %s" % error)
        self.sock.settimeout(45)        # T6 and T7; own PINGs are optional
        self.last_id, self.gone = 0, False
        head = MAGIC + struct.pack(">HBB", 1, 0x43, 0)
        hello = struct.pack(">HHB", 1, 1, C_MAX) + struct.pack(">HH", 0x1A1A, 0)
        self.write(head + struct.pack(">I", zlib.crc32(head)))
        self.send(HELLO, 0, hello)
        self.send(random.choice(range(0x8A, 0xFB, 16)), 0, b"grease")
        self.greet()

    def greet(self):
        head = self.read(16)
        magic, version, role, flags, crc = struct.unpack(">8sHBBI", head)
        if magic != MAGIC or crc != zlib.crc32(head[:12]) or role != 0x53:
            raise Failed("this is not a Belay server: %r" % head)
        if flags & 1 or version != 1:
            raise Failed("the server speaks version %d only" % version)
        kind, ident, _, payload = self.frame()
        if kind != HELLO:               # H1a: ERROR or GOAWAY in its place
            self.connection_frame(kind, ident, payload)
            raise Lost("no HELLO")
        tlvs(payload, 0)                # R: nothing in it is needed here

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
        """The next frame: type, request id, END, payload.  F3a: length, CRC."""
        head = self.read(16)
        size, kind, flags, _, ident, crc = struct.unpack(">IBBHII", head)
        if size > (56 + (1 << C_MAX) if kind == CHUNK else 65535):
            raise Lost("frame too large")
        payload = self.read(size)
        covered = payload[:56] if kind == CHUNK else payload
        if crc != zlib.crc32(head[:12] + covered):
            raise Lost("wrong CRC")
        return kind, ident, flags & 1, payload

    def connection_frame(self, kind, ident, payload):
        """What may come at any time; True if it was such a frame."""
        if kind == PING and ident == 0 and len(payload) == 8:
            self.send(PONG, 0, payload)
        elif kind == PONG and ident == 0:
            pass                        # C5
        elif kind == GOAWAY and ident == 0 and len(payload) >= 8:
            self.gone = True
            if self.last_id > struct.unpack_from(">I", payload)[0]:
                raise Lost("the server goes away")
        elif kind == ERROR and ident == 0 and len(payload) >= 4:
            code = struct.unpack_from(">H", payload)[0]
            if code >> 8 in (PERMANENT, ACCESS) or code >> 8 > CANCELLED:
                raise Failed("the server refuses us: 0x%04x" % code)
            time.sleep(retry_after(payload) if code >> 8 == TRANSIENT else 0)
            raise Lost("connection error 0x%04x" % code)
        else:
            return kind >= 0x80         # F5a: known or not, advisory
        return True

    def request(self, kind, payload):
        """Yields (type, payload) of the answer frames up to END."""
        if self.gone:
            raise Lost("the server went away")
        self.last_id += 1
        self.send(kind, self.last_id, payload)
        while True:
            got, ident, end, body = self.frame()
            if self.connection_frame(got, ident, body):
                continue
            if ident != self.last_id or got not in ANSWERS[kind] | {ERROR}:
                raise Lost("frame 0x%02x answers nothing" % got)    # F6d
            if end != (got not in (CHUNK, DIGESTS)) and got != DIGESTS:
                raise Lost("END in the wrong place")                # F7b
            if got == ERROR:
                code = struct.unpack_from(">H", need(body, 4))[0]
                if code >> 8 == TRANSIENT:
                    time.sleep(retry_after(body))
                raise Refused(code)
            yield got, body
            if end:
                return

    def repeat(self, ask):
        """Class transient: the same again on this connection (E1)."""
        while True:
            try:
                return ask()
            except Refused as error:
                if error.kind != TRANSIENT:
                    raise


def need(payload, n):
    if len(payload) < n:
        raise Lost("malformed frame")
    return payload


def tlvs(payload, at):
    """Type -> value.  X1: ascending, complete, no unknown critical one."""
    found, last = {}, -1
    while at < len(payload):
        kind, size = struct.unpack_from(">HH", need(payload, at + 4), at)
        at += 4 + size
        if kind & 0x7FFF <= last or kind & 0x8000:
            raise Lost("malformed TLVs")
        last = kind & 0x7FFF
        found[kind] = need(payload, at)[at - size:at]
    return found


def retry_after(payload):
    return int.from_bytes(tlvs(payload, 4).get(RETRY_AFTER, b"\xfa"), "big") / 1000


# -- one file -----------------------------------------------------------------

class Download:
    def __init__(self, path, name, pin):
        self.path, self.name, self.pin = path, name, pin
        self.part, self.journal = name + ".part", name + ".journal"
        self.size, self.c, self.version, self.strong = None, 0, None, False
        self.cid, self.weak = None, False       # weak: some INFO was not strong
        self.have, self.damage = {}, {}         # chunk index -> D_i, failures
        self.file = open(self.part, "r+b" if os.path.exists(self.part) else "w+b")
        self.load()

    def load(self):
        """R4d: the journal only says where to look; the bytes decide."""
        try:
            with open(self.journal, encoding="ascii") as f:
                old = json.load(f)
            if old["path"] != self.path.hex() or old["pin"] != pin_text(self.pin):
                return
            self.size, self.c, self.strong = old["size"], old["c"], old["strong"]
            self.version, self.weak = bytes.fromhex(old["version"]), old["weak"]
            self.cid = bytes.fromhex(old["cid"]) or None
            for i, d in old["have"].items():
                if sha(self.local(int(i))).hex() == d:
                    self.have[int(i)] = bytes.fromhex(d)
        except (OSError, ValueError, KeyError):
            self.size, self.have = None, {}

    def save(self):
        if self.size is None or not os.path.exists(self.part):
            return
        self.file.flush()
        os.fsync(self.file.fileno())
        text = json.dumps({
            "path": self.path.hex(), "pin": pin_text(self.pin), "c": self.c,
            "size": self.size, "version": self.version.hex(), "weak": self.weak,
            "strong": self.strong, "cid": (self.cid or b"").hex(),
            "have": {i: d.hex() for i, d in self.have.items()}})
        with open(self.journal + ".new", "w", encoding="ascii") as f:
            f.write(text)
            f.flush()
            os.fsync(f.fileno())
        os.replace(self.journal + ".new", self.journal)

    def local(self, i, c=None):
        self.file.seek(i << (c or self.c))
        return self.file.read(length(self.size, c or self.c, i))

    def missing(self):
        return [i for i in range(count(self.size, self.c)) if i not in self.have]

    # Opening: steps 1, 2 and 4.

    def ask_open(self, link, handle, want, expect):
        extra = b""
        if expect and self.version:
            extra += struct.pack(">HH", 0x8021, len(self.version)) + self.version
        known = self.pin[1] if self.pin and want == self.pin[0] else self.cid
        if expect and want and known:
            extra += struct.pack(">HH", 0x8022, 32) + known
        payload = struct.pack(">IBBH", handle, 0, want, len(self.path)) + \
            self.path + extra
        (_, body), = link.repeat(lambda: list(link.request(OPEN, payload)))
        got, kind, c, flags, size, _, ns, _ = struct.unpack_from(
            ">IBBHQqII", need(body, 32))
        more = tlvs(body, 32)
        if got != handle or kind != 1 or VERSION not in more or ns >= 10 ** 9 \
                or not C_MIN <= c <= C_MAX or (want and c != want) \
                or size >> 63 or count(size, c) > 2 ** 32:
            raise Lost("INFO breaks rule N2a")
        return size, c, more[VERSION], bool(flags & 1), more.get(CID)

    def adopt(self, info):
        self.size, self.c, self.version, self.strong, cid = info
        self.cid, self.weak = cid or self.cid, self.weak or not self.strong

    def open(self, link):
        """Leaves an open handle for the version that self describes."""
        kept = self.size is not None
        want = self.c or (self.pin[0] if self.pin else 0)
        try:
            info = self.ask_open(link, 1, want, True)
        except Refused as error:
            if error.code == UNSUPPORTED and want:
                return self.reopen(link, 0)             # R4a, R11c
            if error.kind != STALE:
                raise
            return self.changed(link)
        size, _, version, strong, cid = info
        same = cid == self.cid if cid and self.cid else version == self.version
        if kept and (not same or size != self.size):    # N2b, R8
            return self.changed(link)
        proved = kept and (cid and cid == self.cid or strong and self.strong)
        self.adopt(info)
        if self.have and not proved:                    # R3
            listed = self.digest_list(link, 1)
            self.have = {i: d for i, d in self.have.items() if listed[i] == d}
        return 1

    def changed(self, link):
        if self.pin and self.c in (0, self.pin[0]):
            raise Failed("changed: not the pinned content")     # R11a
        return self.reopen(link, self.c)

    def reopen(self, link, want):
        """Step 4: another version, or another grid.  What fits is kept."""
        info = self.ask_open(link, 2, want, False)
        old, old_size, old_c = self.have, self.size, self.c
        if want == 0 and old_size is not None and info[1] != old_c:
            self.regrid(info[1])
            old, old_size = self.have, self.size
        self.have, self.cid, self.weak = {}, None, False
        listed = None
        if old:
            self.size, self.c = old_size, info[1]
            source = {(d, length(old_size, self.c, i)): i for i, d in old.items()}
            self.adopt(info)
            listed = self.digest_list(link, 2)
            self.rebuild(listed, old, source, old_size)
        self.adopt(info)
        self.file.truncate(self.size)
        return 2

    def rebuild(self, listed, old, source, old_size):
        """R4c: same place, else a copy of another chunk, hashed again."""
        new_size, fresh = self.size, self.part + ".new"
        with open(fresh, "w+b") as out:
            for i, d in enumerate(listed):
                at = i if old.get(i) == d else source.get((d, length(
                    new_size, self.c, i)))
                if at is None:
                    continue
                self.size = old_size
                data = self.local(at)
                self.size = new_size
                if sha(data) == d:
                    out.seek(i << self.c)
                    out.write(data)
                    self.have[i] = d
        os.replace(fresh, self.part)
        self.file.close()
        self.file = open(self.part, "r+b")

    def regrid(self, c):
        """R6c: hash the kept bytes again; a chunk counts when kept ones
        cover it wholly.  The CID does not hold for another c."""
        have, step, old = {}, 1 << c, self.c
        for i in range(count(self.size, c)):
            first, last = i << c, (i << c) + length(self.size, c, i) - 1
            if all(k in self.have for k in range(first >> old, (last >> old) + 1)):
                have[i] = sha(self.local(i, c))
        self.have, self.c, self.cid = have, c, None

    # Fetching.

    def digest_list(self, link, handle):
        """The complete list, checked against INFO's CID if there is one."""
        ask = struct.pack(">IBBHQII", handle, 32, 0, 0, 0, 1, 0)
        listed = link.repeat(lambda: self.read_digests(link, ask))
        if self.cid and cid_of(self.size, self.c, listed) != self.cid:
            raise Failed("the server contradicts itself")       # R10b
        return listed

    def read_digests(self, link, ask):
        out = []
        for kind, body in link.request(DIGEST, ask):
            if kind == DONE:
                break
            first, n, proof, log2, _ = struct.unpack_from(">QIBBH", need(body, 16))
            if first != len(out) or not 1 <= n <= 2000 or proof or log2 != 32:
                raise Lost("DIGESTS break rule D9")
            tlvs(need(body, 16 + 32 * n), 16 + 32 * n)
            out += [body[at:at + 32] for at in range(16, 16 + 32 * n, 32)]
        if len(out) != count(self.size, self.c):
            raise Lost("DIGESTS break rule D9")
        return out

    def fetch(self, link, handle):
        while self.missing():
            ranges = []
            for i in self.missing():
                if ranges and sum(ranges[-1]) == i << self.c:
                    ranges[-1][1] += length(self.size, self.c, i)
                elif len(ranges) < MAX_RANGES:
                    ranges.append([i << self.c, length(self.size, self.c, i)])
                else:
                    break
            payload = struct.pack(">IBBH", handle, 3, 0, len(ranges)) + \
                b"".join(struct.pack(">QQ", *r) for r in ranges)
            try:
                self.read_chunks(link, handle, payload, ranges)
            except Refused as error:
                if error.kind != TRANSIENT:
                    raise

    def read_chunks(self, link, handle, payload, ranges):
        last, chunks, total = -1, 0, 0
        for kind, body in link.request(GET, payload):
            if kind == CHUNK:
                last = self.take_chunk(body, handle, ranges, last)
                chunks, total = chunks + 1, total + length(self.size, self.c, last)
                continue
            more = tlvs(body, 16)
            if struct.unpack_from(">QQ", need(body, 16)) != (chunks, total) or \
                    total != sum(n for _, n in ranges):
                raise Lost("DONE breaks rule G9")
            if more.get(VERSION, self.version) != self.version or \
                    self.cid and more.get(CID, self.cid) != self.cid:
                raise Refused(0x0302)                           # G10
            self.cid = self.cid or more.get(CID)

    def take_chunk(self, body, handle, ranges, last):
        offset, raw, stored, got, codec, _, _, d = struct.unpack_from(
            ">QIIIBBH32s", need(body, 56))
        i, data = offset >> self.c, body[56:]
        if got != handle or offset % (1 << self.c) or offset >= self.size \
                or i <= last or not any(o <= offset < o + n for o, n in ranges) \
                or raw != length(self.size, self.c, i) or codec != 0 \
                or stored != raw or len(data) != raw:
            raise Lost("CHUNK breaks rule G4")
        if sha(data) != d:
            self.damage[i] = self.damage.get(i, 0) + 1          # R9
            raise (Lost if self.damage[i] < 3 else Failed)("chunk %d is damaged" % i)
        self.file.seek(offset)                                  # G4i
        self.file.write(data)
        self.have[i] = d
        return i

    # Step 5.

    def finish(self, link, handle):
        own = cid_of(self.size, self.c, [self.have[i] for i in sorted(self.have)])
        if self.cid is None and self.weak or self.cid not in (None, own):
            named, self.cid = self.cid, None
            listed = self.digest_list(link, handle)
            listed_cid = cid_of(self.size, self.c, listed)
            if named not in (None, listed_cid):
                raise Failed("the server contradicts itself")
            self.cid = listed_cid
            self.have = {i: d for i, d in self.have.items() if listed[i] == d}
            if self.missing():                                  # R5d
                return False
        if self.pin and self.pin[1] != (own if self.pin[0] == self.c else cid_of(
                self.size, self.pin[0], [sha(self.local(i, self.pin[0])) for i in
                                         range(count(self.size, self.pin[0]))])):
            raise Failed("the content is not the pinned one")
        self.file.truncate(self.size)
        self.file.flush()
        os.fsync(self.file.fileno())
        os.replace(self.part, self.name)
        folder = os.open(os.path.dirname(os.path.abspath(self.name)), os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
        if os.path.exists(self.journal):
            os.unlink(self.journal)
        print("bl1-%02d-%s" % (self.c, own.hex()))
        return True

    def attempt(self, link):
        """One connection; True when the file is complete."""
        handle = self.open(link)
        while True:
            self.fetch(link, handle)
            if self.finish(link, handle):
                return True


def pin_text(pin):
    return "%d-%s" % (pin[0], pin[1].hex()) if pin else ""


def parse_url(url):
    match = re.fullmatch(r"belay\+tcp://(\[[0-9a-fA-F:.]+\]|[\w.-]+)(?::(\d*))?"
                         r"(?:/([^?#]*))?(?:#bl1-(\d\d)-([0-9a-f]{64}))?", url, re.A)
    if not match:
        raise Failed("not a belay+tcp URL: " + url)
    host, port, path, c, cid = match.groups()
    if re.search("%(?![0-9a-fA-F]{2})|%00|%2[fF]", path or "") or not path or any(
            part in (".", "..", "") for part in urllib.parse.unquote(path).split("/")):
        raise Failed("a path that no server takes")             # U1-4, N1a
    return host.strip("[]"), int(port or 7245), urllib.parse.unquote_to_bytes(path), \
        (int(c), bytes.fromhex(cid)) if c else None


def download(host, port, job, give_up):
    """15.3 and step 6: dial again until it works."""
    start, fruitless, protocol_errors = time.monotonic(), 0, 0
    while True:
        before, grid, link = set(job.have.items()), job.c, None
        try:
            link = Connection(host, port)
            return job.attempt(link)
        except Refused as error:
            protocol_errors += error.kind == PROTOCOL
            if error.kind in (PERMANENT, ACCESS) and error.code != BAD_HANDLE or \
                    error.kind not in range(1, 8) or protocol_errors > 1:
                raise Failed(str(error))
            print("repeating after %s" % error, file=sys.stderr)
        except Lost as error:
            print("lost: %s" % error, file=sys.stderr)
        finally:
            job.save()
            if link:
                link.sock.close()
        progress = job.c == grid and set(job.have.items()) - before
        fruitless = 0 if progress else fruitless + 1
        if time.monotonic() - start > give_up:
            raise Failed("gave up")
        if fruitless:
            time.sleep(random.uniform(0, min(30, 0.5 * 2 ** (fruitless - 1))))
        if fruitless and fruitless % 3 == 0 and job.size and job.c > C_MIN:
            job.regrid(max(C_MIN, job.c - 2))                   # R6a


def main(args):
    give_up = float(args[1]) if args[:1] == ["--give-up"] else float("inf")
    args = args[2:] if args[:1] == ["--give-up"] else args
    if len(args) not in (1, 2):
        sys.exit(__doc__)
    try:
        host, port, path, pin = parse_url(args[0])
        name = args[1] if len(args) == 2 else os.fsdecode(path.split(b"/")[-1])
        download(host, port, Download(path, name, pin), give_up)
    except Failed as error:
        print("failed: %s" % error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
