#!/usr/bin/env python3
"""Goal: openssl agrees with the oracle about every signature in
manifest.json: good ones verify, those of rejected files do not.  Exit status
77 without openssl."""

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(ROOT, "spec", "oracle"))

import belay_manifest as manifest  # noqa: E402  (needs the path above)

# SubjectPublicKeyInfo of an Ed25519 key, up to the 32 key bytes.
SPKI = bytes.fromhex("302a300506032b6570032100")


def openssl_verifies(room, public, message, signature):
    names = {}
    for name, data in (("key", SPKI + public), ("text", message),
                       ("sig", signature)):
        names[name] = os.path.join(room, name)
        with open(names[name], "wb") as f:
            f.write(data)
    return subprocess.run(
        ["openssl", "pkeyutl", "-verify", "-pubin", "-keyform", "DER",
         "-inkey", names["key"], "-rawin", "-in", names["text"], "-sigfile",
         names["sig"]], stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL).returncode == 0


def known_signatures(vector):
    """(public key, signed bytes, signature) for each known key's line."""
    keys = [manifest.Key(text) for text in vector["input"]["keys"]]
    signed, tail = manifest.split(bytes.fromhex(vector["input"]["data"]))
    for line in tail.split(b"\n")[:-1]:
        found = manifest.SIGNATURE.fullmatch(line[len(manifest.DASH):])
        raw = base64.b64decode(found[2])
        for key in keys:
            if (key.name, key.ident) == (found[1], raw[:4]) and \
                    len(raw) == 68:
                yield key.public, signed, raw[4:]


def main():
    if not shutil.which("openssl"):
        print("skipped: openssl is not installed")
        return 77
    path = os.path.join(ROOT, "spec", "vectors", "manifest.json")
    with open(path, encoding="utf-8") as f:
        vectors = json.load(f)["vectors"]
    failed = asked = 0
    with tempfile.TemporaryDirectory() as room:
        for vector in vectors:
            error = vector["error"]
            broken = error is not None and error["code"] == "BAD_SIGNATURE"
            if error is not None and not broken:
                continue
            verdicts = [openssl_verifies(room, *s)
                        for s in known_signatures(vector)]
            asked += len(verdicts)
            if not verdicts or all(verdicts) == broken:
                print("%s: openssl says %s" % (vector["id"], verdicts))
                failed += 1
    print("%d signatures, %d vectors wrong" % (asked, failed))
    return 1 if failed or asked < 20 else 0


if __name__ == "__main__":
    sys.exit(main())
