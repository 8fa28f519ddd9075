"""How belayd starts, stops, survives its workers and its cache, and what it
says when it is used wrongly."""

import os
import re
import resource
import signal
import socket
import subprocess
import time

import harness
from harness import MI, Belayd, case, check, program, scaled, settle, \
    wait_until, write_random

import belay_wire as W
import registry as R
from rawclient import Raw, chunk_bytes, cid_of, fetch, joined


def serve(tmp, *args, size=4 * MI):
    root = os.path.join(tmp, "root")
    os.makedirs(root, exist_ok=True)
    path = write_random(os.path.join(root, "f"), size)
    settle(path)
    return Belayd(root, *args), path


# The usual port may be that of another test.
ANY = ["--listen", "127.0.0.1:0"]


def workers(server):
    pid = server.child.pid
    with open("/proc/%d/task/%d/children" % (pid, pid)) as file:
        return [int(child) for child in file.read().split()]


def run(*args, env=None):
    user = harness.as_user() if "--plain" in args else []
    if "--plain" in args and "--listen" not in args:
        user += ["--listen", "127.0.0.1:0"]  # others have the usual port
    done = subprocess.run([program("BELAYD"), *args, *user],
                          capture_output=True, timeout=60,
                          env={**os.environ, **(env or {})})
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def gone(server):
    return wait_until(lambda: server.child.poll() is not None, "end of belayd",
                      70)


@case
def wrong_use_is_one_line_and_exit_2(tmp):
    root = os.path.join(tmp, "root")
    os.mkdir(root)
    wrong = [[], ["--root"], ["--root", root], ["--nonsense"],
             ["--root", root, "--plain", "extra"],
             ["--root", root, "--plain", "--workers", "0"],
             ["--root", root, "--plain", "--workers", "9"],
             ["--root", root, "--plain", "--workers", "-1"],
             ["--root", root, "--plain", "--max-connections", "0"],
             ["--root", root, "--plain", "--max-per-address",
              "18446744073709551616"],
             ["--root", root, "--plain", "--listen", "localhost"],
             ["--root", root, "--plain", "--listen", "1.2.3.4"],
             ["--root", root, "--plain", "--listen", "::1:80"],
             ["--root", root, "--plain", "--listen", "127.0.0.1:65536"],
             ["--root", root, "--plain", *ANY, "--cache", root],
             ["--root", root, "--stdio", "--listen", "127.0.0.1:0"],
             ["--root", "", "--plain"]]
    for args in wrong:
        code, out, err = run(*args)
        lines = [line for line in err.splitlines()
                 if not re.match(r"\d{4}-", line)]
        check(code == 2 and out == "" and len(lines) == 1 and
              lines[0].startswith("belayd: "),
              "%r: exit %d\n%s%s" % (args, code, out, err))
    check("--plain" in run("--root", root)[2], "no hint at --plain")


@case
def what_cannot_be_is_exit_1(tmp):
    root = os.path.join(tmp, "root")
    os.mkdir(root)
    file = os.path.join(tmp, "file")
    open(file, "w").close()
    taken = socket.create_server(("127.0.0.1", 0))
    port = taken.getsockname()[1]
    for args, word in (
            (["--root", os.path.join(tmp, "none"), "--plain"], "none"),
            (["--root", file, "--plain"], "file"),
            (["--root", root, "--plain", "--listen",
              "127.0.0.1:%d" % port], "in use"),
            (["--root", root, "--plain", "--listen", "203.0.113.7:0"],
             "203.0.113.7"),
            (["--root", root, "--plain", *ANY, "--log-file",
              os.path.join(tmp, "no", "log")], "log"),
            (["--root", root, "--plain", *ANY, "--cache", file], "cache")):
        code, _, err = run(*args)
        check(code == 1 and word in err, "%r: exit %d\n%s" %
              (args, code, err))


@case
def help_and_version_go_to_standard_output(tmp):
    code, out, err = run("--help")
    check(code == 0 and out.startswith("Usage: belayd") and err == "", "help")
    code, out, err = run("--version")
    check(code == 0 and re.match(r"belayd \d+\.\d+", out), "version")


