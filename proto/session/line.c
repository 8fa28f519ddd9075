#include "proto/session/line.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/err.h"
#include "proto/data/text.h"
#include "proto/session/retry.h"

/* Without any contact, so many lost greetings are enough. */
#define FIRST_TRIES 3u
/* A wait of this length is worth a word to the user. */
#define WAIT_TELL_MS 1000u
/* How often lines are looked after when nothing happens. */
#define TICK_MS 500u

void line_init(struct line_set *set, const struct line_config *config,
               uint64_t now)
{
    memset(set, 0, sizeof *set);
    set->config = *config;
    set->random = config->seed | 1;
    set->now = now;
}

void line_clear(struct line_set *set)
{
    for (unsigned i = 0; i < LINE_MAX; i++) {
        receiver_free(set->line[i].receiver);
        set->line[i].receiver = NULL;
    }
}

void line_want(struct line_set *set, unsigned goal)
{
    if (goal > LINE_MAX) {
        goal = LINE_MAX;
    }
    for (unsigned i = set->goal; i < goal; i++) {
        set->line[i].state = LINE_WAITING;
        set->line[i].dial_at = set->now;
    }
    if (goal > set->goal) {
        set->goal = goal;
    }
}

unsigned line_count_up(const struct line_set *set)
{
    unsigned up = 0;

    for (unsigned i = 0; i < LINE_MAX; i++) {
        up += set->line[i].state == LINE_UP;
    }
    return up;
}

void line_fail(struct line_set *set, enum transfer_reason reason,
               const char *format, ...)
{
    va_list args;

    if (set->failed != TRANSFER_OK) {
        return;
    }
    set->failed = reason;
    va_start(args, format);
    (void)vsnprintf(set->detail, sizeof set->detail, format, args);
    va_end(args);
}

/* ---- notes. */

static struct line_note *say(struct line_set *set, enum line_note_type type,
                             unsigned i)
{
    struct line_note *n;

    if (set->note_count == LINE_NOTES) {
        return NULL; /* a flood says no more than its beginning */
    }
    n = &set->notes[(set->note_head + set->note_count) % LINE_NOTES];
    set->note_count++;
    memset(n, 0, sizeof *n);
    n->type = type;
    n->line = i;
    return n;
}

static void say_lost(struct line_set *set, unsigned i, const char *text)
{
    struct line_note *n = say(set, LINE_NOTE_LOST, i);

    if (n != NULL) {
        (void)snprintf(n->text, sizeof n->text, "%s", text);
    }
}

bool line_next_note(struct line_set *set, struct line_note *out)
{
    if (set->note_count == 0) {
        return false;
    }
    *out = set->notes[set->note_head];
    set->note_head = (set->note_head + 1) % LINE_NOTES;
    set->note_count--;
    return true;
}

/* ---- up. */

bool line_connected(struct line_set *set, unsigned i)
{
    struct line *l = &set->line[i];
    struct receiver_config config = {
        .max_chunk_log2 = set->config.max_chunk_log2,
        .compression = set->config.compression,
        .agent = set->config.agent,
        .grease_seed = retry_random(&set->random),
        .silence_ms = set->config.silence_ms,
        .auth = set->config.auth,
    };

    BELAY_ASSERT(l->state == LINE_DIALING);
    if (l->receiver == NULL) {
        l->receiver = set->config.wide ? receiver_new_wide()
                                       : receiver_new();
    }
    if (l->receiver == NULL) {
        line_fail(set, TRANSFER_NOMEM, "out of memory");
        l->state = LINE_IDLE;
        l->drop = true;
        return false;
    }
    set->dial_ms = set->now - l->dial_at;
    set->connects++;
    l->state = LINE_UP;
    l->draining = false;
    l->delivered = 0;
    l->pause_until = 0;
    receiver_start(l->receiver, &config, set->now);
    return true;
}

/* ---- down. */

static bool others_work(const struct line_set *set)
{
    for (unsigned i = 0; i < LINE_MAX; i++) {
        if (set->line[i].state == LINE_UP ||
            set->line[i].state == LINE_DIALING) {
            return true;
        }
    }
    return false;
}

