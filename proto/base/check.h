/* Checks that are never compiled out.
 *
 * BELAY_ASSERT states what the program itself guarantees; it aborts with the
 * place and the condition. Input of a peer, a user or a disk must never reach
 * one: such input is answered with an error of err.h. A crash is cheap for a
 * resumable download, wrong bytes are not, so release builds assert as well.
 *
 * Thread rules: none, nothing is shared. */

#ifndef PROTO_BASE_CHECK_H
#define PROTO_BASE_CHECK_H

/* The result of the function says whether it worked: callers look at it. */
#define MUST_USE __attribute__((warn_unused_result))

/* True at compile time, or the file does not compile. */
#define BELAY_STATIC_ASSERT(condition, text) _Static_assert(condition, text)

/* Print place and condition to standard error and abort. */
_Noreturn void check_failed(const char *file, int line, const char *condition);

#define BELAY_ASSERT(condition) \
    ((condition) ? (void)0 : check_failed(__FILE__, __LINE__, #condition))

/* A branch that no state of the program leads to. */
#define BELAY_UNREACHABLE() check_failed(__FILE__, __LINE__, "unreachable")

#endif
