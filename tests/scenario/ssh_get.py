"""Downloads through a real ssh: logins, drops, noise, and what goes wrong on
the way. The server is an sshd of this script's own on loopback, with keys and
a port of its own; without one the cases are skipped."""

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import time

import harness
import trees
from harness import MI, Skip, case, check, check_code, check_one_line, \
    check_printable, get, listens, program, same, scaled, spawn, start, \
    wait_until, write_random

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:" +
                    os.environ.get("PATH", ""))
NOT_BELAY = 8


def make_key(path):
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path],
                   check=True, stdin=subprocess.DEVNULL)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return sock.getsockname()[1]


def banner(port):
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as sock:
            sock.settimeout(2)
            return sock.recv(4) == b"SSH-"
    except OSError:
        return False


class Sshd:
    """sshd, and how to reach it."""

    def __init__(self, tmp):
        if not SSHD or not shutil.which("ssh"):
            raise Skip("no sshd")
        self.home = os.path.join(tmp, "ssh")
        os.mkdir(self.home, 0o700)
        path = lambda name: os.path.join(self.home, name)
        make_key(path("host"))
        make_key(path("user"))
        shutil.copy(path("user.pub"), path("authorized"))
        if os.geteuid() == 0:
            os.makedirs("/run/sshd", 0o755, exist_ok=True)
        self.port = free_port()
        self.user = getpass.getuser()
        self.log = path("log")
        with open(path("host.pub")) as key, open(path("known"), "w") as known:
            known.write("[127.0.0.1]:%d %s" % (self.port, key.read()))
        with open(self.log, "wb") as log:
            self.child = spawn(
                [SSHD, "-D", "-e", "-f", "/dev/null"] + self._options(path),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_until(lambda: banner(self.port), "sshd", 10)
        self.words = [
            "ssh", "-F", "none", "-i", path("user"),
            "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes",
            "-o", "UserKnownHostsFile=" + path("known"),
            "-o", "StrictHostKeyChecking=yes", "-o", "LogLevel=ERROR"]
        probe = subprocess.run(
            [*self.words, "-p", str(self.port), "-l", self.user, "127.0.0.1",
             "true"], stdin=subprocess.DEVNULL, capture_output=True, timeout=30)
        if probe.returncode != 0:
            raise Skip("this account cannot log in by ssh: " +
                       probe.stderr.decode(errors="replace").strip()[-100:])

    def _options(self, path):
        values = {
            "Port": self.port, "ListenAddress": "127.0.0.1",
            "HostKey": path("host"), "AuthorizedKeysFile": path("authorized"),
            "StrictModes": "no", "PidFile": "none", "UsePAM": "no",
            "PasswordAuthentication": "no", "PermitRootLogin": "yes",
            "KbdInteractiveAuthentication": "no", "LogLevel": "ERROR",
            "MaxStartups": "100"}
        return [word for item in values.items()
                for word in ("-o", "%s=%s" % item)]

    def command(self, *more):
        return " ".join([*self.words, *more])

    def args(self, *more):
        """Options of belay for a URL without user and port, too."""
        return ["-e", self.command("-p", str(self.port), "-l", self.user),
                "--remote-belayd", program("BELAYD"), *more]

    def url(self, path):
        return "127.0.0.1:" + path

    def sessions(self):
        """Processes of sshd that carry a login."""
        pid = self.child.pid
        with open("/proc/%d/task/%d/children" % (pid, pid)) as file:
            return [int(child) for child in file.read().split()]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for pid in self.sessions():
            os.kill(pid, signal.SIGKILL)
        self.child.terminate()
        self.child.wait(5)


def script(path, text):
    with open(path, "w") as out:
        out.write("#!/bin/sh\n" + text)
    os.chmod(path, 0o755)
    return path


def served(tmp, size=3 * MI, name="file"):
    root = os.path.join(tmp, "far side")
    os.makedirs(root, exist_ok=True)
    return write_random(os.path.join(root, name), size)


def no_child_left():
    """No ssh of ours lives on, none is a zombie."""
    own = subprocess.run(["pgrep", "-P", str(os.getpid()), "-x", "ssh"],
                         capture_output=True, text=True).stdout.split()
    check(not own, "ssh is left behind: %r" % own)


@case
def both_forms_of_address(tmp):
    source = served(tmp)
    with Sshd(tmp) as sshd:
        run = get(*sshd.args(), sshd.url(source), cwd=tmp)
        check_code(run, 0)
        check(same(os.path.join(tmp, "file"), source), "other bytes")
        # The login directory is the root of the long form.
        home = os.path.expanduser("~")
        name = ".belay-ssh-test-%d" % os.getpid()
        shutil.copy(source, os.path.join(home, name))
        try:
            run = get("-e", sshd.command(), "--remote-belayd",
                      program("BELAYD"), "-o", "two",
                      "belay+ssh://%s@127.0.0.1:%d/%s" %
                      (sshd.user, sshd.port, name), cwd=tmp)
            check_code(run, 0)
            run = get(*sshd.args("-o", "three"), sshd.url(name), cwd=tmp)
            check_code(run, 0)
        finally:
            os.unlink(os.path.join(home, name))
        for copy in ("two", "three"):
            check(same(os.path.join(tmp, copy), source), "other bytes")


@case
def the_environment_names_the_command(tmp):
    source = served(tmp)
    with Sshd(tmp) as sshd:
        words = sshd.args()
        run = get(*words[2:], sshd.url(source), cwd=tmp,
                  env={"BELAY_SSH": words[1]})
        check_code(run, 0)
        check(same(os.path.join(tmp, "file"), source), "other bytes")


@case
def repair_and_verify_read_it_as_well(tmp):
    """Without any sshd: what stands for ssh runs the command here."""
    source = served(tmp)
    copy = shutil.copy(source, os.path.join(tmp, "copy"))
    with open(copy, "r+b") as file:
        file.write(b"damage")
    path = os.path.dirname(program("BELAYD"))
    env = {"BELAY_SSH": script(
        os.path.join(tmp, "instead"), 'for last; do :; done\n'
        'PATH="%s:$PATH" exec sh -c "$last"\n' % path)}
    url = "elsewhere:" + source
    for words, code in ((("verify", "copy", url), 14),
                        (("repair", "copy", url), 0),
                        (("verify", "copy", url), 0)):
        check_code(harness.Run(list(words), tmp, env).wait(), code)
    check(same(copy, source), "other bytes")


@case
def a_dropped_session_is_made_again(tmp):
    size = scaled(48 * MI, 8 * MI)
    source = served(tmp, size)
    with Sshd(tmp) as sshd:
        run = start(*sshd.args("-v", "--limit-rate", size // 5),
                    sshd.url(source), cwd=tmp)
        part = os.path.join(tmp, "file.part")
        for _ in range(2):
            wait_until(lambda: run.poll() is not None or
                       os.path.exists(part) and len(sshd.sessions()) > 0,
                       "session")
            time.sleep(0.7)
            for pid in sshd.sessions():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        run.wait()
        check_code(run, 0)
        check(same(os.path.join(tmp, "file"), source), "other bytes")
        check(run.ledger["breaks"] >= 1, "nothing broke", run)
        wait_until(lambda: not sshd.sessions(), "end of all sessions", 10)
    no_child_left()


@case
def a_killed_client_goes_on_next_time(tmp):
    source = served(tmp, scaled(24 * MI, 8 * MI))
    with Sshd(tmp) as sshd:
        run = start(*sshd.args("--limit-rate", "8M"), sshd.url(source),
                    cwd=tmp)
        part = os.path.join(tmp, "file.part")
        wait_until(lambda: os.path.exists(part) and
                   os.stat(part).st_blocks * 512 > 2 * MI, "some bytes")
        run.send(signal.SIGINT)
        run.wait(10)
        check_code(run, 128 + signal.SIGINT)
        wait_until(lambda: not sshd.sessions(), "end of the session", 10)
        run = get(*sshd.args("-v"), sshd.url(source), cwd=tmp)
        check_code(run, 0)
        check(same(os.path.join(tmp, "file"), source), "other bytes")
        check(run.ledger["useful"] < os.path.getsize(source),
              "all was fetched again", run)


@case
def noise_before_the_server_is_shown_and_skipped(tmp):
    source = served(tmp)
    noise = "Welcome \\033[31mto\\377 the host\\n"
    far = script(os.path.join(tmp, "noisy"),
                 "printf '%s'\nprintf '\\211BL'\nexec '%s' \"$@\"\n" %
                 (noise, program("BELAYD")))
    with Sshd(tmp) as sshd:
        run = get(*sshd.args("--remote-belayd", far), sshd.url(source),
                  cwd=tmp)
        check_code(run, 0)
        check(same(os.path.join(tmp, "file"), source), "other bytes")
        check("remote shell printed" in run.err and "\\x1B[31m" in run.err,
              "the noise is not shown", run)
        check_printable(run)


@case
def only_noise_is_a_clear_end(tmp):
    source = served(tmp)
    endless = script(os.path.join(tmp, "endless"),
                     "yes 'no server \033[2Jhere'\n")
    short = script(os.path.join(tmp, "short"), "echo 'try again \033[2J'\n")
    with Sshd(tmp) as sshd:
        for far in (endless, short):
            run = get(*sshd.args("--remote-belayd", far), sshd.url(source),
                      cwd=tmp, timeout=20)
            check_one_line(run, NOT_BELAY, "remote shell printed")


@case
def what_goes_wrong_is_explained(tmp):
    source = served(tmp)
    with Sshd(tmp) as sshd:
        run = get(*sshd.args("--remote-belayd", "/nonexistent/belayd"),
                  sshd.url(source), cwd=tmp)
        check_one_line(run, NOT_BELAY, "no belayd", "--remote-belayd")
        run = get(*sshd.args(), sshd.url("/nonexistent/file"), cwd=tmp)
        check_one_line(run, 3, "no such file")
        # 255: ssh itself, with a last word of its own.
        run = get("-e", sshd.command("-p", str(free_port())),
                  sshd.url(source), cwd=tmp)
        check_one_line(run, 75, "ssh cannot reach", "refused")
        stranger = os.path.join(tmp, "stranger")
        make_key(stranger)
        run = get("-e", sshd.command("-p", str(sshd.port)).replace(
            os.path.join(sshd.home, "user"), stranger), sshd.url(source),
            cwd=tmp)
        check_one_line(run, 75, "ssh cannot reach", "denied")
    run = get("-e", os.path.join(tmp, "no-such-ssh"), "h:file", cwd=tmp)
    check_one_line(run, NOT_BELAY, "cannot run")
    run = get("-e", "  ", "h:file", cwd=tmp)
    check_one_line(run, 2, "words")


@case
def messages_of_the_far_side_are_escaped(tmp):
    source = served(tmp)
    loud = script(os.path.join(tmp, "loud"),
                  "printf 'evil \\033]0;title\\007 \\233 line\\n' >&2\n"
                  "head -c 100000 /dev/zero >&2\necho >&2\nexit 3\n")
    with Sshd(tmp) as sshd:
        run = get(*sshd.args("-v", "--remote-belayd", loud),
                  sshd.url(source), cwd=tmp)
        check_code(run, 75)
        check("evil \\x1B]0;title\\x07" in run.err, "not told", run)
        check_printable(run)


@case
def pins_behind_host_path(tmp):
    """U1-12: what is pinned is pinned in the short form, too, also for the
    files of a manifest. The other side is here: a shell, as behind sshd."""
    source = served(tmp, 300000)
    far = os.path.dirname(source)
    os.mkdir(os.path.join(far, "sub"))
    write_random(os.path.join(far, "sub", "a b#c%20"), 5000, 2)
    fake = script(os.path.join(tmp, "near-ssh"),
                  "for a in \"$@\"; do last=$a; done\n"
                  "cd '%s' && exec sh -c \"$last\"\n" % far)
    ssh = ("-e", fake, "--remote-belayd", program("BELAYD"))

    def belay(*args):
        return harness.Run(args, tmp, env={"XDG_STATE_HOME": tmp}).wait()

    cid = belay("cid", source).out.decode().split()[0]
    wrong = cid[:-1] + ("0" if cid[-1] != "0" else "1")
    for number, where in enumerate(("h:file", "h:" + source,
                                    "belay+ssh://h/file")):
        out = "out%d" % number
        check_one_line(get(*ssh, "-o", out, where + "#" + wrong, cwd=tmp), 4)
        check_one_line(get(*ssh, "-o", out, where + "#bl1-x", cwd=tmp), 2,
                       "content id")
        check(out not in os.listdir(tmp), "a file of another content")
        check_code(get(*ssh, "-o", out, where + "#" + cid, cwd=tmp), 0)
        check(same(os.path.join(tmp, out), source), "other bytes")
    for args in (("keygen", "--name", "k", "key"),
                 ("create", "--origin", "o", "-o", "m", far),
                 ("sign", "--key", "key", "m")):
        check_code(belay("manifest", *args), 0)
    for number, base in enumerate(("h:", "h:" + far,
                                    "belay+ssh://h/")):
        run = belay("get", *ssh, "--manifest", "m", "--key", "key.pub",
                    "-d", "all%d" % number, base)
        check_code(run, 0, base + ": ")
        check(same(os.path.join(tmp, "all%d" % number, "sub", "a b#c%20"),
                   os.path.join(far, "sub", "a b#c%20")), "other bytes")


@case
def nothing_passes_through_a_shell(tmp):
    """Names and the remote program as words of their own, quoted."""
    record = os.path.join(tmp, "record")
    fake = script(os.path.join(tmp, "fake-ssh"),
                  "for a in \"$@\"; do printf '%%s\\n' \"$a\"; done >'%s'\n"
                  "exit 255\n" % record)
    nasty = "it's $(touch pwned) `touch pwned`; touch pwned"
    run = get("-e", fake + " -extra", "--remote-belayd", nasty, "-4",
              "belay+ssh://me@host.example:2222/a%20b;c", cwd=tmp)
    check_one_line(run, 75, "ssh cannot reach host.example")
    with open(record) as file:
        words = file.read().splitlines()
    check(words == ["-extra", "-l", "me", "-p", "2222", "--",
                    "host.example",
                    "'it'\\''s $(touch pwned) `touch pwned`; touch pwned'"
                    " --stdio --root ."], "words: %r" % words)
    for bad in ("-oProxyCommand=touch pwned:f", "belay+ssh://-oProxyCommand/f",
                "belay+ssh://-l@h/f", "h;touch pwned:f", "$(touch pwned):f",
                "belay+ssh://a b/f", "a\nb:f"):
        run = get("-e", fake, "--", bad, cwd=tmp)
        check_code(run, 2)
        check_printable(run)
    check("pwned" not in os.listdir(tmp), "a shell ran")


@case
def a_silent_far_side_is_left(tmp):
    """It accepts and says nothing: stopped by the user at once."""
    silent = script(os.path.join(tmp, "silent"), "exec sleep 100\n")
    run = start("-e", silent, "h:file", cwd=tmp)
    wait_until(lambda: listens(run, signal.SIGTERM), "handler", step=0.001)
    time.sleep(0.5)
    began = time.monotonic()
    run.send(signal.SIGTERM)
    run.wait(30)
    check_code(run, 128 + signal.SIGTERM)
    check(time.monotonic() - began < 20, "it took long")
    no_child_left()


def far_tree(tmp, **how):
    root = os.path.join(tmp, "far tree")
    return trees.make(root, dirs=3, files=scaled(40, 8), **how)


def ls(*args, cwd):
    return harness.Run(["ls", *args], cwd).wait()


@case
def directories(tmp):
    """ls and get -r, in both forms of address, and again."""
    src = far_tree(tmp, large=1)
    with Sshd(tmp) as sshd:
        run = ls("-r", *sshd.args(), sshd.url(src + "/"), cwd=tmp)
        check_code(run, 0)
        listed = {line for line in run.out.decode().splitlines()
                  if not line.endswith("/")}
        check(listed == {os.path.relpath(os.path.join(base, name), src)
                         for base, _, files in os.walk(src)
                         for name in files}, "names", run)
        for fetched in (trees.count(src), 0):
            run = get("-r", *sshd.args(), sshd.url(src + "/"), "-d", "out",
                      cwd=tmp)
            check_code(run, 0)
            check("%d files fetched" % fetched in run.err, "totals", run)
            trees.same(src, os.path.join(tmp, "out"), run)
        home = os.path.expanduser("~")
        name = ".belay-ssh-test-%d" % os.getpid()
        shutil.copytree(src + "/d000", os.path.join(home, name))
        try:
            run = get("-r", "-e", sshd.command(), "--remote-belayd",
                      program("BELAYD"), "-d", "two",
                      "belay+ssh://%s@127.0.0.1:%d/%s/" %
                      (sshd.user, sshd.port, name), cwd=tmp)
            check_code(run, 0)
            trees.same(src + "/d000", os.path.join(tmp, "two"), run)
        finally:
            shutil.rmtree(os.path.join(home, name))
        wait_until(lambda: not sshd.sessions(), "end of all sessions", 10)
    no_child_left()


@case
def a_directory_over_sessions_that_drop(tmp):
    src = far_tree(tmp, large=3)
    size = sum(os.path.getsize(os.path.join(base, name))
               for base, _, files in os.walk(src) for name in files)
    with Sshd(tmp) as sshd:
        run = start("-r", "--limit-rate", size // 4, *sshd.args(),
                    sshd.url(src), "-d", "out", cwd=tmp)
        wait_until(lambda: os.path.exists(os.path.join(tmp, "out", "d000",
                                                       "f0000")), "a file")
        for _ in range(2):
            wait_until(lambda: sshd.sessions() or run.poll() is not None,
                       "session")
            time.sleep(0.5)
            for pid in sshd.sessions():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        run.wait()
        check_code(run, 0)
        trees.same(src, os.path.join(tmp, "out"), run)
        wait_until(lambda: not sshd.sessions(), "end of all sessions", 10)
    no_child_left()


@case
def directories_that_cannot_be_reached(tmp):
    src = far_tree(tmp)
    with Sshd(tmp) as sshd:
        for run in (lambda *a: ls(*a, cwd=tmp),
                    lambda *a: get("-r", *a, "-d", "out", cwd=tmp)):
            check_one_line(run(*sshd.args("--remote-belayd",
                                          "/nonexistent/belayd"),
                               sshd.url(src)), NOT_BELAY, "no belayd")
            check_one_line(run(*sshd.args(), sshd.url("/nonexistent/d")), 3,
                           "no such file")
            check_one_line(run("-e", sshd.command("-p", str(free_port())),
                               sshd.url(src)), 75, "ssh cannot reach")
    check(not os.path.exists(os.path.join(tmp, "out")), "a directory is left")
    for run in (ls("-e", "  ", "h:d", cwd=tmp),
                get("-r", "-e", "  ", "h:d", "-d", "out", cwd=tmp)):
        check_one_line(run, 2, "words")
    no_child_left()


@case
def several_connections_when_asked_for(tmp):
    size = scaled(32 * MI, 8 * MI)
    source = served(tmp, size)
    with Sshd(tmp) as sshd:
        run = get(*sshd.args("-v", "-x", "3", "--limit-rate", size // 6),
                  sshd.url(source), cwd=tmp)
        check_code(run, 0)
        check(same(os.path.join(tmp, "file"), source), "other bytes")
        check(run.ledger["connections"] > 1, "connections", run)
    no_child_left()


if __name__ == "__main__":
    harness.main()
