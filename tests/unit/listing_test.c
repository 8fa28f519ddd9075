/* Listings against a plain sort: any page size, names of any length, a
 * directory that changes between the pages. */

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <setjmp.h>
#include <fcntl.h>
#include <unistd.h>
#include <cmocka.h>

#include "proto/wire/msg.h"
#include "server/listing.h"

#define NAMES 400

static char dir[] = "/tmp/listing-test-XXXXXX";
static char names[NAMES][256];
static struct hasher *hasher;
static struct rootfs root;

static int
by_bytes(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void
touch(const char *name)
{
    char path[400];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);
    close(fd);
}

static int
setup(void **state)
{
    (void)state;
    hasher = hasher_new();
    assert_non_null(hasher);
    assert_non_null(mkdtemp(dir));
    for (unsigned i = 0; i < NAMES; i++) {
        /* Around the length that no longer fits into a cursor. */
        unsigned len = 8 + i % 5 + (i % 3 == 0 ? 50 + i % 10 : 0) +
                       (i % 17 == 0 ? 150 : 0);
        snprintf(names[i], sizeof(names[i]), "%05u", i * 7919 % 100000);
        for (size_t k = strlen(names[i]); k < len; k++) {
            names[i][k] = (char)('A' + (i + k) % 50);
        }
        names[i][len] = '\0';
        touch(names[i]);
    }
    qsort(names, NAMES, sizeof(names[0]), by_bytes);
    return rootfs_init(&root, dir);
}

static int
clear(void **state)
{
    char command[64];
    (void)state;
    hasher_free(hasher);
    rootfs_clear(&root);
    snprintf(command, sizeof(command), "rm -rf %s", dir);
    return system(command);
}

struct page {
    uint8_t out[70000];
    struct msg_entries entries;
    uint8_t cursor[64];
    size_t cursor_len;
};

static int
get_page(struct listing *l, struct page *page, uint32_t most)
{
    const struct listing_ask ask = {
        .path = "",
        .cursor = page->cursor,
        .cursor_len = page->cursor_len,
        .max_entries = most,
        .request = 9,
        .out = page->out,
        .cap = sizeof(page->out),
    };
    struct frame frame;
    size_t len = 0;
    size_t need = 0;
    int err = listing_page(l, hasher, &ask, &len);
    if (err != 0) {
        return err;
    }
    assert_int_equal(frame_scan(page->out, len, &frame, &need), 0);
    assert_int_equal(need, len);
    assert_int_equal(frame.type, FRAME_ENTRIES);
    assert_int_equal(frame.request_id, 9);
    assert_true(frame_is_end(&frame));
    assert_int_equal(msg_entries_decode(page->out + FRAME_HEADER_LEN,
                                        frame.length, &page->entries),
                     0);
    page->cursor_len = page->entries.cursor.len;
    if (page->cursor_len > 0) {
        memcpy(page->cursor, page->entries.cursor.ptr, page->cursor_len);
    }
    return 0;
}

static void
test_pages(void **state)
{
    static const uint32_t sizes[] = { 1, 2, 7, 100, 399, 400, 401,
                                      UINT32_MAX };
    static struct page page;
    struct listing *l = listing_new(&root, NULL);
    (void)state;
    for (size_t k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++) {
        unsigned at = 0;
        page.cursor_len = 0;
        do {
            struct reader r;
            struct msg_entry e;
            assert_int_equal(get_page(l, &page, sizes[k]), 0);
            assert_in_range(page.entries.count, 1, sizes[k]);
            reader_init(&r, page.entries.entries.ptr,
                        page.entries.entries.len);
            while (msg_entries_next(&r, &e)) {
                assert_true(at < NAMES);
                assert_int_equal(e.name.len, strlen(names[at]));
                assert_memory_equal(e.name.ptr, names[at], e.name.len);
                at++;
            }
        } while (page.cursor_len > 0);
        assert_int_equal(at, NAMES);
    }
    listing_free(l);
}

/* A cursor goes on in another process, which has no run of names. */
static void
test_cursor_elsewhere(void **state)
{
    static struct page page;
    unsigned count = 0;
    (void)state;
    page.cursor_len = 0;
    do {
        struct listing *l = listing_new(&root, NULL);
        assert_int_equal(get_page(l, &page, 37), 0);
        count += page.entries.count;
        listing_free(l);
    } while (page.cursor_len > 0);
    assert_int_equal(count, NAMES);
}

static void
test_changes_between_pages(void **state)
{
    static struct page page;
    struct listing *l = listing_new(&root, NULL);
    char path[400];
    (void)state;
    page.cursor_len = 0;
    assert_int_equal(get_page(l, &page, 10), 0);
    touch("zzz-new");
    snprintf(path, sizeof(path), "%s/%s", dir, names[15]);
    assert_int_equal(unlink(path), 0);
    unsigned count = 10;
    while (page.cursor_len > 0) {
        assert_int_equal(get_page(l, &page, 50), 0);
        count += page.entries.count;
    }
    assert_int_equal(count, NAMES); /* one more, one less */
    touch(names[15]);
    snprintf(path, sizeof(path), "%s/zzz-new", dir);
    assert_int_equal(unlink(path), 0);
    listing_free(l);
}

static void
test_bad_cursors(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
    } cases[] = {
        { "?", 1 },
        { "n", 1 },
        { "nab\0c", 5 },
        { "hshort", 6 },
        { "h12345678901234567890123456789012", 33 },
    };
    static struct page page;
    struct listing *l = listing_new(&root, NULL);
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        memcpy(page.cursor, cases[i].bytes, cases[i].len);
        page.cursor_len = cases[i].len;
        assert_int_equal(get_page(l, &page, 10), ERR_CHANGED);
    }
    /* Behind everything there is nothing. */
    memcpy(page.cursor, "n\xff", 2);
    page.cursor_len = 2;
    assert_int_equal(get_page(l, &page, 10), 0);
    assert_int_equal(page.entries.count, 0);
    assert_int_equal(page.cursor_len, 0);
    listing_free(l);
    listing_free(NULL);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pages),
        cmocka_unit_test(test_cursor_elsewhere),
        cmocka_unit_test(test_changes_between_pages),
        cmocka_unit_test(test_bad_cursors),
    };
    return cmocka_run_group_tests(tests, setup, clear);
}
