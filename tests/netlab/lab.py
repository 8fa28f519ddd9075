#!/usr/bin/env python3
"""The link lab: a client and a server namespace joined by an emulated link.

    from lab import Lab
    with Lab(LINK, rate="100M", delay=20, rst_every=3) as lab:
        server = lab.popen("server", ["nginx", ...])
        done = lab.run("client", ["curl", f"http://{lab.SERVER}/file"], 60)
        print(lab.stats()["down"]["payload_out"])

LINK is the path of the netlab-link program; settings are its keys with "_"
for "-" (see netlab-link --help). The namespaces have no name: they live as
long as netlab-link, which lives as long as this process, so that nothing is
left behind whatever happens. A program started with run() or popen() is
killed with its whole process group when its time is over or the lab closes.

As a program: lab.py LINK [KEY=VALUE...] -- COMMAND... runs COMMAND in the
client namespace; $LAB_SERVER holds a prefix that starts a command in the
server namespace.
"""

import contextlib
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import threading

CLONE_NEWNET = 0x40000000
PR_SET_PDEATHSIG = 1
SKIPPED = 77

LIBC = ctypes.CDLL(None, use_errno=True)


class Skip(Exception):
    """This machine cannot run the lab; the text says why."""


class LabError(Exception):
    """The lab itself failed, not what was run in it."""


def setns(fd):
    if LIBC.setns(fd, CLONE_NEWNET) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def die_with_parent():
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def require():
    """Raise Skip unless the lab can run here."""
    if os.geteuid() != 0:
        raise Skip("the link lab needs root")
    if not os.path.exists("/dev/net/tun"):
        raise Skip("no /dev/net/tun")
    for tool in ("ip", "nsenter", "unshare"):
        if shutil.which(tool) is None:
            raise Skip(f"{tool} is not installed")
    probe = subprocess.run(["unshare", "-n", "true"], capture_output=True,
                           text=True)
    if probe.returncode != 0:
        raise Skip(f"no network namespaces: {probe.stderr.strip()}")


def main(function):
    """Run function() as a program: a Skip becomes exit status 77."""
    try:
        sys.exit(function())
    except Skip as reason:
        print(f"skipped: {reason}")
        sys.exit(SKIPPED)


