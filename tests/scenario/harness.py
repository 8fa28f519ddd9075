"""What the scenario scripts share: programs, servers, faults, checks.

A script defines cases and ends with harness.main():

    @case
    def resumes_after_reset(tmp):
        ...
        check(run.code == 0, "exit code", run)

Each case gets a fresh directory of its own.  Every wait has a timeout, every
process that is started is ended with the case, and nothing else is.  Names on
the command line select cases.  Exit status: 0 all hold, 1 one does not, 77
all that was asked for had to be skipped.

Environment: BELAY, BELAYD, BELAY_FAULT are the programs; SCENARIO_SCALE
scales sizes and counts (1; less under a sanitizer), SCENARIO_SANITIZE names
the sanitizer, if any.
"""

import contextlib
import ctypes
import fcntl
import hashlib
import os
import pty
import random
import re
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(TOP, "spec", "oracle"))

KI, MI, GI = 1 << 10, 1 << 20, 1 << 30
SCALE = float(os.environ.get("SCENARIO_SCALE", "1"))

# What a sanitizer finds ends a program as a crash does.
for _options in ("ASAN_OPTIONS", "TSAN_OPTIONS"):
    os.environ.setdefault(_options, "abort_on_error=1:halt_on_error=1")

# No run may take longer than this; a sanitizer makes all slower.
PATIENCE = 60.0 if SCALE >= 1 else 180.0
PORT_TIMEOUT = 20.0


class Failure(Exception):
    """A case does not hold."""


class Skip(Exception):
    """A case cannot be run here, for the reason given."""


CASES = []


def case(function):
    CASES.append(function)
    return function


def program(variable):
    path = os.environ.get(variable)
    if not path:
        sys.exit("%s: %s is not set" % (sys.argv[0], variable))
    return os.path.abspath(path)


def scaled(count, least=1):
    return max(least, int(count * min(SCALE, 1)))


def check(condition, what, run=None):
    if not condition:
        raise Failure(what if run is None else "%s\n%s" % (what, run))


def check_code(run, code, what=""):
    check(run.code == code, "%sexit code is %s, expected %d" %
          (what and what + ": ", run.code, code), run)


def need_root():
    if os.geteuid() != 0:
        raise Skip("needs root")


# -- files --------------------------------------------------------------------

def write_random(path, size, seed=1):
    source = random.Random(seed)
    with open(path, "wb") as out:
        while size > 0:
            n = min(size, 4 * MI)
            out.write(source.randbytes(n))
            size -= n
    return path


def write_text(path, size, seed=1):
    """Compressible: words, in a random order."""
    source = random.Random(seed)
    words = ["".join(source.choices("abcdefghij", k=source.randint(2, 9)))
             for _ in range(400)]
    line = " ".join(source.choices(words, k=6000)).encode() + b"\n"
    with open(path, "wb") as out:
        while size > 0:
            start = source.randrange(len(line))
            piece = (line[start:] + line[:start])[:size]
            out.write(piece)
            size -= len(piece)
    return path


def write_sparse(path, size, islands, seed=1):
    source = random.Random(seed)
    with open(path, "wb") as out:
        out.truncate(size)
        for offset in islands:
            out.seek(offset)
            out.write(source.randbytes(100 * KI))
    return path


def age(path, seconds=10):
    """An old file has a strong version: its times are set into the past, and
    ctime, which nobody can set, is waited for by settle()."""
    then = time.time() - seconds
    os.utime(path, (then, then))
    return path


def settle(*paths):
    """Wait until the racy window of these files has passed."""
    for path in paths:
        age(path)
    newest = max(os.stat(path).st_ctime for path in paths)
    wait = newest + 2.1 - time.time()
    if wait > 0:
        time.sleep(wait)


LIBRARY = {}


def library(**makers):
    """Files that all cases of a script share, made before the first one:
    name=(function, argument...) as in write_random(path, argument...).
    They are settled, so that servers know their digests at once."""
    LIBRARY.update(makers)


def shelf():
    """The directory of the library."""
    return os.path.join(BASE, "library")


def _fill_library():
    os.mkdir(shelf())
    paths = []
    for name, (function, *arguments) in LIBRARY.items():
        paths.append(os.path.join(shelf(), name))
        function(paths[-1], *arguments)
    if paths:
        settle(*paths)


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(MI):
            digest.update(block)
    return digest.hexdigest()


def same(a, b):
    return sha256(a) == sha256(b)


