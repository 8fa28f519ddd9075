/* Opening beneath a root: what is there is found, nothing else is, by openat2
 * and by walking alike. */

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <setjmp.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include "proto/io/rootfs.h"

static char top[] = "/tmp/rootfs-test-XXXXXX";
static char inside[64];

static void
put(const char *name, const char *text)
{
    FILE *file = fopen(name, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static int
make_tree(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(top));
    assert_int_equal(chdir(top), 0);
    snprintf(inside, sizeof(inside), "%s/root", top);
    assert_int_equal(mkdir("root", 0755), 0);
    put("outside", "secret");
    assert_int_equal(chdir("root"), 0);
    assert_int_equal(mkdir("d", 0755), 0);
    assert_int_equal(mkdir("d/e", 0755), 0);
    assert_int_equal(mkdir("cache", 0755), 0);
    put("f", "hello");
    put("d/e/g", "deep");
    put("cache/x", "cached");
    assert_int_equal(symlink("f", "link"), 0);
    assert_int_equal(symlink("d", "linkdir"), 0);
    assert_int_equal(symlink("/etc/passwd", "absolute"), 0);
    assert_int_equal(symlink("../outside", "up"), 0);
    assert_int_equal(symlink("loop", "loop"), 0);
    assert_int_equal(symlink("/proc/self/fd/0", "magic"), 0);
    assert_int_equal(mkfifo("fifo", 0644), 0);
    struct sockaddr_un un = { .sun_family = AF_UNIX, .sun_path = "sock" };
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
    close(fd);
    return 0;
}

static int
remove_tree(void **state)
{
    char command[128];
    (void)state;
    snprintf(command, sizeof(command), "rm -rf %s", top);
    return system(command);
}

static const struct {
    const char *path;
    int err;
} opens[] = {
    { "f", 0 },
    { "d/e/g", 0 },
    { "cache/x", 0 },
    { "", ERR_NOT_A_FILE },
    { "d", ERR_NOT_A_FILE },
    { "fifo", ERR_NOT_A_FILE },
    { "sock", ERR_NOT_A_FILE },
    { "none", ERR_NOT_FOUND },
    { "none/none", ERR_NOT_FOUND },
    { "f/x", ERR_NOT_FOUND },
    { "link", ERR_NOT_FOUND },
    { "linkdir/e/g", ERR_NOT_FOUND },
    { "absolute", ERR_NOT_FOUND },
    { "up", ERR_NOT_FOUND },
    { "loop", ERR_NOT_FOUND },
    { "magic", ERR_NOT_FOUND },
};

static void
check_opens(struct rootfs *root, bool hidden)
{
    for (size_t i = 0; i < sizeof(opens) / sizeof(opens[0]); i++) {
        struct stat st;
        int fd = -1;
        int err = rootfs_open(root, opens[i].path, false, &st, &fd);
        int want = hidden && strncmp(opens[i].path, "cache", 5) == 0
                       ? ERR_NOT_FOUND
                       : opens[i].err;
        if (err != want) {
            fail_msg("%s: %s, expected %s", opens[i].path, err_name(err),
                     err_name(want));
        }
        if (err == 0) {
            assert_true(S_ISREG(st.st_mode));
            assert_int_equal(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
            assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
            close(fd);
        }
    }
}

static void
test_open(void **state)
{
    struct rootfs root;
    (void)state;
    assert_int_equal(rootfs_init(&root, inside), 0);
    check_opens(&root, false);
    rootfs_force_walk(&root);
    check_opens(&root, false);
    rootfs_clear(&root);
    rootfs_clear(&root);
}

/* Such a path does not come here, but if it did the kernel would refuse. */
static void
test_beneath(void **state)
{
    static const char *const paths[] = { "../outside", "d/../../outside" };
    struct rootfs root;
    struct stat st;
    int fd = -1;
    (void)state;
    assert_int_equal(rootfs_init(&root, inside), 0);
    if (!root.has_openat2) {
        rootfs_clear(&root);
        skip();
    }
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(rootfs_open(&root, paths[i], false, &st, &fd),
                         ERR_NOT_FOUND);
    }
    rootfs_clear(&root);
}

static void
test_cached_only(void **state)
{
    struct rootfs root;
    struct stat st;
    int fd = -1;
    (void)state;
    assert_int_equal(rootfs_init(&root, inside), 0);
    assert_int_equal(rootfs_open(&root, "f", false, &st, &fd), 0);
    close(fd);
    int err = rootfs_open(&root, "f", true, &st, &fd);
    if (err == 0) {
        close(fd);
    } else {
        assert_int_equal(err, ERR_AGAIN); /* a kernel that cannot tell */
    }
    rootfs_force_walk(&root);
    assert_int_equal(rootfs_open(&root, "f", true, &st, &fd), ERR_AGAIN);
    rootfs_clear(&root);
}

static void
test_missing_root(void **state)
{
    struct rootfs root;
    char path[80];
    (void)state;
    snprintf(path, sizeof(path), "%s/none", top);
    assert_int_equal(rootfs_init(&root, path), ERR_NOT_FOUND);
    snprintf(path, sizeof(path), "%s/outside", top);
    assert_int_equal(rootfs_init(&root, path), ERR_NOT_A_DIRECTORY);
}

static void
test_stat(void **state)
{
    static const struct {
        const char *path;
        mode_t type;
    } cases[] = {
        { "f", S_IFREG },    { "d", S_IFDIR },   { "", S_IFDIR },
        { "link", S_IFLNK }, { "fifo", S_IFIFO }, { "sock", S_IFSOCK },
    };
    struct rootfs root;
    struct stat st;
    (void)state;
    assert_int_equal(rootfs_init(&root, inside), 0);
    for (unsigned walk = 0; walk < 2; walk++) {
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
            assert_int_equal(rootfs_stat(&root, cases[i].path, &st), 0);
            assert_int_equal(st.st_mode & S_IFMT, cases[i].type);
        }
        assert_int_equal(rootfs_stat(&root, "linkdir/e", &st), ERR_NOT_FOUND);
        rootfs_force_walk(&root);
    }
    rootfs_clear(&root);
}

