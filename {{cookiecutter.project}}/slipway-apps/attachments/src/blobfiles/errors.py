"""What can go wrong with a file in the database; the driver's own errors come as they are."""

from __future__ import annotations


class BlobError(Exception):
    """Any of the errors below."""


class NotFound(BlobError, LookupError):
    """There is no published file of that id, or a staged one was collected meanwhile."""


class TooLarge(BlobError, ValueError):
    """More was written than `max_size` allows; nothing of the file will be seen."""


class Corrupt(BlobError):
    """What is stored is not what was written: a chunk is missing or has other bytes."""
