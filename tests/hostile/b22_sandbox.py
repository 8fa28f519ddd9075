#!/usr/bin/env python3
"""B22: a worker that somebody has taken over: files outside, connections,
programs, writes are denied. The calls are made by a real worker, which this
test steers as a debugger does; there is no door for it in the program."""

import ctypes
import errno
import os
import platform
import signal
import socket
import struct

from kit import (Listening, Skip, as_user, case, check, main, program, visit,
                 wait_until, whole_log, worker_pids)

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p,
                        ctypes.c_void_p]
LIBC.ptrace.restype = ctypes.c_long

CONT, SINGLESTEP, GETREGS, SETREGS = 7, 9, 12, 13
ATTACH, DETACH = 16, 17

REGISTERS = ("r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi "
             "orig_rax rip cs eflags rsp ss fs_base gs_base ds es fs "
             "gs").split()


class Registers(ctypes.Structure):
    _fields_ = [(name, ctypes.c_ulonglong) for name in REGISTERS]


def ptrace(request, pid, data=None):
    if LIBC.ptrace(request, pid, None, data) < 0:
        number = ctypes.get_errno()
        if number in (errno.EPERM, errno.ENOSYS):
            raise Skip("this process may not debug another one")
        raise OSError(number, os.strerror(number))


class Steered:
    """A worker in our hands, between two of its own system calls."""

    # Of x86-64.
    READ, WRITE, OPEN, SOCKET, CONNECT, FORK, EXECVE, KILL = \
        0, 1, 2, 41, 42, 57, 59, 62
    MKDIR, UNLINK, CHMOD, PTRACE, OPENAT, OPENAT2 = 83, 87, 90, 101, 257, 437
    MPROTECT, CLONE, BIND, MOUNT = 10, 56, 49, 165

    def __init__(self, pid):
        self.pid = pid
        ptrace(ATTACH, pid)
        os.waitpid(pid, 0)
        self.saved = Registers()
        ptrace(GETREGS, pid, ctypes.byref(self.saved))
        self.memory = open("/proc/%d/mem" % pid, "r+b", 0)
        # It waits in a call, so the instruction before is the one to make
        # calls with.
        self.memory.seek(self.saved.rip - 2)
        if self.memory.read(2) != b"\x0f\x05":
            self.leave()
            raise Skip("the worker does not wait in a system call")
        self.room = (self.saved.rsp - 8192) & ~15

    def put(self, data):
        """Bytes in its memory, below its stack; their address."""
        at = self.room
        self.memory.seek(at)
        self.memory.write(data + b"\0")
        self.room += (len(data) + 16) & ~15
        return at

    def call(self, number, *args):
        """0, or the errno; the result of the call is in self.result. None:
        the worker died of it."""
        regs = Registers()
        ctypes.memmove(ctypes.byref(regs), ctypes.byref(self.saved),
                       ctypes.sizeof(regs))
        regs.rip = self.saved.rip - 2
        regs.rax = number
        regs.orig_rax = 2 ** 64 - 1
        values = [self.put(arg) if isinstance(arg, bytes) else arg
                  for arg in args]
        for name, value in zip(("rdi", "rsi", "rdx", "r10", "r8", "r9"),
                               values):
            setattr(regs, name, value & (2 ** 64 - 1))
        ptrace(SETREGS, self.pid, ctypes.byref(regs))
        ptrace(SINGLESTEP, self.pid)
        _, status = os.waitpid(self.pid, 0)
        if os.WIFSIGNALED(status):
            return None
        if os.WSTOPSIG(status) != signal.SIGTRAP:
            ptrace(CONT, self.pid, os.WSTOPSIG(status))
            os.waitpid(self.pid, 0)
            return None
        after = Registers()
        ptrace(GETREGS, self.pid, ctypes.byref(after))
        self.result = ctypes.c_longlong(after.rax).value
        self.room = (self.saved.rsp - 8192) & ~15
        return -self.result if -4096 < self.result < 0 else 0

    def leave(self):
        self.memory.close()
        regs = Registers()
        ctypes.memmove(ctypes.byref(regs), ctypes.byref(self.saved),
                       ctypes.sizeof(regs))
        ptrace(SETREGS, self.pid, ctypes.byref(regs))
        ptrace(DETACH, self.pid)


def here():
    if platform.machine() != "x86_64":
        raise Skip("written for x86-64")


