"""Identity of a file in Belay: chunks, digests, tree, proofs, CID.

This is the oracle for belay-id-1.md.  It is written to be read next to the
text, not to be fast.  Nothing here knows about the wire.
"""

import hashlib

import registry as R

CHUNK_LOG2_MIN = R.LIMIT_CHUNK_LOG2_MIN
CHUNK_LOG2_MAX = R.LIMIT_CHUNK_LOG2_MAX
EMPTY_ROOT = hashlib.sha256(b"").digest()


class IdError(Exception):
    """The input does not satisfy a rule of the identity text."""


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def u32(n):
    return n.to_bytes(4, "big")


def u64(n):
    return n.to_bytes(8, "big")


# -- 1 chunks and digests -----------------------------------------------------

def default_chunk_log2(size):
    """ID1-C4: the smallest in 18..22 with size <= 2^(c+15)."""
    for c in range(R.LIMIT_CHUNK_LOG2_AUTO_MIN, CHUNK_LOG2_MAX):
        if size <= 1 << (c + R.LIMIT_CHUNK_LOG2_AUTO_SPREAD):
            return c
    return CHUNK_LOG2_MAX


def check_chunk_log2(c):
    """ID1-C1"""
    if not CHUNK_LOG2_MIN <= c <= CHUNK_LOG2_MAX:
        raise IdError("chunk_log2 %d is outside 12..22" % c)


def check_geometry(size, c):
    """ID1-C1 and ID1-C5"""
    check_chunk_log2(c)
    if size >> 63 or chunk_count(size, c) > 1 << R.LIMIT_BLOCK_LOG2:
        raise IdError("%d bytes are too many at c = %d" % (size, c))


def chunk_count(size, c):
    """n = ceil(size / 2^c); an empty file has no chunk."""
    return (size + (1 << c) - 1) >> c


def chunk_offset(c, i):
    return i << c


def chunk_len(size, c, i):
    """Only the last chunk of a file may be shorter than 2^c."""
    return min(1 << c, size - (i << c))


def digests_of(data, c):
    """D_i for every chunk of the bytes in data."""
    step = 1 << c
    return [sha256(data[at:at + step]) for at in range(0, len(data), step)]


# -- 2 tree -------------------------------------------------------------------

def leaf(offset, length, digest):
    """The leaf commits to where the chunk lies as well as to its bytes."""
    return sha256(b"\x00", u64(offset), u32(length), digest)


def node(left, right):
    return sha256(b"\x01", left, right)


def leaves_of(size, c, digests):
    if len(digests) != chunk_count(size, c):
        raise IdError("the digest list does not fit size and chunk_log2")
    return [leaf(chunk_offset(c, i), chunk_len(size, c, i), d)
            for i, d in enumerate(digests)]


def split(n):
    """The largest power of two that is smaller than n, for n >= 2."""
    return 1 << ((n - 1).bit_length() - 1)


def mth(leaves):
    """Merkle tree hash as in RFC 9162 section 2.1.1, over hashed leaves."""
    if not leaves:
        return EMPTY_ROOT
    if len(leaves) == 1:
        return leaves[0]
    k = split(len(leaves))
    return node(mth(leaves[:k]), mth(leaves[k:]))


# -- 3 content id -------------------------------------------------------------

def cid(size, c, root):
    """CID = SHA-256(0x02 || version || c || 0 || size || root)."""
    check_geometry(size, c)
    return sha256(b"\x02", bytes([R.IDENTITY_VERSION, c, 0]), u64(size), root)


def cid_from_digests(size, c, digests):
    return cid(size, c, mth(leaves_of(size, c, digests)))


def cid_of(data, c):
    return cid_from_digests(len(data), c, digests_of(data, c))


def cid_text(c, value):
    """The one text form: bl1-, two decimal digits of c, -, 64 hex digits."""
    return "bl1-%02d-%s" % (c, value.hex())


def cid_parse(text):
    """Inverse of cid_text; returns (c, value).  No other spelling is one."""
    head, digits, tail = text[:4], text[4:6], text[6:]
    if head != "bl1-" or len(digits) != 2 or not tail.startswith("-"):
        raise IdError("a CID starts with bl1-, two digits and -")
    if any(ch not in "0123456789" for ch in digits):
        raise IdError("chunk_log2 is written in decimal digits")
    check_chunk_log2(int(digits))
    hexpart = tail[1:]
    if len(hexpart) != 64 or any(ch not in "0123456789abcdef"
                                 for ch in hexpart):
        raise IdError("64 lower-case hex digits are needed")
    return int(digits), bytes.fromhex(hexpart)


# -- 4 proofs by block --------------------------------------------------------

def block_count(n, b):
    """m = ceil(n / 2^b)."""
    return (n + (1 << b) - 1) >> b


def block_hashes(leaves, b):
    """The hash of block j is MTH over its leaves, ragged last one included."""
    step = 1 << b
    return [mth(leaves[at:at + step]) for at in range(0, len(leaves), step)]


def path_of(hashes, j):
    """RFC 9162 section 2.1.3.1: bare sibling hashes, from the bottom up."""
    if len(hashes) == 1:
        return []
    k = split(len(hashes))
    if j < k:
        return path_of(hashes[:k], j) + [mth(hashes[k:])]
    return path_of(hashes[k:], j - k) + [mth(hashes[:k])]


def prove(leaves, b, j):
    """Returns (block hash, path) of block j for block size 2^b."""
    hashes = block_hashes(leaves, b)
    return hashes[j], path_of(hashes, j)


def path_len(j, m):
    """ID1-P1: the length of the path is a function of (j, m) alone."""
    if not 0 <= j < m:
        raise IdError("block index outside the tree")
    if m == 1:
        return 0
    k = split(m)
    return 1 + (path_len(j, k) if j < k else path_len(j - k, m - k))


def root_from_path(j, m, block_hash, path):
    """RFC 9162 section 2.1.3.2, with leaf_index = j and tree_size = m."""
    if not 0 <= j < m:
        raise IdError("block index outside the tree")
    fn, sn = j, m - 1
    value = block_hash
    for sibling in path:
        if sn == 0:
            raise IdError("the path is too long")
        if fn & 1 or fn == sn:
            value = node(sibling, value)
            while not fn & 1 and fn != 0:
                fn >>= 1
                sn >>= 1
        else:
            value = node(value, sibling)
        fn >>= 1
        sn >>= 1
    if sn != 0:
        raise IdError("the path is too short")
    return value


def verify_block(root, j, m, block_hash, path):
    """True if block_hash is block j of m in the tree with this root."""
    try:
        return root_from_path(j, m, block_hash, path) == root
    except IdError:
        return False


# -- the input of every vector ------------------------------------------------

def pattern(n, at=0):
    """Byte i of the pattern is i mod 251; pattern(n, at) starts at byte at."""
    cycle = bytes(range(251))
    start = at % 251
    return (cycle * ((start + n) // 251 + 1))[start:start + n]
