/* sim-worked: the two experiments of PROTOCOL section 18 with the server's
 * stream of its section 17.1: cut after every byte, and flip single bits. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/data/cid.h"
#include "proto/session/transfer.h"
#include "proto/wire/preface.h"
#include "tests/sim/server.h"

#define FILE_SIZE 20000u
#define CHUNK_LOG2 12u
#define CHUNKS 5u
#define STREAM_LEN 20568u
#define FLIPS 20000u
/* One unfinished chunk frame, and once more greeting and INFO with a CID. */
#define SURPLUS_MAX (FRAME_CHUNK_HEAD_LEN + (1u << CHUNK_LOG2) - 1 + 68 + 96)

static const char stream_sha256[] =
    "da70d281eb2f28e7386d1c918b8431e34ceecec734466897213c39dcaf9ee94b";
static const char file_cid[] =
    "cc333f2bf3887f5abe401a776d37f9a8cd2c70c5a5dcc2e48198b553ac64f844";

struct worked {
    struct hasher *hasher;
    uint8_t file[FILE_SIZE];
    uint8_t stream[STREAM_LEN + 16];
    size_t stream_len;
    struct source source;
    struct server server;
    /* One download. */
    struct transfer *transfer;
    struct net net;
    struct sconn peer;
    uint64_t now;
    uint8_t disk[FILE_SIZE];
    bool dial;
    bool finished;
    bool failed;
    bool wrong_bytes;
    uint64_t received;
    struct transfer_chunk chunk;
    uint8_t data[1u << CHUNK_LOG2];
    size_t got;
};

static void *need(void *p)
{
    BELAY_ASSERT(p != NULL);
    return p;
}

/* ---- the server's side of 17.1. */

static void put_greeting(struct writer *w)
{
    static const uint8_t codecs[] = {CODEC_RAW, CODEC_ZLIB, CODEC_ZERO};
    struct preface preface = {.version = PROTO_VERSION, .role = ROLE_SERVER};
    struct msg_hello hello = {
        .has = HELLO_HAS_MAX_CHUNK_LOG2 | HELLO_HAS_MAX_REQUESTS |
               HELLO_HAS_IDLE_TIMEOUT,
        .max_chunk_log2 = LIMIT_CHUNK_LOG2_RECOMMENDED,
        .max_requests = 64,
        .idle_timeout_s = LIMIT_IDLE_DEFAULT_S,
        .codecs = {codecs, sizeof codecs},
        .agent = {(const uint8_t *)"belayd/1", 8}};
    uint8_t bytes[PREFACE_LEN];
    int err;

    preface_encode(&preface, bytes);
    writer_bytes(w, bytes, sizeof bytes);
    err = msg_hello_encode(&hello, FRAME_FROM_SERVER, w);
    BELAY_ASSERT(err == 0);
}

static void put_info(struct writer *w)
{
    struct msg_info info = {
        .handle = 1,
        .file_type = FILE_REGULAR,
        .chunk_log2 = CHUNK_LOG2,
        .info_flags = INFO_VERSION_STRONG | INFO_CID_PENDING,
        .size = FILE_SIZE,
        .mtime_s = 0x6955b900,
        .mode = 0644,
        .version = {(const uint8_t *)WORKED_VERSION, WORKED_VERSION_LEN}};
    int err = msg_info_encode(&info, 1, w);

    BELAY_ASSERT(err == 0);
}

static void put_chunks(struct worked *x, struct writer *w)
{
    for (uint32_t i = 0; i < CHUNKS; i++) {
        uint32_t len = cid_chunk_len(FILE_SIZE, CHUNK_LOG2, i);
        const uint8_t *data = x->file + (i << CHUNK_LOG2);
        struct msg_chunk m = {.offset = i << CHUNK_LOG2,
                              .raw_len = len,
                              .stored_len = len,
                              .handle = 1};
        int err = hash_sha256(x->hasher, data, len, m.digest);

        BELAY_ASSERT(err == 0);
        err = msg_chunk_encode(&m, 2, w);
        BELAY_ASSERT(err == 0);
        writer_bytes(w, data, len);
    }
}

