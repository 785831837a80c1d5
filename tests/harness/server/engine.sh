#!/bin/sh
# engine.sh start|stop - what an init system would do with dockerd.
set -eu

case "$1" in
start)
    mtu=$(cat /sys/class/net/eth0/mtu)
    setsid dockerd --bip="${BRIDGE:?}" --default-address-pool="base=${POOL:?},size=24" --mtu="$mtu" \
        </dev/null >>/var/log/dockerd.log 2>&1 &
    ;;
stop)
    pid=$(cat /run/docker.pid)
    kill "$pid"
    while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
    ;;
*)
    echo "engine.sh: say start or stop, not $1" >&2
    exit 2
    ;;
esac
