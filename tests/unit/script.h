/* Script: what a server written by hand says, step by step, and what happens;
 * and everything that the client asks and does then, as one line of text.
 * Shared by the talks of bulk and walk. */

#ifndef TESTS_UNIT_SCRIPT_H
#define TESTS_UNIT_SCRIPT_H

#include <stdio.h>

#include "tests/unit/peer_fixture.h"

#define SCRIPT_STEPS 16u

enum say {
    SAY_END, /* of the list */
    SAY_ERROR,
    SAY_GOAWAY,
    SAY_NOTICE,
    SAY_PROGRESS,
    SAY_RUBBISH,
    SAY_ENTRIES, /* to a walk */
    SAY_INFO,    /* to a bulk, and the next ones */
    SAY_CHUNK,
    SAY_DONE,
    SAY_PART,     /* a chunk's head and half of its data, */
    SAY_REST,     /* ... and the other half */
    HEAR_LOST,    /* the connection is cut */
    HEAR_UP,      /* ... and is there again */
    HEAR_REFUSED, /* the dial failed */
    HEAR_HURRY,
    HEAR_JUDGE,  /* fetch .id */
    HEAR_LEAVE,  /* leave .id */
    HEAR_STORED, /* .id, .code is enum bulk_stored */
    WAIT_MS,     /* .id */
};

struct step {
    enum say say;
    uint32_t id, handle;
    uint16_t code;
    bool more; /* the next step comes at the same moment */
    bool wait; /* RETRY_AFTER .wait_ms */
    uint32_t wait_ms;
    bool frames;        /* ENTRIES: others of the same answer follow */
    const char *names;  /* ... in order, a blank between; d is a directory */
    const char *cursor; /* NULL: the last page */
    uint8_t type, log2; /* INFO; 0: a regular file, the usual grid */
    uint64_t size;      /* 0: the usual one */
    const char *version;
    uint8_t cid; /* INFO, DONE: 32 of these; 0: none */
};

struct script {
    struct peer p;
    uint64_t now;
    bool dialling;
    char log[4000];
    size_t log_len;
};

static inline void script_init(struct script *s)
{
    *s = (struct script){.now = 1000};
    peer_init(&s->p);
}

static inline void __attribute__((format(printf, 2, 3)))
script_log(struct script *s, const char *format, ...)
{
    va_list args;
    int len;

    va_start(args, format);
    len = vsnprintf(s->log + s->log_len, sizeof s->log - s->log_len, format,
                    args);
    va_end(args);
    assert_true(len >= 0 && (size_t)len < sizeof s->log - s->log_len);
    s->log_len += (size_t)len;
}

/* What a server may say to any client. */
static inline void script_say(struct script *s, const struct step *step)
{
    struct msg_progress progress = {.done = 1, .total = 2};
    struct msg_notice notice = {.text = peer_text("hello")};

    switch (step->say) {
    case SAY_ERROR:
        if (step->wait) {
            peer_error_wait(&s->p, step->id, step->code, step->wait_ms);
        } else {
            peer_error(&s->p, step->id, step->code);
        }
        break;
    case SAY_GOAWAY:
        peer_goaway(&s->p, step->id, step->code);
        break;
    case SAY_NOTICE:
        assert_int_equal(msg_notice_encode(&notice, &s->p.w), 0);
        break;
    case SAY_PROGRESS:
        assert_int_equal(msg_progress_encode(&progress, step->id, &s->p.w),
                         0);
        break;
    default:
        fail();
    }
}

/* Every step, heard by `arg`; then the log is compared. */
static inline void script_run(struct script *s, const char *name,
                              const struct step *steps,
                              void (*hear)(void *arg, const struct step *),
                              void *arg, const char *want)
{
    for (const struct step *step = steps; step->say != SAY_END; step++) {
        hear(arg, step);
    }
    if (strcmp(s->log, want) != 0) {
        fail_msg("%s:\n  is %s\n  not%s", name, s->log, want);
    }
}

#endif
