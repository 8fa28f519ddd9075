#!/usr/bin/env python3
"""belay manifest: keys, signed lists of files, and the five refusals.

Outside witnesses: openssl checks the signatures and reads the keys, the
oracle of the specification reads the manifests."""

import base64
import hashlib
import os
import shutil
import subprocess
import sys
import time

from harness import (Run, Skip, case, check, check_code, check_one_line,
                     check_printable, main, names, scaled)

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "spec", "oracle"))

import belay_id as identity  # noqa: E402  (needs the path above)
import belay_manifest as oracle  # noqa: E402

FAR = "2100-01-01"


def manifest(*args, cwd, **env):
    room = {"XDG_STATE_HOME": cwd + "/state", **env}
    return Run(("manifest",) + args, cwd, env=room).wait()


def write(path, data):
    with open(path, "wb") as file:
        file.write(data)


def read(path):
    with open(path, "rb") as file:
        return file.read()


def key_pair(tmp, name="example.org/key", file="key"):
    check_code(manifest("keygen", "--name", name, file, cwd=tmp), 0)


def release(tmp, serial=1, content=b"one", output="m", key="key",
            expires=FAR):
    os.makedirs(tmp + "/d/sub", exist_ok=True)
    write(tmp + "/d/a file%", content)
    write(tmp + "/d/sub/b", content * 5000)
    check_code(manifest("create", "--origin", "example.org", "--serial",
                        str(serial), "--expires", expires, "-o", output, "d",
                        cwd=tmp), 0)
    if key:
        check_code(manifest("sign", "--key", key, output, cwd=tmp), 0)


def verify(tmp, *args, key="key.pub"):
    return manifest("verify", "--key", key, *args, cwd=tmp)


@case
def keys(tmp):
    key_pair(tmp)
    check(os.stat(tmp + "/key").st_mode & 0o777 == 0o600, "the mode")
    text = read(tmp + "/key.pub").decode()
    key = oracle.Key(text.strip())
    check(text.endswith("\n") and key.name == b"example.org/key", text)
    again = manifest("keygen", "--name", "x", "key", cwd=tmp)
    check_one_line(again, 10, "exists", "never")
    check(read(tmp + "/key.pub").decode() == text, "overwritten")
    os.unlink(tmp + "/key")
    again = manifest("keygen", "--name", "x", "key", cwd=tmp)
    check_one_line(again, 10, "key.pub")
    check(names(tmp) == ["key.pub"], "half a pair: %r" % names(tmp))
    check_code(manifest("keygen", "--name", "two words", "k", cwd=tmp), 2)
    check_code(manifest("keygen", "--name", "a+b", "k", cwd=tmp), 2)
    if not shutil.which("openssl"):
        raise Skip("no openssl")
    key_pair(tmp, file="other")
    key = oracle.Key(read(tmp + "/other.pub").decode().strip())
    der = subprocess.run(["openssl", "pkey", "-in", tmp + "/other", "-pubout",
                          "-outform", "DER"], check=True,
                         capture_output=True).stdout
    check(der[-32:] == key.public, "openssl reads another key")


@case
def keys_of_openssl(tmp):
    if not shutil.which("openssl"):
        raise Skip("no openssl")
    os.umask(0o077)
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out",
                    tmp + "/pem"], check=True)
    release(tmp, key=None)
    check_one_line(manifest("sign", "--key", "pem", "m", cwd=tmp), 2,
                   "--key-name")
    check_code(manifest("sign", "--key", "pem", "--key-name", "someone", "m",
                        cwd=tmp), 0)
    signed, tail = oracle.split(read(tmp + "/m"))
    name, data = tail.strip().split(b" ")[1:]
    check(name == b"someone", "name %r" % name)
    write(tmp + "/text", signed)
    write(tmp + "/sig", base64.b64decode(data)[4:])
    subprocess.run(["openssl", "pkeyutl", "-verify", "-inkey", tmp + "/pem",
                    "-rawin", "-in", tmp + "/text", "-sigfile", tmp + "/sig"],
                   check=True, capture_output=True)
    for algorithm in ("x25519", "rsa"):
        subprocess.run(["openssl", "genpkey", "-algorithm", algorithm, "-out",
                        tmp + "/other"], check=True, capture_output=True)
        run = manifest("sign", "--key", "other", "--key-name", "x", "m",
                       cwd=tmp)
        check_one_line(run, 2, "Ed25519")
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-aes256",
                    "-pass", "pass:word", "-out", tmp + "/locked"],
                   check=True, capture_output=True)
    check_one_line(manifest("sign", "--key", "locked", "--key-name", "x",
                            "m", cwd=tmp), 2, "password")


@case
def key_files_that_others_read(tmp):
    key_pair(tmp)
    release(tmp, key=None)
    before = read(tmp + "/m")
    for mode in (0o640, 0o604, 0o644):
        os.chmod(tmp + "/key", mode)
        run = manifest("sign", "--key", "key", "m", cwd=tmp)
        check_one_line(run, 2, "others may read", "chmod")
    check(read(tmp + "/m") == before, "signed nevertheless")
    check_one_line(manifest("sign", "--key", "none", "m", cwd=tmp), 2, "none")


