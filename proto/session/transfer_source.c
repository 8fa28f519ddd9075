/* Transfer: where the bytes come from.
 *
 * Several servers may offer one content.  The first answer (or the pin) says
 * which content that is; the others have to prove it by the content id, and
 * each of their chunks by the verified digest list.  Who contradicts is set
 * aside, who is dead or slow is left for a while; what others sent stays.
 * With one source all this comes to nothing. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "proto/session/transfer_internal.h"

/* A source that failed so often in a row is not tried for so long. */
#define LEAVE_MS 2000u
#define LEAVE_CAP_MS 120000u
/* Without an answer from the first source for so long, another is asked. */
#define HEDGE_MS 3000u
/* A chunk may be damaged on the way; the second one is no accident. */
#define SOURCE_BAD_MAX 2u
/* So many times slower than the fastest, for so long: left for a minute. */
#define SLOW_FACTOR 16u
#define SLOW_AFTER_MS 5000u
#define SLOW_LEAVE_MS 60000u

void mirror_init(struct transfer *t)
{
    const struct transfer_config *config = &t->config;

    BELAY_ASSERT(config->mirror_count < TRANSFER_SOURCES_MAX);
    t->source_count = 1 + config->mirror_count;
    t->source[0].path = config->path;
    t->source[0].path_len = config->path_len;
    for (unsigned k = 0; k < config->mirror_count; k++) {
        t->source[1 + k].path = config->mirror[k].path;
        t->source[1 + k].path_len = config->mirror[k].path_len;
    }
}

bool mirror_many(const struct transfer *t)
{
    return t->source_count > 1;
}

static bool penalized(const struct transfer *t, const struct source *s)
{
    return s->fruitless > 0 && t->now < s->retry_at;
}

/* Is there a source, other than `except`, that can be asked now? */
static bool other_usable(const struct transfer *t, unsigned except)
{
    for (unsigned k = 0; k < t->source_count; k++) {
        if (k != except && !t->source[k].aside &&
            !penalized(t, &t->source[k])) {
            return true;
        }
    }
    return false;
}

/* ... or at least one that is not set aside? */
static bool other_left(const struct transfer *t, unsigned except)
{
    for (unsigned k = 0; k < t->source_count; k++) {
        if (k != except && !t->source[k].aside) {
            return true;
        }
    }
    return false;
}

/* ... or one that was set aside, but may be asked again when none is? */
static bool other_ever(const struct transfer *t, unsigned except)
{
    for (unsigned k = 0; k < t->source_count; k++) {
        if (k != except && (!t->source[k].aside || t->source[k].stale)) {
            return true;
        }
    }
    return false;
}

/* Is the one whose version the identity names connected? */
bool mirror_home_up(const struct transfer *t)
{
    for (unsigned i = 0; i < TRANSFER_CONNS_MAX; i++) {
        if (t->conn[i].state == CONN_UP && t->conn[i].source == t->home) {
            return true;
        }
    }
    return false;
}

bool mirror_other_usable(const struct transfer *t, unsigned i)
{
    return other_usable(t, t->conn[i].source);
}

/* ---- who is dialled. */

static unsigned load_of(const struct transfer *t, unsigned s)
{
    unsigned load = 0;

    for (unsigned i = 0; i < TRANSFER_CONNS_MAX; i++) {
        const struct conn *c = &t->conn[i];

        load += c->source == s &&
                (c->state == CONN_UP || c->state == CONN_DIALING);
    }
    return load;
}

/* Is the content still to be proven by the one that named it?  No other can
 * be of use then, and changing to one means to begin again. */
static bool home_needed(const struct transfer *t)
{
    return mirror_many(t) && t->confirmed && !mirror_more(t);
}

/* The source for one more connection: one that works, with the least to do;
 * earlier ones first.  When none works, one that had other content may be
 * asked for that. */
unsigned mirror_pick(struct transfer *t)
{
    unsigned best = t->source_count;
    unsigned best_cost = 0;

    for (unsigned k = 0; k < t->source_count; k++) {
        const struct source *s = &t->source[k];
        unsigned cost = load_of(t, k);

        cost += home_needed(t) && k != t->home ? TRANSFER_CONNS_MAX / 2 : 0;
        if (s->aside && !s->stale) {
            continue;
        }
        cost += penalized(t, s) ? TRANSFER_CONNS_MAX : 0;
        cost += s->aside ? 2 * TRANSFER_CONNS_MAX : 0;
        if (best == t->source_count || cost < best_cost) {
            best = k;
            best_cost = cost;
        }
    }
    if (best == t->source_count) {
        return 0; /* none is left: the transfer has failed by now */
    }
    t->source[best].aside = false; /* what was stale proves itself again */
    return best;
}