def data_extents(file, size):
    at = 0
    while at < size:
        try:
            begin = os.lseek(file.fileno(), at, os.SEEK_DATA)
        except OSError:
            return
        at = os.lseek(file.fileno(), begin, os.SEEK_HOLE)
        yield begin, at


def same_sparse(a, b):
    """As same(), without reading what is a hole in both."""
    size = os.path.getsize(a)
    if size != os.path.getsize(b):
        return False
    with open(a, "rb") as one, open(b, "rb") as two:
        for extents in (data_extents(one, size), data_extents(two, size)):
            for begin, end in extents:
                for at in range(begin, end, MI):
                    n = min(MI, end - at)
                    if os.pread(one.fileno(), n, at) != \
                            os.pread(two.fileno(), n, at):
                        return False
    return True


def names(directory):
    return sorted(os.listdir(directory))


# -- processes ----------------------------------------------------------------

CHILDREN = []
LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1


def _die_with_parent():
    """An interrupted script leaves nothing behind."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def spawn(command, **options):
    before = options.pop("preexec_fn", None)

    def prepare():
        _die_with_parent()
        if before:
            before()

    child = subprocess.Popen(command, preexec_fn=prepare, **options)
    CHILDREN.append(child)
    return child


def reap_children():
    for child in CHILDREN:
        if child.returncode is None and child.poll() is None:
            if os.getpgid(child.pid) == child.pid:
                os.killpg(child.pid, signal.SIGKILL)
            child.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(5)
    CHILDREN.clear()


def wait_until(condition, what, timeout=PATIENCE, step=0.01):
    """Wait for a condition; returns what it returned."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Failure("no %s within %.0f s" % (what, timeout))
        time.sleep(step)


def listens(run, number):
    """Has the client a handler of this signal?  Before that it kills."""
    try:
        with open("/proc/%d/status" % run.pid) as status:
            found = re.search(r"SigCgt:\s*(\w+)", status.read())
    except OSError:
        return True  # it has ended
    return found is None or int(found.group(1), 16) >> (number - 1) & 1


def reported(run):
    """Bytes verified so far, as SIGUSR1 makes the client tell."""
    wait_until(lambda: run.poll() is not None or
               listens(run, signal.SIGUSR1), "handler of SIGUSR1", 30, 0.001)
    seen = len(run.err)

    def answered():
        return run.poll() is not None or "\n" in run.err[seen:]

    # ThreadSanitizer may hold a signal back until the next one.
    for _ in range(10):
        run.send(signal.SIGUSR1)
        with contextlib.suppress(Failure):
            wait_until(answered, "answer to SIGUSR1", 2, 0.001)
            break
    check(answered(), "no answer to SIGUSR1", run)
    found = re.search(r"%, ([\d.]+ \w+) of ", run.err[seen:])
    return bytes_of(found.group(1)) if found else 0


def has_verified(run, least):
    """Wait until that many bytes are verified, or the client has ended."""
    wait_until(lambda: run.poll() is not None or reported(run) >= least,
               "%d verified bytes" % least, step=0.05)
    check(run.poll() is None, "it ended too soon", run)


def cpu_seconds(pid):
    """User and system time of a running process."""
    with open("/proc/%d/stat" % pid) as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


SYS_LANDLOCK_CREATE_RULESET = 444


def landlock_version():
    """Of the running kernel; 0: it has none."""
    return max(0, LIBC.syscall(SYS_LANDLOCK_CREATE_RULESET, None, 0, 1))


CONFINED = ["--sandbox=require"] if landlock_version() >= 2 else []


def confined(args):
    """A client that cannot confine itself fails, so that no scenario passes
    without its sandbox; except where the kernel has no Landlock."""
    args = [*map(str, args)]
    if args[:1] and args[0] in ("get", "ls", "repair", "verify") and \
            not any(word.startswith("--sandbox") for word in args):
        args[1:1] = CONFINED
    return args


