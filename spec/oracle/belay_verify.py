"""A witness of one whole connection: bytes of both directions in, events out.

It judges the client's bytes as a careful server would and the server's bytes
as a careful client would, and keeps the state both sides share: requests,
handles, versions, delivered chunks.  An event says that one element was
accepted; a broken rule raises WireError, and everything before it stands.
"""

from collections import namedtuple

import belay_chunk as chunk
import belay_id as identity
import belay_wire as wire
from belay_wire import LOCAL, R, WireError

# what: PREFACE, REJECTED, a message name, SKIP, UNKNOWN_REQUEST,
# UNKNOWN_ANSWER, REFUSED (the server must answer this request with ERROR),
# CHANGED (an INFO that a client treats as CHANGED, rule N2b).
# chunk: index of an accepted chunk, otherwise -1.
Event = namedtuple("Event", "sender what request_id chunk")

ANSWERS = {"OPEN": {"INFO"}, "GET": {"CHUNK", "DONE"},
           "DIGEST": {"DIGESTS", "DONE"}, "LIST": {"ENTRIES"},
           "CLOSE": {"DONE"}, "AUTH": {"DONE"}}


class Request:
    """One request that has not been answered to its end."""

    def __init__(self, message):
        self.message = message
        self.name = message.name
        self.refusal = None         # the class of ERROR it must get
        self.unknown = False        # an answer type nobody knows came
        self.cancelled = False
        self.delivered = []         # chunk indices, in order of arrival
        self.raw_bytes = 0
        self.gate = None
        self.next_chunk = None      # of a DIGEST answer
        self.block = []             # digests since the last proof
        self.last_name = None       # of a LIST answer


class Handle:
    """What INFO said about an open handle."""

    def __init__(self, info):
        self.size = info.fields["size"]
        self.c = info.fields["chunk_log2"]
        self.version = info.tlv(R.TLV_VERSION)
        self.cid = info.tlv(R.TLV_CID)
        self.digests = None         # the verified list, once it has come
        self.seen = {}              # chunk index -> D_i

    def learn(self, index, digest):
        """A server never shows two digests for one chunk of a version."""
        if self.seen.setdefault(index, digest) != digest:
            raise refuse("TWO_DIGESTS", "G5b", "chunk %d" % index)

    def own_cid(self):
        """The CID from everything seen, or None while chunks are missing."""
        count = identity.chunk_count(self.size, self.c)
        if len(self.seen) != count:
            return None
        return identity.cid_from_digests(
            self.size, self.c, [self.seen[i] for i in range(count)])


def refuse(reason, rule, why):
    return WireError(reason, rule, why, LOCAL)


def broken(rule, why):
    return wire.malformed(rule, why)


