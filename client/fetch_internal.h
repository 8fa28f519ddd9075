/* Private parts of fetch: shared by fetch*.c, link.c, local.c, stream.c.
 *
 *   fetch.c        life, actions of the transfer, the end
 *   fetch_tell.c   what it has to tell, in words
 *   fetch_local.c  donors, the file in its place, receipts
 *   fetch_store.c  partial file and journal: begin, resume, finish
 *   fetch_target.c what stands at the final name already
 *   fetch_trust.c  is the server who it should be?
 *   link.c         sockets
 *   local.c        hashing and copying local chunks on workers
 *   stream.c       output in order to a descriptor */
#ifndef CLIENT_FETCH_INTERNAL_H
#define CLIENT_FETCH_INTERNAL_H

#include <sys/stat.h>

#include "client/channel.h"
#include "client/donor.h"
#include "client/recall.h"
#include "client/fetch.h"
#include "client/pipeline.h"
#include "client/store.h"
#include "client/trust.h"
#include "client/tunnel.h"

/* Room for one frame header, a chunk's fields, and control frames. */
#define LINK_STAGE ((size_t)16 << 10)

struct link {
    struct fetch *fetch;
    unsigned conn;
    struct channel channel;
    struct dial *dial;
    struct tunnel *tunnel; /* the program that the bytes go through */
    struct loop_poll *poll;
    struct loop_defer *again; /* read on: TLS holds received bytes */
    unsigned events;
    bool held;       /* no slab for the chunk that begins */
    bool throttled;  /* no allowance left */
    struct rate_taker taker;
    int send_errno;  /* nothing more can be sent; reading goes on */
    bool in_chunk;
    uint8_t *dest;   /* where its data goes; NULL: nowhere */
    size_t left;
    struct piece piece; /* the chunk that is coming */
    struct run *run;    /* chunks that are complete */
    uint64_t run_since;
    struct slab *slab;
    struct slab *packed;
    size_t stage_at; /* bytes received and not looked at yet */
    size_t stage_len;
    uint8_t *spill;  /* ... and those behind them, after a wrong guess */
    size_t spill_at;
    size_t spill_len;
    uint8_t stage[LINK_STAGE];
};

/* Bytes that are read at once to be thrown away. */
#define FETCH_SCRAP ((size_t)64 << 10)

#define LOCAL_JOBS 2u
#define LOCAL_QUEUE 16u
#define LOCAL_BUFFER ((size_t)1 << 20)

struct local_job {
    struct fetch *fetch;
    struct loop_work *work;
    struct hasher *hasher;
    struct transfer_action action;
    uint64_t size; /* of the file whose grid action refers to */
    uint8_t *buffer;
    size_t buffer_len;
    uint8_t (*digest)[HASH_LEN];
    bool *ok;
    bool copied;
    bool try_clone;
    bool busy;
    int fault; /* errno of a reading that failed, or 0 */
    struct store_error error;
};

/* Verified bytes that wait for their turn in ordered output. */
#define STREAM_WINDOW ((uint32_t)16 << 20)

struct stream;

struct fetch {
    struct loop *loop;
    struct fetch_options options;
    struct fetch_observer observer;
    struct transfer *transfer;
    struct dialer *dialer[TRANSFER_SOURCES_MAX]; /* of each source */
    struct trust *trust[TRANSFER_SOURCES_MAX]; /* NULL: plain */
    struct receiver_auth auth;
    struct pipeline *pipeline;
    struct store *store;
    struct stream *stream;
    struct donors donors;
    struct recall recall;   /* of the target that is to be replaced, */
    unsigned recall_donor;  /* which is this donor, once it is one */
    uint64_t local_size;   /* of the file that is compared or repaired */
    uint64_t wrong_chunks; /* of it, and of what is missing at its end */
    uint64_t wrong_bytes;
    bool receipt_failed;
    int receipt_errno;
    struct link link[TRANSFER_CONNS_MAX];
    struct loop_timer *timer;      /* the transfer's deadline */
    struct loop_timer *flush_timer;
    struct loop_timer *rate_timer;
    struct loop_timer *speed_timer;
    struct loop_timer *settle_timer;
    struct loop_defer *pump_defer;
    struct loop_work *sync_work;
    struct loop_work *finish_work;
    bool flush_armed;
    bool probing;     /* the target exists: only compare */
    bool probed;      /* ... and it is going to be replaced */
    bool restart;     /* begin again, for real */
    bool discard;     /* nothing of this run is worth keeping */
    bool check_target; /* finish_work hashes the existing target */
    bool finished;
    bool rebased;
    bool resumed;
    bool begun;
    bool over;        /* result is decided, waiting for jobs */
    bool ended;       /* observer was told */
    bool stuck;       /* ... although jobs were not done */
    bool in_pump;
    enum transfer_action_type store_step; /* that waits, or TRANSFER_IDLE */
    bool verifying;
    enum belay_reason end;
    char text[1400];
    uint64_t started;
    uint64_t synced_at;
    uint64_t synced_bytes;
    uint64_t speed_wire; /* bytes received when speed_timer was started */
    struct store_error sync_error;
    bool sync_failed;
    /* Local work. */
    struct local_job local[LOCAL_JOBS];
    struct transfer_action queue[LOCAL_QUEUE];
    unsigned queue_head, queue_count;
    unsigned local_busy;
    int local_fault; /* errno of a reading that failed, or 0 */
    /* Finishing. */
    int finish_result;
    bool digest_wrong;
    uint8_t whole[HASH_LEN];
    unsigned warnings;
    struct store_error finish_error;
    uint8_t scrap[FETCH_SCRAP]; /* what is thrown away; never read */
};

