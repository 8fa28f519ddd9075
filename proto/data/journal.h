/* The journal of a partial download: bytes <-> struct, no file access.
 *
 * The journal lies beside the partial file and says what the partial is
 * (the head) and which chunks may be in it (the slots). Nothing in it is
 * believed without a check: a head counts only with its checksum, a slot is
 * only a hint whose chunk is hashed again before it counts.
 *
 * Byte format, version 1. All integers are unsigned and big-endian unless
 * "two's complement" is said. Reserved and unused bytes are zero and a head
 * with other values there is damaged, so that each head has one byte form.
 *
 *   offset            length              content
 *   0                 JOURNAL_COPY_LEN    head copy A
 *   JOURNAL_COPY_LEN  JOURNAL_COPY_LEN    head copy B
 *   JOURNAL_HEAD_LEN  JOURNAL_SLOT_LEN*n  slot 0 .. slot n-1
 *
 * Head copy (4096 bytes):
 *      0    8  magic 89 42 4C 4A 0D 0A 1A 0A
 *      8    4  format version, 1
 *     12    4  flags: 1 suspect, 2 finished, 4 version strong, 8 CID known,
 *              16 mtime known; other bits zero
 *     16   16  salt: random, new for each identity
 *     32    8  generation: of two valid copies the larger one counts
 *     40    8  size of the file in bytes
 *     48    1  chunk_log2 (12..22)
 *     49    1  length of the version token (0..32)
 *     50    2  length of the host name (0..64)
 *     52    2  length of the source URL (0..2048)
 *     54    2  reserved
 *     56    4  mode: permission bits, 0 = unknown
 *     60    4  mtime, nanoseconds (below 10^9)
 *     64    8  mtime, seconds, two's complement
 *     72    8  device of the partial file
 *     80    8  inode of the partial file
 *     88    4  process id of the owner, for messages
 *     92    4  mtime of the partial file at the commit, nanoseconds
 *     96    8  mtime of the partial file at the commit, seconds, two's
 *              complement; both zero before the commit
 *    104   32  CID, zero when not known
 *    136   32  version token, zero padded
 *    168   64  host name of the owner, zero padded, for messages
 *    232 2048  source URL, zero padded
 *   2280 1808  reserved
 *   4088    8  SipHash-2-4 of bytes 0..4087 under the salt
 *
 * Two copies: a writer replaces only the copy that is not known to be on
 * stable storage, so a torn head never costs the journal.
 *
 * Slot i (40 bytes, overwritten in place, so the journal never grows):
 *      0   32  D_i, SHA-256 of the bytes of chunk i
 *     32    8  SipHash-2-4 of (u64 i || D_i) under the salt
 * A torn slot, an unwritten one and one written under another salt all fail
 * the check and are "no hint". So a new salt forgets every older slot at once.
 *
 * The salt is the 16-byte key of SipHash; its 64-bit result is stored as one
 * big-endian integer. It tells accidents and leftovers, which is all that is
 * asked: who can write the directory can write the target itself.
 *
 * A copy with the magic and a larger format version makes the whole journal
 * one of the future: it is not used, whatever the other copy says. The
 * generation stays below 2^63.
 *
 * Pure: no file, clock, randomness; the caller supplies salt and texts.
 * Thread-safe as far as the arguments are not shared. */
#ifndef PROTO_DATA_JOURNAL_H
#define PROTO_DATA_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/data/hash.h"

#define JOURNAL_FORMAT 1
#define JOURNAL_COPY_LEN 4096
#define JOURNAL_HEAD_LEN (2 * JOURNAL_COPY_LEN)
#define JOURNAL_SLOT_LEN 40
#define JOURNAL_SALT_LEN 16
#define JOURNAL_VERSION_MAX 32
#define JOURNAL_HOST_MAX 64
#define JOURNAL_URL_MAX 2048

/* Which state of which file a partial belongs to. Comes from the peer and
 * the command line, so its texts are not fit for a terminal as they are. */
