#!/usr/bin/env python3
"""Which branches do the unit tests, the vectors, the fuzz corpora and some
seeds of the simulator take?

usage: coverage.py BUILD [--missing [FILE...]]

BUILD is a tree configured with clang and -DBELAY_COVERAGE=ON, and built. Runs
its tests of the labels unit, fuzz and sim, prints the branch coverage of each
file, and lists what is missing: every outcome, true and false, of every
condition counts. Decoders, journal, Merkle tree, range sets and path checks
need all of them, the rest of the pure rooms nine of ten, and what of client
and server has unit tests of its own, the crash-safe store among them, seven of
ten. The other files talk to the system: scenarios, which are not counted here,
take most of their branches, and their figures have no gate. What no input can
reach is told, with its reason, in tests/coverage.txt. Exit status 1 when a
gate is missed, or when a line of that file is not needed any more.

Assertions, and labels behind which only BELAY_UNREACHABLE() stands, are not
counted.
"""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
ALLOWED = ROOT / "tests/coverage.txt"

# The parts where a mistake is worst.
WHOLE = re.compile(
    r"proto/(wire/.*|base/(reader|writer|endian)|"
    r"data/(merkle|rangeset|journal|relpath|cid))"
    r"\.[ch]$")
PURE = re.compile(r"proto/(base|data|wire|session)/")
PURE_PERCENT = 90
# Of client and server what has its own unit tests.
ALONE = re.compile(
    r"(client/(store(?!_sys)\w*|dirurl|knownhosts|newdirs)|"
    r"server/(access|census|conduct|digests|metrics|settings))\.[ch]$")
ALONE_PERCENT = 70

# Each file is compiled for one of these.
LIBRARIES = ("belay_proto", "belay_io", "belay_objects", "belayd_core")


def run(args, **kw):
    r = subprocess.run(args, stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, text=True, check=False, **kw)
    if r.returncode != 0:
        sys.exit(r.stdout[-4000:])
    return r.stdout


def measure(build):
    """What llvm-cov says, after a run of the tests."""
    profiles = build / "profiles"
    shutil.rmtree(profiles, ignore_errors=True)
    profiles.mkdir()
    run(["ctest", "-L", "unit|fuzz|sim", "-j", str(os.cpu_count() or 1),
         "--output-on-failure"], cwd=build,
        env={**os.environ, "LLVM_PROFILE_FILE": f"{profiles}/%p.profraw"})
    merged = build / "all.profdata"
    run(["llvm-profdata", "merge", "-sparse", "-o", str(merged),
         *map(str, profiles.iterdir())])
    objects = []
    for library in LIBRARIES:
        made = build / f"CMakeFiles/{library}.dir"
        objects += [str(p) for p in sorted(made.rglob("*.o"))
                    if (ROOT / p.relative_to(made)).with_suffix("").exists()]
    out = run(["llvm-cov", "export", f"-instr-profile={merged}", objects[0],
               *[x for o in objects[1:] for x in ("-object", o)]])
    return json.loads(out)["data"][0]["files"]


def assertions(text):
    """Spans of offsets within BELAY_ASSERT(...)."""
    spans = []
    for m in re.finditer(r"\bBELAY_ASSERT\(", text):
        depth, at = 1, m.end()
        while depth > 0:
            depth += {"(": 1, ")": -1}.get(text[at], 0)
            at += 1
        spans.append((m.start(), at))
    return spans


def unreachable(text):
    """Labels and switches that only BELAY_UNREACHABLE() stands behind."""
    spans = [(m.start(1), m.end(1)) for m in re.finditer(
        r"(default):\s*BELAY_UNREACHABLE\(\)", text)]
    # A switch over an enum without default: none of its labels.
    spans += [(m.start(1), m.end(1)) for m in re.finditer(
        r"switch (\([^{]*\)) \{", text)]
    return spans


class File:
    def __init__(self, data):
        path = pathlib.Path(os.path.realpath(data["filename"]))
        self.name = str(path.relative_to(ROOT))
        self.text = path.read_text()
        self.lines = self.text.split("\n")
        starts = [0]
        for line in self.lines:
            starts.append(starts[-1] + len(line) + 1)
        spans = assertions(self.text) + unreachable(self.text)
        outcomes = {}
        for b in data["branches"]:
            at = starts[b[0] - 1] + b[1] - 1
            end = starts[b[2] - 1] + b[3] - 1
            if any(x <= at < y for x, y in spans):
                continue
            key = (b[0], " ".join(self.text[at:end].split()))
            for side, count in (("true", b[4]), ("false", b[5])):
                outcomes[key + (side,)] = outcomes.get(key + (side,),
                                                       0) + count
        self.count = len(outcomes)
        self.missing = sorted(k for k, n in outcomes.items() if n == 0)


def allowed():
    """(file, condition, side) -> reason."""
    reasons = {}
    for line in ALLOWED.read_text().split("\n"):
        if line and not line.startswith("#"):
            name, side, condition, reason = line.split("\t")
            reasons[name, condition, side] = reason
    return reasons


def gate_of(name):
    """In percent; 0: none."""
    if WHOLE.match(name):
        return 100
    if PURE.match(name):
        return PURE_PERCENT
    return ALONE_PERCENT if ALONE.match(name) else 0


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    build = pathlib.Path(sys.argv[1]).resolve()
    only = sys.argv[3:]
    show = "--missing" in sys.argv
    reasons = allowed()
    used = set()
    bad = []
    files = sorted((File(d) for d in measure(build)), key=lambda f: f.name)
    for f in files:
        if f.count == 0 or not f.name.startswith(("proto/", "client/",
                                                  "server/")):
            continue
        excused = [m for m in f.missing if (f.name,) + m[1:] in reasons]
        used.update((f.name,) + m[1:] for m in excused)
        missing = [m for m in f.missing if m not in excused]
        covered = f.count - len(f.missing)
        percent = 100 * (covered + len(excused)) / f.count
        gate = gate_of(f.name)
        missed = percent < gate
        if missed:
            bad.append(f.name)
        print(f"{f.name:34} {covered:4} of {f.count:4} outcomes"
              f"{f' + {len(excused)} excused' if excused else '':13}"
              f"{percent:6.1f} %{f'  of {gate} %' if gate else ''}"
              f"{'  MISSED' if missed else ''}")
        if (missed or (show and gate) or f.name in only) and (
                not only or f.name in only):
            for line, condition, side in missing:
                print(f"    {f.name}:{line}: never {side}: {condition}")
    stale = sorted(set(reasons) - used)
    for name, condition, side in stale:
        print(f"not needed in tests/coverage.txt: {name}: {side}: "
              f"{condition}")
    if bad:
        print(f"below their gate: {' '.join(bad)}")
    return 1 if bad or stale else 0


if __name__ == "__main__":
    sys.exit(main())
