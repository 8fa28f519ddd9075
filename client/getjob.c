#include "client/getjob.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/engine.h"
#include "client/proxy.h"
#include "client/report.h"
#include "proto/base/limits.h"
#include "proto/base/registry.h"
#include "proto/data/cid.h"
#include "proto/io/clock.h"

/* Beyond any link. */
#define SPEED_MAX ((uint64_t)1 << 40)

/* ---- the request. */

/* Splits the target into directory and name; a relative one is below the
 * directory that was given. */
static enum belay_reason set_target(struct get_job *job,
                                    const struct belay_get_options *o,
                                    const struct belay_url *url,
                                    struct belay_error *error)
{
    const char *output = o->output != NULL ? o->output : url->name;
    const char *slash = strrchr(output, '/');
    const char *base = output[0] == '/' ? NULL : o->directory;
    int head = slash == NULL ? 0 : slash == output ? 1 : (int)(slash - output);

    if (*output == '\0') {
        return o->output != NULL
                   ? report(error, BELAY_USAGE, "the target has no name")
                   : report(error, BELAY_USAGE, "the URL names no file");
    }
    job->name = strdup(slash == NULL ? output : slash + 1);
    if (job->name != NULL && *job->name == '\0') {
        return report(error, BELAY_USAGE, "-o %s: it names a directory; use "
                                          "-d for that", output);
    }
    if (asprintf(&job->dir, "%s%s%.*s", base != NULL ? base : "",
                 base != NULL && head > 0 ? "/" : "", head, output) < 0) {
        job->dir = NULL;
    } else if (*job->dir == '\0') {
        free(job->dir);
        job->dir = strdup(".");
    }
    return job->name != NULL && job->dir != NULL
               ? BELAY_DONE
               : report(error, BELAY_INTERNAL, "out of memory");
}

static enum belay_reason check_values(struct get_job *job,
                                      const struct belay_get_options *o,
                                      struct belay_error *error)
{
    uint32_t chunk = o->chunk_size;

    if (o->sha256 != NULL) {
        job->have_sha256 = strlen(o->sha256) == (size_t)2 * HASH_LEN &&
                           cid_hex_decode(o->sha256, HASH_LEN,
                                          job->sha256) == 0;
        if (!job->have_sha256) {
            return report(error, BELAY_USAGE, "a SHA-256 is 64 hexadecimal "
                                              "digits");
        }
    }
    if (o->connections > TRANSFER_CONNS_MAX) {
        return report(error, BELAY_USAGE, "at most %u connections",
                      (unsigned)TRANSFER_CONNS_MAX);
    }
    if (chunk != 0 && (chunk < BELAY_CHUNK_SIZE_MIN ||
                       chunk > BELAY_CHUNK_SIZE_MAX ||
                       (chunk & (chunk - 1)) != 0)) {
        return report(error, BELAY_USAGE, "a chunk size is a power of two "
                                          "from 4 KiB to 4 MiB");
    }
    if (o->family != 0 && o->family != 4 && o->family != 6) {
        return report(error, BELAY_USAGE, "the IP versions are 4 and 6");
    }
    if (o->overwrite && o->no_clobber) {
        return report(error, BELAY_USAGE, "to replace a target and to leave "
                                          "it alone contradict each other");
    }
    return BELAY_DONE;
}

static enum belay_reason set_proxy(struct get_job *job,
                                   const struct belay_get_options *o,
                                   const struct belay_url *url,
                                   struct belay_error *error)
{
    int err;

    if (o->proxy == NULL || *o->proxy == '\0' ||
        proxy_excepts(o->no_proxy, url->host)) {
        return BELAY_DONE;
    }
    job->proxy = malloc(sizeof *job->proxy);
    if (job->proxy == NULL) {
        return report(error, BELAY_INTERNAL, "out of memory");
    }
    err = proxy_parse(o->proxy, job->proxy);
    if (err == 0) {
        return BELAY_DONE;
    }
    /* Its text may hold a password. */
    return report(error, BELAY_USAGE,
                  err == ERR_UNSUPPORTED
                      ? "of proxies only socks5h:// is supported; --noproxy "
                        "'*' goes without"
                      : "the proxy must be "
                        "socks5h://[USER:PASSWORD@]HOST[:PORT]");
}

static void free_texts(char **texts, unsigned count)
{
    for (unsigned k = 0; texts != NULL && k < count; k++) {
        free(texts[k]);
    }
    free(texts);
}

static char **copy_texts(const char *const *texts, unsigned count)
{
    char **copy = calloc((size_t)count + 1, sizeof *copy);

    for (unsigned k = 0; copy != NULL && k < count; k++) {
        copy[k] = strdup(texts[k]);
        if (copy[k] == NULL) {
            free_texts(copy, count);
            copy = NULL;
        }
    }
    return copy;
}

