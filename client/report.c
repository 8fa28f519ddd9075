#include "client/report.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum belay_reason report(struct belay_error *error, enum belay_reason reason,
                         const char *format, ...)
{
    va_list args;

    if (error != NULL) {
        error->reason = reason;
        va_start(args, format);
        (void)vsnprintf(error->text, sizeof error->text, format, args);
        va_end(args);
    }
    return reason;
}

static size_t struct_size(const void *object)
{
    size_t size;

    memcpy(&size, object, sizeof size);
    return size;
}

void report_take(void *to, size_t size, const void *from)
{
    size_t known = struct_size(from);

    memset(to, 0, size);
    memcpy(to, from, known < size ? known : size);
}

void report_give(void *to, const void *from, size_t size)
{
    size_t known = struct_size(to);

    if (known > sizeof known) {
        memcpy((char *)to + sizeof known, (const char *)from + sizeof known,
               (known < size ? known : size) - sizeof known);
    }
}
