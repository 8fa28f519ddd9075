/* Private parts of haul: shared by the haul*.c files only.
 *
 *   haul.c         life, adding, the machine's actions, the end
 *   haul_load.c    what became of each load, from stage to stage
 *   haul_wire.c    what arrives, into the memory of its file
 *   haul_work.c    jobs: which files go to which stage, and what came of it
 *   haul_stage.c   the stages themselves, on worker threads */
#ifndef CLIENT_HAUL_INTERNAL_H
#define CLIENT_HAUL_INTERNAL_H

#include <sys/stat.h>

#include "client/dest.h"
#include "client/haul.h"
#include "client/wire.h"
#include "proto/base/limits.h"
#include "proto/session/bulk.h"

/* Files and other things that are added and not told yet. */
#define HAUL_ITEMS 8192u
/* Larger files are handed back. */
#define HAUL_SMALL_MAX ((uint64_t)1 << 20)
/* Where the file before has so many bytes, too, what is equal in both is worth
 * more than round trips: handed back, since only digest lists tell it. */
#define HAUL_DONOR_MIN ((uint64_t)256 << 10)
/* Bytes of whole files that are not written yet: then the wires hold. */
#define HAUL_UNWRITTEN ((uint64_t)32 << 20)
#define HAUL_LOOKERS 1u
#define HAUL_WRITERS 3u
#define HAUL_JOBS (HAUL_LOOKERS + HAUL_WRITERS + 1u)

/* One chunk as it came. */
struct parcel {
    uint64_t offset;
    uint32_t raw_len;
    uint32_t stored_len;
    uint8_t codec;
    uint8_t *packed; /* codec zlib: the stored bytes */
};

enum load_kind {
    LOAD_FILE,
    LOAD_DIR,
    LOAD_DIR_ATTRS,
    LOAD_LINK,
};

/* Something that was added. */
struct load {
    struct load *next; /* in the list that it is in */
    enum load_kind kind;
    struct haul_file file; /* path and name: below */
    uint8_t *path;
    char *name;
    char *target; /* LOAD_LINK */
    mode_t mode;
    uint32_t item;
    /* What is there now. */
    bool taken; /* a file, or a symbolic link */
    bool there; /* a file */
    uint64_t there_size;
    struct timespec there_mtime;
    /* What came. */
    struct transfer_identity identity;
    uint32_t attempt;
    uint32_t came; /* parcels */
    uint32_t count; /* of the file */
    uint8_t *data;
    uint8_t (*digest)[HASH_LEN];
    struct parcel *parcel;
    /* What became of it in the stage. */
    uint64_t temp; /* number of the temporary file */
    bool have_temp;
    bool same;  /* look: as it should be */
    bool hand;  /* compared: handed back */
    int err;    /* 0, or a code of err.h */
    int sys_errno;
    enum bulk_stored stored;
};

struct load_list {
    struct load *first;
    struct load *last;
    unsigned count;
    uint64_t bytes;
};

enum stage {
    STAGE_LOOK,
    STAGE_COMPARE, /* look into the target: has it the server's CID? */
    STAGE_WRITE,
    STAGE_SETTLE,
};

/* One turn of a stage on a worker thread. */
struct haul_job {
    struct haul *haul;
    enum stage stage;
    bool busy;
    struct loop_work *work;
    struct hasher *hasher;
    struct zpack *zpack;
    struct load_list list;
    int err; /* of all of them: a sync failed */
    int sys_errno;
};

/* The chunk that is coming in on a wire. */
struct incoming {
    struct load *load; /* NULL: thrown away */
    struct parcel *parcel;
    uint8_t *dest;
    size_t left;
    bool busy;
};

struct haul {
    struct loop *loop;
    struct haul_options options;
    struct haul_observer observer;
    struct bulk *bulk;
    struct dialer *dialer;
    struct trust *trust; /* NULL: plain */
    struct receiver_auth auth;
    struct dest dest;
    bool dest_open;
    struct wire_shared shared;
    struct wire wire[LINE_MAX];
    struct incoming incoming[LINE_MAX];
    struct loop_timer *timer;
    struct loop_timer *gather_timer;
    struct loop_timer *settle_timer;
    struct loop_defer *turn_defer;
    struct load *by_item[HAUL_ITEMS];
    unsigned loads; /* that are not told */
    struct load_list looking, comparing, writing, settling; /* waiting */
    uint64_t unwritten; /* bytes of files that are whole */
    uint64_t next_temp;
    bool holding;   /* wires are held */
    bool full_told; /* haul_add() found no room */
    bool input_ended;
    bool gathering; /* gather_timer runs, */
    bool gathered;  /* ... and has run out */
    bool stopping;  /* the end is decided; what came is put in place */
    bool asked_all; /* the machine was told the end of the input */
    bool ended, stuck;
    enum belay_reason end;
    char text[TRUST_TEXT_MAX];
    uint64_t files, bytes;
    struct haul_job job[HAUL_JOBS];
};

/* haul.c */
/* Network work ends; what has arrived is still put in place. */
void haul_stop(struct haul *h, enum belay_reason end, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void haul_turn_later(struct haul *h);

/* haul_load.c */
void haul_free_load(struct load *load);
/* It failed on this side. */
void haul_local_failed(struct haul *h, struct load *load);
/* INFO came of a file whose target is there. */
void haul_judge(struct haul *h, struct load *load);
/* Tells what became of a load, and forgets it. */
void haul_tell(struct haul *h, struct load *load, enum belay_reason reason,
               const char *text);
/* A dry run would have gone on with it. */
void haul_tell_wanted(struct haul *h, struct load *load);
void haul_hand(struct haul *h, struct load *load);
/* The target was looked at. */
void haul_looked(struct haul *h, struct load *load);
void haul_compared(struct haul *h, struct load *load);
void haul_written(struct haul *h, struct load *load);
void haul_settled(struct haul *h, struct load *load);

/* haul_wire.c */
extern const struct wire_events haul_wire_events;
/* Forget what came of a file. */
void haul_drop_data(struct load *load);

/* haul_work.c */
int haul_work_init(struct haul *h) MUST_USE;
void haul_work_free(struct haul *h);
void haul_push(struct load_list *list, struct load *load);
struct load *haul_pop(struct load_list *list);
/* Start the jobs for which there is work. */
void haul_work_pump(struct haul *h);
bool haul_work_busy(const struct haul *h);

/* haul_stage.c: worker threads. */
void haul_stage_run(struct haul_job *job);

#endif
