/* The vault in a process that did not make it: its reader goes away there, and
 * nothing else (what the configuration tests cover is not said again). */

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <setjmp.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "server/vault.h"

/* More than any hole that the parent's mapping can have left in a child. */
#define BLOCKS 64u
#define BLOCK_BYTES ((size_t)1 << 20)

/* Status of the child; memory that is gone ends it by a signal. */
static int
fill_and_free(struct vault *vault)
{
    uint8_t *block[BLOCKS];

    for (unsigned i = 0; i < BLOCKS; i++) {
        void *p = mmap(NULL, BLOCK_BYTES, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED) {
            return 1;
        }
        block[i] = memset(p, (int)i + 1, BLOCK_BYTES);
    }
    vault_free(vault);
    for (unsigned i = 0; i < BLOCKS; i++) {
        for (size_t at = 0; at < BLOCK_BYTES; at += 4096) {
            if (block[i][at] != i + 1) {
                return 2;
            }
        }
    }
    return 0;
}

static void
a_child_frees_only_what_it_has(void **state)
{
    struct vault *vault;
    int status = 0;

    (void)state;
    assert_int_equal(vault_new(&vault), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        _exit(fill_and_free(vault));
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_false(vault_changed(vault));
    vault_free(vault);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_child_frees_only_what_it_has),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
