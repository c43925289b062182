# What build.sh and bundle.sh share: the layout of the disk, and how its parts are made. Sourced by both.

say() { printf 'guest: %s\n' "$*" >&2; }
die() { printf 'guest: %s\n' "$*" >&2; exit 1; }

# Runs a command or a function; shows what it said only when it failed. Not to be called in a condition: there, bash would
# let a function go on after its first failure.
quietly() {
    local said code
    said=$(mktemp)
    set +e
    (set -e; "$@") >"$said" 2>&1
    code=$?
    set -e
    [ $code -eq 0 ] || tail -n 40 "$said" >&2
    rm -f "$said"
    [ $code -eq 0 ] || die "failed: $*"
}

# Room for everything at once: the root folder, its archive and five images.
readonly WORK_MIB_MIN=1536
readonly CACHE=${TAKT_CACHE:-/var/cache/takt}

# Memory, where this machine has it to spare: unpacking thousands of files there takes half the time.
roomy_folder() {
    local free
    free=$(df --output=avail -m /dev/shm 2>/dev/null | tail -n 1)
    if [ "$(stat -f -c %T /dev/shm 2>/dev/null)" = tmpfs ] && [ "$free" -ge "$WORK_MIB_MIN" ] &&
        [ "$(awk '/^MemAvailable:/ { print int($2 / 1024) }' /proc/meminfo)" -ge $((2 * WORK_MIB_MIN)) ]; then
        echo /dev/shm
    else
        echo "$CACHE"
    fi
}

# The disk, in sectors of 512 bytes. 1: GRUB. 2: its environment, two sectors. 3 and 4: the slots. 5: the data.
readonly SECTOR_GRUB=2048 SECTORS_GRUB=2040
readonly SECTOR_ENV=4088 SECTORS_ENV=3
readonly SECTOR_A=8192 SECTORS_SLOT=$((192 * 2048))
readonly SECTOR_B=$((SECTOR_A + SECTORS_SLOT))
readonly SECTOR_DATA=$((SECTOR_B + SECTORS_SLOT)) SECTORS_DATA=$((512 * 2048))
readonly SECTORS_DISK=$((SECTOR_DATA + SECTORS_DATA + 2048))
# Without what GRUB 2.06 cannot read, whatever this machine's mke2fs does by itself.
readonly EXT4_FEATURES=^metadata_csum_seed,^orphan_file

slot_image() { # slot_image FOLDER FILE KIB: an ext4 file system of this size, in blocks that GRUB reads fast
    rm -f "$2"
    mke2fs -q -t ext4 -b 4096 -O "$EXT4_FEATURES" -m 0 -N 8192 -E root_owner=0:0 -d "$1" "$2" "$3k"
}

partition() { # partition DISK
    sfdisk --quiet "$1" <<-END
	label: gpt
	unit: sectors
	start=$SECTOR_GRUB, size=$SECTORS_GRUB, name=grub, type=21686148-6449-6E6F-744E-656564454649
	start=$SECTOR_ENV, size=$SECTORS_ENV, name=bootenv
	start=$SECTOR_A, size=$SECTORS_SLOT, name=rootA
	start=$SECTOR_B, size=$SECTORS_SLOT, name=rootB
	start=$SECTOR_DATA, size=$SECTORS_DATA, name=data
	END
}

at_sector() { # at_sector DISK SECTOR FILE: copies FILE into the disk, holes stay holes
    dd if="$3" of="$1" bs=512 seek="$2" conv=notrunc,sparse status=none
}

# GRUB with its settings inside it: nothing of it lies on a file system, nothing of it is ever written again but the
# environment. `grub-install` wants mounts and loop devices; what it would write are three numbers.
boot_loader() { # boot_loader DISK
    local disk=$1 core=$work/core.img grub=/usr/lib/grub/i386-pc
    mkdir -p "$work/memdisk/boot/grub"
    cp "$HERE/boot/grub.cfg" "$work/memdisk/boot/grub/"
    tar -C "$work/memdisk" -cf "$work/memdisk.tar" boot
    grub-mkimage -O i386-pc -o "$core" -p '(memdisk)/boot/grub' -m "$work/memdisk.tar" \
        biosdisk part_gpt ext2 linux loadenv test normal echo reboot memdisk tar serial terminal boot
    [ "$(stat -c %s "$core")" -le $((SECTORS_GRUB * 512)) ] || die 'GRUB does not fit into its partition'
    # The boot sector: code, and at 0x5c the sector where the rest begins.
    dd if="$grub/boot.img" of="$disk" bs=440 count=1 conv=notrunc status=none
    number "$disk" $((0x5c)) "$SECTOR_GRUB" 8
    # The rest: its first sector loads the others; at 0x1f4 it holds where they begin.
    at_sector "$disk" "$SECTOR_GRUB" "$core"
    number "$disk" $((SECTOR_GRUB * 512 + 0x1f4)) $((SECTOR_GRUB + 1)) 8
    environment "$work/grubenv" 'ORDER=A B' A_OK=1 A_TRY=0 B_OK=0 B_TRY=0
    tar --format=ustar -b 1 -C "$work" -cf "$work/environment.tar" grubenv
    # Its header and its two sectors; without the end mark, for which there is no room and of which GRUB asks nothing.
    dd if="$work/environment.tar" of="$work/environment" bs=512 count="$SECTORS_ENV" status=none
    at_sector "$disk" "$SECTOR_ENV" "$work/environment"
}

number() { # number FILE OFFSET NUMBER BYTES: writes it in place, little end first
    local rest=$3 byte text=
    for ((byte = 0; byte < $4; byte++)); do
        text+=$(printf '\\x%02x' $((rest & 255)))
        rest=$((rest >> 8))
    done
    printf "$text" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

environment() { # environment FILE NAME=VALUE...: a GRUB environment block of two sectors
    local file=$1
    shift
    { printf '# GRUB Environment Block\n'; printf '%s\n' "$@"; } >"$file"
    printf '%*s' $(((SECTORS_ENV - 1) * 512 - $(stat -c %s "$file"))) '' | tr ' ' '#' >>"$file"
}
