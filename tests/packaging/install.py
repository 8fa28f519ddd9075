#!/usr/bin/env python3
"""Goal: what is installed is complete and works from where it lies; the
program in libbelay(3) is compiled against it by pkg-config and by CMake; the
Debian package installs, runs, and is the same bytes when made again.

    install.py BUILD-DIRECTORY CMAKE
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
EPOCH = "1700000000"

FILES = (
    "bin/belay", "bin/belayd", "include/belay.h",
    "include/belay-sandbox.h", "lib*/libbelay.so",
    "lib*/libbelay.so.0", "lib*/pkgconfig/libbelay.pc",
    "lib*/cmake/belay/belay-config.cmake",
    "lib*/cmake/belay/belay-targets.cmake",
    "share/man/man1/belay.1", "share/man/man1/belay-fault.1",
    "share/man/man3/libbelay.3",
    "share/man/man7/belay.7", "share/man/man8/belayd.8",
    "share/bash-completion/completions/belay",
    "share/zsh/site-functions/_belay",
    "share/fish/vendor_completions.d/belay.fish",
    "share/doc/belay/copyright", "share/doc/belay/README.md",
    "lib/systemd/system/belayd.service", "lib/systemd/system/belayd.socket",
)

CMAKE_USER = """cmake_minimum_required(VERSION 3.25)
project(user LANGUAGES C)
find_package(belay 0.1 REQUIRED)
add_executable(user example.c)
target_link_libraries(user belay::belay)
"""


def run(*command, **more):
    got = subprocess.run(command, capture_output=True, text=True,
                         timeout=200, **more)
    if got.returncode:
        sys.exit("%s: %d\n%s%s" % (" ".join(command), got.returncode,
                                   got.stdout, got.stderr))
    return got.stdout


def listing(folder):
    found = set()
    for where, _, files in os.walk(folder):
        found |= {os.path.relpath(os.path.join(where, f), folder)
                  for f in files}
    return found


def check_files(found, what, packed=False):
    for name in FILES:
        pattern = re.escape(name).replace(r"lib\*/", "lib(/[^/]+)?/")
        if packed and "/man/" in name:
            pattern += r"\.gz"
        if not any(re.fullmatch(pattern, f) for f in found):
            sys.exit("%s: no %s among\n%s" % (what, name,
                                              "\n".join(sorted(found))))


def library_path(prefix):
    for where, _, files in os.walk(prefix):
        if "libbelay.so.0" in files:
            return where
    sys.exit("no library below " + prefix)


def try_programs(prefix, env):
    for name in ("belay", "belayd"):
        text = run(prefix + "/bin/" + name, "--version", env=env)
        if not re.match(name + r" \d+\.\d+\.\d+, protocol version 1\n"
                        r"OpenSSL \S+, zlib \S+, libuv \S+\n$", text):
            sys.exit("%s --version: %r" % (name, text))


def example():
    """The program in libbelay(3), as a reader would copy it."""
    with open(os.path.join(ROOT, "client/libbelay.3"),
              encoding="utf-8") as file:
        text = re.search(r"\.Bd -literal\n(.*?)\.Ed", file.read(),
                         re.S).group(1)
    return text.replace("\\e", "\\")


def download(prefix, program, room, env):
    """Runs the example against the server."""
    os.makedirs(room + "/srv", exist_ok=True)
    with open(room + "/srv/file", "wb") as file:
        file.write(os.urandom(300000))
    server = subprocess.Popen(
        [prefix + "/bin/belayd", "--root", room + "/srv", "--plain",
         "--listen", "127.0.0.1:0", "--cache", room + "/cache", "--user",
         "root"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        text=True, env=env)
    try:
        address = server.stdout.readline().split()[-1]
        out = run(program, "belay+tcp://%s/file" % address, cwd=room, env=env)
        with open(room + "/srv/file", "rb") as a, \
                open(room + "/file", "rb") as b:
            if a.read() != b.read() or "(ok)" not in out:
                sys.exit("the example failed: " + out)
        os.unlink(room + "/file")
    finally:
        server.terminate()
        server.wait()


def check_install(build, cmake, room):
    prefix = room + "/prefix"
    run(cmake, "--install", build, "--prefix", prefix)
    found = listing(prefix)
    check_files(found, "cmake --install")
    lib = library_path(prefix)
    env = {**os.environ, "LD_LIBRARY_PATH": lib}
    try_programs(prefix, env)
    work = room + "/work"
    os.mkdir(work)
    with open(work + "/example.c", "w", encoding="utf-8") as file:
        file.write(example())
    with open(work + "/CMakeLists.txt", "w", encoding="utf-8") as file:
        file.write(CMAKE_USER)
    flags = run("pkg-config", "--cflags", "--libs", "libbelay",
                env={**env, "PKG_CONFIG_PATH": lib + "/pkgconfig"}).split()
    run("cc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-o",
        work + "/example", work + "/example.c", *flags)
    download(prefix, work + "/example", work, env)
    run(cmake, "-S", work, "-B", work + "/b", "-DCMAKE_PREFIX_PATH=" + prefix)
    run(cmake, "--build", work + "/b")
    download(prefix, work + "/b/user", work, env)


def make_package(build, cmake, folder):
    cpack = os.path.join(os.path.dirname(shutil.which(cmake) or cmake),
                         "cpack")
    run(cpack, "-G", "DEB", "-B", folder, cwd=build,
        env={**os.environ, "SOURCE_DATE_EPOCH": EPOCH})
    packages = [f for f in os.listdir(folder) if f.endswith(".deb")]
    if len(packages) != 1:
        sys.exit("packages: %r" % packages)
    return os.path.join(folder, packages[0])


def digest(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def check_package(build, cmake, room):
    package = make_package(build, cmake, room + "/one")
    again = make_package(build, cmake, room + "/two")
    if digest(package) != digest(again):
        sys.exit("made again, the package has other bytes")
    fields = run("dpkg-deb", "-f", package)
    for word in ("Package: belay", "Section: net", "libc6", "libssl3",
                 "libuv1", "libmicrohttpd", "Maintainer:", "Description:"):
        if word not in fields:
            sys.exit("no %r in\n%s" % (word, fields))
    root = room + "/root"
    run("dpkg-deb", "-x", package, root)
    check_files({f[4:] for f in listing(root) if f.startswith("usr/")},
                "the package", packed=True)
    for line in run("dpkg-deb", "-c", package).splitlines():
        mode, owner = line.split()[:2]
        if owner != "root/root" or (mode[0] == "d" and
                                    mode != "drwxr-xr-x"):
            sys.exit("owner or mode: " + line)
    env = {**os.environ, "LD_LIBRARY_PATH": library_path(root)}
    try_programs(root + "/usr", env)
    install_with_dpkg(package, room)


def install_with_dpkg(package, room):
    """Into a system of its own, where the libraries it needs are not known.
    Its scripts run outside of it and must not touch this one's ldconfig."""
    if os.geteuid() != 0:
        print("not root: dpkg -i was not tried")
        return
    root = room + "/system"
    os.makedirs(root + "/var/lib/dpkg/info")
    os.makedirs(root + "/var/lib/dpkg/updates")
    os.makedirs(root + "/var/log")
    open(root + "/var/lib/dpkg/status", "w", encoding="utf-8").close()
    os.mkdir(room + "/bin")
    with open(room + "/bin/ldconfig", "w", encoding="utf-8") as file:
        file.write("#!/bin/sh\n")
    os.chmod(room + "/bin/ldconfig", 0o755)
    dpkg = ["dpkg", "--root=" + root, "--force-depends",
            "--force-script-chrootless"]
    path = {**os.environ, "PATH": room + "/bin:" + os.environ["PATH"]}
    run(*dpkg, "-i", package, env=path)
    status = run("dpkg-query", "--admindir=" + root + "/var/lib/dpkg", "-W",
                 "-f", "${Status}", "belay")
    if "installed" not in status:
        sys.exit("dpkg says " + status)
    env = {**os.environ, "LD_LIBRARY_PATH": library_path(root)}
    try_programs(root + "/usr", env)
    run(*dpkg, "-r", "belay", env=path)
    if os.path.exists(root + "/usr/bin/belay"):
        sys.exit("removed, but still there")


def main():
    build, cmake = sys.argv[1:3]
    with tempfile.TemporaryDirectory(prefix="belay-install-") as room:
        check_install(build, cmake, room)
        if not shutil.which("dpkg-deb") or not shutil.which("dpkg-shlibdeps"):
            print("no dpkg: the package was not made")
            return 77
        check_package(build, cmake, room)
    print("ok")
    return 0


if __name__ == "__main__":
    sys.exit(main())
