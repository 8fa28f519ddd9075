"""What a crash may leave of a directory tree, from a record of the calls that
changed it (strace.py).

The model is the one of RELIABILITY (d), and nothing beyond it is assumed: a
sync of a file makes its bytes and its size durable (fsync its mode and times,
too), a sync of a directory its names.  Of all else each change survives on its
own, whole, torn or not at all, whatever the order.  Four things hold, as on
any file system that can be mounted again: a rename in one directory is one
change; a file that is moved to another directory keeps one of its names; a
directory vanishes only after what was moved out of it; of two changes of the
same bytes or name, the later one is what shows.
"""

import collections
import os
import random
import re
import stat

from harness import Failure

ABSENT, WHOLE = 0, 1
NEVER = float("inf")
# Of the program that is recorded.
UMASK = 0o022


class Node:
    """A file, a directory or a symbolic link, by whatever names."""

    def __init__(self, kind, data=b"", mode=0o644, mtime=None, ino=None):
        self.kind = kind  # "file", "dir", "link"
        self.data = data
        self.mode = mode
        self.mtime = mtime  # ns; None: whenever it was written
        self.ino = ino      # in the directory that was recorded, if known
        self.size = len(data)  # as the program sees it
        self.names = {}     # ... of a directory
        self.first = {}     # ... before it began
        self.changes = []   # of this file, in order
        self.cache = {}     # its states, by the fates of these


class Change:
    """One change that survives on its own."""

    def __init__(self, what, nodes, call, fates=(ABSENT, WHOLE), **more):
        self.what = what
        self.nodes = nodes   # whose sync makes it durable
        self.begin, self.end = call.begin, call.end
        self.call = call
        self.fates = fates
        self.durable = NEVER  # the line of the record from which on it is
        self.needs = []       # changes without which it cannot survive
        self.__dict__.update(more)


