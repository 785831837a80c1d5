"""A Docker engine, images and servers for the demo, the container tests and the measurements.

What this machine has is used. The rest is installed or started, and removed again at the end.

    with engine_session() as engine, Server(engine, ports=(8081,)) as server:
        engine.run("docker", "ps")
        server.docker("ps")
"""

from testbed.certificates import copy_certificates, extra_certificates
from testbed.console import HarnessError
from testbed.engine import Engine, engine_session
from testbed.images import BASE, MARIADB, POSTGRES, REGISTRY, chromium, provide
from testbed.podman import Podman
from testbed.servers import Server, Systemd, remove_kept

__all__ = [
    "BASE",
    "MARIADB",
    "POSTGRES",
    "REGISTRY",
    "Engine",
    "HarnessError",
    "Podman",
    "Server",
    "Systemd",
    "chromium",
    "copy_certificates",
    "engine_session",
    "extra_certificates",
    "provide",
    "remove_kept",
]
