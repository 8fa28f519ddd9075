#!/usr/bin/env python3
"""Lists: their form, what is wrong with them, what is chosen from them, and
what comes back as the list of failures."""

import os
import re
import subprocess

from harness import (KI, Belayd, case, check, check_code, check_one_line,
                     check_printable, get, library, lines_of, main, names,
                     same, sha256, shelf, write_random)

library(a=(write_random, 300 * KI, 1), b=(write_random, 30 * KI, 2),
        c=(write_random, 3, 3))


def write_list(into, *lines, end="\n", name="list"):
    with open(os.path.join(into, name), "w") as file:
        file.write("".join(line + end for line in lines))


def fetched(into, name, source):
    return same(os.path.join(into, name), os.path.join(shelf(), source))


@case
def one_list_only(tmp):
    run = get("-i", "a", "-i", "b", cwd=tmp)
    check_one_line(run, 2, "only one list")


@case
def every_field(into):
    with Belayd() as server:
        digest = sha256(os.path.join(shelf(), "b"))
        write_list(into, "# a comment", "", "  \t", server.url("a"),
                   "  %s out=\"two words\"\t dir=sub/deep" % server.url("b"),
                   '%s sha256=%s out="q\\"b\\\\s"\r' % (server.url("b"),
                                                        digest),
                   "%s checksum=sha256:%s out=there/c" % (
                       server.url("c"),
                       sha256(os.path.join(shelf(), "c")).upper()))
        run = get("-i", "list", "-d", "to", cwd=into)
        check_code(run, 0)
        check(fetched(into, "to/a", "a"), "a", run)
        check(fetched(into, "sub/deep/two words", "b"), "two words", run)
        check(fetched(into, 'to/q"b\\s', "b"), "quotes", run)
        check(fetched(into, "to/there/c", "c"), "c", run)
        check("4 of 4 files fetched" in run.err, "summary", run)


@case
def from_standard_input_and_operands(into):
    with Belayd() as server:
        write_list(into, "%s\nout=x" % server.url("a"), server.url("b"),
                   "#c", end="\0")
        with open(os.path.join(into, "list")) as file:
            run = get("-i", "-", "--from0", server.url("c"), cwd=into,
                      stdin=file)
        # With --from0 there are no comments.
        check_code(run, 2)
        check("standard input:3" in run.err, "its place", run)
        check(names(into) == ["list"], "something was fetched", run)
        write_list(into, "%s\nout=x" % server.url("a"), server.url("b"),
                   end="\0")
        with open(os.path.join(into, "list")) as file:
            run = get("--files-from=-", "--from0", server.url("c"), cwd=into,
                      stdin=file)
        check_code(run, 0)
        check(names(into) == ["b", "c", "list", "x"], "names", run)


@case
def wrong_lines(into):
    """Each is told with its number, and nothing is fetched."""
    with Belayd() as server:
        url = server.url("a")
        wrong = ["http://example.org/x", url + " foo", url + " foo=bar",
                 url + ' out="x', url + ' out="\\x"', url + " out=",
                 url + " sha256=12", url + " out=x out=y",
                 server.url(""), "=x", "\"\"", url + " out=\x1b[31m\x01 x",
                 "x" * 40000, url + " \0"]
        write_list(into, server.url("b"), *wrong)
        run = get("-i", "list", cwd=into)
        check_code(run, 2)
        check_printable(run)
        told = [int(n) for n in re.findall(r"^belay: list:(\d+): \S", run.err,
                                           re.M)]
        check(told == list(range(2, 2 + len(wrong))), "lines %r" % told, run)
        check("nothing was fetched" in run.err, "the last word", run)
        check(names(into) == ["list"], "something was fetched", run)
        run = get("-i", "none", cwd=into)
        check_code(run, 2)
        check("No such file" in run.err, "a list that is not there", run)
        run = get("-i", ".", cwd=into)
        check_code(run, 2)


@case
def one_target_twice(into):
    with Belayd() as server:
        write_list(into, server.url("a"), server.url("b"),
                   server.url("c") + " out=./sub//../a",
                   server.url("c") + " out=.//a")
        run = get("-i", "list", cwd=into)
        check_code(run, 2)
        check("lines 1 and 4" in run.err, "which lines", run)
        check(names(into) == ["list"], "something was fetched", run)
        # The very same entry twice is one.
        write_list(into, server.url("a"), server.url("b"), server.url("a"))
        run = get("-i", "list", server.url("b"), cwd=into)
        check_code(run, 0)
        check("2 of 2 files" in run.err, "summary", run)
        run = get(server.url("a"), server.url("b") + "?", "-d", "x",
                  cwd=into)
        check_code(run, 2)


@case
def include_and_exclude(into):
    with Belayd() as server:
        write_list(into, *(server.url(n) for n in "abc"))
        for options, want in ((["--include", "[ab]"], "ab"),
                              (["--exclude", "a"], "bc"),
                              (["--include", "/a", "--include=c",
                                "--exclude", "?", "--exclude", "x"], ""),
                              (["--include", "x/*"], "")):
            into2 = os.path.join(into, "to%d" % len(names(into)))
            os.mkdir(into2)
            run = get("-i", "../list", *options, cwd=into2)
            check_code(run, 0, repr(options))
            check("".join(names(into2)) == want, "%r: %r" % (
                options, names(into2)), run)


