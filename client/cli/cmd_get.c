/* belay get: downloads. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "client/belay.h"
#include "client/cli/commands.h"
#include "client/cli/exitcode.h"
#include "client/cli/get_options.h"
#include "client/cli/progress.h"

#define BAR_MS 200u
/* In logs one line in so many milliseconds: alive, but no flood. */
#define PLAIN_MS 30000u

struct app {
    const struct get_options *options;
    struct belay_job *job; /* at work */
    struct progress progress;
    bool bar;
    bool plain;
    bool drawn; /* the cursor stands behind a bar */
    enum exit_code worst;
};

/* ---- signals. */

static struct belay_engine *signal_engine;
static volatile sig_atomic_t signal_seen;

static void on_signal(int signum)
{
    if (signal_seen != 0) {
        _exit(EXIT_SIGNAL + signum); /* asked twice: what is kept is kept */
    }
    signal_seen = signum;
    belay_interrupt(signal_engine);
}

static void on_status_signal(int signum)
{
    (void)signum;
    belay_wake(signal_engine);
}

/* nohup and shells start programs with some signals ignored, and mean it. */
static bool is_ignored(int signum)
{
    struct sigaction action;

    return sigaction(signum, NULL, &action) == 0 &&
           (action.sa_flags & SA_SIGINFO) == 0 &&
           action.sa_handler == SIG_IGN;
}

static void catch_signals(struct belay_engine *engine)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGUSR1};
    struct sigaction ignore = {.sa_handler = SIG_IGN};

    signal_engine = engine;
    (void)sigaction(SIGPIPE, &ignore, NULL);
    (void)sigaction(SIGXFSZ, &ignore, NULL);
    for (unsigned k = 0; k < 4; k++) {
        struct sigaction action = {.sa_flags = SA_RESTART};

        action.sa_handler =
            signals[k] == SIGUSR1 ? on_status_signal : on_signal;
        if (!is_ignored(signals[k])) {
            (void)sigaction(signals[k], &action, NULL);
        }
    }
}

static void let_signals_go(void)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGUSR1};
    struct sigaction usual = {.sa_handler = SIG_DFL};
    struct sigaction ignore = {.sa_handler = SIG_IGN};

    for (unsigned k = 0; k < 4; k++) {
        if (!is_ignored(signals[k])) {
            (void)sigaction(signals[k],
                            signals[k] == SIGUSR1 ? &ignore : &usual, NULL);
        }
    }
}

/* ---- terminal. */

static unsigned columns(void)
{
    struct winsize size;
    const char *text = getenv("COLUMNS");
    unsigned long given = text != NULL ? strtoul(text, NULL, 10) : 0;

    if (given > 20 && given < 10000) {
        return (unsigned)given;
    }
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20) {
        return size.ws_col;
    }
    return 80;
}

static void wipe(struct app *app)
{
    if (app->drawn) {
        fputs("\r\033[K", stderr);
        app->drawn = false;
    }
}

static void read_stats(struct app *app, struct belay_job *job,
                       struct belay_job_stats *stats)
{
    stats->struct_size = sizeof *stats;
    belay_job_stats(job, stats);
    progress_sample(&app->progress, stats);
}

static void print_status(struct app *app)
{
    struct belay_job_stats stats;
    char line[PROGRESS_TEXT];

    wipe(app);
    read_stats(app, app->job, &stats);
    progress_plain(&app->progress, &stats, line);
    fprintf(stderr, "belay: %s: %s\n", belay_job_name(app->job), line);
}

static void on_tick(struct app *app)
{
    struct belay_job_stats stats;
    char line[PROGRESS_TEXT];

    if (app->bar) {
        read_stats(app, app->job, &stats);
        progress_bar(&app->progress, &stats, columns() - 1, line);
        fprintf(stderr, "\r\033[K%s", line);
        app->drawn = true;
    } else {
        print_status(app);
    }
}

static void on_note(struct app *app, const struct belay_event *event)
{
    if (app->options->quiet ||
        (event->detail && app->options->verbose == 0) ||
        event->text[0] == '\0') {
        return;
    }
    wipe(app);
    fprintf(stderr, "belay: %s: %s\n", belay_job_name(event->job),
            event->text);
}

/* ---- the end of one file. */

static void tell_success(struct app *app, const struct belay_event *event)
{
    const char *shown = belay_job_name(event->job);
    struct belay_job_stats stats;
    char size[32], rate[32], line[PROGRESS_TEXT];

    read_stats(app, event->job, &stats);
    if (event->reason != BELAY_DONE) {
        fprintf(stderr, "belay: %s: %s\n", shown, event->text);
        return;
    }
    belay_text_bytes(stats.size, size, sizeof size);
    belay_text_bytes(stats.elapsed_ms == 0
                         ? stats.fresh
                         : stats.fresh * 1000 / stats.elapsed_ms,
                     rate, sizeof rate);
    if (stats.losses > 0) {
        (void)snprintf(line, sizeof line, ", %u break%s", stats.losses,
                       stats.losses == 1 ? "" : "s");
    } else {
        line[0] = '\0';
    }
    fprintf(stderr, "belay: %s: %s verified in %.1f s (%s/s)%s%s%s\n", shown,
            size, (double)stats.elapsed_ms / 1000, rate, line,
            stats.cid[0] != '\0' ? ", " : "", stats.cid);
    if (app->options->verbose > 0 || stats.losses > 0) {
        progress_ledger(&stats, line);
        fprintf(stderr, "belay: %s: %s\n", shown, line);
    }
}

