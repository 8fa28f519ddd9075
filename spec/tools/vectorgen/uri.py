"""uri.json: Belay URIs."""

import belay_id as identity

from .common import R, VectorFile, local_error

NOTES = {
    "SCHEME": "U1-1: schemes are not guessed",
    "PORT": "U1-2: ports",
    "ESCAPE": "U1-4: escapes that could hide a path",
    "PATH": "U1-4: paths that a server would refuse",
    "QUERY": "U1-5, U1-6: parameters",
    "USER": "U1-7: credentials do not travel in URIs",
    "OPTION": "U1-8: words that ssh would take as options, or a shell runs",
    "PIN": "U1-9: a pin that cannot be read is an error, never ignored",
}
PIN = identity.cid_of(identity.pattern(20000), 12)


def build():
    out = VectorFile("uri", NOTES)

    def good(name, text, scheme, path=b"", host="h", port=R.PROTO_PORT,
             user="", socket=b"", pin_c=0, pin=b"", req="U1-3", flags=(),
             **more):
        out.add(name, req, name.replace("-", " "), {"uri": text}, {
            "scheme": scheme, "user": user, "host": host, "port": port,
            "path": path.hex(), "socket": socket.hex(), "pin_chunk_log2":
            pin_c, "pin": pin.hex()}, flags=flags, **more)

    def bad(name, text, req, flag, **more):
        out.add("bad-" + name, req, name.replace("-", " "), {"uri": text},
                error=local_error("BAD_URI"), flags=[flag], **more)

    add_good(good)
    add_good_transports(good)
    add_bad_paths(bad)
    add_bad_parts(bad)
    return out


def add_good(good):
    good("plain", "belay://h/iso/demo.bin", "belay", b"iso/demo.bin")
    good("root", "belay://h", "belay")
    good("root-slash", "belay://h/", "belay")
    good("escape", "belay://h/a%20b", "belay", b"a b", flags=["ESCAPE"])
    good("escapes-once", "belay://h/a%2520b", "belay", b"a%20b",
         flags=["ESCAPE"])
    good("question-mark", "belay://h/a%3Fb", "belay", b"a?b",
         flags=["ESCAPE"])
    good("bytes", "belay://h/%FF%c3%bc", "belay", b"\xff\xc3\xbc",
         flags=["ESCAPE"])
    good("punctuation", "belay://h/a:b@c;d=e,f!$&'()*+~", "belay",
         b"a:b@c;d=e,f!$&'()*+~")
    good("dots-in-names", "belay://h/..a/b../...", "belay",
         b"..a/b../...")
    good("case", "BELAY+Tcp://h/X", "belay+tcp", b"X", req="U1-1",
         flags=["SCHEME"])
    text = identity.cid_text(12, PIN)
    good("pin", "belay://h/x#" + text, "belay", b"x", pin_c=12, pin=PIN,
         req="U1-9", flags=["PIN"])
    good("pin-22", "belay://h/x#bl1-22-" + PIN.hex(), "belay", b"x",
         pin_c=22, pin=PIN, req="U1-9", flags=["PIN"])


def add_good_transports(good):
    good("tcp", "belay+tcp://127.0.0.1:1/x", "belay+tcp", b"x",
         host="127.0.0.1", port=1, req="U1-2", flags=["PORT"])
    good("port-65535", "belay://h:65535/x", "belay", b"x", port=65535,
         req="U1-2", flags=["PORT"])
    good("empty-port", "belay://h:/x", "belay", b"x", req="U1-2",
         flags=["PORT"])
    good("ipv6", "belay://[2001:db8::1]:7000/x", "belay", b"x",
         host="[2001:db8::1]", port=7000, req="U1-2")
    good("ipv6-no-port", "belay+tcp://[::1]/x", "belay+tcp", b"x",
         host="[::1]", req="U1-2")
    good("ssh", "belay+ssh://host.example/x", "belay+ssh", b"x",
         host="host.example", port=0, req="U1-2")
    good("ssh-user", "belay+ssh://back_up.1@h:2222/a/b", "belay+ssh",
         b"a/b", port=2222, user="back_up.1", req="U1-7 U1-8")
    good("ssh-ipv6", "belay+ssh://u@[fe80::1]/x", "belay+ssh", b"x",
         host="[fe80::1]", port=0, user="u", req="U1-8")
    good("unix", "belay+unix:///x?socket=/run/b.sock", "belay+unix", b"x",
         host="", port=0, socket=b"/run/b.sock", req="U1-6")
    good("unix-escaped", "belay+unix:///?socket=/a%20b/%3F", "belay+unix",
         host="", port=0, socket=b"/a b/?", req="U1-6")
    good("unix-pin", "belay+unix:///x?socket=/s#" +
         identity.cid_text(12, PIN), "belay+unix", b"x", host="", port=0,
         socket=b"/s", pin_c=12, pin=PIN, req="U1-6 U1-9")


