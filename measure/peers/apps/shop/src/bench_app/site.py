"""A Django site of one page, which loads what a shop loads at its start."""

from __future__ import annotations

import boto3
import celery
import httpx
import pydantic
import sqlalchemy
import structlog
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path

settings.configure(
    ALLOWED_HOSTS=["*"],
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "rest_framework"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="of no use: nothing is signed",
)
LOADED = (boto3, celery, httpx, pydantic, sqlalchemy, structlog)


def home(request: object) -> HttpResponse:
    """Answer the one page that there is."""
    return HttpResponse("Hello, world!", content_type="text/plain")


urlpatterns = [path("", home)]
application = get_wsgi_application()
