#!/usr/bin/env python3
"""Trace each requirement to what tests it and to the code that keeps it.

    trace.py            write spec/trace.md and say what lacks a test
    trace.py --check    write nothing; exit 1 if trace.md is out of date, a
                        requirement has neither test nor excuse, or an id is
                        cited that does not exist

Sources of citations
  vectors       "req" lists in spec/vectors/**/*.json
  conformance   ids in the files of conformance/ and spec/conformance/
  code          ids in proto/, client/, server/ (with the C function)
  tests         ids in tests/

An id is cited as B1-F2a, or as B1-F2 for the whole family (shown as ~). In C
comments "rule F2", "rules F2 and F3", and within the rooms wire, data and
session also "(F2)", mean the same; P1 and P2 are those of identity. Requirements that cannot be tested from
outside stand in untestable.tsv with the reason.
"""

import json
import re
import sys
from collections import defaultdict
from pathlib import Path

sys.dont_write_bytecode = True

ROOT = Path(__file__).resolve().parents[2]
SPEC = ROOT / "spec"
DOCUMENTS = ("belay-1.md", "belay-id-1.md", "belay-manifest-1.md",
             "belay-receipt-1.md", "belay-uri.md")

ID = re.compile(r"\b((?:B1|ID1|MF1|RC1|U1)-[A-Z]*\d+[a-z]?)\b")
DEFINED = re.compile(r"\*\*((?:B1|ID1|MF1|RC1|U1)-[A-Z]*\d+[a-z]?)\*\*")
RULES = re.compile(r"\b[Rr]ules? ((?:[A-Z]\d+[a-z]?(?:, | and |,| or )?)+)")
SHORT = re.compile(r"[A-Z]\d+[a-z]?")
BRACKET = re.compile(r"\(([A-Z]\d+[a-z]?)\)")

# The tree was designed with tags P1, P2 for proofs; they moved to identity.
MOVED = {"B1-P": "ID1-P"}

C_NAME = re.compile(r"^[A-Za-z_][\w\s*]*?\b([a-z_]\w*)\(")
KINDS = ("vectors", "conformance", "code", "tests")


class Trace:
    """Requirements, and who cites them."""

    def __init__(self):
        self.texts = {}             # id -> (document, first words)
        self.cited = {kind: defaultdict(set) for kind in KINDS}
        self.unknown = []
        for name in DOCUMENTS:
            self.read_document(name)
        self.families = defaultdict(list)
        for name in self.texts:
            self.families[name.rstrip("abcdefghijklmnopqrstuvwxyz")].append(
                name)

    def read_document(self, name):
        text = (SPEC / name).read_text(encoding="utf-8")
        matches = list(DEFINED.finditer(text))
        for match in matches:
            rest = text[match.end():match.end() + 200].replace("|", " ")
            rest = re.split(r"\n\n|\n- |\n\*\*", rest)[0]
            self.texts[match.group(1)] = (name, " ".join(rest.split())[:72])

    def cite(self, kind, name, where):
        for old, new in MOVED.items():
            if re.match(old + r"\d", name):
                name = new + name[len(old):]
        if name in self.texts:
            self.cited[kind][name].add(where)
        elif name in self.families:
            for one in self.families[name]:
                self.cited[kind][one].add("~" + where)
        else:
            self.unknown.append(f"{where} cites {name}")

    # ---- sources

    def read_vectors(self):
        for path in sorted((SPEC / "vectors").rglob("*.json")):
            if "schema" in path.parts:
                continue
            name = path.relative_to(SPEC / "vectors").with_suffix("")
            for one in requirement_lists(json.loads(path.read_text("utf-8"))):
                self.cite("vectors", one, str(name))

    def read_conformance(self):
        for folder in (ROOT / "conformance", SPEC / "conformance"):
            for path in text_files(folder):
                for match in ID.finditer(path.read_text("utf-8")):
                    self.cite("conformance", match.group(1), path.stem)

    def read_code(self):
        for room in ("proto", "client", "server"):
            for path in text_files(ROOT / room):
                if path.name in ("registry.h", "layout.h", "layout.c"):
                    continue
                pure = path.parent.name in ("wire", "data", "session")
                for name, where in citations(path, pure):
                    self.cite("code", name, where)

    def read_tests(self):
        for path in text_files(ROOT / "tests"):
            for name, where in citations(path, False):
                self.cite("tests", name, where)

    def read_all(self):
        self.read_vectors()
        self.read_conformance()
        self.read_code()
        self.read_tests()

    # ---- results

    def tested(self, name):
        return any(self.cited[kind][name]
                   for kind in ("vectors", "conformance", "tests"))

    def missing(self, excuses):
        return [n for n in self.texts
                if not self.tested(n) and n not in excuses]


