"""manifest_use.json: a manifest, what the user demanded, and a downloaded file.

Each way to fail has a reason of its own (MF1-V7)."""

import belay_id as identity

from .common import VectorFile, local_error, u64
from .manifest import DEMO, FIRST, HEAD, NOW, document, key, line

NOTES = {
    "ORIGIN": "MF1-V4: what the user demanded, nothing else",
    "CONTENTS": "MF1-V5: the line decides about size and content",
    "LISTED": "MF1-V6: a path that is not listed is not verified",
    "REASON": "MF1-V7: each failure is told apart",
}
SIZE = 20000


def build():
    out = VectorFile("manifest_use", NOTES)
    text = document(HEAD + [line(0, b"empty"), DEMO,
                            line(SIZE, b"iso/other", 13)])

    def put(name, req, error, flags, path=b"iso/demo.bin", size=SIZE,
            invert=(), data=text, keys=(FIRST,), origin=b"", now=NOW,
            stored_serial=None, comment=None):
        out.add(name, req, comment or name.replace("-", " "), {
            "data": data.hex(), "keys": [key(k) for k in keys],
            "now": u64(now), "stored_serial": "" if stored_serial is None
            else u64(stored_serial), "origin": origin.hex(),
            "path": path.hex(), "pattern_len": size,
            "invert_at": list(invert)},
            None if error else {"verified": True},
            error and local_error(error), flags)

    put("verified", "MF1-V5", None, ["CONTENTS"])
    put("verified-empty", "MF1-V5", None, ["CONTENTS"], b"empty", 0)
    put("verified-other-grid", "MF1-V5", None, ["CONTENTS"], b"iso/other")
    put("origin-as-demanded", "MF1-V4", None, ["ORIGIN"],
        origin=FIRST.encode())
    for bad in (b"example.org", b"example.org/releases2", b"Example.org/"
                b"releases", b"other.example"):
        put("origin-" + bad.decode().lower().replace("/", "-") + (
            "-case" if bad[:1] == b"E" else ""), "MF1-V4", "OTHER_ORIGIN",
            ["ORIGIN"], origin=bad)
    put("demanded-key-did-not-sign", "MF1-V4 MF1-V7", "NO_KNOWN_KEY",
        ["ORIGIN", "REASON"], keys=("second-key",),
        comment="the demanded key is the only known one")
    put("one-byte-differs", "MF1-V5 MF1-V7", "CONTENTS_DIFFER",
        ["CONTENTS", "REASON"], invert=[9000])
    put("one-byte-less", "MF1-V5", "CONTENTS_DIFFER", ["CONTENTS"],
        size=SIZE - 1)
    put("one-byte-more", "MF1-V5", "CONTENTS_DIFFER", ["CONTENTS"],
        size=SIZE + 1)
    put("nothing-in-place-of-a-file", "MF1-V5", "CONTENTS_DIFFER",
        ["CONTENTS"], size=0)
    for name, path in (("another-path", b"iso/demo"), ("its-folder", b"iso"),
                       ("longer-path", b"iso/demo.bin2"),
                       ("other-case", b"ISO/demo.bin"),
                       ("last-component-only", b"demo.bin")):
        put(name, "MF1-V6", "NOT_LISTED", ["LISTED"], path,
            comment="the content is listed, under another path")
    put("empty-manifest", "MF1-V6", "NOT_LISTED", ["LISTED"],
        data=document(HEAD))
    put("expired", "MF1-V7 MF1-V3", "EXPIRED", ["REASON"], now=1798761600 +
        301)
    put("older-serial", "MF1-V7 MF1-V1", "ROLLBACK", ["REASON"],
        stored_serial=43)
    put("text-altered", "MF1-V7 MF1-S3", "BAD_SIGNATURE", ["REASON"],
        data=text.replace(b"serial 42", b"serial 43"))
    assert identity.cid_of(identity.pattern(SIZE), 12).hex().encode() in text
    return out
