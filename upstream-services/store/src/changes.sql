-- One row: how far the primary's binlog was read for changes. Empty until somebody reads it.
CREATE TABLE changes_read (
    id BIGINT NOT NULL PRIMARY KEY,
    file VARCHAR(256) NOT NULL,
    position BIGINT NOT NULL
);
