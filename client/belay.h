/* libbelay: resumable, verified downloads of files over links that break.
 *
 *     struct belay_get_options what = {.struct_size = sizeof what,
 *                                      .url = "belay+tcp://host/file"};
 *
 *     belay_engine_new(&(struct belay_engine_options){...}, &engine, &error);
 *     belay_get(engine, &what, NULL, &error);
 *     belay_run(engine);
 *
 * An engine owns an event loop and worker threads.  Downloads ("jobs") are
 * added to it, belay_run() carries them out, and one callback hears what
 * happens.  What was received before a break, a signal or a crash stays in
 * FILE.part; the same job goes on from there.  A file gets its final name
 * only when every byte was verified and is on the disk.
 *
 * Threads: an engine and its jobs belong to one thread at a time; the only
 * calls from elsewhere, signal handlers included, are belay_interrupt() and
 * belay_wake().  Engines are independent of each other.  All other functions
 * may be called from any thread.
 *
 * Units: bytes, and milliseconds of a monotonic clock.  Texts are UTF-8 and
 * end with NUL.  Texts that the library makes are printable: bytes that
 * could steer a terminal are escaped.
 *
 * Ownership: what is passed in is copied before the call returns, unless it
 * says otherwise; texts and events that a callback gets live until it
 * returns.
 *
 * Growth: a struct whose first member is struct_size is filled in by the
 * caller with sizeof of the struct as compiled; members that are not named
 * are zero, and zero is the default of every one.  Later versions append.
 *
 * SIGPIPE: a program that lets a job write to a pipe ignores the signal. */
#ifndef BELAY_H
#define BELAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define BELAY_API __attribute__((visibility("default")))
#define BELAY_CHECKED __attribute__((warn_unused_result))

/* ---- Outcomes -------------------------------------------------------- */

/* What to do about an outcome. */
enum belay_class {
    BELAY_CLASS_DONE,      /* nothing: it is as asked */
    BELAY_CLASS_TEMPORARY, /* the same again may succeed */
    BELAY_CLASS_PERMANENT, /* something must be changed first */
    BELAY_CLASS_LIMIT,     /* a limit of the caller's own was reached */
    BELAY_CLASS_USAGE,     /* the request itself is wrong */
};

/* X(constant, stable name, class). */
#define BELAY_REASON_LIST(X)                                                \
    X(BELAY_DONE, "ok", BELAY_CLASS_DONE)                                     \
    /* The target was this file already. */                                 \
    X(BELAY_UP_TO_DATE, "up-to-date", BELAY_CLASS_DONE)                     \
    /* The target exists, and it was to be left alone. */                   \
    X(BELAY_SKIPPED, "skipped", BELAY_CLASS_DONE)                           \
    /* A dry run: it is there and would be fetched. */                      \
    X(BELAY_WOULD_FETCH, "would-fetch", BELAY_CLASS_DONE)                   \
    X(BELAY_USAGE, "usage", BELAY_CLASS_USAGE)                              \
    /* No contact, or the tries were used up. */                            \
    X(BELAY_UNREACHABLE, "unreachable", BELAY_CLASS_TEMPORARY)              \
    /* The server's own trouble. */                                         \
    X(BELAY_SERVER, "server", BELAY_CLASS_TEMPORARY)                        \
    /* Not found, denied, not a file. */                                    \
    X(BELAY_REFUSED, "refused", BELAY_CLASS_PERMANENT)                      \
    /* Credentials, or TLS, needed or refused. */                            \
    X(BELAY_ACCESS, "access", BELAY_CLASS_PERMANENT)                        \
    /* Not this protocol, or no common version. */                          \
    X(BELAY_NOT_BELAY, "not-belay", BELAY_CLASS_PERMANENT)                  \
    /* The server is not who it should be, or no authority that we know     \
     * vouches for it and it shows a key that is not known. */              \
    X(BELAY_WRONG_HOST, "wrong-host", BELAY_CLASS_PERMANENT)                \
    X(BELAY_UNKNOWN_HOST, "unknown-host", BELAY_CLASS_PERMANENT)            \
    /* A pin, a digest or a content id does not match. */                   \
    X(BELAY_WRONG_CONTENT, "wrong-content", BELAY_CLASS_PERMANENT)          \
    /* A manifest without a good signature, too old, or expired. */         \
    X(BELAY_UNTRUSTED, "untrusted", BELAY_CLASS_PERMANENT)                  \
    /* The file changed on the server, and that was to end the job. */      \
    X(BELAY_CHANGED, "changed", BELAY_CLASS_PERMANENT)                      \
    /* Cannot read or write here, no space. */                              \
    X(BELAY_DISK, "disk", BELAY_CLASS_PERMANENT)                            \
    /* The target exists and may not be replaced. */                        \
    X(BELAY_EXISTS, "exists", BELAY_CLASS_PERMANENT)                        \
    /* Another process works on the target. */                              \
    X(BELAY_BUSY, "busy", BELAY_CLASS_TEMPORARY)                            \
    X(BELAY_LIMIT, "limit", BELAY_CLASS_LIMIT)                              \
    /* In place, but the directory would not sync. */                       \
    X(BELAY_NOT_DURABLE, "not-durable", BELAY_CLASS_PERMANENT)              \
    X(BELAY_INTERRUPTED, "interrupted", BELAY_CLASS_TEMPORARY)              \
    /* A fault of the library, or memory is out. */                         \
    X(BELAY_INTERNAL, "internal", BELAY_CLASS_PERMANENT)                    \
    /* Compared, and not right; written out, and nobody reads it. */        \
    X(BELAY_DIFFERS, "differs", BELAY_CLASS_PERMANENT)                      \
    X(BELAY_NO_READER, "no-reader", BELAY_CLASS_PERMANENT)

