#!/usr/bin/env python3
"""The configuration file: where it is found, what wins, and its faults."""

import os

from harness import (KI, Belayd, Run, case, check, check_code, check_one_line,
                     check_printable, get, library, main, names, write_random)

library(file=(write_random, 100 * KI))
NOWHERE = "belay+tcp://127.0.0.1:1/file"


def write(path, data):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(data)


def home(tmp, **env):
    return {"HOME": tmp, "XDG_CONFIG_HOME": "", **env}


def belay(tmp, env, *args):
    return Run(args, tmp, env=env).wait()


@case
def where_it_is(tmp):
    write(tmp + "/.config/belay/config", "directory = %s/one\n" % tmp)
    write(tmp + "/xdg/belay/config", "directory = %s/two\nquiet = yes\n" % tmp)
    write(tmp + "/third", "directory = %s/three\n" % tmp)
    for name in ("one", "two", "three", "four"):
        os.mkdir(tmp + "/" + name)
    xdg = home(tmp, XDG_CONFIG_HOME=tmp + "/xdg")
    with Belayd() as server:
        for target, env, args in (
                ("one", home(tmp), ()), ("two", xdg, ()),
                ("three", xdg, ("--config", tmp + "/third")),
                ("three", xdg, ("--config=" + tmp + "/third",)),
                ("four", xdg, ("-d", tmp + "/four")),
                (".", xdg, ("--no-config",))):
            run = get(*args, server.url(), cwd=tmp, env=env)
            check_code(run, 0)
            path = os.path.join(tmp, target, "file")
            check(os.path.exists(path), "not in " + target, run)
            check((run.err == "") == (target in ("two", "four")), "quiet",
                  run)
            os.unlink(path)
        # Nothing there, nothing said.
        check_code(get(server.url(), cwd=tmp + "/one",
                       env=home(tmp + "/one")), 0)


@case
def faults(tmp):
    path = tmp + "/my\u202econfig"
    for text, word in (("jobs = 3\nnonsense\n", ":2: expected NAME"),
                       ("output = x\n", ":1: there is no such setting"),
                       ("\n\njobs = 0\n", ":3: bad number of files 0"),
                       ("limit-rate = fast\n", ":1: bad size fast"),
                       ("progress = \u202e\n", ":1: bad progress mode"),
                       ("compress = on\n", ":1: expected yes or no"),
                       ("\0", ": it is not a text"),
                       ("#" * 70000, ": File too large")):
        write(path, text)
        run = get("--config", path, NOWHERE, cwd=tmp)
        check_one_line(run, 2, word)
        check_printable(run)
    # The command line is not blamed on the file, nor the file on it.
    write(path, "jobs = 3\n")
    run = get("--config", path, "-j", "0", NOWHERE, cwd=tmp)
    check_one_line(run, 2, "bad number of files 0")
    check("config" not in run.err, "blames the file", run)
    check_one_line(get("--config", "none", NOWHERE, cwd=tmp), 2,
                   "none: No such file")
    check_one_line(get(NOWHERE, "--config", cwd=tmp), 2, "needs a value")
    check(names(tmp) == [os.path.basename(path)], "litter")


@case
def the_command_line_wins(tmp):
    """What the file says gives way to what contradicts it on the line."""
    write(tmp + "/config", "no-clobber = yes\ndirectory = dir\n"
          "chunk-size = 64K\nif-changed = stop\nmax-size = 1M\n")
    with Belayd() as server:
        def run(*args):
            return get("--config", "config", *args, cwd=tmp)

        check_code(run(server.url()), 0)
        check(os.path.exists(tmp + "/dir/file"), "it is not in the directory")
        write(tmp + "/dir/file", "other")
        check_code(run(server.url()), 0)
        with open(tmp + "/dir/file") as file:
            check(file.read() == "other", "clobbered")
        check_code(run("--overwrite", server.url()), 0)
        check(os.path.getsize(tmp + "/dir/file") == 100 * KI, "not replaced")
        check(len(run("-o", "-", server.url()).out) == 100 * KI, "the output")
        check_code(run("-r", "-d", "all", server.url("")), 0)
        check(os.path.exists(tmp + "/all/file"), "no directory")
        # On the line it is a contradiction, as before.
        check_code(run("--no-clobber", "--overwrite", server.url()), 2)
        check_code(run("-r", "--chunk-size", "4K", server.url("")), 2)


@case
def other_commands(tmp):
    """Each command takes the settings that it has an option for, and no
    others: defaults of downloads do not change what a content id is."""
    env = home(tmp)
    path = tmp + "/.config/belay/config"
    with Belayd() as server:
        check_code(get(server.url(), cwd=tmp, env=env), 0)
        lines = (("ls", server.url("")), ("repair", "file", server.url()),
                 ("verify", "file", server.url()),
                 ("get", "-r", server.url(""), "-d", "all"))
        write(path, "token-file = %s/none\n" % tmp)
        for line in lines:
            check_one_line(belay(tmp, env, *line), 2, "token file", "none")
            check_code(belay(tmp, env, line[0], "--no-config", *line[1:]), 0)
        write(path, "jobs = 3\nchunk-size = 4K\nquiet = yes\nif-changed = stop"
                    "\nretry = 0\nprogress = none\nmax-size = 1G\n")
        for line in lines[:3]:
            run = belay(tmp, env, *line)
            check_code(run, 0)
            check(run.err == "", "not quiet", run)
        one = belay(tmp, env, "cid", "file")
        check(b"bl1-12-" not in one.out, "chunks of 4 KiB", one)
    write(path, "known-hosts = %s/hosts\n" % tmp)
    check_code(belay(tmp, env, "trust", "host", "sha256:" + 64 * "a"), 0)
    check("hosts" in names(tmp), "it is not there")
    write(path, "nonsense = 1\n")
    for line in lines + (("trust", "--forget", "host"),):
        check_one_line(belay(tmp, env, *line), 2, ":1: there is no such")


@case
def behind_the_options(tmp):
    """What stands behind -- is a URL, whatever it looks like."""
    run = get("--no-config", "--", "--no-config", cwd=tmp)
    check_one_line(run, 2, "bad URL --no-config")


if __name__ == "__main__":
    main()
