/* Transfer: life, queries, notes and failure. */
#include "proto/session/transfer.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/data/text.h"
#include "proto/session/transfer_internal.h"

struct transfer *transfer_new(const struct transfer_config *config,
                              uint64_t now)
{
    struct transfer *t = calloc(1, sizeof *t);

    if (t == NULL) {
        return NULL;
    }
    BELAY_ASSERT(!config->in_order || config->donor_count == 0);
    t->config = *config;
    t->now = now;
    t->started = now;
    t->sample_at = now;
    t->tick_at = now;
    t->random = config->seed | 1;
    t->hasher = hasher_new();
    if (t->hasher == NULL) {
        free(t);
        return NULL;
    }
    if (config->pinned) {
        t->anchor = true;
        t->anchor_log2 = config->pin_log2;
        memcpy(t->anchor_cid, config->pin_cid, HASH_LEN);
        /* What was put out in order cannot be hashed again on the pin's
         * grid. */
        if (t->config.want_chunk_log2 == 0 || config->in_order) {
            t->config.want_chunk_log2 = config->pin_log2;
        }
    }
    mirror_init(t);
    seed_init(t);
    t->conn_goal = 1;
    t->conn[0].state = CONN_WAITING;
    t->conn[0].dial_at = now;
    return t;
}

void transfer_free(struct transfer *t)
{
    if (t == NULL) {
        return;
    }
    for (unsigned i = 0; i < TRANSFER_CONNS_MAX; i++) {
        receiver_free(t->conn[i].receiver);
    }
    grid_free(&t->grid);
    grid_free(&t->old);
    seed_free(t);
    list_clear(t);
    free(t->expect);
    free(t->copies);
    hasher_free(t->hasher);
    free(t);
}

int transfer_resume(struct transfer *t,
                    const struct transfer_identity *identity)
{
    int err;

    BELAY_ASSERT(t->phase == PHASE_NEW && t->grid.state == NULL);
    err = grid_init(&t->grid, identity->size, identity->chunk_log2);
    if (err != 0) {
        return err;
    }
    t->identity = *identity;
    t->any_weak = !identity->strong;
    t->cid_recorded = identity->cid_known && !identity->strong;
    t->ledger.size = identity->size;
    t->phase = PHASE_FETCH;
    return 0;
}

void transfer_hint(struct transfer *t, uint64_t index,
                   const uint8_t digest[HASH_LEN])
{
    if (index >= t->grid.count ||
        grid_state(&t->grid, index) != CHUNK_MISSING) {
        return;
    }
    memcpy(t->grid.digest[index], digest, HASH_LEN);
    grid_set(&t->grid, index, CHUNK_HINT, ORIGIN_KEPT);
}

void transfer_fail(struct transfer *t, enum transfer_reason reason,
                   const char *format, ...)
{
    va_list args;

    if (t->phase == PHASE_OVER || t->phase == PHASE_FINISH) {
        return; /* what happens behind a verified file is of no interest */
    }
    t->phase = PHASE_OVER;
    t->reason = reason;
    va_start(args, format);
    text_vprint(t->detail, sizeof t->detail, format, args);
    va_end(args);
}

void transfer_say(struct transfer *t, const struct note *note)
{
    /* A full ring drops the newest: notes are for people, and a flood of
     * them says no more than its beginning. */
    if (t->note_count == NOTES_MAX) {
        return;
    }
    t->notes[(t->note_head + t->note_count) % NOTES_MAX] = *note;
    t->note_count++;
}

void transfer_peer_text(char *out, size_t cap, const uint8_t *text,
                        size_t len)
{
    (void)text_escape(out, cap, text, len);
}

/* ---- queries. */

struct receiver *transfer_receiver(struct transfer *t, unsigned conn)
{
    BELAY_ASSERT(conn < TRANSFER_CONNS_MAX);
    return t->conn[conn].receiver;
}

bool transfer_conn_open(const struct transfer *t, unsigned conn)
{
    BELAY_ASSERT(conn < TRANSFER_CONNS_MAX);
    return t->conn[conn].state == CONN_UP;
}

const struct transfer_identity *transfer_identity(const struct transfer *t)
{
    return &t->identity;
}

uint64_t transfer_chunks(const struct transfer *t)
{
    return t->grid.count;
}

bool transfer_have(const struct transfer *t, uint64_t index)
{
    return t->phase != PHASE_REGRID && !t->need_rebase &&
           index < t->grid.count &&
           grid_state(&t->grid, index) == CHUNK_HAVE;
}

const uint8_t *transfer_digest(const struct transfer *t, uint64_t index)
{
    BELAY_ASSERT(index < t->grid.count);
    return t->grid.digest[index];
}

const struct transfer_ledger *transfer_ledger(const struct transfer *t)
{
    return &t->ledger;
}

unsigned transfer_sources(const struct transfer *t)
{
    return t->source_count;
}

unsigned transfer_conn_source(const struct transfer *t, unsigned conn)
{
    BELAY_ASSERT(conn < TRANSFER_CONNS_MAX);
    return t->conn[conn].source;
}

void transfer_source_stats(const struct transfer *t, unsigned source,
                           struct transfer_source_stats *out)
{
    BELAY_ASSERT(source < t->source_count);
    *out = t->source[source].stats;
    out->aside = t->source[source].aside;
}

const char *transfer_detail(const struct transfer *t)
{
    return t->detail;
}

unsigned transfer_conns_used(const struct transfer *t)
{
    return conn_count_up(t);
}

const char *transfer_reason_name(enum transfer_reason reason)
{
    static const char *const names[] = {
        [TRANSFER_OK] = "ok",
        [TRANSFER_REFUSED] = "refused",
        [TRANSFER_ACCESS] = "access",
        [TRANSFER_DISTRUSTED] = "distrusted",
        [TRANSFER_UNREACHABLE] = "unreachable",
        [TRANSFER_SERVER] = "server",
        [TRANSFER_NOT_BELAY] = "not-belay",
        [TRANSFER_VERSION] = "version",
        [TRANSFER_PROTOCOL] = "protocol",
        [TRANSFER_WRONG_CONTENT] = "wrong-content",
        [TRANSFER_CHANGED] = "changed",
        [TRANSFER_TOO_LARGE] = "too-large",
        [TRANSFER_NOT_A_FILE] = "not-a-file",
        [TRANSFER_NOT_A_DIRECTORY] = "not-a-directory",
        [TRANSFER_UNREADABLE] = "unreadable",
        [TRANSFER_NOMEM] = "no-memory",
    };

    return names[reason];
}
