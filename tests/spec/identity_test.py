#!/usr/bin/env python3
"""Goal: a script of standard tools alone finds the identity that the oracle
finds, for every ragged edge of the tree.  Exit status 77 without xxd."""

import os
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
SCRIPT = os.path.join(ROOT, "spec", "cid.sh")
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(ROOT, "spec", "oracle"))

import belay_id  # noqa: E402  (needs the path above)

STEP = 1 << 12
CASES = [(size, 12) for size in (
    0, 1, STEP - 1, STEP, STEP + 1, 2 * STEP - 1, 2 * STEP, 2 * STEP + 1,
    3 * STEP, 5 * STEP - 7, 7 * STEP, 11 * STEP + 1, 13 * STEP, 20000)]
CASES += [(20000, 13), (20000, 22), (600000, None), (0, None)]


def main():
    if not shutil.which("xxd"):
        print("skipped: xxd is not installed")
        return 77
    failed = 0
    with tempfile.TemporaryDirectory() as room:
        path = os.path.join(room, "a file")
        for size, c in CASES:
            data = belay_id.pattern(size)
            with open(path, "wb") as f:
                f.write(data)
            grid = c or belay_id.default_chunk_log2(size)
            expected = belay_id.cid_text(grid, belay_id.cid_of(data, grid))
            found = subprocess.run(
                ["sh", SCRIPT, path] + ([str(c)] if c else []), text=True,
                stdout=subprocess.PIPE, check=True).stdout.strip()
            if found != expected:
                print("%d bytes at %s: %s, oracle %s" %
                      (size, c, found, expected))
                failed += 1
        for bad in ("11", "23", "x", "012"):
            if subprocess.run(["sh", SCRIPT, path, bad],
                              stderr=subprocess.DEVNULL).returncode != 2:
                print("chunk_log2 %s was not refused" % bad)
                failed += 1
    print("%d files, %d wrong" % (len(CASES), failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
