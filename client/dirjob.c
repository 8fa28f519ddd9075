#include "client/dirjob.h"

#include <stdlib.h>
#include <string.h>

#include "client/dirurl.h"
#include "client/engine.h"
#include "client/proxy.h"
#include "client/report.h"
#include "client/ssh.h"
#include "client/tree.h"
#include "client/walker.h"
#include "proto/base/registry.h"
#include "proto/data/cid.h"
#include "proto/data/text.h"

struct dirjob {
    struct belay_job job; /* first */
    struct loop *loop;
    struct newdirs *made;
    char *directory; /* of a tree */
    struct uri uri;
    struct proxy *proxy; /* NULL: none */
    struct ssh_command ssh; /* if it is reached so */
    bool over; /* told */
    struct belay_list_options list;
    struct belay_tree_options options;
    struct walker *walker;
    struct tree *tree;
    struct loop_defer *stop_defer;
    enum belay_reason stop_reason;
    uint64_t started;
};

static const struct job_kind list_kind;
static const struct job_kind tree_kind;

static struct dirjob *of(struct belay_job *job)
{
    return (struct dirjob *)job;
}

static void dirjob_free(struct belay_job *job)
{
    struct dirjob *d = of(job);

    walker_free(d->walker);
    tree_free(d->tree);
    loop_defer_free(d->stop_defer);
    free(d->directory);
    free(d->proxy);
    ssh_command_clear(&d->ssh);
    job_clear(job);
    free(d);
}

/* ---- the request. */

/* A job whose URL is fine. */
static enum belay_reason make(struct belay_engine *engine,
                              const struct job_kind *kind, const char *url,
                              struct dirjob **out, struct belay_error *error)
{
    struct dirjob *d = calloc(1, sizeof *d);
    char *plain = url != NULL ? dirurl_plain(url) : NULL;
    enum belay_reason reason = BELAY_DONE;
    struct uri_error where;

    if (url == NULL) {
        reason = report(error, BELAY_USAGE, "no URL");
    } else if (d == NULL || plain == NULL ||
               !job_init(&d->job, kind, engine, plain, plain)) {
        reason = report(error, BELAY_INTERNAL, "out of memory");
    } else if (belay_url_parse(plain, NULL, error) != BELAY_DONE) {
        reason = BELAY_USAGE;
    } else if (uri_parse(plain, &d->uri, &where) == 0 && d->uri.pinned) {
        reason = report(error, BELAY_USAGE,
                        "%s: a directory has no content id",
                        d->job.shown_url);
    }
    free(plain);
    if (reason != BELAY_DONE && d != NULL) {
        dirjob_free(&d->job);
    }
    *out = d;
    return reason;
}

static enum belay_reason set_proxy(struct dirjob *d, const char *proxy,
                                   const char *no_proxy,
                                   struct belay_error *error)
{
    if (proxy == NULL || *proxy == '\0' ||
        proxy_excepts(no_proxy, d->uri.host)) {
        return BELAY_DONE;
    }
    d->proxy = malloc(sizeof *d->proxy);
    if (d->proxy == NULL) {
        return report(error, BELAY_INTERNAL, "out of memory");
    }
    return proxy_parse(proxy, d->proxy) == 0
               ? BELAY_DONE
               : report(error, BELAY_USAGE,
                        "bad proxy; expected socks5h://HOST:PORT");
}

/* Through ssh each connection would ask for a password again, so the files
 * come by one unless more are wished for. */
static enum belay_reason set_ssh(struct dirjob *d,
                                 const struct ssh_options *options,
                                 struct belay_error *error)
{
    int err = d->uri.scheme == URI_SSH
                  ? ssh_command_make(&d->uri, options, &d->ssh)
                  : 0;

    return err == ERR_SYNTAX
               ? report(error, BELAY_USAGE, "the ssh command has no words, or "
                                            "too many")
           : err != 0 ? report(error, BELAY_INTERNAL, "out of memory")
                      : BELAY_DONE;
}

/* What both kinds can be asked for in the same words. */
static enum belay_reason set_line(struct dirjob *d,
                                  const struct ssh_options *ssh,
                                  const char *proxy, const char *no_proxy,
                                  struct belay_error *error)
{
    if (ssh->family != 0 && ssh->family != 4 && ssh->family != 6) {
        return report(error, BELAY_USAGE, "the IP versions are 4 and 6");
    }
    enum belay_reason reason = set_proxy(d, proxy, no_proxy, error);