class Lab:
    CLIENT = "10.99.0.1"
    SERVER = "10.99.0.2"
    CLIENT6 = "fd99::1"  # with the setting ipv6=1
    SERVER6 = "fd99::2"

    def __init__(self, link, congestion="cubic", save_metrics=False,
                 **settings):
        """congestion: TCP congestion control of both ends. save_metrics:
        let the kernel remember cwnd limits from one connection to the next
        (off: every run starts alike)."""
        self.link = link
        self.congestion = congestion
        self.save_metrics = save_metrics
        self.settings = settings
        self.address = {"client": self.CLIENT, "server": self.SERVER}
        self.address6 = {"client": self.CLIENT6, "server": self.SERVER6}
        self.process = None
        self.netns = {}
        self.children = []
        self.last_stats = None

    def __enter__(self):
        require()
        arguments = [self.link]
        for key, value in self.settings.items():
            arguments += ["--" + key.replace("_", "-"), str(value)]
        self.process = subprocess.Popen(
            arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, start_new_session=True)
        line = self.process.stdout.readline()
        if not line:
            raise LabError("netlab-link did not start")
        try:
            self.netns = json.loads(line)
            for side in ("client", "server"):
                self._configure(side)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """End all programs, the link and with it the namespaces."""
        for child in self.children:
            self.kill(child)
        self.children.clear()
        if self.process is None:
            return
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        for line in self.process.stdout:
            self.last_stats = json.loads(line)
        self.process.wait()
        self.process.stdout.close()
        self.process = None

    def _configure(self, side):
        self._set(side, "net.ipv4.tcp_no_metrics_save",
                  0 if self.save_metrics else 1)
        self._add_address(side, self.address[side])
        if self.settings.get("ipv6"):
            self._add_address6(side, self.address6[side])

    def _add_address(self, side, address):
        # The congestion control is set on the route: as the default of a
        # namespace the kernel takes only one that the host has put on its
        # list for everybody, and the lab changes nothing of the host.
        self._ip(side, "addr", "add", f"{address}/32", "dev", "lab0")
        self._ip(side, "route", "replace", "default", "dev", "lab0", "src",
                 address, "congctl", self.congestion)

    def _add_address6(self, side, address):
        self._ip(side, "-6", "addr", "add", f"{address}/128", "dev", "lab0",
                 "nodad")
        self._ip(side, "-6", "route", "add", "default", "dev", "lab0",
                 "congctl", self.congestion)

    def _set(self, side, key, value):
        # /proc/sys/net shows the namespace of the thread that opens it.
        path = "/proc/sys/" + key.replace(".", "/")
        with self.inside(side):
            try:
                with open(path, "w") as file:
                    file.write(str(value))
            except OSError as error:
                raise LabError(f"{key}={value}: {error}") from error

    def _ip(self, side, *words):
        done = subprocess.run(self.command(side, ["ip", *words]),
                              capture_output=True, text=True)
        if done.returncode != 0:
            raise LabError(f"ip {' '.join(words)}: {done.stderr.strip()}")

    @contextlib.contextmanager
    def inside(self, side):
        """This thread is in the namespace of side for the duration. Sockets
        made meanwhile stay there."""
        own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        there = os.open(self.netns[side], os.O_RDONLY | os.O_CLOEXEC)
        try:
            setns(there)
            try:
                yield
            finally:
                setns(own)
        finally:
            os.close(there)
            os.close(own)

    def command(self, side, command):
        """The command line that runs command in the namespace of side."""
        return ["nsenter", f"--net={self.netns[side]}", "--", *command]

    def popen(self, side, command, **options):
        """Start command in the namespace of side, in its own session. It is
        killed when the lab closes, and dies if this process dies (when
        started from the main thread: the kernel ties it to the thread)."""
        options.setdefault("start_new_session", True)
        options.setdefault("stdin", subprocess.DEVNULL)
        if threading.current_thread() is threading.main_thread():
            options.setdefault("preexec_fn", die_with_parent)
        child = subprocess.Popen(self.command(side, command), **options)
        self.children.append(child)
        return child

    def kill(self, child):
        """Kill a program started by popen() with its process group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()

    def run(self, side, command, timeout, **options):
        """Run command to its end. Returns its exit status, or None if it
        was killed after timeout seconds."""
        child = self.popen(side, command, **options)
        try:
            return child.wait(timeout)
        except subprocess.TimeoutExpired:
            return None
        finally:
            self.kill(child)
            self.children.remove(child)

    def control(self, line):
        """Send one command to the link; returns its answer as a dict."""
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        if answer.get("ok") is False:
            raise LabError(f"{line}: {answer['error']}")
        return answer

    def stats(self):
        return self.control("stats")

    def reset_all(self):
        """Reset every live TCP connection, at both ends, now."""
        self.control("rst")

    def half_open(self):
        """Every live TCP connection falls silent for good, as if the other
        end had lost its power; new ones pass."""
        self.control("half-open")

    def dark(self, seconds):
        """Nothing passes from now on for so long."""
        self.control(f"dark {seconds}")

    def change_address(self, side, address):
        """The host at side moves: its old address is gone from now on."""
        self._ip(side, "addr", "del", f"{self.address[side]}/32", "dev",
                 "lab0")
        self._add_address(side, address)
        self.address[side] = address


def program():
    words = sys.argv[1:]
    if "--" not in words or words[0] in ("-h", "--help"):
        print(__doc__)
        return 2
    split = words.index("--")
    link, *settings = words[:split]
    pairs = dict(word.split("=", 1) for word in settings)
    with Lab(link, **pairs) as lab:
        prefix = lab.command("server", [])
        environment = dict(os.environ, LAB_SERVER=" ".join(prefix),
                           LAB_SERVER_ADDRESS=lab.SERVER,
                           LAB_CLIENT_ADDRESS=lab.CLIENT)
        status = lab.run("client", words[split + 1:], None,
                         env=environment, stdin=None)
        lab.close()
        print(json.dumps(lab.last_stats), file=sys.stderr)
    return status


if __name__ == "__main__":
    main(program)
