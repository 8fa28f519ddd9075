#!/usr/bin/env python3
"""A hostile server, and a destination that somebody else works in: nothing is
written outside the directory, nothing that was there is harmed, and the
rest arrives."""

import argparse
import os
import random
import signal
import stat
import threading
import time

import trees
from harness import (MI, Belayd, Peer, Run, case, check, check_code,
                     check_printable, get, main, names, start, wait_until)

import mini_server
import registry as R

OPTIONS = ["--racy-ms", "0"]


def options(root):
    parser = argparse.Namespace(
        root=root, listen="", cut=None, cut_random=None, flip=None,
        racy_ms=0, weak=False, no_cid=False, zlib=False, token=None,
        secure=False, max_c=22, speaks_first=False)
    return parser


def server(session, root):
    """A Peer whose connections are `session`s over the tree `root`."""
    shared = mini_server.Server(options(root))
    return Peer(lambda sock: session(shared, sock).run())


def entry(name, kind=R.FILE_REGULAR, size=5, tlvs=()):
    return {"name": name, "file_type": kind, "size": size, "mtime_s": 1,
            "mtime_ns": 0, "mode": 0o644, "tlvs": list(tlvs)}


def lying(entries, root_only=True):
    """A session class that adds entries to the listing of the root."""
    class Lying(mini_server.Session):
        def do_list(self, message, ident):
            if root_only and message.fields["path"]:
                return super().do_list(message, ident)
            more = [entry(name) if isinstance(name, bytes) else name
                    for name in entries]
            fd = os.open(self.server.options.root, os.O_RDONLY)
            try:
                for name in os.listdir(fd):
                    more.append(self.entry(fd, os.fsencode(name)))
            finally:
                os.close(fd)
            more.sort(key=lambda e: e["name"])
            self.send("ENTRIES", ident, {"entries": more}, end=True)

        def do_open(self, message, ident):
            # Whatever it is asked for, it has it.
            path = message.fields["path"]
            if b"evil" in path or b".belay" in path:
                message.fields["path"] = b"good"
            return super().do_open(message, ident)

    return Lying


def scene(tmp):
    """A source with one good file, and a box around the destination."""
    src = os.path.join(tmp, "src")
    os.makedirs(src)
    with open(src + "/good", "wb") as out:
        out.write(b"good\n")
    box = os.path.join(tmp, "box", "inner")
    os.makedirs(box)
    return src, box


def check_box(tmp, box):
    """Nothing outside box/out."""
    check(names(box) == ["out"], "outside: %r" % names(box))
    check(names(os.path.dirname(box)) == ["inner"], "further outside")
    check(not os.path.exists("/evil"), "at the root")


@case
def names_that_lead_out(tmp):
    src, box = scene(tmp)
    bad = [b"..", b".", b"../evil", b"/evil", b"a/evil", b"a/../../evil",
           b"evil\0x", b"\0", b".belay-tmp", b".belay-tmp-3",
           b"evil\x1b]0;x\x07"]
    with server(lying(bad), src) as peer:
        run = get("-r", peer.url(""), "-d", "out", cwd=box)
        check_code(run, 4)
        check_printable(run)
        check_box(tmp, box)
        left = {os.fsencode(n) for n in names(box + "/out")}
        check(left == {b"good", b"evil\x1b]0;x\x07"}, "files: %r" % left,
              run)
        listing = Run(["ls", peer.url("")], box).wait()
        check_printable(listing)
        check(b"\x1b" not in listing.out and b"good" in listing.out,
              "listing: %r" % listing.out)
        check_code(listing, 4)


@case
def directories_that_lead_out(tmp):
    src, box = scene(tmp)
    bad = [entry(name, R.FILE_DIRECTORY, 0) for name in
           (b"..", b"../evil", b"/evil", b"evil/evil", b".belay-tmp")]
    with server(lying(bad), src) as peer:
        run = get("-r", peer.url(""), "-d", "out", cwd=box)
        check_code(run, 4)
        check_box(tmp, box)
        check(names(box + "/out") == ["good"], "left: %r" %
              names(box + "/out"), run)


@case
def links_that_lead_out(tmp):
    src, box = scene(tmp)
    bad = [entry(b"evil%d" % k, R.FILE_SYMLINK, 0,
                 [(R.TLV_LINK_TARGET, target)])
           for k, target in enumerate((b"/etc", b"..", b"../..", b"x/../..",
                                       b"a\0b", b"./../x"))]
    bad += [entry(b"evil9", R.FILE_SYMLINK, 0)]
    with server(lying(bad), src) as peer:
        run = get("-r", "--links", peer.url(""), "-d", "out", cwd=box)
        check_code(run, 0)
        check(names(box + "/out") == ["good"], "links: %r" %
              names(box + "/out"), run)


