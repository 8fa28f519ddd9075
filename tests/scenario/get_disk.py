#!/usr/bin/env python3
"""Disks that are full, become full, or say no: a clear end, the part kept,
and the same command goes on when there is room again."""

import os
import resource
import subprocess
import sys

from harness import (KI, MI, Belayd, Tmpfs, case, check, check_code,
                     check_one_line, get, in_private_mounts, library, main,
                     names, same, shelf, start, wait_until, write_random)

SIZE = 12 * MI + 7
library(file=(write_random, SIZE))


def source():
    return os.path.join(shelf(), "file")


def whole(run, into):
    check_code(run, 0)
    check(same(source(), os.path.join(into, "file")), "other bytes", run)
    check([n for n in names(into) if n != "ballast"] == ["file"],
          "litter: %r" % names(into), run)


def held_by(disk):
    return os.stat(disk.path + "/file.part").st_blocks * 512 \
        if "file.part" in names(disk.path) else 0


def has_written(run, disk, least):
    wait_until(lambda: held_by(disk) >= least or run.poll() is not None,
               "%d bytes in the partial file" % least)
    check(run.poll() is None, "it ended too soon", run)


@case
def too_big_before_the_first_byte(tmp):
    with Tmpfs(tmp + "/t", "size=8m") as disk, Belayd() as server:
        run = get("-v", server.url(), cwd=disk.path)
        check_one_line(run, 5, "[\\d.]+ MiB are needed and [\\d.]+ MiB are available",
                       "free some space")
        room = os.statvfs(disk.path)
        check(room.f_bavail * room.f_frsize > 7 * MI, "the disk is full")
        check("file" not in names(disk.path), "a final name")
        disk.remount("size=20m")
        whole(get(server.url(), cwd=disk.path), disk.path)


@case
def filled_midway_and_freed(tmp):
    with Tmpfs(tmp + "/t", "size=24m") as disk, Belayd() as server:
        run = start("--limit-rate", SIZE // 4, server.url(), cwd=disk.path)
        has_written(run, disk, SIZE // 2)
        disk.fill()
        run.wait()
        check_one_line(run, 5, "No space left", "partial file is kept",
                       "same command")
        check("file" not in names(disk.path), "a final name")
        disk.free()
        run = get("-v", server.url(), cwd=disk.path)
        whole(run, disk.path)
        check(run.ledger["kept"] > SIZE // 4, "nothing was kept", run)


@case
def what_is_there_counts_as_room(tmp):
    with Tmpfs(tmp + "/t", "size=24m") as disk, Belayd() as server:
        run = start("--limit-rate", SIZE // 3, server.url(), cwd=disk.path)
        has_written(run, disk, SIZE // 2)
        run.send(9)
        run.wait()
        held = held_by(disk)
        disk.fill(leave=SIZE - held + 200 * KI)
        run = get("-v", server.url(), cwd=disk.path)
        whole(run, disk.path)


@case
def no_inodes(tmp):
    with Tmpfs(tmp + "/t", "nr_inodes=2") as disk, Belayd() as server:
        run = get(server.url(), cwd=disk.path)
        check_one_line(run, 5, "No space left", "file.part")
        disk.remount("nr_inodes=10")
        whole(get(server.url(), cwd=disk.path), disk.path)


@case
def read_only(tmp):
    with Tmpfs(tmp + "/t", "size=40m") as disk, Belayd() as server:
        disk.remount("ro")
        check_one_line(get(server.url(), cwd=disk.path), 5, "read-only")
        disk.remount("rw")
        whole(get(server.url(), cwd=disk.path), disk.path)


@case
def file_size_limit(into):
    def limit(bytes):
        return lambda: resource.setrlimit(resource.RLIMIT_FSIZE,
                                          (bytes, bytes))

    with Belayd() as server:
        for bytes in (10 * KI, MI, SIZE - 1):
            run = get(server.url(), cwd=into, preexec_fn=limit(bytes))
            check_code(run, 5, "limit of %d" % bytes)
            check_one_line(run, 5, "ulimit -f")
            check("file" not in names(into), "a final name")
        whole(get(server.url(), cwd=into, preexec_fn=limit(SIZE + MI)), into)


@case
def few_descriptors(into):
    def limit(count):
        return lambda: resource.setrlimit(resource.RLIMIT_NOFILE,
                                          (count, count))

    with Belayd() as server:
        # The dynamic linker needs one, too.
        for count in (*range(5, 24), 32):
            run = get("-x", "8", "--retry", "3", server.url(), cwd=into,
                      preexec_fn=limit(count))
            check(run.code in (0, 1, 5, 75), "exit code %s with %d" %
                  (run.code, count), run)
            if run.code == 0:
                check(same(source(), into + "/file"), "other bytes", run)
                os.unlink(into + "/file")
            else:
                check(run.err.strip(), "no word with %d" % count, run)
        whole(get(server.url(), cwd=into), into)


@case
def output_to_a_full_device(into):
    with Belayd() as server, open("/dev/full", "wb") as full:
        run = get("-o", "-", server.url(), cwd=into, stdout=full)
        check_one_line(run, 5, "No space left")
        for args in (["--help"], ["--version"], ["--exit-codes"]):
            run = subprocess.run([os.environ["BELAY"], *args], stdout=full,
                                 stderr=subprocess.PIPE, timeout=20)
            check(run.returncode == 5 and b"No space" in run.stderr,
                  "%r to a full device: %r" % (args, run))


if __name__ == "__main__":
    if os.geteuid() == 0:
        in_private_mounts(sys.argv[0])
    main()
