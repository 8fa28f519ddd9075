#include "client/job.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "client/engine.h"
#include "client/proxy.h"
#include "client/report.h"
#include "proto/base/limits.h"
#include "proto/base/registry.h"
#include "proto/data/cid.h"
#include "proto/data/text.h"

/* Beyond any link. */
#define SPEED_MAX ((uint64_t)1 << 40)

/* ---- the request. */

/* Splits the target into directory and name; a relative one is below the
 * directory that was given. */
static enum belay_reason set_target(struct belay_job *job,
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

static enum belay_reason check_values(struct belay_job *job,
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

static enum belay_reason set_texts(struct belay_job *job,
                                   const struct belay_get_options *o,
                                   const struct belay_url *url,
                                   struct belay_error *error)
{
    enum belay_reason reason = BELAY_DONE;
    char shown[400];

    if (!o->to_fd) {
        reason = set_target(job, o, url, error);
    }
    if (reason != BELAY_DONE) {
        return reason;
    }
    (void)belay_text_escape(shown, sizeof shown, o->url);
    job->url = strdup(o->url);
    job->shown_url = strdup(shown);
    if (!o->to_fd) {
        (void)belay_text_escape(shown, sizeof shown, job->name);
    }
    job->shown = strdup(shown);
    return job->url != NULL && job->shown != NULL && job->shown_url != NULL
               ? BELAY_DONE
               : report(error, BELAY_INTERNAL, "out of memory");
}

static enum belay_reason set_proxy(struct belay_job *job,
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

enum belay_reason job_new(struct belay_engine *engine,
                          const struct belay_get_options *options,
                          struct belay_job **out, struct belay_error *error)
{
    struct belay_job *job = calloc(1, sizeof *job);
    struct belay_url *url = calloc(1, sizeof *url);
    enum belay_reason reason;

    if (job == NULL || url == NULL) {
        reason = report(error, BELAY_INTERNAL, "out of memory");
        goto out_free;
    }
    job->engine = engine;
    report_take(&job->asked, sizeof job->asked, options);
    url->struct_size = sizeof *url;
    if (job->asked.url == NULL) {
        reason = report(error, BELAY_USAGE, "no URL");
        goto out_free;
    }
    reason = belay_url_parse(job->asked.url, url, error);
    if (reason == BELAY_DONE) {
        reason = check_values(job, &job->asked, error);
    }
    if (reason == BELAY_DONE) {
        reason = set_texts(job, &job->asked, url, error);
    }
    if (reason == BELAY_DONE) {
        reason = set_proxy(job, &job->asked, url, error);
    }
    if (reason != BELAY_DONE) {
        goto out_free;
    }
    job->asked.url = NULL; /* the caller's */
    job->asked.output = NULL;
    job->asked.directory = NULL;
    job->asked.sha256 = NULL;
    job->asked.proxy = NULL;
    job->asked.no_proxy = NULL;
    *out = job;
    free(url);
    return BELAY_DONE;

out_free:
    free(url);
    job_free(job);
    return reason;
}

void job_free(struct belay_job *job)
{
    if (job == NULL) {
        return;
    }
    fetch_free(job->fetch);
    free(job->uri);
    free(job->url);
    free(job->dir);
    free(job->name);
    free(job->shown);
    free(job->shown_url);
    free(job->proxy);
    free(job);
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

/* Makes what is missing of a directory.  What cannot be made shows when the
 * target is opened. */
static void make_directories(char *path)
{
    for (char *at = path + 1; *path != '\0'; at++) {
        char c = *at;

        if (c == '/' || c == '\0') {
            *at = '\0';
            (void)!mkdir(path, 0777);
            *at = c;
        }
        if (c == '\0') {
            return;
        }
    }
}

int job_start(struct belay_job *job, struct loop *loop, struct rate *rate,
              size_t memory, const struct security *security)
{
    const struct belay_get_options *o = &job->asked;
    struct fetch_observer observer = {on_note, on_end, job};
    struct uri_error where;
    struct fetch_options options = {
        .url_text = job->url,
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
        .memory = memory,
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
        .rate = rate,
        .security = security,
        .max_size = o->max_size,
        .proxy = job->proxy,
    };

    job->uri = malloc(sizeof *job->uri);
    if (job->uri == NULL || uri_parse(job->url, job->uri, &where) != 0) {
        return ERR_NOMEM; /* it was parsed before */
    }
    options.uri = job->uri;
    if (o->make_directories && job->dir != NULL && !o->dry_run) {
        make_directories(job->dir);
    }
    memcpy(options.sha256, job->sha256, HASH_LEN);
    return fetch_start(loop, &options, &observer, &job->fetch);
}

/* ---- asking. */

const char *belay_job_url(const struct belay_job *job)
{
    return job->shown_url;
}

const char *belay_job_name(const struct belay_job *job)
{
    return job->shown;
}

static void fill_stats(const struct fetch_stats *from,
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
    };
    if (from->cid_known) {
        cid_encode(from->chunk_log2, from->cid, to->cid);
    }
    if (from->pin_shown) {
        tls_pin_format(from->pin, to->server_pin);
    }
}

void belay_job_stats(const struct belay_job *job,
                     struct belay_job_stats *stats)
{
    struct belay_job_stats all = {0};
    struct fetch_stats now;

    if (job->fetch != NULL) {
        fetch_stats(job->fetch, &now);
        fill_stats(&now, &all);
    }
    report_give(stats, &all, sizeof all);
}
