/* The digest cache (server/digestcache.c) over a file that holds anything.
 *
 * Input: a script of records put into the file as they are (whole, of another
 * length, with a wrong checksum, of other kinds), of the cache's own reading
 * and writing, and of its being opened again, with a check or without one.
 *
 * Promised: what is read is what was stored last under this key, whole and
 * with its checksum, or nothing; writing adds to it, and throws away what
 * contradicts; a cache of another make is not opened; the check finds every
 * record that is not whole, and nothing else, and what was moved aside is
 * replaced by a new one. */
#include <lmdb.h>
#include <stdio.h>
#include <unistd.h>

#include "proto/base/endian.h"
#include "server/digestcache.h"
#include "server/digestcache_file.h"
#include "tests/fuzz/fuzz.h"

enum op {
    OP_PUT_BLOCK, /* which key, how, length (2), bytes */
    OP_PUT_CID,
    OP_PUT_ODD,   /* a key of any length: length, how, bytes of both */
    OP_PUT_META,  /* how, length, bytes */
    OP_READ,      /* which key */
    OP_WRITE,     /* which key, which digests, their bytes, zeros */
    OP_READ_CID,
    OP_WRITE_CID,
    OP_REOPEN,    /* 1: with a check before */
    OP_COUNT,
};

#define OPS_MAX 24u
#define KEYS 4u
#define DIGESTS_MAX 70u /* of a block: two words of its bitmaps */
#define VALUE_MAX (RECORD_HEAD + 2 * (DIGESTS_BLOCK / 8) + DIGESTS_MAX * 32u)
#define CACHE_BYTES ((uint64_t)1 << 20)
#define CHECKS_MAX 1u /* each is a process */

/* What the file holds under one key. */
struct stored {
    bool there;
    size_t len;
    uint8_t value[VALUE_MAX];
};

struct game {
    struct script s;
    struct digestcache *cache; /* NULL: it could not be opened */
    struct stored block[KEYS];
    struct stored cid[KEYS];
    bool foreign; /* the record of the format is no good */
    bool damaged; /* some record is not whole */
    unsigned checks;
};

static struct game g;
static char dir[64];

/* ---- Keys. */

static struct digestcache_key key_of(unsigned which)
{
    return (struct digestcache_key){
        .id = {.dev = 1, .ino = 7, .size = 9, .mtime_ns = 4,
               .ctime_ns = which & 1},
        .chunk_log2 = 18,
        .block = which & 2,
        .count = which & 1 ? DIGESTS_MAX : 3,
    };
}

static size_t block_len(const struct digestcache_key *key)
{
    return RECORD_HEAD + 2 * (DIGESTS_BLOCK / 8) +
           (size_t)key->count * HASH_LEN;
}

/* As digestcache_file.h says it. */
static size_t make_key(uint8_t out[RECORD_KEY_MAX], enum record_kind kind,
                       unsigned which)
{
    const struct digestcache_key key = key_of(which);
    const uint64_t numbers[] = {key.id.dev, key.id.ino, key.id.size,
                                (uint64_t)key.id.mtime_ns,
                                (uint64_t)key.id.ctime_ns};

    out[0] = (uint8_t)kind;
    for (size_t i = 0; i < 5; i++) {
        endian_store_u64(out + 1 + 8 * i, numbers[i]);
    }
    out[41] = key.chunk_log2;
    endian_store_u64(out + 42, kind == RECORD_BLOCK ? key.block : 0);
    return RECORD_KEY_MAX;
}

/* ---- The file. */

static void remove_files(void)
{
    static const char *const suffixes[] = {"", "-lock", ".bad", ".clean"};
    char path[DIGESTCACHE_PATH_MAX];

    for (size_t i = 0; i < sizeof suffixes / sizeof suffixes[0]; i++) {
        FUZZ_CHECK(digestcache_path(dir, suffixes[i], path));
        (void)unlink(path);
    }
}

static void remove_dir(void)
{
    remove_files();
    (void)rmdir(dir);
}

static void make_dir(void)
{
    if (dir[0] != '\0') {
        return;
    }
    (void)snprintf(dir, sizeof dir, "/dev/shm/belay-fuzz.XXXXXX");
    if (mkdtemp(dir) == NULL) {
        (void)snprintf(dir, sizeof dir, "/tmp/belay-fuzz.XXXXXX");
        FUZZ_CHECK(mkdtemp(dir) != NULL);
    }
    (void)atexit(remove_dir);
}

