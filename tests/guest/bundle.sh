#!/usr/bin/env bash
# Makes RAUC bundles for the other slot of the guest, signed with the key of the tests.
#
#   tests/guest/bundle.sh GUEST AGENT FOLDER
#
# GUEST is the folder that build.sh prints, AGENT the agent's .deb. FOLDER gets `2.0.0.raucb` and `3.0.0.raucb`, systems with
# the agent installed whose `/etc/takt-os-version` says so, and `no-init.raucb`, a kernel with nothing to start, which panics.
set -euo pipefail

readonly HERE=$(dirname "$(readlink -f "$0")")
export PATH="$PATH:/usr/sbin:/sbin"
source "$HERE/parts.sh"

# The systems are small: each megabyte is fetched, decrypted and written by an emulated processor. So they have no package
# manager, and most commands are busybox's.
readonly FOLDERS=(bin sbin lib lib64 boot data dev proc run sys tmp root etc var/{lib/takt-agent,log,run,tmp})
readonly FILES=(
    usr/bin/{sh,dash,bash,busybox,dbus-daemon,grub-editenv,journalctl,kmod,rauc,systemctl,systemd-tmpfiles}
    usr/sbin/{init,modprobe,qemu-ga} usr/lib/modules usr/lib/systemd/systemd{,-journald,-shutdown} usr/lib/systemd/system
    usr/lib/os-release usr/share/dbus-1 usr/lib64/ld-linux-x86-64.so.2
)
readonly COMMANDS=(awk cat cp date dd echo grep head ls mkdir mount rm sed sleep sync tail test timeout touch true umount)

main() {
    local guest=$1 agent=$2 folder=$3 version root
    work=$(mktemp -d -p "$(roomy_folder)" takt-bundle.XXXXXX)
    trap 'rm -rf "$work"' EXIT
    root=$work/root
    mkdir "$root"
    tar --numeric-owner --xattrs --xattrs-include='*' -xf "$guest/root.tar" -C "$root"
    cp "$agent" "$root/agent.deb"
    quietly chroot "$root" env DEBIAN_FRONTEND=noninteractive dpkg --install /agent.deb
    rm "$root/agent.deb"
    small_system "$root" "$work/small"
    for version in 2.0.0 3.0.0; do
        echo "$version" >"$work/small/etc/takt-os-version"
        bundle "$work/small" "$version" "$folder/$version.raucb"
    done
    mkdir "$work/no-init"
    cp -r "$root/boot" "$work/no-init/"
    bundle "$work/no-init" 2.0.0 "$folder/no-init.raucb"
}

small_system() { # small_system ROOT TO
    local root=$1 to=$2 files=$work/files command
    (cd "$root" && printf '%s\n' "${FILES[@]}" && chroot . dpkg -L takt-agent | sed 's,^/\(usr/\)\?,usr/,' | while read -r file; do
        [ ! -f "$file" ] || echo "$file"
    done) >"$files"
    # Their libraries, and what links among them lead to. Of what is no program, ldd says so, and fails.
    (grep '^usr' "$files" | sed 's,^,/,' | xargs chroot "$root" ldd 2>/dev/null || true) |
        awk '$3 ~ "^/" { sub("^/(usr/)?", "usr/", $3); print $3 }' >>"$files"
    sed 's,^,/,' "$files" | xargs chroot "$root" readlink -e | cut -c 2- >"$work/resolved"
    mkdir "$to"
    printf '%s\n' "${FOLDERS[@]}" | sort -u - "$files" "$work/resolved" | tar --numeric-owner -C "$root" -c -T - | tar -x -C "$to"
    for command in "${COMMANDS[@]}"; do ln -s busybox "$to/usr/bin/$command"; done
}

bundle() { # bundle ROOT VERSION FILE
    local content=$work/content
    mkdir "$content"
    # A fifth more than its files, for the file system's own tables and a little room.
    slot_image "$1" "$content/rootfs.ext4" $(($(du -sk "$1" | cut -f 1) * 6 / 5 + 4096))
    cat >"$content/manifest.raucm" <<-END
	[update]
	compatible=takt-guest
	version=$2
	[bundle]
	format=verity
	[image.rootfs]
	filename=rootfs.ext4
	END
    rm -f "$3"
    # zstd: smaller than lz4, which costs more where it is fetched than it saves where it is unpacked.
    quietly rauc bundle --cert="$guest/keys/signer.pem" --key="$guest/keys/signer.key" \
        --keyring="$guest/keys/authority.pem" --mksquashfs-args='-comp zstd -Xcompression-level 9 -no-xattrs' "$content" "$3"
        rm -r "$content"
}

main "$@"
