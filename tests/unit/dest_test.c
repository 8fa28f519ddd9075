/* Directories whose names cannot be made durable: a sync that failed once is
 * never repeated and believed.  Directories for temporary files that are not
 * ours. */

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/dest.h"

static unsigned syncs;
static bool broken;

/* Stands in for the C library's, as the kernel does it: an error is told
 * once, the next call succeeds. */
int
fsync(int fd)
{
    (void)fd;
    syncs++;
    if (broken) {
        broken = false;
        errno = EIO;
        return -1;
    }
    return 0;
}

static char dir[] = "/tmp/belay-dest-XXXXXX";
static struct dest dest;

static int
make_numbered(unsigned k)
{
    char name[16];
    snprintf(name, sizeof(name), "n%u", k);
    return dest_mkdir(&dest, name);
}

static void
check_latched(void)
{
    for (unsigned k = 0; k < 2; k++) {
        errno = 0;
        assert_int_equal(dest_sync_names(&dest), ERR_IO);
        assert_int_equal(errno, EIO);
    }
}

static void
test_sync_of_names(void **state)
{
    (void)state;
    assert_int_equal(dest_open(&dest, dir), 0);
    assert_int_equal(dest_mkdir(&dest, "a/b"), 0);
    syncs = 0;
    assert_int_equal(dest_sync_names(&dest), 0);
    assert_int_equal(syncs, 2); /* the root, a */
    assert_int_equal(dest_sync_names(&dest), 0);
    assert_int_equal(syncs, 2);
    assert_int_equal(dest_mkdir(&dest, "a/c"), 0);
    broken = true;
    check_latched();
    dest_close(&dest);
}

/* A directory is synced when its place in the table is needed. */
static void
test_sync_of_the_oldest(void **state)
{
    unsigned k = 0;
    (void)state;
    assert_int_equal(dest_open(&dest, dir), 0);
    assert_int_equal(dest_mkdir(&dest, "old/x"), 0);
    broken = true;
    while (k < 2 * DEST_DIRS && make_numbered(k) == 0) {
        k++;
    }
    assert_in_range(k, 1, 2 * DEST_DIRS - 1);
    assert_false(broken);
    check_latched();
    dest_close(&dest);
}

/* A directory for temporary files that others may write to, or that a link
 * leads to, is not ours: what is in it stays, and another is made. */
static void
test_planted(void **state)
{
    char planted[64], there[64], file[80];
    (void)state;
    snprintf(planted, sizeof(planted), "%s/" DEST_TEMP_NAME, dir);
    snprintf(there, sizeof(there), "%s/there", dir);
    for (int linked = 0; linked < 2; linked++) {
        const char *real = linked != 0 ? there : planted;
        assert_int_equal(mkdir(real, 0700), 0);
        assert_int_equal(chmod(real, linked != 0 ? 0700 : 0777), 0);
        if (linked != 0) {
            assert_int_equal(symlink("there", planted), 0);
        }
        snprintf(file, sizeof(file), "%s/x", real);
        int fd = open(file, O_WRONLY | O_CREAT | O_EXCL, 0600);
        assert_true(fd >= 0);
        close(fd);
        assert_int_equal(dest_open(&dest, dir), 0);
        assert_string_equal(dest.temp_name, DEST_TEMP_NAME "-2");
        dest_close(&dest);
        assert_int_equal(access(file, F_OK), 0);
        assert_int_equal(unlink(file), 0);
        assert_int_equal(linked != 0 ? unlink(planted) : rmdir(planted), 0);
    }
}

static int
remove_any(const char *path, const struct stat *st, int type,
           struct FTW *place)
{
    (void)st;
    (void)type;
    (void)place;
    return remove(path);
}

static int
set_up(void **state)
{
    (void)state;
    return mkdtemp(dir) == NULL ? -1 : 0;
}

static int
tear_down(void **state)
{
    (void)state;
    return nftw(dir, remove_any, 8, FTW_DEPTH | FTW_PHYS);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sync_of_names),
        cmocka_unit_test(test_sync_of_the_oldest),
        cmocka_unit_test(test_planted),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
