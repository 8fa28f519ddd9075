#!/bin/sh
# Recomputes the content id of a file with standard tools only: dd, sha256sum,
# xxd and wc.  It shares no code with the rest of the project, so that an
# identity can be checked without trusting any of it.  See belay-id-1.md.
#
#   cid.sh FILE [CHUNK_LOG2]
#
# Slow: it starts a few processes for each chunk.

set -eu

if [ $# -lt 1 ] || [ $# -gt 2 ]; then
    echo "usage: cid.sh FILE [CHUNK_LOG2]" >&2
    exit 2
fi
file=$1
size=$(($(wc -c <"$file")))

# ID1-C4: the smallest c in 18..22 with size <= 2^(c + 15).
c=18
while [ "$c" -lt 22 ] && [ "$size" -gt $((1 << (c + 15))) ]; do
    c=$((c + 1))
done
c=${2:-$c}
case $c in
1[2-9] | 2[0-2]) ;;
*)
    echo "cid.sh: chunk_log2 is 12 to 22" >&2
    exit 2
    ;;
esac
step=$((1 << c))

# Digest of standard input, or of the bytes given as hex.
sha() {
    sum=$(sha256sum)
    printf '%s' "${sum%% *}"
}
sha_hex() {
    printf '%s' "$1" | xxd -r -p | sha
}

# The stack holds the roots of complete subtrees, the newest one first.
stack=
fold() {
    right=${stack%% *}
    rest=${stack#* }
    left=${rest%% *}
    stack="$(sha_hex "01$left$right") ${rest#* }"
}

i=0
depth=0
while [ $((i << c)) -lt "$size" ]; do
    offset=$((i << c))
    len=$((size - offset < step ? size - offset : step))
    digest=$(dd if="$file" bs="$step" skip="$i" count=1 2>/dev/null | sha)
    leaf=$(sha_hex "00$(printf '%016x%08x' "$offset" "$len")$digest")
    stack="$leaf $stack"
    depth=$((depth + 1))
    # One merge for each one-bit at the low end of the leaf's index.
    bits=$i
    while [ $((bits & 1)) -eq 1 ]; do
        fold
        depth=$((depth - 1))
        bits=$((bits >> 1))
    done
    i=$((i + 1))
done
while [ "$depth" -gt 1 ]; do
    fold
    depth=$((depth - 1))
done
if [ "$depth" -eq 0 ]; then
    root=$(printf '' | sha)
else
    root=${stack%% *}
fi

printf 'bl1-%02d-%s\n' "$c" \
    "$(sha_hex "0201$(printf '%02x00%016x' "$c" "$size")$root")"
