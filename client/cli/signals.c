#include "client/cli/signals.h"

#include <signal.h>
#include <stdbool.h>
#include <unistd.h>

#include "client/cli/exitcode.h"

static const int caught[] = {SIGINT, SIGTERM, SIGHUP, SIGUSR1};

#define CAUGHT (sizeof caught / sizeof caught[0])

/* What a handler can reach is global, whatever one prefers. */
static struct belay_engine *volatile engine_now;
static volatile sig_atomic_t seen;

static void on_end_signal(int signum)
{
    if (seen != 0) {
        _exit(EXIT_SIGNAL + signum); /* asked twice: what is kept is kept */
    }
    seen = signum;
    belay_interrupt(engine_now);
}

static void on_status_signal(int signum)
{
    (void)signum;
    belay_wake(engine_now);
}

static bool is_ignored(int signum)
{
    struct sigaction action;

    return sigaction(signum, NULL, &action) == 0 &&
           (action.sa_flags & SA_SIGINFO) == 0 &&
           action.sa_handler == SIG_IGN;
}

void signals_catch(struct belay_engine *engine)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN};

    engine_now = engine;
    (void)sigaction(SIGXFSZ, &ignore, NULL);
    for (size_t k = 0; k < CAUGHT; k++) {
        struct sigaction action = {.sa_flags = SA_RESTART};

        action.sa_handler =
            caught[k] == SIGUSR1 ? on_status_signal : on_end_signal;
        if (!is_ignored(caught[k])) {
            (void)sigaction(caught[k], &action, NULL);
        }
    }
}

void signals_release(void)
{
    for (size_t k = 0; k < CAUGHT; k++) {
        struct sigaction action = {
            .sa_handler = caught[k] == SIGUSR1 ? SIG_IGN : SIG_DFL};

        if (!is_ignored(caught[k])) {
            (void)sigaction(caught[k], &action, NULL);
        }
    }
}

int signals_seen(void)
{
    return seen;
}
