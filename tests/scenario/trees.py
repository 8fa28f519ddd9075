"""Directory trees for the scenarios about directories."""

import os
import random
import stat
import time

from harness import KI, MI, check, scaled


def make(top, dirs=20, files=30, seed=1, large=0):
    """A tree of small files, some of them empty, with modes and times."""
    source = random.Random(seed)
    os.makedirs(top, exist_ok=True)
    for d in range(dirs):
        where = os.path.join(top, "d%03d" % d, *["n"] * (d % 3))
        os.makedirs(where, exist_ok=True)
        for f in range(files):
            path = os.path.join(where, "f%04d" % f)
            size = source.choice([0, 1, 100, 4 * KI, 4 * KI + 1, 20 * KI])
            with open(path, "wb") as out:
                out.write(source.randbytes(size))
            os.chmod(path, source.choice([0o644, 0o600, 0o755, 0o440]))
    for k in range(large):
        with open(os.path.join(top, "large%d" % k), "wb") as out:
            out.write(source.randbytes(MI + 3 * KI + k))
    return rest(top)


def rest(top):
    """Give everything in the tree a time in the past, and wait until the
    server's view of it is strong."""
    then = 1_600_000_000
    for base, dirs, files in os.walk(top, topdown=False):
        for k, name in enumerate(sorted(dirs + files)):
            path = os.path.join(base, name)
            if not os.path.islink(path):
                os.utime(path, ns=(then * 10**9,
                                   (then + 7 * k) * 10**9 + 123456789))
    time.sleep(2.1)
    return top


def picture(top, times=True):
    """What is in a tree: path, type, mode, time, contents."""
    found = {}
    for base, dirs, files in os.walk(top):
        for name in dirs + files:
            path = os.path.join(base, name)
            st = os.lstat(path)
            what = [stat.S_IFMT(st.st_mode)]
            if stat.S_ISLNK(st.st_mode):
                what.append(os.readlink(path))
            else:
                what += [st.st_mode & 0o777, times and st.st_mtime_ns]
            if stat.S_ISREG(st.st_mode):
                with open(path, "rb") as file:
                    what.append(file.read())
            found[os.path.relpath(path, top)] = tuple(what)
    return found


def same(a, b, run=None, times=True):
    one, two = picture(a, times), picture(b, times)
    for path in sorted(set(one) | set(two)):
        if one.get(path) != two.get(path):
            check(False, "%s differs: %.120r, %.120r" %
                  (path, one.get(path), two.get(path)), run)


def count(top):
    return sum(len(files) for _, _, files in os.walk(top))


FILES = scaled(60, 6)
