/* The same work on several threads at once, for calls that block anyway. */
#ifndef CLIENT_PARALLEL_H
#define CLIENT_PARALLEL_H

/* Takes its share of the work until there is none; runs on each thread. */
typedef void parallel_fn(void *arg);

/* Runs fn(arg) on `threads` threads (0: one a processor), the caller's among
 * them, and returns when all have ended.  Threads that the system refuses are
 * done without. */
void parallel_run(unsigned threads, parallel_fn *fn, void *arg);

#endif
