#!/usr/bin/env python3
"""Writes spec/vectors, or with --check says which files would change.

    python3 spec/tools/make_vectors.py [--check] [name ...]

Every run gives the same bytes; zlib streams, which another zlib would write
differently, are kept as data in vectorgen/zlib_streams.py.
"""

import importlib
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.dont_write_bytecode = True
sys.path.insert(0, HERE)

import vectorgen.common as common  # noqa: E402  (needs the path above)

FILES = ("merkle", "cid", "preface", "frame", "tlv", "message", "path",
         "chunk", "range", "manifest", "manifest_use", "uri", "streams")


def outputs(names):
    """(path below spec/vectors, text) of every file."""
    for name in names:
        module = importlib.import_module("vectorgen." + (
            name if name != "range" else "ranges"))
        built = module.build()
        files = built if isinstance(built, list) else [built]
        for one in files:
            yield one.name + ".json", one.text()


def main(args):
    check = "--check" in args
    names = [a for a in args if not a.startswith("-")] or FILES
    stale = 0
    for name, text in outputs(names):
        path = os.path.join(common.SPEC, "vectors", name)
        old = None
        if os.path.exists(path):
            with open(path, encoding="utf-8") as f:
                old = f.read()
        if check and old != text:
            print("differs from its generator: spec/vectors/" + name)
            stale += 1
        elif not check and old != text:
            with open(path, "w", encoding="utf-8") as f:
                f.write(text)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