def requirement_lists(value):
    """Every id in a "req" list, however deep."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "req":
                yield from inner
            else:
                yield from requirement_lists(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from requirement_lists(inner)


def text_files(folder):
    """Sources below a folder, without what is built or only data."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts and \
                path.suffix in (".c", ".h", ".py", ".sh", ".json", ".lua",
                                ".txt", ".tsv", ""):
            try:
                path.read_text("utf-8")
            except UnicodeDecodeError:
                continue
            yield path


def citations(path, brackets):
    """(id, place) of each citation in one file."""
    lines = path.read_text("utf-8").splitlines()
    places = functions(lines, path) if path.suffix in (".c", ".h") else None
    for number, line in enumerate(lines):
        found = [m.group(1) for m in ID.finditer(line)]
        if places:
            bare = [tag for m in RULES.finditer(line)
                    for tag in SHORT.findall(m.group(1))]
            if brackets:
                bare += BRACKET.findall(line)
            found += ["B1-" + tag for tag in bare]
        for name in found:
            yield name, places[number] if places else path.name


def functions(lines, path):
    """For each line of a C file the function it stands in or before.

    The house style makes this easy: bodies open and close with a brace in
    the first column, types end with "};". Lines inside a type, and those
    before the first #include, belong to the file.
    """
    result = []
    upcoming, state = path.name, "outside"
    for number in range(len(lines) - 1, -1, -1):
        line = lines[number]
        if line == "}":
            state = "body"
        elif line.startswith("}"):
            state = "type"
        elif line == "{" or (state == "type" and line.endswith("{")):
            state = "outside"
        elif state == "outside":
            upcoming = name_before(line, path, upcoming)
        result.append(upcoming if state == "outside" else path.name)
    result.reverse()
    return with_bodies(lines, result)


def name_before(line, path, upcoming):
    """What a comment above this line is about."""
    if re.match(r"#include|#ifndef|#define \w+_H$", line):
        return path.name
    match = C_NAME.match(line)
    return match.group(1) if match else upcoming


def with_bodies(lines, result):
    """Lines of a body belong to the function above them."""
    current = None
    for number, line in enumerate(lines):
        if line == "{":
            current = function_above(lines, number)
        if current:
            result[number] = current
        if line == "}":
            current = None
    return result


def function_above(lines, number):
    """The name of the function whose body opens at this line."""
    for back in range(number - 1, max(number - 9, -1), -1):
        match = C_NAME.match(lines[back])
        if match:
            return match.group(1)
    return None


def read_excuses(trace):
    excuses = {}
    path = SPEC / "tools/untestable.tsv"
    for line in path.read_text("utf-8").splitlines():
        if line.startswith("#") or not line.strip():
            continue
        name, reason = line.split("\t")
        if name not in trace.texts:
            trace.unknown.append(f"untestable.tsv cites {name}")
        excuses[name] = reason
    return excuses


# ---- output

def cell(names, most=4):
    names = sorted(names, key=lambda n: (n.startswith("~"), n))
    exact = {n for n in names if not n.startswith("~")}
    names = [n for n in names if n.lstrip("~") not in exact or n in exact]
    more = f" +{len(names) - most}" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def markdown(trace, excuses):
    count = len(trace.texts)
    tested = sum(trace.tested(n) for n in trace.texts)
    text = ("# Trace\n\nGenerated by tools/trace.py: do not edit. `~` marks a "
            "citation of the whole family. Of\n"
            f"{count} requirements {tested} are cited by a vector, a "
            "conformance case or a test;\n"
            f"{len([n for n in excuses if not trace.tested(n)])} more cannot "
            "be tested from outside, with the reason in the last column.\n")
    for document in DOCUMENTS:
        text += (f"\n## {document}\n\n| Id | Rule | Vectors | Conformance | "
                 "Code | Tests | Not testable because |\n|---|---|---|---|---"
                 "|---|---|\n")
        for name, (where, words) in trace.texts.items():
            if where == document:
                cells = [cell(trace.cited[kind][name]) for kind in KINDS]
                text += f"| {name} | {words} | " + " | ".join(cells) + \
                    f" | {excuses.get(name, '')} |\n"
    return text


def main(arguments):
    if arguments not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    trace = Trace()
    trace.read_all()
    excuses = read_excuses(trace)
    text, path = markdown(trace, excuses), SPEC / "trace.md"
    missing = trace.missing(excuses)
    problems = [f"no such requirement: {u}" for u in trace.unknown]
    problems += [f"no test: {n} {trace.texts[n][1]}" for n in missing]
    if not arguments:
        path.write_text(text, encoding="utf-8")
    elif not path.exists() or path.read_text("utf-8") != text:
        problems.append("spec/trace.md is out of date: run "
                        "spec/tools/trace.py")
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"{len(trace.texts)} requirements, {len(missing)} without a test")
    return 1 if problems and arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
