"""TLS for both parts: contexts, and a front that ends TLS before a server."""

import os
import select
import socket
import ssl
import struct
import threading

HERE = os.path.dirname(os.path.realpath(__file__))
FOLDER = os.path.join(HERE, "tls")
CA = os.path.join(FOLDER, "ca.pem")
ALPN = "belay/1"

TLS_HANDSHAKE, CLIENT_HELLO, EXT_EARLY_DATA = 22, 1, 42


def server_context(chain="good", alpn=ALPN, newest=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(os.path.join(FOLDER, chain + ".pem"))
    context.minimum_version = newest or ssl.TLSVersion.TLSv1_3
    if newest:
        context.maximum_version = newest
    if alpn:
        context.set_alpn_protocols([alpn])
    return context


def client_context(alpn=ALPN, newest=None):
    """Whatever certificate: the server under test has one of its own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = newest or ssl.TLSVersion.TLSv1_3
    if newest:
        context.maximum_version = newest
    if alpn:
        context.set_alpn_protocols([alpn])
    return context


class Front:
    """Serves one TLS connection and hands its bytes on to a plain socket.

    One thread moves the bytes of both directions, because an SSL object must
    not be used by two."""

    def __init__(self, sock, context, address=None):
        """Does the handshake; ssl.SSLError or OSError when it fails.  The
        bytes go to the server at address, or to .inner."""
        sock.settimeout(10)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.tls = context.wrap_socket(sock, server_side=True)
        self.tls.setblocking(False)
        if address:
            self.plain, self.inner = socket.create_connection(address), None
            self.plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        else:
            self.plain, self.inner = socket.socketpair()

    def start(self):
        threading.Thread(target=self.run, daemon=True).start()
        return self.inner

    def run(self):
        try:
            while self.turn():
                pass
        except OSError:                 # a reset, or the other side is gone
            pass
        finally:
            self.plain.close()
            self.tls.close()

    def turn(self):
        """Moves what has come; False at the end of the server's bytes."""
        if not self.tls.pending():
            select.select([self.tls, self.plain], [], [])
        self.upward()
        if select.select([self.plain], [], [], 0)[0]:
            data = self.plain.recv(65536)
            if not data:
                self.goodbye()
                return False
            self.write(data)
        return True

    def upward(self):
        try:
            data = self.tls.recv(65536)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return
        if not data:
            raise OSError("the client has left")
        self.plain.sendall(data)

    def write(self, data):
        while data:
            try:
                data = data[self.tls.send(data):]
            except ssl.SSLWantWriteError:
                select.select([], [self.tls], [])
            except ssl.SSLWantReadError:
                select.select([self.tls], [], [])

    def goodbye(self):
        """close_notify, without waiting for the client's."""
        try:
            self.tls.unwrap()
        except (ssl.SSLError, OSError):
            pass


def peek_client_hello(sock, patience=10.0):
    """The first TLS record as it stands in the socket, or what came in its
    place; the bytes stay there."""
    sock.settimeout(patience)
    data = b""
    try:
        data = sock.recv(5, socket.MSG_PEEK)
        if data[:1] != bytes([TLS_HANDSHAKE]):
            return data
        head = sock.recv(5, socket.MSG_PEEK | socket.MSG_WAITALL)
        size = struct.unpack(">H", head[3:5])[0]
        return sock.recv(5 + size, socket.MSG_PEEK | socket.MSG_WAITALL)
    except (OSError, struct.error):
        return data


def extensions(record):
    """The extension types of the ClientHello in a TLS record."""
    if record[:1] != bytes([TLS_HANDSHAKE]) or record[5] != CLIENT_HELLO:
        return None
    at = 5 + 4 + 2 + 32                 # headers, version, random
    at += 1 + record[at]                # session id
    at += 2 + struct.unpack_from(">H", record, at)[0]       # cipher suites
    at += 1 + record[at]                # compression methods
    end = at + 2 + struct.unpack_from(">H", record, at)[0]
    at, found = at + 2, []
    while at + 4 <= min(end, len(record)):
        kind, size = struct.unpack_from(">HH", record, at)
        found.append(kind)
        at += 4 + size
    return found
