#!/usr/bin/env python3
"""Downloads through a SOCKS5 proxy: names, logins, refusals, replies cut at
every byte.  The proxy here is a small one of its own."""

import select
import socket
import threading
import time

import trees
from harness import (KI, MI, Belayd, Fault, Run, case, check, check_code,
                     check_one_line, get, library, main, same, shelf,
                     write_random)

library(file=(write_random, 3 * MI + 7))
NAME = "server.in.another.world.invalid"


def take(sock, count):
    data = b""
    while len(data) < count:
        piece = sock.recv(count - len(data))
        if not piece:
            raise ConnectionError("the client left")
        data += piece
    return data


class Proxy:
    """One SOCKS5 proxy; every name leads to `to`."""

    def __init__(self, to, login=None, reply=b"\0", split=False, say=None):
        self.to, self.login, self.reply = to, login, reply
        self.split, self.say = split, say
        self.asked = []
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                sock, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,),
                             daemon=True).start()

    def _serve(self, sock):
        try:
            with sock:
                self._talk(sock)
        except OSError:
            pass

    def _send(self, sock, data):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in ([data[i:i + 1] for i in range(len(data))]
                      if self.split else [data]):
            sock.sendall(piece)
            if self.split:
                time.sleep(0.002)

    def _talk(self, sock):
        if self.say is not None:
            take(sock, 3)
            self._send(sock, self.say)
            return
        version, count = take(sock, 2)
        methods = take(sock, count)
        assert version == 5
        if self.login is None:
            self._send(sock, b"\5\0")
        elif 2 not in methods:
            self._send(sock, b"\5\xff")
            return
        else:
            self._send(sock, b"\5\2")
            _, length = take(sock, 2)
            user = take(sock, length)
            password = take(sock, take(sock, 1)[0])
            good = (user, password) == self.login
            self._send(sock, b"\1" + bytes([not good]))
            if not good:
                return
        _, command, _, kind = take(sock, 4)
        assert command == 1
        if kind == 3:
            host = take(sock, take(sock, 1)[0]).decode()
        else:
            host = socket.inet_ntop(
                socket.AF_INET if kind == 1 else socket.AF_INET6,
                take(sock, 4 if kind == 1 else 16))
        port = int.from_bytes(take(sock, 2), "big")
        self.asked.append((kind, host, port))
        if self.reply != b"\0":
            self._send(sock, b"\5" + self.reply + b"\0\1" + bytes(6))
            return
        with socket.create_connection(self.to) as server:
            # The server may speak at once: its bytes follow the reply.
            self._send(sock, b"\5\0\0\3\5bound\0\1" if self.split
                       else b"\5\0\0\1\x7f\0\0\1\0\1")
            pump(sock, server)

    def url(self, login=""):
        return "socks5h://%s127.0.0.1:%d" % (login, self.port)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()


def pump(one, other):
    ends = {one: other, other: one}
    while True:
        for end in select.select(list(ends), [], [], 30)[0]:
            data = end.recv(256 * KI)
            if not data:
                return
            ends[end].sendall(data)


def address(server):
    host, port = server.url("").split("/")[2].rsplit(":", 1)
    return host, int(port)


def far(server):
    """A URL that only the proxy can resolve."""
    return "belay+tcp://%s:%d/file" % (NAME, address(server)[1])


def whole(into, run):
    check_code(run, 0)
    check(same(into + "/file", shelf() + "/file"), "other bytes", run)


@case
def by_name(into):
    with Belayd() as server, Proxy(address(server)) as proxy:
        run = get("--proxy", proxy.url(), "-x", "3", far(server), cwd=into)
        whole(into, run)
        check(proxy.asked and set(proxy.asked) == {
            (3, NAME, address(server)[1])}, "asked %r" % proxy.asked, run)


@case
def by_address(into):
    with Belayd() as server, Proxy(address(server)) as proxy:
        for url in (server.url(),
                    server.url().replace("127.0.0.1", "[::1]")):
            whole(into, get("--proxy", proxy.url(), "--overwrite", url,
                            cwd=into))
        kinds = {(kind, host) for kind, host, _ in proxy.asked}
        check(kinds == {(1, "127.0.0.1"), (4, "::1")}, "asked %r" % kinds)


@case
def with_a_login(into):
    with Belayd() as server, \
            Proxy(address(server), login=(b"me", b"a:b@c")) as proxy:
        whole(into, get("--proxy", proxy.url("me:a%3Ab%40c@"), far(server),
                        cwd=into))
        for login, word in (("me:wrong@", "refuses user and password"),
                            ("", "wants a user and password")):
            run = get("--proxy", proxy.url(login), "--retry", "1",
                      "-o", "x", far(server), cwd=into)
            check_one_line(run, 75, word)
            check("wrong" not in run.err, "the password is told", run)


@case
def cut_at_every_byte(into):
    with Belayd() as server, Proxy(address(server), login=(b"u", b"p"),
                                   split=True) as proxy:
        whole(into, get("--proxy", proxy.url("u:p@"), far(server), cwd=into))


