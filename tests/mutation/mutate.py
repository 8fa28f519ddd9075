#!/usr/bin/env python3
"""Would a test notice if a check were gone?  Takes the security and integrity
checks out of a copy of the tree, one at a time, builds what is needed, and
runs the tests that are named here.  One of them has to fail.

usage: mutate.py [--table] [--work DIR [--go-on]] [NAME...]
  --table     write what came out to tests/mutation/README.md
  --work DIR  keep the copy, its build and what came out there
  --go-on     do not try again what was tried there and is as it was
"""
import hashlib
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]

# name, file, what is there, what is left of it, tests (names of CTest), and
# the targets to build for them besides unit tests
CHECKS = [
    ("length of every read", "proto/base/reader.c",
     "    if (len > r->left) {\n        reader_fail",
     "    if (len > r->left + 1) {\n        reader_fail",
     "unit/reader_test"),
    ("checksum of a frame", "proto/wire/frame.c",
     "    if (v.crc != frame_crc(", "    if (false && v.crc != frame_crc(",
     "unit/frame_test"),
    ("structure of TLVs", "proto/wire/tlv.c",
     "    int err = tlv_check_structure(bytes);\n    if (err != BELAY_OK) {",
     "    int err = tlv_check_structure(bytes);\n    if (false) {",
     "unit/tlv_test"),
    ("'..' in a path", "proto/data/relpath.c",
     "(len == 1 || (len == 2 && name[1] == '.'))", "len == 1",
     "unit/relpath_test"),
    ("NUL in a path", "proto/data/relpath.c",
     "== NULL && memchr(name, '\\0', len) == NULL;", "== NULL;",
     "unit/relpath_test"),
    ("empty parts of a path", "proto/data/relpath.c",
     "    if (len == 0 || len > LIMIT_COMPONENT) {",
     "    if (len > LIMIT_COMPONENT) {", "unit/relpath_test"),
    ("length of a part", "proto/data/relpath.c",
     "    if (len == 0 || len > LIMIT_COMPONENT) {",
     "    if (len == 0) {", "unit/relpath_test"),
    ("offset of a chunk", "proto/session/receiver_frame.c",
     "        m->offset != expected ||\n", "", "unit/receiver_"),
    ("length of a chunk", "proto/session/receiver_frame.c",
     "        m->raw_len != cid_chunk_len(", "        0u > cid_chunk_len(",
     "unit/receiver_"),
    ("handle of a chunk", "proto/session/receiver_frame.c",
     "    if (m->handle != q->handle || !receiver",
     "    if (!receiver", "unit/receiver_"),
    ("codec that was not offered", "proto/session/receiver_frame.c",
     "    if (m->codec == CODEC_ZLIB && !r->compression) {",
     "    if (false) {", "unit/receiver_"),
    ("DONE before every chunk", "proto/session/receiver_frame.c",
     "    if (q->type == FRAME_GET && !get_is_whole(",
     "    if (false && !get_is_whole(", "unit/receiver_"),
    ("inflate: more than the chunk", "proto/data/zpack.c",
     "        if (z->avail_out == 0) {\n            return ERR_CODEC;",
     "        if (false) {\n            return ERR_CODEC;",
     "unit/zpack_test"),
    ("inflate: bytes behind the stream", "proto/data/zpack.c",
     "result == LIBDEFLATE_SUCCESS && used == in_len &&",
     "result == LIBDEFLATE_SUCCESS &&", "unit/zpack_test"),
    ("inflate: less than the chunk", "proto/data/zpack.c",
     "used == in_len && made == raw_len", "used == in_len",
     "unit/zpack_test"),
    ("shape of a Merkle proof", "proto/data/merkle.c",
     "        proof->path_len != merkle_path_len(proof->index, "
     "proof->count)) {", "        false) {", "unit/merkle_test"),
    ("root of a Merkle proof", "proto/data/merkle.c",
     "    return memcmp(hash, proof->root, HASH_LEN) == 0 ? 0 : ERR_DIGEST;",
     "    return 0;", "unit/merkle_test"),
    ("digest of a received chunk", "client/pipeline.c",
     "        piece->ok = piece->ok && hashed &&\n                    "
     "memcmp(piece->digest, piece->chunk.digest, HASH_LEN) == 0;",
     "        piece->ok = piece->ok && hashed;",
     "scenario/get_breaks|hostile/.*(peer|client|server|get)",
     "belay belayd belay-fault"),
    ("digest of a chunk on disk", "proto/session/transfer_next.c",
     "memcmp(g->digest[index], digest, HASH_LEN) == 0) {", "true) {",
     "unit/transfer_"),
    ("content id at the end", "proto/session/transfer_check.c",
     "        memcmp(t->own_cid, t->identity.cid, HASH_LEN) != 0) {",
     "        false) {", "unit/transfer_"),
    ("pinned content id", "proto/session/transfer_check.c",
     "        memcmp(cid, t->anchor_cid, HASH_LEN) != 0) {", "        false) {",
     "unit/transfer_"),
    ("digest against the list", "proto/session/transfer_reply.c",
     "    if (out->wanted && t->expect != NULL &&",
     "    if (false && out->wanted &&", "unit/transfer_"),
    ("whose damage it was", "proto/session/transfer_reply.c",
     "    source = grid_owner(&t->grid, index);",
     "    source = c->source;", "unit/transfer_"),
    ("damage of each server", "proto/session/transfer_reply.c",
     "t->bad[k].index == index &&\n            t->bad[k].source == source) {",
     "t->bad[k].index == index) {", "unit/transfer_"),
    ("a contradiction is asked about", "proto/session/transfer_source.c",
     "    if (s->doubt == DOUBT_ANSWERED) {", "    if (true) {",
     "unit/transfer_"),
    ("... once", "proto/session/transfer_source.c",
     "    if (s->doubt == DOUBT_ANSWERED) {", "    if (false) {",
     "unit/transfer_"),
    ("token: first bytes only", "proto/session/auth.c",
     "    for (size_t i = 0; i < HASH_LEN; i++) {\n        bits",
     "    for (size_t i = 0; i < 1; i++) {\n        bits",
     "unit/auth_test|unit/sender_auth_test"),
    ("token: any will do", "proto/session/auth.c",
     "        bits |= (uint32_t)(a[i] ^ b[i]);", "        bits |= 0;",
     "unit/auth_test|unit/sender_auth_test"),
    ("requests before AUTH", "proto/session/sender_admit.c",
     "    if (f->type != FRAME_AUTH && sender_needs_auth(s)) {",
     "    if (false) {", "unit/sender_auth_test"),
    ("TLS 1.3 only", "proto/io/tls_ctx.c",
     "SSL_CTX_set_min_proto_version(c, TLS1_3_VERSION)",
     "SSL_CTX_set_min_proto_version(c, TLS1_2_VERSION)",
     "scenario/tls_(get|server)", "belay belayd belay-fault"),
    ("the server's certificate", "proto/io/tls_ctx.c",
     "    SSL_CTX_set_verify(c, SSL_VERIFY_PEER, NULL);\n"
     "    SSL_CTX_set_cert_verify_callback",
     "    SSL_CTX_set_verify(c, SSL_VERIFY_NONE, NULL);\n"
     "    SSL_CTX_set_cert_verify_callback", "unit/tls_test"),
    ("the client's certificate", "proto/io/tls_ctx.c",
     "    SSL_CTX_set_verify(c, SSL_VERIFY_PEER, NULL);\n    return good",
     "    SSL_CTX_set_verify(c, SSL_VERIFY_NONE, NULL);\n    return good",
     "scenario/auth_access", "belay belayd belay-fault"),
    ("the name in the certificate", "proto/io/tls.c",
     "    return SSL_set1_host(ssl, host) == 1 &&\n           SSL_set",
     "    return SSL_set", "unit/tls_test"),
    ("the pinned key", "proto/io/tls_trust.c",
     "        if (memcmp(tls->pins[i], tls->peer_pin, HASH_LEN) == 0) {",
     "        if (true) {", "unit/tls_test"),
    ("ALPN", "proto/io/tls.c",
     "    if (len == sizeof(PROTO_ALPN) - 1 && memcmp(id, PROTO_ALPN, len) "
     "== 0) {", "    if (true) {", "scenario/tls_(get|server)",
     "belay belayd belay-fault"),
    ("the key of a known host", "client/trust.c",
     "        if (memcmp(t->pins[k], pin, HASH_LEN) == 0) {",
     "        if (true) {", "unit/trust_test|scenario/trust",
     "belay belayd belay-fault"),
    ("signature of a manifest", "proto/data/manifest.c",
     "    if (err == ERR_NO_KEY && keys == NULL) {",
     "    if (err != ERR_MANIFEST) {",
     "unit/manifest_test|unit/vectors_manifest_test|unit/note_test"),
    ("serial of a manifest", "proto/data/manifest.c",
     "        (manifest->serial < memory->serial ||\n", "        (false ||\n",
     "unit/manifest_test|unit/vectors_manifest_test"),
    ("another manifest of one serial", "proto/data/manifest.c",
     "          memcmp(manifest->digest, memory->digest, HASH_LEN) != 0))) {",
     "          false))) {",
     "unit/manifest_test|unit/vectors_manifest_test"),
    ("expiry of a manifest", "proto/data/manifest.c",
     "    return manifest->expires <= now ? ERR_EXPIRED : 0;", "    return 0;",
     "unit/manifest_test|unit/vectors_manifest_test"),
    ("openat2: beneath the root", "proto/io/rootfs.c",
     "        RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS;",
     "        RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS;",
     "unit/rootfs_test"),
    ("openat2: no symlinks", "proto/io/rootfs.c",
     "        RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS;",
     "        RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;", "unit/rootfs_test"),
    ("regular files only", "proto/io/rootfs.c",
     "    } else if (!S_ISREG(st->st_mode)) {", "    } else if (false) {",
     "unit/rootfs_test"),
    ("O_NONBLOCK on served files", "proto/io/rootfs.c",
     "(O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY)",
     "(O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY)", "unit/rootfs_test"),
    ("hidden files", "proto/io/rootfs.c", "    if (is_hidden(root, path)) {",
     "    if (false && is_hidden(root, path)) {", "unit/rootfs_test"),
    ("partial: O_NOFOLLOW", "client/store_files.c",
     "(O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY)",
     "(O_RDWR | O_NONBLOCK | O_NOCTTY)", "unit/store_test"),
    ("partial: another owner", "client/store_files.c",
     "    if (st->st_uid != store->sys->euid()) {", "    if (false) {",
     "unit/store_test"),
    ("partial: another link", "client/store_open.c",
     "    if (st->st_nlink != 1) {", "    if (false) {", "unit/store_test"),
    ("partial: the lock", "client/store_files.c",
     "        } else if (errno == EAGAIN || errno == EACCES) {\n"
     "            return locked(store, why);",
     "        } else if (errno == EAGAIN || errno == EACCES) {\n"
     "            *unlocked = true;", "unit/store_test"),
    ("checksum of the journal", "proto/data/journal.c",
     "        reader_u64(&r) != siphash(head->salt, block, CHECKED_LEN)) {",
     "        false) {", "unit/journal_test"),
    ("sync before the rename", "client/store_finish.c",
     "    if (store_call_fsync(store->sys, store->part_fd) != 0) {\n"
     "        rc = part_failed(",
     "    if (false) {\n        rc = part_failed(",
     "crash/store_enum_test", "store_enum_test"),
    ("sync of the directory", "client/store_finish.c",
     "    if (store_sync_dir(store, warnings) != 0) {", "    if (false) {",
     "crash/store_enum_test", "store_enum_test"),
    ("a failed sync is final", "client/store_finish.c",
     "    if (atomic_load(&store->fault)) {", "    if (false) {",
     "unit/store_"),
    ("Landlock", "proto/io/confine.c",
     "    good = good && syscall(SYS_landlock_restrict_self, ruleset, 0) "
     "== 0;", "    good = good && true;",
     "unit/sandbox_test|unit/client_sandbox_test"),
    ("filter of the server's system calls", "server/filter.c",
     "    long rc = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, "
     "&program);", "    long rc = 0;\n    (void)flags;",
     "unit/sandbox_test"),
    ("filter of the client's system calls", "client/callfilter.c",
     "    long rc = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,\n"
     "                      SECCOMP_FILTER_FLAG_TSYNC, &filter);",
     "    long rc = filter.len == 0;", "unit/client_sandbox_test"),
    ("memory that becomes code", "server/filter.c",
     '    { "mprotect", 2, PROT_EXEC, 0 },',
     '    { "mprotect", 2, 0, 0 },', "unit/sandbox_test"),
    ("privileges are dropped", "server/privileges.c",
     "        setresuid(user->uid, user->uid, user->uid) != 0) {",
     "        false) {", "scenario/server_life",
     "belay belayd belay-fault"),
    ("access rules", "server/access.c",
     "    return best != NULL && admits(best, who);",
     "    return best == NULL || admits(best, who);", "unit/access_test"),
    ("rules for names in a listing", "server/access.c",
     "(len == 0 || rule->path[len] == '/') && admits(rule, who)",
     "(len == 0 || rule->path[len] == '/')", "unit/access_test"),
    ("a token in the open, server", "proto/session/sender_auth.c",
     "    if (bearer && !s->config.secure) {", "    if (false) {",
     "unit/sender_auth_test"),
    ("a token in the open, client", "proto/session/receiver_request.c",
     "    if (auth->token != NULL && auth->secure) {",
     "    if (auth->token != NULL) {", "unit/receiver_auth_test"),
    ("EXTERNAL without a certificate", "proto/session/sender_auth.c",
     ": !s->external) {", ": false) {", "unit/sender_auth_test"),
    ("tries of AUTH", "proto/session/sender_auth.c",
     "    if (s->stats.auth_refused >= LIMIT_AUTH_ATTEMPTS) {",
     "    if (false) {", "unit/sender_auth_test"),
    ("path of a request", "proto/session/sender_admit.c",
     "    if (relpath_check(text, path.len) != 0) {", "    if (false) {",
     "unit/sender_"),
    ("depth of a path", "proto/session/sender_admit.c",
     "    return depth <= LIMIT_PATH_DEPTH;", "    return depth > 0;",
     "unit/sender_"),
    ("chunks larger than announced", "proto/session/sender_admit.c",
     "    if (m->want_chunk_log2 > max) {",
     "    if (max == 0) {", "unit/sender_"),
    ("handles of a connection", "proto/session/sender_admit.c",
     "    return s->handles >= s->max_handles ? WIRE_TOO_MANY_HANDLES : 0;",
     "    return 0;", "unit/sender_"),
    ("requests at once", "proto/session/sender_admit.c",
     "    if (s->requests >= s->max_requests) {\n"
     "        refuse(s, f, WIRE_TOO_MANY_REQUESTS);\n        return NULL;",
     "    if (false) {\n"
     "        refuse(s, f, WIRE_TOO_MANY_REQUESTS);\n        return NULL;",
     "unit/sender_"),
    ("request ids rise", "proto/session/sender_admit.c",
     "    if (f->request_id <= s->last_id) {", "    if (false) {",
     "unit/sender_"),
    ("a flood of cancels", "proto/session/sender_admit.c",
     "    if (s->recent_cancels > LIMIT_CANCEL_WINDOW / 2) {",
     "    if (false) {", "unit/sender_"),
    ("a flood of pings", "proto/session/sender_admit.c",
     "    if (s->ping_tokens == 0 || s->pongs >= SENDER_PONGS_MAX) {",
     "    if (false) {", "unit/sender_"),
    ("bytes before HELLO", "proto/session/sender_input.c",
     "        PREFACE_LEN + FRAME_HEADER_LEN + (size_t)f.length > "
     "LIMIT_PRE_HELLO) {", "        false) {", "unit/sender_"),
    ("length of a frame", "proto/wire/frame.c",
     "    if (v.length > frame_payload_max(v.type)) {", "    if (false) {",
     "unit/frame_test"),
    ("length of a chunk's bytes", "proto/wire/msg_get.c",
     "    if (v.stored_len != f->length - LAYOUT_CHUNK_LEN) {",
     "    if (false) {", "unit/(msg|wire|vectors|receiver)_"),
    ("largest chunk", "proto/wire/msg_get.c",
     "    if (m->raw_len > 1u << LIMIT_CHUNK_LOG2_MAX) {",
     "    if (false) {", "unit/(msg|wire|vectors|receiver)_"),
    ("ranges of a GET in order", "proto/wire/msg_get.c",
     "        if (range.length == 0 || range.offset < end) {",
     "        if (range.length == 0) {", "unit/(msg|wire|vectors)_"),
    ("ranges of a GET beyond 2^64", "proto/wire/msg_get.c",
     "        if (range.offset > UINT64_MAX - range.length) {",
     "        if (false) {", "unit/(msg|wire|vectors)_"),
    ("size beyond 2^63", "proto/session/receiver_frame.c",
     "    if (err == 0 && event->info.size > INT64_MAX) {",
     "    if (false) {", "unit/receiver_"),
    ("an answer nobody asked for", "proto/session/receiver_frame.c",
     "    if (q == NULL || (q->type != a && q->type != b)) {",
     "    if (q == NULL) {", "unit/receiver_"),
    ("INFO for another handle", "proto/session/receiver_frame.c",
     "    if (event->info.handle != q->handle) {", "    if (false) {",
     "unit/receiver_"),
    ("the expected version", "proto/session/sender_job.c",
     "    if (!is_expected(&r->open, result)) {", "    if (false) {",
     "unit/sender_"),
    ("last look at the file, server", "proto/session/sender_job.c",
     "        request_enqueue(r, &s->checks);",
     "        request_answer(s, r, ANSWER_DONE);\n"
     "        handle_advance(s, r->handle);", "unit/sender_"),
    ("last look at the file, client", "proto/session/transfer_check.c",
     "    if (!looked(t)) {", "    if (false && !looked(t)) {",
     "unit/transfer_"),
    ("a file that changed, server", "server/source.c",
     "    if (!fileid_equal(&src->id, &now) || st.st_nlink >= src->links) {",
     "    if (false) {", "scenario/(get|server)_changes",
     "belay belayd belay-fault"),
    ("the racy window", "server/fileid.c",
     "    return id->ctime_ns < now_ns - SETTLED_NS &&",
     "    return id->ctime_ns != 0 &&", "unit/fileid_test"),
    ("penalties", "server/conduct.c",
     "    return r->barred && r->penalty > now ? r->penalty - now : 0;",
     "    return r->barred && r->penalty > UINT64_MAX - now ? 1 : 0;",
     "unit/conduct_test"),
    ("connections in all", "server/census.c",
     "    if (c->table->total >= c->limits.total) {", "    if (false) {",
     "unit/census_test"),
    ("connections of one address", "server/census.c",
     "    if (!guest->exempt && sum_of(p->count) >= c->limits.per_origin) {",
     "    if (false) {", "unit/census_test"),
    ("strangers of one address", "server/census.c",
     "           sum_of(p->strangers) < c->limits.strangers_per_origin;",
     "           p != NULL;", "unit/census_test"),
    ("sum of a receipt", "proto/data/receipt.c",
     "    return memcmp(cid, receipt->cid, HASH_LEN) == 0 ? 0 : ERR_DIGEST;",
     "    return 0;", "unit/receipt_test"),
    ("a signature that is wrong", "proto/data/note.c",
     "            if (err != 0) {\n                fault->reason = \"the "
     "signature of a known key is wrong\";",
     "            if (err == 77) {\n                fault->reason = \"the "
     "signature of a known key is wrong\";",
     "unit/note_test|unit/vectors_manifest_test"),
    ("content id of a small file", "proto/session/bulk.c",
     "    return memcmp(cid, id->cid, HASH_LEN) == 0 ? 0 : ERR_DIGEST;",
     "    return 0;", "unit/(bulk|haul)_test"),
    ("chunks of a small file", "client/haul_stage.c",
     "        !chunks_fit(job, load)) {", "        false) {",
     "unit/haul_test|scenario/dir_hostile", "belay belayd belay-fault"),
    ("names in a listing", "proto/session/walk.c",
     "    return relpath_name_ok((const char *)entry->name.ptr, "
     "entry->name.len,\n                           RELPATH_POSIX);",
     "    return entry->name.len > 0;", "unit/walk_"),
    ("links that lead out", "client/tree_leaf.c",
     "        if (up && (named || depth == 0)) {", "        if (false) {",
     "unit/(engine|haul)_test|scenario/dir_hostile",
     "belay belayd belay-fault"),
    ("absolute links", "client/tree_leaf.c",
     "    if (len == 0 || target[0] == '/' || ",
     "    if (len == 0 || ",
     "unit/(engine|haul)_test|scenario/dir_hostile",
     "belay belayd belay-fault"),
    ("DEST: whose the temporary directory is", "client/dest.c",
     "    if (is_private(fd) && flock", "    if (flock",
     "unit/dest_test"),
    ("nothing is replaced unasked", "client/store_sys.c",
     "    return renameat2(dir, from, dir, to, RENAME_NOREPLACE);",
     "    return renameat2(dir, from, dir, to, 0);", "unit/store_"),
    ("serving without openat2: links", "proto/io/rootfs.c",
     "#define OPEN_FLAGS_PATH (O_PATH | O_CLOEXEC | O_NOFOLLOW)",
     "#define OPEN_FLAGS_PATH (O_PATH | O_CLOEXEC)", "unit/rootfs_test"),
    ("a key that changes within a run", "client/trust.c",
     "    if (!is_pin(t, pin)) {", "    if (false) {",
     "unit/trust_test|scenario/trust", "belay belayd belay-fault"),
    ("escapes of hostile text", "proto/data/text.c",
     "        return code >= 0x20 && code != 0x7f && code != '\\\\';",
     "        return code >= 0x0a && code != 0x7f && code != '\\\\';",
     "unit/text_test|fuzz/text"),
]

