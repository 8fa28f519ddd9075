"""manifest.json: signed manifests and what a client may do with them.

The keys are for tests only; their seeds stand here, so that everything can be
made again.  tests/spec/manifest_test.py checks the signatures with openssl."""

import base64

import belay_id as identity
import belay_manifest as manifest
import ed25519

from .common import VectorFile, local_error, u64

NOTES = {
    "SIGNATURE": "MF1-S: which signatures count, and which reject the file",
    "FORM": "MF1-F: one form, everything else is refused",
    "PATH": "MF1-F4 to F6: escapes, order, a file below a file",
    "ROLLBACK": "MF1-V1, V2: serials only rise",
    "EXPIRY": "MF1-V3: the text has a last day",
    "EDGE": "a value at the end of its range",
}
SEEDS = {"example.org/releases": identity.sha256(b"belay test key 1"),
         "second-key": identity.sha256(b"belay test key 2"),
         "stranger": identity.sha256(b"belay test key 3"),
         "sch\u00f6n.example": identity.sha256(b"belay test key 4")}
PUBLIC = {name: ed25519.public_key(seed) for name, seed in SEEDS.items()}
FIRST = "example.org/releases"
NOW = 1767225600                        # 2026-01-01T00:00:00Z
EXPIRES = b"expires 2027-01-01T00:00:00Z"
HEAD = [b"belay-manifest/1", b"origin example.org/releases", b"serial 42",
        EXPIRES]


def key(name):
    return manifest.key_text(name.encode(), PUBLIC[name])


def line(size, path, c=12, cid=None):
    value = cid or identity.cid_of(identity.pattern(size), c)
    return b"%s %d %d %s" % (value.hex().encode(), c, size, path)


DEMO = line(20000, b"iso/demo.bin")


def signature(name, signed, ident=None, spoil=None):
    raw = (ident or manifest.key_id(name.encode(), PUBLIC[name])) + \
        ed25519.sign(SEEDS[name], signed)
    if spoil:
        raw = spoil(raw)
    return "\u2014 ".encode() + name.encode() + b" " + \
        base64.b64encode(raw) + b"\n"


def document(lines, signers=(FIRST,)):
    signed = b"".join(one + b"\n" for one in lines)
    return signed + b"\n" + b"".join(signature(s, signed) for s in signers)


class Manifests:
    def __init__(self, out):
        self.out = out

    def put(self, name, req, data, expected, error, flags, keys=(FIRST,),
            now=NOW, stored_serial=None, stored=b"", comment=None,
            acceptable=False):
        self.out.add(name, req, comment or name.replace("-", " "), {
            "data": data.hex(), "keys": [key(k) for k in keys],
            "now": u64(now),
            "stored_serial": "" if stored_serial is None
            else u64(stored_serial),
            "stored_sha256": identity.sha256(stored).hex() if stored else ""},
            expected, error and local_error(error), flags,
            acceptable=acceptable)

    def good(self, name, req, data, files, flags=(), origin=FIRST, serial=42,
             expires=1798761600, signers=(FIRST,), **more):
        """files: (path, c, size, CID)"""
        self.put(name, req, data, {
            "origin": origin.encode().hex(), "serial": u64(serial),
            "expires": u64(expires), "signers": list(signers),
            "files": [{"path": p.hex(), "chunk_log2": c, "size": u64(n),
                       "cid": cid.hex()} for p, c, n, cid in files]},
            None, flags, **more)

    def bad(self, name, req, data, error, flag, **more):
        self.put(name, req, data, None, error, [flag], **more)


DEMO_ROW = (b"iso/demo.bin", 12, 20000,
            identity.cid_of(identity.pattern(20000), 12))


def build():
    out = VectorFile("manifest", NOTES)
    m = Manifests(out)
    for step in (add_good, add_signatures, add_form, add_files, add_memory):
        step(m)
    return out


def add_good(m):
    m.good("one-file", "MF1-F1 MF1-S4 MF1-V5", document(HEAD + [DEMO]),
           [DEMO_ROW])
    m.good("no-file", "MF1-F5", document(HEAD), [], flags=["EDGE"])
    root = identity.sha256(b"any")
    rows = [(b" ", 12, 0, identity.cid_of(b"", 12)),
            (b"%", 18, 1 << 32, root), (b"A", 22, 1 << 54, root),
            (b"a", 12, 1 << 44, root), (b"a b/c", 13, 1, root),
            (b"a.d", 12, 7, root), (b"\x7f\x01\n", 12, 7, root),
            ("\u00fc\u4e2d".encode(), 21, 9, root)]
    m.good("escapes", "MF1-F3 MF1-F4 MF1-F5", document(HEAD + [
        line(n, manifest.encode_path(p), c, cid) for p, c, n, cid in rows]),
        rows, flags=["PATH", "EDGE"])
    m.good("largest-serial", "MF1-F2", document(
        HEAD[:2] + [b"serial 18446744073709551615", EXPIRES, DEMO]),
        [DEMO_ROW], serial=(1 << 64) - 1, flags=["EDGE"])
    m.good("serial-0", "MF1-F2", document(
        HEAD[:2] + [b"serial 0", EXPIRES, DEMO]), [DEMO_ROW], serial=0,
        flags=["EDGE"])
    m.good("leap-day", "MF1-F2", document(
        HEAD[:3] + [b"expires 2028-02-29T23:59:59Z", DEMO]), [DEMO_ROW],
        expires=1835481599, flags=["EDGE"])
    name = "sch\u00f6n.example"
    m.good("name-in-utf8", "MF1-S1", document(
        [HEAD[0], b"origin " + name.encode()] + HEAD[2:] + [DEMO], (name,)),
        [DEMO_ROW], origin=name, keys=(name,), signers=(name,))