class Witness:
    def __init__(self):
        self.readers = {side: wire.StreamReader(side)
                        for side in ("client", "server")}
        self.hello = {"client": None, "server": None}
        self.client_bytes = 0           # fed so far
        self.rejected = False           # by the server's preface
        self.last_id = 0
        self.requests = {}
        self.handles = {}               # number -> Handle, None: being opened
        self.closing = set()            # handles that a GET will close
        self.client_gone = False        # the client said GOAWAY
        self.goaway_last = None         # the server's last GOAWAY

    # -- input --

    def feed(self, sender, data):
        """Yields events one by one, so that a fault keeps the earlier ones."""
        reader = self.readers[sender]
        reader.buffer += data
        if sender == "client":
            self.client_bytes += len(data)
        while True:
            greeting = sender == "client" and self.hello["client"] is None
            item = reader.step()
            if greeting:
                self.check_pre_hello(reader, item)
            if item is None:
                break
            yield self.element(sender, item)

    def check_pre_hello(self, reader, item):
        """H6: preface and HELLO of a client fit into 4 KiB; bytes behind
        HELLO do not count."""
        used = self.client_bytes - (len(reader.buffer) if item else 0)
        if used > R.LIMIT_PRE_HELLO:
            raise WireError("FRAME_TOO_LARGE", "H6", "no HELLO in 4 KiB")

    def end_of_stream(self):
        """C2: the server's direction ended."""
        if self.readers["server"].buffer:
            raise refuse("RESET", "C2", "end inside a frame")
        if self.requests:
            raise refuse("RESET", "C2", "requests without END: %s" %
                         sorted(self.requests))

    def element(self, sender, item):
        if isinstance(item, wire.Preface):
            self.rejected = sender == "server" and bool(
                item.flags & R.PREFACE_REJECTED)
            what = "REJECTED" if self.rejected else "PREFACE"
            return Event(sender, what, 0, -1)
        header = item.header if isinstance(item, wire.Message) else item[1]
        self.check_hello(sender, item)
        if isinstance(item, wire.Message):
            found = self.message(sender, item)
            what, index = found if found else (item.name, -1)
        else:
            what, index = self.undecoded(item[0], header), -1
        return Event(sender, what, header.request_id, index)

    def check_hello(self, sender, item):
        """H1a, H1b: HELLO is first and comes once.  A server that cannot go
        on may send ERROR for the connection, or GOAWAY, instead."""
        name = item.name if isinstance(item, wire.Message) else None
        farewell = sender == "server" and (
            name == "GOAWAY" or
            name == "ERROR" and item.header.request_id == 0)
        if self.hello[sender] is None:
            if name == "HELLO":
                if self.rejected:
                    raise broken("V1c", "HELLO after a rejection")
                self.hello[sender] = item
                if sender == "server":
                    self.readers["client"].max_ranges = item.tlv_uint(
                        R.TLV_MAX_RANGES, R.LIMIT_RANGES_DEFAULT)
            elif not farewell:
                raise WireError("BAD_STATE", "H1b", "the first frame is HELLO")
        elif name == "HELLO":
            raise WireError("BAD_STATE", "H1b", "a second HELLO")

    def undecoded(self, found, header):
        if found == wire.SKIP:
            return "SKIP"
        if found == wire.CANCEL_LOCALLY:
            request = self.requests.get(header.request_id)
            if request is None:
                raise broken("F6d", "an unknown answer to nothing")
            request.unknown = True
            return "UNKNOWN_ANSWER"
        code = R.WIRE_UNSUPPORTED if found == wire.ANSWER_UNSUPPORTED \
            else found.value()
        self.new_id(header.request_id)
        request = Request(wire.Message(header, "UNKNOWN", {}))
        request.refusal = code >> 8
        self.requests[header.request_id] = request
        return "UNKNOWN_REQUEST" if found == wire.ANSWER_UNSUPPORTED \
            else "REFUSED"

    def message(self, sender, message):
        handler = getattr(self, "%s_%s" % (sender, message.name.lower()),
                          None)
        if handler:
            return handler(message)
        if sender == "client" and message.name in wire.REQUESTS:
            return self.new_request(message)
        return None

    # -- the client's side, as a server sees it --

    def new_id(self, ident):
        if self.client_gone:
            raise WireError("BAD_STATE", "C9", "a request after GOAWAY")
        if ident <= self.last_id:
            raise broken("F6b", "request id %d after %d" %
                         (ident, self.last_id))
        self.last_id = ident

    def limit(self, tlv_type, default):
        hello = self.hello["server"]
        return hello.tlv_uint(tlv_type, default) if hello else default

    def new_request(self, message):
        self.new_id(message.header.request_id)
        request = Request(message)
        if len(self.requests) >= self.limit(R.TLV_MAX_REQUESTS,
                                            R.LIMIT_REQUESTS_DEFAULT):
            request.refusal = R.WIRE_CLASS_TRANSIENT
        self.requests[message.header.request_id] = request
        if request.refusal is None and "handle" in message.fields:
            self.check_handle(request)
        return ("REFUSED", -1) if request.refusal else None

    def check_handle(self, request):
        """A number is free before OPEN and taken before anything else.  A
        handle that is still being opened may yet fail; both are possible."""
        number = request.message.fields["handle"]
        taken = number in self.handles
        if request.name == "OPEN":
            if number and taken:
                request.refusal = R.WIRE_CLASS_PERMANENT
            elif len(self.handles) >= self.limit(R.TLV_MAX_HANDLES,
                                                 R.LIMIT_HANDLES_DEFAULT):
                request.refusal = R.WIRE_CLASS_TRANSIENT
            elif number:
                self.handles[number] = None
        elif not taken:
            request.refusal = R.WIRE_CLASS_PERMANENT

    def client_cancel(self, message):
        request = self.requests.get(message.header.request_id)
        if request:
            request.cancelled = True

    def client_goaway(self, _):
        self.client_gone = True

    # -- the server's side, as a client sees it --

    def answered(self, message):
        """The request that this answer belongs to."""
        ident = message.header.request_id
        request = self.requests.get(ident)
        if request is None:
            raise broken("F6d", "%s for request %d, which is not outstanding" %
                         (message.name, ident))
        if request.refusal is not None or \
                message.name not in ANSWERS[request.name]:
            raise broken("F6d", "%s as answer to %s" %
                         (message.name, request.name))
        if message.end:
            del self.requests[ident]
        return request

    def server_info(self, message):
        request = self.answered(message)
        asked = request.message
        number = asked.fields["handle"]
        if message.fields["handle"] != number:
            raise broken("N2a", "INFO for another handle")
        if message.fields["file_type"] != R.FILE_REGULAR:
            return None
        self.check_grid(message, asked)
        if number:
            self.handles[number] = Handle(message)
        if self.differs(message, asked):
            return "CHANGED", -1
        return None

    def check_grid(self, message, asked):
        want = asked.fields["want_chunk_log2"]
        c = message.fields["chunk_log2"]
        most = self.hello["client"].tlv_uint(R.TLV_MAX_CHUNK_LOG2,
                                             R.LIMIT_CHUNK_LOG2_DEFAULT)
        if c > most or (want and c != want):
            raise broken("N2a", "chunk_log2 %d" % c)
        try:
            identity.check_geometry(message.fields["size"], c)
        except identity.IdError as error:
            raise broken("I3", str(error))

    @staticmethod
    def differs(message, asked):
        """N2b: the client compares with its expectations itself."""
        expect_cid = asked.tlv(R.TLV_EXPECT_CID)
        cid = message.tlv(R.TLV_CID)
        if expect_cid is not None and cid is not None:
            return cid != expect_cid
        expect = asked.tlv(R.TLV_EXPECT_VERSION)
        return expect is not None and message.tlv(R.TLV_VERSION) != expect

    def server_chunk(self, message):
        request = self.answered(message)
        handle = self.opened(request)
        if request.gate is None:
            request.gate = chunk.ChunkGate(
                request.message.fields["handle"], handle.size, handle.c,
                request.message.fields["ranges"], handle.digests,
                self.client_codecs())
        index, raw = request.gate.accept(message.fields)
        handle.learn(index, message.fields["digest"])
        request.delivered.append(index)
        request.raw_bytes += len(raw)
        return "CHUNK", index

    def client_codecs(self):
        return set(self.hello["client"].tlv(R.TLV_CODECS, b""))

    def opened(self, request):
        handle = self.handles.get(request.message.fields["handle"])
        if handle is None:
            raise broken("O8", "an answer on a handle before its INFO")
        return handle

    def server_digests(self, message):
        request = self.answered(message)
        handle = self.opened(request)
        asked, fields = request.message.fields, message.fields
        count = identity.chunk_count(handle.size, handle.c)
        first = asked["first_block"] << asked["block_log2"]
        end = count if asked["block_count"] == 0 else min(
            count, first + (asked["block_count"] << asked["block_log2"]))
        at = first if request.next_chunk is None else request.next_chunk
        past = at + fields["count"]
        if fields["first_chunk"] != at or past > end or \
                fields["block_log2"] != asked["block_log2"]:
            raise broken("D9", "digests %d..%d of %d..%d" %
                         (fields["first_chunk"], past, at, end))
        if message.end != (past == end):
            raise broken("F7b", "END is not on the last digests")
        request.next_chunk = past
        self.check_proof(request, handle, fields)
        for i, digest in enumerate(fields["digests"]):
            handle.learn(at + i, digest)
        self.check_list(handle)

    def check_proof(self, request, handle, fields):
        """D7, D8: the frame that completes a block carries its path,
        no other frame carries one, and no frame crosses a block's end."""
        b = fields["block_log2"]
        first, past = fields["first_chunk"], request.next_chunk
        count = identity.chunk_count(handle.size, handle.c)
        if not request.message.fields["flags"] & R.DIGEST_WITH_PROOF:
            if fields["proof"]:
                raise broken("D7", "a proof nobody asked for")
            return
        if first >> b != (past - 1) >> b:
            raise broken("D8", "a frame crosses a block's end")
        request.block += fields["digests"]
        complete = past == count or past % (1 << b) == 0
        if not complete:
            if fields["proof"]:
                raise broken("D8", "a proof before the block is complete")
            return
        self.check_block(request, handle, fields, first >> b, count)

    def check_block(self, request, handle, fields, block, count):
        b = fields["block_log2"]
        start = block << b
        leaves = [identity.leaf(identity.chunk_offset(handle.c, i),
                                identity.chunk_len(handle.size, handle.c, i),
                                digest)
                  for i, digest in enumerate(request.block, start)]
        try:
            root = identity.root_from_path(
                block, identity.block_count(count, b), identity.mth(leaves),
                fields["proof"])
        except identity.IdError as error:
            raise broken("D9", str(error))
        if handle.cid is not None and handle.cid != identity.cid(
                handle.size, handle.c, root):
            raise refuse("PROOF_REJECTED", "D10", "another root")
        request.block = []

    @staticmethod
    def check_list(handle):
        """A complete list is believed once it gives the CID of INFO."""
        own = handle.own_cid()
        if own is None:
            return
        if handle.cid is not None and own != handle.cid:
            raise refuse("CID_MISMATCH", "D10", "the list is not the CID's")
        count = identity.chunk_count(handle.size, handle.c)
        handle.digests = [handle.seen[i] for i in range(count)]

    def server_entries(self, message):
        request = self.answered(message)
        for entry in message.fields["entries"]:
            if request.last_name is not None and \
                    entry["name"] <= request.last_name:
                raise broken("Q1", "entries do not ascend over frames")
            request.last_name = entry["name"]

    def server_done(self, message):
        request = self.answered(message)
        number = request.message.fields.get("handle")
        if request.name == "GET":
            self.finish_get(request, message)
        if request.name == "CLOSE":
            self.handles.pop(number, None)

    def finish_get(self, request, message):
        handle = self.opened(request)
        wanted = chunk.selected_chunks(handle.size, handle.c,
                                       request.message.fields["ranges"])
        if request.delivered != wanted:
            raise broken("G9", "DONE without all chunks")
        if (message.fields["chunks"], message.fields["raw_bytes"]) != \
                (len(wanted), request.raw_bytes):
            raise broken("G9", "DONE counts other chunks")
        version, cid = message.tlv(R.TLV_VERSION), message.tlv(R.TLV_CID)
        if version is not None and version != handle.version:
            raise refuse("CHANGED", "G10", "DONE names another version")
        if None not in (cid, handle.cid) and cid != handle.cid:
            raise refuse("CHANGED", "G10", "DONE names another CID")
        handle.cid = handle.cid or cid
        own = handle.own_cid()
        if None not in (handle.cid, own) and handle.cid != own:
            raise refuse("CID_MISMATCH", "R5b", "not the file's CID")
        self.close_after(request)

    def close_after(self, request):
        """CLOSE_AFTER acts after the END frame, whatever it was."""
        fields = request.message.fields
        if request.name == "GET" and fields["flags"] & R.GET_CLOSE_AFTER:
            self.handles.pop(fields["handle"], None)

    def server_error(self, message):
        ident = message.header.request_id
        if ident == 0:
            return
        request = self.requests.pop(ident, None)
        if request is None:
            raise broken("F6d", "ERROR for request %d, which is not "
                         "outstanding" % ident)
        code = message.fields["code"]
        if request.refusal is not None and request.refusal != code >> 8:
            raise broken("F3c", "class %d where %d was due" %
                         (code >> 8, request.refusal))
        if code == R.WIRE_CANCELLED and not (request.cancelled or
                                             request.unknown):
            raise broken("K2", "CANCELLED though nobody cancelled")
        if request.refusal is not None:
            return
        number = request.message.fields.get("handle")
        if request.name == "OPEN" or code == R.WIRE_CHANGED_DURING:
            self.handles.pop(number, None)
        self.close_after(request)

    def server_goaway(self, message):
        last = message.fields["last_id"]
        if self.goaway_last is not None and last > self.goaway_last:
            raise broken("C7", "GOAWAY raises its last id")
        self.goaway_last = last
        for ident in [i for i in self.requests if i > last]:
            del self.requests[ident]