HEAD = """# Would a test notice if a check were gone?

A security check that nobody tests may be lost in any change, and nothing would
tell. So each of them is taken out of a copy of the tree, one at a time; what
is needed is built, and the tests that are named for it run. One of them has to
fail, and none of those may fail on the tree as it is.

    python3 -B tests/mutation/mutate.py                   all, in half an hour
    python3 -B tests/mutation/mutate.py "'..' in a path"  some, by name
    python3 -B tests/mutation/mutate.py --work DIR --go-on --table

`--work` keeps the copy and its build for the next time, `--go-on` takes from
there what has come out already, `--table` writes this file. `sh tests/run.sh
--long` runs it, too. A check that has moved is told as gone: its entry in
`mutate.py` follows it. A new check gets an entry.

Checks that have another one behind them are tried where they are, with a test
that goes around the other: `RESOLVE_BENEATH` behind the rule for paths, for
one. Not in the list are `O_NOFOLLOW` for the directory of temporary files
(whether it is still the one of that name is looked at behind it),
`O_NONBLOCK` for partial files (what is opened for reading and writing does not
wait on a FIFO) and `RESOLVE_NO_MAGICLINKS` (such
links are symbolic links, which `RESOLVE_NO_SYMLINKS` refuses).

The tests of one line are the first three that failed.

| check | where | found by |
| --- | --- | --- |
"""


