/* Walk with real senders at the other end, over a tree that is a function of
 * its paths; so what must be told next in a directory is always known. */

#ifndef TESTS_UNIT_WALK_FIXTURE_H
#define TESTS_UNIT_WALK_FIXTURE_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <setjmp.h>
#include <cmocka.h>

#include "proto/base/err.h"
#include "proto/base/limits.h"
#include "proto/session/sender.h"
#include "proto/session/walk.h"
#include "proto/session/walk_internal.h"

#define STEPS_MAX 400000u
#define LINK_BYTES ((size_t)4 << 20)

struct world {
    struct walk *walk;
    struct walk_config config;
    uint64_t now, random, seed;
    unsigned depth_max, dirs_max, files_max, page_max;
    /* Answers one LIST in another way; false: as usual. */
    bool (*hostile)(struct world *w, const struct sender_job *job,
                    struct sender_result *out);
    bool honest; /* what it lists is true all the same */
    unsigned lists; /* LIST requests that came */
    /* The link. */
    bool dialling, up;
    uint64_t up_at;
    struct sender *sender;
    uint8_t *queue;
    size_t len, at;
    uint64_t received, cut_received;
    uint32_t cut_every;
    bool rough;
    unsigned dials;
    /* What was told. */
    unsigned begun, left, entries, refused, incomplete;
    char text[200]; /* why the last one is incomplete, or the end */
    bool done, failed;
    enum transfer_reason reason;
    const char *prune; /* name of directories to leave out */
};

static inline uint32_t pick(struct world *w, uint32_t bound)
{
    w->random =
        w->random * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (uint32_t)(w->random >> 33) % bound;
}

/* ---- the tree. */

struct shape {
    uint32_t dirs, files;
};

static inline struct shape shape_of(const struct world *w, const char *path)
{
    uint64_t hash = w->seed + 1469598103934665603u;
    unsigned depth = 0;

    for (; *path != '\0'; path++) {
        hash = (hash ^ (unsigned char)*path) * UINT64_C(1099511628211);
        depth += *path == '/';
    }
    hash ^= hash >> 29;
    return (struct shape){
        depth < w->depth_max ? (uint32_t)(hash % (w->dirs_max + 1)) : 0,
        (uint32_t)((hash >> 20) % (w->files_max + 1))};
}

/* The k-th entry; its name is in `name`. */
static inline struct msg_entry entry_of(const struct shape *s, uint32_t k,
                                        char name[16])
{
    struct msg_entry e = {.mtime_s = 7, .mode = 0755};
    bool dir = k < s->dirs;

    (void)snprintf(name, 16, "%c%05u", dir ? 'd' : 'f',
                   dir ? k : k - s->dirs);
    e.file_type = dir ? FILE_DIRECTORY : FILE_REGULAR;
    e.size = dir ? 0 : k;
    e.name = (struct bytes_view){(const uint8_t *)name, strlen(name)};
    return e;
}

static inline unsigned count_dirs(const struct world *w, const char *path)
{
    struct shape s = shape_of(w, path);
    size_t len = strlen(path);
    unsigned sum = 1;

    for (uint32_t k = 0; k < s.dirs; k++) {
        char below[256];

        assert_true(len < sizeof below - 20);
        memcpy(below, path, len);
        (void)snprintf(below + len, 20, "/d%05u", k);
        sum += count_dirs(w, below);
    }
    return sum;
}

/* ---- the server. */

static inline void put_entries(const struct sender_job *job,
                               const struct msg_entry *entry, uint32_t count,
                               const void *cursor, size_t cursor_len,
                               struct sender_result *out)
{
    struct msg_entries_builder b;
    struct tlv none = {0};
    struct writer writer;

    writer_init(&writer, job->list.out, SENDER_PAGE_BYTES);
    msg_entries_begin(&b, &writer);
    for (uint32_t k = 0; k < count; k++) {
        assert_int_equal(msg_entries_add(&b, &entry[k]), 0);
    }
    assert_int_equal(
        msg_entries_finish(&b, (struct bytes_view){cursor, cursor_len}, true,
                           job->list.request, &none), 0);
    out->out_len = writer_len(&writer);
}