@case
def sigterm_drains(tmp):
    server, path = serve(tmp, size=64 * MI)
    with server:
        idle, busy = Raw(server.port), Raw(server.port)
        busy.info("f")
        request = busy.get()
        busy.message()
        server.child.send_signal(signal.SIGTERM)
        goaway = idle.message()
        check(goaway.name == "GOAWAY" and
              goaway.fields["last_id"] == R.GOAWAY_ANNOUNCE and
              goaway.fields["code"] == R.WIRE_SHUTTING_DOWN, "announcement")
        wait_until(lambda: refused(server.port), "closed port", 5)
        # What was asked for before the second GOAWAY is still served.
        more = idle.open("f")
        idle.answer(more, "INFO")
        second = idle.message()
        check(second.name == "GOAWAY" and second.fields["last_id"] == more,
              "the last id")
        check(idle.message() is None, "an idle connection stays open")
        check(busy.answer(request)[-1].name == "DONE", "drained")
        gone(server)
        check(server.child.returncode == 0, "exit %d" %
              server.child.returncode)


def refused(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return False
    except ConnectionRefusedError:
        return True


@case
def drain_has_an_end(tmp):
    server, path = serve(tmp, size=64 * MI)
    with server:
        raw = Raw(server.port, receive_buffer=4096)
        raw.info("f")
        raw.get()
        began = time.monotonic()
        server.child.send_signal(signal.SIGTERM)
        time.sleep(2)
        check(server.child.poll() is None, "did not wait")
        server.child.send_signal(signal.SIGTERM)
        gone(server)
        # The first one alone would take thirty seconds.
        check(time.monotonic() - began < 25,
              "a second SIGTERM did not end it")
        check(server.child.returncode == 0, "exit code")


@case
def drain_of_a_stuck_client_takes_thirty_seconds(tmp):
    if harness.SCALE < 1:
        raise harness.Skip("long")
    server, path = serve(tmp, size=64 * MI)
    with server:
        raw = Raw(server.port, receive_buffer=4096)
        raw.info("f")
        raw.get()
        began = time.monotonic()
        server.child.send_signal(signal.SIGTERM)
        gone(server)
        seconds = time.monotonic() - began
        check(29 < seconds < 50, "took %.1f s" % seconds)


@case
def sighup_opens_the_log_again(tmp):
    log = os.path.join(tmp, "belayd.log")
    server, path = serve(tmp, "--log-file", log)
    with server:
        fetch(Raw(server.port), "f")
        os.rename(log, log + ".1")
        server.child.send_signal(signal.SIGHUP)

        def logs_again():
            with Raw(server.port) as raw:
                raw.info("f")
            return os.path.exists(log) and "open" in open(log).read()
        wait_until(logs_again, "new log", 30, 0.1)
        check("open" in open(log + ".1").read(), "old log")


@case
def root_becomes_the_user_it_names(tmp):
    harness.need_root()
    root = os.path.join(tmp, "root")
    os.mkdir(root)
    write_random(os.path.join(root, "f"), MI)
    os.chmod(tmp, 0o755)
    done = subprocess.run(
        [program("BELAYD"), "--root", root, "--plain", "--listen",
         "127.0.0.1:0"], capture_output=True, text=True, timeout=20)
    check(done.returncode == 2 and "--user" in done.stderr, done.stderr)
    server = harness.Listening(
        [program("BELAYD"), "--root", root, "--plain", "--listen",
         "127.0.0.1:0", "--user", "nobody"], os.path.join(tmp, "log"))
    with server, Raw(server.port) as raw:
        fetch(raw, "f")
        for pid in [server.child.pid, *workers(server)]:
            with open("/proc/%d/status" % pid) as file:
                text = file.read()
            ids = re.search(r"^Uid:(.*)$", text, re.M).group(1).split()
            check("0" not in ids, "still root: %r" % ids)
            check(re.search(r"^CapEff:\s*0+$", text, re.M), "capabilities")


def spread(server):
    """At least six connections, not all with one worker."""
    seen = os.path.getsize(server.log)
    raws = []
    while len(raws) < 30:
        raws += [Raw(server.port) for _ in range(6)]
        with open(server.log) as log:
            log.seek(seen)
            if len(set(re.findall(r"open worker=(\d)", log.read()))) > 1:
                break
    return raws


@case
def dead_worker_is_replaced(tmp):
    # Who is connected is not to blame here.
    server, path = serve(tmp, "--workers", "2", "--exempt", "127.0.0.1")
    with open(path, "rb") as file:
        data = file.read()
    with server:
        for signum in (signal.SIGKILL, signal.SIGSEGV):
            raws = spread(server)
            before = workers(server)
            os.kill(before[0], signum)
            # It may take its time to die.
            wait_until(lambda: len(workers(server)) == 2 and
                       before[0] not in workers(server), "new worker")
            ended = 0
            for raw in raws:
                raw.sock.settimeout(0.3)
                try:
                    ended += raw.sock.recv(1) == b""
                except ConnectionResetError:
                    ended += 1
                except socket.timeout:
                    pass
            check(0 < ended < len(raws), "%d of %d connections ended" %
                  (ended, len(raws)))
            for raw in raws:
                raw.sock.close()
            # The dead worker's places are free again.
            many = [Raw(server.port) for _ in range(32)]
            for raw in many:
                raw.sock.close()
            time.sleep(0.2)
            with Raw(server.port) as raw:
                check(joined(fetch(raw, "f")[1]) == data, "bytes")
        with open(server.log) as file:
            check("worker-crash" in file.read(), "not logged")


@case
def connections_spread_over_the_workers(tmp):
    """On a machine that is busy a worker may be late; not every time."""
    server, path = serve(tmp, "--workers", "4")
    with server:
        spreads = []
        for _ in range(10):
            seen = os.path.getsize(server.log)
            raws = [Raw(server.port) for _ in range(16)]
            with open(server.log) as log:
                log.seek(seen)
                found = re.findall(r"open worker=(\d)", log.read())
            check(len(found) == 16, "%d connections" % len(found))
            spreads.append(sorted(map(found.count, set(found))))
            for raw in raws:
                raw.sock.close()
            if len(spreads[-1]) == 4 and spreads[-1][-1] <= 6:
                return
            time.sleep(0.3)
        check(False, "spreads %r" % spreads)


@case
def parent_that_dies_takes_its_workers_along(tmp):
    server, path = serve(tmp)
    with server:
        pids = workers(server)
        server.child.kill()
        server.child.wait()
        wait_until(lambda: not any(os.path.exists("/proc/%d" % pid) for pid in
                                   pids), "end of the workers", 30)


def damage(cache, how):
    path = os.path.join(cache, "digests.mdb")
    size = os.path.getsize(path)
    if how == "truncated":
        os.truncate(path, size // 2)
    elif how == "one page":
        os.truncate(path, 4096)
    elif how == "empty":
        os.truncate(path, 0)
    elif how == "garbage":
        with open(path, "wb") as out:
            out.write(os.urandom(size))
    elif how == "flipped":
        with open(path, "r+b") as out:
            for at in range(100, size, 997):
                out.seek(at)
                byte = out.read(1)
                out.seek(at)
                out.write(bytes([byte[0] ^ 0x10]))
    elif how == "deleted":
        os.unlink(path)
        os.unlink(path + "-lock")
    elif how == "directory":
        os.unlink(path)
        os.mkdir(path)


@case
def cache_damaged_in_any_way_costs_time_only(tmp):
    server, path = serve(tmp)
    cache = server.options[server.options.index("--cache") + 1]
    with open(path, "rb") as file:
        data = file.read()
    cid = cid_of(data, 18)
    with server:
        for how in ("none", "truncated", "one page", "empty", "garbage",
                    "flipped", "deleted", "directory"):
            with Raw(server.port) as raw:
                info, chunks, done = fetch(raw, "f")
                check(joined(chunks) == data, how + ": bytes")
                check(done.tlv(R.TLV_CID) == cid, how + ": CID")
            time.sleep(1.2)
            server.end(signal.SIGTERM)
            if how != "none":
                damage(cache, how)
            server.restart()
            with Raw(server.port) as raw:
                info, chunks, done = fetch(raw, "f")
                check(info.tlv(R.TLV_CID) in (None, cid), how + ": CID")
                check(joined(chunks) == data, how + ": bytes after")
                check(done.tlv(R.TLV_CID) == cid, how + ": CID after")
            check(how != "none" or info.tlv(R.TLV_CID) == cid, "not kept")
            if how == "directory":
                os.rmdir(os.path.join(cache, "digests.mdb"))


@case
def cache_damaged_while_it_is_used(tmp):
    server, path = serve(tmp)
    cache = server.options[server.options.index("--cache") + 1]
    with open(path, "rb") as file:
        data = file.read()
    with server:
        fetch(Raw(server.port), "f")
        time.sleep(1.3)
        damage(cache, "one page")

        def served():
            try:
                with Raw(server.port) as raw:
                    return joined(fetch(raw, "f")[1]) == data
            except (OSError, harness.Failure):
                return False
        for _ in range(7):
            wait_until(served, "recovery", 40, 0.2)


@case
def cache_that_lies_is_not_believed(tmp):
    """The records of one file under the name of another: nothing of them is
    used, because the checksum covers the key."""
    server, path = serve(tmp)
    other = os.path.join(os.path.dirname(path), "other")
    write_random(other, 4 * MI, seed=9)
    settle(other)
    with open(other, "rb") as file:
        data = file.read()
    with server:
        with Raw(server.port) as raw:
            cid = fetch(raw, "f")[2].tlv(R.TLV_CID)
        os.rename(other, path)
        settle(path)
        with Raw(server.port) as raw:
            info, chunks, done = fetch(raw, "f")
            check(info.tlv(R.TLV_CID) is None, "CID of the old file")
            check(joined(chunks) == data, "bytes")
            check(done.tlv(R.TLV_CID) == cid_of(data, 18) != cid, "CID")


@case
def without_a_place_for_the_cache_it_serves_all_the_same(tmp):
    root = os.path.join(tmp, "root")
    os.makedirs(root)
    path = write_random(os.path.join(root, "f"), MI)
    settle(path)
    plain = os.path.join(tmp, "plain")
    open(plain, "w").close()
    os.environ["CACHE_DIRECTORY"] = os.path.join(plain, "x")
    os.environ["TMPDIR"] = tmp
    try:
        server = harness.Listening(
            [program("BELAYD"), "--root", root, "--plain", "--listen",
             "127.0.0.1:0", *harness.as_user()], os.path.join(tmp, "log"))
    finally:
        del os.environ["CACHE_DIRECTORY"], os.environ["TMPDIR"]
    with server:
        with Raw(server.port) as raw:
            check(fetch(raw, "f")[2].tlv(R.TLV_CID), "CID")
        check("temporary-cache" in server.text(), server.text())
        made = [n for n in os.listdir(tmp) if n.startswith("belayd-")]
        check(len(made) == 1, "temporary directories: %r" % made)
        server.end()
        check(not [n for n in os.listdir(tmp) if n.startswith("belayd-")],
              "the temporary directory stays")


@case
def full_disk_under_the_cache(tmp):
    harness.need_root()
    cache = os.path.join(tmp, "small")
    os.mkdir(cache)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs",
                       cache], capture_output=True).returncode != 0:
        raise harness.Skip("mount is not allowed here")
    root = os.path.join(tmp, "root")
    os.makedirs(root)
    path = write_random(os.path.join(root, "f"), 16 * MI)
    settle(path)
    with open(path, "rb") as file:
        data = file.read()
    try:
        server = harness.Listening(
            [program("BELAYD"), "--root", root, "--plain", "--listen",
             "127.0.0.1:0", "--cache", cache, *harness.as_user()],
            os.path.join(tmp, "log"))
        with server:
            for turn in range(3):
                with Raw(server.port) as raw:
                    _, chunks, done = fetch(raw, "f", 12)
                    check(joined(chunks) == data, "bytes")
                    check(done.tlv(R.TLV_CID) == cid_of(data, 12), "CID")
            check("worker-crash" not in server.text(), server.text())
    finally:
        subprocess.run(["umount", "-l", cache], check=True)