enum belay_reason {
#define BELAY_REASON_ENUM(name, text, class_) name,
    BELAY_REASON_LIST(BELAY_REASON_ENUM)
#undef BELAY_REASON_ENUM
};

/* The names above never change; "unknown": not known to this version. */
BELAY_API const char *belay_reason_name(enum belay_reason reason);
BELAY_API enum belay_class belay_reason_class(enum belay_reason reason);
/* "done", "temporary", "permanent", "limit", "usage". */
BELAY_API const char *belay_class_name(enum belay_class class_);
/* For errno of a named file that cannot be read: BELAY_USAGE if there is none,
 * else BELAY_DISK. */
BELAY_API enum belay_reason belay_reason_of_file(int error);

/* Why a call failed, as one line for a person. */
struct belay_error {
    enum belay_reason reason;
    char text[1024];
};

/* ---- Helpers --------------------------------------------------------- */

/* "0.1.0" of the library that is running. */
BELAY_API const char *belay_version(void);
/* The version of the wire protocol. */
BELAY_API unsigned belay_protocol_version(void);
/* "OpenSSL 3.0.17, zlib 1.2.13, libuv 1.44.2": the libraries it runs with;
 * `cap` >= 1 bytes at `out`, what does not fit is cut. */
BELAY_API void belay_libraries(char *out, size_t cap);

/* Makes `text` fit for a terminal or a log line: `cap` >= 4 bytes at `out`;
 * what does not fit is cut and ends with an ellipsis.  Returns the length
 * without the final NUL. */
BELAY_API size_t belay_text_escape(char *out, size_t cap, const char *text);
/* "812 B", "1.50 GiB": 32 bytes suffice. */
BELAY_API void belay_text_bytes(uint64_t bytes, char *out, size_t cap);

/* What a URL says. */
struct belay_url {
    size_t struct_size;
    char host[256];
    uint16_t port;
    bool pinned;     /* it names the content it wants */
    char name[4097]; /* last component of the path; "" for the root */
    char path[4097];
};

/* BELAY_DONE, or BELAY_USAGE with `error` filled in; either may be NULL. */
BELAY_API enum belay_reason belay_url_parse(
    const char *url, struct belay_url *out,
    struct belay_error *error) BELAY_CHECKED;

/* ---- Content ids ----------------------------------------------------- */

