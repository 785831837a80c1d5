-- One row for each file of the application; its bytes are in the tables of blobfiles.
CREATE TABLE attachments_file (
    -- the last part of its address: percent-encoded, so ASCII
    path VARCHAR(765) NOT NULL PRIMARY KEY,
    blob_id VARCHAR(26) NOT NULL UNIQUE,
    name VARCHAR(255) NOT NULL,
    media_type VARCHAR(255) NOT NULL,
    size BIGINT NOT NULL,
    sha256 CHAR(64) NOT NULL,
    -- microseconds since 1970
    modified BIGINT NOT NULL
);

CREATE INDEX attachments_newest ON attachments_file (modified, path);

-- The only row is the sum of the others, and the lock for every change of them.
CREATE TABLE attachments_total (
    files BIGINT NOT NULL,
    bytes BIGINT NOT NULL
);

INSERT INTO attachments_total (files, bytes) VALUES (0, 0);
