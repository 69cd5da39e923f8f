# Fresh roots of Debian, for the scripts beside this one, which source it. Needs root and debootstrap.
# ROOTS is the folder of them (default: .local/roots of the checkout); MIRROR another mirror.

checkout=$(cd "$(dirname "$0")/../.." && pwd)
roots=${ROOTS:-$checkout/.local/roots}
mirror=${MIRROR:-http://deb.debian.org/debian}

need() {
    for each in "$@"; do
        command -v "${each%%:*}" >/dev/null || {
            echo "$0: needs root and Debian's package ${each#*:}: apt install ${each#*:}" >&2
            exit 1
        }
    done
    [ "$(id -u)" = 0 ] || { echo "$0: needs root" >&2; exit 1; }
}

codename() {
    case $1 in 12) echo bookworm ;; 13) echo trixie ;; *) echo "$0: 12 or 13, not $1" >&2; exit 2 ;; esac
}

# base RELEASE [ARCHITECTURE]: a root with the release's base system, made once.
base() {
    name=$(codename "$1")
    made=$roots/$name${2:+-$2}.base
    if [ ! -e "$made/etc/os-release" ] || [ -e "$made/debootstrap" ]; then
        rm -rf "$made"
        mkdir -p "$roots"
        debootstrap ${2:+"--arch=$2"} --variant=minbase --include=ca-certificates "$name" "$made" "$mirror" >&2
    fi
    echo "$made"
}

# fresh RELEASE NAME [ARCHITECTURE]: a copy of it, in which nothing was done; services do not start
# while packages are installed from outside.
fresh() {
    from=$(base "$1" ${3:+"$3"})
    to=$roots/$2
    leave "$to"
    rm -rf "$to"
    cp -a "$from" "$to"
    cp /etc/resolv.conf "$to/etc/resolv.conf"
    # A network with a certificate authority of its own.
    cp /etc/ssl/certs/ca-certificates.crt "$to/etc/ssl/certs/ca-certificates.crt"
    echo "$to"
}

# enter ROOT, leave ROOT: the kernel's file systems in it.
enter() {
    mount -t proc proc "$1/proc"
    mount -t sysfs sys "$1/sys"
    mount --rbind /dev "$1/dev"
    mount --make-rslave "$1/dev"
}

leave() {
    for each in dev sys proc; do
        if mountpoint -q "$1/$each"; then umount -R "$1/$each"; fi
    done
}
