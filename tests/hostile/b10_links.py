#!/usr/bin/env python3
"""B10: symbolic links of any kind are not followed, and look like files that
are not there; what an operator mounts inside of the root belongs to it."""

import os
import shutil

from kit import (GOOD, Listening, R, Raw, Skip, as_user, case, check, fetch,
                 joined, main, need_root, program, serve, visit)


def links(root):
    outside = os.path.join(os.path.dirname(root), "outside")
    os.makedirs(outside)
    with open(os.path.join(outside, "secret"), "w") as out:
        out.write("secret")
    os.makedirs(os.path.join(root, "a", "b"))
    found = {
        "out": "../outside/secret", "out-dir": "../outside",
        "absolute": os.path.join(outside, "secret"), "etc": "/etc/passwd",
        "inside": "good", "inside-absolute": os.path.join(root, "good"),
        "loop": "loop", "ring-1": "ring-2", "ring-2": "ring-1",
        "fd": "/proc/self/fd/0", "root": "/proc/self/root/etc/passwd",
        "cwd": "/proc/self/cwd", "self": ".", "up": "..", "long": "a/" * 1000,
        "a/b/up": "../../good", "a/dir": "b", "dangling": "nothing",
    }
    for name, target in found.items():
        os.symlink(target, os.path.join(root, name))
    return found


@case
def of_every_kind(tmp):
    with serve(tmp) as server, Raw(server.port) as raw:
        for name in links(os.path.join(tmp, "root")):
            for path in (name, name + "/secret", name + "/good"):
                code = raw.error(raw.open(path))
                check(code == R.WIRE_NOT_FOUND, "%s: %04x" % (path, code))
                code = raw.error(raw.list(path.encode()))
                check(code in (R.WIRE_NOT_FOUND, R.WIRE_NOT_A_DIRECTORY),
                      "list of %s: %04x" % (path, code))
        visit(server)


@case
def put_there_while_it_is_asked_for(tmp):
    """A directory that is a link now and then: what is read is beneath the
    root, always."""
    with serve(tmp) as server, Raw(server.port) as raw:
        root = os.path.join(tmp, "root")
        links(root)
        place = os.path.join(root, "swap")
        os.makedirs(place)
        with open(os.path.join(place, "secret"), "w") as out:
            out.write("harmless")
        for number in range(200):
            away = os.path.join(root, "away")
            os.rename(place, away)
            if number % 2:
                os.symlink("../outside", place)
            asked = [raw.open("swap/secret", handle=1 + i) for i in range(4)]
            if number % 2:
                os.unlink(place)
            os.rename(away, place)
            for i, request in enumerate(asked):
                last = raw.answer(request)[-1]
                if last.name != "INFO":
                    continue
                check(last.fields["size"] == len("harmless"),
                      "a file outside was opened")
                raw.answer(raw.ask("CLOSE", {"handle": 1 + i}), "DONE")


@case
def a_mount_inside(tmp):
    """Only an operator can do that, so it is meant: served like a
    directory, and no way further out."""
    need_root()
    if not shutil.which("unshare"):
        raise Skip("no unshare")
    root, other = os.path.join(tmp, "root"), os.path.join(tmp, "other")
    for path in (os.path.join(root, "mounted"), other):
        os.makedirs(path)
    with open(os.path.join(other, "file"), "wb") as out:
        out.write(GOOD)
    os.symlink("../good", os.path.join(other, "up"))
    script = "mount --bind %s %s && exec \"$@\"" % (
        other, os.path.join(root, "mounted"))
    try:
        server = Listening(
            ["unshare", "-m", "--propagation", "private", "sh", "-ec", script,
             "sh", program("BELAYD"), "--root", root, "--plain", "--listen",
             "127.0.0.1:0", "--cache", os.path.join(tmp, "cache"),
             *as_user()], os.path.join(tmp, "log"))
    except Exception as problem:
        if "not permitted" in str(problem) or "denied" in str(problem):
            raise Skip("mounts are not allowed here")
        raise
    with server, Raw(server.port) as raw:
        check(raw.error(raw.open("mounted/up")) == R.WIRE_NOT_FOUND, "link")
        check(raw.error(raw.open("mounted/../good")) == R.WIRE_BAD_PATH,
              "up")
        _, chunks, _ = fetch(raw, "mounted/file", 12)
        check(joined(chunks) == GOOD, "bytes")


if __name__ == "__main__":
    main()
