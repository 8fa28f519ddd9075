"""path.json: paths a client may send (N1) and names it may create (N3)."""

from .common import VectorFile, local_error, request_error

NOTES = {
    "ESCAPE": "leaves the tree, or tries to",
    "LENGTH": "at or beyond a length limit",
    "EMPTY_PART": "an empty component",
    "NUL": "a NUL byte",
    "BYTES": "names are bytes: no case, no normalisation, no UTF-8 needed",
    "WINDOWS": "refused only where files are created on Windows",
}


def build():
    out = VectorFile("path", NOTES)
    add_good_paths(out)
    add_bad_paths(out)
    add_names(out)
    return out


def add_good_paths(out):
    def good(name, path, flags=()):
        parts = path.split(b"/") if path else []
        out.add("path-" + name, "N1a N1b", "a path: " + name,
                {"kind": "path", "bytes": path.hex()},
                {"parts": [p.hex() for p in parts]}, flags=flags)

    good("root", b"")
    good("one", b"a")
    good("nested", b"iso/demo.bin")
    good("dots-in-names", b"a./.b/..c/...")
    good("spaces", b" / a/b ")
    good("latin", "\u00fc/\u00e9".encode(), ["BYTES"])
    good("decomposed", "u\u0308".encode(), ["BYTES"])
    good("not-utf8", b"\xff\xfe/\x80", ["BYTES"])
    good("control", b"\x01/\x1b[2J/\x7f", ["BYTES"])
    good("backslash", b"..\\..\\a", ["BYTES"])
    good("colon", b"C:/a", ["BYTES"])
    good("percent", b"%2e%2e/%2F", ["BYTES"])
    good("device", b"CON/nul", ["BYTES"])
    good("tilde", b"~/a", ["BYTES"])
    good("component-255", b"c" * 255, ["LENGTH"])
    good("path-4096", b"/".join([b"p" * 255] * 15 + [b"p" * 127, b"p" * 128]),
         ["LENGTH"])
    good("depth-2048", b"/".join([b"d"] * 2048), ["LENGTH"])


def add_bad_paths(out):
    def bad(name, path, flag):
        out.add("bad-path-" + name, "N1a", "not a path: " + name,
                {"kind": "path", "bytes": path.hex()},
                error=request_error("BAD_PATH"), flags=[flag])

    bad("slash", b"/", "EMPTY_PART")
    bad("leading-slash", b"/etc/passwd", "ESCAPE")
    bad("two-leading", b"//a", "EMPTY_PART")
    bad("trailing-slash", b"a/", "EMPTY_PART")
    bad("double-slash", b"a//b", "EMPTY_PART")
    bad("dot", b".", "ESCAPE")
    bad("dot-first", b"./a", "ESCAPE")
    bad("dot-middle", b"a/./b", "ESCAPE")
    bad("dot-last", b"a/.", "ESCAPE")
    bad("dotdot", b"..", "ESCAPE")
    bad("dotdot-first", b"../a", "ESCAPE")
    bad("dotdot-middle", b"a/../b", "ESCAPE")
    bad("dotdot-last", b"a/..", "ESCAPE")
    bad("dotdot-many", b"../../../../etc/shadow", "ESCAPE")
    bad("nul-only", b"\0", "NUL")
    bad("nul-middle", b"a\0b", "NUL")
    bad("nul-last", b"a\0", "NUL")
    bad("nul-before-dotdot", b"a\0/../b", "NUL")
    bad("component-256", b"c" * 256, "LENGTH")
    bad("last-component-256", b"a/" + b"c" * 256, "LENGTH")
    bad("path-4097", b"/".join([b"p" * 255] * 17)[:4097], "LENGTH")
    bad("long-and-slashes", b"/" * 65535, "LENGTH")


def add_names(out):
    def name(label, value, posix, windows, flags=()):
        for system, fine in (("posix", posix), ("windows", windows)):
            out.add("%s-%s" % (system, label), "N3a",
                    "a name from a listing, to be created on " + system,
                    {"kind": system, "bytes": value.hex()},
                    {"parts": [value.hex()]} if fine else None,
                    None if fine else local_error("HOSTILE_NAME"),
                    flags)

    name("plain", b"demo.bin", True, True)
    name("hidden", b".profile", True, True)
    name("three-dots", b"...", True, False, ["WINDOWS"])
    name("dot", b".", False, False, ["ESCAPE"])
    name("dotdot", b"..", False, False, ["ESCAPE"])
    name("slash", b"a/b", False, False, ["ESCAPE"])
    name("leading-slash", b"/a", False, False, ["ESCAPE"])
    name("nul", b"a\0b", False, False, ["NUL"])
    name("empty", b"", False, False, ["EMPTY_PART"])
    name("255", b"n" * 255, True, True, ["LENGTH"])
    name("256", b"n" * 256, False, False, ["LENGTH"])
    name("not-utf8", b"\xff\xfe", True, True, ["BYTES"])
    name("newline", b"a\nb", True, True, ["BYTES"])
    name("escape-code", b"\x1b[2J", True, True, ["BYTES"])
    name("backslash", b"..\\a", True, False, ["WINDOWS"])
    name("stream", b"a:b", True, False, ["WINDOWS"])
    name("drive", b"C:", True, False, ["WINDOWS"])
    name("trailing-dot", b"a.", True, False, ["WINDOWS"])
    name("trailing-space", b"a ", True, False, ["WINDOWS"])
    for device in (b"CON", b"con", b"Prn", b"AUX", b"NUL", b"COM1", b"lpt9"):
        name("device-" + device.hex(), device, True, False, ["WINDOWS"])
    name("device-extension", b"nul.tar.gz", True, False, ["WINDOWS"])
    name("device-space", b"con .txt", True, False, ["WINDOWS"])
    name("device-longer", b"console", True, True)
    name("device-com0", b"com10", True, True)
