# Runs in the booted root of life.sh, as root.
set -eu
cd /life
test -e /life/first.deb

step() { echo "== $*"; }
fails() { if "$@"; then echo "was to fail: $*" >&2; exit 1; fi; }
until_ok() {
    for _ in $(seq 300); do if "$@" >/dev/null 2>&1; then return; fi; sleep 0.2; done
    echo "not so after 60 s: $*" >&2
    systemctl --no-pager status collector influxdb >&2 || true
    journalctl --no-pager -u collector -n 50 >&2
    exit 1
}
influx() { curl -sSG 'http://127.0.0.1:8086/query' --data-urlencode "q=$1"; }
stored() { influx 'SELECT count(nodes) FROM usage_raw.."server_report"' | grep -o '[0-9]\+\]\]' | tr -d ']' || echo 0; }
distinct() { influx 'SELECT count(distinct(server)) FROM usage_raw.."server_report"' | grep -o '[0-9]\+\]\]' | tr -d ']'; }
has_stored() { [ "$(stored)" = "$1" ]; }
post() { curl -fsS -H 'Content-Type: application/json' --data-binary "@$1" http://127.0.0.1:16080/usage; echo; }
ip link set lo up 2>/dev/null || true

step "asl-usage is on this machine and holds the port"
mkdir -p /etc/asl-usage
printf '[web]\nDB_HOST = localhost\nDB_USER = aslusage\nDB_PASS = aslusage\nDB_DB = aslusage\n' >/etc/asl-usage/web.ini

step "install, with what it recommends"
begun=$(date +%s)
apt-get install -y ./first.deb >install.log 2>&1 || { cat install.log; exit 1; }
echo "installed in $(($(date +%s) - begun)) s"
grep -A 14 'usage-collector: asl-usage is on this machine' install.log
rm -r /etc/asl-usage
dpkg -s influxdb | grep -q '^Status: install ok installed'
until_ok curl -fsS http://127.0.0.1:8086/ping
until_ok systemctl is-active collector
systemctl is-enabled collector
systemctl is-active usage-collector
[ "$(stat -c '%U %a' /var/lib/collector)" = 'collector 700' ]
[ "$(stat -c '%U %a' /var/lib/collector/pseudonym.key)" = 'collector 600' ]
[ "$(stat -c %U "/proc/$(systemctl show -P MainPID collector)")" = collector ]

step "unit"
systemd-analyze verify --man=no collector.service
systemctl reload collector
systemd-analyze security collector.service | tail -n 1
systemctl show -P MemoryMax collector
printf 'COLLECTOR_WORKERS=3\n' >>/etc/collector/collector.env
systemctl daemon-reload
[ "$(systemctl show -P MemoryMax collector)" = $(((768 + 256 * 3) << 20)) ]
systemctl restart collector
until_ok curl -fsS http://127.0.0.1:16080/
sed -i '/COLLECTOR_WORKERS=3/d' /etc/collector/collector.env
systemctl daemon-reload
systemctl restart collector
until_ok curl -fsS http://127.0.0.1:16080/

step "samples"
samples=0
for each in *.json; do post "$each"; samples=$((samples + 1)); done
until_ok has_stored "$samples"

step "commands, manual and completion"
collector check
collector --help >/dev/null
man -w collector usage-collector
bash -c '. /usr/share/bash-completion/bash_completion; . /usr/share/bash-completion/completions/collector; complete -p collector'
su -s /bin/sh nobody -c 'collector retention show' 2>&1 | head -n 3 || true
journalctl --no-pager -u collector | tail -n 3

step "an upgrade keeps state, and reports that wait"
cp /var/lib/collector/pseudonym.key key
printf '# mine\n' >>/etc/collector/collector.env
systemctl stop influxdb
for each in *.json; do post "$each"; done
apt-get install -y ./later.deb >upgrade.log 2>&1 || { cat upgrade.log; exit 1; }
cmp key /var/lib/collector/pseudonym.key
grep -q '^# mine' /etc/collector/collector.env
until_ok systemctl is-active collector
systemctl start influxdb
until_ok has_stored $((2 * samples))

step "an older version is refused with a sentence"
fails apt-get install -y --allow-downgrades ./first.deb >back.log 2>&1
grep 'is installed, and' back.log
until_ok systemctl is-active collector
dpkg -s usage-collector | grep '^Status: install ok installed'

servers=$(distinct)
step "remove keeps state"
apt-get remove -y usage-collector >remove.log 2>&1 || { cat remove.log; exit 1; }
fails systemctl is-active collector
cmp key /var/lib/collector/pseudonym.key
test -e /var/lib/collector/outbox.sqlite3 || ls /var/lib/collector
test ! -e /usr/lib/usage-collector
grep -q '^# mine' /etc/collector/collector.env

step "purge deletes all but the key, as answered by default"
apt-get purge -y usage-collector >purge.log 2>&1 || { cat purge.log; exit 1; }
[ "$(ls -A /var/lib/collector)" = pseudonym.key ]
cmp key /var/lib/collector/pseudonym.key
test ! -e /etc/collector

step "a new installation goes on with the key"
apt-get install -y ./later.deb >again.log 2>&1 || { cat again.log; exit 1; }
until_ok systemctl is-active collector
cmp key /var/lib/collector/pseudonym.key
post readme-sample.json
until_ok has_stored $((2 * samples + 1))
[ "$(distinct)" = "$servers" ]

step "roles in the place of the whole go on with a new version, and end with the package"
systemctl disable --now collector 2>/dev/null
printf 'COLLECTOR_LISTEN=127.0.0.1:16082\nCOLLECTOR_METRICS_LISTEN=127.0.0.1:16083\n' >/etc/collector/publish.env
systemctl enable --now collector@receive collector@publish 2>/dev/null
systemd-analyze verify --man=no collector@receive.service
pid() { systemctl show -P MainPID "collector@$1"; }
receiver=$(pid receive) publisher=$(pid publish)
dpkg -i ./later.deb >again.log 2>&1 || { cat again.log; exit 1; }
until_ok systemctl is-active collector@receive
until_ok systemctl is-active collector@publish
[ "$(pid receive)" != "$receiver" ] && [ "$(pid publish)" != "$publisher" ]
fails systemctl is-active collector
post readme-sample.json
until_ok has_stored $((2 * samples + 2))

step "purge asks, and deletes the key too where the answer is yes"
apt-get remove -y usage-collector >/dev/null 2>&1
# By dpkg: apt would run it in a terminal of its own, which the answer does not reach.
echo yes | TERM=dumb DEBIAN_FRONTEND=teletype timeout 120 \
    script -qec 'dpkg --purge usage-collector' /dev/null >purge.log 2>&1 || { cat purge.log; exit 1; }
grep "Delete the collector's pseudonym key too?" purge.log
test ! -e /var/lib/collector
fails systemctl is-active collector@receive
[ -z "$(ls /etc/systemd/system/*.wants/collector@* 2>/dev/null)" ]
[ "$(stored)" = $((2 * samples + 2)) ]
step "done"
