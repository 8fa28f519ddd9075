/* The aide's own process (client/aide_serve.c): whoever has taken over the
 * process that it serves asks for anything.
 *
 * Input: a script of packets, and of what happens to programs meanwhile.
 *
 * Promised: each packet has one answer, or is the last one. Only a command
 * that the aide was made for is started, word for word, and descriptors go out
 * only with it; each program is watched and ended once, under its number. The
 * file of known hosts stays readable, knows what was recorded, and a host that
 * is known keeps its keys. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client/aide_internal.h"
#include "client/knownhosts.h"
#include "client/ssh.h"
#include "tests/fuzz/fuzz.h"

/* What the aide calls, instead of the kernel. */
static ssize_t fake_recv(int sock, void *buf, size_t len, int flags);
static ssize_t fake_sendmsg(int sock, const struct msghdr *m, int flags);
static int fake_close(int fd);
static int fake_start(char *const argv[], struct spawn *out);
static bool fake_ended(struct spawn *child);
static void fake_finish(struct spawn *child);

#define recv fake_recv
#define sendmsg fake_sendmsg
#define close fake_close
#define spawn_start fake_start
#define spawn_ended fake_ended
#define spawn_finish fake_finish
#include "client/aide_serve.c"
#undef recv
#undef sendmsg
#undef close
#undef spawn_start
#undef spawn_ended
#undef spawn_finish

enum op {
    OP_START,  /* which command, how it is changed, where, how often */
    OP_ENDED,  /* number (2) */
    OP_FINISH, /* number (2) */
    OP_RECORD, /* length of the packet, port (2), key, host */
    OP_RAW,    /* kind, number (2), length (2), bytes */
    OP_END,    /* of program (2), status */
    OP_FAIL,   /* what fails next */
    OP_COUNT,
};

#define OPS_MAX 200u
#define RECORDS_MAX 6u /* each reads and writes the file anew */
#define COMMANDS 3u
#define SOCK_BASE 1000

/* A program as the aide should see it. */
struct model {
    bool used;
    bool ended;
    int status;
    pid_t pid;
};

struct game {
    struct script s;
    struct aide aide;
    struct aide_duties duties;
    struct model model[AIDE_PROGRAMS_MAX];
    struct aide_packet packet;
    size_t packet_len;
    struct aide_answer answer;
    unsigned answers;
    int fds[AIDE_FDS];
    bool has_fds;
    const struct ssh_command *asked; /* the command that is meant; or NULL */
    bool started;
    bool closed[2];
    pid_t last_pid;
    unsigned fail; /* 1: the next start, 2: the next answer */
    unsigned records;
};

static struct game g;

static char first_text[] = "ssh\0-T\0host\0belayd --stdio";
static char second_text[] = "ssh\0-T\0host";
static char third_text[] = "x";

static const struct ssh_command commands[COMMANDS] = {
    {.argv = {first_text, first_text + 4, first_text + 7, first_text + 12},
     .argc = 4, .text = first_text, .text_len = sizeof first_text},
    {.argv = {second_text, second_text + 4, second_text + 7},
     .argc = 3, .text = second_text, .text_len = sizeof second_text},
    {.argv = {third_text},
     .argc = 1, .text = third_text, .text_len = sizeof third_text},
};

/* ---- The kernel. */

static ssize_t fake_recv(int sock, void *buf, size_t len, int flags)
{
    FUZZ_CHECK(sock == SOCK_FD && flags == 0);
    FUZZ_CHECK(len == sizeof g.packet && g.packet_len <= len);
    memcpy(buf, &g.packet, g.packet_len);
    return (ssize_t)g.packet_len;
}

static ssize_t fake_sendmsg(int sock, const struct msghdr *m, int flags)
{
    FUZZ_CHECK(sock == SOCK_FD && flags == MSG_NOSIGNAL);
    FUZZ_CHECK(m->msg_iovlen == 1 && m->msg_iov->iov_len == sizeof g.answer);
    memcpy(&g.answer, m->msg_iov->iov_base, sizeof g.answer);
    g.answers++;
    g.has_fds = m->msg_controllen > 0;
    if (g.has_fds) {
        const struct cmsghdr *head = CMSG_FIRSTHDR(m);

        FUZZ_CHECK(head != NULL && head->cmsg_level == SOL_SOCKET &&
                   head->cmsg_type == SCM_RIGHTS &&
                   head->cmsg_len == CMSG_LEN(sizeof g.fds));
        memcpy(g.fds, CMSG_DATA(head), sizeof g.fds);
    }
    if (g.fail == 2) {
        g.fail = 0;
        errno = EPIPE;
        return -1;
    }
    return sizeof g.answer;
}

