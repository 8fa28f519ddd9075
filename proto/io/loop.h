/* The event loop: descriptors, timers, signals, worker threads.
 *
 * The only room door to libuv; no other file names it. A loop is an object
 * and belongs to one thread, which makes every call below, except
 * loop_async_send(). Callbacks run on that thread, from inside loop_run(),
 * never from inside the call that registered them.
 *
 * Objects come from X_new(), which returns 0 or ERR_NOMEM / ERR_IO and
 * leaves *out untouched on error, and go with X_free(), which accepts NULL
 * and promises that no callback of that object follows; their memory returns
 * a little later, inside the loop. Every object must be freed before
 * loop_free(). A callback may free its own object.
 *
 * No call allocates except the X_new() ones. */
#ifndef PROTO_IO_LOOP_H
#define PROTO_IO_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/err.h"

struct loop;
struct loop_poll;
struct loop_timer;
struct loop_signal;
struct loop_work;
struct loop_async;
struct loop_defer;

MUST_USE int loop_new(struct loop **out);

/* Frees a loop that is not running and has no objects left (asserted). */
void loop_free(struct loop *loop);

/* Runs until loop_stop(), or until nothing is left that could call back.
 * Armed polls, running timers, submitted work, asyncs and armed defers keep
 * a loop running; signals alone do not. */
void loop_run(struct loop *loop);

/* Makes loop_run() return at the end of this turn; it may be run again. */
void loop_stop(struct loop *loop);

/* Milliseconds on the monotonic clock, read once per turn: the same origin
 * as clock_mono_ms(). Rises in steps, never falls. */
uint64_t loop_now_ms(const struct loop *loop);

/* Re-reads the clock within a turn, after work that took long. */
void loop_update_now(struct loop *loop);

/* --- Descriptors ------------------------------------------------------ */

#define LOOP_READ 0x1u
#define LOOP_WRITE 0x2u

/* events: LOOP_READ and LOOP_WRITE as they became true. An error or hang-up
 * of the descriptor is reported as all events asked for: the read or write
 * that follows shows it. */
typedef void loop_poll_fn(void *arg, unsigned events);

/* Watches fd (socket, pipe, terminal; a regular file gives ERR_IO) and
 * makes it non-blocking. Starts with no events. The caller keeps owning fd;
 * one watcher per descriptor. */
MUST_USE int loop_poll_new(struct loop *loop, int fd, loop_poll_fn *fn,
                               void *arg, struct loop_poll **out);

/* Says which events to report from now on, level-triggered; 0 for none. */
void loop_poll_set(struct loop_poll *poll, unsigned events);

/* Order: loop_poll_free() first, then close(fd), which may follow at once. */
void loop_poll_free(struct loop_poll *poll);

/* --- Timers ----------------------------------------------------------- */

typedef void loop_timer_fn(void *arg);

MUST_USE int loop_timer_new(struct loop *loop, loop_timer_fn *fn,
                                void *arg, struct loop_timer **out);

/* Calls back once, delay_ms after loop_now_ms(); starting again replaces the
 * earlier moment. Stopping a stopped timer is harmless. */
void loop_timer_start(struct loop_timer *timer, uint64_t delay_ms);
void loop_timer_stop(struct loop_timer *timer);
void loop_timer_free(struct loop_timer *timer);

/* --- Signals ---------------------------------------------------------- */

typedef void loop_signal_fn(void *arg, int signum);

/* Calls back on the loop's thread for each delivery (several may merge). */
MUST_USE int loop_signal_new(struct loop *loop, int signum,
                                 loop_signal_fn *fn, void *arg,
                                 struct loop_signal **out);
void loop_signal_free(struct loop_signal *signal);

/* --- Work on other threads -------------------------------------------- */

/* Runs on a worker thread; must touch only what the owner leaves alone until
 * the done callback, and must not call the loop. */
typedef void loop_work_fn(void *arg);

/* Runs on the loop's thread after the work function returned: exactly once
 * per submit. */
typedef void loop_work_done_fn(void *arg);

/* Number of worker threads of this process, for all its loops together,
 * 1..64. Has effect only before the first loop_work_submit(); default 4. */
void loop_set_workers(unsigned count);

MUST_USE int loop_work_new(struct loop *loop, loop_work_fn *work,
                               loop_work_done_fn *done, void *arg,
                               struct loop_work **out);

/* Queues the work, first in first out. Must not be pending (asserted). */
void loop_work_submit(struct loop_work *work);

/* True from loop_work_submit() until the done callback starts. */
bool loop_work_pending(const struct loop_work *work);

/* Must not be pending (asserted): a thread may be in arg. */
void loop_work_free(struct loop_work *work);

/* --- Wake-up from other threads --------------------------------------- */

typedef void loop_async_fn(void *arg);

MUST_USE int loop_async_new(struct loop *loop, loop_async_fn *fn,
                                void *arg, struct loop_async **out);

/* Calls back soon on the loop's thread; several sends may merge into one.
 * Any thread, also a signal handler, while the object lives. */
void loop_async_send(struct loop_async *async);
void loop_async_free(struct loop_async *async);

/* --- End of this turn ------------------------------------------------- */

typedef void loop_defer_fn(void *arg);

/* A call to make at the end of the turn in which it is armed, once per
 * arming, after the events of that turn: the way to batch work, and to free
 * an object from inside one of its own callbacks. */
MUST_USE int loop_defer_new(struct loop *loop, loop_defer_fn *fn,
                                void *arg, struct loop_defer **out);

/* Arming an armed one changes nothing. What is armed while the calls of a
 * turn run waits for the next turn, which then comes at once. */
void loop_defer_arm(struct loop_defer *defer);
void loop_defer_free(struct loop_defer *defer);

/* The version of libuv that runs, a constant text. */
const char *loop_library(void);

#endif
