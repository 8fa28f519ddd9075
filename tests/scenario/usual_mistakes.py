#!/usr/bin/env python3
"""What people get wrong every day, and what they read most often: each in a
line that names the cause and says what to do, with nothing left behind."""

import os
import pwd
import subprocess
import time

from harness import (KI, MI, Belayd, Run, case, check, check_code,
                     check_one_line, get, library, main, names, need_root,
                     program, same, scaled, shelf, spawn, write_random)

SIZE = scaled(3, 1) * MI + 777
library(file=(write_random, SIZE), other=(write_random, 2000, 2))


def belay(*args, cwd, **options):
    return Run(args, cwd, **options).wait()


def script(path, text):
    with open(path, "w") as out:
        out.write("#!/bin/sh\n" + text)
    os.chmod(path, 0o755)
    return path


def as_nobody():
    """Whom permissions bind."""
    if os.geteuid() == 0:
        user = pwd.getpwnam("nobody")
        os.setgroups([])
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)


@case
def a_directory_without_r(into):
    with Belayd() as server:
        for url in (server.url(""), server.url("")[:-1], server.url("d/")):
            check_one_line(get(url, cwd=into), 2, "a directory, not a file",
                           "-r ")
        # Where a slash is not all that is wrong, that is told.
        check_one_line(get(server.url("d//"), cwd=into), 2, "'/'")
    check(names(into) == [], "litter: %r" % names(into))


@case
def a_port_without_a_scheme(into):
    """HOST:PORT/PATH is a path by ssh; the line tells what was meant."""
    none = script(into + "/none", "exit 255\n")
    for url, meant in (("host:7245/file", True), ("host:file", False),
                       ("host:7245", False)):
        run = get("-e", none, url, cwd=into)
        check_one_line(run, 75, "ssh")
        check(("with a port it is belay://" + url in run.err) == meant,
              "the hint", run)
    run = belay("ls", "-e", none, "host:7245/dir/", cwd=into)
    check_one_line(run, 75, "with a port it is belay://host:7245/dir")


@case
def nothing_to_fetch(into):
    open(into + "/list", "w").close()
    check_one_line(get("-i", "list", cwd=into), 0, "nothing to fetch")
    run = get("-q", "-i", "list", cwd=into)
    check_code(run, 0)
    check(run.err == "", "-q talks", run)


@case
def a_file_with_r(into):
    """The option that does not fit is named."""
    for option, *value in (("-o", "x"), ("--sha256", "0" * 64),
                           ("--if-changed", "stop"), ("--chunk-size", "64K"),
                           ("--receipt",), ("--seed", "x"), ("--failed", "x"),
                           ("--mirror", "belay+tcp://localhost:1/x")):
        check_one_line(get("-r", option, *value, "belay+tcp://localhost:1/d",
                           cwd=into), 2, "^belay: %s with -r" % option)
    check(names(into) == [], "litter: %r" % names(into))


@case
def a_file_where_a_directory_is_meant(into):
    with Belayd() as server:
        for line in (("get", "-r", server.url()), ("ls", server.url()),
                     ("ls", "--json", server.url("file/x"))):
            check_one_line(belay(*line, cwd=into), 3,
                           "does not name a directory", "without -r")
        check_one_line(belay("cid", server.url(), cwd=into), 2,
                       "only local files", "belay ls --cid")
    check_one_line(belay("cid", "host:file", cwd=into), 2, "only local files")
    check_one_line(belay("cid", "file", cwd=into), 2, "No such file")
    write_random(into + "/host:file", 10)
    check_code(belay("cid", "host:file", cwd=into), 0)
    check(names(into) == ["host:file"], "litter: %r" % names(into))


