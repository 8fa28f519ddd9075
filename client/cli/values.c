#include "client/cli/values.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "client/belay.h"

bool value_bytes(const char *text, uint64_t *out)
{
    char *end;
    double value;
    double scale = 1;

    errno = 0;
    value = strtod(text, &end);
    if (end == text || errno != 0 || !(value >= 0)) {
        return false;
    }
    switch (*end) {
    case 'k':
    case 'K':
        scale = 1024;
        break;
    case 'm':
    case 'M':
        scale = 1048576;
        break;
    case 'g':
    case 'G':
        scale = 1073741824;
        break;
    case 't':
    case 'T':
        scale = 1099511627776.0;
        break;
    case '\0':
        break;
    default:
        return false;
    }
    if (*end != '\0') {
        end++;
        if (strcmp(end, "iB") == 0 || strcmp(end, "B") == 0) {
            end += strlen(end);
        }
    }
    value *= scale;
    if (*end != '\0' || value >= 9.2e18 || value < 1) {
        return false;
    }
    *out = (uint64_t)value;
    return true;
}

bool value_seconds(const char *text, uint64_t *ms)
{
    char *end;
    double value = strtod(text, &end);

    if (end == text || *end != '\0' || !(value > 0) || value > 1e9) {
        return false;
    }
    *ms = (uint64_t)(value * 1000);
    *ms += *ms == 0; /* the shortest that can be asked for */
    return true;
}

bool value_number(const char *text, unsigned long least, unsigned long most,
                  unsigned *out)
{
    char *end;
    unsigned long value;

    errno = 0;
    value = strtoul(text, &end, 10);
    if (end == text || *end != '\0' || errno != 0 || text[0] == '-' ||
        value < least || value > most) {
        return false;
    }
    *out = (unsigned)value;
    return true;
}

bool value_tries(const char *text, unsigned *out)
{
    if (strcmp(text, "inf") == 0 || strcmp(text, "0") == 0) {
        *out = 0;
        return true;
    }
    return value_number(text, 1, 1000000, out);
}

bool value_clock(const char *text, uint64_t *ms)
{
    char *end;
    unsigned long hour = strtoul(text, &end, 10);
    unsigned long minute = *end == ':' ? strtoul(end + 1, &end, 10) : 60;
    struct timespec now;
    struct tm parts;
    int64_t left;

    if (text[0] < '0' || text[0] > '9' || *end != '\0' || hour > 23 ||
        minute > 59 || clock_gettime(CLOCK_REALTIME, &now) != 0 ||
        localtime_r(&now.tv_sec, &parts) == NULL) {
        return false;
    }
    left = ((int64_t)hour - parts.tm_hour) * 3600 +
           ((int64_t)minute - parts.tm_min) * 60 - parts.tm_sec;
    left += left <= 0 ? 86400 : 0;
    *ms = (uint64_t)left * 1000;
    return true;
}

bool value_chunk(const char *text, uint32_t *bytes)
{
    uint64_t value;

    if (!value_bytes(text, &value) || value < BELAY_CHUNK_SIZE_MIN ||
        value > BELAY_CHUNK_SIZE_MAX || (value & (value - 1)) != 0) {
        return false;
    }
    *bytes = (uint32_t)value;
    return true;
}

bool value_sha256(const char *text)
{
    return strlen(text) == 64 &&
           strspn(text, "0123456789abcdefABCDEF") == 64;
}

bool value_checksum(const char *text, const char **hex)
{
    static const char *const prefixes[] = {"sha256:", "sha256=", "sha-256:",
                                           "sha-256="};

    for (size_t k = 0; k < sizeof prefixes / sizeof prefixes[0]; k++) {
        size_t len = strlen(prefixes[k]);

        if (strncasecmp(text, prefixes[k], len) == 0) {
            *hex = text + len;
            return value_sha256(*hex);
        }
    }
    return false;
}
