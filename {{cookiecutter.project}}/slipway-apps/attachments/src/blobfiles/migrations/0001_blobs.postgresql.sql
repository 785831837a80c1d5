-- One row for each file. Only state = 'published' is seen; 'staged' is still being written,
-- and 'deleted' waits for collect. Times are microseconds since 1970.
CREATE TABLE blobfiles_blob (
    id VARCHAR(26) COLLATE "C" PRIMARY KEY,
    state VARCHAR(9) NOT NULL CHECK (state IN ('staged', 'published', 'deleted')),
    name TEXT NOT NULL,
    media_type TEXT NOT NULL,
    size BIGINT,
    sha256 BYTEA,
    chunk_size INTEGER NOT NULL,
    created BIGINT NOT NULL,
    touched BIGINT NOT NULL,
    CHECK (state = 'staged' OR (size IS NOT NULL AND sha256 IS NOT NULL))
);

CREATE INDEX blobfiles_unpublished ON blobfiles_blob (touched) WHERE state <> 'published';

-- The bytes of a file, chunk_size in each row but the last.
CREATE TABLE blobfiles_chunk (
    blob_id VARCHAR(26) COLLATE "C" NOT NULL,
    number INTEGER NOT NULL,
    crc32 BIGINT NOT NULL,
    data BYTEA NOT NULL,
    PRIMARY KEY (blob_id, number)
);

-- Most files are compressed already: do not try again.
ALTER TABLE blobfiles_chunk ALTER COLUMN data SET STORAGE EXTERNAL;
