/* Bounds that are not on the wire, each with its unit and its reason.
 *
 * Bounds that a peer can see are numbers of the protocol and come from
 * registry.h. Nothing here can be switched off by 0. A module that adds a
 * bound puts it here and tests the case one beyond it. */

#ifndef PROTO_BASE_LIMITS_H
#define PROTO_BASE_LIMITS_H

#include <stddef.h>
#include <stdint.h>

/* ---- Memory from numbers that a peer sent. */

/* Bytes of one allocation whose size a peer's number decides: one chunk of
 * the largest size and its header. */
#define MAX_WIRE_ALLOC_BYTES ((size_t)4194304 + 64)

/* Chunks of one file: digests are 32 bytes each, so a whole list stays at
 * 512 MiB; 16 TiB at 1 MiB per chunk. */
#define MAX_FILE_CHUNKS UINT64_C(16777216)

/* Entries of one listing over all its pages: a hostile server must not fill
 * the client's memory. Default and hard cap. */
#define DEFAULT_LIST_ENTRIES UINT64_C(1000000)
#define MAX_LIST_ENTRIES UINT64_C(10000000)

/* Characters of a peer's text that are shown; more is cut. */
#define MAX_SHOWN_TEXT 512u

/* A signed manifest: its bytes (a million files with long names fit), its
 * files, its signature lines, and the keys that a user names. */
#define MAX_MANIFEST_BYTES UINT64_C(1073741824)
#define MAX_MANIFEST_FILES UINT64_C(10000000)
#define MAX_NOTE_LINES 64u
#define MAX_NOTE_KEYS 16u

/* ---- Client. */

/* Bytes asked for and not yet received: two bandwidth-delay products of a
 * fast long link. Default and hard cap. */
#define DEFAULT_INFLIGHT_BYTES UINT64_C(67108864)
#define MAX_INFLIGHT_BYTES UINT64_C(268435456)

/* Span of one GET: a cancelled or lost one costs no more than this. */
#define MAX_GET_SPAN_BYTES UINT64_C(67108864)

/* Received bytes between two syncs of the partial file, and the longest time
 * between them: the most that a power cut makes the client fetch again. */
#define SYNC_INTERVAL_BYTES UINT64_C(268435456)
#define SYNC_INTERVAL_MS 10000u

/* Writeback is started early at this distance so that a sync is short. */
#define WRITEBACK_BYTES UINT64_C(8388608)

/* Chunks of one file with wrong digests from one server before the client
 * leaves it; LIMIT_CHUNK_ATTEMPTS bounds one chunk. */
#define MAX_FILE_MISMATCHES 16u

/* Addresses of one name are tried one after the other at this distance. */
#define DIAL_STAGGER_MS 250u

/* A connection slower than this for so long is given up. */
#define STALL_MIN_BYTES_PER_S 1024u
#define STALL_WINDOW_MS 60000u

/* Files of one batch that share one sync before their renames. */
#define MAX_BATCH_FILES 256u
#define MAX_BATCH_BYTES UINT64_C(67108864)

/* ---- Server. */

/* Connections in all, from one IPv4 address or IPv6 /64, and the part of
 * these that is not authenticated yet. */
#define MAX_CONNECTIONS 1024u
#define MAX_CONNECTIONS_PER_SOURCE 32u
#define MAX_UNAUTH_PER_SOURCE 8u

/* Unauthenticated connections: from the first number on some new ones are
 * refused at random (30 % at first), at the second all. */
#define UNAUTH_DROP_START 64u
#define UNAUTH_DROP_ALL 256u

/* Requests of one connection, cancelled ones included, before the server
 * ends it kindly. */
#define MAX_CONNECTION_REQUESTS UINT64_C(1000000)

/* Requests of one source that bring little: refused or cancelled ones, and
 * GETs of less than SMALL_REQUEST_BYTES of a larger file. Beyond the burst
 * the server reads no more of them than this rate. Whole files do not count,
 * however small: a directory of many is a transfer like any other. */
#define SMALL_REQUESTS_PER_S 200u
#define SMALL_REQUESTS_BURST 1000u
#define SMALL_REQUEST_BYTES 65536u

/* Hash jobs that one source may have running; one small request for the
 * digests of a large cold file is the costliest thing a client can ask. */
#define MAX_HASH_JOBS_PER_SOURCE 2u

/* A reader slower than LIMIT_SLOW_BYTES_PER_S for so long is cut off. */
#define SLOW_READER_WINDOW_MS 120000u

/* Penalties of a source, in milliseconds; refused from PENALTY_ACT_MS on,
 * never longer than PENALTY_MAX_MS; so many sources of each address family
 * are remembered. */
#define PENALTY_BAD_AUTH_MS 5000u
#define PENALTY_STALLED_MS 10000u
#define PENALTY_CRASH_MS 90000u
#define PENALTY_ACT_MS 15000u
#define PENALTY_MAX_MS 600000u
#define MAX_PENALTY_SOURCES 65536u

/* After EMFILE the server stops accepting for so long. */
#define ACCEPT_PAUSE_MS 100u

/* openat2 answers EAGAIN when a rename races with it: attempts before the
 * error is final. 32 were measured to fail now and then under attack. */
#define MAX_OPEN_ATTEMPTS 128u

#endif