@case
def what_other_programs_call_it(into):
    """The option that is typed first, out of habit, leads to ours; each hint
    names options that the command has."""
    known = {}
    for command in ("get", "repair", "verify", "ls", "cid"):
        known[command] = belay(command, "--help", cwd=into).out.decode()
    for command, typed, ours in (
            ("get", "-O", "-o"), ("get", "-OL", "-o"), ("get", "-L", ""),
            ("get", "--output-document=x", "-o"), ("get", "-s", "-q"),
            ("get", "--split=4", "-x"), ("get", "-k", "--accept-new"),
            ("ls", "--insecure", "--accept-new"),
            ("get", "--user", "--token-file"), ("repair", "-H",
                                                "--token-file"),
            ("get", "--private-key=x", "--cert-key"), ("get", "-t",
                                                       "--retry"),
            ("verify", "-m", "--deadline"), ("get", "-T", "--timeout"),
            ("get", "-Z", "-j"), ("get", "-I", "-n"), ("get", "-N",
                                                       "--overwrite"),
            ("get", "-a", ""), ("get", "-A", "--include"),
            ("get", "--reject", "--exclude"), ("get", "--delete", ""),
            ("get", "-#", "--progress"), ("get", "--compressed", "-z"),
            ("get", "--max-filesize", "--max-size"), ("ls", "-K",
                                                      "--config"),
            ("get", "-V", ""), ("ls", "-a", "")):
        run = belay(command, typed, "belay+tcp://localhost:1/x", cwd=into)
        check_one_line(run, 2, "there is no such option; ")
        check(ours in run.err.split(";", 1)[1] and ours in known[command],
              "the hint", run)
    for command, typed in (("cid", "-O"), ("trust", "-k"), ("get", "-E"),
                           ("get", "--no"), ("get", "-"), ("get", "--=")):
        run = belay(command, typed, "x", cwd=into)
        check_code(run, 2)
        check(";" not in run.err.splitlines()[0] or typed == "--no",
              "a hint for nothing", run)
    for line, words in (
            (("get", "-nc", "x:y"), "--no-clobber"),
            (("get", "-x", "socks5://x", "x:y"), "--proxy"),
            (("get", "--mirror", "x:y"), "-r fetches a directory"),
            (("get", "--cert", "x", "--key", "y", "x:y"), "--cert-key"),
            (("belay://host/file",), "belay get"), (("host:file",),
                                                    "belay get"),
            (("download", "x:y"), "belay get"), (("help",), "--help"),
            (("serve",), "belayd")):
        check_one_line(belay(*line, cwd=into), 2, words)
    run = belay("nonsense", cwd=into)
    check_one_line(run, 2, "there is no such command$")
    check(names(into) == [], "litter: %r" % names(into))
    with Belayd() as server:
        check_code(get("-f", "-c", "-C", "-", server.url(), cwd=into), 0)
        check_code(get("--fail", server.url("other"), cwd=into), 0)
        check_code(get("--fail", server.url("none"), cwd=into), 3)
    check(names(into) == ["file", "other"], "files: %r" % names(into))


@case
def a_reader_that_has_seen_enough(into):
    """As in a pipe into head: nothing is said, and the exit code is that of
    SIGPIPE; but what else goes wrong is told by its own."""
    with Belayd() as server:
        write_random(into + "/there", 10)
        for line, code in ((("get", "-o", "-", server.url()), 141),
                           (("ls", server.url("")), 141),
                           (("ls", "--json", server.url("")), 141),
                           (("get", "--json", server.url()), 141),
                           (("get", "--json", server.url("none")), 3),
                           (("cid", into + "/there"), 141),
                           (("--help",), 141), (("--help", "all"), 141)):
            end, pipe = os.pipe()
            os.close(end)
            run = belay(*line, cwd=into, stdout=pipe)
            os.close(pipe)
            check_code(run, code)
            check("output" not in run.err and "pipe" not in
                  run.err.lower() and (code == 3 or "left" not in run.err),
                  "told", run)
        # The download goes on although nobody hears of it.
        check(same(into + "/file", shelf() + "/file"), "the file")
        for line, code in ((("get", "-o", "-", server.url()), 5),
                           (("ls", server.url("")), 5),
                           (("get", "--json", server.url("other")), 5),
                           (("cid", into + "/there"), 5), (("--help",), 5)):
            with open("/dev/full", "wb") as full:
                run = belay(*line, cwd=into, stdout=full)
            check_code(run, code)
            check(run.err.count("No space left on device") == 1, "told once",
                  run)


