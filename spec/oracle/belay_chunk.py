"""Chunk data: codecs and the checks before a chunk is believed.

The oracle for section 12 (Z1 to Z3) and rules G2 to G4 of section 10.
"""

import zlib

import belay_id as identity
from belay_wire import LOCAL, R, WireError, malformed


def refuse(reason, rule, why):
    """A receiver drops this data; no code of its own travels for it."""
    return WireError(reason, rule, why, LOCAL)


# -- codecs -------------------------------------------------------------------

def stored_len_fits(codec, raw_len, stored_len):
    """Z1; a codec that version 1 does not have fits no length."""
    if codec == R.CODEC_RAW:
        return stored_len == raw_len
    if codec == R.CODEC_ZLIB:
        return R.LIMIT_ZLIB_STORED_MIN <= stored_len < raw_len
    return codec == R.CODEC_ZERO and stored_len == 0


def decode_data(codec, raw_len, stored):
    """The raw bytes of a chunk: exactly raw_len of them, or WireError."""
    if not stored_len_fits(codec, raw_len, len(stored)):
        raise refuse("BAD_STORED_LENGTH", "Z1", "codec %d, %d bytes" %
                     (codec, len(stored)))
    if codec == R.CODEC_ZLIB:
        return inflate_exactly(raw_len, stored)
    return stored if codec == R.CODEC_RAW else bytes(raw_len)


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
    """What a client knows about one GET on one file version, and the table
    of G4 from top to bottom (G4a needs the whole connection)."""

    def __init__(self, handle, size, c, ranges, digests=None, codecs=()):
        self.handle, self.size, self.c = handle, size, c
        self.selected = set(selected_chunks(size, c, ranges))
        self.digests = digests          # a verified digest list, or None
        self.codecs = set(codecs) | {R.CODEC_RAW}
        self.last = -1                  # index of the chunk before

    def accept(self, fields):
        """Returns (chunk index, raw bytes) and notes the delivery."""
        index = self.check_place(fields)
        self.check_stored(fields)
        raw = decode_data(fields["codec"], fields["raw_len"], fields["data"])
        if identity.sha256(raw) != fields["digest"]:
            raise refuse("DIGEST_MISMATCH", "G4g", "payload and D_i differ")
        if self.digests is not None and self.digests[index] != \
                fields["digest"]:
            raise refuse("LIST_MISMATCH", "G4h", "D_i is not the list's")
        self.last = index
        return index, raw

    def check_place(self, fields):
        offset = fields["offset"]
        index = offset >> self.c
        if fields["handle"] != self.handle:
            raise malformed("G4b", "handle of another file")
        if offset % (1 << self.c) or index not in self.selected or \
                index <= self.last:
            raise malformed("G4c", "offset %d" % offset)
        if fields["raw_len"] != identity.chunk_len(self.size, self.c, index):
            raise malformed("G4d", "raw length is not len_i")
        return index

    def check_stored(self, fields):
        codec, stored = fields["codec"], len(fields["data"])
        if codec not in self.codecs or not stored_len_fits(
                codec, fields["raw_len"], stored):
            raise malformed("G4e", "codec %d with %d bytes" % (codec, stored))
