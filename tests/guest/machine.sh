#!/usr/bin/env bash
# The guest's machine, switched on until this process is killed: QEMU ends with it, in that moment.
#
#   tests/guest/machine.sh FOLDER [--forward PORT=HOST:PORT]... [-- MORE...]
#
# FOLDER holds `disk.qcow2`, `share.img` (a disk that the guest can only read), `channel` (the guest agent's socket) and
# `serial.log`. The paths must be short: a Unix socket's has 107 bytes.
set -euo pipefail

readonly FOLDER=$1
shift

die() { printf 'machine: %s\n' "$*" >&2; exit 1; }

# 10.0.2.2, which QEMU gives to the host by itself, belongs to the forwards here: with `restrict` nothing but them can be
# reached, and what they reach is named one by one. Each connection has a process of its own.
network=user,id=net,net=10.0.2.0/24,host=10.0.2.1,restrict=on
more=()
while [ $# -gt 0 ]; do
    case $1 in
        --forward) network+=,guestfwd=tcp:10.0.2.2:${2%%=*}-cmd:"socat STDIO TCP:${2#*=}" ;;
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
    -name takt-guest -nodefaults -no-user-config -display none -action reboot=shutdown
    # Emulated: /dev/kvm opens on machines like CI's, but guests hang. One processor: a second one costs more than it
    # brings. Westmere: AES for TLS, but no AVX, which costs more to emulate than it saves.
    -accel tcg,tb-size=256 -machine pc,usb=off,vmport=off -cpu Westmere -smp 1 -m 640
    # A power cut is SIGKILL. QEMU's cache is a disk's: what the guest wrote but did not flush lies (64 KiB by 64 KiB) only
    # in QEMU's table of clusters, and is lost; what it flushed is in the host's page cache, which outlives QEMU.
    # `unsafe` leaves out the fsync on the host only: this machine's own power is not what is being cut.
    -drive "if=none,id=disk,file=$FOLDER/disk.qcow2,format=qcow2,cache=unsafe"
    -device virtio-blk-pci,drive=disk
    # The tests write into it while the guest runs.
    -drive "if=none,id=share,file=$FOLDER/share.img,format=raw,readonly=on,file.locking=off"
    -device virtio-blk-pci,drive=share
    -chardev "file,id=serial,path=$FOLDER/serial.log,append=on" -serial chardev:serial
    -device virtio-serial-pci
    -chardev "socket,id=channel,path=$FOLDER/channel,server=on,wait=off"
    -device virtserialport,chardev=channel,name=org.qemu.guest_agent.0
    -netdev "$network" -device virtio-net-pci,netdev=net,romfile=
    -device virtio-rng-pci
)
# Until the QEMU of an earlier switching on has gone, which holds it too.
exec 9>"$FOLDER/lock"
flock 9
# A reboot is a new QEMU: an old one stumbles over all that it had translated of memory that is written anew, and takes
# more than twice as long for a boot.
while setpriv --pdeathsig KILL qemu-system-x86_64 "${arguments[@]}" ${more[@]+"${more[@]}"}; do :; done