/* "bl1-CC-" and 64 hexadecimal digits, with the final NUL. */
#define BELAY_CID_SIZE 72
#define BELAY_CHUNK_SIZE_MIN 4096u
#define BELAY_CHUNK_SIZE_MAX 4194304u

/* The content id of a local file.  `chunk_size` is a power of two from 4 KiB
 * to 4 MiB, or 0 for the one that fits the size of the file.  Reads the whole
 * file in this thread. */
BELAY_API enum belay_reason belay_file_cid(
    const char *path, uint32_t chunk_size, char cid[BELAY_CID_SIZE],
    struct belay_error *error) BELAY_CHECKED;

/* ---- Trust ----------------------------------------------------------- */

/* "sha256:" and 64 hexadecimal digits, with the final NUL: the digest of a
 * server's public key. */
#define BELAY_PIN_SIZE 72

/* Whom to believe, and who we are. What is demanded here holds for every
 * server that a job talks to, and nothing that a server says weakens it. Files
 * are in PEM form. */
struct belay_security {
    size_t struct_size;
    const char *ca_file;   /* authorities; NULL: those of the system */
    const char *pin;       /* the server's key: no other, and nothing else
                              counts */
    const char *cert_file; /* our own certificate, */
    const char *key_file;  /* ... and its key, without a password */
    const char *known_hosts; /* file of keys by host; NULL: the user's own;
                                "": none */
    bool accept_new;       /* record the key of a host that is not known,
                              without authorities of our own */
    const char *token;     /* bearer token; never sent over plain TCP */
};

struct belay_known_host {
    size_t struct_size;
    const char *host;        /* HOST or HOST:PORT; [ADDRESS] for IPv6 */
    const char *pin;         /* NULL: forget the host */
    bool replace;            /* forget its other keys */
    const char *known_hosts; /* NULL: the user's own */
};

/* Changes the file; BELAY_UP_TO_DATE, with a text: nothing to forget. */
BELAY_API enum belay_reason belay_know_host(
    const struct belay_known_host *host, struct belay_error *error)
    BELAY_CHECKED;

/* ---- Verifying ------------------------------------------------------- */

struct belay_verify_options {
    size_t struct_size;
    const char *path;    /* of the file */
    const char *receipt; /* path of a receipt, */
    const char *cid;     /* ... or a content id in text form */
    /* Hears of each range [from, to) that is wrong; may be NULL.  A content
     * id alone does not tell them. */
    void (*wrong)(void *arg, uint64_t from, uint64_t to);
    void *arg;
};

struct belay_verify_result {
    size_t struct_size;
    uint64_t size;         /* of the file */
    uint64_t want_size;    /* ... as it should be */
    uint64_t chunks;
    uint64_t wrong_chunks; /* wrong or missing */
    uint64_t wrong_bytes;
    char cid[BELAY_CID_SIZE]; /* of the right content; of the file where
                                 only a content id was given */
};

/* Compares a local file with a receipt or a content id, without any server
 * and without writing anything.  Reads the whole file in this thread.
 * BELAY_DONE; BELAY_DIFFERS: the file is not right; BELAY_WRONG_CONTENT: the
 * receipt was changed; BELAY_USAGE: it is none.  `result` and `error` may be
 * NULL. */
BELAY_API enum belay_reason belay_verify(
    const struct belay_verify_options *options,
    struct belay_verify_result *result,
    struct belay_error *error) BELAY_CHECKED;

/* ---- Engine ---------------------------------------------------------- */

