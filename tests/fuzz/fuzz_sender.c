/* The server's half of a connection: whole conversations with a client that
 * may say anything, jobs that end in any order and fail in any way.
 *
 * Input: a script of operations (enum op), each a byte and its arguments.
 * Frames are given without header and CRC, so mutations reach the messages.
 * The last byte of the input may ask for credentials.
 * Promised: every request gets exactly one END, every file and piece comes
 * back, what is written is well formed, nothing is looked at for nobody, and
 * the connection can be ended. */

#include "tests/unit/sender_fixture.h"
#include "tests/fuzz/fuzz.h"

enum op {
    OP_FRAME,   /* type, flags, id (2), length (2), payload */
    OP_OPEN,    /* handle, path, log2 */
    OP_GET,     /* handle, urgency and flags, ranges */
    OP_DIGEST,  /* handle, block_log2, flags, first, count */
    OP_END,     /* what: CLOSE, CANCEL, LIST, PING or AUTH; its argument */
    OP_RAW,     /* length (2), bytes */
    OP_FINISH,  /* which held job */
    OP_FAULT,   /* how the file behaves from now on */
    OP_TIME,    /* in seconds */
    OP_LIFE,    /* eof, goaway, blocked, a slow reader, greeting */
    OP_COUNT,
};

#define OPS_MAX 400u
#define IDS 65536u
#define TOKENS 2u

static const struct sender_config config = {
    .max_chunk_log2 = 22,
    .max_requests = 24,
    .max_handles = 16,
    .idle_timeout_s = 120,
    .compression = true,
    .grease = true,
    .agent = "fuzz",
};

struct talk {
    struct fixture f;
    struct script s;
    uint32_t next_id;
    bool greeted;  /* the greeting was taken from the output */
    bool ended;    /* nothing more may be said */
    bool door;     /* credentials are asked for */
    bool slow;     /* the transport takes a byte of what is written */
    uint64_t debt; /* ... and the rest later */
    struct sender_out out;
    uint8_t ends[IDS];
    bool asked[IDS];
};

static void look(struct talk *t)
{
    struct fixture *f = &t->f;
    struct frame frame;
    const uint8_t *payload = NULL;
    if (!t->greeted) {
        if (f->out_len < PREFACE_LEN) {
            return;
        }
        f->out_read = PREFACE_LEN;
        t->greeted = true;
    }
    while (fixture_frame(f, &frame, &payload)) {
        enum frame_verdict verdict;
        struct msg m;
        uint32_t id = frame.request_id;
        FUZZ_CHECK(frame_classify(&frame, FRAME_FROM_SERVER, &verdict) == 0);
        if (verdict == FRAME_SKIP) {
            continue;
        }
        FUZZ_CHECK(msg_decode(&frame, payload, FRAME_FROM_SERVER,
                              LIMIT_RANGES_MIN, &m) == BELAY_OK);
        if (id == 0 || id >= IDS || frame.type >= 0x80) {
            continue;
        }
        FUZZ_CHECK(t->asked[id] && t->ends[id] == 0);
        t->ends[id] += frame_is_end(&frame);
    }
    /* What was looked at is not needed any more. */
    f->out_len = f->out_read = 0;
}

/* B1-A1: for nobody the file system is not even looked at. */
static void check_door(const struct talk *t, const struct sender_job *job)
{
    const struct sender_identity *who = sender_identity(t->f.s);
    bool looks = job->type == SENDER_JOB_OPEN || job->type == SENDER_JOB_LIST;
    FUZZ_CHECK(!t->door || !looks || who->method != 0);
    FUZZ_CHECK(who->method != AUTH_BEARER || who->token < TOKENS);
}

static void run_jobs(struct talk *t)
{
    struct sender_job job;
    while (sender_next_job(t->f.s, t->f.now, &job)) {
        check_door(t, &job);
        fixture_job(&t->f, &job);
    }
}

/* The transport takes what it still owed. */
static void pay(struct talk *t)
{
    struct fixture *f = &t->f;
    sender_wrote(f->s, f->now, t->debt);
    t->debt = 0;
    if (t->out.has_chunk) {
        sender_chunk_sent(f->s, f->now);
        fixture_free_piece(f, t->out.piece);
    }
}

