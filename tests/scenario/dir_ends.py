#!/usr/bin/env python3
"""Directories: dry runs, what is left out, and ends before the time: what is
told then, what is left, and that a rerun goes on."""

import json
import os
import re
import signal

import trees
from harness import (KI, MI, Belayd, Fault, Tmpfs, case, check, check_code,
                     get, library, main, names, settle, shelf, start, wait_until,
                     write_random)

N = trees.FILES


def make_tree(top):
    trees.make(top, dirs=3, files=N, large=1)
    os.symlink("large0", top + "/link")


def make_slow(top):
    """Small files first, then a large one that takes its time."""
    os.makedirs(top + "/a")
    os.mkdir(top + "/empty")
    for k in range(10):
        write_random(top + "/a/f%d" % k, 3000, k)
    write_random(top + "/z", 20 * MI)


def make_sizes(top):
    os.mkdir(top)
    for name, size in (("s", 4 * KI), ("m", 4 * KI + 1), ("l", 2 * MI)):
        write_random(top + "/" + name, size)


library(tree=(make_tree,), slow=(make_slow,), sizes=(make_sizes,))


def on_shelf(name):
    return os.path.join(shelf(), name)


def total(run):
    """(fetched, there already, failed) of the last line."""
    found = re.search(r"(\d+) files? fetched .*?(\d+) there already, "
                      r"(\d+) failed", run.err)
    check(found, "no totals", run)
    return tuple(map(int, found.groups()))


@case
def links_in_the_way(tmp):
    """A link where a directory must be is told as one."""
    os.makedirs(tmp + "/out/real")
    os.symlink("real", tmp + "/out/a")
    with Belayd(on_shelf("slow")) as server:
        for more in ((), ("-n",)):
            run = get("-r", "--max-size", "1M", *more, server.url(""), "-d", "out", cwd=tmp)
            check_code(run, 10)
            check("a/f3: a symbolic link is where its directory must "
                  "be" in run.err, "the link", run)
        check(names(tmp + "/out/real") == [], "followed a link", run)


@case
def a_dry_run(tmp):
    """-n lists what would be fetched, with sizes, and changes nothing."""
    src = on_shelf("tree")
    files = trees.count(src) - 1  # without the link

    def would(*more):
        run = get("-r", "-n", "--links", *more, server.url(""), "-d", "new/out",
                  cwd=tmp)
        check_code(run, 0)
        found = re.search(r"(\d+) files? would be fetched \(.*?\), "
                          r"(\d+) there already, 0 failed", run.err)
        check(found, "totals", run)
        return run, tuple(map(int, found.groups()))

    with Belayd(src) as server:
        run, counts = would()
        check(counts == (files, 0), "all of it", run)
        check("large0: would be fetched: 1.00 MiB" in run.err and
              "link: would be made" in run.err, "told", run)
        check(not os.path.exists(tmp + "/new"), "made a directory", run)
        check_code(get("-r", "--links", server.url(""), "-d", "new/out",
                       cwd=tmp), 0)
        before = trees.picture(tmp + "/new")
        for more in ((), ("--check",)):
            run, counts = would(*more)
            check(counts == (0, files), "nothing of it", run)
        # Two other files of the same sizes, one of them with the old time.
        victims = ["d000/" + name for name in names(src + "/d000")
                   if os.path.getsize(src + "/d000/" + name) > 0][:2]
        for k, name in enumerate(victims + ["large0"]):
            path = tmp + "/new/out/" + name
            st = os.stat(path)
            os.chmod(path, 0o644)
            with open(path, "r+b") as out:
                first = out.read(1)
                out.seek(0)
                out.write(bytes([first[0] ^ 1]))
            os.chmod(path, st.st_mode & 0o777)
            os.utime(path, ns=(1, 1) if k == 0 else
                     (st.st_mtime_ns, st.st_mtime_ns))
        before = trees.picture(tmp + "/new")
        run, counts = would()
        check(counts == (1, files - 1), "by time", run)
        check(victims[0] + ": would be replaced" in run.err, "told", run)
        run, counts = would("--check", "--json")
        check(counts == (3, files - 3), "by contents", run)
        events = [json.loads(line) for line in run.out.splitlines()]
        check(sorted(e["path"] for e in events
                     if e.get("reason") == "would-fetch" and "path" in e) ==
              sorted(victims + ["large0"]), "events", run)
        check(events[-1]["would_fetch"] == 1, "summary", run)
        check(trees.picture(tmp + "/new") == before, "it changed something")
        # What a dry run says is what the real one does.
        run = get("-r", "--check", "--links", server.url(""), "-d", "new/out",
                  cwd=tmp)
        check(total(run) == (3, files - 3, 0), "the real run", run)
        trees.same(src, tmp + "/new/out", run)
        run = get("-r", "-n", "--error-on-nothing", "-d", "x",
                  server.url("nowhere"), cwd=tmp)
        check_code(run, 3)


@case
def files_too_large(tmp):
    """--max-size leaves files out; they are no failure."""
    with Belayd(on_shelf("sizes")) as server:
        for limit, there in (("4K", ["s"]), ("5000", ["m", "s"]),
                             ("2M", ["l", "m", "s"])):
            run = get("-r", "-v", "--max-size", limit, server.url(""), "-d",
                      "out", cwd=tmp)
            check_code(run, 0)
            check(names(tmp + "/out") == there, "names", run)
            check(("%d too large" % (3 - len(there)) in run.err) ==
                  (len(there) < 3), "summary", run)
            check(run.err.count("larger than the size allowed") ==
                  3 - len(there), "told", run)


@case
def several_directories(tmp):
    with Belayd(on_shelf("tree")) as server:
        run = get("-r", server.url("d000"), server.url("d001"), cwd=tmp)
        check_code(run, 0)
        check("2 of 2 directories fetched" in run.err, "summary", run)