static enum belay_reason check_kind(const struct belay_get_options *o,
                                    struct belay_error *error)
{
    if (o->mirror_count > BELAY_MIRRORS_MAX) {
        return report(error, BELAY_USAGE, "at most %d mirrors",
                      BELAY_MIRRORS_MAX);
    }
    if (o->seed_count > BELAY_SEEDS_MAX) {
        return report(error, BELAY_USAGE, "at most %d seeds",
                      BELAY_SEEDS_MAX);
    }
    if (o->to_fd && (o->kind != BELAY_KIND_GET || o->seed_count > 0 ||
                     o->receipt != NULL)) {
        return report(error, BELAY_USAGE, "seeds, receipts, repairs and "
                                          "comparisons need a file as the "
                                          "target");
    }
    if (o->kind != BELAY_KIND_GET && (o->sha256 != NULL || o->no_clobber)) {
        return report(error, BELAY_USAGE, "a digest, or leaving the target "
                                          "alone, does not go with that");
    }
    return BELAY_DONE;
}

static bool set_receipt(struct get_job *job, const char *receipt)
{
    if (receipt == NULL) {
        return true;
    }
    if (*receipt != '\0') {
        job->receipt = strdup(receipt);
    } else if (asprintf(&job->receipt, "%s/%s.belay-receipt", job->dir,
                        job->name) < 0) {
        job->receipt = NULL;
    }
    return job->receipt != NULL;
}

/* The lists; their URLs are checked before anything is fetched. */
static enum belay_reason set_lists(struct get_job *job,
                                   const struct belay_get_options *o,
                                   struct belay_error *error)
{
    enum belay_reason reason = check_kind(o, error);

    for (unsigned k = 0; reason == BELAY_DONE && k < o->mirror_count; k++) {
        reason = belay_url_parse(o->mirrors[k], NULL, error);
    }
    if (reason != BELAY_DONE) {
        return reason;
    }
    job->mirrors = copy_texts(o->mirrors, o->mirror_count);
    job->seeds = copy_texts(o->seeds, o->seed_count);
    return job->mirrors != NULL && job->seeds != NULL &&
                   set_receipt(job, o->receipt)
               ? BELAY_DONE
               : report(error, BELAY_INTERNAL, "out of memory");
}

/* ssh counts in seconds. */
/* Through ssh each connection would ask for a password again, so there is one
 * unless more are wished for. */
static enum belay_reason set_ssh(struct get_job *job,
                                 struct belay_get_options *o,
                                 struct belay_error *error)
{
    const struct ssh_options options = {
        .command = o->ssh,
        .server = o->remote_belayd,
        .family = o->family,
        .connect_s = ssh_connect_seconds(o->connect_timeout_ms),
    };
    struct uri *uri = malloc(sizeof *uri);
    struct uri_error where;
    int err = 0;

    job->ssh = calloc((size_t)1 + o->mirror_count, sizeof *job->ssh);
    if (uri == NULL || job->ssh == NULL) {
        free(uri);
        return report(error, BELAY_INTERNAL, "out of memory");
    }
    for (unsigned k = 0; k <= o->mirror_count && err == 0; k++) {
        if (uri_parse(k == 0 ? o->url : o->mirrors[k - 1], uri, &where) == 0 &&
            uri->scheme == URI_SSH) {
            o->connections = o->connections != 0 ? o->connections
                                                 : 1 + o->mirror_count;
            err = ssh_command_make(uri, &options, &job->ssh[k]);
        }
    }
    free(uri);
    return err == ERR_SYNTAX
               ? report(error, BELAY_USAGE, "the ssh command has no words, or "
                                            "too many")
           : err != 0 ? report(error, BELAY_INTERNAL, "out of memory")
                      : BELAY_DONE;
}

static const struct job_kind get_kind;

static void get_free(struct belay_job *job)
{
    struct get_job *get = (struct get_job *)job;

    fetch_free(get->fetch);
    free(get->uri);
    free(get->dir);
    free(get->name);
    free(get->proxy);
    free_texts(get->mirrors, get->asked.mirror_count);
    free_texts(get->seeds, get->asked.seed_count);
    free(get->receipt);
    for (unsigned k = 0; get->ssh != NULL && k <= get->asked.mirror_count;
         k++) {
        ssh_command_clear(&get->ssh[k]);
    }
    free(get->ssh);
    job_clear(job);
    free(get);
}

enum belay_reason get_job_new(struct belay_engine *engine,
                              const struct belay_get_options *options,
                              struct belay_job **out,
                              struct belay_error *error)
{
    struct get_job *get = calloc(1, sizeof *get);
    struct belay_url *url = calloc(1, sizeof *url);
    struct belay_get_options *o;
    enum belay_reason reason;

