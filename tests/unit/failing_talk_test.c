/* Walk, bulk and transfer in the middle of a conversation when memory or
 * hashing fails: they end with an error, or go on without what failed, and as
 * much memory is held behind it as before. */
#include "tests/unit/failing.h"

#include "proto/base/err.h"
#include "proto/data/merkle.h"
#include "proto/data/receipt.h"
#include "proto/session/bulk.h"
#include "proto/session/transfer.h"
#include "proto/session/walk.h"
#include "tests/unit/peer_fixture.h"

#ifdef BELAY_SANITIZED

/* The sanitizers have their own malloc. */
int main(void)
{
    return 77;
}

#else

#define LOG2 12u
#define COARSE 14u
#define CHUNK ((size_t)1 << LOG2)
#define COUNT 6u

/* A file, its digests on two grids, and its names there. */
static uint8_t data[COUNT * CHUNK];
static uint8_t digest[COUNT + 1][HASH_LEN];
static uint8_t coarse[COUNT][HASH_LEN];
static uint8_t cid[HASH_LEN];
static uint8_t coarse_cid[HASH_LEN];
static struct hasher *hasher; /* of the test, not of what is tested */
static struct peer peer;

static void name_it(uint8_t log2, uint8_t (*digests)[HASH_LEN],
                    uint8_t out[HASH_LEN])
{
    uint64_t count = cid_chunk_count(sizeof data, log2);
    uint8_t root[HASH_LEN];

    for (uint64_t i = 0; i < count; i++) {
        assert_int_equal(hash_sha256(hasher, data + (i << log2),
                                     cid_chunk_len(sizeof data, log2, i),
                                     digests[i]), 0);
    }
    assert_int_equal(merkle_root(hasher, sizeof data, log2, digests[0], count,
                                 root), 0);
    assert_int_equal(cid_from_root(hasher, sizeof data, log2, root, out), 0);
}

static int setup(void **state)
{
    (void)state;
    hasher = hasher_new();
    assert_non_null(hasher);
    peer_init(&peer);
    for (size_t i = 0; i < sizeof data; i++) {
        data[i] = (uint8_t)(i % 251 + i / CHUNK);
    }
    name_it(LOG2, digest, cid);
    name_it(COARSE, coarse, coarse_cid);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    hasher_free(hasher);
    peer_free(&peer);
    return 0;
}

/* ---- walk. */

struct told {
    unsigned entries, incomplete;
    bool failed, over;
};

static void walk_on(struct walk *w, struct told *told)
{
    struct walk_action a;

    walk_feed(w, peer.buf, writer_len(&peer.w), 0);
    peer_clear(&peer);
    while (walk_next(w, true, 0, &a) != WALK_IDLE) {
        told->entries += a.type == WALK_ENTRY;
        told->incomplete += a.type == WALK_LEAVE && a.text != NULL;
        told->failed |= a.type == WALK_FAIL;
        told->over |= a.type == WALK_END;
        if (a.type == WALK_DIAL) {
            walk_connected(w, 0);
        }
    }
}

/* A blank between names; those with a d are directories. */
static void put_names(uint32_t id, const char *names, const char *cursor)
{
    struct msg_entries_builder b;
    const struct tlv none = {0};

    msg_entries_begin(&b, &peer.w);
    for (const char *at = names; *at != '\0'; at += 3) {
        struct msg_entry e = {
            .file_type = *at == 'd' ? FILE_DIRECTORY : FILE_REGULAR,
            .name = {(const uint8_t *)at, 2}};

        assert_int_equal(msg_entries_add(&b, &e), 0);
    }
    assert_int_equal(msg_entries_finish(&b, peer_text(cursor), true, id,
                                        &none), 0);
}

static int job_walk(void)
{
    struct walk_config config = {.line = {.agent = "t",
                                          .max_chunk_log2 = 20},
                                 .path = (const uint8_t *)"d",
                                 .path_len = 1,
                                 .recursive = true};
    struct walk *w = walk_new(&config, 0);
    struct told told = {0};

    if (w == NULL) {
        return ERR_NOMEM;
    }
    peer_clear(&peer);
    walk_on(w, &told);
    peer_greeting(&peer);
    put_names(1, "d1 d2 f3 ", "x");
    walk_on(w, &told);
    put_names(2, "f1 f2 ", "");
    peer_error(&peer, 3, WIRE_NOT_FOUND);
    put_names(4, "f4 ", "");
    walk_on(w, &told);
    if (!told.failed) { /* nothing is left out in silence */
        assert_true(told.over);
        assert_int_equal(told.entries, 6);
        assert_int_equal(told.incomplete, 1);
    }
    walk_free(w);
    return told.failed ? ERR_NOMEM : 0;
}

