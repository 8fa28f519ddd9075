"""Authorities, certificates and a server with TLS, for scenarios.

The outside witness for certificates is the openssl program; peers that
misbehave are Python's ssl module.
"""

import contextlib
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading

from harness import (Failure, Listening, Peer, Skip, as_strict_as_possible,
                     as_user, aside, program, shelf, wait_until)
from rawclient import Raw, hello

import registry as R

ALPN = "belay/1"


def openssl(*args, **options):
    if not shutil.which("openssl"):
        raise Skip("needs the openssl program")
    return subprocess.run(["openssl", *map(str, args)], check=True,
                          capture_output=True, timeout=30, **options)


class Authority:
    """A certificate authority in a directory of its own."""

    def __init__(self, tmp, name="ca"):
        self.dir = os.path.join(str(tmp), name)
        os.mkdir(self.dir)
        self.key, self.cert = self.path("ca.key"), self.path("ca.pem")
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt",
                "ec_paramgen_curve:P-256", "-nodes", "-keyout", self.key,
                "-out", self.cert, "-days", "30", "-subj", "/CN=" + name)

    def path(self, name):
        return os.path.join(self.dir, name)

    def issue(self, name, alt="DNS:localhost,IP:127.0.0.1", cn=None,
              expired=False, usage="serverAuth"):
        """(certificate, key) files; alt None: without alternative names."""
        key, request = self.path(name + ".key"), self.path(name + ".csr")
        cert, conf = self.path(name + ".pem"), self.path(name + ".cnf")
        openssl("req", "-newkey", "ec", "-pkeyopt",
                "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out",
                request, "-subj", "/CN=" + (cn or name))
        with open(conf, "w") as out:
            out.write("extendedKeyUsage=%s\n" % usage)
            if alt:
                out.write("subjectAltName=%s\n" % alt)
        if expired:
            # x509 takes no dates; ca does.
            self.sign_expired(request, cert, conf)
        else:
            openssl("x509", "-req", "-in", request, "-CA", self.cert,
                    "-CAkey", self.key, "-CAcreateserial", "-days", "20",
                    "-extfile", conf, "-out", cert)
        os.chmod(key, 0o600)
        return cert, key

    def sign_expired(self, request, cert, conf):
        base = self.path("db")
        os.makedirs(base, exist_ok=True)
        open(os.path.join(base, "index.txt"), "w").close()
        settings = os.path.join(base, "ca.cnf")
        with open(settings, "w") as out:
            out.write("[ca]\ndefault_ca=d\n[d]\ndatabase=%s/index.txt\n"
                      "rand_serial=yes\nnew_certs_dir=%s\n"
                      "default_md=sha256\npolicy=p\n"
                      "[p]\ncommonName=supplied\n" % (base, base))
        openssl("ca", "-batch", "-config", settings, "-cert", self.cert,
                "-keyfile", self.key, "-in", request, "-out", cert,
                "-startdate", "20200101000000Z", "-enddate",
                "20210101000000Z", "-extfile", conf, "-notext")


def pin_of(cert):
    """The pin, computed by openssl rather than by us."""
    key = openssl("x509", "-in", cert, "-noout", "-pubkey").stdout
    der = openssl("pkey", "-pubin", "-outform", "DER", input=key).stdout
    digest = openssl("dgst", "-sha256", "-r", input=der).stdout
    return "sha256:" + digest.decode().split()[0]


def self_made(tmp, name="id", host="localhost"):
    """belayd init: (certificate, key, the pin that it printed)."""
    where = os.path.join(str(tmp), name)
    done = subprocess.run([program("BELAYD"), "init", where, host],
                          check=True, capture_output=True, text=True,
                          timeout=30)
    pin = [w for w in done.stdout.split() if w.startswith("sha256:")][0]
    return (os.path.join(where, "cert.pem"), os.path.join(where, "key.pem"),
            pin)


