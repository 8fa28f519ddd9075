#!/usr/bin/env python3
"""Fuzz for a while, print what was covered, keep what was found.

usage: campaign.py BUILD SECONDS [--keep] [--table] [--jobs N] [NAME...]

BUILD is a tree configured with clang, -DBELAY_FUZZ=ON and
-DBELAY_SANITIZE=address,undefined. Each target runs for SECONDS (0: only the
inputs that there are), N at a time, or as many as there are processors. A
failing input is printed as a line for tests/fuzz/corpus/NAME.hex, where it
stays once the fault is fixed. --keep adds to these files the smallest inputs
that reach code which the vectors do not. Exit status 1 when anything was
found.

With -DBELAY_COVERAGE=ON, too, the lines and regions of the files that a
target is about are told; --table writes them to the README.
"""

import argparse
import fnmatch
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import corpus

HERE = pathlib.Path(__file__).resolve().parent

# Hexadecimal text of one target, and of a conversation, whose inputs are
# longer; all together stay below 1.6 MiB.
CORPUS_MAX = 40 * 1024
TALK_MAX = 112 * 1024
INPUT_MAX = {"receiver": 8192, "sender": 4096, "message": 4096,
             "transfer": 1024, "bulk": 1024, "walk": 1024}

# Whole conversations: long from the first moment.
CONVERSATIONS = {"sender", "receiver", "transfer", "bulk", "walk"}

# What a target is about.
FILES = {
    "frame": ["proto/wire/frame.c"],
    "preface": ["proto/wire/preface.c"],
    "message": ["proto/wire/msg*.c"],
    "tlv": ["proto/wire/tlv.c"],
    "entries": ["proto/wire/msg_list.c"],
    "path": ["proto/data/relpath.c"],
    "text": ["proto/data/text.c"],
    "uri": ["proto/data/uri.c"],
    "cid": ["proto/data/cid.c"],
    "merkle": ["proto/data/merkle.c"],
    "zpack": ["proto/data/zpack.c"],
    "journal": ["proto/data/journal.c"],
    "rangeset": ["proto/data/rangeset.c"],
    "manifest": ["proto/data/manifest.c", "proto/data/manifest_write.c",
                 "proto/data/note.c"],
    "receipt": ["proto/data/receipt.c"],
    "list": ["client/cli/list.c"],
    "config": ["client/cli/config.c"],
    "ls": ["client/cli/entry_print.c"],
    "knownhosts": ["client/knownhosts.c"],
    "keyfile": ["client/keyfile.c"],
    "socks": ["client/socks.c"],
    "proxy": ["client/proxy.c"],
    "ssh": ["client/ssh.c"],
    "prologue": ["client/prologue.c"],
    "access": ["server/access.c", "server/tokens.c"],
    "aide": ["client/aide_serve.c"],
    "digestcache": ["server/digestcache*.c"],
    "settings": ["server/settings.c", "server/origin.c"],
    "shared": ["server/census.c", "server/conduct.c", "server/permits.c",
               "server/metrics.c"],
    "sender": ["proto/session/sender*.c"],
    "receiver": ["proto/session/receiver*.c"],
    "transfer": ["proto/session/transfer*.c"],
    "bulk": ["proto/session/bulk*.c", "proto/session/line.c"],
    "walk": ["proto/session/walk*.c", "proto/session/line.c"],
}

