#!/usr/bin/env python3
"""Goal: what was asked of compiler and linker is in the files that they made:
no address is fixed, nothing is both writable and executable, what the loader
resolves is read-only before the first line of ours runs, and the checks of
stack and buffers are called.

    hardening.py BUILD-TYPE PROGRAM-OR-LIBRARY... [--objects FOLDER]

Without readelf (binutils) it is skipped.
"""

import os
import re
import shutil
import subprocess
import sys


def readelf(option, path):
    return subprocess.run(["readelf", "-W", option, path], check=True,
                          capture_output=True, text=True, timeout=60).stdout


def segments(path):
    """[(type, flags)], flags as in "R E"."""
    return re.findall(r"^  (\w+) +0x\w+ 0x\w+ 0x\w+ 0x\w+ 0x\w+ ([RWE ]{3}) ",
                      readelf("-l", path), re.M)


def check_segments(path):
    found = segments(path)
    kinds = [kind for kind, _ in found]
    if "LOAD" not in kinds:
        yield "no segments: is it an ELF file?"
    if "GNU_RELRO" not in kinds:
        yield "no RELRO"
    if ("GNU_STACK", "RW ") not in found:
        yield "the stack is executable"
    for kind, flags in found:
        if "W" in flags and "E" in flags:
            yield kind + " is writable and executable"


def check_dynamic(path, is_library):
    text = readelf("-d", path)
    one = re.search(r"\(FLAGS_1\) +Flags:(.*)", text)
    words = one[1].split() if one else []
    if "NOW" not in words:
        yield "bound late: RELRO is not full"
    if "(TEXTREL)" in text:
        yield "code is patched when it is loaded"
    if "DYN (" not in readelf("-h", path):
        yield "fixed addresses"
    if ("PIE" in words) == is_library:
        yield "it is no PIE" if not is_library else "a library is a PIE"
    for runpath in re.findall(r"\((?:RPATH|RUNPATH)\).*\[(.*)\]", text):
        # In the build folder room is kept for the longer installed one.
        for place in runpath.rstrip(":").split(":"):
            if not place.startswith("$ORIGIN"):
                yield "libraries are looked for in %r" % place


def check_symbols(path, fortified):
    """What is called in the C library on behalf of the checks."""
    wanted = re.findall(r" UND (\w+)", readelf("--dyn-syms", path))
    if "__stack_chk_fail" not in wanted:
        yield "no check of the stack"
    checked = [name for name in wanted
               if re.fullmatch(r"__\w+_chk", name)]
    if fortified and not checked:
        yield "no checked functions (_FORTIFY_SOURCE)"


def check_objects(folder):
    """What was compiled for x86-64 says that its jumps are marked (CET)."""
    seen = 0
    for where, _, files in os.walk(folder):
        for name in files:
            path = os.path.join(where, name)
            if not name.endswith(".c.o") or "X86-64" not in readelf("-h",
                                                                    path):
                continue
            seen += 1
            if not re.search(r"x86 feature:.*IBT.*SHSTK",
                             readelf("-n", path)):
                yield "%s: no note of IBT and SHSTK" % path
    print("%d object files" % seen)
    if os.uname().machine == "x86_64" and seen < 10:
        yield "%s: no object files" % folder


def main():
    if not shutil.which("readelf"):
        print("skipped: no readelf")
        return 77
    args = sys.argv[1:]
    folder = None
    if "--objects" in args:
        folder = args.pop(args.index("--objects") + 1)
        args.remove("--objects")
    fortified = args.pop(0) != "Debug"
    faults = []
    for path in args:
        is_library = ".so" in os.path.basename(path)
        for fault in (*check_segments(path),
                      *check_dynamic(path, is_library),
                      *check_symbols(path, fortified)):
            faults.append("%s: %s" % (path, fault))
    if folder:
        faults += check_objects(folder)
    print("\n".join(faults) or "hardening: ok")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