# The ways a write can be torn: how much of it is there, what is not being
# what was there before, or zeros.
def first_half(old, new, at):
    cut = max(1, len(new) * 5 // 9)
    return old[:at] + new[:cut] + old[at + cut:]


def last_half(old, new, at):
    cut = len(new) // 2 & ~511
    return old[:at + cut].ljust(at + cut, b"\0") + new[cut:] + \
        old[at + len(new):]


def only_size(old, new, at):
    return old.ljust(at + len(new), b"\0")


TORN = {2: first_half, 3: last_half, 4: only_size}


class Disk:
    """A tree: what was there, and what the calls did."""

    def __init__(self, root, cwd):
        self.root, self.cwd = root, cwd
        self.changes = []
        self.nodes = []
        self.top = self._scan(root)

    def _scan(self, path):
        st = os.lstat(path)
        if stat.S_ISDIR(st.st_mode):
            node = Node("dir", mode=st.st_mode & 0o7777)
            for name in sorted(os.listdir(path)):
                node.names[name] = self._scan(os.path.join(path, name))
            node.first = dict(node.names)
        elif stat.S_ISLNK(st.st_mode):
            node = Node("link", os.readlink(path))
        elif st.st_nlink != 1:
            raise Failure("another name of " + path)
        else:
            with open(path, "rb") as file:
                node = Node("file", file.read(), st.st_mode & 0o7777,
                            st.st_mtime_ns, st.st_ino)
        self.nodes.append(node)
        return node

    # -- paths.

    def _inside(self, path):
        return path == self.root or path.startswith(self.root + "/")

    def _find(self, path):
        """The node at an absolute path inside, or None."""
        node = self.top
        for part in path[len(self.root):].strip("/").split("/"):
            if part and node is not None:
                node = node.names.get(part) if node.kind == "dir" else None
        return node

    def _parent(self, path, call):
        parent = self._find(os.path.dirname(path))
        if parent is None:
            raise Failure("the record does not fit: %s" % call)
        return parent, os.path.basename(path)

    def _of_fd(self, call, k):
        """The node behind a descriptor; None where it is not ours to know."""
        path, gone = call.place(k)
        if not self._inside(path):
            return None
        if gone:
            # Without a name from the beginning: no crash can show it.
            if re.fullmatch(r"#\d+", os.path.basename(path)):
                return None
            raise Failure("changes a file that has no name: %s" % call)
        node = self._find(path)
        if node is None:
            raise Failure("the record does not fit: %s" % call)
        return node

    # -- what each call does.

    def _add(self, *args, **more):
        change = Change(*args, **more)
        self.changes.append(change)
        for node in change.nodes:
            node.changes.append(change)
        return change

    def _enter(self, call, path, node):
        """A new name; what had it before loses it in the same step."""
        parent, name = self._parent(path, call)
        parent.names[name] = node
        return self._add("names", [parent], call, does=[(parent, name, node)])

    def _make(self, call, path, kind, data=b"", mode=0o644):
        node = Node(kind, data, mode)
        self.nodes.append(node)
        self._enter(call, path, node)

    def _write(self, call, node, at, data):
        if node is None or not data:
            return
        fates = [ABSENT, WHOLE, 2, 3] if len(data) > 1 else [ABSENT, WHOLE]
        if at + len(data) > node.size:
            fates.append(4)
        node.size = max(node.size, at + len(data))
        self._add("write", [node], call, fates, at=at, data=data)

    def _open(self, call, flags_k, mode_k):
        """Opening alone changes nothing; the kernel tells where it led."""
        path = call.made
        if not self._inside(path) or call.has(flags_k, "O_TMPFILE"):
            return
        node = self._find(path)
        if node is None and call.has(flags_k, "O_CREAT"):
            self._make(call, path, "file",
                       mode=int(call.args[mode_k], 8) & ~UMASK)
        elif node is not None and call.has(flags_k, "O_TRUNC"):
            self._resize(call, node, 0)

    def _resize(self, call, node, size):
        if node is not None:
            node.size = size
            self._add("size", [node], call, size=size)

    def _drop(self, call, path):
        if not self._inside(path):
            return
        parent, name = self._parent(path, call)
        node = parent.names.pop(name, None)
        if node is None:
            raise Failure("the record does not fit: %s" % call)
        change = self._add("names", [parent], call,
                           does=[(parent, name, None)])
        if node.kind == "dir":
            change.needs = [c for c in node.changes
                            if any(does[2] is None for does in c.does)]

    def _move(self, call, old, new):
        if not self._inside(old) and not self._inside(new):
            return
        a, from_name = self._parent(old, call)
        b, to_name = self._parent(new, call)
        node = a.names.get(from_name)
        if node is None:
            raise Failure("the record does not fit: %s" % call)
        if call.has(4, "RENAME_EXCHANGE"):
            raise Failure("not modelled: %s" % call)
        if a is b:
            del a.names[from_name]
            b.names[to_name] = node
            self._add("names", [a], call, does=[(a, from_name, None),
                                                (b, to_name, node)])
            return
        enter = self._enter(call, new, node)
        del a.names[from_name]
        leave = self._add("names", [a], call, does=[(a, from_name, None)])
        leave.needs = [enter]

    def _attrs(self, call, node, mode=None, mtime=None):
        if node is not None and (mode is not None or mtime is not None):
            self._add("attrs", [node], call, mode=mode, mtime=mtime)

    def _sync(self, call, node, attrs=True):
        for change in self.changes if node == "all" else \
                node.changes if node is not None else ():
            if change.end < call.begin and \
                    (attrs or change.what != "attrs"):
                self._lasts(change, call.end)

    def _lasts(self, change, line):
        if change.durable > line:
            change.durable = line
            for other in change.needs:
                self._lasts(other, line)

    def _apply(self, call):
        name = call.name
        if name in ("open", "openat"):
            k = 1 if name == "open" else 2
            self._open(call, k, k + 1)
        elif name == "openat2" and not call.has(2, "O_CREAT") and \
                not call.has(2, "O_TRUNC"):
            pass
        elif name in ("write", "writev", "sendfile", "splice",
                      "copy_file_range", "tee"):
            out_k = 2 if name in ("splice", "copy_file_range") else 0
            self._append(call, out_k)
        elif name in ("pwrite64", "pwritev", "pwritev2"):
            at = call.number(2 if name == "pwrite64" else 3)
            self._write(call, self._of_fd(call, 0), at,
                        call.bytes(1)[:call.result])
        elif name == "ftruncate":
            self._resize(call, self._of_fd(call, 0), call.number(1))
        elif name in ("rename", "renameat", "renameat2"):
            if name == "rename":
                self._move(call, call.path(0, cwd=self.cwd),
                           call.path(1, cwd=self.cwd))
            else:
                self._move(call, call.path(1, dir_k=0),
                           call.path(3, dir_k=2))
        elif name in ("unlink", "rmdir"):
            self._drop(call, call.path(0, cwd=self.cwd))
        elif name == "unlinkat":
            self._drop(call, call.path(1, dir_k=0))
        elif name in ("mkdir", "mkdirat"):
            k = 1 if name == "mkdirat" else 0
            path = call.path(k, dir_k=0) if k else call.path(0, cwd=self.cwd)
            if self._inside(path):
                self._make(call, path, "dir",
                           mode=int(call.args[k + 1], 8) & ~UMASK)
        elif name in ("symlink", "symlinkat"):
            path = call.path(2, dir_k=1) if name == "symlinkat" else \
                call.path(1, cwd=self.cwd)
            if self._inside(path):
                self._make(call, path, "link", call.text(0))
        elif name == "fchmod":
            self._attrs(call, self._of_fd(call, 0),
                        mode=int(call.args[1], 8))
        elif name == "utimensat" and call.args[1] == "NULL":
            found = re.search(r"\[UTIME_OMIT, \{tv_sec=(-?\d+), "
                              r"tv_nsec=(\d+)\}", re.sub(r" /\*.*?\*/", "",
                                                         call.args[2]))
            node = self._of_fd(call, 0)
            if node is not None and not found:
                raise Failure("not modelled: %s" % call)
            if node is not None:
                self._attrs(call, node, mtime=int(found.group(1)) * 10 ** 9 +
                            int(found.group(2)))
        elif name in ("fsync", "fdatasync"):
            self._sync(call, self._of_fd(call, 0), name == "fsync")
        elif name in ("sync", "syncfs"):
            self._sync(call, "all")
        else:
            self._ignore(call)

    def _append(self, call, out_k):
        """To sockets and pipes mostly; else behind what is there, as the
        programs never write otherwise without saying where."""
        path, gone = call.place(out_k)
        if not path.startswith("/") or not self._inside(path):
            return
        node = self._of_fd(call, out_k)
        if node is None:
            return
        if call.name not in ("write", "writev"):
            raise Failure("not modelled: %s" % call)
        self._write(call, node, node.size, call.bytes(1)[:call.result])

    def _ignore(self, call):
        """What changes nothing that we look at, or nothing at all."""
        if call.name == "mmap":
            harmless = call.args[4] == "-1" or \
                not call.has(2, "PROT_WRITE") or \
                not call.has(3, "MAP_SHARED") or \
                not self._inside(call.place(4)[0])
        elif call.name == "ioctl":
            harmless = not self._inside(call.place(0)[0])
        else:
            harmless = call.name == "sync_file_range"
        if not harmless:
            raise Failure("not modelled: %s" % call)

    def replay(self, calls, begin=0):
        """What these calls did, made from that line on of a record.  More may
        follow: another program that finds what the first one left."""
        for call in calls:
            if call.result is not None and call.result >= 0:
                self._apply(call if begin == 0 else call.later(begin))
        numbers = {id(c): k for k, c in enumerate(self.changes)}
        for node in self.nodes:
            node.numbers = [numbers[id(c)] for c in node.changes]
            node.cache = {}
        self.needs = [(k, [numbers[id(n)] for n in c.needs])
                      for k, c in enumerate(self.changes) if c.needs]

    def whole(self):
        """The state without a crash."""
        return self.state([WHOLE] * len(self.changes))

    def compare(self):
        """After all that the record has, the tree must be as it is."""
        state, seen = self.whole(), {}
        for folder, dirs, files in os.walk(self.root):
            for name in dirs + files:
                path = os.path.join(folder, name)
                st = os.lstat(path)
                seen[os.path.relpath(path, self.root)] = path, st
        for path in sorted(set(seen) | set(state.entries)):
            if path not in seen or path not in state.entries:
                raise Failure("%s: only in the %s" % (
                    path, "record" if path in state.entries else "directory"))
            real, st = seen[path]
            entry = state.entries[path]
            if entry.node.kind == "file":
                with open(real, "rb") as file:
                    if file.read() != entry.data:
                        raise Failure(path + ": the record has other bytes")
                if entry.mtime is not None and st.st_mtime_ns != entry.mtime \
                        and entry.node.ino is None:
                    raise Failure(path + ": the record has another time")
                if st.st_mode & 0o7777 != entry.mode:
                    raise Failure("%s: mode %o, in the record %o" % (
                        path, st.st_mode & 0o7777, entry.mode))
                entry.node.ino = st.st_ino

    # -- states.

    def state(self, fates):
        return State(self, fates)

    def epochs(self):
        """(durable, open): the changes that must have survived, and those
        that may, between two syncs; by their numbers.  What is possible at a
        moment is also possible just before the next sync ends."""
        moments = sorted({c.durable for c in self.changes} | {NEVER})
        for moment in moments:
            durable = [k for k, c in enumerate(self.changes)
                       if c.durable < moment]
            loose = [k for k, c in enumerate(self.changes)
                     if c.durable >= moment and c.begin < moment]
            yield durable, loose


Entry = collections.namedtuple("Entry", "node data mode mtime")


class State:
    """One tree that a crash may leave; entries by path from the root."""

    def __init__(self, disk, fates):
        self.fates = tuple(fates)
        self.entries = {}
        self._settle(disk, list(fates))
        names = {}
        for change, fate in zip(disk.changes, self.kept):
            if fate != ABSENT and change.what == "names":
                for parent, name, node in change.does:
                    names.setdefault(id(parent), dict(parent.first))[
                        name] = node
        self._walk(disk, disk.top, "", names)

    def _settle(self, disk, fates):
        """A change without what it needs is not there."""
        # What is needed came before, so one round will do.
        for k, needs in disk.needs:
            if any(fates[n] == ABSENT for n in needs):
                fates[k] = ABSENT
        self.kept = fates

    def _walk(self, disk, folder, path, names):
        for name, node in names.get(id(folder), folder.first).items():
            if node is None:
                continue
            below = path + name
            self.entries[below] = self._entry(node)
            if node.kind == "dir":
                self._walk(disk, node, below + "/", names)

    def _entry(self, node):
        mode, mtime, cache = node.mode, node.mtime, node.cache
        if node.kind != "file":
            return Entry(node, node.data, mode, None)
        key = tuple([self.kept[k] for k in node.numbers])
        if key not in cache:
            data = node.data
            for change, fate in zip(node.changes, key):
                if fate == ABSENT:
                    continue
                if change.what == "write":
                    data = written(data, change, fate)
                    mtime = None
                elif change.what == "size":
                    data = data[:change.size].ljust(change.size, b"\0")
                    mtime = None
                else:
                    mode = mode if change.mode is None else change.mode
                    mtime = mtime if change.mtime is None else change.mtime
            cache[key] = Entry(node, data, mode, mtime)
        return cache[key]

    def key(self):
        return tuple(sorted((path, id(e.node), hash(e.data), e.mode, e.mtime)
                            for path, e in self.entries.items()))

    def data(self, path):
        """The bytes under a name, or None."""
        entry = self.entries.get(path)
        return entry.data if entry is not None else None


def written(old, change, fate):
    at, new = change.at, change.data
    if fate == WHOLE:
        return old[:at].ljust(at, b"\0") + new + old[at + len(new):]
    return TORN[fate](old.ljust(at, b"\0") if fate == 2 else old, new, at)


# -- which states to look at --------------------------------------------------

def every(disk, durable, loose, seed, most):
    """Fates of all changes: whole prefixes with the last one torn as well,
    one missing, one alone, then a sample of everything; all of it where that
    is not more than `most`."""
    base = [ABSENT] * len(disk.changes)
    for k in durable:
        base[k] = WHOLE

    def build(chosen):
        fates = list(base)
        for k, fate in chosen.items():
            fates[k] = fate
        return fates

    total = 1
    for k in loose:
        total *= len(disk.changes[k].fates)
        if total > most:
            break
    if total <= most:
        for number in range(total):
            chosen = {}
            for k in loose:
                number, fate = divmod(number, len(disk.changes[k].fates))
                chosen[k] = disk.changes[k].fates[fate]
            yield build(chosen)
        return
    for n in range(len(loose) + 1):
        yield build({k: WHOLE for k in loose[:n]})
    for n, k in enumerate(loose):
        others = {j: WHOLE for j in loose if j != k}
        yield build(others)
        yield build({k: WHOLE})
        for fate in disk.changes[k].fates[2:]:
            yield build({**others, k: fate})
            yield build({**{j: WHOLE for j in loose[:n]}, k: fate})
    choose = random.Random(seed)
    for _ in range(most):
        likely = choose.random()
        yield build({k: choose.choice(disk.changes[k].fates[1:])
                     for k in loose if choose.random() < likely})
