#!/usr/bin/env bash
# Switches the guest's machine on, and becomes it: the process of this script is QEMU's.
#
#   tests/guest/machine.sh FOLDER DISK [--stage MILLISECONDS] [--forward PORT=HOST:PORT]... [--resume FILE] [-- MORE...]
#
# FOLDER holds `channel` (the guest agent's socket), `serial.log` and `share/`, which the guest can mount. The paths must
# be short: a Unix socket's has 107 bytes. Hardware is the same for every start, so that a saved state fits.
set -euo pipefail

readonly FOLDER=$1 DISK=$2
shift 2

die() { printf 'machine: %s\n' "$*" >&2; exit 1; }

stage=120000
resume=()
# 10.0.2.2, which QEMU gives to the host by itself, belongs to the forwards here: with `restrict` nothing but them can be
# reached, and what they reach is named one by one. Each connection has a process of its own.
network=user,id=net,net=10.0.2.0/24,host=10.0.2.1,restrict=on
more=()
while [ $# -gt 0 ]; do
    case $1 in
        --stage) stage=$2 ;;
        --forward) network+=,guestfwd=tcp:10.0.2.2:${2%%=*}-cmd:"socat STDIO TCP:${2#*=}" ;;
        --resume) resume=(-incoming "exec:cat '$2'") ;;
        --)
            shift
            more=("$@")
            break
            ;;
        *) die "unknown word '$1'" ;;
    esac
    shift 2
done

arguments=(
    -name takt-guest -nodefaults -no-user-config -display none
    # Emulated: /dev/kvm opens on machines like CI's, but guests hang. Nehalem: without AVX, which costs more to emulate
    # than it saves.
    -accel tcg,thread=multi -machine pc,usb=off,vmport=off -cpu Nehalem -smp 2 -m 768
    # The machine's id and how long a stage of the watchdog lasts (see grub.cfg).
    -smbios "type=1,uuid=6b1f7c4e-7a3b-4d5e-9f21-74616b740001,serial=$(printf '0x%x' "$stage")"
    # A power cut is SIGKILL. QEMU's cache is a disk's: what the guest wrote but did not flush lies (64 KiB by 64 KiB) only
    # in QEMU's table of clusters, and is lost; what it flushed is in the host's page cache, which outlives QEMU.
    # `unsafe` leaves out the fsync on the host only: this machine's own power is not what is being cut.
    -drive "if=none,id=disk,file=$DISK,format=qcow2,cache=unsafe"
    -device virtio-blk-pci,drive=disk
    -device i6300esb -action watchdog=reset
    -chardev "file,id=serial,path=$FOLDER/serial.log,append=on" -serial chardev:serial
    -device virtio-serial-pci
    -chardev "socket,id=channel,path=$FOLDER/channel,server=on,wait=off"
    -device virtserialport,chardev=channel,name=org.qemu.guest_agent.0
    -netdev "$network" -device virtio-net-pci,netdev=net,romfile=
    -device virtio-rng-pci
    -fsdev "local,id=share,path=$FOLDER/share,security_model=none,readonly=on"
    -device virtio-9p-pci,fsdev=share,mount_tag=share
)
exec qemu-system-x86_64 "${arguments[@]}" ${resume[@]+"${resume[@]}"} ${more[@]+"${more[@]}"}