def add_bad_paths(bad):
    for name, path in (("double-slash", "a//b"), ("two-leading", "/a"),
                       ("trailing-slash", "a/"), ("dotdot", "../x"),
                       ("dot", "a/./b"), ("dotdot-escaped", "%2e%2E/x"),
                       ("part-256", "p" * 256),
                       ("too-long", "/".join(["p" * 255] * 17))):
        bad("path-" + name, "belay://h/" + path, "U1-4", "PATH")
    for name, path in (("slash", "a%2Fb"), ("slash-lower", "a%2fb"),
                       ("nul", "a%00b"), ("half", "a%2"), ("not-hex", "a%zz"),
                       ("bare", "50%"), ("space", "a b"), ("newline", "a\n"),
                       ("not-ascii", "\u00fc"), ("backslash", "a\\b"),
                       ("quote", 'a"b'), ("bracket", "a[b")):
        bad("escape-" + name, "belay://h/" + path, "U1-4", "ESCAPE")


def add_bad_parts(bad):
    for name, text in (("http", "http://h/x"), ("none", "h/x"),
                       ("tls", "belay+tls://h/x"), ("belays", "belays://h/x"),
                       ("one-slash", "belay:/h/x"), ("empty", "")):
        bad("scheme-" + name, text, "U1-1", "SCHEME")
    for name, port in (("zero", "0"), ("65536", "65536"), ("sign", "+1"),
                       ("negative", "-1"), ("name", "https"),
                       ("space", "1 "), ("long", "000001")):
        bad("port-" + name, "belay://h:%s/x" % port, "U1-2", "PORT",
            acceptable=name == "long")
    bad("query", "belay://h/x?y=1", "U1-5", "QUERY")
    bad("query-empty", "belay://h/x?", "U1-5", "QUERY")
    bad("query-socket", "belay+tcp://h/x?socket=/s", "U1-5", "QUERY")
    for name, text in (("none", "/x"), ("empty", "/x?socket="),
                       ("relative", "/x?socket=s"),
                       ("other", "/x?sock=/s"),
                       ("two", "/x?socket=/s&a=b"),
                       ("host", "h/x?socket=/s"),
                       ("nul", "/x?socket=/s%00")):
        bad("unix-" + name, "belay+unix://" + text, "U1-6", "QUERY")
    for scheme in ("belay", "belay+tcp"):
        bad("user-" + scheme.replace("+", "-"), scheme + "://u@h/x", "U1-7",
            "USER")
    bad("password", "belay://u:p@h/x", "U1-7", "USER")
    bad("ssh-password", "belay+ssh://u:p@h/x", "U1-7", "USER")
    for name, text in (("host", "-oProxyCommand=x"), ("user", "-l@h"),
                       ("host-dash", "-h"), ("host-behind-user", "u@-h"),
                       ("semicolon", "h;id"), ("space", "h%20-x"),
                       ("dollar", "$(id)@h"), ("quote", "u'@h"),
                       ("empty-host", ""), ("empty-user", "@h"),
                       ("two-at", "a@b@h"), ("zone", "[fe80::1%25eth0]")):
        bad("ssh-" + name, "belay+ssh://%s/x" % text, "U1-8", "OPTION")
    bad("no-host", "belay:///x", "U1-10", "SCHEME")
    bad("not-ascii-host", "belay://b\u00fccher.example/x", "U1-10", "SCHEME")
    bad("bad-ipv6", "belay://[::g]/x", "U1-10", "SCHEME")
    bad("open-bracket", "belay://[::1/x", "U1-10", "SCHEME")
    bad("junk-after-bracket", "belay://[::1]x/x", "U1-10", "SCHEME")
    for name, pin in (("empty", ""), ("word", "top"),
                      ("upper", "BL1-12-" + PIN.hex()),
                      ("short", "bl1-12-" + PIN.hex()[:-1]),
                      ("c-11", "bl1-11-" + PIN.hex()),
                      ("bl2", "bl2-12-" + PIN.hex()),
                      ("escaped", "bl1%2D12-" + PIN.hex()),
                      ("two", "bl1-12-" + PIN.hex() + "#")):
        bad("pin-" + name, "belay://h/x#" + pin, "U1-9", "PIN")
