"""Errors of files in the database; errors of the driver are passed on unchanged."""

from __future__ import annotations


class BlobError(Exception):
    """Any of the errors below."""


class NotFound(BlobError, LookupError):
    """There is no published file with the id, or a staged file was collected meanwhile."""


class TooLarge(BlobError, ValueError):
    """More was written than `max_size` allows; nothing of the file will be seen."""


class NoRoom(BlobError):
    """The database's disk is full, or nearly: delete files, and collect."""


class Corrupt(BlobError):
    """What is stored is not what was written: a chunk is missing or has other bytes."""
