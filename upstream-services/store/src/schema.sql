CREATE TABLE shard_identity (
    data_set BIGINT NOT NULL PRIMARY KEY,
    number BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);

-- Used on shard 0 only.
CREATE TABLE shard_map (
    epoch BIGINT NOT NULL,
    first_bucket BIGINT NOT NULL,
    last_bucket BIGINT NOT NULL,
    shard BIGINT NOT NULL,
    PRIMARY KEY (epoch, first_bucket)
);

-- On the shard of the bucket of (kind, value). state: 0 pending, 1 owned.
CREATE TABLE claims (
    kind VARCHAR(16) NOT NULL,
    value VARCHAR(320) NOT NULL,
    owner BIGINT NOT NULL,
    attempt BIGINT NOT NULL,
    state BIGINT NOT NULL,
    claimed_at BIGINT NOT NULL,
    PRIMARY KEY (kind, value)
);
CREATE INDEX claims_pending ON claims (state, claimed_at);

-- On the shard of the owner. state: 0 void, 1 done.
CREATE TABLE claim_attempts (
    attempt BIGINT NOT NULL PRIMARY KEY,
    state BIGINT NOT NULL,
    decided_at BIGINT NOT NULL
);

-- On the shard of the owner: claims the owner no longer needs, still to be deleted.
CREATE TABLE claim_releases (
    kind VARCHAR(16) NOT NULL,
    value VARCHAR(320) NOT NULL,
    owner BIGINT NOT NULL,
    attempt BIGINT NOT NULL,
    PRIMARY KEY (kind, value, attempt)
);
CREATE INDEX claim_releases_owner ON claim_releases (owner);