/* Without the cache, and without looking at what is put. */
static void put_raw(const uint8_t *key, size_t key_len, const uint8_t *value,
                    size_t len)
{
    char path[DIGESTCACHE_PATH_MAX];
    MDB_val k = {.mv_data = (void *)(uintptr_t)key, .mv_size = key_len};
    MDB_val v = {.mv_data = (void *)(uintptr_t)value, .mv_size = len};
    MDB_env *env = NULL;
    MDB_txn *txn = NULL;
    MDB_dbi dbi;

    digestcache_close(g.cache);
    g.cache = NULL;
    FUZZ_CHECK(digestcache_path(dir, "", path));
    FUZZ_CHECK(mdb_env_create(&env) == 0);
    FUZZ_CHECK(mdb_env_open(env, path, MDB_NOSUBDIR | MDB_NOTLS | MDB_NOSYNC,
                            0600) == 0);
    FUZZ_CHECK(mdb_txn_begin(env, NULL, 0, &txn) == 0);
    FUZZ_CHECK(mdb_dbi_open(txn, NULL, 0, &dbi) == 0);
    FUZZ_CHECK(mdb_put(txn, dbi, &k, &v, 0) == 0);
    FUZZ_CHECK(mdb_txn_commit(txn) == 0);
    mdb_env_close(env);
}

static void open_cache(void)
{
    int err = digestcache_open(dir, CACHE_BYTES, &g.cache);

    FUZZ_CHECK(err == (g.foreign ? ERR_JOURNAL : 0));
    g.cache = err == 0 ? g.cache : NULL;
}

/* ---- Records from outside. */

static bool is_whole(const uint8_t *key, size_t key_len, const uint8_t *value,
                     size_t len)
{
    return len >= RECORD_HEAD &&
           endian_load_u32(value) == record_crc(key, key_len, value, len);
}

/* The rest of a value comes from the script, the end of it is zeros; how 1:
 * with the right checksum. */
static void fill(uint8_t *value, size_t len, const uint8_t *key,
                 size_t key_len, uint8_t how)
{
    size_t given = len;
    uint8_t *bytes = script_copy(&g.s, &given);

    memset(value, 0, len);
    memcpy(value, bytes, given);
    free(bytes);
    if (how & 1u && len >= RECORD_HEAD) {
        endian_store_u32(value, record_crc(key, key_len, value, len));
    }
}

static void op_put(enum record_kind kind)
{
    uint8_t which = script_u8(&g.s) % KEYS;
    uint8_t how = script_u8(&g.s);
    size_t len = script_u16(&g.s) % (VALUE_MAX + 1u);
    struct stored *at = kind == RECORD_BLOCK ? &g.block[which]
                                             : &g.cid[which];
    const struct digestcache_key key = key_of(which);
    uint8_t name[RECORD_KEY_MAX];
    size_t name_len = make_key(name, kind, which);

    if (how & 2u) {
        len = kind == RECORD_BLOCK ? block_len(&key)
                                   : RECORD_HEAD + HASH_LEN;
    }
    at->there = true;
    at->len = len;
    fill(at->value, len, name, name_len, how);
    put_raw(name, name_len, at->value, len);
    g.damaged = g.damaged || !is_whole(name, name_len, at->value, len);
    /* A content id has one key for all blocks. */
    if (kind == RECORD_CID) {
        g.cid[which ^ 2u] = *at;
    }
    open_cache();
}

/* A key that the cache never uses. */
static void op_put_odd(void)
{
    uint8_t key[255];
    uint8_t value[64];
    size_t key_len = script_u8(&g.s);
    uint8_t how = script_u8(&g.s);
    size_t len = script_u8(&g.s) % sizeof value;

    key_len = key_len < 2 ? 2 : key_len;
    memset(key, script_u8(&g.s), key_len);
    key[0] = 'x';
    fill(value, len, key, key_len, how);
    put_raw(key, key_len, value, len);
    g.damaged = g.damaged || !is_whole(key, key_len, value, len);
    open_cache();
}

static void op_put_meta(void)
{
    static const uint8_t key[] = {RECORD_META};
    uint8_t value[RECORD_META_LEN + 4];
    uint8_t how = script_u8(&g.s);
    size_t len = script_u8(&g.s) % sizeof value;

    if (how & 2u) {
        len = RECORD_META_LEN;
    }
    fill(value, len, key, sizeof key, 0);
    if (how & 4u && len == RECORD_META_LEN) {
        memcpy(value + RECORD_HEAD, RECORD_FORMAT, RECORD_FORMAT_LEN);
    }
    if (how & 1u && len >= RECORD_HEAD) {
        endian_store_u32(value, record_crc(key, sizeof key, value, len));
    }
    put_raw(key, sizeof key, value, len);
    g.foreign = len != RECORD_META_LEN ||
                !is_whole(key, sizeof key, value, len) ||
                memcmp(value + RECORD_HEAD, RECORD_FORMAT,
                       RECORD_FORMAT_LEN) != 0;
    g.damaged = g.damaged || g.foreign;
    open_cache();
}

/* ---- What the cache makes of it. */