README = HERE / "README.md"
TABLE_BEGIN = "<!-- campaign.py --table -->\n"
TABLE_END = "<!-- end of table -->\n"

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

    def run(self, *args, profile=os.devnull):
        return subprocess.run(
            [self.program, *args], cwd=self.work, text=True, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            errors="replace",
            env={**os.environ, "ASAN_OPTIONS": "detect_leaks=1",
                 "LLVM_PROFILE_FILE": str(profile),
                 "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1"})

    def coverage(self):
        """What all inputs together reach of the files of this target."""
        raw = self.work / "cov.profraw"
        data = self.work / "cov.profdata"
        self.run("-runs=0", str(self.found), str(self.seeds), profile=raw)
        if not raw.exists() or subprocess.run(
                ["llvm-profdata", "merge", "-sparse", str(raw), "-o",
                 str(data)], check=False).returncode != 0:
            return None
        out = subprocess.run(
            ["llvm-cov", "export", "-summary-only", self.program,
             f"-instr-profile={data}"], check=True, text=True,
            stdout=subprocess.PIPE).stdout
        sums = Counter()
        for file in json.loads(out)["data"][0]["files"]:
            if any(fnmatch.fnmatch(file["filename"], "*/" + pattern)
                   for pattern in FILES[self.name]):
                for what in ("lines", "regions"):
                    for number in ("covered", "count"):
                        sums[what, number] += file["summary"][what][number]
        return sums

    def fuzz(self, seconds):
        """The line to print, and whether all went well."""
        limit = INPUT_MAX.get(self.name, 2048)
        amount = [f"-max_total_time={seconds}"] if seconds else ["-runs=0"]
        if self.name in CONVERSATIONS:
            amount.append("-len_control=0")
        out = self.run(*amount, f"-max_len={limit}",
                       "-timeout=20", "-rss_limit_mb=2048",
                       "-print_final_stats=1", "-artifact_prefix=fault-",
                       str(self.found), str(self.seeds)).stdout
        faults = sorted(self.work.glob("fault-*"))
        states = STATE.findall(out)
        total = TOTAL.search(out)
        runs = RUNS.search(out)
        cov, features, corp = states[-1] if states else ("?", "?", "?")
        sums = self.coverage()
        self.row = [self.name, runs.group(1) if runs else "?", corp,
                    f"{cov} of {total.group(1) if total else '?'}",
                    share(sums, "lines"), share(sums, "regions")]
        line = (f"{self.name:10} {self.row[1]:>9} runs, {corp:>4} inputs, "
                f"{features} features, {self.row[3]} edges; of its files "
                f"{self.row[4]} lines, {self.row[5]} regions")
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
        most = TALK_MAX if self.name in CONVERSATIONS else CORPUS_MAX
        room = most - sum(len(x) + 1 for x in lines)
        for one in new:
            room -= 2 * len(one) + 1
            if room < 0:
                break
            if one.hex() not in lines:
                lines.append(one.hex())
        if lines:
            self.kept.write_text("".join(x + "\n" for x in lines))


def share(sums, what):
    if not sums or not sums[what, "count"]:
        return "?"
    covered, count = sums[what, "covered"], sums[what, "count"]
    return f"{covered} of {count} ({100 * covered / count:.0f} %)"


def write_table(rows, seconds):
    head = ["Target", "Runs", "Inputs", "Edges", "Lines of its files",
            "Regions of its files"]
    lines = ["| " + " | ".join(r) + " |" for r in [head, ["---"] * 6, *rows]]
    text = README.read_text()
    begin = text.index(TABLE_BEGIN) + len(TABLE_BEGIN)
    end = text.index(TABLE_END)
    what = (f"A campaign of {seconds} seconds for each" if seconds else
            "The vectors and the inputs that are kept")
    README.write_text(
        text[:begin] + f"\n{what}:\n\n" +
        "\n".join(lines) + "\n\n" + text[end:])


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("seconds", type=int)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("names", nargs="*", metavar="NAME")
    args = parser.parse_intermixed_args()
    build = args.build.resolve()
    names = args.names or [t.__name__ for t in corpus.TARGETS]
    ok = True
    rows = []
    work = pathlib.Path(tempfile.mkdtemp(prefix="belay-fuzz-"))

    def one(name):
        target = Target(build, name, work)
        line, good = target.fuzz(args.seconds)
        if args.keep and good:
            target.keep()
        return line, good, target.row

    try:
        jobs = min(args.jobs, len(names))
        with ThreadPoolExecutor(jobs) as pool:
            for line, good, row in pool.map(one, names):
                print(line, flush=True)
                rows.append(row)
                ok = ok and good
    finally:
        shutil.rmtree(work, ignore_errors=True)
    if args.table:
        write_table(rows, args.seconds)
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
