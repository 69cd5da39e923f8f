#!/bin/sh
# Makes the secrets that docker-compose.yml names, once; those that are there stay as they are.
# The folder is for its owner alone. The files in it are not: containers read them as other users.
set -eu
cd "$(dirname "$0")/.."
mkdir -p secrets
chmod 700 secrets
for name in influxdb-admin-password influxdb-admin-token grafana-admin-password; do
    if [ ! -s "secrets/$name" ]; then
        head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n' >"secrets/$name"
        chmod 444 "secrets/$name"
        echo "made secrets/$name"
    fi
done
