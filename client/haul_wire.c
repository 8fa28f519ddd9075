/* Haul: what arrives, into the memory of its file. */
#include <stdlib.h>
#include <string.h>

#include "client/haul_internal.h"
#include "client/walker.h"
#include "proto/data/cid.h"

void haul_drop_data(struct load *load)
{
    for (uint32_t k = 0; k < load->came; k++) {
        free(load->parcel[k].packed);
    }
    free(load->data);
    free(load->digest);
    free(load->parcel);
    load->data = NULL;
    load->digest = NULL;
    load->parcel = NULL;
    load->came = 0;
    load->count = 0;
}

/* Memory for a file whose first chunk begins; its size is bounded by
 * HAUL_SMALL_MAX. */
static bool prepare(struct haul *h, struct load *load, uint32_t attempt)
{
    const struct transfer_identity *id = bulk_identity(h->bulk, load->item);

    haul_drop_data(load);
    load->attempt = attempt;
    load->identity = *id;
    load->count = (uint32_t)cid_chunk_count(id->size, id->chunk_log2);
    load->data = malloc(id->size);
    load->digest = malloc((size_t)load->count * HASH_LEN);
    load->parcel = calloc(load->count, sizeof load->parcel[0]);
    return load->data != NULL && load->digest != NULL &&
           load->parcel != NULL;
}

static void chunk_over(struct incoming *in)
{
    in->busy = false;
    in->load = NULL;
}

static void begin_chunk(struct haul *h, struct incoming *in,
                        const struct bulk_chunk *chunk)
{
    struct load *load = chunk->wanted ? h->by_item[chunk->item] : NULL;
    struct parcel *p;

    in->busy = true;
    in->left = chunk->stored_len;
    in->load = load;
    in->dest = NULL;
    if (load == NULL) {
        return;
    }
    if (load->attempt != chunk->attempt &&
        !prepare(h, load, chunk->attempt)) {
        haul_stop(h, BELAY_INTERNAL, "out of memory");
        return;
    }
    p = &load->parcel[load->came++];
    memcpy(load->digest[chunk->offset >> load->identity.chunk_log2],
           chunk->digest, HASH_LEN);
    p->offset = chunk->offset;
    p->raw_len = chunk->raw_len;
    p->stored_len = chunk->stored_len;
    p->codec = chunk->codec;
    in->dest = load->data + chunk->offset;
    if (chunk->codec == CODEC_ZLIB) {
        p->packed = malloc(chunk->stored_len);
        in->dest = p->packed;
        if (p->packed == NULL) {
            haul_stop(h, BELAY_INTERNAL, "out of memory");
        }
    }
}

static size_t take_data(struct haul *h, unsigned c, const uint8_t *data,
                        size_t len)
{
    struct incoming *in = &h->incoming[c];
    size_t n = in->left < len ? in->left : len;

    if (in->load != NULL && n > 0) {
        memcpy(in->dest, data, n);
        in->dest += n;
    }
    in->left -= n;
    if (in->left == 0) {
        chunk_over(in);
    }
    bulk_chunk_data(h->bulk, c, n, loop_now_ms(h->loop));
    return n;
}

static void on_input(void *arg, unsigned c, const uint8_t *data, size_t len)
{
    struct haul *h = arg;
    struct incoming *in = &h->incoming[c];
    size_t at = 0;

    while (!h->stopping && wire_is_open(&h->wire[c]) &&
           (at < len || (in->busy && in->left == 0))) {
        struct bulk_chunk chunk;
        size_t used;

        if (in->busy) {
            at += take_data(h, c, data + at, len - at);
            continue;
        }
        bulk_feed(h->bulk, c, data + at, len - at, &used, &chunk,
                  loop_now_ms(h->loop));
        at += used;
        if (!bulk_conn_open(h->bulk, c)) {
            return; /* BULK_DROP follows */
        }
        if (chunk.present) {
            begin_chunk(h, in, &chunk);
        }
    }
}

static void on_connected(void *arg, unsigned c, bool ok, const char *text)
{
    struct haul *h = arg;
    uint64_t now = loop_now_ms(h->loop);

    chunk_over(&h->incoming[c]);
    if (!ok) {
        bulk_dial_failed(h->bulk, c, text, now);
        return;
    }
    bulk_connected(h->bulk, c, now);
    if (!bulk_conn_open(h->bulk, c)) {
        wire_close(&h->wire[c]);
    }
}

static void on_lost(void *arg, unsigned c, const char *text)
{
    struct haul *h = arg;

    chunk_over(&h->incoming[c]);
    bulk_lost(h->bulk, c, text, loop_now_ms(h->loop));
}

static void on_distrust(void *arg, const char *text)
{
    struct haul *h = arg;

    haul_stop(h, security_reason(h->trust), "%s", text);
}

static void on_told(void *arg, bool detail, const char *text)
{
    struct haul *h = arg;
    struct belay_event event;

    walker_note_event(detail, text, &event);
    h->observer.note(h->observer.arg, &event);
}

static void on_recorded(void *arg, const char *text)
{
    on_told(arg, false, text);
}

static void on_hopeless(void *arg, const char *text)
{
    haul_stop(arg, BELAY_NOT_BELAY, "%s", text);
}

static void on_turn(void *arg)
{
    haul_turn_later(arg);
}

static struct receiver *receiver_of(void *arg, unsigned c)
{
    struct haul *h = arg;

    return bulk_receiver(h->bulk, c);
}

const struct wire_events haul_wire_events = {
    .connected = on_connected,
    .input = on_input,
    .lost = on_lost,
    .distrust = on_distrust,
    .recorded = on_recorded,
    .turn = on_turn,
    .receiver = receiver_of,
    .told = on_told,
    .hopeless = on_hopeless,
};
