/* Does compression help this connection? Rule Z4: raw when the link drains
 * faster than the compressor fills.
 *
 * While the transport has bytes waiting, the link is what limits, and fewer
 * bytes are faster ones: compress tighter and tighter. When it is mostly dry,
 * the compressor is what limits; then raw chunks are tried for a while, and
 * the faster way, in bytes of the file each second, is kept until the next
 * trial.
 *
 * Pure: time is an argument. */
#ifndef SERVER_PACKING_H
#define SERVER_PACKING_H

#include <stdbool.h>
#include <stdint.h>

/* A measurement takes at least so long and so many bytes: the kernel's
 * buffers must not pass for the link. */
#define PACKING_WINDOW_MS 200u
#define PACKING_WINDOW_BYTES (4u * 1024u * 1024u)

/* Dry windows in a row before raw chunks are tried: at its start every link
 * is dry for a while. */
#define PACKING_DRY_WINDOWS 2u

/* Measurements between two trials of the other way. */
#define PACKING_TRIAL_EVERY 32u

enum packing_way {
    PACKING_ON,
    PACKING_OFF,
};

/* Starts as zeros: compress, nothing known. */
struct packing {
    enum packing_way way;
    bool fresh;          /* the way was just changed: pass one window over */
    unsigned chunks;     /* of the window, */
    unsigned dry;        /* and how many of them the link had waited for */
    int level;           /* 0: not chosen yet */
    unsigned windows;    /* since the last trial */
    unsigned dry_windows; /* in a row */
    uint64_t began_ms;   /* of the window */
    uint64_t bytes;      /* of the file, within it */
    uint64_t rate[2];    /* bytes a second, by way; 0: not known */
};

/* Should the next chunk be compressed? */
bool packing_wanted(const struct packing *p);

/* At which level? */
int packing_level(const struct packing *p);

/* A chunk of raw_len bytes is with the kernel. unsent: bytes that wait there
 * for the link at the moment when the chunk was ready. */
void packing_sent(struct packing *p, uint64_t now_ms, uint32_t raw_len,
                  uint64_t unsent);

#endif