/* The socket and standard error of the program that was just started. */
static int fake_close(int fd)
{
    int which = fd - SOCK_BASE;

    FUZZ_CHECK(g.started && (which == 0 || which == 1));
    FUZZ_CHECK(!g.closed[which] && g.answers == 1);
    g.closed[which] = true;
    return 0;
}

static int fake_start(char *const argv[], struct spawn *out)
{
    FUZZ_CHECK(g.asked != NULL && argv == g.asked->argv);
    FUZZ_CHECK(!g.started);
    if (g.fail == 1) {
        g.fail = 0;
        memset(out, 0, sizeof *out);
        errno = ENOENT;
        return ERR_NOT_FOUND;
    }
    g.started = true;
    *out = (struct spawn){.pid = ++g.last_pid,
                          .pidfd = SOCK_BASE + 2,
                          .fd = SOCK_BASE,
                          .err_fd = SOCK_BASE + 1};
    return 0;
}

static struct model *model_of(const struct spawn *child)
{
    size_t n = (size_t)(child - g.aide.child);

    FUZZ_CHECK(n < AIDE_PROGRAMS_MAX && g.model[n].used);
    FUZZ_CHECK(g.model[n].pid == child->pid);
    FUZZ_CHECK(child->fd == -1 && child->err_fd == -1);
    return &g.model[n];
}

static bool fake_ended(struct spawn *child)
{
    const struct model *m = model_of(child);

    child->status = m->status;
    return m->ended;
}

static void fake_finish(struct spawn *child)
{
    struct model *m = model_of(child);

    *m = (struct model){.used = false};
    memset(child, 0, sizeof *child);
}

/* ---- Packets. */

/* Sends what is in g.packet; false: the aide ends. */
static bool send_packet(size_t len)
{
    g.packet_len = len;
    g.answers = 0;
    g.has_fds = false;
    g.started = false;
    g.closed[0] = g.closed[1] = false;
    bool fails = g.fail == 2;
    bool good = serve_one(&g.aide);

    FUZZ_CHECK(g.answers == (len >= sizeof g.packet.head ? 1u : 0u));
    FUZZ_CHECK(good == (g.answers == 1 && !fails));
    FUZZ_CHECK(g.has_fds == g.started);
    FUZZ_CHECK(g.closed[0] == g.started && g.closed[1] == g.started);
    return good;
}

static void check_state(void)
{
    for (size_t n = 0; n < AIDE_PROGRAMS_MAX; n++) {
        FUZZ_CHECK(g.aide.used[n] == g.model[n].used);
    }
}

/* The command that these words are. */
static const struct ssh_command *meant(size_t len)
{
    for (size_t k = 0; k < g.duties.count; k++) {
        if (commands[k].text_len == len &&
            memcmp(commands[k].text, g.packet.words, len) == 0) {
            return &commands[k];
        }
    }
    return NULL;
}

static bool ask_start(size_t len)
{
    uint32_t room = 0;

    while (room < AIDE_PROGRAMS_MAX && g.model[room].used) {
        room++;
    }
    g.asked = meant(len);
    if (room == AIDE_PROGRAMS_MAX) {
        g.asked = NULL;
    }
    bool good = send_packet(sizeof g.packet.head + len);
    if (g.asked == NULL) {
        FUZZ_CHECK(g.answer.err == ERR_DENIED && g.answer.error != 0);
    }
    FUZZ_CHECK((g.answer.err == 0) == g.started);
    if (g.started) {
        FUZZ_CHECK(g.answer.number == room);
        g.model[room] = (struct model){.used = true, .pid = g.last_pid};
        FUZZ_CHECK(g.fds[0] == SOCK_BASE && g.fds[1] == SOCK_BASE + 1 &&
                   g.fds[2] == SOCK_BASE + 2);
    }
    return good;
}

