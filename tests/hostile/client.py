#!/usr/bin/env python3
"""Hostile servers against the client: all files h*.py of this directory,
some at a time, since they wait more than they work.

    client.py [FILE...]

Exit status as that of a scenario."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

HERE = os.path.dirname(os.path.abspath(__file__))
AT_ONCE = 5
PATIENCE = 1200

# The lines of the catalogue; each has its file, and h_floor.py the rest.
LINES = (1, 3, 4, 5, 6, 7, 10, 12, 13, 14, 15, 17, 18, 19, 20)

LONGEST = ("h_floor", "h10", "h12", "h13", "h18")


def run(name):
    done = subprocess.run([sys.executable, "-B", os.path.join(HERE, name)],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, timeout=PATIENCE)
    return name, done.returncode, done.stdout


def main(chosen):
    every = sorted(name for name in os.listdir(HERE)
                   if name.startswith("h") and name.endswith(".py"))
    missing = [line for line in LINES
               if not any(name.startswith("h%02d_" % line)
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