@case
def where_it_cannot_go(into):
    os.mkdir(into + "/dir")
    with open(into + "/note", "w") as file:
        file.write("a note\n")
    os.symlink("nowhere", into + "/link")
    with Belayd() as server:
        check_one_line(get("-o", "dir", server.url(), cwd=into), 5,
                       "is a directory", "-d ")
        check_one_line(get("-d", "note", server.url(), cwd=into), 5,
                       "the directory note: Not a directory")
        check_one_line(get("-o", "no/where/x", server.url(), cwd=into), 5,
                       "the directory no/where: No such", "-d DIR makes it")
        check_one_line(get(server.url("a#b"), cwd=into), 2, "'#' is %23")
        with open(into + "/note", "w") as file:
            file.write("%s out=a b\n" % server.url())
        check("key=\"a value\" if it has blanks" in
              get("-i", "note", cwd=into).err, "how blanks are written")
        check_one_line(get("-o", "link", server.url(), cwd=into), 10,
                       "--overwrite", "-o NAME")
        check_one_line(get("--log-file", "none/log", server.url(), cwd=into),
                       5, "the log file none/log: No such")
        check_one_line(get("--failed", "none/again", server.url(), cwd=into),
                       5, "cannot write none/again")
        check(names(into) == ["dir", "link", "note"] and
              names(into + "/dir") == [], "litter: %r" % names(into))


@case
def where_one_may_not_write(into):
    os.chmod(into, 0o755)
    os.mkdir(into + "/locked", 0o755)
    os.mkdir(into + "/open")
    os.chmod(into + "/open", 0o777)
    with open(into + "/open/file.part", "w"):
        pass
    os.chmod(into + "/open/file.part", 0o400 if os.geteuid() else 0o600)
    os.chmod(into + "/locked", 0o555)
    with Belayd() as server:
        for line in ((server.url(), "-d", "locked/new"),
                     (server.url(), server.url("other"), "-d", "locked/new")):
            run = get(*line, cwd=into, preexec_fn=as_nobody)
            check_code(run, 5)
            check("cannot make the directory locked/new: Permission denied"
                  in run.err, "the cause", run)
        check_one_line(get("-r", server.url(""), "-d", "locked", cwd=into,
                           preexec_fn=as_nobody), 5,
                       "cannot write into locked")
        check_one_line(get(server.url(), "-d", "locked", cwd=into,
                           preexec_fn=as_nobody), 5,
                       "the permissions of the directory")
        check_one_line(get(server.url(), "-d", "open", cwd=into,
                           preexec_fn=as_nobody), 5,
                       "file.part: Permission denied; check its permissions")


@case
def wrong_use_makes_no_directories(into):
    with Belayd() as server:
        for more in (("--pin", "sha256:1"), ("--cacert", "none"),
                     ("--cert", "none", "--cert-key", "none")):
            for line in (("-r", server.url("")), (server.url(),)):
                run = get(*line, "-d", "new/out", *more, cwd=into)
                check_one_line(run, 2)
                check(names(into) == [], "made: %r" % names(into), run)


@case
def a_value_of_another_form(into):
    """The same words wherever the option is."""
    for option, value, words in (
            ("--limit-rate", "fast", "bad size fast"),
            ("--speed-limit", "slow", "bad size slow"),
            ("--deadline", "noon", "bad number of seconds noon"),
            ("--max-time", "noon", "bad number of seconds noon"),
            ("--stop-at", "25:00", "bad time of day 25:00"),
            ("--tries", "some", "bad number of tries some"),
            ("--progress=", "dots", "bad progress mode dots"),
            ("-x", "17", "bad number of connections 17")):
        word = [option + value] if option[-1] == "=" else [option, value]
        for command in (("get",), ("repair", "x"), ("verify", "x")):
            check_one_line(belay(*command, *word, "belay+tcp://localhost:1/x",
                                 cwd=into), 2, words + ": expected")
    check_one_line(belay("repair", "--chunk-size", "5", "x",
                         "belay+tcp://localhost:1/x", cwd=into), 2,
                   "bad chunk size 5")
    check_one_line(belay("manifest", cwd=into), 2, "expected create, keygen")


