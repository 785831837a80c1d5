#!/bin/sh
# Start systemd, which requires control groups of version 2.
set -eu

if [ ! -f /sys/fs/cgroup/cgroup.controllers ]; then
    umount --recursive /sys/fs/cgroup
    mount -t cgroup2 none /sys/fs/cgroup
fi
export container=docker
exec /lib/systemd/systemd --log-target=console --show-status=no