/* fetch.c */
void fetch_pump(struct fetch *f);
void fetch_pump_later(struct fetch *f);
void fetch_over(struct fetch *f, enum belay_reason end, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void fetch_note(struct fetch *f, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void fetch_raise(struct fetch *f, enum belay_event_type type, uint64_t value,
                 bool detail, const char *text);
void fetch_event(struct fetch *f, enum belay_event_type type, uint64_t value,
                 const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* Of the first URL (0) or a mirror. */
const struct uri *fetch_source_uri(const struct fetch *f, unsigned source);
void fetch_settle(struct fetch *f);
void fetch_arm_flush(struct fetch *f);
/* Bytes that a link may receive now; 0 with a limit in force means wait. */
size_t fetch_allowance(struct link *link);
void fetch_spent(struct link *link, size_t bytes);

/* fetch_rate.c: what its two timers call. */
void fetch_rate_again(void *arg);
void fetch_speed_check(void *arg);
/* fetch_trust.c */
/* Gets ready to check the server; without that it is over. */
void fetch_trust_begin(struct fetch *f);
/* TLS with the server failed for good. */
void fetch_distrust(struct link *link, const char *text);
/* ... or has begun. */
void fetch_trusted(struct fetch *f, const struct link *link);

/* fetch_store.c */
bool fetch_store_open(struct fetch *f);
void fetch_store_begin(struct fetch *f);
void fetch_store_rebase(struct fetch *f);
void fetch_store_identity(struct fetch *f);
void fetch_store_error(struct fetch *f, const struct store_error *error);
void fetch_store_sync(struct fetch *f);
void fetch_store_finish(struct fetch *f);
void fetch_store_close(struct fetch *f);
void fetch_sync_work(void *arg);
void fetch_sync_done(void *arg);
void fetch_finish_work(void *arg);
void fetch_finish_done(void *arg);
void fetch_store_remark(struct fetch *f, uint64_t first, uint64_t count);

/* SHA-256 of the partial file, or of the file `fd`; to f->whole. */
int fetch_hash_whole(struct fetch *f, int fd, uint64_t size) MUST_USE;

/* fetch_target.c */
/* 0 with *st; ENOENT; or another errno, when that cannot be known. */
int fetch_target_stat(const struct fetch *f, struct stat *st);
/* True: it cannot be known, and the fetch is over. */
bool fetch_target_hides(struct fetch *f, int error);
/* The server's identity is known: is the target that file? */
void fetch_target_judge(struct fetch *f);
/* It is not: it is replaced, if that was asked for. */
void fetch_target_differs(struct fetch *f);
/* Worker thread: compares contents; digest_wrong says what came of it. */
void fetch_target_check(struct fetch *f);

/* fetch_tell.c */
void fetch_tell(struct fetch *f, const struct transfer_action *a);
void fetch_failed(struct fetch *f, enum transfer_reason reason);
void fetch_compared(struct fetch *f);

/* fetch_local.c */
bool place_open(struct fetch *f);
bool copy_open(struct fetch *f);
/* Unless forced, an empty or unknown file replaces nothing.  True: it would
 * have, and the fetch is over. */
bool place_keeps_from_empty(struct fetch *f);
bool place_keeps_unseen(struct fetch *f);
void donors_open_seeds(struct fetch *f);
void donors_add_target(struct fetch *f);
void donors_config(const struct fetch *f, struct transfer_config *config);
void donor_tell(struct fetch *f, const struct transfer_action *action);
void place_compared(struct fetch *f);
/* Worker thread; the transfer is finished. */
void fetch_write_receipt(struct fetch *f);
/* The same for the target that was there already. */
void fetch_receipt_of_target(struct fetch *f, int fd);

/* local.c */
int local_init(struct fetch *f) MUST_USE;
void local_free(struct fetch *f);
void local_add(struct fetch *f, const struct transfer_action *action);
void local_pump(struct fetch *f);

/* stream.c */
int stream_new(struct fetch *f, struct stream **out) MUST_USE;
void stream_free(struct stream *s);
int stream_begin(struct stream *s, uint64_t size, uint8_t chunk_log2) MUST_USE;
void stream_ready(struct stream *s, const struct piece *piece);
bool stream_busy(const struct stream *s);

#endif