/* Whatever is neither a start nor a host. */
static bool ask_after(uint32_t kind, uint32_t number, size_t more)
{
    bool used = number < AIDE_PROGRAMS_MAX && g.model[number].used;
    struct model was = used ? g.model[number] : (struct model){0};

    g.packet.head = (struct aide_request){.kind = kind, .number = number};
    bool good = send_packet(sizeof g.packet.head + more);
    FUZZ_CHECK(g.answer.err == (used ? 0 : ERR_STATE));
    if (used && kind == AIDE_ENDED) {
        FUZZ_CHECK((g.answer.ended != 0) == was.ended);
        FUZZ_CHECK(!was.ended || g.answer.status == was.status);
    }
    return good;
}

/* ---- Hosts. */

static char dir[64];
static char path[96];

static void remove_file(void)
{
    char lock[104];

    (void)snprintf(lock, sizeof lock, "%s.lock", path);
    (void)unlink(path);
    (void)unlink(lock);
    (void)rmdir(dir);
}

/* In memory where that is possible, since each change syncs. */
static void make_file(void)
{
    if (dir[0] == '\0') {
        (void)snprintf(dir, sizeof dir, "/dev/shm/belay-fuzz.XXXXXX");
        if (mkdtemp(dir) == NULL) {
            (void)snprintf(dir, sizeof dir, "/tmp/belay-fuzz.XXXXXX");
            FUZZ_CHECK(mkdtemp(dir) != NULL);
        }
        (void)snprintf(path, sizeof path, "%s/known_hosts", dir);
        (void)atexit(remove_file);
    }
    FILE *file = fopen(path, "w");
    FUZZ_CHECK(file != NULL);
    FUZZ_CHECK(fprintf(file, "# mine\nkept:7245 sha256:%064d\n", 7) > 0);
    FUZZ_CHECK(fclose(file) == 0);
}

struct keys {
    uint8_t pin[KNOWNHOSTS_KEYS_MAX][HASH_LEN];
    size_t count;
};

/* The file can always be read. */
static struct keys keys_of(const char *host, uint16_t port)
{
    struct keys keys = {.count = 0};
    char why[TLS_TEXT_MAX] = "";

    FUZZ_CHECK(knownhosts_find(path, host, port, keys.pin, &keys.count,
                               why) == 0);
    return keys;
}

static bool is_text(const char why[TLS_TEXT_MAX])
{
    size_t len = strnlen(why, TLS_TEXT_MAX);

    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)why[i] < ' ' || why[i] == 0x7f) {
            return false;
        }
    }
    return len > 0 && len < TLS_TEXT_MAX;
}

static void check_recorded(const struct aide_host *host,
                           const struct keys *before)
{
    const struct keys after = keys_of(host->host, host->port);
    bool same = after.count == before->count &&
                memcmp(after.pin, before->pin, sizeof after.pin) == 0;

    if (before->count > 0) {
        FUZZ_CHECK(same);
        FUZZ_CHECK((g.answer.err == 0) ==
                   (memcmp(before->pin[0], host->pin, HASH_LEN) == 0));
    } else if (g.answer.err == 0) {
        FUZZ_CHECK(after.count == 1);
        FUZZ_CHECK(memcmp(after.pin[0], host->pin, HASH_LEN) == 0);
    } else {
        FUZZ_CHECK(same && is_text(g.answer.why));
    }
}

static bool ask_record(size_t len)
{
    /* A copy, for the aide may do to its own what it likes. */
    static struct aide_host host;
    bool whole = len == sizeof host &&
                 memchr(g.packet.host.host, '\0', sizeof host.host) != NULL;
    struct keys before = {.count = 0};

    memcpy(&host, &g.packet.host, sizeof host);
    if (g.duties.known_hosts != NULL && whole) {
        if (g.records++ == RECORDS_MAX) {
            return false;
        }
        before = keys_of(host.host, host.port);
    }
    bool good = send_packet(sizeof g.packet.head + len);
    if (g.duties.known_hosts == NULL || !whole) {
        FUZZ_CHECK(g.answer.err == ERR_DENIED && is_text(g.answer.why));
    } else {
        check_recorded(&host, &before);
    }
    return good;
}