    return reason == BELAY_DONE ? set_ssh(d, ssh, error) : reason;
}

enum belay_reason dirjob_new_list(struct belay_engine *engine,
                                  const struct belay_list_options *options,
                                  struct belay_job **out,
                                  struct belay_error *error)
{
    struct belay_list_options o;
    struct dirjob *d;
    enum belay_reason reason;

    report_take(&o, sizeof o, options);
    reason = make(engine, &list_kind, o.url, &d, error);
    if (reason != BELAY_DONE) {
        return reason;
    }
    reason = set_line(d,
                      &(struct ssh_options){
                          o.ssh, o.remote_belayd, o.family,
                          ssh_connect_seconds(o.connect_timeout_ms)},
                      o.proxy, o.no_proxy, error);
    if (reason != BELAY_DONE) {
        dirjob_free(&d->job);
        return reason;
    }
    d->job.user_data = o.user_data;
    o.url = NULL; /* the caller's, like the next ones */
    o.proxy = NULL;
    o.no_proxy = NULL;
    o.ssh = NULL;
    o.remote_belayd = NULL;
    d->list = o;
    *out = &d->job;
    return BELAY_DONE;
}

enum belay_reason dirjob_new_tree(struct belay_engine *engine,
                                  const struct belay_tree_options *options,
                                  struct belay_job **out,
                                  struct belay_error *error)
{
    struct belay_tree_options o;
    struct dirjob *d;
    enum belay_reason reason;

    report_take(&o, sizeof o, options);
    reason = make(engine, &tree_kind, o.url, &d, error);
    if (reason != BELAY_DONE) {
        return reason;
    }
    reason = set_line(d,
                      &(struct ssh_options){
                          o.ssh, o.remote_belayd, o.family,
                          ssh_connect_seconds(o.connect_timeout_ms)},
                      o.proxy, o.no_proxy, error);
    if (reason == BELAY_DONE &&
        (o.directory == NULL || *o.directory == '\0')) {
        reason = report(error, BELAY_USAGE, "no directory to write to");
    }
    if (reason == BELAY_DONE && o.connections > LINE_MAX) {
        reason = report(error, BELAY_USAGE, "at most %u connections",
                        LINE_MAX);
    }
    if (reason == BELAY_DONE) {
        d->directory = strdup(o.directory);
        if (d->directory == NULL) {
            reason = report(error, BELAY_INTERNAL, "out of memory");
        }
    }
    if (reason != BELAY_DONE) {
        dirjob_free(&d->job);
        return reason;
    }
    d->job.user_data = o.user_data;
    o.url = NULL; /* the caller's, like the next ones */
    o.directory = NULL;
    o.proxy = NULL;
    o.no_proxy = NULL;
    o.ssh = NULL;
    o.remote_belayd = NULL;
    d->options = o;
    *out = &d->job;
    return BELAY_DONE;
}

bool dirjob_is(const struct belay_job *job)
{
    return job->kind == &list_kind || job->kind == &tree_kind;
}

/* ---- what comes of it. */

static void over(struct dirjob *d, enum belay_reason reason, const char *text)
{
    if (!d->over) {
        d->over = true;
        if (d->tree != NULL &&
            belay_reason_class(reason) == BELAY_CLASS_DONE) {
            newdirs_keep(d->made, d->directory); /* it may be empty */
        }
        engine_job_over(&d->job, reason, text);
    }
}

static void on_note(void *arg, const struct belay_event *event)
{
    struct dirjob *d = arg;
    struct belay_event full = *event;

    engine_tell(&d->job, &full);
}

static void on_end(void *arg, enum belay_reason reason, const char *text)
{
    over(arg, reason, text);
}

static void on_file(void *arg, const struct belay_entry *entry,
                    enum belay_reason reason, const char *text)
{
    struct dirjob *d = arg;
    struct belay_event event = {.struct_size = sizeof event,
                                .type = BELAY_EVENT_FILE,
                                .text = text,
                                .detail = belay_reason_class(reason) ==
                                              BELAY_CLASS_DONE &&
                                          reason != BELAY_WOULD_FETCH,
                                .value = entry->size,
                                .reason = reason,
                                .entry = entry};

    engine_tell(&d->job, &event);
}

