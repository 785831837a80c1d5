-- One row for each file. Only state = 'published' is seen; 'staged' is still being written,
-- and 'deleted' waits for collect. Times are microseconds since 1970.
CREATE TABLE IF NOT EXISTS blobfiles_blob (
    id CHAR(26) CHARACTER SET ascii COLLATE ascii_bin PRIMARY KEY,
    state VARCHAR(9) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    name TEXT NOT NULL,
    media_type TEXT NOT NULL,
    size BIGINT,
    sha256 VARBINARY(32),
    chunk_size INTEGER NOT NULL,
    created BIGINT NOT NULL,
    touched BIGINT NOT NULL,
    KEY blobfiles_by_state (state, touched),
    CHECK (state IN ('staged', 'published', 'deleted')),
    CHECK (state = 'staged' OR (size IS NOT NULL AND sha256 IS NOT NULL))
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- The bytes of a file, chunk_size in each row but the last.
CREATE TABLE IF NOT EXISTS blobfiles_chunk (
    blob_id CHAR(26) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    number INTEGER NOT NULL,
    crc32 BIGINT NOT NULL,
    data MEDIUMBLOB NOT NULL,
    PRIMARY KEY (blob_id, number)
) ENGINE = InnoDB CHARACTER SET ascii;
