#include "tests/crash/scenario.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/check.h"
#include "proto/base/err.h"
#include "proto/data/hash.h"

struct run {
    const struct scenario *scenario;
    struct scenario_progress *progress;
    struct store_error *why;
    struct store *store;
    struct hasher *hasher;
    uint64_t chunks;
    bool have[SCENARIO_CHUNKS_MAX];
    uint8_t manifest[SCENARIO_CHUNKS_MAX][HASH_LEN];
};

static uint64_t chunk_len(const struct run *run, uint64_t index)
{
    uint64_t left = run->scenario->size - index * SCENARIO_CHUNK;

    return left < SCENARIO_CHUNK ? left : SCENARIO_CHUNK;
}

static uint64_t bit(uint64_t index)
{
    return index < 64 ? UINT64_C(1) << index : 0;
}

uint8_t *scenario_content(uint64_t size, uint32_t seed, uint8_t version)
{
    uint8_t *bytes = malloc((size_t)size + 1);

    BELAY_ASSERT(bytes != NULL);
    for (uint64_t i = 0; i < size; i++) {
        uint64_t chunk = i / SCENARIO_CHUNK;

        seed = seed * 1664525u + 1013904223u;
        bytes[i] = (uint8_t)(seed >> 24);
        if (chunk % 2 == 1) {
            bytes[i] ^= version;
        }
    }
    return bytes;
}

static void make_identity(const struct run *run, bool cid_known,
                          struct journal_identity *id)
{
    memset(id, 0, sizeof *id);
    id->size = run->scenario->size;
    id->chunk_log2 = SCENARIO_LOG2;
    id->version_len = 1;
    id->version[0] = run->scenario->version;
    id->version_strong = true;
    id->cid_known = cid_known;
    memset(id->cid, cid_known ? run->scenario->version : 0, HASH_LEN);
}

