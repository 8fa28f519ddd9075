#include "server/conn_internal.h"

void
serve_list(struct conn *conn, const struct sender_job *job)
{
    serve_code(conn, job->id, WIRE_UNSUPPORTED);
}
