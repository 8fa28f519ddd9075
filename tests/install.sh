#!/bin/sh
# Install the Debian packages of packages.txt that are missing.
# "sh tests/install.sh build" stops before the packages of the tests; "sh
# tests/install.sh bench" takes the peers of the benchmarks.
set -eu
list=$(dirname "$0")/packages.txt
if [ "${1:-all}" = build ]; then
    wanted=$(sed '/needs* besides/q' "$list" | grep -v '^#')
elif [ "${1:-all}" = demo ]; then
    wanted=$(sed '/tests need besides/q' "$list" | grep -v '^#')
elif [ "${1:-all}" = bench ]; then
    wanted=$(grep -v '^#' "$(dirname "$0")/packages-bench.txt")
else
    wanted=$(grep -v '^#' "$list")
fi
missing=
for package in $wanted; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null |
        grep -q 'install ok installed' || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
echo "Installing:$missing"
sudo=
if [ "$(id -u)" -ne 0 ]; then
    sudo=sudo
fi
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get update -qq
# shellcheck disable=SC2086 # one word for each package
$sudo apt-get install -y -qq --no-install-recommends $missing >/dev/null
