/* Lines: the connections of a job that asks for many things (bulk, walk):
 * when to dial, how long to wait after a loss, when to give up.
 *
 * What travels on a line is the business of the machine that owns the set; it
 * takes back what it had asked for before it calls line_lost() or
 * line_give_up().  One file over several connections is proto/session/
 * transfer.h's, whose connections know chunks.
 *
 * Times are milliseconds of one monotonic clock.  Not thread-safe. */
#ifndef PROTO_SESSION_LINE_H
#define PROTO_SESSION_LINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/session/receiver.h"
#include "proto/session/transfer.h"

#define LINE_MAX 16u
#define LINE_TEXT 300u
#define LINE_NOTES 8u

enum line_state {
    LINE_IDLE,    /* not wanted */
    LINE_WAITING, /* to be dialled at dial_at */
    LINE_DIALING,
    LINE_UP,
};

struct line {
    enum line_state state;
    bool drop;     /* tell the runner to close it */
    bool draining; /* GOAWAY came */
    uint64_t dial_at;     /* when to dial, then when it was begun */
    uint64_t pause_until; /* the server asked to wait */
    uint64_t delivered;   /* things that came whole in this life */
    unsigned fruitless;   /* lost in a row without any of them */
    struct receiver *receiver; /* NULL before the first connection */
};

struct line_config {
    const char *agent; /* borrowed for the life of the set */
    uint8_t max_chunk_log2;
    bool compression;
    bool wide;          /* receiver_new_wide() */
    bool wait_first;    /* keep trying even before the first contact */
    unsigned tries_max; /* fruitless connections in a row; 0: no limit */
    uint64_t silence_ms;
    const struct receiver_auth *auth; /* borrowed; NULL: none */
    uint64_t seed;
};

enum line_note_type {
    LINE_NOTE_LOST,   /* .line was lost: .text */
    LINE_NOTE_WAIT,   /* no connection; next try in .wait_ms */
    LINE_NOTE_BACK,   /* connected again after LINE_NOTE_WAIT */
    LINE_NOTE_SERVER, /* text from the server */
};

struct line_note {
    enum line_note_type type;
    unsigned line;
    uint64_t wait_ms;
    char text[LINE_TEXT]; /* printable */
};

/* Members are for reading; the functions below change them. */
struct line_set {
    struct line_config config;
    unsigned goal;  /* lines worth having now */
    bool contact;   /* a greeting was completed */
    bool waiting_told;
    unsigned fruitless; /* connections in a row that brought nothing */
    unsigned protocol_errors;
    uint64_t dial_ms;   /* how long the last dial took */
    uint64_t random;
    uint64_t now;
    uint32_t connects;
    uint32_t losses;
    uint64_t wire;      /* bytes received; counted by the owner */
    enum transfer_reason failed; /* TRANSFER_OK: not */
    char detail[LINE_TEXT];
    unsigned note_head, note_count;
    struct line_note notes[LINE_NOTES];
    struct line line[LINE_MAX];
};

enum line_order {
    LINE_NOTHING,
    LINE_DIAL,
    LINE_DROP,
};

void line_init(struct line_set *set, const struct line_config *config,
               uint64_t now);
void line_clear(struct line_set *set);
/* From now on so many lines are worth having; the number never falls. */
void line_want(struct line_set *set, unsigned goal);
unsigned line_count_up(const struct line_set *set);

/* ---- what happened. */

/* False: memory is out, which is the end. */
bool line_connected(struct line_set *set, unsigned i) MUST_USE;
void line_dial_failed(struct line_set *set, unsigned i, const char *text);
/* The stream ended or broke; the runner has closed it or will not use it. */
void line_lost(struct line_set *set, unsigned i, const char *text);
/* The same, decided here: the runner is told to close it.  quiet: this was
 * to be expected, so no note. */
void line_give_up(struct line_set *set, unsigned i, const char *text,
                  bool quiet);
/* receiver_feed() failed with `err`: gives the line up, or ends the job when
 * the peer is no server of ours. */
void line_broken(struct line_set *set, unsigned i, int err);
/* Something whole and verified came: the retry budget is whole again. */
void line_progress(struct line_set *set);
/* Events that any owner passes on: HELLO, ERROR with request id 0, GOAWAY
 * (marks it draining), NOTICE. */
void line_event(struct line_set *set, unsigned i,
                const struct receiver_event *event);
/* The network is back: dial at once, unless the server asked to wait. */
void line_hurry(struct line_set *set);
/* The end of the job; the first reason stays. */
void line_fail(struct line_set *set, enum transfer_reason reason,
               const char *format, ...) __attribute__((format(printf, 3, 4)));

/* ---- what to do next. */

enum line_order line_next(struct line_set *set, bool may_dial, unsigned *i);
bool line_next_note(struct line_set *set, struct line_note *out);
/* The line whose silence has lasted too long, or LINE_MAX: the owner takes
 * back what it asked for and gives it up with receiver_error_text(). */
unsigned line_silent(struct line_set *set);
uint64_t line_deadline(const struct line_set *set, bool may_dial);

#endif
