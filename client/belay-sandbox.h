/* libbelay, the sandbox: a program may take rights away from itself before it
 * talks to servers, so that whoever should find a hole in it gets little.
 * After belay_sandbox() the process, for good and with all its threads,
 *
 *   - writes, makes, renames and removes files below the directories named
 *     here only (descriptors that are open keep working); reading stays as it
 *     was, because name services and TLS read all over the system,
 *   - starts neither programs nor processes, traces none, sends no signals to
 *     others, changes no owners and no modes by name, mounts nothing, listens
 *     at no port, and makes sockets of IP and of this machine only.
 *
 * Connections through ssh need a program nevertheless, and so does recording
 * the key of a new host: a small process outside is made for them beforehand,
 * which runs the commands for `urls` and no others.
 *
 * Linux only: Landlock (version 2, Linux 5.19) and seccomp.  Structs, texts and
 * errors are as belay.h says. */
#ifndef BELAY_SANDBOX_H
#define BELAY_SANDBOX_H

#include "belay.h"

#ifdef __cplusplus
extern "C" {
#endif

struct belay_sandbox_options {
    size_t struct_size;
    const char *const *directories; /* what cannot be opened is left out */
    size_t directory_count;
    bool make_directories;       /* make the missing ones first; what was made
                                    so may be removed again while empty */
    const struct belay_security *security; /* keys of hosts may be recorded in
                                    its file; NULL: not */
    const struct belay_trust *trust; /* serials of manifests may be stored
                                    where it says; NULL: not */
    const char *const *urls;     /* of the jobs to come; only those through ssh
                                    count */
    size_t url_count;
    const struct belay_get_options *job; /* family, connect_timeout_ms, ssh and
                                    remote_belayd as all these jobs have them;
                                    NULL: the defaults */
};

struct belay_sandbox_state {
    size_t struct_size;
    int landlock;   /* version of the kernel; 0: it has none */
    bool files;     /* writing is confined, */
    bool signals;   /* signals and abstract sockets are (Linux 6.12), */
    bool calls;     /* system calls are denied */
    char text[512]; /* one line of what is in force, printable */
};

/* Call it in the first thread, before there are others, so before the first
 * engine.  BELAY_DONE: all of it is in force.  BELAY_INTERNAL: not all, and
 * `error` says what is missing; what `state` says is in force, and there is no
 * way back.  BELAY_USAGE, BELAY_DISK: nothing is.  The library never calls it
 * by itself.  `state` and `error` may be NULL. */
BELAY_API enum belay_reason belay_sandbox(
    const struct belay_sandbox_options *options,
    struct belay_sandbox_state *state, struct belay_error *error)
    BELAY_CHECKED;

/* Removes the directories that were made for it and are empty still, but for
 * those that a job made its own, which it removes itself.  For the end of a
 * program; relative paths are those of the current directory then. */
BELAY_API void belay_sandbox_tidy(void);

/* Can this be used: are its values well-formed, its files there?  An engine
 * refuses what is not, but only after a sandbox was entered and directories
 * were made for it. */
BELAY_API enum belay_reason belay_security_check(
    const struct belay_security *security, struct belay_error *error)
    BELAY_CHECKED;

#ifdef __cplusplus
}
#endif

#endif
