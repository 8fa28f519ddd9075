#!/usr/bin/env python3
"""A room includes only itself and rooms to its left.

base <- data <- wire <- session <- io <- client | server. Client and server
never include each other. Includes of the project are written from the root.
The program belay (client/cli) knows the client's library by its public headers
only, and these include nothing else of the project.
Some libraries have exactly one door: the files of DOORS.
"""

import re
import sys

import source

ROOMS = ["proto/base", "proto/data", "proto/wire", "proto/session",
         "proto/io"]
PROGRAMS = ["client/cli", "client", "server"]
PUBLIC = ("client/belay.h", "client/belay-sandbox.h")

# Header pattern of a library: the files that may include it.
DOORS = [
    (r"zlib\.h", r"proto/wire/crc\.c|proto/data/zpack\.c"),
    (r"libdeflate\.h", r"proto/data/zpack\.c"),
    (r"uv\.h", r"proto/io/loop[a-z_]*\.[ch]"),
    (r"lmdb\.h", r"server/digestcache[a-z_]*\.[ch]"),
    (r"microhttpd\.h", r"server/exporter\.c"),
    (r"seccomp\.h", r"server/filter\.c"),
    (r"linux/landlock\.h", r"proto/io/confine\.c"),
    (r"openssl/(evp|pem)\.h",
     r"proto/data/(hash|sign)\.c|proto/io/tls_internal\.h"),
    (r"openssl/(ssl|rand|x509v3)\.h", r"proto/io/tls_internal\.h"),
]

# What a pure room has no use for.
EFFECTS = re.compile(
    r"(sys/(socket|stat|types|epoll|uio|mman|ioctl|wait)|unistd|fcntl|time|"
    r"pthread|threads|signal|syslog|netdb|netinet/.*|arpa/.*|poll|dirent|"
    r"locale|errno)\.h")

INCLUDE = re.compile(r'^\s*#\s*include\s*(<[^>]+>|"[^"]+")', re.MULTILINE)


def room_of(path):
    for room in ROOMS + PROGRAMS:
        if path.startswith(room + "/"):
            return room
    return None


def allowed(room):
    if room in PROGRAMS:
        return ROOMS + [room]
    return ROOMS[:ROOMS.index(room) + 1]


def own_include(path, room, target):
    """An include in quotes: why it is wrong, or None."""
    if path in PUBLIC and "client/" + target in PUBLIC:
        return None  # as it is installed, side by side
    if not (source.ROOT / target).exists():
        return f"{path}: no file {target} (written from the root?)"
    if path in PUBLIC:
        return f"{path}: a public header must not include {target}"
    if room == "client/cli":
        return None if target in PUBLIC or room_of(target) == room else \
            f"{path}: the program must not include {target}"
    if room_of(target) not in allowed(room):
        return f"{path}: {room} must not include {target}"
    return None


def library_include(path, room, header):
    for pattern, door in DOORS:
        if re.fullmatch(pattern, header) and not re.fullmatch(door, path):
            return f"{path}: <{header}> belongs to {door} only"
    if room in ROOMS[:4] and EFFECTS.fullmatch(header):
        return f"{path}: <{header}> in a pure room"
    return None


def check_file(file):
    path = source.name(file)
    room = room_of(path)
    if room is None:
        return [f"{path}: is in no room"]
    faults = []
    for match in INCLUDE.finditer(file.read_text()):
        word = match.group(1)
        if word[0] == '"':
            fault = own_include(path, room, word[1:-1])
        else:
            fault = library_include(path, room, word[1:-1])
        if fault:
            faults.append(fault)
    return faults


def main():
    faults = []
    for file in source.c_files(*source.PRODUCT):
        faults += check_file(file)
    return source.finish("layers", faults)


if __name__ == "__main__":
    sys.exit(main())
