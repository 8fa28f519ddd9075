#!/usr/bin/env python3
"""The pure library calls nothing that has an effect.

    symbols.py LIBBELAY_PROTO_A

Every symbol that the archive needs and does not define stands in
symbols.allow, with the reason why it is harmless. Sockets, files, clocks,
threads, randomness, environment and logs are not there.
"""

import re
import subprocess
import sys

import source

ALLOW = source.ROOT / "tests/lint/symbols.allow"

# What compilers and sanitizers add on their own.
TOOLCHAIN = re.compile(
    r"__(asan|ubsan|tsan|msan|sanitizer|sancov|gcov|llvm)_.*|__stack_chk_.*|"
    r"_GLOBAL_OFFSET_TABLE_|__tls_get_addr|__popcountdi2|__cpu_.*")


def symbols(archive):
    """(needed, defined) names of an archive; needed also tells by whom."""
    needed = {}
    defined = set()
    output = subprocess.run(["nm", "-A", archive], check=True,
                            capture_output=True, text=True).stdout
    for line in output.splitlines():
        place, _, rest = line.rpartition(":")
        words = rest.split()
        if not words:
            continue
        kind, symbol = words[-2], words[-1].split("@")[0]
        if kind in "Uwv":
            needed.setdefault(symbol, place.rpartition(":")[2])
        else:
            defined.add(symbol)
    return needed, defined


def unfortified(symbol):
    """memcpy for __memcpy_chk."""
    match = re.fullmatch(r"__(\w+)_chk", symbol)
    return match.group(1) if match else symbol


def main(arguments):
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    allow = {row[0] for row in source.table(ALLOW, 2)}
    needed, defined = symbols(arguments[0])
    if not defined:
        return source.finish("symbols", ["the archive defines nothing"])
    faults = []
    for symbol, member in sorted(needed.items()):
        if symbol in defined or unfortified(symbol) in allow:
            continue
        if TOOLCHAIN.fullmatch(symbol):
            continue
        faults.append(f"{member} needs {symbol}, which is not in "
                      f"{source.name(ALLOW)}")
    return source.finish("symbols", faults)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
