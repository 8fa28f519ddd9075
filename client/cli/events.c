#include "client/cli/events.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>
#include <time.h>

#include "client/cli/exitcode.h"

static uint64_t now_ms(clockid_t clock)
{
    struct timespec now;

    if (clock_gettime(clock, &now) != 0) {
        return 0;
    }
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void events_open(struct events *events, FILE *to)
{
    *events = (struct events){.to = to, .began_ms = now_ms(CLOCK_MONOTONIC)};
    (void)setvbuf(to, NULL, _IOLBF, 0);
}

/* ---- one object. */

static json_t *object(struct events *events, const char *name)
{
    return json_pack(
        "{s:i, s:s, s:I, s:I}", "v", EVENTS_SCHEMA, "event", name, "time_ms",
        (json_int_t)now_ms(CLOCK_REALTIME), "elapsed_ms",
        (json_int_t)(now_ms(CLOCK_MONOTONIC) - events->began_ms));
}

/* A server may name sizes that no file has. */
static void put_int(json_t *to, const char *name, uint64_t value)
{
    (void)json_object_set_new(to, name,
                              value <= INT64_MAX
                                  ? json_integer((json_int_t)value)
                                  : json_real((double)value));
}

/* Text that the library made printable is UTF-8; other text is not put. */
static void put_text(json_t *to, const char *name, const char *text)
{
    json_t *value = json_string(text);

    if (value != NULL) {
        (void)json_object_set_new(to, name, value);
    }
}

static void print(struct events *events, json_t *line)
{
    errno = 0;
    if (line == NULL || json_dumpf(line, events->to, JSON_COMPACT) != 0 ||
        putc('\n', events->to) == EOF || fflush(events->to) != 0) {
        events->failed = events->failed != 0 ? events->failed
                         : errno != 0        ? errno
                                             : EIO;
    }
    json_decref(line);
}

/* ---- parts. */

static void put_stats(json_t *to, const struct belay_job_stats *s)
{
    put_int(to, "size", s->size);
    put_int(to, "have", s->have);
    put_int(to, "kept", s->kept);
    put_int(to, "fresh", s->fresh);
    put_int(to, "reused", s->reused);
    put_int(to, "wire", s->wire);
    put_int(to, "repeated", s->repeated);
    put_int(to, "wasted", s->wasted);
    put_int(to, "saved", s->saved);
    put_int(to, "connects", s->connects);
    put_int(to, "resets", s->losses);
    put_int(to, "damaged_chunks", s->bad_chunks);
    put_int(to, "changes", s->changes);
    put_int(to, "job_ms", s->elapsed_ms);
    if (s->cid[0] != '\0') {
        put_text(to, "cid", s->cid);
    }
}

/* Of a directory, which is more than bytes. */
static void put_files(json_t *to, const struct belay_job *job,
                      const struct belay_job_stats *s)
{
    if (job != NULL && belay_job_is_directory(job)) {
        put_int(to, "files_found", s->files_found);
        put_int(to, "files_have", s->files_have);
        put_int(to, "files_kept", s->files_kept);
        put_int(to, "files_failed", s->files_failed);
    }
}

static json_t *of_job(struct events *events, const char *name,
                      const struct belay_job *job, size_t id)
{
    json_t *line = object(events, name);

    if (job != NULL) {
        put_int(line, "id", id);
        put_text(line, "file", belay_job_name(job));
    }
    return line;
}

/* "end" is told as what it is. */
static void put_end(json_t *line, const struct belay_event *event)
{
    put_text(line, "reason", belay_reason_name(event->reason));
    put_text(line, "class",
             belay_class_name(belay_reason_class(event->reason)));
    put_int(line, "exit_code", (uint64_t)exit_code_of(event->reason));
}

static void put_value(json_t *line, const struct belay_event *event)
{
    switch (event->type) {
    case BELAY_EVENT_STALL:
        put_int(line, "retry_ms", event->value);
        break;
    case BELAY_EVENT_REUSED:
        put_int(line, "bytes", event->value);
        break;
    case BELAY_EVENT_DAMAGED:
        put_int(line, "chunk", event->value);
        break;
    case BELAY_EVENT_WRONG:
        put_int(line, "offset", event->value);
        break;
    case BELAY_EVENT_RESET:
    case BELAY_EVENT_SECURE:
        put_int(line, "connection", event->value);
        break;
    default:
        break;
    }
}

/* ---- lines. */

void events_begin(struct events *events, size_t files)
{
    json_t *line;

    if (events->to == NULL) {
        return;
    }
    line = object(events, "begin");
    put_text(line, "program", "belay");
    put_text(line, "version", belay_version());
    put_int(line, "protocol", belay_protocol_version());
    put_int(line, "files", files);
    print(events, line);
}

void events_job(struct events *events, const struct belay_event *event,
                size_t id)
{
    struct belay_job_stats stats = {.struct_size = sizeof stats};
    bool end = event->type == BELAY_EVENT_END;
    const char *name = belay_event_name(event->type);
    json_t *line;

    if (events->to == NULL) {
        return;
    }
    if (end) {
        bool done = belay_reason_class(event->reason) == BELAY_CLASS_DONE;

        name = done ? "done" : "failed";
    }
    line = of_job(events, name, event->job, id);
    if (event->type == BELAY_EVENT_START) {
        put_text(line, "url", belay_job_url(event->job));
    }
    if (end || event->type == BELAY_EVENT_FILE) {
        put_end(line, event);
    }
    if (event->entry != NULL) {
        put_text(line, "path", event->entry->shown);
        put_int(line, "size", event->entry->size);
    }
    put_value(line, event);
    if (event->text[0] != '\0') {
        put_text(line, "text", event->text);
    }
    if (end || event->type == BELAY_EVENT_VERIFY) {
        belay_job_stats(event->job, &stats);
        put_stats(line, &stats);
        put_files(line, event->job, &stats);
    }
    print(events, line);
}

void events_progress(struct events *events, const struct belay_job *job,
                     size_t id, const struct progress *progress)
{
    struct belay_job_stats stats = {.struct_size = sizeof stats};
    uint64_t left;
    json_t *line;

    if (events->to == NULL) {
        return;
    }
    belay_job_stats(job, &stats);
    line = of_job(events, "progress", job, id);
    put_stats(line, &stats);
    put_files(line, job, &stats);
    put_int(line, "connections", stats.connections);
    put_int(line, "rate", progress->rate > 0 ? (uint64_t)progress->rate : 0);
    if (progress_left_ms(progress, &stats, &left)) {
        put_int(line, "eta_ms", left);
    }
    print(events, line);
}

void events_end(struct events *events, const struct events_totals *t,
                int exit_code)
{
    json_t *line;

    if (events->to == NULL) {
        return;
    }
    line = object(events, "summary");
    put_int(line, "files", t->files);
    put_int(line, "fetched", t->fetched);
    put_int(line, "up_to_date", t->up_to_date);
    put_int(line, "skipped", t->skipped);
    put_int(line, "would_fetch", t->would_fetch);
    put_int(line, "failed_temporary", t->temporary);
    put_int(line, "failed_permanent", t->permanent);
    put_int(line, "failed_limit", t->limit);
    put_int(line, "failed_usage", t->usage);
    put_int(line, "fresh", t->fresh);
    put_int(line, "wire", t->wire);
    put_int(line, "exit_code", (uint64_t)exit_code);
    print(events, line);
}