struct belay_engine;
struct belay_job;
/* X(constant, stable name). */
#define BELAY_EVENT_LIST(X)                                                 \
    X(BELAY_EVENT_START, "start")       /* a job begins to work */          \
    X(BELAY_EVENT_NOTE, "note")         /* something else to tell */        \
    X(BELAY_EVENT_SECURE, "secure")     /* TLS has begun on one */          \
    X(BELAY_EVENT_RESET, "reset")       /* a connection was lost */         \
    X(BELAY_EVENT_STALL, "stall")       /* none is left; value: ms until    \
                                           the next try */                  \
    X(BELAY_EVENT_BACK, "back")         /* data flows again */              \
    X(BELAY_EVENT_CHANGED, "changed")   /* another version is served */     \
    X(BELAY_EVENT_REUSED, "reused")     /* value: bytes of the version      \
                                           before that are in it, too */    \
    X(BELAY_EVENT_DAMAGED, "damaged")   /* chunk number `value` arrived     \
                                           wrong; it is fetched again */    \
    X(BELAY_EVENT_VERIFY, "verify")     /* all bytes are here: checking,    \
                                           making durable */                \
    X(BELAY_EVENT_ENTRY, "entry")       /* entry: of a listing */           \
    X(BELAY_EVENT_FILE, "file")         /* entry: one file of a directory   \
                                           came to its end: reason */       \
    X(BELAY_EVENT_END, "end")           /* the last one of a job: reason */ \
    X(BELAY_EVENT_TICK, "tick")         /* tick_ms passed; no job */        \
    X(BELAY_EVENT_WAKE, "wake")         /* belay_wake() was called; no job */ \
    X(BELAY_EVENT_WRONG, "wrong")       /* repair, verify: bytes from       \
                                           `value` on are wrong */

enum belay_event_type {
#define BELAY_EVENT_ENUM(name, text) name,
    BELAY_EVENT_LIST(BELAY_EVENT_ENUM)
#undef BELAY_EVENT_ENUM
};

BELAY_API const char *belay_event_name(enum belay_event_type type);

struct belay_event {
    size_t struct_size;
    enum belay_event_type type;
    struct belay_job *job; /* NULL: of the engine */
    void *user_data;       /* of the job */
    const char *text;      /* one line for a person, without a line end; ""
                              where there is nothing to say */
    bool detail;           /* of interest only to who looks closely */
    uint64_t value;        /* see the list */
    enum belay_reason reason; /* BELAY_EVENT_END and BELAY_EVENT_FILE only */
    const struct belay_entry *entry; /* NULL where the list names none */
};

enum belay_file_type {
    BELAY_TYPE_FILE = 1,
    BELAY_TYPE_DIRECTORY = 2,
    BELAY_TYPE_LINK = 3,
    BELAY_TYPE_OTHER = 4,
};

/* One name in a directory of the server. */
struct belay_entry {
    size_t struct_size;
    const char *path;   /* below the directory asked for: bytes */
    const char *shown;  /* the same, printable */
    enum belay_file_type type;
    uint64_t size;
    int64_t mtime_s;    /* seconds since 1970 */
    uint32_t mtime_ns;
    unsigned mode;      /* permission bits; 0: not known */
    const char *target; /* of a symbolic link, printable; NULL: not known */
    const char *cid;    /* of a listing that asked for it; NULL: not known */
};

/* Runs on the engine's thread, from belay_run().  It may add, stop and ask
 * jobs; it does not call belay_run() or belay_engine_free(). */
typedef void belay_event_fn(void *arg, const struct belay_event *event);

struct belay_engine_options {
    size_t struct_size;
    belay_event_fn *event; /* NULL: nobody listens */
    void *arg;
    unsigned files;        /* jobs at work at once; 0: 4 */
    unsigned workers;      /* threads, for all engines of the process
                              together; the first engine decides; 0: as many
                              as the processors can use */
    uint64_t tick_ms;      /* BELAY_EVENT_TICK so often; 0: never */
    uint64_t rate;         /* bytes per second received, all jobs together;
                              0: no limit */
    uint64_t deadline_ms;  /* after belay_run() began: what is not done then
                              ends with BELAY_LIMIT; 0: none */
    const struct belay_security *security; /* NULL: the defaults */
};

BELAY_API enum belay_reason belay_engine_new(
    const struct belay_engine_options *options, struct belay_engine **out,
    struct belay_error *error) BELAY_CHECKED;

/* Carries out all jobs; returns when none is left.  More jobs may be added
 * and run afterwards. */
BELAY_API void belay_run(struct belay_engine *engine);

/* Ends all jobs soon with BELAY_INTERRUPTED, keeping what was received.  For
 * good: later jobs end at once.  Any thread, any signal handler. */
