/* Haul: life, adding, the machine's actions, the end. */
#include "client/haul.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/fetch.h"
#include "client/haul_internal.h"
#include "client/walker.h"
#include "proto/base/err.h"
#include "proto/io/rand.h"

/* Who interrupts waits no longer than this for jobs under way. */
#define SETTLE_MS 1000u

/* ---- the end. */

static void close_wires(struct haul *h)
{
    for (unsigned c = 0; c < LINE_MAX; c++) {
        wire_close(&h->wire[c]);
    }
}

void haul_stop(struct haul *h, enum belay_reason end, const char *format, ...)
{
    va_list args;

    if (h->stopping) {
        return;
    }
    h->stopping = true;
    h->end = end;
    va_start(args, format);
    (void)vsnprintf(h->text, sizeof h->text, format, args);
    va_end(args);
    haul_turn_later(h);
}

static void tell_end(struct haul *h)
{
    h->ended = true;
    loop_timer_stop(h->settle_timer);
    loop_timer_stop(h->timer);
    loop_timer_stop(h->gather_timer);
    if (!h->stuck && h->dest_open) {
        dest_close(&h->dest);
        h->dest_open = false;
    }
    h->observer.end(h->observer.arg, h->end, h->text);
}

static void on_settle(void *arg)
{
    struct haul *h = arg;

    if (!h->ended) {
        h->stuck = true;
        tell_end(h);
    }
}

static void hasten(struct haul *h)
{
    if (!h->ended) {
        loop_timer_start(h->settle_timer, SETTLE_MS);
    }
}

void haul_interrupt(struct haul *h)
{
    haul_stop(h, BELAY_INTERRUPTED, "interrupted");
    hasten(h);
}

void haul_expire(struct haul *h)
{
    haul_stop(h, BELAY_LIMIT, "the time allowed is over");
    hasten(h);
}

/* ---- the machine's actions. */

static void note(struct haul *h, const struct line_note *n)
{
    struct belay_event event;
    char text[LINE_TEXT + 40];

    walker_line_event(n, text, sizeof text, &event);
    h->observer.note(h->observer.arg, &event);
}

static void item_over(struct haul *h, const struct bulk_action *a)
{
    struct load *load = h->by_item[a->item];

    h->by_item[a->item] = NULL;
    if (load == NULL) {
        return; /* in place, and told */
    }
    switch (a->outcome) {
    case BULK_GOOD:
        break; /* told when it was in place */
    case BULK_HANDED:
        haul_hand(h, load);
        break;
    case BULK_SKIPPED:
        if (load->hand) {
            haul_hand(h, load);
        } else if (load->same) {
            haul_tell(h, load, BELAY_UP_TO_DATE, "is there already");
        } else if (h->options.dry_run) {
            haul_tell_wanted(h, load);
        } else {
            haul_tell(h, load, BELAY_EXISTS,
                      "another file is in its place");
        }
        break;
    case BULK_BAD:
        if (a->reason == TRANSFER_OK) {
            haul_local_failed(h, load);
        } else {
            haul_tell(h, load, fetch_reason(a->reason), a->text);
        }
        break;
    }
}

static void store(struct haul *h, uint32_t item)
{
    struct load *load = h->by_item[item];
    const struct transfer_identity *id = bulk_identity(h->bulk, item);

    if (id->size == 0) {
        haul_drop_data(load); /* no chunk came to do it */
    }
    load->identity = *id;
    load->temp = h->next_temp++;
    h->unwritten += id->size;
    haul_push(&h->writing, load);
}

