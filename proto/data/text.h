/* Bytes of a peer made fit for a terminal or a log line.
 *
 * Printable UTF-8 stays as it is.  Everything that could steer a terminal,
 * break a line, or make text look like other text becomes \xNN for each of
 * its bytes: control characters (C0, DEL, C1), marks that change the writing
 * direction, line and paragraph separators, invisible tag characters, and
 * bytes that are not UTF-8.  A backslash becomes \\, so the result is
 * unambiguous.
 *
 * Implements the display rule of section 16 (N3, NOTICE, MESSAGE).  Pure. */
#ifndef PROTO_DATA_TEXT_H
#define PROTO_DATA_TEXT_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Smallest buffer that text_escape() accepts: the mark of a cut and a NUL. */
#define TEXT_ESCAPE_MIN 4

/* Buffer that always holds the whole result for `len` bytes. */
#define TEXT_ESCAPE_SIZE(len) (4 * (len) + 1)

/* Writes `len` bytes at `bytes`, escaped, and a NUL to `out`, which holds
 * `cap` >= TEXT_ESCAPE_MIN bytes (asserted).  What does not fit is cut at a
 * whole character or escape and shown by a final ellipsis (U+2026).  Returns
 * the bytes written without the NUL.  `bytes` may be NULL when `len` is 0. */
size_t text_escape(char *out, size_t cap, const void *bytes, size_t len);

/* Is it all UTF-8 (RFC 3629: no overlong form, no surrogate)?  `bytes` may be
 * NULL when `len` is 0. */
bool text_is_utf8(const void *bytes, size_t len);

/* vsnprintf() whose result, when it does not fit, is cut at a whole character
 * and shown so as above.  `cap` >= TEXT_ESCAPE_MIN (asserted). */
void text_vprint(char *out, size_t cap, const char *format, va_list args)
    __attribute__((format(printf, 3, 0)));

/* A number of bytes for people: "17 B", "1.50 MiB". */
void text_size(char *out, size_t cap, uint64_t bytes);

#endif