BELAY_API void belay_interrupt(struct belay_engine *engine);
/* Causes one BELAY_EVENT_WAKE; several calls may merge.  Any thread, any
 * signal handler. */
BELAY_API void belay_wake(struct belay_engine *engine);

/* Frees an engine that is not running, with what is left of its jobs.  False:
 * a system call hangs (a dead disk, a pipe that nobody reads, a name service
 * that does not answer), the engine stays, and a process that wants to end
 * now calls _exit(); what is on disk is safe.  NULL is allowed. */
BELAY_API bool belay_engine_free(struct belay_engine *engine);

/* ---- Jobs: one file -------------------------------------------------- */

/* What a job does. */
enum belay_kind {
    BELAY_KIND_GET,
    /* Fetch what is wrong or missing in the target, which exists, and write
     * it in its place: verified bytes only, so that a kill leaves a file
     * that another run heals.  With `overwrite` a new file is made of it
     * instead, which replaces it at the end. */
    BELAY_KIND_REPAIR,
    /* Compare the target with the server's file and write nothing:
     * BELAY_DONE, or BELAY_DIFFERS after BELAY_EVENT_WRONG for each range. */
    BELAY_KIND_VERIFY,
};

struct belay_get_options {
    size_t struct_size;
    const char *url;
    const char *output;    /* path of the target; NULL: named by the URL */
    const char *directory; /* where a relative target is; NULL: here */
    bool to_fd;            /* write to `fd`, in order, nothing unverified, */
    int fd;                /* ... instead of to a file; stays open */
    const char *sha256;    /* of the whole file, 64 hexadecimal digits */
    bool make_directories; /* where the target's are missing */
    bool overwrite;        /* replace a target that is another file */
    bool no_clobber;       /* BELAY_SKIPPED when the target exists */
    bool compression;      /* let the server compress */
    bool no_remote_time;   /* do not give the file the server's time */
    bool stop_on_change;   /* BELAY_CHANGED instead of the new version */
    bool dry_run;          /* only look what would be done: ends with
                              BELAY_WOULD_FETCH, BELAY_UP_TO_DATE or what
                              went wrong, and changes nothing */
    unsigned connections;  /* 1 to 16; 0: as many as help */
    unsigned tries;        /* end after so many tries in a row without
                              progress; 0: never, once there was contact */
    bool wait_first;       /* ... and wait for a server not up yet */
    unsigned family;       /* 4 or 6: that version of IP only */
    uint64_t connect_timeout_ms; /* for one try; 0: 10 s */
    uint64_t silence_ms;   /* until the server must answer a ping; 0: 30 s */
    uint64_t speed_limit;  /* bytes per second: connect anew when ... */
    uint64_t speed_ms;     /* ... slower for so long; either 0: never */
    uint64_t max_size;     /* BELAY_LIMIT beyond; 0: no limit */
    const char *proxy;     /* socks5h://[USER:PASSWORD@]HOST[:PORT] or NULL */
    const char *no_proxy;  /* hosts and domains, separated by commas, that are
                              reached without it; * for all; may be NULL */
    uint32_t chunk_size;   /* wished for; 0: the server's choice */
    void *user_data;       /* comes back with each event */
    enum belay_kind kind;
    const char *const *mirrors; /* other URLs of the same content, used
                                   together with `url` */
    unsigned mirror_count;      /* ... at most BELAY_MIRRORS_MAX */
    const char *const *seeds; /* local files that may hold some of the
                                 content; the target that is replaced is
                                 one anyway */
    unsigned seed_count;      /* ... at most BELAY_SEEDS_MAX */
    const char *receipt;      /* write a receipt there when all is right; "":
                                 beside the target, NAME.belay-receipt */
    bool force;               /* repair even what seems to be another file */
    const char *ssh;       /* command that reaches another host, its words
                              between blanks; NULL: "ssh" */
    const char *remote_belayd; /* the server there, in PATH or a path from
                              the login directory; NULL: "belayd" */
};

#define BELAY_MIRRORS_MAX 15
#define BELAY_SEEDS_MAX 14

