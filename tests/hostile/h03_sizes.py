#!/usr/bin/env python3
"""H3: a size of 2^63-1, 2^64-1, more than there is room for, more than
--max-size: refused before anything is allocated."""

import os

from peer import (MI, SIZE, Tmpfs, always, attack, box, case, changed, check,
                  check_code, conform, in_private_mounts, main, names, never,
                  used_blocks)

conform("bad_info", "enormous")


@case
def sizes_of_another_world(tmp):
    """No allocation, no long wait, an answer."""
    for size in (1 << 50, 1 << 62, (1 << 63) - 1, 1 << 63, (1 << 64) - 1):
        run, _ = never(tmp, changed("INFO", size=size))
        check(used_blocks(box(tmp)) < MI, "size %d took %d bytes" %
              (size, used_blocks(box(tmp))), run)
        for name in names(box(tmp)):
            os.unlink(os.path.join(box(tmp), name))


@case
def more_than_the_limit(tmp):
    """--max-size at, and one below."""
    run, _ = attack(tmp, always(None), "--max-size", str(SIZE))
    check_code(run, 0)
    os.unlink(os.path.join(box(tmp), "f"))
    run, _ = attack(tmp, always(None), "--max-size", str(SIZE - 1))
    check_code(run, 9)
    check(used_blocks(box(tmp)) == 0, "begun all the same", run)


@case
def less_than_it_said(tmp):
    """A large size, then an end: what was announced is not there."""
    run, _ = never(tmp, changed("INFO", size=40 * MI))
    check(used_blocks(box(tmp)) < 50 * MI, "the disk", run)


@case
def more_than_there_is_room_for(tmp):
    """Told before the first byte of data."""
    os.makedirs(os.path.join(tmp, "box"), exist_ok=True)
    with Tmpfs(box(tmp), "size=2m") as disk:
        run, _ = attack(tmp, always(changed("INFO", size=1 << 34)))
        check_code(run, 5)
        room = os.statvfs(disk.path)
        check(room.f_bavail * room.f_frsize > MI, "the disk is full", run)


if __name__ == "__main__":
    if os.geteuid() == 0:
        in_private_mounts(os.path.abspath(__file__))
    main()