    if (get == NULL || url == NULL) {
        reason = report(error, BELAY_INTERNAL, "out of memory");
        goto out_free;
    }
    o = &get->asked;
    report_take(o, sizeof *o, options);
    url->struct_size = sizeof *url;
    reason = o->url != NULL ? belay_url_parse(o->url, url, error)
                            : report(error, BELAY_USAGE, "no URL");
    if (reason == BELAY_DONE) {
        reason = check_values(get, o, error);
    }
    if (reason == BELAY_DONE && !o->to_fd) {
        reason = set_target(get, o, url, error);
    }
    if (reason == BELAY_DONE) {
        reason = set_proxy(get, o, url, error);
    }
    if (reason == BELAY_DONE) {
        reason = set_lists(get, o, error);
    }
    if (reason == BELAY_DONE) {
        reason = set_ssh(get, o, error);
    }
    if (reason != BELAY_DONE) {
        goto out_free;
    }
    if (!job_init(&get->job, &get_kind, engine, o->url,
                  o->to_fd ? o->url : get->name)) {
        reason = report(error, BELAY_INTERNAL, "out of memory");
        goto out_free;
    }
    get->job.user_data = o->user_data;
    o->url = NULL; /* these are the caller's */
    o->output = NULL;
    o->directory = NULL;
    o->sha256 = NULL;
    o->proxy = NULL;
    o->no_proxy = NULL;
    o->mirrors = NULL;
    o->seeds = NULL;
    o->receipt = NULL;
    o->ssh = NULL;
    o->remote_belayd = NULL;
    *out = &get->job;
    free(url);
    return BELAY_DONE;

out_free:
    free(url);
    if (get != NULL) {
        get_free(&get->job);
    }
    return reason;
}

/* ---- at work. */

static void on_note(void *arg, const struct belay_event *event)
{
    struct belay_event full = *event;

    engine_tell(arg, &full);
}

static void on_end(void *arg, enum belay_reason reason, const char *text)
{
    engine_job_over(arg, reason, text);
}

static uint8_t log2_of(uint32_t size)
{
    uint8_t log2 = 0;

    while (size > 1) {
        size >>= 1;
        log2++;
    }
    return log2;
}

static enum dial_family family_of(unsigned family)
{
    return family == 4 ? DIAL_IPV4 : family == 6 ? DIAL_IPV6 : DIAL_ANY;
}

/* Repairing by a copy is fetching with the target as a donor; to repair
 * without doing it is to compare. */
static enum belay_kind kind_of(const struct belay_get_options *o)
{
    if (o->kind == BELAY_KIND_REPAIR && o->dry_run) {
        return BELAY_KIND_VERIFY;
    }
    return o->kind == BELAY_KIND_REPAIR && o->overwrite ? BELAY_KIND_GET
                                                        : o->kind;
}

static int get_start(struct belay_job *base, const struct job_means *means)
{
    struct get_job *job = get_job_of(base);
    const struct belay_get_options *o = &job->asked;
    struct fetch_observer observer = {on_note, on_end, base};
    struct uri_error where;
    struct fetch_options options = {
        .url_text = base->url,
        .dir = job->dir,
        .name = job->name,
        .fd = o->fd,
        .overwrite = o->overwrite,
        .no_clobber = o->no_clobber,
        .compression = o->compression,
        .remote_time = !o->no_remote_time,
        .stop_on_change = o->stop_on_change,
        .dry_run = o->dry_run,
        .speed_limit = o->speed_limit < SPEED_MAX ? o->speed_limit : SPEED_MAX,
        .speed_ms = o->speed_ms,
        .memory = means->memory,
        .have_sha256 = job->have_sha256,
        .want_chunk_log2 = log2_of(o->chunk_size),
        .conns = o->connections,
        .tries = o->tries,
        .wait_first = o->wait_first,
        .family = family_of(o->family),
        .connect_timeout_ms = o->connect_timeout_ms != 0
                                  ? o->connect_timeout_ms
                                  : TIMER_DIAL_MS,
        .stall_ms = o->silence_ms,
        .rate = means->rate,
        .security = means->security,
        .proxy = job->proxy,
        .ssh = job->ssh,
        .max_size = o->max_size,
        .kind = kind_of(o),
        .anew = o->kind == BELAY_KIND_REPAIR && o->overwrite,
        .force = o->force,
        .seeds = (const char *const *)job->seeds,
        .seed_count = o->seed_count,
        .receipt = job->receipt,
        .mirror_count = o->mirror_count,
    };

    job->uri = calloc((size_t)1 + o->mirror_count, sizeof *job->uri);
    if (job->uri == NULL) {
        return ERR_NOMEM;
    }
    for (unsigned k = 0; k <= o->mirror_count; k++) {
        if (uri_parse(k == 0 ? base->url : job->mirrors[k - 1], &job->uri[k],
                      &where) != 0) {
            return ERR_NOMEM; /* it was parsed before */
        }
    }
    options.uri = job->uri;
    options.mirrors = job->uri + 1;
    if (o->make_directories && job->dir != NULL && !o->dry_run) {
        options.dir_errno = newdirs_make(means->made, job->dir);
    }
    memcpy(options.sha256, job->sha256, HASH_LEN);
    return fetch_start(means->loop, &options, &observer, &job->fetch);
}

