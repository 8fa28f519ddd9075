#include "client/cli/run.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "client/cli/outcome.h"
#include "client/cli/output.h"
#include "client/cli/signals.h"

#define FILES_AT_ONCE 4u
#define BAR_MS 200u
#define JSON_MS 1000u
/* In logs one line in so many milliseconds: alive, but no flood. */
#define PLAIN_MS 30000u
/* A path as it is told. */
#define NAME_TEXT 2048u

static uint64_t now_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- state of the files at work. */

static void read_stats(struct run_file *file, struct belay_job_stats *stats)
{
    stats->struct_size = sizeof *stats;
    belay_job_stats(file->job, stats);
    progress_sample(&file->progress, stats);
}

/* Bytes of all files, those at work included. */
static void sum_up(struct run *run, struct belay_job_stats *sum)
{
    struct belay_job_stats stats;

    *sum = (struct belay_job_stats){
        .have = run->totals.have,
        .fresh = run->totals.fresh,
        .wire = run->totals.wire,
        .elapsed_ms = now_ms() - run->began_ms,
    };
    for (struct run_file *file = run->first; file != NULL;
         file = file->next) {
        read_stats(file, &stats);
        sum->have += stats.have;
        sum->fresh += stats.fresh;
        sum->wire += stats.wire;
        sum->connections += stats.connections;
    }
    progress_sample(&run->speed, sum);
}

static size_t failures(const struct events_totals *t)
{
    return t->temporary + t->permanent + t->limit + t->usage;
}

static size_t ended(const struct events_totals *t)
{
    return t->fetched + t->up_to_date + t->skipped + t->would_fetch +
           failures(t);
}

static const char *what(const struct run *run)
{
    return run->directories ? "directories" : "files";
}

static void totals_line(struct run *run, char out[PROGRESS_TEXT])
{
    struct belay_job_stats sum;
    char have[32], rate[32], failed[48] = "";

    sum_up(run, &sum);
    belay_text_bytes(sum.have, have, sizeof have);
    belay_text_bytes(run->speed.rate > 0 ? (uint64_t)run->speed.rate : 0,
                     rate, sizeof rate);
    if (failures(&run->totals) > 0) {
        (void)snprintf(failed, sizeof failed, ", %zu failed",
                       failures(&run->totals));
    }
    (void)snprintf(out, PROGRESS_TEXT, "%zu of %zu %s, %u at work, %s, "
                   "%s/s%s", ended(&run->totals), run->totals.files,
                   what(run), run->at_work, have, rate, failed);
}

static void draw(struct run *run)
{
    char rows[DISPLAY_ROWS][PROGRESS_TEXT];
    unsigned width = display_width();
    unsigned height = display_height();
    bool alone = run->totals.files <= 1;
    unsigned count = 0;

    for (struct run_file *file = run->first;
         file != NULL && count < height - !alone; file = file->next) {
        struct belay_job_stats stats;

        read_stats(file, &stats);
        if (alone) {
            progress_bar(&file->progress, &stats, width, rows[count]);
        } else {
            progress_row(&file->progress, belay_job_name(file->job), &stats,
                         width, rows[count]);
        }
        count++;
    }
    if (!alone) {
        totals_line(run, rows[count]);
        progress_cut(rows[count], width);
        count++;
    }
    if (count > 0) {
        display_draw(&run->display, rows, count);
    }
}

static void say_status(struct run *run, bool each)
{
    struct belay_job_stats stats;
    char line[PROGRESS_TEXT];

    for (struct run_file *file = run->first; file != NULL && each;
         file = file->next) {
        read_stats(file, &stats);
        progress_plain(&file->progress, &stats, line);
        display_say(&run->display, belay_job_name(file->job), line);
    }
    if (run->totals.files > 1) {
        totals_line(run, line);
        display_say(&run->display, NULL, line);
    } else if (run->first == NULL) {
        display_say(&run->display, NULL, "no file is at work yet");
    }
}

