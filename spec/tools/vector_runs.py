"""How the oracle answers one vector: (expected, error) as JSON values."""

import hashlib

import belay_chunk as chunk
import belay_id as identity
import belay_json
import belay_manifest as manifest
import belay_uri
import belay_verify as verify
import belay_wire as wire

R = wire.R


def error_json(error):
    value = error.value()
    return {"code": error.code, "value": value, "class": value >> 8,
            "scope": error.scope}


def local(reason):
    return {"code": reason, "value": 0, "class": 0, "scope": "local"}


def pieces(data, split):
    if split is None:
        return [data]
    return [data[i:i + split] for i in range(0, len(data), split)]


def run(kind, given, split):
    """split is the size of the pieces in which streams are fed."""
    if kind == "streams":
        return run_stream(given, split)
    try:
        return RUNS[kind](given, split), None
    except wire.WireError as error:
        return None, error_json(error)
    except identity.IdError:
        return None, local(IDENTITY_REASON[given["kind"]])


# -- identity -----------------------------------------------------------------

IDENTITY_REASON = {"proof": "PROOF_REJECTED", "path_len": "PROOF_REJECTED",
                   "text": "BAD_CID_TEXT", "parts": "BAD_GEOMETRY"}


def recipe(given):
    data = bytearray(identity.pattern(int(given["pattern_len"])))
    for at in given["invert_at"]:
        data[int(at)] ^= 0xFF
    return bytes(data)


def run_merkle(given, _):
    if given["kind"] == "tree":
        leaves = [bytes.fromhex(x) for x in given["leaves"]]
        return {"root": identity.mth(leaves).hex()}
    if given["kind"] == "path_len":
        return {"path_len": identity.path_len(int(given["block_index"]),
                                              int(given["block_count"]))}
    if given["kind"] == "proof":
        return run_proof(given)
    data, c = recipe(given), given["chunk_log2"]
    digests = identity.digests_of(data, c)
    leaves = identity.leaves_of(len(data), c, digests)
    last = len(leaves) - 1
    return {"chunks": len(leaves),
            "last_len": identity.chunk_len(len(data), c, last)
            if leaves else 0,
            "digests": [d.hex() for d in digests],
            "leaves": [x.hex() for x in leaves],
            "root": identity.mth(leaves).hex()}


def run_proof(given):
    path = [bytes.fromhex(p) for p in given["path"]]
    j, m = int(given["block_index"]), int(given["block_count"])
    root = identity.root_from_path(j, m, bytes.fromhex(given["block_hash"]),
                                   path)
    if root != bytes.fromhex(given["root"]):
        raise identity.IdError("another root")
    if len(path) != identity.path_len(j, m):
        raise AssertionError("P1 and the verifier disagree")
    return {"path_len": len(path)}


def run_cid(given, _):
    if given["kind"] == "text":
        c, value = identity.cid_parse(given["text"])
        return {"chunk_log2": c, "cid": value.hex()}
    if given["kind"] == "default":
        return {"chunk_log2": identity.default_chunk_log2(int(given["size"]))}
    c = given["chunk_log2"]
    if given["kind"] == "file":
        value = identity.cid_of(recipe(given), c)
    else:
        value = identity.cid(int(given["size"]), c,
                             bytes.fromhex(given["root"]))
    return {"cid": value.hex(), "text": identity.cid_text(c, value)}


# -- wire ---------------------------------------------------------------------

PEER = {"client": "server", "server": "client"}


def run_preface(given, split):
    reader = wire.StreamReader(PEER[given["receiver"]])
    out = []
    for piece in pieces(bytes.fromhex(given["hex"]), split):
        out += reader.feed(piece)
    preface = out[0]
    rejected = given["receiver"] == "client" and \
        bool(preface.flags & R.PREFACE_REJECTED)
    return {"version": preface.version, "flags": preface.flags,
            "rejected": rejected}


def reader_behind_preface(sender):
    reader = wire.StreamReader(sender)
    reader.preface = True
    return reader


def run_frame(given, split):
    data = bytes.fromhex(given["hex"]) + identity.pattern(
        given["pattern_len"], given["pattern_at"])
    reader = reader_behind_preface(PEER[given["receiver"]])
    out = []
    # Long control frames in single bytes would take minutes.
    if split and len(data) > 4096:
        split = 1000
    for piece in pieces(data, split):
        out += reader.feed(piece)
    header = wire.decode_header(data[:wire.FRAME_HEADER])
    disposition = wire.ACCEPT if isinstance(out[0], wire.Message) \
        else out[0][0]
    return {"length": header.length, "type": header.type,
            "flags": header.flags, "request_id": header.request_id,
            "disposition": disposition}


def run_tlv(given, _):
    cursor = wire.Cursor(bytes.fromhex(given["hex"]))
    known, ignored = wire.decode_tlvs(cursor, given["context"])
    return {"tlvs": belay_json.tlvs_json(known), "ignored": ignored}


# The bits of each flags field that version 1 defines.
DEFINED = {("OPEN", "flags"): R.OPEN_NO_HANDLE,
           ("GET", "flags"): R.GET_NO_COMPRESSION | R.GET_CLOSE_AFTER,
           ("DIGEST", "flags"): R.DIGEST_WITH_PROOF | R.DIGEST_NO_WAIT,
           ("LIST", "flags"): R.LIST_WITH_CID,
           ("INFO", "info_flags"): R.INFO_VERSION_STRONG |
           R.INFO_CID_PENDING}


