/* Walk: listings that no honest server sends. */
#include "tests/unit/walk_client.h"

static struct msg_entry named(const char *name, uint8_t type)
{
    return (struct msg_entry){
        .file_type = type,
        .name = {(const uint8_t *)name, strlen(name)}};
}

static void two(const struct sender_job *job, const char *a, const char *b,
                const char *cursor, struct sender_result *out)
{
    struct msg_entry entry[2] = {named(a, FILE_REGULAR),
                                 named(b, FILE_REGULAR)};

    put_entries(job, entry, 2, cursor, strlen(cursor), out);
}

static bool disordered_page(struct world *w, const struct sender_job *job,
                            struct sender_result *out)
{
    (void)w;
    two(job, "b", "a", "", out);
    return true;
}

static bool twins(struct world *w, const struct sender_job *job,
                  struct sender_result *out)
{
    (void)w;
    two(job, "a", "a", "", out);
    return true;
}

static bool pages_go_back(struct world *w, const struct sender_job *job,
                          struct sender_result *out)
{
    (void)w;
    two(job, job->list.cursor_len == 0 ? "m" : "b", "x",
        job->list.cursor_len == 0 ? "next" : "", out);
    return true;
}

static bool same_page_for_ever(struct world *w, const struct sender_job *job,
                               struct sender_result *out)
{
    (void)w;
    two(job, "a", "b", "again", out);
    return true;
}

static bool nothing_for_ever(struct world *w, const struct sender_job *job,
                             struct sender_result *out)
{
    (void)w;
    put_entries(job, NULL, 0, "more", 4, out);
    return true;
}

static bool one_full_frame(struct world *w, const struct sender_job *job,
                           struct sender_result *out)
{
    char name[1500][8];
    struct msg_entry entry[1500];

    (void)w;
    for (unsigned k = 0; k < 1500; k++) {
        (void)snprintf(name[k], sizeof name[k], "%05u", k);
        entry[k] = named(name[k], FILE_REGULAR);
    }
    put_entries(job, entry, 1500, "", 0, out);
    return true;
}

static bool always(struct sender_result *out, uint16_t code)
{
    out->code = code;
    return true;
}

static bool stale_for_ever(struct world *w, const struct sender_job *job,
                           struct sender_result *out)
{
    (void)w;
    (void)job;
    return always(out, WIRE_CHANGED);
}

static bool cancelled_for_ever(struct world *w, const struct sender_job *job,
                               struct sender_result *out)
{
    (void)w;
    (void)job;
    return always(out, WIRE_CANCELLED);
}

static bool trouble_for_ever(struct world *w, const struct sender_job *job,
                             struct sender_result *out)
{
    (void)w;
    (void)job;
    return always(out, WIRE_IO_ERROR);
}

static bool not_there(struct world *w, const struct sender_job *job,
                      struct sender_result *out)
{
    (void)w;
    (void)job;
    return always(out, WIRE_NOT_FOUND);
}

/* Everything that concerns where the walk began is its end. */
static void test_hostile_roots(void **state)
{
    static const struct {
        const char *name;
        bool (*hostile)(struct world *w, const struct sender_job *job,
                        struct sender_result *out);
        enum transfer_reason reason;
    } table[] = {
        {"pages go back", pages_go_back, TRANSFER_PROTOCOL},
        {"same page for ever", same_page_for_ever, TRANSFER_PROTOCOL},
        {"nothing for ever", nothing_for_ever, TRANSFER_PROTOCOL},
        {"stale for ever", stale_for_ever, TRANSFER_REFUSED},
        {"cancelled for ever", cancelled_for_ever, TRANSFER_REFUSED},
        {"trouble for ever", trouble_for_ever, TRANSFER_REFUSED},
        {"not there", not_there, TRANSFER_REFUSED},
    };

    (void)state;
    for (size_t k = 0; k < sizeof table / sizeof table[0]; k++) {
        struct world w;

        world_init(&w);
        w.hostile = table[k].hostile;
        run(&w);
        if (!w.failed || w.reason != table[k].reason) {
            fail_msg("%s: failed %d, reason %d: %s", table[k].name, w.failed,
                     (int)w.reason, w.text);
        }
        assert_true(w.lists < 20);
        assert_true(w.text[0] != '\0');
        world_free(&w);
    }
}

/* The decoder refuses these; nothing of them is told, and what ends it is the
 * user's limit of tries. */
static void test_broken_frames(void **state)
{
    (void)state;
    for (unsigned k = 0; k < 2; k++) {
        struct world w;

        world_init(&w);
        w.hostile = k == 0 ? disordered_page : twins;
        w.config.line.tries_max = 4;
        run(&w);
        assert_true(w.failed);
        assert_int_equal(w.entries, 0);
        assert_true(w.lists <= 4);
        world_free(&w);
    }
}

static void test_many_in_one_frame(void **state)
{
    struct world w;

    (void)state;
    world_init(&w);
    w.hostile = one_full_frame;
    run(&w);
    assert_true(w.done);
    assert_int_equal(w.entries, 1500);
    world_free(&w);
}

/* ---- hostile names. */

static bool odd_names(struct world *w, const struct sender_job *job,
                      struct sender_result *out)
{
    struct msg_entry entry[] = {
        named(".", FILE_DIRECTORY), named("..", FILE_DIRECTORY),
        named("../x", FILE_DIRECTORY), named("/etc", FILE_DIRECTORY),
        named("a", FILE_REGULAR), named("a/b", FILE_REGULAR)};

    (void)w;
    put_entries(job, entry, 6, "", 0, out);
    return true;
}

static void test_odd_names(void **state)
{
    struct world w;

    (void)state;
    world_init(&w);
    w.hostile = odd_names;
    run(&w);
    assert_true(w.done);
    assert_int_equal(w.lists, 1); /* it went into none of them */
    assert_int_equal(w.entries, 1);
    assert_int_equal(w.refused, 5);
    world_free(&w);
}

static bool bottomless(struct world *w, const struct sender_job *job,
                       struct sender_result *out)
{
    struct msg_entry entry = named("d", FILE_DIRECTORY);

    (void)w;
    put_entries(job, &entry, 1, "", 0, out);
    return true;
}

static bool long_names(struct world *w, const struct sender_job *job,
                       struct sender_result *out)
{
    char name[256];
    struct msg_entry entry;

    (void)w;
    memset(name, 'n', 255);
    name[255] = '\0';
    entry = named(name, FILE_DIRECTORY);
    put_entries(job, &entry, 1, "", 0, out);
    return true;
}

/* A tree without a bottom ends at the limits of paths. */
static void test_bottomless(void **state)
{
    struct world w;

    (void)state;
    world_init(&w);
    w.hostile = bottomless;
    run(&w);
    assert_true(w.done);
    assert_int_equal(w.incomplete, 1);
    assert_string_equal(w.text, "it lies too deep");
    assert_int_equal(w.left, w.begun);
    assert_true(w.lists == LIMIT_PATH_DEPTH);
    world_free(&w);
    world_init(&w);
    w.hostile = long_names;
    run(&w);
    assert_true(w.done);
    assert_int_equal(w.refused, 1);
    assert_int_equal(w.entries, (LIMIT_PATH - 3) / 256);
    assert_int_equal(w.left, w.begun);
    world_free(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hostile_roots),
        cmocka_unit_test(test_broken_frames),
        cmocka_unit_test(test_many_in_one_frame),
        cmocka_unit_test(test_odd_names),
        cmocka_unit_test(test_bottomless),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
