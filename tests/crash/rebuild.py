"""A state that a crash may have left (disk.py), made into a directory.

One thing cannot be made again: the number of an inode, by which a journal
knows the file that it finished.  So a finished head that is whole names, in
what is written here, the number that this file has here; with its checksum.
"""

import os
import struct

HEAD = 4096
MAGIC = bytes.fromhex("89424c4a0d0a1a0a")
FINISHED = 2
AT_FLAGS, AT_SALT, AT_INODE, AT_CHECK = 12, 16, 80, HEAD - 8
MASK = (1 << 64) - 1
BLOCK = 4096


def siphash(key, data):
    """SipHash-2-4 of whole words."""
    k0, k1 = struct.unpack("<QQ", key)
    a, b = k0 ^ 0x736f6d6570736575, k1 ^ 0x646f72616e646f6d
    c, d = k0 ^ 0x6c7967656e657261, k1 ^ 0x7465646279746573
    words = [*struct.unpack("<%dQ" % (len(data) // 8), data),
             (len(data) & 255) << 56, None]
    for word in words:
        rounds = 2
        if word is None:
            c ^= 255
            rounds = 4
        else:
            d ^= word
        for _ in range(rounds):
            a = (a + b) & MASK
            c = (c + d) & MASK
            b = (b << 13 | b >> 51) & MASK ^ a
            d = (d << 16 | d >> 48) & MASK ^ c
            a = (a << 32 | a >> 32) & MASK
            c = (c + b) & MASK
            a = (a + d) & MASK
            b = (b << 17 | b >> 47) & MASK ^ c
            d = (d << 21 | d >> 43) & MASK ^ a
            c = (c << 32 | c >> 32) & MASK
        if word is not None:
            a ^= word
    return a ^ b ^ c ^ d


def checksum(head):
    return siphash(head[AT_SALT:AT_SALT + 16], head[:AT_CHECK])


def renumber(journal, inodes):
    """The journal with the inodes of this directory: {old: new}."""
    for at in (0, HEAD):
        head = bytearray(journal[at:at + HEAD])
        if len(head) < HEAD or not head.startswith(MAGIC) or \
                not struct.unpack_from(">I", head, AT_FLAGS)[0] & FINISHED:
            continue
        inode, check = (struct.unpack_from(">Q", head, k)[0]
                        for k in (AT_INODE, AT_CHECK))
        if inode not in inodes or checksum(head) != check:
            continue
        struct.pack_into(">Q", head, AT_INODE, inodes[inode])
        struct.pack_into(">Q", head, AT_CHECK, checksum(head))
        journal = journal[:at] + bytes(head) + journal[at + HEAD:]
    return journal


def put(path, data):
    """Blocks of zeros were never written, for all we know."""
    with open(path, "wb") as file:
        for at in range(0, len(data), BLOCK):
            block = data[at:at + BLOCK]
            if block.strip(b"\0"):
                file.seek(at)
                file.write(block)
        file.truncate(len(data))


def rebuild(state, root):
    """Make `root` and all of the state in it."""
    made, inodes, journals = {}, {}, []
    os.mkdir(root)
    for path, entry in sorted(state.entries.items()):
        here = os.path.join(root, path)
        if entry.node.kind == "dir":
            os.mkdir(here)
        elif entry.node.kind == "link":
            os.symlink(entry.data, here)
        elif id(entry.node) in made:
            os.link(made[id(entry.node)], here)
        else:
            made[id(entry.node)] = here
            put(here, entry.data)
            inodes[entry.node.ino] = os.stat(here).st_ino
            if path.endswith(".part.belay"):
                journals.append((here, entry.data))
    for here, data in journals:
        put(here, renumber(data, inodes))
    for path, entry in reversed(sorted(state.entries.items())):
        here = os.path.join(root, path)
        if entry.node.kind == "link":
            continue
        if entry.mtime is not None:
            os.utime(here, ns=(entry.mtime, entry.mtime))
        os.chmod(here, entry.mode)
