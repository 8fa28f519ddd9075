/* A directory or a whole tree of a server that may say anything: the real walk
 * against a script.
 *
 * Input: a script of operations (enum op). The server lists a tree that is a
 * function of its paths; the script may change any byte of an answer (its CRC
 * is put right again), answer in another order, refuse, send frames of its own
 * and cut connections, and the runner may have no room for a while.
 *
 * Promised: directories begin and end like brackets; the names of one come in
 * order, each once, whatever was cut off and asked again; names and paths are
 * acceptable; what is held is bounded. However it was treated, a client that
 * meets honest servers from then on comes to its end; and if no server ever
 * lied or refused, it was told the whole tree. */

#include <stdio.h>

#include "proto/data/relpath.h"
#include "proto/session/walk_internal.h"
#include "tests/fuzz/partner.h"

enum op {
    OP_JOIN,   /* how it greets */
    OP_ANSWER, /* which request; what is changed in the answer (3) */
    OP_SERVE,  /* so many answers, honestly */
    OP_LOSE,
    OP_TIME,   /* how long */
    OP_ERROR,  /* which request; code (2), wait */
    OP_FRAME,  /* partner_script() */
    OP_GOAWAY, /* last id */
    OP_ROOM,   /* has the runner room? */
    OP_PRUNE,  /* every so many directories are left out from now on */
    OP_FORGE,  /* which request; names as the script has them */
    OP_COUNT,
};

#define OPS_MAX 200u
#define REST_ROUNDS 3000u
#define ENTRIES_MAX 20000u /* told, before a hostile server is cut off */
#define DEPTH_MAX 3u

/* What a directory on the way has told. */
struct seen {
    uint32_t next; /* of an honest tree */
    size_t last_len;
    uint8_t last[LIMIT_COMPONENT];
};

struct game {
    struct script s;
    struct walk *w;
    struct walk_config config;
    uint64_t now;
    uint8_t seed;
    uint8_t page_max;
    struct partner peer;
    bool dialled;
    bool up;
    bool room;
    uint8_t prune; /* 0: none */
    bool hostile;
    bool done;
    bool failed;
    unsigned open; /* directories that began and did not end */
    unsigned dirs;
    unsigned entries;
};

/* ---- the tree. */

FUZZ_QUIET static uint32_t mix(const struct game *g, const uint8_t *path,
                               size_t len)
{
    uint32_t hash = 2166136261u + g->seed;
    for (size_t i = 0; i < len; i++) {
        hash = (hash ^ path[i]) * 16777619u;
    }
    return hash ^ hash >> 15;
}

struct shape {
    uint32_t dirs;
    uint32_t all;
};

static struct shape shape_of(const struct game *g, const uint8_t *path,
                             size_t len)
{
    uint32_t hash = mix(g, path, len);
    unsigned depth = 0;
    for (size_t i = 0; i < len; i++) {
        depth += path[i] == '/';
    }
    uint32_t dirs = depth < DEPTH_MAX ? hash % 4u : 0;
    return (struct shape){ dirs, dirs + (hash >> 8) % 9u };
}

static struct msg_entry entry_of(const struct shape *shape, uint32_t k,
                                 char name[16])
{
    struct msg_entry e = { .mtime_s = 7, .mode = 0755 };
    bool dir = k < shape->dirs;
    (void)snprintf(name, 16, "%c%02u", dir ? 'd' : 'f', k);
    e.file_type = dir ? FILE_DIRECTORY : FILE_REGULAR;
    e.size = dir ? 0 : k;
    e.name = partner_text(name);
    return e;
}

/* ---- the runner. */

static void begin(struct game *g, struct walk_dir *dir)
{
    char path[LIMIT_PATH + 1];
    const struct bytes_view none = { NULL, 0 };
    size_t len = walk_path(g->w, dir, none, false, path);
    FUZZ_CHECK(dir->user == NULL && len == strlen(path));
    FUZZ_CHECK(relpath_check(path, len) == 0);
    FUZZ_CHECK(dir->parent == NULL || dir->parent->user != NULL);
    dir->user = calloc(1, sizeof(struct seen));
    FUZZ_CHECK(dir->user != NULL);
    g->open++;
    g->dirs++;
}

static void in_order(const struct walk_action *a)
{
    struct seen *seen = a->dir->user;
    size_t len = a->entry.name.len;
    size_t both = len < seen->last_len ? len : seen->last_len;
    int order = memcmp(a->entry.name.ptr, seen->last, both);
    FUZZ_CHECK(len >= 1 && len <= LIMIT_COMPONENT);
    FUZZ_CHECK(order > 0 || (order == 0 && len > seen->last_len));
    memcpy(seen->last, a->entry.name.ptr, len);
    seen->last_len = len;
}