def canonical(message, data):
    """Would a sender of version 1 write just these bytes?"""
    for (name, field), bits in DEFINED.items():
        if name == message.name and message.fields[field] & ~bits:
            return False
    return data == wire.encode(message.name, message.header.request_id,
                               message.fields, message.tlvs, message.end)


def run_message(given, split):
    data = bytes.fromhex(given["hex"])
    reader = reader_behind_preface(given["sender"])
    out = []
    if split and len(data) > 4096:
        split = 1000
    for piece in pieces(data, split):
        out += reader.feed(piece)
    if isinstance(out[0], tuple):
        raise out[0][0]
    message = out[0]
    return dict(belay_json.message_json(message),
                canonical=canonical(message, data))


def run_path(given, _):
    value = bytes.fromhex(given["bytes"])
    if given["kind"] == "path":
        return {"parts": [part.hex() for part in wire.check_path(value)]}
    wire.check_name(value, windows=given["kind"] == "windows")
    return {"parts": [value.hex()]}


# -- chunks and ranges --------------------------------------------------------

def ranges_of(given):
    return [(int(r["offset"]), int(r["length"])) for r in given["ranges"]]


def run_range(given, _):
    ranges = ranges_of(given)
    wire.check_ranges(ranges, given["max_ranges"])
    runs = chunk.selected_runs(int(given["size"]), given["chunk_log2"],
                               ranges)
    return {"runs": [{"first": str(f), "count": str(n)} for f, n in runs],
            "chunks": str(sum(n for _, n in runs))}


def run_chunk(given, _):
    if given["kind"] == "codec":
        raw = chunk.decode_data(given["codec"], given["raw_len"],
                                bytes.fromhex(given["stored"]))
        return {"raw_sha256": identity.sha256(raw).hex()}
    digests = [bytes.fromhex(d) for d in given["digests"]] or None
    gate = chunk.ChunkGate(given["handle"], int(given["size"]),
                           given["chunk_log2"], ranges_of(given), digests,
                           given["codecs"])
    accepted = []
    for payload in given["payloads"]:
        cursor = wire.Cursor(bytes.fromhex(payload))
        fields = wire.read_fixed(cursor, "CHUNK")
        wire.read_chunk_data(cursor, fields)
        accepted.append(gate.accept(fields)[0])
    return {"accepted": accepted}


# -- conversations ------------------------------------------------------------

def run_stream(given, split):
    """(events and chunks accepted, error): the caller compares them with
    expected or, after an error, with prefix_ok."""
    witness = verify.Witness()
    events, chunks = [], []
    try:
        for sender, data in segments(given):
            for piece in pieces(data, split):
                for event in witness.feed(sender, piece):
                    events.append({"from": event.sender, "what": event.what,
                                   "request_id": event.request_id,
                                   "chunk": event.chunk})
                    if event.chunk >= 0:
                        chunks.append({"request_id": event.request_id,
                                       "chunk": event.chunk})
        if given["eof"]:
            witness.end_of_stream()
    except wire.WireError as error:
        return {"events": events, "chunks": chunks}, error_json(error)
    return {"events": events, "chunks": chunks}, None


def segments(given):
    """(sender, bytes) in order; the announced sums are checked."""
    streams = {"client": b"", "server": b""}
    out = []
    for s in given["segments"]:
        data = bytes.fromhex(s["hex"]) + identity.pattern(
            s["pattern_len"], s["pattern_at"])
        streams[s["from"]] += data
        out.append((s["from"], data))
    for sender, data in streams.items():
        if len(data) != int(given[sender + "_len"]) or hashlib.sha256(
                data).hexdigest() != given[sender + "_sha256"]:
            raise AssertionError("the %s's bytes are not those announced" %
                                 sender)
    return out


# -- manifests and URIs -------------------------------------------------------

def run_manifest(given, _):
    keys = [manifest.Key(text) for text in given["keys"]]
    found = manifest.parse(bytes.fromhex(given["data"]), keys)
    serial = int(given["stored_serial"]) if given["stored_serial"] else None
    manifest.accept(found, int(given["now"]), serial,
                    bytes.fromhex(given["stored_sha256"]))
    return {"origin": found.origin.hex(), "serial": str(found.serial),
            "expires": str(found.expires), "signers": found.signers,
            "files": [{"path": path.hex(), "chunk_log2": c,
                       "size": str(size), "cid": cid.hex()}
                      for path, c, size, cid in found.files]}


def run_manifest_use(given, _):
    keys = [manifest.Key(text) for text in given["keys"]]
    found = manifest.parse(bytes.fromhex(given["data"]), keys)
    serial = int(given["stored_serial"]) if given["stored_serial"] else None
    if given["origin"]:
        manifest.demand(found, bytes.fromhex(given["origin"]))
    manifest.accept(found, int(given["now"]), serial, b"")
    manifest.verify_file(found, bytes.fromhex(given["path"]), recipe(given))
    return {"verified": True}


def run_uri(given, _):
    uri = belay_uri.parse(given["uri"])
    return {"scheme": uri.scheme, "user": uri.user, "host": uri.host,
            "port": uri.port, "path": uri.path.hex(),
            "socket": uri.socket.hex(), "pin_chunk_log2": uri.pin_c,
            "pin": uri.pin.hex()}


RUNS = {"merkle": run_merkle, "cid": run_cid, "preface": run_preface,
        "frame": run_frame, "tlv": run_tlv, "message": run_message,
        "path": run_path, "range": run_range, "chunk": run_chunk,
        "manifest": run_manifest, "manifest_use": run_manifest_use,
        "uri": run_uri}