/* Adds a job.  BELAY_DONE, or another reason with `error` filled in (may be
 * NULL) and no job: then no event follows.  `*out` (may be NULL) is valid
 * until the callback of the job's BELAY_EVENT_END returns. */
BELAY_API enum belay_reason belay_get(
    struct belay_engine *engine, const struct belay_get_options *options,
    struct belay_job **out, struct belay_error *error) BELAY_CHECKED;

/* ---- Jobs: directories ----------------------------------------------- */

struct belay_list_options {
    size_t struct_size;
    const char *url;       /* of a directory */
    bool recursive;        /* with all that is in it */
    bool with_cid;         /* content ids, where the server knows them */
    unsigned tries;        /* these as in belay_get_options */
    bool wait_first;
    unsigned family;
    uint64_t connect_timeout_ms;
    uint64_t silence_ms;
    const char *proxy, *no_proxy;
    void *user_data;
    const char *ssh, *remote_belayd;
};

/* Adds a job that lists a directory, in bounded memory: BELAY_EVENT_ENTRY. */
BELAY_API enum belay_reason belay_list(
    struct belay_engine *engine, const struct belay_list_options *options,
    struct belay_job **out, struct belay_error *error) BELAY_CHECKED;

struct belay_tree_options {
    size_t struct_size;
    const char *url;       /* of a directory */
    const char *directory; /* where its contents go; made if it is missing */
    /* Is this entry wanted, and what is in it?  NULL: everything is. */
    bool (*want)(void *arg, const struct belay_entry *entry);
    void *want_arg;
    bool links;          /* make symbolic links that stay inside */
    bool check;          /* compare contents, not size and time only */
    bool no_clobber;     /* leave what exists alone */
    bool compression;    /* these as in belay_get_options */
    bool no_remote_time;
    unsigned connections;
    unsigned tries;
    bool wait_first;
    unsigned family;
    uint64_t connect_timeout_ms;
    uint64_t silence_ms;
    const char *proxy;
    const char *no_proxy;
    void *user_data;
    bool dry_run;        /* only tell: BELAY_WOULD_FETCH, files and job */
    uint64_t max_size;   /* larger ones are BELAY_SKIPPED; 0: no limit */
    const char *ssh, *remote_belayd; /* as in belay_get_options */
};

/* Adds a job that brings a directory and all that is in it.  Files that are
 * here, equal in size and time, are not asked for; others are replaced, each
 * when it is whole.  Nothing is deleted, nor written outside `directory`.
 * Ends with the reason hardest to heal; BELAY_UP_TO_DATE: none was fetched. */
BELAY_API enum belay_reason belay_tree(
    struct belay_engine *engine, const struct belay_tree_options *options,
    struct belay_job **out, struct belay_error *error) BELAY_CHECKED;

/* Ends one job soon with BELAY_INTERRUPTED, keeping what was received.  A
 * small file that is fetched together with others may still be completed. */
BELAY_API void belay_job_stop(struct belay_job *job);

/* The name of the target, without its directory, printable; the URL where
 * the target is a descriptor. */
BELAY_API const char *belay_job_name(const struct belay_job *job);
/* The URL, printable; borrowed from the job, like the name. */
BELAY_API const char *belay_job_url(const struct belay_job *job);
BELAY_API bool belay_job_is_directory(const struct belay_job *job);