class Run:
    """One run of the client: what it said, how it ended, what it used."""

    def __init__(self, args, cwd, env=None, stdout=None, stdin=None,
                 preexec_fn=None, prefix=()):
        self.args = [program("BELAY"), *confined(args)]
        self.out_file = tempfile.TemporaryFile() if stdout is None else None
        self.err_file = tempfile.TemporaryFile()
        self.began = time.monotonic()
        self.child = spawn(
            [*prefix, *self.args], cwd=cwd,
            stdin=stdin or subprocess.DEVNULL,
            stdout=stdout if stdout is not None else self.out_file,
            stderr=self.err_file, preexec_fn=preexec_fn,
            env={**os.environ, **(env or {})})
        self.code = None
        self.usage = None
        self.seconds = None

    @property
    def pid(self):
        return self.child.pid

    def poll(self):
        """None while it runs, else the exit code as a shell shows it."""
        if self.code is None:
            pid, status, usage = os.wait4(self.pid, os.WNOHANG)
            if pid != 0:
                self._ended(status, usage)
        return self.code

    def _ended(self, status, usage):
        self.seconds = time.monotonic() - self.began
        self.usage = usage
        # Negative: killed by that signal.
        self.code = os.waitstatus_to_exitcode(status)
        self.child.returncode = self.code

    def wait(self, timeout=PATIENCE):
        end = time.monotonic() + timeout
        pause = 0.001
        while self.poll() is None:
            if time.monotonic() > end:
                state = self.stack()
                self.child.kill()
                os.waitpid(self.pid, 0)
                self.child.returncode = -9
                raise Failure("still running after %.0f s%s\n%s" %
                              (timeout, state, self))
            time.sleep(pause)
            pause = min(pause * 1.5, 0.02)
        return self

    def stack(self):
        with contextlib.suppress(OSError):
            return " (%.1f s of CPU time)" % cpu_seconds(self.pid)
        return ""

    def send(self, signum):
        if self.poll() is None:
            self.child.send_signal(signum)

    def _text(self, file):
        return os.pread(file.fileno(), 64 * MI, 0)

    @property
    def err(self):
        return self._text(self.err_file).decode("utf-8", "backslashreplace")

    @property
    def raw_err(self):
        return self._text(self.err_file)

    @property
    def out(self):
        return self._text(self.out_file)

    @property
    def cpu(self):
        return self.usage.ru_utime + self.usage.ru_stime

    @property
    def peak_rss(self):
        return self.usage.ru_maxrss * KI

    @property
    def ledger(self):
        return read_ledger(self.err)

    def __str__(self):
        return "  command: %s\n  exit: %s\n  stderr: %s" % (
            " ".join(self.args), self.code,
            self.err.strip().replace("\n", "\n          ")[-3000:])


def get(*args, cwd, timeout=PATIENCE, **options):
    """Run `belay get` to its end."""
    return Run(["get", *args], cwd, **options).wait(timeout)


def start(*args, cwd, **options):
    """Start `belay get`."""
    return Run(["get", *args], cwd, **options)


UNITS = {"B": 1, "KiB": KI, "MiB": MI, "GiB": GI, "TiB": 1 << 40}


def read_ledger(text):
    """The last ledger line of -v as a dict: bytes, counts, seconds."""
    lines = [line for line in text.splitlines() if "useful " in line]
    if not lines:
        raise Failure("no ledger line in:\n" + text)
    line = lines[-1]
    ledger = {name: float(value) * UNITS[unit] for name, value, unit in
              re.findall(r"([a-z][a-z ]*?) ([\d.]+) ([KMGT]i?B|B)\b", line)}
    for name in ("connections", "breaks", "bad chunks"):
        ledger[name] = int(re.search(name + r" (\d+)", line).group(1))
    return ledger


def bytes_of(text):
    """ "1.50 MiB" as a number."""
    value, unit = text.split()
    return int(float(value) * UNITS[unit])


def lines_of(run):
    return [line for line in run.err.splitlines() if line.strip()]


# Lines of -v that are about the program, not about what it did.
PROGRAM_LINE = re.compile("belay: (sandbox: |running as root)|Try 'belay")


def check_one_line(run, code, *words):
    """One clear line, the right code, none of the peer's raw bytes."""
    check_code(run, code)
    lines = [line for line in lines_of(run) if not PROGRAM_LINE.match(line)]
    check(len(lines) == 1, "%d lines of text instead of one" % len(lines),
          run)
    for word in words:
        check(re.search(word, lines[0], re.I), "no %r in the text" % word,
              run)
    check_printable(run)


def check_printable(run):
    bad = [b for b in run.raw_err if (b < 32 and b != 10) or b == 127]
    check(not bad, "raw control bytes %r on the terminal" % bytes(bad), run)
    try:
        text = run.raw_err.decode("utf-8")
    except UnicodeDecodeError:
        raise Failure("invalid UTF-8 on the terminal\n%s" % run)
    check(not re.search("[\x80-\x9f\u202a-\u202e\u2066-\u2069]", text),
          "C1 or bidirectional controls on the terminal", run)


def check_nothing_final(directory, *allowed):
    """Nothing under a final name: only partial files and journals."""
    left = [n for n in names(directory) if ".part" not in n and
            n not in allowed]
    check(not left, "files under final names: %r" % left)


