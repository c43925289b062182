#!/usr/bin/env bash
# Builds the guest of the tests from Debian's packages: disk image, the system that bundles are made of, keys, live patches.
# Prints the folder that holds them; does nothing, at once, when that folder is there. docs/guest.md says what is in it and
# why.
#
#   tests/guest/build.sh
#
# Needs root, and what tests/env/install.sh installs. Asks nothing, mounts nothing and uses no loop device.
set -euo pipefail

readonly HERE=$(dirname "$(readlink -f "$0")")
# Where sbin is missing from the path (a plain user's shell), installed things would look absent.
export PATH="$PATH:/usr/sbin:/sbin"
export LC_ALL=C.UTF-8

source "$HERE/parts.sh"

digest_of_inputs() {
    (cd "$HERE" && find boot livepatch system build.sh parts.sh -type f -print0 | sort -z | xargs -0 sha256sum && newest_headers) | sha256sum | cut -c 1-16
}

need_tools() {
    local tool
    for tool in qemu-system-x86_64 qemu-img socat mmdebstrap rauc mksquashfs grub-mkimage sfdisk mke2fs depmod openssl cpio make gcc; do
        command -v "$tool" >/dev/null || die "'$tool' is missing: run tests/env/install.sh"
    done
}

main() {
    local folder
    need_tools
    folder=$CACHE/guest-$(digest_of_inputs)
    if [ ! -d "$folder" ]; then
        [ "$(id -u)" -eq 0 ] || die 'run it as root: it makes a root file system'
        mkdir -p "$CACHE"
        exec 9>"$CACHE/guest.lock"
        flock 9
        [ -d "$folder" ] || build "$folder" 9>&-
    fi
    printf '%s\n' "$folder"
}

build() { # build FOLDER: all of it, in a folder beside, which becomes FOLDER at the end
    local folder=$1 started=$SECONDS
    new=$(mktemp -d "$folder.XXXXXX")
    work=$(mktemp -d -p "$(roomy_folder)" takt-guest.XXXXXX)
    trap 'rm -rf "$work" "$new"' EXIT
    say "builds the guest of the tests in $folder"

    readonly RELEASE=$(newest_headers)
    fetch_kernel &
    local fetching=$!
    step 'live patches' make_live_patches "$new/livepatch"
    step 'root file system' make_root
    wait "$fetching" || die 'cannot fetch the kernel'
    step 'kernel and first process' add_kernel
    step 'keys' make_keys "$new/keys"
    step 'system' finish_root
    step 'disk' make_disk "$new/disk.qcow2"
    printf '%s\n' "$RELEASE" >"$new/kernel-release"
    chmod 0755 "$new"
    mv "$new" "$folder"
    forget_older
    say "the guest is ready after $((SECONDS - started)) s"
}

# Guests of other source trees on this machine, and what a killed build left. Nobody else builds: the lock is held.
readonly GUESTS_KEPT=3
forget_older() {
    find "$CACHE" -maxdepth 1 -type d -name 'guest-*' -printf '%T@ %p\0' | sort -z -r -n | tail -z -n "+$((GUESTS_KEPT + 1))" |
        cut -z -d ' ' -f 2- | xargs -0 -r rm -rf
}

step() { # step NAME COMMAND...
    local name=$1 started=$SECONDS
    shift
    quietly "$@"
    say "  $name: $((SECONDS - started)) s"
}

# The kernel's release: the one whose headers this machine has, so that live patches fit it to the letter. The kernel is
# Debian's for virtual machines: it unpacks five seconds faster at each boot of an emulated processor.
newest_headers() {
    local release
    release=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' 'linux-headers-6.1.0-*-cloud-amd64' 2>/dev/null |
        awk '$2 == "installed" { sub("linux-headers-", "", $1); print $1 }' | sort -V | tail -n 1)
    [ -n "$release" ] || die 'no linux-headers-6.1.0-*-cloud-amd64 is installed: run tests/env/install.sh'
    echo "$release"
}

