#!/usr/bin/env python3
"""The file changes on the server while it is fetched, or between two runs:
the result is one version whole, never a mix, or a documented exit."""

import os
import signal
import sys
import tempfile
import threading
import time

from harness import (MI, TOP, Belayd, Listening, aside, case, check,
                     check_code, check_nothing_final, get, has_verified,
                     lines_of, main, names, scaled, settle, sha256, start,
                     together, write_random)

SIZE = scaled(16, 4) * MI + 11
RATE = SIZE // 4  # a transfer takes four seconds


def world(tmp, size=SIZE, fresh=False):
    root, into = os.path.join(tmp, "root"), os.path.join(tmp, "into")
    os.mkdir(root)
    os.mkdir(into)
    path = write_random(os.path.join(root, "file"), size)
    if not fresh:
        settle(path)
    return path, root, into


class Mini(Listening):
    """The small server of the specification: it can know less."""

    def __init__(self, root, *options):
        super().__init__(
            [sys.executable, os.path.join(TOP, "spec/oracle/mini_server.py"),
             "--root", root, *options],
            os.path.join(tempfile.mkdtemp(dir=aside()), "log"))


# Strong tokens and content ids; neither; tokens without content ids.
MINI = {"weak": ["--weak"], "no id": ["--no-cid"]}


def rewrite_in_place(path):
    with open(path, "r+b") as file:
        for at in range(0, SIZE, 3 * MI):
            file.seek(at)
            file.write(b"changed!" * 1000)


def rewrite_slowly(path):
    with open(path, "r+b", 0) as file:
        for at in range(0, SIZE, MI):
            file.seek(at)
            file.write(os.urandom(5000))
            time.sleep(0.02)


def replace(path):
    other = write_random(path + ".new", SIZE, 99)
    os.rename(other, path)