/* ---- Operations. */

static bool op_start(void)
{
    const struct ssh_command *command = &commands[script_u8(&g.s) % COMMANDS];
    unsigned how = script_u8(&g.s) % 8u;
    size_t where = script_u8(&g.s);
    unsigned often = script_u8(&g.s);
    size_t len = command->text_len;
    bool good = true;

    memset(g.packet.words, 0, 64);
    memcpy(g.packet.words, command->text, len);
    if (how == 1 || how == 2) {
        len = how == 1 ? where % (len + 1) : len + 1 + where;
    } else if (how == 3) {
        g.packet.words[where % len] ^= 1;
    }
    g.packet.head = (struct aide_request){.kind = AIDE_START};
    for (unsigned n = 0; n <= often && good; n++) {
        good = ask_start(len);
    }
    return good;
}

static bool op_record(void)
{
    int shift = (int8_t)script_u8(&g.s);
    size_t len = sizeof g.packet.host;
    struct aide_host *host = &g.packet.host;

    memset(host, 0, sizeof *host);
    host->port = script_u16(&g.s);
    host->pin[0] = script_u8(&g.s);
    size_t host_len = script_u8(&g.s);
    uint8_t *text = script_copy(&g.s, &host_len);
    memcpy(host->host, text, host_len);
    free(text);
    if (shift == 1) {
        memset(host->host, 'x', sizeof host->host);
    } else if (shift < 0) {
        len = (size_t)-shift;
    }
    g.packet.head = (struct aide_request){.kind = AIDE_RECORD};
    return ask_record(len);
}

static bool op_raw(void)
{
    uint8_t kind = script_u8(&g.s);
    uint16_t number = script_u16(&g.s);
    size_t len = script_u16(&g.s);
    uint8_t *bytes = script_copy(&g.s, &len);

    if (kind == 0xff && len < sizeof g.packet.head) {
        free(bytes);
        return send_packet(len);
    }
    memset(&g.packet, 0, sizeof g.packet.head + sizeof g.packet.host);
    memcpy(g.packet.words, bytes, len);
    free(bytes);
    g.packet.head = (struct aide_request){.kind = kind, .number = number};
    return kind == AIDE_START    ? ask_start(len)
           : kind == AIDE_RECORD ? ask_record(len)
                                 : ask_after(kind, number, len);
}

/* A program ends by itself. */
static void op_end(void)
{
    struct model *m = &g.model[script_u16(&g.s) % AIDE_PROGRAMS_MAX];
    int status = script_u8(&g.s) << 8;

    if (m->used && !m->ended) {
        m->ended = true;
        m->status = status;
    }
}

static bool step(void)
{
    switch (script_u8(&g.s) % OP_COUNT) {
    case OP_START:
        return op_start();
    case OP_ENDED:
        return ask_after(AIDE_ENDED, script_u16(&g.s), 0);
    case OP_FINISH:
        return ask_after(AIDE_FINISH, script_u16(&g.s), 0);
    case OP_RECORD:
        return op_record();
    case OP_RAW:
        return op_raw();
    case OP_END:
        op_end();
        return true;
    default:
        g.fail = script_u8(&g.s) % 3u;
        return true;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t kept[] = {0x00, 0x07};

    memset(&g, 0, sizeof g);
    g.s = (struct script){data, size};
    uint8_t bits = script_u8(&g.s);
    g.duties = (struct aide_duties){.commands = commands,
                                    .count = bits % (COMMANDS + 1u)};
    if (bits & 4u) {
        make_file();
        g.duties.known_hosts = path;
    }
    g.aide.duties = &g.duties;
    for (unsigned i = 0; i < OPS_MAX && g.s.left > 0 && step(); i++) {
        check_state();
    }
    if (bits & 4u) {
        struct keys keys = keys_of("kept", 7245);

        FUZZ_CHECK(keys.count == 1 && keys.pin[0][0] == kept[0] &&
                   keys.pin[0][HASH_LEN - 1] == kept[1]);
    }
    return 0;
}
