"""A server that breaks rules on purpose, for cases against clients.

It is the oracle's small server with a hook at each message it sends."""

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

import belay_id as identity
import belay_wire as wire
import mini_server
import secure

R = wire.R


class Watched(mini_server.Session):
    """Notes what the client says, and lets a hook change what it hears."""

    def __init__(self, partner, sock, number, hook):
        super().__init__(partner.server, sock)
        self.partner, self.number, self.hook = partner, number, hook
        self.greeting_hook = getattr(hook, "greeting", None)
        self.ended_by_client = False

    def greet(self):
        if self.greeting_hook:
            self.greeting_hook(self)
        super().greet()

    def read_forever(self):
        super().read_forever()
        self.ended_by_client = True

    def element(self, item):
        if isinstance(item, wire.Message):
            self.partner.heard.append((self.number, item))
        return super().element(item)

    def expect(self, message, handle):
        if self.partner.judges:
            super().expect(message, handle)

    def farewell(self, error):
        self.partner.violations.append("%s: %s" % (error.rule, error.why))
        super().farewell(error)

    def send(self, name, ident=0, fields=None, tlvs=(), end=False):
        fields = dict(fields or {})
        if self.hook and self.hook(self, name, ident, fields, tlvs):
            return
        if name == "CHUNK":
            self.partner.codecs.add(fields["codec"])
        super().send(name, ident, fields, tlvs, end)

    def plain(self, name, ident=0, fields=None, tlvs=(), end=False):
        """Past the hook."""
        self.put(wire.encode(name, ident, fields, tlvs, end))

    def reset(self):
        self.cut = self.sent
        self.put(b"\0")

    def end(self):
        """An orderly end of the stream."""
        self.sock.shutdown(socket.SHUT_WR)
        raise mini_server.Closed()


class Partner:
    """Serves a new directory.  hooks(n) is the hook of connection n; with
    judges False the expectations of OPEN are ignored; tls is the context of
    a TLS server, and token what AUTH has to bring."""

    def __init__(self, hooks=lambda n: None, judges=True, tls=None,
                 **options):
        self.room = tempfile.mkdtemp(prefix="belay-conform-")
        self.root = os.path.join(self.room, "root")
        os.mkdir(self.root)
        defaults = {"root": self.root, "cut": None, "cut_random": None,
                    "flip": None, "racy_ms": 0, "weak": False,
                    "no_cid": False, "zlib": False, "max_c": 22,
                    "token": None, "secure": tls is not None,
                    "speaks_first": False}
        self.server = mini_server.Server(
            argparse.Namespace(**dict(defaults, **options)))
        self.hooks, self.judges, self.connections = hooks, judges, 0
        self.heard, self.violations, self.codecs = [], [], set()
        # What came first on each TLS connection, and the finished handshakes.
        self.tls, self.hellos, self.shaken = tls, [], []
        self.paused = threading.Event()     # clear: nothing is accepted
        self.paused.set()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.paused.wait()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            number = self.connections
            self.connections += 1
            threading.Thread(target=self.serve, args=(sock, number),
                             daemon=True).start()

    def serve(self, sock, number):
        if self.tls:
            self.hellos.append(secure.peek_client_hello(sock))
            try:
                front = secure.Front(sock, self.tls)
            except OSError:             # ssl.SSLError is one
                sock.close()
                return
            self.shaken.append((front.tls.version(),
                                front.tls.selected_alpn_protocol()))
            sock = front.start()
        Watched(self, sock, number, self.hooks(number)).run()

    def put(self, name, data):
        path = os.path.join(self.root, name)
        with open(path + ".new", "wb") as f:
            f.write(data)
        os.replace(path + ".new", path)
        return data

    def hash(self, name):
        """As if somebody had read the file before: its CID is known."""
        fd = os.open(os.path.join(self.root, name), os.O_RDONLY)
        handle = mini_server.Handle(self.server, fd, 12, 22)
        for i in range(identity.chunk_count(handle.size, 12)):
            handle.read(i)
        os.close(fd)

    def url(self, name="f", pin=None):
        return "%s:%d/%s%s" % (
            "belay://localhost" if self.tls else "belay+tcp://127.0.0.1",
            self.port, name, "#" + pin if pin else "")

    def out(self):
        folder = os.path.join(self.room, "out")
        os.makedirs(folder, exist_ok=True)
        return os.path.join(folder, "result")

    def requests(self, name):
        return [m for _, m in self.heard if m.name == name]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()
        shutil.rmtree(self.room, ignore_errors=True)