struct journal_identity {
    uint64_t size;
    uint8_t chunk_log2; /* 12..22; chunks are 2^chunk_log2 bytes */
    uint8_t version_len; /* 0: no version token */
    bool version_strong;
    bool cid_known;
    bool mtime_known;
    uint8_t version[JOURNAL_VERSION_MAX];
    uint8_t cid[HASH_LEN];
    int64_t mtime_s;
    uint32_t mtime_ns; /* below 10^9 */
    uint32_t mode; /* permission bits, 0 = unknown */
    /* Where the bytes come from, for "this partial belongs to another URL".
     * No terminator needed; must not hold a password or a token. */
    uint16_t url_len;
    char url[JOURNAL_URL_MAX];
};

/* One head. */
struct journal_head {
    uint8_t salt[JOURNAL_SALT_LEN];
    uint64_t generation;
    bool suspect; /* a write or a sync of the partial failed */
    bool finished; /* every chunk was verified, the commit had begun */
    uint64_t part_dev;
    uint64_t part_ino;
    /* Set with finished: what stat says of the file that was committed, so
     * that a file under the final name can be recognised as that one. */
    int64_t part_mtime_s;
    uint32_t part_mtime_ns;
    uint32_t owner_pid;
    uint16_t owner_host_len;
    char owner_host[JOURNAL_HOST_MAX]; /* no terminator */
    struct journal_identity identity;
};

enum journal_verdict {
    JOURNAL_USABLE, /* *head and *copy are set */
    JOURNAL_EMPTY, /* no byte that is not zero */
    JOURNAL_FUTURE, /* ours, of a format that this program cannot read */
    JOURNAL_DAMAGED /* anything else: torn, rotten, not ours */
};

/* Is every field within the bounds of the format? Identity and head given to
 * journal_head_encode must satisfy this (asserted there), so callers check
 * what a peer said with it first. */
bool journal_identity_valid(const struct journal_identity *identity);

/* Same content as far as the identity can tell: size, chunk_log2, CID where
 * both know it, else equal strong version tokens. mtime, mode and URL do not
 * count. False means "not known to be the same", as with weak tokens. */
bool journal_identity_same(const struct journal_identity *a,
                           const struct journal_identity *b);

/* Number of chunks of an identity: ceil(size / 2^chunk_log2). */
uint64_t journal_chunks(const struct journal_identity *identity);

/* Offset of slot index in the journal, and so the journal's length for a file
 * with index chunks. Requires index <= 2^52 (a larger one cannot come from a
 * valid identity). */
uint64_t journal_slot_offset(uint64_t index);

/* Write one head copy. Requires valid fields (asserted). */
void journal_head_encode(const struct journal_head *head,
                         uint8_t block[JOURNAL_COPY_LEN]);

/* Read one head copy. On JOURNAL_USABLE *head is set, else zeroed. */
enum journal_verdict
journal_head_decode(const uint8_t block[JOURNAL_COPY_LEN],
                    struct journal_head *head);

/* Read both copies (the first len bytes of a journal; what is missing counts
 * as zeros) and choose. *copy is 0 (A) or 1 (B) where the verdict is
 * JOURNAL_USABLE. */
enum journal_verdict journal_choose(const uint8_t *bytes, size_t len,
                                    struct journal_head *head,
                                    unsigned int *copy);

/* Write slot index. */
void journal_slot_encode(const uint8_t salt[JOURNAL_SALT_LEN], uint64_t index,
                         const uint8_t digest[HASH_LEN],
                         uint8_t slot[JOURNAL_SLOT_LEN]);

/* Does this slot hold a hint for chunk index? If so, digest is set. */
bool journal_slot_decode(const uint8_t salt[JOURNAL_SALT_LEN], uint64_t index,
                         const uint8_t slot[JOURNAL_SLOT_LEN],
                         uint8_t digest[HASH_LEN]);

#endif
