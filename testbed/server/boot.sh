#!/bin/sh
# Start the server: its Docker engine (DOCKER=yes), the engine of the account rootless
# (DOCKER=rootless) or none (DOCKER=no), then sshd.
set -eu

# A reboot would have emptied these folders.
rm -rf /run/docker /run/docker.pid /run/docker.sock /run/containerd /run/user
mkdir -p /run/sshd

if [ -f /sys/fs/cgroup/cgroup.controllers ]; then
    # In cgroup v2, a group that contains processes cannot pass controllers to the groups below it.
    mkdir -p /sys/fs/cgroup/init
    xargs -rn1 </sys/fs/cgroup/cgroup.procs >/sys/fs/cgroup/init/cgroup.procs || :
    sed -e 's/ / +/g' -e 's/^/+/' </sys/fs/cgroup/cgroup.controllers >/sys/fs/cgroup/cgroup.subtree_control
fi

case ${DOCKER:-yes} in
no) rm -f /usr/bin/docker /usr/sbin/dockerd /usr/bin/containerd ;;
rootless) engine.sh rootless ;;
*) engine.sh start ;;
esac
exec /usr/sbin/sshd -D -e