static bool usable(const struct stored *at, enum record_kind kind,
                   unsigned which)
{
    const struct digestcache_key key = key_of(which);
    size_t want = kind == RECORD_BLOCK ? block_len(&key)
                                       : RECORD_HEAD + HASH_LEN;
    uint8_t name[RECORD_KEY_MAX];
    size_t name_len = make_key(name, kind, which);

    return at->there && at->len == want &&
           is_whole(name, name_len, at->value, at->len);
}

static void decode(const struct stored *at, uint32_t count,
                   struct digestcache_block *out)
{
    const uint8_t *bytes = at->value + RECORD_HEAD;

    for (size_t i = 0; i < DIGESTCACHE_WORDS; i++) {
        out->known[i] = endian_load_u64(bytes + 8 * i);
        out->zero[i] = endian_load_u64(bytes + 8 * (DIGESTCACHE_WORDS + i));
    }
    memcpy(out->digest, bytes + 16 * DIGESTCACHE_WORDS, count * HASH_LEN);
}

static bool same_block(const struct digestcache_block *a,
                       const struct digestcache_block *b, uint32_t count)
{
    return memcmp(a->known, b->known, sizeof a->known) == 0 &&
           memcmp(a->zero, b->zero, sizeof a->zero) == 0 &&
           memcmp(a->digest, b->digest, count * HASH_LEN) == 0;
}

static void check_block(unsigned which)
{
    const struct digestcache_key key = key_of(which);
    struct digestcache_block *got = calloc(1, sizeof *got);
    struct digestcache_block *want = calloc(1, sizeof *want);

    FUZZ_CHECK(got != NULL && want != NULL);
    bool found = digestcache_read(g.cache, &key, got);
    FUZZ_CHECK(found == usable(&g.block[which], RECORD_BLOCK, which));
    if (found) {
        decode(&g.block[which], key.count, want);
        FUZZ_CHECK(same_block(got, want, key.count));
    }
    free(got);
    free(want);
}

static bool bit(const uint64_t words[DIGESTCACHE_WORDS], uint32_t i)
{
    return (words[i / 64] >> i % 64 & 1u) != 0;
}

/* The rule said again, digest by digest. */
static void merge(struct digestcache_block *new,
                  const struct digestcache_block *old, uint32_t count)
{
    bool contradicts = false;

    for (uint32_t i = 0; i < count; i++) {
        contradicts = contradicts ||
                      (bit(old->known, i) && bit(new->known, i) &&
                       memcmp(old->digest[i], new->digest[i], HASH_LEN) != 0);
    }
    for (uint32_t i = 0; i < count && !contradicts; i++) {
        if (bit(old->known, i) && !bit(new->known, i)) {
            memcpy(new->digest[i], old->digest[i], HASH_LEN);
            new->known[i / 64] |= UINT64_C(1) << i % 64;
            new->zero[i / 64] |= old->zero[i / 64] & UINT64_C(1) << i % 64;
        }
    }
    if (contradicts) {
        memset(new->known, 0, sizeof new->known);
    }
}

/* What counts of it: digests that are not known are unspecified. */
static void check_same(const struct digestcache_block *got,
                       const struct digestcache_block *want, uint32_t count)
{
    FUZZ_CHECK(memcmp(got->known, want->known, sizeof got->known) == 0);
    for (uint32_t i = 0; i < count; i++) {
        if (bit(want->known, i)) {
            FUZZ_CHECK(bit(got->zero, i) == bit(want->zero, i));
            FUZZ_CHECK(memcmp(got->digest[i], want->digest[i], HASH_LEN) ==
                       0);
        }
    }
}

static void store_back(struct stored *at,
                       const struct digestcache_block *block,
                       const struct digestcache_key *key, unsigned which)
{
    uint8_t *bytes = at->value + RECORD_HEAD;
    uint8_t name[RECORD_KEY_MAX];
    size_t name_len = make_key(name, RECORD_BLOCK, which);

    at->there = true;
    at->len = block_len(key);
    memset(at->value, 0, RECORD_HEAD);
    for (size_t i = 0; i < DIGESTCACHE_WORDS; i++) {
        endian_store_u64(bytes + 8 * i, block->known[i]);
        endian_store_u64(bytes + 8 * (DIGESTCACHE_WORDS + i), block->zero[i]);
    }
    memcpy(bytes + 16 * DIGESTCACHE_WORDS, block->digest,
           key->count * HASH_LEN);
    endian_store_u32(at->value,
                     record_crc(name, name_len, at->value, at->len));
}

