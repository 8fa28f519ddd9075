#include "tests/sim/source.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/check.h"
#include "proto/data/cid.h"
#include "proto/data/merkle.h"

static void *need(void *p)
{
    BELAY_ASSERT(p != NULL);
    return p;
}

/* ---- contents. */

/* Bytes from `at` to the end. */
static void fill(struct source *s, struct pages *data, uint64_t at,
                 uint64_t end)
{
    /* Some chunks are zero, some compress, most are noise. */
    while (at < end) {
        uint64_t block[128];
        uint64_t step = sizeof block;
        unsigned kind = (unsigned)rng_below(&s->rng, 8);

        if (step > end - at) {
            step = end - at;
        }
        if (kind == 0) {
            at += end - at < 8192 ? end - at : 8192;
            continue; /* these are zeros */
        }
        if (kind == 1) {
            memset(block, (int)rng_below(&s->rng, 256), sizeof block);
        } else {
            for (unsigned k = 0; k < 128; k++) {
                block[k] = rng_next(&s->rng);
            }
        }
        pages_write(data, at, block, step);
        at += step;
    }
}

static struct content *content_new(struct source *s, uint64_t size,
                                   uint64_t now)
{
    struct content *c = need(calloc(1, sizeof *c));

    c->size = size;
    pages_resize(&c->data, size);
    c->born = now;
    c->died = UINT64_MAX;
    c->next = s->contents;
    s->contents = c;
    return c;
}

static struct inode *inode_new(struct source *s, struct content *content,
                               uint64_t now)
{
    struct inode *i = need(calloc(1, sizeof *i));

    i->number = s->next_inode++;
    i->content = content;
    i->changed_at = now;
    i->next = s->inodes;
    s->inodes = i;
    return i;
}

void source_init(struct source *s, uint64_t seed, uint64_t size,
                 uint64_t tick_ms)
{
    struct content *c;

    memset(s, 0, sizeof *s);
    s->rng.state = seed;
    s->hasher = need(hasher_new());
    s->tick_ms = tick_ms;
    s->racy_ms = 2000;
    s->next_inode = 1;
    c = content_new(s, size, 0);
    fill(s, &c->data, 0, size);
    s->path = inode_new(s, c, 0);
}

void source_copy(struct source *s, const struct content *content,
                 uint64_t tick_ms)
{
    source_init(s, 0, 0, tick_ms);
    s->contents->size = content->size;
    pages_share(&s->contents->data, 0, &content->data, 0, content->size);
}

void source_blank(struct source *s, uint64_t size)
{
    s->contents->size = size;
    pages_resize(&s->contents->data, 0);
    pages_resize(&s->contents->data, size);
}

void source_free(struct source *s)
{
    while (s->inodes != NULL) {
        struct inode *i = s->inodes;

        s->inodes = i->next;
        free(i);
    }
    while (s->contents != NULL) {
        struct content *c = s->contents;

        s->contents = c->next;
        pages_clear(&c->data);
        free(c);
    }
    source_forget(s);
    hasher_free(s->hasher);
}

/* ---- changes. */

static void spoil_at(struct content *c, uint64_t at)
{
    uint8_t byte;

    pages_read(&c->data, at, &byte, 1);
    byte ^= 0x5A;
    pages_write(&c->data, at, &byte, 1);
}

static void spoil_byte(struct source *s, struct content *c)
{
    spoil_at(c, rng_below(&s->rng, c->size));
}

/* The new content of one change; the old one is untouched. */
static struct content *mutate(struct source *s, const struct content *old,
                              uint64_t now, unsigned chunk_log2)
{
    uint64_t chunk = (uint64_t)1 << chunk_log2;
    uint64_t size = old->size;
    unsigned kind = (unsigned)rng_below(&s->rng, 8);
    struct content *c;

    if (kind == 0) {
        size = old->size / 2;
    } else if (kind == 1) {
        size = old->size + rng_between(&s->rng, 1, 3 * chunk);
    } else if (kind == 2 || kind == 3) {
        size = old->size + chunk; /* whole chunks move */
    } else if (kind == 4 && old->size > chunk) {
        size = old->size - chunk;
    }
    c = content_new(s, size, now);
    if (kind == 2 || kind == 3) {
        fill(s, &c->data, 0, chunk);
        pages_share(&c->data, chunk, &old->data, 0, old->size);
    } else if (kind == 4 && old->size > chunk) {
        pages_share(&c->data, 0, &old->data, chunk, size);
    } else {
        uint64_t same = size < old->size ? size : old->size;

        pages_share(&c->data, 0, &old->data, 0, same);
        fill(s, &c->data, same, size);
    }
    if (size > 0 && kind > 4) {
        unsigned spots = (unsigned)rng_between(&s->rng, 1, 3);

        while (spots-- > 0) {
            spoil_byte(s, c);
        }
    }
    return c;
}

