/* The client's end of walk_fixture.h: what is told, against what is there. */

#ifndef TESTS_UNIT_WALK_CLIENT_H
#define TESTS_UNIT_WALK_CLIENT_H

#include "tests/unit/walk_fixture.h"

struct seen {
    struct shape shape;
    uint32_t next;
};

static inline void dir_begins(struct world *w, struct walk_dir *dir)
{
    char path[LIMIT_PATH + 1];
    struct seen *seen = calloc(1, sizeof *seen);

    assert_non_null(seen);
    assert_null(dir->user);
    (void)walk_path(w->walk, dir, (struct bytes_view){NULL, 0}, false, path);
    seen->shape = shape_of(w, path);
    dir->user = seen;
    w->begun++;
}

static inline void entry_told(struct world *w, const struct walk_action *a)
{
    struct seen *seen = a->dir->user;

    assert_non_null(seen);
    w->entries++;
    if (w->hostile == NULL || w->honest) {
        char name[16];
        struct msg_entry e = entry_of(&seen->shape, seen->next++, name);

        assert_int_equal(a->entry.name.len, e.name.len);
        assert_memory_equal(a->entry.name.ptr, name, e.name.len);
        assert_int_equal(a->entry.file_type, e.file_type);
        assert_int_equal(a->entry.size, e.size);
    }
    if (w->prune != NULL && a->entry.file_type == FILE_DIRECTORY &&
        a->entry.name.len == strlen(w->prune) &&
        memcmp(a->entry.name.ptr, w->prune, a->entry.name.len) == 0) {
        walk_prune(w->walk);
    }
}

static inline void dir_over(struct world *w, const struct walk_action *a)
{
    struct seen *seen = a->dir->user;

    assert_non_null(seen);
    if (a->text != NULL) {
        w->incomplete++;
        (void)snprintf(w->text, sizeof w->text, "%s", a->text);
    } else if (w->hostile == NULL || w->honest) {
        assert_int_equal(seen->next, seen->shape.dirs + seen->shape.files);
    }
    free(seen);
    a->dir->user = NULL;
    w->left++;
}

static inline void act(struct world *w, const struct walk_action *a)
{
    assert_false(w->done || w->failed);
    switch (a->type) {
    case WALK_DIAL:
        assert_false(w->dialling || w->up);
        w->dialling = true;
        w->up_at = w->now + 1;
        w->dials++;
        break;
    case WALK_DROP:
        link_close(w);
        break;
    case WALK_DIR:
        dir_begins(w, a->dir);
        break;
    case WALK_ENTRY:
        entry_told(w, a);
        break;
    case WALK_REFUSED:
        w->refused++;
        break;
    case WALK_LEAVE:
        dir_over(w, a);
        break;
    case WALK_FAIL:
        w->failed = true;
        w->reason = a->reason;
        (void)snprintf(w->text, sizeof w->text, "%s", a->text);
        break;
    case WALK_END:
        w->done = true;
        break;
    case WALK_NOTE:
    case WALK_IDLE:
        break;
    }
    assert_true(w->walk->busy <= WALK_AHEAD + 1);
    assert_true(w->walk->held < WALK_HELD_BYTES + LIMIT_CONTROL_PAYLOAD);
}

static inline void step(struct world *w)
{
    struct walk_action a;
    bool moved = false;
    bool room = !w->rough || pick(w, 3) > 0;

    while (!w->done && !w->failed &&
           walk_next(w->walk, room, w->now, &a) != WALK_IDLE) {
        act(w, &a);
        moved = true;
    }
    if (w->dialling && w->up_at <= w->now) {
        link_up(w);
        return;
    }
    moved |= w->up && link_send(w);
    moved |= w->up && link_serve(w);
    moved |= w->up && link_receive(w);
    if (!moved && !w->done && !w->failed && room) {
        uint64_t at = walk_deadline(w->walk);

        at = w->dialling && w->up_at < at ? w->up_at : at;
        assert_true(at != UINT64_MAX);
        w->now = at > w->now ? at : w->now + 1;
        if (w->up) {
            sender_tick(w->sender, w->now);
        }
        walk_tick(w->walk, w->now);
    }
}

static inline void world_init(struct world *w)
{
    memset(w, 0, sizeof *w);
    w->now = 1000;
    w->random = 1;
    w->depth_max = 3;
    w->dirs_max = 3;
    w->files_max = 20;
    w->page_max = 5;
    w->queue = malloc(LINK_BYTES);
    assert_non_null(w->queue);
    w->config = (struct walk_config){
        .line = {.agent = "test", .max_chunk_log2 = 22, .seed = 7},
        .path = (const uint8_t *)"top",
        .path_len = 3,
        .recursive = true};
}

/* Until it is over; neither done nor failed: it would take for ever. */
static inline void run(struct world *w)
{
    w->walk = walk_new(&w->config, w->now);
    assert_non_null(w->walk);
    for (unsigned n = 0; n < STEPS_MAX && !w->done && !w->failed; n++) {
        step(w);
    }
}

/* What the runner hung on directories that were not left is its own. */
static inline void world_free(struct world *w)
{
    for (struct node *n = w->walk->head; n != NULL; n = n->next) {
        for (struct walk_dir *d = n->dir; d != NULL; d = d->parent) {
            free(d->user);
            d->user = NULL;
        }
    }
    walk_free(w->walk);
    sender_free(w->sender);
    free(w->queue);
}

#endif
