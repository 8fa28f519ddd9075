#!/usr/bin/env python3
"""Check the prose of the specification.

    check_text.py [FILE...]     default: every Markdown file of spec/

What has to hold, in every file:
  links      relative links and their anchors lead somewhere
  ids        each requirement id is defined once; each id named exists
  names      each `NAME` in capitals exists in the registry
  hex        each belay-hex block is what spec/oracle makes of it
  map        README.md names every file and folder of spec/
In the normative files moreover:
  words      no "must", "should", "shall" in lower case
  carried    a block with MUST or SHOULD carries a requirement id
  loose      hexadecimal in prose is that of a block, or known otherwise
  numbers    a number of the registry stands behind its name or not at all:
             `LIMIT_PATH` (4096), and then it is the right one

Prints one line per mistake and exits 1 if there is any.
"""

import re
import sys
from pathlib import Path

sys.dont_write_bytecode = True

import hexblock
import tsv

SPEC = Path(__file__).resolve().parents[1]

NORMATIVE = ("belay-1.md", "belay-id-1.md", "belay-manifest-1.md",
             "belay-receipt-1.md", "belay-uri.md")

ID = r"(?:B1|ID1|MF1|RC1|U1)-(?:[A-Z]+)?\d+[a-z]?"
DEFINED = re.compile(rf"\*\*({ID})\*\*")
NAMED = re.compile(rf"\b({ID})\b")
GENERATED = re.compile(r"<!-- gen:.*?<!-- /gen -->", re.DOTALL)
FENCED = re.compile(r"^```.*?^```$", re.DOTALL | re.M)
LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")
KEYWORD = re.compile(r"\b(MUST|SHOULD|SHALL|REQUIRED|RECOMMENDED)\b")
LOWER = re.compile(r"\b(must|should|shall)\b")
CODE_NAME = re.compile(r"`([A-Z][A-Z0-9]*_[A-Z0-9_]+|[A-Z]{4,})`")
NUMBER = re.compile(r"(?<![\w.\-^])(0x[0-9A-Fa-f]+|\d[\d ]*\d|\d)"
                    r"(?: (KiB|MiB|GiB|s|seconds|ms)\b)?(?![\w^-])")
NAMED_NUMBER = re.compile(r"`([A-Z][A-Z0-9_]+)` \((0x[0-9A-Fa-f]+|\d+)\)")

# Names in capitals that are no protocol constants.
OTHER_NAMES = {"RESOLVE_BENEATH", "SSL_CERT_FILE", "PATH"}

def variant_names():
    """Macros of the model variants, which the prose names as evidence."""
    names = set()
    for line in (SPEC / "models/expected.tsv").read_text("utf-8").splitlines():
        if line and not line.startswith("#"):
            names.update(line.split("\t")[1].split())
    return names


UNITS = {None: 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30,
         "s": 1000, "seconds": 1000, "ms": 1}


def blanked(pattern, text):
    """The text with matches replaced by as many empty lines."""
    return pattern.sub(lambda m: "\n" * m.group(0).count("\n"), text)


def slug(heading):
    """The anchor that Markdown viewers give a heading."""
    heading = re.sub(r"[`*]", "", heading.strip().lower())
    return re.sub(r"[^\w\- ]", "", heading).replace(" ", "-")


def anchors(text):
    text = blanked(FENCED, text)
    return {slug(h) for h in re.findall(r"^#+ (.*)$", text, re.M)}


def at(text, position):
    return text.count("\n", 0, position) + 1