@case
def limits_of_repair_and_verify(into):
    """They end when they are told to, as a download does."""
    target = write_random(into + "/file", SIZE, 3)
    with open(target, "r+b") as file, open(shelf() + "/file", "rb") as right:
        file.write(right.read(300 * KI))
    with Belayd() as server:
        for option in ("--deadline", "--max-time"):
            run = belay("repair", option, "1", "--bwlimit", "100k", "-z",
                        "file", server.url(), cwd=into)
            check_code(run, 9)
            check("the time allowed is over" in run.err, "told", run)
        check_code(belay("repair", "-q", "file", server.url(), cwd=into), 0)
        check(same(target, shelf() + "/file"), "content")
        run = belay("verify", "--tries", "2", "--stop-at", "23:59", "file",
                    server.url(), cwd=into)
        check(run.code in (0, 9), "exit code", run)  # 9: just before then


@case
def what_is_right_has_no_speed(into):
    with Belayd() as server:
        check_code(get(server.url(), cwd=into), 0)
        for line in (("repair",), ("repair", "-n"), ("verify",)):
            run = belay(*line, "file", server.url(), cwd=into)
            check_code(run, 0)
            check("verified in" in run.err and "/s" not in run.err,
                  "a speed of nothing", run)
        with open(into + "/file", "r+b") as file:
            file.write(b"wrong")
        run = belay("verify", "file", server.url(), cwd=into)
        check_code(run, 14)
        check("belay repair makes it right" in run.err, "what to do", run)


@case
def what_is_there_already_is_no_news(into):
    src = into + "/src"
    for k in range(5):
        os.makedirs("%s/d%d" % (src, k))
        write_random("%s/d%d/f" % (src, k), 100, k)
    with Belayd(src) as server:
        line = ("-r", server.url(""), "-d", into + "/out")
        check_code(get(*line, cwd=into), 0)
        os.unlink(into + "/out/d3/f")
        run = get("-v", *line, cwd=into)
        check("1 file fetched (100 B), 4 there already" in run.err, "totals",
              run)
        check("there already\n" not in run.err.replace(
            "4 there already, 0 failed", ""), "listed", run)
        run = get("-vv", *line, cwd=into)
        check(run.err.count(": is there already") == 5, "not listed", run)


def release(into):
    """A signed release of two files in into/srv, and its key."""
    os.mkdir(into + "/srv")
    for k, name in enumerate(("one", "two")):
        write_random("%s/srv/%s" % (into, name), 5000, k)
    for line in (("keygen", "--name", "example", "key"),
                 ("create", "--origin", "example", "-o", "srv/m", "srv"),
                 ("sign", "--key", "key", "srv/m")):
        check_code(belay("manifest", *line, cwd=into), 0)


@case
def a_release_by_its_own_names(into):
    """Where its files are until all are there is nobody's business."""
    release(into)
    with Belayd(into + "/srv") as server:
        run = get("--manifest", "srv/m", "--key", "key.pub", "-d", "out",
                  server.url(""), cwd=into, env={"HOME": into})
        check_code(run, 0)
        check("belay: one: " in run.err and ".belay-release" not in run.err,
              "names", run)
        os.truncate(into + "/srv/two", 10)
        run = get("--manifest", "srv/m", "--key", "key.pub", "-d", "new",
                  server.url(""), cwd=into, env={"HOME": into})
        check_code(run, 4)
        check("belay: two: " in run.err and ".belay-release" not in run.err,
              "names", run)


@case
def a_manifest_on_a_host(into):
    """host:path is a URL here as well; ./ keeps a name with a colon here."""
    release(into)
    here = script(into + "/here", 'while [ "$1" != "--" ]; do shift; done\n'
                                  'shift 2\ncd "%s" && exec sh -c "$*"\n' %
                  into)
    ssh = ("-e", here, "--remote-belayd", program("BELAYD"))
    for k, address in enumerate(("host:srv/m", "host:%s/srv/m" % into)):
        run = get(*ssh, "--manifest", address, "--key", "key.pub", "-d",
                  "out%d" % k, cwd=into, env={"HOME": into})
        check_code(run, 0)
        check(same(into + "/out%d/one" % k, into + "/srv/one"), "content",
              run)
    os.rename(into + "/srv/m", into + "/srv:m")
    run = get(*ssh, "--manifest", "./srv:m", "--key", "key.pub", "-d", "out",
              "host:srv", cwd=into, env={"HOME": into})
    check_code(run, 0)
    check(same(into + "/out/two", into + "/srv/two"), "content", run)


