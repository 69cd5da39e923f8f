#!/bin/sh
# The life of the package in a fresh root of Debian with a booted systemd: life.sh RELEASE PACKAGE.
# Installs it beside InfluxDB, posts the samples, upgrades, goes back, removes, purges: inside.sh.
# Needs root, debootstrap and systemd-nspawn. Its network is closed once all packages are there.
set -eu
. "$(dirname "$0")/root.sh"
release=${1:?12 or 13}
package=${2:?a package that make deb built}
need debootstrap systemd-nspawn:systemd-container dpkg-deb:dpkg
root=$(fresh "$release" "life-$release")
trap 'leave "$root"' EXIT
mkdir "$root/life"
cp "$checkout"/tests/cases/asl/*.json "$checkout/tests/debian/inside.sh" "$root/life/"
cp "$package" "$root/life/first.deb"
# The same of a later version.
dpkg-deb -R "$package" "$root/life/tree"
version=$(dpkg-deb -f "$package" Version)
sed -i "s/^Version: .*/Version: 9.$version/" "$root/life/tree/DEBIAN/control"
sed -i "s/${version%-*}/9.${version%-*}/g" "$root/life/tree/DEBIAN/preinst"
dpkg-deb --root-owner-group -Znone -b "$root/life/tree" "$root/life/later.deb" >/dev/null
rm -r "$root/life/tree"
enter "$root"
chroot "$root" apt-get -qq update
chroot "$root" env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends \
    systemd systemd-sysv dbus curl man-db bash-completion bsdutils >/dev/null
chroot "$root" apt-get -qq install -y --download-only /life/first.deb >/dev/null
leave "$root"
cat >"$root/etc/systemd/system/life.service" <<END
[Unit]
After=multi-user.target
[Service]
Type=oneshot
Environment=HOME=/root DEBIAN_FRONTEND=noninteractive
ExecStart=/bin/sh -c 'sh /life/inside.sh >/life/log 2>&1; echo \$? >/life/status; sync'
ExecStopPost=/bin/systemctl --no-block poweroff
TimeoutStartSec=900
[Install]
WantedBy=graphical.target
END
mkdir -p "$root/etc/systemd/system/graphical.target.wants"
ln -s ../life.service "$root/etc/systemd/system/graphical.target.wants/"
ln -sf /lib/systemd/system/graphical.target "$root/etc/systemd/system/default.target"
timeout --kill-after=30 1200 systemd-nspawn --quiet --boot --directory="$root" --machine="life-$release" \
    --private-network --register=no --keep-unit --resolv-conf=off \
    </dev/null >"$root/life/console" 2>&1 || true
cat "$root/life/log" || { tail -n 20 "$root/life/console"; exit 1; }
[ "$(cat "$root/life/status")" = 0 ]
echo "life: the package of Debian $release lived as it should"