class Checker:
    """Collects mistakes over all files, then reports them together."""

    def __init__(self, paths):
        entries = tsv.load_registry(SPEC / "registry.tsv")
        self.values = {e.c_name: e.value for e in entries}
        self.layouts = tsv.load_layouts(SPEC / "layout.tsv")
        self.typed = typed_numbers(entries)
        self.other_names = OTHER_NAMES | variant_names()
        self.paths = paths
        self.texts = {p: p.read_text(encoding="utf-8") for p in paths}
        self.mistakes = []
        self.hex_count = 0

    def mistake(self, path, line, what):
        self.mistakes.append(f"{path.relative_to(SPEC)}:{line}: {what}")

    # ---- every file

    def links(self, path, text):
        for match in LINK.finditer(blanked(FENCED, text)):
            target, _, anchor = match.group(1).partition("#")
            if "://" in target:
                continue
            goal = (path.parent / target).resolve() if target else path
            line = at(text, match.start())
            if not goal.exists():
                self.mistake(path, line, f"link to nothing: {target}")
            elif anchor and goal.suffix == ".md" and \
                    anchor not in anchors(goal.read_text(encoding="utf-8")):
                self.mistake(path, line, f"no such heading: {match.group(1)}")

    def ids(self):
        """Definitions are unique; what is named is defined, or a family."""
        defined = {}
        for path, text in self.all_normative():
            for match in DEFINED.finditer(blanked(FENCED, text)):
                name, line = match.group(1), at(text, match.start())
                if name in defined:
                    self.mistake(path, line, f"{name} is also defined at "
                                 f"{defined[name]}")
                defined[name] = f"{path.name}:{line}"
        families = {re.sub(r"[a-z]$", "", name) for name in defined}
        for path, text in self.texts.items():
            for match in NAMED.finditer(text):
                if match.group(1) not in defined and \
                        match.group(1) not in families:
                    self.mistake(path, at(text, match.start()),
                                 f"no such requirement: {match.group(1)}")
        return defined

    def all_normative(self):
        """Definitions are looked up even when one file is checked alone."""
        for name in NORMATIVE:
            path = SPEC / name
            yield path, self.texts.get(path) or path.read_text("utf-8")

    def names(self, path, text):
        for match in CODE_NAME.finditer(text):
            name = match.group(1)
            if name not in self.values and name not in self.layouts and \
                    name not in self.other_names and \
                    not self.is_wire_name(name):
                self.mistake(path, at(text, match.start()),
                             f"not in the registry: {name}")

    def is_wire_name(self, name):
        return any(prefix + name in self.values
                   for prefix in ("WIRE_", "TLV_", "FRAME_"))

    # ---- normative files

    def words(self, path, text):
        for match in LOWER.finditer(text):
            self.mistake(path, at(text, match.start()),
                         f"lower-case \"{match.group(0)}\"")

    def carried(self, path, text):
        line = 1
        for block in re.split(r"(?m)^(?=- |\| |\n)", text):
            if KEYWORD.search(block) and not NAMED.search(block) and \
                    "BCP 14" not in block:
                words = " ".join(block.split())[:60]
                self.mistake(path, line, f"no id: {words}")
            line += block.count("\n")

    def numbers(self, path, text):
        for match in NAMED_NUMBER.finditer(text):
            value = self.values.get(match.group(1))
            if value is not None and value != int(match.group(2), 0):
                self.mistake(path, at(text, match.start()),
                             f"{match.group(1)} is {value}")
        rest = re.sub(r"`[^`\n]*`", "", NAMED_NUMBER.sub("", text))
        for match in NUMBER.finditer(rest):
            name = self.typed.get(amount(match))
            if name:
                self.mistake(path, at(rest, match.start()),
                             f"{match.group(0)} is {name}")

    # ---- all together

    def hex(self, path, text):
        count, mistakes = hexblock.check_text(text)
        self.hex_count += count
        for line, what in mistakes:
            self.mistake(path, line, what)

    def map(self):
        """What lies in spec/ is told by its README."""
        path = SPEC / "README.md"
        told = {target.split("#")[0].split("/")[0]
                for target in LINK.findall(path.read_text("utf-8"))}
        for entry in sorted(SPEC.iterdir()):
            if entry.name not in told | {"README.md", "__pycache__"}:
                self.mistake(path, 1, f"does not tell of {entry.name}")

    def run(self):
        defined = self.ids()
        self.map()
        known = hexblock.proven(text for _, text in self.all_normative())
        for path, text in self.texts.items():
            self.links(path, text)
            self.names(path, text)
            self.hex(path, text)
            if path.name in NORMATIVE:
                prose = blanked(FENCED, blanked(GENERATED, text))
                self.words(path, prose)
                self.carried(path, prose)
                self.numbers(path, prose)
                for line, what in hexblock.check_loose(
                        blanked(GENERATED, text), known):
                    self.mistake(path, line, what)
        return defined


def amount(match):
    """A number as typed: its value with the unit, and what it can mean."""
    digits, unit = match.group(1), match.group(2)
    value = int(digits.replace(" ", ""), 0) * UNITS[unit]
    if unit in ("s", "seconds", "ms"):
        return value, "time"
    if digits.startswith("0x"):
        return value, "wide hex" if len(digits) >= 6 else "byte"
    return value, "count"


def typed_numbers(entries):
    """(value, meaning) -> name. Small numbers mean too many things."""
    result = {}
    for entry in entries:
        if not isinstance(entry.value, int):
            continue
        if entry.kind == "timer":
            result[entry.value, "time"] = entry.c_name
        elif entry.kind in ("tlv", "code", "const", "grease", "private"):
            result[entry.value, "wide hex"] = entry.c_name
        elif entry.kind == "limit" and entry.value >= 100:
            result[entry.value, "count"] = entry.c_name
    return result


def main(arguments):
    paths = [Path(a).resolve() for a in arguments] or \
        sorted(p for p in SPEC.rglob("*.md"))
    checker = Checker(paths)
    defined = checker.run()
    for line in checker.mistakes:
        print(line, file=sys.stderr)
    if checker.mistakes:
        print(f"check_text.py: {len(checker.mistakes)} mistakes",
              file=sys.stderr)
        return 1
    print(f"{len(paths)} files, {len(defined)} requirements, "
          f"{checker.hex_count} encoded things: all good")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