static void told(struct game *g, const struct walk_action *a)
{
    char path[LIMIT_PATH + 1];
    struct seen *seen = a->dir->user;
    const struct msg_entry *e = &a->entry;
    FUZZ_CHECK(seen != NULL);
    in_order(a);
    g->entries++;
    if (a->type == WALK_REFUSED) {
        FUZZ_CHECK(g->hostile);
        return;
    }
    size_t len = walk_path(g->w, a->dir, e->name, false, path);
    FUZZ_CHECK(len <= LIMIT_PATH && len == strlen(path));
    FUZZ_CHECK(memchr(e->name.ptr, '/', e->name.len) == NULL);
    FUZZ_CHECK(strcmp(path + len - e->name.len, ".") != 0 &&
               strcmp(path + len - e->name.len, "..") != 0);
    if (!g->hostile) {
        const struct bytes_view none = { NULL, 0 };
        char name[16];
        len = walk_path(g->w, a->dir, none, false, path);
        struct shape shape = shape_of(g, (const uint8_t *)path, len);
        struct msg_entry want = entry_of(&shape, seen->next++, name);
        FUZZ_CHECK(e->file_type == want.file_type && e->size == want.size);
        FUZZ_CHECK(e->name.len == want.name.len &&
                   memcmp(e->name.ptr, name, want.name.len) == 0);
    }
    if (g->prune > 0 && e->file_type == FILE_DIRECTORY &&
        g->config.recursive && g->entries % g->prune == 0) {
        walk_prune(g->w);
    }
}

static void leave(struct game *g, const struct walk_action *a)
{
    char path[LIMIT_PATH + 1];
    const struct bytes_view none = { NULL, 0 };
    struct seen *seen = a->dir->user;
    size_t len = walk_path(g->w, a->dir, none, false, path);
    FUZZ_CHECK(seen != NULL && g->open > 0);
    FUZZ_CHECK(a->text == NULL || (*a->text != '\0' && g->hostile));
    if (!g->hostile) {
        FUZZ_CHECK(seen->next ==
                   shape_of(g, (const uint8_t *)path, len).all);
    }
    free(seen);
    a->dir->user = NULL;
    g->open--;
}

static void link_down(struct game *g)
{
    g->dialled = g->up = false;
    partner_start(&g->peer);
}

static void act(struct game *g, const struct walk_action *a)
{
    FUZZ_CHECK(!g->done && !g->failed);
    switch (a->type) {
    case WALK_DIAL:
        FUZZ_CHECK(!g->dialled && !g->up);
        g->dialled = true;
        break;
    case WALK_DROP:
        FUZZ_CHECK(g->up);
        link_down(g);
        break;
    case WALK_DIR:
        begin(g, a->dir);
        break;
    case WALK_ENTRY:
    case WALK_REFUSED:
        told(g, a);
        break;
    case WALK_LEAVE:
        leave(g, a);
        break;
    case WALK_FAIL:
        FUZZ_CHECK(g->hostile && *a->text != '\0');
        g->failed = true;
        break;
    case WALK_END:
        FUZZ_CHECK(g->open == 0);
        g->done = true;
        break;
    case WALK_NOTE:
    case WALK_IDLE:
        break;
    }
    FUZZ_CHECK(g->w->busy <= WALK_AHEAD + 1);
    FUZZ_CHECK(g->w->held < WALK_HELD_BYTES + LIMIT_CONTROL_PAYLOAD);
}

static void run(struct game *g)
{
    struct walk_action a;
    unsigned count = 0;
    while (!g->done && !g->failed &&
           walk_next(g->w, g->room, g->now, &a) != WALK_IDLE) {
        act(g, &a);
        FUZZ_CHECK(++count < 1000000);
    }
}

/* What is held is the pages that are held; nodes at work are counted. */
FUZZ_QUIET static void check_inside(const struct game *g)
{
    size_t held = 0;
    unsigned busy = 0;
    const struct node *prev = NULL;
    for (const struct node *n = g->w->head; n != NULL; n = n->next) {
        FUZZ_CHECK(n->prev == prev);
        busy += n->state == NODE_ASKED || n->pages != NULL;
        for (const struct page *p = n->pages; p != NULL; p = p->next) {
            held += p->len;
            FUZZ_CHECK(p->at < p->len);
        }
        prev = n;
    }
    FUZZ_CHECK(held == g->w->held && busy == g->w->busy);
}

