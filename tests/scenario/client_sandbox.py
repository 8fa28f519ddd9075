#!/usr/bin/env python3
"""The client confines itself: what of it fails is told or ends the run, what
it needs outside goes on, and nothing of it stays behind.

That each kind of download works inside is shown by all other scenarios, which
run with --sandbox=require; what cannot be done any more is tried from inside
by tests/unit/client_sandbox_test.c."""

import ctypes
import errno
import os
import platform
import resource
import signal
import struct

from harness import (KI, LIBC, MI, Belayd, Peer, Run, Skip, case, check,
                     check_code, check_one_line, get, landlock_version,
                     library, main, names, program, same, scaled, shelf,
                     start, wait_until, write_random)

SIZE = 3 * MI + 17
library(file=(write_random, SIZE), small=(write_random, 9 * KI))

CALLS = {"x86_64": {"prctl": 157, "seccomp": 317},
         "aarch64": {"prctl": 167, "seccomp": 277}}
LANDLOCK = {"landlock_create_ruleset": 444, "landlock_add_rule": 445,
            "landlock_restrict_self": 446}
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, FILTER = 38, 22, 2
BPF_LOAD, BPF_EQUAL, BPF_RETURN = 0x20, 0x15, 0x06
ALLOW, REFUSE = 0x7FFF0000, 0x00050000


def need_landlock():
    if landlock_version() < 2:
        raise Skip("this kernel has no Landlock")


def number_of(name):
    table = {**CALLS.get(platform.machine(), {}), **LANDLOCK}
    if name not in table:
        raise Skip("the system calls of this machine are not known here")
    return table[name]


def refusing(name, error, first_arg=None):
    """A system call fails from now on, in the program that is started."""
    steps = [(BPF_LOAD, 0, 0, 0), (BPF_EQUAL, 0, 3, number_of(name))]
    steps += [(BPF_LOAD, 0, 0, 16), (BPF_EQUAL, 0, 1, first_arg)] \
        if first_arg is not None else \
        [(BPF_LOAD, 0, 0, 0), (BPF_EQUAL, 0, 1, number_of(name))]
    steps += [(BPF_RETURN, 0, 0, REFUSE | error), (BPF_RETURN, 0, 0, ALLOW)]
    code = ctypes.create_string_buffer(b"".join(
        struct.pack("=HBBI", *step) for step in steps))
    head = ctypes.create_string_buffer(struct.pack(
        "@HP", len(steps), ctypes.addressof(code)))

    def install():
        LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        if LIBC.prctl(PR_SET_SECCOMP, FILTER, head, 0, 0) != 0:
            raise OSError("no seccomp filters here")
    install.keep = code
    return install


def has_filter():
    """Builds with sanitizers have none."""
    return "system calls are open in this build" not in get(
        "-v", "-o", "-", "belay+tcp://127.0.0.1:1/x", "--retry", "1",
        cwd="/").err


FAULTS = [("landlock_create_ruleset", errno.ENOSYS, None, "no Landlock"),
          ("landlock_add_rule", errno.ENOMEM, None, "cannot be confined"),
          ("landlock_restrict_self", errno.E2BIG, None, "cannot be confined"),
          ("prctl", errno.EINVAL, PR_SET_NO_NEW_PRIVS, "cannot be confined"),
          ("seccomp", errno.EINVAL, None, "system calls cannot be denied")]


@case
def each_part_that_fails(into):
    """require fetches nothing, auto goes on and tells who looks closely."""
    need_landlock()
    filtered = has_filter()
    with Belayd() as server:
        for name, error, arg, words in FAULTS:
            if name == "seccomp" and not filtered:
                continue
            fault = refusing(name, error, arg)
            out = os.path.join(into, name)
            os.mkdir(out)
            run = get("--sandbox=auto", "-v", server.url("small"), cwd=out,
                      preexec_fn=fault)
            check_code(run, 0, name)
            check(words in run.err, "what is missing is told", run)
            check(same(out + "/small", shelf() + "/small"), "bytes", run)
            os.unlink(out + "/small")
            run = get("--sandbox=auto", server.url("small"), cwd=out,
                      preexec_fn=fault)
            check("sandbox" not in run.err, "told without -v", run)
            os.unlink(out + "/small")

            def listens(sock):
                sock.recv(1)

            with Peer(listens) as peer:
                writers = [("get", peer.url()),
                           ("repair", shelf() + "/small", peer.url()),
                           ("get", "-r", peer.url(""), "-d", "d")]
                # Without a place to write there is no rule to add.
                readers = [] if name == "landlock_add_rule" else \
                    [("ls", peer.url("")),
                     ("verify", shelf() + "/small", peer.url())]
                for args in writers + readers:
                    run = Run([args[0], "--sandbox=require", *args[1:]], out,
                              preexec_fn=fault).wait()
                    check_one_line(run, 1, words)
                check(peer.accepted == 0, "it connected")
            check(names(out) in ([], ["d"]), "left: %r" % names(out))


@case
def what_is_told(into):
    """Nothing without -v; with it what is in force."""
    need_landlock()
    with Belayd() as server:
        run = get(server.url(), cwd=into)
        check("sandbox" not in run.err and "root" not in run.err, "told", run)
        run = get("-v", "--overwrite", server.url(), cwd=into)
        check("sandbox: writes below the current directory only" in run.err,
              "the line", run)
        check(("running as root" in run.err) == (os.geteuid() == 0),
              "the line about root", run)
        run = get("-v", "-o", "-", server.url(), cwd=into)
        check("sandbox: writes no files" in run.err, "the line", run)
        run = get("-v", "--sandbox=off", "--overwrite", server.url(),
                  cwd=into)
        check("sandbox: off" in run.err, "the line", run)
        check_one_line(get("--sandbox=of", server.url(), cwd=into), 2,
                       "auto, require or off")


