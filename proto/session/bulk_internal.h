/* Private parts of bulk: shared by the bulk*.c files only.
 *
 *   bulk.c        life, items and their queues, what the runner does next
 *   bulk_conn.c   asking: which file goes out on which connection; loss
 *   bulk_reply.c  answers of the server */
#ifndef PROTO_SESSION_BULK_INTERNAL_H
#define PROTO_SESSION_BULK_INTERNAL_H

#include "proto/session/bulk.h"

#define NO_ITEM UINT32_MAX
#define BULK_WINDOW RECEIVER_WIDE_HANDLES
#define BULK_TEXT 300u

/* A file that was cut off so often in the middle of its data is better off
 * where the chunks that came are kept. */
#define CUTS_MAX 6u
/* A file that changed so often while it was sent, likewise. */
#define CHANGES_MAX 4u
/* A file that was still too new for a strong version so often. */
#define WEAK_MAX 2u
/* Failures of the server with one file. */
#define ERRORS_MAX 3u

enum item_state {
    ITEM_FREE,
    ITEM_READY,   /* in the ready queue */
    ITEM_LATER,   /* in the queue of those that wait for a moment */
    ITEM_ASKED,   /* on a connection */
    ITEM_JUDGE,   /* INFO came; the runner decides */
    ITEM_STORING, /* the runner has it */
    ITEM_OVER,    /* the runner has to be told */
};

struct item {
    enum item_state state;
    uint8_t todo;   /* action that the runner has not seen: BULK_STORE, ... */
    bool size_known;
    bool probe;
    bool pinned;
    uint8_t pin_log2;
    uint8_t cuts, changes, weak, errors, bad, protocol;
    enum bulk_outcome outcome;
    enum transfer_reason reason;
    uint32_t next; /* in the queue that it is in */
    uint32_t attempt;
    uint64_t flight; /* bytes counted as asked for */
    uint64_t size;   /* guess, then fact */
    uint64_t not_before;
    const uint8_t *path;
    size_t path_len;
    unsigned conn; /* that was asked last, */
    uint32_t life; /* ... and in which of its lives */
    uint32_t handle;
    char *text; /* why it is bad; NULL: the reason says it all */
    uint8_t pin_cid[HASH_LEN];
    struct transfer_identity identity;
};

struct queue {
    uint32_t head, tail; /* NO_ITEM: empty */
    uint32_t count;
};

enum slot_want {
    WANT_NOTHING,
    WANT_GET,   /* when there is room for the request */
    WANT_CLOSE, /* likewise */
};

/* One file on a connection. */
struct slot {
    uint32_t item;   /* NO_ITEM: its answers are of no interest any more */
    uint32_t handle; /* 0: free */
    uint32_t turn;   /* how often the slot was used: makes handles new */
    uint32_t open_request; /* 0: answered, or not sent */
    uint32_t get_request;
    uint32_t close_request;
    enum slot_want want;
    uint64_t cover;  /* bytes asked for */
    uint64_t got;    /* stored bytes that came */
};

/* What a line does for bulk. */
struct courier {
    struct slot slot[BULK_WINDOW];
    uint16_t free[BULK_WINDOW];
    unsigned free_count;
    unsigned wanting;    /* slots with a want */
    unsigned window;     /* files in flight at most */
    uint32_t life;       /* connections so far */
    struct slot *current; /* whose chunk data is coming, or NULL */
};

struct bulk {
    struct bulk_config config;
    struct line_set lines;
    struct item *item;
    struct queue free, ready, later, told; /* told: the runner has to be */
    uint32_t used;   /* items that are not free */
    uint64_t flight; /* bytes asked for */
    uint64_t mean;   /* of the sizes seen: the guess for unknown ones */
    bool input_ended, end_told, fail_told;
    uint64_t wasted, files, bytes, saved;
    char text[BULK_TEXT];
    struct courier *courier[LINE_MAX];
};

/* bulk.c */
void bulk_item_ready(struct bulk *b, uint32_t i, bool front);
void bulk_item_later(struct bulk *b, uint32_t i, uint64_t wait_ms);
void bulk_item_tell(struct bulk *b, uint32_t i, enum bulk_action_type todo);
void bulk_item_over(struct bulk *b, uint32_t i, enum bulk_outcome outcome,
                    enum transfer_reason reason, const char *text);
/* Its bytes are not on their way any more. */
void bulk_item_landed(struct bulk *b, uint32_t i);
uint32_t bulk_queue_pop(struct bulk *b, struct queue *q);

/* bulk_conn.c */
void bulk_conn_ask(struct bulk *b, unsigned c);
/* The connection is up. */
void bulk_conn_give_up(struct bulk *b, unsigned c, const char *text,
                       bool quiet);
/* Take back what was asked for. */
void bulk_conn_release(struct bulk *b, unsigned c);
unsigned bulk_conn_busy(const struct courier *k);
struct slot *bulk_conn_slot(struct courier *k, uint32_t handle);
/* Free the slot if nothing is outstanding for it. */
void bulk_conn_settle(struct courier *k, struct slot *s);
/* The file was opened and is not wanted there any more. */
void bulk_conn_forget(struct bulk *b, uint32_t i);
void bulk_conn_want(struct courier *k, struct slot *s, enum slot_want want);
/* The handle is to be closed. */
void bulk_conn_close(struct bulk *b, unsigned c, struct slot *s);

/* bulk_reply.c */
void bulk_reply(struct bulk *b, unsigned c,
                const struct receiver_event *event,
                struct bulk_chunk *chunk);

#endif
