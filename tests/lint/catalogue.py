#!/usr/bin/env python3
"""tests/CATALOGUE.tsv: every line of the acceptance catalogue is in it once,
and the tests that it names exist.
"""

import pathlib
import re
import sys

TESTS = pathlib.Path(__file__).resolve().parent.parent
TABLE = TESTS / "CATALOGUE.tsv"

# The lines of each section; numbers that are missing are missing on purpose.
LINES = {
    "N": "1-5 7 10-18",
    "S": "1-5 8-16",
    "C": "1-3 7 9-16",
    "D": "1-6 9-13 15-19",
    "M": "1-11",
    "B": "1-3 5 6 8 10 11 13 14 16-25",
    "H": "1 3-7 10 12-15 17-20",
    "L": "1-7",
    "G": "1-8",
}
# How a test is defined in each language.
DEFINED = {".py": r"^ *def {}\(", ".c": r"\b{}\(void \*\*state\)"}


def expected():
    ids = []
    for letter, text in LINES.items():
        for span in text.split():
            first, _, last = span.partition("-")
            ids += [f"{letter}{number}" for number in
                    range(int(first), int(last or first) + 1)]
    return ids


def check_test(name):
    """What is wrong with one path[:case], or None."""
    path, _, case = name.partition(":")
    file = TESTS / path
    if not file.is_file():
        return f"{path} does not exist"
    if case:
        pattern = DEFINED[file.suffix].format(re.escape(case))
        if not re.search(pattern, file.read_text(), re.M):
            return f"{path} has no {case}"
    return None


def check_row(number, row):
    """Faults of one line of the table, and its id."""
    fields = row.split("\t")
    if len(fields) not in (2, 3):
        return [f"{number}: {len(fields)} fields"], None
    name, tests = fields[:2]
    if tests == "-":
        good = len(fields) == 3 and fields[2]
        return [] if good else [f"{number}: {name}: no reason"], name
    faults = [check_test(test.strip()) for test in tests.split(",")]
    return [f"{number}: {name}: {fault}" for fault in faults if fault], name


def main():
    faults, seen = [], []
    for number, row in enumerate(TABLE.read_text().splitlines(), 1):
        if row.startswith("#") or row == "id\ttests\tnote":
            continue
        wrong, name = check_row(number, row)
        faults += wrong
        seen.append(name)
    wanted = expected()
    faults += [f"{name} is missing" for name in wanted if name not in seen]
    faults += [f"{name} is there {seen.count(name)} times"
               for name in wanted if seen.count(name) > 1]
    faults += [f"{name} is no line of the catalogue"
               for name in seen if name not in wanted]
    for fault in faults:
        print(f"tests/CATALOGUE.tsv: {fault}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
