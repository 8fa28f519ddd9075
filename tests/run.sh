#!/bin/sh
# Install what is needed, build, and run every test.
#
#   sh tests/run.sh            everything that a change has to pass
#   sh tests/run.sh --long     the same with longer campaigns
#   sh tests/run.sh --coverage which branches the unit tests take
#
# Builds: gcc and clang with warnings as errors; clang with AddressSanitizer
# and UndefinedBehaviorSanitizer; clang with ThreadSanitizer for the programs.
# Each has its folder under build/.  gcc and AddressSanitizer build everything,
# so that both compilers have seen each file; the others what they run.
set -eu
cd "$(dirname "$0")/.."
root=$(pwd)
long=
coverage=
case ${1:-} in
'') ;;
--long) long=1 ;;
--coverage) coverage=1 ;;
*)
    echo "usage: sh tests/run.sh [--long | --coverage]" >&2
    exit 2
    ;;
esac
export BELAY_LONG="$long"
jobs=$(nproc)
# Most tests wait for a link, a timer or a peer: run more of them than cores.
tests=$((jobs * 3))
failed=
unstable=
nice=

sh tests/install.sh

# build NAME COMPILER SANITIZERS TYPE TARGETS [CMAKE-OPTION...]
build() {
    name=$1 compiler=$2 sanitize=$3 type=$4 targets=$5
    shift 5
    echo "== build $name"
    CC=$compiler cmake -S "$root" -B "build/$name" -G Ninja \
        -DCMAKE_BUILD_TYPE="$type" -DBELAY_WERROR=ON \
        -DBELAY_SANITIZE="$sanitize" "$@" >"build/$name.cmake.log" || {
        cat "build/$name.cmake.log"
        exit 1
    }
    # shellcheck disable=SC2086 # one word for each target
    $nice ninja -C "build/$name" -j "$jobs" $targets \
        >"build/$name.build.log" || {
        tail -n 60 "build/$name.build.log"
        exit 1
    }
}

# Did only tests fail that wait for clocks, sockets and other programs, and
# none by what a sanitizer saw?
crowded() {
    log="build/$1/Testing/Temporary"
    [ -s "$log/LastTestsFailed.log" ] || return 1
    ! grep -qvE ':(scenario|hostile|load|soak|odd|netlab|fault)/' \
        "$log/LastTestsFailed.log" || return 1
    ! grep -qE '(ERROR|WARNING): [A-Za-z]*Sanitizer|runtime error:|exit code is -(4|6|7|8|11)\b' "$log/LastTest.log"
}

# check NAME [CTEST-OPTION...]
#
# More tests run at a time than there are cores, and on a crowded machine one
# of them may miss a deadline.  It is run again, alone, and told as unstable;
# what fails then has failed.
check() {
    name=$1
    shift
    echo "== test $name"
    if ctest --test-dir "build/$name" --output-on-failure -j "$tests" "$@"
    then
        return
    fi
    if crowded "$name"; then
        missed=$(sed "s/^[0-9]*:/$name:/" \
            "build/$name/Testing/Temporary/LastTestsFailed.log")
        echo "== test $name: once more, alone:" $missed
        if ctest --test-dir "build/$name" --output-on-failure --rerun-failed
        then
            unstable="$unstable $missed"
            return
        fi
    fi
    failed="$failed $name"
}

mkdir -p build
export ASAN_OPTIONS="detect_leaks=1:abort_on_error=1"
export UBSAN_OPTIONS="print_stacktrace=1:halt_on_error=1"
export TSAN_OPTIONS="halt_on_error=1:second_deadlock_stack=1:atexit_sleep_ms=0:abort_on_error=1"

if [ -n "$coverage" ]; then
    build coverage clang "" Debug all -DBELAY_COVERAGE=ON
    echo "== coverage"
    exec python3 -B tests/coverage.py build/coverage
fi

# simulate FIRST COUNT: so many thousand seeds, on every core.
simulate() {
    echo "== simulate $2,000 seeds"
    seq "$1" $(($1 + $2 - 1)) | xargs -P "$jobs" -I{} sh -c '
        build/gcc/tests/sim/sim --seeds $(({} * 1000 + 1))..$(({} * 1000 + 1000))
    ' >build/simulate.log || failed="$failed simulate"
    grep -v " complete, 0 wrong;" build/simulate.log || :
}

# Linking hundreds of programs takes a third of a build; lld is faster.
lld="-DCMAKE_EXE_LINKER_FLAGS=-fuse-ld=lld"

# sanitized NAME SANITIZERS TARGETS.  Less optimised, with the lines for the
# stack of a report and no more: it is built once, and runs for minutes.
sanitized() {
    build "$1" clang "$2" RelWithDebInfo "$3" \
        -DCMAKE_C_FLAGS_RELWITHDEBINFO="-O1 -gline-tables-only -DNDEBUG" \
        "$lld" -DBELAY_SCENARIO_SCALE=0.25 ${long:+-DBELAY_SIM_SEEDS=1500}
}

build gcc gcc "" RelWithDebInfo all
# The tests of the first build wait more than they compute: the other builds
# take the rest.  They are deaf to the interrupt of a terminal.
trap 'trap - INT TERM; kill 0' INT TERM
(
    nice="nice -n 19"
    build clang clang "" RelWithDebInfo unit_tests "$lld"
    sanitized asan address,undefined all
    sanitized tsan thread programs
) &
others=$!
check gcc
[ -z "$long" ] || simulate 0 1000

wait "$others" || {
    echo "FAILED: a build; what it said is above"
    exit 1
}
check clang -L unit
check asan -L 'unit|scenario|sim|fuzz|hostile'
if [ -n "$long" ]; then
    check tsan -L scenario
else
    check tsan -L threads
fi

if [ -n "$long" ]; then
    build fuzz clang address,undefined RelWithDebInfo all -DBELAY_FUZZ=ON \
        -DBELAY_COVERAGE=ON
    echo "== fuzz"
    python3 -B tests/fuzz/campaign.py build/fuzz 600 || failed="$failed fuzz"
    echo "== planted bugs"
    python3 -B tests/sim/mutants.py build/gcc/libbelay_proto.a ||
        failed="$failed planted-bugs"
    echo "== checks taken out"
    mkdir -p build/mutation
    python3 -B tests/mutation/mutate.py --work build/mutation ||
        failed="$failed checks-taken-out"
fi

if [ -n "$unstable" ]; then
    echo "UNSTABLE (failed beside others, passed alone):" $unstable
fi
if [ -n "$failed" ]; then
    echo "FAILED:$failed"
    exit 1
fi
echo "All tests passed."
