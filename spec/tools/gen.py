#!/usr/bin/env python3
"""Generate everything that repeats a number of the protocol.

    gen.py           rewrite the generated files and tables
    gen.py --check   write nothing; name what differs and exit 1

Sources are spec/registry.tsv and spec/layout.tsv. In the Markdown files of
spec/ a table stands between <!-- gen:NAME --> and <!-- /gen -->; the names
are the keys of gen_text.tables().
"""

import re
import sys
from pathlib import Path

# A generator that leaves byte code behind would dirty the tree.
sys.dont_write_bytecode = True

import gen_c
import gen_text
import tsv

ROOT = Path(__file__).resolve().parents[2]

MARKER = re.compile(r"(<!-- gen:([A-Za-z0-9_-]+) -->\n)(.*?)(<!-- /gen -->)",
                    re.DOTALL)


def generated_files(entries, layouts):
    """Path below the root and the text that belongs there."""
    return {
        "proto/base/registry.h": gen_c.registry_h(entries),
        "proto/wire/layout.h": gen_c.layout_h(layouts),
        "proto/wire/layout.c": gen_c.layout_c(layouts),
        "spec/oracle/registry.py": gen_text.registry_py(entries, layouts),
        "spec/dissector/registry.lua":
            gen_text.registry_lua(entries, layouts),
    }


def filled(path, text, tables):
    """A Markdown text with its tables replaced."""
    if text.count("<!-- gen:") != len(MARKER.findall(text)):
        raise tsv.TableError(f"{path}: a gen marker has no end")

    def replace(match):
        name = match.group(2)
        if name not in tables:
            raise tsv.TableError(f"{path}: no table {name}")
        return f"{match.group(1)}\n{tables[name]}\n{match.group(4)}"

    return MARKER.sub(replace, text)


def wanted(root):
    """Every generated path with its right text."""
    entries = tsv.load_registry(root / "spec/registry.tsv")
    layouts = tsv.load_layouts(root / "spec/layout.tsv")
    result = {root / name: text
              for name, text in generated_files(entries, layouts).items()}
    tables = gen_text.tables(entries, layouts)
    for path in sorted((root / "spec").rglob("*.md")):
        text = path.read_text(encoding="utf-8")
        if "<!-- gen:" in text:
            result[path] = filled(path, text, tables)
    return result


def main(arguments):
    if arguments not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    try:
        files = wanted(ROOT)
    except tsv.TableError as error:
        print(f"gen.py: {error}", file=sys.stderr)
        return 1
    stale = [path for path, text in files.items()
             if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in stale:
        name = path.relative_to(ROOT)
        if arguments:
            print(f"gen.py: {name} is out of date: run spec/tools/gen.py",
                  file=sys.stderr)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(files[path], encoding="utf-8")
            print(f"wrote {name}")
    return 1 if arguments and stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
