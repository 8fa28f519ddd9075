/* Bounds of the server that are not on the wire and not in
 * proto/base/limits.h, each with its unit and its reason. None of them can
 * be switched off by 0. */
#ifndef SERVER_LIMITS_H
#define SERVER_LIMITS_H

#include <stdint.h>

/* ---- Processes. */

/* Worker processes: one for each core serves best; beyond eight the shared
 * listener costs more than another process brings. */
#define SERVER_WORKERS_MAX 8u

/* Threads of one worker: hashing and cold reads use SERVER_HASH_SLOTS, the
 * others keep opening files possible while those wait for a disk. */
#define SERVER_HASH_SLOTS 4u
#define SERVER_THREADS (SERVER_HASH_SLOTS + 2u)

/* Stack of each of them, of which they use a small part. */
#define SERVER_STACK_BYTES (4u * 1024u * 1024u)

/* A worker that dies is replaced at once, but one that dies within
 * SERVER_CRASH_SOON_MS of its start only after SERVER_RESTART_PAUSE_MS, so
 * that a fault at start-up cannot use up the machine. */
#define SERVER_CRASH_SOON_MS 10000u
#define SERVER_RESTART_PAUSE_MS 500u

/* For the process of --metrics, which serving does not need, the pause
 * doubles with each time, so often at most: up to 32 seconds. */
#define SERVER_EXPORTER_DOUBLINGS 6u

/* After SIGTERM: what clients get (TIMER_GOAWAY_GAP_MS + TIMER_DRAIN_MS),
 * and a little to write logs, before the parent kills. */
#define SERVER_STOP_MS 35000u

/* ---- Connections. */

/* Listening addresses of one server. */
#define SERVER_LISTEN_MAX 16u

/* How often a connection that waits until there are fewer strangers of its
 * origin looks by itself; those of one worker tell each other at once. */
#define SERVER_QUEUE_MS 50u

/* Ranges of addresses that count for many clients. */
#define SERVER_EXEMPT_MAX 16u

/* How long a worker leaves a new connection to one that has fewer. */
#define SERVER_YIELD_MS 1u

/* Connections taken in one turn of the loop: established ones go on. */
#define SERVER_ACCEPTS_PER_TURN 1u

/* Complaints about missing descriptors: once in so many milliseconds. */
#define SERVER_COMPLAINT_MS 60000u

/* Lines of one kind that clients bring about, such as refused connections, and
 * that a worker writes in one second: a flood must not fill the disk. The
 * others are counted in one line. */
#define SERVER_BURST_LINES 10u
#define SERVER_BURST_MS 1000u

/* A refused client may try again after this time, and longer by itself; one
 * that is barred after what is left of that, up to the second. */
#define SERVER_REFUSAL_RETRY_MS 1000u
#define SERVER_REFUSAL_RETRY_MAX_MS 30000u

/* Descriptors besides connections and files: logs, cache, loop, spares. */
#define SERVER_FD_RESERVE 64u

/* After the last frame the server waits so long for the client's end, so
 * that a reset does not overtake the frame. */
#define SERVER_LINGER_MS 2000u

/* Bytes read from one connection, and written to it, in one turn. */
#define SERVER_READ_BYTES (16u * 1024u)
#define SERVER_WRITE_TURN_BYTES (4u * 1024u * 1024u)

/* Where several origins are served, the connections of each share the bytes of
 * one turn, down to this much for one. How many there are is looked up once in
 * SERVER_CACHE_FLUSH_MS. */
#define SERVER_WRITE_SHARE_BYTES (256u * 1024u)

/* TCP_USER_TIMEOUT: beyond TIMER_WRITE_BLOCKED_MS, because a client whose
 * disk is slow acknowledges nothing new for that long and is not dead. */
#define SERVER_TCP_TIMEOUT_MS 130000u

/* ---- Those who ask for numbers (--metrics). */

/* Connections at the same time; each has one request, of so many bytes with
 * its answer's head, and all of it takes so long at most. */
#define SERVER_SCRAPERS_MAX 16u
#define SERVER_SCRAPE_BYTES (8u * 1024u)
#define SERVER_SCRAPE_MS 5000u

/* Descriptors of that process: connections, log, loop, port. */
#define SERVER_SCRAPER_FILES 64u

/* ---- Memory. */

/* Chunk buffers of one worker in all. A connection waits for a buffer, it
 * does not fail; sendfile needs none. */
#define SERVER_BUFFER_BYTES (64u * 1024u * 1024u)

/* Of these, kept for reuse when nobody needs them: large allocations cost a
 * page fault for every 4 KiB. */
#define SERVER_BUFFER_KEPT_BYTES (8u * 1024u * 1024u)

/* Digests in memory, in blocks of DIGESTS_BLOCK; what is stored in the cache
 * may be dropped and read again. 2048 blocks are 64 MiB. */
#define SERVER_DIGEST_BLOCKS 2048u

/* ---- Hashing for DIGEST. */

/* Bytes of one slice: after each one the job can be given up, and progress is
 * reported. */
#define SERVER_SLICE_BYTES (8u * 1024u * 1024u)

/* Slices of one worker at the same time; chunks for GET go before them. */
#define SERVER_SLICES 1u

/* A DIGEST of an origin that has MAX_HASH_JOBS_PER_SOURCE already waits, and
 * asks again after this time. */
#define SERVER_HASH_RETRY_MS 100u

/* Trees kept for proofs, over all files of a worker: that of a file of 1 TiB
 * in chunks of 4 MiB needs 16 MiB. */
#define SERVER_TREE_BYTES (64u * 1024u * 1024u)

/* ---- Listing. */

/* Names that one scan of a directory keeps: at most 8 MiB, and a million
 * names take 31 scans. SERVER_SLICES is 1, so one thread lists at a time. */
#define SERVER_LIST_RUN 32768u

/* ---- Digest cache. */

/* The file's address space: start, and the most it grows to. 1 GiB holds the
 * digests of 8 TiB in chunks of 256 KiB. */
#define SERVER_CACHE_START_BYTES (UINT64_C(64) << 20)
#define SERVER_CACHE_MAX_BYTES (UINT64_C(1) << 30)

/* New digests are stored after this time at the latest. */
#define SERVER_CACHE_FLUSH_MS 1000u

#endif