def sh(args, **kw):
    return subprocess.run(args, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False,
                          **kw)


class Results:
    """What came out for each check, kept in the work folder."""

    def __init__(self, work, go_on):
        self.path = work / "results.json"
        self.known = json.loads(self.path.read_text()) \
            if go_on and self.path.exists() else {}

    @staticmethod
    def key(check):
        text = (ROOT / check[1]).read_text()
        return hashlib.sha256(repr((check, text)).encode()).hexdigest()

    def get(self, check):
        row = self.known.get(check[0])
        return row[1] if row and row[0] == self.key(check) else None

    def put(self, check, failed):
        self.known[check[0]] = [self.key(check), failed]
        self.path.write_text(json.dumps(self.known, indent=1))


def copy_tree(tree):
    """The tree as git knows it, with what is not committed yet."""
    files = sh(["git", "ls-files", "-co", "--exclude-standard"],
               cwd=ROOT).stdout.split("\n")
    for name in filter(None, files):
        source, target = ROOT / name, tree / name
        if not source.is_file():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists() or \
                target.read_bytes() != source.read_bytes():
            shutil.copy(source, target)


class Copy:
    def __init__(self, work):
        self.tree = work / "tree"
        self.build = work / "build"
        copy_tree(self.tree)
        launcher = ["-DCMAKE_C_COMPILER_LAUNCHER=ccache"] \
            if shutil.which("ccache") else []
        r = sh(["cmake", "-S", str(self.tree), "-B", str(self.build), "-G",
                "Ninja", "-DCMAKE_BUILD_TYPE=RelWithDebInfo", *launcher])
        if r.returncode != 0:
            sys.exit(r.stdout)
        self.programs = {}
        out = sh(["ctest", "--show-only=json-v1"], cwd=self.build).stdout
        for m in re.finditer(r'"name" : "((?:unit|fuzz|crash|hostile|scenario)'
                             r'/[^"]*)"', out):
            self.programs[m.group(1)] = m.group(1).split("/")[1]

    def targets(self, pattern, more):
        names = [n for n in self.programs if re.search(pattern, n)]
        if not names:
            sys.exit(f"no test matches {pattern}")
        unit = [n.split("/")[1] for n in names
                if n.startswith(("unit/", "crash/"))]
        fuzz = [f"fuzz_{n.split('/')[1]}" for n in names
                if n.startswith("fuzz/")]
        return unit + fuzz + (["fuzz_vectors"] if fuzz else []) + more.split()

    def compile(self, targets):
        return sh(["ninja", "-C", str(self.build), "-j2", *targets])

    def test(self, pattern):
        """The tests that fail."""
        out = sh(["ctest", "-R", pattern, "-j", "2", "--timeout", "120"],
                 cwd=self.build).stdout
        return re.findall(r"\t\s*\d+ - (\S+) \(", out)