static void on_tick(struct run *run)
{
    struct belay_job_stats stats;

    if (run->events.to != NULL) {
        for (struct run_file *file = run->first; file != NULL;
             file = file->next) {
            read_stats(file, &stats);
            events_progress(&run->events, file->job, file->id,
                            &file->progress);
        }
    }
    if (run->bar) {
        draw(run);
    } else if (run->plain && run->first != NULL) {
        say_status(run, run->totals.files <= 1);
    }
}

/* ---- what the engine tells. */

static void on_note(struct run *run, const struct belay_event *event)
{
    const struct run_options *o = run->options;

    if (!o->quiet && (!event->detail || o->verbose > 0) &&
        event->text[0] != '\0') {
        display_say(&run->display,
                    event->job != NULL ? belay_job_name(event->job) : NULL,
                    event->text);
    }
}

/* One file of a directory. */
static void on_file(struct run *run, const struct belay_event *event)
{
    const struct run_options *o = run->options;
    bool failed = belay_reason_class(event->reason) != BELAY_CLASS_DONE;
    const char *text = event->text;

    if (text[0] == '\0') {
        text = belay_reason_name(event->reason);
    }
    unsigned least = !event->detail                       ? 0
                     : event->reason == BELAY_UP_TO_DATE ? 2
                                                         : 1;

    if (failed || (!o->quiet && o->verbose >= least)) {
        display_say(&run->display, event->entry->shown, text);
    }
}

static void count(struct run *run, const struct belay_event *event,
                  const struct belay_job_stats *stats)
{
    struct events_totals *t = &run->totals;

    t->have += stats->have;
    t->fresh += stats->fresh;
    t->wire += stats->wire;
    switch (belay_reason_class(event->reason)) {
    case BELAY_CLASS_DONE:
        t->fetched += event->reason == BELAY_DONE;
        t->up_to_date += event->reason == BELAY_UP_TO_DATE;
        t->skipped += event->reason == BELAY_SKIPPED;
        t->would_fetch += event->reason == BELAY_WOULD_FETCH;
        break;
    case BELAY_CLASS_TEMPORARY:
        t->temporary++;
        break;
    case BELAY_CLASS_PERMANENT:
        t->permanent++;
        break;
    case BELAY_CLASS_LIMIT:
        t->limit++;
        break;
    case BELAY_CLASS_USAGE:
        t->usage++;
        break;
    }
    run->worst = exit_code_worse(exit_code_of(event->reason), run->worst);
}

static void at_work(struct run *run, struct run_file *file)
{
    file->began = true;
    file->next = run->first;
    if (run->first != NULL) {
        run->first->prev = file;
    }
    run->first = file;
    run->at_work++;
}

static void leave_work(struct run *run, struct run_file *file)
{
    if (file->prev != NULL) {
        file->prev->next = file->next;
    } else {
        run->first = file->next;
    }
    if (file->next != NULL) {
        file->next->prev = file->prev;
    }
    run->at_work--;
}

/* A server that is not known, and somebody at the terminal who may accept it.
 * The others wait meanwhile. */
static bool again_after_asking(struct run *run, struct run_file *file,
                               const struct belay_job_stats *stats)
{
    const struct security_options *security = &run->options->security;

    if (file->get.url == NULL || /* a directory */
        !ask_trust_possible(&run->ask, security)) {
        return false;
    }
    display_wipe(&run->display);
    return ask_trust(&run->ask, file->get.url, stats->server_pin, security) &&
           run_get(run, &file->get, file->id);
}

static void on_end(struct run *run, struct run_file *file,
                   const struct belay_event *event)
{
    struct belay_job_stats stats;

    read_stats(file, &stats);
    if (file->began) {
        leave_work(run, file);
    }
    if (event->reason == BELAY_UNKNOWN_HOST &&
        again_after_asking(run, file, &stats)) {
        run_file_free(file);
        return;
    }
    count(run, event, &stats);
    if (belay_reason_class(event->reason) == BELAY_CLASS_DONE) {
        outcome_success(run, file, event, &stats);
    } else if (event->reason != BELAY_NO_READER &&
               (file->began || event->reason == BELAY_INTERNAL)) {
        outcome_failure(run, file, event, &stats);
    } /* else it waited for its turn: the summary counts it */
    if (run->on_end != NULL) {
        run->on_end(run->arg, file->id, event);
    }
    run_file_free(file);
}