struct belay_job_stats {
    size_t struct_size;
    uint64_t size;        /* of the file, or all of a directory; 0: unknown */
    uint64_t have;        /* verified and stored: kept + fresh + reused */
    uint64_t kept;        /* of these, from an earlier run */
    uint64_t fresh;       /* of these, received by this run */
    uint64_t reused;      /* of these, local bytes found good */
    uint64_t wire;        /* all bytes received */
    uint64_t repeated;    /* received although held already */
    uint64_t wasted;      /* received for nothing: cut off, or damaged */
    uint64_t saved;       /* by compression */
    unsigned connects;    /* connections that were made */
    unsigned losses;      /* ... and lost before their work was done */
    unsigned bad_chunks;  /* chunks that arrived damaged */
    unsigned changes;     /* versions of the file after the first */
    unsigned connections; /* up now */
    bool verifying;       /* checking, syncing: no bytes are expected */
    bool resumable;       /* something is on disk to go on from */
    uint64_t elapsed_ms;  /* since the job began to work */
    char cid[BELAY_CID_SIZE]; /* "" until known */
    char server_pin[BELAY_PIN_SIZE]; /* of a server whose key is not known
                                        (BELAY_UNKNOWN_HOST), else "" */
    uint64_t wrong_chunks; /* repair, verify: wrong or missing chunks, */
    uint64_t wrong_bytes;  /* ... and their bytes */
    uint64_t files_found;  /* directory: listed so far, all once size is */
    uint64_t files_have;   /* ... in place, */
    uint64_t files_kept;   /* ... of these, before this run, */
    uint64_t files_failed; /* ... and that cannot be had */
};

/* What one server of a job did; 0 is `url`, the mirrors follow. */
struct belay_source_stats {
    size_t struct_size;
    uint64_t wire;       /* bytes that it sent */
    uint64_t fresh;      /* verified bytes of it */
    unsigned bad_chunks; /* chunks of it that failed their digest */
    unsigned losses;     /* connections to it that were lost */
    bool aside;          /* it is not asked any more */
    char name[300];      /* host and port */
};

/* False when there is no such source. */
BELAY_API bool belay_job_source_stats(const struct belay_job *job,
                                      unsigned source,
                                      struct belay_source_stats *stats);

/* `stats->struct_size` is set by the caller. */
BELAY_API void belay_job_stats(const struct belay_job *job,
                               struct belay_job_stats *stats);

/* ---- Signed manifests ------------------------------------------------ */

/* A manifest says which paths have which contents; whoever trusts the key
 * that signed it need not trust servers (spec/belay-manifest-1.md).
 *
 * A private key is a PEM file (PKCS #8, Ed25519) that nobody else may read;
 * its public half is one line of text, NAME+ID+BASE64. */

/* Makes a key pair: `path`, with mode 0600, and `path`.pub.  `name` is one
 * word without `+`.  BELAY_EXISTS when one of the files exists. */
BELAY_API enum belay_reason belay_key_new(const char *path, const char *name,
                                          struct belay_error *error)
    BELAY_CHECKED;

struct belay_manifest_options {
    size_t struct_size;
    const char *origin;        /* under which serials are counted; one word
                                  without `+` */
    uint64_t serial;           /* must rise from release to release */
    int64_t expires;           /* seconds since 1970 */
    const char *const *paths;  /* directories, whose regular files are named
                                  relative to them, and relative files, which
                                  are named as they are */
    size_t path_count;
    const char *output;        /* is left out of the manifest, as is what
                                  `fd` writes to; may be NULL */
    uint32_t chunk_size;       /* 0: the one that fits each file */
    unsigned threads;          /* that hash; 0: one a processor */
    uint64_t *count;           /* gets the number of files; may be NULL */
    uint64_t *skipped;         /* gets how many names were no regular files
                                  or unfinished downloads; may be NULL */
};

/* Writes the text of a manifest, not signed yet, to `fd`. */
BELAY_API enum belay_reason belay_manifest_create(
    const struct belay_manifest_options *options, int fd,
    struct belay_error *error) BELAY_CHECKED;

/* Signs the manifest at `path`, in place, with the private key at `key_path`,
 * besides the signatures that are there.  `key_name` is needed only for a key
 * file that does not tell its name; else NULL. */
BELAY_API enum belay_reason belay_manifest_sign(const char *path,
                                                const char *key_path,
                                                const char *key_name,
                                                struct belay_error *error)
    BELAY_CHECKED;

/* Whom to trust. */
struct belay_trust {
    size_t struct_size;
    const char *const *keys;   /* each the text of a public key or the path of
                                  a file of them; at least one */
    size_t key_count;
    const char *origin;        /* the origin must be this one; NULL: any */
    const char *state_directory; /* where serials are remembered; NULL:
                                  $XDG_STATE_HOME/belay, ~/.local/state/belay */
    bool no_state;             /* neither look at nor store the serial: no
                                  protection against older manifests */
};

