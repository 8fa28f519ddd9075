/* A download with libbelay:  ./example URL DIRECTORY
 *
 *     cc example.c $(pkg-config --cflags --libs libbelay) -o example
 *
 * Ctrl-C keeps what was received; the same command goes on from there. */
#include <belay.h>
#include <signal.h>
#include <stdio.h>

static struct belay_engine *engine;
static enum belay_reason result;

static void on_signal(int signum)
{
    (void)signum;
    belay_interrupt(engine); /* may be called from here */
}

static void on_event(void *arg, const struct belay_event *event)
{
    struct belay_job_stats stats = {.struct_size = sizeof stats};

    (void)arg;
    switch (event->type) {
    case BELAY_EVENT_END:
        result = event->reason;
        belay_job_stats(event->job, &stats);
        printf("%s: %s, %s, %llu bytes received\n",
               belay_job_name(event->job), belay_reason_name(event->reason),
               event->text, (unsigned long long)stats.fresh);
        break;
    case BELAY_EVENT_STALL:
    case BELAY_EVENT_BACK:
    case BELAY_EVENT_CHANGED:
        printf("%s: %s\n", belay_job_name(event->job), event->text);
        break;
    default:
        break;
    }
}

int main(int argc, char **argv)
{
    struct belay_engine_options options = {.struct_size = sizeof options,
                                           .event = on_event};
    struct belay_get_options get = {.struct_size = sizeof get};
    struct belay_error error;

    if (argc != 3) {
        fprintf(stderr, "usage: %s URL DIRECTORY\n", argv[0]);
        return 2;
    }
    get.url = argv[1];
    get.directory = argv[2];
    if (belay_engine_new(&options, &engine, &error) != BELAY_DONE ||
        belay_get(engine, &get, NULL, &error) != BELAY_DONE) {
        fprintf(stderr, "%s\n", error.text);
        return 2;
    }
    (void)signal(SIGINT, on_signal);
    belay_run(engine);
    (void)signal(SIGINT, SIG_DFL);
    (void)belay_engine_free(engine);
    return belay_reason_class(result) == BELAY_CLASS_DONE ? 0 : 1;
}