static int make_manifest(struct run *run)
{
    run->chunks = (run->scenario->size + SCENARIO_CHUNK - 1) / SCENARIO_CHUNK;
    BELAY_ASSERT(run->chunks <= SCENARIO_CHUNKS_MAX);
    for (uint64_t i = 0; i < run->chunks; i++) {
        int rc = hash_sha256(run->hasher,
                             run->scenario->content + i * SCENARIO_CHUNK,
                             (size_t)chunk_len(run, i), run->manifest[i]);

        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

/* Are the bytes of this chunk in the partial the right ones? */
static int check_chunk(struct run *run, uint64_t index, bool *right)
{
    uint8_t bytes[SCENARIO_CHUNK];
    uint8_t digest[HASH_LEN];
    size_t len = (size_t)chunk_len(run, index);
    int rc = store_pread(run->store, index * SCENARIO_CHUNK, bytes, len,
                         run->why);

    if (rc == 0) {
        rc = hash_sha256(run->hasher, bytes, len, digest);
    }
    *right = rc == 0 && memcmp(digest, run->manifest[index], HASH_LEN) == 0;
    return rc;
}

static void keep(struct run *run, uint64_t index)
{
    run->have[index] = true;
    run->progress->kept |= bit(index);
}

/* The same version: chunks with a hint, as far as their bytes are right. */
static int resume(struct run *run)
{
    uint64_t next = 0;

    while (next < run->chunks) {
        struct store_hint hints[16];
        size_t count = 16;
        int rc = store_hints(run->store, &next, hints, &count, run->why);

        for (size_t i = 0; rc == 0 && i < count; i++) {
            bool right = false;

            if (run->scenario->trust_journal) {
                right = true;
            } else if (memcmp(hints[i].digest,
                              run->manifest[hints[i].index],
                              HASH_LEN) == 0) {
                rc = check_chunk(run, hints[i].index, &right);
            }
            if (rc == 0 && right) {
                keep(run, hints[i].index);
                run->progress->marked |= bit(hints[i].index);
            }
        }
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

static int mark(struct run *run, uint64_t index)
{
    int rc = store_mark(run->store, index, 1,
                        (const uint8_t(*)[HASH_LEN])run->manifest[index],
                        run->why);

    if (rc == 0) {
        run->progress->marked |= bit(index);
    }
    return rc;
}

/* Another version: local chunks that fit the new manifest stay. */
static int rebase(struct run *run)
{
    struct journal_identity id;
    int rc;

    make_identity(run, false, &id);
    rc = store_rebase(run->store, &id, run->why);
    for (uint64_t i = 0; rc == 0 && i < run->chunks; i++) {
        bool right;

        rc = check_chunk(run, i, &right);
        if (rc == 0 && right) {
            keep(run, i);
            rc = mark(run, i);
        }
    }
    return rc;
}

static int begin(struct run *run)
{
    struct journal_identity id;
    int rc = store_space(run->store, run->scenario->size, run->why);

    make_identity(run, false, &id);
    if (rc == 0) {
        rc = store_begin(run->store, &id, run->why);
    }
    return rc;
}

static int go_on(struct run *run)
{
    struct journal_identity id;
    enum store_reread reread;
    bool same;
    int rc;

    make_identity(run, true, &id);
    same = journal_identity_same(&id, store_identity(run->store));
    rc = store_resume_prepare(run->store, &reread, run->why);
    if (rc != 0) {
        return rc;
    }
    return same ? resume(run) : rebase(run);
}

static int fetch_one(struct run *run, uint64_t index)
{
    uint64_t at = index * SCENARIO_CHUNK;
    /* In two pieces, as chunks come. */
    size_t len = (size_t)chunk_len(run, index);
    uint8_t *bytes = (uint8_t *)(uintptr_t)run->scenario->content + at;
    struct iovec iov[2] = {{bytes, len / 2}, {bytes + len / 2, len - len / 2}};
    int rc = store_pwrite(run->store, at, iov, 2, run->why);

    if (rc == 0) {
        run->progress->fetched++;
        rc = mark(run, index);
    }
    if (rc == 0) {
        store_writeback_hint(run->store, at, len);
    }
    return rc;
}

static int fetch(struct run *run)
{
    uint64_t since = 0;
    struct journal_identity id;

    for (uint64_t i = 0; i < run->chunks; i++) {
        int rc;

        if (run->have[i]) {
            continue;
        }
        rc = fetch_one(run, i);
        if (rc == 0 && ++since == run->scenario->sync_every) {
            uint64_t marked = run->progress->marked;

            since = 0;
            rc = store_sync(run->store, run->why);
            if (rc == 0) {
                run->progress->synced = marked;
            }
        }
        if (rc == 0 && i == 0) {
            /* The CID becomes known on the way. */
            make_identity(run, true, &id);
            rc = store_update_identity(run->store, &id, run->why);
        }
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

static int finish(struct run *run)
{
    static const struct store_attrs attrs = {0644, true, 1000000000, 5};
    unsigned int warnings;
    int rc = store_finish(run->store, &attrs, &warnings, run->why);

    if (rc == 0) {
        run->progress->success = true;
    }
    return rc;
}

/* A finished file was found: the wanted version, or an older one? */
static int settle_or_begin(struct run *run, bool *settled)
{
    struct journal_identity id;
    unsigned int warnings;
    int rc;

    make_identity(run, true, &id);
    *settled = journal_identity_same(&id, store_identity(run->store));
    if (!*settled) {
        return begin(run);
    }
    rc = store_settle(run->store, &warnings, run->why);
    if (rc == 0) {
        run->progress->success = true;
    }
    return rc;
}

static int transfer(struct run *run)
{
    bool settled = false;
    int rc;

    switch (run->progress->found) {
    case STORE_FOUND_DONE:
        rc = settle_or_begin(run, &settled);
        break;
    case STORE_FOUND_PARTIAL:
        rc = go_on(run);
        break;
    default:
        rc = begin(run);
        break;
    }
    if (rc != 0 || settled) {
        return rc;
    }
    run->progress->begun = true;
    rc = fetch(run);
    return rc != 0 ? rc : finish(run);
}

int scenario_run(const struct scenario *scenario,
                 struct scenario_progress *progress, struct store_error *why)
{
    struct run run = {.scenario = scenario, .progress = progress, .why = why};
    struct store_opts opts = {scenario->dir_fd, scenario->dir_path,
                              scenario->name, scenario->policy,
                              NULL, scenario->sys, NULL};
    struct store_report report;
    int rc;
    int closed;

    memset(progress, 0, sizeof *progress);
    memset(why, 0, sizeof *why);
    run.hasher = hasher_new();
    if (run.hasher == NULL) {
        return ERR_NOMEM;
    }
    rc = make_manifest(&run);
    if (rc == 0) {
        rc = store_open(&opts, &run.store, &report, why);
    }
    if (rc == 0) {
        progress->found = report.found;
        rc = transfer(&run);
        closed = store_close(run.store, rc == 0 ? why : NULL);
        rc = rc != 0 ? rc : closed;
    }
    hasher_free(run.hasher);
    return rc;
}