def replace_shorter(path):
    os.rename(write_random(path + ".new", SIZE // 3, 98), path)


def truncate(path):
    os.truncate(path, SIZE // 2 + 3)


def truncate_to_nothing(path):
    os.truncate(path, 0)


def grow(path):
    with open(path, "ab") as file:
        file.write(b"more " * 100000)


def touch(path):
    os.utime(path)


CHANGES = (rewrite_in_place, rewrite_slowly, replace, replace_shorter,
           truncate, truncate_to_nothing, grow, touch)


def begin(url, into, *options):
    run = start("-v", "--limit-rate", RATE, *options, url, cwd=into)
    has_verified(run, SIZE // 8 + 1)
    return run


def one_version(run, into, versions, what):
    """Exit 0 and the bytes of one version, or no final name at all."""
    if run.code != 0:
        check(run.code in (3, 4, 7, 75), "%s: exit code %s" %
              (what, run.code), run)
        check_nothing_final(into)
        return
    digest = sha256(os.path.join(into, "file"))
    check(digest in versions, what + ": a mix, or another file", run)
    check(names(into) == ["file"], "litter: %r" % names(into), run)


def each_change(tmp, changes, judge, *options):
    """Every server, every change, several transfers at once."""
    def one(job):
        name, server, change, root, into = job
        path = os.path.join(root, "file")
        versions = {sha256(path)}
        run = begin(server.url(), into, *options)
        change(path)
        versions.add(sha256(path))
        run.wait(40)
        judge(name + ", " + change.__name__, run, into, versions)

    jobs = []
    for change in changes:
        for name in ("belayd", *MINI):
            base = os.path.join(tmp, change.__name__ + " " + name)
            os.mkdir(base)
            _, root, into = world(base, fresh=True)
            server = Belayd(root) if name == "belayd" else \
                Mini(root, *MINI[name])
            jobs.append((name, server, change, root, into))
    together(one, jobs, 8)


@case
def changed_in_mid_transfer(tmp):
    def judge(what, run, into, versions):
        one_version(run, into, versions, what)
        check(run.code == 0, what + ": did not get through", run)

    each_change(tmp, CHANGES, judge)


@case
def changed_and_told_to_stop(tmp):
    def judge(what, run, into, versions):
        if run.code == 0:
            one_version(run, into, versions, what)
            return
        check_code(run, 7, what)
        check_nothing_final(into)
        check("changed" in lines_of(run)[-1], "not said why", run)

    each_change(tmp, (rewrite_in_place, replace, truncate), judge,
                "--if-changed=stop")


@case
def deleted_in_mid_transfer(tmp):
    """Finished from what is open, or a clean end with the part kept."""
    path, root, into = world(tmp)
    with Belayd(root) as server:
        wanted = sha256(path)
        run = begin(server.url(), into, "-x", "1")
        os.unlink(path)
        run.wait(30)
        one_version(run, into, {wanted}, "deleted")
        if run.code == 0:
            os.unlink(os.path.join(into, "file"))
        # It comes back in time for the next run.
        write_random(path, SIZE)
        settle(path)
        check_code(get(server.url(), cwd=into), 0)


@case
def changed_between_two_runs(tmp):
    path, root, into = world(tmp)
    with Belayd(root) as server:
        for change in (rewrite_in_place, grow, truncate, replace):
            write_random(path, SIZE)
            settle(path)
            run = begin(server.url(), into)
            run.send(signal.SIGKILL)
            run.wait()
            change(path)
            settle(path)
            run = get("-v", server.url(), cwd=into)
            one_version(run, into, {sha256(path)}, change.__name__)
            check("changed" in run.err, "not told", run)
            if change is not replace:
                check(run.ledger["reused"] > SIZE // 40,
                      change.__name__ + ": equal chunks were not reused", run)
            os.unlink(os.path.join(into, "file"))


@case
def another_file_for_the_same_target(tmp):
    """The partial of one URL serves for another one only where it is equal."""
    path, root, into = world(tmp)
    with open(path, "rb") as file:
        data = file.read()
    with open(os.path.join(root, "other"), "wb") as file:
        file.write(os.urandom(MI) + data[MI:])
    settle(path, os.path.join(root, "other"))
    with Belayd(root) as server:
        run = begin(server.url(), into)
        run.send(signal.SIGKILL)
        run.wait()
        run = get("-v", "-o", "file", server.url("other"), cwd=into)
        one_version(run, into, {sha256(os.path.join(root, "other"))},
                    "other file")
        check("was begun from" in run.err, "not told", run)


@case
def a_file_that_grows_all_the_time(tmp):
    path, root, into = world(tmp)
    stop = threading.Event()

    def write():
        with open(path, "ab", 0) as file:
            while not stop.wait(0.05):
                file.write(os.urandom(10000))

    writer = threading.Thread(target=write)
    with Belayd(root) as server:
        writer.start()
        try:
            run = start("-v", "--limit-rate", SIZE, server.url(), cwd=into)
            time.sleep(5)
        finally:
            stop.set()
            writer.join()
        run.wait(30)
        check(run.code in (0, 75), "exit code %s" % run.code, run)
        if run.code == 0:
            with open(path, "rb") as file:
                data = file.read()
            with open(os.path.join(into, "file"), "rb") as file:
                check(data.startswith(file.read()), "not a prefix", run)


@case
def two_files_swap_names(tmp):
    """S16: whoever fetches both gets one content under each name."""
    size = 3 * MI
    path, root, into = world(tmp, size)
    other = write_random(os.path.join(root, "other"), size, 7)
    settle(path, other)
    contents = {sha256(path), sha256(other)}
    for number, pause in enumerate((0.02, 0.2)):
        where = os.path.join(into, str(number))
        os.mkdir(where)
        with Belayd(root) as server:
            run = start("-r", "--include", "file", "--include", "other",
                        "--limit-rate", 3 * MI, server.url(""), "-d", "tree",
                        cwd=where)
            # It ends in an odd number of swaps, at the latest here.
            for _ in range(int(1.2 / pause) | 1):
                os.rename(path, path + ".x")
                os.rename(other, path)
                os.rename(path + ".x", other)
                time.sleep(pause)
            run.wait()
        check(run.code in (0, 3, 4, 75), "exit code %s" % run.code, run)
        tree = os.path.join(where, "tree")
        found = [name for name in names(tree) if name in ("file", "other")]
        for name in found:
            check(sha256(os.path.join(tree, name)) in contents,
                  name + " is a mix", run)
        check(run.code != 0 or len(found) == 2, "one is missing", run)


if __name__ == "__main__":
    main()
