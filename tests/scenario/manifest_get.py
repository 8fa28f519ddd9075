#!/usr/bin/env python3
"""belay get --manifest: a release comes whole or not at all.

The five failures have five messages, and after each the directory is, byte
for byte and inode for inode, what it was."""

import fcntl
import os
import shutil
import signal

from harness import (KI, MI, Belayd, Run, case, check, check_code,
                     check_printable, get, main, names, scaled, start,
                     wait_until, write_random)

BIG = scaled(24, 6) * MI + 77


def write(path, data):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)


def read(path):
    with open(path, "rb") as file:
        return file.read()


def tool(tmp, *args):
    check_code(Run(("manifest",) + args, tmp).wait(), 0)


def publish(tmp, serial, files, expires="2100-01-01", manifest="m"):
    """Files of a release in srv/, and its signed manifest."""
    shutil.rmtree(tmp + "/srv", ignore_errors=True)
    for name, data in files.items():
        write(tmp + "/srv/" + name, data)
    if not os.path.exists(tmp + "/key"):
        tool(tmp, "keygen", "--name", "example.org", "key")
    tool(tmp, "create", "--origin", "example.org", "--serial", str(serial),
         "--expires", expires, "-o", manifest, "srv")
    tool(tmp, "sign", "--key", "key", manifest)


def fetch(tmp, server, *args, manifest="m", key="key.pub", run=get):
    return run("--manifest", manifest, "--key", key, "-d", "out", *args,
               server.url(""), cwd=tmp,
               env={"XDG_STATE_HOME": tmp + "/state", "TMPDIR": tmp})


def tree(path):
    """Everything below a directory, with inodes and contents."""
    found = {}
    for folder, dirs, files in os.walk(path):
        for name in dirs:
            found[os.path.join(folder, name)] = None
        for name in files:
            file = os.path.join(folder, name)
            found[file] = (os.stat(file).st_ino, read(file))
    return found


def check_release(tmp, files):
    have = {os.path.relpath(p, tmp + "/out"): v[1]
            for p, v in tree(tmp + "/out").items() if v is not None}
    check(have == files, "the release: %r" % sorted(have))
    check(not [n for n in names(tmp + "/out") if n.startswith(".belay")],
          "the stage stays")


ONE = {"a": b"1" * 70000, "dir/sp ace%": b"2", "dir/sub/\u00fc": b"",
       "z": b"3" * 5000}
TWO = {"a": b"1" * 70000, "dir/new": b"4" * 9000, "z": b"5" * 5001}


@case
def a_release(tmp):
    publish(tmp, 1, ONE)
    with Belayd(tmp + "/srv") as server:
        run = fetch(tmp, server)
        check_code(run, 0)
        check("serial 1, signed by example.org: in place, 4 of 4" in run.err,
              "what it tells", run)
        check_release(tmp, ONE)
        before = tree(tmp + "/out")
        run = fetch(tmp, server)
        check_code(run, 0)
        check("all there already" in run.err, "not idempotent", run)
        check(tree(tmp + "/out") == before, "touched")
        check_code(fetch(tmp, server, "--error-on-nothing"), 12)
        # What is damaged or missing is fetched again, and nothing else.
        os.unlink(tmp + "/out/dir/sp ace%")
        write(tmp + "/out/z", b"3" * 4999 + b"4")
        run = fetch(tmp, server, "-n")
        check_code(run, 0)
        check(read(tmp + "/out/z")[-1:] == b"4", "a dry run wrote", run)
        run = fetch(tmp, server)
        check_code(run, 0)
        check("2 of 4" in run.err, "how many", run)
        check_release(tmp, ONE)
        after = tree(tmp + "/out")
        check(after[tmp + "/out/a"] == before[tmp + "/out/a"],
              "a good file was replaced")


@case
def a_slash_behind_the_directory(tmp):
    publish(tmp, 1, ONE)
    with Belayd(tmp) as server:
        for end in ("", "/"):
            run = get("--manifest", "m", "--key", "key.pub", "--no-state",
                      "-d", "out", server.url("srv" + end), cwd=tmp)
            check_code(run, 0)
            check_release(tmp, ONE)
            shutil.rmtree(tmp + "/out")


@case
def the_next_release(tmp):
    publish(tmp, 1, ONE)
    with Belayd(tmp + "/srv") as server:
        check_code(fetch(tmp, server), 0)
    publish(tmp, 2, TWO)
    with Belayd(tmp + "/srv") as server:
        check_code(fetch(tmp, server), 0)
    # What the new one does not list is nobody's business.
    check_release(tmp, {**ONE, **TWO})