static bool emit(struct talk *t)
{
    static uint8_t buf[SENDER_EMIT_BYTES];
    struct fixture *f = &t->f;
    if (t->debt > 0) {
        if (t->slow) {
            return false;
        }
        pay(t);
    }
    if (!t->slow) {
        return fixture_emit(f);
    }
    sender_emit(f->s, f->now, buf, sizeof buf, &t->out);
    fixture_append(f, buf, t->out.len);
    if (t->out.has_chunk) {
        struct fixture_piece *piece = t->out.piece;
        fixture_append(f, piece->data, t->out.stored_len);
    }
    if (t->out.len > 0) {
        sender_wrote(f->s, f->now, 1);
        t->debt = t->out.len - 1 + t->out.stored_len;
    }
    return t->out.len > 0;
}

static void pump(struct talk *t)
{
    bool more = true;
    while (more) {
        run_jobs(t);
        more = !t->f.blocked && emit(t);
        look(t);
    }
}

static void say(struct talk *t, const uint8_t *data, size_t len)
{
    while (len > 0 && !t->ended && sender_wants_read(t->f.s)) {
        size_t step = len < SENDER_RECV_BYTES ? len : SENDER_RECV_BYTES;
        sender_recv(t->f.s, t->f.now, data, step);
        data += step;
        len -= step;
    }
    pump(t);
}

static void say_frame(struct talk *t, struct writer *w)
{
    say(t, writer_data(w), writer_len(w));
}

/* The id of the next request; the client keeps its own rule. */
static uint32_t new_id(struct talk *t)
{
    uint32_t id = t->next_id++;
    t->asked[id % IDS] = true;
    return id;
}

static void op_frame(struct talk *t, struct writer *w)
{
    uint8_t type = script_u8(&t->s);
    uint8_t flags = script_u8(&t->s);
    uint32_t id = script_u16(&t->s);
    size_t len = script_u16(&t->s) % 1500u;
    uint8_t *payload = script_copy(&t->s, &len);
    size_t start = frame_begin(w);
    writer_bytes(w, payload, len);
    free(payload);
    if (frame_finish(w, start, type, flags, id) == BELAY_OK) {
        t->asked[id] = true;
        if (id >= t->next_id && type >= 0x10 && type < 0x40) {
            t->next_id = id + 1;
        }
    }
}

static void op_open(struct talk *t, struct writer *w)
{
    static const char *const paths[] = { "iso/demo.bin", "two", "none", "..",
                                         "", "big", "a/../b", "empty" };
    uint32_t handle = script_u8(&t->s) % 32u;
    const char *path = paths[script_u8(&t->s) % 8u];
    uint8_t log2 = script_u8(&t->s);
    struct msg_open m = {
        .handle = handle,
        .flags = handle == 0 ? OPEN_NO_HANDLE : 0,
        .want_chunk_log2 = log2 % 4u == 0 ? (uint8_t)(12u + log2 % 11u) : 12,
        .path = { (const uint8_t *)path, strlen(path) },
    };
    static const uint8_t version[8] = { 0xa1, 0xb2, 0xc3, 0xd4,
                                        0xe5, 0xf6, 0x07, 0x18 };
    if (log2 & 0x40u) {
        m.expect_version = (struct bytes_view){ version, sizeof version };
    }
    FUZZ_CHECK(msg_open_encode(&m, new_id(t), w) == 0);
}

static void op_get(struct talk *t, struct writer *w)
{
    uint8_t packed[MSG_RANGES_BYTES(8)];
    struct msg_range ranges[8];
    struct msg_get m = { .handle = script_u8(&t->s) % 32u };
    uint8_t how = script_u8(&t->s);
    uint16_t count = (uint16_t)(1u + (how >> 5));
    uint64_t at = 0;
    m.urgency = how % 8u;
    m.flags = (how >> 3) & (GET_NO_COMPRESSION | GET_CLOSE_AFTER);
    for (uint16_t i = 0; i < count; i++) {
        at += script_u16(&t->s);
        ranges[i].offset = at;
        ranges[i].length = 1u + script_u16(&t->s);
        at += ranges[i].length;
    }
    if (script_u8(&t->s) % 3u == 0) {
        ranges[count - 1].length = GET_TO_END;
    }
    msg_ranges_pack(&m, ranges, count, packed);
    FUZZ_CHECK(msg_get_encode(&m, new_id(t), w) == 0);
}

