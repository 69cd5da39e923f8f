#!/bin/sh
# Makes databases and scoped tokens, and lays each reader's own into a folder of its own: nobody is
# given a folder that holds another's. Options are those of `collector provision`: --rotate, --finish.
set -eu
collector provision --tokens-dir "$TOKENS/all" "$@"
hand() {
    mkdir -p "$TOKENS/$2"
    install -m 0400 "$TOKENS/all/$1" "$TOKENS/$2/.new"
    mv "$TOKENS/$2/.new" "$TOKENS/$2/$3"
}
hand collector.token collector token
hand grafana-community.header community authorization
hand grafana-ops.header ops authorization
# Where raw data has an InfluxDB of its own.
if [ -e "$TOKENS/all/collector-raw.token" ]; then
    hand collector-raw.token collector raw
    hand grafana-ops-raw.header ops authorization-raw
fi
