#!/bin/sh
# Makes the certificates of the TLS cases again.  The keys are public and
# protect nothing; the authority's own key is thrown away.
#
#   good.pem       for localhost, 127.0.0.1 and ::1, signed by ca.pem
#   othername.pem  for other.example, signed by ca.pem
#   untrusted.pem  for localhost, signed by nobody that a client knows

set -eu
cd "$(dirname "$0")"
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
key="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"

authority() {
    # shellcheck disable=SC2086
    openssl req -x509 $key -keyout "$room/$1.key" -out "$room/$1.pem" \
        -days 36500 -subj "/CN=Belay conformance tests: $2" \
        -addext basicConstraints=critical,CA:TRUE \
        -addext keyUsage=critical,keyCertSign
}

leaf() {
    # shellcheck disable=SC2086
    openssl req $key -keyout "$room/$1.key" -out "$room/$1.csr" -subj "/CN=$2"
    cat >"$room/$1.ext" <<EOF
subjectAltName=$3
basicConstraints=CA:FALSE
extendedKeyUsage=serverAuth
keyUsage=digitalSignature
subjectKeyIdentifier=hash
authorityKeyIdentifier=keyid
EOF
    openssl x509 -req -in "$room/$1.csr" -CA "$room/$4.pem" \
        -CAkey "$room/$4.key" -out "$room/$1.crt" -days 36500 \
        -extfile "$room/$1.ext"
    cat "$room/$1.crt" "$room/$1.key" >"$1.pem"
}

here="DNS:localhost,IP:127.0.0.1,IP:::1"
authority ca "no security"
authority stranger "a stranger"
leaf good localhost "$here" ca
leaf othername other.example DNS:other.example ca
leaf untrusted localhost "$here" stranger
cp "$room/ca.pem" ca.pem
