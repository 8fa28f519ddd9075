/* store_driver DIR NAME SIZE SEED VERSION [nosync]
 *
 * The scenario on the real system, as a program of its own that can be killed
 * or traced. Prints how many chunks it fetched; exits with 0 if the file is
 * complete, with 1 and a message otherwise.  With "nosync" it only says that
 * it syncs: what a test of real crashes must find. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/store_sys.h"
#include "tests/crash/scenario.h"

static int no_sync(int fd)
{
    (void)fd;
    return 0;
}

int main(int argc, char **argv)
{
    struct scenario scenario = {
        .sys = &store_sys_real,
        .dir_fd = AT_FDCWD,
        .policy = STORE_REPLACE,
        .sync_every = 16,
    };
    struct scenario_progress progress;
    struct store_error why;
    char text[STORE_ERROR_TEXT];
    int rc;

    struct store_sys careless = store_sys_real;

    if (argc < 6 || argc > 7 || (argc == 7 && strcmp(argv[6], "nosync"))) {
        fputs("usage: store_driver DIR NAME SIZE SEED VERSION [nosync]\n",
              stderr);
        return 2;
    }
    careless.fsync = no_sync;
    careless.fdatasync = no_sync;
    if (argc == 7) {
        scenario.sys = &careless;
    }
    signal(SIGXFSZ, SIG_IGN);
    scenario.dir_path = argv[1];
    scenario.name = argv[2];
    scenario.size = strtoull(argv[3], NULL, 10);
    scenario.version = (uint8_t)strtoul(argv[5], NULL, 10);
    if (scenario.size > SCENARIO_CHUNKS_MAX * SCENARIO_CHUNK) {
        fputs("store_driver: the size is too large\n", stderr);
        return 2;
    }
    scenario.content = scenario_content(
        scenario.size, (uint32_t)strtoul(argv[4], NULL, 10),
        scenario.version);
    rc = scenario_run(&scenario, &progress, &why);
    if (rc != 0) {
        store_error_text(&why, text, sizeof text);
        fprintf(stderr, "store_driver: %s\n", text);
    }
    printf("%llu\n", (unsigned long long)progress.fetched);
    free((void *)(uintptr_t)scenario.content);
    return rc == 0 ? 0 : 1;
}
