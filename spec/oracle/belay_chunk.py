"""Chunk data: codecs and the checks before a chunk is believed.

The oracle for section 12 (Z1 to Z3) and rules G2 to G4 of section 10.
"""

import zlib

import belay_id as identity
from belay_wire import LOCAL, R, WireError


def refuse(reason, rule, why):
    """A receiver drops this data; no code of its own travels for it."""
    return WireError(reason, rule, why, LOCAL)


# -- codecs -------------------------------------------------------------------

def decode_data(codec, raw_len, stored):
    """The raw bytes of a chunk: exactly raw_len of them, or WireError."""
    if codec == R.CODEC_RAW:
        if len(stored) != raw_len:
            raise refuse("BAD_STORED_LENGTH", "Z1", "raw: stored != raw")
        return stored
    if codec == R.CODEC_ZLIB:
        if not R.LIMIT_ZLIB_STORED_MIN <= len(stored) < raw_len:
            raise refuse("BAD_STORED_LENGTH", "Z1", "zlib: 8 <= stored < raw")
        return inflate_exactly(raw_len, stored)
    if codec == R.CODEC_ZERO:
        if stored:
            raise refuse("BAD_STORED_LENGTH", "Z1", "zero-fill stores nothing")
        return bytes(raw_len)
    raise refuse("UNKNOWN_CODEC", "Z1", "codec %d" % codec)


def inflate_exactly(raw_len, stored):
    """Z2, Z3: one whole zlib stream, no more, no less, one byte of probe."""
    # Header byte 2, bit 0x20 is FDICT: no dictionary exists in Belay.
    if stored[1] & 0x20:
        raise refuse("BAD_STREAM", "Z2", "FDICT is set")
    inflater = zlib.decompressobj()
    try:
        raw = inflater.decompress(stored, raw_len + 1)
        # With the output limit just reached, zlib may still hold the last
        # block's end and the Adler-32; ask once more for at most one byte.
        if len(raw) == raw_len and not inflater.eof:
            raw += inflater.decompress(inflater.unconsumed_tail, 1)
    except zlib.error as error:
        raise refuse("BAD_STREAM", "Z3", str(error))
    if len(raw) > raw_len:
        raise refuse("BAD_STREAM", "Z3", "the stream holds too much")
    if not inflater.eof:
        raise refuse("BAD_STREAM", "Z3", "the stream does not end")
    if len(raw) != raw_len:
        raise refuse("BAD_STREAM", "Z3", "the stream holds too little")
    if inflater.unused_data:
        raise refuse("BAD_STREAM", "Z3", "bytes follow the stream")
    return raw


# -- which chunks a GET selects (G2, G3) --------------------------------------

def selected_runs(size, c, ranges):
    """Chunks that intersect the ranges, each once, ascending, as runs of
    (first chunk, how many).

    Parts beyond the end of the file are ignored; nothing left is no error."""
    runs = []
    following = 0
    for offset, length in ranges:
        if offset >= size:
            break
        end = size if length == R.GET_TO_END else min(size, offset + length)
        first = max(following, offset >> c)
        past = ((end - 1) >> c) + 1
        if past <= first:
            continue
        if runs and first == following:
            runs[-1] = (runs[-1][0], past - runs[-1][0])
        else:
            runs.append((first, past - first))
        following = past
    return runs


def selected_chunks(size, c, ranges):
    return [i for first, count in selected_runs(size, c, ranges)
            for i in range(first, first + count)]


# -- accepting a CHUNK (G4) ---------------------------------------------------

class ChunkGate:
    """What a client knows about one GET on one file version, and G4."""

    def __init__(self, handle, size, c, ranges, digests=None, codecs=(0,)):
        self.handle, self.size, self.c = handle, size, c
        self.wanted = set(selected_chunks(size, c, ranges))
        self.digests = digests          # a verified digest list, or None
        self.codecs = codecs            # what the client's HELLO announced

    def accept(self, fields):
        """Returns (chunk index, raw bytes) and notes the delivery."""
        index = self.check_place(fields)
        if fields["codec"] not in self.codecs:
            raise refuse("UNKNOWN_CODEC", "Z1", "codec was not announced")
        raw = decode_data(fields["codec"], fields["raw_len"], fields["data"])
        if identity.sha256(raw) != fields["digest"]:
            raise refuse("DIGEST_MISMATCH", "G4", "payload and D_i differ")
        if self.digests is not None and self.digests[index] != \
                fields["digest"]:
            raise refuse("LIST_MISMATCH", "G4", "D_i is not the list's")
        self.wanted.discard(index)
        return index, raw

    def check_place(self, fields):
        offset = fields["offset"]
        index = offset >> self.c
        if fields["handle"] != self.handle:
            raise refuse("WRONG_HANDLE", "G4", "handle of another file")
        if offset % (1 << self.c):
            raise refuse("BAD_OFFSET", "G4", "offset is not on the grid")
        if index not in self.wanted:
            raise refuse("NOT_WANTED", "G4", "not asked for, or a second time")
        if fields["raw_len"] != identity.chunk_len(self.size, self.c, index):
            raise refuse("BAD_LENGTH", "G4", "raw length is not len_i")
        return index