/* ---- Directories. */

struct names {
    char text[256];
    unsigned count;
};

static int
add_name(void *arg, const char *name)
{
    struct names *names = arg;
    strcat(names->text, name);
    strcat(names->text, " ");
    names->count++;
    return strcmp(name, "stop") == 0 ? ERR_LIMIT : 0;
}

static void
test_directories(void **state)
{
    struct rootfs root;
    struct stat st;
    int fd = -1;
    (void)state;
    assert_int_equal(rootfs_init(&root, inside), 0);
    assert_int_equal(rootfs_open_dir(&root, "f", &fd), ERR_NOT_A_DIRECTORY);
    assert_int_equal(rootfs_open_dir(&root, "none", &fd), ERR_NOT_FOUND);
    assert_int_equal(rootfs_open_dir(&root, "d/e", &fd), 0);
    struct names names = { .count = 0 };
    assert_int_equal(rootfs_each(&root, fd, add_name, &names), 0);
    assert_string_equal(names.text, "g ");
    assert_int_equal(rootfs_stat_at(fd, "g", &st), 0);
    assert_int_equal(st.st_size, 4);
    assert_int_equal(rootfs_stat_at(fd, "none", &st), ERR_NOT_FOUND);
    close(fd);
    assert_int_equal(rootfs_open_dir(&root, "", &fd), 0);
    memset(&names, 0, sizeof(names));
    assert_int_equal(rootfs_each(&root, fd, add_name, &names), 0);
    assert_int_equal(names.count, 11);
    char target[32];
    size_t len = 0;
    assert_int_equal(
        rootfs_readlink_at(fd, "up", target, sizeof(target), &len), 0);
    assert_int_equal(len, strlen("../outside"));
    assert_memory_equal(target, "../outside", len);
    close(fd);
    rootfs_clear(&root);
}

static void
test_hidden(void **state)
{
    struct rootfs root;
    struct stat st;
    int fd = open("cache", O_RDONLY | O_DIRECTORY);
    int dir = -1;
    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(rootfs_init(&root, inside), 0);
    assert_int_equal(rootfs_hide(&root, fd), 0);
    for (unsigned walk = 0; walk < 2; walk++) {
        check_opens(&root, true);
        assert_int_equal(rootfs_open_dir(&root, "cache", &dir),
                         ERR_NOT_FOUND);
        assert_int_equal(rootfs_stat(&root, "cache", &st), ERR_NOT_FOUND);
        assert_int_equal(rootfs_open_dir(&root, "", &dir), 0);
        struct names names = { .count = 0 };
        assert_int_equal(rootfs_each(&root, dir, add_name, &names), 0);
        assert_int_equal(names.count, 10);
        assert_null(strstr(names.text, "cache"));
        close(dir);
        rootfs_force_walk(&root);
    }
    rootfs_clear(&root);
    close(fd);
    /* Outside the root it hides nothing; the root itself cannot hide. */
    assert_int_equal(rootfs_init(&root, "d"), 0);
    fd = open("cache", O_RDONLY | O_DIRECTORY);
    assert_int_equal(rootfs_hide(&root, fd), 0);
    assert_int_equal(rootfs_stat(&root, "e/g", &st), 0);
    close(fd);
    rootfs_clear(&root);
    assert_int_equal(rootfs_init(&root, "d"), 0);
    fd = open("d", O_RDONLY | O_DIRECTORY);
    assert_int_equal(rootfs_hide(&root, fd), ERR_USAGE);
    close(fd);
    rootfs_clear(&root);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_open),
        cmocka_unit_test(test_beneath),
        cmocka_unit_test(test_cached_only),
        cmocka_unit_test(test_missing_root),
        cmocka_unit_test(test_stat),
        cmocka_unit_test(test_directories),
        cmocka_unit_test(test_hidden),
    };
    return cmocka_run_group_tests(tests, make_tree, remove_tree);
}
