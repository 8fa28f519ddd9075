/* The pure rooms when memory, libcrypto or zlib fail: for each job and each
 * n, the n-th of their calls fails.  The job ends with an error, never with a
 * wrong result, and as much memory is held behind it as before. */
#include "tests/unit/failing.h"

#include "proto/base/err.h"
#include "proto/data/cid.h"
#include "proto/data/manifest.h"
#include "proto/data/merkle.h"
#include "proto/data/rangeset.h"
#include "proto/data/sign.h"
#include "proto/data/zpack.h"
#include "proto/session/bulk.h"
#include "proto/session/sender.h"
#include "proto/session/walk.h"

#ifdef BELAY_SANITIZED

/* The sanitizers have their own malloc. */
int main(void)
{
    return 77;
}

#else

/* ---- Jobs: 0, or the error that ended them. */

static const uint8_t text[9000] = {1, 2, 3};
static const uint8_t seed[SIGN_SEED_LEN] = {7};

static int job_hash(void)
{
    struct hasher *hasher = hasher_new_reference();
    struct hash_item items[2] = {{.data = text, .len = 100},
                                 {.data = text, .len = 7}};
    uint8_t out[2][HASH_LEN];
    int err = hasher == NULL ? ERR_NOMEM : 0;

    items[0].out = out[0];
    items[1].out = out[1];
    if (err == 0) {
        err = hash_sha256_many(hasher, items, 2);
    }
    if (err == 0) {
        err = hash_prefixed(hasher, 1, text, 10, out[0]);
    }
    if (err == 0) {
        err = hasher_begin(hasher);
    }
    if (err == 0) {
        err = hasher_update(hasher, text, 10);
    }
    if (err == 0) {
        err = hasher_final(hasher, out[0]);
    }
    hasher_free(hasher);
    return err;
}

static int prove(struct hasher *hasher, uint8_t (*digest)[HASH_LEN],
                 uint8_t *nodes, uint8_t root[HASH_LEN])
{
    uint8_t path[LIMIT_PROOF * HASH_LEN];
    struct merkle_proof proof = {.index = 2, .count = 6, .path = path};
    int err = merkle_root(hasher, 6 << 12, 12, digest[0], 6, root);

    memcpy(nodes, digest, (size_t)6 * HASH_LEN);
    if (err == 0) {
        err = merkle_tree_build(hasher, nodes, 6);
    }
    if (err != 0) {
        return err;
    }
    proof.entry = digest[2];
    proof.path_len = merkle_tree_path(nodes, 6, 0, 2, path);
    proof.root = merkle_tree_root(nodes, 6);
    return merkle_verify(hasher, &proof);
}

static int job_merkle(void)
{
    struct hasher *hasher = hasher_new();
    uint8_t digest[6][HASH_LEN] = {{1}, {2}, {3}, {4}, {5}, {6}};
    uint8_t *nodes = malloc((size_t)merkle_tree_len(6) * HASH_LEN);
    uint8_t root[HASH_LEN];
    int err = hasher == NULL || nodes == NULL ? ERR_NOMEM : 0;

    if (err == 0) {
        err = prove(hasher, digest, nodes, root);
    }
    if (err == 0) {
        err = cid_from_root(hasher, 6 << 12, 12, root, root);
    }
    free(nodes);
    hasher_free(hasher);
    return err;
}

static int job_sign(void)
{
    uint8_t public_key[SIGN_PUBLIC_LEN];
    uint8_t signature[SIGN_LEN];
    uint8_t back[SIGN_SEED_LEN];
    char pem[SIGN_PEM_MAX];
    int err = sign_public(seed, public_key);

    if (err == 0) {
        err = sign_make(seed, text, 100, signature);
    }
    if (err == 0) {
        err = sign_check(public_key, text, 100, signature);
    }
    if (err == 0) {
        err = sign_pem_encode(seed, pem);
    }
    if (err == 0) {
        err = sign_pem_decode(pem, strlen(pem), back);
    }
    if (err == 0) {
        assert_memory_equal(back, seed, sizeof seed);
    }
    return err;
}

static int pack(struct zpack *zpack)
{
    uint8_t small[sizeof text];
    uint8_t back[sizeof text];
    struct zpack_out out = {.bytes = small, .cap = sizeof small};
    int err = 0;

    for (unsigned twice = 0; err == 0 && twice < 2; twice++) {
        err = zpack_deflate(zpack, 1, text, sizeof text, &out);
        if (err == 0) {
            err = zpack_inflate(zpack, small, out.len, back, sizeof back);
        }
        if (err == 0) {
            assert_memory_equal(back, text, sizeof text);
        }
    }
    return err;
}

