#!/bin/bash
# README's two commands on a bare Debian in a folder: as root in /root, and as an ordinary user.
#
#   tests/e2e/bare_machine.sh bookworm trixie
#
# Root is needed, and debootstrap. Packages come from where this machine's come from. What is
# committed is tried. Exit code 0: all is well, 77: it cannot be tried here.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

skip() { echo "skipped: $*"; exit 77; }
[ "$(id -u)" -eq 0 ] || skip "it needs root"
command -v debootstrap >/dev/null || skip "debootstrap is not installed"
MIRROR=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' |
    head -1)
[ -n "$MIRROR" ] || skip "no mirror of Debian is known here"
READY_SECONDS=900
# How this machine reaches its package indexes.
REACHING=(etc/resolv.conf etc/hosts etc/pip.conf etc/npmrc etc/ssl/certs
    usr/share/ca-certificates usr/local/share/ca-certificates)

root="" running=""
leave() {
    [ -z "$running" ] || kill -INT -- "-$running" 2>/dev/null || true
    [ -n "$root" ] || return 0
    for place in dev/shm dev proc; do umount -l "$root/$place" 2>/dev/null || true; done
    rm -rf --one-file-system "$root"
}
trap leave EXIT

fail() { echo "$suite: $*" >&2; tail -20 "$root/tmp/said" >&2 || true; exit 1; }

inside() { # inside ACCOUNT WORDS...: in the home of an account, as from its shell
    local account=$1 home
    shift
    home=$(grep "^$account:" "$root/etc/passwd" | cut -d: -f6)
    chroot --userspec="$account" "$root" /usr/bin/env HOME="$home" USER="$account" SHELL=/bin/sh \
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        sh -c 'cd "$HOME" && cd draw-dicom 2>/dev/null; exec "$@"' sh "$@"
}

bare() { # bare SUITE: a bare system, with what README asks for and no more
    root=$(mktemp -d "${TMPDIR:-/tmp}/bare-$1-XXXXXX")
    chmod 755 "$root"
    debootstrap --variant=minbase --include=ca-certificates,git,make,python3,systemd \
        "$1" "$root" "$MIRROR" >"$root.log" 2>&1 || { cat "$root.log"; exit 1; }
    rm "$root.log"
    for path in "${REACHING[@]}"; do
        [ -e "/$path" ] || continue
        mkdir -p "$root/$(dirname "$path")"
        rm -rf "${root:?}/$path"
        cp -rL "/$path" "$root/$path"
    done
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    mount -t tmpfs tmpfs "$root/dev/shm"
    chmod 1777 "$root/dev/shm"
    git clone -q --bare . "$root/srv/draw-dicom.git"
    chroot "$root" useradd -m operator -s /bin/sh 2>/dev/null ||
        echo "operator:x:1000:1000::/home/operator:/bin/sh" >>"$root/etc/passwd"
    mkdir -p "$root/home/operator"
    chroot "$root" chown 1000:1000 /home/operator
    chmod 700 "$root/root" "$root/home/operator"
    chroot "$root" git config --system --add safe.directory '*'
}

runs() { # runs ACCOUNT: README's two commands, from the clone to the Ctrl-C
    local began=$SECONDS
    : >"$root/tmp/said"
    setsid bash -c "$(declare -f inside); root=$root; inside '$1' env DRAW_SCP_PORT=$DICOM_PORT \
        DRAW_API_PORT=$WEB_PORT python3 -c 'import os, signal
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execvp(\"make\", [\"make\", \"run\"])'" >"$root/tmp/said" 2>&1 &
    running=$!
    until grep -q '^ready' "$root/tmp/said"; do
        kill -0 "$running" 2>/dev/null || fail "make run of $1 ended"
        [ $((SECONDS - began)) -lt "$READY_SECONDS" ] || fail "make run of $1 is not ready"
        sleep 1
    done
    echo "$suite: $1: ready after $((SECONDS - began)) s"
    inside "$1" make demo >"$root/tmp/demo" 2>&1 || { cat "$root/tmp/demo"; fail "make demo of $1"; }
    grep -q 'C-FIND: 1 study' "$root/tmp/demo" || fail "make demo of $1 found nothing"
    kill -INT -- "-$running"
    wait "$running" || true
    running=""
    tail -1 "$root/tmp/said" | grep -qx stopped || fail "make run of $1 did not stop in order"
    echo "$suite: $1: $(grep ^C-STORE "$root/tmp/demo"); stopped"
}

not_enabled_at_boot() {
    local left
    left=$(find "$root/etc/systemd/system" -name 'rabbitmq*' -o -name 'epmd*')
    [ -z "$left" ] || fail "enabled at boot: $left"
}

DICOM_PORT=21119 WEB_PORT=28009
[ "$#" -gt 0 ] || set -- bookworm trixie
for suite in "$@"; do
    bare "$suite"
    inside root git clone -q /srv/draw-dicom.git draw-dicom
    runs root
    not_enabled_at_boot
    echo "$suite: the package's broker is not enabled at boot"

    chroot "$root" apt-get purge -q -y rabbitmq-server 'python3*-venv' >/dev/null 2>&1
    inside operator git clone -q /srv/draw-dicom.git draw-dicom
    if inside operator make run >"$root/tmp/said" 2>&1; then fail "ran without its packages"; fi
    command=$(grep -o 'sudo apt-get install .*' "$root/tmp/said") || fail "no command was said"
    [[ $command == *python3-venv* && $command == *rabbitmq-server* ]] || fail "not all: $command"
    [ ! -e "$root/home/operator/draw-dicom/.venv" ] || fail "something was made before"
    echo "$suite: operator is told: $command"
    # No systemd runs in a folder: nothing can be stopped there, `--now`.
    command=${command//sudo /}
    chroot "$root" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
        sh -c "${command//--now /}" >"$root/tmp/said" 2>&1 || fail "the command failed"
    not_enabled_at_boot
    runs operator
    leave
    root=""
done