static void on_event(void *arg, const struct belay_event *event)
{
    struct run *run = arg;
    struct run_file *file = event->user_data;

    if (file != NULL) {
        file->job = event->job;
    }
    if (event->type != BELAY_EVENT_TICK && event->type != BELAY_EVENT_WAKE) {
        events_job(&run->events, event, file != NULL ? file->id : 0);
    }
    switch (event->type) {
    case BELAY_EVENT_START:
        at_work(run, file);
        break;
    case BELAY_EVENT_END:
        on_end(run, file, event);
        break;
    case BELAY_EVENT_FILE:
        on_file(run, event);
        break;
    case BELAY_EVENT_TICK:
        on_tick(run);
        break;
    case BELAY_EVENT_WAKE:
        say_status(run, true);
        break;
    default:
        on_note(run, event);
        break;
    }
}

/* ---- life. */

static void choose_outputs(struct run *run)
{
    const struct run_options *o = run->options;
    enum progress_mode mode = o->progress;
    bool json = o->json || mode == PROGRESS_JSON;

    if (json) {
        FILE *to = o->output_is_data || mode == PROGRESS_JSON ? stderr
                                                              : stdout;

        events_open(&run->events, to);
        run->display.silent = to == stderr;
    }
    if (mode == PROGRESS_AUTO) {
        mode = json                    ? PROGRESS_NONE
               : display_is_terminal() ? PROGRESS_BAR
                                       : PROGRESS_PLAIN;
    }
    run->bar = mode == PROGRESS_BAR && !o->quiet && !run->display.silent;
    run->plain = mode == PROGRESS_PLAIN && !o->quiet && !run->display.silent;
}

static uint64_t tick_of(const struct run *run)
{
    return run->bar                 ? BAR_MS
           : run->events.to != NULL ? JSON_MS
           : run->plain             ? PLAIN_MS
                                    : 0;
}

static void tell_jail(void *arg, bool detail, const char *text)
{
    struct run *run = arg;

    if (!detail || (run->options->verbose > 0 && !run->options->quiet)) {
        display_say(&run->display, NULL, text);
    }
}

static bool open_log(struct run *run)
{
    const char *path = run->options->log_file;
    char shown[NAME_TEXT];
    int error;

    if (path == NULL || display_log(&run->display, path)) {
        return true;
    }
    error = errno;
    (void)belay_text_escape(shown, sizeof shown, path);
    fprintf(stderr, "belay: cannot open the log file %s: %s\n", shown,
            strerror(error));
    return false;
}

int run_open(struct run *run, const struct run_options *options, size_t files)
{
    struct belay_engine_options engine = options->engine;
    struct belay_error error;
    int result;

    *run = (struct run){.options = options, .worst = EXIT_DONE};
    run->totals.files = files;
    run->began_ms = now_ms();
    choose_outputs(run);
    if (!open_log(run)) {
        return EXIT_DISK;
    }
    result = jail_enter(options->jail, &options->security, tell_jail, run);
    if (result >= 0) {
        display_close(&run->display);
        return result;
    }
    engine.event = on_event;
    engine.arg = run;
    engine.security = &options->security.options;
    engine.tick_ms = tick_of(run);
    if (engine.files == 0) {
        engine.files = FILES_AT_ONCE;
    }
    if (engine.files > files && files > 0) {
        engine.files = (unsigned)files; /* each may take more memory then */
    }
    if (belay_engine_new(&engine, &run->engine, &error) != BELAY_DONE) {
        display_say(&run->display, NULL, error.text);
        display_close(&run->display);
        return (int)exit_code_of(error.reason);
    }
    signals_catch(run->engine);
    events_begin(&run->events, files);
    return -1;
}

