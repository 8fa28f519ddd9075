#!/usr/bin/env python3
"""Directories in round trips: how often the client has to wait for an answer
before it can go on, counted and not timed (see turns.py). It is a handful,
whatever the number of files and directories."""

import os

import trees
from harness import Belayd, Run, case, check, check_code, get, library, \
    main, scaled, shelf, start
from turns import Turns

FILES = scaled(2500, 600)
IN_ONE = 25


def make(top, per_directory):
    for k in range(FILES):
        where = os.path.join(top, "d%04d" % (k // per_directory))
        if k % per_directory == 0:
            os.makedirs(where)
        with open("%s/f%05d" % (where, k), "wb") as out:
            out.write(b"%d" % k)


library(flat=(make, FILES), wide=(make, IN_ONE))


def check_turns(link, most, run):
    """Measured are 3 to 5; a turn for each window of requests, page or
    directory would be far more, and some more are for a crowded machine."""
    check_code(run.wait(), 0)
    check(0 < link.count <= most, "%d round trips, at most %d" %
          (link.count, most), run)


@case
def first_runs_and_reruns(tmp):
    for name in ("flat", "wide"):
        src, out = os.path.join(shelf(), name), os.path.join(tmp, name)
        with Belayd(src) as server:
            with Turns(server) as link:
                run = link.of(start("-r", "-d", out, link.url(""), cwd=tmp))
                check_turns(link, 12, run)
            trees.same(src, out, run)
            with Turns(server) as link:
                run = link.of(start("-r", "-d", out, link.url(""), cwd=tmp))
                check_turns(link, 8, run)
            check("0 files fetched (0 B), %d there already" % FILES in
                  run.err, "totals", run)
            # A rerun costs the listing and nothing else.
            listing = Run(["ls", "-r", "--json", server.url("")], tmp).wait()
            check_code(listing, 0)
            again = get("-r", "--json", "-d", out, server.url(""), cwd=tmp)
            wire = int(again.out.rsplit(b'"wire":', 1)[1].split(b",")[0])
            check(wire < 1000, "%d bytes besides the listing" % wire, again)


@case
def listings(tmp):
    for name in ("flat", "wide"):
        with Belayd(os.path.join(shelf(), name)) as server, \
                Turns(server) as link:
            run = link.of(Run(["ls", "-r", link.url("")], tmp))
            check_turns(link, 8, run)
            check(run.out.count(b"f") == FILES, "names", run)


if __name__ == "__main__":
    main()
