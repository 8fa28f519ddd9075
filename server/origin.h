/* An origin: the least part of the network that the server tells apart when it
 * counts what comes from where. An IPv4 address (also one in the IPv6 form of
 * a socket for both), or an IPv6 /64, which a single machine usually has all
 * of. A port or an interface makes no difference.
 *
 * Pure values; any thread. */
#ifndef SERVER_ORIGIN_H
#define SERVER_ORIGIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/check.h"
#include "proto/base/err.h"
#include "proto/io/net.h"

/* No padding, so that two of them may be compared as bytes. All zeros: no
 * address at all, as on a pipe. */
struct origin {
    uint8_t family; /* 4, 6, or 0 */
    uint8_t bytes[8];
};

struct origin origin_of(const struct net_addr *addr);
bool origin_equal(const struct origin *a, const struct origin *b);

/* Spreads origins over a table; a random seed keeps strangers from choosing
 * where they land. */
uint64_t origin_hash(const struct origin *origin, uint64_t seed);

/* "192.0.2.1" or "2001:db8:1:2::/64", terminated; "-" for none. */
#define ORIGIN_TEXT_MAX 56
void origin_text(const struct origin *origin, char text[ORIGIN_TEXT_MAX]);

/* ---- Ranges of addresses, as an operator names them. */

struct origin_range {
    uint8_t family; /* 4 or 6 */
    uint8_t bits;
    uint8_t bytes[16];
};

/* "192.0.2.0/24", "2001:db8::/32", or one address. Numbers only: a name that
 * cannot be looked up would be a rule that does not hold. ERR_SYNTAX, also
 * when bits behind the mask are set, because then the text may not mean what
 * it says. */
MUST_USE int origin_range_parse(const char *text, struct origin_range *out);

bool origin_range_has(const struct origin_range *range,
                      const struct net_addr *addr);

#endif
