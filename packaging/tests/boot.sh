#!/usr/bin/env bash
# Boots systemd in a root file system of its own, as the first process of namespaces of its own. Called so, as root:
#
#   unshare --pid --fork --kill-child --mount --uts --ipc --cgroup --net -- boot.sh ROOT
#
# Nothing of this machine can be changed from inside: its devices are not there but for the harmless ones, /sys and
# /proc/sys are read-only, what is not namespaced (modules, clock, kernel log) is out of reach, and the network is a
# loopback of its own.
set -euo pipefail

root=${1:?usage: boot.sh ROOT}

mount --make-rprivate /
mount --bind "$root" "$root"
# Where the folder lies may be mounted as harmless: programs of the machine must run all the same.
mount -o remount,bind,exec,suid "$root"
mount -t proc proc "$root/proc"
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,ro,bind "$root/proc/sys"
# `criu check` wants to see that it could choose process ids and the like; these are the namespaces' own.
mount -t proc proc "$root/mnt"
for own in ns_last_pid sem_next_id msg_next_id shm_next_id; do
    [ ! -e "$root/mnt/sys/kernel/$own" ] || mount --bind "$root/mnt/sys/kernel/$own" "$root/proc/sys/kernel/$own"
done
umount -l "$root/mnt"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t tmpfs -o mode=755 tmpfs "$root/sys/fs/cgroup"
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
else
    mkdir "$root/sys/fs/cgroup/systemd"
    mount -t cgroup -o none,name=systemd cgroup "$root/sys/fs/cgroup/systemd"
fi
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null zero full random urandom tty; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
for number in 0:stdin 1:stdout 2:stderr; do
    ln -s "/proc/self/fd/${number%%:*}" "$root/dev/${number##*:}"
done
ip link set lo up
hostname machine
printf '127.0.0.1 localhost machine\n' >"$root/etc/hosts"

cd "$root"
pivot_root . mnt
umount -l /mnt
# systemd leaves alone what a container may not touch when it is told that it is in one.
exec env --ignore-environment container=takt PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    setpriv --bounding-set=-sys_time,-sys_module,-sys_rawio,-sys_boot,-syslog,-mac_admin,-wake_alarm,-block_suspend \
    /lib/systemd/systemd --log-target=console --log-level=notice --show-status=no --unit=multi-user.target
