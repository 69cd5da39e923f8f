#!/bin/sh
# The package of another architecture in a fresh root of Debian, run by QEMU: foreign.sh RELEASE PACKAGE.
# Installs it, posts the samples to its `serve` beside an InfluxDB of this machine, runs commands,
# removes and purges it. No systemd boots there: that is what life.sh is for.
# Needs root, debootstrap, qemu-user-static with binfmt_misc, curl, and `make dev`.
set -eu
. "$(dirname "$0")/root.sh"
release=${1:?12 or 13}
package=${2:?a package that make deb built}
need debootstrap dpkg-deb:dpkg curl
architecture=$(dpkg-deb -f "$package" Architecture)
root=$(fresh "$release" "foreign-$release-$architecture" "$architecture")
served=
stored_in=
trap 'kill $served $stored_in 2>/dev/null || true; wait; leave "$root"' EXIT
step() { echo "== $*"; }
until_ok() {
    for _ in $(seq 1200); do if "$@" >/dev/null 2>&1; then return; fi; sleep 0.5; done
    echo "not so after 10 minutes: $*" >&2
    cat "$root/serve.log" >&2
    exit 1
}
python() { (cd "$checkout" && .venv/bin/python "$@"); }
free_port() { python -c 'from tools.embedded import free_port; print(free_port())'; }
in_root() { chroot "$root" env DEBIAN_FRONTEND=noninteractive $settings "$@"; }

step "InfluxDB of this machine"
mkdir "$root/influxdb"
(cd "$checkout" && exec .venv/bin/python - "$root/influxdb" >"$root/influxdb/url") <<END &
import signal, sys
from pathlib import Path
from tools.embedded import EmbeddedInflux
influx = EmbeddedInflux(Path(sys.argv[1]) / "data")
influx.start()
print(influx.url, flush=True)
signal.sigwait([signal.SIGTERM])
influx.terminate()
END
stored_in=$!
until_ok test -s "$root/influxdb/url"
influx=$(cat "$root/influxdb/url")
port=$(free_port)
settings="COLLECTOR_INFLUX_URL=$influx COLLECTOR_LISTEN=127.0.0.1:$port COLLECTOR_METRICS_LISTEN=127.0.0.1:$(free_port)"

step "install in $(chroot "$root" uname -m)"
cp "$package" "$root/first.deb"
enter "$root"
in_root apt-get -qq update
in_root apt-get -qq install -y --no-install-recommends /first.deb >"$root/install.log" 2>&1 || {
    cat "$root/install.log"
    exit 1
}
in_root collector --version

step "samples"
chroot --userspec=collector:collector "$root" env INVOCATION_ID=none \
    COLLECTOR_STATE_DIR=/var/lib/collector $settings collector serve >"$root/serve.log" 2>&1 &
served=$!
until_ok curl -fsS "http://127.0.0.1:$port/"
samples=0
for each in "$checkout"/tests/cases/asl/*.json; do
    curl -fsS -H 'Content-Type: application/json' --data-binary "@$each" "http://127.0.0.1:$port/usage"
    samples=$((samples + 1))
done
stored() {
    curl -sSG "$influx/query" --data-urlencode 'q=SELECT count(nodes) FROM usage_raw.."server_report"' |
        grep -q ",$samples\]"
}
until_ok stored
in_root collector check | grep '^ok'
in_root collector status
kill "$served"
wait "$served"
served=

step "remove and purge"
key=$(cat "$root/var/lib/collector/pseudonym.key")
in_root apt-get -qq remove -y usage-collector >/dev/null 2>&1
test -e "$root/var/lib/collector/outbox.sqlite3"
in_root apt-get -qq purge -y usage-collector >/dev/null 2>&1
[ "$(ls -A "$root/var/lib/collector")" = pseudonym.key ]
[ "$(cat "$root/var/lib/collector/pseudonym.key")" = "$key" ]
echo "foreign: the package of Debian $release for $architecture works under QEMU"