make_live_patches() { # make_live_patches FOLDER
    local sources=$work/livepatch other
    mkdir -p "$1"
    cp -r "$HERE/livepatch" "$sources"
    make -C "/usr/src/linux-headers-$RELEASE" "M=$sources" modules
    strip --strip-debug "$sources/takt_cmdline.ko"
    cp "$sources/takt_cmdline.ko" "$1/takt_cmdline.ko"
    # The same for a kernel that nobody has: another release of the same length in its vermagic.
    other=6.0.9-$(printf '%0*d' $((${#RELEASE} - 6)) 0)
    sed "s/vermagic=$RELEASE /vermagic=$other /" "$1/takt_cmdline.ko" >"$1/takt_cmdline_other_release.ko"
    ! cmp -s "$1/takt_cmdline.ko" "$1/takt_cmdline_other_release.ko" || die 'the live patch has no vermagic to change'
    [ "$(stat -c %s "$1/takt_cmdline.ko")" = "$(stat -c %s "$1/takt_cmdline_other_release.ko")" ]
}

fetch_kernel() {
    mkdir "$work/kernel"
    cd "$work/kernel"
    quietly apt-get -o APT::Sandbox::User=root download "linux-image-$RELEASE"
    dpkg-deb --fsys-tarfile linux-image-*.deb >kernel.tar
}

# The Debian sources of this machine, so that mirrors and proxies keep working.
debian_sources() {
    apt-get indextargets --format 'deb $(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
        grep -E '^deb [^ ]+ bookworm(-updates|-security)? main$' | sort -u
}

make_root() {
    local sources
    sources=$(debian_sources)
    [ -n "$sources" ] || die "no Debian 12 among this machine's apt sources"
    # dbus: RAUC's interface. qemu-guest-agent: how tests speak to the guest, without its network. grub-common: the
    # `grub-editenv` that RAUC calls. usr-is-merged: else usrmerge comes, and 50 MB of perl with it.
    TMPDIR=$work mmdebstrap --variant=essential --mode=root \
        --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr \
        --dpkgopt=force-unsafe-io \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/grub/*' \
        --dpkgopt='path-exclude=/usr/bin/grub-*' --dpkgopt='path-exclude=/usr/sbin/grub-*' \
        --dpkgopt='path-include=/usr/bin/grub-editenv' \
        --dpkgopt='path-exclude=/usr/lib/x86_64-linux-gnu/gconv/*' \
        --aptopt='APT::Install-Recommends "false"' \
        --include=usr-is-merged,systemd-sysv,dbus,kmod,rauc,rauc-service,e2fsprogs,qemu-guest-agent,grub-common,busybox-static \
        bookworm "$work/root" <<<"$sources"
}

# The drivers that the guest needs after its first process: what RAUC reads bundles of the format `verity` with.
readonly MODULES=(dm_mod dm_verity squashfs)
# And what the first process loads. The kernel has ext4 in it.
readonly MODULES_FIRST=(virtio_pci virtio_blk loop virtio_net virtio_console virtio_rng)

add_kernel() {
    local root=$work/root first=$work/first name
    local modules=lib/modules/$RELEASE
    tar -xf "$work/kernel/kernel.tar" -C "$work/kernel" ./boot "./$modules"
    # Symbols and signatures cost the emulated processor half a second at each boot.
    find "$work/kernel/$modules" -name '*.ko' -exec strip --strip-debug --remove-section=.BTF {} +
    depmod -b "$work/kernel" "$RELEASE"
    mkdir -p "$root/boot" "$root/usr/$modules"
    cp "$work/kernel/boot/vmlinuz-$RELEASE" "$root/boot/vmlinuz"
    # Says to the boot loader that the kernel wants no place of its own choice. GRUB 2.06 would load it at 1 MB and then
    # move all the 66 MB that it may grow to, byte by byte: three seconds of an emulated processor at each boot.
    number "$root/boot/vmlinuz" $((0x234)) 0 1
    cp "$work/kernel/$modules"/modules.{builtin,builtin.modinfo,order} "$root/usr/$modules/"
    with_drivers "${MODULES[@]}" | while read -r name; do
        (cd "$work/kernel/$modules" && cp --parents "${name#*"$modules/"}" "$root/usr/$modules/")
    done
    depmod -b "$root" "$RELEASE"

    mkdir -p "$first"/{bin,dev,proc,sys,root}
    cp "$root/bin/busybox" "$first/bin/busybox"
    for name in sh mount umount mkdir cat insmod losetup sleep ip switch_root; do ln -s busybox "$first/bin/$name"; done
    with_drivers "${MODULES_FIRST[@]}" | while read -r name; do
        cp "$name" "$first/"
        basename "$name"
    done >"$first/modules"
    install -m 0755 "$HERE/boot/init" "$first/init"
    (cd "$first" && find . | sort | cpio --quiet --owner=0:0 -H newc -o) >"$root/boot/initrd.img"
}

with_drivers() { # with_drivers NAME...: their files, each after those that it needs
    local name
    for name in "$@"; do
        modprobe -d "$work/kernel" --set-version "$RELEASE" --show-depends "$name" | awk '$1 == "insmod" { print $2 }'
    done | awk '!seen[$0]++'
}

# An authority and one signer, for ever: a test's clock may be anywhere.
make_keys() { # make_keys FOLDER
    mkdir -p "$1"
    openssl req -x509 -newkey rsa:2048 -nodes -days 36500 -subj '/O=Takt/CN=tests of takt: RAUC authority' \
        -keyout "$1/authority.key" -out "$1/authority.pem" -addext 'basicConstraints=critical,CA:TRUE'
    openssl req -newkey rsa:2048 -nodes -subj '/O=Takt/CN=tests of takt: RAUC signer' \
        -keyout "$1/signer.key" -out "$work/signer.csr"
    openssl x509 -req -in "$work/signer.csr" -CA "$1/authority.pem" -CAkey "$1/authority.key" -CAcreateserial \
        -days 36500 -out "$1/signer.pem"
    rm -f "$1/authority.key" "$1"/*.srl
}

finish_root() {
    local root=$work/root
    cp -r "$HERE/system/." "$root/"
    install -m 0644 "$new/keys/authority.pem" "$root/etc/rauc/keyring.pem"
    mkdir -p "$root/data" "$root/etc/takt" "$root/var/lib/takt-agent"
    echo takt-guest >"$root/etc/hostname"
    printf '127.0.0.1 localhost takt-guest\n' >"$root/etc/hosts"
    # Empty, not absent: systemd takes the machine's UUID, which is the same in both slots, and sees no first boot.
    : >"$root/etc/machine-id"
    rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*
    # The image has what they would make; those of packages that the guest installs are heeded.
    rm -f "$root"/usr/lib/tmpfiles.d/*
    chroot "$root" systemctl enable guest-channel.service guest-booted.service
    mask "$root/etc/systemd/system" "${UNITS_MASKED[@]}"
    mask "$root/etc/systemd/system-generators" "${GENERATORS_MASKED[@]}"
    echo 1.0.0 >"$root/etc/takt-os-version"
    tar --numeric-owner --xattrs --xattrs-include='*' -C "$root" -cf "$new/root.tar" .
}

mask() { # mask FOLDER NAME...
    local folder=$1 name
    shift
    mkdir -p "$folder"
    for name in "$@"; do ln -sf /dev/null "$folder/$name"; done
}

# What the guest starts without: each costs up to a second of an emulated processor at each boot. Masked, not removed: the
# packages stay whole.
readonly UNITS_MASKED=(
    # Nobody logs in.
    getty.target serial-getty@.service console-getty.service systemd-logind.service systemd-user-sessions.service
    systemd-ask-password-console.path systemd-ask-password-wall.path
    # Nothing to fetch, to trim, to clean or to count.
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer
    systemd-tmpfiles-clean.timer systemd-update-utmp.service systemd-update-utmp-runlevel.service systemd-pstore.service
    # The first process of the guest, or the kernel, has done it.
    systemd-remount-fs.service systemd-modules-load.service systemd-machine-id-commit.service systemd-random-seed.service
    systemd-fsck-root.service kmod-static-nodes.service systemd-tmpfiles-setup-dev.service systemd-sysctl.service
    systemd-journal-flush.service
    # Its devices have the kernel's names, and another unit starts it.
    systemd-udevd.service systemd-udevd-control.socket systemd-udevd-kernel.socket systemd-udev-trigger.service
    systemd-udev-settle.service qemu-guest-agent.service
    # Made when the image was built.
    systemd-sysusers.service systemd-firstboot.service systemd-hwdb-update.service systemd-repart.service
    # File systems that nothing here uses.
    dev-hugepages.mount dev-mqueue.mount sys-kernel-debug.mount sys-kernel-tracing.mount sys-kernel-config.mount
    sys-fs-fuse-connections.mount proc-sys-fs-binfmt_misc.automount systemd-binfmt.service
    modprobe@.service
    # Its addresses are fixed.
    systemd-networkd.service systemd-networkd.socket systemd-networkd-wait-online.service systemd-network-generator.service
    systemd-timesyncd.service systemd-initctl.socket systemd-journald-audit.socket
)
readonly GENERATORS_MASKED=(
    systemd-cryptsetup-generator systemd-debug-generator systemd-fstab-generator systemd-getty-generator
    systemd-gpt-auto-generator systemd-hibernate-resume-generator systemd-integritysetup-generator
    systemd-rc-local-generator systemd-run-generator systemd-system-update-generator systemd-sysv-generator
    systemd-veritysetup-generator
)

make_disk() { # make_disk FILE
    local disk=$work/disk.raw
    slot_image "$work/root" "$work/slot.ext4" $((SECTORS_SLOT / 2))
    truncate -s "$((SECTORS_DISK * 512))" "$disk"
    partition "$disk"
    boot_loader "$disk"
    at_sector "$disk" "$SECTOR_A" "$work/slot.ext4"
    mkdir "$work/data"
    slot_image "$work/data" "$work/data.ext4" $((SECTORS_DATA / 2))
    at_sector "$disk" "$SECTOR_DATA" "$work/data.ext4"
    qemu-img convert -f raw -O qcow2 "$disk" "$1"
}

main "$@"
