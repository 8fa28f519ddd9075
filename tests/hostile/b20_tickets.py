#!/usr/bin/env python3
"""B20: a session of one server offered to another, or after the token was
revoked: the whole handshake and AUTH again."""

import os
import socket

from kit import R, borrow, case, check, hello, main

auth = borrow("auth_access", "revoked_while_in_use")

from tlskit import TlsBelayd, client_context, self_made         # noqa: E402


def connect(context, port, session=None):
    sock = socket.create_connection(("127.0.0.1", port), 20)
    tls = context.wrap_socket(sock, session=session)
    tls.settimeout(20)
    tls.sendall(hello())
    tls.recv(1 << 16)
    return tls


@case
def no_session_is_taken_up(tmp):
    """There are no tickets, so nothing can be resumed: not with the same
    server, and not with one that has the same certificate."""
    identity = self_made(tmp)
    with TlsBelayd(identity) as one, TlsBelayd(identity) as two:
        context = client_context()
        first = connect(context, one.port)
        session = first.session
        check(session is None or not session.has_ticket, "a ticket")
        for server in (one, two, one):
            tls = connect(context, server.port, session)
            check(not tls.session_reused, "a session was resumed")
            tls.close()
        first.close()


@case
def each_connection_says_who_it_is(tmp):
    """What one connection proved is worth nothing for the next one."""
    tokens = os.path.join(tmp, "tokens")
    token = auth.make_token(tokens, "alice").encode()
    with TlsBelayd(self_made(tmp), "--tokens", tokens) as server:
        with auth.TlsRaw(server.port) as known:
            check(known.judged(token=token) == 0, "token")
            known.answer(known.open("file"), "INFO")
            with auth.TlsRaw(server.port) as other:
                check(other.error(other.open("file")) ==
                      R.WIRE_AUTH_REQUIRED, "came in without a word")


if __name__ == "__main__":
    main()
