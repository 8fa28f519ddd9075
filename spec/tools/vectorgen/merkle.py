"""merkle.json: leaves, trees, proofs by block (belay-id-1)."""

import random

import belay_id as identity

from .common import VectorFile, local_error, u64

NOTES = {
    "RAGGED": "the last chunk is shorter than the others, or the tree is "
              "not perfect: index and size arithmetic at the right edge",
    "EMPTY": "a file without chunks",
    "PUBLIC": "leaves and root of the RFC 6962 reference tests",
    "BIT_FLIP": "one bit of the proof's input differs",
    "WRONG_INDEX": "the proof belongs to a neighbouring block",
    "WRONG_COUNT": "the tree is claimed to have another number of blocks",
    "PATH_LENGTH": "ID1-P1: a path of another length than (index, count) "
                   "allow",
    "WRONG_LEAF": "a hash of something other than the block",
    "WRONG_ROOT": "the root belongs to something else",
}

# Bytes of each size, so that both edges of a chunk and of a tree are met.
C = 12
STEP = 1 << C
SIZES = [0, 1, STEP - 1, STEP, STEP + 1, 2 * STEP - 1, 2 * STEP,
         2 * STEP + 1] + [n * STEP for n in (3, 5, 7, 11, 13)] + \
        [n * STEP - 1 for n in (3, 5, 7, 11, 13)] + \
        [n * STEP + 1 for n in (4, 8, 12)] + [20000]

