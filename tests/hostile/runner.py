"""Runs files of this directory, some at a time, since they wait more than
they work.  Exit status as that of a scenario."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

HERE = os.path.dirname(os.path.abspath(__file__))


def _run(name, patience):
    done = subprocess.run([sys.executable, "-B", os.path.join(HERE, name)],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, timeout=patience)
    return name, done.returncode, done.stdout


def main(letter, lines, others, longest, at_once, patience):
    """All files of a letter and the others, or those of the command line;
    each of the lines of the catalogue has to have its file. What takes
    longest begins first."""
    every = sorted(name for name in os.listdir(HERE) if name.endswith(".py")
                   and (name.startswith(letter) or name in others))
    missing = [line for line in lines
               if not any(name.startswith("%s%02d_" % (letter, line))
                          for name in every)]
    if missing:
        print("no file for the lines %r" % missing)
        sys.exit(1)
    states = set()
    queue = sorted(sys.argv[1:] or every,
                   key=lambda name: not name.startswith(longest))
    with ThreadPoolExecutor(at_once) as pool:
        for name, state, text in pool.map(lambda name: _run(name, patience),
                                          queue):
            print("== %s: %s" % (name, {0: "ok", 77: "skipped"}.get(
                state, "FAILED")))
            print(text, end="", flush=True)
            states.add(state)
    if states - {0, 77}:
        sys.exit(1)
    sys.exit(77 if states == {77} else 0)
