#!/usr/bin/env python3
"""Where a file lands: names of every kind in every locale, file systems of
several kinds, whatever the user masks out."""

import os
import stat
import subprocess
import sys

from harness import (MI, Belayd, Skip, Tmpfs, case, check, check_code,
                     check_printable, get, in_private_mounts, library, main,
                     names, need_root, same, scaled, settle, shelf,
                     write_random)

SIZE = scaled(3, 1) * MI + 5
library(file=(write_random, SIZE))

NAMES = {b"plain": "plain", "gr\u00fc\u00df e".encode(): "gr%C3%BC%C3%9F%20e",
         b"\xff\xfe no text": "%FF%FE%20no%20text",
         b"line\nbreak\x1b[2J": "line%0Abreak%1B%5B2J",
         "\u202ertl".encode(): "%E2%80%AErtl"}


@case
def names_in_every_locale(tmp):
    """M9: the bytes of a name are kept; a terminal sees none of the odd
    ones."""
    root = os.path.join(tmp, "root").encode()
    os.mkdir(root)
    for name in NAMES:
        write_random(os.path.join(root, name), 5000, len(name))
    settle(*(os.path.join(root, name) for name in NAMES))
    with Belayd(os.fsdecode(root)) as server:
        for locale in ("C", "C.UTF-8", "POSIX", "xx_YY.nonsense", ""):
            into = os.path.join(tmp, "in " + locale)
            os.mkdir(into)
            for name, text in NAMES.items():
                run = get("-v", server.url(text), cwd=into,
                          env={"LC_ALL": locale, "LANG": locale})
                check_code(run, 0, "%r in %r" % (name, locale))
                check_printable(run)
                got = os.path.join(os.fsencode(into), name)
                check(same(got, os.path.join(root, name)), repr(name), run)
            run = get("-r", "-d", "tree", server.url(""), cwd=into,
                      env={"LC_ALL": locale})
            check_code(run, 0, "directory in %r" % locale)
            check_printable(run)
            check(sorted(os.listdir(os.fsencode(into) + b"/tree")) ==
                  sorted(NAMES), "other names", run)


@case
def masks(tmp):
    """M11: our rule for the mode, whatever the user masks out; what sets
    users and groups never comes from the network."""
    root = os.path.join(tmp, "root")
    os.mkdir(root)
    modes = (0o6755, 0o777, 0o640, 0o444, 0o1666)
    for mode in modes:
        path = write_random(os.path.join(root, "%o" % mode), 100)
        os.chmod(path, mode)
    settle(*(os.path.join(root, name) for name in names(root)))
    with Belayd(root) as server:
        for mask in (0o000, 0o022, 0o077):
            into = os.path.join(tmp, "%o" % mask)
            os.mkdir(into)
            check_code(get(*(server.url("%o" % mode) for mode in modes),
                           cwd=into, preexec_fn=lambda: os.umask(mask)), 0)
            for mode in modes:
                got = stat.S_IMODE(os.stat(os.path.join(
                    into, "%o" % mode)).st_mode)
                check(got == mode & 0o777 & ~mask, "mode %o of %o under %o" %
                      (got, mode, mask))


def fetch_resumed(server, into):
    """Killed on the way, and again."""
    run = get("--limit-rate", SIZE // 2, "--deadline", "1", server.url(),
              cwd=into)
    check_code(run, 9)
    run = get("-v", server.url(), cwd=into)
    check_code(run, 0)
    check(same(os.path.join(shelf(), "file"), os.path.join(into, "file")),
          "other bytes", run)
    check(run.ledger["kept"] > 0, "nothing was kept", run)
    check(names(into) == ["file"], "left behind: %r" % names(into), run)


@case
def on_a_file_system_in_memory(tmp):
    """D17."""
    with Tmpfs(tmp + "/t", "size=40m") as disk, Belayd() as server:
        fetch_resumed(server, disk.path)


@case
def on_an_overlay(tmp):
    """D17: the target's directory belongs to two file systems."""
    need_root()
    with Tmpfs(tmp + "/t", "size=80m") as disk, Belayd() as server:
        for name in ("lower", "upper", "work", "merged"):
            os.mkdir(os.path.join(disk.path, name))
        merged = os.path.join(disk.path, "merged")
        done = subprocess.run(
            ["mount", "-t", "overlay", "overlay", "-o",
             "lowerdir={0}/lower,upperdir={0}/upper,workdir={0}/work".format(
                 disk.path), merged], capture_output=True, text=True)
        if done.returncode != 0:
            raise Skip("no overlay here: " + done.stderr.strip())
        try:
            fetch_resumed(server, merged)
        finally:
            subprocess.run(["umount", "-l", merged], check=False)


if __name__ == "__main__":
    if os.geteuid() == 0:
        in_private_mounts(sys.argv[0])
    main()