/* ---- bulk. */

static bool bulk_on(struct bulk *b, unsigned *good)
{
    struct bulk_action a;

    while (bulk_next(b, 0, &a) != BULK_IDLE && a.type != BULK_FAIL) {
        if (a.type == BULK_DIAL) {
            bulk_connected(b, a.conn, 0);
        } else if (a.type == BULK_STORE) {
            bulk_stored(b, a.item, BULK_STORED, 0);
        }
        *good += a.type == BULK_ITEM && a.outcome == BULK_GOOD;
    }
    return a.type != BULK_FAIL;
}

static int job_bulk(void)
{
    struct bulk_config config = {.line = {.agent = "t",
                                          .max_chunk_log2 = 20},
                                 .items_max = 4,
                                 .small_max = 1 << 20};
    struct bulk_file file = {.path = (const uint8_t *)"f", .path_len = 1};
    struct peer_file info = {.chunk_log2 = LOG2, .version = "v"};
    struct bulk *b = bulk_new(&config, 0);
    struct bulk_chunk chunk;
    unsigned good = 0;
    uint32_t item;
    size_t used;
    bool well;

    if (b == NULL) {
        return ERR_NOMEM;
    }
    assert_int_equal(bulk_add(b, &file, &item), 0);
    well = bulk_on(b, &good);
    peer_clear(&peer);
    peer_greeting(&peer);
    peer_info(&peer, 1, 1, &info);
    peer_done(&peer, 2, 0, 0, "v", NULL);
    if (well) {
        bulk_feed(b, 0, peer.buf, writer_len(&peer.w), &used, &chunk, 0);
        well = bulk_on(b, &good);
        assert_int_equal(good, well);
    }
    bulk_free(b);
    return well ? 0 : ERR_NOMEM;
}

static int job_check(void)
{
    struct transfer_identity id = {.size = sizeof data,
                                   .chunk_log2 = LOG2,
                                   .cid_known = true};
    struct hasher *own = hasher_new_reference();
    int err = own == NULL ? ERR_NOMEM : 0;

    memcpy(id.cid, cid, sizeof cid);
    if (err == 0) {
        err = bulk_check(own, &id, digest[0]);
    }
    assert_int_not_equal(err, ERR_DIGEST);
    hasher_free(own);
    return err;
}

/* ---- transfer. */

struct seen {
    unsigned copies, shrunk;
    bool failed, finished;
};

static void hash(struct transfer *t, const struct transfer_action *a)
{
    for (uint64_t i = a->first; i < a->first + a->count; i++) {
        transfer_hashed(t, i, a->chunk_log2 == LOG2 ? digest[i] : coarse[i],
                        0);
    }
}

static void transfer_on(struct transfer *t, struct seen *seen)
{
    struct transfer_action a;
    struct transfer_chunk chunk;
    size_t used;

    if (writer_len(&peer.w) > 0 && transfer_conn_open(t, 0)) {
        transfer_feed(t, 0, peer.buf, writer_len(&peer.w), &used, &chunk, 0);
    }
    peer_clear(&peer);
    while (!seen->failed && transfer_next(t, 0, &a) != TRANSFER_IDLE) {
        if (a.type == TRANSFER_DIAL) {
            transfer_connected(t, a.conn, 0);
        } else if (a.type == TRANSFER_HASH) {
            hash(t, &a);
        } else if (a.type == TRANSFER_COPY) {
            seen->copies++;
            transfer_copied(t, true, 0);
        }
        seen->shrunk += a.type == TRANSFER_NOTE &&
                        a.note == TRANSFER_NOTE_SHRUNK;
        seen->failed |= a.type == TRANSFER_FAIL;
        seen->finished |= a.type == TRANSFER_FINISH;
    }
}

static struct transfer_config transfer_setup(void)
{
    peer_clear(&peer);
    return (struct transfer_config){.path = (const uint8_t *)"f",
                                    .path_len = 1,
                                    .max_chunk_log2 = 20,
                                    .conns = 1,
                                    .agent = "t"};
}

static int resume(struct transfer *t, uint8_t log2,
                  uint8_t (*digests)[HASH_LEN])
{
    struct transfer_identity id = {.size = sizeof data,
                                   .chunk_log2 = log2,
                                   .strong = true,
                                   .version_len = 1,
                                   .version = "v"};
    int err = transfer_resume(t, &id);

    for (uint64_t i = 0; err == 0 && i < transfer_chunks(t); i++) {
        transfer_hint(t, i, digests[i]);
    }
    return err;
}

