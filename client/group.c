#include "client/group.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "client/engine.h"
#include "client/getjob.h"
#include "client/haul.h"
#include "proto/data/relpath.h"
#include "proto/io/clock.h"

struct group {
    struct belay_engine *engine;
    struct haul *haul;
    struct get_job like; /* what all have in common; its texts are ours */
    struct uri uri;
    unsigned count;
    bool closed;
    bool over;
};

/* ---- who suits. */

/* The part of a URL that names the server. */
static size_t server_len(const char *url)
{
    const char *scheme = strstr(url, "://");

    return scheme != NULL ? (size_t)(scheme - url) + 3 +
                                strcspn(scheme + 3, "/")
                          : strcspn(url, ":");
}

/* Something is there to be resumed: that is for fetch.h. */
static bool is_partial(const struct get_job *get)
{
    char path[4096];
    struct stat st;
    int len = snprintf(path, sizeof path, "%s/%s.part", get->dir, get->name);

    return len < 0 || (size_t)len >= sizeof path || lstat(path, &st) == 0;
}

static bool suits(const struct get_job *get)
{
    const struct belay_get_options *o = &get->asked;

    return !o->to_fd && !o->dry_run && o->kind == BELAY_KIND_GET &&
           o->mirror_count == 0 && o->seed_count == 0 &&
           get->receipt == NULL &&
           o->make_directories && o->max_size == 0 && o->chunk_size == 0 &&
           o->speed_limit == 0 && !o->stop_on_change && o->connections == 0 &&
           relpath_check(get->name, strlen(get->name)) == 0 && !is_partial(get);
}

bool group_suits(struct belay_job *job)
{
    struct get_job *get = get_job_of(job);

    if (get == NULL) {
        return false;
    }
    if (!get->looked) {
        get->looked = true;
        get->solo = !suits(get);
    }
    return !get->solo;
}

void group_exclude(struct belay_job *job)
{
    struct get_job *get = get_job_of(job);

    get->looked = true;
    get->solo = true;
}

static bool same_options(const struct belay_get_options *a,
                         const struct belay_get_options *b)
{
    return a->compression == b->compression &&
           a->no_remote_time == b->no_remote_time && a->tries == b->tries &&
           a->wait_first == b->wait_first && a->family == b->family &&
           a->connect_timeout_ms == b->connect_timeout_ms &&
           a->silence_ms == b->silence_ms;
}

static bool same_proxy(const struct proxy *a, const struct proxy *b)
{
    return a == b ||
           (a != NULL && b != NULL && strcmp(a->host, b->host) == 0 &&
            a->port == b->port && strcmp(a->user, b->user) == 0 &&
            strcmp(a->password, b->password) == 0);
}

bool group_same(struct belay_job *a, struct belay_job *b)
{
    const struct get_job *x = get_job_of(a);
    const struct get_job *y = get_job_of(b);
    size_t len = server_len(a->url);

    return x != NULL && y != NULL && server_len(b->url) == len &&
           memcmp(a->url, b->url, len) == 0 && strcmp(x->dir, y->dir) == 0 &&
           same_proxy(x->proxy, y->proxy) &&
           same_options(&x->asked, &y->asked);
}

bool group_takes(const struct group *group, struct belay_job *job)
{
    return !group->closed && !group->over &&
           group_same((struct belay_job *)&group->like.job, job) &&
           group_suits(job);
}

/* ---- jobs in it. */

static void on_done(void *arg, const struct haul_result *result)
{
    struct group *group = arg;
    struct get_job *get = result->user;

    get->job.group = NULL;
    group->count--;
    if (result->handed) {
        group_exclude(&get->job);
        engine_job_alone(&get->job);
        return;
    }
    get->hauled = *result;
    get->hauled.text = NULL;
    engine_job_over(&get->job, result->reason, result->text);
}

static void on_room(void *arg)
{
    struct group *group = arg;

    engine_turn(group->engine);
}

static void on_note(void *arg, const struct belay_event *event)
{
    struct group *group = arg;

    engine_tell_all(group->engine, event);
}

static void on_end(void *arg, enum belay_reason reason, const char *text)
{
    struct group *group = arg;

    group->over = true;
    engine_group_over(group->engine, group,
                      reason == BELAY_DONE ? BELAY_INTERNAL : reason, text);
}

/* ---- life. */