@case
def what_is_listed(tmp):
    key_pair(tmp)
    os.makedirs(tmp + "/d/deep/er")
    files = {"a": b"", "a!": b"x", "deep/er/file": b"y" * 300000,
             "sp ace%\x01": b"z", "\u00fcml": b"u"}
    for name, data in files.items():
        write(tmp + "/d/" + name, data)
    os.symlink("a", tmp + "/d/link")
    os.mkfifo(tmp + "/d/fifo")
    write(tmp + "/d/half.part", b"")
    write(tmp + "/d/half.part.belay", b"")
    write(tmp + "/d/whole.part", b"w")
    files["whole.part"] = b"w"
    run = manifest("create", "--origin", "o", "-o", "d/m", "d", cwd=tmp)
    check_code(run, 0)
    check("left out: 4" in run.err, "what was left out", run)
    # The same again: the manifest does not list itself.
    first = read(tmp + "/d/m").split(b"\n")[4:]
    check_code(manifest("create", "--origin", "o", "-o", "d/m", "d",
                        cwd=tmp), 0)
    check(read(tmp + "/d/m").split(b"\n")[4:] == first, "not the same again")
    check_code(manifest("sign", "--key", "key", "d/m", cwd=tmp), 0)
    key = oracle.Key(read(tmp + "/key.pub").decode().strip())
    seen = oracle.parse(read(tmp + "/d/m"), [key])
    want = sorted((name.encode(), len(data)) for name, data in files.items())
    check([(path, size) for path, c, size, cid in seen.files] == want,
          "files %r" % (seen.files,))
    for path, c, size, cid in seen.files:
        check(cid == identity.cid_of(files[path.decode()], c), path)
    check(time.time() + 89 * 86400 < seen.expires < time.time() + 91 * 86400,
          "expiry")
    # One thread or many, the text is the same.
    outs = set()
    for threads in ("1", "7"):
        run = manifest("create", "--origin", "o", "--serial", "0",
                       "--expires", FAR, "--threads", threads, "d", cwd=tmp)
        check_code(run, 0)
        outs.add(run.out)
    check(len(outs) == 1 and b"serial 0\n" in run.out, "unstable", run)


@case
def files_by_name(tmp):
    os.mkdir(tmp + "/d")
    write(tmp + "/d/x", b"1")
    write(tmp + "/y", b"2")
    run = manifest("create", "--origin", "o", "./y", "d/x", cwd=tmp)
    check_code(run, 0)
    check([line.split(" ")[3] for line in run.out.decode().split("\n")[4:-1]] ==
          ["d/x", "y"], "paths", run)
    check_one_line(manifest("create", "--origin", "o", "y", "y", cwd=tmp), 2,
                   "two files")
    check_one_line(manifest("create", "--origin", "o", tmp + "/y", cwd=tmp),
                   2, "relative")
    check_one_line(manifest("create", "--origin", "o", "../y", cwd=tmp + "/d"),
                   2, "hold this path")
    check_one_line(manifest("create", "--origin", "o", "none", cwd=tmp), 2,
                   "none")
    write(os.fsencode(tmp) + b"/d/\xff", b"")
    run = manifest("create", "--origin", "o", "-o", "m", "d", cwd=tmp)
    check_one_line(run, 2, "UTF-8")
    check_printable(run)
    check("m" not in names(tmp), "a manifest of half the files")
    for wrong in (("--serial", "-1"), ("--serial", "x"),
                  ("--expires", "soon"), ("--expires", "2027-02-30"),
                  ("--chunk-size", "5000"), ("--threads", "0")):
        check_code(manifest("create", "--origin", "o", *wrong, "y", cwd=tmp),
                   2, wrong[1])
    check_code(manifest("create", "y", cwd=tmp), 2)
    check_code(manifest("frobnicate", cwd=tmp), 2)


@case
def signatures(tmp):
    key_pair(tmp, "one", "k1")
    key_pair(tmp, "two", "k2")
    release(tmp, key=None)
    text = read(tmp + "/m")
    for key in ("k1", "k2", "k1"):
        check_code(manifest("sign", "--key", key, "m", cwd=tmp), 0)
    check(read(tmp + "/m").count("\u2014".encode()) == 2, "signed twice")
    check(read(tmp + "/m").startswith(text), "the text changed")
    for key in ("k1.pub", "k2.pub", read(tmp + "/k2.pub").decode().strip()):
        check_code(verify(tmp, "m", key=key), 0)
    both = manifest("verify", "--key", "k1.pub", "--key", "k2.pub", "m",
                    cwd=tmp)
    check("by one, two" in both.out.decode(), "signers", both)
    write(tmp + "/bad", read(tmp + "/m").replace(b" 3 ", b" 4 "))
    run = manifest("sign", "--key", "k1", "bad", cwd=tmp)
    check_one_line(run, 2, "another text")
    write(tmp + "/bad", text[:-5])
    check_one_line(manifest("sign", "--key", "k1", "bad", cwd=tmp), 2,
                   "bad:6")


