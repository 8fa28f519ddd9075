#!/usr/bin/env python3
"""belay verify: against the server, a receipt, a content id; and receipts
that were written, kept, tampered with (RC1-U1, RC1-U2, RC1-U3, RC1-F5)."""

import os
import shutil

from harness import (KI, MI, Belayd, Run, case, check, check_code,
                     check_one_line, check_printable, get, library, main,
                     names, same, scaled, sha256, shelf, write_random)

SIZE = scaled(12, 6) * MI + 12345
CHUNK = 256 * KI
DIFFERS = 14
library(file=(write_random, SIZE), other=(write_random, SIZE, 2),
        empty=(write_random, 0))


def source(name="file"):
    return os.path.join(shelf(), name)


def verify(*args, cwd):
    return Run(["verify", *args], cwd).wait()


def flip(path, at):
    with open(path, "r+b") as file:
        byte = os.pread(file.fileno(), 1, at)[0]
        os.pwrite(file.fileno(), bytes([byte ^ 1]), at)


def state(path):
    st = os.stat(path)
    return st.st_mtime_ns, st.st_ctime_ns, st.st_size, st.st_ino


def damaged(into, name="mine"):
    """Copies of the file with one fault each: what a verify has to say."""
    target = os.path.join(into, name)
    shutil.copyfile(source(), target)
    yield target, None
    flip(target, 2 * CHUNK + 1)
    yield target, "bytes %d to %d are wrong" % (2 * CHUNK, 3 * CHUNK - 1)
    shutil.copyfile(source(), target)
    os.truncate(target, SIZE - 10)
    yield target, "bytes %d to %d are wrong" % (SIZE // CHUNK * CHUNK,
                                                SIZE - 1)
    shutil.copyfile(source(), target)
    with open(target, "ab") as file:
        file.write(b"12345")
    yield target, "5 bytes are too many"
    os.truncate(target, 0)
    yield target, "bytes 0 to %d are wrong" % (SIZE - 1)


def check_verdict(run, word):
    check_code(run, 0 if word is None else DIFFERS)
    check(word is None or word in run.err, "no %r" % word, run)
    check_printable(run)


@case
def against_the_server(into):
    with Belayd() as server:
        for target, word in damaged(into):
            before = state(target)
            run = verify("mine", server.url(), cwd=into)
            check_verdict(run, word)
            check(state(target) == before, "written to", run)
            check(names(into) == ["mine"], "litter", run)
        run = verify("mine", server.url("absent"), cwd=into)
        check_one_line(run, 3, "no such file")
        run = verify("absent", server.url(), cwd=into)
        check_one_line(run, 2, "cannot read")


@case
def against_a_receipt_without_the_server(into):
    with Belayd() as server:
        run = get("--receipt", server.url(), cwd=into)
        check_code(run, 0)
    check(names(into) == ["file", "file.belay-receipt"],
          "files: %r" % names(into), run)
    receipt = into + "/file.belay-receipt"
    text = open(receipt).read()
    for field in ("belay receipt 1\n", "size %d\n" % SIZE, "name file\n",
                  "url belay+tcp://127.0.0.1:", "time 20"):
        check(field in text, "no %r in the receipt" % field)
    check(os.stat(receipt).st_mode & 0o777 == 0o666 & ~os.umask(0o22),
          "mode of the receipt")
    for target, word in damaged(into):
        before = state(target)
        run = verify("mine", "--receipt", receipt, cwd=into)
        check_verdict(run, word)
        check(state(target) == before, "written to", run)


@case
def receipts_of_all_ways(into):
    with Belayd() as server:
        # A pin in the URL is left out, a digest is put in.
        cid = Run(["cid", source()], into).wait().out.split()[0].decode()
        run = get("--receipt=r1", "--sha256", sha256(source()), "-o", "a",
                  server.url() + "#" + cid, cwd=into)
        check_code(run, 0)
        text = open(into + "/r1").read()
        check("sha256 " + sha256(source()) in text, "no digest", run)
        check("#" not in text, "the pin", run)
        # What was there already gets one, too.
        run = get("--receipt=r2", "-o", "a", server.url(), cwd=into)
        check_code(run, 0)
        check_code(verify("a", "--receipt", "r2", cwd=into), 0)
        # A repair, in place and by copy; an empty file.
        for n, how in ((3, ()), (4, ("--copy",))):
            flip(into + "/a", 99)
            run = Run(["repair", *how, "--receipt=r%d" % n, "a",
                       server.url()], into).wait()
            check_code(run, 0)
            check_code(verify("a", "--receipt", "r%d" % n, cwd=into), 0)
        check_code(get("--receipt=r5", server.url("empty"), cwd=into), 0)
        check_code(verify("empty", "--receipt", "r5", cwd=into), 0)
        check_code(verify("a", "--receipt", "r5", cwd=into), DIFFERS)
        # It cannot be written: the file is there, and it is told.
        run = get("--receipt=no/such/place", "-o", "b", server.url(),
                  cwd=into)
        check_one_line(run, 5, "verified", "receipt")
        check(same(into + "/b", source()), "not there", run)
        # Nothing is left behind of any of them.
        check(names(into) == ["a", "b", "empty", "r1", "r2", "r3", "r4",
                              "r5"], "files: %r" % names(into))
        # A failed download writes none.
        run = get("--receipt=r6", "--sha256", "0" * 64, "-o", "c",
                  server.url(), cwd=into)
        check_code(run, 4)
        check("r6" not in names(into), "a receipt for wrong bytes", run)


@case
def tampered_receipts(into):
    with Belayd() as server:
        check_code(get("--receipt=r", server.url(), cwd=into), 0)
    text = open(into + "/r").read()
    lines = text.splitlines(keepends=True)
    at = text.index("chunks")
    digest = text.index("\n", at) + 1
    cases = (
        # Another digest, another size, another order: not its content id.
        (text[:digest] + "f" * 64 + text[digest + 64:], 4, "changed"),
        (text.replace("size %d" % SIZE, "size %d" % (SIZE - 1)), 4,
         "changed"),
        # No receipt at all.
        (text[:-30], 2, "line"), (text + "x", 2, "line"), ("", 2, "line"),
        (text.replace("receipt 1", "receipt 2"), 2, "version"),
        (text.replace("name file", "name \x1b[31mfile"), 2, "line"),
        ("".join(lines[:-2] + ["end\n"]), 2, "line"),
    )
    for tampered, code, word in cases:
        with open(into + "/t", "w") as file:
            file.write(tampered)
        check_one_line(verify("file", "--receipt", "t", cwd=into), code,
                       word)
    check_one_line(verify("file", "--receipt", "absent", cwd=into), 2,
                   "absent")
    os.mkfifo(into + "/fifo")
    check_one_line(verify("file", "--receipt", "fifo", cwd=into), 2, "fifo")


@case
def against_a_content_id(into):
    shutil.copyfile(source(), into + "/a")
    cid = Run(["cid", "a"], into).wait().out.split()[0].decode()
    for text in (cid, "#" + cid):
        check_code(verify("a", text, cwd=into), 0)
    flip(into + "/a", 0)
    check_one_line(verify("a", "#" + cid, cwd=into), DIFFERS, "content id")
    check_one_line(verify("a", "#bl1-18-zz", cwd=into), 2, "bl1-18-")
    check_code(verify("a", cwd=into), 2)
    check_code(verify("a", "b", "c", cwd=into), 2)


if __name__ == "__main__":
    main()