static void count_fruitless(struct line_set *set, const char *text)
{
    if (others_work(set)) {
        return;
    }
    set->fruitless++;
    if (set->config.tries_max > 0 &&
        set->fruitless >= set->config.tries_max) {
        line_fail(set, TRANSFER_UNREACHABLE,
                  "%s; gave up after %u %s without progress", text,
                  set->fruitless, set->fruitless == 1 ? "try" : "tries");
    } else if (!set->contact && !set->config.wait_first &&
               set->fruitless >= FIRST_TRIES) {
        line_fail(set, TRANSFER_UNREACHABLE, "%s", text);
    }
}

static void schedule(struct line_set *set, struct line *l, const char *text)
{
    uint64_t wait = 0;

    l->state = LINE_WAITING;
    if (l->delivered > 0) {
        l->fruitless = 0;
    } else {
        wait = retry_backoff_ms(&set->random, l->fruitless);
        l->fruitless++;
        count_fruitless(set, text);
    }
    l->dial_at = set->now + wait;
    if (l->dial_at < l->pause_until) {
        l->dial_at = l->pause_until;
    }
}

static void end(struct line_set *set, unsigned i, const char *text,
                bool quiet)
{
    struct line *l = &set->line[i];

    l->state = LINE_IDLE;
    if (!quiet) {
        set->losses++;
        say_lost(set, i, text);
    }
    schedule(set, l, text);
}

void line_dial_failed(struct line_set *set, unsigned i, const char *text)
{
    struct line *l = &set->line[i];

    if (l->state != LINE_DIALING) {
        return;
    }
    if (!set->contact && !set->config.wait_first) {
        line_fail(set, TRANSFER_UNREACHABLE, "%s", text);
    }
    l->delivered = 0;
    end(set, i, text, false);
}

void line_lost(struct line_set *set, unsigned i, const char *text)
{
    struct line *l = &set->line[i];

    if (l->state == LINE_UP) {
        end(set, i, text, l->draining);
    }
}

void line_give_up(struct line_set *set, unsigned i, const char *text,
                  bool quiet)
{
    struct line *l = &set->line[i];

    if (l->state == LINE_UP) {
        l->drop = true;
        end(set, i, text, quiet);
    }
}

void line_broken(struct line_set *set, unsigned i, int err)
{
    const char *text = receiver_error_text(set->line[i].receiver);

    if (err == ERR_AUTH) {
        line_fail(set, TRANSFER_ACCESS, "%s", text);
    } else if (!set->contact && err == ERR_VERSION) {
        line_fail(set, TRANSFER_VERSION, "%s", text);
    } else if (!set->contact && err != ERR_CRC) {
        line_fail(set, TRANSFER_NOT_BELAY, "%s", text);
    }
    line_give_up(set, i, text, false);
}

void line_progress(struct line_set *set)
{
    set->fruitless = 0;
}

void line_hurry(struct line_set *set)
{
    for (unsigned i = 0; i < LINE_MAX; i++) {
        struct line *l = &set->line[i];

        if (l->state == LINE_WAITING) {
            l->dial_at = l->pause_until > set->now ? l->pause_until
                                                   : set->now;
        }
    }
}

/* ---- events. */

static void pause_line(struct line_set *set, struct line *l, bool asked,
                       uint32_t ms)
{
    if (asked) {
        l->pause_until = set->now + (ms < RETRY_AFTER_MAX_MS
                                         ? ms
                                         : RETRY_AFTER_MAX_MS);
    }
}