@case
def a_release_that_does_not_come(into):
    """What was made for it goes again, and what was there stays."""
    release(into)
    os.mkdir(into + "/mine")
    line = ("--key", "key.pub", "--sandbox=try")
    with Belayd(into + "/srv") as server:
        for more, code in (
                (("--manifest", server.url("none"), "-d", "new/out"), 3),
                (("-n", "--manifest", server.url("m"), "-d", "new/out"), 0),
                (("--manifest", server.url("m"), "--max-size", "1", "-d",
                  "new/out"), 9),
                (("--manifest", server.url("none"), "-d", "mine"), 3),
                (("-n", "--manifest", server.url("m"), "--sandbox=off", "-d",
                  "new/out"), 0)):
            run = get(*line, *more, server.url(""), cwd=into,
                      env={"HOME": into})
            check_code(run, code)
            check(not os.path.exists(into + "/new"), "left behind", run)
    check(os.path.isdir(into + "/mine"), "not ours to remove")


@case
def a_file_that_belayd_may_not_read(into):
    """Clients are told that it is not there; the operator reads why, a few
    times and not for each of a flood."""
    need_root()
    root = into + "/srv"
    os.makedirs(root + "/locked")
    for name in ("secret", "locked/file"):
        write_random("%s/%s" % (root, name), 100)
    os.chmod(into, 0o755)
    os.chmod(root + "/secret", 0)
    os.chmod(root + "/locked", 0)
    cache = into + "/cache"
    os.mkdir(cache)
    os.chown(cache, pwd.getpwnam("nobody").pw_uid, -1)
    with Belayd(root, "--user", "nobody", "--cache", cache) as server:
        for path in ("secret", "locked/file", "none"):
            check_one_line(get(server.url(path), cwd=into), 3,
                           "no such file")
        check_one_line(belay("ls", server.url("locked/"), cwd=into), 3,
                       "no such file")
        check_one_line(belay("ls", server.url("none/"), cwd=into), 3,
                       "no such file")
        lines = [line for line in server.text().splitlines()
                 if " warn unreadable " in line]
        for path in ("secret", "locked/file", "locked"):
            check(sum('path="%s"' % path in line and
                      "Permission denied" in line for line in lines) == 1,
                  "%s: %s" % (path, server.text()))
        check("none" not in "".join(lines), "noise: %r" % lines)
        with open(into + "/list", "w") as list_:
            list_.writelines("%s out=%d\n" % (server.url("secret"), k)
                             for k in range(200))
        began = time.monotonic()
        check_code(get("-q", "-i", "list", cwd=into), 3)
        told = server.text().count(" warn unreadable ")
        seconds = 2 + int(time.monotonic() - began)
        check(told <= 3 + 10 * os.cpu_count() * seconds, "%d lines" % told)


def belayd(*args):
    child = spawn([program("BELAYD"), *args], stdin=subprocess.DEVNULL,
                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    out, _ = child.communicate(timeout=30)
    return child.returncode, out.decode()


@case
def a_server_that_cannot_serve(into):
    """It says so at once, not request by request."""
    need_root()
    root = into + "/root"
    os.mkdir(root, 0o700)
    code, text = belayd("--root", root, "--user", "nobody", "--plain",
                        "--listen", "127.0.0.1:0")
    check(code == 1 and "cannot serve" in text and root in text and
          "Permission denied for user nobody" in text, text)
    for word, words in (("-p", "--listen ADDR:PORT"), ("--port=80",
                                                       "--listen ADDR:PORT"),
                        (root, "--root DIR"), ("--cert", "--tls-cert"),
                        ("--nonsense", "unknown option: --nonsense: try")):
        code, text = belayd(word)
        check(code == 2 and words in text and len(text.splitlines()) == 1,
              text)
    rules = into + "/rules"
    with open(rules, "w") as file:
        file.write("x y\n")
    for path, words in ((rules, "the file of --access, line 1: "),
                        (root, root + " is not a regular file")):
        code, text = belayd("--root", into, "--user", "root", "--plain",
                            "--listen", "127.0.0.1:0", "--access", path)
        check(code == 1 and words in text, text)


if __name__ == "__main__":
    main()
