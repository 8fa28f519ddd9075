"""Counting round trips without a clock: a link that carries what was said only
when the other side has nothing more to say.

In each turn all that the client has sent, on all of its connections, goes to
the server at once; when the server has finished answering, all of its answers
go back. So a turn is a round trip of a link whose delay dwarfs all else, and a
slow machine changes nothing: a process has nothing more to say when each of
its threads sleeps and no bytes of it are on their way.
"""

import contextlib
import os
import selectors
import socket
import threading
import time

from harness import Failure, PATIENCE

QUIET_S = 0.005


def threads_sleep(pids):
    for pid in pids:
        try:
            for task in os.listdir("/proc/%d/task" % pid):
                with open("/proc/%d/task/%s/stat" % (pid, task)) as file:
                    if file.read().rpartition(")")[2].split()[0] != "S":
                        return False
        except OSError:
            continue  # it has ended
    return True


def group(leader):
    """The processes of a group."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                with open("/proc/%s/stat" % name) as file:
                    fields = file.read().rpartition(")")[2].split()
                if int(fields[2]) == leader:
                    found.append(int(name))
    return found


class Turns:
    """In front of a server: count says how many turns there were."""

    def __init__(self, server):
        self.to = server.port
        self.server = server.child.pid
        self.client = []
        self.count = 0
        self.connections = 0
        self.fault = None
        self.pairs = []   # (client, server)
        self.listen = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listen.getsockname()[1]
        self.listen.setblocking(False)
        self.over = False
        self.thread = threading.Thread(target=self._run, daemon=True)

    def of(self, run):
        """The client whose turns are counted."""
        self.client = [run.pid]
        self.thread.start()
        return run

    def url(self, name):
        return "belay+tcp://127.0.0.1:%d/%s" % (self.port, name)

    def _accept(self):
        with contextlib.suppress(BlockingIOError):
            while True:
                sock, _ = self.listen.accept()
                far = socket.create_connection(("127.0.0.1", self.to))
                for end in (sock, far):
                    end.setblocking(False)
                self.connections += 1
                self.pairs.append((sock, far))

    def _collect(self, side, pids):
        """What these processes say, by pair, until they are quiet."""
        said = {}
        quiet = 0
        end = time.monotonic() + PATIENCE
        while quiet < 2 and not self.over:
            if time.monotonic() > end:
                raise Failure("it is never quiet")
            heard = False
            if side == 0:
                self._accept()
            for pair in list(self.pairs):
                heard |= self._hear(pair, side, said)
            asleep = threads_sleep(pids)
            quiet = quiet + 1 if asleep and not heard else 0
            if not heard:
                time.sleep(QUIET_S)
        return said

    def _hear(self, pair, side, said):
        try:
            data = pair[side].recv(1 << 20)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if data:
            said[pair] = said.get(pair, b"") + data
            return True
        self.pairs.remove(pair)
        for end in pair:
            end.close()
        return True

    def _carry(self, said, side):
        """To the other side, all at the same time; it may be reading slowly."""
        rest = {pair: memoryview(data) for pair, data in said.items()
                if pair in self.pairs}
        with selectors.DefaultSelector() as poll:
            for pair in rest:
                poll.register(pair[1 - side], selectors.EVENT_WRITE, pair)
            while rest and not self.over:
                for key, _ in poll.select(0.1):
                    pair = key.data
                    try:
                        sent = key.fileobj.send(rest[pair])
                    except OSError:
                        sent = len(rest[pair])
                    rest[pair] = rest[pair][sent:]
                    if not rest[pair]:
                        del rest[pair]
                        poll.unregister(key.fileobj)

    def _run(self):
        try:
            while not self.over:
                asked = self._collect(0, self.client)
                self._carry(asked, 0)
                self._carry(self._collect(1, group(self.server)), 1)
                self.count += bool(asked)
        except Exception as fault:
            self.fault = fault

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.over = True
        if self.thread.ident is not None:
            self.thread.join(5)
        for pair in self.pairs:
            for end in pair:
                end.close()
        self.listen.close()
        if self.fault:
            raise Failure("the link failed: %r" % self.fault)
