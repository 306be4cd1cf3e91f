#!/bin/sh
# Makes the Secrets in the namespace draw-dicom, each once; what is there already stays.
#
#   deploy/k8s/make-secrets.sh [single-node]
#
# With `single-node` also those that in production the operators write. What was made is kept in
# deploy/k8s/secrets, for its owner's eyes only: put it into a safe, or delete it.
set -eu
here=$(dirname "$0")
export SUITE_SECRETS="$here/secrets" SUITE_DATABASE_HOST=draw-database-rw SUITE_BROKER_HOST=draw-broker
"$here/../make-secrets.sh"

secret() { # secret NAME KEY=VALUE...
    made=$1
    shift
    kubectl -n draw-dicom get secret "$made" >/dev/null 2>&1 && return
    for pair; do
        shift
        set -- "$@" "--from-literal=$pair"
    done
    kubectl -n draw-dicom create secret generic "$made" --type="${type:-Opaque}" "$@"
}

held() { cat "$SUITE_SECRETS/$1"; }
user_of() { url=${1#*://} && printf %s "${url%%:*}"; }
password_of() { url=${1#*://*:} && printf %s "${url%%@*}"; }

secret draw-admin "password=$(held admin_password)"
secret draw-transaction-keys "keys=$(held transaction_keys)"
for service in scp indexer qr-worker dicomweb api; do
    own=$(printf %s "$service" | tr - _)
    database=$(held "${own}_database_url")
    # Of the type of which CloudNativePG takes passwords of roles.
    type=kubernetes.io/basic-auth secret "draw-$service-database" "uri=$database" \
        "username=$(user_of "$database")" "password=$(password_of "$database")"
    broker=$(held "${own}_broker_url")
    secret "draw-$service-broker" "connection_string=$broker" \
        "username=$(user_of "$broker")" "password=$(password_of "$broker")"
done

[ "${1:-}" = single-node ] || exit 0
secret draw-database-app "password=$(held postgres_password)" "uri=$(held database_admin_url)"
secret draw-database-owner "uri=$(held database_owner_url)"
secret draw-broker-definitions "definitions.json=$(held rabbitmq_definitions.json)" \
    "definitions.conf=$(cat "$here/../rabbitmq/definitions.conf")"