/* May this slot be given to another source?  Not before all that it brought
 * is judged, as a list that comes meanwhile may speak against it. */
bool mirror_may_dial(const struct transfer *t, unsigned i)
{
    /* Ordered output has its list first, and what waits there for its turn
     * was found good. */
    return !mirror_many(t) || t->config.in_order ||
           t->conn[i].unjudged == 0;
}

/* A connection ended, or could not be made. */
void mirror_result(struct transfer *t, unsigned i, bool progress)
{
    struct source *s = &t->source[t->conn[i].source];
    uint64_t wait = LEAVE_CAP_MS;

    if (progress) {
        s->fruitless = 0;
        return;
    }
    s->fruitless++;
    if (s->fruitless < 6) {
        wait = (uint64_t)LEAVE_MS << s->fruitless;
    }
    s->retry_at = t->now + wait;
    if (s->retry_at < t->conn[i].pause_until) {
        s->retry_at = t->conn[i].pause_until;
    }
}

/* Nobody has answered yet; is every source known not to? */
bool mirror_all_failed(const struct transfer *t)
{
    for (unsigned k = 0; k < t->source_count; k++) {
        if (!t->source[k].aside && t->source[k].fruitless == 0) {
            return false;
        }
    }
    return true;
}

/* ---- who is believed. */

static void note_source(struct transfer *t, enum transfer_note note,
                        unsigned s, const char *text)
{
    struct note n = {.note = note, .conn = s};

    (void)snprintf(n.text, sizeof n.text, "%.199s", text);
    transfer_say(t, &n);
}

/* Close what leads to this source; its slots serve others. */
static void leave(struct transfer *t, unsigned s)
{
    for (unsigned i = 0; i < TRANSFER_CONNS_MAX; i++) {
        struct conn *c = &t->conn[i];

        if (c->source != s ||
            (c->state != CONN_UP && c->state != CONN_DIALING)) {
            continue;
        }
        if (c->state == CONN_UP) {
            conn_release(t, i);
        }
        c->drop = true;
        c->state = i < t->conn_goal ? CONN_WAITING : CONN_IDLE;
        c->dial_at = t->now;
        c->pause_until = 0;
    }
}

static void set_aside(struct transfer *t, unsigned s, bool stale,
                      const char *text)
{
    t->source[s].aside = true;
    t->source[s].stale = stale;
    t->source[s].known = false;
    note_source(t, TRANSFER_NOTE_ASIDE, s, text);
    leave(t, s);
}

void mirror_reject(struct transfer *t, unsigned s,
                   enum transfer_reason reason, const char *text)
{
    if (t->phase == PHASE_OVER || t->phase == PHASE_FINISH ||
        t->source[s].aside) {
        return;
    }
    if (!other_ever(t, s)) {
        transfer_fail(t, reason, "%s", text);
        return;
    }
    set_aside(t, s, false, text);
}

void mirror_fail(struct transfer *t, unsigned i, enum transfer_reason reason,
                 const char *format, ...)
{
    char text[DETAIL_MAX];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    mirror_reject(t, t->conn[i].source, reason, text);
}

void transfer_distrust(struct transfer *t, unsigned i, const char *text,
                       uint64_t now)
{
    t->now = now;
    if (t->conn[i].state == CONN_UP) {
        mirror_fail(t, i, TRANSFER_DISTRUSTED, "%s", text);
    }
}

/* Is somebody at hand who has what was begun?  Dials of his that failed, or
 * connections that brought nothing, do not matter while one is up. */
static bool begun_is_served(const struct transfer *t, unsigned s)
{
    return other_usable(t, s) || (s != t->home && mirror_home_up(t));
}

/* It has another content.  While others have the one that was begun, that
 * one is finished; else this is the file's new version. */