static void act(struct haul *h, const struct bulk_action *a)
{
    switch (a->type) {
    case BULK_DIAL:
        wire_dial(&h->wire[a->conn]);
        break;
    case BULK_DROP:
        wire_close(&h->wire[a->conn]);
        h->incoming[a->conn].busy = false;
        break;
    case BULK_PROBED:
        haul_judge(h, h->by_item[a->item]);
        break;
    case BULK_STORE:
        store(h, a->item);
        break;
    case BULK_ITEM:
        item_over(h, a);
        break;
    case BULK_NOTE:
        note(h, &a->note);
        break;
    case BULK_FAIL:
        haul_stop(h, fetch_reason(a->reason), "%s", a->text);
        break;
    case BULK_END:
    case BULK_IDLE:
        break;
    }
}

/* ---- the turn. */

/* True when a full buffer became empty: the machine may have more to say. */
static bool send_all(struct haul *h)
{
    bool more = false;

    for (unsigned c = 0; c < LINE_MAX && !h->stopping; c++) {
        const uint8_t *data;

        if (!wire_is_open(&h->wire[c]) ||
            receiver_out(bulk_receiver(h->bulk, c), &data) == 0) {
            continue;
        }
        wire_send(&h->wire[c]);
        more = more || (wire_is_open(&h->wire[c]) &&
                        receiver_out(bulk_receiver(h->bulk, c), &data) == 0);
    }
    return more;
}

static void hold_wires(struct haul *h)
{
    bool hold = h->unwritten > (h->holding ? HAUL_UNWRITTEN / 2
                                           : HAUL_UNWRITTEN);

    if (hold == h->holding) {
        return;
    }
    h->holding = hold;
    for (unsigned c = 0; c < LINE_MAX; c++) {
        wire_hold(&h->wire[c], hold);
    }
}

static void pump(struct haul *h)
{
    struct bulk_action action;
    uint64_t now = loop_now_ms(h->loop);
    uint64_t at;

    do {
        while (!h->stopping &&
               bulk_next(h->bulk, now, &action) != BULK_IDLE) {
            act(h, &action);
        }
    } while (send_all(h));
    if (h->stopping) {
        return;
    }
    hold_wires(h);
    at = bulk_deadline(h->bulk);
    if (at != UINT64_MAX) {
        loop_timer_start(h->timer, at > now ? at - now : 1);
    }
}

static void on_turn(void *arg)
{
    struct haul *h = arg;

    if (h->ended) {
        return;
    }
    if (h->stopping) {
        close_wires(h);
    } else {
        pump(h);
    }
    haul_work_pump(h);
    if (h->input_ended && !h->asked_all && h->looking.count == 0 &&
        !h->job[0].busy) {
        h->asked_all = true;
        bulk_end_of_input(h->bulk);
    }
    if (!h->stopping && h->input_ended && h->loads == 0) {
        haul_stop(h, BELAY_DONE, "%s", "");
        return;
    }
    if (h->stopping && !haul_work_busy(h) && h->writing.count == 0 &&
        h->settling.count == 0) {
        tell_end(h);
    } else if (h->full_told && !h->stopping &&
               h->loads <= HAUL_ITEMS / 4 * 3) {
        h->full_told = false;
        h->observer.room(h->observer.arg);
    }
}

void haul_turn_later(struct haul *h)
{
    loop_defer_arm(h->turn_defer);
}

static void on_timer(void *arg)
{
    struct haul *h = arg;

    bulk_tick(h->bulk, loop_now_ms(h->loop));
    haul_turn_later(h);
}

static void on_gathered(void *arg)
{
    struct haul *h = arg;

    h->gathering = false;
    h->gathered = true;
    haul_turn_later(h);
}

/* ---- adding. */

bool haul_room(const struct haul *h)
{
    return h->loads < HAUL_ITEMS && !h->stopping;
}

static int add(struct haul *h, const struct haul_file *file,
               enum load_kind kind, struct load **out)
{
    struct load *load;