@case
def the_refusals(tmp):
    """Five failures, five messages, and nothing is remembered of them."""
    key_pair(tmp)
    key_pair(tmp, file="wrong")
    key_pair(tmp, "example.org/other", "other")
    release(tmp, 7)
    good = read(tmp + "/m")
    text = good[:good.index(b"\n\n") + 1]
    release(tmp, 6, output="old")
    release(tmp, 7, b"two", output="same")
    release(tmp, 9, output="late", expires="2001-01-01")
    write(tmp + "/stripped", text)
    write(tmp + "/stripped2", text + b"\n")
    write(tmp + "/altered", good.replace(b"sub/b", b"sub/c"))
    write(tmp + "/empty", b"")
    write(tmp + "/noise", bytes(range(256)) * 50)
    messages = set()

    def refused(word, *args, key="key.pub", code=4):
        run = verify(tmp, *args, key=key)
        check_one_line(run, code, word)
        check(run.out == b"", "it says something good", run)
        check_printable(run)
        messages.add(run.err)

    refused("not signed by the key given", "m", key="other.pub")
    refused("not signed by the key given", "m", key="wrong.pub")
    refused("no empty line", "stripped")
    refused("no signature", "stripped2")
    refused("wrong signature", "altered")
    refused("expired at 2001", "late")
    refused("is empty", "empty")
    refused("not UTF-8", "noise")
    refused("origin example.org, not of", "--origin", "example.com", "m")
    check(not os.path.exists(tmp + "/state/belay/manifests") or
          names(tmp + "/state/belay/manifests") == [], "a memory of refusals")
    check_code(verify(tmp, "m"), 0)
    refused("older than 7", "old")
    refused("says something else", "same")
    check(len(messages) == 11, "%d messages" % len(messages))
    check_code(verify(tmp, "m"), 0)
    check_code(verify(tmp, "--no-state", "old"), 0)
    check_code(verify(tmp, "m"), 0)
    # The memory itself is damaged: that is no reason to forget it.
    memory = tmp + "/state/belay/manifests"
    path = memory + "/" + hashlib.sha256(b"example.org").hexdigest()
    before = read(path)
    check(b"serial 7\n" in before, "the memory: %r" % before)
    for spoiled in (b"", before[:-2], before.replace(b"7", b"+7")):
        write(path, spoiled)
        refused("spoiled", "old", code=5)
    write(path, before)
    refused("older than 7", "old")
    homeless = manifest("verify", "--key", "key.pub", "m", cwd=tmp, HOME="",
                        XDG_STATE_HOME="")
    check_one_line(homeless, 5, "neither XDG_STATE_HOME nor HOME")
    for key in ("none", "m", "/dev/null"):
        check_code(verify(tmp, "m", key=key), 2)
    check_code(manifest("verify", "m", cwd=tmp), 2)


@case
def a_directory(tmp):
    key_pair(tmp)
    release(tmp)
    check_code(verify(tmp, "m", "d"), 0)
    write(tmp + "/d/unlisted", b"x")
    check_code(verify(tmp, "m", "d"), 0)
    os.unlink(tmp + "/d/a file%")
    data = bytearray(read(tmp + "/d/sub/b"))
    data[12345] ^= 1
    write(tmp + "/d/sub/b", data)
    run = verify(tmp, "m", "d")
    check_code(run, 14)
    check("a file%: missing" in run.err and "sub/b: differs" in run.err and
          "0 files as they should be, 1 missing, 1 differ" in run.out.decode(),
          "the report", run)
    # A link is not the file, wherever it leads.
    release(tmp, 2)
    os.rename(tmp + "/d/sub", tmp + "/elsewhere")
    os.symlink("../elsewhere", tmp + "/d/sub")
    run = verify(tmp, "m", "d")
    check_code(run, 14)
    check("sub/b: differs" in run.err or "sub/b: missing" in run.err,
          "a link was followed", run)
    check_code(verify(tmp, "m", "none"), 2)


@case
def many_files(tmp):
    """Memory does not grow with what a verifier reads."""
    count = scaled(100000, 20000)
    key_pair(tmp)
    lines = ["belay-manifest/1", "origin o", "serial 1",
             "expires 2100-01-01T00:00:00Z"]
    lines += ["%064x 12 %d dir%03d/a-rather-long-name-%07d" %
              (n, n, n // 1000, n) for n in range(count)]
    write(tmp + "/m", ("\n".join(lines) + "\n").encode())
    check_code(manifest("sign", "--key", "key", "m", cwd=tmp), 0)
    run = verify(tmp, "m")
    check_code(run, 0)
    check("files %d\n" % count in run.out.decode(), "the count", run)
    os.mkdir(tmp + "/empty")
    run = verify(tmp, "m", "empty")
    check_code(run, 14)
    check("%d missing" % count in run.out.decode(), "the count", run)


if __name__ == "__main__":
    main()
