#!/usr/bin/env python3
"""Every allocation and every system call of the client fails once, and for
ever, for all n (nth.py): no crash, no hang, no leak, a right exit code, never
a wrong byte under the final name, and the same command without faults goes
on."""

import os
import shutil
import signal

import nth  # first: it knows where the harness is
from nth import (CLIENT_CODES, EVER, FEW, INTERRUPTED, PATIENCE, command,
                 loops, under)
import harness
from harness import (KI, Run, case, check, check_code, names, same, shelf,
                     write_random)

OPTIONS = ["-q", "--retry", "2", "--chunk-size", "16K", "-x", "2"]


def client(url, into, env=None, deadline="6"):
    # A person's settings are no part of this.
    return Run(["get", *OPTIONS, "--deadline", deadline, url], into,
               env={"XDG_CONFIG_HOME": "/nonexistent",
                    "BELAY_CONFIG": "/dev/null", **(env or {})}
               ).wait(PATIENCE)


def right_or_absent(into, run):
    path = os.path.join(into, "file")
    if os.path.exists(path):
        check(same(path, os.path.join(shelf(), "file")),
              "wrong bytes under the final name", run)
    else:
        check(run.code != 0, "exit code 0 without a file", run)


def fails_and_heals(url, into, plan, counting):
    run = client(url, into, plan.env)
    check(run.code in ({0} if counting else CLIENT_CODES),
          "exit code %s" % run.code, run)
    right_or_absent(into, run)
    again = client(url, into)
    check_code(again, 0, "the next run")
    check(same(os.path.join(into, "file"), os.path.join(shelf(), "file")),
          "the next run left other bytes", again)
    check(names(into) == ["file"], "left behind: %r" % names(into), again)
    return run.code


@case
def client_fresh(_tmp):
    with harness.Belayd() as server:
        loops("fresh download", lambda folder, plan, counting:
              fails_and_heals(server.url(), under(folder), plan, counting))


@case
def client_resume(tmp):
    """From a partial file that a killed client left."""
    with harness.Belayd() as server:
        run = harness.start(*OPTIONS, "--limit-rate", "40K", server.url(),
                            cwd=tmp)
        harness.wait_until(lambda: any(
            os.stat(os.path.join(tmp, n)).st_blocks * 512 > 32 * KI
            for n in names(tmp) if n.endswith(".part")), "some chunks")
        run.send(signal.SIGKILL)
        run.wait()

        def one(folder, plan, counting):
            into = os.path.join(folder, "into")
            shutil.copytree(tmp, into)
            return fails_and_heals(server.url(), into, plan, counting)

        loops("resumed download", one, 2 * FEW)


@case
def client_up_to_date(tmp):
    with harness.Belayd() as server:
        check_code(client(server.url(), tmp), 0)

        def one(folder, plan, counting):
            into = os.path.join(folder, "into")
            shutil.copytree(tmp, into)
            return fails_and_heals(server.url(), into, plan, counting)

        loops("up to date", one, 2 * FEW)


# -- several files, and local ones --------------------------------------------

def check_tree(into, root, run, whole):
    """Whatever has its final name has the right bytes."""
    for name in ("a", "b", "d/c"):
        path = os.path.join(into, name)
        check(os.path.exists(path) or not whole, "no " + name, run)
        check(not os.path.exists(path) or
              same(path, os.path.join(root, name)),
              "wrong bytes under the name " + name, run)


def make_tree(tmp):
    root = os.path.join(tmp, "tree")
    os.makedirs(os.path.join(root, "d"))
    for seed, name in enumerate(("a", "b", "d/c")):
        harness.age(write_random(os.path.join(root, name), 3000 + seed, seed))
    return root


def fetch_many(words, root, into, plan, counting):
    """A command that fetches the tree to `into`: with faults, and again."""
    run = command(words, into, plan.env)
    check(run.code in ({0} if counting else CLIENT_CODES),
          "exit code %s" % run.code, run)
    out = os.path.join(into, "out")
    check_tree(out, root, run, run.code == 0)
    again = command(words, into)
    check_code(again, 0, "the next run")
    check_tree(out, root, again, True)
    return run.code


@case
def client_batch(tmp):
    """Small files of a list, with digests."""
    root = make_tree(tmp)
    with harness.Belayd(root) as server:
        lines = "".join("%s out=%s\n" % (server.url(n), n)
                        for n in ("a", "b", "d/c"))

        def one(folder, plan, counting):
            into = under(folder)
            with open(os.path.join(into, "list"), "w") as file:
                file.write(lines)
            return fetch_many(["get", "-q", "--retry", "2", "--deadline", "6",
                               "-i", "list", "-d", "out"], root, into, plan,
                              counting)

        loops("batch", one, FEW)


@case
def client_tree(tmp):
    root = make_tree(tmp)
    with harness.Belayd(root) as server:
        loops("directory", lambda folder, plan, counting: fetch_many(
            ["get", "-q", "--retry", "2", "--deadline", "6", "-r",
             server.url(""), "-d", "out"], root, under(folder), plan,
            counting), FEW)


def damaged(folder):
    """A copy of the file in which one chunk is wrong."""
    into = under(folder)
    path = os.path.join(into, "file")
    shutil.copy(os.path.join(shelf(), "file"), path)
    with open(path, "r+b") as file:
        file.seek(40 * KI)
        file.write(b"wrong")
    return into, path


@case
def client_repair(_tmp):
    with harness.Belayd() as server:
        words = ["repair", "--chunk-size", "16K", "file", server.url()]

        def one(folder, plan, counting):
            into, path = damaged(folder)
            run = command(words, into, plan.env, plan.kind == EVER)
            check(run.code in ({0} if counting
                               else CLIENT_CODES | {INTERRUPTED}),
                  "exit code %s" % run.code, run)
            right = same(path, os.path.join(shelf(), "file"))
            check(right or run.code != 0, "told to be right", run)
            again = command(words, into)
            check_code(again, 0, "the next run")
            check(same(path, os.path.join(shelf(), "file")),
                  "the next run left other bytes", again)
            return run.code

        loops("repair", one, FEW)


@case
def client_verify(_tmp):
    """What is wrong is never told to be right."""
    with harness.Belayd() as server:
        words = ["verify", "file", server.url()]

        def one(folder, plan, counting):
            into, path = damaged(folder)
            before = open(path, "rb").read()
            run = command(words, into, plan.env, plan.kind == EVER)
            check(run.code in ({14} if counting
                               else CLIENT_CODES - {0} | {14, INTERRUPTED}),
                  "exit code %s" % run.code, run)
            check(open(path, "rb").read() == before, "it wrote", run)
            check_code(command(words, into), 14, "the next run")
            return run.code

        loops("verify", one, FEW)


if __name__ == "__main__":
    nth.done()
