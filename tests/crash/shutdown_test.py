#!/usr/bin/env python3
"""shutdown_test.py DRIVER FS: real crashes of a real file system.

The driver downloads versions of a file, again and again, onto a file system on
a loop device; at a random moment the machine "loses power":

  shutdown  the file system is shut down (ioctl FS_IOC_SHUTDOWN, mostly without
            flushing the log), unmounted and mounted again: ext4 and xfs
  snapshot  the image is cloned in one step while the file system is at work,
            and the clone takes its place: all others; with CRASH_WAY=snapshot
            these two as well

The final name must then hold one whole version or be absent before the first,
and what was reported as done must be there (C2, C3, P1, P2).  With BELAY and
BELAYD in the environment the same is done to `belay get -r` of many small
files, which share their syncs: each name is right or absent (C12).

Needs root, a loop device, a kernel that knows FS and its mkfs; ends with 77
(skipped) without them.  A snapshot needs xfs, too, since its clones are one
step.  CRASH_COUNT: crashes (20; 500 with BELAY_LONG).  CRASH_SEED.  With
BELAY_LONG a driver that does not sync is tried as well: it must be caught.
"""

import contextlib
import fcntl
import os
import random
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time

CHUNK = 4096
SIZE = 200 * CHUNK + 100
SEED = 7
SHUTDOWN = 0x8004587D
FICLONE = 0x40049409
MKFS = {
    "ext4": ["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,nodiscard"],
    "xfs": ["mkfs.xfs", "-q", "-f", "-K"],
    "btrfs": ["mkfs.btrfs", "-q", "-f", "-K"],
}
CAN_SHUT_DOWN = {"ext4", "xfs"}
IMAGE_SIZE = 512 << 20
LONG = bool(os.environ.get("BELAY_LONG"))
CRASHES = 500 if LONG else 20


def content(version):
    """The bytes of scenario_content() in scenario.c."""
    state = SEED
    out = bytearray(SIZE)
    for i in range(SIZE):
        state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
        out[i] = state >> 24 ^ (version if i // CHUNK % 2 else 0)
    return bytes(out)


def skip(text):
    print(text)
    sys.exit(77)


def run(*command):
    return subprocess.run(command, capture_output=True).returncode == 0


def unmount(place):
    for _ in range(200):
        if run("umount", place):
            return
        time.sleep(0.05)
    sys.exit("cannot unmount " + place)


class Disk:
    """An image, its mount point, and the way to crash it."""

    def __init__(self, base, kind):
        self.image = os.path.join(base, "image")
        self.place = os.path.join(base, "mnt")
        os.mkdir(self.place)
        with open(self.image, "wb") as image:
            image.truncate(IMAGE_SIZE)
        if not run(*MKFS[kind], self.image) or not self.mount():
            skip(f"no {kind} on a loop device here")

    def mount(self):
        return run("mount", "-o", "loop", self.image, self.place)

    def close(self):
        unmount(self.place)

    def crash(self, end, choose):
        """end() ends what is at work."""
        fd = os.open(self.place, os.O_RDONLY)
        fcntl.ioctl(fd, SHUTDOWN, struct.pack("I", choose.choice([1, 2, 2])))
        os.close(fd)
        end()
        unmount(self.place)
        if not self.mount():
            sys.exit("cannot mount again")


class Cloned(Disk):
    """The same on a file system that can clone a file in one step."""

    def __init__(self, base, kind):
        self.below = os.path.join(base, "below")
        store = os.path.join(base, "store")
        os.mkdir(self.below)
        with open(store, "wb") as image:
            image.truncate(4 * IMAGE_SIZE)
        if not run(*MKFS["xfs"], "-m", "reflink=1", store) or \
                not run("mount", "-o", "loop", store, self.below):
            skip("no xfs on a loop device here, for the clones")
        try:
            super().__init__(self.below, kind)
        except SystemExit:
            unmount(self.below)
            raise

    def close(self):
        super().close()
        unmount(self.below)

    def crash(self, end, choose):
        clone = os.path.join(self.below, "clone")
        with open(self.image, "rb") as old, open(clone, "wb") as new:
            fcntl.ioctl(new.fileno(), FICLONE, old.fileno())
        end()
        unmount(self.place)
        os.rename(clone, self.image)
        if not self.mount():
            sys.exit("cannot mount the clone")


def download(driver, disk, version):
    return [*driver[:1], disk.place, "f", str(SIZE), str(SEED), str(version),
            *driver[1:]]


def crash_once(command, disk, choose, span):
    """Start a download, crash within `span` seconds; true if it was reported
    as done before."""
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL)

    def end():
        child.kill()
        child.wait()

    time.sleep(choose.random() * span)
    done = child.poll() == 0
    disk.crash(end, choose)
    return done


def check(disk, versions, done):
    """The version (1, 2) under the final name, or 0 where it is absent."""
    try:
        with open(os.path.join(disk.place, "f"), "rb") as file:
            data = file.read()
    except FileNotFoundError:
        if done:
            sys.exit("a finished file is gone")
        return 0
    for version, bytes_ in versions.items():
        if data == bytes_:
            return version
    sys.exit("wrong bytes under the final name")


