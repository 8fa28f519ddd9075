#!/bin/sh
# Belay at work, from nothing: installs what it needs, builds, serves a large
# file on loopback and downloads it over a link that breaks every few MiB,
# while the client is killed once and the server once.  Ends with a comparison
# by sha256sum.  Takes a minute or two, most of it the build.
#
#   sh tests/demo.sh [MEBIBYTES]     size of the file, default 400
set -eu
cd "$(dirname "$0")/.."
size=${1:-400}

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }

say "1. Packages and build"
sh tests/install.sh demo
cmake -S . -B build -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo \
    -DBUILD_TESTING=OFF >/dev/null
ninja -C build
belay=build/belay belayd=build/belayd fault=build/tests/fault/belay-fault

work=$(mktemp -d "${TMPDIR:-/tmp}/belay-demo.XXXXXX")
server= proxy= client=
cleanup() {
    for pid in $client $proxy $server; do
        kill "$pid" 2>/dev/null || true
    done
    wait 2>/dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

say "2. A file of $size MiB: random bytes, text, and a hole"
mkdir "$work/served"
file=$work/served/demo.img
part=$((size / 4))
head -c $((2 * part * 1048576)) /dev/urandom >"$file"
# Text of this system: its shared documentation and libraries' headers.
find /usr/share /usr/include -type f -size -200k -exec cat {} + 2>/dev/null |
    head -c $((part * 1048576)) >>"$file" || true
truncate -s $((size * 1048576)) "$file"
ls -ls "$file"

# Root must say which user the server is to become.
user=
[ "$(id -u)" != 0 ] || user="--user root"

# start_server PORT: sets $server and $port.
start_server() {
    # shellcheck disable=SC2086
    "$belayd" --plain --root "$work/served" --cache "$work/cache" $user \
        --listen "127.0.0.1:$1" >"$work/server.out" 2>"$work/server.log" &
    server=$!
    for _ in $(seq 100); do
        port=$(sed -n 's/^listening on .*:\([0-9]*\)$/\1/p' \
            "$work/server.out" | head -n 1)
        [ -z "$port" ] || return 0
        sleep 0.1
    done
    cat "$work/server.log"
    exit 1
}

say "3. belayd, and a proxy that resets every connection each 24 MiB"
start_server 0
"$fault" --listen 127.0.0.1:0 --connect "127.0.0.1:$port" \
    --rst-every 25165824 --rate-total 52428800 --stats "$work/faults" \
    >"$work/proxy.out" &
proxy=$!
until grep -q listening "$work/proxy.out"; do sleep 0.1; done
url=belay+tcp://127.0.0.1:$(sed -n 's/.*://p' "$work/proxy.out" |
    head -n 1)/demo.img
echo "$url"

say "4. Download, and kill the client with -9 after 2 seconds"
"$belay" get --progress=bar -o "$work/demo.img" "$url" &
client=$!
sleep 2
kill -9 "$client"
wait "$client" 2>/dev/null || true
client=
echo
ls -ls "$work"/demo.img.part

say "5. The same command again; the server is killed with -9 on the way"
(
    sleep 2
    kill -9 "$server"
) &
killer=$!
"$belay" get -v --progress=bar -o "$work/demo.img" "$url" \
    2>"$work/client.err" &
client=$!
tail -f -c +1 --pid="$client" "$work/client.err" 2>/dev/null |
    grep -a --line-buffered -v 'connection [0-9]* lost' &
wait "$killer"
wait "$server" 2>/dev/null || true
sleep 0.5
start_server "$port"
status=0
wait "$client" || status=$?
client=
sleep 0.3

say "6. Result"
echo "exit code: $status"
grep -a -o 'useful .*' "$work/client.err" | tail -n 1 | tr ',' '\n' |
    sed 's/^ */  /'
kill "$proxy" && wait "$proxy" 2>/dev/null || true
proxy=
echo "what the link did:"
tr ',' '\n' <"$work/faults" | sed 's/^[ {]*/  /; s/}//'
want=$(sha256sum <"$file")
got=$(sha256sum <"$work/demo.img")
echo "served:     $want"
echo "downloaded: $got"
if [ "$status" -ne 0 ] || [ "$want" != "$got" ]; then
    say "NOT EQUAL"
    exit 1
fi
say "Equal: the link broke, both programs were killed, the file is right."
