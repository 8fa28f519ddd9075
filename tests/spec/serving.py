"""A server for the tests of this folder, and a proxy that breaks things.

By default the server is spec/oracle/mini_server.py; with the environment
variable BELAYD it is that program, called as
    BELAYD --plain --root DIR --listen 127.0.0.1:0
Both print "listening on ADDRESS:PORT" on standard output.
"""

import os
import random
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
MINI_SERVER = os.path.join(ROOT, "spec", "oracle", "mini_server.py")
MINI = os.path.join(ROOT, "spec", "clients", "mini.py")
MINI_PERL = os.path.join(ROOT, "spec", "clients", "mini.pl")
sys.dont_write_bytecode = True
sys.path[:0] = [os.path.join(ROOT, "spec", "oracle"),
                os.path.join(ROOT, "spec", "conformance")]

import secure  # noqa: E402  (needs the path above)


def is_belayd():
    return bool(os.environ.get("BELAYD"))


class Server:
    """Serves a new directory, .root, until the with block ends.  The real
    server takes its own options in place of --plain, the small one faults."""

    def __init__(self, *faults, access=("--plain",)):
        self.room = tempfile.TemporaryDirectory()
        self.root = os.path.join(self.room.name, "root")
        os.mkdir(self.root)
        # The tests write files just before they are read; with the real
        # racy window half of them would only wait.
        command = [sys.executable, "-B", MINI_SERVER, "--root", self.root,
                   "--listen", "127.0.0.1:0", "--racy-ms", "200", *faults]
        if is_belayd():
            assert not faults
            command = [os.environ["BELAYD"], *access, "--root", self.root,
                       "--listen", "127.0.0.1:0"]
            if os.geteuid() == 0:
                command += ["--user", "root"]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True)
        self.port = 0
        for line in self.process.stdout:
            if line.startswith("listening on "):
                self.port = int(line.rsplit(":", 1)[1])
                break

    def put(self, name, data):
        path = os.path.join(self.root, name)
        with open(path, "wb") as f:
            f.write(data)
        return path

    def rest(self):
        """A version token taken right after a change would be weak."""
        time.sleep(2.3 if is_belayd() else 0.3)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.room.cleanup()


class Tls:
    """Ends TLS in front of a port, with the certificate of the suite."""

    def __init__(self, port):
        self.target, self.context = port, secure.server_context()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(sock,),
                             daemon=True).start()

    def serve(self, sock):
        # B1-W1: what is no TLS gets no answer, not even an alert.
        first = secure.peek_client_hello(sock)
        if first[:1] != bytes([secure.TLS_HANDSHAKE]):
            sock.close()
            return
        try:
            front = secure.Front(sock, self.context,
                                 ("127.0.0.1", self.target))
        except OSError:
            sock.close()
            return
        front.run()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()


class Proxy:
    """Forwards to a port.  plan(n) gives for the nth connection a dict:
    cut: bytes to the client after which the stream ends;
    reset: the same with a reset, a moment later, since a reset may take
    bytes with it that the client has not read yet;
    flip: index of a byte to the client of which one bit is inverted;
    hold: bytes to the client after which .held is set, and it waits for
    .release."""

    def __init__(self, port, plan=lambda n: {}):
        self.target, self.plan = port, plan
        self.connections = self.bytes = 0
        self.held, self.release = threading.Event(), threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            plan = self.plan(self.connections)
            self.connections += 1
            threading.Thread(target=self.serve, args=(client, plan),
                             daemon=True).start()

    def serve(self, client, plan):
        server = socket.create_connection(("127.0.0.1", self.target))
        up = threading.Thread(target=self.upward, args=(client, server),
                              daemon=True)
        up.start()
        self.downward(server, client, plan)
        for sock in (client, server):
            try:
                sock.shutdown(socket.SHUT_RD)
            except OSError:
                pass
        up.join()
        client.close()
        server.close()

    @staticmethod
    def upward(client, server):
        try:
            while True:
                data = client.recv(65536)
                if not data:
                    break
                server.sendall(data)
            server.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def downward(self, server, client, plan):
        """What the client gets, with the faults of the plan."""
        cut, flip = plan.get("cut", plan.get("reset")), plan.get("flip")
        hold, sent = plan.get("hold"), 0
        try:
            while True:
                data = server.recv(16384)
                if not data:
                    return
                if flip is not None and sent <= flip < sent + len(data):
                    at = flip - sent
                    data = data[:at] + bytes([data[at] ^ 4]) + data[at + 1:]
                if hold is not None and sent + len(data) > hold:
                    self.held.set()
                    self.release.wait(30)
                    hold = None
                if cut is not None and sent + len(data) > cut:
                    client.sendall(data[:cut - sent])
                    self.bytes += cut - sent
                    if "cut" in plan:
                        client.shutdown(socket.SHUT_WR)
                        return
                    time.sleep(0.03)
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                      struct.pack("ii", 1, 0))
                    return
                client.sendall(data)
                sent += len(data)
                self.bytes += len(data)
        except OSError:
            pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.release.set()
        self.listener.close()


def url(port, name, pin=""):
    return "belay+tcp://127.0.0.1:%d/%s%s" % (port, name,
                                              "#" + pin if pin else "")


COMMAND = [sys.executable, "-B", MINI]      # the client that mini() starts


def tls_url(port, name):
    return "belay://127.0.0.1:%d/%s" % (port, name)


def start_mini(where, out, give_up=60):
    return subprocess.Popen(
        COMMAND + ["--give-up", str(give_up), where, out],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def mini(where, out, give_up=60):
    """(exit status, standard output, standard error) of the client."""
    process = start_mini(where, out, give_up)
    stdout, stderr = process.communicate(timeout=120)
    return process.returncode, stdout.strip(), stderr


def noise(n, seed=1):
    """Bytes in which no two chunks are alike."""
    return random.Random(seed).randbytes(n)


def verdict(case):
    """None, or why it failed."""
    try:
        case()
    except AssertionError as error:
        return str(error) or "assertion"
    except Exception:
        return traceback.format_exc()
    return None


def run_all(cases):
    """Runs functions, many at once, since most of them wait; prints a line
    for each and returns the exit status."""
    failed = 0
    with ThreadPoolExecutor(4 * os.cpu_count()) as pool:
        for case, why in zip(cases, pool.map(verdict, cases)):
            failed += why is not None
            print("ok   %s" % case.__name__ if why is None else
                  "FAIL %s: %s" % (case.__name__, why))
    return 1 if failed else 0
