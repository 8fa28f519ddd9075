#include "server/access.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/limits.h"
#include "proto/data/relpath.h"
#include "proto/io/tls.h"
#include "server/textfile.h"

enum who_kind {
    WHO_ALL,
    WHO_TOKEN,
    WHO_CERT,
    WHO_KEY,
};

struct who {
    enum who_kind kind;
    char name[ACCESS_NAME_MAX + 1];
    uint8_t key[HASH_LEN];
};

struct rule {
    char *path; /* "" is the root */
    size_t path_len;
    struct who *who;
    size_t who_count;
};

/* Sorted by path, so that a rule stands behind those of its parents. */
struct access {
    struct rule *rules;
    size_t count;
};

/* ---- Reading. */

struct parse {
    struct access *access;
    struct rule *rule;
    const char *problem;
};

static int
wrong(struct parse *p, const char *problem)
{
    p->problem = problem;
    return ERR_SYNTAX;
}

static int
parse_who(struct parse *p, const char *word, size_t len, struct who *who)
{
    static const struct {
        const char *prefix;
        enum who_kind kind;
    } kinds[] = {
        { "token:", WHO_TOKEN },
        { "cert:", WHO_CERT },
    };

    if (len == 1 && word[0] == '*') {
        who->kind = WHO_ALL;
        return 0;
    }
    if (len > 4 && memcmp(word, "key:", 4) == 0) {
        who->kind = WHO_KEY;
        return tls_pin_parse(word + 4, len - 4, who->key) == 0
                   ? 0
                   : wrong(p, "key: is followed by sha256: and 64 digits");
    }
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        size_t n = strlen(kinds[i].prefix);
        if (len <= n || memcmp(word, kinds[i].prefix, n) != 0) {
            continue;
        }
        if (!textfile_is_name(word + n, len - n, ACCESS_NAME_MAX)) {
            return wrong(p, "a name has 1 to 128 letters, digits, '.', '-', "
                            "'_', '@'");
        }
        who->kind = kinds[i].kind;
        memcpy(who->name, word + n, len - n);
        who->name[len - n] = '\0';
        return 0;
    }
    return wrong(p, "WHO is *, -, token:NAME, cert:NAME or key:sha256:HEX");
}

static size_t
word_len(const char *text, size_t len)
{
    const char *comma = memchr(text, ',', len);
    return comma != NULL ? (size_t)(comma - text) : len;
}

static int
parse_all_who(struct parse *p, const char *text, size_t len)
{
    struct rule *rule = p->rule;

    if (len == 1 && text[0] == '-') {
        return 0;
    }
    rule->who = calloc(ACCESS_WHO_MAX, sizeof(*rule->who));
    if (rule->who == NULL) {
        return ERR_NOMEM;
    }
    for (size_t at = 0; at <= len;) {
        size_t n = word_len(text + at, len - at);
        if (rule->who_count == ACCESS_WHO_MAX) {
            return wrong(p, "at most 64 names stand in one line");
        }
        int err = parse_who(p, text + at, n, &rule->who[rule->who_count++]);
        if (err != 0) {
            return err;
        }
        at += n + 1;
    }
    return 0;
}

static int
parse_path(struct parse *p, const char *text, size_t len)
{
    if (len == 0 || text[0] != '/' || relpath_check(text + 1, len - 1) != 0) {
        return wrong(p, "the path begins with '/', does not end with it, and "
                        "has no empty, '.' or '..' part");
    }
    p->rule->path = strndup(text + 1, len - 1);
    p->rule->path_len = len - 1;
    return p->rule->path != NULL ? 0 : ERR_NOMEM;
}

/* Of one line: "WHO PATH". */
static int
take_line(void *arg, const char *line, size_t len)
{
    struct parse *p = arg;
    size_t who_len = 0;

    if (p->access->count == ACCESS_RULES_MAX) {
        return wrong(p, "there are at most 4096 rules");
    }
    while (who_len < len && line[who_len] != ' ' && line[who_len] != '\t') {
        who_len++;
    }
    size_t path_at = who_len;
    while (path_at < len && (line[path_at] == ' ' || line[path_at] == '\t')) {
        path_at++;
    }
    p->rule = &p->access->rules[p->access->count++];
    int err = parse_path(p, line + path_at, len - path_at);
    return err != 0 ? err : parse_all_who(p, line, who_len);
}

/* Bytewise, with '/' before every other byte, so that what is below a path
 * follows it directly. */
static int
by_path(const void *a, const void *b)
{
    const char *x = ((const struct rule *)a)->path;
    const char *y = ((const struct rule *)b)->path;

    while (*x != '\0' && *x == *y) {
        x++;
        y++;
    }
    int p = *x == '/' ? 1 : *x == '\0' ? 0 : 2 + (unsigned char)*x;
    int q = *y == '/' ? 1 : *y == '\0' ? 0 : 2 + (unsigned char)*y;
    return p - q;
}

