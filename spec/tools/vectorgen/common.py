"""What all generators share: the shape of a vector and of a file.

A generator states the verdict of each vector itself; the oracle only supplies
values such as hashes and encodings.  check_vectors.py then runs the oracle's
decoders over the finished files, so neither side can agree with itself.
"""

import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
SPEC = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(SPEC, "oracle"))

import registry as R  # noqa: E402  (needs the path above)


def u64(n):
    """64-bit numbers are decimal strings: JSON readers differ above 2^53."""
    return str(n)


def wire_error(code, scope="connection"):
    """The connection ends, or only the request fails, with this code."""
    value = getattr(R, "WIRE_" + code)
    return {"code": code, "value": value, "class": value >> 8,
            "scope": scope}


def request_error(code):
    return wire_error(code, "request")


def local_error(reason):
    """The receiver refuses the data; no code of its own travels for it."""
    return {"code": reason, "value": 0, "class": 0, "scope": "local"}


def full_id(tag):
    """Tags without a document belong to the wire protocol."""
    return tag if "-" in tag else "B1-" + tag


class VectorFile:
    """Collects the vectors of one file and writes it."""

    def __init__(self, name, notes):
        self.name, self.notes, self.vectors = name, notes, []
        self.ids = set()

    def add(self, ident, req, comment, input, expected=None, error=None,
            flags=(), acceptable=False):
        """valid without an error, invalid with one, acceptable when a
        correct receiver may do either."""
        assert ident not in self.ids, ident
        assert all(flag in self.notes for flag in flags), (ident, flags)
        self.ids.add(ident)
        result = "invalid" if error else "valid"
        if acceptable:
            result = "acceptable"
        self.vectors.append({
            "id": ident,
            "req": [full_id(tag) for tag in req.split()],
            "comment": comment,
            "result": result,
            "flags": list(flags),
            "input": input,
            "expected": expected,
            "error": error,
        })

    def text(self):
        head = {"file": self.name, "version": 1, "count": len(self.vectors),
                "notes": self.notes}
        body = ",\n".join("  " + json.dumps(v) for v in self.vectors)
        lines = json.dumps(head, indent=1).rstrip("}").rstrip()
        return lines + ',\n "vectors": [\n' + body + "\n ]\n}\n"