def add_signatures(m):
    lines = HEAD + [DEMO]
    text = b"".join(one + b"\n" for one in lines)
    body = text + b"\n"
    own, second, other = (signature(n, text) for n in
                          (FIRST, "second-key", "stranger"))
    m.good("unknown-ignored", "MF1-S2", body + other + own, [DEMO_ROW],
           flags=["SIGNATURE"])
    m.good("two-known", "MF1-S1", body + own + second, [DEMO_ROW],
           keys=(FIRST, "second-key"), signers=(FIRST, "second-key"),
           flags=["SIGNATURE"])
    m.good("16-lines", "MF1-F7", body + other * 15 + own, [DEMO_ROW],
           flags=["SIGNATURE", "EDGE"])
    m.good("other-length-ignored", "MF1-S2", body + signature(
        "stranger", text, spoil=lambda raw: raw[:20]) + own, [DEMO_ROW],
        flags=["SIGNATURE"])
    m.good("known-name-other-id", "MF1-S1", body + signature(
        FIRST, text, ident=b"\1\2\3\4") + own, [DEMO_ROW],
        flags=["SIGNATURE"])
    m.bad("no-known", "MF1-S4", body + other, "NO_KNOWN_KEY", "SIGNATURE")
    m.bad("no-keys", "MF1-S4", body + own, "NO_KNOWN_KEY", "SIGNATURE",
          keys=())
    m.bad("known-in-another-name", "MF1-S1", body + own.replace(
        FIRST.encode(), b"second-key"), "NO_KNOWN_KEY", "SIGNATURE",
        keys=(FIRST, "second-key"))

    def flip(at):
        return lambda raw: raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1:]

    bad = "BAD_SIGNATURE"
    for at in (4, 35, 36, 67):
        m.bad("flip-%d" % at, "MF1-S3", body + signature(
            FIRST, text, spoil=flip(at)), bad, "SIGNATURE")
    m.bad("one-good-one-bad", "MF1-S3", body + own + signature(
        "second-key", text, spoil=flip(10)), bad, "SIGNATURE",
        keys=(FIRST, "second-key"))
    m.bad("s-plus-order", "MF1-S5", body + signature(
        FIRST, text, spoil=lambda raw: raw[:36] + (
            int.from_bytes(raw[36:], "little") + ed25519.L).to_bytes(
                32, "little")), bad, "SIGNATURE")
    m.bad("zeros", "MF1-S5", body + signature(
        FIRST, text, spoil=lambda raw: raw[:4] + bytes(64)), bad,
        "SIGNATURE")
    m.bad("text-altered", "MF1-S3", body.replace(b"20000", b"20001") + own,
          bad, "SIGNATURE")
    m.bad("signed-with-empty-line", "MF1-S3", body + signature(FIRST, body),
          bad, "SIGNATURE", comment="the empty line is not signed")
    m.bad("signed-without-last-lf", "MF1-S3", body + signature(
        FIRST, text[:-1]), bad, "SIGNATURE", comment="the last LF is signed")


