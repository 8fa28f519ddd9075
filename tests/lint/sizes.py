#!/usr/bin/env python3
"""Budgets: 70 lines a function, 700 lines a file, 80 columns, no tabs.

Tests may hold longer tables: 140 lines a function, 1000 lines a file.
sizes.allow lists what is larger, with its size and a reason. The list is a
ratchet: an entry that is larger than the code needs must shrink, and one
that the code no longer needs must go. Generated files have no budget.
"""

import re
import sys

import source

# (function, file)
PRODUCT_MAX = (70, 700)
TESTS_MAX = (140, 1000)
COLUMNS_MAX = 80

ALLOW = source.ROOT / "tests/lint/sizes.allow"

HEAD = re.compile(r"^[A-Za-z_].*?(\w+)\(")


def functions(text):
    """(name, number of lines) of each function of a file.

    In house style a body's braces are alone in the first column."""
    lines = source.bare(text).split("\n")
    start = 0
    for number, line in enumerate(lines):
        if line == "{":
            head = number - 1
            while head > start and not HEAD.match(lines[head]):
                head -= 1
            start = number
        elif line == "}" and start:
            match = HEAD.match(lines[head])
            if match:
                yield match.group(1), number - head + 1
            start = 0


def measure(file):
    """What exceeds a budget: key, size, limit."""
    text = file.read_text()
    path = source.name(file)
    tests = path.startswith("tests/")
    function_max, file_max = TESTS_MAX if tests else PRODUCT_MAX
    count = text.count("\n")
    if count > file_max:
        yield path, count, file_max
    for name, size in functions(text):
        if size > function_max:
            yield f"{path}:{name}", size, function_max


def columns(file):
    faults = []
    for number, line in enumerate(file.read_text().split("\n"), 1):
        place = f"{source.name(file)}:{number}"
        if len(line) > COLUMNS_MAX:
            faults.append(f"{place}: {len(line)} columns")
        if "\t" in line:
            faults.append(f"{place}: a tab")
        if line != line.rstrip():
            faults.append(f"{place}: space at the end")
    return faults


def main():
    allow = {row[0]: int(row[1]) for row in source.table(ALLOW, 3)}
    faults = []
    seen = set()
    for file in source.c_files(*source.PRODUCT, "tests"):
        if source.is_generated(file.read_text()):
            continue
        faults += columns(file)
        for key, size, limit in measure(file):
            seen.add(key)
            agreed = allow.get(key, limit)
            if size > agreed:
                faults.append(f"{key}: {size} lines, at most {agreed}")
            elif size < agreed:
                faults.append(f"{key}: the exception shrinks to {size}")
    for key in sorted(allow.keys() - seen):
        faults.append(f"{key}: the exception is no longer needed")
    return source.finish("sizes", faults)


if __name__ == "__main__":
    sys.exit(main())
