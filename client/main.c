/* belay: the command.  One file after the other; the work is in fetch.c. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/filecid.h"
#include "client/options.h"
#include "client/progress.h"
#include "proto/data/cid.h"
#include "proto/data/text.h"

#define BAR_MS 200u
/* In logs one line in so many milliseconds: alive, but no flood. */
#define PLAIN_MS 30000u
/* Hashing and writing on all cores, and one thread for slow syncs. */
#define WORKERS_MIN 4u

struct app {
    struct loop *loop;
    const struct options *options;
    struct loop_timer *timer;
    struct loop_signal *signals[4];
    struct fetch *fetch;
    struct progress progress;
    bool bar;
    bool plain;
    bool drawn;       /* the cursor stands behind a bar */
    int signum;       /* the signal that ended us, or 0 */
    const char *shown; /* name of the current file, printable */
    enum fetch_end end;
    bool ended;
};

/* ---- terminal. */

static unsigned columns(void)
{
    struct winsize size;
    const char *text = getenv("COLUMNS");
    int given = text != NULL ? atoi(text) : 0;

    if (given > 20) {
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

static void draw(struct app *app)
{
    struct fetch_stats stats;
    char line[PROGRESS_TEXT];

    if (app->fetch == NULL || app->ended) {
        return;
    }
    fetch_stats(app->fetch, &stats);
    progress_sample(&app->progress, &stats);
    if (app->bar) {
        progress_bar(&app->progress, &stats, columns() - 1, line);
        fprintf(stderr, "\r\033[K%s", line);
        app->drawn = true;
    } else if (app->plain) {
        progress_plain(&app->progress, &stats, line);
        fprintf(stderr, "belay: %s: %s\n", app->shown, line);
    }
}

static void on_timer(void *arg)
{
    struct app *app = arg;

    draw(app);
    loop_timer_start(app->timer, app->bar ? BAR_MS : PLAIN_MS);
}

static void on_note(void *arg, bool detail, const char *text)
{
    struct app *app = arg;

    if (app->options->quiet || (detail && app->options->verbose == 0)) {
        return;
    }
    wipe(app);
    fprintf(stderr, "belay: %s: %s\n", app->shown, text);
}

/* ---- the end of one file. */

static void tell_success(struct app *app, const char *text)
{
    struct fetch_stats stats;
    char size[32], rate[32], line[PROGRESS_TEXT];
    char cid[CID_TEXT_LEN + 1] = "";

    fetch_stats(app->fetch, &stats);
    if (app->end != FETCH_OK) {
        fprintf(stderr, "belay: %s: %s\n", app->shown, text);
        return;
    }
    progress_bytes(stats.ledger.size, size, sizeof size);
    progress_bytes(stats.elapsed_ms == 0
                       ? stats.ledger.fresh
                       : stats.ledger.fresh * 1000 / stats.elapsed_ms,
                   rate, sizeof rate);
    if (stats.cid_known) {
        cid_encode(stats.chunk_log2, stats.cid, cid);
    }
    fprintf(stderr, "belay: %s: %s verified in %.1f s (%s/s), %u breaks%s%s\n",
            app->shown, size, (double)stats.elapsed_ms / 1000, rate,
            stats.ledger.losses, cid[0] != '\0' ? ", " : "", cid);
    if (app->options->verbose > 0 || stats.ledger.losses > 0) {
        progress_ledger(&stats, line);
        fprintf(stderr, "belay: %s: %s\n", app->shown, line);
    }
}

static void tell_kept(struct app *app)
{
    struct fetch_stats stats;
    char have[32], size[32];

    fetch_stats(app->fetch, &stats);
    if (stats.ledger.have == 0 || app->options->output == NULL ||
        strcmp(app->options->output, "-") != 0) {
        if (stats.ledger.have > 0) {
            progress_bytes(stats.ledger.have, have, sizeof have);
            progress_bytes(stats.ledger.size, size, sizeof size);
            fprintf(stderr,
                    "belay: %s: %s of %s are kept; the same command goes on "
                    "from there\n",
                    app->shown, have, size);
        }
    }
}

static void on_end(void *arg, enum fetch_end end, const char *text)
{
    struct app *app = arg;
    enum exit_code code = exit_code_of(end);

    wipe(app);
    app->ended = true;
    app->end = end;
    if (code != EXIT_DONE) {
        fprintf(stderr, "belay: %s: %s\n", app->shown, text);
        tell_kept(app);
    } else if (!app->options->quiet) {
        tell_success(app, text);
    }
    loop_stop(app->loop);
}

/* ---- one file. */

/* Split -o into directory and name; the directory of -d comes before it. */
static bool target_of(const struct options *o, const struct uri *uri,
                      char *dir, size_t cap, const char **name)
{
    const char *output = o->output;
    const char *slash;
    int len;

    if (output != NULL && strcmp(output, "-") == 0) {
        *name = NULL;
        return true;
    }
    if (output == NULL) {
        *name = uri_basename(uri);
        if (*name == NULL) {
            fprintf(stderr, "belay: the URL names no file\n");
            return false;
        }
        output = *name;
    }
    slash = strrchr(output, '/');
    *name = slash == NULL ? output : slash + 1;
    if (**name == '\0') {
        fprintf(stderr, "belay: -o %s: it names a directory; use -d for "
                        "that\n", output);
        return false;
    }
    len = snprintf(dir, cap, "%s%s%.*s", o->dir != NULL ? o->dir : "",
                   o->dir != NULL && slash != NULL && output[0] != '/' ? "/"
                                                                       : "",
                   slash == NULL ? 0 : (int)(slash - output), output);
    if (output[0] == '/') {
        len = snprintf(dir, cap, "%.*s",
                       slash == output ? 1 : (int)(slash - output), output);
    }
    if (len == 0) {
        (void)snprintf(dir, cap, ".");
    }
    return len >= 0 && (size_t)len < cap;
}

static enum exit_code run_fetch(struct app *app, struct fetch_options *options)
{
    struct fetch_observer observer = {on_note, on_end, app};

    memset(&app->progress, 0, sizeof app->progress);
    app->ended = false;
    if (fetch_start(app->loop, options, &observer, &app->fetch) != 0) {
        fprintf(stderr, "belay: out of memory\n");
        return EXIT_FAULT;
    }
    if (app->bar || app->plain) {
        loop_timer_start(app->timer, app->bar ? BAR_MS : PLAIN_MS);
    }
    while (!app->ended) {
        loop_run(app->loop);
    }
    loop_timer_stop(app->timer);
    fetch_free(app->fetch);
    app->fetch = NULL;
    return exit_code_of(app->end);
}

static enum exit_code get_one(struct app *app, const char *url)
{
    struct fetch_options options = app->options->fetch;
    struct uri_error where;
    struct uri uri;
    char shown[400];
    char dir[4096];

    (void)text_escape(shown, sizeof shown, url, strlen(url));
    app->shown = shown;
    if (uri_parse(url, &uri, &where) != 0) {
        fprintf(stderr, "belay: bad URL %s: %s (at character %zu)\n", shown,
                where.reason, where.pos + 1);
        return EXIT_USAGE;
    }
    if (uri.scheme != URI_TCP) {
        fprintf(stderr, "belay: %s: this build speaks plain TCP only; use "
                        "belay+tcp://\n", shown);
        return EXIT_USAGE;
    }
    if (!target_of(app->options, &uri, dir, sizeof dir, &options.name)) {
        return EXIT_USAGE;
    }
    if (options.name != NULL) {
        (void)text_escape(shown, sizeof shown, options.name,
                          strlen(options.name));
    }
    options.uri = &uri;
    options.url_text = url;
    options.dir = dir;
    return run_fetch(app, &options);
}

/* ---- signals. */

static void on_signal(void *arg, int signum)
{
    struct app *app = arg;

    if (signum == SIGUSR1) {
        struct fetch_stats stats;
        char line[PROGRESS_TEXT];

        if (app->fetch != NULL && !app->ended) {
            wipe(app);
            fetch_stats(app->fetch, &stats);
            progress_plain(&app->progress, &stats, line);
            fprintf(stderr, "belay: %s: %s\n", app->shown, line);
        }
        return;
    }
    if (app->signum != 0) {
        _exit(EXIT_SIGNAL + signum); /* asked twice: what is kept is kept */
    }
    app->signum = signum;
    if (app->fetch != NULL) {
        fetch_interrupt(app->fetch);
    }
}

static bool catch_signals(struct app *app)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGUSR1};

    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGXFSZ, SIG_IGN);
    for (unsigned k = 0; k < 4; k++) {
        if (loop_signal_new(app->loop, signals[k], on_signal, app,
                            &app->signals[k]) != 0) {
            return false;
        }
    }
    return true;
}