def torture(driver, disk, crashes, choose):
    versions = {1: content(1), 2: content(2)}
    wanted, have, finished = 1, 0, 0
    span = 0.1
    for _ in range(crashes):
        done = crash_once(download(driver, disk, wanted), disk, choose,
                          span)
        # Two of five runs come to their end, however fast this
        # machine is.
        span *= 0.7 if done else 1.3
        found = check(disk, versions, done)
        if done and found != wanted or have and not found:
            sys.exit(f"version {wanted} was done, {found} is there")
        have = found
        if found == wanted:
            finished += 1
            wanted = 3 - wanted
    if not run(*download(driver, disk, wanted)):
        sys.exit("the last run does not heal")
    if check(disk, versions, True) != wanted or len(
            set(os.listdir(disk.place)) - {"lost+found"}) != 1:
        sys.exit("wrong end or leftovers")
    print(f"{crashes} crashes, {finished} files finished")
    if finished == 0 or finished == crashes:
        sys.exit("the crashes came all too early or all too late")


# -- many small files ---------------------------------------------------------

FILES = 300


def make_tree(root):
    """{name: content}"""
    source = random.Random(SEED)
    files = {}
    for k in range(FILES):
        name = "%d/%d" % (k % 7, k)
        files[name] = source.randbytes(source.choice([0, 1, 900, 5000, 20000]))
        os.makedirs(os.path.join(root, os.path.dirname(name)), exist_ok=True)
        with open(os.path.join(root, name), "wb") as file:
            file.write(files[name])
    return files


@contextlib.contextmanager
def server(base):
    """belayd: its port, and the files that it serves."""
    root = os.path.join(base, "root")
    files = make_tree(root)
    with open(os.path.join(base, "log"), "w+") as log:
        child = subprocess.Popen(
            [os.environ["BELAYD"], "--plain", "--listen", "127.0.0.1:0",
             "--root", root, "--user", "root"], stdout=log, stderr=log)
        try:
            for _ in range(2000):
                with open(log.name) as text:
                    found = re.search(r"listening on .*:(\d+)\b", text.read())
                if found or child.poll() is not None:
                    break
                time.sleep(0.01)
            if not found:
                sys.exit("belayd does not listen")
            yield int(found.group(1)), files
        finally:
            child.terminate()
            child.wait()


def check_tree(into, files, done):
    """How many of the files are there."""
    count = 0
    for name, data in files.items():
        try:
            with open(os.path.join(into, name), "rb") as file:
                if file.read() != data:
                    sys.exit("wrong bytes under the name " + name)
            count += 1
        except FileNotFoundError:
            if done:
                sys.exit("a finished file is gone: " + name)
    return count


def left_behind(into, files):
    return {os.path.relpath(os.path.join(at, name), into)
            for at, _, names in os.walk(into) for name in names} - set(files)


def torture_tree(disk, port, files, crashes, choose):
    into = os.path.join(disk.place, "tree")
    command = [os.environ["BELAY"], "get", "--no-config", "-q", "-r", "-d",
               into, "belay+tcp://127.0.0.1:%d/" % port]
    span, finished, some = 0.4, 0, 0
    for _ in range(crashes):
        done = crash_once(command, disk, choose, span)
        span *= 0.7 if done else 1.3
        some += 0 < check_tree(into, files, done) < FILES
        if done:
            finished += 1
            shutil.rmtree(into)
    if not run(*command):
        sys.exit("the last run does not heal")
    check_tree(into, files, True)
    if left_behind(into, files):
        sys.exit("left behind: %r" % left_behind(into, files))
    print(f"{crashes} crashes, {finished} trees finished, {some} in parts")


def check_that_it_finds(driver, disk, choose):
    try:
        torture(driver, disk, 100, choose)
    except SystemExit as found:
        print("a driver that does not sync is caught:", found)
        return
    sys.exit("a driver that does not sync is not caught")


def main():
    driver, kind = sys.argv[1:]
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        skip("needs root and unshare")
    if os.environ.get("CRASH_UNSHARED") is None:
        if not run("unshare", "-m", "true"):
            skip("needs a mount namespace of its own")
        os.environ["CRASH_UNSHARED"] = "1"
        os.execvp("unshare", ["unshare", "-m", "--propagation", "private",
                              sys.executable, *sys.argv])
    clone = kind not in CAN_SHUT_DOWN or \
        os.environ.get("CRASH_WAY") == "snapshot"
    for needed in {kind, "xfs"} if clone else {kind}:
        if shutil.which(MKFS[needed][0]) is None:
            skip(f"no {MKFS[needed][0]}")
    choose = random.Random(int(os.environ.get("CRASH_SEED", "1")))
    base = tempfile.mkdtemp(prefix="belay-shutdown-")
    try:
        with contextlib.closing((Cloned if clone else Disk)(base, kind)) as d:
            count = int(os.environ.get("CRASH_COUNT", CRASHES))
            torture([driver], d, count, choose)
            os.unlink(os.path.join(d.place, "f"))
            if "BELAYD" in os.environ:
                with server(base) as (port, files):
                    torture_tree(d, port, files, max(count // 3, 1), choose)
                shutil.rmtree(os.path.join(d.place, "tree"))
            if LONG:
                check_that_it_finds([driver, "nosync"], d, choose)
    finally:
        shutil.rmtree(base)


if __name__ == "__main__":
    main()