static enum dial_family family_of(unsigned family)
{
    return family == 4 ? DIAL_IPV4 : family == 6 ? DIAL_IPV6 : DIAL_ANY;
}

static int start_haul(struct group *group, const struct job_means *means)
{
    const struct belay_get_options *o = &group->like.asked;
    struct haul_observer observer = {on_done, on_room, on_note, on_end,
                                     group};
    struct haul_options options = {
        .uri = &group->uri,
        .dir = group->like.dir,
        .compression = o->compression,
        .remote_time = !o->no_remote_time,
        .tries = o->tries,
        .wait_first = o->wait_first,
        .family = family_of(o->family),
        .connect_timeout_ms = o->connect_timeout_ms != 0
                                  ? o->connect_timeout_ms
                                  : TIMER_DIAL_MS,
        .stall_ms = o->silence_ms,
        .rate = means->rate,
        .security = means->security,
        .proxy = group->like.proxy,
    };

    return haul_start(means->loop, &options, &observer, &group->haul);
}

int group_start(struct belay_job *like, const struct job_means *means,
                struct group **out)
{
    const struct get_job *model = get_job_of(like);
    struct group *group = calloc(1, sizeof *group);
    struct uri_error where;

    if (group == NULL) {
        return ERR_NOMEM;
    }
    group->engine = like->engine;
    group->like.job.kind = like->kind;
    group->like.asked = model->asked;
    group->like.dir = strdup(model->dir);
    group->like.job.url = strdup(like->url);
    if (model->proxy != NULL) {
        group->like.proxy = malloc(sizeof *model->proxy);
        if (group->like.proxy == NULL) {
            group_free(group);
            return ERR_NOMEM;
        }
        *group->like.proxy = *model->proxy;
    }
    if (group->like.dir == NULL || group->like.job.url == NULL ||
        uri_parse(like->url, &group->uri, &where) != 0) {
        group_free(group);
        return ERR_NOMEM;
    }
    (void)newdirs_make(means->made, group->like.dir); /* shows later */
    if (start_haul(group, means) != 0) {
        group_free(group);
        return ERR_NOMEM;
    }
    *out = group;
    return 0;
}

bool group_has_room(const struct group *group)
{
    return !group->closed && !group->over && haul_room(group->haul);
}

int group_add(struct group *group, struct belay_job *job)
{
    struct get_job *get = get_job_of(job);
    struct haul_file file = {
        .name = get->name,
        .exists = get->asked.overwrite    ? HAUL_REPLACE
                  : get->asked.no_clobber ? HAUL_KEEP
                                          : HAUL_REFUSE,
        .have_sha256 = get->have_sha256,
        .user = get,
    };
    struct uri *uri = malloc(sizeof *uri);
    struct uri_error where;
    int err = ERR_NOMEM;

    if (uri != NULL && uri_parse(job->url, uri, &where) == 0) {
        file.path = (const uint8_t *)uri->path;
        file.path_len = uri->path_len;
        file.pinned = uri->pinned;
        file.pin_log2 = uri->chunk_log2;
        memcpy(file.pin_cid, uri->cid, HASH_LEN);
        memcpy(file.sha256, get->sha256, HASH_LEN);
        err = haul_add(group->haul, &file);
    }
    free(uri);
    if (err == 0) {
        get->began_ms = clock_mono_ms();
        job->group = group;
        group->count++;
    }
    return err;
}

void group_forget(struct group *group, struct belay_job *job)
{
    struct get_job *get = get_job_of(job);

    get->pin_shown = haul_pin(group->haul, get->pin);
    job->group = NULL;
    group->count--;
}

void group_close(struct group *group)
{
    if (!group->closed && !group->over) {
        group->closed = true;
        haul_end_of_input(group->haul);
    }
}

unsigned group_count(const struct group *group)
{
    return group->count;
}

void group_interrupt(struct group *group)
{
    group->closed = true;
    haul_interrupt(group->haul);
}

void group_expire(struct group *group)
{
    group->closed = true;
    haul_expire(group->haul);
}

bool group_over(const struct group *group)
{
    return group->over;
}

bool group_stuck(const struct group *group)
{
    return haul_stuck(group->haul);
}

bool group_lingers(const struct group *group)
{
    return haul_lingers(group->haul);
}

void group_free(struct group *group)
{
    if (group == NULL) {
        return;
    }
    haul_free(group->haul);
    free(group->like.dir);
    free(group->like.proxy);
    free(group->like.job.url);
    free(group);
}