static struct run_file *new_file(size_t id)
{
    struct run_file *file = calloc(1, sizeof *file);

    if (file != NULL) {
        file->id = id;
    }
    return file;
}

/* True when the engine took it; else tells why not. */
static bool was_taken(struct run *run, struct run_file *file,
                      enum belay_reason reason,
                      const struct belay_error *error)
{
    if (reason == BELAY_DONE) {
        return true;
    }
    run_file_free(file);
    display_say(&run->display, NULL, error->text);
    run->worst = exit_code_worse(exit_code_of(reason), run->worst);
    run->totals.usage++;
    return false;
}

bool run_get(struct run *run, const struct belay_get_options *get, size_t id)
{
    struct belay_get_options mine = *get;
    struct belay_error error = {BELAY_INTERNAL, "out of memory"};
    enum belay_reason reason = BELAY_INTERNAL;

    struct run_file *file = new_file(id);

    mine.user_data = file;
    if (file != NULL && run_file_keep(file, get)) {
        reason = belay_get(run->engine, &mine, NULL, &error);
    }
    return was_taken(run, mine.user_data, reason, &error);
}

bool run_tree(struct run *run, const struct belay_tree_options *tree,
              size_t id)
{
    struct belay_tree_options mine = *tree;
    struct belay_error error = {BELAY_INTERNAL, "out of memory"};
    enum belay_reason reason = BELAY_INTERNAL;

    mine.user_data = new_file(id);
    run->directories = true;
    if (mine.user_data != NULL) {
        reason = belay_tree(run->engine, &mine, NULL, &error);
    }
    return was_taken(run, mine.user_data, reason, &error);
}

bool run_interrupted(void)
{
    return signals_seen() != 0;
}

static int end(struct run *run, int code)
{
    signals_release();
    display_close(&run->display);
    if (!belay_engine_free(run->engine)) {
        _exit(code); /* something hangs; all is on disk */
    }
    return code;
}

int run_abandon(struct run *run)
{
    return end(run, (int)run->worst);
}

/* For several files one line of what became of them. */
static void tell_summary(struct run *run)
{
    const struct events_totals *t = &run->totals;
    size_t left = t->files - (ended(t) < t->files ? ended(t) : t->files);
    char bytes[32];
    char line[PROGRESS_TEXT];
    int len;

    if (t->files <= 1 || run->options->quiet) {
        return;
    }
    belay_text_bytes(t->fresh, bytes, sizeof bytes);
    len = snprintf(line, sizeof line, "%zu of %zu %s fetched (%s in "
                   "%.1f s)", t->fetched, t->files, what(run), bytes,
                   (double)(now_ms() - run->began_ms) / 1000);
    struct {
        size_t count;
        const char *what;
    } parts[] = {
        {t->up_to_date, "already there"},
        {t->skipped, "skipped"},
        {t->would_fetch, "would be fetched"},
        {t->temporary, "failed for now (run again)"},
        {t->permanent + t->usage, "failed for good"},
        {t->limit, "stopped by a limit"},
        {left, "not begun"},
    };

    for (size_t k = 0; k < sizeof parts / sizeof parts[0]; k++) {
        if (parts[k].count > 0 && len > 0 && (size_t)len < sizeof line) {
            len += snprintf(line + len, sizeof line - (size_t)len,
                            ", %zu %s", parts[k].count, parts[k].what);
        }
    }
    display_say(&run->display, NULL, line);
}

int run_close(struct run *run)
{
    int code;

    belay_run(run->engine);
    tell_summary(run);
    if (run->options->error_on_nothing && run->worst == EXIT_DONE &&
        run->totals.fetched == 0) {
        run->worst = EXIT_NOTHING;
    }
    code = signals_seen() != 0 ? EXIT_SIGNAL + signals_seen()
                               : (int)run->worst;
    events_end(&run->events, &run->totals, code);
    if (run->events.failed != 0) {
        int result = output_failed(run->events.failed);

        code = code == EXIT_DONE ? result : code;
    }
    return end(run, code);
}
