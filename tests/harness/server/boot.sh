#!/bin/sh
# Start the server: its engine (unless DOCKER=no), then sshd.
set -eu

# What a power cut would have taken.
rm -rf /run/docker /run/docker.pid /run/docker.sock /run/containerd
mkdir -p /run/sshd

if [ -f /sys/fs/cgroup/cgroup.controllers ]; then
    # In cgroup v2 a group with processes hands no controllers on to the groups below it.
    mkdir -p /sys/fs/cgroup/init
    xargs -rn1 </sys/fs/cgroup/cgroup.procs >/sys/fs/cgroup/init/cgroup.procs || :
    sed -e 's/ / +/g' -e 's/^/+/' </sys/fs/cgroup/cgroup.controllers >/sys/fs/cgroup/cgroup.subtree_control
fi

if [ "${DOCKER:-yes}" = no ]; then
    rm -f /usr/bin/docker /usr/sbin/dockerd /usr/bin/containerd
else
    engine.sh start
fi
exec /usr/sbin/sshd -D -e
