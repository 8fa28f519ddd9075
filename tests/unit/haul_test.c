/* A haul whose worker hangs in the system: after the end nothing is told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <ftw.h>
#include <semaphore.h>
#include <stdio.h>
#include <unistd.h>

#include "client/haul.h"
#include "proto/io/loop.h"

static sem_t end_told;
static char told[64];
/* A haul that is stuck is not freed, nor what it uses. */
static struct loop *loops[2];
static struct haul *hauls[2];

/* The disk answers when the end was told, and not before. */
int fsync(int fd)
{
    (void)fd;
    while (sem_wait(&end_told) != 0) {
    }
    return sem_post(&end_told);
}

int syncfs(int fd)
{
    return fsync(fd);
}

static void tell(const char *what)
{
    assert_true(strlen(told) + strlen(what) < sizeof told);
    strcat(told, what);
}

static void on_done(void *arg, const struct haul_result *result)
{
    (void)arg;
    (void)result;
    tell("done ");
}

static void on_room(void *arg)
{
    (void)arg;
    tell("room ");
}

static void on_note(void *arg, const struct belay_event *event)
{
    (void)arg;
    (void)event;
    tell("note ");
}

static void on_end(void *arg, enum belay_reason reason, const char *text)
{
    (void)arg;
    (void)text;
    tell(reason == BELAY_INTERRUPTED ? "interrupted "
         : reason == BELAY_LIMIT     ? "limit " : "end ");
    assert_int_equal(sem_post(&end_told), 0);
}

static int remove_one(const char *path, const struct stat *st, int type,
                      struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

static void check_stuck(unsigned k, void (*ends)(struct haul *),
                        const char *expected)
{
    struct haul_observer observer = {on_done, on_room, on_note, on_end, NULL};
    char dir[] = "/tmp/belay-haul-XXXXXX";
    struct uri uri;
    struct uri_error where;
    struct haul_options options = {.uri = &uri, .dir = dir};

    told[0] = '\0';
    assert_int_equal(sem_init(&end_told, 0, 0), 0);
    assert_non_null(mkdtemp(dir));
    assert_int_equal(uri_parse("belay+tcp://127.0.0.1:1/", &uri, &where), 0);
    assert_int_equal(loop_new(&loops[k]), 0);
    assert_int_equal(haul_start(loops[k], &options, &observer, &hauls[k]), 0);
    assert_int_equal(haul_add_dir(hauls[k], "new", NULL), 0);
    ends(hauls[k]); /* what was added is still put in place, without network */
    loop_run(loops[k]); /* until the worker came back, too */
    (void)nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    assert_string_equal(told, expected);
    assert_true(haul_stuck(hauls[k]));
    sem_destroy(&end_told);
}

static void test_interrupt(void **state)
{
    (void)state;
    check_stuck(0, haul_interrupt, "interrupted ");
}

static void test_expire(void **state)
{
    (void)state;
    check_stuck(1, haul_expire, "limit ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_interrupt),
        cmocka_unit_test(test_expire),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
