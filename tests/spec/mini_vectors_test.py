#!/usr/bin/env python3
"""Goal: the small client in Python agrees with every vector that is about
something a client reads or computes: identity, paths, URIs, frames, TLVs and
single messages."""

import importlib.util
import json
import os
import re
import struct
import sys

import serving

spec = importlib.util.spec_from_file_location("mini", serving.MINI)
mini = importlib.util.module_from_spec(spec)
spec.loader.exec_module(mini)

VECTORS = os.path.join(serving.ROOT, "spec", "vectors")


class Stream:
    """In place of a socket: these bytes, then the end."""

    def __init__(self, data):
        self.data = data

    def recv(self, n):
        piece, self.data = self.data[:n], self.data[n:]
        return piece

    def sendall(self, data):
        pass


def connection(data):
    link = mini.Connection.__new__(mini.Connection)
    link.sock, link.last_id, link.gone = Stream(data), 0, False
    return link


def pattern(n, at=0):
    return bytes((at + i) % 251 for i in range(n))


def file_of(given):
    data = bytearray(pattern(int(given["pattern_len"])))
    for at in given["invert_at"]:
        data[int(at)] ^= 0xFF
    return bytes(data)


def digests_of(data, c):
    return [mini.sha(data[at:at + (1 << c)])
            for at in range(0, len(data), 1 << c)]


def merkle(given):
    if given["kind"] == "tree":
        return {"root": mini.mth([bytes.fromhex(x)
                                  for x in given["leaves"]]).hex()}
    if given["kind"] != "file":
        return None                     # proofs are not in the baseline
    data, c = file_of(given), given["chunk_log2"]
    digests = digests_of(data, c)
    n = mini.count(len(data), c)
    return {"chunks": n, "digests": [d.hex() for d in digests],
            "last_len": mini.length(len(data), c, n - 1) if n else 0}


def cid(given):
    if given["kind"] == "file":
        data, c = file_of(given), given["chunk_log2"]
        return {"cid": mini.cid_of(len(data), c, digests_of(data, c)).hex()}
    if given["kind"] == "text":
        # A pin in a URL; blanks and the like are no part of one.
        where = mini.parse_url("belay://h/p#" + given["text"])
        if where[2] is None:
            raise mini.Failed("no pin")
        return {"chunk_log2": where[2][0], "cid": where[2][1].hex()}
    return None


def path(given):
    if given["kind"] != "path" or not given["bytes"]:
        return None                     # the root is no file
    data = bytes.fromhex(given["bytes"])
    if len(data) > 4096:
        return None                     # left to the server
    text = "".join("%%%02X" % byte if byte not in b"/" else "/"
                   for byte in data)
    found = mini.parse_url("belay://h/" + text)[1]
    return {"parts": [part.hex() for part in found.split(b"/")]}


def uri(given):
    text = given["uri"]
    if not text.lower().startswith(("belay:", "belay+tcp:")) or \
            re.fullmatch("[^:]*://[^/#]*/?(#.*)?", text):
        return None                     # other transports; the root
    (tls, host, port), found, pin = mini.parse_url(text)
    return {"port": port, "path": found.hex(),
            "pin_chunk_log2": pin[0] if pin else 0,
            "pin": pin[1].hex() if pin else ""}


REQUEST_OF = {0x41: None, mini.INFO: mini.OPEN, mini.DIGESTS: mini.DIGEST}


def frame(given):
    """The frame as what comes after a request that it could answer."""
    data = bytes.fromhex(given["hex"]) + pattern(given["pattern_len"],
                                                 given["pattern_at"])
    kind = data[4] if len(data) > 4 else 0
    request = REQUEST_OF.get(kind, mini.GET)
    if given["receiver"] != "client" or request is None or \
            kind == mini.HELLO:
        return None                     # no LIST; HELLO has passed
    link = connection(data)
    link.last_id = max(0, int.from_bytes(data[8:12], "big") - 1)
    try:
        next(link.request(request, b""))
    except mini.Refused:
        pass
    except mini.Lost as lost:
        # It went on to the next frame, or this one said that it is over.
        if link.sock.data or not re.search(
                "end of stream|server (goes away|ends it)", str(lost)):
            raise
    return {"type": kind}


CONTEXTS = {"HELLO-S": mini.HELLO, "INFO": mini.INFO, "DONE": mini.DONE,
            "ERROR": mini.ERROR, "DIGESTS": mini.DIGESTS}


def tlv(given):
    if given["context"] not in CONTEXTS:
        return None
    found = mini.tlvs(bytes.fromhex(given["hex"]), CONTEXTS[given["context"]])
    return {"types": sorted(found)}


RUNS = {"merkle": merkle, "cid": cid, "path": path, "uri": uri,
        "frame": frame, "tlv": tlv}


def expected_of(kind, vector):
    expected = dict(vector["expected"] or {})
    if kind == "tlv":
        expected["types"] = sorted(
            [t["type"] for t in expected.pop("tlvs", [])] +
            expected.pop("ignored", []))
    return expected


def judge(kind, vector):
    """None when not asked, True when right, else what is wrong."""
    try:
        found = RUNS[kind](vector["input"])
    except (mini.Failed, mini.Lost, struct.error) as error:
        found = error
    if found is None or vector["result"] == "acceptable":
        return None
    if isinstance(found, Exception):
        # An answer of an unknown type costs this client the connection.
        if (vector["expected"] or {}).get("disposition") == "cancel_locally":
            return True
        return vector["result"] == "invalid" or "refused: %s" % found
    if vector["result"] == "invalid":
        return "accepted: %r" % found
    expected = expected_of(kind, vector)
    return all(expected[key] == value for key, value in found.items()) or \
        "%r, expected %r" % (found, expected)


def main():
    wrong = 0
    for kind in RUNS:
        with open(os.path.join(VECTORS, kind + ".json"),
                  encoding="utf-8") as f:
            vectors = json.load(f)["vectors"]
        verdicts = [(v["id"], judge(kind, v)) for v in vectors]
        asked = [one for one in verdicts if one[1] is not None]
        bad = [one for one in asked if one[1] is not True]
        print("%s: %d of %d asked, %d wrong" % (kind, len(asked),
                                                len(vectors), len(bad)))
        for name, why in bad:
            print("    %s: %s" % (name, why))
        wrong += len(bad)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