static void on_error(struct line_set *set, unsigned i,
                     const struct msg_error *error)
{
    struct line *l = &set->line[i];
    char text[LINE_TEXT];
    const char *why = retry_sentence(error, text, sizeof text);

    pause_line(set, l, error->has_retry_after, error->retry_after_ms);
    if (error->code == WIRE_VERSION_REJECTED) {
        line_fail(set, TRANSFER_VERSION, "%s", why);
    }
    switch (err_wire_class(error->code)) {
    case WIRE_CLASS_PERMANENT:
        line_fail(set, TRANSFER_REFUSED, "%s", why);
        break;
    case WIRE_CLASS_ACCESS:
        line_fail(set, TRANSFER_ACCESS, "%s", why);
        break;
    case WIRE_CLASS_PROTOCOL:
        if (++set->protocol_errors > 1) {
            line_fail(set, TRANSFER_PROTOCOL, "%s", why);
        }
        break;
    default:
        break;
    }
    line_give_up(set, i, why, false);
}

void line_event(struct line_set *set, unsigned i,
                const struct receiver_event *event)
{
    struct line *l = &set->line[i];
    struct line_note *n;

    switch (event->type) {
    case RECEIVER_HELLO:
        set->contact = true;
        if (set->waiting_told) {
            set->waiting_told = false;
            (void)say(set, LINE_NOTE_BACK, i);
        }
        if (receiver_limits(l->receiver)->auth_required) {
            line_fail(set, TRANSFER_ACCESS, "%s",
                      receiver_auth_text(l->receiver));
        }
        break;
    case RECEIVER_ERROR:
        on_error(set, i, &event->error);
        break;
    case RECEIVER_GOAWAY:
        l->draining = true;
        pause_line(set, l, event->goaway.has_retry_after,
                   event->goaway.retry_after_ms);
        break;
    case RECEIVER_NOTICE:
        n = say(set, LINE_NOTE_SERVER, i);
        if (n != NULL) {
            (void)text_escape(n->text, sizeof n->text,
                              event->notice.text.ptr,
                              event->notice.text.len);
        }
        break;
    default:
        break;
    }
}

/* ---- what next. */

static void tell_waiting(struct line_set *set)
{
    uint64_t next = UINT64_MAX;
    struct line_note *n;

    if (set->waiting_told || others_work(set)) {
        return;
    }
    for (unsigned i = 0; i < LINE_MAX; i++) {
        const struct line *l = &set->line[i];

        if (l->state == LINE_WAITING && l->dial_at < next) {
            next = l->dial_at;
        }
    }
    if (next == UINT64_MAX || next < set->now + WAIT_TELL_MS) {
        return;
    }
    set->waiting_told = true;
    n = say(set, LINE_NOTE_WAIT, 0);
    if (n != NULL) {
        n->wait_ms = next - set->now;
    }
}

enum line_order line_next(struct line_set *set, bool may_dial, unsigned *at)
{
    for (unsigned i = 0; i < LINE_MAX; i++) {
        if (set->line[i].drop) {
            set->line[i].drop = false;
            *at = i;
            return LINE_DROP;
        }
    }
    for (unsigned i = 0; may_dial && i < LINE_MAX; i++) {
        struct line *l = &set->line[i];

        if (l->state == LINE_WAITING && l->dial_at <= set->now) {
            l->state = LINE_DIALING;
            l->dial_at = set->now;
            *at = i;
            return LINE_DIAL;
        }
    }
    if (may_dial) {
        tell_waiting(set);
    }
    return LINE_NOTHING;
}

unsigned line_silent(struct line_set *set)
{
    for (unsigned i = 0; i < LINE_MAX; i++) {
        struct line *l = &set->line[i];

        if (l->state == LINE_UP && receiver_tick(l->receiver, set->now) != 0) {
            return i;
        }
    }
    return LINE_MAX;
}

uint64_t line_deadline(const struct line_set *set, bool may_dial)
{
    uint64_t at = set->now + TICK_MS;

    for (unsigned i = 0; i < LINE_MAX; i++) {
        const struct line *l = &set->line[i];
        uint64_t own = UINT64_MAX;

        if (l->state == LINE_WAITING && may_dial) {
            own = l->dial_at;
        } else if (l->state == LINE_UP) {
            own = receiver_deadline(l->receiver);
        }
        if (own < at) {
            at = own;
        }
    }
    return at;
}