static int job_zpack(void)
{
    struct zpack *zpack = zpack_new();
    int err = zpack == NULL ? ERR_NOMEM : pack(zpack);

    zpack_free(zpack);
    if (err == 0) {
        zpack = zpack_new_zlib();
        err = zpack == NULL ? ERR_NOMEM : pack(zpack);
        zpack_free(zpack);
    }
    return err;
}

static int job_rangeset(void)
{
    struct rangeset set;
    int err = 0;

    rangeset_init(&set, 100);
    for (uint64_t i = 0; err == 0 && i < 100; i++) {
        err = rangeset_add(&set, 3 * i, 3 * i + 1);
    }
    rangeset_check(&set);
    rangeset_free(&set);
    return err;
}

static int job_transfer(void)
{
    struct transfer_config config = {.path = (const uint8_t *)"f",
                                     .path_len = 1,
                                     .max_chunk_log2 = 20,
                                     .agent = "t"};
    struct transfer_identity id = {.size = 1 << 20,
                                   .chunk_log2 = 12,
                                   .version_len = 1};
    struct transfer *t = transfer_new(&config, 0);
    struct transfer_action a;
    int err = t == NULL ? ERR_NOMEM : transfer_resume(t, &id);

    if (err == 0) {
        while (transfer_next(t, 0, &a) != TRANSFER_IDLE &&
               a.type != TRANSFER_FAIL) {
            if (a.type == TRANSFER_DIAL) {
                transfer_connected(t, a.conn, 0);
            }
        }
        err = a.type == TRANSFER_FAIL ? ERR_NOMEM : 0;
    }
    transfer_free(t);
    return err;
}

static int job_bulk(void)
{
    struct bulk_config config = {.line = {.agent = "t",
                                          .max_chunk_log2 = 20},
                                 .items_max = 4,
                                 .small_max = 1 << 20};
    struct bulk_file file = {.path = (const uint8_t *)"f", .path_len = 1};
    struct bulk *b = bulk_new(&config, 0);
    struct bulk_action a;
    uint32_t item;
    int err = b == NULL ? ERR_NOMEM : bulk_add(b, &file, &item);

    if (err == 0) {
        while (bulk_next(b, 0, &a) != BULK_IDLE && a.type != BULK_FAIL) {
            if (a.type == BULK_DIAL) {
                bulk_connected(b, a.conn, 0);
            }
        }
        err = a.type == BULK_FAIL ? ERR_NOMEM : 0;
    }
    bulk_free(b);
    return err;
}

static int job_walk(void)
{
    struct walk_config config = {.line = {.agent = "t",
                                          .max_chunk_log2 = 20},
                                 .path = (const uint8_t *)"d",
                                 .path_len = 1};
    struct walk *w = walk_new(&config, 0);
    struct walk_action a;
    int err = w == NULL ? ERR_NOMEM : 0;

    if (err == 0) {
        while (walk_next(w, true, 0, &a) != WALK_IDLE && a.type != WALK_FAIL) {
            if (a.type == WALK_DIAL) {
                walk_connected(w, 0);
            }
        }
        err = a.type == WALK_FAIL ? ERR_NOMEM : 0;
    }
    walk_free(w);
    return err;
}

static int job_sender(void)
{
    struct sender_config config = {.max_chunk_log2 = 20, .agent = "t"};
    struct sender *s = sender_new(&config, 0);
    int err = s == NULL ? ERR_NOMEM : 0;

    sender_free(s);
    return err;
}

FAILING(hash, 10)
FAILING(merkle, 20)
FAILING(sign, 10)
FAILING(zpack, 5)
FAILING(rangeset, 2)
FAILING(transfer, 4)
FAILING(bulk, 3)
FAILING(walk, 3)
FAILING(sender, 1)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hash),     cmocka_unit_test(test_merkle),
        cmocka_unit_test(test_sign),     cmocka_unit_test(test_zpack),
        cmocka_unit_test(test_rangeset), cmocka_unit_test(test_transfer),
        cmocka_unit_test(test_bulk),     cmocka_unit_test(test_walk),
        cmocka_unit_test(test_sender),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#endif