RFC6962_ENTRIES = ["", "00", "10", "2021", "3031", "40414243",
                   "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
# Roots as the public tests print them, typed and not computed.
RFC6962_ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def file_leaves(size, c=C):
    data = identity.pattern(size)
    return identity.leaves_of(size, c, identity.digests_of(data, c))


def recipe(size, invert_at=()):
    return {"pattern_len": u64(size), "invert_at": [u64(n) for n in invert_at]}


def add_file(out, size, c, invert_at=()):
    data = bytearray(identity.pattern(size))
    for at in invert_at:
        data[at] ^= 0xFF
    digests = identity.digests_of(bytes(data), c)
    leaves = identity.leaves_of(size, c, digests)
    flags = ["EMPTY"] if not leaves else \
        ["RAGGED"] if size % (1 << c) or len(leaves) & (len(leaves) - 1) \
        else []
    name = "file-%d-c%d%s" % (size, c, "-inverted" if invert_at else "")
    out.add(name, "ID1-T2 ID1-P2" if not leaves else "ID1-C2 ID1-C3 ID1-T1",
            "%d bytes in chunks of 2^%d" % (size, c),
            dict(kind="file", chunk_log2=c, **recipe(size, invert_at)),
            {"chunks": len(leaves), "last_len":
             identity.chunk_len(size, c, len(leaves) - 1) if leaves else 0,
             "digests": [d.hex() for d in digests],
             "leaves": [x.hex() for x in leaves],
             "root": identity.mth(leaves).hex()}, flags=flags)


def proof_input(root, j, m, block_hash, path):
    return {"kind": "proof", "root": root.hex(), "block_index": u64(j),
            "block_count": u64(m), "block_hash": block_hash.hex(),
            "path": [p.hex() for p in path]}


def add_good_proofs(out, n):
    leaves = file_leaves(n * STEP - 96)
    root = identity.mth(leaves)
    for b in range(0, (n - 1).bit_length() + 1):
        m = identity.block_count(n, b)
        for j in range(m):
            block_hash, path = identity.prove(leaves, b, j)
            ragged = n & (n - 1) != 0
            out.add("proof-n%d-b%d-j%d" % (n, b, j), "ID1-P1 ID1-P3",
                    "block %d of %d, 2^%d chunks each, %d chunks in all" %
                    (j, m, b, n),
                    proof_input(root, j, m, block_hash, path),
                    {"path_len": len(path)},
                    flags=["RAGGED"] if ragged else [])


def flip(value, bit):
    changed = bytearray(value)
    changed[bit >> 3] ^= 0x80 >> (bit & 7)
    return bytes(changed)


def bad_proofs(root, j, m, block_hash, path):
    """(name, flag, comment, root, j, m, block hash, path)"""
    extra = identity.sha256(b"extra")
    yield ("bit-in-root", "BIT_FLIP", "first bit of the root",
           flip(root, 0), j, m, block_hash, path)
    yield ("bit-in-block", "BIT_FLIP", "last bit of the block hash",
           root, j, m, flip(block_hash, 255), path)
    for i in range(len(path)):
        yield ("bit-in-path-%d" % i, "BIT_FLIP", "a bit of path[%d]" % i,
               root, j, m, block_hash,
               path[:i] + [flip(path[i], 77 + i)] + path[i + 1:])
        yield ("without-%d" % i, "PATH_LENGTH", "path[%d] removed" % i,
               root, j, m, block_hash, path[:i] + path[i + 1:])
    for i in range(len(path) + 1):
        yield ("inserted-%d" % i, "PATH_LENGTH",
               "a node inserted before path[%d]" % i,
               root, j, m, block_hash, path[:i] + [extra] + path[i:])
    yield ("prepended-block", "PATH_LENGTH", "the block hash prepended",
           root, j, m, block_hash, [block_hash] + path)
    yield ("appended-root", "PATH_LENGTH", "the root appended",
           root, j, m, block_hash, path + [root])
    if path:
        yield ("reversed", "BIT_FLIP", "the path from the top down",
               root, j, m, block_hash, path[::-1])
    for name, at in (("index-plus-1", j + 1), ("index-minus-1", j - 1),
                     ("index-is-count", m), ("index-xor-2", j ^ 2)):
        if at >= 0:
            yield (name, "WRONG_INDEX", "index %d for the proof of %d" %
                   (at, j), root, at, m, block_hash, path)
    for name, count in (("count-double", 2 * m), ("count-half", m // 2),
                        ("count-zero", 0)):
        yield (name, "WRONG_COUNT", "%d blocks instead of %d" % (count, m),
               root, j, count, block_hash, path)
    yield ("other-leaf", "WRONG_LEAF", "hash of other bytes",
           root, j, m, extra, path)
    yield ("empty-root", "WRONG_ROOT", "the root of an empty file",
           identity.EMPTY_ROOT, j, m, block_hash, path)
    yield ("root-is-block", "WRONG_ROOT", "the block hash as root",
           block_hash, j, m, block_hash, path)


def add_bad_proofs(out, n, b, j):
    leaves = file_leaves(n * STEP - 96)
    root = identity.mth(leaves)
    m = identity.block_count(n, b)
    block_hash, path = identity.prove(leaves, b, j)
    for case in bad_proofs(root, j, m, block_hash, path):
        name, flag, comment, c_root, c_j, c_m, c_block, c_path = case
        if (c_root, c_j, c_m, c_block, c_path) == \
                (root, j, m, block_hash, path):
            continue
        if c_path == path and c_path == path[::-1] and name == "reversed":
            continue
        if name == "root-is-block" and not path:
            continue
        # Some other (index, count) gives the same shape, so the proof of
        # block j verifies there too: the caller derives the count from
        # size and c and never asks that question.
        if identity.verify_block(c_root, c_j, c_m, c_block, c_path):
            continue
        out.add("bad-n%d-b%d-j%d-%s" % (n, b, j, name),
                "ID1-P1" if flag in ("PATH_LENGTH", "WRONG_COUNT",
                                     "WRONG_INDEX") else "ID1-P4", comment,
                proof_input(c_root, c_j, c_m, c_block, c_path),
                error=local_error("PROOF_REJECTED"), flags=[flag])


def add_digest_as_leaf(out):
    """D_i in place of leaf_i: the prefix and the place must be hashed."""
    data = identity.pattern(2 * STEP)
    digests = identity.digests_of(data, C)
    leaves = identity.leaves_of(len(data), C, digests)
    out.add("bad-digest-as-leaf", "ID1-T1", "D_0 where leaf_0 belongs",
            proof_input(identity.mth(leaves), 0, 2, digests[0], [leaves[1]]),
            error=local_error("PROOF_REJECTED"), flags=["WRONG_LEAF"])
    swapped = identity.leaf(STEP, STEP, digests[0])
    out.add("bad-leaf-offset", "ID1-C3", "leaf_0 hashed with the offset of 1",
            proof_input(identity.mth(leaves), 0, 2, swapped, [leaves[1]]),
            error=local_error("PROOF_REJECTED"), flags=["WRONG_LEAF"])


def build():
    out = VectorFile("merkle", NOTES)
    for n in range(9):
        entries = RFC6962_ENTRIES[:n]
        out.add("rfc6962-%d" % n, "ID1-T1" if n else "ID1-T2",
                "public tree of %d entries" % n,
                {"kind": "tree", "leaves": [
                    identity.sha256(b"\x00", bytes.fromhex(e)).hex()
                    for e in entries]},
                {"root": RFC6962_ROOTS[n]}, flags=["PUBLIC"])
    for size in SIZES:
        add_file(out, size, C)
    add_file(out, 20100, C, (9000,))
    for c in (13, 18, 22):
        add_file(out, (3 << c) // 2, c)
    for n in (1, 2, 3, 4, 5, 6, 7, 8, 11, 13):
        add_good_proofs(out, n)
    for n, b, j in ((1, 0, 0), (2, 0, 1), (3, 0, 2), (5, 0, 3), (5, 0, 4),
                    (5, 1, 2), (7, 0, 6), (8, 0, 5), (11, 2, 2), (13, 0, 12),
                    (13, 1, 6)):
        add_bad_proofs(out, n, b, j)
    add_digest_as_leaf(out)
    add_path_lengths(out)
    return out


def add_path_lengths(out):
    """Trees too large to build; as many blocks as a file can have."""
    rng = random.Random(9162)
    pairs = [(0, 1), (0, 2), (1, 2), (2, 3), (4, 5), (8, 9), (129, 130),
             (0, 1 << 32), ((1 << 32) - 1, 1 << 32), (1 << 31, (1 << 31) + 1),
             ((1 << 20) - 2, (1 << 20) - 1)]
    for _ in range(20):
        m = rng.getrandbits(rng.randrange(2, 33)) + 1
        pairs.append((rng.randrange(m), m))
    for j, m in dict.fromkeys(pairs):
        out.add("path-len-%d-of-%d" % (j, m), "ID1-P1",
                "length of the path of block %d of %d" % (j, m),
                {"kind": "path_len", "block_index": u64(j),
                 "block_count": u64(m)},
                {"path_len": identity.path_len(j, m)})
    out.add("path-len-outside", "ID1-P1", "no path beyond the last block",
            {"kind": "path_len", "block_index": "5", "block_count": "5"},
            error=local_error("PROOF_REJECTED"), flags=["WRONG_INDEX"])
