"""Measure how long another writer waits while a large file is stored.

    python waits.py URL MIB

prints a JSON object: the longest time, and the 99th percentile of the times, in seconds, that
another process needs to insert and commit a small row, and the largest size of the write-ahead log.
"""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import sys
import time
from multiprocessing.synchronize import Event

import blobfiles
from testbed.memory import PIECE, stage

PAUSE = 0.01  # seconds between two rows


def store(url: str, mib: int, ended: Event) -> None:
    """Store a file as fast as possible."""
    try:
        connection = blobfiles.connect(url)
        stage(connection, itertools.repeat(os.urandom(PIECE), mib))
    finally:
        ended.set()


def insert(url: str, ended: Event) -> tuple[list[float], int]:
    """Insert rows until the file is stored; return the sorted times, and the largest log."""
    connection = blobfiles.connect(url)
    cursor = connection.cursor()
    log = f"{url.removeprefix('sqlite:///')}-wal"
    times, longest = [], 0
    while not ended.is_set():
        start = time.perf_counter()
        cursor.execute("INSERT INTO other_row VALUES (1)")
        times.append(time.perf_counter() - start)
        longest = max(longest, os.stat(log).st_size if os.path.exists(log) else 0)
        time.sleep(PAUSE)
    return sorted(times), longest


if __name__ == "__main__":
    given_url, given_mib = sys.argv[1:]
    main = blobfiles.connect(given_url)
    blobfiles.migrate(main)
    main.cursor().execute("DROP TABLE IF EXISTS other_row")
    main.cursor().execute("CREATE TABLE other_row (number INTEGER)")
    main.close()
    end = multiprocessing.Event()
    process = multiprocessing.Process(target=store, args=(given_url, int(given_mib), end))
    process.start()
    seconds, log_size = insert(given_url, end)
    process.join()
    result = {"wait_s": seconds[-1], "wait99_s": seconds[len(seconds) * 99 // 100], "log": log_size}
    print(json.dumps(result))
