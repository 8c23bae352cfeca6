#!/bin/sh
# Write the two lock files anew, with a hash for each file that pip may take: after a change of pyproject.toml or
# docker/tools.in. With --upgrade, what they do not pin gets its newest version. Needs pip-tools (in the extra `test`).
set -eu
cd "$(dirname "$0")/.."
export CUSTOM_COMPILE_COMMAND="sh docker/lock.sh"
# Only what the public index has: not what is found on this machine.
export PIP_CONFIG_FILE=/dev/null PIP_FIND_LINKS=
common="--quiet --generate-hashes --strip-extras --allow-unsafe --no-emit-index-url --no-emit-find-links --no-emit-trusted-host"
# shellcheck disable=SC2086
pip-compile $common "$@" --extra postgres --extra oidc --output-file docker/requirements.lock pyproject.toml
# shellcheck disable=SC2086
pip-compile $common "$@" --output-file docker/tools.lock docker/tools.in