@case
def few_descriptors_are_no_end(tmp):
    root = os.path.join(tmp, "root")
    os.makedirs(root)
    write_random(os.path.join(root, "f"), MI)
    server = harness.Listening(
        ["prlimit", "--nofile=60:60", program("BELAYD"), "--root", root,
         "--plain", "--workers", "1", "--listen", "127.0.0.1:0", "--cache",
         os.path.join(tmp, "cache"), *harness.as_user()],
        os.path.join(tmp, "log"))
    with server:
        held = []
        for i in range(60):
            raw = Raw(server.port, greet=False, source="127.0.0.%d" %
                      (1 + i % 3))
            raw.sock.settimeout(2)
            held.append(raw)
        time.sleep(0.5)
        for raw in held:
            raw.sock.close()

        def served():
            try:
                with Raw(server.port, patience=3) as raw:
                    fetch(raw, "f")
                return True
            except (OSError, harness.Failure):
                return False
        wait_until(served, "service after the shortage", 40, 0.2)
        with open(server.log) as file:
            check("exhausted" in file.read(), "not logged")


@case
def hot_file_for_many_at_once(tmp):
    server, path = serve(tmp, "--max-connections", "400", size=MI)
    with open(path, "rb") as file:
        data = file.read()
    with server:
        raws = [Raw(server.port, source="127.0.2.%d" % (1 + i // 30))
                for i in range(scaled(200, 60))]
        pairs = [(raw, raw.open("f"), raw.get()) for raw in raws]
        for raw, opened, got in pairs:
            raw.answer(opened, "INFO")
            frames = raw.answer(got, "DONE")
            check(b"".join(chunk_bytes(f) for f in frames[:-1]) == data,
                  "bytes")
            raw.sock.close()


@case
def address_space_is_used_up(tmp):
    """M3: no memory in the greeting, in a listing, in a download: that
    connection ends, and the worker serves again when there is some."""
    if harness.SCALE < 1:
        raise harness.Skip("a sanitizer needs its address space")
    root = os.path.join(tmp, "root")
    os.mkdir(root)
    settle(write_random(os.path.join(root, "f"), MI))
    for number in range(3000):
        open(os.path.join(root, "name%d" % number), "w").close()
    with Belayd(root, "--workers", "1") as server:
        with Raw(server.port) as raw:
            fetch(raw, "f")
        worker, = wait_until(lambda: workers(server), "worker")
        for spare in (0, 100 << 10, MI, 3 * MI):
            with open("/proc/%d/statm" % worker) as file:
                now = int(file.read().split()[0]) * resource.getpagesize()
            resource.prlimit(worker, resource.RLIMIT_AS,
                             (now + spare, resource.RLIM_INFINITY))
            held = []
            for turn in range(scaled(120, 40)):
                try:
                    raw = Raw(server.port, source="127.0.3.%d" %
                              (1 + turn // 20))
                    held.append(raw)
                    raw.send(W.encode("LIST", 1, {"path": b"", "flags": 0}))
                    raw.open("f", handle=2)
                    raw.get(handle=2)
                except OSError:
                    pass
                except harness.Failure:
                    pass  # it was closed before its greeting
            for raw in held:
                raw.sock.close()
            resource.prlimit(worker, resource.RLIMIT_AS,
                             (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            check(workers(server) == [worker], "the worker died: " +
                  server.text())
            with Raw(server.port) as raw:
                fetch(raw, "f")


if __name__ == "__main__":
    harness.main()
