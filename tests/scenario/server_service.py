"""belayd under a service manager: sockets that it is given, telling that it is
ready, and a unit that leaves it little to do wrong."""

import os
import re
import shutil
import socket
import subprocess
import sys

import harness
from harness import Skip, TOP, case, check, program, spawn

from rawclient import Raw, fetch, joined

UNIT = os.path.join(TOP, "server", "belayd.service")
SOCKET = os.path.join(TOP, "server", "belayd.socket")

# The worst exposure that is allowed, in tenths, as systemd counts.
EXPOSURE_MAX = 15

# Puts sockets where a manager puts them, and becomes belayd.
STARTER = """
import os, sys
fds = [int(fd) for fd in sys.argv[1].split(",")]
high = [os.dup2(fd, 100 + i) for i, fd in enumerate(fds)]
for i, fd in enumerate(high):
    os.dup2(fd, 3 + i)
for fd in high:
    os.close(fd)
os.environ["LISTEN_PID"] = str(os.getpid() + int(sys.argv[2]))
os.environ["LISTEN_FDS"] = str(len(fds))
os.execv(sys.argv[3], sys.argv[3:])
"""


def make_root(tmp):
    root = os.path.join(tmp, "root")
    os.mkdir(root)
    with open(os.path.join(root, "f"), "wb") as out:
        out.write(b"data" * 5000)
    return root


class Activated:
    """belayd with sockets passed to it, and a place to tell its state."""

    def __init__(self, tmp, socks, *args, pid_off=0, abstract=False):
        path = os.path.join(tmp, "notify")
        self.states = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        name = "\0belay-test-%d" % os.getpid() if abstract else path
        self.states.bind(name)
        self.states.settimeout(10)
        self.child = spawn(
            [sys.executable, "-c", STARTER,
             ",".join(str(sock.fileno()) for sock in socks), str(pid_off),
             program("BELAYD"), "--root", os.path.join(tmp, "root"),
             "--cache", os.path.join(tmp, "cache"), "--plain",
             *harness.as_user(), *harness.as_strict_as_possible(), *args],
            pass_fds=[sock.fileno() for sock in socks],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
            env={**os.environ, "NOTIFY_SOCKET": name.replace("\0", "@")})

    def state(self):
        return self.states.recv(100)

    def end(self):
        self.child.terminate()
        out, err = self.child.communicate(timeout=20)
        self.states.close()
        return self.child.returncode, out, err


@case
def sockets_are_taken_over(tmp):
    make_root(tmp)
    socks = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    server = Activated(tmp, socks)
    check(server.state() == b"READY=1", "not ready")
    for sock in socks:
        with Raw(sock.getsockname()[1]) as raw:
            _, chunks, _ = fetch(raw, "f", 12)
            check(joined(chunks) == b"data" * 5000, "bytes")
    server.child.terminate()
    check(server.state() == b"STOPPING=1", "does not tell the end")
    code, out, _ = server.end()
    check(code == 0 and out.count("listening on") == 2, "%d %s" % (code, out))


@case
def an_abstract_socket_hears_as_well(tmp):
    make_root(tmp)
    sock = socket.create_server(("127.0.0.1", 0))
    server = Activated(tmp, [sock], abstract=True)
    check(server.state() == b"READY=1", "not ready")
    check(server.end()[0] == 0, "exit code")


@case
def sockets_of_others_are_left_alone(tmp):
    make_root(tmp)
    sock = socket.create_server(("127.0.0.1", 0))
    server = Activated(tmp, [sock], "--listen", "127.0.0.1:0", pid_off=1)
    check(server.state() == b"READY=1", "not ready")
    _, out, _ = server.end()
    check(":%d\n" % sock.getsockname()[1] not in out, out)


@case
def wrong_sockets_are_one_line(tmp):
    make_root(tmp)
    stream = socket.create_server(("127.0.0.1", 0))
    deaf = socket.socket()
    datagram = socket.socket(type=socket.SOCK_DGRAM)
    datagram.bind(("127.0.0.1", 0))
    local = socket.socket(socket.AF_UNIX)
    local.bind(os.path.join(tmp, "local"))
    local.listen()
    many = [socket.create_server(("127.0.0.1", 0)) for _ in range(17)]
    for socks, args, code, word in (
            ([deaf], [], 1, "listening TCP socket"),
            ([datagram], [], 1, "listening TCP socket"),
            ([stream, local], [], 1, "listening TCP socket"),
            (many, [], 1, "too many"),
            ([stream], ["--listen", "127.0.0.1:0"], 2, "exclude")):
        os.path.exists(os.path.join(tmp, "notify")) and \
            os.unlink(os.path.join(tmp, "notify"))
        server = Activated(tmp, socks, *args)
        _, err = server.child.communicate(timeout=20)
        server.states.close()
        check(server.child.returncode == code and word in err and
              err.count("\n") == 1, "exit %d: %s" %
              (server.child.returncode, err))


@case
def sixteen_sockets_are_the_most(tmp):
    make_root(tmp)
    socks = [socket.create_server(("127.0.0.1", 0)) for _ in range(16)]
    server = Activated(tmp, socks)
    check(server.state() == b"READY=1", "not ready")
    with Raw(socks[-1].getsockname()[1]) as raw:
        fetch(raw, "f", 12)
    check(server.end()[0] == 0, "exit code")


@case
def the_unit_exposes_little(tmp):
    if not shutil.which("systemd-analyze"):
        raise Skip("no systemd-analyze")
    place = os.path.join(tmp, "belayd.service")
    shutil.copy(UNIT, place)
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--no-pager",
         "--threshold=%d" % EXPOSURE_MAX, place],
        capture_output=True, text=True, timeout=60)
    last = done.stdout.strip().splitlines()[-1:] or [done.stderr]
    if not re.search(r"exposure level", last[0]):
        raise Skip("systemd-analyze cannot judge: " + last[0][:80])
    check(done.returncode == 0, done.stdout[-1500:] + done.stderr)


@case
def the_units_are_well_formed(tmp):
    if not shutil.which("systemd-analyze"):
        raise Skip("no systemd-analyze")
    for unit in (UNIT, SOCKET):
        with open(unit) as file:
            text = file.read().replace(
                "ExecStart=belayd", "ExecStart=" + program("BELAYD"))
        place = os.path.join(tmp, os.path.basename(unit))
        with open(place, "w") as file:
            file.write(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no",
         os.path.join(tmp, "belayd.service"),
         os.path.join(tmp, "belayd.socket")],
        capture_output=True, text=True, timeout=60)
    ours = [line for line in done.stderr.splitlines() if "belayd." in line]
    if done.returncode != 0 and not ours:
        raise Skip("systemd-analyze cannot verify here: " +
                   done.stderr[-100:])
    check(not ours, "\n".join(ours))


if __name__ == "__main__":
    harness.main()