def unreliable(copy, tests):
    """Those of the tests that fail on the untouched tree as well."""
    targets = set()
    for name in tests:
        targets.update(copy.targets(f"^{name}$", ""))
    r = copy.compile(["belay", "belayd", "belay-fault", *sorted(targets)])
    if r.returncode != 0:
        sys.exit(r.stdout[-2000:])
    return [name for name in tests if copy.test(f"^{name}$")]


def try_one(copy, check):
    """The tests that fail without this check."""
    name, file, old, new, tests, *more = check
    path = copy.tree / file
    text = path.read_text()
    targets = copy.targets(tests, more[0] if more else "")
    if text.count(old) != 1:
        sys.exit(f"{name}: its place in {file} is gone; found "
                 f"{text.count(old)} times")
    try:
        path.write_text(text.replace(old, new))
        r = copy.compile(targets)
        if r.returncode != 0:
            sys.exit(f"{name}: {r.stdout[-2000:]}")
        return copy.test(tests)
    finally:
        path.write_text(text)


def main():
    args = sys.argv[1:]
    table = "--table" in args
    work = None
    if "--work" in args:
        work = pathlib.Path(args[args.index("--work") + 1])
        del args[args.index("--work"):args.index("--work") + 2]
    go_on = "--go-on" in args
    names = [a for a in args if not a.startswith("--")]
    temp = None
    if work is None:
        temp = tempfile.TemporaryDirectory(prefix="belay-mutation-")
        work = pathlib.Path(temp.name)
    copy = Copy(work)
    results = Results(work, go_on)
    rows, survivors, witnesses = "", [], set()
    for check in CHECKS:
        if names and check[0] not in names:
            continue
        failed = results.get(check)
        if failed is None:
            failed = try_one(copy, check)
            results.put(check, failed)
        found = ", ".join(failed[:3]) + (", ..." if len(failed) > 3 else "")
        print(f"{check[0]:34} {found or 'NOTHING FAILED'}", flush=True)
        rows += f"| {check[0]} | {check[1]} | {found or '**nothing**'} |\n"
        witnesses.update(failed[:3])
        if not failed:
            survivors.append(check[0])
    broken = unreliable(copy, sorted(witnesses))
    print(f"{len(survivors)} survived: {', '.join(survivors)}")
    if broken:
        print(f"These fail without any change: {', '.join(broken)}")
    if table and not names and not broken:
        (ROOT / "tests/mutation/README.md").write_text(HEAD + rows)
    if temp is not None:
        temp.cleanup()
    return 1 if survivors or broken else 0


if __name__ == "__main__":
    sys.exit(main())
