#include "client/cli/outcome.h"

#include <stdio.h>
#include <string.h>

#include "client/cli/run_file.h"

/* A run of more files tells the good ones by -v only. */
#define FILES_TOLD 20u
/* So many bad ones are told in any case. */
#define FAILURES_TOLD 50u
/* A path as it is told. */
#define NAME_TEXT 2048u

/* What each server brought, where there are several. */
static void tell_sources(struct run *run, const struct belay_event *event)
{
    struct belay_source_stats s = {.struct_size = sizeof s};
    char fresh[32], wire[32];
    char line[512];

    if (!belay_job_source_stats(event->job, 1, &s)) {
        return;
    }
    for (unsigned k = 0; belay_job_source_stats(event->job, k, &s); k++) {
        belay_text_bytes(s.fresh, fresh, sizeof fresh);
        belay_text_bytes(s.wire, wire, sizeof wire);
        (void)snprintf(line, sizeof line,
                       "%s: verified %s, on the wire %s, breaks %u, bad "
                       "chunks %u%s", s.name, fresh, wire, s.losses,
                       s.bad_chunks, s.aside ? ", set aside" : "");
        display_say(&run->display, belay_job_name(event->job), line);
    }
}

/* Of several files the path, below the directory of the run. */
static const char *name_of(const struct run *run, const struct run_file *file,
                           char out[NAME_TEXT])
{
    const struct belay_get_options *get = &file->get;
    bool inside = get->directory == NULL || get->directory == run->directory;
    const char *name = belay_job_name(file->job);
    char dir[NAME_TEXT / 2] = "", below[NAME_TEXT / 2];

    if (run->totals.files <= 1 || get->url == NULL || get->to_fd) {
        return name;
    }
    if (!inside) {
        (void)belay_text_escape(dir, sizeof dir, get->directory);
    }
    if (get->output != NULL) {
        (void)belay_text_escape(below, sizeof below,
                                get->output + run->hidden);
        name = below;
    }
    (void)snprintf(out, NAME_TEXT, "%s%s%s", dir, inside ? "" : "/", name);
    return out;
}

void outcome_success(struct run *run, const struct run_file *file,
                     const struct belay_event *event,
                     const struct belay_job_stats *stats)
{
    char name[NAME_TEXT];
    const char *shown = name_of(run, file, name);
    char size[32], rate[40] = "", breaks[32] = "", line[PROGRESS_TEXT];

    if (run->options->quiet ||
        (run->totals.files > FILES_TOLD && run->options->verbose == 0 &&
         event->reason != BELAY_WOULD_FETCH)) {
        return;
    }
    if (event->reason != BELAY_DONE || belay_job_is_directory(event->job)) {
        display_say(&run->display, shown, event->text);
        return;
    }
    belay_text_bytes(stats->size, size, sizeof size);
    if (stats->fresh > 0) { /* else nothing was transferred */
        size_t len;

        rate[0] = ' ';
        rate[1] = '(';
        belay_text_bytes(stats->elapsed_ms == 0
                             ? stats->fresh
                             : stats->fresh * 1000 / stats->elapsed_ms,
                         rate + 2, sizeof rate - 2);
        len = strlen(rate);
        (void)snprintf(rate + len, sizeof rate - len, "/s)");
    }
    if (stats->losses > 0) {
        (void)snprintf(breaks, sizeof breaks, ", %u break%s", stats->losses,
                       stats->losses == 1 ? "" : "s");
    }
    (void)snprintf(line, sizeof line, "%s verified in %.1f s%s%s%s%s",
                   size, (double)stats->elapsed_ms / 1000, rate, breaks,
                   stats->cid[0] != '\0' ? ", " : "", stats->cid);
    display_say(&run->display, shown, line);
    if (run->options->verbose > 0 || stats->losses > 0) {
        progress_ledger(stats, line);
        display_say(&run->display, shown, line);
        tell_sources(run, event);
    }
}

/* May a rerun heal it? */
static bool goes_on(enum belay_reason reason)
{
    return reason == BELAY_INTERRUPTED || reason == BELAY_LIMIT ||
           reason == BELAY_UNREACHABLE || reason == BELAY_SERVER ||
           reason == BELAY_NOT_BELAY || reason == BELAY_ACCESS;
}

/* Of thousands of files that fail alike the first ones say enough. */
static bool worth_telling(struct run *run, const struct belay_event *event,
                          const struct belay_job_stats *stats)
{
    bool ordered = event->reason == BELAY_INTERRUPTED ||
                   event->reason == BELAY_LIMIT;

    if (run->options->verbose > 0 || run->totals.files <= FILES_TOLD) {
        return true;
    }
    if (ordered && stats->have == 0) {
        return false; /* the summary counts it */
    }
    run->failures_told++;
    if (run->failures_told == FAILURES_TOLD + 1) {
        display_say(&run->display, NULL, "more failures are only counted; "
                                         "-v shows them, --failed lists "
                                         "them");
    }
    return run->failures_told <= FAILURES_TOLD;
}

void outcome_scheme_hint(const char *url, char *out, size_t cap)
{
    const char *path = url + strcspn(url, ":");
    size_t digits = *path == ':' ? strspn(path + 1, "0123456789") : 0;
    char shown[NAME_TEXT / 2];

    *out = '\0';
    if (digits > 0 && path[1 + digits] == '/') {
        (void)belay_text_escape(shown, sizeof shown, url);
        (void)snprintf(out, cap, "; HOST:PATH is by ssh, with a port it is "
                                 "belay://%s", shown);
    }
}

/* Behind a failure that a rerun may heal: what is there already. */
void outcome_failure(struct run *run, const struct run_file *file,
                     const struct belay_event *event,
                     const struct belay_job_stats *stats)
{
    char name[NAME_TEXT];
    char have[32], size[32];
    char kept[128] = "", hint[NAME_TEXT] = "";
    char line[2048 + NAME_TEXT];

    if (!worth_telling(run, event, stats)) {
        return;
    }
    if (belay_job_is_directory(event->job)) {
        /* The text says what is in place. */
    } else if (goes_on(event->reason) && stats->resumable &&
               stats->have > 0) {
        belay_text_bytes(stats->have, have, sizeof have);
        belay_text_bytes(stats->size, size, sizeof size);
        (void)snprintf(kept, sizeof kept, "; %s of %s are kept, the same "
                       "command goes on from there", have, size);
    } else if (goes_on(event->reason) && stats->resumable) {
        (void)snprintf(kept, sizeof kept, "; the partial file is kept, the "
                       "same command goes on from there");
    }
    if (file->get.url != NULL && (event->reason == BELAY_UNREACHABLE ||
                                  event->reason == BELAY_NOT_BELAY)) {
        outcome_scheme_hint(file->get.url, hint, sizeof hint);
    }
    (void)snprintf(line, sizeof line, "%s%s%s", event->text, kept, hint);
    display_say(&run->display, name_of(run, file, name), line);
}
