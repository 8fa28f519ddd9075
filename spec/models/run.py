#!/usr/bin/env python3
"""Run the variants of the Promela models and compare with expected.tsv.

    run.py [MODEL]      for instance: run.py resume.pml

Each line of expected.tsv names a model, the macros that make a variant ("-"
for none), and whether its assertions hold or are violated. Every variant is
searched completely by spin, as many at a time as there are processors; those
marked "long", of some hundred thousand states, only if the environment has
BELAY_LONG=1 or a model is named. Exit 0: all as expected; 1: a difference;
77: spin is not installed (the way to say "skipped" to a test runner).
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
DEPTH = "200000"
LONG = bool(os.environ.get("BELAY_LONG"))


def variants(wanted):
    """(model, macros, holds|violated, meaning) of every line that is asked."""
    for line in (HERE / "expected.tsv").read_text("utf-8").splitlines():
        if line.startswith("#") or not line.strip():
            continue
        model, macros, verdict, meaning, *mark = line.split("\t")
        if verdict not in ("holds", "violated") or mark not in ([], ["long"]):
            raise SystemExit(f"run.py: neither holds nor violated: {line}")
        if wanted == model or wanted is None and (LONG or not mark):
            yield model, macros, verdict, meaning


def run(command, folder):
    done = subprocess.run(command, cwd=folder, text=True, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode != 0 and command[0] != "./pan":
        raise SystemExit(f"run.py: {' '.join(command)}:\n{done.stdout}")
    return done.stdout


def search(model, macros):
    """holds or violated, and the number of states that were seen."""
    defines = [] if macros == "-" else ["-D" + m for m in macros.split()]
    with tempfile.TemporaryDirectory(prefix="belay-model-") as folder:
        run(["spin", *defines, "-a", str(HERE / model)], folder)
        # The search takes less time than an optimizing compiler would.
        safety = [] if "CAN_FINISH" in macros else ["-DSAFETY"]
        run(["gcc", "-O0", "-w", *safety, "-DVECTORSZ=2048",
             "-o", "pan", "pan.c"], folder)
        text = run(["./pan", "-m" + DEPTH], folder)
    errors = re.search(r"errors: (\d+)", text)
    states = re.search(r"(\d+) states, stored", text)
    if not errors or not states or "max search depth too small" in text:
        raise SystemExit(f"run.py: no verdict for {model} {macros}:\n{text}")
    verdict = "holds" if errors.group(1) == "0" else "violated"
    return verdict, int(states.group(1))


def main(arguments):
    if shutil.which("spin") is None or shutil.which("gcc") is None:
        print("run.py: spin and gcc are needed, skipped", file=sys.stderr)
        return 77
    wrong = count = 0
    rows = list(variants(arguments[0] if arguments else None))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(lambda row: search(*row[:2]), rows))
    for (model, macros, verdict, meaning), (found, states) in zip(rows,
                                                                  results):
        count += 1
        mark = "ok  " if found == verdict else "BAD "
        wrong += found != verdict
        print(f"{mark}{model} {macros}: {found}, {states} states "
              f"({meaning})", flush=True)
    if not count:
        print("run.py: nothing to run", file=sys.stderr)
        return 1
    left = "" if LONG or arguments else "; longer ones with BELAY_LONG=1"
    print(f"{count} variants, {wrong} not as expected{left}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
