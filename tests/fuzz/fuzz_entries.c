/* A page of a listing as a client takes it: entries, names, what is shown.
 *
 * Input: the payload of an ENTRIES frame. */

#include "proto/data/relpath.h"
#include "proto/data/text.h"
#include "proto/wire/msg.h"
#include "tests/fuzz/fuzz.h"

static void check_entry(const struct msg_entry *e)
{
    char shown[TEXT_ESCAPE_SIZE(LIMIT_COMPONENT)];
    FUZZ_CHECK(e->name.len >= 1 && e->name.len <= LIMIT_COMPONENT);
    FUZZ_CHECK(e->mtime_ns < 1000000000u);
    FUZZ_CHECK(e->cid.len == 0 || e->cid.len == DIGEST_LEN);
    FUZZ_CHECK(e->link_target.len <= LIMIT_LINK_TARGET);
    const char *name = (const char *)e->name.ptr;
    text_escape(shown, sizeof shown, name, e->name.len);
    if (relpath_name_ok(name, e->name.len, RELPATH_POSIX)) {
        FUZZ_CHECK(memchr(name, '/', e->name.len) == NULL);
        FUZZ_CHECK(relpath_check(name, e->name.len) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct script s = { data, size };
    struct msg_entries page;
    size_t len;
    uint8_t *payload = script_rest(&s, &len);
    if (len <= LIMIT_CONTROL_PAYLOAD &&
        msg_entries_decode(payload, len, &page) == BELAY_OK) {
        struct reader at;
        struct msg_entry one;
        struct msg_entry last = { .file_type = 0 };
        unsigned count = 0;
        reader_init(&at, page.entries.ptr, page.entries.len);
        while (msg_entries_next(&at, &one)) {
            check_entry(&one);
            if (count > 0) {
                size_t n = last.name.len < one.name.len ? last.name.len
                                                        : one.name.len;
                int order = memcmp(last.name.ptr, one.name.ptr, n);
                FUZZ_CHECK(order < 0 ||
                           (order == 0 && last.name.len < one.name.len));
            }
            last = one;
            count++;
        }
        FUZZ_CHECK(count == page.count && reader_ok(&at));
        FUZZ_CHECK(page.cursor.len <= LIMIT_CURSOR);
    }
    free(payload);
    return 0;
}