@case
def by_url(tmp):
    publish(tmp, 1, ONE)
    shutil.copy(tmp + "/m", tmp + "/srv/release.manifest")
    with Belayd(tmp + "/srv") as server:
        run = get("--manifest", server.url("release.manifest"), "--key",
                  read(tmp + "/key.pub").decode().strip(), "-d", "out",
                  cwd=tmp, env={"XDG_STATE_HOME": tmp + "/state",
                                "TMPDIR": tmp})
        check_code(run, 0)
        check_release(tmp, ONE)
        check(not [n for n in names(tmp) if n.startswith("belay-")], "litter")
        run = get("--manifest", server.url("none"), "--key", "key.pub", "-d",
                  "out", cwd=tmp, env={"TMPDIR": tmp})
        check_code(run, 3)
        check(not [n for n in names(tmp) if n.startswith("belay-")], "litter")


@case
def the_five_failures(tmp):
    publish(tmp, 5, ONE)
    shutil.copy(tmp + "/m", tmp + "/m5")
    tool(tmp, "keygen", "--name", "example.org", "wrong")
    with Belayd(tmp + "/srv") as server:
        check_code(fetch(tmp, server), 0)
    publish(tmp, 4, TWO, manifest="m4")
    publish(tmp, 7, TWO, "2001-01-01", "late")
    publish(tmp, 6, TWO)
    text = read(tmp + "/m")
    write(tmp + "/stripped", text[:text.index(b"\n\n") + 1])
    write(tmp + "/altered", text.replace(b" dir/new", b" dir/old"))
    # A mixed release: one file is that of another one.
    write(tmp + "/srv/z", b"6" * 5001)
    before = tree(tmp + "/out")
    messages = []

    def fails(word, code=4, **how):
        run = fetch(tmp, server, **how)
        check_code(run, code)
        check(word in run.err, "no %r" % word, run)
        check_printable(run)
        check(tree(tmp + "/out") == before, "something changed", run)
        messages.append(run.err)

    with Belayd(tmp + "/srv") as server:
        fails("not signed by the key given", key="wrong.pub")
        fails("no empty line before its signatures", manifest="stripped")
        fails("wrong signature", manifest="altered")
        fails("older than 5", manifest="m4")
        fails("expired at 2001", manifest="late")
        check(len(set(messages)) == 5, "messages %r" % messages)
        # The mixed one is found while downloading; what came is kept for a
        # rerun, and nothing else is there.
        run = fetch(tmp, server)
        check_code(run, 4)
        check("no file was changed" in run.err and "z:" in run.err,
              "what it tells", run)
        after = {k: v for k, v in tree(tmp + "/out").items()
                 if "/.belay-release-" not in k}
        check(after == before, "a mixed release changed files", run)
        check(run.err not in messages, "the message")
        # Where others may write, what was verified may not stay it.
        stage, = [tmp + "/out/" + n for n in names(tmp + "/out")
                  if n.startswith(".belay-release-")]
        have = tree(tmp + "/out")
        for mode in (0o770, 0o702):
            os.chmod(stage, mode)
            run = fetch(tmp, server)
            check_code(run, 5)
            check("others may write" in run.err, "whose stage", run)
            check(tree(tmp + "/out") == have, "something changed", run)
        os.chmod(stage, 0o700)
        write(tmp + "/srv/z", TWO["z"])
    with Belayd(tmp + "/srv") as server:
        check_code(fetch(tmp, server), 0)
    check_release(tmp, {**ONE, **TWO})
    # Now even the fifth is too old.
    with Belayd(tmp + "/srv") as server:
        run = fetch(tmp, server, manifest="m5")
        check_code(run, 4)
        check("older than 6" in run.err, "rollback", run)


def stages(tmp):
    return [n for n in names(tmp + "/out") if n.startswith(".belay-release-")]


