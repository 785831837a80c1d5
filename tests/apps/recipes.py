"""Run what the package's README shows, as it stands there: by itself, in Django and in FastAPI.

    python recipes.py README.md FOLDER

ends with zero when files come back as they were stored.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import blobfiles

DATA = os.urandom(1_500_000)


class Image(SimpleNamespace):
    """What the example opens a picture with."""

    opened = b""

    @classmethod
    def open(cls, file: Any) -> None:
        """Read the file."""
        cls.opened = file.read()


def by_itself(code: str, folder: Path) -> None:
    """Store with a row, and open."""
    os.chdir(folder)
    before = blobfiles.connect("sqlite:///files.db")
    before.execute("CREATE TABLE photo (blob_id TEXT)")
    exec(
        code, {"blobfiles": blobfiles, "shutil": shutil, "source": io.BytesIO(DATA), "Image": Image}
    )
    assert Image.opened == DATA
    ((id,),) = before.execute("SELECT blob_id FROM photo").fetchall()
    assert blobfiles.stat(before, id).name == "a.png"


def in_django(code: str, folder: Path) -> None:
    """Upload and download through the views."""
    import django
    from django.conf import settings
    from django.core.files.uploadedfile import SimpleUploadedFile
    from django.db import connection, models
    from django.http import HttpResponse
    from django.test import RequestFactory

    engine = {"ENGINE": "django.db.backends.sqlite3", "NAME": folder / "django.db"}
    settings.configure(
        DATABASES={"default": engine}, DEFAULT_AUTO_FIELD="django.db.models.AutoField"
    )
    django.setup()
    members = {
        "__module__": __name__,
        "blob_id": models.CharField(max_length=26),
        "Meta": type("Meta", (), {"app_label": "shop"}),
    }
    photo: Any = type("Photo", (models.Model,), members)
    with connection.schema_editor() as editor:
        editor.create_model(photo)
    connection.ensure_connection()
    blobfiles.migrate(connection.connection)
    views: dict[str, Any] = {"blobfiles": blobfiles, "Photo": photo, "HttpResponse": HttpResponse}
    exec(code, views)
    upload = RequestFactory().post("/", {"file": SimpleUploadedFile("é.png", DATA)})
    assert views["upload"](upload).status_code == 201
    answer = views["download"](None, photo.objects.get().id)
    assert b"".join(answer.streaming_content) == DATA
    assert "%C3%A9.png" in answer["Content-Disposition"]


def in_fastapi(code: str, folder: Path) -> None:
    """Upload and download over (what stands for) HTTP."""
    from fastapi import FastAPI, Request
    from fastapi.responses import StreamingResponse
    from fastapi.testclient import TestClient
    from starlette.concurrency import run_in_threadpool

    url = f"sqlite:///{folder}/fastapi.db"

    @contextlib.contextmanager
    def pool() -> Iterator[Any]:
        connection = blobfiles.connect(url)
        yield connection
        connection.close()

    with pool() as connection:
        blobfiles.migrate(connection)
    app = FastAPI()
    names = {"app": app, "blobfiles": blobfiles, "pool": pool, "LIMIT": 10**9, "Request": Request}
    names |= {"StreamingResponse": StreamingResponse, "run_in_threadpool": run_in_threadpool}
    exec(code, names)
    client = TestClient(app)
    put = client.put("/files/a.png", content=DATA)
    assert put.status_code == 201
    assert client.get(f"/files/{put.json()['id']}").content == DATA


if __name__ == "__main__":
    text, place = Path(sys.argv[1]).read_text(encoding="utf-8"), Path(sys.argv[2])
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    by_itself(blocks[0], place)
    in_django(next(block for block in blocks if "django" in block), place)
    in_fastapi(next(block for block in blocks if "@app.put" in block), place)