/* ---- commands. */

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

static int command_get(const struct options *options)
{
    struct app app = {.options = options};
    enum exit_code worst = EXIT_DONE;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);

    loop_set_workers(cores + 2 > (long)WORKERS_MIN ? (unsigned)cores + 2
                                                   : WORKERS_MIN);
    if (loop_new(&app.loop) != 0 ||
        loop_timer_new(app.loop, on_timer, &app, &app.timer) != 0 ||
        !catch_signals(&app)) {
        fprintf(stderr, "belay: out of memory\n");
        return EXIT_FAULT;
    }
    choose_progress(&app);
    for (int k = 0; k < options->operand_count && app.signum == 0; k++) {
        worst = exit_code_worse(get_one(&app, options->operands[k]), worst);
    }
    for (unsigned k = 0; k < 4; k++) {
        loop_signal_free(app.signals[k]);
    }
    loop_timer_free(app.timer);
    loop_run(app.loop); /* lets freed objects go */
    loop_free(app.loop);
    return app.signum != 0 ? EXIT_SIGNAL + app.signum : (int)worst;
}

static int cid_one(const struct options *options, const char *path)
{
    char text[CID_TEXT_LEN + 1];
    char shown[400];
    uint8_t cid[HASH_LEN];
    struct stat st;
    uint8_t log2;
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    int err = ERR_IO;

    (void)text_escape(shown, sizeof shown, path, strlen(path));
    if (fd >= 0 && fstat(fd, &st) == 0) {
        if (!S_ISREG(st.st_mode)) {
            fprintf(stderr, "belay: %s: not a regular file\n", shown);
            close(fd);
            return EXIT_USAGE;
        }
        log2 = options->cid_log2 != 0
                   ? (uint8_t)options->cid_log2
                   : cid_recommended_chunk_log2((uint64_t)st.st_size);
        err = file_cid(fd, (uint64_t)st.st_size, log2, cid);
    }
    if (err != 0) {
        fprintf(stderr, "belay: %s: %s\n", shown,
                errno != 0 ? strerror(errno) : "it became shorter");
        if (fd >= 0) {
            close(fd);
        }
        return EXIT_DISK;
    }
    close(fd);
    cid_encode(log2, cid, text);
    printf("%s  %s\n", text, shown);
    return EXIT_DONE;
}

static int command_cid(const struct options *options)
{
    int worst = EXIT_DONE;

    for (int k = 0; k < options->operand_count; k++) {
        int code = cid_one(options, options->operands[k]);

        worst = code != EXIT_DONE ? code : worst;
    }
    return fflush(stdout) == 0 ? worst : EXIT_DISK;
}

int main(int argc, char **argv)
{
    struct options options;
    int result = options_parse(argc, argv, &options);

    if (result >= 0) {
        return fflush(stdout) == 0 ? result : EXIT_DISK;
    }
    return options.command == COMMAND_CID ? command_cid(&options)
                                          : command_get(&options);
}