static void tell_entry(struct dirjob *d, const struct walk_action *a)
{
    const struct msg_entry *e = &a->entry;
    char path[LIMIT_PATH + 1];
    char shown[TEXT_ESCAPE_SIZE(LIMIT_PATH)];
    char target[TEXT_ESCAPE_SIZE(LIMIT_LINK_TARGET)];
    char cid[BELAY_CID_SIZE];
    struct belay_entry entry = {
        .struct_size = sizeof entry,
        .path = path,
        .shown = shown,
        .type = (enum belay_file_type)e->file_type,
        .size = e->size,
        .mtime_s = e->mtime_s,
        .mtime_ns = e->mtime_ns,
        .mode = e->mode & 0777,
    };
    struct belay_event event = {.struct_size = sizeof event,
                                .type = BELAY_EVENT_ENTRY,
                                .text = "",
                                .entry = &entry};
    size_t len = walker_path(d->walker, a->dir, e->name, true, path);

    (void)text_escape(shown, sizeof shown, path, len);
    if (e->link_target.len > 0) {
        (void)text_escape(target, sizeof target, e->link_target.ptr,
                          e->link_target.len);
        entry.target = target;
    }
    if (e->cid.len > 0) {
        cid_encode(cid_recommended_chunk_log2(e->size), e->cid.ptr, cid);
        entry.cid = cid;
    }
    engine_tell(&d->job, &event);
}

/* What of a listing cannot be told as an entry. */
static void tell_trouble(struct dirjob *d, const struct walk_action *a)
{
    char path[LIMIT_PATH + 1];
    char shown[TEXT_ESCAPE_SIZE(LIMIT_PATH) +
               TEXT_ESCAPE_SIZE(LIMIT_COMPONENT)];
    struct belay_entry entry = {.struct_size = sizeof entry,
                                .path = path,
                                .shown = shown,
                                .type = BELAY_TYPE_DIRECTORY};
    struct belay_event event = {.struct_size = sizeof event,
                                .type = BELAY_EVENT_FILE,
                                .reason = BELAY_REFUSED,
                                .text = a->text,
                                .entry = &entry};
    size_t len = walker_path(d->walker, a->dir,
                             (struct bytes_view){NULL, 0}, true, path);

    len = text_escape(shown, sizeof shown, path, len);
    if (a->type == WALK_REFUSED) {
        if (len > 0) {
            shown[len++] = '/';
        }
        (void)text_escape(shown + len, sizeof shown - len, a->entry.name.ptr,
                          a->entry.name.len);
        entry.path = shown; /* the name itself could not be one */
        entry.type = (enum belay_file_type)a->entry.file_type;
        event.reason = BELAY_WRONG_CONTENT;
        event.text = "the server's name for it is not one that a file may "
                     "have";
    }
    engine_tell(&d->job, &event);
}

static void on_walk(void *arg, const struct walk_action *a)
{
    struct dirjob *d = arg;

    if (a->type == WALK_ENTRY) {
        tell_entry(d, a);
    } else if (a->type == WALK_REFUSED ||
               (a->type == WALK_LEAVE && a->text != NULL)) {
        tell_trouble(d, a);
    }
}

/* ---- at work. */

static enum dial_family family_of(unsigned family)
{
    return family == 4 ? DIAL_IPV4 : family == 6 ? DIAL_IPV6 : DIAL_ANY;
}

static uint64_t or_default(uint64_t connect_timeout_ms)
{
    return connect_timeout_ms != 0 ? connect_timeout_ms : TIMER_DIAL_MS;
}

static int begin(struct dirjob *d, const struct job_means *means);

static const struct ssh_command *ssh_of(const struct dirjob *d)
{
    return d->ssh.argc > 0 ? &d->ssh : NULL;
}

static int list_start(struct belay_job *job, const struct job_means *means)
{
    struct dirjob *d = of(job);
    const struct belay_list_options *o = &d->list;
    const struct walker_observer observer = {on_walk, on_note, on_end, d};
    const struct walker_options options = {
        .uri = &d->uri,
        .recursive = o->recursive,
        .with_cid = o->with_cid,
        .tries = o->tries,
        .wait_first = o->wait_first,
        .family = family_of(o->family),
        .connect_timeout_ms = or_default(o->connect_timeout_ms),
        .stall_ms = o->silence_ms,
        .rate = means->rate,
        .proxy = d->proxy,
        .ssh = ssh_of(d),
        .security = means->security,
    };
    int err = begin(d, means);

    return err != 0 ? err
                    : walker_start(d->loop, &options, &observer, &d->walker);
}