void mirror_differs(struct transfer *t, unsigned i, const char *why)
{
    unsigned s = t->conn[i].source;

    if (mirror_many(t) && t->phase != PHASE_NEW &&
        t->source[t->home].aside && !t->expect_final) {
        /* What was begun was of one that could not prove it. */
        change_begin(t, i, why);
    } else if (mirror_many(t) && t->config.pinned &&
               t->phase == PHASE_NEW) {
        /* (Later on it may be what was begun that is not.) */
        mirror_fail(t, i, TRANSFER_WRONG_CONTENT,
                    "its file is not the pinned content");
    } else if (!begun_is_served(t, s)) {
        change_begin(t, i, why);
    } else {
        set_aside(t, s, true, "it has another content");
    }
}

bool mirror_disproved(struct transfer *t)
{
    static const char *const why = "its bytes are not the content asked for";

    if (!mirror_many(t) && t->any_weak && !t->config.pinned) {
        change_begin(t, 0, "the file on the server is another version");
        return true;
    }
    if (t->config.stop_on_change || !mirror_many(t) ||
        (t->config.pinned && !other_ever(t, t->home))) {
        return false;
    }
    for (unsigned k = 0; k < t->source_count; k++) {
        const struct source *s = &t->source[k];

        if (k == t->home || s->known) {
            /* Without a content id of its own it only went along; without
             * a pin its content may be as good as what was begun. */
            set_aside(t, k,
                      !t->config.pinned || (k != t->home && !s->named), why);
        }
    }
    if (!other_ever(t, t->source_count)) {
        return false;
    }
    change_begin(t, 0, why);
    return true;
}

/* Whose version is what is open again. */
void mirror_forget(struct transfer *t)
{
    for (unsigned k = 0; k < t->source_count; k++) {
        t->source[k].known = false;
    }
}

/* A new identity: everybody has to prove himself to it. */
void mirror_adopt(struct transfer *t, unsigned i)
{
    t->home = t->conn[i].source;
    mirror_forget(t);
    for (unsigned k = 0; k < t->source_count; k++) {
        if (t->source[k].stale) {
            t->source[k].stale = false;
            t->source[k].aside = false;
        }
    }
}

/* The content of connection i's server is ours: its version is known now.
 * Returns true if its version is the one that the record names. */
bool mirror_prove(struct transfer *t, unsigned i, const struct msg_info *info)
{
    struct source *s = &t->source[t->conn[i].source];
    bool owns = info->version.len == t->identity.version_len &&
                memcmp(info->version.ptr, t->identity.version,
                       info->version.len) == 0;

    s->known = true;
    s->named = info->cid.len != 0;
    s->stale = false;
    s->version_len = (uint8_t)info->version.len;
    memcpy(s->version, info->version.ptr, info->version.len);
    /* Whose the version of a record is shows only now. */
    if (t->source[t->home].aside ||
        (owns && !t->source[t->home].known)) {
        t->home = t->conn[i].source;
    }
    return t->home == t->conn[i].source;
}

/* The version that this server named before; NULL if it never did. */
const struct source *mirror_version(const struct transfer *t, unsigned i)
{
    const struct source *s = &t->source[t->conn[i].source];

    return s->known ? s : NULL;
}

/* Is this the version of the connection's own server? */
bool mirror_same_version(const struct transfer *t, unsigned i,
                         const struct bytes_view *version)
{
    const struct source *s = mirror_version(t, i);

    if (s == NULL) {
        /* An earlier run's: whose it was is not on record, but tokens of
         * different servers do not collide. */
        return version->len == t->identity.version_len &&
               memcmp(version->ptr, t->identity.version, version->len) == 0;
    }
    return version->len == s->version_len &&
           memcmp(version->ptr, s->version, version->len) == 0;
}

/* Maybe its file has just changed: it is opened anew, once. */
bool mirror_ask_again(struct transfer *t, unsigned i)
{
    struct source *s = &t->source[t->conn[i].source];

    if (s->doubt == DOUBT_ANSWERED) {
        return false;
    }
    s->doubt = DOUBT_ASKED;
    leave(t, t->conn[i].source);
    return true;
}

void mirror_answered(struct transfer *t, unsigned i)
{
    struct source *s = &t->source[t->conn[i].source];

    if (s->doubt == DOUBT_ASKED) {
        s->doubt = DOUBT_ANSWERED;
    }
}

/* A chunk of connection i is sound, but not the content's.  Who names the
 * content id, and does so again when it is asked (B1-R10b), lies; who did not
 * may have another content. */
