/* Clocks. Timers and waits use the monotonic one only; the wall clock is for
 * logs and for comparing with time stamps of files. Any thread. */
#ifndef PROTO_IO_CLOCK_H
#define PROTO_IO_CLOCK_H

#include <stdint.h>

/* Milliseconds or nanoseconds since an arbitrary origin; never falls. The
 * same origin as loop_now_ms(). */
uint64_t clock_mono_ms(void);
uint64_t clock_mono_ns(void);

/* Nanoseconds since 1970-01-01T00:00:00Z, which may jump either way. Exact
 * to what the file system stamps on files at the same moment: the kernel
 * takes those from its coarse clock, and so does this function. */
int64_t clock_file_ns(void);

/* The precise wall clock, for logs. */
int64_t clock_wall_ns(void);

#endif
