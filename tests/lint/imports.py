#!/usr/bin/env python3
"""Names that a Python file imports and nobody uses: neither the file itself
nor another one that takes them from it.
"""

import ast
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def imports(tree):
    """Line, module and names of each import."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield node.lineno, None, [(a.asname or a.name).split(".")[0]
                                      for a in node.names]
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, node.module, [a.asname or a.name
                                             for a in node.names]


def main():
    trees = {path: ast.parse(path.read_text())
             for room in ("spec", "tests") for path in
             sorted((ROOT / room).rglob("*.py"))}
    passed_on = {(module, name) for tree in trees.values()
                 for _, module, names in imports(tree) for name in names}
    passed_on |= {(node.value.id, node.attr) for tree in trees.values()
                  for node in ast.walk(tree)
                  if isinstance(node, ast.Attribute) and
                  isinstance(node.value, ast.Name)}
    unused = 0
    for path, tree in trees.items():
        used = {node.id for node in ast.walk(tree)
                if isinstance(node, ast.Name)}
        text = path.read_text().splitlines()
        for line, _, names in imports(tree):
            if "F401" in text[line - 1]:
                continue  # imported for what it does
            for name in names:
                if name not in used and (path.stem, name) not in passed_on:
                    print(f"{path.relative_to(ROOT)}:{line}: "
                          f"{name} is imported and not used")
                    unused += 1
    return 1 if unused else 0


if __name__ == "__main__":
    sys.exit(main())