static void op_write(unsigned which)
{
    const struct digestcache_key key = key_of(which);
    struct digestcache_block *block = calloc(1, sizeof *block);
    struct digestcache_block *old = calloc(1, sizeof *old);
    struct digestcache_block *got = calloc(1, sizeof *got);
    uint64_t bits = script_u64(&g.s);
    uint8_t byte = script_u8(&g.s);
    uint8_t zeros = script_u8(&g.s);

    FUZZ_CHECK(block != NULL && old != NULL && got != NULL);
    for (uint32_t i = 0; i < key.count; i++) {
        if (bits >> i % 64 & 1u) {
            block->known[i / 64] |= UINT64_C(1) << i % 64;
            block->zero[i / 64] |= (uint64_t)(zeros >> i % 8 & 1u) << i % 64;
            memset(block->digest[i], byte, HASH_LEN);
        }
    }
    FUZZ_CHECK(digestcache_write(g.cache, &key, block) == 0);
    if (usable(&g.block[which], RECORD_BLOCK, which)) {
        decode(&g.block[which], key.count, old);
        merge(block, old, key.count);
    }
    FUZZ_CHECK(digestcache_read(g.cache, &key, got));
    check_same(got, block, key.count);
    store_back(&g.block[which], got, &key, which);
    free(block);
    free(old);
    free(got);
}

static void check_cid(unsigned which)
{
    const struct digestcache_key key = key_of(which);
    uint8_t got[HASH_LEN];
    bool found = digestcache_read_cid(g.cache, &key.id, key.chunk_log2, got);

    FUZZ_CHECK(found == usable(&g.cid[which], RECORD_CID, which));
    FUZZ_CHECK(!found || memcmp(got, g.cid[which].value + RECORD_HEAD,
                                HASH_LEN) == 0);
}

static void op_write_cid(unsigned which)
{
    const struct digestcache_key key = key_of(which);
    struct stored *at = &g.cid[which];
    uint8_t name[RECORD_KEY_MAX];
    size_t name_len = make_key(name, RECORD_CID, which);

    at->there = true;
    at->len = RECORD_HEAD + HASH_LEN;
    memset(at->value, script_u8(&g.s), at->len);
    endian_store_u32(at->value,
                     record_crc(name, name_len, at->value, at->len));
    FUZZ_CHECK(digestcache_write_cid(g.cache, &key.id, key.chunk_log2,
                                     at->value + RECORD_HEAD) == 0);
    g.cid[which ^ 2u] = *at;
}

/* The check, which never finds a fault of a file that was left in order. */
static void check_file(void)
{
    bool moved = false;

    FUZZ_CHECK(digestcache_repair(dir, &moved) == 0);
    FUZZ_CHECK(!moved || g.damaged);
    if (moved) {
        memset(g.block, 0, sizeof g.block);
        memset(g.cid, 0, sizeof g.cid);
        g.foreign = false;
        g.damaged = false;
    }
    /* A record that was not whole may have been written over since. */
    FUZZ_CHECK(moved || !g.foreign);
    for (unsigned which = 0; which < KEYS && !moved; which++) {
        uint8_t name[RECORD_KEY_MAX];
        const struct stored *b = &g.block[which];
        const struct stored *c = &g.cid[which];

        FUZZ_CHECK(!b->there ||
                   is_whole(name, make_key(name, RECORD_BLOCK, which),
                            b->value, b->len));
        FUZZ_CHECK(!c->there ||
                   is_whole(name, make_key(name, RECORD_CID, which),
                            c->value, c->len));
    }
}

static void op_reopen(bool checked)
{
    digestcache_close(g.cache);
    g.cache = NULL;
    if (checked && g.checks++ < CHECKS_MAX) {
        check_file();
    } else if (!g.damaged) {
        digestcache_mark_clean(dir);
    }
    open_cache();
}

static void step(void)
{
    uint8_t op = script_u8(&g.s) % OP_COUNT;

    switch (op) {
    case OP_PUT_BLOCK:
        op_put(RECORD_BLOCK);
        return;
    case OP_PUT_CID:
        op_put(RECORD_CID);
        return;
    case OP_PUT_ODD:
        op_put_odd();
        return;
    case OP_PUT_META:
        op_put_meta();
        return;
    default:
        break;
    }
    unsigned which = script_u8(&g.s) % KEYS;
    if (op == OP_REOPEN) {
        op_reopen(which == 1);
    } else if (g.cache == NULL) {
        return;
    } else if (op == OP_READ) {
        check_block(which);
    } else if (op == OP_WRITE) {
        op_write(which);
    } else if (op == OP_READ_CID) {
        check_cid(which);
    } else {
        op_write_cid(which);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    memset(&g, 0, sizeof g);
    g.s = (struct script){data, size};
    make_dir();
    remove_files();
    open_cache();
    for (unsigned i = 0; i < OPS_MAX && g.s.left > 0; i++) {
        step();
    }
    for (unsigned which = 0; which < KEYS && g.cache != NULL; which++) {
        check_block(which);
        check_cid(which);
    }
    digestcache_close(g.cache);
    g.cache = NULL;
    return 0;
}
