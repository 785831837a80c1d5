-- One row for each file. Only state = 'published' is seen; 'staged' is still being written,
-- and 'deleted' waits for collect. Times are microseconds since 1970.
CREATE TABLE blobfiles_blob (
    id TEXT PRIMARY KEY NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('staged', 'published', 'deleted')),
    name TEXT NOT NULL,
    media_type TEXT NOT NULL,
    size INTEGER,
    sha256 BLOB,
    chunk_size INTEGER NOT NULL,
    created INTEGER NOT NULL,
    touched INTEGER NOT NULL,
    CHECK (state = 'staged' OR (size IS NOT NULL AND sha256 IS NOT NULL))
) WITHOUT ROWID;

CREATE INDEX blobfiles_unpublished ON blobfiles_blob (touched) WHERE state <> 'published';

-- The bytes of a file, chunk_size in each row but the last.
CREATE TABLE blobfiles_chunk (
    blob_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    crc32 INTEGER NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (blob_id, number)
);