    BELAY_ASSERT(!h->input_ended);
    if (!haul_room(h)) {
        h->full_told = true;
        return ERR_LIMIT;
    }
    load = calloc(1, sizeof *load);
    if (load == NULL) {
        return ERR_NOMEM;
    }
    load->kind = kind;
    load->file = *file;
    load->name = strdup(file->name);
    load->path = malloc(file->path_len + 1);
    if (load->name == NULL || load->path == NULL) {
        haul_free_load(load);
        return ERR_NOMEM;
    }
    if (file->path_len > 0) {
        memcpy(load->path, file->path, file->path_len);
    }
    load->file.path = NULL;
    load->file.name = NULL;
    h->loads++;
    *out = load;
    haul_turn_later(h);
    return 0;
}

int haul_add(struct haul *h, const struct haul_file *file)
{
    struct load *load;
    int err = add(h, file, LOAD_FILE, &load);

    if (err == 0) {
        haul_push(&h->looking, load);
    }
    return err;
}

int haul_add_dir(struct haul *h, const char *name, void *user)
{
    struct haul_file file = {.name = name, .user = user};
    struct load *load;
    int err = add(h, &file, LOAD_DIR, &load);

    if (err == 0) {
        haul_push(&h->settling, load);
    }
    return err;
}

int haul_add_dir_attrs(struct haul *h, const struct haul_file *dir,
                       mode_t mode)
{
    struct load *load;
    int err = add(h, dir, LOAD_DIR_ATTRS, &load);

    if (err == 0) {
        load->mode = mode;
        haul_push(&h->settling, load);
    }
    return err;
}

int haul_add_link(struct haul *h, const char *name, const char *target,
                  enum haul_exists exists, void *user)
{
    struct haul_file file = {.name = name, .exists = exists, .user = user};
    struct load *load;
    int err = add(h, &file, LOAD_LINK, &load);

    if (err == 0) {
        load->target = strdup(target);
        if (load->target == NULL) {
            h->loads--;
            haul_free_load(load);
            return ERR_NOMEM;
        }
        haul_push(h->options.dry_run ? &h->looking : &h->settling, load);
    }
    return err;
}

int haul_open_dir(const struct haul *h, const char *name, int *fd)
{
    return rootfs_open_dir(&h->dest.root, name, fd);
}

void haul_end_of_input(struct haul *h)
{
    h->input_ended = true;
    haul_turn_later(h);
}

/* ---- life. */

static bool make_bulk(struct haul *h)
{
    const struct haul_options *o = &h->options;
    struct bulk_config config = {
        .line = {.agent = "belay/" BELAY_VERSION,
                 .max_chunk_log2 = LIMIT_CHUNK_LOG2_MAX,
                 .compression = o->compression,
                 .wait_first = o->wait_first,
                 .tries_max = o->tries,
                 .silence_ms = o->stall_ms,
                 .auth = security_auth(o->security, o->uri, &h->auth),
                 .seed = rand_u64()},
        .conns = o->conns < LINE_MAX ? o->conns : LINE_MAX,
        .items_max = HAUL_ITEMS,
        .small_max = HAUL_SMALL_MAX,
    };

    if (o->max_size > 0 && o->max_size < HAUL_SMALL_MAX) {
        config.small_max = o->max_size;
    }

    h->bulk = bulk_new(&config, loop_now_ms(h->loop));
    return h->bulk != NULL;
}

static int make_parts(struct haul *h)
{
    h->shared = (struct wire_shared){
        .loop = h->loop,
        .rate = h->options.rate,
        .connect_timeout_ms = h->options.connect_timeout_ms,
        .events = &haul_wire_events,
        .arg = h,
        .buffer = malloc(WIRE_BUFFER),
        .ssh = h->options.ssh,
        .ssh_host = h->options.uri->host,
    };
    if (h->shared.buffer == NULL || !make_bulk(h) ||
        dialer_new(h->loop, h->options.uri->host, h->options.uri->port,
                   h->options.family, &h->dialer) != 0 ||
        dialer_set_proxy(h->dialer, h->options.proxy) != 0 ||
        loop_timer_new(h->loop, on_timer, h, &h->timer) != 0 ||
        loop_timer_new(h->loop, on_gathered, h, &h->gather_timer) != 0 ||
        loop_timer_new(h->loop, on_settle, h, &h->settle_timer) != 0 ||
        loop_defer_new(h->loop, on_turn, h, &h->turn_defer) != 0 ||
        haul_work_init(h) != 0) {
        return ERR_NOMEM;
    }
    h->shared.dialer = h->dialer;
    for (unsigned c = 0; c < LINE_MAX; c++) {
        if (wire_init(&h->wire[c], &h->shared, c) != 0) {
            return ERR_NOMEM;
        }
    }
    return 0;
}

