"""Very many Belay clients in one thread: each fetches a file, verifies every
chunk of it and counts; or only sits there; or reads a little now and then.

Each has a source address of its own in 127/8, so that the limits of one
address do not decide what is measured. A client whose connection ends comes
back after a pause, as any client does.
"""

import contextlib
import hashlib
import os
import selectors
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "scenario"))
from harness import Failure, check  # noqa: E402 (the path must be set first)

import belay_wire as W  # noqa: E402
from rawclient import MAX, chunk_bytes, hello, verify_chunk  # noqa: E402

PAUSE = 0.2
AT_ONCE = 40  # connections that may be on their way to a greeting


def source_of(number):
    """127.1.0.1, 127.1.0.2, ...: nobody else's addresses."""
    return "127.%d.%d.%d" % (1 + number // 60000, number // 250 % 240,
                             1 + number % 250)


def request(path):
    """What a client says at once: greeting, OPEN, GET."""
    name = path.encode()
    return hello() + \
        W.encode("OPEN", 1, {"handle": 1, "want_chunk_log2": 0,
                             "path": name, "flags": 0}) + \
        W.encode("GET", 2, {"handle": 1, "urgency": 3, "flags": 0,
                            "ranges": [(0, MAX)]})


class Member:
    """One client. path None: it only greets, and stays."""

    def __init__(self, number, path=None, digest=None, rate=None):
        self.number, self.path, self.digest = number, path, digest
        self.rate = rate
        self.sock = None
        self.greeted = self.done = False
        self.began = self.ended = None
        self.lost = 0
        self.due = 0
        self.chunks = {}
        self.received = 0

    def connect(self, port):
        self.sock = socket.socket()
        self.sock.setblocking(False)
        if self.rate:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.sock.bind((source_of(self.number), 0))
        self.sock.connect_ex(("127.0.0.1", port))
        self.reader = W.StreamReader("server")
        self.chunks.clear()
        self.asked = False
        if self.began is None:
            self.began = time.monotonic()

    def ask(self):
        self.asked = True
        self.sock.sendall(hello() if self.path is None else
                          request(self.path))

    def take(self, data):
        self.received += len(data)
        for item in self.reader.feed(data):
            if not isinstance(item, W.Message):
                continue
            if item.name == "HELLO":
                self.greeted = True
            elif item.name == "CHUNK":
                verify_chunk(item)
                if self.digest:
                    self.chunks[item.fields["offset"]] = chunk_bytes(item)
            elif item.name == "DONE":
                self.finish()
            elif item.name in ("ERROR", "GOAWAY"):
                raise ConnectionError(item.name)

    def finish(self):
        self.ended = time.monotonic()
        self.done = True
        if self.digest:
            digest = hashlib.sha256()
            for at in sorted(self.chunks):
                digest.update(self.chunks[at])
            check(digest.hexdigest() == self.digest, "other bytes")
        self.chunks.clear()

    @property
    def seconds(self):
        return self.ended - self.began


class Crowd:
    """turn() moves everybody on; the caller says until when."""

    def __init__(self, port, members):
        self.port = port
        self.members = members
        self.waiting = list(reversed(members))
        self.later = []
        self.slow = [m for m in members if m.rate]
        self.selector = selectors.DefaultSelector()
        self.greeting = set()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for member in self.members:
            if member.sock is not None:
                member.sock.close()
        self.selector.close()

    @property
    def lost(self):
        return sum(member.lost for member in self.members)

    def greeted(self):
        return sum(member.greeted for member in self.members)

    def done(self):
        return all(member.done for member in self.members)

    def start(self):
        now = time.monotonic()
        while self.later and self.later[0][0] <= now:
            self.waiting.append(self.later.pop(0)[1])
        while self.waiting and len(self.greeting) < AT_ONCE:
            member = self.waiting.pop()
            member.connect(self.port)
            self.greeting.add(member)
            self.selector.register(member.sock, selectors.EVENT_WRITE,
                                   member)

    def drop(self, member, again=True):
        with contextlib.suppress(KeyError, ValueError):
            self.selector.unregister(member.sock)
        member.sock.close()
        member.sock = None
        self.greeting.discard(member)
        if again:
            member.greeted = False
            member.lost += 1
            self.later.append((time.monotonic() + PAUSE, member))

    @staticmethod
    def receive(member):
        data = member.sock.recv(member.rate or 1 << 18)
        if not data:
            raise ConnectionError("end")
        member.take(data)

    def read(self, member):
        self.receive(member)
        if member.greeted:
            self.greeting.discard(member)
            if member.rate:
                # It would be readable all the time; step_slow() reads.
                self.selector.unregister(member.sock)

    def step(self, member, event):
        try:
            if event & selectors.EVENT_WRITE and not member.asked:
                member.ask()
                self.selector.modify(member.sock, selectors.EVENT_READ,
                                     member)
            elif event & selectors.EVENT_READ:
                self.read(member)
        except BlockingIOError:
            pass
        except OSError:
            self.drop(member)
            return
        if member.done:
            self.drop(member, again=False)

    def turn(self, most=0.05):
        self.start()
        for key, event in self.selector.select(most):
            self.step(key.data, event)
        now = time.monotonic()
        for member in self.slow:
            if member.sock is not None and member.greeted and \
                    now >= member.due:
                self.step_slow(member)

    def step_slow(self, member):
        member.due = time.monotonic() + 1
        try:
            self.receive(member)
        except BlockingIOError:
            pass
        except OSError:
            self.drop(member)

    def until(self, condition, what, seconds):
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise Failure("no %s within %d s: %d greeted, %d done, %d "
                              "lost" % (what, seconds, self.greeted(),
                                        sum(m.done for m in self.members),
                                        self.lost))
            self.turn()