static void get_interrupt(struct belay_job *job)
{
    struct get_job *get = get_job_of(job);

    if (get->fetch != NULL) {
        fetch_interrupt(get->fetch);
    }
}

static void get_expire(struct belay_job *job)
{
    struct get_job *get = get_job_of(job);

    if (get->fetch != NULL) {
        fetch_expire(get->fetch);
    }
}

static bool get_stuck(const struct belay_job *job)
{
    const struct get_job *get = (const struct get_job *)job;

    return get->fetch != NULL && fetch_stuck(get->fetch);
}

static bool get_lingers(const struct belay_job *job)
{
    const struct get_job *get = (const struct get_job *)job;

    return get->fetch != NULL && fetch_lingers(get->fetch);
}

/* ---- stats. */

static void stats_alone(const struct fetch_stats *from,
                        struct belay_job_stats *to)
{
    const struct transfer_ledger *l = &from->ledger;

    *to = (struct belay_job_stats){
        .size = l->size,
        .have = l->have,
        .kept = l->kept,
        .fresh = l->fresh,
        .reused = l->reused,
        .wire = l->wire,
        .repeated = l->repeated,
        .wasted = l->wasted,
        .saved = l->saved,
        .connects = l->connects,
        .losses = l->losses,
        .bad_chunks = l->bad_chunks,
        .changes = l->changes,
        .connections = from->conns,
        .verifying = from->verifying,
        .resumable = from->partial,
        .elapsed_ms = from->elapsed_ms,
        .wrong_chunks = from->wrong_chunks,
        .wrong_bytes = from->wrong_bytes,
    };
    if (from->cid_known) {
        cid_encode(from->chunk_log2, from->cid, to->cid);
    }
    if (from->pin_shown) {
        tls_pin_format(from->pin, to->server_pin);
    }
}

/* The bytes on the wire of a group are those of all its files: what is told
 * of one is its data. */
static void stats_in_group(const struct get_job *get,
                           struct belay_job_stats *to)
{
    const struct haul_result *r = &get->hauled;

    to->elapsed_ms = clock_mono_ms() - get->began_ms;
    to->size = r->size;
    if (r->reason == BELAY_DONE) {
        to->have = r->size;
        to->fresh = r->size;
        to->wire = r->size;
    }
    if (r->cid_known) {
        cid_encode(r->chunk_log2, r->cid, to->cid);
    }
    if (get->pin_shown) {
        tls_pin_format(get->pin, to->server_pin);
    }
}

static void get_stats(const struct belay_job *job,
                      struct belay_job_stats *out)
{
    const struct get_job *get = (const struct get_job *)job;
    struct fetch_stats now;

    if (get->fetch != NULL) {
        fetch_stats(get->fetch, &now);
        stats_alone(&now, out);
    } else {
        stats_in_group(get, out);
    }
}

static const struct job_kind get_kind = {
    .start = get_start,
    .interrupt = get_interrupt,
    .expire = get_expire,
    .stuck = get_stuck,
    .lingers = get_lingers,
    .stats = get_stats,
    .free = get_free,
};

struct get_job *get_job_of(struct belay_job *job)
{
    return job->kind == &get_kind ? (struct get_job *)job : NULL;
}

bool belay_job_source_stats(const struct belay_job *job, unsigned source,
                            struct belay_source_stats *stats)
{
    const struct get_job *get = (const struct get_job *)job;
    struct transfer_source_stats from;

    if (job->kind != &get_kind || get->fetch == NULL ||
        !fetch_source_stats(get->fetch, source, &from)) {
        return false;
    }
    struct belay_source_stats all = {.wire = from.wire,
                                     .fresh = from.fresh,
                                     .bad_chunks = from.bad_chunks,
                                     .losses = from.losses,
                                     .aside = from.aside};

    fetch_source_name(get->fetch, source, all.name, sizeof all.name);
    report_give(stats, &all, sizeof all);
    return true;
}
