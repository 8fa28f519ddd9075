/* Output in order: verified chunks wait in a window of memory until all
 * before them were written.  Nothing unverified ever leaves. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/fetch_internal.h"
#include "proto/data/cid.h"

struct waiting {
    bool ready;
    unsigned conn;
    uint8_t digest[HASH_LEN];
};

struct stream {
    struct fetch *fetch;
    int fd;
    uint64_t size;
    uint8_t chunk_log2;
    uint8_t *window;
    uint64_t slots;
    struct waiting *waiting; /* by index % slots */
    uint64_t next;           /* chunk that is written next */
    uint64_t end;            /* chunks [next, end) are being written */
    struct loop_work *work;
    struct hasher *hasher;   /* over the whole output, for --sha256 */
    int sys_errno;
};

static int write_all(int fd, const uint8_t *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);

        if (n >= 0) {
            data += n;
            len -= (size_t)n;
        } else if (errno == EAGAIN) {
            struct pollfd p = {.fd = fd, .events = POLLOUT};

            (void)poll(&p, 1, -1);
        } else if (errno != EINTR) {
            return errno;
        }
    }
    return 0;
}

/* On a worker thread: a full pipe may block for as long as its reader
 * likes. */
static void write_work(void *arg)
{
    struct stream *s = arg;

    s->sys_errno = 0;
    for (uint64_t i = s->next; i < s->end && s->sys_errno == 0; i++) {
        const uint8_t *data = s->window + ((i % s->slots) << s->chunk_log2);
        size_t len = cid_chunk_len(s->size, s->chunk_log2, i);

        s->sys_errno = write_all(s->fd, data, len);
        if (s->hasher != NULL && s->sys_errno == 0 &&
            hasher_update(s->hasher, data, len) != 0) {
            s->sys_errno = EIO;
        }
    }
}

static void stream_pump(struct stream *s)
{
    if (loop_work_pending(s->work) || s->fetch->over) {
        return;
    }
    s->end = s->next;
    while (s->end < s->next + s->slots &&
           s->waiting[s->end % s->slots].ready) {
        s->end++;
    }
    if (s->end > s->next) {
        loop_work_submit(s->work);
    }
}

static void write_done(void *arg)
{
    struct stream *s = arg;
    struct fetch *f = s->fetch;
    uint64_t now = loop_now_ms(f->loop);

    if (s->sys_errno == EPIPE) {
        fetch_over(f, BELAY_NO_READER, "the reader of the output has left");
    } else if (s->sys_errno != 0) {
        fetch_over(f, BELAY_DISK, "cannot write the output: %s",
                   strerror(s->sys_errno));
    }
    if (f->over) {
        fetch_settle(f);
        return;
    }
    for (; s->next < s->end; s->next++) {
        struct waiting *w = &s->waiting[s->next % s->slots];

        w->ready = false;
        transfer_chunk_done(f->transfer, w->conn, s->next, w->digest, true,
                            now);
    }
    if (s->hasher != NULL &&
        s->next == cid_chunk_count(s->size, s->chunk_log2)) {
        f->digest_wrong =
            hasher_final(s->hasher, f->whole) != 0 ||
            memcmp(f->whole, f->options.sha256, HASH_LEN) != 0;
        hasher_free(s->hasher);
        s->hasher = NULL;
    }
    stream_pump(s);
    fetch_pump(f);
}

int stream_new(struct fetch *f, struct stream **out)
{
    struct stream *s = calloc(1, sizeof *s);

    if (s == NULL) {
        return ERR_NOMEM;
    }
    s->fetch = f;
    s->fd = f->options.fd;
    if (loop_work_new(f->loop, write_work, write_done, s, &s->work) != 0) {
        free(s);
        return ERR_NOMEM;
    }
    *out = s;
    return 0;
}

void stream_free(struct stream *s)
{
    if (s == NULL) {
        return;
    }
    loop_work_free(s->work);
    hasher_free(s->hasher);
    free(s->window);
    free(s->waiting);
    free(s);
}

int stream_begin(struct stream *s, uint64_t size, uint8_t chunk_log2)
{
    void *window;

    free(s->window);
    free(s->waiting);
    s->window = NULL;
    s->size = size;
    s->chunk_log2 = chunk_log2;
    s->next = 0;
    s->end = 0;
    s->slots = STREAM_WINDOW >> chunk_log2;
    s->waiting = calloc(s->slots, sizeof *s->waiting);
    if (s->waiting == NULL ||
        posix_memalign(&window, 4096, STREAM_WINDOW) != 0) {
        return ERR_NOMEM;
    }
    s->window = window;
    if (s->fetch->options.have_sha256 && s->hasher == NULL) {
        s->hasher = hasher_new();
        if (s->hasher == NULL || hasher_begin(s->hasher) != 0) {
            return ERR_NOMEM;
        }
    }
    pipeline_to_window(s->fetch->pipeline, s->window, s->slots, chunk_log2);
    return 0;
}

void stream_ready(struct stream *s, const struct piece *piece)
{
    struct waiting *w = &s->waiting[piece->chunk.index % s->slots];

    w->ready = true;
    w->conn = piece->chunk.conn;
    memcpy(w->digest, piece->digest, HASH_LEN);
    stream_pump(s);
}

bool stream_busy(const struct stream *s)
{
    return s != NULL && loop_work_pending(s->work);
}