void source_change(struct source *s, uint64_t now, unsigned chunk_log2)
{
    struct inode *inode = s->path;
    struct content *old;
    struct content *new;
    unsigned how = (unsigned)rng_below(&s->rng, 10);

    if (inode == NULL) {
        return;
    }
    s->changes++;
    old = inode->content;
    if (how == 0) { /* touched only */
        inode->changed_at = now;
        return;
    }
    if (how == 1) { /* replaced by a copy of itself */
        s->path = inode_new(s, old, now);
        return;
    }
    new = mutate(s, old, now, chunk_log2);
    old->died = now;
    if (how <= 5) {
        inode->content = new; /* in place: open handles see it */
        inode->changed_at = now;
    } else {
        /* Renamed over: open handles keep the old file. */
        s->path = inode_new(s, new, now);
        old->died = UINT64_MAX;
    }
}

void source_sly_change(struct source *s, struct inode *inode, uint64_t now)
{
    struct content *old = inode->content;
    struct content *new = content_new(s, old->size, now);
    unsigned spots = (unsigned)rng_between(&s->rng, 1, 3);

    s->changes++;
    pages_share(&new->data, 0, &old->data, 0, old->size);
    if (rng_percent(&s->rng, 20)) {
        for (uint64_t at = 0; at < new->size; at += 1 << 12) {
            spoil_at(new, at);
        }
    }
    while (spots-- > 0 && new->size > 0) {
        spoil_byte(s, new);
    }
    old->died = now;
    inode->content = new;
    inode->changed_at = now;
}

void source_vanish(struct source *s)
{
    if (s->path != NULL) {
        s->hidden = s->path;
        s->path = NULL;
    }
}

void source_return(struct source *s)
{
    if (s->path == NULL) {
        s->path = s->hidden;
    }
}

/* ---- versions. */

struct source_stat source_fstat(const struct source *s,
                                const struct inode *inode, uint64_t now)
{
    return (struct source_stat){
        .inode = inode->number,
        .size = inode->content->size,
        .tick = inode->changed_at / s->tick_ms,
        .strong = now >= inode->changed_at + s->racy_ms,
    };
}

bool source_same(const struct source_stat *a, const struct source_stat *b)
{
    return a->inode == b->inode && a->size == b->size && a->tick == b->tick;
}

struct memo *source_memo(struct source *s, const struct source_stat *st,
                         uint8_t chunk_log2)
{
    struct memo *m;

    for (m = s->memos; m != NULL; m = m->next) {
        if (source_same(&m->of, st) && m->chunk_log2 == chunk_log2) {
            return m;
        }
    }
    m = need(calloc(1, sizeof *m));
    m->of = *st;
    m->chunk_log2 = chunk_log2;
    m->count = cid_chunk_count(st->size, chunk_log2);
    m->has = need(calloc(m->count + 1, sizeof *m->has));
    m->digest = need(calloc(m->count + 1, HASH_LEN));
    m->next = s->memos;
    s->memos = m;
    return m;
}

void memo_learn(struct source *s, struct memo *m, uint64_t index,
                const uint8_t digest[HASH_LEN])
{
    uint8_t root[HASH_LEN];

    if (index < m->count && !m->has[index]) {
        m->has[index] = true;
        memcpy(m->digest[index], digest, HASH_LEN);
        m->known++;
    }
    if (m->known == m->count && !m->cid_known) {
        int err = merkle_root(s->hasher, m->of.size, m->chunk_log2,
                              m->digest[0], m->count, root);

        BELAY_ASSERT(err == 0);
        err = cid_from_root(s->hasher, m->of.size, m->chunk_log2, root,
                            m->cid);
        BELAY_ASSERT(err == 0);
        m->cid_known = true;
    }
}

void source_forget(struct source *s)
{
    while (s->memos != NULL) {
        struct memo *m = s->memos;

        s->memos = m->next;
        free(m->has);
        free(m->digest);
        free(m);
    }
}

/* ---- judging. */

const struct content *source_find(const struct source *s,
                                  const struct pages *data, uint64_t since)
{
    for (const struct content *c = s->contents; c != NULL; c = c->next) {
        if (c->died >= since && pages_equal(&c->data, data)) {
            return c;
        }
    }
    return NULL;
}

const struct content *source_first(const struct source *s)
{
    const struct content *c = s->contents;

    while (c->next != NULL) {
        c = c->next;
    }
    return c;
}

void content_cid(struct source *s, const struct content *c,
                 uint8_t chunk_log2, uint8_t cid[HASH_LEN])
{
    uint64_t count = cid_chunk_count(c->size, chunk_log2);
    uint8_t(*digest)[HASH_LEN] = need(calloc(count + 1, HASH_LEN));
    uint8_t *chunk = need(malloc((size_t)1 << chunk_log2));
    uint8_t root[HASH_LEN];
    int err = 0;

    for (uint64_t i = 0; i < count && err == 0; i++) {
        uint32_t len = cid_chunk_len(c->size, chunk_log2, i);

        pages_read(&c->data, i << chunk_log2, chunk, len);
        err = hash_sha256(s->hasher, chunk, len, digest[i]);
    }
    free(chunk);
    BELAY_ASSERT(err == 0);
    err = merkle_root(s->hasher, c->size, chunk_log2, digest[0], count, root);
    BELAY_ASSERT(err == 0);
    err = cid_from_root(s->hasher, c->size, chunk_log2, root, cid);
    BELAY_ASSERT(err == 0);
    free(digest);
}