@case
def what_earlier_runs_left(tmp):
    """It goes when a release of its origin is in place; nothing else does,
    and nothing that is in use."""
    publish(tmp, 1, ONE)
    write(tmp + "/srv/z", b"other bytes")
    with Belayd(tmp + "/srv") as server:
        check_code(fetch(tmp, server), 4)
        check_code(fetch(tmp, server, "-n"), 4)
    first, = stages(tmp)
    write("%s/out/%s/deep/er/x.part" % (tmp, first), b"left")
    origin = first[:len(".belay-release-") + 9]
    other = ".belay-release-" + "0" * 8 + "-" + "1" * 16
    kept = {origin + "1" * 16: 0o770, origin + "2" * 15: 0o700,
            origin + "3" * 15 + "X": 0o700, other: 0o700,
            origin + "4" * 16: 0o700}
    for name, mode in kept.items():
        write("%s/out/%s/file" % (tmp, name), b"stays")
        os.chmod(tmp + "/out/" + name, mode)
    os.symlink(tmp + "/srv", tmp + "/out/" + origin + "5" * 16)
    write(tmp + "/out/" + origin + "6" * 16, b"a file")
    kept = sorted([*kept, origin + "5" * 16, origin + "6" * 16])
    used = os.open(tmp + "/out/" + origin + "4" * 16, os.O_RDONLY)
    fcntl.flock(used, fcntl.LOCK_EX)
    publish(tmp, 2, TWO)
    with Belayd(tmp + "/srv") as server:
        check_code(fetch(tmp, server), 0)
        check(stages(tmp) == kept, "stages: %r" % stages(tmp))
        for name in kept[:-2]:
            check(names(tmp + "/out/" + name) == ["file"], name)
        check(names(tmp + "/srv") != [], "it followed a link")
        # All there: what a kill left goes, but not in a rehearsal.
        os.close(used)
        left = origin + "4" * 16
        check_code(fetch(tmp, server, "-n"), 0)
        check(left in stages(tmp), "a dry run removed it")
        check_code(fetch(tmp, server), 0)
        kept.remove(left)
        check(stages(tmp) == kept, "stages: %r" % stages(tmp))


@case
def things_in_the_way(tmp):
    publish(tmp, 1, ONE)
    for spoil in (lambda out: os.makedirs(out + "/a"),
                  lambda out: write(out + "/dir", b"file"),
                  lambda out: os.symlink("/tmp", out + "/dir")):
        shutil.rmtree(tmp + "/out", ignore_errors=True)
        os.mkdir(tmp + "/out")
        spoil(tmp + "/out")
        before = tree(tmp + "/out")
        with Belayd(tmp + "/srv") as server:
            run = fetch(tmp, server)
        check_code(run, 5)
        check("the manifest has a" in run.err, "the message", run)
        check(tree(tmp + "/out") == before, "something changed", run)
    # A link where a file belongs is replaced, not followed.
    shutil.rmtree(tmp + "/out", ignore_errors=True)
    os.mkdir(tmp + "/out")
    write(tmp + "/victim", b"mine")
    os.symlink("../victim", tmp + "/out/a")
    with Belayd(tmp + "/srv") as server:
        check_code(fetch(tmp, server), 0)
    check(read(tmp + "/victim") == b"mine", "a link was followed")
    check_release(tmp, ONE)


@case
def killed_and_again(tmp):
    write_random(tmp + "/random", BIG)
    big = {"big": read(tmp + "/random"), "small": b"s" * 3 * KI}
    publish(tmp, 1, big)
    os.mkdir(tmp + "/out")
    write(tmp + "/out/small", b"old")
    with Belayd(tmp + "/srv") as server:
        run = fetch(tmp, server, "--limit-rate", "2M", run=start)

        def has_some():
            found = [os.path.join(f, n) for f, _, ns in
                     os.walk(tmp + "/out") for n in ns if n == "big.part"]
            return found and os.stat(found[0]).st_blocks > 2 * MI // 512

        wait_until(has_some, "some of the file")
        # Another process leaves it alone.
        second = fetch(tmp, server)
        check_code(second, 6)
        run.send(signal.SIGKILL)
        run.wait()
        check(read(tmp + "/out/small") == b"old", "half a release")
        run = fetch(tmp, server, "-v")
        check_code(run, 0)
        check_release(tmp, big)


@case
def an_update_costs_its_changes(tmp):
    write_random(tmp + "/random", BIG)
    data = bytearray(read(tmp + "/random"))
    publish(tmp, 1, {"dir/big": bytes(data)})
    with Belayd(tmp + "/srv") as server:
        check_code(fetch(tmp, server), 0)
    data[BIG // 2] ^= 1
    publish(tmp, 2, {"dir/big": bytes(data)})
    with Belayd(tmp + "/srv") as server:
        run = fetch(tmp, server, "-v")
    check_code(run, 0)
    check_release(tmp, {"dir/big": bytes(data)})
    check(run.ledger["useful"] < 2 * MI, "too much was fetched", run)


@case
def wrong_use(tmp):
    publish(tmp, 1, {"a": b"1"})
    url = "belay+tcp://127.0.0.1:1/"
    for args in ((url,), ("--key", "key.pub"),
                 ("--key", "key.pub", url, url),
                 ("--key", "key.pub", "-o", "x", url),
                 ("--key", "key.pub", "--include", "x", url),
                 ("--key", "key.pub", "http://host/"),
                 ("--key", "key.pub", url + "#x")):
        run = get("--manifest", "m", *args, cwd=tmp)
        check_code(run, 2, " ".join(args))
    check_code(get("--origin", "o", url + "a", cwd=tmp), 2)
    check_code(get("--no-state", url + "a", cwd=tmp), 2)


if __name__ == "__main__":
    main()
