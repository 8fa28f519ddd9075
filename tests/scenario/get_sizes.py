#!/usr/bin/env python3
"""Files of every size and kind arrive whole, with time and mode, in the place
that was asked for, over any number of connections."""

import os
import stat

from harness import (GI, KI, MI, Belayd, case, check, check_code,
                     check_one_line, get, library, main, names, same,
                     same_sparse, scaled, shelf, write_random, write_sparse,
                     write_text)

C = 256 * KI  # what a server picks for small files
SIZES = (0, 1, 2, C - 1, C, C + 1, 2 * C - 1, 2 * C, 2 * C + 1, 4095, 4096,
         4097, 5 * MI + 77)
SPARSE = GI // 2 + 12345
TEXT = scaled(16, 2) * MI + 3

library(large=(write_random, scaled(24, 4) * MI + 1),
        middle=(write_random, 9 * MI + 5),
        text=(write_text, TEXT),
        sparse=(write_sparse, SPARSE, [0, 100 * MI + 17, SPARSE - 100 * KI]),
        **{"size%d" % n: (write_random, n, n + 1) for n in SIZES})


def source(name):
    return os.path.join(shelf(), name)


def fetch(server, name, into, *options, compare=same):
    run = get("-v", *options, server.url(name), cwd=into)
    check_code(run, 0, name)
    check(compare(source(name), os.path.join(into, name)),
          name + ": other bytes", run)
    check(names(into) == [name], "left over: %r" % names(into), run)
    os.unlink(os.path.join(into, name))
    return run


@case
def sizes_around_the_chunk(into):
    with Belayd() as server:
        for size in SIZES:
            fetch(server, "size%d" % size, into)
            fetch(server, "size%d" % size, into, "--chunk-size", "4K", "-x",
                  "3")


@case
def every_chunk_size(into):
    with Belayd() as server:
        for log2 in range(12, 23):
            fetch(server, "middle", into, "--chunk-size", str(1 << log2))


@case
def one_to_sixteen_connections(into):
    with Belayd() as server:
        for n in range(1, 17):
            run = fetch(server, "large", into, "-x", str(n))
            check(run.ledger["connections"] <= n, "more connections", run)


@case
def text_compressed(into):
    with Belayd() as server:
        run = fetch(server, "text", into, "-z")
        wire = run.ledger["on the wire"]
        check(wire < TEXT * 0.8, "%d of %d bytes on the wire with -z" %
              (wire, TEXT), run)
        run = fetch(server, "middle", into, "-z")


@case
def sparse(into):
    with Belayd() as server:
        run = get("-v", server.url("sparse"), cwd=into)
        check_code(run, 0)
        got = os.path.join(into, "sparse")
        check(same_sparse(source("sparse"), got), "other bytes", run)
        check(os.stat(got).st_blocks * 512 < 40 * MI,
              "the holes were filled", run)
        check(run.ledger["on the wire"] < 10 * MI, "holes on the wire", run)


def one_small_file(tmp, name="f"):
    """A tree of its own, for what a case does to it."""
    root, into = os.path.join(tmp, "root"), os.path.join(tmp, "into")
    os.mkdir(root)
    os.mkdir(into)
    return write_random(os.path.join(root, name), 70000), root, into


@case
def time_and_mode(tmp):
    path, root, into = one_small_file(tmp)
    got = os.path.join(into, "f")
    os.utime(path, ns=(1, 1234567890123456789))
    os.chmod(path, 0o6755)
    with Belayd(root) as server:
        check_code(get(server.url("f"), cwd=into), 0)
        st = os.stat(got)
        check(st.st_mtime_ns == 1234567890123456789, "time is not kept")
        check(st.st_mode & 0o7000 == 0, "setuid came from the network")
        check(stat.S_IMODE(st.st_mode) & ~0o755 == 0,
              "mode %o is wider than the server's" % st.st_mode)
        os.unlink(got)
        check_code(get("--no-remote-time", server.url("f"), cwd=into), 0)
        check(os.stat(got).st_mtime > 1500000000,
              "--no-remote-time kept the time")
        # The same command again has nothing to do, whatever the time says.
        check_code(get("--no-remote-time", server.url("f"), cwd=into), 0)


@case
def places(tmp):
    path, root, into = one_small_file(tmp, "c d")
    odd = "-odd\xe4\n\x1b[31m"
    write_random(os.path.join(root, odd), 5000)
    os.makedirs(os.path.join(into, "sub", "deep"))
    with Belayd(root) as server:
        url = server.url("c%20d")

        def to(where, *args):
            run = get(*args, cwd=into)
            check_code(run, 0, where)
            check(same(path, os.path.join(into, where)), where, run)
            os.unlink(os.path.join(into, where))

        to("c d", url)
        to("sub/c d", url, "-d", "sub")
        to("sub/c d", url, "-P", "sub/")
        to("sub/deep/x", url, "-d", "sub", "-o", "deep/x")
        to("sub/x", url, "-o", os.path.join(into, "sub/x"), "-d", "deep")
        to("./x", url, "-o", "./x")
        to("sub/x", url, "-o", "sub//x")
        to("-x", url, "-o", "-x")
        run = get(server.url("%2Dodd%C3%A4%0A%1B%5B31m"), cwd=into)
        check_code(run, 0)
        check(b"\x1b" not in run.raw_err, "escape of a file name", run)
        check(same(os.path.join(root, odd), os.path.join(into, odd)), "odd")
        check_code(get(url, "-d", "new/one", cwd=into), 0)
        check("c d" in names(os.path.join(into, "new/one")), "not there")
        check_one_line(get(url, "-o", "sub/", cwd=into), 2, "directory")


@case
def several_files(into):
    with Belayd() as server:
        urls = [server.url("size%d" % n) for n in (0, 1, 4097)]
        check_code(get(*urls, cwd=into), 0)
        check(names(into) == ["size0", "size1", "size4097"], "missing")
        os.unlink(os.path.join(into, "size1"))
        # One that is missing does not keep the others back; the worst
        # result decides, and what is there already costs nothing.
        run = get(server.url("nope"), *urls, cwd=into)
        check_code(run, 3)
        check(names(into) == ["size0", "size1", "size4097"],
              "stopped at the first", run)


if __name__ == "__main__":
    main()
