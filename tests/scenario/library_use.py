#!/usr/bin/env python3
"""The installed library: found by pkg-config and by CMake, used by the example
program in C and by one in C++, and all that the program needs."""

import os
import shutil
import subprocess

from harness import (MI, TOP, Belayd, Fault, Skip, case, check, library,
                     main, program, same, shelf, write_random)

library(file=(write_random, 3 * MI + 1))


def run(*command, cwd=None, env=None, code=0):
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True,
                          env={**os.environ, **(env or {})}, timeout=100)
    check(done.returncode == code, "%s: exit %d\n%s%s" % (
        " ".join(command), done.returncode, done.stdout, done.stderr))
    return done.stdout


def installed(into):
    build = os.path.dirname(program("BELAY"))
    if not os.path.exists(os.path.join(build, "cmake_install.cmake")):
        raise Skip("the program is not in a build tree")
    with open(os.path.join(build, "CMakeCache.txt")) as cache:
        if "BELAY_SANITIZE:STRING=\n" not in cache.read():
            raise Skip("built with a sanitizer")
    prefix = os.path.join(into, "prefix")
    run("cmake", "--install", build, "--prefix", prefix)
    return prefix


def find(prefix, name):
    for base, _, files in os.walk(prefix):
        if name in files:
            return base
    raise AssertionError(name)


def environment(prefix):
    return {"PKG_CONFIG_PATH": find(prefix, "libbelay.pc"),
            "LD_LIBRARY_PATH": find(prefix, "libbelay.so")}


def flags(env):
    return run("pkg-config", "--cflags", "--libs", "libbelay",
               env=env).split()


@case
def example_by_pkg_config(into):
    prefix = installed(into)
    env = environment(prefix)
    example = os.path.join(into, "example")
    source = os.path.join(TOP, "client", "example.c")
    run("cc", "-std=c11", "-D_DEFAULT_SOURCE", "-Wall", "-Wextra", "-Werror",
        source, *flags(env), "-o", example)
    with Belayd() as server, Fault(server, "--rst-after", "1M",
                                   "--rst-max", "2") as fault:
        out = run(example, fault.url(), into, env=env)
        check("file: ok" in out, "it said: " + out)
        check(same(os.path.join(into, "file"), os.path.join(shelf(), "file")),
              "the file differs")
        out = run(example, fault.url(), into, env=env)
        check("up-to-date" in out, "it said: " + out)
        run(example, server.url("none"), into, env=env, code=1)
        run(example, "nonsense", into, env=env, code=2)


@case
def header_in_cxx(into):
    prefix = installed(into)
    env = environment(prefix)
    source = os.path.join(into, "x.cc")
    with open(source, "w") as file:
        file.write('#include <belay.h>\n#include <belay-sandbox.h>\n'
                   '#include <cstdio>\n'
                   'int main() { std::puts(belay_version()); }\n')
    run("c++", "-Wall", "-Wextra", "-Werror", source, *flags(env),
        "-o", os.path.join(into, "x"))
    check(run(os.path.join(into, "x"), env=env).count(".") == 2, "version")


@case
def example_by_cmake(into):
    prefix = installed(into)
    project = os.path.join(into, "project")
    os.mkdir(project)
    shutil.copy(os.path.join(TOP, "client", "example.c"), project)
    with open(os.path.join(project, "CMakeLists.txt"), "w") as file:
        file.write("cmake_minimum_required(VERSION 3.25)\n"
                   "project(example C)\n"
                   "find_package(belay 0.1 REQUIRED)\n"
                   "add_executable(example example.c)\n"
                   "target_link_libraries(example PRIVATE belay::belay)\n")
    build = os.path.join(into, "build")
    run("cmake", "-S", project, "-B", build, "-DCMAKE_PREFIX_PATH=" + prefix)
    run("cmake", "--build", build)
    with Belayd() as server:
        out = run(os.path.join(build, "example"), server.url(), into)
        check("file: ok" in out, "it said: " + out)


@case
def only_the_public_names(into):
    """The library exports what its headers declare, and no more; the program
    that was installed runs and needs nothing of the build tree."""
    prefix = installed(into)
    lib = os.path.join(find(prefix, "libbelay.so"), "libbelay.so")
    header = ""
    for name in ("belay.h", "belay-sandbox.h"):
        with open(os.path.join(find(prefix, name), name)) as file:
            header += file.read()
    exported = [line.split()[-1] for line in
                run("nm", "-D", "--defined-only", lib).splitlines()]
    foreign = [name for name in exported
               if not name.startswith("belay_") or name + "(" not in header]
    check(not foreign, "exported: %r" % foreign[:5])
    check(len(exported) > 15, "exported: %r" % exported)
    out = run(os.path.join(prefix, "bin", "belay"), "--version")
    check(out.startswith("belay "), "version: " + out)
    linked = run("ldd", os.path.join(prefix, "bin", "belay"))
    check(os.path.realpath(lib) in os.path.realpath(
        [w for line in linked.splitlines() if "libbelay" in line
         for w in line.split() if w.startswith("/")][0]), linked)


if __name__ == "__main__":
    main()
