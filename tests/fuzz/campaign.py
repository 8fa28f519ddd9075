#!/usr/bin/env python3
"""Fuzz for a while, print what was covered, keep what was found.

usage: campaign.py BUILD SECONDS [--keep] [NAME...]

BUILD is a tree configured with clang, -DBELAY_FUZZ=ON and
-DBELAY_SANITIZE=address,undefined. Each target runs for SECONDS, as many at
a time as there are processors. A failing input is printed as a line for
tests/fuzz/corpus/NAME.hex, where it stays once the fault is fixed. --keep
adds to these files the smallest inputs that reach code which the vectors do
not. Exit status 1 when anything was found.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

import corpus

HERE = pathlib.Path(__file__).resolve().parent

# Hexadecimal text of one target; all together stay below 1 MiB.
CORPUS_MAX = 56 * 1024
INPUT_MAX = {"receiver": 8192, "sender": 4096, "message": 4096}

TOTAL = re.compile(r"\((\d+) inline 8-bit counters\)")
STATE = re.compile(r"cov: (\d+) ft: (\d+) corp: (\d+)")
RUNS = re.compile(r"stat::number_of_executed_units: (\d+)")


class Target:
    def __init__(self, build, name, work):
        self.name = name
        self.program = str(build / "tests/fuzz" / f"fuzz_{name}")
        self.kept = HERE / "corpus" / f"{name}.hex"
        self.vectors = build / "tests/fuzz/vectors" / f"{name}.hex"
        self.work = work / name
        self.seeds = self.work / "seeds"
        self.found = self.work / "found"
        self.found.mkdir(parents=True)
        self.unpack(self.seeds, self.vectors, self.kept)

    @staticmethod
    def unpack(folder, *files):
        folder.mkdir(parents=True, exist_ok=True)
        for file in files:
            if file.exists():
                for i, one in enumerate(corpus.read(file)):
                    (folder / f"{file.parent.name}-{i:06}").write_bytes(one)

    def run(self, *args):
        return subprocess.run(
            [self.program, *args], cwd=self.work, text=True, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            errors="replace",
            env={**os.environ, "ASAN_OPTIONS": "detect_leaks=1",
                 "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1"})

    def fuzz(self, seconds):
        """The line to print, and whether all went well."""
        limit = INPUT_MAX.get(self.name, 2048)
        out = self.run(f"-max_total_time={seconds}", f"-max_len={limit}",
                       "-timeout=20", "-rss_limit_mb=2048",
                       "-print_final_stats=1", "-artifact_prefix=fault-",
                       str(self.found), str(self.seeds)).stdout
        faults = sorted(self.work.glob("fault-*"))
        states = STATE.findall(out)
        total = TOTAL.search(out)
        runs = RUNS.search(out)
        cov, features, corp = states[-1] if states else ("?", "?", "?")
        line = (f"{self.name:10} {runs.group(1) if runs else '?':>10} runs  "
                f"{cov:>5} of {total.group(1) if total else '?'} edges, "
                f"{features} features, {corp} inputs")
        for fault in faults:
            kind = [x for x in out.splitlines()
                    if "assertion failed" in x or "ERROR: " in x
                    or "runtime error" in x]
            line += (f"\n  FOUND by {self.name}: {'; '.join(kind[:2])}\n  "
                     f"{fault.read_bytes().hex()}")
        if not faults and runs is None:
            line += "\n" + out[-2000:]
        return line, not faults and runs is not None

    def keep(self):
        """The inputs that reach what the vectors do not, small ones first."""
        base = self.work / "base"
        self.unpack(base, self.vectors)
        known = {f.name for f in base.iterdir()}
        self.run("-merge=1", str(base), str(self.seeds), str(self.found))
        new = sorted((f.read_bytes() for f in base.iterdir()
                      if f.name not in known), key=len)
        # Inputs that once failed have a comment before them and stay.
        fixed = self.kept.read_text().split("\n") if self.kept.exists() else []
        pinned = [i for i, x in enumerate(fixed) if x.startswith("#")]
        lines = [x for i in pinned for x in fixed[i:i + 2]]
        room = CORPUS_MAX - sum(len(x) + 1 for x in lines)
        for one in new:
            room -= 2 * len(one) + 1
            if room < 0:
                break
            if one.hex() not in lines:
                lines.append(one.hex())
        if lines:
            self.kept.write_text("".join(x + "\n" for x in lines))


def main():
    args = sys.argv[1:]
    keep = "--keep" in args
    args = [a for a in args if a != "--keep"]
    if len(args) < 2:
        sys.exit(__doc__)
    build = pathlib.Path(args[0]).resolve()
    names = args[2:] or [t.__name__ for t in corpus.TARGETS]
    ok = True
    work = pathlib.Path(tempfile.mkdtemp(prefix="belay-fuzz-"))

    def one(name):
        target = Target(build, name, work)
        line, good = target.fuzz(args[1])
        if keep and good:
            target.keep()
        return line, good

    try:
        jobs = 1 if len(names) == 1 else os.cpu_count() or 1
        with ThreadPoolExecutor(jobs) as pool:
            for line, good in pool.map(one, names):
                print(line, flush=True)
                ok = ok and good
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