@case
def out_of_order_and_twice(tmp):
    """Q1: the connection ends, and no name is told twice."""
    src, box = scene(tmp)

    class Twice(mini_server.Session):
        def do_list(self, message, ident):
            again = message.tlv(R.TLV_CURSOR) is not None
            page = [entry(b"a")] if again else [entry(b"a"), entry(b"b")]
            self.send("ENTRIES", ident, {"entries": page},
                      [] if again else [(R.TLV_CURSOR, b"x")], end=True)

    with server(Twice, src) as peer:
        run = Run(["ls", peer.url("")], box).wait()
        check(run.out == b"a\nb\n", "names: %r" % run.out, run)
        check(peer.accepted == 2, "%d connections" % peer.accepted)


@case
def endless_depth(tmp):
    """Directories in directories without end."""
    src, box = scene(tmp)

    class Deep(mini_server.Session):
        def do_list(self, message, ident):
            self.send("ENTRIES", ident,
                      {"entries": [entry(b"d", R.FILE_DIRECTORY, 0)]},
                      end=True)

    with server(Deep, src) as peer:
        run = get("-r", peer.url(""), "-d", "out", cwd=box)
        check_code(run, 3)
        check("too deep" in run.err, "told", run)
        check_box(tmp, box)


@case
def endless_list(tmp):
    """A listing without end takes no memory; the user ends it."""
    src, box = scene(tmp)

    class Endless(mini_server.Session):
        count = 0

        def do_list(self, message, ident):
            page = []
            for _ in range(1000):
                Endless.count += 1
                page.append(entry(b"n%012d" % Endless.count))
            self.send("ENTRIES", ident, {"entries": page},
                      [(R.TLV_CURSOR, b"c%d" % Endless.count)], end=True)

    with server(Endless, src) as peer, open(os.devnull, "wb") as null:
        run = Run(["ls", peer.url("")], box, stdout=null)
        wait_until(lambda: Endless.count > 50_000 or run.poll() is not None,
                   "many entries")
        check(run.poll() is None, "ended", run)
        run.send(signal.SIGINT)
        run.wait()
        check(run.peak_rss < 40 * MI, "%d bytes of memory" % run.peak_rss)


@case
def other_bytes_than_promised(tmp):
    """Digests that do not fit: never under a final name."""
    src, box = scene(tmp)
    shared = mini_server.Server(options(src))

    class Wrong(mini_server.Session):
        def send(self, name, ident=0, fields=None, tlvs=(), end=False):
            if name == "CHUNK":
                fields = dict(fields, data=b"evil\n")
            super().send(name, ident, fields, tlvs, end)

    with Peer(lambda sock: Wrong(shared, sock).run()) as peer:
        run = get("-r", peer.url(""), "-d", "out", cwd=box)
        check_code(run, 4)
        check(not os.path.exists(box + "/out"), "left: %r" % names(box),
              run)


@case
def what_stands_in_the_way(tmp):
    src, box = scene(tmp)
    os.makedirs(src + "/sub")
    for name in ("sub/x", "dir", "fifo", "link"):
        with open(os.path.join(src, name), "wb") as out:
            out.write(b"from the server\n")
    trees.rest(src)
    os.makedirs(box + "/out/dir")
    with open(box + "/victim", "wb") as out:
        out.write(b"mine\n")
    with open(box + "/out/sub", "wb") as out:
        out.write(b"a file where a directory must be\n")
    os.mkfifo(box + "/out/fifo")
    os.symlink("../victim", box + "/out/link")
    with Belayd(src) as real:
        run = get("-r", real.url(""), "-d", "out", cwd=box)
        check_code(run, 10)
        check_printable(run)
        check("sub/x: a file is where its directory must be" in run.err,
              "the file in the way", run)
        with open(box + "/victim", "rb") as file:
            check(file.read() == b"mine\n", "written through a link", run)
        out = box + "/out/"
        check(not os.path.islink(out + "link") and
              os.path.getsize(out + "link") == 16, "the link's place", run)
        check(os.path.isdir(out + "dir") and os.path.isfile(out + "sub") and
              stat.S_ISFIFO(os.lstat(out + "fifo").st_mode), "harmed", run)
        check("sub" in run.err and "fifo" in run.err, "told", run)
        check(os.path.exists(out + "good"), "the rest", run)


