#!/usr/bin/env python3
"""H15: a tree of 10^7 entries, of depth 10^4, names twice, a file and a
directory of one name, names equal but for case, a link and then a file below
it: the caps hold, and nothing is written through a link."""

import os

from peer import R, borrow, case, check, get, main, names, scenario

dir_hostile = borrow("dir_hostile")
scenario("dir_hostile", "out_of_order_and_twice", "endless_depth",
         "endless_list", "other_bytes_than_promised",
         "what_stands_in_the_way")


def serve_pages(pages):
    """Listings by path; what is opened is always the good file."""
    class Pages(dir_hostile.lying([])):
        def do_list(self, message, ident):
            self.send("ENTRIES", ident, {"entries": [
                dir_hostile.entry(*row) for row in
                pages.get(message.fields["path"], [])]}, end=True)

        def do_open(self, message, ident):
            message.fields["path"] = b"good"
            return super().do_open(message, ident)
    return Pages


def fetch(tmp, pages, *more):
    src, inner = dir_hostile.scene(tmp)
    with dir_hostile.server(serve_pages(pages), src) as peer:
        run = get("-r", *more, "--retry", "2", peer.url(""), "-d", "out",
                  cwd=inner)
    # What was made for nothing does not stay.
    check(names(inner) in ([], ["out"]) and
          names(os.path.dirname(inner)) == ["inner"], "outside", run)
    return run, inner


LINK, DIR = R.FILE_SYMLINK, R.FILE_DIRECTORY


@case
def file_and_directory_of_one_name(tmp):
    """A listing names each once; the second ends the connection."""
    run, inner = fetch(tmp, {b"": [(b"a", R.FILE_REGULAR), (b"a", DIR, 0)],
                             b"a": [(b"x",)]})
    check(run.code in (4, 8, 75), "exit code", run)


@case
def a_link_and_a_file_below_it(tmp):
    """The link is made, or not; what lies below it comes to nothing else."""
    target = [(R.TLV_LINK_TARGET, b"real")]
    for rows in ([(b"l", LINK, 0, target), (b"l/x",)],
                 [(b"l", LINK, 0, target), (b"l\0x",)]):
        src, inner = dir_hostile.scene(os.path.join(tmp, str(len(rows[1][0])
                                                             + rows[1][0][1])))
        os.makedirs(inner + "/out/real")
        with dir_hostile.server(serve_pages({b"": rows}), src) as peer:
            run = get("-r", "--links", "--retry", "2", peer.url(""), "-d",
                      "out", cwd=inner)
        check(names(inner + "/out/real") == [], "through the link", run)


@case
def a_link_that_was_a_directory(tmp):
    """Listed as a directory, and a link stands there: not followed."""
    src, inner = dir_hostile.scene(tmp)
    os.makedirs(inner + "/out")
    os.makedirs(inner + "/away")
    os.symlink("../away", inner + "/out/d")
    with dir_hostile.server(serve_pages({b"": [(b"d", DIR, 0)],
                                         b"d": [(b"x",)]}), src) as peer:
        run = get("-r", "--retry", "2", peer.url(""), "-d", "out", cwd=inner)
    check(run.code != 0 and names(inner + "/away") == [],
          "through the link", run)


@case
def names_equal_but_for_case(tmp):
    """On a file system that tells them apart both come; elsewhere one of them
    is refused. Neither is mixed up."""
    run, inner = fetch(tmp, {b"": [(b"README",), (b"Readme",),
                                   (b"readme",)]})
    left = names(inner + "/out") if run.code == 0 else []
    check(run.code == 0 and len(left) == 3 or run.code != 0, "files", run)
    for name in left:
        with open(os.path.join(inner, "out", name), "rb") as file:
            check(file.read() == b"good\n", "bytes of " + name, run)


if __name__ == "__main__":
    main()