struct belay_manifest;

struct belay_manifest_info {
    size_t struct_size;
    char origin[256];          /* printable */
    uint64_t serial;
    int64_t expires;
    char expires_text[24];     /* 2027-01-01T00:00:00Z */
    uint64_t count;
    char signers[1024];        /* names of trusted keys that signed */
};

struct belay_manifest_file {
    size_t struct_size;
    const char *path;          /* relative, with `/`; until the next call */
    uint64_t size;
    char cid[BELAY_CID_SIZE];
};

/* Opens a manifest that lies at `path`.  Signature, origin, serial and expiry
 * are checked, and the serial is stored, before anything of it is returned.
 * BELAY_UNTRUSTED with one of these messages: a wrong signature, no signature
 * of a trusted key, no signature at all, an older serial, expired, another
 * origin. */
BELAY_API enum belay_reason belay_manifest_open(
    const char *path, const struct belay_trust *trust,
    struct belay_manifest **out, struct belay_error *error) BELAY_CHECKED;

BELAY_API void belay_manifest_info(const struct belay_manifest *manifest,
                                   struct belay_manifest_info *info);
/* The files in the order of their paths; false behind the last.  The first
 * call after belay_manifest_open() or belay_manifest_rewind() gives the first
 * one. */
BELAY_API bool belay_manifest_next(struct belay_manifest *manifest,
                                   struct belay_manifest_file *file);
BELAY_API void belay_manifest_rewind(struct belay_manifest *manifest);
/* NULL is allowed. */
BELAY_API void belay_manifest_close(struct belay_manifest *manifest);

/* What a manifest says of a directory. */
enum belay_match {
    BELAY_MATCH,        /* the file is the one of the manifest */
    BELAY_MATCH_ABSENT,
    BELAY_MATCH_DIFFERS,
    BELAY_MATCH_ERROR,  /* it cannot be read */
};

/* One file was compared; from one thread at a time, in any order. */
typedef void belay_match_fn(void *arg, const char *path,
                            enum belay_match match);

/* Compares each file with what is below `directory`, hashing on `threads`
 * threads (0: one a processor).  Links are not followed.  `fn` may be NULL;
 * `counts` gets four numbers, by belay_match. */
BELAY_API enum belay_reason belay_manifest_compare(
    struct belay_manifest *manifest, const char *directory, unsigned threads,
    belay_match_fn *fn, void *arg, uint64_t counts[4],
    struct belay_error *error) BELAY_CHECKED;

/* A release: the files of one manifest, put below a directory together or not
 * at all.  What is not there yet is downloaded to a directory of its own
 * beside them (.belay-release-...), which stays when a run ends early, so
 * that the next one goes on. */
struct belay_release;

/* Compares the directory, which is made if need be, with the manifest.  The
 * manifest is borrowed. */
BELAY_API enum belay_reason belay_release_open(
    struct belay_manifest *manifest, const char *directory,
    struct belay_release **out, struct belay_error *error) BELAY_CHECKED;

/* The next file to download and the path to download it to, which lives until
 * the next call.  False when there is none left (the error is BELAY_DONE then)
 * or its directory cannot be made. */
BELAY_API bool belay_release_next(struct belay_release *release,
                                  struct belay_manifest_file *file,
                                  const char **output,
                                  struct belay_error *error) BELAY_CHECKED;
/* How many files are right already, and how many, with how many bytes, are
 * not. */
BELAY_API void belay_release_counts(const struct belay_release *release,
                                    uint64_t *present, uint64_t *missing,
                                    uint64_t *bytes);
/* All are downloaded, or were there: gives them their names.  On success the
 * release is there, on the disk; what other ones of its origin left is gone. */
BELAY_API enum belay_reason belay_release_commit(
    struct belay_release *release, struct belay_error *error) BELAY_CHECKED;
/* Without a commit the files below the directory are as they were.  NULL is
 * allowed. */
BELAY_API void belay_release_close(struct belay_release *release);

#ifdef __cplusplus
}
#endif

#endif