@case
def directory_becomes_a_link(tmp):
    """Somebody swaps directories of the destination for links all the
    time."""
    src = trees.make(os.path.join(tmp, "src"), dirs=6, files=trees.FILES)
    out = os.path.join(tmp, "out")
    outside = os.path.join(tmp, "outside")
    os.makedirs(outside)
    over = threading.Event()

    def swap():
        while not over.is_set():
            for d in range(6):
                path = os.path.join(out, "d%03d" % d)
                try:
                    os.rename(path, path + ".away")
                    os.symlink(outside, path)
                    time.sleep(0.001)
                    os.unlink(path)
                    os.rename(path + ".away", path)
                except OSError:
                    time.sleep(0.001)

    with Belayd(src) as real:
        thread = threading.Thread(target=swap)
        thread.start()
        try:
            for _ in range(3):
                run = get("-r", "--check", real.url(""), "-d", out, cwd=tmp)
                check(names(outside) == [], "outside: %r" % names(outside),
                      run)
                check(run.code in (0, 3, 5, 10), "exit code", run)
        finally:
            over.set()
            thread.join()


@case
def temporary_directory_that_is_not_ours(tmp):
    src, box = scene(tmp)
    trees.rest(src)
    os.makedirs(box + "/out")
    os.makedirs(box + "/elsewhere")
    os.symlink("../elsewhere", box + "/out/.belay-tmp")
    with open(box + "/out/.belay-tmp-2", "wb"):
        pass
    os.mkdir(box + "/out/.belay-tmp-3", 0o777)
    os.chmod(box + "/out/.belay-tmp-3", 0o777)
    with open(box + "/out/.belay-tmp-3/mine", "wb"):
        pass
    with Belayd(src) as real:
        check_code(get("-r", real.url(""), "-d", "out", cwd=box), 0)
        check(names(box + "/elsewhere") == [], "followed the link")
        check(names(box + "/out/.belay-tmp-3") == ["mine"], "cleaned")
        check(os.path.exists(box + "/out/good"), "the file")


@case
def killed_and_again(tmp):
    """Killed when some of about a thousand files are in place: every final
    name is right or absent, and a rerun completes it."""
    src = trees.make(os.path.join(tmp, "src"), dirs=20, files=trees.FILES)
    out = os.path.join(tmp, "out")
    want = trees.picture(src)
    files = trees.count(src)
    chance = random.Random(12)
    midway = 0

    def in_place():
        return sum(len(names_) for base, _, names_ in os.walk(out)
                   if ".belay-tmp" not in base)

    with Belayd(src) as real:
        for share in (0, 0.1, 0.3, 0.5, 0.7):
            aim = int(files * (share + chance.uniform(0, 0.1)))
            run = start("-r", "--limit-rate", "3M", real.url(""), "-d", out,
                        cwd=tmp)
            wait_until(lambda: in_place() >= aim or run.poll() is not None,
                       "files", step=0.002)
            time.sleep(chance.uniform(0, 0.05))
            run.send(signal.SIGKILL)
            run.wait()
            midway += 0 < in_place() < files
            for path, what in trees.picture(out).items() \
                    if os.path.isdir(out) else ():
                if stat.S_ISREG(what[0]) and not path.startswith(".belay"):
                    check(what[-1] == want[path][-1] and
                          what[2] == want[path][2],
                          "%s is not whole" % path)
        check(midway >= 2, "it was never killed midway")
        run = get("-r", real.url(""), "-d", out, cwd=tmp)
        check_code(run, 0)
        trees.same(src, out, run)
        check(not [n for n in os.listdir(out) if n.startswith(".belay")],
              "temporary files are left")


@case
def two_at_once(tmp):
    src = trees.make(os.path.join(tmp, "src"), dirs=10, files=trees.FILES)
    with Belayd(src) as real:
        runs = [start("-r", real.url(""), "-d", "out", cwd=tmp)
                for _ in range(3)]
        for run in runs:
            run.wait()
            check(run.code in (0, 10), "exit code", run)
        check_code(get("-r", real.url(""), "-d", "out", cwd=tmp), 0)
        trees.same(src, tmp + "/out")


@case
def interrupted_and_again(tmp):
    src = trees.make(os.path.join(tmp, "src"), dirs=20,
                     files=3 * trees.FILES)
    with Belayd(src) as real:
        run = start("-r", "--limit-rate", "1M", real.url(""), "-d", "out",
                    cwd=tmp)
        wait_until(lambda: os.path.isdir(tmp + "/out/d000"), "progress")
        run.send(signal.SIGTERM)
        run.wait(10)
        check_code(run, 143)
        check("same command" in run.err, "told", run)
        check(not [n for n in names(tmp + "/out") if "belay" in n],
              "temporary files are left")
        check_code(get("-r", real.url(""), "-d", "out", cwd=tmp), 0)
        trees.same(src, tmp + "/out")


if __name__ == "__main__":
    main()
