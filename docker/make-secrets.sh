#!/bin/sh
# The two secrets of compose.postgres.yaml, each made where it is missing: the key that all replicas share, and the
# password of the database. Usage: sh docker/make-secrets.sh [FOLDER], docker/secrets unless said.
# Containers read the files under accounts of their own, so the files are open and the folder is not.
set -eu
folder=${1:-$(dirname "$0")/secrets}
mkdir -p "$folder"
chmod 0700 "$folder"
for name in magnesium-cds.key database-password; do
    if [ -s "$folder/$name" ]; then continue; fi
    head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n' >"$folder/.new"
    chmod 0444 "$folder/.new"
    mv "$folder/.new" "$folder/$name"
    echo "$folder/$name was made. Keep a copy apart from the copies of the database." >&2
done