@case
def many_directories(into):
    """Each line of a list has a directory of its own; descriptors are few."""
    need_landlock()
    count = scaled(120, 70)
    lines = ["%%s dir=a/%d/b/c out=n%d" % (k, k) for k in range(count)]
    lines.append("%%s dir=%s out=n" % os.path.join(into, "absolute"))
    lines.append("%s out=../beside/n")

    def few():
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

    os.mkdir(into + "/cwd")
    os.mkdir(into + "/beside")
    with Belayd() as server:
        with open(into + "/list", "w") as out:
            out.write("\n".join(line % server.url("small")
                                for line in lines) + "\n")
        run = get("-i", into + "/list", cwd=into + "/cwd", preexec_fn=few)
        check_code(run, 0)
    for k in range(count):
        check(os.path.getsize("%s/cwd/a/%d/b/c/n%d" % (into, k, k)) == 9 * KI,
              "file %d" % k, run)
    for path in ("/absolute/n", "/beside/n"):
        check(same(into + path, shelf() + "/small"), path, run)


@case
def all_that_is_written_beside(into):
    """Logs, lists, receipts, manifests from elsewhere, each in a directory of
    its own."""
    need_landlock()
    for name in ("data", "log", "failed", "receipt"):
        os.mkdir(os.path.join(into, name))
    with Belayd() as server:
        run = get("-d", "data", "--log-file", "log/l", "--failed",
                  "failed/f", "--receipt=receipt/r", server.url(), cwd=into)
        check_code(run, 0)
        check(names(into + "/receipt") == ["r"] and
              os.path.getsize(into + "/log/l") > 0, "files", run)
        os.link(into + "/data/file", into + "/elsewhere")
        with open(into + "/elsewhere", "r+b") as out:
            out.seek(MI)
            out.write(b"damage")
        run = Run(["repair", "data/file", server.url()], into).wait()
        check_code(run, 0)
        check(same(into + "/data/file", shelf() + "/file"), "repaired", run)


def fake_ssh(into):
    """An ssh that runs the server here, and says that it runs."""
    path = os.path.join(into, "ssh")
    with open(path, "w") as out:
        out.write("#!/bin/sh\necho $$ >> %s/pids\nexec 2>&1\n"
                  "exec %s --stdio --root %s --sandbox off 2>/dev/null\n" %
                  (into, program("BELAYD"), shelf()))
    os.chmod(path, 0o755)
    return path


# In the environment of all that is started here.
MARK = b"CLIENT_SANDBOX_TEST=%d" % os.getpid()
os.environ["CLIENT_SANDBOX_TEST"] = str(os.getpid())


def aides():
    """Processes that call themselves so and belong to runs of ours."""
    found = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/comm" % pid) as file:
                name = file.read().strip()
            with open("/proc/%s/environ" % pid, "rb") as file:
                ours = MARK in file.read()
        except OSError:
            continue
        if ours and name == "belay-aide":
            found.add(int(pid))
    return found


def is_alive(pid):
    try:
        with open("/proc/%d/stat" % pid) as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@case
def ssh_by_an_aide(into):
    """The program is started from outside, and all of it ends with belay."""
    need_landlock()
    ssh = fake_ssh(into)
    run = get("-v", "--ssh", ssh, "somewhere:file", cwd=into)
    check_code(run, 0)
    check(same(into + "/file", shelf() + "/file"), "bytes", run)
    check("by an aide" in run.err, "told", run)
    run = get("-o", "-", "--ssh", ssh, "somewhere:file", cwd=into)
    check(run.out == open(shelf() + "/file", "rb").read(), "bytes", run)
    seen = 0
    for signum in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
        os.unlink(into + "/pids")
        run = start("--limit-rate", "100k", "--ssh", ssh, "somewhere:file",
                    "-o", "killed", cwd=into)
        pids = wait_until(
            lambda: os.path.exists(into + "/pids") and
            open(into + "/pids").read().split(), "ssh")
        wait_until(lambda: os.path.exists(into + "/killed.part"), "data")
        seen += len(aides())
        run.send(signum)
        run.wait()
        wait_until(lambda: not any(is_alive(int(pid)) for pid in pids),
                   "end of ssh")
    check(seen >= 3, "only %d aides were seen" % seen)
    wait_until(lambda: not any(map(is_alive, aides())), "end of the aides")


@case
def output_to_a_pipe_ends(into):
    """Nothing outside keeps the pipe open."""
    need_landlock()
    ssh = fake_ssh(into)
    reader, writer = os.pipe()
    run = start("-o", "-", "--ssh", ssh, "somewhere:small", cwd=into,
                stdout=writer)
    os.close(writer)
    data = b""
    while block := os.read(reader, 65536):
        data += block
    os.close(reader)
    check_code(run.wait(), 0)
    check(data == open(shelf() + "/small", "rb").read(), "bytes", run)


@case
def no_way_out_through_links(into):
    """A destination that is a link is what it points to, and nothing else."""
    need_landlock()
    for name in ("real", "away"):
        os.mkdir(os.path.join(into, name))
    os.symlink("real", into + "/link")
    with Belayd() as server:
        check_code(get("-d", "link", server.url("small"), cwd=into), 0)
        check(names(into + "/real") == ["small"], "through the link")
        # What the run has a right to is the directory, not its name.
        run = start("-d", "link", "--limit-rate", "1M", server.url(),
                    cwd=into)
        wait_until(lambda: "file.part" in names(into + "/real"), "data")
        os.unlink(into + "/link")
        os.symlink("away", into + "/link")
        run.wait()
        check(names(into + "/away") == [], "it followed", run)


if __name__ == "__main__":
    main()
