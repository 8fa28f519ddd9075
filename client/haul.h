/* Haul: many small files from one server into one directory.
 *
 * The runner of proto/session/bulk.h: sockets, worker threads, the
 * destination (client/dest.h) and the clock around the pure machine.  Files
 * are added one by one, in any number; each ends by its own `done`.
 *
 * A file goes through these stages; those marked * are on worker threads, and
 * many files share one turn of each:
 *   * look      is the target there already, and as it should be?
 *     fetch     OPEN and GET, see bulk.h
 *   * write     check digests and CID, write a temporary file
 *   * settle    one sync for all of them, rename, one sync for the names
 * so a target that is seen is whole, verified and durable, and success is
 * told only then.  A dry run ends with the first stage, but for files whose
 * contents are to be compared.
 *
 * Loop thread only. */
#ifndef CLIENT_HAUL_H
#define CLIENT_HAUL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "client/belay.h"
#include "client/dial.h"
#include "client/rate.h"
#include "client/security.h"
#include "proto/data/hash.h"
#include "proto/data/uri.h"
#include "proto/io/loop.h"

struct haul_options {
    const struct uri *uri; /* the server; borrowed until the end */
    const char *dir;       /* the destination; made if it is missing */
    bool compression;
    bool remote_time;      /* files get the server's time */
    bool dry_run;          /* nothing is written: BELAY_WOULD_FETCH */
    uint64_t max_size;     /* larger files are handed back; 0: no limit */
    unsigned conns;        /* at most; 0: as many as help */
    unsigned tries;        /* 0: no limit once there was contact */
    bool wait_first;
    enum dial_family family;
    const struct proxy *proxy; /* borrowed for the call; NULL: none */
    const struct ssh_command *ssh; /* borrowed until the end; NULL: none */
    uint64_t connect_timeout_ms;
    uint64_t stall_ms;     /* silence before a PING; 0: default */
    struct rate *rate;     /* borrowed, shared; NULL: no limit */
    const struct security *security; /* borrowed */
};

/* What to do with a target that exists. */
enum haul_exists {
    HAUL_REPLACE, /* unless it is the server's file already */
    HAUL_KEEP,    /* BELAY_SKIPPED */
    HAUL_REFUSE,  /* BELAY_EXISTS unless it is the server's file already */
};

struct haul_file {
    const uint8_t *path; /* on the server; passed relpath_check(); copied */
    size_t path_len;
    const char *name;    /* below the destination; passed relpath_check();
                            copied */
    enum haul_exists exists;
    bool check;       /* compare contents, do not believe size and time */
    bool known;       /* size and time are those of a listing */
    uint64_t size;
    int64_t mtime_s;
    uint32_t mtime_ns;
    bool pinned;
    uint8_t pin_log2;
    uint8_t pin_cid[HASH_LEN];
    bool have_sha256;
    uint8_t sha256[HASH_LEN];
    void *user;
};

struct haul_result {
    void *user;
    /* BELAY_DONE: in place and durable; BELAY_UP_TO_DATE, BELAY_SKIPPED;
     * BELAY_WOULD_FETCH; else it is not there. */
    enum belay_reason reason;
    /* Too large for here, or in need of digest lists, also to use what is equal
     * in the file that it replaces: nothing was done, fetch it alone
     * (client/fetch.h).  `reason` means nothing then. */
    bool handed;
    const char *text; /* printable; lives for the call */
    uint64_t size;
    bool cid_known;
    uint8_t chunk_log2;
    uint8_t cid[HASH_LEN];
};

struct haul_observer {
    void (*done)(void *arg, const struct haul_result *result);
    /* haul_add() has room again after it had none. */
    void (*room)(void *arg);
    void (*note)(void *arg, const struct belay_event *event);
    /* The last call.  BELAY_DONE: the input ended and each file was told.
     * Else what was not told is not there. */
    void (*end)(void *arg, enum belay_reason reason, const char *text);
    void *arg;
};

struct haul_stats {
    uint64_t files;  /* in place */
    uint64_t bytes;  /* of these */
    uint64_t wire;   /* all bytes received */
    uint64_t wasted; /* chunk data that came to nothing */
    uint64_t saved;  /* by compression */
    unsigned connects;
    unsigned losses;
    unsigned conns;  /* up now */
};

struct haul;

/* Connects at once.  observer->end comes exactly once, later; then
 * haul_free().  ERR_NOMEM; what is wrong with the destination comes by end. */
int haul_start(struct loop *loop, const struct haul_options *options,
               const struct haul_observer *observer,
               struct haul **out) MUST_USE;
/* ERR_LIMIT: no room, observer->room comes.  ERR_NOMEM.  Never calls back. */
int haul_add(struct haul *haul, const struct haul_file *file) MUST_USE;
bool haul_room(const struct haul *haul);
/* An empty directory, and the attributes of a finished one (mode 0: leave
 * it), both not in a dry run; a symbolic link, which replaces nothing but a
 * link.  The same rules as for haul_add(). */
int haul_add_dir(struct haul *haul, const char *name, void *user) MUST_USE;
int haul_add_dir_attrs(struct haul *haul, const struct haul_file *dir,
                       mode_t mode) MUST_USE;
int haul_add_link(struct haul *haul, const char *name, const char *target,
                  enum haul_exists exists, void *user) MUST_USE;
/* Opens a directory of the destination, beneath it and through no symbolic
 * link; the caller closes it.  As rootfs_open_dir(). */
int haul_open_dir(const struct haul *haul, const char *name,
                  int *fd) MUST_USE;
/* Nothing will be added any more. */
void haul_end_of_input(struct haul *haul);
/* Ends soon, with what has arrived in place: BELAY_INTERRUPTED. */
void haul_interrupt(struct haul *haul);
/* The same for the end of the time allowed: BELAY_LIMIT. */
void haul_expire(struct haul *haul);
/* As fetch_stuck() and fetch_lingers(). */
bool haul_stuck(const struct haul *haul);
bool haul_lingers(const struct haul *haul);
/* The key that a server showed whom nobody vouches for
 * (BELAY_UNKNOWN_HOST); false: none. */
bool haul_pin(const struct haul *haul, uint8_t pin[HASH_LEN]);
void haul_free(struct haul *haul);
void haul_stats(const struct haul *haul, struct haul_stats *out);

#endif
