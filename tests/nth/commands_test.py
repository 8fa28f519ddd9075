#!/usr/bin/env python3
"""As nth_test.py, for the other commands of the client, and for those ways to
a server that the plain download does not go."""

import os
import shutil

import nth  # first: it knows where the harness is
from nth import CLIENT_CODES, EVER, FEW, SYSTEM, command, loops, under
import harness
from harness import Belayd, case, check, check_code, names, same, shelf
import tlskit


def one_command(words, look=None, again=None, start=under, codes=()):
    """The function that loops() wants: the command with faults, and without
    them.  look(into, run) checks what is there after the good end; what the
    second run may end with, if not the same, is `again`; `codes`, how else
    the first one may."""
    def one(folder, plan, counting):
        into = start(folder)
        env = {"XDG_STATE_HOME": os.path.join(into, "state")}
        run = command(words, into, {**env, **plan.env})
        check(run.code in ({0} if counting else {*CLIENT_CODES, *codes}),
              "exit code %s" % run.code, run)
        check(run.code == 0 or run.err.strip(), "no message", run)
        if run.code == 0 and look:
            look(into, run)
        second = command(words, into, env)
        if plan.kind == EVER and plan.calls == SYSTEM:
            # What was begun could not be removed.
            check(second.code in (0, 10), "the next run: exit code %s" %
                  second.code, second)
            return run.code
        check(second.code == 0 or
              (again is not None and again(into, run, second)),
              "the next run: exit code %s" % second.code, second)
        if look:
            look(into, second)
        return run.code

    return one


# -- ways to a server ---------------------------------------------------------

def check_file(into, run):
    check(same(os.path.join(into, "file"), os.path.join(shelf(), "file")),
          "wrong bytes", run)


GET = ["get", "-q", "--retry", "2", "--deadline", "6", "--chunk-size", "16K"]


@case
def client_tls(tmp):
    """With a key that is recorded on the way."""
    identity = tlskit.self_made(tmp)
    with tlskit.TlsBelayd(identity) as server:
        loops("download with TLS", one_command(
            [*GET, "--accept-new", "--known-hosts", "state/hosts",
             server.url()], look=check_file, start=with_state,
            codes=[13]), FEW)  # no key is trusted that is not recorded


def with_state(folder):
    into = under(folder)
    os.mkdir(os.path.join(into, "state"))
    return into


@case
def client_receipt(_tmp):
    """A download with a receipt and other digests."""
    def look(into, run):
        check_file(into, run)
        check_code(command(["verify", "file", "--receipt", "r"], into), 0,
                   "the receipt")

    with Belayd() as server:
        loops("download with a receipt", one_command(
            [*GET, "--receipt=r", "--sha256",
             harness.sha256(os.path.join(shelf(), "file")), server.url()],
            look=look), FEW)


@case
def client_output(_tmp):
    """To standard output, in order."""
    def look(_into, run):
        with open(os.path.join(shelf(), "file"), "rb") as file:
            check(run.out == file.read(), "wrong bytes", run)

    with Belayd() as server:
        loops("to standard output",
              one_command([*GET, "-o", "-", server.url()], look=look), FEW)


# -- other commands -----------------------------------------------------------

def contents(path):
    with open(path, "rb") as file:
        return file.read()


