-- One row: statements that go by an older epoch of the shard map are refused.
CREATE TABLE shard_fence (
    id BIGINT NOT NULL PRIMARY KEY,
    epoch BIGINT NOT NULL
);
INSERT INTO shard_fence (id, epoch) VALUES (0, 1);

-- One row: the primary's own time, by which it is seen how far replicas are behind.
CREATE TABLE heartbeat (
    id BIGINT NOT NULL PRIMARY KEY,
    beat BIGINT NOT NULL
);
INSERT INTO heartbeat (id, beat) VALUES (0, 0);
