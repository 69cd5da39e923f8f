#!/bin/sh
# Makes the secrets that docker-compose.yml names, once; those that are there stay as they are.
# With `cluster` also those of docker-compose.cluster.yml: deploy/cluster/README.md.
# The folder is for its owner alone. The files in it are not: containers read them as other users.
set -eu
cd "$(dirname "$0")/.."
umask 077
mkdir -p secrets
chmod 700 secrets

keep() {
    chmod 444 "secrets/.new"
    mv "secrets/.new" "secrets/$1"
    echo "made secrets/$1"
}

random() {
    for name in "$@"; do
        if [ ! -s "secrets/$name" ]; then
            head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n' >secrets/.new
            keep "$name"
        fi
    done
}

random influxdb-admin-password influxdb-admin-token grafana-admin-password
[ "${1:-}" = cluster ] || exit 0

# All receivers have the same pseudonym key: back it up.
random influxdb-raw-admin-password influxdb-raw-admin-token pseudonym-key nats-password nats-route-password
if [ ! -s secrets/nats-token ]; then
    printf 'collector:%s' "$(cat secrets/nats-password)" >secrets/.new
    keep nats-token
fi
if [ ! -s secrets/nats-auth.conf ]; then
    route=$(cat secrets/nats-route-password)
    cat >secrets/.new <<END
# Included by deploy/cluster/nats.conf. The first is who may use the servers, the others are how the
# servers sign in to each other.
authorization: { user: collector, password: "$(cat secrets/nats-password)" }
ROUTE_USER: { user: route, password: "$route" }
ROUTES: [
  "nats://route:$route@nats-1:6222"
  "nats://route:$route@nats-2:6222"
  "nats://route:$route@nats-3:6222"
]
END
    keep nats-auth.conf
fi
