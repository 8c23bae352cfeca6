#!/bin/sh
# A certificate of our own for trying, in the folder $1: made where there is none, and again 30 days before it ends.
# One that was put there is never touched: what is ours has the file self-made beside it.
# $2: the account (uid:gid) that reads it. $3: further names, as openssl writes them: DNS:cds.hospital.example,IP:10.1.2.3
set -eu
folder=$1 reader=${2:-} names=${3:-}
month=2592000

if [ -e "$folder/tls.crt" ] || [ -e "$folder/tls.key" ]; then
    if ! openssl x509 -in "$folder/tls.crt" -noout || ! [ -s "$folder/tls.key" ]; then
        echo "$folder: tls.crt and tls.key belong together, and one of them cannot be read" >&2
        exit 1
    fi
    if [ ! -e "$folder/self-made" ]; then
        openssl x509 -in "$folder/tls.crt" -noout -checkend "$month" >/dev/null ||
            echo "$folder/tls.crt ends within 30 days, or has ended: put a new one there" >&2
        exit 0
    fi
    if openssl x509 -in "$folder/tls.crt" -noout -checkend "$month" >/dev/null; then exit 0; fi
fi

umask 077
draft=$(mktemp -d "$folder/.new.XXXXXX")
trap 'rm -rf "$draft"' EXIT
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -sha256 -days 397 \
    -subj "/CN=localhost/O=Magnesium CDS, made by itself" \
    -addext "subjectAltName=DNS:localhost,IP:127.0.0.1${names:+,$names}" -addext "extendedKeyUsage=serverAuth" \
    -keyout "$draft/tls.key" -out "$draft/tls.crt" 2>"$draft/said" || { cat "$draft/said" >&2; exit 1; }
chmod 0600 "$draft/tls.key"
chmod 0644 "$draft/tls.crt"
if [ -n "$reader" ]; then chown "$reader" "$draft/tls.key" "$draft/tls.crt"; fi
: >"$folder/self-made"
mv -f "$draft/tls.key" "$folder/tls.key"
mv -f "$draft/tls.crt" "$folder/tls.crt"
echo "$folder/tls.crt was made: nobody trusts it but who is told to" >&2