static void make_stream(struct worked *x)
{
    struct msg_done done = {
        .chunks = CHUNKS,
        .raw_bytes = FILE_SIZE,
        .version = {(const uint8_t *)WORKED_VERSION, WORKED_VERSION_LEN}};
    uint8_t cid[HASH_LEN];
    uint8_t sha[HASH_LEN];
    char text[2 * HASH_LEN + 1];
    struct writer w;
    int err = cid_hex_decode(file_cid, HASH_LEN, cid);

    BELAY_ASSERT(err == 0);
    done.cid = (struct bytes_view){cid, HASH_LEN};
    writer_init(&w, x->stream, sizeof x->stream);
    put_greeting(&w);
    put_info(&w);
    put_chunks(x, &w);
    err = msg_done_encode(&done, 2, &w);
    BELAY_ASSERT(err == 0);
    x->stream_len = writer_len(&w);
    err = hash_sha256(x->hasher, x->stream, x->stream_len, sha);
    BELAY_ASSERT(err == 0);
    cid_hex_encode(sha, HASH_LEN, text);
    BELAY_ASSERT(x->stream_len == STREAM_LEN &&
                 strcmp(text, stream_sha256) == 0);
}

static void make_server(struct worked *x)
{
    struct source *s = &x->source;

    source_init(s, 1, FILE_SIZE, 1);
    pages_write(&s->path->content->data, 0, x->file, FILE_SIZE);
    x->server.source = s;
    x->server.hasher = x->hasher;
    x->server.zpack = need(zpack_new());
    x->server.chunk_log2 = CHUNK_LOG2;
    x->server.max_chunk_log2 = LIMIT_CHUNK_LOG2_RECOMMENDED;
    x->server.idle_timeout_s = LIMIT_IDLE_DEFAULT_S;
    x->server.worked = true;
    for (uint32_t i = 0; i < CHUNKS; i++) {
        struct source_stat st = source_fstat(s, s->path, 100000);
        uint8_t digest[HASH_LEN];
        int err = hash_sha256(x->hasher, x->file + (i << CHUNK_LOG2),
                              cid_chunk_len(FILE_SIZE, CHUNK_LOG2, i),
                              digest);

        BELAY_ASSERT(err == 0);
        memo_learn(s, source_memo(s, &st, CHUNK_LOG2), i, digest);
    }
}

/* ---- the client's side. */

static void begin(struct worked *x)
{
    /* Without compression, as the stream has none. */
    struct transfer_config config = {
        .path = (const uint8_t *)"iso/demo.bin",
        .path_len = 12,
        .max_chunk_log2 = LIMIT_CHUNK_LOG2_MAX,
        .conns = 1,
        .agent = "demo/1",
        .seed = 7};

    x->now = 100000;
    x->transfer = need(transfer_new(&config, x->now));
    memset(x->disk, 0, sizeof x->disk);
    x->dial = false;
    x->finished = false;
    x->failed = false;
    x->wrong_bytes = false;
    x->received = 0;
    x->chunk.present = false;
}

static void pump(struct worked *x)
{
    struct transfer_action a;

    while (transfer_next(x->transfer, x->now, &a) != TRANSFER_IDLE) {
        x->dial |= a.type == TRANSFER_DIAL;
        x->finished |= a.type == TRANSFER_FINISH;
        x->failed |= a.type == TRANSFER_FAIL;
        if (x->finished || x->failed) {
            return;
        }
    }
}

static void chunk_end(struct worked *x)
{
    const struct transfer_chunk *c = &x->chunk;
    uint8_t digest[HASH_LEN];
    bool ok;

    if (c->codec == CODEC_ZERO) {
        memset(x->data, 0, c->raw_len);
    }
    ok = c->codec != CODEC_ZLIB &&
         hash_sha256(x->hasher, x->data, c->raw_len, digest) == 0 &&
         memcmp(digest, c->digest, HASH_LEN) == 0;
    x->chunk.present = false;
    if (!c->wanted) {
        return;
    }
    if (ok) {
        memcpy(x->disk + c->offset, x->data, c->raw_len);
        x->wrong_bytes |= memcmp(x->file + c->offset, x->data, c->raw_len);
    }
    transfer_chunk_done(x->transfer, 0, c->index, c->digest, ok, x->now);
}

static void feed(struct worked *x, const uint8_t *data, size_t len)
{
    size_t used;

    x->received += len;
    for (size_t at = 0; at < len && !x->finished && !x->failed; at += used) {
        if (!x->chunk.present) {
            transfer_feed(x->transfer, 0, data + at, len - at, &used,
                          &x->chunk, x->now);
            x->got = 0;
            if (x->chunk.present && x->chunk.stored_len == 0) {
                transfer_chunk_data(x->transfer, 0, 0, x->now);
                chunk_end(x);
            }
        } else {
            used = x->chunk.stored_len - x->got;
            used = used < len - at ? used : len - at;
            memcpy(x->data + x->got, data + at, used);
            x->got += used;
            transfer_chunk_data(x->transfer, 0, used, x->now);
            if (x->got == x->chunk.stored_len) {
                chunk_end(x);
            }
        }
        pump(x);
        if (!transfer_conn_open(x->transfer, 0)) {
            return;
        }
    }
}