void mirror_forges(struct transfer *t, unsigned i)
{
    struct source *s = &t->source[t->conn[i].source];

    s->stats.bad_chunks++;
    if (s->named) {
        if (!mirror_ask_again(t, i)) {
            mirror_fail(t, i, TRANSFER_WRONG_CONTENT,
                        "it sends other bytes than the content has");
        }
    } else if (!s->aside && t->phase == PHASE_FETCH) {
        /* In the middle of a chunk nothing else can be said. */
        conn_give_up(t, i, "the server has another content", true);
        mirror_differs(t, i, "the server has another content");
    }
}

/* A chunk of this source failed its digest. */
bool mirror_blame(struct transfer *t, unsigned source)
{
    struct source *s = &t->source[source];

    s->stats.bad_chunks++;
    if (!mirror_many(t) || s->stats.bad_chunks < SOURCE_BAD_MAX ||
        !other_left(t, source)) {
        return false;
    }
    if (!s->aside) {
        char text[100];

        /* Maybe the line is bad, not the server: better than nobody. */
        (void)snprintf(text, sizeof text,
                       "%" PRIu32 " of its chunks failed their digests",
                       s->stats.bad_chunks);
        set_aside(t, source, true, text);
    }
    return true;
}

/* ---- time. */

static uint64_t rate_of(const struct transfer *t, const struct conn *c)
{
    return c->up_bytes * 1000 / (t->now - c->up_at + 1);
}

/* Leave the source that is far slower than the rest: its slots bring more
 * elsewhere. */
static void leave_slow(struct transfer *t)
{
    uint64_t best = 0;

    for (unsigned i = 0; i < TRANSFER_CONNS_MAX; i++) {
        if (t->conn[i].state == CONN_UP && rate_of(t, &t->conn[i]) > best) {
            best = rate_of(t, &t->conn[i]);
        }
    }
    for (unsigned i = 0; i < TRANSFER_CONNS_MAX; i++) {
        struct conn *c = &t->conn[i];
        struct source *s = &t->source[c->source];

        if (c->state != CONN_UP || t->now < c->up_at + SLOW_AFTER_MS ||
            receiver_outstanding(c->receiver) == 0 ||
            receiver_paused(c->receiver) ||
            rate_of(t, c) >= best / SLOW_FACTOR ||
            !other_usable(t, c->source)) {
            continue;
        }
        s->fruitless++;
        s->retry_at = t->now + SLOW_LEAVE_MS;
        note_source(t, TRANSFER_NOTE_SLOW, c->source, "");
        leave(t, c->source);
        return;
    }
}

/* Nobody has told what the file is yet: ask one more. */
static void hedge(struct transfer *t)
{
    unsigned idle = TRANSFER_CONNS_MAX;
    uint64_t newest = 0;
    unsigned live = 0;

    for (unsigned i = TRANSFER_CONNS_MAX; i-- > 0;) {
        const struct conn *c = &t->conn[i];

        if (c->state == CONN_IDLE) {
            idle = i;
        } else {
            live++;
            newest = c->state == CONN_WAITING || c->dial_at > newest
                         ? c->dial_at
                         : newest;
        }
    }
    if (live < t->source_count && idle < TRANSFER_CONNS_MAX &&
        t->now >= newest + HEDGE_MS && t->now >= t->started + HEDGE_MS) {
        t->conn[idle].state = CONN_WAITING;
        t->conn[idle].dial_at = t->now;
        t->conn_goal = idle + 1 > t->conn_goal ? idle + 1 : t->conn_goal;
    }
}

void mirror_tick(struct transfer *t)
{
    if (!mirror_many(t)) {
        return;
    }
    if (t->phase == PHASE_NEW) {
        hedge(t);
    } else if (t->phase == PHASE_FETCH) {
        leave_slow(t);
    }
}

/* Several sources need the digest list: who lies about a chunk is known only
 * by it. */
void mirror_pump(struct transfer *t)
{
    if (mirror_many(t) && t->phase == PHASE_FETCH && t->confirmed &&
        t->expect == NULL && t->list.use == LIST_NONE && !seed_busy(t)) {
        list_ask(t, LIST_MIRROR);
    }
}

/* May servers besides the first be asked? */
bool mirror_more(const struct transfer *t)
{
    return !mirror_many(t) || (t->expect != NULL && t->expect_final);
}
