/* The command line of belay-fault, as a plain struct.
 *
 * Parsing is pure except for name lookup: addresses stay text here and are
 * resolved by endpoint_resolve(). Strings are borrowed from argv. */
#ifndef TESTS_FAULT_OPTIONS_H
#define TESTS_FAULT_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A byte position that is never reached: the rule is off. */
#define OPTIONS_OFF UINT64_MAX

#define OPTIONS_CONNECT_MAX 16
#define OPTIONS_CUT_MAX 4096

/* What happens to a connection at a byte position. */
enum fault_action {
    FAULT_NONE,
    FAULT_RST,       /* a real TCP reset to both ends */
    FAULT_FIN,       /* a clean end of stream in the middle */
    FAULT_STALL,     /* stop forwarding, go on after a time or never */
    FAULT_HALF_OPEN, /* drop everything from both ends, keep both open */
    FAULT_TRUNCATE,  /* drop the rest, pass the end of stream as it comes */
};

struct options {
    const char *listen;
    const char *connect[OPTIONS_CONNECT_MAX];
    size_t connect_count;
    const char *stats_path; /* NULL = none */
    uint64_t seed;
    bool rules_up; /* byte rules watch client to server, else the reverse */

    /* Byte positions within one connection, OPTIONS_OFF when not given. */
    uint64_t rst_after;
    uint64_t fin_after;
    uint64_t stall_after;
    uint64_t half_open_after;
    uint64_t truncate_at;
    uint64_t *cut_at; /* heap; OPTIONS_OFF = this connection is not cut */
    size_t cut_count;
    enum fault_action cut_with;

    uint64_t rst_every;     /* bytes of all connections; 0 = off */
    int64_t rst_every_ns;   /* 0 = off */
    uint64_t fault_max;     /* events in all; UINT64_MAX = no end */
    unsigned jitter_percent;
    uint64_t flip_every;    /* bytes of one connection; 0 = off */
    int64_t stall_for_ns;   /* 0 = for ever */

    uint64_t rate;          /* bytes per second and connection; 0 = off */
    uint64_t rate_total;    /* bytes per second in all; 0 = off */
    int64_t delay_ns;       /* each direction */
    uint64_t split;         /* bytes per write; 0 = no limit */
    uint64_t refuse_first;
    uint64_t blackhole_first;
    uint64_t buffer;        /* bytes held per direction */
};

enum options_result {
    OPTIONS_RUN,
    OPTIONS_HELP,    /* --help was asked for */
    OPTIONS_VERSION, /* --version was asked for */
    OPTIONS_BAD,     /* error_text says what is wrong */
    OPTIONS_NO_MEMORY,
};

/* Read the command line into *options, which owns heap memory from here on
 * whatever the result. error_text receives at most error_len bytes. */
enum options_result options_parse(struct options *options, int argc,
    char **argv, char *error_text, size_t error_len);

/* Free what options_parse took. Harmless on a zeroed struct. */
void options_clear(struct options *options);

/* The text of --help. */
extern const char options_help[];

#endif