static void op_digest(struct talk *t, struct writer *w)
{
    struct msg_digest m = { .handle = script_u8(&t->s) % 32u };
    m.block_log2 = script_u8(&t->s) % 33u;
    m.flags = script_u8(&t->s) & (DIGEST_WITH_PROOF | DIGEST_NO_WAIT);
    m.first_block = script_u8(&t->s);
    m.block_count = script_u8(&t->s);
    FUZZ_CHECK(msg_digest_encode(&m, new_id(t), w) == 0);
}

static void op_auth(struct talk *t, struct writer *w, uint32_t arg)
{
    static const char *const tokens[] = { "one", "two", "three", "", "on" };
    const char *token = tokens[arg % 5u];
    struct msg_auth m = { .method = arg & 0x80u ? AUTH_EXTERNAL
                                                : AUTH_BEARER };
    if (m.method == AUTH_BEARER && *token != '\0') {
        m.token = (struct bytes_view){ (const uint8_t *)token,
                                       strlen(token) };
    } else {
        m.method = AUTH_EXTERNAL;
    }
    FUZZ_CHECK(msg_auth_encode(&m, new_id(t), w) == 0);
}

static void op_end(struct talk *t, struct writer *w)
{
    uint8_t what = script_u8(&t->s);
    uint32_t arg = script_u8(&t->s);
    if (what >= 0xf0) {
        op_auth(t, w, arg);
        return;
    }
    struct msg_close close = { .handle = arg % 32u };
    struct msg_cancel cancel = { .grease = { .type = 0 } };
    struct msg_list list = { .path = { (const uint8_t *)"iso", 3 },
                             .has_max_entries = true,
                             .max_entries = arg };
    struct msg_ping ping = { .opaque = { what } };
    int err = BELAY_OK;
    switch (what % 4) {
    case 0:
        err = msg_close_encode(&close, new_id(t), w);
        break;
    case 1:
        if (arg < t->next_id) {
            err = msg_cancel_encode(&cancel, t->next_id - arg, w);
        }
        break;
    case 2:
        err = msg_list_encode(&list, new_id(t), w);
        break;
    default:
        err = msg_ping_encode(&ping, FRAME_PING, w);
        break;
    }
    FUZZ_CHECK(err == BELAY_OK);
}

static void op_raw(struct talk *t)
{
    size_t len = script_u16(&t->s) % 2000u;
    uint8_t *bytes = script_copy(&t->s, &len);
    /* Whatever these ask for is not followed, only survived. */
    memset(t->asked, true, sizeof t->asked);
    say(t, bytes, len);
    free(bytes);
}

static void op_finish(struct talk *t)
{
    struct fixture *f = &t->f;
    uint8_t which = script_u8(&t->s);
    if (f->held_count > 0) {
        size_t i = which % f->held_count;
        struct sender_job job = f->held[i];
        f->held_count--;
        memmove(&f->held[i], &f->held[i + 1],
                (f->held_count - i) * sizeof f->held[0]);
        sender_job_progress(f->s, job.id, which, 255);
        fixture_finish(f, &job);
    }
    pump(t);
}

static void op_fault(struct talk *t)
{
    static const uint16_t codes[] = { 0, WIRE_IO_ERROR, WIRE_CHANGED_DURING,
                                      WIRE_BUSY };
    struct fixture_file *file = &t->f.files[script_u8(&t->s) % 4u];
    uint8_t how = script_u8(&t->s);
    file->read_code = codes[how % 4u];
    file->check_code = codes[how / 4u % 4u];
    file->read_from = how >> 6;
    file->cid_known = how & 0x20u;
}

static void greet(struct writer *w)
{
    struct preface p = { .version = PROTO_VERSION, .role = ROLE_CLIENT };
    struct msg_hello hello = { .has = 0 };
    static const uint8_t codecs[] = { CODEC_RAW, CODEC_ZLIB, CODEC_ZERO };
    uint8_t bytes[PREFACE_LEN];
    hello.codecs = (struct bytes_view){ codecs, sizeof codecs };
    preface_encode(&p, bytes);
    writer_bytes(w, bytes, sizeof bytes);
    FUZZ_CHECK(msg_hello_encode(&hello, FRAME_FROM_CLIENT, w) == 0);
}