static int tree_begin(struct belay_job *job, const struct job_means *means)
{
    struct dirjob *d = of(job);
    const struct belay_tree_options *o = &d->options;
    const struct tree_observer observer = {on_file, on_note, on_end, d};
    const struct tree_options options = {
        .haul = {.uri = &d->uri,
                 .dir = d->directory,
                 .compression = o->compression,
                 .remote_time = !o->no_remote_time,
                 .dry_run = o->dry_run,
                 .max_size = o->max_size,
                 .conns = o->connections == 0 && ssh_of(d) != NULL
                              ? 1
                              : o->connections,
                 .tries = o->tries,
                 .wait_first = o->wait_first,
                 .family = family_of(o->family),
                 .proxy = d->proxy,
                 .ssh = ssh_of(d),
                 .connect_timeout_ms = or_default(o->connect_timeout_ms),
                 .stall_ms = o->silence_ms,
                 .rate = means->rate,
                 .security = means->security},
        .links = o->links,
        .check = o->check,
        .no_clobber = o->no_clobber,
        .max_size = o->max_size,
        .want = o->want,
        .want_arg = o->want_arg,
    };
    int err = begin(d, means);

    if (!o->dry_run) {
        (void)newdirs_make(d->made, d->directory); /* shows later */
    }
    return err != 0 ? err
                    : tree_start(d->loop, &options, &observer, &d->tree);
}

static void on_stop(void *arg)
{
    struct dirjob *d = arg;

    over(d, d->stop_reason,
         d->stop_reason == BELAY_LIMIT
             ? "the time allowed is over"
             : "interrupted");
}

static int begin(struct dirjob *d, const struct job_means *means)
{
    d->loop = means->loop;
    d->made = means->made;
    d->started = loop_now_ms(d->loop);
    return loop_defer_new(d->loop, on_stop, d, &d->stop_defer);
}

static void stop(struct dirjob *d, enum belay_reason reason)
{
    if (d->tree != NULL && reason == BELAY_LIMIT) {
        tree_expire(d->tree);
    } else if (d->tree != NULL) {
        tree_interrupt(d->tree);
    } else if (!d->over) {
        walker_stop(d->walker);
        d->stop_reason = reason;
        loop_defer_arm(d->stop_defer);
    }
}

static void dirjob_interrupt(struct belay_job *job)
{
    stop(of(job), BELAY_INTERRUPTED);
}

static void dirjob_expire(struct belay_job *job)
{
    stop(of(job), BELAY_LIMIT);
}

/* job.h: nothing is changed through these pointers. */
static const struct dirjob *seen(const struct belay_job *job)
{
    return (const struct dirjob *)job;
}

static bool dirjob_stuck(const struct belay_job *job)
{
    return seen(job)->tree != NULL && tree_stuck(seen(job)->tree);
}

static bool dirjob_lingers(const struct belay_job *job)
{
    return walker_lingers(seen(job)->walker) ||
           (seen(job)->tree != NULL && tree_lingers(seen(job)->tree));
}

static void dirjob_stats(const struct belay_job *job,
                         struct belay_job_stats *out)
{
    const struct dirjob *d = seen(job);
    struct tree_stats s;

    out->elapsed_ms = loop_now_ms(d->loop) - d->started;
    if (d->tree == NULL) {
        return;
    }
    tree_stats(d->tree, &s);
    out->have = s.kept + s.bytes;
    out->kept = s.kept;
    out->fresh = s.bytes;
    if (s.listed) {
        out->size = s.size > out->have ? s.size : out->have;
    }
    out->files_found = s.found;
    out->files_have = s.files + s.same;
    out->files_kept = s.same;
    out->files_failed = s.failed;
    out->wire = s.wire;
    out->wasted = s.wasted;
    out->saved = s.saved;
    out->connects = s.connects;
    out->losses = s.losses;
    out->connections = s.conns;
    out->resumable = true;
}

static const struct job_kind list_kind = {
    .start = list_start,
    .interrupt = dirjob_interrupt,
    .expire = dirjob_expire,
    .stuck = dirjob_stuck,
    .lingers = dirjob_lingers,
    .stats = dirjob_stats,
    .free = dirjob_free,
};

static const struct job_kind tree_kind = {
    .start = tree_begin,
    .interrupt = dirjob_interrupt,
    .expire = dirjob_expire,
    .stuck = dirjob_stuck,
    .lingers = dirjob_lingers,
    .stats = dirjob_stats,
    .free = dirjob_free,
};