static int end(struct transfer *t, const struct seen *seen)
{
    transfer_free(t);
    return seen->failed ? ERR_NOMEM : 0;
}

/* The file has become longer, with another chunk at its beginning: the list
 * is asked for, and all that moved is copied. */
static int job_change(void)
{
    struct transfer_config config = transfer_setup();
    struct peer_file info = {.size = sizeof data + CHUNK,
                             .chunk_log2 = LOG2,
                             .version = "w"};
    uint8_t moved[COUNT + 1][HASH_LEN] = {{1}};
    struct transfer *t = transfer_new(&config, 0);
    struct seen seen = {0};

    memcpy(moved[1], digest[0], sizeof moved - HASH_LEN);
    if (t == NULL || resume(t, LOG2, digest) != 0) {
        transfer_free(t);
        return ERR_NOMEM;
    }
    transfer_on(t, &seen);
    peer_greeting(&peer);
    peer_error(&peer, 1, WIRE_CHANGED);
    transfer_on(t, &seen);
    peer_info(&peer, 2, 2, &info);
    transfer_on(t, &seen);
    peer_digests(&peer, 3, 0, COUNT + 1, LIMIT_BLOCK_LOG2, moved, true);
    transfer_on(t, &seen);
    assert_true(seen.failed || seen.copies == COUNT);
    return end(t, &seen);
}

/* All of it is in another file; the pin is on another grid. */
static int job_donor(void)
{
    struct transfer_config config = transfer_setup();
    struct peer_file info = {.size = sizeof data,
                             .chunk_log2 = LOG2,
                             .version = "v",
                             .cid = cid};
    struct seen seen = {0};
    struct transfer *t;

    config.donor_count = 1;
    config.donors[0].size = sizeof data;
    config.want_chunk_log2 = LOG2;
    config.pinned = true;
    config.pin_log2 = COARSE;
    memcpy(config.pin_cid, coarse_cid, HASH_LEN);
    t = transfer_new(&config, 0);
    if (t == NULL) {
        return ERR_NOMEM;
    }
    transfer_on(t, &seen);
    peer_greeting(&peer);
    peer_info(&peer, 1, 1, &info);
    transfer_on(t, &seen);
    peer_digests(&peer, 2, 0, COUNT, LIMIT_BLOCK_LOG2, digest, true);
    transfer_on(t, &seen);
    if (seen.finished) {
        assert_int_equal(seen.copies, COUNT);
        assert_int_equal(transfer_ledger(t)->reused, sizeof data);
    }
    assert_true(seen.failed || seen.finished ||
                transfer_ledger(t)->have < sizeof data);
    return end(t, &seen);
}

/* The server makes no chunks as large as ours any more; without memory for a
 * finer grid it goes on as before. */
static int job_shrink(void)
{
    struct transfer_config config = transfer_setup();
    struct transfer *t = transfer_new(&config, 0);
    struct seen seen = {0};

    if (t == NULL || resume(t, COARSE, coarse) != 0) {
        transfer_free(t);
        return ERR_NOMEM;
    }
    transfer_on(t, &seen);
    peer_preface(&peer);
    peer_hello(&peer, 64, LOG2);
    peer_error(&peer, 1, WIRE_UNSUPPORTED);
    transfer_on(t, &seen);
    assert_int_equal(transfer_chunks(t),
                     seen.shrunk != 0 ? COUNT : COUNT / 4 + 1);
    return end(t, &seen);
}

/* ---- receipts. */

static int job_receipt(void)
{
    struct receipt r = {.chunk_log2 = LOG2,
                        .size = sizeof data,
                        .chunks = COUNT};
    char lines[COUNT * RECEIPT_LINE_LEN];
    struct hasher *own = hasher_new_reference();
    int err = own == NULL ? ERR_NOMEM : 0;

    memcpy(r.cid, cid, sizeof cid);
    for (size_t i = 0; i < COUNT; i++) {
        receipt_line(digest[i], lines + i * RECEIPT_LINE_LEN);
    }
    r.digests = lines;
    if (err == 0) {
        err = receipt_check(&r, own);
    }
    assert_int_not_equal(err, ERR_DIGEST);
    hasher_free(own);
    return err;
}

FAILING(walk, 10)
FAILING(bulk, 4)
FAILING(check, 10)
FAILING(change, 10)
FAILING(donor, 20)
FAILING(shrink, 6)
FAILING(receipt, 10)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_walk),   cmocka_unit_test(test_bulk),
        cmocka_unit_test(test_check),  cmocka_unit_test(test_change),
        cmocka_unit_test(test_donor),  cmocka_unit_test(test_shrink),
        cmocka_unit_test(test_receipt),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}

#endif
