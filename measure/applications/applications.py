"""The applications, each with its requirements.in and its settings.

Other people wrote them, and none is changed. They listen on PORT, which is 8080.
"""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from typing import NamedTuple

from testbed.projects import Project

PORT = "8080"


class Application(NamedTuple):
    """An application of the package index.

    Attributes:
        requirements: the lines of requirements.in, separated by spaces.
        command: the setting COMMAND.
        path: the path that is requested.
        settings: further lines of settings.mk.
        environment: lines of run.env.
    """

    requirements: str
    command: str
    path: str = "/"
    settings: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name of the row."""
        return self.requirements.split()[0].partition("[")[0]

    def at(self, port: int) -> Application:
        """Return the same application with another port."""
        return self._replace(command=self.command.replace(PORT, str(port)))

    def put_into(self, project: Project) -> None:
        """Write the user's files into a project that was generated without an application."""
        path = project.path
        lines = self.requirements.replace(" ", "\n")
        (path / "requirements.in").write_text(lines + "\n", encoding="utf-8")
        settings = project.read("deploy/settings.mk")
        for line in self.settings:
            name = line.partition(" ")[0]
            settings = re.sub(rf"^{name} :=.*\n", "", settings, flags=re.M) + f"{line}\n"
        (path / "deploy" / "settings.mk").write_text(settings, encoding="utf-8")
        if self.environment:
            text = "".join(f"{line}\n" for line in self.environment)
            (path / "deploy" / "run.env").write_text(text, encoding="utf-8")

    def answer_at(self, address: str) -> str:
        """Request the path; return the status and the media type of the answer."""
        try:
            with urllib.request.urlopen(f"http://{address}{self.path}", timeout=60) as response:
                return f"{response.status}, {response.headers.get_content_type()}"
        except urllib.error.HTTPError as problem:
            return f"{problem.code}"
        except OSError as problem:
            return f"none: {problem}"


FILES = "VOLUMES := files:/files"

APPLICATIONS = (
    Application("httpbin gunicorn", "gunicorn --bind 0.0.0.0:8080 httpbin:app", "/get"),
    Application("pypiserver", "pypi-server run --port 8080 /files", settings=(FILES,)),
    Application(
        "radicale",
        "radicale --server-hosts 0.0.0.0:8080 --auth-type none"
        " --storage-filesystem-folder /files/collections",
        "/.web/",
        (FILES,),
    ),
    Application(
        "wsgidav cheroot",
        "wsgidav --host 0.0.0.0 --port 8080 --root /files --auth anonymous",
        settings=(FILES,),
    ),
    Application(
        "sqlite-web",
        "sqlite_web --host 0.0.0.0 --port 8080 --no-browser /files/shop.db",
        settings=(FILES,),
    ),
    Application("moto[server]", "moto_server --host 0.0.0.0 --port 8080", "/moto-api/"),
    Application("datasette", "datasette serve --host 0.0.0.0 --port 8080 --memory"),
    Application("streamlit", "streamlit hello --server.port 8080 --server.headless true"),
    Application("copyparty", "copyparty -p 8080 -v /files::rw", settings=(FILES,)),
    Application("klaus", "klaus --host 0.0.0.0 --port 8080"),
    Application(
        "devpi-server",
        "sh -c 'test -e /files/d/.serverversion || devpi-init --serverdir /files/d;"
        " exec devpi-server --serverdir /files/d --host 0.0.0.0 --port 8080'",
        "/+api",
        (FILES,),
    ),
    Application(
        "mkdocs",
        "sh -c 'mkdocs new /tmp/site && cd /tmp/site && exec mkdocs serve -a 0.0.0.0:8080'",
    ),
    Application("flower", "celery --broker=memory:// flower --port=8080", "/healthcheck"),
    Application(
        "luigi",
        "luigid --port 8080 --state-path /files/luigi.pickle",
        "/static/visualiser/index.html",
        (FILES,),
    ),
    Application("glances[web]", "glances -w --bind 0.0.0.0 --port 8080 --disable-check-update"),
    Application(
        "kinto",
        "sh -c 'kinto init --ini /tmp/kinto.ini --backend memory --cache-backend memory"
        " --host 0.0.0.0 && exec kinto start --ini /tmp/kinto.ini --port 8080'",
        "/v1/",
    ),
    Application(
        "mitmproxy",
        "mitmweb --web-host 0.0.0.0 --web-port 8080 --listen-port 8081 --no-web-open-browser"
        " --set web_password=secret",
        "/?token=secret",
    ),
    Application(
        "octoprint",
        "octoprint serve --host 0.0.0.0 --port 8080 --basedir /files",
        "/online.txt",
        (FILES,),
    ),
    Application(
        "jupyterlab",
        "jupyter lab --ip 0.0.0.0 --port 8080 --no-browser --notebook-dir /files",
        "/login",
        (FILES,),
    ),
    Application(
        "dagster-webserver",
        "dagster-webserver -h 0.0.0.0 -p 8080 --empty-workspace",
        settings=("RUN_OPTIONS := --workdir /tmp",),
    ),
    Application(
        "mlflow",
        "mlflow server --host 0.0.0.0 --port 8080 --backend-store-uri sqlite:////files/mlflow.db"
        " --artifacts-destination /files/artifacts",
        settings=(FILES, "NATIVE := apt:git"),
    ),
    Application("prefect", "prefect server start --host 0.0.0.0 --port 8080", "/api/health"),
    Application(
        "chromadb",
        "chroma run --host 0.0.0.0 --port 8080 --path /files",
        "/api/v2/heartbeat",
        (FILES,),
    ),
    Application(
        "litellm[proxy]", "litellm --host 0.0.0.0 --port 8080 --model gpt-4o", "/health/liveliness"
    ),
    Application(
        "label-studio", "label-studio start --port 8080 --data-dir /files", "/health", (FILES,)
    ),
    Application("apache-airflow", "airflow standalone", "/", ()),
)
