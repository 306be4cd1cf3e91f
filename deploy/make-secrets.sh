#!/bin/sh
# Makes the secrets that compose.yml mounts, each once; what is there already stays.
set -eu
folder=$(dirname "$0")/secrets

# The folder keeps other users out. The files are readable, because a secret that comes from
# a file is mounted as it is, and the services are not root.
mkdir -p "$folder"
chmod 700 "$folder"

keep() { # keep NAME TEXT
    [ -e "$folder/$1" ] && return
    printf '%s\n' "$2" >"$folder/$1"
    chmod 444 "$folder/$1"
    echo "made $folder/$1"
}

random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }

keep postgres_password "$(random)"
keep broker_password "$(random)"
keep admin_password "$(random)"
keep grafana_password "$(random)"

keep database_url "postgresql://draw:$(cat "$folder/postgres_password")@postgres:5432/draw"
keep broker_url "amqp://draw:$(cat "$folder/broker_password")@rabbitmq:5672/"
keep rabbitmq.conf "default_user = draw
default_pass = $(cat "$folder/broker_password")"
