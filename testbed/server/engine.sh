#!/bin/sh
# engine.sh start|stop: start or stop dockerd, as an init system would.
# engine.sh kill: kill dockerd and containerd, as a power failure would.
# engine.sh rootless: start the Docker engine of the account rootless.
set -eu

case "$1" in
start)
    mtu=$(cat /sys/class/net/eth0/mtu)
    setsid dockerd --bip="${BRIDGE:?}" --default-address-pool="base=${POOL:?},size=24" --mtu="$mtu" \
        --host=unix:///var/run/docker.sock ${SOCKET:+"--host=unix://$SOCKET"} </dev/null >>/var/log/dockerd.log 2>&1 &
    ;;
rootless)
    chmod 666 /dev/net/tun # as udev does
    install -d -o rootless -g rootless -m 700 /run/user/1002
    su rootless -c "XDG_RUNTIME_DIR=/run/user/1002 PATH=$PATH \
        exec setsid /usr/share/docker.io/contrib/dockerd-rootless.sh" </dev/null >>/var/log/dockerd.log 2>&1 &
    ;;
stop)
    pid=$(cat /run/docker.pid)
    kill "$pid"
    while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
    ;;
kill)
    pid=$(cat /run/docker.pid)
    kill -KILL "$pid" "$(cat /run/docker/containerd/containerd.pid)"
    while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
    rm /run/docker.pid
    ;;
*)
    echo "engine.sh: unknown command $1: use start, stop, kill or rootless" >&2
    exit 2
    ;;
esac