def confined(tmp, mode):
    """A server whose workers are confined, but for what a sanitizer build
    leaves out."""
    root = os.path.join(tmp, "root")
    os.makedirs(root, exist_ok=True)
    with open(os.path.join(root, "good"), "wb") as out:
        out.write(b"good" * 5000)
    server = Listening(
        [program("BELAYD"), "--root", root, "--plain", "--workers", "1",
         "--listen", "127.0.0.1:0", "--cache", os.path.join(tmp, "cache"),
         "--sandbox", mode, *as_user()], os.path.join(tmp, "log"))
    wait_until(lambda: b" sandbox " in whole_log(server), "sandbox", 20)
    log = whole_log(server)
    if b"files=confined" not in log:
        server.end()
        raise Skip("no Landlock here")
    return server, b"calls=filtered" in log


def attempts(me, tmp, server):
    root = os.path.join(tmp, "root")
    write = os.O_WRONLY | os.O_CREAT
    address = struct.pack("=H", socket.AF_INET) + \
        struct.pack(">H", server.port) + socket.inet_aton("127.0.0.1") + \
        bytes(8)
    yield "a file outside", me.OPEN, (b"/etc/passwd", os.O_RDONLY, 0)
    yield "the same, by another call", me.OPENAT, (
        -100, b"/etc/passwd", os.O_RDONLY, 0)
    yield "another directory", me.OPEN, (
        os.fsencode(tmp), os.O_RDONLY | os.O_DIRECTORY, 0)
    yield "a file under the root, to write", me.OPEN, (
        os.fsencode(os.path.join(root, "good")), os.O_WRONLY, 0)
    yield "a new file under the root", me.OPEN, (
        os.fsencode(os.path.join(root, "new")), write, 0o600)
    yield "a new file in /tmp", me.OPEN, (b"/tmp/belay-b22", write, 0o600)
    yield "removing a file", me.UNLINK, (
        os.fsencode(os.path.join(root, "good")),)
    yield "a program", me.EXECVE, (b"/bin/true", 0, 0)


def filtered_attempts(me):
    yield "a socket", me.SOCKET, (socket.AF_INET, socket.SOCK_STREAM, 0)
    yield "a local socket", me.SOCKET, (socket.AF_UNIX, socket.SOCK_STREAM, 0)
    yield "a process", me.FORK, ()
    yield "a thread", me.CLONE, (0x50f00, 0, 0, 0, 0)
    yield "a directory", me.MKDIR, (b"/tmp/belay-b22", 0o700)
    yield "rights of a file", me.CHMOD, (b"/tmp", 0o777)
    yield "a mount", me.MOUNT, (0, b"/tmp", b"tmpfs", 0, 0)
    yield "debugging", me.PTRACE, (0, 0, 0, 0)
    yield "a signal to another process", me.KILL, (1, 0)


@case
def from_inside_a_worker(tmp):
    here()
    server, filtered = confined(tmp, "require")
    with server:
        me = Steered(worker_pids(server)[0])
        try:
            check(me.call(me.OPEN, os.fsencode(os.path.join(tmp, "root",
                                                            "good")),
                          os.O_RDONLY, 0) == 0,
                  "what is served cannot be read: this test sees nothing")
            for what, number, args in attempts(me, tmp, server):
                error = me.call(number, *args)
                check(error in (errno.EACCES, errno.EPERM),
                      "%s: %s" % (what, error and os.strerror(error)))
            for what, number, args in filtered_attempts(me) if filtered \
                    else ():
                error = me.call(number, *args)
                check(error == errno.EPERM,
                      "%s: %s" % (what, error and os.strerror(error)))
        finally:
            me.leave()
        check(os.listdir(os.path.join(tmp, "root")) == ["good"], "the tree")
        visit(server)
        check(b"worker-crash" not in whole_log(server), server.text())


@case
def a_strict_one_dies_of_it(tmp):
    """With --sandbox strict a forbidden call ends the worker; another one
    takes its place."""
    here()
    server, filtered = confined(tmp, "strict")
    with server:
        if not filtered:
            raise Skip("this build has no filter")
        before = worker_pids(server)
        me = Steered(before[0])
        check(me.call(me.SOCKET, socket.AF_INET, socket.SOCK_STREAM, 0) is
              None, "a socket")
        me.memory.close()
        wait_until(lambda: b"worker-crash worker=0 signal=31" in
                   whole_log(server), "its end", 20)
        wait_until(lambda: worker_pids(server) != before, "another one", 20)
        visit(server)


if __name__ == "__main__":
    main()