def add_form(m):
    form = "MALFORMED"

    def bad(name, lines, req="MF1-F2", **more):
        m.bad(name, req, document(lines, **more), form, "FORM")

    bad("other-format", [b"belay-manifest/2"] + HEAD[1:] + [DEMO])
    bad("no-serial", HEAD[:2] + HEAD[3:] + [DEMO])
    bad("header-order", [HEAD[0], HEAD[2], HEAD[1], HEAD[3], DEMO])
    bad("serial-twice", HEAD[:3] + HEAD[2:] + [DEMO])
    bad("unknown-header", HEAD + [b"comment hello", DEMO])
    for name, value in (("sign", b"-1"), ("zero-first", b"042"),
                        ("too-large", b"18446744073709551616"),
                        ("empty", b""), ("hex", b"0x2a")):
        bad("serial-" + name, HEAD[:2] + [b"serial " + value, EXPIRES, DEMO])
    for name, value in (("date-only", b"2027-01-01"),
                        ("offset", b"2027-01-01T00:00:00+00:00"),
                        ("fraction", b"2027-01-01T00:00:00.5Z"),
                        ("no-such-day", b"2027-02-29T00:00:00Z"),
                        ("month-13", b"2027-13-01T00:00:00Z"),
                        ("hour-24", b"2027-01-01T24:00:00Z"),
                        ("lower-case", b"2027-01-01t00:00:00z")):
        bad("expires-" + name, HEAD[:3] + [b"expires " + value, DEMO])
    for name, value in (("space", b"a b"), ("plus", b"a+b"), ("empty", b""),
                        ("256", b"o" * 256)):
        bad("origin-" + name, [HEAD[0], b"origin " + value] + HEAD[2:] +
            [DEMO])
    bad("tab", HEAD + [DEMO.replace(b" ", b"\t")], req="MF1-F1")
    bad("cr", HEAD + [DEMO + b"\r"], req="MF1-F1")
    bad("final-space", HEAD[:3] + [EXPIRES + b" ", DEMO], req="MF1-F1")
    bad("bom", [b"\xef\xbb\xbf" + HEAD[0]] + HEAD[1:] + [DEMO])
    whole = document(HEAD + [DEMO])
    for name, data in (
            ("not-utf8", document(HEAD + [line(1, b"\xff")])),
            ("no-last-lf", whole[:-1]),
            ("no-signature", whole[:whole.index(b"\n\n") + 2]),
            ("no-empty-line", whole.replace(b"\n\n", b"\n")),
            ("empty-line-inside", whole.replace(b"\nserial", b"\n\nserial")),
            ("empty", b""), ("hyphen", whole.replace(
                "\u2014".encode(), b"-")),
            ("junk-behind", whole + b"junk\n")):
        m.bad("form-" + name, "MF1-F1", data, form, "FORM")


def add_files(m):
    def bad(name, lines, req):
        m.bad("file-" + name, req, document(HEAD + lines), "MALFORMED",
              "PATH")

    bad("descending", [line(1, b"b"), line(1, b"a")], "MF1-F5")
    bad("twice", [line(1, b"a"), line(1, b"a")], "MF1-F5")
    bad("sorted-by-text", [line(1, b"%25"), line(1, b"!")], "MF1-F5")
    bad("below-a-file", [line(1, b"a"), line(1, b"a/b")], "MF1-F6")
    bad("below-a-file-apart", [line(1, b"a"), line(1, b"a!"),
                               line(1, b"a/b/c")], "MF1-F6")
    for name, path in (("lower-escape", b"%2f"), ("needless", b"%41"),
                       ("raw-delete", b"a%7f"), ("half", b"a%2"),
                       ("percent", b"50%"), ("dotdot", b"../a"),
                       ("absolute", b"/a"), ("empty-part", b"a//b"),
                       ("nul", b"a%00b"), ("slash-escaped", b"a%2Fb"),
                       ("part-256", b"p" * 256)):
        bad("path-" + name, [line(1, path)], "MF1-F4")
    bad("raw-space", [line(1, b"a b")], "MF1-F4")
    zeros = b"0" * 64
    for name, text, req in (
            ("c-11", zeros + b" 11 5 a", "MF1-F3"),
            ("c-23", zeros + b" 23 5 a", "MF1-F3"),
            ("c-one-digit", zeros + b" 9 5 a", "MF1-F2"),
            ("size-sign", zeros + b" 12 +5 a", "MF1-F2"),
            ("size-zero-first", zeros + b" 12 05 a", "MF1-F2"),
            ("size-too-many-chunks", zeros + b" 12 17592186044417 a",
             "MF1-F3"),
            ("size-2-63", zeros + b" 22 9223372036854775808 a", "MF1-F3"),
            ("short-cid", zeros[1:] + b" 12 5 a", "MF1-F2"),
            ("upper-cid", b"A" * 64 + b" 12 5 a", "MF1-F2"),
            ("two-spaces", zeros + b"  12 5 a", "MF1-F2"),
            ("no-path", zeros + b" 12 5", "MF1-F2")):
        bad(name, [text], req)


def add_memory(m):
    data = document(HEAD + [DEMO])
    signed = data[:data.index(b"\n\n") + 1]
    m.good("serial-rises", "MF1-V1", data, [DEMO_ROW], stored_serial=41,
           stored=b"older text", flags=["ROLLBACK"])
    m.good("same-again", "MF1-V2", data, [DEMO_ROW], stored_serial=42,
           stored=signed, flags=["ROLLBACK"])
    m.bad("serial-falls", "MF1-V1", data, "ROLLBACK", "ROLLBACK",
          stored_serial=43, stored=b"newer text")
    m.bad("same-serial-other-text", "MF1-V2", data, "ROLLBACK", "ROLLBACK",
          stored_serial=42, stored=b"other text")
    end = 1798761600
    m.good("last-second", "MF1-V3", data, [DEMO_ROW], now=end - 1,
           flags=["EXPIRY", "EDGE"])
    m.bad("just-expired", "MF1-V3", data, "EXPIRED", "EXPIRY", now=end,
          comment="a client may grant 300 seconds", acceptable=True)
    m.bad("expired", "MF1-V3", data, "EXPIRED", "EXPIRY", now=end + 301)