@case
def ends_before_the_time(tmp):
    """Whatever ended it, the text says what is there, and a rerun goes on."""
    src = on_shelf("slow")
    there = r"10 files \(29.30 KiB\) are in place, the same command goes on"
    with Belayd(src) as server:
        for signum in (signal.SIGINT, signal.SIGTERM):
            out = tmp + "/out%d" % signum
            run = start("-r", "--limit-rate", "1M", server.url(""), "-d", out,
                        cwd=tmp)
            part = out + "/.belay-part-z.part"
            wait_until(lambda: os.path.exists(out + "/a") and
                       len(names(out + "/a")) == 10 and
                       os.path.exists(part) and
                       os.stat(part).st_blocks > 256, "files")
            run.send(signum)
            run.wait()
            check_code(run, 128 + signum)
            check(re.search(r"/: interrupted; " + there, run.err), "told",
                  run)
            run = get("-r", server.url(""), "-d", out, cwd=tmp)
            check_code(run, 0)
            check(total(run) == (1, 10, 0) and "begun from" not in run.err,
                  "the rerun", run)
            trees.same(src, out, run)
        run = get("-r", "--limit-rate", "1M", "--deadline", "1",
                  server.url(""), "-d", "late", cwd=tmp)
        check_code(run, 9)
        check("the time allowed is over" in run.err and " of 0 B" not in
              run.err and "interrupted" not in run.err, "told", run)
        check_code(get("-r", server.url(""), "-d", "late", cwd=tmp), 0)
        trees.same(src, tmp + "/late")


@case
def another_address_of_the_partial(tmp):
    """A partial file of a tree remembers from where it was begun."""
    with Belayd(on_shelf("slow")) as server, Fault(server) as fault:
        run = start("-r", "--limit-rate", "2M", fault.url(""), "-d", "out",
                    cwd=tmp)
        part = tmp + "/out/.belay-part-z.part"
        wait_until(lambda: os.path.exists(part) and
                   os.stat(part).st_blocks > 256, "a partial")
        run.send(signal.SIGTERM)
        run.wait()
        run = get("-r", server.url(""), "-d", "out", cwd=tmp)
        check_code(run, 0)
        check("begun from %s; equal" % fault.url("z") in run.err, "told", run)


@case
def what_came_to_nothing_leaves_no_directories(tmp):
    os.mkdir(tmp + "/mine")
    with Belayd(on_shelf("slow")) as server:
        lines = ["%s out=in/%d" % (server.url("none%d" % k), k)
                 for k in range(12)]
        for count in (2, 12):
            with open(tmp + "/list", "w") as file:
                file.write("\n".join(lines[:count]) + "\n")
            run = get("-i", "list", "-d", "new/dir", cwd=tmp)
            check_code(run, 3)
            check(len(re.findall("in/1: .*no such file", run.err)) == 1, "its path", run)
            check(not os.path.exists(tmp + "/new"), "of a list", run)
        with open(tmp + "/list", "a") as file:
            file.write("%s out=in/x\n" % server.url("a/f1"))
        check_code(get("-i", "list", "-d", "new/dir", cwd=tmp), 3)
        check(names(tmp + "/new/dir/in") == ["x"], "what is needed")
        for url in (server.url("none"), "belay+tcp://127.0.0.1:1/d"):
            run = get("-r", url, "-d", "other/dir", cwd=tmp)
            check(run.code in (3, 75), "code", run)
            check(not os.path.exists(tmp + "/other"), "of a tree", run)
        check_code(get("-r", server.url("none"), "-d", "mine/dir", cwd=tmp),
                   3)
        check(names(tmp + "/mine") == [], "mine is kept, and only that")
        check_code(get("-r", server.url("empty"), "-d", "made/dir", cwd=tmp),
                   0)
        check(names(tmp + "/made/dir") == [], "an empty one is a result")


@case
def an_update_fetches_what_differs(tmp):
    """Of small files, too, where the one before holds most of the new one: in
    a tree and in a list."""
    src = tmp + "/src"
    os.mkdir(src)
    sizes = {"f%d" % k: 300 * KI + k * 60 * KI for k in range(10)}
    for k, (name, size) in enumerate(sizes.items()):
        write_random(src + "/" + name, size, k)
    settle(*(src + "/" + name for name in sizes))
    with Belayd(src) as server:
        with open(tmp + "/entries", "w") as file:
            file.writelines(server.url(name) + "\n" for name in sizes)
        ways = (("tree", ("-r", server.url(""))),
                ("check", ("-r", "--check", server.url(""))),
                ("list", ("--overwrite", "-i", "entries")))
        for out, words in ways:
            check_code(get(*words, "-d", out, cwd=tmp), 0)
        for name in sizes:
            with open(src + "/" + name, "r+b") as file:
                file.seek(100 * KI)
                file.write(b"another beginning of this block")
        settle(*(src + "/" + name for name in sizes))
        for out, words in ways:
            run = get("--json", *words, "-d", out, cwd=tmp)
            check_code(run, 0)
            end = json.loads(run.out.splitlines()[-1])
            trees.same(src, tmp + "/" + out, run)
            check(end["wire"] < sum(sizes.values()) // 2,
                  "%s: %d bytes" % (out, end["wire"]), run)


@case
def full_disk_of_a_large_file(tmp):
    """The message names the file as people see it."""
    with Tmpfs(tmp + "/small", "size=4m"), \
            Belayd(on_shelf("slow")) as server:
        run = get("-r", server.url(""), "-d", "small/to", cwd=tmp)
        check_code(run, 5)
        check("small/to/.belay-part-z.part" in run.err and "/proc/" not in
              run.err, "told", run)


if __name__ == "__main__":
    main()
