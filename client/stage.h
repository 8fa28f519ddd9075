/* Stage: the directory, beside the files of a release, in which they wait
 * until all are there (belay.h).
 *
 * Its name says the origin of the manifest and the manifest itself.  The
 * process that works in it holds a lock; a kill leaves it behind, for the
 * same release to go on from.  What an older release of the same origin left
 * is of no use any more once a newer one is in place, so it is swept then;
 * stages of other origins are other people's work.  Blocks: not for the loop
 * thread. */
#ifndef CLIENT_STAGE_H
#define CLIENT_STAGE_H

#include <stdbool.h>

#include "client/belay.h"
#include "proto/data/manifest.h"
#include "proto/io/rootfs.h"

#define STAGE_PREFIX ".belay-release-"

struct stage {
    char *path; /* DIRECTORY/.belay-release-ORIGIN-MANIFEST */
    char *name; /* its end, in there */
    bool found; /* an earlier run left it: what that moved may not last */
    int lock;   /* on the directory; -1 */
    bool has_files;
    struct rootfs files; /* the directory itself, with the lock */
};

/* Names the stage of a manifest in a directory, and does not make it; `stage`
 * is for stage_close() in any case. */
enum belay_reason stage_init(struct stage *stage, const char *directory,
                             const struct manifest *manifest,
                             struct belay_error *error);

/* Makes it or finds it, and locks it.  BELAY_BUSY when another process has
 * it; BELAY_DISK when it cannot be made, or others may write to it. */
enum belay_reason stage_take(struct stage *stage, struct belay_error *error);

/* The release is in place in `root`, its directory: removes this stage and
 * what the same origin left there otherwise.  What is in use, or is not a
 * directory of this user's alone, stays; so does what cannot be removed, for
 * the next time. */
void stage_sweep(struct stage *stage, const struct rootfs *root);

/* Gives the lock back.  Of a stage that is still there, only what is empty
 * goes. */
void stage_close(struct stage *stage);

#endif
