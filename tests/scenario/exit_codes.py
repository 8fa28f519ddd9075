#!/usr/bin/env python3
"""Exit codes: one cause has one code, whatever command meets it, and one line
that names what is to be changed."""

import os
import shutil
import subprocess

from harness import (KI, Belayd, Run, Skip, case, check, check_code,
                     check_one_line, free_port, library, main, program, shelf,
                     write_random)
from tlskit import TlsBelayd, self_made

library(file=(write_random, 300 * KI, 3))

USAGE, REFUSED, CONTENT, DISK = 2, 3, 4, 5
HOST, DIFFERS, TEMPORARY = 13, 14, 75
NOBODY = 65534
# A server that is not asked before the files are read.
NOWHERE = "belay+tcp://127.0.0.1:1/file"
SECRET = "belay://127.0.0.1:1/file"


def write(path, text, mode=0o600):
    with open(path, "w") as file:
        file.write(text)
    os.chmod(path, mode)


def environment(tmp):
    return {"HOME": tmp, "XDG_CONFIG_HOME": tmp + "/config",
            "XDG_STATE_HOME": tmp + "/state"}


def belay(tmp, *args, **options):
    return Run(args, tmp, env=environment(tmp), **options).wait()


def readers(tmp, bad):
    """Every command line that reads a file which the user names."""
    good = os.path.join(shelf(), "file")
    key = ("--key", tmp + "/key.pub")
    talkers = (("get",), ("get", "-r"), ("ls",), ("repair", good),
               ("verify", good))
    lines = [("verify", bad, NOWHERE), ("repair", bad, NOWHERE),
             ("repair", "--copy", "--receipt", bad, NOWHERE),
             ("verify", bad, "--receipt", good),
             ("verify", good, "--receipt", bad),
             ("verify", bad, "#bl1-18-" + 64 * "0"),
             ("cid", bad), ("cid", "--chunk-size", "4K", bad),
             ("get", "-i", bad), ("get", "--config", bad, NOWHERE),
             ("get", "--manifest", bad, *key, NOWHERE),
             ("get", "--manifest", good, "--key", bad, NOWHERE),
             ("manifest", "verify", *key, bad),
             ("manifest", "verify", "--key", bad, good),
             ("manifest", "sign", "--key", bad, tmp + "/m"),
             ("manifest", "sign", "--key", tmp + "/key", bad)]
    for talker in talkers:
        lines += [talker + (option, bad, *more, SECRET)
                  for option, *more in (("--cacert",), ("--token-file",),
                                        ("--cert", "--cert-key", good))]
        lines.append(talker + ("--cert", good, "--cert-key", bad, SECRET))
    return lines


def keys(tmp):
    check_code(belay(tmp, "manifest", "keygen", "--name", "k", "key"), 0)


@case
def a_file_that_is_not_there(tmp):
    keys(tmp)
    for line in readers(tmp, tmp + "/nothing"):
        if "--copy" not in line: # which makes what is missing
            check_one_line(belay(tmp, *line), USAGE, "nothing",
                           "no such file")


@case
def a_directory_instead_of_a_file(tmp):
    keys(tmp)
    os.mkdir(tmp + "/box")
    for line in readers(tmp, tmp + "/box"):
        check_code(belay(tmp, *line), USAGE)


@case
def a_file_that_may_not_be_read(tmp):
    keys(tmp)
    write(tmp + "/locked", "x", 0)
    os.chmod(tmp, 0o755)
    drop = None
    if os.geteuid() == 0:
        os.chown(tmp + "/key", NOBODY, NOBODY)

        def drop():
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)

        if subprocess.run([program("BELAY"), "--version"], preexec_fn=drop,
                          cwd="/", capture_output=True).returncode != 0:
            raise Skip("others may not run the program here")
    for line in readers(tmp, tmp + "/locked"):
        check_one_line(belay(tmp, *line, preexec_fn=drop), DISK, "locked",
                       "permission")


@case
def a_file_of_something_else(tmp):
    """What is in it is no list, no certificate, no receipt: the wrong file
    was named."""
    keys(tmp)
    write(tmp + "/words", "some\nwords\n")
    for line in readers(tmp, tmp + "/words"):
        if line[:2] in (("verify", tmp + "/words"), ("manifest", "verify"),
                        ("repair", tmp + "/words"), ("repair", "--copy")) or \
                line[0] == "cid" or "--token-file" in line or \
                line[1] == "--manifest":
            continue # any file has contents
        check_code(belay(tmp, *line), USAGE)