/* May a rerun heal it? */
static bool goes_on(enum belay_reason reason)
{
    return reason == BELAY_INTERRUPTED || reason == BELAY_LIMIT ||
           reason == BELAY_UNREACHABLE || reason == BELAY_SERVER ||
           reason == BELAY_NOT_BELAY || reason == BELAY_ACCESS;
}

/* Behind a failure that a rerun may heal: what is there already. */
static void tell_failure(struct app *app, const struct belay_event *event)
{
    struct belay_job_stats stats;
    char have[32], size[32];
    char kept[128] = "";

    read_stats(app, event->job, &stats);
    if (goes_on(event->reason) && stats.resumable && stats.have > 0) {
        belay_text_bytes(stats.have, have, sizeof have);
        belay_text_bytes(stats.size, size, sizeof size);
        (void)snprintf(kept, sizeof kept, "; %s of %s are kept, the same "
                       "command goes on from there", have, size);
    } else if (goes_on(event->reason) && stats.resumable) {
        (void)snprintf(kept, sizeof kept, "; the partial file is kept, the "
                       "same command goes on from there");
    }
    fprintf(stderr, "belay: %s: %s%s\n", belay_job_name(event->job),
            event->text, kept);
}

static void on_end(struct app *app, const struct belay_event *event)
{
    enum exit_code code = exit_code_of(event->reason);
    bool began = app->job == event->job;

    wipe(app);
    app->worst = exit_code_worse(code, app->worst);
    if (code != EXIT_DONE && (began || code != EXIT_SIGNAL)) {
        tell_failure(app, event);
    } else if (code == EXIT_DONE && !app->options->quiet) {
        tell_success(app, event);
    }
    if (began) {
        app->job = NULL;
    }
}

static void on_event(void *arg, const struct belay_event *event)
{
    struct app *app = arg;

    switch (event->type) {
    case BELAY_EVENT_START:
        app->job = event->job;
        memset(&app->progress, 0, sizeof app->progress);
        break;
    case BELAY_EVENT_END:
        on_end(app, event);
        break;
    case BELAY_EVENT_TICK:
        if (app->job != NULL) {
            on_tick(app);
        }
        break;
    case BELAY_EVENT_WAKE:
        if (app->job != NULL) {
            print_status(app);
        }
        break;
    default:
        on_note(app, event);
        break;
    }
}

/* ---- the command. */

static void choose_progress(struct app *app)
{
    const char *term = getenv("TERM");
    enum progress_mode mode = app->options->progress;
    bool terminal = isatty(STDERR_FILENO) &&
                    (term == NULL || strcmp(term, "dumb") != 0);

    if (mode == PROGRESS_AUTO) {
        mode = terminal ? PROGRESS_BAR : PROGRESS_PLAIN;
    }
    app->bar = mode == PROGRESS_BAR && !app->options->quiet;
    app->plain = mode == PROGRESS_PLAIN && !app->options->quiet;
}

/* All URLs, before anything is fetched. */
static bool add_all(struct belay_engine *engine,
                    const struct get_options *options)
{
    struct belay_error error;
    bool good = true;

    for (int k = 0; k < options->url_count; k++) {
        struct belay_get_options get = options->get;

        get.url = options->urls[k];
        if (belay_get(engine, &get, NULL, &error) != BELAY_DONE) {
            fprintf(stderr, "belay: %s\n", error.text);
            good = false;
        }
    }
    return good;
}

int cmd_get(int argc, char **argv)
{
    struct get_options options;
    struct app app = {.options = &options, .worst = EXIT_DONE};
    struct belay_engine *engine;
    struct belay_error error;
    int result = get_options_parse(argc, argv, &options);

    if (result >= 0) {
        return result;
    }
    choose_progress(&app);
    options.engine.event = on_event;
    options.engine.arg = &app;
    options.engine.files = 1;
    options.engine.tick_ms = app.bar ? BAR_MS : app.plain ? PLAIN_MS : 0;
    if (belay_engine_new(&options.engine, &engine, &error) != BELAY_DONE) {
        fprintf(stderr, "belay: %s\n", error.text);
        return (int)exit_code_of(error.reason);
    }
    catch_signals(engine);
    if (add_all(engine, &options)) {
        belay_run(engine);
    } else {
        app.worst = EXIT_USAGE;
    }
    result = signal_seen != 0 ? EXIT_SIGNAL + signal_seen : (int)app.worst;
    let_signals_go();
    if (!belay_engine_free(engine)) {
        _exit(result); /* something hangs; all is on disk */
    }
    return result;
}