/* ---- the server. */

static void listen(struct game *g)
{
    const uint8_t *data;
    if (g->up && walk_conn_open(g->w)) {
        size_t len = receiver_out(walk_receiver(g->w), &data);
        partner_take(&g->peer, data, len);
        receiver_sent(walk_receiver(g->w), len, g->now);
    }
}

static void deliver(struct game *g)
{
    size_t len = writer_len(&g->peer.w);
    if (g->up && len > 0) {
        /* In two pieces: what it does must not depend on it. */
        walk_feed(g->w, writer_data(&g->peer.w), len / 2, g->now);
        walk_feed(g->w, writer_data(&g->peer.w) + len / 2, len - len / 2,
                  g->now);
    }
    partner_clear(&g->peer);
    g->now++;
    run(g);
    check_inside(g);
}

static void answer(struct game *g, size_t which)
{
    const struct partner_request *q = &g->peer.request[which];
    const struct msg_list *list = &q->msg.list;
    FUZZ_CHECK(q->type == FRAME_LIST && list->has_max_entries);
    FUZZ_CHECK(relpath_check((const char *)list->path.ptr,
                             list->path.len) == 0);
    struct shape shape = shape_of(g, list->path.ptr, list->path.len);
    struct msg_entries_builder b;
    struct bytes_view cursor = { NULL, 0 };
    const struct tlv none = { .type = 0 };
    uint8_t from = list->cursor.len == 1 ? list->cursor.ptr[0] : 0;
    uint32_t count = 0;
    msg_entries_begin(&b, &g->peer.w);
    while (from < shape.all && count < g->page_max &&
           count < list->max_entries) {
        char name[16];
        struct msg_entry e = entry_of(&shape, from++, name);
        FUZZ_CHECK(msg_entries_add(&b, &e) == BELAY_OK);
        count++;
    }
    if (from < shape.all) {
        cursor = (struct bytes_view){ &from, 1 };
    }
    FUZZ_CHECK(msg_entries_finish(&b, cursor, true, q->id, &none) ==
               BELAY_OK);
    partner_remove(&g->peer, which);
}

static bool serve(struct game *g, unsigned max)
{
    bool moved = false;
    for (unsigned n = 0; n < max && g->up; n++) {
        listen(g);
        if (g->peer.count == 0 && writer_len(&g->peer.w) == 0) {
            break;
        }
        partner_greet(&g->peer, 60, 16, 22);
        if (g->peer.count > 0) {
            answer(g, 0);
        }
        deliver(g);
        moved = true;
    }
    return moved;
}

/* ---- operations. */

static void join(struct game *g, unsigned how)
{
    if (!g->dialled) {
        return;
    }
    link_down(g);
    if (how == 1) {
        walk_dial_failed(g->w, "refused", g->now);
    } else {
        g->up = true;
        walk_connected(g->w, g->now);
        run(g);
    }
    if (g->up && how != 2) {
        partner_greet(&g->peer, how == 3 ? LIMIT_REQUESTS_MIN : 60, 16, 22);
    }
    deliver(g);
}

static void lose(struct game *g)
{
    if (g->up) {
        link_down(g);
        walk_lost(g->w, "cut", g->now);
    }
}

/* Names as the script has them: length and bytes, in any order. */
static void forge(struct game *g, size_t which)
{
    uint8_t count = script_u8(&g->s) % 8u;
    uint8_t options = script_u8(&g->s);
    struct msg_entries_builder b;
    struct bytes_view cursor = { (const uint8_t *)"c", options & 1u };
    const struct tlv none = { .type = 0 };
    msg_entries_begin(&b, &g->peer.w);
    for (uint8_t k = 0; k < count; k++) {
        size_t len = 1u + script_u8(&g->s) % LIMIT_COMPONENT;
        struct msg_entry e = { .file_type = options & 2u ? FILE_DIRECTORY
                                                         : FILE_REGULAR };
        /* A long name is a short one many times: deep trees come so. */
        uint8_t name[LIMIT_COMPONENT];
        uint8_t letter = script_u8(&g->s);
        memset(name, letter, sizeof name);
        name[0] = script_u8(&g->s);
        e.name = (struct bytes_view){ name, len };
        FUZZ_CHECK(msg_entries_add(&b, &e) == BELAY_OK);
    }
    uint32_t id = g->peer.request[which].id;
    bool end = (options & 4u) == 0;
    FUZZ_CHECK(msg_entries_finish(&b, cursor, end, id, &none) == BELAY_OK);
    if (end) {
        partner_remove(&g->peer, which);
    }
}

