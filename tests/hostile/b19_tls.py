#!/usr/bin/env python3
"""B19: TLS: junk, old versions, huge and cut hellos, early data, another
handshake, plaintext: refused in time, and nothing in plaintext is obeyed."""

import contextlib
import socket
import ssl
import struct

from kit import W, borrow, case, check, check_log, hello, main, whole_log

borrow("tls_server", "hostile_hellos", "one_port_for_both")
tls_server = borrow("tls_server")

from tlskit import TlsBelayd, client_context, self_made


def whole(server):
    return whole_log(server).decode()


def refused(server, context):
    """Does the server end the handshake?"""
    with socket.create_connection(("127.0.0.1", server.port), 20) as sock:
        try:
            with context.wrap_socket(sock) as tls:
                return tls.recv(1) == b""
        except (ssl.SSLError, OSError):
            return True


@case
def what_is_older_than_1_3(tmp):
    identity = self_made(tmp)
    with TlsBelayd(identity, "--exempt", "127.0.0.1") as server:
        for version in (ssl.TLSVersion.TLSv1_2,):
            context = client_context()
            context.minimum_version = version
            context.maximum_version = version
            check(refused(server, context), "%s was taken" % version)
        for alpn in ((), ("h2",), ("belay/2",), ("http/1.1", "belay/11")):
            check(refused(server, client_context(alpn)), "ALPN %r" % (alpn,))
        # Hellos of SSL 2 to TLS 1.1, as their version field says.
        for version in (0x0002, 0x0300, 0x0301, 0x0302):
            data = struct.pack(">BHHBBHH", 0x16, 0x0301, 45, 1, 0, 41,
                               version) + bytes(32) + \
                b"\0\0\2\x00\x2f\1\0"
            with socket.create_connection(("127.0.0.1", server.port),
                                          20) as sock:
                sock.sendall(data)
                sock.settimeout(20)
                answer = b""
                with contextlib.suppress(ConnectionResetError):
                    answer = sock.recv(100)
                check(answer[:1] in (b"", b"\x15"), "%04x: %r" %
                      (version, answer))
        tls_server.still_serves(server, tmp, identity)
        check_log(server)


@case
def plaintext_is_never_obeyed(tmp):
    """A whole plain conversation before, instead of and behind the handshake:
    no frame of it is answered, no file is opened."""
    identity = self_made(tmp)
    talk = hello() + W.encode("OPEN", 1, {"handle": 1, "want_chunk_log2": 0,
                                          "path": b"small", "flags": 0})
    client = tls_server.hello_bytes()
    with TlsBelayd(identity, "--verbose", "--exempt", "127.0.0.1") as server:
        for data in (talk, client + talk, talk + client,
                     client[:100] + talk, b"\x16" + talk,
                     b"\x16\x03\x01" + struct.pack(">H", len(talk)) + talk,
                     b"\x17\x03\x03" + struct.pack(">H", len(talk)) + talk):
            with socket.create_connection(("127.0.0.1", server.port),
                                          20) as sock:
                sock.settimeout(20)
                with contextlib.suppress(ConnectionError):
                    sock.sendall(data)
                    while sock.recv(1 << 16):
                        pass
        lines = [line for line in whole(server).splitlines()
                 if " close " in line]
        check(lines and all(" requests=0 " in line for line in lines),
              "a request was taken:\n" + "\n".join(lines))
        tls_server.still_serves(server, tmp, identity)


@case
def junk_within_the_tunnel(tmp):
    """Records that no key made, alerts, and key updates by the hundred."""
    identity = self_made(tmp)
    with TlsBelayd(identity, "--exempt", "127.0.0.1") as server:
        for junk in (b"\x17\x03\x03\x00\x20" + bytes(32),
                     b"\x15\x03\x03\x00\x02\x02\x28",
                     b"\x14\x03\x03\x00\x01\x01" * 20, bytes(100),
                     b"\x17\x03\x03\xff\xff"):
            with socket.create_connection(("127.0.0.1", server.port),
                                          20) as sock:
                raw = socket.socket(fileno=socket.dup(sock.fileno()))
                tls = client_context().wrap_socket(sock)
                tls.sendall(hello())
                tls.recv(100)
                raw.sendall(junk)
                tls.settimeout(20)
                with contextlib.suppress(OSError):
                    while tls.recv(1 << 16):
                        pass
                raw.close()
                tls.close()
        tls_server.still_serves(server, tmp, identity)
        check("worker-crash" not in whole(server), server.text())


if __name__ == "__main__":
    main()
