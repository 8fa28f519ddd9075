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

static void fill(struct source *s, uint8_t *data, uint64_t len)
{
    /* Some chunks are zero, some compress, most are noise. */
    for (uint64_t at = 0; at < len;) {
        uint64_t step = 1024;
        unsigned kind = (unsigned)rng_below(&s->rng, 8);

        if (step > len - at) {
            step = len - at;
        }
        if (kind == 0) {
            step = len - at < 8192 ? len - at : 8192;
            memset(data + at, 0, step);
        } else if (kind == 1) {
            memset(data + at, (int)rng_below(&s->rng, 256), step);
        } else {
            for (uint64_t k = 0; k < step; k += 8) {
                uint64_t v = rng_next(&s->rng);
                size_t n = step - k < 8 ? (size_t)(step - k) : 8;

                memcpy(data + at + k, &v, n);
            }
        }
        at += step;
    }
}

static struct content *content_new(struct source *s, uint64_t size,
                                   uint64_t now)
{
    struct content *c = need(calloc(1, sizeof *c));

    c->size = size;
    c->data = need(calloc(1, size + 1));
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
    fill(s, c->data, size);
    s->path = inode_new(s, c, 0);
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
        free(c->data);
        free(c);
    }
    source_forget(s);
    hasher_free(s->hasher);
}

/* ---- changes. */

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
        fill(s, c->data, chunk);
        memcpy(c->data + chunk, old->data, old->size);
    } else if (kind == 4 && old->size > chunk) {
        memcpy(c->data, old->data + chunk, size);
    } else {
        uint64_t same = size < old->size ? size : old->size;

        memcpy(c->data, old->data, same);
        fill(s, c->data + same, size - same);
    }
    if (size > 0 && kind > 4) {
        unsigned spots = (unsigned)rng_between(&s->rng, 1, 3);

        while (spots-- > 0) {
            c->data[rng_below(&s->rng, size)] ^= 0x5A;
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
    memcpy(new->data, old->data, old->size);
    while (spots-- > 0 && new->size > 0) {
        new->data[rng_below(&s->rng, new->size)] ^= 0x5A;
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

const struct content *source_find(const struct source *s, const uint8_t *data,
                                  uint64_t size, uint64_t since)
{
    for (const struct content *c = s->contents; c != NULL; c = c->next) {
        if (c->size == size && c->died >= since &&
            memcmp(c->data, data, size) == 0) {
            return c;
        }
    }
    return NULL;
}

void content_cid(struct source *s, const struct content *c,
                 uint8_t chunk_log2, uint8_t cid[HASH_LEN])
{
    uint64_t count = cid_chunk_count(c->size, chunk_log2);
    uint8_t(*digest)[HASH_LEN] = need(calloc(count + 1, HASH_LEN));
    uint8_t root[HASH_LEN];
    int err = 0;

    for (uint64_t i = 0; i < count && err == 0; i++) {
        err = hash_sha256(s->hasher, c->data + (i << chunk_log2),
                          cid_chunk_len(c->size, chunk_log2, i), digest[i]);
    }
    BELAY_ASSERT(err == 0);
    err = merkle_root(s->hasher, c->size, chunk_log2, digest[0], count, root);
    BELAY_ASSERT(err == 0);
    err = cid_from_root(s->hasher, c->size, chunk_log2, root, cid);
    BELAY_ASSERT(err == 0);
    free(digest);
}
