/* What a worker may still do once it talks to strangers: read beneath the
 * served root, use its cache, accept, and little else.
 *
 * Two layers, each for what the other cannot say: Landlock for paths, TCP
 * and signals (proto/io/confine.h), a filter of system calls for the rest
 * (server/filter.h). Implements RELIABILITY (e) "Landlock", "seccomp" and
 * "Limits inside".
 *
 * Order in a worker: sandbox_confine() before any thread is started, and
 * sandbox_filter() when all threads run and all that is opened by path or
 * made once is there. */
#ifndef SERVER_SANDBOX_H
#define SERVER_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/check.h"
#include "proto/base/err.h"
#include "proto/io/log.h"
#include "server/filter.h"

enum sandbox_mode {
    SANDBOX_TRY,     /* as much as the kernel has */
    SANDBOX_REQUIRE, /* nothing may be missing */
    SANDBOX_STRICT,  /* ... and a forbidden call ends the worker */
    SANDBOX_OFF,
};

#define SANDBOX_DIRS_MAX 16u

/* Places beside the root; paths are borrowed for sandbox_confine(). */
struct sandbox_places {
    int root_fd;                        /* read; -1: none */
    const char *cache_dir;              /* read and write; NULL: none */
    const char *log_file;               /* opened anew; NULL: none */
    const char *files[SANDBOX_DIRS_MAX]; /* read anew, as keys are */
    size_t file_count;
};

/* What is in force. */
struct sandbox {
    enum sandbox_mode mode;
    int version;     /* of Landlock; 0: none */
    unsigned kinds;  /* CONFINE_... */
    bool filtered;
};

/* Can this kernel do what the mode asks for? ERR_UNSUPPORTED with a sentence
 * in *missing. For the parent, before it starts workers. */
MUST_USE int sandbox_check(enum sandbox_mode mode, const char **missing);

/* Makes what sandbox_filter() will need, for all processes that inherit it;
 * nothing when the mode is off. For the parent, too; the caller clears *out
 * by filter_clear(). ERR_NOMEM, ERR_IO. */
MUST_USE int sandbox_prepare(enum sandbox_mode mode, struct filter *out);

/* Denies all paths but the places, TCP but to accept, and signals to outside.
 * A file that is opened or read anew may be replaced by a rename, so the right
 * is given for its directory: to read there, and for the log to write.
 * ERR_UNSUPPORTED or ERR_IO (reason in errno) when the mode wants more than
 * there is. */
MUST_USE int sandbox_confine(struct sandbox *sandbox, enum sandbox_mode mode,
                             const struct sandbox_places *places);

/* Denies all system calls but those that serving needs, in all threads, and
 * new processes and threads. Errors as above. */
MUST_USE int sandbox_filter(struct sandbox *sandbox,
                            const struct filter *filter);

/* One line of what is in force for a process, by its kind and number. */
void sandbox_log(const struct sandbox *sandbox, struct log *log,
                 const char *kind, uint64_t number);

#endif
