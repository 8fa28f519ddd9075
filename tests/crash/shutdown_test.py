#!/usr/bin/env python3
"""shutdown_test.py DRIVER: real crashes of a real file system.

The driver downloads versions of a file, again and again, onto a file system on
a loop device; at a random moment the file system is shut down as a power loss
would (ioctl FS_IOC_SHUTDOWN without flushing the log), unmounted and mounted
again.  The final name must then hold one whole version or be absent before the
first, and what was reported as done must be there (C2, P1, P2).

Needs root, a loop device and mkfs; ends with 77 (skipped) without them.
CRASH_COUNT: crashes (60).  CRASH_SEED.  CRASH_FS: ext4 or xfs (ext4).
"""

import fcntl
import os
import random
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
MKFS = {
    "ext4": ["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,nodiscard"],
    "xfs": ["mkfs.xfs", "-q", "-f", "-K"],
}


def content(version):
    """The bytes of scenario_content() in scenario.c."""
    state = SEED
    out = bytearray(SIZE)
    for i in range(SIZE):
        state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
        out[i] = state >> 24 ^ (version if i // CHUNK % 2 else 0)
    return bytes(out)


def run(*command):
    return subprocess.run(command, capture_output=True).returncode == 0


class Disk:
    """An image, its mount point, and the way to crash it."""

    def __init__(self, base, kind):
        self.image = os.path.join(base, "image")
        self.place = os.path.join(base, "mnt")
        os.mkdir(self.place)
        with open(self.image, "wb") as image:
            image.truncate(512 << 20)
        if not run(*MKFS[kind], self.image) or not self.mount():
            print(f"no {kind} on a loop device here")
            sys.exit(77)

    def mount(self):
        return run("mount", "-o", "loop", self.image, self.place)

    def unmount(self):
        for _ in range(50):
            if run("umount", self.place):
                return
            time.sleep(0.05)
        sys.exit("cannot unmount")

    def shut_down(self, flag):
        fd = os.open(self.place, os.O_RDONLY)
        fcntl.ioctl(fd, SHUTDOWN, struct.pack("I", flag))
        os.close(fd)


def crash_once(driver, disk, version, choose):
    """Start a download, crash; true if it was reported as done before."""
    child = subprocess.Popen(
        [driver, disk.place, "f", str(SIZE), str(SEED), str(version)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(choose.random() ** 2 * 0.08)
    done = child.poll() == 0
    disk.shut_down(choose.choice([1, 2, 2]))
    child.wait()
    disk.unmount()
    if not disk.mount():
        sys.exit("cannot mount again")
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
    for _ in range(crashes):
        done = crash_once(driver, disk, wanted, choose)
        found = check(disk, versions, done)
        if done and found != wanted or have and not found:
            sys.exit(f"version {wanted} was done, {found} is there")
        have = found
        if found == wanted:
            finished += 1
            wanted = 3 - wanted
    if not run(driver, disk.place, "f", str(SIZE), str(SEED), str(wanted)):
        sys.exit("the last run does not heal")
    if check(disk, versions, True) != wanted or len(
            set(os.listdir(disk.place)) - {"lost+found"}) != 1:
        sys.exit("wrong end or leftovers")
    print(f"{crashes} crashes, {finished} files finished")
    if finished == 0 or finished == crashes:
        sys.exit("the crashes came all too early or all too late")


def main():
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        print("needs root and unshare")
        sys.exit(77)
    if os.environ.get("CRASH_UNSHARED") is None:
        os.environ["CRASH_UNSHARED"] = "1"
        os.execvp("unshare", ["unshare", "-m", "--propagation", "private",
                              sys.executable, *sys.argv])
    kind = os.environ.get("CRASH_FS", "ext4")
    if shutil.which(MKFS[kind][0]) is None:
        print(f"no {MKFS[kind][0]}")
        sys.exit(77)
    choose = random.Random(int(os.environ.get("CRASH_SEED", "1")))
    base = tempfile.mkdtemp(prefix="belay-shutdown-")
    try:
        disk = Disk(base, kind)
        try:
            torture(sys.argv[1], disk,
                    int(os.environ.get("CRASH_COUNT", "60")), choose)
        finally:
            disk.unmount()
    finally:
        shutil.rmtree(base)


if __name__ == "__main__":
    main()