def talkers(url, tmp):
    write(tmp + "/list", url + "\n")
    return (("get", "--overwrite", url), ("get", "-i", "list"), ("ls", url),
            ("get", "-r", url), ("repair", "mine", url),
            ("verify", "mine", url), ("get", "--dry-run", url),
            ("get", "-o", "-", url),
            ("get", "--manifest", url, "--key", "key.pub", url))


@case
def what_servers_say(tmp):
    keys(tmp)
    shutil.copy(os.path.join(shelf(), "file"), tmp + "/mine")
    with Belayd() as server:
        for line in talkers(server.url("nothing"), tmp):
            check_code(belay(tmp, *line), REFUSED, " ".join(line))
    for line in talkers("belay+tcp://127.0.0.1:%d/f" % free_port(), tmp):
        check_code(belay(tmp, *line), TEMPORARY,
                   " ".join(line))
    with TlsBelayd(self_made(tmp)) as server:
        for line in talkers(server.url(), tmp):
            check_code(belay(tmp, *line), HOST, " ".join(line))
            check_code(belay(tmp, *line, "--pin", "sha256:" + 64 * "0"), HOST,
                       " ".join(line))


@case
def wrong_words(tmp):
    for line in (("get",), ("ls",), ("cid",), ("repair", "mine"),
                 ("verify", "mine"), ("manifest",), ("manifest", "sign"),
                 ("manifest", "verify"), ("manifest", "create"), ("trust",),
                 ("manifest", "keygen"), ("get", "http://host/file"),
                 ("ls", "http://host/"), ("repair", "mine", "http://h/f"),
                 ("verify", "mine", "http://h/f"), ("unknown",), ("--wrong",),
                 ("trust", "host", "sha256:1"), ("trust", "a/b", "sha256:1"),
                 ("get", "--pin", "x", SECRET), ("ls", "--pin", "x", SECRET)):
        check_code(belay(tmp, *line), USAGE, " ".join(line))
    for name in ("get", "ls", "cid", "repair", "verify", "trust"):
        check_code(belay(tmp, name, "--no-such-option"), USAGE, name)


@case
def files_that_differ(tmp):
    """Compared only: 14, by whatever it is compared with; downloads that are
    not what was asked for: 4."""
    keys(tmp)
    with Belayd() as server:
        check_code(belay(tmp, "get", "--receipt=r", server.url()), 0)
        cid = belay(tmp, "cid", "file").out.decode().split()[0]
        os.mkdir(tmp + "/d")
        os.rename(tmp + "/file", tmp + "/d/file")
        check_code(belay(tmp, "manifest", "create", "--origin", "o", "-o",
                         "m", "d"), 0)
        check_code(belay(tmp, "manifest", "sign", "--key", "key", "m"), 0)
        checks = (("verify", "d/file", server.url()),
                  ("verify", "d/file", "--receipt", "r"),
                  ("verify", "d/file", "#" + cid),
                  ("repair", "-n", "d/file", server.url()),
                  ("manifest", "verify", "--key", "key.pub", "m", "d"))
        for line in checks:
            check_code(belay(tmp, *line), 0, " ".join(line))
        with open(tmp + "/d/file", "r+b") as file:
            file.write(b"wrong")
        for line in checks:
            check_code(belay(tmp, *line), DIFFERS, " ".join(line))
        check_code(belay(tmp, "get", "-o", "x", server.url() + "#bl1-18-" +
                         64 * "1"), CONTENT)
        check_code(belay(tmp, "get", "-o", "x", "--sha256", 64 * "1",
                         server.url()), CONTENT)
    os.unlink(tmp + "/d/file")
    check_code(belay(tmp, *checks[-1]), DIFFERS, "a file is missing")


@case
def nothing_to_forget(tmp):
    """What is to be so is so: no failure."""
    pin = "sha256:" + 64 * "a"
    check_code(belay(tmp, "trust", "host", pin), 0)
    check_code(belay(tmp, "trust", "--forget", "host"), 0)
    check_one_line(belay(tmp, "trust", "--forget", "host"), 0, "host",
                   "nothing to forget")
    write(tmp + "/bad", "no key\n")
    check_one_line(belay(tmp, "trust", "--known-hosts", "bad", "h", pin),
                   USAGE, "line 1 of \\S*bad")
    check_one_line(belay(tmp, "get", "--known-hosts", "bad", SECRET), USAGE,
                   "line 1 of \\S*bad")
    with open(tmp + "/bad") as file:
        check(file.read() == "no key\n", "the file was changed")


main()