static inline void serve_list(struct world *w, const struct sender_job *job,
                              struct sender_result *out)
{
    struct shape s = shape_of(w, job->list.path);
    struct msg_entry entry[64];
    char name[64][16];
    uint32_t from = 0, count = 0;

    if (job->list.cursor_len > 0) {
        assert_int_equal(job->list.cursor_len, sizeof from);
        memcpy(&from, job->list.cursor, sizeof from);
    }
    while (count < 64 && count < w->page_max &&
           count < job->list.max_entries && from < s.dirs + s.files) {
        entry[count] = entry_of(&s, from++, name[count]);
        count++;
    }
    put_entries(job, entry, count, &from,
                from < s.dirs + s.files ? sizeof from : 0, out);
}

static inline bool link_serve(struct world *w)
{
    static uint8_t buf[SENDER_EMIT_BYTES];
    struct sender_job job;
    struct sender_out out;
    bool moved = false;

    while (sender_next_job(w->sender, w->now, &job)) {
        struct sender_result result = {.code = 0};

        moved = true;
        if (job.type == SENDER_JOB_ABANDON) {
            continue;
        }
        assert_int_equal(job.type, SENDER_JOB_LIST);
        w->lists++;
        if (w->hostile == NULL || !w->hostile(w, &job, &result)) {
            serve_list(w, &job, &result);
        }
        sender_job_done(w->sender, w->now, job.id, &result);
    }
    sender_emit(w->sender, w->now, buf, sizeof buf, &out);
    assert_true(w->len + out.len <= LINK_BYTES);
    memcpy(w->queue + w->len, buf, out.len);
    w->len += out.len;
    sender_wrote(w->sender, w->now, out.len);
    return moved || out.len > 0;
}

/* ---- the link. */

static inline void link_close(struct world *w)
{
    sender_free(w->sender);
    w->sender = NULL;
    w->up = false;
    w->len = 0;
    w->at = 0;
}

static inline void link_cut(struct world *w)
{
    link_close(w);
    walk_lost(w->walk, "the connection was reset", w->now);
}

static inline void link_up(struct world *w)
{
    static const struct sender_config server = {.max_chunk_log2 = 22,
                                                .max_requests = 20,
                                                .max_handles = 16,
                                                .agent = "test"};

    w->dialling = false;
    w->up = true;
    w->received = 0;
    w->cut_received = w->cut_every > 0 ? 1 + pick(w, 2 * w->cut_every) : 0;
    w->sender = sender_new(&server, w->now);
    assert_non_null(w->sender);
    walk_connected(w->walk, w->now);
}

static inline size_t portion(struct world *w, size_t len)
{
    return w->rough && len > 1 ? 1 + pick(w, (uint32_t)len) : len;
}

static inline bool link_send(struct world *w)
{
    const uint8_t *data;
    size_t len;

    if (!walk_conn_open(w->walk) || !sender_wants_read(w->sender)) {
        return false;
    }
    len = portion(w, receiver_out(walk_receiver(w->walk), &data));
    if (len > 0) {
        sender_recv(w->sender, w->now, data, len);
        receiver_sent(walk_receiver(w->walk), len, w->now);
    }
    return len > 0;
}

static inline bool link_receive(struct world *w)
{
    size_t len = portion(w, w->len - w->at);

    if (w->cut_received > 0 && len > w->cut_received - w->received) {
        len = (size_t)(w->cut_received - w->received);
    }
    if (len == 0) {
        if (w->len == w->at && sender_finished(w->sender)) {
            link_cut(w);
            return true;
        }
        return false;
    }
    walk_feed(w->walk, w->queue + w->at, len, w->now);
    w->at += len;
    w->received += len;
    if (w->at == w->len) {
        w->at = 0;
        w->len = 0;
    }
    if (w->received == w->cut_received) {
        link_cut(w);
    }
    return true;
}

#endif
