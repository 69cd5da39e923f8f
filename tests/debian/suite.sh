#!/bin/sh
# Runs `make test` in a fresh root of Debian as an ordinary user: suite.sh RELEASE [COMMAND].
# What is tested is the work tree, committed or not. `make test-debian13` is suite.sh 13.
set -eu
. "$(dirname "$0")/root.sh"
release=${1:?12 or 13}
shift
need debootstrap git
root=$(fresh "$release" "suite-$release")
trap 'leave "$root"' EXIT
enter "$root"
chroot "$root" apt-get -qq update
# What README.md and CONTRIBUTING.md ask for, and the browser, which only root can install.
chroot "$root" env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends \
    make python3 chromium fonts-dejavu-core >/dev/null
chroot "$root" useradd --create-home tester
git -c safe.directory='*' -C "$checkout" ls-files -z --cached --others --exclude-standard |
    (cd "$checkout" && xargs -0 sh -c 'for each; do [ ! -e "$each" ] || echo "$each"; done' sh) |
    tar -C "$checkout" -cf - -T - | tar -C "$root/home/tester" --one-top-level=checkout -xf -
chroot "$root" chown -R tester: /home/tester
command=${*:-make test}
echo "suite: $command in Debian $release ($(cat "$root/etc/debian_version"))"
chroot "$root" su - tester -c "cd checkout && env ${JOBS:+JOBS=$JOBS} $command"
