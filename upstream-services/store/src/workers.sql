-- Used on shard 0 of data on servers only. lent_until: milliseconds by the database's clock.
CREATE TABLE workers (
    number BIGINT NOT NULL PRIMARY KEY,
    holder BIGINT NOT NULL,
    lent_until BIGINT NOT NULL,
    next_moment BIGINT NOT NULL
);
