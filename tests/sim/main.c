/* sim --seeds A..B | --seed N [-v]: worlds from seeds (world.h). */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/sim/world.h"

/* Every so many seeds a world is run twice: it must be the same again. */
#define TWICE_EVERY 16u

/* The seed in work, for the message of an assertion. */
static volatile uint64_t current;

static void on_abort(int number)
{
    (void)number;
    dprintf(STDOUT_FILENO, "FAILED seed %" PRIu64 ": it aborted\n", current);
    _exit(1);
}

static bool run_one(uint64_t seed, bool verbose, struct world_result *r)
{
    struct world_result again;

    current = seed;
    world_run(seed, verbose, r);
    if (r->wrong == NULL && seed % TWICE_EVERY == 0) {
        world_run(seed, false, &again);
        if (again.trace != r->trace || again.ended_at != r->ended_at) {
            r->wrong = "two runs of one seed differ";
        }
    }
    if (r->wrong != NULL) {
        printf("FAILED seed %" PRIu64 ": %s\n", seed, r->wrong);
    }
    return r->wrong == NULL;
}

static int run_seeds(uint64_t first, uint64_t last)
{
    struct world_result total = {0};
    uint64_t bad = 0;
    uint64_t finished = 0;

    for (uint64_t seed = first; seed <= last; seed++) {
        struct world_result r;

        bad += !run_one(seed, false, &r);
        finished += r.finished;
        total.steps += r.steps;
        total.conns += r.conns;
        total.restarts += r.restarts;
        total.changes += r.changes;
        total.power_cuts += r.power_cuts;
        total.disk_failures += r.disk_failures;
        total.wire += r.wire;
        total.size += r.size;
    }
    printf("%" PRIu64 " seeds, %" PRIu64 " complete, %" PRIu64 " wrong; %u "
           "connections, %u restarts, %u power cuts, %u failed disk calls, "
           "%u changes, %" PRIu64 " steps, %" PRIu64 " MiB of content\n",
           last - first + 1, finished, bad, total.conns, total.restarts,
           total.power_cuts, total.disk_failures, total.changes, total.steps,
           total.size >> 20);
    return bad == 0 ? 0 : 1;
}

static int usage(void)
{
    fprintf(stderr, "usage: sim --seeds A..B | --seed N [-v]\n");
    return 2;
}

int main(int argc, char **argv)
{
    struct world_result r;

    signal(SIGABRT, on_abort);
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc >= 3 && strcmp(argv[1], "--seed") == 0) {
        bool ok = run_one(strtoull(argv[2], NULL, 10),
                          argc > 3 && strcmp(argv[3], "-v") == 0, &r);

        printf("%s after %" PRIu64 " ms, %u connections, %u restarts, "
               "%u changes, %" PRIu64 " bytes\n",
               r.finished ? "complete" : "not complete", r.ended_at, r.conns,
               r.restarts, r.changes, r.size);
        return ok ? 0 : 1;
    }
    if (argc == 3 && strcmp(argv[1], "--seeds") == 0) {
        char *end;
        uint64_t first = strtoull(argv[2], &end, 10);

        if (strncmp(end, "..", 2) == 0) {
            return run_seeds(first, strtoull(end + 2, NULL, 10));
        }
    }
    return usage();
}