static void op_life(struct talk *t, struct writer *w)
{
    struct fixture *f = &t->f;
    uint8_t what = script_u8(&t->s);
    if (what >= 0xf0) {
        t->slow = !t->slow;
        return;
    }
    switch (what % 8) {
    case 0:
        f->blocked = !f->blocked;
        break;
    case 1:
        if (!t->ended) {
            t->ended = true;
            sender_eof(f->s, f->now);
        }
        break;
    case 2:
        sender_goaway(f->s, f->now);
        break;
    case 3:
        f->hold = script_u8(&t->s) & 0x1fu;
        break;
    default:
        greet(w);
        break;
    }
}

static void step(struct talk *t)
{
    static uint8_t wire[4096];
    struct writer w;
    writer_init(&w, wire, sizeof wire);
    uint8_t op = script_u8(&t->s) % OP_COUNT;
    switch (op) {
    case OP_FRAME:
        op_frame(t, &w);
        break;
    case OP_OPEN:
        op_open(t, &w);
        break;
    case OP_GET:
        op_get(t, &w);
        break;
    case OP_DIGEST:
        op_digest(t, &w);
        break;
    case OP_END:
        op_end(t, &w);
        break;
    case OP_RAW:
        op_raw(t);
        break;
    case OP_FINISH:
        op_finish(t);
        break;
    case OP_FAULT:
        op_fault(t);
        break;
    case OP_TIME:
        t->f.now += 1000u * script_u8(&t->s);
        if (sender_deadline(t->f.s) <= t->f.now ||
            sender_finished(t->f.s)) {
            sender_tick(t->f.s, t->f.now);
        }
        break;
    default:
        op_life(t, &w);
        break;
    }
    say_frame(t, &w);
}

/* The runner keeps its side; the sender has to come to rest. */
static void come_to_rest(struct talk *t)
{
    struct fixture *f = &t->f;
    f->blocked = false;
    f->hold = 0;
    t->slow = false;
    for (unsigned i = 0; i < 2000 && f->held_count > 0; i++) {
        op_finish(t);
    }
    if (!t->ended) {
        sender_eof(f->s, f->now);
    }
    pump(t);
    for (unsigned i = 0; i < 100 && !sender_finished(f->s); i++) {
        f->now += 10000;
        sender_tick(f->s, f->now);
        pump(t);
    }
    FUZZ_CHECK(f->held_count == 0);
    FUZZ_CHECK(sender_finished(f->s));
}

/* Tokens "one" and "two", certificates or both; over TLS or in the open. */
static void start(struct talk *t, uint8_t options)
{
    static struct auth_table table;
    static uint8_t digests[TOKENS][HASH_LEN];
    struct sender_config own = config;
    t->door = options >= 0xe0 && (options & 3u) != 0;
    table = (struct auth_table){
        .bearer = options & 1u,
        .external = options & 2u,
        .tokens = (const uint8_t (*)[HASH_LEN])digests,
        .count = TOKENS,
    };
    own.auth = t->door ? &table : NULL;
    fixture_init(&t->f, &own);
    table.hasher = t->f.hasher;
    FUZZ_CHECK(hash_sha256(table.hasher, "one", 3, digests[0]) == 0);
    FUZZ_CHECK(hash_sha256(table.hasher, "two", 3, digests[1]) == 0);
    if (t->door) {
        sender_set_transport(t->f.s, options & 4u, options & 8u);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct talk t;
    memset(&t, 0, sizeof t);
    t.s = (struct script){ data, size };
    t.next_id = 1;
    start(&t, size > 0 ? data[size - 1] : 0);
    t.f.files[1].path = "two";
    t.f.files[1].size = 12345;
    t.f.files[2].path = "big";
    t.f.files[2].size = 300000;
    t.f.files[3].path = "empty";
    for (unsigned i = 0; i < OPS_MAX && t.s.left > 0 &&
                         !sender_finished(t.f.s) && t.next_id < 60000;
         i++) {
        step(&t);
    }
    come_to_rest(&t);
    fixture_clear(&t.f);
    return 0;
}