# -- servers ------------------------------------------------------------------

class Listening:
    """A program that prints "listening on ADDR:PORT" and serves."""

    def __init__(self, command, log):
        self.command, self.log = command, log
        self.child = None
        self.port = None
        self.begin()

    def begin(self):
        with open(self.log, "ab") as log:
            start_at = log.tell()
            # A group of its own: its workers end with it, as they do when
            # a machine loses power.
            self.child = spawn(self.command, stdout=log, stderr=log,
                               stdin=subprocess.DEVNULL, process_group=0)

        def ready():
            with open(self.log, "rb") as file:
                file.seek(start_at)
                found = re.search(rb"listening on \S*:(\d+)\b", file.read())
            if not found and self.child.poll() is not None:
                raise Failure("%s ended with %d:\n%s" % (
                    self.command[0], self.child.returncode, self.text()))
            return found and int(found.group(1))

        self.port = wait_until(ready, "port of " + self.command[0],
                               PORT_TIMEOUT, 0.002)

    def text(self):
        with open(self.log, errors="backslashreplace") as file:
            return file.read()[-3000:]

    def end(self, signum=signal.SIGTERM):
        if self.child.poll() is None:
            self.signal(signum)
            try:
                self.child.wait(10)
            except subprocess.TimeoutExpired:
                self.signal(signal.SIGKILL)
                self.child.wait(10)

    def signal(self, signum):
        """To the whole group if it is to die at once, else to the parent,
        as a service manager does."""
        if signum == signal.SIGKILL:
            os.killpg(self.child.pid, signum)
        else:
            self.child.send_signal(signum)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end(signal.SIGKILL)

    def url(self, name="file"):
        return "belay+tcp://127.0.0.1:%d/%s" % (self.port, name)


def as_user():
    """Tests run as whoever they run as; root must say so."""
    return ["--user", "root"] if os.geteuid() == 0 else []


def as_strict_as_possible():
    """Workers die at a call that their sandbox forbids, so that no scenario
    passes with one; except where the kernel has no Landlock."""
    return ["--sandbox", "strict" if landlock_version() > 0 else "try"]


class Belayd(Listening):
    """The real server.  restart() keeps its port and its cache."""

    def __init__(self, root=None, *args, listen="127.0.0.1:0"):
        root = root or shelf()
        base = tempfile.mkdtemp(prefix="belayd-", dir=aside())
        self.options = ["--root", str(root), "--cache",
                        os.path.join(base, "cache"), *as_user(),
                        *as_strict_as_possible(), *args]
        os.mkdir(os.path.join(base, "cache"))
        super().__init__([program("BELAYD"), "--plain", "--listen", listen,
                          *self.options], os.path.join(base, "log"))
        self.host = listen.rpartition(":")[0]

    def restart(self, signum=signal.SIGKILL, pause=0.0):
        self.end(signum)
        time.sleep(pause)
        self.command = [program("BELAYD"), "--plain", "--listen",
                        "%s:%d" % (self.host, self.port), *self.options]
        self.begin()


class Fault(Listening):
    """belay-fault in front of a server."""

    def __init__(self, server, *rules):
        base = tempfile.mkdtemp(prefix="fault-", dir=aside())
        self.stats_file = os.path.join(base, "stats")
        port = server if isinstance(server, int) else server.port
        super().__init__(
            [program("BELAY_FAULT"), "--listen", "127.0.0.1:0", "--connect",
             "127.0.0.1:%d" % port, *map(str, rules)],
            os.path.join(base, "log"))

    def stats(self):
        import json
        self.end()
        lines = [line for line in self.text().splitlines()
                 if line.startswith("{")]
        return json.loads(lines[-1])


class Peer:
    """A server in this process: serve(sock) talks to each connection, on a
    thread; what it raises because the client left is of no interest."""

    def __init__(self, serve, host="127.0.0.1", port=0):
        self.serve = serve
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.sock = socket.create_server((host, port), family=family,
                                         backlog=64)
        self.host = host
        self.port = self.sock.getsockname()[1]
        self.accepted = 0
        self.socks = []
        self.faults = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                sock, _ = self.sock.accept()
            except OSError:
                return
            self.accepted += 1
            self.socks.append(sock)
            threading.Thread(target=self._talk, args=(sock,),
                             daemon=True).start()

    def _talk(self, sock):
        try:
            sock.settimeout(PATIENCE)
            self.serve(sock)
        except OSError:
            pass
        except Exception:
            self.faults.append(traceback.format_exc())
        finally:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()
        for sock in self.socks:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        check(not self.faults, "the test's own server failed:\n" +
              "".join(self.faults[:1]))

    def url(self, name="file"):
        host = "[%s]" % self.host if ":" in self.host else self.host
        return "belay+tcp://%s:%d/%s" % (host, self.port, name)


