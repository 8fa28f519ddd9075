"""Belay URIs: the oracle for belay-uri.md."""

import ipaddress
import re

import belay_id as identity
import belay_wire as wire
from belay_wire import LOCAL, R, WireError

SCHEMES = ("belay", "belay+tcp", "belay+ssh", "belay+unix")
SSH_WORD = re.compile(r"[A-Za-z0-9._][A-Za-z0-9._-]*")
# RFC 3986, reg-name; an IPv4 address looks like one.
HOST = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+")
# RFC 3986, pchar and "/".
PATH = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*")


def refuse(rule, why):
    return WireError("BAD_URI", rule, why, LOCAL)


class Uri:
    def __init__(self, scheme):
        self.scheme, self.user, self.host = scheme, "", ""
        self.port = 0                   # 0: ssh's own choice, or no port
        self.path, self.socket = b"", b""
        self.pin_c, self.pin = 0, b""


def parse(text):
    scheme, mark, rest = text.partition("://")
    scheme = scheme.lower()
    if not mark or scheme not in SCHEMES:
        raise refuse("U1-1", "scheme")
    uri = Uri(scheme)
    rest, hash_mark, fragment = rest.partition("#")
    if hash_mark:
        try:
            uri.pin_c, uri.pin = identity.cid_parse(fragment)
        except identity.IdError as error:
            raise refuse("U1-9", str(error))
    rest, question, query = rest.partition("?")
    authority, slash, path = rest.partition("/")
    uri.path = decode_path(path)
    if scheme == "belay+unix":
        if authority:
            raise refuse("U1-6", "an authority")
        uri.socket = socket_path(query)
        return uri
    if question:
        raise refuse("U1-5", "a query")
    read_authority(uri, authority)
    return uri


def unescape(text):
    """U1-4: % and two hex digits, not NUL, not /."""
    if not PATH.fullmatch(text) or re.search("%(00|2[Ff])", text):
        raise refuse("U1-4", "characters or escapes of %r" % text)
    return re.sub(rb"%([0-9A-Fa-f]{2})", lambda m: bytes([int(m[1], 16)]),
                  text.encode("ascii"))


def decode_path(text):
    path = unescape(text)
    try:
        wire.check_path(path)
    except WireError as error:
        raise refuse("U1-4", error.why)
    return path


def socket_path(query):
    name, _, value = query.partition("=")
    if name != "socket" or not value.startswith("/") or "&" in value:
        raise refuse("U1-6", "one parameter, socket, an absolute path")
    decode_path(value[1:])
    return unescape(value)


def read_authority(uri, authority):
    user, at, host = authority.rpartition("@")
    if at:
        if uri.scheme != "belay+ssh" or not SSH_WORD.fullmatch(user):
            raise refuse("U1-8" if uri.scheme == "belay+ssh" else "U1-7",
                         "user")
        uri.user = user
    if host.startswith("["):
        inner, bracket, port = host[1:].partition("]")
        try:
            ipaddress.IPv6Address(inner)
        except ValueError:
            raise refuse("U1-8", "address")
        if not bracket or "%" in inner or port[:1] not in ("", ":"):
            raise refuse("U1-8", "brackets")
        uri.host, colon, port = "[%s]" % inner, port[:1], port[1:]
    else:
        uri.host, colon, port = host.partition(":")
        form = SSH_WORD if uri.scheme == "belay+ssh" else HOST
        if not form.fullmatch(uri.host):
            raise refuse("U1-8" if uri.scheme == "belay+ssh" else "U1-10",
                         "host")
    uri.port = read_port(uri.scheme, colon, port)


def read_port(scheme, colon, text):
    if not colon or not text:
        return 0 if scheme == "belay+ssh" else R.PROTO_PORT
    if not re.fullmatch("[0-9]{1,5}", text) or not 0 < int(text) < 65536:
        raise refuse("U1-2", "port")
    return int(text)
