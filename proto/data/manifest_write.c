/* The writing side of manifest.h, and its times. */
#include <stdio.h>
#include <string.h>

#include "proto/data/cid.h"
#include "proto/data/manifest.h"

#define DAY_SECONDS INT64_C(86400)
/* 0001-01-01 and the first second of year 10000. */
#define FIRST_SECOND INT64_C(-62135596800)
#define END_SECOND INT64_C(253402300800)

/* ---- Times. */

/* Days from 1970-01-01 to a day of the Gregorian calendar, which is taken to
 * reach back to year 1.  Years start in March here, so that the leap day is
 * their last. */
static int64_t days_of(int64_t year, int64_t month, int64_t day)
{
    int64_t y = month <= 2 ? year - 1 : year;
    int64_t shifted = (month + 9) % 12;
    int64_t of_year = (153 * shifted + 2) / 5 + day - 1;
    return y * 365 + y / 4 - y / 100 + y / 400 + of_year - 719468;
}

static int64_t days_in_month(int64_t year, int64_t month)
{
    static const uint8_t days[] = {31, 28, 31, 30, 31, 30,
                                   31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return days[month - 1] + (month == 2 && leap ? 1 : 0);
}

int manifest_time_parse(const char *text, size_t len, int64_t *seconds)
{
    static const char form[] = "dddd-dd-ddTdd:dd:ddZ";
    int64_t field[6] = {0};
    size_t k = 0;
    if (len != MANIFEST_TIME_LEN) {
        return ERR_SYNTAX;
    }
    for (size_t i = 0; i < len; i++) {
        if (form[i] != 'd') {
            if (text[i] != form[i]) {
                return ERR_SYNTAX;
            }
            k++;
        } else if (text[i] < '0' || text[i] > '9') {
            return ERR_SYNTAX;
        } else {
            field[k] = field[k] * 10 + (text[i] - '0');
        }
    }
    if (field[0] < 1 || field[1] < 1 || field[1] > 12 || field[2] < 1 ||
        field[2] > days_in_month(field[0], field[1]) || field[3] > 23 ||
        field[4] > 59 || field[5] > 59) {
        return ERR_SYNTAX;
    }
    *seconds = days_of(field[0], field[1], field[2]) * DAY_SECONDS +
               field[3] * 3600 + field[4] * 60 + field[5];
    return 0;
}

int manifest_time_encode(int64_t seconds, char text[MANIFEST_TIME_LEN + 1])
{
    if (seconds < FIRST_SECOND || seconds >= END_SECOND) {
        return ERR_RANGE;
    }
    int64_t days = (seconds - FIRST_SECOND) / DAY_SECONDS;
    int64_t rest = (seconds - FIRST_SECOND) % DAY_SECONDS;
    days += FIRST_SECOND / DAY_SECONDS;
    /* A year has at most 366 days, so the estimate is never too late. */
    int64_t year = 1 + (days - FIRST_SECOND / DAY_SECONDS) / 366;
    while (days_of(year + 1, 1, 1) <= days) {
        year++;
    }
    int64_t month = 1;
    while (month < 12 && days_of(year, month + 1, 1) <= days) {
        month++;
    }
    unsigned day = (unsigned)(days - days_of(year, month, 1) + 1);
    (void)snprintf(text, MANIFEST_TIME_LEN + 1,
                   "%04u-%02u-%02uT%02u:%02u:%02uZ", (unsigned)year % 10000,
                   (unsigned)month % 100, day % 100,
                   (unsigned)(rest / 3600) % 100,
                   (unsigned)(rest / 60 % 60) % 100,
                   (unsigned)(rest % 60) % 100);
    return 0;
}

/* ---- Lines. */

static void write_text(struct writer *w, const char *text)
{
    writer_bytes(w, (const uint8_t *)text, strlen(text));
}

void manifest_write_head(struct writer *w, const char *origin, size_t len,
                         uint64_t serial, int64_t expires)
{
    char time[MANIFEST_TIME_LEN + 1];
    char line[64];
    if (!note_name_ok(origin, len) ||
        manifest_time_encode(expires, time) != 0) {
        writer_fail(w, ERR_SYNTAX);
        return;
    }
    write_text(w, "belay-manifest/1\norigin ");
    writer_bytes(w, (const uint8_t *)origin, len);
    (void)snprintf(line, sizeof line, "\nserial %llu\nexpires ",
                   (unsigned long long)serial);
    write_text(w, line);
    write_text(w, time);
    write_text(w, "\n");
}

static void write_path(struct writer *w, const char *path, size_t len)
{
    static const char digits[] = "0123456789ABCDEF";
    for (size_t i = 0; i < len; i++) {
        uint8_t c = (uint8_t)path[i];
        if (c < 0x21 || c == '%' || c == 0x7f) {
            writer_u8(w, '%');
            writer_u8(w, (uint8_t)digits[c >> 4]);
            writer_u8(w, (uint8_t)digits[c & 15]);
        } else {
            writer_u8(w, c);
        }
    }
}

void manifest_write_file(struct writer *w, const struct manifest_entry *entry)
{
    char head[2 * HASH_LEN + 32];
    char cid[2 * HASH_LEN + 1];
    if (!cid_chunk_log2_ok(entry->chunk_log2) ||
        !cid_geometry_ok(entry->size, entry->chunk_log2)) {
        writer_fail(w, ERR_SYNTAX);
        return;
    }
    cid_hex_encode(entry->cid, HASH_LEN, cid);
    (void)snprintf(head, sizeof head, "%s %02u %llu ", cid,
                   entry->chunk_log2, (unsigned long long)entry->size);
    write_text(w, head);
    write_path(w, entry->path, entry->path_len);
    writer_u8(w, '\n');
}