class TlsBelayd(Listening):
    """belayd with TLS, and without --plain unless it is asked for."""

    def __init__(self, identity, *args, root=None, listen="127.0.0.1:0"):
        root = root or shelf()
        base = tempfile.mkdtemp(prefix="belayd-", dir=aside())
        os.mkdir(os.path.join(base, "cache"))
        self.host = listen.rpartition(":")[0]
        self.options = ["--root", str(root), "--cache",
                        os.path.join(base, "cache"), *as_user(),
                        *as_strict_as_possible(), "--tls-cert", identity[0],
                        "--tls-key", identity[1], *map(str, args)]
        super().__init__([program("BELAYD"), "--listen", listen,
                          *self.options], os.path.join(base, "log"))

    def url(self, name="file", host="localhost"):
        return "belay://%s:%d/%s" % (host, self.port, name)

    def reload(self, words="reload"):
        """SIGHUP, until the log tells what came of it, for each worker: the
        next signal must not merge with this one."""
        def told(text):
            return len(re.findall(r" reload(?:-failed)? worker=\d", text))

        def done():
            text = self.whole()
            return text.count(words) > before.count(words) and (
                words != "info reload" or told(text) >= told(before) +
                before.count(" worker-start ") -
                before.count(" worker-crash "))

        before = self.whole()
        # A worker that only just began may not listen yet: ask again.
        for _ in range(10):
            self.signal(signal.SIGHUP)
            with contextlib.suppress(Failure):
                wait_until(done, "reload", 6)
                return
        raise Failure("no %r of each worker in the log:\n%s" %
                      (words, self.text()))

    def whole(self):
        with open(self.log, errors="backslashreplace") as file:
            return file.read()


class TlsPeer(Peer):
    """A server of this process behind TLS: serve(sock) gets the TLS socket.
    The context may be changed between connections."""

    def __init__(self, identity, serve, alpn=(ALPN,), version=None,
                 port=0):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(*identity[:2])
        if version:
            self.context.minimum_version = ssl.TLSVersion.TLSv1_2
            self.context.maximum_version = version
        if alpn:
            self.context.set_alpn_protocols(list(alpn))
        self.inner = serve
        self.greeted = 0
        self.received = b""
        super().__init__(self.serve_tls, port=port)

    def serve_tls(self, sock):
        sock.settimeout(20)
        tls = self.context.wrap_socket(sock, server_side=True)
        self.greeted += 1
        with tls:
            self.inner(tls)

    def url(self, name="file", host="localhost"):
        return "belay://%s:%d/%s" % (host, self.port, name)


class Bridge:
    """Ends TLS for a plain server and passes bytes on, so that something may
    be done to them on the way: cut(sock, total) is asked before each piece
    for the client, and says True when it has done away with the sock."""

    def __init__(self, port, cut=None):
        self.port, self.cut = port, cut

    def __call__(self, tls):
        inner = socket.create_connection(("127.0.0.1", self.port), 10)
        up = threading.Thread(target=self.upward, args=(tls, inner),
                              daemon=True)
        up.start()
        total = 0
        while True:
            data = inner.recv(1 << 16)
            if not data:
                return
            total += len(data)
            if self.cut and self.cut(tls, total):
                inner.close()
                return
            tls.sendall(data)

    @staticmethod
    def upward(tls, inner):
        try:
            while data := tls.recv(1 << 16):
                inner.sendall(data)
        except (OSError, ValueError):
            pass
        try:
            inner.shutdown(socket.SHUT_WR)
        except OSError:
            pass


def config(tmp):
    """Environment of a user who knows nobody yet."""
    home = os.path.join(str(tmp), "home")
    os.makedirs(home, exist_ok=True)
    return {"HOME": home, "XDG_CONFIG_HOME": os.path.join(home, "config")}


def known_hosts(env):
    return os.path.join(env["XDG_CONFIG_HOME"], "belay", "known_hosts")


def client_context(alpn=(ALPN,), version=None):
    """A client that checks nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if version:
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.maximum_version = version
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


class TlsRaw(Raw):
    """Single frames over TLS that checks nothing."""

    def __init__(self, port, cert=None, greet=True, **options):
        context = client_context()
        if cert:
            context.load_cert_chain(*cert)
        super().__init__(port, greet=False, **options)
        self.sock = context.wrap_socket(self.sock)
        if greet:
            self.send(hello())
            self.greeting()

    def auth(self, method=R.AUTH_BEARER, token=None):
        tlvs = [] if token is None else [(R.TLV_TOKEN, token)]
        return self.ask("AUTH", {"method": method}, tlvs)

    def judged(self, *args, **options):
        """0, or the code of the refusal."""
        last = self.answer(self.auth(*args, **options))[-1]
        return 0 if last.name == "DONE" else last.fields["code"]
