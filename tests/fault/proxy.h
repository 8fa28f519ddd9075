/* The proxy: listener, event loop, signals, and the faults that strike all
 * connections at once. One thread; everything happens in proxy_run(). */
#ifndef TESTS_FAULT_PROXY_H
#define TESTS_FAULT_PROXY_H

#include "tests/fault/options.h"

/* Listen, print "listening on ADDR:PORT", and relay until SIGTERM or SIGINT.
 * options is borrowed for the whole run. Returns the exit status of the
 * program: 0 after a signal, 1 after a failure that has been told on
 * standard error. */
int proxy_run(const struct options *options);

#endif
