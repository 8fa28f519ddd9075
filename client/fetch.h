/* Fetch: download one file, from URL to verified file.
 *
 * The runner of proto/session/transfer.h: sockets, worker threads, the store
 * and the clock around the pure machine.  One loop can run many fetches.
 *
 * Loop thread only. */
#ifndef CLIENT_FETCH_H
#define CLIENT_FETCH_H

#include <stdbool.h>
#include <stdint.h>

#include "client/belay.h"
#include "client/dial.h"
#include "client/ssh.h"
#include "client/rate.h"
#include "client/security.h"
#include "proto/data/uri.h"
#include "proto/io/loop.h"
#include "proto/session/transfer.h"

struct fetch_options {
    const struct uri *uri;  /* borrowed until the fetch ends */
    const struct ssh_command *ssh; /* of each that is reached so; borrowed */
    const char *url_text;   /* for messages and the journal; no secrets;
                               borrowed, like all texts here */
    const char *dir;        /* directory of the target */
    const char *name;       /* its name; NULL: verified stream to fd */
    const char *part_prefix; /* of partial and journal; NULL: none */
    const char *shown_dir;  /* dir for messages; NULL: the same */
    int dir_errno;          /* why it could not be made; 0: it was, or is
                               expected to be there */
    bool check;             /* size and time do not tell what a file is */
    int fd;
    bool overwrite;
    bool no_clobber;
    bool compression;
    bool remote_time;
    bool stop_on_change;
    bool dry_run;           /* look only: BELAY_WOULD_FETCH */
    bool have_sha256;
    uint8_t sha256[HASH_LEN];
    uint8_t want_chunk_log2;
    unsigned conns;
    unsigned tries;         /* 0: no limit once there was contact */
    bool wait_first;
    enum dial_family family;
    uint64_t connect_timeout_ms;
    uint64_t stall_ms;      /* silence before a PING; 0: default */
    uint64_t speed_limit;   /* bytes per second; slower than that ... */
    uint64_t speed_ms;      /* ... for so long: connect anew; 0: never */
    size_t memory;          /* for received data */
    struct rate *rate;      /* borrowed, shared; NULL: no limit */
    uint64_t max_size;      /* 0: no limit */
    const struct proxy *proxy; /* borrowed; NULL: none */
    const struct security *security; /* borrowed */
    enum belay_kind kind;
    bool anew;              /* the target exists and is replaced, whatever
                               its size and time say */
    bool force;             /* repair even what seems to be another file */
    const char *const *seeds; /* borrowed, like all that follows */
    unsigned seed_count;
    const char *receipt;      /* NULL: none */
    const struct uri *mirrors;
    unsigned mirror_count;
};

/* What a fetch tells while it runs.  Text is printable; it lives for the
 * call. */
struct fetch_observer {
    /* The event without its job; detail: of interest only to somebody who
     * looks closely. */
    void (*note)(void *arg, const struct belay_event *event);
    void (*end)(void *arg, enum belay_reason end, const char *text);
    void *arg;
};

struct fetch_stats {
    struct transfer_ledger ledger;
    unsigned conns;          /* up now */
    bool verifying;          /* hashing, syncing: no bytes are expected */
    bool partial;            /* something is on disk that can be resumed */
    uint64_t elapsed_ms;
    uint8_t chunk_log2;
    bool cid_known;
    uint8_t cid[HASH_LEN];
    bool pin_shown;          /* by a server whose key is not known */
    uint8_t pin[HASH_LEN];
    uint64_t wrong_chunks;
    uint64_t wrong_bytes;
};

/* The outcome that a machine's reason amounts to. */
enum belay_reason fetch_reason(enum transfer_reason reason);

struct fetch;

/* Starts at once; observer->end comes exactly once, later.  Then free. */
int fetch_start(struct loop *loop, const struct fetch_options *options,
                const struct fetch_observer *observer,
                struct fetch **out) MUST_USE;
/* End soon, keeping everything: BELAY_INTERRUPTED. */
void fetch_interrupt(struct fetch *fetch);
/* The same for the end of the time allowed: BELAY_LIMIT. */
void fetch_expire(struct fetch *fetch);
/* A job still hangs in a system call (a pipe that nobody reads, a dead disk)
 * although the end was told after an interrupt or a deadline: do not free,
 * end the process.  What is on disk is safe at any moment. */
bool fetch_stuck(const struct fetch *fetch);
/* After fetch_free() the loop would wait for a name look-up, maybe long. */
bool fetch_lingers(const struct fetch *fetch);
void fetch_free(struct fetch *fetch);
/* Whom a person means by this source: host and port. */
void fetch_source_name(const struct fetch *fetch, unsigned source, char *out,
                       size_t cap);
bool fetch_source_stats(const struct fetch *fetch, unsigned source,
                        struct transfer_source_stats *out);
void fetch_stats(const struct fetch *fetch, struct fetch_stats *out);

#endif
