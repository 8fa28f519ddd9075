"""Files that change while they are served: one version or an error, never a
mix, never a crash."""

import mmap
import os
import shutil
import tempfile
import time

import harness
from harness import MI, Belayd, case, check, settle, write_random

import registry as R
from rawclient import Raw, chunk_bytes, cid_of, fetch, joined


def serve(tmp, size=8 * MI, known=False):
    """A server with one settled file; known: its digests are in the cache."""
    root = os.path.join(tmp, "root")
    os.makedirs(root)
    path = write_random(os.path.join(root, "f"), size)
    settle(path)
    server = Belayd(root)
    if known:
        with Raw(server.port) as raw:
            check(fetch(raw, "f")[2].tlv(R.TLV_CID), "CID")
    with open(path, "rb") as file:
        return server, path, file.read()


def slow(server):
    """A client whose socket takes little, so that the server is in the
    middle of the file when the file changes."""
    return Raw(server.port, receive_buffer=64 * 1024)


def read_to_end(raw, request, data):
    """Chunks that arrive are those of `data`; returns how it ends."""
    count = 0
    try:
        while True:
            message = raw.message()
            if message is None:
                return "closed", count
            if message.header.request_id != request:
                continue
            if message.name == "CHUNK":
                at = message.fields["offset"]
                part = chunk_bytes(message)
                check(part == data[at:at + len(part)],
                      "bytes of another version at %d" % at)
                count += 1
            elif message.name == "ERROR":
                return message.fields["code"], count
            else:
                return message.name, count
    except ConnectionResetError:
        return "reset", count
    except harness.Failure as failure:
        # Pages that sendfile handed to the kernel changed on their way: the
        # client sees it by the digest and drops the connection.
        if "does not have its digest" in str(failure):
            return "mismatch", count
        raise


def check_not_a_mix(end):
    check(end in (R.WIRE_CHANGED_DURING, "closed", "reset", "mismatch"),
          "ended with %r" % (end,))


def change_during(tmp, change, known):
    server, path, data = serve(tmp, known=known)
    with server, slow(server) as raw:
        raw.info("f")
        request = raw.get()
        raw.message()
        change(path)
        end, count = read_to_end(raw, request, data)
        check(count < len(data) >> 18, "everything was sent all the same")
        check_not_a_mix(end)
        if end == R.WIRE_CHANGED_DURING:
            check(raw.error(raw.get()) == R.WIRE_BAD_HANDLE,
                  "the handle is still open")
    check("worker-crash" not in server.text(), server.text())


def rewrite(path):
    with open(path, "r+b") as out:
        out.write(os.urandom(os.path.getsize(path)))


def rewrite_and_restore_time(path):
    st = os.stat(path)
    rewrite(path)
    os.utime(path, ns=(st.st_atime_ns, st.st_mtime_ns))


def truncate(path):
    os.truncate(path, 100000)


def truncate_to_nothing(path):
    os.truncate(path, 0)


def append(path):
    with open(path, "ab") as out:
        out.write(b"more")


def _cases():
    for change in (rewrite, rewrite_and_restore_time, truncate,
                   truncate_to_nothing, append):
        for known in (False, True):
            def one(tmp, change=change, known=known):
                change_during(tmp, change, known)
            one.__name__ = "%s_during_%s" % (
                change.__name__, "sendfile" if known else "hashing")
            case(one)


_cases()


@case
def change_before_done_is_seen(tmp):
    server, path, data = serve(tmp, size=100000)
    with server, Raw(server.port) as raw:
        raw.info("f", c=12)
        raw.answer(raw.get(), "DONE")
        rewrite(path)
        first, second = raw.get(), raw.get(ranges=((0, 1),))
        ends = {raw.error(first), raw.error(second)}
        check(R.WIRE_CHANGED_DURING in ends and
              ends <= {R.WIRE_CHANGED_DURING, R.WIRE_BAD_HANDLE},
              "ends %r" % ends)
        check(raw.error(raw.get()) == R.WIRE_BAD_HANDLE, "handle")
        # It opens again, as another version with its own bytes.
        with open(path, "rb") as file:
            now = file.read()
        check(joined(fetch(raw, "f", 12, handle=2)[1]) == now, "new version")


@case
def change_of_a_digest_answer(tmp):
    server, path, _ = serve(tmp)
    harness.write_sparse(path, 1 << 30, [0])
    settle(path)
    with server, Raw(server.port) as raw:
        raw.info("f", c=18)
        request = raw.digest()
        with open(path, "r+b") as out:
            out.write(b"!")
        check(raw.error(request) == R.WIRE_CHANGED_DURING, "digests of a mix")


@case
def replaced_file_is_served_to_its_end(tmp):
    """An open handle pins the file; a new OPEN finds the new one."""
    for known in (True, False):
        base = os.path.join(tmp, str(known))
        os.mkdir(base)
        server, path, data = serve(base, known=known)
        with server, Raw(server.port) as raw:
            raw.info("f")
            write_random(path + ".new", 5 * MI, seed=2)
            os.rename(path + ".new", path)
            end, count = read_to_end(raw, raw.get(), data)
            check(end == "DONE" and count == len(data) >> 18,
                  "known %s: %r after %d chunks" % (known, end, count))
            with open(path, "rb") as file:
                new = file.read()
            check(joined(fetch(raw, "f", handle=2)[1]) == new, "new file")


