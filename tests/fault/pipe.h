/* One direction of a connection: a bounded buffer with byte rules.
 *
 * Bytes enter from one socket and leave to another. On the way a pipe keeps
 * to its delay and rates, flips bits, and stops exactly at the positions
 * where a fault is due; what a fault does to the connection is decided by
 * the caller. Positions count bytes of this direction since its start.
 * Times are CLOCK_MONOTONIC nanoseconds, passed in. Not thread-safe. */
#ifndef TESTS_FAULT_PIPE_H
#define TESTS_FAULT_PIPE_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/fault/bucket.h"
#include "tests/fault/options.h"
#include "tests/fault/ring.h"
#include "tests/fault/rng.h"

/* Every rule gives at most one step: five rules and the cut list. */
#define PIPE_STEPS_MAX 6

/* Delay is kept in this many steps, so it is exact to 1/512 of itself. */
#define PIPE_MARKS_MAX 1024
#define PIPE_DELAY_PARTS 512

/* What all connections have in common. Owned by the proxy. */
struct pipe_shared {
    const struct options *options;
    struct bucket rate_total;
    uint64_t passed;     /* bytes forwarded in the direction of the rules */
    uint64_t reset_at;   /* all are reset here; OPTIONS_OFF = never */
};

struct pipe_step {
    uint64_t at;
    enum fault_action action;
};

struct pipe_mark {
    uint64_t upto;       /* bytes before this position ... */
    int64_t release_ns;  /* ... may leave at this time */
};

struct pipe {
    struct pipe_shared *shared; /* borrowed */
    struct ring ring;
    uint64_t received;
    uint64_t forwarded;
    bool ruled;          /* byte rules and rates apply to this direction */
    bool source_ended;   /* end of stream read */
    bool ended;          /* end of stream passed on */
    bool discarding;     /* FAULT_TRUNCATE has struck */
    int64_t stall_until_ns; /* 0 = not stalled, TIMER_NEVER = for ever */
    int64_t end_release_ns; /* when the end of stream may leave */

    struct pipe_step steps[PIPE_STEPS_MAX]; /* ascending by position */
    unsigned step_count;
    unsigned step_next;

    struct rng rng;
    uint64_t flip_at;       /* OPTIONS_OFF = no flips */
    uint64_t flip_window;   /* start of the window after flip_at's */
    bool flip_pending;      /* the head byte is flipped, not yet gone */

    struct bucket rate;
    struct pipe_mark *marks; /* ring of PIPE_MARKS_MAX; NULL = no delay */
    unsigned mark_first;
    unsigned mark_count;
};

enum pipe_result {
    PIPE_IDLE,    /* nothing may leave before *wake_ns or new input */
    PIPE_BLOCKED, /* the destination takes no more now */
    PIPE_BUSY,    /* there is more; let others run first */
    PIPE_FAULT,   /* a step is due: pipe_take_step() */
    PIPE_RESET_ALL, /* shared->reset_at is reached */
    PIPE_BROKEN,  /* the destination's socket failed */
};

/* Make the pipe of connection number index (from 0). ruled: this is the
 * direction that the byte rules watch. Returns 0 or -ENOMEM; pipe_clear is
 * allowed in both cases. */
int pipe_init(struct pipe *pipe, struct pipe_shared *shared, bool ruled,
    uint64_t index, int64_t now_ns);

/* Free memory. Harmless on a zeroed or cleared pipe. */
void pipe_clear(struct pipe *pipe);

/* Is there room to read into? False after the end of stream. */
bool pipe_wants_input(const struct pipe *pipe);

/* Read once from fd. Returns 0 (also when nothing was there), or a negative
 * errno of a broken socket. *dropped grows by what a rule threw away. */
int pipe_fill(struct pipe *pipe, int fd, int64_t now_ns, uint64_t *dropped);

/* Write to fd what may leave now. *wake_ns is lowered to the time at which
 * more may leave. *flips and *bytes grow by what has left. */
enum pipe_result pipe_drain(struct pipe *pipe, int fd, int64_t now_ns,
    int64_t *wake_ns, uint64_t *flips, uint64_t *bytes);

/* Remove and return the action of the step that is due, or FAULT_NONE. */
enum fault_action pipe_take_step(struct pipe *pipe);

/* May the end of stream be passed on now? Lowers *wake_ns if later. */
bool pipe_end_due(const struct pipe *pipe, int64_t now_ns, int64_t *wake_ns);

/* Throw away what is held and all that follows. Returns the bytes lost. */
uint64_t pipe_discard(struct pipe *pipe);

#endif
