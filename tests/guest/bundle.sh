#!/usr/bin/env bash
# Makes a RAUC bundle of the guest's system: an image for the other slot, signed with the key of the tests.
#
#   tests/guest/bundle.sh GUEST FILE --version TEXT [--nature NATURE] [--deb FILE]...
#
# GUEST is the folder that build.sh prints. Natures: good · no-init (nothing to start: the kernel panics and restarts).
set -euo pipefail

readonly HERE=$(dirname "$(readlink -f "$0")")
export PATH="$PATH:/usr/sbin:/sbin"
source "$HERE/parts.sh"

main() {
    local guest=$1 file=$2 version= nature=good packages=()
    shift 2
    while [ $# -gt 0 ]; do
        case $1 in
            --version) version=$2 ;;
            --nature) nature=$2 ;;
            --deb) packages+=("$2") ;;
            *) die "unknown word '$1'" ;;
        esac
        shift 2
    done
    [ -n "$version" ] || die 'a bundle needs a --version'
    work=$(mktemp -d -p "$(roomy_folder)" takt-bundle.XXXXXX)
    trap 'rm -rf "$work"' EXIT
    mkdir "$work/root" "$work/bundle"
    tar --numeric-owner --xattrs --xattrs-include='*' -xf "$guest/root.tar" -C "$work/root"
    echo "$version" >"$work/root/etc/takt-os-version"
    install_packages "$work/root" "${packages[@]}"
    make_it "$work/root" "$nature"
    slot_image "$work/root" "$work/bundle/rootfs.ext4"
    cat >"$work/bundle/manifest.raucm" <<-END
	[update]
	compatible=takt-guest
	version=$version
	[bundle]
	format=verity
	[image.rootfs]
	filename=rootfs.ext4
	END
    rm -f "$file"
    # lz4: the emulated processor unpacks it five times as fast as anything smaller.
    quietly rauc bundle --cert="$guest/keys/signer.pem" --key="$guest/keys/signer.key" \
        --keyring="$guest/keys/authority.pem" --mksquashfs-args='-comp lz4 -noI -no-xattrs' "$work/bundle" "$file"
}

install_packages() { # install_packages ROOT FILE...
    local root=$1 package
    shift
    for package in "$@"; do
        cp "$package" "$root/tmp/package.deb"
        quietly chroot "$root" env DEBIAN_FRONTEND=noninteractive dpkg --install /tmp/package.deb
        rm "$root/tmp/package.deb"
    done
}

make_it() { # make_it ROOT NATURE
    case $2 in
        good) ;;
        no-init) rm "$1/usr/sbin/init" "$1/usr/lib/systemd/systemd" ;;
        *) die "unknown nature '$2': good or no-init" ;;
    esac
}

main "$@"