@case
def replaced_in_the_middle_ends_whole_or_changed(tmp):
    for known in (True, False):
        base = os.path.join(tmp, str(known))
        os.mkdir(base)
        server, path, data = serve(base, known=known)
        with server, slow(server) as raw:
            raw.info("f")
            request = raw.get()
            raw.message()
            write_random(path + ".new", 5 * MI, seed=2)
            os.rename(path + ".new", path)
            end, _ = read_to_end(raw, request, data)
            if end != "DONE":
                check_not_a_mix(end)


@case
def deleted_file_is_served_or_refused(tmp):
    server, path, data = serve(tmp, known=True)
    with server, Raw(server.port) as raw:
        raw.info("f")
        os.unlink(path)
        end, _ = read_to_end(raw, raw.get(), data)
        if end != "DONE":
            check_not_a_mix(end)
        check(raw.error(raw.open("f", handle=2)) == R.WIRE_NOT_FOUND, "gone")


@case
def changed_through_a_mapping(tmp):
    """S8: bytes that change while no time does: written through a mapping
    that could be written to before, on a file system in memory. The digests
    are known already, so a chunk no longer has its own; nothing wrong gets a
    final name, and nobody tries for ever."""
    if not os.path.isdir("/dev/shm"):
        raise harness.Skip("no file system in memory")
    root = tempfile.mkdtemp(prefix="belay-scenario-", dir="/dev/shm")
    try:
        path = write_random(os.path.join(root, "f"), 2 * MI)
        with open(path, "r+b") as file, \
                mmap.mmap(file.fileno(), 0) as view:
            view[MI] = 1
            settle(path)
            mapped_and_served(tmp, root, path, view)
    finally:
        shutil.rmtree(root)


def mapped_and_served(tmp, root, path, view):
    into = os.path.join(tmp, "into")
    got = os.path.join(into, "f")
    os.mkdir(into)
    with Belayd(root) as server:
        harness.check_code(harness.get(server.url("f"), cwd=into), 0)
        os.unlink(got)
        before = os.stat(path)
        view[MI + 5:MI + 9] = b"mmap"
        after = os.stat(path)
        check((before.st_mtime_ns, before.st_ctime_ns) ==
              (after.st_mtime_ns, after.st_ctime_ns), "the change shows")
        run = harness.get("-v", "--deadline", "50", server.url("f"), cwd=into)
        check(run.code in (0, 4, 75), "exit code %s" % run.code, run)
        if run.code == 0:
            check(harness.same(path, got), "other bytes", run)
        else:
            harness.check_nothing_final(into)
            check("digest" in run.err or "damaged" in run.err, "not told",
                  run)
        check(len(harness.lines_of(run)) < 30, "a storm of tries", run)
        # A change that shows heals it.
        os.utime(path)
        settle(path)
        harness.check_code(harness.get("--overwrite", server.url("f"),
                                       cwd=into), 0)
        check(harness.same(path, got), "other bytes")


@case
def log_that_grows_all_the_time_ends(tmp):
    root = os.path.join(tmp, "root")
    os.makedirs(root)
    path = os.path.join(root, "log")
    with Belayd(root) as server, open(path, "wb", buffering=0) as out:
        out.write(b"x" * 300000)
        ends = []
        for _ in range(10):
            with Raw(server.port) as raw:
                raw.info("log")
                request = raw.get()
                out.write(b"line\n")
                ends.append(raw.answer(request)[-1].name)
        check(set(ends) <= {"DONE", "ERROR"}, "ends %r" % ends)


@case
def changed_content_with_the_old_times_is_never_mixed(tmp):
    """A file rewritten over and over with its old time stamp: each download
    that ends well has one content."""
    root = os.path.join(tmp, "root")
    os.makedirs(root)
    path = os.path.join(root, "f")
    contents = [bytes([i]) * (1 << 20) for i in range(1, 5)]
    with open(path, "wb") as out:
        out.write(contents[0])
    good = 0
    with Belayd(root) as server:
        for i in range(60):
            with Raw(server.port) as raw:
                raw.info("f", c=12)
                request = raw.get()
                if i % 3 == 0:
                    with open(path, "r+b") as out:
                        out.write(contents[i % 4])
                    os.utime(path, (1, 1))
                try:
                    frames = raw.answer(request)
                except (ConnectionResetError, harness.Failure):
                    continue
                if frames[-1].name == "DONE" and \
                        frames[-1].tlv(R.TLV_CID) is not None:
                    data = b"".join(chunk_bytes(f) for f in frames[:-1])
                    check(cid_of(data, 12) == frames[-1].tlv(R.TLV_CID),
                          "a CID of other bytes")
                    check(data in contents, "a mix with a CID")
                    good += 1
            if i % 20 == 19:
                time.sleep(2.2)


if __name__ == "__main__":
    harness.main()
