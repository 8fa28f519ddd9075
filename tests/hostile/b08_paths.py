#!/usr/bin/env python3
"""B8: paths that lead out, or that nobody would name so: refused, logged in
print, and nothing outside is opened."""

import os
import re
import shutil
import socket
import subprocess
import time

from kit import (R, Raw, Skip, case, check, check_log, main, serve, visit,
                 wait_until, whole_log, worker_pids)


def paths(root):
    os.mkdir(os.path.join(root, "d"))
    os.symlink("good", os.path.join(root, "link-inside"))
    os.symlink("/etc/passwd", os.path.join(root, "link-absolute"))
    os.symlink("../outside", os.path.join(root, "link-outside"))
    os.symlink("loop", os.path.join(root, "loop"))
    os.symlink("/proc/self/fd/0", os.path.join(root, "link-fd"))
    os.symlink("sub", os.path.join(root, "link-dir"))
    os.mkfifo(os.path.join(root, "fifo"))
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(os.path.join(root, "socket"))
    with open(os.path.join(os.path.dirname(root), "outside"), "w") as out:
        out.write("secret")
    with open(os.path.join(root, "sub", "in"), "w") as out:
        out.write("in")
    return sock


@case
def only_regular_files_beneath_the_root(tmp):
    bad_path = [b"..", b"../outside", b"/etc/passwd", b"a/../good",
                b"sub//in", b"./good", b"good/", b"sub/", b"/", b"a\0b",
                b"x" * 256, b"d/" * 2100, b"a/" * 100 + b"a", b"."]
    missing = [b"%2e%2e/outside", b"..\\outside", b"no\nsuch", b"\x1b[2Jx",
               b"\xff\xfe", b"x" * 255, b"none", b"none/none",
               b"link-inside", b"link-absolute", b"link-outside", b"loop",
               b"link-fd", b"link-dir/in", b"good/x"]
    not_files = [b"", b"d", b"sub", b"fifo", b"socket"]
    with serve(tmp, "--verbose") as server:
        root = os.path.join(tmp, "root")
        paths(root)
        if os.geteuid() == 0:
            os.mknod(os.path.join(root, "null"), 0o20666, os.makedev(1, 3))
            not_files.append(b"null")
        with Raw(server.port) as raw:
            began = time.monotonic()
            for group, code in ((bad_path, R.WIRE_BAD_PATH),
                                (missing, R.WIRE_NOT_FOUND),
                                (not_files, R.WIRE_NOT_A_FILE)):
                for path in group:
                    request = raw.open(path)
                    got = raw.error(request)
                    check(got == code, "%r: code %04x, expected %04x" %
                          (path[:40], got, code))
            check(time.monotonic() - began < 30, "an open blocked")
        check_log(server)
        visit(server)


@case
def mode_000_looks_like_missing(tmp):
    # Root reads everything, so it must become somebody else.
    other = []
    if os.geteuid() == 0:
        cache = os.path.join(tmp, "cache")
        os.mkdir(cache)
        shutil.chown(cache, "nobody")
        other = ["--user", "nobody", "--cache", cache]
    with serve(tmp, *other) as server, Raw(server.port) as raw:
        path = os.path.join(tmp, "root", "locked")
        with open(path, "w") as out:
            out.write("x")
        os.chmod(path, 0)
        check(raw.error(raw.open("locked")) == R.WIRE_NOT_FOUND, "locked")


@case
def nothing_outside_is_opened(tmp):
    """Each file that the workers open, as the kernel sees it: beneath the
    descriptor of the root, without a step up."""
    if not shutil.which("strace"):
        raise Skip("no strace")
    trace = os.path.join(tmp, "trace")
    with serve(tmp, "--workers", "2") as server:
        root = os.path.join(tmp, "root")
        paths(root)
        # What they do before they are confined is another matter.
        wait_until(lambda: len(re.findall(rb" sandbox worker=",
                                          whole_log(server))) == 2,
                   "workers", 20)
        pids = [word for pid in worker_pids(server)
                for word in ("-p", str(pid))]
        tracer = subprocess.Popen(
            ["strace", "-f", "-qq", "-o", trace, "-e",
             "trace=open,openat,openat2,stat,lstat,newfstatat,statx,"
             "readlink,readlinkat", *pids], stderr=subprocess.PIPE, text=True)
        try:
            time.sleep(1)
            with Raw(server.port) as raw:
                for path in (b"../outside", b"/etc/passwd", b"a/../../x",
                             b"link-absolute", b"link-outside", b"link-fd",
                             b"link-dir/in", b"loop", b"good", b"sub/in",
                             b"good/../../outside"):
                    raw.answer(raw.open(path, handle=raw.next_id))
                raw.answer(raw.list(b".."))
                raw.answer(raw.list(b"link-dir"))
        finally:
            tracer.terminate()
            problem = tracer.communicate(timeout=20)[1]
    if not os.path.exists(trace) or "ptrace" in problem:
        raise Skip("strace cannot look at it: " + problem)
    with open(trace) as file:
        calls = file.read()
    check('"good"' in calls and "openat2" in calls, "nothing was seen")
    for name in ("outside", "passwd", "..", "/proc"):
        check(name not in re.sub(r"link-outside|link-absolute", "",
                                 calls.replace("...", "")),
              "%s was looked at:\n%s" % (name, calls[:2000]))

if __name__ == "__main__":
    main()