static int
sort_rules(struct access *access, char why[ACCESS_WHY_MAX])
{
    qsort(access->rules, access->count, sizeof(*access->rules), by_path);
    for (size_t i = 1; i < access->count; i++) {
        if (by_path(&access->rules[i - 1], &access->rules[i]) == 0) {
            (void)snprintf(why, ACCESS_WHY_MAX,
                           "two rules are for the same path");
            return ERR_SYNTAX;
        }
    }
    return 0;
}

int
access_new(struct bytes_view text, struct access **out,
           char why[ACCESS_WHY_MAX])
{
    struct access *access = calloc(1, sizeof(*access));
    struct parse p = { .access = access };
    unsigned line = 0;
    int err = ERR_NOMEM;

    (void)snprintf(why, ACCESS_WHY_MAX, "out of memory");
    if (access != NULL) {
        access->rules = calloc(ACCESS_RULES_MAX, sizeof(*access->rules));
    }
    if (access != NULL && access->rules != NULL) {
        err = textfile_each(text, take_line, &p, &line);
    }
    if (err == ERR_SYNTAX) {
        (void)snprintf(why, ACCESS_WHY_MAX, "line %u: %s", line,
                       p.problem != NULL ? p.problem
                                         : "a control character");
    } else if (err == 0) {
        err = sort_rules(access, why);
    }
    if (err != 0) {
        access_free(access);
        return err;
    }
    *out = access;
    return 0;
}

void
access_free(struct access *access)
{
    if (access == NULL) {
        return;
    }
    for (size_t i = 0; i < access->count && access->rules != NULL; i++) {
        free(access->rules[i].path);
        free(access->rules[i].who);
    }
    free(access->rules);
    free(access);
}

/* ---- Deciding. */

static bool
leads_to(const struct rule *rule, const char *path)
{
    return strncmp(path, rule->path, rule->path_len) == 0 &&
           (rule->path_len == 0 || path[rule->path_len] == '\0' ||
            path[rule->path_len] == '/');
}

static bool
is_who(const struct who *w, const struct access_who *who)
{
    switch (w->kind) {
    case WHO_ALL:
        return true;
    case WHO_TOKEN:
        return who->token != NULL && strcmp(who->token, w->name) == 0;
    case WHO_CERT:
        return who->cert != NULL && strcmp(who->cert, w->name) == 0;
    case WHO_KEY:
        return who->has_key && memcmp(who->key, w->key, HASH_LEN) == 0;
    }
    BELAY_UNREACHABLE();
}

static bool
admits(const struct rule *rule, const struct access_who *who)
{
    for (size_t i = 0; i < rule->who_count; i++) {
        if (is_who(&rule->who[i], who)) {
            return true;
        }
    }
    return false;
}

/* The last one that leads to the path is the longest: they are sorted. */
bool
access_may_read(const struct access *access, const struct access_who *who,
                const char *path)
{
    const struct rule *best = NULL;

    for (size_t i = 0; i < access->count; i++) {
        if (leads_to(&access->rules[i], path)) {
            best = &access->rules[i];
        }
    }
    return best != NULL && admits(best, who);
}

bool
access_may_pass(const struct access *access, const struct access_who *who,
                const char *path)
{
    size_t len = strlen(path);

    if (access_may_read(access, who, path)) {
        return true;
    }
    for (size_t i = 0; i < access->count; i++) {
        const struct rule *rule = &access->rules[i];
        if (rule->path_len > len &&
            strncmp(rule->path, path, len) == 0 &&
            (len == 0 || rule->path[len] == '/') && admits(rule, who)) {
            return true;
        }
    }
    return false;
}

int
access_each_token(const struct access *access, access_name_fn *fn, void *arg)
{
    for (size_t i = 0; i < access->count; i++) {
        const struct rule *rule = &access->rules[i];
        for (size_t k = 0; k < rule->who_count; k++) {
            int err = rule->who[k].kind == WHO_TOKEN
                          ? fn(arg, rule->who[k].name)
                          : 0;
            if (err != 0) {
                return err;
            }
        }
    }
    return 0;
}

bool
access_names_certs(const struct access *access)
{
    for (size_t i = 0; i < access->count; i++) {
        const struct rule *rule = &access->rules[i];
        for (size_t k = 0; k < rule->who_count; k++) {
            if (rule->who[k].kind == WHO_CERT ||
                rule->who[k].kind == WHO_KEY) {
                return true;
            }
        }
    }
    return false;
}
