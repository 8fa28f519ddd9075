/* Source: the file on the server, with everything that can happen to it.
 *
 * A path names an inode, an inode has a content and the time of its last
 * change.  The version token is made of what fstat tells: inode, size and the
 * time in ticks of the file system; it is strong once the last change is
 * longer ago than the racy window.  So two changes within one tick look the
 * same, as they do in life.
 *
 * Every content that ever was is kept: a download has to equal one of them. */
#ifndef TESTS_SIM_SOURCE_H
#define TESTS_SIM_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/data/hash.h"
#include "tests/sim/pages.h"
#include "tests/sim/rand.h"

struct content {
    struct content *next;
    uint64_t size;
    struct pages data;
    uint64_t born;
    uint64_t died; /* UINT64_MAX while it is current */
};

/* What one fstat tells. */
struct source_stat {
    uint64_t inode;
    uint64_t size;
    uint64_t tick;
    bool strong;
};

/* Digests that the server computed for one strong version and grid. */
struct memo {
    struct memo *next;
    struct source_stat of;
    uint8_t chunk_log2;
    uint64_t count;
    uint64_t known;
    bool *has;
    uint8_t (*digest)[HASH_LEN];
    bool cid_known;
    uint8_t cid[HASH_LEN];
};

struct inode {
    struct inode *next;
    uint64_t number;
    uint64_t changed_at;
    struct content *content;
};

struct source {
    struct rng rng;
    struct hasher *hasher;
    uint64_t tick_ms;
    uint64_t racy_ms;
    struct inode *path; /* NULL: it is gone */
    struct inode *inodes;
    struct inode *hidden; /* what the path was before it vanished */
    struct content *contents;
    struct memo *memos;
    uint64_t next_inode;
    unsigned changes;
};

void source_init(struct source *s, uint64_t seed, uint64_t size,
                 uint64_t tick_ms);
/* Another server with a copy of this content. */
void source_copy(struct source *s, const struct content *content,
                 uint64_t tick_ms);
/* Instead of the first content: so many zeros. */
void source_blank(struct source *s, uint64_t size);
void source_free(struct source *s);

/* One random event: bytes change, shift, the file shrinks, grows, is replaced
 * by another, or is touched only. */
void source_change(struct source *s, uint64_t now, unsigned chunk_log2);
/* A change that fstat shows at most by its time, in place: of some bytes, or
 * of every chunk. */
void source_sly_change(struct source *s, struct inode *inode, uint64_t now);
void source_vanish(struct source *s);
void source_return(struct source *s);

struct source_stat source_fstat(const struct source *s,
                                const struct inode *inode, uint64_t now);
bool source_same(const struct source_stat *a, const struct source_stat *b);

/* The digests remembered for this version at this grid; made when new. */
struct memo *source_memo(struct source *s, const struct source_stat *st,
                         uint8_t chunk_log2);
void memo_learn(struct source *s, struct memo *m, uint64_t index,
                const uint8_t digest[HASH_LEN]);
/* The server was started again. */
void source_forget(struct source *s);

/* The content that equals this file and was current at some time since
 * `since`; NULL if none. */
const struct content *source_find(const struct source *s,
                                  const struct pages *data, uint64_t since);
/* What it was in the beginning. */
const struct content *source_first(const struct source *s);
void content_cid(struct source *s, const struct content *c,
                 uint8_t chunk_log2, uint8_t cid[HASH_LEN]);

#endif
