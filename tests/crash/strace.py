"""The file-system calls of a real program, as strace saw them.

record() runs a command and returns its calls in the order in which they
began.  strace asks the kernel, so nothing that a library does by itself is
missed, and the program runs as always: with its sandbox, its threads and its
own C library.  Every call that can change a file system is in CALLS; whoever
reads the record has to know each of them (disk.py) or to refuse it.
"""

import copy
import os
import re

import harness
from harness import Failure

# All that changes names, bytes or attributes, or makes them durable, or opens
# a way to do so later.
CALLS = """
open openat openat2 creat open_by_handle_at mkdir mkdirat mknod mknodat rmdir
rename renameat renameat2 link linkat symlink symlinkat unlink unlinkat
write writev pwrite64 pwritev pwritev2 sendfile splice tee copy_file_range
truncate ftruncate fallocate mmap ioctl io_setup io_submit io_uring_setup
fsync fdatasync sync syncfs msync sync_file_range
chmod fchmod fchmodat fchmodat2 chown fchown fchownat lchown
utime utimes utimensat futimesat setxattr lsetxattr fsetxattr removexattr
lremovexattr fremovexattr setxattrat removexattrat chdir fchdir chroot
pivot_root mount umount2 move_mount file_setattr name_to_handle_at
""".split()

STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?')
PLACE = re.compile(r"<((?:\\x[0-9a-f]{2})*)>(\(deleted\))?")
BEGIN = re.compile(r"(\d+) +(\w+)\((.*)$")
RESUMED = re.compile(r"(\d+) +<\.\.\. (\w+) resumed>(.*)$")
END = re.compile(r"^(.*)\) += (0x[0-9a-f]+|-?\d+|\?)(.*)$")


def unhex(text):
    return bytes.fromhex(text.replace("\\x", ""))


class Call:
    """name, the arguments as text with §n for string n, `result`.  It began
    and ended at these lines of the record."""

    def __init__(self, name, begin):
        self.name, self.begin = name, begin
        self.end = self.result = self.args = None
        self.strings = []
        self.made = None  # the path of the descriptor that it gave

    def finish(self, text, line):
        found = END.match(text)
        if not found:
            raise Failure("unreadable record: " + text[:300])
        self.end = line
        result = found.group(2)
        self.result = None if result == "?" else int(result, 0)
        place = PLACE.search(found.group(3))
        self.made = place and os.fsdecode(unhex(place.group(1)))
        self.args = self._split(found.group(1))

    def later(self, lines):
        """The same, of a record that begins so many lines further down."""
        same = copy.copy(self)
        same.begin += lines
        same.end += lines
        return same

    def _keep(self, found):
        if found.group(2):
            raise Failure("a string of %s is cut off" % self.name)
        self.strings.append(unhex(found.group(1)))
        return "§%d" % (len(self.strings) - 1)

    def _split(self, text):
        args, depth, at = [], 0, 0
        text = STRING.sub(self._keep, text)
        for here, char in enumerate(text):
            if char in "[{(":
                depth += 1
            elif char in "]})":
                depth -= 1
            elif char == "," and depth == 0:
                args.append(text[at:here].strip())
                at = here + 1
        args.append(text[at:].strip())
        return args

    def __str__(self):
        return "%s(%s) = %s" % (self.name, ", ".join(
            re.sub(r"§(\d+)", lambda m: repr(
                self.strings[int(m.group(1))][:60]), PLACE.sub(
                lambda m: "<%s>" % os.fsdecode(unhex(m.group(1))), arg))
            for arg in self.args), self.result)

    # -- one argument.

    def has(self, k, word):
        return k < len(self.args) and word in re.split(r"\W", self.args[k])

    def number(self, k):
        return int(self.args[k], 0)

    def text(self, k):
        """A path as it was given."""
        return os.fsdecode(self.bytes(k))

    def bytes(self, k):
        """A buffer, or the buffers of a vector one behind the other."""
        return b"".join(self.strings[int(n)]
                        for n in re.findall(r"§(\d+)", self.args[k]))

    def place(self, k):
        """Where a descriptor leads, and whether that has no name any
        more."""
        found = PLACE.search(self.args[k])
        if not found:
            raise Failure("no path of a descriptor in %s" % self)
        return os.fsdecode(unhex(found.group(1))), bool(found.group(2))

    def path(self, k, dir_k=None, cwd=None):
        """A path argument, absolute."""
        base = self.place(dir_k)[0] if dir_k is not None else cwd
        return os.path.normpath(os.path.join(base, self.text(k)))


def parse(lines):
    """Calls that were made, successful or not, by the order they began."""
    calls, open_ones = [], {}
    for number, line in enumerate(lines):
        line = line.rstrip("\n")
        begun, resumed = BEGIN.match(line), RESUMED.match(line)
        if resumed:
            call, text = open_ones.pop(resumed.group(1))
            call.finish(text + resumed.group(3), number)
        elif begun:
            pid, name, text = begun.groups()
            call = Call(name, number)
            calls.append(call)
            if text.endswith(" <unfinished ...>"):
                open_ones[pid] = call, text[:-len(" <unfinished ...>")]
            else:
                call.finish(text, number)
        elif not re.match(r"\d+ +(\+\+\+|---) ", line):
            raise Failure("unreadable record: " + line[:300])
    return [call for call in calls if call.end is not None]


# strace of a sanitizer's program: it cannot look for leaks then.
SANITIZER = {"ASAN_OPTIONS": ":".join(filter(None, [
    os.environ.get("ASAN_OPTIONS"), "detect_leaks=0"]))}


def record(args, cwd, trace, env):
    """Run the client under strace; returns the run and its calls."""
    run = harness.Run(args, cwd, env={**SANITIZER, **env}, prefix=[
        "strace", "-f", "--seccomp-bpf", "-qq", "-y", "-xx", "-s", "16777216",
        "-o", trace, "-e", "signal=none",
        "-e", "trace=" + ",".join("?" + name for name in CALLS)]).wait()
    with open(trace) as lines:
        return run, parse(lines)
