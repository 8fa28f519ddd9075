#!/usr/bin/env python3
"""belay repair: files from whatever tool, damaged in whatever way, made
right by fetching only what is wrong; and killed, starved, misled on the way.
"""

import os
import random
import shutil
import signal
import time

from harness import (KI, MI, Belayd, Fault, Run, case, check, check_code,
                     check_one_line, library, main, names, same, scaled,
                     settle, shelf, wait_until, write_random)

SIZE = scaled(24, 6) * MI + 12345
CHUNK = 256 * KI
library(file=(write_random, SIZE), other=(write_random, SIZE, 2),
        small=(write_random, 40000, 3))


def source(name="file"):
    return os.path.join(shelf(), name)


def copy(into, name="file", target="mine"):
    return shutil.copyfile(source(name), os.path.join(into, target))


def repair(*args, cwd):
    return Run(["repair", "--no-progress", *args], cwd).wait()


def flip(path, *offsets):
    with open(path, "r+b") as file:
        for at in offsets:
            byte = os.pread(file.fileno(), 1, at)[0]
            os.pwrite(file.fileno(), bytes([byte ^ 0x10]), at)


def fetched(run):
    """Bytes that came from the server, as the ledger of -v tells."""
    return run.ledger["useful"]


def check_right(into, run, target="mine", name="file"):
    check_code(run, 0)
    check(same(source(name), os.path.join(into, target)), "wrong bytes", run)
    left = [n for n in names(into) if n.startswith(target) and n != target]
    check(not left, "litter: %r" % left, run)


@case
def flipped_bits(into):
    target = copy(into)
    flip(target, 5, 3 * CHUNK + 100, 3 * CHUNK + 200, SIZE - 1)
    inode = os.stat(target).st_ino
    with Belayd() as server:
        run = repair("-v", "mine", server.url(), cwd=into)
        check_right(into, run)
        check(os.stat(target).st_ino == inode, "not in place", run)
        for text in ("3 of", "bytes 0 to %d are wrong" % (CHUNK - 1),
                     "bytes %d to %d are wrong" % (3 * CHUNK, 4 * CHUNK - 1)):
            check(text in run.err, "no %r" % text, run)
        # The time is the server's, so that a get knows it.
        check(os.stat(target).st_mtime_ns ==
              os.stat(source()).st_mtime_ns, "another time", run)
        # Once more: nothing to do, nothing is written.
        before = os.stat(target)
        run = repair("mine", server.url(), cwd=into)
        check_right(into, run)
        check("chunks are right" in run.err, "not told", run)
        after = os.stat(target)
        check((before.st_mtime_ns, before.st_ctime_ns) ==
              (after.st_mtime_ns, after.st_ctime_ns), "touched", run)


