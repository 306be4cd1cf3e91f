#!/bin/sh
# Makes the secrets that compose.yml mounts, each once; what is there already stays. Run it again
# with each release: what that has more is made, and the broker's users get its rights.
set -eu
folder=${SUITE_SECRETS:-$(dirname "$0")/secrets}
database=${SUITE_DATABASE_HOST:-postgres}
broker=${SUITE_BROKER_HOST:-rabbitmq}

# The folder keeps other users out. The files are readable, because a secret that comes from
# a file is mounted as it is, and the services are not root.
mkdir -p "$folder"
chmod 700 "$folder"

keep() { # keep NAME TEXT
    [ -e "$folder/$1" ] && return
    write "$1" "$2"
    echo "made $folder/$1"
}

write() { # write NAME TEXT
    printf '%s\n' "$2" >"$folder/$1.new"
    chmod 444 "$folder/$1.new"
    mv -f "$folder/$1.new" "$folder/$1"
}

random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }

keep postgres_password "$(random)"
keep broker_password "$(random)"
keep admin_password "$(random)"
keep grafana_password "$(random)"
# Seals the transaction log; a further key goes above it, it stays below (docs/operations.md).
keep transaction_keys "$(random)$(random)"

# The superuser makes the roles, the owner of the tables migrates, each service has a role and a
# user at the broker of its own: draw_scp and so on.
keep database_admin_url "postgresql://draw:$(cat "$folder/postgres_password")@$database:5432/draw"
keep database_owner_url "postgresql://draw_owner:$(random)@$database:5432/draw"
for service in scp indexer qr_worker dicomweb api; do
    keep ${service}_database_url "postgresql://draw_$service:$(random)@$database:5432/draw"
    keep ${service}_broker_url "amqp://draw_$service:$(random)@$broker:5672/"
done

user() { # user NAME PASSWORD TAGS
    printf '  {"name": "%s", "password": "%s", "tags": "%s"}' "$1" "$2" "$3"
}
service_user() { # service_user SERVICE
    url=$(cat "$folder/$1_broker_url")
    password=${url#*:*:}
    user "draw_$1" "${password%@*}" ""
}
write rabbitmq_definitions.json "{\"vhosts\": [{\"name\": \"/\"}],
\"users\": [
$(user draw "$(cat "$folder/broker_password")" administrator),
$(service_user scp),
$(service_user indexer),
$(service_user qr_worker),
$(service_user dicomweb),
$(service_user api)
],
\"permissions\": $(cat "$(dirname "$0")/rabbitmq/permissions.json")}"