/* The operations that are about a request. */
static void about_request(struct game *g, uint8_t op, uint8_t which)
{
    listen(g);
    if (!g->up || g->peer.count == 0) {
        return;
    }
    partner_greet(&g->peer, 60, 16, 22);
    size_t start = writer_len(&g->peer.w);
    size_t i = which % g->peer.count;
    if (op == OP_ANSWER) {
        answer(g, i);
        g->hostile = partner_spoil(&g->peer, &g->s, start) || g->hostile;
    } else if (op == OP_FORGE) {
        g->hostile = true;
        forge(g, i);
    } else {
        uint16_t code = script_u16(&g->s);
        g->hostile = true;
        partner_error(&g->peer, g->peer.request[i].id, code,
                      script_u8(&g->s) * 40u);
        partner_remove(&g->peer, i);
    }
    deliver(g);
}

static void say(struct game *g, uint8_t op, uint8_t arg)
{
    struct msg_goaway m = { .last_id = arg };
    if (!g->up) {
        return;
    }
    g->hostile = true;
    if (op == OP_FRAME) {
        partner_script(&g->peer, &g->s, 2000);
    } else {
        FUZZ_CHECK(msg_goaway_encode(&m, &g->peer.w) == BELAY_OK);
    }
    deliver(g);
}

static void step(struct game *g)
{
    static const uint16_t waits[] = { 1, 300, 2000, 11000, 31000, 60000 };
    uint8_t op = script_u8(&g->s) % OP_COUNT;
    uint8_t arg = script_u8(&g->s);
    switch (op) {
    case OP_JOIN:
        join(g, arg % 8u);
        break;
    case OP_SERVE:
        (void)serve(g, arg);
        break;
    case OP_LOSE:
        lose(g);
        break;
    case OP_TIME:
        g->now += waits[arg % 6u];
        walk_tick(g->w, g->now);
        break;
    case OP_FRAME:
    case OP_GOAWAY:
        say(g, op, arg);
        break;
    case OP_ROOM:
        g->room = arg & 1u;
        break;
    case OP_PRUNE:
        g->prune = arg % 8u;
        break;
    default:
        about_request(g, op, arg);
        break;
    }
    run(g);
    check_inside(g);
}

/* Honest servers from now on, and all the time it takes. */
static void come_to_rest(struct game *g)
{
    g->room = true;
    lose(g);
    run(g);
    for (unsigned n = 0; n < REST_ROUNDS && !g->done && !g->failed; n++) {
        bool moved = g->dialled;
        join(g, 0);
        moved = serve(g, 400) || moved;
        if (!moved) {
            uint64_t at = walk_deadline(g->w);
            FUZZ_CHECK(at != UINT64_MAX || g->done || g->failed);
            g->now = at > g->now + 20000 ? at : g->now + 20000;
            walk_tick(g->w, g->now);
        }
        run(g);
    }
    FUZZ_CHECK(g->done || g->failed);
}

/* What hangs on directories that were not left is the runner's. */
static void game_clear(struct game *g)
{
    for (struct node *n = g->w->head; n != NULL; n = n->next) {
        for (struct walk_dir *d = n->dir; d != NULL; d = d->parent) {
            free(d->user);
            d->user = NULL;
        }
    }
    walk_free(g->w);
    partner_free(&g->peer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct game g;
    memset(&g, 0, sizeof g);
    g.s = (struct script){ data, size };
    uint8_t bits = script_u8(&g.s);
    g.seed = script_u8(&g.s);
    g.page_max = (uint8_t)(1u + bits % 8u);
    g.now = 1000;
    g.room = true;
    g.config = (struct walk_config){
        .line = { .agent = "fuzz", .max_chunk_log2 = 22, .wait_first = true,
                  .seed = bits },
        .path = (const uint8_t *)"top",
        .path_len = bits & 0x10u ? 0 : 3,
        .recursive = (bits & 0x20u) == 0,
        .with_cid = bits & 0x40u,
    };
    partner_start(&g.peer);
    g.w = walk_new(&g.config, g.now);
    FUZZ_CHECK(g.w != NULL);
    run(&g);
    for (unsigned i = 0; i < OPS_MAX && g.s.left > 0 && !g.done &&
                         !g.failed && g.entries < ENTRIES_MAX;
         i++) {
        step(&g);
    }
    if (!g.done && !g.failed) {
        come_to_rest(&g);
    }
    game_clear(&g);
    return 0;
}
