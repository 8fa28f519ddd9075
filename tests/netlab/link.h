/* The emulated link: two TUN devices, a channel each way, and the faults
 * that need to know connections. Not thread-safe: one owner, which reads the
 * devices and calls link_tick() when it says. */
#ifndef TESTS_NETLAB_LINK_H
#define TESTS_NETLAB_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/netlab/channel.h"
#include "tests/netlab/flows.h"
#include "tests/netlab/settings.h"
#include "tests/netlab/tun.h"

struct link {
    struct settings settings;
    struct flows flows;
    struct channel channel[2];  /* by settings_way = sending flows_end */
    struct tun tun[2];          /* by flows_end */
    int64_t started_ns;
    int64_t first_flow_ns;      /* 0 = none yet */
    int64_t rst_next_ns;        /* 0 = not armed */
    int64_t dark_until_ns;
    int64_t expire_ns;          /* next look for idle flows */
    uint64_t rst_events;        /* cuts that hit at least one connection */
    uint64_t flows_cut;
    uint64_t flows_muted;
    uint64_t rsts_sent;         /* forged packets, answers included */
};

/* Take the settings and open both ends: namespaces, devices, tables. Must
 * run while the process has one thread; it is left in the server's
 * namespace. Returns 0 or a negative errno with *step telling what failed;
 * link_close is allowed in both cases. */
int link_open(struct link *link, const struct settings *settings,
    const char **step);

void link_close(struct link *link);

/* A packet has left the host at end from. */
void link_input(struct link *link, enum flows_end from, const uint8_t *data,
    size_t len, int64_t now_ns);

/* Deliver what is due and do what time demands. Returns when to call again,
 * INT64_MAX for never. */
int64_t link_tick(struct link *link, int64_t now_ns);

/* Reset every live connection now. */
void link_cut_all(struct link *link);

/* Every live connection falls silent for good now; new ones pass. */
void link_mute_all(struct link *link);

/* Nothing passes for len_ns from now on. */
void link_darken(struct link *link, int64_t now_ns, int64_t len_ns);

#define LINK_REPORT_MAX 2048

/* Write the counters as one line of JSON, newline included. */
size_t link_report(const struct link *link, int64_t now_ns,
    char line[LINK_REPORT_MAX]);

#endif
