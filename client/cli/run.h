/* Run: the frame of every command that moves files.  It owns the engine, the
 * signals, the display, the JSON events and the exit code; the command adds
 * jobs.
 *
 *     result = run_open(&run, &options);
 *     if (result < 0) { run_get() ...; result = run_close(&run); }
 *
 * One run at a time in a process. */
#ifndef CLIENT_CLI_RUN_H
#define CLIENT_CLI_RUN_H

#include <stdbool.h>
#include <stddef.h>

#include "client/belay.h"
#include "client/cli/ask_trust.h"
#include "client/cli/display.h"
#include "client/cli/events.h"
#include "client/cli/exitcode.h"
#include "client/cli/jail.h"
#include "client/cli/progress.h"
#include "client/cli/run_file.h"
#include "client/cli/security_options.h"

struct run_options {
    bool quiet;
    unsigned verbose;
    enum progress_mode progress;
    bool json;           /* events on standard output */
    bool output_is_data; /* ... which is taken: on standard error then */
    bool error_on_nothing; /* EXIT_NOTHING when nothing was fetched */
    const char *log_file;  /* NULL: none */
    struct belay_engine_options engine; /* but event, arg, tick_ms, */
    struct security_options security;   /* ... and security, from here */
    struct jail *jail; /* entered by run_open() */
};

/* A file has ended; the event is BELAY_EVENT_END. */
typedef void run_end_fn(void *arg, size_t id, const struct belay_event *event);

struct run {
    const struct run_options *options;
    struct belay_engine *engine;
    struct display display;
    struct events events;
    struct events_totals totals; /* files is set by the caller */
    struct progress speed;       /* of all files together */
    bool directories;            /* they are directories */
    const char *directory;       /* set by the caller: what targets are in,
                                    and need not say; or NULL */
    size_t hidden;               /* ... the beginning of each output that is
                                    not told */
    run_end_fn *on_end;          /* set by the caller, or NULL */
    void *arg;
    struct run_file *first; /* at work */
    unsigned at_work;
    bool bar;
    bool plain;
    uint64_t began_ms;
    struct ask_trust ask;
    size_t failures_told;
    enum exit_code worst;
};

/* Returns -1 to go on, else the exit code; one line told why.  `files` is how
 * many the run is about.  The options are borrowed. */
int run_open(struct run *run, const struct run_options *options,
             size_t files);
/* Adds a job; false: told, and counted as wrong use.  user_data is ours.
 * Texts but url, output and seeds are borrowed until the file has ended. */
bool run_get(struct run *run, const struct belay_get_options *get, size_t id);
/* The same for a directory. */
bool run_tree(struct run *run, const struct belay_tree_options *tree,
              size_t id);
/* Was the run asked to end by a signal? */
bool run_interrupted(void);
/* Carries all out, tells the end, frees; returns the exit code. */
int run_close(struct run *run);
/* Frees without carrying anything out, because something was not taken;
 * returns the exit code. */
int run_abandon(struct run *run);

#endif