@case
def every_kind_of_damage(into):
    def cut(path):
        os.truncate(path, SIZE // 2 + 77)

    def longer(path):
        with open(path, "ab") as file:
            file.write(b"x" * (2 * CHUNK + 5))

    def hole(path):
        os.truncate(path, CHUNK)
        os.truncate(path, SIZE)

    def zeroed(path):
        with open(path, "r+b") as file:
            os.pwrite(file.fileno(), bytes(3 * CHUNK), CHUNK + 9)

    def shifted(path):
        with open(path, "rb") as file:
            data = file.read()
        with open(path, "wb") as file:
            file.write(data[2 * CHUNK:] + data[:CHUNK])

    with Belayd() as server:
        for damage in (cut, longer, hole, zeroed, shifted):
            for how in ((), ("--copy",)):
                damage(copy(into))
                run = repair("-v", *how, "mine", server.url(), cwd=into)
                check_right(into, run)
                missing = {cut: SIZE // 2 + CHUNK, longer: 0, hole: SIZE,
                           zeroed: 5 * CHUNK, shifted: 2 * CHUNK}[damage]
                seen = fetched(run)
                check(seen <= missing + CHUNK, "%s: %d bytes fetched, %d are "
                      "missing" % (damage.__name__, seen, missing), run)


@case
def only_what_is_wrong_travels(into):
    target = copy(into)
    flip(target, 7 * CHUNK)
    with Belayd() as server, Fault(server) as fault:
        run = repair("mine", fault.url(), cwd=into)
        check_right(into, run)
        stats = fault.stats()
    total = stats["bytes_down"]
    check(CHUNK < total < 3 * CHUNK, "%r for one bad chunk" % stats, run)


@case
def an_empty_file_and_small_ones(into):
    open(into + "/mine", "wb").close()
    with Belayd() as server:
        run = repair("mine", server.url(), cwd=into)
        check_right(into, run)
        # Small files are compared in fine chunks.
        target = copy(into, "small")
        flip(target, 20000)
        run = repair("-v", "mine", server.url("small"), cwd=into)
        check_right(into, run, name="small")
        check("bytes 16384 to 20479 are wrong" in run.err, "coarse", run)


@case
def another_file_is_not_overwritten(into):
    target = copy(into, "other")
    with Belayd() as server:
        run = repair("mine", server.url(), cwd=into)
        check_code(run, 10)
        check("--force" in run.err, "no advice", run)
        check(same(source("other"), target), "changed", run)
        check(names(into) == ["mine"], "litter", run)
        run = repair("--force", "mine", server.url(), cwd=into)
        check_right(into, run)


@case
def a_copy_asks_as_well(into):
    root = into + "/root"
    os.mkdir(root)
    open(root + "/empty", "wb").close()
    shutil.copyfile(source(), root + "/file")
    settle(root + "/empty", root + "/file")
    target = copy(into, "other")
    with Belayd(root) as server:
        for args in (("--copy", "mine", server.url()),
                     ("--copy", "mine", server.url("empty")),
                     ("mine", server.url("empty"))):
            run = repair(*args, cwd=into)
            check_one_line(run, 10, "no chunk of it", "nothing was changed",
                           "--force")
            check(same(source("other"), target), "changed", run)
            check(names(into) == ["mine", "root"], "litter", run)
        run = repair("--copy", "--force", "mine", server.url(), cwd=into)
        check_right(into, run)
        run = repair("--force", "mine", server.url("empty"), cwd=into)
        check_code(run, 0)
        check(os.path.getsize(target) == 0, "not empty", run)
        # One chunk that is wrong does not make a small file another one.
        target = copy(into, "small")
        flip(target, 20000)
        shutil.copyfile(source("small"), root + "/small")
        run = repair("--copy", "mine", server.url("small"), cwd=into)
        check_right(into, run, name="small")


@case
def what_cannot_be_repaired(into):
    os.mkdir(into + "/directory")
    os.symlink(copy(into, target="real"), into + "/link")
    with Belayd() as server:
        for name, words in (("absent", "no such file"),
                            ("directory", "not a regular file"),
                            ("link", "symbolic link")):
            run = repair(name, server.url(), cwd=into)
            check_one_line(run, 2, words)
        check(same(source(), into + "/real"), "written through a link")
        flip(copy(into), 9)
        run = repair("mine", server.url("absent"), cwd=into)
        check_one_line(run, 3, "no such file")
        open(into + "/mine.part", "wb").write(b"x")
        run = repair("mine", server.url(), cwd=into)
        check_one_line(run, 10, "partial")
        os.unlink(into + "/mine.part")
        run = repair("mine", server.url(), cwd=into)
        check_right(into, run)


@case
def killed_and_repaired_again(into):
    """Nowhere worse than before, after a kill at any moment."""
    seeds = random.Random(7)
    with Belayd() as server, Fault(server, "--rate", "8M") as fault:
        for how in ((), ("--copy",)):
            target = copy(into)
            with open(target, "r+b") as file:
                for at in range(0, SIZE, 3 * CHUNK):
                    os.pwrite(file.fileno(), b"damage", at)
            right = open(source(), "rb").read()
            for _ in range(4):
                before = open(target, "rb").read()
                run = Run(["repair", "--no-progress", *how, "mine",
                           fault.url()], into)
                time.sleep(seeds.uniform(0.05, 0.6))
                run.send(signal.SIGKILL)
                run.wait()
                after = open(target, "rb").read()
                check(len(after) == SIZE, "another size", run)
                for at in range(0, SIZE, CHUNK):
                    end = min(at + CHUNK, SIZE)
                    good = before[at:end] == right[at:end]
                    check(not good or after[at:end] == right[at:end],
                          "a good chunk was damaged", run)
            run = repair(*how, "mine", server.url(), cwd=into)
            check_right(into, run)


@case
def two_at_once(into):
    target = copy(into)
    flip(target, *range(0, SIZE, CHUNK))
    with Belayd() as server, Fault(server, "--rate", "1M") as fault:
        first = Run(["repair", "--force", "--no-progress", "mine",
                     fault.url()], into)
        wait_until(lambda: "mine.part.belay" in names(into), "no lock")
        run = repair("mine", server.url(), cwd=into)
        check_one_line(run, 6, "another process")
        first.send(signal.SIGTERM)
        first.wait()
        run = repair("--force", "mine", server.url(), cwd=into)
        check_right(into, run)


@case
def the_server_changes_meanwhile(into):
    root = into + "/root"
    os.mkdir(root)
    shutil.copyfile(source(), root + "/file")
    settle(root + "/file")
    target = copy(into)
    flip(target, *range(CHUNK, SIZE, 2 * CHUNK))
    with Belayd(root) as server, Fault(server, "--rate", "2M") as fault:
        run = Run(["repair", "--no-progress", "mine", fault.url()], into)
        time.sleep(0.7)
        shutil.copyfile(source("other"), root + "/new")
        with open(root + "/new", "r+b") as new, open(source(), "rb") as old:
            os.pwrite(new.fileno(), old.read(4 * CHUNK), 0)
        os.rename(root + "/new", root + "/file")
        run.wait()
        # Either it was ready before, or it is the new version; never a mix.
        check_code(run, 0)
        check(same(target, root + "/file") or same(target, source()),
              "a mix", run)


@case
def a_full_disk(into):
    """A file that has to grow, beyond what the process may write."""
    target = copy(into)
    os.truncate(target, SIZE // 3)
    with Belayd() as server:
        run = Run(["repair", "--no-progress", "mine", server.url()], into,
                  prefix=("prlimit", "--fsize=%d" % (SIZE // 2))).wait()
        check_code(run, 5)
        run = repair("mine", server.url(), cwd=into)
        check_right(into, run)


@case
def seeds_help(into):
    os.truncate(copy(into), 3 * CHUNK)
    shutil.copyfile(source(), into + "/elsewhere")
    flip(into + "/elsewhere", 4 * CHUNK)
    with Belayd() as server:
        run = repair("-v", "--seed", "elsewhere", "mine", server.url(),
                     cwd=into)
        check_right(into, run)
        check(fetched(run) <= 2 * CHUNK, "fetched too much", run)


@case
def pins_hold(into):
    with Belayd() as server:
        cid = Run(["cid", source("other")], into).wait().out.split()[0]
        target = copy(into)
        flip(target, 9)
        run = repair("mine", server.url() + "#" + cid.decode(), cwd=into)
        check_one_line(run, 4, "pinned")
        flip(target, 9)
        check(same(target, source()), "changed", run)


if __name__ == "__main__":
    main()
