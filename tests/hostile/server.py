#!/usr/bin/env python3
"""Hostile clients against the server: all files b*.py of this directory and
limits.py, some at a time, since they wait more than they work.

    server.py [FILE...]

Exit status as that of a scenario."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

HERE = os.path.dirname(os.path.abspath(__file__))
AT_ONCE = 6
PATIENCE = 1500

# The lines of the catalogue; each has its file.
LINES = (1, 2, 3, 5, 6, 8, 10, 11, 13, 14, 16, 17, 18, 19, 20, 21, 22, 23, 24,
         25)

LONGEST = ("b03", "b05", "b13", "limits")


def run(name):
    done = subprocess.run([sys.executable, "-B", os.path.join(HERE, name)],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, timeout=PATIENCE)
    return name, done.returncode, done.stdout


def main(chosen):
    every = sorted(name for name in os.listdir(HERE) if name.endswith(".py")
                   and (name.startswith("b") or name == "limits.py"))
    missing = [line for line in LINES
               if not any(name.startswith("b%02d_" % line)
                          for name in every)]
    if missing:
        print("no file for the lines %r" % missing)
        return 1
    states = set()
    queue = sorted(chosen or every,
                   key=lambda name: not name.startswith(LONGEST))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for name, state, text in pool.map(run, queue):
            print("== %s: %s" % (name, {0: "ok", 77: "skipped"}.get(
                state, "FAILED")))
            print(text, end="", flush=True)
            states.add(state)
    if states - {0, 77}:
        return 1
    return 77 if states == {77} else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
