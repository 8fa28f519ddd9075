#!/usr/bin/env python3
"""Runs the oracle over every vector, and the vectors over their rules.

    python3 spec/tools/check_vectors.py [--no-regenerate] [file ...]

Checks, for each file: the JSON Schema, the announced number of vectors, that
ids are unique, that flags are explained in notes, that requirement ids have
the right form, that the oracle reaches the stated verdict (for byte streams
also when the bytes come one at a time), and that the generators write the
same bytes again.  Exit status 0 or 1.
"""

import glob
import json
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
SPEC = os.path.dirname(HERE)
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(SPEC, "oracle"))
sys.path.insert(0, HERE)

import schema  # noqa: E402  (needs the path above)
import vector_runs  # noqa: E402

# Fewer vectors than this means that something was lost.
LEAST = {"merkle": 400, "cid": 90, "preface": 60, "frame": 150, "tlv": 100,
         "message": 330, "path": 80, "chunk": 70, "range": 45, "manifest": 70,
         "manifest_use": 20, "uri": 90}
REQUIREMENT = re.compile(r"\*\*((?:B1|ID1|MF1|U1)-[A-Z]*[0-9]+[a-z]?)\*\*")


def requirement_ids():
    """Every id that a document defines."""
    ids = set()
    for path in glob.glob(os.path.join(SPEC, "belay*.md")):
        with open(path, encoding="utf-8") as f:
            ids.update(REQUIREMENT.findall(f.read()))
    return ids


def check_entry(vector, notes, seen):
    ident = vector["id"]
    if ident in seen:
        yield "id is not unique"
    seen.add(ident)
    for flag in vector["flags"]:
        if flag not in notes:
            yield "flag %s is not explained" % flag
    for req in vector["req"]:
        if req not in REQUIREMENTS:
            yield "no document defines %s" % req
    if vector["result"] == "valid" and (
            vector["error"] is not None or vector["expected"] is None):
        yield "a valid vector has expected and no error"
    if vector["result"] == "invalid" and vector["error"] is None:
        yield "an invalid vector has an error"


def check_verdict(kind, vector):
    """Compares what the oracle says with what the vector says."""
    for split in (None, 1):
        expected, error = vector_runs.run(kind, vector["input"], split)
        if vector["result"] == "acceptable":
            continue
        if error != vector["error"]:
            yield "oracle's error %r, stated %r (split %s)" % (
                error, vector["error"], split)
        elif kind == "streams" and error and \
                expected != vector["prefix_ok"]:
            yield "oracle accepted %s, prefix_ok is %s (split %s)" % (
                json.dumps(expected), json.dumps(vector["prefix_ok"]), split)
        elif vector["result"] == "valid" and expected != vector["expected"]:
            yield "oracle's result %s, stated %s (split %s)" % (
                json.dumps(expected), json.dumps(vector["expected"]), split)


REQUIREMENTS = requirement_ids()


def check_file(path):
    name = os.path.relpath(path, os.path.join(SPEC, "vectors"))
    with open(path, encoding="utf-8") as f:
        data = json.load(f)
    kind = name.split(os.sep)[0].removesuffix(".json")
    with open(os.path.join(SPEC, "vectors", "schema", kind + ".json"),
              encoding="utf-8") as f:
        yield from schema.problems(data, json.load(f))
    vectors = data["vectors"]
    if data["count"] != len(vectors):
        yield "count is %d, vectors are %d" % (data["count"], len(vectors))
    if len(vectors) < LEAST.get(kind, 1):
        yield "only %d vectors" % len(vectors)
    used = {flag for v in vectors for flag in v["flags"]}
    for flag in sorted(set(data["notes"]) - used):
        yield "note %s explains no vector" % flag
    seen = set()
    for vector in vectors:
        for problem in check_entry(vector, data["notes"], seen):
            yield "%s: %s" % (vector["id"], problem)
        for problem in check_verdict(kind, vector):
            yield "%s: %s" % (vector["id"], problem)


def main(args):
    paths = [a for a in args if not a.startswith("-")] or sorted(
        glob.glob(os.path.join(SPEC, "vectors", "*.json")) +
        glob.glob(os.path.join(SPEC, "vectors", "streams", "*.json")))
    failed = 0
    for path in paths:
        problems = list(check_file(os.path.abspath(path)))
        failed += len(problems)
        for problem in problems:
            print("%s: %s" % (os.path.basename(path), problem))
    if "--no-regenerate" not in args:
        import make_vectors
        failed += make_vectors.main(["--check"])
    print("%d files, %d problems" % (len(paths), failed))
    return 1 if failed or not paths else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