static void connect(struct worked *x)
{
    while (!x->dial) {
        x->now += 100;
        pump(x);
        BELAY_ASSERT(x->now < 10000000);
    }
    x->dial = false;
    x->chunk.present = false;
    transfer_connected(x->transfer, 0, x->now);
    pump(x);
}

static void cut(struct worked *x)
{
    transfer_lost(x->transfer, 0, "cut", x->now);
    x->chunk.present = false;
    pump(x);
}

/* A connection to the real sender, until the end or for good. */
static void talk(struct worked *x)
{
    struct rng rng = {3};
    uint8_t buf[4096];

    net_init(&x->net);
    sconn_open(&x->peer, &x->server, &x->net, x->now);
    connect(x);
    while (!x->finished && !x->failed &&
           transfer_conn_open(x->transfer, 0)) {
        struct receiver *r = transfer_receiver(x->transfer, 0);
        const uint8_t *out;
        size_t len = receiver_out(r, &out);

        net_send(&x->net, &x->net.up, &rng, x->now, out, len);
        receiver_sent(r, len, x->now);
        x->now++;
        sconn_run(&x->peer, x->now);
        while ((len = net_take(&x->net, &x->net.down, &rng, x->now, buf,
                               sizeof buf)) > 0) {
            feed(x, buf, len);
        }
        transfer_tick(x->transfer, x->now);
        pump(x);
    }
    sconn_free(&x->peer);
    net_clear(&x->net);
}

static void end(struct worked *x)
{
    transfer_free(x->transfer);
    x->transfer = NULL;
}

static bool right(const struct worked *x)
{
    return x->finished && !x->wrong_bytes &&
           memcmp(x->disk, x->file, FILE_SIZE) == 0;
}

/* ---- the experiments. */

static bool cut_everywhere(struct worked *x)
{
    uint64_t worst = 0;

    for (size_t at = 0; at <= x->stream_len; at++) {
        begin(x);
        connect(x);
        feed(x, x->stream, at);
        if (!x->finished) {
            cut(x);
            talk(x);
        }
        if (!right(x)) {
            printf("FAILED cut after %zu bytes\n", at);
            return false;
        }
        if (x->received > STREAM_LEN + worst) {
            worst = x->received - STREAM_LEN;
        }
        end(x);
    }
    printf("cut after every byte: %zu cases, all identical, worst surplus "
           "%" PRIu64 " bytes\n", x->stream_len + 1, worst);
    return worst <= SURPLUS_MAX;
}

static bool flip_bits(struct worked *x)
{
    struct rng rng = {11};
    unsigned gave_up = 0;

    for (unsigned n = 0; n < FLIPS; n++) {
        uint64_t bit = rng_below(&rng, 8 * x->stream_len);
        uint8_t mask = (uint8_t)(1u << bit % 8);

        begin(x);
        connect(x);
        x->stream[bit / 8] ^= mask;
        feed(x, x->stream, x->stream_len);
        x->stream[bit / 8] ^= mask;
        while (!x->finished && !x->failed) {
            if (transfer_conn_open(x->transfer, 0)) {
                cut(x);
            }
            talk(x);
        }
        gave_up += x->failed;
        if (x->wrong_bytes || (x->finished && !right(x))) {
            printf("FAILED bit %" PRIu64 " flipped\n", bit);
            return false;
        }
        end(x);
    }
    printf("bit flips: %u, no wrong byte accepted, %u took the peer for a "
           "stranger\n", FLIPS, gave_up);
    return true;
}

int main(void)
{
    struct worked *x = need(calloc(1, sizeof *x));
    bool ok;

    x->hasher = need(hasher_new());
    for (uint32_t i = 0; i < FILE_SIZE; i++) {
        x->file[i] = (uint8_t)(i % 251);
    }
    make_stream(x);
    make_server(x);
    ok = cut_everywhere(x) && flip_bits(x);
    source_free(&x->source);
    zpack_free(x->server.zpack);
    hasher_free(x->hasher);
    free(x);
    return ok ? 0 : 1;
}
