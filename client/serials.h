/* Serials: which manifest of an origin was accepted last (rules MF1-V1, V2).
 *
 * One small file an origin, in DIRECTORY/manifests, named by the SHA-256 of
 * the origin; it is replaced as a whole and synced.  Processes that accept at
 * the same time wait for each other.  Blocks: not for the loop thread. */
#ifndef CLIENT_SERIALS_H
#define CLIENT_SERIALS_H

#include "client/belay.h"
#include "proto/data/manifest.h"

/* May the manifest be used at `now`?  Checks it against what is remembered in
 * `directory` (NULL: of the user) and stores its serial before it returns
 * BELAY_DONE; otherwise nothing is stored.  BELAY_UNTRUSTED for a rollback or
 * an expired one, BELAY_DISK when the memory cannot be read or written. */
enum belay_reason serials_accept(struct hasher *hasher, const char *directory,
                                 const struct manifest *manifest, int64_t now,
                                 struct belay_error *error) MUST_USE;

/* The directory, to be freed; NULL when memory is out or nothing says where it
 * is. */
char *serials_path(const char *directory);

/* The message of manifest_accept()'s errors. */
enum belay_reason serials_refuse(int err, const struct manifest *manifest,
                                 const struct manifest_memory *memory,
                                 struct belay_error *error) MUST_USE;

#endif
