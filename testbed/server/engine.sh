#!/bin/sh
# engine.sh start|stop - what an init system would do with dockerd; kill - what a power cut does;
# rootless - what the init system of that account would do.
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
    echo "engine.sh: say start, stop or kill, not $1" >&2
    exit 2
    ;;
esac