@case
def failures_come_back(into):
    with Belayd() as server:
        pin = "#bl1-18-" + "0" * 64
        write_list(into, server.url("a") + " out=\"x y\"",
                   server.url("none") + " dir=sub", server.url("b") + pin)
        run = get("-i", "list", "-d", "to", "--failed", "failed", cwd=into)
        check_code(run, 4)
        with open(os.path.join(into, "failed")) as file:
            text = file.read()
        entries = [line for line in text.splitlines() if line[0] != "#"]
        check(sorted(entries) == sorted([
            server.url("b") + pin + " dir=to",
            server.url("none") + " dir=sub"]), "failed: " + text, run)
        check(re.search(r"^# refused \(permanent\): ", text, re.M) and
              re.search(r"^# wrong-content \(permanent\): ", text, re.M),
              "reasons: " + text, run)
        # Heal one of them, and feed the list back.
        subprocess.run(["sed", "-i", "s/%s//" % pin,
                        os.path.join(into, "failed")], check=True)
        run = get("-i", "failed", "--failed", "again", cwd=into)
        check_code(run, 3)
        check(fetched(into, "to/b", "b"), "b", run)
        with open(os.path.join(into, "again")) as file:
            check(file.read().splitlines()[1:] ==
                  [server.url("none") + " dir=sub"], "again", run)
        run = get("-i", "list", "-d", "to", "--include", "a", "--failed",
                  "nothing", cwd=into)
        check_code(run, 0)
        check(os.path.getsize(os.path.join(into, "nothing")) == 0,
              "nothing failed", run)
    run = get(server.url("a"), "--failed", "/dev/full", "-o", "new",
              cwd=into)
    check_code(run, 5)
    check("could not be written" in run.err, "a full disk", run)


@case
def many_into_what_is_no_directory(into):
    """Too many to go alone, and nothing can begin: each says why, once."""
    with open(os.path.join(into, "file"), "w"):
        pass
    with Belayd() as server:
        lines = [server.url("c") + " out=c%d" % k for k in range(40)]
        write_list(into, *lines)
        run = get("-i", "list", "-d", "file", "--failed", "failed", cwd=into)
        check_code(run, 5)
        with open(os.path.join(into, "failed")) as file:
            text = file.read()
        check(text.count("# disk ") == len(lines) and
              all(line + " dir=file\n" in text for line in lines),
              "failed: " + text, run)
        check("0 of 40 files fetched" in run.err, "summary", run)


@case
def dry_run(into):
    with Belayd() as server:
        write_list(into, *(server.url(n) for n in ("a", "b", "none")))
        check_code(get(server.url("b"), cwd=into), 0)
        before = names(into)
        run = get("-n", "-i", "list", "-d", ".", cwd=into)
        check_code(run, 3)
        check("a: would be fetched: 300.00 KiB" in run.err, "a", run)
        check("b: already there" in run.err, "b", run)
        check("none: the server refuses: no such file" in run.err, "none", run)
        check(names(into) == before, "it changed something", run)
        os.truncate(os.path.join(into, "b"), 7)
        run = get("-n", "--overwrite", server.url("b"), cwd=into)
        check_code(run, 0)
        check("would be fetched" in run.err, "replaced", run)
        check(os.path.getsize(os.path.join(into, "b")) == 7, "it did", run)
        run = get("-n", "-o", "-", server.url("a"), cwd=into)
        check_code(run, 0)
        check(run.out == b"" and "would be fetched" in run.err, "output",
              run)


@case
def nothing_to_do(into):
    with Belayd() as server:
        write_list(into, server.url("a"), server.url("b"))
        check_code(get("-i", "list", "--error-on-nothing", cwd=into), 0)
        check_code(get("-i", "list", cwd=into), 0)
        run = get("-i", "list", "--error-on-nothing", cwd=into)
        check_code(run, 12)
        check("2 already there" in run.err, "summary", run)
        write_list(into, "# nothing")
        check_code(get("-i", "list", cwd=into), 0)
        check_code(get("-i", "list", "--error-on-nothing", cwd=into), 12)


@case
def digests_of_what_is_there(into):
    """Small files with digests: the right one is recognized, a wrong one of
    the same size is not taken for it."""
    with Belayd() as server:
        digest = sha256(os.path.join(shelf(), "b"))
        write_list(into, *("%s sha256=%s out=to/%d" % (
            server.url("b"), digest, n) for n in range(12)))
        run = get("-i", "list", cwd=into)
        check_code(run, 0)
        run = get("-i", "list", cwd=into)
        check_code(run, 0)
        check("12 already there" in run.err, "summary", run)
        with open(os.path.join(into, "to/5"), "r+b") as file:
            file.seek(29 * KI)
            file.write(b"else")
        run = get("-i", "list", cwd=into)
        check(run.code != 0, "a wrong file was taken for the right one", run)
        check("1 failed" in run.err, "summary", run)
        run = get("-i", "list", "--overwrite", cwd=into)
        check_code(run, 0)
        check(fetched(into, "to/5", "b"), "not replaced", run)


@case
def options_that_fight(into):
    for args in (["--from0", "belay+tcp://h/x"], ["-i", "x", "-o", "y"],
                 ["-i", "x", "--sha256", "0" * 64], ["-j", "0", "x"],
                 ["-j", "65", "x"], ["--stop-at", "25:00", "x"],
                 ["--stop-at", "12", "x"], ["--speed-limit", "x", "x"], []):
        run = get(*args, cwd=into)
        check_code(run, 2, repr(args))
        check(len(lines_of(run)) == 2, "%r: not one line" % args, run)


if __name__ == "__main__":
    main()
