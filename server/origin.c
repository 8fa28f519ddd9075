#include "server/origin.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The address in network order; IPv4 in the IPv6 form counts as IPv4, or all
 * of it would be one /64. Returns the family: 4, 6 or 0. */
static uint8_t
address_of(const struct net_addr *addr, uint8_t bytes[16])
{
    memset(bytes, 0, 16);
    if (addr->len != 0 && addr->storage.ss_family == AF_INET) {
        const struct sockaddr_in *in =
            (const struct sockaddr_in *)&addr->storage;
        memcpy(bytes, &in->sin_addr, 4);
        return 4;
    }
    if (addr->len != 0 && addr->storage.ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 =
            (const struct sockaddr_in6 *)&addr->storage;
        if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr)) {
            memcpy(bytes, in6->sin6_addr.s6_addr + 12, 4);
            return 4;
        }
        memcpy(bytes, &in6->sin6_addr, 16);
        return 6;
    }
    return 0;
}

struct origin
origin_of(const struct net_addr *addr)
{
    struct origin origin;
    uint8_t bytes[16];

    origin.family = address_of(addr, bytes);
    memcpy(origin.bytes, bytes, sizeof(origin.bytes));
    return origin;
}

bool
origin_equal(const struct origin *a, const struct origin *b)
{
    return memcmp(a, b, sizeof(*a)) == 0;
}

uint64_t
origin_hash(const struct origin *origin, uint64_t seed)
{
    uint64_t h = 0;

    memcpy(&h, origin->bytes, sizeof(h));
    h ^= seed ^ origin->family;
    for (int i = 0; i < 2; i++) {
        h ^= h >> 32;
        h *= UINT64_C(0x9E3779B97F4A7C15);
    }
    return h ^ h >> 29;
}

void
origin_text(const struct origin *origin, char text[ORIGIN_TEXT_MAX])
{
    uint8_t bytes[16] = { 0 };
    char address[INET6_ADDRSTRLEN];

    memcpy(bytes, origin->bytes, sizeof(origin->bytes));
    if (origin->family == 0 ||
        inet_ntop(origin->family == 4 ? AF_INET : AF_INET6, bytes, address,
                  sizeof(address)) == NULL) {
        memcpy(text, "-", sizeof("-"));
        return;
    }
    (void)snprintf(text, ORIGIN_TEXT_MAX, "%s%s", address,
                   origin->family == 6 ? "/64" : "");
}

/* ---- Ranges. */

static bool
parse_bits(const char *text, unsigned most, uint8_t *out)
{
    size_t len = strspn(text, "0123456789");
    if (len == 0 || len > 3 || text[len] != '\0') {
        return false;
    }
    unsigned long bits = strtoul(text, NULL, 10);
    *out = (uint8_t)bits;
    return bits <= most;
}

/* Are the first bits of both equal? */
static bool
same_start(const uint8_t *a, const uint8_t *b, unsigned bits)
{
    unsigned whole = bits / 8;
    unsigned rest = bits % 8;

    if (memcmp(a, b, whole) != 0) {
        return false;
    }
    return rest == 0 || (a[whole] ^ b[whole]) >> (8 - rest) == 0;
}

static bool
ends_in_zeros(const struct origin_range *range)
{
    uint8_t masked[16] = { 0 };
    unsigned whole = range->bits / 8;

    memcpy(masked, range->bytes, whole);
    if (range->bits % 8 != 0) {
        masked[whole] = (uint8_t)(range->bytes[whole] &
                                  (0xFF00u >> (range->bits % 8)));
    }
    return memcmp(masked, range->bytes, sizeof(masked)) == 0;
}

int
origin_range_parse(const char *text, struct origin_range *out)
{
    char address[INET6_ADDRSTRLEN];
    const char *slash = strchr(text, '/');
    size_t len = slash == NULL ? strlen(text) : (size_t)(slash - text);

    if (len >= sizeof(address)) {
        return ERR_SYNTAX;
    }
    memcpy(address, text, len);
    address[len] = '\0';
    memset(out, 0, sizeof(*out));
    if (inet_pton(AF_INET, address, out->bytes) == 1) {
        out->family = 4;
        out->bits = 32;
    } else if (inet_pton(AF_INET6, address, out->bytes) == 1) {
        out->family = 6;
        out->bits = 128;
    } else {
        return ERR_SYNTAX;
    }
    if (slash != NULL && !parse_bits(slash + 1, out->bits, &out->bits)) {
        return ERR_SYNTAX;
    }
    return ends_in_zeros(out) ? 0 : ERR_SYNTAX;
}

bool
origin_range_has(const struct origin_range *range, const struct net_addr *addr)
{
    uint8_t bytes[16];

    return address_of(addr, bytes) == range->family &&
           same_start(range->bytes, bytes, range->bits);
}
