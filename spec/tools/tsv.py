"""Read and check spec/registry.tsv and spec/layout.tsv.

Both files are tables with one entry per line and one tab between columns.
Every mistake ends in a TableError that names the file and the line, so that
a typing error never reaches a generated file.
"""

from dataclasses import dataclass, field

C_PREFIX = {
    "const": "", "role": "ROLE_", "frame": "FRAME_",
    "frameflag": "FRAME_FLAG_", "tlv": "TLV_", "class": "WIRE_CLASS_",
    "code": "WIRE_", "codec": "CODEC_", "auth": "AUTH_", "flag": "",
    "filetype": "FILE_", "limit": "LIMIT_", "timer": "TIMER_",
    "grease": "GREASE_", "private": "PRIVATE_",
}

TYPE_WIDTH = {"u8": 1, "u16": 2, "u32": 4, "u64": 8, "i64": 8}

CRITICAL = 0x8000


class TableError(Exception):
    """A line of a table breaks a rule."""


@dataclass
class Entry:
    """One assigned number or string of the registry."""

    kind: str
    name: str
    value: object           # int, str or bytes
    text: str               # the value as it was typed
    detail: dict
    section: str
    meaning: str
    where: str = ""

    @property
    def c_name(self):
        suffix = "_MS" if self.kind == "timer" else ""
        return C_PREFIX[self.kind] + self.name + suffix


@dataclass
class Field:
    """One field of a fixed layout."""

    name: str
    offset: int
    width: int
    type: str
    rule: str


@dataclass
class Layout:
    """The fixed fields of one message, in order and without gaps."""

    name: str
    fields: list = field(default_factory=list)

    @property
    def length(self):
        last = self.fields[-1]
        return last.offset + last.width


def rows(path, columns):
    """Yield (place, cells) for each line that is not empty or a comment."""
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            line = line.rstrip("\n")
            if not line or line.startswith("#"):
                continue
            place = f"{path}:{number}"
            cells = line.split("\t")
            if len(cells) != columns or not all(cells):
                raise TableError(f"{place}: {columns} filled columns expected")
            yield place, cells


def parse_value(place, text):
    """A number, a quoted string, or bytes."""
    if text.startswith('"') and text.endswith('"') and len(text) > 2:
        return text[1:-1]
    try:
        if text.startswith("hex:"):
            return bytes.fromhex(text[4:])
        return int(text, 0)
    except ValueError:
        raise TableError(f"{place}: bad value {text}") from None


def parse_detail(place, text):
    if text == "-":
        return {}
    detail = {}
    for word in text.split(" "):
        key, sep, value = word.partition("=")
        if not sep or not value or key in detail:
            raise TableError(f"{place}: bad detail {word}")
        detail[key] = value
    return detail


def check_entry(entry):
    """The rules that hold inside one line."""
    bad = None
    if entry.kind == "tlv":
        ends = (entry.detail.get("min"), entry.detail.get("max"))
        if None in ends or "in" not in entry.detail:
            bad = "a TLV needs in, type, min and max"
    elif entry.kind == "frame":
        if not {"dir", "id", "max"} <= entry.detail.keys():
            bad = "a frame needs dir, id and max"
        elif not 0 < entry.value <= 0xFF:
            bad = "a frame type is 1..255"
        elif entry.detail.get("end") not in (None, "always", "never", "last"):
            bad = "end is always, never or last"
    elif entry.kind == "code" and not 0x0100 <= entry.value <= 0xFFFF:
        bad = "a code needs a class in its high byte"
    elif entry.kind == "limit" and "unit" not in entry.detail:
        bad = "a limit needs a unit"
    if bad:
        raise TableError(f"{entry.where}: {bad}")


def clash_key(entry):
    """Entries with equal keys may not share a value; None: they may."""
    if entry.kind in ("const", "limit", "timer", "grease", "private"):
        return None
    if entry.kind == "flag":
        return entry.detail.get("of")
    if entry.kind == "tlv":
        return "tlv", entry.value & ~CRITICAL
    return entry.kind, entry.value


def check_references(entries):
    """Limits that are named exist; codes have a class."""
    limits = {e.name for e in entries if e.kind == "limit"}
    classes = {e.value for e in entries if e.kind == "class"}
    for entry in entries:
        for key in ("min", "max"):
            word = entry.detail.get(key)
            if word and not word.isdigit() and word not in limits:
                raise TableError(f"{entry.where}: no limit {word}")
        if entry.kind == "code" and entry.value >> 8 not in classes:
            raise TableError(f"{entry.where}: no such class")


def load_registry(path):
    """All entries in file order."""
    entries = []
    names = set()
    values = {}
    for place, cells in rows(path, 6):
        kind, name, text, detail, section, meaning = cells
        if kind not in C_PREFIX:
            raise TableError(f"{place}: unknown kind {kind}")
        entry = Entry(kind, name, parse_value(place, text), text,
                      parse_detail(place, detail), section, meaning, place)
        check_entry(entry)
        if entry.c_name in names:
            raise TableError(f"{place}: {entry.c_name} appears twice")
        names.add(entry.c_name)
        key = clash_key(entry)
        if key is not None:
            taken = values.setdefault(key, {})
            if entry.value in taken:
                raise TableError(f"{place}: value of {taken[entry.value]}")
            taken[entry.value] = entry.name
        entries.append(entry)
    check_references(entries)
    return entries


def load_layouts(path):
    """Layouts by message name, in file order; offsets are checked."""
    layouts = {}
    for place, cells in rows(path, 6):
        message, name, offset, width, kind, rule = cells
        layout = layouts.setdefault(message, Layout(message))
        item = Field(name, int(offset, 10), int(width, 10), kind, rule)
        expected = layout.length if layout.fields else 0
        if item.offset != expected:
            raise TableError(f"{place}: offset {expected} expected")
        if kind in TYPE_WIDTH:
            if item.width != TYPE_WIDTH[kind]:
                raise TableError(f"{place}: {kind} is not {width} wide")
        elif kind not in ("bytes", "reserved"):
            raise TableError(f"{place}: unknown type {kind}")
        if item.width < 1:
            raise TableError(f"{place}: a field has at least one byte")
        layout.fields.append(item)
    return layouts


def of_kind(entries, kind):
    return [e for e in entries if e.kind == kind]