@case
def refusals(into):
    with Belayd() as server:
        for reply, word in ((b"\1", "the proxy failed"),
                            (b"\2", "does not allow"),
                            (b"\4", "cannot reach the server"),
                            (b"\5", "server refuses the connection"),
                            (b"\x77", "unknown reason")):
            with Proxy(address(server), reply=reply) as proxy:
                run = get("--proxy", proxy.url(), "--retry", "1", far(server),
                          cwd=into)
                check_one_line(run, 75, word, NAME)
        for said, word in ((b"", "closes the connection"),
                           (b"\5", "closes the connection"),
                           (b"HTTP/1.1 400 Bad Request\r\n\r\n",
                            "not a SOCKS5 proxy"),
                           (b"\5\7", "not offered")):
            with Proxy(address(server), say=said) as proxy:
                run = get("--proxy", proxy.url(), "--retry", "1", far(server),
                          cwd=into)
                check_one_line(run, 75, word)
    run = get("--proxy", "socks5h://127.0.0.1:1", "--retry", "1",
              "belay+tcp://127.0.0.1:2/file", cwd=into)
    check_one_line(run, 75, "127.0.0.1:1")


@case
def a_proxy_that_is_not_there(into):
    """What cannot be reached is told, which is not the server."""
    for host, words in (("127.0.0.1:1", "connect to the proxy 127.0.0.1:1: "),
                        ("proxy.invalid", "the proxy proxy.invalid: ")):
        run = get("--proxy", "socks5h://" + host, "belay+tcp://localhost:1/x",
                  cwd=into)
        check_one_line(run, 75, words)


@case
def a_silent_proxy(into):
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        run = get("--proxy",
                  "socks5h://127.0.0.1:%d" % deaf.getsockname()[1],
                  "--retry", "1", "--connect-timeout", "1",
                  "belay+tcp://127.0.0.1:2/file", cwd=into)
    check_code(run, 75)


@case
def from_the_environment(into):
    with Belayd() as server, Proxy(address(server)) as proxy:
        for name in ("all_proxy", "ALL_PROXY"):
            run = get("--overwrite", far(server), cwd=into,
                      env={name: proxy.url()})
            whole(into, run)
        count = len(proxy.asked)
        check(count >= 2, "the proxy was not asked")
        for env in ({"no_proxy": "127.0.0.1"}, {"NO_PROXY": "*"},
                    {"no_proxy": "other, .0.0.1"}):
            whole(into, get(server.url(), cwd=into,
                            env={"all_proxy": proxy.url(), **env}))
        whole(into, get("--noproxy", "127.0.0.1", server.url(), cwd=into,
                        env={"all_proxy": proxy.url()}))
        whole(into, get("--proxy", "", server.url(), cwd=into,
                        env={"all_proxy": proxy.url()}))
        check(len(proxy.asked) == count, "the exceptions went by the proxy")


@case
def other_kinds_fail_closed(into):
    """Who says proxy is never served without one."""
    with Belayd() as server:
        for text in ("http://proxy:3128", "socks5://proxy", "nonsense",
                     "socks5h://u:secret@"):
            run = get(server.url(), cwd=into, env={"all_proxy": text})
            check_one_line(run, 2, "socks5h://")
            check("secret" not in run.err, "the password is told", run)


@case
def links_that_break(into):
    """Each new connection goes by the proxy again."""
    with Belayd() as server, Fault(server, "--rst-every", MI) as fault, \
            Proxy(address(fault)) as proxy:
        whole(into, get("--proxy", proxy.url(), "-x", "1", far(fault),
                        cwd=into))
        check(len(proxy.asked) >= 3, "asked %d times" % len(proxy.asked))


@case
def directories(into):
    """ls and get -r go by the proxy, too, and by no other way."""
    src = trees.make(into + "/src", dirs=2, files=8, large=1)
    with Belayd(src) as server, Proxy(address(server)) as proxy, \
            Proxy(address(server), split=True) as slow:
        url = far(server).rpartition("/")[0] + "/"
        plain = Run(["ls", "-r", server.url("")], into).wait()
        check_code(plain, 0)
        for way, env in ((["--proxy", proxy.url()], {}),
                         ([], {"all_proxy": proxy.url()}),
                         (["--proxy", slow.url()], {})):
            run = Run(["ls", "-r", *way, url], into, env=env).wait()
            check_code(run, 0)
            check(run.out == plain.out, "another listing", run)
        run = get("-r", "--proxy", proxy.url(), url, "-d", "out", cwd=into)
        check_code(run, 0)
        trees.same(src, into + "/out", run)
        check(all(host == NAME for _, host, _ in proxy.asked), "by name",
              run)
        # A walk, a haul, and a fetch of the large one; the listings before.
        check(len(proxy.asked) >= 5, "not by the proxy: %r" % proxy.asked)
        run = get("-r", server.url(""), "-d", "no", cwd=into,
                  env={"all_proxy": "socks5h://127.0.0.1:1",
                       "no_proxy": "127.0.0.1"})
        check_code(run, 0)
    for args in (["ls"], ["get", "-r", "-d", "x"]):
        run = Run([*args, "--proxy", "http://h:1", url], into).wait()
        check_one_line(run, 2, "socks5h")


if __name__ == "__main__":
    main()