class Client:
    """The program under test."""

    def __init__(self, command, timeout, token_args=()):
        self.command, self.timeout = command, timeout
        self.token_args = list(token_args)
        self.tls_verdict, self.lock = None, threading.Lock()

    def gifts(self):
        return {"--token-args"} if self.token_args else set()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def start(self, partner, url=None, token=None, env=()):
        words = self.command
        if token:
            words = words + self.token_args
        token_file = os.path.join(partner.room, "token")
        with open(token_file, "w", encoding="ascii") as f:
            f.write((token or "") + "\n")
        os.chmod(token_file, 0o600)
        for name, value in (("url", url or partner.url()),
                            ("out", partner.out()), ("ca", secure.CA),
                            ("token_file", token_file),
                            ("token", token or "")):
            words = [w.replace("{%s}" % name, value) for w in words]
        return subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=dict(os.environ, SSL_CERT_FILE=secure.CA, **dict(env)))

    def run(self, partner, url=None, timeout=None, **how):
        """Exit status and last words; None when it had to be stopped.  The
        time counts from its first connection."""
        process = self.start(partner, url, **how)
        deadline = time.monotonic() + self.timeout
        while not partner.connections and process.poll() is None and \
                time.monotonic() < deadline:
            time.sleep(0.02)
        try:
            _, stderr = process.communicate(timeout=timeout or self.timeout)
            status = process.returncode
        except subprocess.TimeoutExpired:
            process.kill()
            _, stderr = process.communicate()
            status = None
        return status, stderr.decode("utf-8", "replace")[-400:]

    def gets(self, partner, data, url=None, timeout=None, **how):
        """It ends in success, with exactly these bytes."""
        status, words = self.run(partner, url, timeout, **how)
        assert status == 0, "exit status %s: %s" % (status, words)
        self.check_result(partner, data)

    def check_result(self, partner, data):
        assert os.path.exists(partner.out()), "success without a file"
        with open(partner.out(), "rb") as f:
            found = f.read()
        assert found == data, "success with other bytes: %d, not %d; first " \
            "difference at %d" % (len(found), len(data), next(
                (i for i, (a, b) in enumerate(zip(found, data)) if a != b),
                min(len(found), len(data))))
        assert not partner.violations, "the client broke a rule: %s" % \
            partner.violations

    def never(self, partner, url=None, timeout=5, **how):
        """It does not end in success and leaves no result."""
        status, words = self.run(partner, url, timeout, **how)
        assert partner.connections, "it did not even connect: " + words
        assert status != 0, "success was reported"
        assert not os.path.exists(partner.out()), "a result was left"
        return status, words

    def fails(self, partner, url=None, timeout=None, **how):
        """It ends by itself, without success."""
        status, words = self.never(partner, url, timeout or self.timeout,
                                   **how)
        assert status is not None, "it goes on and on: " + words
        return words


SSH = """#!%s
import os, socket, sys, threading
with open(os.environ["CONFORM_ARGV"], "a") as f:
    f.write(repr(sys.argv[1:]) + "\\n")
for fd in 0, 1:
    os.set_blocking(fd, True)
os.write(1, bytes.fromhex(os.environ["CONFORM_BANNER"]))
sock = socket.create_connection(("127.0.0.1", int(os.environ["CONFORM_PORT"])))
def up():
    try:
        while data := os.read(0, 65536):
            sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
    except OSError:
        pass
threading.Thread(target=up, daemon=True).start()
while data := sock.recv(65536):
    while data:
        data = data[os.write(1, data):]
"""


def fake_ssh(partner, banner=b""):
    """Environment in which "ssh" reaches the partner, after some words of
    the remote shell; and the file that gets its arguments."""
    folder = os.path.join(partner.room, "bin")
    os.makedirs(folder, exist_ok=True)
    path, argv = os.path.join(folder, "ssh"), os.path.join(folder, "argv")
    with open(path, "w", encoding="ascii") as f:
        f.write(SSH % sys.executable)
    os.chmod(path, 0o755)
    return {"PATH": folder + os.pathsep + os.environ["PATH"],
            "CONFORM_ARGV": argv, "CONFORM_BANNER": banner.hex(),
            "CONFORM_PORT": str(partner.port)}, argv


# -- hooks --------------------------------------------------------------------

def first(hook, connections=1):
    """The hook acts on the first connections only."""
    return lambda n: hook if n < connections else None


def always(hook):
    return lambda n: hook


def on(name, act, index=None, once=True):
    """act(session, ident, fields, tlvs) in place of the message called
    name; for CHUNK only of the chunk with this index.  It acts once for
    each connection, or each time."""
    def hook(session, got, ident, fields, tlvs):
        if got != name or (once and getattr(session, "acted", False)):
            return False
        if index is not None and fields["offset"] != index << 12:
            return False
        session.acted = True
        act(session, ident, fields, tlvs)
        return True
    return hook


def at_greeting(act):
    """act(session) before the server reads anything."""
    def hook(session, name, ident, fields, tlvs):
        return False
    hook.greeting = act
    return hook


def changed(name, index=None, **values):
    """The message with some fields replaced."""
    return on(name, lambda s, ident, fields, tlvs: s.plain(
        name, ident, dict(fields, **values), tlvs), index)


def noise(n, seed=1):
    """Bytes in which no two chunks are alike, the same in every run."""
    return b"".join(identity.sha256(b"%d %d" % (seed, i))
                    for i in range((n + 31) // 32))[:n]


def pin_of(data, c=12):
    return identity.cid_text(c, identity.cid_of(data, c))