static void open_dest(struct haul *h)
{
    char shown[600];
    int err = h->options.dry_run ? dest_open_to_look(&h->dest, h->options.dir)
                                 : dest_open(&h->dest, h->options.dir);

    h->dest_open = err == 0;
    if (err == 0) {
        return;
    }
    (void)belay_text_escape(shown, sizeof shown, h->options.dir);
    if (err == ERR_LOCKED) {
        haul_stop(h, BELAY_BUSY, "%s: too many processes work in it", shown);
    } else {
        haul_stop(h, BELAY_DISK, "cannot write into %s: %s", shown,
                  err == ERR_IO ? strerror(errno) : err_sentence(err));
    }
}

static void begin_trust(struct haul *h)
{
    char why[TLS_TEXT_MAX];
    enum belay_reason reason = security_trust(
        h->options.security, h->options.uri, true, &h->trust, why);

    h->shared.trust = h->trust;
    if (reason != BELAY_DONE) {
        haul_stop(h, reason, "%s", why);
    }
}

int haul_start(struct loop *loop, const struct haul_options *options,
               const struct haul_observer *observer, struct haul **out)
{
    struct haul *h = calloc(1, sizeof *h);

    if (h == NULL) {
        return ERR_NOMEM;
    }
    h->loop = loop;
    h->options = *options;
    h->observer = *observer;
    if (make_parts(h) != 0) {
        haul_free(h);
        return ERR_NOMEM;
    }
    open_dest(h);
    begin_trust(h);
    haul_turn_later(h);
    *out = h;
    return 0;
}

static void free_list(struct load_list *list)
{
    struct load *load;

    while ((load = haul_pop(list)) != NULL) {
        haul_free_load(load);
    }
}

bool haul_pin(const struct haul *h, uint8_t pin[HASH_LEN])
{
    return h->trust != NULL && trust_shown(h->trust, pin);
}

void haul_free(struct haul *h)
{
    if (h == NULL) {
        return;
    }
    for (unsigned k = 0; k < HAUL_ITEMS; k++) {
        if (h->by_item[k] != NULL) {
            haul_free_load(h->by_item[k]);
        }
    }
    free_list(&h->looking);
    for (unsigned c = 0; c < LINE_MAX; c++) {
        wire_clear(&h->wire[c]);
    }
    if (h->dest_open) {
        dest_close(&h->dest);
    }
    haul_work_free(h);
    loop_timer_free(h->timer);
    loop_timer_free(h->gather_timer);
    loop_timer_free(h->settle_timer);
    loop_defer_free(h->turn_defer);
    dialer_free(h->dialer);
    trust_free(h->trust);
    bulk_free(h->bulk);
    free(h->shared.buffer);
    free(h);
}

bool haul_stuck(const struct haul *h)
{
    return h->stuck;
}

bool haul_lingers(const struct haul *h)
{
    return dialer_lingers(h->dialer);
}

void haul_stats(const struct haul *h, struct haul_stats *out)
{
    struct bulk_ledger l;

    bulk_ledger(h->bulk, &l);
    *out = (struct haul_stats){
        .files = h->files,
        .bytes = h->bytes,
        .wire = l.wire,
        .wasted = l.wasted,
        .saved = l.saved,
        .connects = l.connects,
        .losses = l.losses,
        .conns = bulk_conns_used(h->bulk),
    };
}
