"""The systemd unit of an application without a container, hardened like the container.

The options are documented in systemd.exec(5), systemd.resource-control(5) and systemd.service(5).
"""

from __future__ import annotations

from collections.abc import Mapping

# A unit with another first line is managed by the user: it is restarted, and never written. The
# line must stay as it is, because it is in the units of earlier deploys.
MARK = "# Written by make deploy-venv. Without this line it is yours, and is only restarted."

# What UNHARDEN can turn off, and the lines that are left out then; see docker/run_options.py.
HARDENING = {
    # an account that exists while the service runs
    "non-root": ("DynamicUser=yes",),
    "read-only": ("ProtectSystem=strict", "ProtectHome=yes", "PrivateTmp=yes"),
    "capabilities": (
        "PrivateDevices=yes",
        "ProtectClock=yes",
        "ProtectControlGroups=yes",
        "ProtectKernelLogs=yes",
        "ProtectKernelModules=yes",
        "ProtectKernelTunables=yes",
    ),
    "privileges": ("NoNewPrivileges=yes", "RestrictSUIDSGID=yes", "LockPersonality=yes"),
    "pids": ("TasksMax={PIDS}",),
    "memory": ("MemoryMax={MEMORY}", "MemorySwapMax=0"),
}
# These need the system's manager, which is root.
ROOTS = ("non-root", "read-only", "capabilities")
LEAST_PORT = 1024  # a lower port needs a capability

TEXT = """\
{mark}
[Unit]
Description={project}
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart="{place}/current/start"
EnvironmentFile={place}/current/environment
Restart=always
RestartSec=1
KillMode=mixed
TimeoutStopSec={stop_timeout}
SyslogIdentifier={project}
{more}

[Install]
WantedBy={target}
"""


def text(settings: Mapping[str, str], place: str, is_root: bool) -> str:
    """Return the unit of a project whose releases are in a folder of the server."""
    without = settings["UNHARDEN"].split()
    words = {**settings, "MEMORY": settings["MEMORY"].upper().rstrip("B")}
    more: list[str] = []
    for name, lines in HARDENING.items():
        if name not in without and (is_root or name not in ROOTS):
            more += [line.format_map(words) for line in lines]
    if is_root and "capabilities" not in without:
        bind = "CAP_NET_BIND_SERVICE" * (int(settings["PORT"]) < LEAST_PORT)
        more += [
            f"CapabilityBoundingSet={bind}",
            *([f"AmbientCapabilities={bind}"] if bind else []),
        ]
    if is_root:
        # The folder of the project is readable for root alone. The service sees an empty one in
        # its place, with what it needs; `current` is the release that is linked when it starts.
        more += [
            f"TemporaryFileSystem={place}:ro",
            f"BindReadOnlyPaths={place}/releases {place}/current",
        ]
    more += volumes(settings)
    return TEXT.format(
        mark=MARK,
        project=settings["PROJECT"],
        stop_timeout=settings["STOP_TIMEOUT"],
        place=place if is_root else "%h/.slipway/" + settings["PROJECT"],
        more="\n".join(more),
        target="multi-user.target" if is_root else "default.target",
    )


def volumes(settings: Mapping[str, str]) -> list[str]:
    """Return the lines for VOLUMES; a name stands for a folder that systemd keeps in /var/lib."""
    lines = []
    for volume in settings["VOLUMES"].split():
        source, target, *options = volume.split(":")
        if not source.startswith("/"):
            lines.append(f"StateDirectory={settings['PROJECT']}/{source}")
            source = f"%S/{settings['PROJECT']}/{source}"
        kind = "BindReadOnlyPaths" if "ro" in "".join(options).split(",") else "BindPaths"
        lines.append(f"{kind}={source}:{target}")
    return lines


def environment(values: Mapping[str, bytes]) -> bytes:
    """Return an environment in systemd's format, in which each value arrives unchanged.

    Between double quotes four characters need a backslash (systemd.exec(5), EnvironmentFile=).
    """
    lines = []
    for name, value in values.items():
        for character in (b"\\", b'"', b"$", b"`"):
            value = value.replace(character, b"\\" + character)
        lines.append(b'%s="%s"\n' % (name.encode(), value))
    return b"".join(lines)


def environment_problem(values: Mapping[str, bytes]) -> str:
    """Return which variable systemd would leave out, and what to do; empty if there is none."""
    for name, value in values.items():
        if not name.replace("_", "a").isalnum():
            return (
                f"deploy/run.env: systemd does not accept the name {name}."
                " Use letters, digits and _."
            )
        if any((byte < ord(" ") and byte != ord("\t")) or byte == 0x7F for byte in value):
            return (
                f"deploy/run.env: the value of {name} has a control character, which systemd does"
                " not accept. Write it in another way, for example as base64."
            )
    return ""
