#!/usr/bin/env python3
"""Calls that the programs do not make, and words that the tree does not ship.

A call is banned everywhere or outside the files that its row names. Comments
and literals do not count; marks of unfinished work count there, too, and in
the tests.
"""

import re
import sys

import source

# Names, files that may (a pattern, or None), reason.
CALLS = [
    ("strcpy strcat stpcpy strncpy strncat sprintf vsprintf gets", None,
     "copies without a bound, or without an end"),
    ("alloca", None, "the stack has no bound that could be checked"),
    ("atoi atol atoll atof", None, "cannot report an error"),
    ("sscanf", r"client/store_sys\.c", "does not report overflow; the one "
     "user reads text of the kernel"),
    ("strtok", None, "hidden state"),
    ("gmtime localtime ctime asctime", None, "hidden state"),
    ("rand srand random srandom drand48", None, "not random"),
    ("system popen execl execlp execvp", None, "goes through a shell or "
     "the search path"),
    ("tmpnam mktemp tempnam", None, "a race for the name"),
    ("setjmp longjmp", None, "leaves clean-up behind"),
    ("signal", r"client/example\.c", "use the loop's signals, or sigaction"),
    ("sleep usleep nanosleep", r"server/main\.c",
     "waiting is the loop's work, where there is one"),
    ("readv writev sendfile", r"proto/io/.*|client/channel\.c|server/.*",
     "only the two data paths move bytes around proto/io"),
    ("getenv setenv putenv",
     r"client/.*|server/.*|proto/io/.*",
     "the environment is no input of the core"),
    ("abort exit _exit _Exit quick_exit",
     r"proto/base/check\.c|client/.*|server/.*",
     "a library does not end the program"),
    ("assert", None, "BELAY_ASSERT is never compiled out"),
]

MARKS = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")


def banned_names():
    """name: (pattern of the files that may, reason)."""
    return {name: (may, reason)
            for names, may, reason in CALLS for name in names.split()}


def check_file(file, banned, calls):
    path = source.name(file)
    text = file.read_text()
    faults = []
    product = path.startswith(source.PRODUCT)
    for number, line in enumerate(source.bare(text).split("\n"), 1):
        for match in calls.finditer(line) if product else ():
            may, reason = banned[match.group(1)]
            if may is None or not re.fullmatch(may, path):
                faults.append(f"{path}:{number}: {match.group(1)}: {reason}")
    for number, line in enumerate(text.split("\n"), 1):
        match = MARKS.search(line)
        if match:
            faults.append(f"{path}:{number}: {match.group(1)}: unfinished")
    return faults


def main():
    banned = banned_names()
    # A member or a declared name with a prefix is no call of the function.
    calls = re.compile(r"(?<![\w.>])(" + "|".join(banned) + r")\s*\(")
    faults = []
    for file in source.c_files(*source.PRODUCT, "tests"):
        faults += check_file(file, banned, calls)
    return source.finish("banned", faults)


if __name__ == "__main__":
    sys.exit(main())