@case
def client_ls(tmp):
    for name in ("a", "b", "d/c"):
        path = os.path.join(tmp, "root", name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        harness.age(harness.write_random(path, 100))

    def look(_into, run):
        check(all(n in run.out.decode() for n in ("a", "b", "d/c")),
              "it lists less", run)

    with Belayd(os.path.join(tmp, "root")) as server:
        loops("ls", one_command(["ls", "-r", "-l", "--retry", "2",
                                 server.url("")], look=look), FEW)


@case
def client_cid(_tmp):
    words = ["cid", "--chunk-size", "16K", os.path.join(shelf(), "file")]
    right = command(words, "/").out

    loops("cid", one_command(words, look=lambda _into, run: check(
        run.out == right, "another id", run)), FEW)


def files_to_list(folder):
    into = under(folder)
    os.mkdir(os.path.join(into, "d"))
    for name in ("a", "d/b"):
        shutil.copy(os.path.join(shelf(), "file"),
                    os.path.join(into, "d", name.replace("/", "-")))
    return into


CREATE = ["manifest", "create", "--origin", "example.org", "--serial", "1",
          "--expires", "2100-01-01", "-o", "m", "d"]


@case
def manifest_keygen(_tmp):
    """Both halves of the key, or neither."""
    def look(into, run):
        check(names(into) == ["key", "key.pub"],
              "there is %r" % names(into), run)

    loops("manifest keygen", one_command(
        ["manifest", "keygen", "--name", "example.org", "key"], look=look,
        again=lambda into, first, second: second.code == 10 and
        "key.pub" in names(into)), FEW)


@case
def manifest_create(tmp):
    loops("manifest create", one_command(
        CREATE, look=lambda into, run: check(
            names(into) == ["d", "m"], "there is %r" % names(into), run),
        start=files_to_list), FEW)


@case
def manifest_sign(tmp):
    base = files_to_list(tmp)
    check_code(command(["manifest", "keygen", "--name", "k", "key"], base), 0)
    check_code(command(CREATE, base), 0)

    def start(folder):
        into = os.path.join(folder, "into")
        shutil.copytree(base, into)
        return into

    def look(into, run):
        check_code(command(["manifest", "verify", "--key", "key.pub",
                            "--no-state", "m"], into), 0, "the signature")
        check(len(names(into)) == 4, "there is %r" % names(into), run)

    loops("manifest sign", one_command(
        ["manifest", "sign", "--key", "key", "m"], look=look, start=start),
        FEW)


@case
def manifest_verify(tmp):
    """Files against a signed list; it keeps the serial that it saw."""
    base = files_to_list(tmp)
    check_code(command(["manifest", "keygen", "--name", "k", "key"], base), 0)
    check_code(command(CREATE, base), 0)
    check_code(command(["manifest", "sign", "--key", "key", "m"], base), 0)

    def start(folder):
        into = os.path.join(folder, "into")
        shutil.copytree(base, into)
        return into

    loops("manifest verify", one_command(
        ["manifest", "verify", "--key", "key.pub", "m", "d"],
        start=start), FEW)


@case
def get_manifest(tmp):
    """A signed release, from the server to its place."""
    base = files_to_list(tmp)
    check_code(command(["manifest", "keygen", "--name", "k", "key"], base), 0)
    check_code(command(CREATE, base), 0)
    check_code(command(["manifest", "sign", "--key", "key", "m"], base), 0)
    harness.settle(os.path.join(base, "d", "a"))

    def start(folder):
        into = under(folder)
        for name in ("m", "key.pub"):
            shutil.copy(os.path.join(base, name), into)
        return into

    def look(into, run):
        for name in names(os.path.join(base, "d")):
            check(same(os.path.join(into, "out", name),
                       os.path.join(base, "d", name)), "wrong bytes", run)
        # A stage that cannot be removed for want of memory stays.
        left = [name for name in names(os.path.join(into, "out"))
                if not name.startswith(".belay-release-")]
        check(len(left) == 2, "left behind: %r" % left, run)

    with Belayd(os.path.join(base, "d")) as server:
        loops("a release", one_command(
            ["get", "-q", "--retry", "2", "--deadline", "6", "--manifest",
             "m", "--key", "key.pub", "-d", "out", server.url("")],
            look=look, start=start), FEW)


@case
def trust_recorded(_tmp):
    pin = "sha256:" + "ab" * 32

    def look(into, run):
        check(pin in contents(os.path.join(into, "hosts")).decode(),
              "it is not recorded", run)

    loops("trust", one_command(["trust", "--known-hosts", "hosts",
                                "host.example", pin], look=look), FEW)


@case
def client_config(_tmp):
    """What the settings in a file say."""
    def start(folder):
        into = under(folder)
        with open(os.path.join(into, "settings"), "w") as file:
            file.write("retry = 2\ndeadline = 6\nchunk-size = 16K\n")
        return into

    with Belayd() as server:
        loops("settings", one_command(
            ["get", "-q", "--config", "settings", server.url()],
            look=check_file, start=start), FEW)


if __name__ == "__main__":
    nth.done()