def abort(sock):
    """Close with a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                    struct.pack("ii", 1, 0))
    sock.close()


def free_port(host="127.0.0.1"):
    """A port where nobody listens, as far as one can know."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as sock:
        sock.bind((host, 0))
        return sock.getsockname()[1]


def in_private_mounts(script):
    """Run this script again inside a mount namespace of its own; returns
    when we are inside."""
    need_root()
    if os.environ.get("SCENARIO_PRIVATE") == "1":
        return
    probe = subprocess.run(["unshare", "-m", "true"], capture_output=True)
    if probe.returncode != 0:
        raise Skip("unshare -m is not allowed here")
    env = {**os.environ, "SCENARIO_PRIVATE": "1"}
    os.execvpe("unshare", ["unshare", "-m", "--propagation", "private",
                           sys.executable, script, *sys.argv[1:]], env)


def together(function, items, at_once=8):
    """function(item) for all items, several at a time: for runs that wait
    more than they work."""
    with ThreadPoolExecutor(at_once) as pool:
        for future in [pool.submit(function, item) for item in items]:
            future.result()


class Tmpfs:
    """A small file system; seen by this process and its children only."""

    def __init__(self, path, options):
        need_root()
        self.path = path
        os.makedirs(path, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", path],
                       check=True)

    def remount(self, options):
        subprocess.run(["mount", "-o", "remount," + options, self.path],
                       check=True)

    def fill(self, leave=0):
        """Somebody else takes what is left, or all but a part of it."""
        with open(os.path.join(self.path, "ballast"), "wb", 0) as file:
            while True:
                room = os.statvfs(self.path)
                size = room.f_bavail * room.f_frsize - leave
                if size <= 0:
                    return
                with contextlib.suppress(OSError):
                    file.write(bytes(min(size, MI)))

    def free(self):
        os.unlink(os.path.join(self.path, "ballast"))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        subprocess.run(["umount", "-l", self.path], check=False)


def on_terminal(argv, cwd, columns=100, env=None, seconds=60):
    """What a program draws on a terminal of its own."""
    pid_master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ,
                struct.pack("HHHH", 24, columns, 0, 0))
    env = {**os.environ, "TERM": "xterm", **(env or {})}
    env.pop("COLUMNS", None)
    child = spawn(argv, cwd=cwd, stdin=slave, stdout=slave, stderr=slave,
                  env=env)
    os.close(slave)
    text = b""
    while True:
        try:
            block = os.read(pid_master, 65536)
        except OSError:
            break
        if not block:
            break
        text += block
    os.close(pid_master)
    return child.wait(seconds), text.decode()


# -- running cases ------------------------------------------------------------

BASE = None


def aside():
    """Where servers and proxies of a case keep their own files."""
    return os.path.join(BASE, "aside")


def _run_case(function):
    case_dir = os.path.join(BASE, function.__name__)
    os.mkdir(case_dir)
    os.mkdir(aside())
    began = time.monotonic()
    try:
        function(case_dir)
        state, text = "ok", ""
    except Skip as skip:
        state, text = "skipped", str(skip)
    except Failure as failure:
        state, text = "FAILED", str(failure)
    except Exception:
        state, text = "FAILED", traceback.format_exc()
    finally:
        reap_children()
        shutil.rmtree(case_dir, ignore_errors=True)
        shutil.rmtree(aside(), ignore_errors=True)
    print("%-8s %-40s %6.2f s  %s" % (
        state, function.__name__, time.monotonic() - began, text),
        flush=True)
    return state


def main():
    global BASE
    chosen = [c for c in CASES
              if len(sys.argv) < 2 or c.__name__ in sys.argv[1:]]
    if not chosen:
        sys.exit("no such case; there are: " +
                 " ".join(c.__name__ for c in CASES))
    # A scenario may hold many sockets; a client of its own is unaffected.
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    BASE = os.path.realpath(tempfile.mkdtemp(prefix="belay-scenario-"))
    os.chmod(BASE, 0o755)
    states = []
    try:
        _fill_library()
        for function in chosen:
            states.append(_run_case(function))
    finally:
        reap_children()
        shutil.rmtree(BASE, ignore_errors=True)
    if "FAILED" in states:
        sys.exit(1)
    if all(state == "skipped" for state in states):
        sys.exit(77)
    sys.exit(0)
